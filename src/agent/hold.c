#include "agent/hold.h"
#include "agent/request.h"
#include <kvg/error.h>
#include <string.h>

/* What fits into a packet beside everything else. */
#define MAX_UPLOADS 80
#define MAX_HELD 500
#define EVENT_PREFIX "event-"

static const KvgRelease *
find(const KvgRelease *list, size_t n, const char *id)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(list[i].id, id) == 0)
            return &list[i];
    }
    return NULL;
}

/* An event during another, or right after it, is a part of that. */
static const KvgRelease *
find_current_event(const KvgRelease *list, size_t n, const KvgTimeRange *range)
{
    for (size_t i = n; i > 0; i--) {
        const KvgRelease *one = &list[i - 1];
        if (!one->is_done && g_str_has_prefix(one->id, EVENT_PREFIX) &&
            one->range.from_wall_ms <= range->to_wall_ms &&
            one->range.to_wall_ms >= range->from_wall_ms)
            return one;
    }
    return NULL;
}

bool
kvg_hold_check(const KvgConfigCamera *camera, GError **error)
{
    if (kvg_mode_holds(camera->mode.kind))
        return true;
    g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID,
                "camera '%s' has mode %s: everything that it records is uploaded; set mode: event "
                "or mode: on-demand",
                camera->name, kvg_mode_to_string(camera->mode.kind));
    return false;
}

static bool
check_mode(const KvgConfigCamera *camera, const KvgRequest *request, GError **error)
{
    if (!request->is_event || camera->mode.kind == KVG_MODE_EVENT)
        return true;
    g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID,
                "camera '%s' has mode %s: ask for a range of time, or set mode: event",
                camera->name, kvg_mode_to_string(camera->mode.kind));
    return false;
}

bool
kvg_hold_ask(
    KvgStream *stream, const KvgConfigCamera *camera, const json_t *json, char **id, GError **error)
{
    KvgRequest request;
    if (!kvg_hold_check(camera, error) ||
        !kvg_request_parse(json, &camera->mode, &request, error) ||
        !check_mode(camera, &request, error))
        return false;
    size_t n;
    g_autofree KvgRelease *list = kvg_stream_list_releases(stream, &n);
    const KvgRelease *known = find(list, n, request.id);
    if (known == NULL && request.is_event)
        known = find_current_event(list, n, &request.range);
    *id = g_strdup(known != NULL ? known->id : request.id);
    if (known != NULL && known->is_done)
        return true;
    if (kvg_stream_release(stream, *id, &request.range, error))
        return true;
    g_clear_pointer(id, g_free);
    return false;
}

static json_t *
ranges_to_json(const KvgTimeRange *ranges, size_t n)
{
    json_t *array = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(array, json_pack("[I, I]", (json_int_t)ranges[i].from_wall_ms,
                                               (json_int_t)ranges[i].to_wall_ms));
    return array;
}

static json_t *
upload_to_json(const KvgRelease *one)
{
    const size_t n_missing = MIN(one->n_missing, KVG_RELEASE_MISSING);
    return json_pack(
        "{s:s, s:I, s:I, s:I, s:b, s:b, s:I, s:I, s:I, s:I, s:o}", "id", one->id, "from_ms",
        (json_int_t)one->range.from_wall_ms, "to_ms", (json_int_t)one->range.to_wall_ms, "asked_ms",
        (json_int_t)one->asked_wall_ms, "over", one->is_over, "done", one->is_done, "fragments",
        (json_int_t)one->fragments, "bytes", (json_int_t)one->bytes, "fragments_waiting",
        (json_int_t)one->fragments_waiting, "bytes_waiting", (json_int_t)one->bytes_waiting,
        "missing", ranges_to_json(one->missing, n_missing));
}

json_t *
kvg_hold_find_stored(KvgStream *stream, const char *id)
{
    size_t n;
    g_autofree KvgRelease *list = kvg_stream_list_releases(stream, &n);
    const KvgRelease *found = find(list, n, id);
    return found != NULL && found->is_stored ? upload_to_json(found) : NULL;
}

json_t *
kvg_hold_describe(KvgStream *stream)
{
    size_t n_held, n_uploads;
    g_autofree KvgTimeRange *held = kvg_stream_list_held(stream, &n_held);
    g_autofree KvgRelease *list = kvg_stream_list_releases(stream, &n_uploads);
    json_t *uploads = json_array();
    for (size_t i = n_uploads - MIN(n_uploads, MAX_UPLOADS); i < n_uploads; i++)
        json_array_append_new(uploads, upload_to_json(&list[i]));
    const size_t skip = n_held - MIN(n_held, MAX_HELD);
    return json_pack("{s:o, s:o}", "held", ranges_to_json(held + skip, n_held - skip), "uploads",
                     uploads);
}
