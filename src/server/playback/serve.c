/* What a session URL leads to: playlists and segments. The token is the credential. */
#include "server/playback/call.h"

#include "base/clock.h"
#include "os/log.h"
#include "server/playback/fragment.h"
#include "server/playback/hls.h"
#include <kvg/error.h>
#include <string.h>

/* Players run in pages of any origin; the token is the credential, no cookie is involved. */
static void
respond_media(KvgHttpExchange *x,
              int status,
              const char *type,
              const char *cache,
              const void *body,
              size_t len)
{
    const KvgHeader headers[] = {
        {"Content-Type", type},
        {"Cache-Control", cache},
        {"Access-Control-Allow-Origin", "*"},
        {"Access-Control-Expose-Headers", "x-amzn-RequestId, x-amzn-ErrorType, Date"},
        {"X-Content-Type-Options", "nosniff"},
    };
    kvg_http_respond(x, status, headers, G_N_ELEMENTS(headers), body, len);
}

static void
respond_failure(KvgHttpExchange *x, int status, const char *type, const char *text)
{
    g_autoptr(json_t) reply = json_pack("{s:s}", "Message", text);
    g_autofree char *body = kvg_json_to_text(reply);
    const KvgHeader headers[] = {
        {"Content-Type", "application/json"},
        {"Cache-Control", "no-store"},
        {"Access-Control-Allow-Origin", "*"},
        {"x-amzn-ErrorType", type},
    };
    kvg_http_respond(x, status, headers, G_N_ELEMENTS(headers), body, strlen(body));
}

static void
respond_playlist(KvgHttpExchange *x, const char *text)
{
    respond_media(x, 200, "application/vnd.apple.mpegurl", "no-cache, no-store", text,
                  strlen(text));
}

/* Segments never change while the session lives. */
static void
respond_segment(KvgHttpExchange *x, GBytes *segment)
{
    gsize len;
    const void *data = g_bytes_get_data(segment, &len);
    respond_media(x, 200, "video/mp4", "private, max-age=3600", data, len);
}

/* 1..255; 0 for anything else. */
static unsigned
track_number(KvgHttpExchange *x)
{
    g_autofree char *text = kvg_http_query_param(x, "TrackNumber");
    guint64 number = 0;
    if (text == NULL || !g_ascii_string_to_unsigned(text, 10, 1, 255, &number, NULL))
        return 0;
    return (unsigned)number;
}

/* A fragment that cannot be read or played fails alone. */
static void
respond_unreadable(KvgHttpExchange *x,
                   const KvgPlaybackSession *session,
                   const char *number,
                   const GError *error)
{
    KVG_LOG_WARNING("playback", "STREAM", session->stream_arn, "fragment %s: %s", number,
                    error->message);
    if (g_error_matches(error, KVG_ERROR, KVG_ERROR_NOT_FOUND))
        respond_failure(x, 404, "ResourceNotFoundException", "The fragment is not found.");
    else
        respond_failure(x, 500, "InternalFailure", "The fragment cannot be played.");
}

typedef struct {
    KvgPlayback *playback;
    KvgHttpExchange *x;
    const KvgPlaybackSession *session;
    const char *token;
    KvgTimeline *timeline;
    KvgTimelineEntry chosen; /* segments: the fragment to send */
} Call;

/* False if nothing is to be read any more because the call was answered. */
typedef bool (*Choose)(Call *call);
typedef void (*Send)(Call *call);

static bool
choose_newest(Call *call)
{
    size_t n;
    const KvgTimelineEntry *window =
        kvg_timeline_window(call->timeline, call->playback->server->store, &n);
    if (n == 0) {
        respond_failure(call->x, 404, "ResourceNotFoundException", "No fragments found.");
        return false;
    }
    call->chosen = window[n - 1];
    return true;
}

static bool
choose_init(Call *call)
{
    if (!choose_newest(call))
        return false;
    g_autofree char *text = kvg_http_query_param(call->x, "SequenceNumber");
    if (text == NULL)
        return true;
    guint64 id = 0;
    const KvgTimelineEntry *entry = NULL;
    if (g_ascii_string_to_unsigned(text, 10, 0, G_MAXUINT32, &id, NULL))
        entry = kvg_timeline_find_init(call->timeline, (uint32_t)id);
    if (entry == NULL) {
        respond_failure(call->x, 404, "ResourceNotFoundException", "The fragment is not found.");
        return false;
    }
    call->chosen = *entry;
    return true;
}

static bool
choose_fragment(Call *call)
{
    g_autofree char *number = kvg_http_query_param(call->x, "FragmentNumber");
    const KvgTimelineEntry *entry =
        number != NULL ? kvg_timeline_find(call->timeline, number) : NULL;
    if (entry == NULL) {
        respond_failure(call->x, 404, "ResourceNotFoundException", "The fragment is not found.");
        return false;
    }
    call->chosen = *entry;
    return true;
}

/* Needs nothing but the timeline, so it answers here. */
static bool
answer_media_playlist(Call *call)
{
    const unsigned track = track_number(call->x);
    if (track == 0) {
        respond_failure(call->x, 400, "InvalidArgumentException", "TrackNumber is missing.");
        return false;
    }
    size_t n;
    const KvgTimelineEntry *entries =
        kvg_timeline_window(call->timeline, call->playback->server->store, &n);
    g_autofree char *text = kvg_hls_write_media(
        call->session, call->token, track, kvg_timeline_longest_ms(call->timeline), entries, n);
    respond_playlist(call->x, text);
    return false;
}

static void
send_master(Call *call)
{
    const KvgFragmentInfo *info = &call->chosen.info;
    g_autoptr(GError) error = NULL;
    g_autoptr(KvgFragmentReader) reader = kvg_fragment_read(
        call->playback->server->store, call->session->stream_arn, info->number, true, &error);
    if (reader == NULL) {
        respond_unreadable(call->x, call->session, info->number, error);
        return;
    }
    const KvgTrack *video = kvg_fragment_reader_playable(reader, KVG_TRACK_VIDEO);
    const KvgTrack *audio = kvg_fragment_reader_playable(reader, KVG_TRACK_AUDIO);
    if (video == NULL && audio == NULL) {
        respond_failure(call->x, 400, "UnsupportedStreamMediaTypeException",
                        "The media cannot be played.");
        return;
    }
    const double seconds = (double)MAX(info->length_ms, 1) / 1000;
    KvgHlsMaster master = {.token = call->token};
    g_autofree char *video_codec = video != NULL ? kvg_fmp4_codec_string(video) : NULL;
    g_autofree char *audio_codec = audio != NULL ? kvg_fmp4_codec_string(audio) : NULL;
    master.video_codec = video_codec;
    master.audio_codec = audio_codec;
    if (video != NULL) {
        master.video_track = video->number;
        master.width = video->width;
        master.height = video->height;
        const size_t n = kvg_fragment_reader_n_samples(reader, video->number);
        master.frame_rate = (double)n / seconds;
    }
    if (audio != NULL)
        master.audio_track = audio->number;
    master.bandwidth = (uint64_t)((double)info->size_bytes * 8 / seconds) + 1;
    g_autofree char *text = kvg_hls_write_master(&master);
    respond_playlist(call->x, text);
}

static void
send_init(Call *call)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(KvgFragmentReader) reader =
        kvg_fragment_read(call->playback->server->store, call->session->stream_arn,
                          call->chosen.info.number, false, &error);
    const KvgTrack *track =
        reader != NULL ? kvg_fragment_reader_track(reader, track_number(call->x)) : NULL;
    if (reader != NULL && track == NULL) {
        respond_failure(call->x, 404, "ResourceNotFoundException", "The track is not found.");
        return;
    }
    g_autoptr(GBytes) segment = track != NULL ? kvg_fmp4_write_init(track, &error) : NULL;
    if (segment == NULL)
        respond_unreadable(call->x, call->session, call->chosen.info.number, error);
    else
        respond_segment(call->x, segment);
}

static void
send_fragment(Call *call)
{
    const KvgFragmentInfo *info = &call->chosen.info;
    const int64_t base_ms = info->producer_ms - call->session->origin_ms;
    g_autoptr(GError) error = NULL;
    g_autoptr(KvgFragmentReader) reader = kvg_fragment_read(
        call->playback->server->store, call->session->stream_arn, info->number, true, &error);
    g_autoptr(GBytes) segment = NULL;
    if (reader != NULL)
        segment = kvg_fragment_reader_write(reader, track_number(call->x),
                                            (uint32_t)(call->chosen.sequence + 1), MAX(base_ms, 0),
                                            info->length_ms, &error);
    if (segment == NULL)
        respond_unreadable(call->x, call->session, info->number, error);
    else
        respond_segment(call->x, segment);
}

static const struct {
    const char *path;
    Choose choose;
    Send send;
} resources[] = {
    {"/hls/v1/getHLSMasterPlaylist.m3u8", choose_newest, send_master},
    {"/hls/v1/getHLSMediaPlaylist.m3u8", answer_media_playlist, NULL},
    {"/hls/v1/getMP4InitFragment.mp4", choose_init, send_init},
    {"/hls/v1/getMP4MediaFragment.mp4", choose_fragment, send_fragment},
};

/* The timeline is held while a fragment is chosen, not while it is read and sent. */
static void
serve(Call *call, Choose choose, Send send)
{
    KvgPlayback *playback = call->playback;
    g_autoptr(GError) error = NULL;
    KvgTimelineSlot *slot = kvg_timelines_enter(playback->timelines, call->session);
    call->timeline = slot->timeline;
    const bool is_updated =
        kvg_timeline_update(slot->timeline, playback->server->store, kvg_clock_wall_ms(), &error);
    const bool is_chosen = is_updated && choose(call);
    kvg_timelines_leave(playback->timelines, slot);
    call->timeline = NULL;
    if (!is_updated) {
        KVG_LOG_WARNING("playback", "STREAM", call->session->stream_arn, "%s", error->message);
        respond_failure(call->x, 500, "InternalFailure", "The fragments cannot be listed.");
    } else if (is_chosen) {
        send(call);
    }
}

static void
respond_preflight(KvgHttpExchange *x)
{
    const KvgHeader headers[] = {
        {"Access-Control-Allow-Origin", "*"},
        {"Access-Control-Allow-Methods", "GET, HEAD, OPTIONS"},
        {"Access-Control-Allow-Headers", "*"},
        {"Access-Control-Max-Age", "86400"},
    };
    kvg_http_respond(x, 204, headers, G_N_ELEMENTS(headers), NULL, 0);
}

void
kvg_playback_serve(KvgPlayback *playback, KvgHttpExchange *x)
{
    const char *method = kvg_http_method(x);
    if (strcmp(method, "OPTIONS") == 0) {
        respond_preflight(x);
        return;
    }
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
        respond_failure(x, 405, "InvalidArgumentException", "Only GET and HEAD are served here.");
        return;
    }
    size_t i = 0;
    while (i < G_N_ELEMENTS(resources) && strcmp(resources[i].path, kvg_http_path(x)) != 0)
        i++;
    if (i == G_N_ELEMENTS(resources)) {
        respond_failure(x, 404, "UnknownOperationException", "There is no such resource.");
        return;
    }
    g_autofree char *token = kvg_http_query_param(x, "SessionToken");
    KvgPlaybackSession session;
    if (token == NULL || !kvg_playback_session_open(token, playback->key, &session)) {
        respond_failure(x, 403, "AccessDeniedException", "Streaming session token is invalid");
        return;
    }
    if (kvg_clock_wall_ms() >= session.expires_ms) {
        respond_failure(x, 403, "AccessDeniedException", "Streaming session token is expired");
        return;
    }
    Call call = {.playback = playback, .x = x, .session = &session, .token = token};
    serve(&call, resources[i].choose, resources[i].send);
}
