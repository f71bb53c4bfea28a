/* kvg spool list, verify, export: what waits in a spool, also while an agent uses it. */
#include "cli/spool.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/command.h"
#include "config/config.h"
#include <kvg/error.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    char *config_path, *folder, *memory_path, *output;
    gint64 from;
    KvgConfig *config;
    bool is_json;
    GPtrArray *names; /* char * */
} Context;

static void
context_clear(Context *context)
{
    g_free(context->config_path);
    g_free(context->folder);
    g_free(context->memory_path);
    g_free(context->output);
    g_clear_pointer(&context->config, kvg_config_unref);
    g_clear_pointer(&context->names, g_ptr_array_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Context, context_clear)

/* ---- which spools ---- */

static void
add_names(GHashTable *names, const char *path)
{
    g_autoptr(GDir) folder = g_dir_open(path, 0, NULL);
    const char *name;
    while (folder != NULL && (name = g_dir_read_name(folder)) != NULL) {
        g_autofree char *child = g_build_filename(path, name, NULL);
        if (kvg_name_is_stream(name) && g_file_test(child, G_FILE_TEST_IS_DIR))
            g_hash_table_add(names, g_strdup(name));
    }
}

static int
compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* All, or the one that is asked for. */
static bool
find_names(Context *context, const char *wanted, GError **error)
{
    g_autoptr(GHashTable) found = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autofree char *some = kvg_spool_memory_folder(context->memory_path, context->folder, "x");
    g_autofree char *memory = g_path_get_dirname(some);
    add_names(found, context->folder);
    add_names(found, memory);
    context->names = g_ptr_array_new_with_free_func(g_free);
    if (wanted != NULL) {
        if (!g_hash_table_contains(found, wanted)) {
            g_set_error(error, KVG_ERROR, KVG_ERROR_NOT_FOUND,
                        "there is no spool of '%s' in %s; 'kvg spool list' shows those there are",
                        wanted, context->folder);
            return false;
        }
        g_ptr_array_add(context->names, g_strdup(wanted));
        return true;
    }
    if (!g_file_test(context->folder, G_FILE_TEST_IS_DIR) && g_hash_table_size(found) == 0) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_NOT_FOUND, "%s is not a folder", context->folder);
        return false;
    }
    GHashTableIter iter;
    void *name;
    g_hash_table_iter_init(&iter, found);
    while (g_hash_table_iter_next(&iter, &name, NULL))
        g_ptr_array_add(context->names, g_strdup(name));
    g_ptr_array_sort(context->names, compare_names);
    return true;
}

static bool
find_folder(Context *context, GError **error)
{
    if (context->folder != NULL)
        return true;
    context->config =
        kvg_config_load(context->config_path != NULL ? context->config_path : "kvg.yaml", error);
    if (context->config == NULL)
        return false;
    context->folder = g_strdup(context->config->spool_path);
    if (context->memory_path == NULL)
        context->memory_path = g_strdup(context->config->spool_memory_path);
    return true;
}

static KvgSpool *
open_view(const Context *context, const char *name, GError **error)
{
    g_autofree char *path = g_build_filename(context->folder, name, NULL);
    g_autofree char *memory = kvg_spool_memory_folder(context->memory_path, context->folder, name);
    const KvgSpoolOptions options = {.path = path, .memory_path = memory, .read_only = true};
    return kvg_spool_open(&options, error);
}

/* ---- list ---- */

static char *
time_text(int64_t ms)
{
    g_autoptr(GDateTime) time = g_date_time_new_from_unix_utc(ms / 1000);
    return time != NULL ? g_date_time_format(time, "%Y-%m-%dT%H:%M:%SZ") : g_strdup("-");
}

static json_t *
spool_json(const char *name, const KvgSpoolStats *stats, const char *oldest, const char *newest)
{
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:s?, s:s?}", "name", name, "fragments",
                     (json_int_t)stats->n_fragments, "bytes", (json_int_t)stats->bytes,
                     "memory_bytes", (json_int_t)stats->bytes_in[KVG_SPOOL_IN_MEMORY], "disk_bytes",
                     (json_int_t)stats->bytes_in[KVG_SPOOL_ON_DISK], "oldest", oldest, "newest",
                     newest);
}

/* Of a spool that holds: what is there, and what was asked for. */
static void
add_held(const Context *context, KvgSpool *spool, const KvgSpoolStats *stats, json_t *object)
{
    size_t n_held, n_releases;
    g_autofree KvgTimeRange *held = kvg_spool_list_held(spool, &n_held);
    g_autofree KvgRelease *releases = kvg_spool_list_releases(spool, &n_releases);
    if (stats->held_fragments == 0 && n_releases == 0)
        return;
    json_t *times = json_array(), *asked = json_array();
    for (size_t i = 0; i < n_held; i++) {
        g_autofree char *from = time_text(held[i].from_wall_ms);
        g_autofree char *to = time_text(held[i].to_wall_ms);
        if (!context->is_json)
            printf("  here       %s to %s\n", from, to);
        json_array_append_new(times, json_pack("[I, I]", (json_int_t)held[i].from_wall_ms,
                                               (json_int_t)held[i].to_wall_ms));
    }
    for (size_t i = 0; i < n_releases; i++) {
        const KvgRelease *one = &releases[i];
        g_autofree char *from = time_text(one->range.from_wall_ms);
        g_autofree char *to = time_text(one->range.to_wall_ms);
        if (!context->is_json)
            printf("  asked for  %s to %s (%s): %" G_GUINT64_FORMAT " uploaded, %" G_GUINT64_FORMAT
                   " waiting%s\n",
                   from, to, one->id, one->fragments, one->fragments_waiting,
                   one->is_done ? ", done" : "");
        json_array_append_new(asked,
                              json_pack("{s:s, s:I, s:I, s:I, s:I, s:b}", "id", one->id, "from_ms",
                                        (json_int_t)one->range.from_wall_ms, "to_ms",
                                        (json_int_t)one->range.to_wall_ms, "fragments",
                                        (json_int_t)one->fragments, "waiting",
                                        (json_int_t)one->fragments_waiting, "done", one->is_done));
    }
    json_object_set_new(object, "held_fragments", json_integer((json_int_t)stats->held_fragments));
    json_object_set_new(object, "held_bytes", json_integer((json_int_t)stats->held_bytes));
    json_object_set_new(object, "here", times);
    json_object_set_new(object, "asked_for", asked);
}

static json_t *
list_one(const Context *context, const char *name, GError **error)
{
    g_autoptr(KvgSpool) spool = open_view(context, name, error);
    if (spool == NULL)
        return NULL;
    KvgSpoolStats stats;
    KvgSpoolFragmentInfo info;
    kvg_spool_get_stats(spool, &stats);
    g_autofree char *oldest = kvg_spool_peek(spool, 0, &info) ? time_text(info.timecode_ms) : NULL;
    g_autofree char *newest =
        kvg_spool_peek(spool, stats.newest_fragment, &info) ? time_text(info.timecode_ms) : NULL;
    if (!context->is_json) {
        g_autofree char *memory = g_format_size(stats.bytes_in[KVG_SPOOL_IN_MEMORY]);
        g_autofree char *disk = g_format_size(stats.bytes_in[KVG_SPOOL_ON_DISK]);
        printf("%-24s %9" G_GUINT64_FORMAT " %10s %10s  %-20s  %s\n", name, stats.n_fragments,
               memory, disk, oldest != NULL ? oldest : "-", newest != NULL ? newest : "-");
    }
    json_t *object = spool_json(name, &stats, oldest, newest);
    add_held(context, spool, &stats, object);
    return object;
}

/* ---- verify ---- */

static json_t *
verify_one(const Context *context, const char *name, GError **error)
{
    g_autoptr(KvgSpool) spool = open_view(context, name, error);
    if (spool == NULL)
        return NULL;
    g_autoptr(KvgSpoolReader) reader = kvg_spool_reader_new(spool);
    uint64_t n_fragments = 0, n_frames = 0;
    for (;;) {
        g_auto(KvgSpoolEvent) event = {0};
        if (!kvg_spool_read(reader, &event, error))
            return NULL;
        if (event.kind == KVG_SPOOL_NONE)
            break;
        n_fragments += event.kind == KVG_SPOOL_END;
        n_frames += event.kind == KVG_SPOOL_FRAME;
    }
    KvgSpoolStats stats;
    kvg_spool_get_stats(spool, &stats);
    const bool is_whole = stats.torn_records == 0;
    if (!context->is_json) {
        printf("%s: %s, %" G_GUINT64_FORMAT " fragments, %" G_GUINT64_FORMAT " frames", name,
               is_whole ? "whole" : "damaged", n_fragments, n_frames);
        if (!is_whole)
            printf(", %" G_GUINT64_FORMAT " places cannot be read", stats.torn_records);
        printf(stats.cut_records > 0 ? ", its last record is not complete\n" : "\n");
    }
    return json_pack("{s:s, s:b, s:I, s:I, s:I, s:b}", "name", name, "whole", is_whole, "fragments",
                     (json_int_t)n_fragments, "frames", (json_int_t)n_frames, "damaged",
                     (json_int_t)stats.torn_records, "cut", stats.cut_records > 0);
}

/* ---- all of them ---- */

static void
print_json(json_t *value)
{
    g_autofree char *text = kvg_json_to_text(value);
    printf("%s\n", text);
}

/* Each spool in turn; one that fails does not hide the others. */
static int
each(const Context *context, json_t *(*look)(const Context *, const char *, GError **))
{
    g_autoptr(json_t) found = json_array();
    int result = 0;
    for (guint i = 0; i < context->names->len; i++) {
        const char *name = g_ptr_array_index(context->names, i);
        g_autoptr(GError) error = NULL;
        json_t *one = look(context, name, &error);
        if (one == NULL) {
            fprintf(stderr, "kvg spool: %s: %s\n", name, error->message);
            one = json_pack("{s:s, s:s}", "name", name, "error", error->message);
            result = 1;
        }
        if (!kvg_json_get_bool(one, "whole", true))
            result = 1;
        json_array_append_new(found, one);
    }
    if (context->is_json) {
        g_autoptr(json_t) object = json_pack("{s:O}", "spools", found);
        print_json(object);
    }
    return result;
}

static int
run_list(const Context *context, const char *file, GError **error)
{
    if (!context->is_json)
        printf("%-24s %9s %10s %10s  %-20s  %s\n", "NAME", "FRAGMENTS", "MEMORY", "DISK", "OLDEST",
               "NEWEST");
    return each(context, list_one);
}

static int
run_verify(const Context *context, const char *file, GError **error)
{
    return each(context, verify_one);
}

/* ---- export ---- */

static void
say_export(const Context *context, const KvgSpoolExport *export)
{
    g_autofree char *first = time_text(export->first_ms);
    g_autofree char *last = time_text(export->last_ms);
    if (context->is_json && export->files->len > 0) {
        g_autoptr(json_t) files = json_array();
        for (guint i = 0; i < export->files->len; i++)
            json_array_append_new(files, json_string(g_ptr_array_index(export->files, i)));
        g_autoptr(json_t) object =
            json_pack("{s:O, s:I, s:I, s:I, s:s, s:s}", "files", files, "fragments",
                      (json_int_t) export->n_fragments, "frames", (json_int_t) export->n_frames,
                      "bytes", (json_int_t) export->n_bytes, "oldest", first, "newest", last);
        print_json(object);
        return;
    }
    for (guint i = 0; i < export->files->len; i++)
        fprintf(stderr, "%s%s", i > 0 ? ", " : "", (char *)g_ptr_array_index(export->files, i));
    fprintf(stderr, "%s%" G_GUINT64_FORMAT " fragments, %" G_GUINT64_FORMAT " frames, %s to %s\n",
            export->files->len > 0 ? ": " : "", export->n_fragments, export->n_frames, first, last);
}

static int
run_export(const Context *context, const char *file, GError **error)
{
    const char *name = g_ptr_array_index(context->names, 0);
    g_autoptr(KvgSpool) spool = open_view(context, name, error);
    if (spool == NULL)
        return 1;
    g_auto(KvgSpoolExport) export = {0};
    if (!kvg_spool_export(spool, (uint64_t)context->from, file, &export, error))
        return 1;
    say_export(context, &export);
    if (export.next_fragment == 0)
        return 0;
    g_set_error(
        error, KVG_ERROR, KVG_ERROR_UNSUPPORTED,
        "the tracks change and one stream cannot hold both; go on with --from %" G_GUINT64_FORMAT
        ", or give a file name",
        export.next_fragment);
    return 1;
}

/* ---- the command ---- */

typedef struct {
    const char *name;
    bool needs_name;
    int (*run)(const Context *context, const char *file, GError **error);
} Verb;

static const Verb verbs[] = {
    {"list", false, run_list}, {"verify", false, run_verify}, {"export", true, run_export}};

static const Verb *
find_verb(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(verbs); i++) {
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    }
    return NULL;
}

/* What is wrong with the arguments; NULL: nothing. */
static const char *
judge_usage(const Context *context, const Verb *verb, int argc, char **argv)
{
    if (verb == NULL)
        return "give one of: list, verify, export";
    if (verb->needs_name && argc < 3)
        return "give the name of a camera";
    if (argc > (verb->needs_name ? 4 : 3))
        return "too many arguments";
    if (context->output != NULL && strcmp(context->output, "json") != 0)
        return "--output can only be json";
    if (context->from < 0)
        return "--from is the number of a fragment";
    if (verb->needs_name && argc == 3 && isatty(STDOUT_FILENO))
        return "give a file to write to, or '-' for this terminal";
    return NULL;
}

int
kvg_cmd_spool(int argc, char **argv)
{
    g_auto(Context) context = {0};
    const GOptionEntry entries[] = {
        {"config", 'c', 0, G_OPTION_ARG_FILENAME, &context.config_path, "configuration (kvg.yaml)",
         "FILE"},
        {"spool", 0, 0, G_OPTION_ARG_FILENAME, &context.folder,
         "spool folder (the configuration's)", "DIR"},
        {"memory-path", 0, 0, G_OPTION_ARG_FILENAME, &context.memory_path,
         "its folder in memory (the configuration's)", "DIR"},
        {"from", 0, 0, G_OPTION_ARG_INT64, &context.from, "export: first fragment", "NUMBER"},
        {"output", 0, 0, G_OPTION_ARG_STRING, &context.output, "'json': one object", "FORMAT"},
        G_OPTION_ENTRY_NULL,
    };
    g_autoptr(GOptionContext) options = g_option_context_new(
        "list [NAME] | verify [NAME] | export NAME [FILE] - what waits in a spool");
    g_autoptr(GError) error = NULL;
    g_option_context_add_main_entries(options, entries, NULL);
    const bool is_parsed = g_option_context_parse(options, &argc, &argv, &error);
    const Verb *verb = is_parsed && argc > 1 ? find_verb(argv[1]) : NULL;
    const char *usage = is_parsed ? judge_usage(&context, verb, argc, argv) : error->message;
    if (usage != NULL) {
        fprintf(stderr, "kvg spool: %s\n", usage);
        return 2;
    }
    context.is_json = context.output != NULL;
    const char *file = argc > 3 && strcmp(argv[3], "-") != 0 ? argv[3] : NULL;
    int result = 1;
    if (find_folder(&context, &error) && find_names(&context, argc > 2 ? argv[2] : NULL, &error))
        result = verb->run(&context, file, &error);
    if (error != NULL)
        fprintf(stderr, "kvg spool: %s\n", error->message);
    return result;
}
