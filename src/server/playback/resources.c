/* Playlists, manifests and segments of a session. */
#include "base/clock.h"
#include "media/ts.h"
#include "os/log.h"
#include "server/playback/dash.h"
#include "server/playback/hls.h"
#include "server/playback/low_latency.h"
#include "server/playback/resource.h"
#include <kvg/error.h>

#define PLAYLIST "application/vnd.apple.mpegurl"
#define MANIFEST "application/dash+xml"
#define MP4 "video/mp4"
#define TS "video/MP2T"

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
        kvg_resource_refuse(x, 404, "ResourceNotFoundException", "The fragment is not found.");
    else
        kvg_resource_refuse(x, 500, "InternalFailure", "The fragment cannot be played.");
}

static bool
choose_newest(KvgResourceCall *call)
{
    size_t n;
    const KvgTimelineEntry *window =
        kvg_timeline_window(call->timeline, call->playback->server->store, &n);
    if (n == 0) {
        kvg_resource_refuse(call->x, 404, "ResourceNotFoundException", "No fragments found.");
        return false;
    }
    call->chosen = window[n - 1];
    return true;
}

static bool
choose_init(KvgResourceCall *call)
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
        kvg_resource_refuse(call->x, 404, "ResourceNotFoundException",
                            "The fragment is not found.");
        return false;
    }
    call->chosen = *entry;
    return true;
}

/* HLS names fragments by their numbers, DASH by their sequence in the session. */
static const KvgTimelineEntry *
find_fragment(KvgResourceCall *call, const char *number)
{
    guint64 sequence = 0;
    if (call->session->protocol == KVG_PLAYBACK_HLS)
        return kvg_timeline_find(call->timeline, number);
    if (!g_ascii_string_to_unsigned(number, 10, 0, G_MAXUINT64, &sequence, NULL))
        return NULL;
    return kvg_timeline_find_sequence(call->timeline, sequence);
}

static bool
choose_fragment(KvgResourceCall *call)
{
    g_autofree char *number = kvg_http_query_param(call->x, "FragmentNumber");
    const KvgTimelineEntry *entry = number != NULL ? find_fragment(call, number) : NULL;
    if (entry == NULL) {
        kvg_resource_refuse(call->x, 404, "ResourceNotFoundException",
                            "The fragment is not found.");
        return false;
    }
    call->chosen = *entry;
    return true;
}

/* Needs nothing but the timeline, so it answers here. */
static bool
answer_media_playlist(KvgResourceCall *call)
{
    const unsigned track = track_number(call->x);
    if (track == 0 && !call->session->is_ts) {
        kvg_resource_refuse(call->x, 400, "InvalidArgumentException", "TrackNumber is missing.");
        return false;
    }
    size_t n;
    const KvgTimelineEntry *entries =
        kvg_timeline_window(call->timeline, call->playback->server->store, &n);
    g_autofree char *text = kvg_hls_write_media(
        call->session, call->token, track, kvg_timeline_longest_ms(call->timeline), entries, n);
    kvg_resource_respond(call->x, PLAYLIST, text);
    return false;
}

static void
send_master(KvgResourceCall *call)
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
        kvg_resource_refuse(call->x, 400, "UnsupportedStreamMediaTypeException",
                            "The media cannot be played.");
        return;
    }
    const double seconds = (double)MAX(info->length_ms, 1) / 1000;
    KvgHlsMaster master = {.token = call->token, .is_ts = call->session->is_ts};
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
    kvg_resource_respond(call->x, PLAYLIST, text);
}

static void
send_init(KvgResourceCall *call)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(KvgFragmentReader) reader =
        kvg_fragment_read(call->playback->server->store, call->session->stream_arn,
                          call->chosen.info.number, false, &error);
    const KvgTrack *track =
        reader != NULL ? kvg_fragment_reader_track(reader, track_number(call->x)) : NULL;
    if (reader != NULL && track == NULL) {
        kvg_resource_refuse(call->x, 404, "ResourceNotFoundException", "The track is not found.");
        return;
    }
    g_autoptr(GBytes) segment = track != NULL ? kvg_fmp4_write_init(track, &error) : NULL;
    if (segment == NULL)
        respond_unreadable(call->x, call->session, call->chosen.info.number, error);
    else
        kvg_resource_respond_segment(call->x, MP4, segment);
}

static void
send_fragment(KvgResourceCall *call)
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
        kvg_resource_respond_segment(call->x, MP4, segment);
}

/* All tracks that HLS takes: the first video and the first audio. */
static GBytes *
write_ts(const KvgFragmentReader *reader, int64_t base_ms, int64_t length_ms, GError **error)
{
    static const KvgTrackType types[] = {KVG_TRACK_VIDEO, KVG_TRACK_AUDIO};
    KvgTsTrack tracks[G_N_ELEMENTS(types)];
    GArray *samples[G_N_ELEMENTS(types)] = {NULL};
    size_t n = 0;
    for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
        const KvgTrack *track = kvg_fragment_reader_playable(reader, types[i]);
        if (track == NULL || !kvg_mp4_track_init(&tracks[n].track, track, NULL))
            continue;
        samples[n] = kvg_fragment_reader_samples(reader, track->number);
        tracks[n].samples = (const KvgMp4Sample *)(void *)samples[n]->data;
        tracks[n].n = samples[n]->len;
        if (tracks[n].n > 0)
            n++;
        else
            g_clear_pointer(&samples[n], g_array_unref);
    }
    GBytes *segment = NULL;
    if (n > 0)
        segment = kvg_ts_write(tracks, n, base_ms, length_ms, error);
    else
        g_set_error_literal(error, KVG_ERROR, KVG_ERROR_NOT_FOUND, "the fragment has no frames");
    for (size_t i = 0; i < n; i++)
        g_array_unref(samples[i]);
    return segment;
}

static void
send_ts(KvgResourceCall *call)
{
    const KvgFragmentInfo *info = &call->chosen.info;
    const int64_t base_ms = MAX(info->producer_ms - call->session->origin_ms, 1000);
    g_autoptr(GError) error = NULL;
    g_autoptr(KvgFragmentReader) reader = kvg_fragment_read(
        call->playback->server->store, call->session->stream_arn, info->number, true, &error);
    g_autoptr(GBytes) segment =
        reader != NULL ? write_ts(reader, base_ms, info->length_ms, &error) : NULL;
    if (segment == NULL)
        respond_unreadable(call->x, call->session, info->number, error);
    else
        kvg_resource_respond_segment(call->x, TS, segment);
}

bool
kvg_resource_choose_window(KvgResourceCall *call)
{
    if (!choose_newest(call))
        return false;
    size_t n;
    const KvgTimelineEntry *window =
        kvg_timeline_window(call->timeline, call->playback->server->store, &n);
    g_clear_pointer(&call->window, g_array_unref);
    call->window = g_array_new(FALSE, FALSE, sizeof *window);
    g_array_append_vals(call->window, window, (guint)n);
    call->head_ms = kvg_timeline_head_ms(call->timeline);
    call->longest_ms = kvg_timeline_longest_ms(call->timeline);
    return true;
}

/* The tracks of each run of fragments that share an init segment come from its first one. */
static void
send_manifest(KvgResourceCall *call)
{
    g_autoptr(KvgDash) dash =
        kvg_dash_new(call->session, call->token, call->head_ms, kvg_clock_wall_ms());
    for (guint i = 0; i < call->window->len; i++) {
        const KvgTimelineEntry *entry = &g_array_index(call->window, KvgTimelineEntry, i);
        g_autoptr(GError) error = NULL;
        g_autoptr(KvgFragmentReader) reader = NULL;
        if (kvg_dash_needs_tracks(dash, entry)) {
            reader = kvg_fragment_read(call->playback->server->store, call->session->stream_arn,
                                       entry->info.number, true, &error);
            if (reader == NULL) {
                respond_unreadable(call->x, call->session, entry->info.number, error);
                return;
            }
        }
        kvg_dash_add(dash, entry, reader);
    }
    g_autofree char *text = kvg_dash_finish(dash);
    kvg_resource_respond(call->x, MANIFEST, text);
}

#define HLS "/hls/v1/"
#define DASH "/dash/v1/"
#define LL "/ll/v1/"
/* Requests come as often as parts do. */
#define LL_PER_SECOND 50

const KvgResource kvg_resources[] = {
    {HLS "getHLSMasterPlaylist.m3u8", choose_newest, send_master, 5},
    {HLS "getHLSMediaPlaylist.m3u8", answer_media_playlist, NULL, 5},
    {HLS "getMP4InitFragment.mp4", choose_init, send_init, 5},
    {HLS "getMP4MediaFragment.mp4", choose_fragment, send_fragment, 20},
    {HLS "getTSFragment.ts", choose_fragment, send_ts, 20},
    {DASH "getDASHManifest.mpd", kvg_resource_choose_window, send_manifest, 5},
    {DASH "getMP4InitFragment.mp4", choose_init, send_init, 5},
    {DASH "getMP4MediaFragment.mp4", choose_fragment, send_fragment, 20},
    {LL "getHLSMasterPlaylist.m3u8", choose_newest, send_master, LL_PER_SECOND},
    {LL "getHLSMediaPlaylist.m3u8", kvg_resource_choose_window, kvg_low_latency_send_playlist,
     LL_PER_SECOND},
    {LL "getMP4InitFragment.mp4", choose_init, send_init, LL_PER_SECOND},
    {LL "getMP4MediaFragment.mp4", choose_fragment, send_fragment, LL_PER_SECOND},
    {LL "getPart.mp4", NULL, kvg_low_latency_send_part, LL_PER_SECOND},
    {NULL, NULL, NULL, 0},
};
