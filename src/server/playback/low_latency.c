/* Both resources wait on server/live for what was asked for. Stored fragments come from the
 * session's timeline, those behind them from the live hub. */
#include "server/playback/low_latency.h"

#include "base/clock.h"
#include "server/playback/hls.h"
#include "server/playback/parts.h"
#include <kvg/error.h>
#include <string.h>

#define PLAYLIST "application/vnd.apple.mpegurl"
/* Twice PART-TARGET is the least allowed, three times what is advised. */
#define HOLD_BACK_MS (3 * KVG_PART_TARGET_MS)
/* Parts are listed for so many stored fragments before the open one. */
#define FRAGMENTS_WITH_PARTS 3u
#define WAIT_US (4 * G_USEC_PER_SEC)
#define TURN_MS 500u
/* As RFC 8216bis 6.2.5.2 has it: who asks for more is mistaken. */
#define MAX_AHEAD 2u

typedef struct {
    KvgResourceCall *call;
    unsigned track;
    GPtrArray *live;    /* KvgLiveFragment, oldest first */
    uint64_t open_msn;  /* the sequence the open fragment will have */
    guint n_open_parts; /* complete ones of it */
} Playlist;

/* ---- parts of a live fragment ---- */

static GArray *
cut(const KvgLiveFragment *fragment, unsigned number, KvgFragmentReader **reader, GArray **samples)
{
    *samples = NULL;
    *reader = kvg_fragment_reader_new(fragment->header, fragment->media, true, NULL);
    const KvgTrack *track = *reader != NULL ? kvg_fragment_reader_track(*reader, number) : NULL;
    if (track == NULL)
        return g_array_new(FALSE, FALSE, sizeof(KvgPart));
    *samples = kvg_fragment_reader_samples(*reader, number);
    return kvg_parts_cut(*samples, track->type == KVG_TRACK_AUDIO,
                         fragment->is_complete ? fragment->length_ms : -1);
}

static const KvgLiveFragment *
find_live(const GPtrArray *live, const char *number)
{
    for (guint i = 0; i < live->len; i++) {
        const KvgLiveFragment *fragment = g_ptr_array_index(live, i);
        if (strcmp(fragment->number, number) == 0)
            return fragment;
    }
    return NULL;
}

/* ---- the playlist ---- */

static void
put_part_uri(GString *out, const Playlist *playlist, const char *number, guint index)
{
    g_string_append_printf(
        out, "URI=\"getPart.mp4?FragmentNumber=%s&Part=%u&SessionToken=%s&TrackNumber=%u\"", number,
        index, playlist->call->token, playlist->track);
}

static guint
put_parts(GString *out, const Playlist *playlist, const KvgLiveFragment *fragment)
{
    g_autoptr(KvgFragmentReader) reader = NULL;
    g_autoptr(GArray) samples = NULL;
    g_autoptr(GArray) parts = cut(fragment, playlist->track, &reader, &samples);
    for (guint i = 0; i < parts->len; i++) {
        const KvgPart *part = &g_array_index(parts, KvgPart, i);
        g_string_append_printf(out, "#EXT-X-PART:DURATION=%" G_GINT64_FORMAT ".%03d,",
                               part->length_ms / 1000, (int)(part->length_ms % 1000));
        put_part_uri(out, playlist, fragment->number, i);
        g_string_append(out, part->is_independent ? ",INDEPENDENT=YES\n" : "\n");
    }
    return parts->len;
}

static const KvgTimelineEntry *
entry_at(const Playlist *playlist, guint i)
{
    return &g_array_index(playlist->call->window, KvgTimelineEntry, i);
}

/* What comes behind the last stored fragment; NULL if nothing has begun, or it needs another init
 * segment, which is there only when the fragment is stored. */
static const KvgLiveFragment *
find_open(const Playlist *playlist)
{
    const KvgTimelineEntry *last = entry_at(playlist, playlist->call->window->len - 1);
    for (guint i = 0; i < playlist->live->len; i++) {
        const KvgLiveFragment *fragment = g_ptr_array_index(playlist->live, i);
        if (strcmp(fragment->number, last->info.number) <= 0)
            continue;
        g_autoptr(KvgFragmentReader) reader =
            kvg_fragment_reader_new(fragment->header, fragment->media, false, NULL);
        return reader != NULL && kvg_fragment_reader_init_id(reader) == last->init_id ? fragment
                                                                                      : NULL;
    }
    return NULL;
}

static void
put_head(GString *out, const KvgResourceCall *call)
{
    const KvgTimelineEntry *first = &g_array_index(call->window, KvgTimelineEntry, 0);
    g_string_append_printf(
        out,
        "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:%" G_GINT64_FORMAT
        "\n#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=%d.%03d\n"
        "#EXT-X-PART-INF:PART-TARGET=%d.%03d\n"
        "#EXT-X-MEDIA-SEQUENCE:%" G_GUINT64_FORMAT
        "\n#EXT-X-DISCONTINUITY-SEQUENCE:%" G_GUINT64_FORMAT "\n#EXT-X-INDEPENDENT-SEGMENTS\n",
        MAX((call->longest_ms + 500) / 1000, 1), HOLD_BACK_MS / 1000, HOLD_BACK_MS % 1000,
        KVG_PART_TARGET_MS / 1000, KVG_PART_TARGET_MS % 1000, first->sequence,
        first->discontinuities - first->is_discontinuity);
}

static char *
compose(Playlist *playlist)
{
    KvgResourceCall *call = playlist->call;
    const guint n = call->window->len;
    GString *out = g_string_new(NULL);
    put_head(out, call);
    for (guint i = 0; i < n; i++) {
        const KvgTimelineEntry *entry = entry_at(playlist, i);
        const bool needs_map = i == 0 || entry->init_id != entry_at(playlist, i - 1)->init_id;
        const KvgLiveFragment *live =
            n - i <= FRAGMENTS_WITH_PARTS ? find_live(playlist->live, entry->info.number) : NULL;
        kvg_hls_write_segment_head(out, call->session, call->token, playlist->track, entry,
                                   needs_map);
        if (live != NULL)
            put_parts(out, playlist, live);
        kvg_hls_write_segment(out, call->session, call->token, playlist->track, entry);
    }
    playlist->open_msn = entry_at(playlist, n - 1)->sequence + 1;
    playlist->n_open_parts = 0;
    const KvgLiveFragment *open = find_open(playlist);
    if (open == NULL)
        return g_string_free(out, FALSE);
    if (call->session->discontinuity == KVG_DISCONTINUITY_ALWAYS)
        g_string_append(out, "#EXT-X-DISCONTINUITY\n");
    playlist->n_open_parts = put_parts(out, playlist, open);
    if (!open->is_complete) {
        g_string_append(out, "#EXT-X-PRELOAD-HINT:TYPE=PART,");
        put_part_uri(out, playlist, open->number, playlist->n_open_parts);
        g_string_append_c(out, '\n');
    }
    return g_string_free(out, FALSE);
}

static bool
has_part(const Playlist *playlist, uint64_t msn, int64_t part)
{
    if (msn < playlist->open_msn)
        return true;
    return msn == playlist->open_msn && part >= 0 && part < (int64_t)playlist->n_open_parts;
}

/* Absent: @fallback. False: not a number. */
static bool
read_number(KvgHttpExchange *x, const char *name, int64_t fallback, int64_t *number)
{
    g_autofree char *text = kvg_http_query_param(x, name);
    guint64 value = 0;
    *number = fallback;
    if (text == NULL)
        return true;
    if (!g_ascii_string_to_unsigned(text, 10, 0, G_MAXINT64, &value, NULL))
        return false;
    *number = (int64_t)value;
    return true;
}

static void
refuse(KvgResourceCall *call, const char *text)
{
    kvg_resource_refuse(call->x, 400, "InvalidArgumentException", text);
}

static KvgLiveWatch *
watch(KvgResourceCall *call)
{
    KvgLive *live = call->playback->server->live;
    kvg_live_want_open(live, call->session->stream_arn, kvg_clock_mono_us());
    return kvg_live_watch(live, call->session->stream_arn);
}

static bool
is_over(const KvgResourceCall *call, int64_t until_us)
{
    return kvg_clock_mono_us() >= until_us || kvg_http_is_stopping(call->x) ||
           kvg_http_peer_has_left(call->x);
}

/* Answers when the part that was asked for is there, or when it does not come. */
static void
answer_playlist(Playlist *playlist, int64_t msn, int64_t part)
{
    KvgResourceCall *call = playlist->call;
    const int64_t until_us = kvg_clock_mono_us() + WAIT_US;
    g_autoptr(KvgLiveWatch) watched = watch(call);
    for (;;) {
        const uint64_t version = kvg_live_version(watched);
        if (!kvg_resource_refresh(call))
            return;
        g_autoptr(GPtrArray) live = kvg_live_list_open(watched);
        playlist->live = live;
        g_autofree char *text = compose(playlist);
        if (msn > (int64_t)(playlist->open_msn + MAX_AHEAD)) {
            refuse(call, "_HLS_msn is too far ahead.");
            return;
        }
        if (msn < 0 || has_part(playlist, (uint64_t)msn, part) || is_over(call, until_us)) {
            kvg_resource_respond(call->x, PLAYLIST, text);
            return;
        }
        kvg_live_wait(watched, version, TURN_MS);
    }
}

void
kvg_low_latency_send_playlist(KvgResourceCall *call)
{
    int64_t track;
    int64_t msn;
    int64_t part;
    if (call->session->mode != KVG_PLAYBACK_LIVE || call->session->is_ts)
        refuse(call, "Low latency needs a LIVE session of fragmented MP4.");
    else if (!read_number(call->x, "TrackNumber", 0, &track) || track < 1 || track > 255)
        refuse(call, "TrackNumber is missing.");
    else if (!read_number(call->x, "_HLS_msn", -1, &msn) ||
             !read_number(call->x, "_HLS_part", -1, &part) || (msn < 0 && part >= 0))
        refuse(call, "_HLS_msn and _HLS_part must be numbers, and the second needs the first.");
    else
        answer_playlist(&(Playlist){.call = call, .track = (unsigned)track}, msn, part);
}

/* ---- one part ---- */

static GBytes *
write_part(const KvgResourceCall *call,
           const KvgLiveFragment *fragment,
           unsigned number,
           guint index,
           GError **error)
{
    g_autoptr(KvgFragmentReader) reader = NULL;
    g_autoptr(GArray) samples = NULL;
    g_autoptr(GArray) parts = cut(fragment, number, &reader, &samples);
    if (index >= parts->len) {
        g_set_error_literal(error, KVG_ERROR, KVG_ERROR_RETRY, "the part is not there yet");
        return NULL;
    }
    const KvgPart *part = &g_array_index(parts, KvgPart, index);
    const int64_t base_ms = fragment->producer_ms - call->session->origin_ms;
    return kvg_fmp4_write_fragment(kvg_fragment_reader_track(reader, number), index + 1,
                                   MAX(base_ms, 0), MAX(part->start_ms + part->length_ms, 0),
                                   (const KvgMp4Sample *)(void *)samples->data + part->first,
                                   part->n, error);
}

/* A part that has left the hub is cut out of the stored fragment. */
static GBytes *
read_stored_part(
    KvgResourceCall *call, const char *number, unsigned track, guint index, GError **error)
{
    KvgStore *store = call->playback->server->store;
    const char *arn = call->session->stream_arn;
    KvgFragmentInfo info;
    g_autoptr(GBytes) header = NULL;
    g_autoptr(GBytes) media = NULL;
    if (!kvg_store_find(store, arn, number, &info, error) ||
        !kvg_store_read(store, arn, number, &header, &media, error))
        return NULL;
    const KvgLiveFragment fragment = {.producer_ms = info.producer_ms,
                                      .length_ms = info.length_ms,
                                      .is_complete = true,
                                      .header = header,
                                      .media = media};
    return write_part(call, &fragment, track, index, error);
}

static GBytes *
wait_for_part(
    KvgResourceCall *call, const char *number, unsigned track, guint index, GError **error)
{
    const int64_t until_us = kvg_clock_mono_us() + WAIT_US;
    g_autoptr(KvgLiveWatch) watched = watch(call);
    for (;;) {
        const uint64_t version = kvg_live_version(watched);
        g_autoptr(GPtrArray) live = kvg_live_list_open(watched);
        const KvgLiveFragment *fragment = find_live(live, number);
        if (fragment == NULL)
            return read_stored_part(call, number, track, index, error);
        GBytes *part = write_part(call, fragment, track, index, error);
        if (part != NULL || fragment->is_complete || is_over(call, until_us))
            return part;
        g_clear_error(error);
        kvg_live_wait(watched, version, TURN_MS);
    }
}

void
kvg_low_latency_send_part(KvgResourceCall *call)
{
    g_autofree char *number = kvg_http_query_param(call->x, "FragmentNumber");
    int64_t track;
    int64_t index;
    if (number == NULL || !read_number(call->x, "TrackNumber", 0, &track) || track < 1 ||
        track > 255 || !read_number(call->x, "Part", -1, &index) || index < 0 ||
        index > G_MAXINT32) {
        refuse(call, "FragmentNumber, Part and TrackNumber are required.");
        return;
    }
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) part = wait_for_part(call, number, (unsigned)track, (guint)index, &error);
    if (part != NULL)
        kvg_resource_respond_segment(call->x, "video/mp4", part);
    else
        kvg_resource_refuse(call->x, 404, "ResourceNotFoundException", "The part is not found.");
}
