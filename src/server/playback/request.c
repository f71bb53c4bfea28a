/* Parameters of a session, checked one by one. */
#include "server/playback/request.h"

#include "server/playback/fields.h"
#include <kvg/error.h>
#include <string.h>

#define DAY_MS (INT64_C(24) * 3600 * 1000)

static bool
invalid(GError **error, const char *what)
{
    g_set_error_literal(error, KVG_ERROR, KVG_ERROR_INVALID, what);
    return false;
}

bool
kvg_playback_check_range(
    KvgStoreOrder order, int64_t from_ms, int64_t to_ms, int64_t now_ms, GError **error)
{
    if (to_ms <= from_ms)
        return invalid(error, "EndTimestamp must be after StartTimestamp.");
    if (to_ms - from_ms > DAY_MS)
        return invalid(error, "The range of timestamps must not be longer than 24 hours.");
    if (order == KVG_STORE_BY_SERVER_TIME && to_ms > now_ms)
        return invalid(error, "EndTimestamp must be in the past.");
    return true;
}

static bool
check_mode(const KvgPlaybackSession *session, int64_t now_ms, GError **error)
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
    return !has_end || kvg_playback_check_range(session->order, session->from_ms, session->to_ms,
                                                now_ms, error);
}

static bool
parse_selector(const json_t *json,
               const char *key,
               int64_t now_ms,
               KvgPlaybackSession *session,
               GError **error)
{
    const json_t *member = NULL;
    KvgFragmentSelector selector;
    if (!kvg_field_object(json, key, &member, error) ||
        !kvg_field_selector(member, false, &selector, error))
        return false;
    session->order = selector.order;
    session->from_ms = selector.from_ms;
    session->to_ms = selector.to_ms;
    if (!check_mode(session, now_ms, error))
        return false;
    if (session->to_ms < 0)
        session->to_ms = G_MAXINT64;
    return true;
}

static const char *const displays[] = {"NEVER", "ALWAYS", NULL};

static bool
parse_hls(const json_t *json, KvgPlaybackSession *session, GError **error)
{
    static const char *const containers[] = {"FRAGMENTED_MP4", "MPEG_TS", NULL};
    static const char *const discontinuities[] = {"ALWAYS", "NEVER", "ON_DISCONTINUITY", NULL};
    const bool by_producer = session->order == KVG_STORE_BY_PRODUCER_TIME;
    int container = 0;
    int discontinuity = 0;
    if (!kvg_field_choice(json, "ContainerFormat", containers, 0, &container, error) ||
        !kvg_field_choice(json, "DiscontinuityMode", discontinuities,
                          by_producer ? KVG_DISCONTINUITY_NEVER : KVG_DISCONTINUITY_ALWAYS,
                          &discontinuity, error))
        return false;
    session->is_ts = container == 1;
    session->discontinuity = (KvgDiscontinuityMode)discontinuity;
    return true;
}

static bool
parse_dash(const json_t *json, KvgPlaybackSession *session, GError **error)
{
    int display = 0;
    if (!kvg_field_choice(json, "DisplayFragmentNumber", displays, 0, &display, error))
        return false;
    session->shows_numbers = display == 1;
    session->discontinuity = KVG_DISCONTINUITY_NEVER;
    return true;
}

bool
kvg_playback_request_parse(const json_t *json,
                           KvgPlaybackProtocol protocol,
                           int64_t now_ms,
                           KvgPlaybackSession *session,
                           GError **error)
{
    static const char *const modes[] = {"LIVE", "LIVE_REPLAY", "ON_DEMAND", NULL};
    const bool is_hls = protocol == KVG_PLAYBACK_HLS;
    memset(session, 0, sizeof *session);
    session->protocol = protocol;
    session->created_ms = now_ms;
    int mode = 0;
    int display = 0;
    int64_t expires_s = 0;
    int64_t max_results = 0;
    if (!kvg_field_choice(json, "PlaybackMode", modes, 0, &mode, error))
        return false;
    session->mode = (KvgPlaybackMode)mode;
    if (!parse_selector(json, is_hls ? "HLSFragmentSelector" : "DASHFragmentSelector", now_ms,
                        session, error) ||
        !(is_hls ? parse_hls : parse_dash)(json, session, error) ||
        !kvg_field_choice(json, "DisplayFragmentTimestamp", displays, 0, &display, error) ||
        !kvg_field_integer(json, "Expires", 300, 43200, 300, &expires_s, error) ||
        !kvg_field_integer(
            json, is_hls ? "MaxMediaPlaylistFragmentResults" : "MaxManifestFragmentResults", 1,
            5000, session->mode == KVG_PLAYBACK_ON_DEMAND ? 1000 : 5, &max_results, error))
        return false;
    session->expires_ms = now_ms + expires_s * 1000;
    session->shows_timestamps = display == 1;
    session->max_results = (uint32_t)max_results;
    return true;
}
