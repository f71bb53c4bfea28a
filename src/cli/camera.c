/* kvg camera: what the cameras are told, through the agent on this machine or through their
 * shadows. */
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/command.h"
#include "cli/kept.h"
#include "cli/reach.h"
#include <kvg/error.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    KvgReach reach;
    KvgKeptOptions kept;
    char *output;
} Options;

static void
options_clear(Options *options)
{
    kvg_reach_clear(&options->reach);
    kvg_kept_options_clear(&options->kept);
    g_free(options->output);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Options, options_clear)

/* ---- words ---- */

static const char *
text_of(const json_t *object, const char *key)
{
    const char *text = kvg_json_get_string(object, key);
    return text != NULL ? text : "";
}

static void
print_row(const json_t *camera)
{
    const char *reason = text_of(camera, "reason");
    printf("%-20s %-11s %5dx%-5d %5.1f fps %6d kbit/s%s%s\n", text_of(camera, "name"),
           text_of(camera, "state"), (int)kvg_json_get_int(camera, "width", 0),
           (int)kvg_json_get_int(camera, "height", 0),
           json_number_value(json_object_get(camera, "fps")),
           (int)(kvg_json_get_int(camera, "bitrate_bps", 0) / 1000), *reason != '\0' ? "  " : "",
           reason);
}

static void
print_members(const json_t *object, const char *indent)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        g_autofree char *text = json_is_string(value) ? g_strdup(json_string_value(value)) : NULL;
        if (json_is_object(value)) {
            printf("%s%s:\n", indent, key);
            print_members(value, "  ");
        } else if (text != NULL) {
            printf("%s%-24s %s\n", indent, key, text);
        } else {
            char *raw = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
            printf("%s%-24s %s\n", indent, key, raw);
            free(raw);
        }
    }
}

static void
print_answer(const Options *options, const json_t *answer)
{
    if (options->output != NULL) {
        g_autofree char *text = kvg_json_to_text(answer);
        printf("%s\n", text);
        return;
    }
    size_t i;
    json_t *camera;
    const json_t *cameras = json_object_get(answer, "cameras");
    json_array_foreach(cameras, i, camera) print_row(camera);
    if (cameras == NULL)
        print_members(answer, "");
}

/* "bitrate_kbps=1500", "streaming=off", "width=default" */
static bool
add_setting(json_t *change, const char *word, GError **error)
{
    const char *equals = strchr(word, '=');
    if (equals == NULL || equals == word) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "'%s': write NAME=VALUE", word);
        return false;
    }
    g_autofree char *name = g_strndup(word, (size_t)(equals - word));
    const char *value = equals + 1;
    guint64 number = 0;
    json_t *json = NULL;
    if (strcmp(value, "default") == 0)
        json = json_null();
    else if (strcmp(value, "on") == 0 || strcmp(value, "true") == 0)
        json = json_true();
    else if (strcmp(value, "off") == 0 || strcmp(value, "false") == 0)
        json = json_false();
    else if (g_ascii_string_to_unsigned(value, 10, 0, G_MAXINT32, &number, NULL))
        json = json_integer((json_int_t)number);
    if (json == NULL) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID,
                    "'%s': write a number, on, off, or default", word);
        return false;
    }
    json_object_set_new(change, name, json);
    return true;
}

static bool
is_kept_verb(const char *verb)
{
    return strcmp(verb, "event") == 0 || strcmp(verb, "upload") == 0 ||
           strcmp(verb, "uploads") == 0;
}

/* The change that the words ask for; NULL without an error: none. */
static bool
read_change(
    const Options *options, const char *verb, char **words, int n, json_t **change, GError **error)
{
    const bool is_look = strcmp(verb, "uploads") == 0;
    if (is_kept_verb(verb)) {
        *change = is_look ? NULL
                          : kvg_kept_request(&options->kept, verb, options->reach.is_remote,
                                             kvg_clock_wall_ms(), error);
        return is_look || *change != NULL;
    }
    const bool is_on = strcmp(verb, "on") == 0;
    if (is_on || strcmp(verb, "off") == 0) {
        *change = json_pack("{s:b}", "streaming", is_on);
        return true;
    }
    if (strcmp(verb, "set") != 0)
        return true;
    *change = json_object();
    for (int i = 0; i < n; i++) {
        if (!add_setting(*change, words[i], error))
            return false;
    }
    return true;
}

/* ---- the command ---- */

static bool
check_words(int argc, char **argv, GError **error)
{
    static const char *const verbs[] = {"list",  "show",   "on",      "off", "set",
                                        "event", "upload", "uploads", NULL};
    const char *verb = argc > 1 ? argv[1] : "";
    const bool is_list = strcmp(verb, "list") == 0, is_set = strcmp(verb, "set") == 0;
    if (g_strv_contains(verbs, verb) &&
        (is_list  ? argc == 2
         : is_set ? argc >= 4
                  : argc == 3) &&
        (is_list || kvg_name_is_camera(argv[2])))
        return true;
    g_set_error_literal(error, KVG_ERROR, KVG_ERROR_INVALID,
                        "write: list, show NAME, on NAME, off NAME, set NAME KEY=VALUE..., event "
                        "NAME, upload NAME --from TIME --to TIME, or uploads NAME");
    return false;
}

int
kvg_cmd_camera(int argc, char **argv)
{
    g_auto(Options) options = {0};
    const GOptionEntry entries[] = {
        KVG_REACH_OPTIONS(options.reach),
        {"pre-roll", 0, 0, G_OPTION_ARG_STRING, &options.kept.pre_roll,
         "event: how much from before it (the configuration's)", "DURATION"},
        {"post-roll", 0, 0, G_OPTION_ARG_STRING, &options.kept.post_roll,
         "event: how much after it (the configuration's)", "DURATION"},
        {"from", 0, 0, G_OPTION_ARG_STRING, &options.kept.from, "upload: from when on", "TIME"},
        {"to", 0, 0, G_OPTION_ARG_STRING, &options.kept.to, "upload: until when", "TIME"},
        {"output", 0, 0, G_OPTION_ARG_STRING, &options.output, "'json': the whole answer",
         "FORMAT"},
        G_OPTION_ENTRY_NULL,
    };
    g_autoptr(GOptionContext) context = g_option_context_new(
        "list | show NAME | on NAME | off NAME | set NAME KEY=VALUE... | event "
        "NAME | upload NAME --from TIME --to TIME | uploads NAME");
    g_option_context_set_summary(
        context, "Settings: streaming=on|off, bitrate_kbps, width, height, fps, fragment_ms; "
                 "'default' goes back to the configuration. TIME: 2026-11-25T08:00:00Z, 08:00, "
                 "-5m, now.");
    g_autoptr(GError) error = NULL;
    g_autoptr(json_t) change = NULL;
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error) ||
        !check_words(argc, argv, &error) ||
        !read_change(&options, argv[1], argv + 3, argc - 3, &change, &error)) {
        fprintf(stderr, "kvg camera: %s\n", error->message);
        return 2;
    }
    const char *name = argc > 2 ? argv[2] : NULL;
    if (options.reach.is_remote && name == NULL) {
        fprintf(stderr, "kvg camera: list asks the agent on this machine; --remote needs a NAME\n");
        return 2;
    }
    g_autoptr(json_t) answer = NULL;
    if (kvg_reach_open(&options.reach, &error))
        answer = is_kept_verb(argv[1]) ? kvg_kept_run(&options.reach, argv[1], name, change, &error)
                                       : kvg_reach_camera(&options.reach, name, change, &error);
    if (answer == NULL) {
        fprintf(stderr, "kvg camera: %s\n", error->message);
        return 1;
    }
    if (is_kept_verb(argv[1]) && options.output == NULL && !options.reach.is_remote)
        kvg_kept_print(argv[1], answer);
    else
        print_answer(&options, answer);
    return 0;
}
