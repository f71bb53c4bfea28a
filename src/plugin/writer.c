#include "plugin/writer.h"

#include "plugin/interleaver.h"
#include <gst/gst.h>

GST_DEBUG_CATEGORY_EXTERN(kvs_sink_debug);
#define GST_CAT_DEFAULT kvs_sink_debug

/* How long frames of the other track wait. Encoders of video may hold seconds back; sound is small,
 * so it can wait for them. Pictures wait less: a silent microphone must not delay them for long. A
 * source that is not live can simply be held back. */
#define VIDEO_PATIENCE_US (10 * G_TIME_SPAN_SECOND)
#define AUDIO_PATIENCE_US (2500 * G_TIME_SPAN_MILLISECOND)
#define FILE_PATIENCE_US (10 * G_TIME_SPAN_SECOND)
/* A key frame is asked for when one is missing so long, and not more often than this. */
#define LONG_GOP_US (10 * G_TIME_SPAN_SECOND)
#define ASK_US (2 * G_TIME_SPAN_SECOND)

struct _KvgWriter {
    KvgHubStream *stream;
    char *video_name;
    KvgTimeline timeline;
    KvgInterleaver interleaver;

    KvgTrackInfo *described[KVG_INTERLEAVER_TRACKS]; /* in force; NULL: not described */
    bool needs_key;                                  /* nothing was written yet */
    KvgTrackInfo *coming[KVG_INTERLEAVER_TRACKS];    /* of the frame put last */
    int64_t last_us[KVG_INTERLEAVER_TRACKS];         /* place of the frame put last */
    bool is_open[KVG_INTERLEAVER_TRACKS], is_ended[KVG_INTERLEAVER_TRACKS];
    int64_t key_us; /* place of the last key frame written */

    bool wants_key;
    int64_t asked_us; /* monotonic */
    KvgWriterStats stats;
};

KvgWriter *
kvg_writer_new(const KvgWriterOptions *options)
{
    KvgWriter *writer = g_new0(KvgWriter, 1);
    writer->stream = options->stream;
    writer->video_name = g_strdup(options->video_name);
    writer->needs_key = true;
    writer->asked_us = INT64_MIN / 2;
    for (unsigned i = 0; i < KVG_INTERLEAVER_TRACKS; i++)
        writer->last_us[i] = INT64_MIN / 2;
    kvg_timeline_init(&writer->timeline, options->last_dts_us);
    kvg_interleaver_init(&writer->interleaver);
    return writer;
}

void
kvg_writer_free(KvgWriter *writer)
{
    if (writer == NULL)
        return;
    kvg_interleaver_clear(&writer->interleaver);
    for (unsigned i = 0; i < KVG_INTERLEAVER_TRACKS; i++) {
        g_clear_pointer(&writer->described[i], kvg_track_info_unref);
        g_clear_pointer(&writer->coming[i], kvg_track_info_unref);
    }
    g_free(writer->video_name);
    g_free(writer);
}

void
kvg_writer_open(KvgWriter *writer, KvgWriterTrack track, bool live)
{
    const int64_t live_us = track == KVG_WRITER_VIDEO ? VIDEO_PATIENCE_US : AUDIO_PATIENCE_US;
    writer->is_open[track] = true;
    kvg_interleaver_open(&writer->interleaver, track, live ? live_us : FILE_PATIENCE_US);
}

void
kvg_writer_close(KvgWriter *writer, KvgWriterTrack track)
{
    writer->is_open[track] = false;
    kvg_interleaver_close(&writer->interleaver, track);
}

void
kvg_writer_set_ended(KvgWriter *writer, KvgWriterTrack track, bool ended)
{
    writer->is_ended[track] = ended;
    kvg_interleaver_set_ended(&writer->interleaver, track, ended);
}

void
kvg_writer_restart(KvgWriter *writer, KvgWriterTrack track)
{
    kvg_timeline_restart(&writer->timeline, track);
}

/* ---- the set of tracks ---- */

static KvgTrack
describe(const KvgWriter *writer, const KvgTrackInfo *info)
{
    const bool is_video = info->type == KVG_TRACK_VIDEO;
    return (KvgTrack){.number = is_video ? 1 : 2,
                      .type = info->type,
                      .codec_id = info->codec_id,
                      .codec_private = info->codec_private,
                      .name = is_video ? writer->video_name : "audio",
                      .width = info->width,
                      .height = info->height,
                      .sample_rate_hz = info->sample_rate_hz,
                      .channels = info->channels};
}

/* Describes exactly these tracks from the next frame on; nothing happens if they are the same. */
static bool
set_tracks(KvgWriter *writer, KvgTrackInfo *video, KvgTrackInfo *audio, GError **error)
{
    KvgTrackInfo *const wanted[] = {video, audio};
    if (kvg_track_info_equal(writer->described[0], video) &&
        kvg_track_info_equal(writer->described[1], audio))
        return true;

    KvgTrack tracks[KVG_INTERLEAVER_TRACKS];
    size_t n = 0;
    for (unsigned i = 0; i < KVG_INTERLEAVER_TRACKS; i++) {
        if (wanted[i] != NULL)
            tracks[n++] = describe(writer, wanted[i]);
    }
    if (!kvg_hub_stream_set_tracks(writer->stream, tracks, n, error))
        return false;
    GST_INFO("tracks: %s %s", video != NULL ? video->media_type : "no video",
             audio != NULL ? audio->media_type : "no audio");
    if (writer->described[0] != NULL || writer->described[1] != NULL)
        writer->stats.track_changes++;
    for (unsigned i = 0; i < KVG_INTERLEAVER_TRACKS; i++) {
        g_clear_pointer(&writer->described[i], kvg_track_info_unref);
        writer->described[i] = wanted[i] != NULL ? kvg_track_info_ref(wanted[i]) : NULL;
    }
    return true;
}

/* Whether frames of @track are at hand, or came lately, seen from @at_us. */
static bool
is_present(const KvgWriter *writer, KvgWriterTrack track, int64_t at_us)
{
    const KvgInterleaverTrack *queued = &writer->interleaver.tracks[track];
    if (!writer->is_open[track] || writer->coming[track] == NULL)
        return false;
    if (queued->waiting.length > 0)
        return true;
    return !writer->is_ended[track] && at_us - writer->last_us[track] < KVG_WRITER_ABSENT_US;
}

static void
ask_for_key(KvgWriter *writer, int64_t mono_us)
{
    if (mono_us - writer->asked_us < ASK_US)
        return;
    writer->asked_us = mono_us;
    writer->wants_key = true;
}

typedef enum { PUT, LEAVE_OUT, FAILED } Decision;

static Decision
decide_video(KvgWriter *writer, const KvgInterleaved *item, GError **error)
{
    if (item->frame.key) {
        KvgTrackInfo *audio = is_present(writer, KVG_WRITER_AUDIO, item->place_us)
                                  ? writer->coming[KVG_WRITER_AUDIO]
                                  : NULL;
        writer->key_us = item->place_us;
        writer->needs_key = false;
        return set_tracks(writer, item->info, audio, error) ? PUT : FAILED;
    }
    const bool is_described = kvg_track_info_equal(writer->described[KVG_WRITER_VIDEO], item->info);
    return is_described && !writer->needs_key ? PUT : LEAVE_OUT;
}

static Decision
decide_audio(KvgWriter *writer, const KvgInterleaved *item, GError **error)
{
    /* Pictures lead while there are any, or may be soon. Behind the last one, sound goes on in its
     * fragment for a while. */
    const bool may_come = writer->is_open[KVG_WRITER_VIDEO] &&
                          !writer->is_ended[KVG_WRITER_VIDEO] &&
                          !writer->interleaver.tracks[KVG_WRITER_VIDEO].is_silent;
    const bool were_here =
        item->place_us - writer->last_us[KVG_WRITER_VIDEO] < KVG_WRITER_ABSENT_US;
    const bool is_described = writer->described[KVG_WRITER_VIDEO] != NULL && !writer->needs_key &&
                              kvg_track_info_equal(writer->described[KVG_WRITER_AUDIO], item->info);
    if (is_described && (may_come || were_here))
        return PUT;
    if (may_come || is_present(writer, KVG_WRITER_VIDEO, item->place_us))
        return LEAVE_OUT;
    writer->needs_key = writer->is_open[KVG_WRITER_VIDEO];
    return set_tracks(writer, NULL, item->info, error) ? PUT : FAILED;
}

/* ---- frames ---- */

static bool
write_item(
    KvgWriter *writer, unsigned track, const KvgInterleaved *item, int64_t mono_us, GError **error)
{
    Decision decision = LEAVE_OUT;
    if (item->info != NULL)
        decision = track == KVG_WRITER_VIDEO ? decide_video(writer, item, error)
                                             : decide_audio(writer, item, error);
    if (decision == FAILED) {
        writer->stats.left_out++;
        return false;
    }
    if (decision == LEAVE_OUT) {
        writer->stats.left_out++;
        ask_for_key(writer, mono_us);
        return true;
    }
    if (track == KVG_WRITER_VIDEO && item->place_us - writer->key_us > LONG_GOP_US)
        ask_for_key(writer, mono_us);
    return kvg_hub_stream_put(writer->stream, &item->frame, error);
}

bool
kvg_writer_drain(KvgWriter *writer, int64_t mono_us, bool all, GError **error)
{
    g_autoptr(GError) first = NULL;
    for (;;) {
        unsigned track = 0;
        g_auto(KvgInterleaved) item = {0};
        if (!kvg_interleaver_take(&writer->interleaver, mono_us, all, &track, &item))
            break;
        if (!write_item(writer, track, &item, mono_us, first == NULL ? &first : NULL))
            GST_DEBUG("a frame was not taken");
    }
    if (first == NULL)
        return true;
    g_propagate_error(error, g_steal_pointer(&first));
    return false;
}

static bool
may_wait(const KvgWriter *writer, KvgWriterTrack track)
{
    return writer->is_open[1 - track] && !writer->is_ended[1 - track];
}

bool
kvg_writer_put(KvgWriter *writer,
               KvgWriterTrack track,
               KvgTrackInfo *info,
               const KvgFrame *frame,
               const KvgTimelineInput *input,
               int64_t mono_us,
               GError **error)
{
    KvgInterleaved item = {.frame = *frame, .arrived_us = mono_us};
    item.frame.track = track == KVG_WRITER_VIDEO ? 1 : 2;
    kvg_timeline_map(&writer->timeline, track, input, &item.frame.pts_us, &item.frame.dts_us);
    const bool is_key_picture = track == KVG_WRITER_VIDEO && frame->key;
    item.place_us = is_key_picture ? item.frame.pts_us : item.frame.dts_us;
    item.info = info != NULL ? kvg_track_info_ref(info) : NULL;
    /* What may have to wait is copied: decoders and capture devices own few buffers, and would
     * stand still until they have them back. */
    item.frame.data = may_wait(writer, track) ? g_bytes_new(g_bytes_get_data(frame->data, NULL),
                                                            g_bytes_get_size(frame->data))
                                              : g_bytes_ref(frame->data);

    if (writer->coming[track] != info) {
        g_clear_pointer(&writer->coming[track], kvg_track_info_unref);
        writer->coming[track] = info != NULL ? kvg_track_info_ref(info) : NULL;
    }
    writer->last_us[track] = item.place_us;
    kvg_interleaver_put(&writer->interleaver, track, &item);
    return kvg_writer_drain(writer, mono_us, false, error);
}

void
kvg_writer_leave_out(KvgWriter *writer)
{
    writer->stats.left_out++;
}

void
kvg_writer_gap(KvgWriter *writer, KvgWriterTrack track, int64_t running_us)
{
    const int64_t place_us = kvg_timeline_peek(&writer->timeline, track, running_us);
    if (place_us != KVG_TIMELINE_NONE)
        kvg_interleaver_advance(&writer->interleaver, track, place_us);
}

bool
kvg_writer_is_ahead(const KvgWriter *writer, KvgWriterTrack track)
{
    return kvg_interleaver_is_ahead(&writer->interleaver, track);
}

bool
kvg_writer_take_wants_key(KvgWriter *writer)
{
    const bool wants = writer->wants_key;
    writer->wants_key = false;
    return wants;
}

KvgWriterStats
kvg_writer_stats(const KvgWriter *writer)
{
    KvgWriterStats stats = writer->stats;
    stats.times_repaired = writer->timeline.repaired;
    stats.has_video = writer->described[KVG_WRITER_VIDEO] != NULL;
    stats.has_audio = writer->described[KVG_WRITER_AUDIO] != NULL;
    return stats;
}
