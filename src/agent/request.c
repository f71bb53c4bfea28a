#include "agent/request.h"
#include <kvg/error.h>
#include <string.h>

#define MAX_ROLL_MS 3600000
/* Beyond the year 9999 no clock is meant. */
#define MAX_TIME_MS INT64_C(253402300800000)

/* A whole number from 0 to @most; absent: @otherwise, or an error if that is negative. */
static bool
take_ms(const json_t *json,
        const char *key,
        int64_t most,
        int64_t otherwise,
        int64_t *ms,
        GError **error)
{
    const json_t *value = json_object_get(json, key);
    *ms = value != NULL ? json_integer_value(value) : otherwise;
    if ((value == NULL && otherwise >= 0) || (json_is_integer(value) && *ms >= 0 && *ms <= most))
        return true;
    g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID,
                "%s must be a whole number of milliseconds from 0 to %" G_GINT64_FORMAT, key, most);
    return false;
}

static bool
take_range(const json_t *json, KvgTimeRange *range, GError **error)
{
    if (!take_ms(json, "from_ms", MAX_TIME_MS, -1, &range->from_wall_ms, error) ||
        !take_ms(json, "to_ms", MAX_TIME_MS, -1, &range->to_wall_ms, error))
        return false;
    if (range->from_wall_ms < range->to_wall_ms)
        return true;
    g_set_error_literal(error, KVG_ERROR, KVG_ERROR_INVALID,
                        "from_ms must be before to_ms; both are milliseconds since 1970");
    return false;
}

bool
kvg_request_parse(const json_t *json,
                  const KvgConfigMode *mode,
                  KvgRequest *request,
                  GError **error)
{
    const char *id = kvg_json_get_string(json, "id");
    const char *op = kvg_json_get_string(json, "op");
    *request = (KvgRequest){.is_event = g_strcmp0(op, "event") == 0};
    if (id == NULL || strlen(id) > KVG_RELEASE_ID_BYTES) {
        g_set_error_literal(error, KVG_ERROR, KVG_ERROR_INVALID, "a request without an id");
        return false;
    }
    g_strlcpy(request->id, id, sizeof request->id);
    if (!request->is_event)
        return take_range(json, &request->range, error);
    int64_t at_ms, pre_ms, post_ms;
    if (!take_ms(json, "at_ms", MAX_TIME_MS, -1, &at_ms, error) ||
        !take_ms(json, "pre_roll_ms", MAX_ROLL_MS, mode->pre_roll_ms, &pre_ms, error) ||
        !take_ms(json, "post_roll_ms", MAX_ROLL_MS, mode->post_roll_ms, &post_ms, error))
        return false;
    request->range = (KvgTimeRange){MAX(at_ms - pre_ms, 0), at_ms + post_ms};
    return true;
}

/* @body may have these members and no others. */
static bool
check_members(const json_t *body, const char *const *names, GError **error)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)body, key, value)
    {
        if (g_strv_contains(names, key))
            continue;
        g_autofree char *known = g_strjoinv(", ", (char **)(uintptr_t)names);
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "'%.64s' means nothing here; there are %s",
                    key, known);
        return false;
    }
    return true;
}

json_t *
kvg_request_event(const json_t *body, int64_t now_ms, GError **error)
{
    static const char *const names[] = {"pre_roll_ms", "post_roll_ms", "at_ms", NULL};
    static const KvgConfigMode any;
    if (!check_members(body, names, error))
        return NULL;
    g_autoptr(json_t) request = json_deep_copy(body);
    if (json_object_get(request, "at_ms") == NULL)
        json_object_set_new(request, "at_ms", json_integer((json_int_t)now_ms));
    g_autofree char *uuid = g_uuid_string_random();
    g_autofree char *id = g_strconcat("event-", uuid, NULL);
    json_object_set_new(request, "op", json_string("event"));
    json_object_set_new(request, "id", json_string(id));
    KvgRequest parsed;
    return kvg_request_parse(request, &any, &parsed, error) ? g_steal_pointer(&request) : NULL;
}

json_t *
kvg_request_upload(const json_t *body, GError **error)
{
    static const char *const names[] = {"from_ms", "to_ms", NULL};
    static const KvgConfigMode any;
    if (!check_members(body, names, error))
        return NULL;
    g_autoptr(json_t) request = json_deep_copy(body);
    g_autofree char *uuid = g_uuid_string_random();
    g_autofree char *id = g_strconcat("upload-", uuid, NULL);
    json_object_set_new(request, "op", json_string("upload"));
    json_object_set_new(request, "id", json_string(id));
    KvgRequest parsed;
    return kvg_request_parse(request, &any, &parsed, error) ? g_steal_pointer(&request) : NULL;
}
