/* kvg panorama nodes, signal: camera nodes as the former service showed and switched them. */
#include "base/text.h"
#include "cli/command.h"
#include "cli/instances.h"
#include "panorama/record.h"
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

/* Of one instance, of all, or where none was imported of the configuration. */
static json_t *
describe(const Options *options, const char *instance, GError **error)
{
    const KvgConfig *config = options->reach.target.config;
    g_autoptr(json_t) record =
        instance != NULL ? kvg_instances_find(config->path, instance, error) : NULL;
    if (instance != NULL && record == NULL)
        return NULL;
    g_auto(KvgReports) reports = {0};
    kvg_reports_init(&reports, &options->reach);
    if (record != NULL)
        return kvg_reports_describe_nodes(&reports, record, NULL);
    g_autoptr(GPtrArray) records = kvg_instances_load(config->path);
    json_t *nodes = json_array();
    for (guint i = 0; i < records->len; i++) {
        g_autoptr(json_t) some =
            kvg_reports_describe_nodes(&reports, g_ptr_array_index(records, i), NULL);
        json_array_extend(nodes, some);
    }
    for (guint i = 0; records->len == 0 && i < config->cameras->len; i++) {
        const char *name = ((const KvgConfigCamera *)config->cameras->pdata[i])->name;
        json_array_append_new(nodes, kvg_reports_describe_node(&reports, name, name));
    }
    return nodes;
}

int
kvg_cmd_panorama_nodes(int argc, char **argv)
{
    g_auto(Options) options = {0};
    g_autoptr(GError) error = NULL;
    if (!parse(&options, "[INSTANCE] - the camera nodes and their status", &argc, &argv, &error) ||
        argc > 2) {
        fprintf(stderr, "kvg panorama nodes: %s\n",
                error != NULL ? error->message : "unexpected argument");
        return 2;
    }
    g_autoptr(json_t) nodes = kvg_reach_open(&options.reach, &error)
                                  ? describe(&options, argc > 1 ? argv[1] : NULL, &error)
                                  : NULL;
    if (nodes == NULL) {
        fprintf(stderr, "kvg panorama nodes: %s\n", error->message);
        return 1;
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
        good = kvg_panorama_signal_parse(argv[i + 1], &streaming);
    if (!good)
        g_set_error_literal(error, KVG_ERROR, KVG_ERROR_INVALID,
                            "write: NODE PAUSE, or NODE RESUME, as many as you like");
    return good;
}

/* A node's camera; a camera may also be named itself. */
static const char *
camera_of(const Options *options, const GPtrArray *records, const char *node, GError **error)
{
    for (guint i = 0; i < records->len; i++) {
        const char *camera = kvg_record_camera(g_ptr_array_index(records, i), node);
        if (camera != NULL)
            return camera;
    }
    if (kvg_config_find_camera(options->reach.target.config, node) != NULL)
        return node;
    g_set_error(error, KVG_ERROR, KVG_ERROR_NOT_FOUND,
                "there is no camera node '%s'; kvg panorama nodes shows them", node);
    return NULL;
}

/* All names are looked up before the first signal is sent. */
static bool
send_signals(const Options *options, int argc, char **argv, GError **error)
{
    g_autoptr(GPtrArray) records = kvg_instances_load(options->reach.target.config->path);
    for (int i = 1; i < argc; i += 2) {
        if (camera_of(options, records, argv[i], error) == NULL)
            return false;
    }
    for (int i = 1; i < argc; i += 2) {
        bool streaming = false;
        kvg_panorama_signal_parse(argv[i + 1], &streaming);
        g_autoptr(json_t) change = json_pack("{s:b}", "streaming", streaming);
        g_autoptr(json_t) answer = kvg_reach_camera(
            &options->reach, camera_of(options, records, argv[i], error), change, error);
        if (answer == NULL) {
            g_prefix_error(error, "node '%s': ", argv[i]);
            return false;
        }
        printf("%s: %s\n", argv[i], argv[i + 1]);
    }
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
    const bool good =
        kvg_reach_open(&options.reach, &error) && send_signals(&options, argc, argv, &error);
    if (!good)
        fprintf(stderr, "kvg panorama signal: %s\n", error->message);
    return good ? 0 : 1;
}
