/* GetClip: the fragments of a range as one MP4 file. They are read twice: for the index, which
 * stands in front, and for the bytes; so a clip costs the memory of one fragment. */
#include "server/playback/call.h"

#include "media/annexb.h"
#include "media/mp4.h"
#include "os/log.h"
#include "server/playback/fields.h"
#include "server/playback/fragment.h"
#include "server/playback/media_check.h"
#include "server/playback/request.h"
#include "server/playback/timeline.h"
#include <kvg/error.h>

#define MAX_FRAGMENTS 200
#define MAX_BYTES (100u * 1024 * 1024)
/* A longer pause between two fragments is left out. */
#define MAX_PAUSE_MS 1000
#define MAX_TRACKS 2

static bool
parse(KvgReadCall *call, KvgFragmentSelector *selector, GError **error)
{
    const json_t *member = NULL;
    return kvg_field_object(call->input, "ClipFragmentSelector", &member, error) &&
           kvg_field_selector(member, true, selector, error) &&
           kvg_playback_check_range(selector->order, selector->from_ms, selector->to_ms,
                                    call->now_ms, error);
}

/* The same choice of fragments as a playlist on demand makes. */
static KvgTimeline *
list_fragments(KvgReadCall *call, const KvgFragmentSelector *selector, GError **error)
{
    KvgPlaybackSession session = {.mode = KVG_PLAYBACK_ON_DEMAND,
                                  .order = selector->order,
                                  .discontinuity = KVG_DISCONTINUITY_NEVER,
                                  .max_results = MAX_FRAGMENTS,
                                  .from_ms = selector->from_ms,
                                  .to_ms = selector->to_ms};
    g_strlcpy(session.stream_arn, call->stream.arn, sizeof session.stream_arn);
    g_autoptr(KvgTimeline) timeline = kvg_timeline_new(&session);
    if (!kvg_timeline_update(timeline, call->server->store, call->now_ms, error))
        return NULL;
    return g_steal_pointer(&timeline);
}

/* How many of the fragments fit; at least one. */
static size_t
limit_bytes(const KvgTimelineEntry *entries, size_t n)
{
    uint64_t total = 0;
    for (size_t i = 0; i < n; i++) {
        total += entries[i].info.size_bytes;
        if (total > MAX_BYTES && i > 0)
            return i;
    }
    return n;
}

typedef struct {
    KvgReadCall *call;
    const KvgTimelineEntry *entries;
    size_t n;
    KvgMp4 *mp4;
} Clip;

/* What is to be done with the frames of one track of fragment @i. */
typedef bool (*EachTrack)(Clip *clip,
                          int64_t base_ms,
                          size_t i,
                          const KvgTrack *track,
                          const GArray *samples,
                          GError **error);

static bool
each_track(Clip *clip, EachTrack each, GError **error)
{
    int64_t base_ms = 0;
    for (size_t i = 0; i < clip->n; i++) {
        const KvgFragmentInfo *info = &clip->entries[i].info;
        g_autoptr(KvgFragmentReader) reader = kvg_fragment_read(
            clip->call->server->store, clip->call->stream.arn, info->number, true, error);
        if (reader == NULL)
            return false;
        if (i > 0) {
            const KvgFragmentInfo *before = &clip->entries[i - 1].info;
            const int64_t pause_ms = info->producer_ms - before->producer_ms - before->length_ms;
            base_ms += before->length_ms;
            base_ms += pause_ms > -MAX_PAUSE_MS && pause_ms <= MAX_PAUSE_MS ? pause_ms : 0;
        }
        size_t n_tracks;
        const KvgTrack *tracks = kvg_fragment_reader_tracks(reader, &n_tracks);
        for (size_t t = 0; t < MIN(n_tracks, MAX_TRACKS); t++) {
            g_autoptr(GArray) samples = kvg_fragment_reader_samples(reader, tracks[t].number);
            if (samples->len > 0 && !each(clip, MAX(base_ms, 0), i, &tracks[t], samples, error))
                return false;
        }
    }
    return true;
}

/* H.264 and H.265: lengths and NAL units that fill the frame. */
static bool
is_framed(const KvgMp4Track *track, const KvgMp4Sample *sample)
{
    size_t at = 0;
    const uint8_t *nal;
    size_t len;
    if (track->is_audio)
        return sample->len > 0;
    while (kvg_lengths_next(sample->data, sample->len, track->nal_length_bytes, &at, &nal, &len))
        continue;
    return sample->len > 0 && at == sample->len;
}

static bool
index_track(Clip *clip,
            int64_t base_ms,
            size_t i,
            const KvgTrack *track,
            const GArray *samples,
            GError **error)
{
    KvgMp4Track description;
    if (!kvg_mp4_track_init(&description, track, error))
        return false;
    for (guint s = 0; s < samples->len; s++) {
        if (is_framed(&description, &g_array_index(samples, KvgMp4Sample, s)))
            continue;
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "frame %u of track %u is not a %s frame",
                    s, track->number, track->codec_id);
        return false;
    }
    return kvg_mp4_add(clip->mp4, track, base_ms, clip->entries[i].info.length_ms,
                       (const KvgMp4Sample *)(void *)samples->data, samples->len, error);
}

static bool
send_track(Clip *clip,
           int64_t base_ms,
           size_t i,
           const KvgTrack *track,
           const GArray *samples,
           GError **error)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    for (guint s = 0; s < samples->len; s++) {
        const KvgMp4Sample *sample = &g_array_index(samples, KvgMp4Sample, s);
        g_byte_array_append(out, sample->data, (guint)sample->len);
    }
    if (kvg_http_write_chunk(clip->call->x, out->data, out->len))
        return true;
    g_set_error_literal(error, KVG_ERROR, KVG_ERROR_CANCELLED, "the client has left");
    return false;
}

static void
answer_failure(KvgReadCall *call, const GError *error)
{
    if (g_error_matches(error, KVG_ERROR, KVG_ERROR_UNSUPPORTED))
        kvg_respond_error(call->x, 400, "UnsupportedStreamMediaTypeException", "%s",
                          error->message);
    else if (g_error_matches(error, KVG_ERROR, KVG_ERROR_INVALID))
        kvg_respond_error(call->x, 400, "InvalidMediaFrameException", "%s", error->message);
    else
        kvg_read_fail(call, error);
}

static void
send(Clip *clip)
{
    static const KvgHeader headers[] = {{"Content-Type", "video/mp4"}};
    KvgReadCall *call = clip->call;
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) head = kvg_mp4_write_head(clip->mp4);
    gsize len;
    const void *data = g_bytes_get_data(head, &len);
    if (!kvg_http_begin_stream(call->x, 200, headers, G_N_ELEMENTS(headers)) ||
        !kvg_http_write_chunk(call->x, data, len))
        return;
    /* A response that was not ended is not taken for a whole clip. */
    if (each_track(clip, send_track, &error))
        kvg_http_end_stream(call->x);
    else
        KVG_LOG_WARNING("playback", "STREAM", call->stream.arn, "clip of %s cut short: %s",
                        call->stream.arn, error->message);
}

void
kvg_read_get_clip(KvgReadCall *call)
{
    g_autoptr(GError) error = NULL;
    KvgFragmentSelector selector;
    if (!parse(call, &selector, &error)) {
        kvg_read_refuse(call, error);
        return;
    }
    g_autoptr(KvgTimeline) timeline = list_fragments(call, &selector, &error);
    if (timeline == NULL) {
        kvg_read_fail(call, error);
        return;
    }
    Clip clip = {.call = call};
    clip.entries = kvg_timeline_all(timeline, &clip.n);
    if (clip.n == 0) {
        kvg_respond_error(call->x, 404, "ResourceNotFoundException",
                          "No fragments found in the stream for the clip request.");
        return;
    }
    if (!kvg_media_check(call, &clip.entries[0].info, true))
        return;
    clip.n = limit_bytes(clip.entries, clip.n);
    g_autoptr(KvgMp4) mp4 = kvg_mp4_new();
    clip.mp4 = mp4;
    if (each_track(&clip, index_track, &error))
        send(&clip);
    else
        answer_failure(call, error);
}
