/* GetHLSStreamingSessionURL and GetDASHStreamingSessionURL: finds where a session begins, sees
 * whether its media can be played, and seals it into a URL. */
#include "server/playback/call.h"

#include "os/log.h"
#include "server/playback/media_check.h"
#include "server/playback/request.h"
#include <openssl/rand.h>
#include <string.h>

/* A live session needs a fragment as young as this. */
#define LIVE_MAX_AGE_MS 30000
/* Producer clocks may step back a little without the media timeline going below zero. */
#define TIMELINE_HEADROOM_MS 10000

/* What a live session starts with: the newest fragments, back to the last long pause. */
static void
begin_live(KvgPlaybackSession *session, const GArray *infos)
{
    guint first = infos->len - 1;
    while (first > 0) {
        const KvgFragmentInfo *next = &g_array_index(infos, KvgFragmentInfo, first);
        const KvgFragmentInfo *info = &g_array_index(infos, KvgFragmentInfo, first - 1);
        if (next->server_ms - info->server_ms - info->length_ms > LIVE_MAX_AGE_MS)
            break;
        first--;
    }
    session->from_ms = g_array_index(infos, KvgFragmentInfo, first).server_ms;
    session->origin_ms =
        g_array_index(infos, KvgFragmentInfo, first).producer_ms - TIMELINE_HEADROOM_MS;
}

/* Finds the session's first fragments; answers and returns false if there are none to play. */
static bool
find_start(KvgReadCall *call, KvgPlaybackSession *session)
{
    const bool is_live = session->mode == KVG_PLAYBACK_LIVE;
    g_autoptr(GError) error = NULL;
    g_autoptr(GArray) infos = kvg_store_list(
        call->server->store, session->stream_arn,
        is_live ? KVG_STORE_BY_SERVER_TIME : session->order, is_live ? 0 : session->from_ms,
        is_live ? G_MAXINT64 : session->to_ms, is_live ? session->max_results : 1, is_live, &error);
    if (infos == NULL) {
        kvg_read_fail(call, error);
        return false;
    }
    const KvgFragmentInfo *newest =
        infos->len > 0 ? &g_array_index(infos, KvgFragmentInfo, infos->len - 1) : NULL;
    if (newest == NULL || (is_live && newest->server_ms + newest->length_ms <
                                          session->created_ms - LIVE_MAX_AGE_MS)) {
        kvg_respond_error(call->x, 404, "ResourceNotFoundException",
                          "No fragments found in the stream for the streaming request.");
        return false;
    }
    if (is_live)
        begin_live(session, infos);
    else
        session->origin_ms = newest->producer_ms - TIMELINE_HEADROOM_MS;
    return kvg_media_check(call, newest, session->protocol == KVG_PLAYBACK_DASH);
}

static void
answer_url(KvgReadCall *call, const KvgPlaybackSession *session)
{
    const bool is_hls = session->protocol == KVG_PLAYBACK_HLS;
    g_autofree char *token = kvg_playback_session_seal(session, call->playback->key);
    if (token == NULL) {
        kvg_respond_error(call->x, 500, "InternalFailure", "No session can be made.");
        return;
    }
    g_autofree char *base = kvg_control_own_url(call->x);
    g_autofree char *url = g_strdup_printf(
        "%s/%s?SessionToken=%s", base,
        is_hls ? "hls/v1/getHLSMasterPlaylist.m3u8" : "dash/v1/getDASHManifest.mpd", token);
    g_autoptr(json_t) reply =
        json_pack("{s:s}", is_hls ? "HLSStreamingSessionURL" : "DASHStreamingSessionURL", url);
    g_autofree char *text = kvg_json_to_text(reply);
    kvg_http_respond_json(call->x, 200, text);
}

static void
get_url(KvgReadCall *call, KvgPlaybackProtocol protocol)
{
    g_autoptr(GError) error = NULL;
    KvgPlaybackSession session;
    if (!kvg_playback_request_parse(call->input, protocol, call->now_ms, &session, &error)) {
        kvg_read_refuse(call, error);
        return;
    }
    if (g_strlcpy(session.stream_arn, call->stream.arn, sizeof session.stream_arn) >=
            sizeof session.stream_arn ||
        RAND_bytes(session.id, sizeof session.id) != 1) {
        kvg_respond_error(call->x, 500, "InternalFailure", "No session can be made.");
        return;
    }
    if (find_start(call, &session))
        answer_url(call, &session);
}

void
kvg_read_get_hls_url(KvgReadCall *call)
{
    get_url(call, KVG_PLAYBACK_HLS);
}

void
kvg_read_get_dash_url(KvgReadCall *call)
{
    get_url(call, KVG_PLAYBACK_DASH);
}
