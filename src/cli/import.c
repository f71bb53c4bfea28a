#include "cli/import.h"
#include "base/clock.h"
#include "base/text.h"
#include "cli/command.h"
#include "cli/key.h"
#include "cli/secret.h"
#include "os/file.h"
#include "panorama/yaml.h"
#include <kvg/error.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_CONFIG_BYTES (4u * 1024 * 1024)
#define MAX_PEM_BYTES (64u * 1024)
#define MAX_RECORD_BYTES (16u * 1024 * 1024)

void
kvg_import_init(KvgImport *import)
{
    *import = (KvgImport){0};
    kvg_graph_sources_init(&import->sources);
    kvg_problems_init(&import->problems);
}

void
kvg_import_clear(KvgImport *import)
{
    char *const texts[] = {import->graph,       import->packages,   import->cameras,
                           import->certs,       import->output,     import->name,
                           import->owner,       import->region,     import->role_alias,
                           import->endpoint,    import->ca_bundle,  import->folder,
                           import->config_path, import->config_text};
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++)
        g_free(texts[i]);
    g_strfreev(import->overrides);
    kvg_plan_free(import->plan);
    kvg_graph_free(import->application);
    kvg_graph_sources_clear(&import->sources);
    kvg_problems_clear(&import->problems);
    kvg_config_unref(import->existing);
    kvg_install_free(import->install);
}

const char *
kvg_import_misuse(const KvgImport *import)
{
    if (import->graph == NULL)
        return "give --graph FILE: graphs/APPLICATION/graph.json of the project";
    if (import->name != NULL && !kvg_record_is_name(import->name))
        return "--name takes 1 to 200 of the characters A-Z a-z 0-9 _ -";
    if (import->owner != NULL &&
        !g_regex_match_simple("^[A-Z_a-z0-9]{1,64}$", import->owner, G_REGEX_DOLLAR_ENDONLY, 0))
        return "--owner takes an account id";
    return NULL;
}

/* ---- where it goes ---- */

static void
find_output(KvgImport *import)
{
    const char *output = import->output != NULL ? import->output : ".";
    const bool is_file = g_str_has_suffix(output, ".yaml") || g_str_has_suffix(output, ".yml");
    g_autofree char *path = is_file ? g_strdup(output) : g_build_filename(output, "kvg.yaml", NULL);
    import->config_path = g_canonicalize_filename(path, NULL);
    import->folder = g_path_get_dirname(import->config_path);
    import->install = kvg_install_new(import->folder);
    if (import->name != NULL)
        return;
    g_autofree char *graph = g_canonicalize_filename(import->graph, NULL);
    g_autofree char *folder = g_path_get_dirname(graph);
    import->name = g_path_get_basename(folder);
    if (!kvg_record_is_name(import->name)) {
        g_free(import->name);
        import->name = g_strdup("application");
    }
}

/* The record of the same instance from before (NULL). */
static json_t *
read_record(const KvgImport *import)
{
    g_autofree char *name = kvg_record_name(import->name);
    g_autofree char *path = g_build_filename(import->folder, name, NULL);
    size_t len;
    g_autofree char *text = kvg_file_read(path, MAX_RECORD_BYTES, &len, NULL);
    return text != NULL ? kvg_json_parse_object(text, len, NULL) : NULL;
}

/* ---- documents ---- */

static bool
read_documents(KvgImport *import)
{
    KvgProblems *problems = &import->problems;
    g_auto(KvgProjectFile) file = {0};
    g_autoptr(json_t) templates = NULL;
    struct stat info;
    kvg_project_read(import->graph, import->overrides, import->packages, &import->sources,
                     problems);
    if (import->cameras != NULL && kvg_project_read_file(import->cameras, &file, problems)) {
        if (stat(import->cameras, &info) == 0 && (info.st_mode & 0077) != 0)
            kvg_problem_add(problems, KVG_PROBLEM_WARNING, import->cameras, NULL, NULL,
                            "it holds passwords, and others may read it; chmod 600, or delete it "
                            "after the import");
        templates =
            kvg_document_parse(KVG_DOCUMENT_CAMERAS, file.name, file.text, file.len, problems);
    }
    if (import->sources.graph.text != NULL)
        import->application = kvg_graph_new(&import->sources, problems);
    if (import->application == NULL)
        return false;
    /* Nobody is asked for passwords of a graph that is wrong anyway. */
    const KvgPlanSecrets secrets = {.templates = templates,
                                    .templates_file = file.name,
                                    .ask = problems->n_errors == 0 ? kvg_secret_ask : NULL};
    import->plan = kvg_plan_new(import->application, &secrets, problems);
    return true;
}

/* ---- site ---- */

static void
choose(char **option, const char *planned, const char *name, KvgProblems *problems)
{
    if (*option == NULL)
        *option = g_strdup(planned);
    else if (planned != NULL && strcmp(*option, planned) != 0)
        kvg_problem_add(problems, KVG_PROBLEM_NOTE, NULL, NULL, NULL,
                        "%s: '%s' of the option is taken, not '%s' of the application", name,
                        *option, planned);
}

static void
check_same(KvgImport *import, const char *name, const char *is, const char *wanted)
{
    if (wanted != NULL && is != NULL && strcmp(is, wanted) != 0)
        kvg_problem_add(&import->problems, KVG_PROBLEM_ERROR, import->config_path, name, NULL,
                        "it is '%s', the application wants '%s'; import it into a folder of its "
                        "own, or give the option",
                        is, wanted);
}

static bool
open_site(KvgImport *import, GError **error)
{
    if (import->adds && g_file_test(import->config_path, G_FILE_TEST_EXISTS)) {
        import->existing = kvg_config_load(import->config_path, error);
        if (import->existing == NULL)
            return false;
    }
    choose(&import->region, import->plan->region, "region", &import->problems);
    choose(&import->role_alias, import->plan->role_alias, "role alias", &import->problems);
    if (import->existing != NULL) {
        check_same(import, "region", import->existing->region, import->region);
        check_same(import, "identity.role_alias", import->existing->role_alias, import->role_alias);
        return true;
    }
    const char *const variables[] = {"AWS_REGION", "AWS_DEFAULT_REGION"};
    for (size_t i = 0; i < G_N_ELEMENTS(variables) && import->region == NULL; i++)
        import->region = g_strdup(g_getenv(variables[i]));
    /* Where the application was not understood, its region was not either. */
    if (import->problems.n_errors == 0 && (import->region == NULL || *import->region == '\0'))
        kvg_problem_add(&import->problems, KVG_PROBLEM_ERROR, NULL, NULL, NULL,
                        "the application names no region (kvs_region); give --region");
    return true;
}

/* ---- certificates ---- */

/* --certs, or where the sample kept them: src/certs of its package. */
static char *
certificates_folder(const KvgImport *import)
{
    const KvgGraph *graph = import->application;
    if (import->certs != NULL)
        return g_strdup(import->certs);
    for (guint i = 0; i < graph->nodes->len; i++) {
        const KvgGraphNode *node = g_ptr_array_index(graph->nodes, i);
        if (!kvg_plan_is_sample(graph, node) || node->package->file == NULL)
            continue;
        g_autofree char *package = g_path_get_dirname(node->package->file);
        g_autofree char *folder = g_build_filename(package, "src", "certs", NULL);
        if (g_file_test(folder, G_FILE_TEST_IS_DIR))
            return g_steal_pointer(&folder);
    }
    return NULL;
}

static bool
add_pem(KvgImport *import, const char *from, const char *to)
{
    g_autoptr(GError) error = NULL;
    size_t len;
    g_autofree char *text = kvg_file_read(from, MAX_PEM_BYTES, &len, &error);
    if (text == NULL) {
        kvg_problem_add(&import->problems, KVG_PROBLEM_ERROR, NULL, NULL, NULL, "%s",
                        error->message);
        return false;
    }
    kvg_install_add(import->install, to, text, len, 0600, false);
    explicit_bzero(text, len);
    return true;
}

static void
add_certificate(KvgImport *import, const char *folder, const char *camera)
{
    g_autofree char *stem = g_build_filename(folder, camera, NULL);
    g_autofree char *certificate = g_strconcat(stem, "-cert.pem", NULL);
    g_autofree char *key = g_strconcat(stem, "-private.key", NULL);
    g_autofree char *identity =
        import->existing != NULL
            ? g_build_filename(import->existing->identity_directory, camera, NULL)
            : g_build_filename("certs", camera, NULL);
    g_autofree char *to_certificate = g_strconcat(identity, ".cert.pem", NULL);
    g_autofree char *to_key = g_strconcat(identity, ".private.key", NULL);
    const char *const from[] = {certificate, key};
    bool is_there = true;
    for (size_t i = 0; i < G_N_ELEMENTS(from); i++) {
        if (g_file_test(from[i], G_FILE_TEST_EXISTS))
            continue;
        is_there = false;
        kvg_problem_add(
            &import->problems, import->certs != NULL ? KVG_PROBLEM_ERROR : KVG_PROBLEM_WARNING,
            from[i], NULL, NULL,
            import->certs != NULL ? "missing; without --certs, kvg provision makes new certificates"
                                  : "missing; kvg provision makes a new certificate");
    }
    if (!is_there)
        return;
    if (!kvg_key_matches(key, certificate)) {
        kvg_problem_add(&import->problems, KVG_PROBLEM_ERROR, key, NULL, NULL,
                        "it is no private key (PEM, without a passphrase) that belongs to %s",
                        certificate);
        return;
    }
    /* A certificate that came later, from a rotation, is the better one. */
    g_autofree char *there_certificate = g_canonicalize_filename(to_certificate, import->folder);
    g_autofree char *there_key = g_canonicalize_filename(to_key, import->folder);
    if (!import->force && kvg_key_matches(there_key, there_certificate))
        return;
    if (add_pem(import, key, to_key))
        add_pem(import, certificate, to_certificate);
}

static void
add_certificates(KvgImport *import)
{
    g_autofree char *folder = certificates_folder(import);
    if (folder == NULL) {
        kvg_problem_add(&import->problems, KVG_PROBLEM_NOTE, NULL, NULL, NULL,
                        "no certificates given (--certs); kvg provision makes new ones");
        return;
    }
    for (guint i = 0; i < import->plan->cameras->len; i++) {
        const KvgPlanCamera *camera = g_ptr_array_index(import->plan->cameras, i);
        add_certificate(import, folder, camera->name);
    }
}

/* ---- what is written ---- */

static bool
owns(const json_t *record, const char *name)
{
    size_t i;
    const json_t *file;
    json_array_foreach(json_object_get(record, "Files"), i, file)
    {
        if (g_strcmp0(json_string_value(file), name) == 0)
            return true;
    }
    return false;
}

static void
add_secrets(KvgImport *import, const json_t *former, GPtrArray *files)
{
    for (guint i = 0; i < import->plan->cameras->len; i++) {
        const KvgPlanCamera *camera = g_ptr_array_index(import->plan->cameras, i);
        if (camera->password == NULL)
            continue;
        g_autofree char *name = g_strconcat("secrets/", camera->name, NULL);
        g_autofree char *line = g_strconcat(camera->password, "\n", NULL);
        if (strpbrk(camera->password, "\r\n") != NULL)
            kvg_problem_add(&import->problems, KVG_PROBLEM_ERROR, NULL, NULL, NULL,
                            "the password of camera '%s' has a line break", camera->name);
        kvg_install_add(import->install, name, line, strlen(line), 0600,
                        import->adds && owns(former, name));
        explicit_bzero(line, strlen(line));
        g_ptr_array_add(files, g_steal_pointer(&name));
    }
}

static void
add_record(KvgImport *import, const json_t *former, GPtrArray *files)
{
    g_autofree char *now = kvg_format_iso8601(kvg_clock_wall_ms(), false);
    g_autofree char *name = kvg_record_name(import->name);
    g_ptr_array_add(files, NULL);
    const KvgRecordOptions options = {
        .name = import->name, .owner = import->owner, .files = (char **)files->pdata, .now = now};
    g_autoptr(json_t) record = kvg_record_new(import->application, import->plan, &options, former);
    char *text = json_dumps(record, JSON_INDENT(2));
    g_autofree char *line = g_strconcat(text, "\n", NULL);
    free(text);
    kvg_install_add(import->install, name, line, strlen(line), 0600, true);
}

static bool
make_config(KvgImport *import, GError **error)
{
    g_autofree char *base = NULL;
    if (import->existing != NULL) {
        base = kvg_file_read(import->config_path, MAX_CONFIG_BYTES, NULL, error);
        if (base == NULL)
            return false;
    } else {
        g_autofree char *ca =
            import->ca_bundle != NULL ? g_canonicalize_filename(import->ca_bundle, NULL) : NULL;
        const KvgYamlSite site = {.region = import->region,
                                  .role_alias = import->role_alias,
                                  .endpoint = import->endpoint,
                                  .ca_bundle = ca};
        base = kvg_yaml_site(&site, import->name);
    }
    import->config_text = kvg_yaml_insert(base, import->name, import->plan, error);
    if (import->config_text == NULL) {
        g_prefix_error(error, "%s: ", import->config_path);
        return false;
    }
    g_autofree char *name = g_path_get_basename(import->config_path);
    kvg_install_add(import->install, name, import->config_text, strlen(import->config_text), 0644,
                    import->existing != NULL);
    return true;
}

static void
print_problems(const KvgProblems *problems)
{
    for (guint i = 0; i < problems->list->len; i++) {
        g_autofree char *text = kvg_problem_to_text(problems->list->pdata[i]);
        fprintf(stderr, "%s\n", text);
    }
    if (problems->n_left_out > 0)
        fprintf(stderr, "and %u more\n", problems->n_left_out);
}

bool
kvg_import_prepare(KvgImport *import, GError **error)
{
    g_autoptr(GPtrArray) files = g_ptr_array_new_with_free_func(g_free);
    find_output(import);
    const bool is_open = read_documents(import) && open_site(import, error);
    if (is_open) {
        g_autoptr(json_t) former = read_record(import);
        add_certificates(import);
        add_secrets(import, former, files);
        add_record(import, former, files);
    }
    print_problems(&import->problems);
    return is_open && import->problems.n_errors == 0 && make_config(import, error) &&
           kvg_install_check(import->install, import->force || import->dry_run, error);
}

/* The agent would refuse a file that kvg check refuses, so it is never put in place. */
static bool
check_config(const KvgImport *import, GError **error)
{
    g_autofree char *trial = g_strconcat(import->config_path, ".new", NULL);
    g_autoptr(GError) cause = NULL;
    if (!kvg_file_replace(trial, import->config_text, strlen(import->config_text), 0600, error))
        return false;
    g_autoptr(KvgConfig) config = kvg_config_load(trial, &cause);
    unlink(trial);
    if (config != NULL)
        return true;
    g_autoptr(GString) text = g_string_new(cause->message);
    g_string_replace(text, trial, import->config_path, 0);
    g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "the configuration was left as it is:\n%s",
                text->str);
    return false;
}

bool
kvg_import_write(KvgImport *import, GError **error)
{
    /* The check reads the secrets, so they come first; the configuration is the last of the files.
     */
    return kvg_install_write(import->install, KVG_INSTALL_ALL_BUT_LAST, error) &&
           check_config(import, error) &&
           kvg_install_write(import->install, KVG_INSTALL_ALL, error);
}

/* ---- the command ---- */

static void
report_json(const KvgImport *import, bool good)
{
    g_autoptr(json_t) problems = kvg_problems_to_json(&import->problems);
    g_autoptr(json_t) files = json_array();
    g_autoptr(GPtrArray) names = kvg_install_names(import->install);
    for (guint i = 0; good && i < names->len; i++)
        json_array_append_new(files, json_string(names->pdata[i]));
    g_autoptr(json_t) answer = json_pack("{s:b, s:O, s:O, s:s}", "ok", good, "problems", problems,
                                         "files", files, "config", import->config_path);
    g_autofree char *text = kvg_json_to_text(answer);
    printf("%s\n", text);
}

static void
report_plan(const KvgImport *import)
{
    g_autoptr(GPtrArray) names = kvg_install_names(import->install);
    printf("Would write into %s:\n", import->folder);
    for (guint i = 0; i < names->len; i++)
        printf("  %-9s %s\n", kvg_install_fate(import->install, names->pdata[i]),
               (const char *)names->pdata[i]);
    printf("\n%s", import->config_text);
}

void
kvg_import_report(const KvgImport *import)
{
    if (import->json) {
        report_json(import, true);
    } else if (import->dry_run) {
        report_plan(import);
    } else {
        printf("%s: %u camera%s of '%s'\n", import->config_path, import->plan->cameras->len,
               import->plan->cameras->len == 1 ? "" : "s", import->name);
    }
}

static bool
parse(KvgImport *import, int argc, char **argv, GError **error)
{
    const GOptionEntry entries[] = {
        KVG_IMPORT_OPTIONS(*import),
        {"output", 'o', 0, G_OPTION_ARG_FILENAME, &import->output,
         "folder for kvg.yaml, secrets/ and certs/, or the name of the file (.)", "DIR|FILE"},
        {"json", 0, 0, G_OPTION_ARG_NONE, &import->json, "one JSON object on stdout", NULL},
        G_OPTION_ENTRY_NULL,
    };
    g_autoptr(GOptionContext) context =
        g_option_context_new("panorama --graph FILE [--override FILE...] - a configuration from an "
                             "AWS Panorama application");
    g_option_context_set_description(
        context, "A camera's address that stands in no package and no --cameras file is taken from "
                 "the environment,\nKVG_CAMERA_NAME_URL, KVG_CAMERA_NAME_USERNAME and "
                 "KVG_CAMERA_NAME_PASSWORD (upper case, _ for -),\nor asked for on a terminal.\n");
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, error))
        return false;
    const char *problem = argc == 2 && strcmp(argv[1], "panorama") == 0
                              ? kvg_import_misuse(import)
                              : "write: kvg import panorama --graph FILE";
    if (problem != NULL)
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "%s", problem);
    return problem == NULL;
}

int
kvg_cmd_import(int argc, char **argv)
{
    g_auto(KvgImport) import;
    g_autoptr(GError) error = NULL;
    kvg_import_init(&import);
    if (!parse(&import, argc, argv, &error)) {
        fprintf(stderr, "kvg import: %s\n", error->message);
        return 2;
    }
    const bool good = kvg_import_prepare(&import, &error) &&
                      (import.dry_run || kvg_import_write(&import, &error));
    if (good) {
        kvg_import_report(&import);
        if (!import.dry_run && !import.json)
            printf("Next: kvg provision -c %s, then kvg agent -c %s\n", import.config_path,
                   import.config_path);
        return 0;
    }
    if (import.json)
        report_json(&import, false);
    if (error != NULL)
        fprintf(stderr, "kvg import: %s\n", error->message);
    else
        fprintf(stderr, "kvg import: %u error%s; nothing was written\n", import.problems.n_errors,
                import.problems.n_errors == 1 ? "" : "s");
    return 1;
}
