/* kvg panorama nodes, signal: camera nodes as the former service showed and switched them. */
#include "base/text.h"
#include "cli/command.h"
#include "cli/reach.h"
#include "panorama/status.h"
#include <kvg/error.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    KvgReach reach;
    char *output;
} Options;

static void
options_clear(Options *options)
{
    kvg_reach_clear(&options->reach);
    g_free(options->output);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Options, options_clear)

static bool
parse(Options *options, const char *usage, int *argc, char ***argv, GError **error)
{
    const GOptionEntry entries[] = {
        KVG_REACH_OPTIONS(options->reach),
        {"output", 0, 0, G_OPTION_ARG_STRING, &options->output,
         "'json': members named as in the former service's answers", "FORMAT"},
        G_OPTION_ENTRY_NULL,
    };
    g_autoptr(GOptionContext) context = g_option_context_new(usage);
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, argc, argv, error))
        return false;
    if (options->output == NULL || strcmp(options->output, "json") == 0)
        return true;
    g_set_error_literal(error, KVG_ERROR, KVG_ERROR_INVALID, "--output takes json");
    return false;
}

/* What is known of a camera's state; NULL with the reason in @why. */
static json_t *
report_of(const Options *options, const char *camera, char **why)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(json_t) answer = kvg_reach_camera(&options->reach, camera, NULL, &error);
    if (answer == NULL) {
        *why = g_strdup(error->message);
        return NULL;
    }
    if (!options->reach.is_remote)
        return g_steal_pointer(&answer);
    return json_incref(json_object_get(json_object_get(answer, "state"), "reported"));
}

static json_t *
describe_node(const Options *options, const char *camera)
{
    g_autofree char *why = NULL;
    g_autoptr(json_t) report = report_of(options, camera, &why);
    const char *reason = why != NULL ? why : kvg_json_get_string(report, "reason");
    return json_pack("{s:s, s:s, s:s, s:s}", "NodeInstanceId", camera, "NodeName", camera,
                     "CurrentStatus", kvg_panorama_node_status(report), "StatusDescription",
                     reason != NULL ? reason : "");
}

int
kvg_cmd_panorama_nodes(int argc, char **argv)
{
    g_auto(Options) options = {0};
    g_autoptr(GError) error = NULL;
    if (!parse(&options, "- the camera nodes and their status", &argc, &argv, &error) || argc > 1) {
        fprintf(stderr, "kvg panorama nodes: %s\n",
                error != NULL ? error->message : "unexpected argument");
        return 2;
    }
    if (!kvg_reach_open(&options.reach, &error)) {
        fprintf(stderr, "kvg panorama nodes: %s\n", error->message);
        return 1;
    }
    g_autoptr(json_t) nodes = json_array();
    const GPtrArray *cameras = options.reach.target.config->cameras;
    for (guint i = 0; i < cameras->len; i++) {
        const KvgConfigCamera *camera = g_ptr_array_index(cameras, i);
        json_array_append_new(nodes, describe_node(&options, camera->name));
    }
    if (options.output != NULL) {
        g_autoptr(json_t) answer = json_pack("{s:O}", "NodeInstances", nodes);
        g_autofree char *text = kvg_json_to_text(answer);
        printf("%s\n", text);
        return 0;
    }
    size_t i;
    const json_t *node;
    json_array_foreach(nodes, i, node)
    {
        printf("%-24s %-14s %s\n", kvg_json_get_string(node, "NodeInstanceId"),
               kvg_json_get_string(node, "CurrentStatus"),
               kvg_json_get_string(node, "StatusDescription"));
    }
    return 0;
}

/* ---- signal ---- */

static bool
check_pairs(int argc, char **argv, GError **error)
{
    bool streaming;
    bool good = argc >= 3 && argc % 2 == 1;
    for (int i = 1; good && i < argc; i += 2)
        good = kvg_name_is_camera(argv[i]) && kvg_panorama_signal_parse(argv[i + 1], &streaming);
    if (!good)
        g_set_error_literal(error, KVG_ERROR, KVG_ERROR_INVALID,
                            "write: NODE PAUSE, or NODE RESUME, as many as you like");
    return good;
}

static bool
send_signal(const Options *options, const char *node, const char *word, GError **error)
{
    bool streaming = false;
    kvg_panorama_signal_parse(word, &streaming);
    g_autoptr(json_t) change = json_pack("{s:b}", "streaming", streaming);
    g_autoptr(json_t) answer = kvg_reach_camera(&options->reach, node, change, error);
    if (answer == NULL) {
        g_prefix_error(error, "node '%s': ", node);
        return false;
    }
    printf("%s: %s sent\n", node, word);
    return true;
}

int
kvg_cmd_panorama_signal(int argc, char **argv)
{
    g_auto(Options) options = {0};
    g_autoptr(GError) error = NULL;
    if (!parse(&options, "NODE PAUSE|RESUME...", &argc, &argv, &error) ||
        !check_pairs(argc, argv, &error)) {
        fprintf(stderr, "kvg panorama signal: %s\n", error->message);
        return 2;
    }
    bool good = kvg_reach_open(&options.reach, &error);
    for (int i = 1; good && i < argc; i += 2)
        good = send_signal(&options, argv[i], argv[i + 1], &error);
    if (!good)
        fprintf(stderr, "kvg panorama signal: %s\n", error->message);
    return good ? 0 : 1;
}
