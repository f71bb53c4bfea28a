/* Parameters of a session, checked one by one. */
#include "server/playback/request.h"

#include "base/text.h"
#include <kvg/error.h>
#include <string.h>

#define DAY_MS (INT64_C(24) * 3600 * 1000)
/* Seconds: the year 3237. */
#define MAX_TIME_S 4e10

void
kvg_playback_request_clear(KvgPlaybackRequest *request)
{
    g_clear_pointer(&request->stream_name, g_free);
    g_clear_pointer(&request->stream_arn, g_free);
}

static bool
invalid(GError **error, const char *what)
{
    g_set_error_literal(error, KVG_ERROR, KVG_ERROR_INVALID, what);
    return false;
}

/* Index of the member's value in @values (NULL-terminated), @fallback if it is absent. */
static bool
parse_choice(const json_t *json,
             const char *key,
             const char *const *values,
             int fallback,
             int *choice,
             GError **error)
{
    const json_t *member = json_object_get(json, key);
    *choice = fallback;
    if (member == NULL || json_is_null(member))
        return true;
    const char *text = json_string_value(member);
    for (int i = 0; text != NULL && values[i] != NULL; i++) {
        if (strcmp(text, values[i]) == 0) {
            *choice = i;
            return true;
        }
    }
    g_autofree char *list = g_strjoinv(", ", (char **)(uintptr_t)values);
    g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "%s must be one of: %s", key, list);
    return false;
}

static bool
parse_integer(const json_t *json,
              const char *key,
              int64_t min,
              int64_t max,
              int64_t fallback,
              int64_t *value,
              GError **error)
{
    const json_t *member = json_object_get(json, key);
    *value = fallback;
    if (member == NULL || json_is_null(member))
        return true;
    if (json_is_integer(member))
        *value = json_integer_value(member);
    if (json_is_integer(member) && *value >= min && *value <= max)
        return true;
    g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID,
                "%s must be an integer from %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT, key, min,
                max);
    return false;
}

/* Seconds since 1970 with a fraction, to milliseconds. */
static bool
parse_time(const json_t *range, const char *key, int64_t fallback, int64_t *time_ms, GError **error)
{
    const json_t *member = json_object_get(range, key);
    *time_ms = fallback;
    if (member == NULL || json_is_null(member))
        return true;
    const double seconds = json_number_value(member);
    if (!json_is_number(member) || !(seconds >= 0 && seconds <= MAX_TIME_S)) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "%s is not a timestamp", key);
        return false;
    }
    *time_ms = (int64_t)(seconds * 1000 + 0.5);
    return true;
}

static bool
parse_stream(const json_t *json, KvgPlaybackRequest *request, GError **error)
{
    const char *name = kvg_json_get_string(json, "StreamName");
    const char *arn = kvg_json_get_string(json, "StreamARN");
    if ((name == NULL) == (arn == NULL))
        return invalid(error, "Either StreamName or StreamARN must be given.");
    if (name != NULL && !kvg_name_is_stream(name))
        return invalid(error, "StreamName is not a valid stream name.");
    if (arn != NULL && (arn[0] == '\0' || strlen(arn) > 1024))
        return invalid(error, "StreamARN is not a valid ARN.");
    request->stream_name = g_strdup(name);
    request->stream_arn = g_strdup(arn);
    return true;
}

static bool
check_range(const KvgPlaybackSession *session, int64_t now_ms, GError **error)
{
    const bool has_start = session->from_ms >= 0;
    const bool has_end = session->to_ms >= 0;
    if (session->mode == KVG_PLAYBACK_LIVE && (has_start || has_end))
        return invalid(error, "TimestampRange must not be given for PlaybackMode LIVE.");
    if (session->mode == KVG_PLAYBACK_LIVE_REPLAY && !has_start)
        return invalid(error, "StartTimestamp is required for PlaybackMode LIVE_REPLAY.");
    if (session->mode == KVG_PLAYBACK_ON_DEMAND && (!has_start || !has_end))
        return invalid(error,
                       "StartTimestamp and EndTimestamp are required for PlaybackMode ON_DEMAND.");
    if (!has_end)
        return true;
    if (session->to_ms <= session->from_ms)
        return invalid(error, "EndTimestamp must be after StartTimestamp.");
    if (session->to_ms - session->from_ms > DAY_MS)
        return invalid(error, "The range of timestamps must not be longer than 24 hours.");
    if (session->order == KVG_STORE_BY_SERVER_TIME && session->to_ms > now_ms)
        return invalid(error, "EndTimestamp must be in the past.");
    return true;
}

static bool
parse_selector(const json_t *json, int64_t now_ms, KvgPlaybackSession *session, GError **error)
{
    static const char *const types[] = {"SERVER_TIMESTAMP", "PRODUCER_TIMESTAMP", NULL};
    const json_t *selector = json_object_get(json, "HLSFragmentSelector");
    if (selector != NULL && !json_is_object(selector) && !json_is_null(selector))
        return invalid(error, "HLSFragmentSelector must be an object.");
    int type = 0;
    if (!parse_choice(selector, "FragmentSelectorType", types, 0, &type, error))
        return false;
    session->order = type == 0 ? KVG_STORE_BY_SERVER_TIME : KVG_STORE_BY_PRODUCER_TIME;
    const json_t *range = json_object_get(selector, "TimestampRange");
    if (range != NULL && !json_is_object(range) && !json_is_null(range))
        return invalid(error, "TimestampRange must be an object.");
    if (!parse_time(range, "StartTimestamp", -1, &session->from_ms, error) ||
        !parse_time(range, "EndTimestamp", -1, &session->to_ms, error) ||
        !check_range(session, now_ms, error))
        return false;
    if (session->to_ms < 0)
        session->to_ms = G_MAXINT64;
    return true;
}

bool
kvg_playback_request_parse(const json_t *json,
                           int64_t now_ms,
                           KvgPlaybackRequest *request,
                           GError **error)
{
    static const char *const modes[] = {"LIVE", "LIVE_REPLAY", "ON_DEMAND", NULL};
    static const char *const containers[] = {"FRAGMENTED_MP4", "MPEG_TS", NULL};
    static const char *const discontinuities[] = {"ALWAYS", "NEVER", "ON_DISCONTINUITY", NULL};
    static const char *const displays[] = {"NEVER", "ALWAYS", NULL};
    memset(request, 0, sizeof *request);
    KvgPlaybackSession *session = &request->session;
    int mode = 0;
    int container = 0;
    int discontinuity = 0;
    int display = 0;
    int64_t max_results = 0;
    if (!parse_stream(json, request, error) ||
        !parse_choice(json, "PlaybackMode", modes, 0, &mode, error) ||
        !parse_choice(json, "ContainerFormat", containers, 0, &container, error))
        return false;
    if (container != 0)
        return invalid(error, "ContainerFormat MPEG_TS is not supported; use FRAGMENTED_MP4.");
    session->mode = (KvgPlaybackMode)mode;
    if (!parse_selector(json, now_ms, session, error))
        return false;
    const bool by_producer = session->order == KVG_STORE_BY_PRODUCER_TIME;
    if (!parse_choice(json, "DiscontinuityMode", discontinuities,
                      by_producer ? KVG_DISCONTINUITY_NEVER : KVG_DISCONTINUITY_ALWAYS,
                      &discontinuity, error) ||
        !parse_choice(json, "DisplayFragmentTimestamp", displays, 0, &display, error) ||
        !parse_integer(json, "Expires", 300, 43200, 300, &request->expires_s, error) ||
        !parse_integer(json, "MaxMediaPlaylistFragmentResults", 1, 5000,
                       session->mode == KVG_PLAYBACK_ON_DEMAND ? 1000 : 5, &max_results, error))
        return false;
    session->discontinuity = (KvgDiscontinuityMode)discontinuity;
    session->shows_timestamps = display == 1;
    session->max_results = (uint32_t)max_results;
    return true;
}
