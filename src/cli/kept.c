#include "cli/kept.h"
#include "base/text.h"
#include "cli/when.h"
#include <kvg/error.h>
#include <stdio.h>
#include <string.h>

void
kvg_kept_options_clear(KvgKeptOptions *options)
{
    g_free(options->pre_roll);
    g_free(options->post_roll);
    g_free(options->from);
    g_free(options->to);
}

static bool
fail(GError **error, const char *why)
{
    g_set_error_literal(error, KVG_ERROR, KVG_ERROR_INVALID, why);
    return false;
}

static bool
add_duration(json_t *request, const char *key, const char *text, GError **error)
{
    int64_t ms = 0;
    if (text == NULL)
        return true;
    if (!kvg_parse_duration_ms(text, &ms, error))
        return false;
    json_object_set_new(request, key, json_integer((json_int_t)ms));
    return true;
}

static bool
add_moment(json_t *request, const char *key, const char *text, int64_t now_ms, GError **error)
{
    int64_t ms = 0;
    if (!kvg_when_parse(text, now_ms, &ms, error))
        return false;
    json_object_set_new(request, key, json_integer((json_int_t)ms));
    return true;
}

static bool
add_all(const KvgKeptOptions *options,
        bool is_event,
        bool is_remote,
        int64_t now_ms,
        json_t *request,
        GError **error)
{
    if (!is_event) {
        if (options->pre_roll != NULL || options->post_roll != NULL)
            return fail(error, "--pre-roll and --post-roll belong to event");
        if (options->from == NULL || options->to == NULL)
            return fail(error, "upload needs --from TIME and --to TIME");
        return add_moment(request, "from_ms", options->from, now_ms, error) &&
               add_moment(request, "to_ms", options->to, now_ms, error);
    }
    if (options->from != NULL || options->to != NULL)
        return fail(error, "--from and --to belong to upload");
    if (is_remote && (options->pre_roll != NULL || options->post_roll != NULL))
        return fail(error, "through the shadow an event has the configuration's pre_roll and "
                           "post_roll");
    return add_duration(request, "pre_roll_ms", options->pre_roll, error) &&
           add_duration(request, "post_roll_ms", options->post_roll, error);
}

json_t *
kvg_kept_request(
    const KvgKeptOptions *options, const char *verb, bool is_remote, int64_t now_ms, GError **error)
{
    const bool is_event = strcmp(verb, "event") == 0;
    g_autoptr(json_t) request = json_object();
    if (!add_all(options, is_event, is_remote, now_ms, request, error))
        return NULL;
    if (!is_remote)
        return g_steal_pointer(&request);
    return is_event ? json_pack("{s:I}", "event", (json_int_t)now_ms)
                    : json_pack("{s:O}", "upload", request);
}

json_t *
kvg_kept_run(const KvgReach *reach,
             const char *verb,
             const char *name,
             const json_t *request,
             GError **error)
{
    if (reach->is_remote)
        return kvg_reach_shadow(reach, name, request, error);
    const char *what = strcmp(verb, "event") == 0 ? "events" : "uploads";
    g_autofree char *path = g_strdup_printf("/api/cameras/%s/%s", name, what);
    return kvg_reach_call(reach, request != NULL ? "POST" : "GET", path, request, error);
}

static void
print_upload(const json_t *upload)
{
    g_autofree char *from = kvg_format_iso8601(kvg_json_get_int(upload, "from_ms", 0), false);
    g_autofree char *to = kvg_format_iso8601(kvg_json_get_int(upload, "to_ms", 0), false);
    const char *state = kvg_json_get_bool(upload, "done", false)   ? "done"
                        : kvg_json_get_bool(upload, "over", false) ? "uploading"
                                                                   : "recording";
    printf("%s to %s  %-9s  %d fragments uploaded, %d waiting  %s\n", from, to, state,
           (int)kvg_json_get_int(upload, "fragments", 0),
           (int)kvg_json_get_int(upload, "fragments_waiting", 0),
           kvg_json_get_string(upload, "id"));
    size_t i;
    json_t *range;
    json_array_foreach(json_object_get(upload, "missing"), i, range)
    {
        g_autofree char *first =
            kvg_format_iso8601(json_integer_value(json_array_get(range, 0)), false);
        g_autofree char *last =
            kvg_format_iso8601(json_integer_value(json_array_get(range, 1)), false);
        printf("  not there: %s to %s\n", first, last);
    }
}

void
kvg_kept_print(const char *verb, const json_t *answer)
{
    if (strcmp(verb, "uploads") != 0) {
        print_upload(answer);
        return;
    }
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(answer, "held"), i, item)
    {
        g_autofree char *first =
            kvg_format_iso8601(json_integer_value(json_array_get(item, 0)), false);
        g_autofree char *last =
            kvg_format_iso8601(json_integer_value(json_array_get(item, 1)), false);
        printf("kept here: %s to %s\n", first, last);
    }
    json_array_foreach(json_object_get(answer, "uploads"), i, item) print_upload(item);
}
