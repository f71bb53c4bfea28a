/* kvg panorama deploy, list, describe, remove: the life of an application instance, which here is a
 * set of cameras of kvg.yaml with their identities. */
#include "cli/command.h"
#include "cli/import.h"
#include "cli/instances.h"
#include "os/file.h"
#include "panorama/yaml.h"
#include <gio/gio.h>
#include <kvg/error.h>
#include <stdio.h>
#include <string.h>

#define MAX_CONFIG_BYTES (4u * 1024 * 1024)
#define HAS_ALL_STATUS "DEPLOYMENT_SUCCEEDED"

static const char *
config_path(const KvgReach *reach)
{
    return reach->target.config_path != NULL ? reach->target.config_path : "kvg.yaml";
}

static const char *
text_of(const json_t *record, const char *key)
{
    const char *text = kvg_json_get_string(record, key);
    return text != NULL ? text : "";
}

static GStrv
camera_names(const json_t *record)
{
    g_autoptr(GStrvBuilder) names = g_strv_builder_new();
    size_t i;
    const json_t *node;
    json_array_foreach(json_object_get(record, "NodeInstances"), i, node)
        g_strv_builder_add(names, text_of(node, "Camera"));
    return g_strv_builder_end(names);
}

/* Another command of ours, as the user would write it. */
static bool
run_command(int (*command)(int, char **), GPtrArray *words)
{
    g_ptr_array_add(words, NULL);
    /* GOption moves the words about; they stay ours. */
    g_autofree char **argv = g_memdup2(words->pdata, words->len * sizeof(char *));
    return command((int)words->len - 1, argv) == 0;
}

static void
add_target(GPtrArray *words, const KvgTarget *target, const char *path)
{
    const struct {
        const char *option, *value;
    } pairs[] = {{"-c", path},
                 {"--profile", target->profile},
                 {"--region", target->region},
                 {"--endpoint-url", target->endpoint},
                 {"--ca-bundle", target->ca_bundle}};
    for (size_t i = 0; i < G_N_ELEMENTS(pairs); i++) {
        if (pairs[i].value == NULL)
            continue;
        g_ptr_array_add(words, (void *)(uintptr_t)pairs[i].option);
        g_ptr_array_add(words, (void *)(uintptr_t)pairs[i].value);
    }
}

static void
add_names(GPtrArray *words, char **names)
{
    for (char **name = names; *name != NULL; name++)
        g_ptr_array_add(words, *name);
}

/* ---- deploy ---- */

typedef struct {
    KvgImport import;
    char *profile;
    gboolean skips;
} Deploy;

static void
deploy_clear(Deploy *deploy)
{
    kvg_import_clear(&deploy->import);
    g_free(deploy->profile);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Deploy, deploy_clear)

static bool
parse_deploy(Deploy *deploy, int argc, char **argv, GError **error)
{
    KvgImport *import = &deploy->import;
    const GOptionEntry entries[] = {
        {"config", 'c', 0, G_OPTION_ARG_FILENAME, &import->output,
         "configuration that gets the cameras; made if there is none (kvg.yaml)", "FILE"},
        KVG_IMPORT_OPTIONS(*import),
        {"profile", 0, 0, G_OPTION_ARG_STRING, &deploy->profile,
         "profile of the AWS credentials file", "NAME"},
        {"no-provision", 0, 0, G_OPTION_ARG_NONE, &deploy->skips,
         "make no things, certificates and streams", NULL},
        G_OPTION_ENTRY_NULL,
    };
    g_autoptr(GOptionContext) context = g_option_context_new(
        "--graph FILE [--override FILE...] - import, provision, and let the agent have it");
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, error))
        return false;
    const char *problem = argc > 1 ? "unexpected argument" : kvg_import_misuse(import);
    if (import->output == NULL)
        import->output = g_strdup("kvg.yaml");
    else if (!g_str_has_suffix(import->output, ".yaml") &&
             !g_str_has_suffix(import->output, ".yml"))
        problem = "-c takes a file whose name ends in .yaml";
    import->adds = true;
    if (problem != NULL)
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "%s", problem);
    return problem == NULL;
}

static bool
provision(const Deploy *deploy, const json_t *record)
{
    const KvgTarget target = {.profile = deploy->profile};
    g_auto(GStrv) names = camera_names(record);
    g_autoptr(GPtrArray) words = g_ptr_array_new();
    g_ptr_array_add(words, (void *)(uintptr_t) "provision");
    add_target(words, &target, deploy->import.config_path);
    add_names(words, names);
    return run_command(kvg_cmd_provision, words);
}

/* The agent looks at its file by itself; saying so now spares the wait. */
static const char *
tell_agent(const Deploy *deploy)
{
    g_autoptr(GError) error = NULL;
    g_auto(KvgReach) reach = {.target = {.config_path = g_strdup(deploy->import.config_path)}};
    if (!kvg_reach_open(&reach, &error))
        return "kvg agent does not run yet";
    return kvg_reach_reload(&reach) ? "the agent has it"
                                    : "the agent does not answer; start kvg agent, if it does not "
                                      "run";
}

static int
deploy(Deploy *deploy, GError **error)
{
    KvgImport *import = &deploy->import;
    if (!kvg_import_prepare(import, error))
        return 1;
    if (import->dry_run) {
        kvg_import_report(import);
        return 0;
    }
    if (!kvg_import_write(import, error))
        return 1;
    g_autoptr(json_t) record = kvg_instances_find(import->config_path, import->name, error);
    if (record == NULL ||
        !kvg_instances_set_status(import->config_path, record, "DEPLOYMENT_IN_PROGRESS", "", error))
        return 1;
    if (!deploy->skips && !provision(deploy, record)) {
        if (kvg_instances_set_status(import->config_path, record, "DEPLOYMENT_FAILED",
                                     "kvg provision failed; deploy it again to go on", error))
            g_set_error_literal(error, KVG_ERROR, KVG_ERROR_FAILED,
                                "DEPLOYMENT_FAILED: provisioning failed");
        return 1;
    }
    if (!kvg_instances_set_status(import->config_path, record, HAS_ALL_STATUS, "", error))
        return 1;
    kvg_import_report(import);
    printf("%s: DEPLOYMENT_SUCCEEDED; %s\n", import->name, tell_agent(deploy));
    return 0;
}

int
kvg_cmd_panorama_deploy(int argc, char **argv)
{
    g_auto(Deploy) command = {0};
    g_autoptr(GError) error = NULL;
    kvg_import_init(&command.import);
    if (!parse_deploy(&command, argc, argv, &error)) {
        fprintf(stderr, "kvg panorama deploy: %s\n", error->message);
        return 2;
    }
    const int status = deploy(&command, &error);
    if (status != 0)
        fprintf(stderr, "kvg panorama deploy: %s\n",
                error != NULL ? error->message
                              : "DEPLOYMENT_ERROR: the documents are wrong; nothing was written");
    return status;
}

/* ---- list, describe ---- */

typedef struct {
    KvgReach reach;
    char *output;
    gboolean details, yes, keep_streams, keep_identities;
} Options;

static void
options_clear(Options *options)
{
    kvg_reach_clear(&options->reach);
    g_free(options->output);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Options, options_clear)

/* One that was imported is deployed as soon as kvg provision has been there. */
static const char *
status_of(const KvgConfig *config, const json_t *record)
{
    const char *status = text_of(record, "Status");
    g_autofree char *ledger = g_build_filename(config->identity_directory, "provision.json", NULL);
    if (strcmp(status, "DEPLOYMENT_PENDING") != 0 || !g_file_test(ledger, G_FILE_TEST_EXISTS))
        return status;
    g_auto(GStrv) names = camera_names(record);
    for (char **name = names; *name != NULL; name++) {
        const KvgConfigCamera *camera = kvg_config_find_camera(config, *name);
        if (camera == NULL || !g_file_test(camera->certificate_path, G_FILE_TEST_EXISTS))
            return status;
    }
    return HAS_ALL_STATUS;
}

/* With the names of the former service's answers. */
static json_t *
describe(const Options *options, KvgReports *reports, const json_t *record, bool is_whole)
{
    static const char *const copied[] = {"ApplicationInstanceId", "Name", "StatusDescription",
                                         "CreatedTime", "LastUpdatedTime"};
    static const char *const details[] = {"Parameters", "ManifestPayload",
                                          "ManifestOverridesPayload"};
    const char *health = NULL;
    json_t *nodes = kvg_reports_describe_nodes(reports, record, &health);
    json_t *answer =
        json_pack("{s:s, s:s}", "Status", status_of(options->reach.target.config, record),
                  "HealthStatus", health);
    for (size_t i = 0; i < G_N_ELEMENTS(copied); i++)
        json_object_set(answer, copied[i], json_object_get(record, copied[i]));
    for (size_t i = 0; options->details && i < G_N_ELEMENTS(details); i++)
        json_object_set(answer, details[i], json_object_get(record, details[i]));
    if (is_whole)
        json_object_set(answer, "NodeInstances", nodes);
    json_decref(nodes);
    return answer;
}

static void
print_instance(const json_t *instance)
{
    printf("%-24s %-22s %s\n", text_of(instance, "Name"), text_of(instance, "Status"),
           text_of(instance, "HealthStatus"));
}

static void
print_whole(const json_t *instance)
{
    size_t i;
    const json_t *node;
    print_instance(instance);
    json_array_foreach(json_object_get(instance, "NodeInstances"), i, node)
        printf("  %-22s %-22s %s\n", text_of(node, "NodeInstanceId"),
               text_of(node, "CurrentStatus"), text_of(node, "StatusDescription"));
}

static bool
parse(Options *options, const char *usage, int *argc, char ***argv, GError **error)
{
    const bool is_remove = strcmp((*argv)[0], "remove") == 0;
    const GOptionEntry removing[] = {
        {"yes", 'y', 0, G_OPTION_ARG_NONE, &options->yes, "do not ask", NULL},
        {"keep-streams", 0, 0, G_OPTION_ARG_NONE, &options->keep_streams,
         "leave the streams and video", NULL},
        {"keep-identities", 0, 0, G_OPTION_ARG_NONE, &options->keep_identities,
         "only take the cameras out of the configuration; no call to AWS", NULL},
        G_OPTION_ENTRY_NULL,
    };
    const GOptionEntry entries[] = {
        KVG_REACH_OPTIONS(options->reach),
        {"details", 0, 0, G_OPTION_ARG_NONE, &options->details,
         "also parameters and manifests; with --output json", NULL},
        {"output", 0, 0, G_OPTION_ARG_STRING, &options->output,
         "'json': members named as in the former service's answers", "FORMAT"},
        G_OPTION_ENTRY_NULL,
    };
    g_autoptr(GOptionContext) context = g_option_context_new(usage);
    g_option_context_add_main_entries(context, entries, NULL);
    if (is_remove)
        g_option_context_add_main_entries(context, removing, NULL);
    if (!g_option_context_parse(context, argc, argv, error))
        return false;
    if (options->output == NULL || strcmp(options->output, "json") == 0)
        return true;
    g_set_error_literal(error, KVG_ERROR, KVG_ERROR_INVALID, "--output takes json");
    return false;
}

static void
print_json(const json_t *answer)
{
    g_autofree char *text = kvg_json_to_text(answer);
    printf("%s\n", text);
}

static void
list(const Options *options)
{
    g_autoptr(GPtrArray) records = kvg_instances_load(options->reach.target.config->path);
    g_auto(KvgReports) reports = {0};
    g_autoptr(json_t) instances = json_array();
    kvg_reports_init(&reports, &options->reach);
    for (guint i = 0; i < records->len; i++) {
        json_t *instance = describe(options, &reports, records->pdata[i], false);
        json_array_append_new(instances, instance);
        if (options->output == NULL)
            print_instance(instance);
    }
    if (options->output == NULL)
        return;
    g_autoptr(json_t) answer = json_pack("{s:O}", "ApplicationInstances", instances);
    print_json(answer);
}

int
kvg_cmd_panorama_list(int argc, char **argv)
{
    g_auto(Options) options = {0};
    g_autoptr(GError) error = NULL;
    if (!parse(&options, "- the application instances", &argc, &argv, &error) || argc > 1) {
        fprintf(stderr, "kvg panorama list: %s\n",
                error != NULL ? error->message : "unexpected argument");
        return 2;
    }
    if (!kvg_reach_open(&options.reach, &error)) {
        fprintf(stderr, "kvg panorama list: %s\n", error->message);
        return 1;
    }
    list(&options);
    return 0;
}

int
kvg_cmd_panorama_describe(int argc, char **argv)
{
    g_auto(Options) options = {0};
    g_autoptr(GError) error = NULL;
    if (!parse(&options, "INSTANCE - status, health and nodes", &argc, &argv, &error) ||
        argc != 2) {
        fprintf(stderr, "kvg panorama describe: %s\n",
                error != NULL ? error->message : "give one instance's name");
        return 2;
    }
    g_autoptr(json_t) record = NULL;
    if (kvg_reach_open(&options.reach, &error))
        record = kvg_instances_find(options.reach.target.config->path, argv[1], &error);
    if (record == NULL) {
        fprintf(stderr, "kvg panorama describe: %s\n", error->message);
        return 1;
    }
    g_auto(KvgReports) reports = {0};
    kvg_reports_init(&reports, &options.reach);
    g_autoptr(json_t) answer = describe(&options, &reports, record, true);
    if (options.output != NULL)
        print_json(answer);
    else
        print_whole(answer);
    return 0;
}

/* ---- remove ---- */

static bool
may_remove(const Options *options, const char *name)
{
    if (options->yes)
        return true;
    if (isatty(STDIN_FILENO) != 1) {
        fprintf(stderr, "kvg panorama remove: give --yes when nobody can be asked\n");
        return false;
    }
    fprintf(stderr,
            "This removes '%s' with what was provisioned for its cameras%s.\nWrite 'yes' to "
            "go on: ",
            name, options->keep_streams || options->keep_identities ? "" : ", all their video too");
    char answer[16] = "";
    return fgets(answer, sizeof answer, stdin) != NULL && strcmp(answer, "yes\n") == 0;
}

/* A camera that goes away under a running agent would be reported as a failure meanwhile. */
static void
switch_off(const Options *options, char **names)
{
    g_autoptr(json_t) off = json_pack("{s:b}", "streaming", false);
    for (char **name = names; *name != NULL; name++) {
        json_t *answer = kvg_reach_agent(&options->reach, *name, off, NULL);
        if (answer == NULL)
            return;
        json_decref(answer);
    }
}

static bool
destroy(const Options *options, const char *path, char **names)
{
    g_autoptr(GPtrArray) words = g_ptr_array_new();
    g_ptr_array_add(words, (void *)(uintptr_t) "destroy");
    add_target(words, &options->reach.target, path);
    g_ptr_array_add(words, (void *)(uintptr_t) "--yes");
    if (options->keep_streams)
        g_ptr_array_add(words, (void *)(uintptr_t) "--keep-streams");
    add_names(words, names);
    return run_command(kvg_cmd_destroy, words);
}

/* A configuration without a camera is none: the file of the last instance goes out of the way. */
static bool
edit_config(const char *path, const char *instance, GError **error)
{
    g_autofree char *text = kvg_file_read(path, MAX_CONFIG_BYTES, NULL, error);
    if (text == NULL)
        return false;
    g_autofree char *without = kvg_yaml_remove(text, instance);
    if (without == NULL)
        return true; /* somebody was here before */
    g_autofree char *trial = g_strconcat(path, ".new", NULL);
    if (!kvg_file_replace(trial, without, strlen(without), 0644, error))
        return false;
    g_autoptr(KvgConfig) config = kvg_config_load(trial, NULL);
    if (config != NULL && rename(trial, path) == 0)
        return true;
    g_autofree char *aside = g_strconcat(path, ".removed", NULL);
    unlink(trial);
    if (config != NULL || rename(path, aside) != 0) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_FAILED, "%s cannot be replaced", path);
        return false;
    }
    printf("no camera is left: %s is now %s; stop the agent\n", path, aside);
    return true;
}

static void
remove_files(const char *path, const json_t *record)
{
    g_autofree char *absolute = g_canonicalize_filename(path, NULL);
    g_autofree char *folder = g_path_get_dirname(absolute);
    g_autofree char *own = g_strdup_printf("panorama/%s.json", text_of(record, "Name"));
    size_t i;
    const json_t *file;
    json_array_foreach(json_object_get(record, "Files"), i, file)
    {
        const char *name = json_string_value(file);
        g_autofree char *secret = name != NULL ? g_build_filename(folder, name, NULL) : NULL;
        if (name != NULL && g_str_has_prefix(name, "secrets/") && strstr(name, "..") == NULL)
            unlink(secret);
    }
    g_autofree char *record_path = g_build_filename(folder, own, NULL);
    unlink(record_path);
}

static bool
remove_instance(const Options *options, json_t *record, GError **error)
{
    const KvgConfig *config = options->reach.target.config;
    g_auto(GStrv) names = camera_names(record);
    g_autofree char *ledger = g_build_filename(config->identity_directory, "provision.json", NULL);
    if (!kvg_instances_set_status(config->path, record, "REMOVAL_IN_PROGRESS", "", error))
        return false;
    switch_off(options, names);
    if (!options->keep_identities && g_file_test(ledger, G_FILE_TEST_EXISTS) &&
        !destroy(options, config->path, names)) {
        if (kvg_instances_set_status(config->path, record, "REMOVAL_FAILED",
                                     "kvg destroy failed; remove it again to go on", error))
            g_set_error_literal(error, KVG_ERROR, KVG_ERROR_FAILED,
                                "REMOVAL_FAILED: kvg destroy failed; run it again to go on");
        return false;
    }
    if (!edit_config(config->path, text_of(record, "Name"), error))
        return false;
    remove_files(config->path, record);
    kvg_reach_reload(&options->reach);
    return true;
}

int
kvg_cmd_panorama_remove(int argc, char **argv)
{
    g_auto(Options) options = {0};
    g_autoptr(GError) error = NULL;
    if (!parse(&options, "INSTANCE - take its cameras away, with what was provisioned for them",
               &argc, &argv, &error) ||
        argc != 2) {
        fprintf(stderr, "kvg panorama remove: %s\n",
                error != NULL ? error->message : "give one instance's name");
        return 2;
    }
    g_autoptr(json_t) record = NULL;
    if (kvg_reach_open(&options.reach, &error))
        record = kvg_instances_find(config_path(&options.reach), argv[1], &error);
    if (record != NULL && !may_remove(&options, argv[1]))
        return 2;
    if (record == NULL || !remove_instance(&options, record, &error)) {
        fprintf(stderr, "kvg panorama remove: %s\n", error->message);
        return 1;
    }
    printf("%s: REMOVAL_SUCCEEDED\n", argv[1]);
    return 0;
}
