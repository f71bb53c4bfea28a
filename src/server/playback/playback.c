/* HLS playback: makes sessions and serves their playlists and segments. Hides how a session is
 * found again from its token, and the timelines kept between two requests of one player. */
#include "server/server.h"

#include "base/clock.h"
#include "base/text.h"
#include "os/file.h"
#include "os/log.h"
#include "server/playback/fragment.h"
#include "server/playback/hls.h"
#include "server/playback/request.h"
#include "server/playback/session.h"
#include "server/playback/timeline.h"
#include <kvg/error.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <string.h>

#define MAX_BODY_BYTES 65536u
/* A timeline is at most a megabyte (5000 fragments on demand); one that was dropped is counted
 * anew. */
#define MAX_TIMELINES 128u
/* A live session needs a fragment as young as this. */
#define LIVE_MAX_AGE_MS 30000
/* Producer clocks may step back a little without the media timeline going below zero. */
#define TIMELINE_HEADROOM_MS 10000

typedef struct {
    int refs; /* under KvgPlayback.lock */
    int64_t last_used_us;
    GMutex lock; /* protects timeline */
    KvgTimeline *timeline;
} Slot;

struct _KvgPlayback {
    KvgServer *server;
    uint8_t key[KVG_PLAYBACK_KEY_BYTES];
    GMutex lock;       /* protects slots and their refs */
    GHashTable *slots; /* session id in hex -> Slot */
};

static void
load_key(KvgPlayback *playback)
{
    g_autofree char *path = g_build_filename(playback->server->data_path, "playback.key", NULL);
    size_t len = 0;
    g_autofree char *bytes = kvg_file_read(path, 4096, &len, NULL);
    if (bytes != NULL && len == sizeof playback->key) {
        memcpy(playback->key, bytes, len);
        OPENSSL_cleanse(bytes, len);
        return;
    }
    if (RAND_bytes(playback->key, sizeof playback->key) != 1)
        g_error("playback: the system has no randomness");
    g_autoptr(GError) error = NULL;
    if (!kvg_file_replace(path, playback->key, sizeof playback->key, 0600, &error))
        KVG_LOG_WARNING("playback", "PATH", path,
                        "%s; playback sessions will end with this process", error->message);
}

static void
slot_free(Slot *slot)
{
    kvg_timeline_free(slot->timeline);
    g_mutex_clear(&slot->lock);
    g_free(slot);
}

static void
slot_unref_locked(Slot *slot)
{
    if (--slot->refs == 0)
        slot_free(slot);
}

static void
slot_release(void *data)
{
    slot_unref_locked(data);
}

KvgPlayback *
kvg_playback_new(KvgServer *server)
{
    KvgPlayback *playback = g_new0(KvgPlayback, 1);
    playback->server = server;
    g_mutex_init(&playback->lock);
    playback->slots = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, slot_release);
    load_key(playback);
    return playback;
}

void
kvg_playback_free(KvgPlayback *playback)
{
    if (playback == NULL)
        return;
    g_hash_table_unref(playback->slots);
    g_mutex_clear(&playback->lock);
    OPENSSL_cleanse(playback->key, sizeof playback->key);
    g_free(playback);
}

static void
drop_oldest_locked(KvgPlayback *playback)
{
    GHashTableIter iter;
    void *id;
    void *value;
    const char *oldest_id = NULL;
    int64_t oldest_us = G_MAXINT64;
    g_hash_table_iter_init(&iter, playback->slots);
    while (g_hash_table_iter_next(&iter, &id, &value)) {
        const Slot *slot = value;
        if (slot->last_used_us < oldest_us) {
            oldest_us = slot->last_used_us;
            oldest_id = id;
        }
    }
    if (oldest_id != NULL)
        g_hash_table_remove(playback->slots, oldest_id);
}

/* The session's timeline, locked; give it back with leave(). */
static Slot *
enter(KvgPlayback *playback, const KvgPlaybackSession *session)
{
    char id[2 * sizeof session->id + 1];
    for (size_t i = 0; i < sizeof session->id; i++)
        g_snprintf(id + 2 * i, 3, "%02x", session->id[i]);
    g_mutex_lock(&playback->lock);
    Slot *slot = g_hash_table_lookup(playback->slots, id);
    if (slot == NULL) {
        if (g_hash_table_size(playback->slots) >= MAX_TIMELINES)
            drop_oldest_locked(playback);
        slot = g_new0(Slot, 1);
        slot->refs = 1;
        g_mutex_init(&slot->lock);
        slot->timeline = kvg_timeline_new(session);
        g_hash_table_insert(playback->slots, g_strdup(id), slot);
    }
    slot->refs++;
    slot->last_used_us = kvg_clock_mono_us();
    g_mutex_unlock(&playback->lock);
    g_mutex_lock(&slot->lock);
    return slot;
}

static void
leave(KvgPlayback *playback, Slot *slot)
{
    g_mutex_unlock(&slot->lock);
    g_mutex_lock(&playback->lock);
    slot_unref_locked(slot);
    g_mutex_unlock(&playback->lock);
}

/* ---- making a session ---- */

static const char *
error_type_of_track(const KvgTrack *track)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) init = kvg_fmp4_write_init(track, &error);
    if (init != NULL)
        return NULL;
    if (g_error_matches(error, KVG_ERROR, KVG_ERROR_UNSUPPORTED))
        return "UnsupportedStreamMediaTypeException";
    return track->codec_private == NULL ? "MissingCodecPrivateDataException"
                                        : "InvalidCodecPrivateDataException";
}

/* Answers and returns false if the fragment's first track is nothing a player takes. */
static bool
check_media(KvgPlayback *playback, KvgHttpExchange *x, const char *arn, const KvgFragmentInfo *info)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) header = NULL;
    g_autoptr(GBytes) media = NULL;
    g_autoptr(KvgFragmentReader) reader = NULL;
    if (kvg_store_read(playback->server->store, arn, info->number, &header, &media, &error))
        reader = kvg_fragment_reader_new(header, media, false, &error);
    if (reader == NULL) {
        KVG_LOG_WARNING("playback", "STREAM", arn, "fragment %s: %s", info->number, error->message);
        kvg_respond_error(x, 500, "InternalFailure", "A fragment of the stream cannot be read.");
        return false;
    }
    if (kvg_fragment_reader_playable(reader, KVG_TRACK_VIDEO) != NULL)
        return true;
    const char *type = error_type_of_track(kvg_fragment_reader_first(reader));
    if (type == NULL)
        return true;
    kvg_respond_error(x, 400, type, "The media of the stream cannot be played.");
    return false;
}

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
find_start(KvgPlayback *playback, KvgHttpExchange *x, KvgPlaybackSession *session)
{
    const bool is_live = session->mode == KVG_PLAYBACK_LIVE;
    g_autoptr(GError) error = NULL;
    g_autoptr(GArray) infos = kvg_store_list(
        playback->server->store, session->stream_arn,
        is_live ? KVG_STORE_BY_SERVER_TIME : session->order, is_live ? 0 : session->from_ms,
        is_live ? G_MAXINT64 : session->to_ms, is_live ? session->max_results : 1, is_live, &error);
    if (infos == NULL) {
        KVG_LOG_WARNING("playback", "STREAM", session->stream_arn, "%s", error->message);
        kvg_respond_error(x, 500, "InternalFailure", "The stream's fragments cannot be listed.");
        return false;
    }
    const KvgFragmentInfo *newest =
        infos->len > 0 ? &g_array_index(infos, KvgFragmentInfo, infos->len - 1) : NULL;
    if (newest == NULL || (is_live && newest->server_ms + newest->length_ms <
                                          session->created_ms - LIVE_MAX_AGE_MS)) {
        kvg_respond_error(x, 404, "ResourceNotFoundException",
                          "No fragments found in the stream for the streaming request.");
        return false;
    }
    if (is_live)
        begin_live(session, infos);
    else
        session->origin_ms = newest->producer_ms - TIMELINE_HEADROOM_MS;
    return check_media(playback, x, session->stream_arn, newest);
}

/* Answers and returns false unless @caller may play the stream and it keeps fragments. */
static bool
find_stream(KvgPlayback *playback,
            KvgHttpExchange *x,
            const KvgCaller *caller,
            const KvgPlaybackRequest *request,
            KvgStreamInfo *stream)
{
    static const char action[] = "kinesisvideo:GetHLSStreamingSessionURL";
    KvgServer *server = playback->server;
    const char *name = request->stream_name;
    if (!kvg_control_find_stream(server, name, request->stream_arn, stream)) {
        /* Who may not play it is not told whether it exists. */
        g_autofree char *arn = request->stream_arn != NULL
                                   ? g_strdup(request->stream_arn)
                                   : g_strdup_printf("arn:aws:kinesisvideo:%s:%s:stream/%s/0",
                                                     server->region, server->account, name);
        if (kvg_auth_require(server, x, caller, action, arn))
            kvg_respond_error(x, 404, "ResourceNotFoundException",
                              "The requested stream is not found or not active.");
        return false;
    }
    if (!kvg_auth_require(server, x, caller, action, stream->arn))
        return false;
    if (stream->retention_hours == 0) {
        kvg_respond_error(x, 400, "NoDataRetentionException", "The stream does not retain data.");
        return false;
    }
    return strlen(stream->arn) < sizeof((KvgPlaybackSession *)NULL)->stream_arn;
}

static void
answer_url(KvgPlayback *playback, KvgHttpExchange *x, const KvgPlaybackSession *session)
{
    g_autofree char *token = kvg_playback_session_seal(session, playback->key);
    if (token == NULL) {
        kvg_respond_error(x, 500, "InternalFailure", "No session can be made.");
        return;
    }
    g_autofree char *base = kvg_control_own_url(x);
    g_autofree char *url =
        g_strdup_printf("%s/hls/v1/getHLSMasterPlaylist.m3u8?SessionToken=%s", base, token);
    g_autoptr(json_t) reply = json_pack("{s:s}", "HLSStreamingSessionURL", url);
    g_autofree char *text = kvg_json_to_text(reply);
    kvg_http_respond_json(x, 200, text);
}

static void
handle_session_request(KvgPlayback *playback, KvgHttpExchange *x)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) body = kvg_http_read_all(x, MAX_BODY_BYTES, &error);
    if (body == NULL) {
        kvg_respond_error(x, 400, "InvalidArgumentException", "%s", error->message);
        return;
    }
    g_auto(KvgCaller) caller = {0};
    if (!kvg_auth_verify(playback->server, x, body, &caller))
        return;
    gsize len;
    const void *data = g_bytes_get_data(body, &len);
    g_autoptr(json_t) json = kvg_json_parse_object(data, len, &error);
    if (json == NULL) {
        kvg_respond_error(x, 400, "SerializationException", "%s", error->message);
        return;
    }
    const int64_t now_ms = kvg_clock_wall_ms();
    g_auto(KvgPlaybackRequest) request = {0};
    if (!kvg_playback_request_parse(json, now_ms, &request, &error)) {
        kvg_respond_error(x, 400, "InvalidArgumentException", "%s", error->message);
        return;
    }
    g_auto(KvgStreamInfo) stream = {0};
    if (!find_stream(playback, x, &caller, &request, &stream))
        return;
    KvgPlaybackSession *session = &request.session;
    g_strlcpy(session->stream_arn, stream.arn, sizeof session->stream_arn);
    session->created_ms = now_ms;
    session->expires_ms = now_ms + request.expires_s * 1000;
    if (RAND_bytes(session->id, sizeof session->id) != 1) {
        kvg_respond_error(x, 500, "InternalFailure", "No session can be made.");
        return;
    }
    if (find_start(playback, x, session))
        answer_url(playback, x, session);
}

/* ---- serving a session ---- */

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

static KvgFragmentReader *
read_fragment(KvgPlayback *playback,
              const KvgPlaybackSession *session,
              const char *number,
              bool with_samples,
              GError **error)
{
    g_autoptr(GBytes) header = NULL;
    g_autoptr(GBytes) media = NULL;
    if (!kvg_store_read(playback->server->store, session->stream_arn, number, &header, &media,
                        error))
        return NULL;
    return kvg_fragment_reader_new(header, media, with_samples, error);
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
    g_autoptr(KvgFragmentReader) reader =
        read_fragment(call->playback, call->session, info->number, true, &error);
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
        read_fragment(call->playback, call->session, call->chosen.info.number, false, &error);
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
    g_autoptr(KvgFragmentReader) reader =
        read_fragment(call->playback, call->session, info->number, true, &error);
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
    Slot *slot = enter(playback, call->session);
    call->timeline = slot->timeline;
    const bool is_updated =
        kvg_timeline_update(slot->timeline, playback->server->store, kvg_clock_wall_ms(), &error);
    const bool is_chosen = is_updated && choose(call);
    leave(playback, slot);
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

static void
handle_resource(KvgPlayback *playback, KvgHttpExchange *x)
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

bool
kvg_playback_handle(KvgPlayback *playback, KvgHttpExchange *x)
{
    const char *path = kvg_http_path(x);
    if (strcmp(path, "/getHLSStreamingSessionURL") == 0) {
        if (strcmp(kvg_http_method(x), "POST") != 0)
            kvg_respond_error(x, 405, "InvalidArgumentException", "POST is expected.");
        else
            handle_session_request(playback, x);
        return true;
    }
    if (!g_str_has_prefix(path, "/hls/v1/"))
        return false;
    handle_resource(playback, x);
    return true;
}
