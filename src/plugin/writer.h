/* The frames of both pads on their way into the stream: put on one timeline, in one order, under
 * the set of tracks that is really there. No pads, no caps; the caller's lock guards it.
 *
 * The service refuses a fragment that lacks a described track, so the set of tracks follows what
 * comes: sound that stays away for KVG_WRITER_ABSENT_US is no longer described from the next key
 * frame on; when it is back it is described again at a key frame. Pictures that stay away leave the
 * sound alone. Sound never stops pictures, nor pictures sound. */
#pragma once

#include "plugin/hub.h"
#include "plugin/input.h"
#include "plugin/timeline.h"

#define KVG_WRITER_ABSENT_US (INT64_C(5) * 1000 * 1000)

typedef struct _KvgWriter KvgWriter;

typedef enum { KVG_WRITER_VIDEO = 0, KVG_WRITER_AUDIO = 1 } KvgWriterTrack;

/**
 * KvgWriterOptions:
 * @stream: borrowed; outlives the writer
 * @video_name: name of the video track; NULL: none
 * @last_dts_us: where the stream was left; KVG_TIMELINE_NONE: times are as they come
 */
typedef struct {
    KvgHubStream *stream;
    const char *video_name;
    int64_t last_dts_us;
} KvgWriterOptions;

KvgWriter *kvg_writer_new(const KvgWriterOptions *options);
/* Writes nothing more; see kvg_writer_drain(). NULL is fine. */
void kvg_writer_free(KvgWriter *writer);

/* Frames of that track are to come; @live: at the pace of the clock. */
void kvg_writer_open(KvgWriter *writer, KvgWriterTrack track, bool live);
void kvg_writer_close(KvgWriter *writer, KvgWriterTrack track);
/* End of stream of one track, or its revocation. */
void kvg_writer_set_ended(KvgWriter *writer, KvgWriterTrack track, bool ended);
/* A flush: its running time begins anew. */
void kvg_writer_restart(KvgWriter *writer, KvgWriterTrack track);

/* @frame: data is referenced; times are set from @input. @info: NULL if the track is not known yet:
 * the frame is left out. Writes what may go; false with the first error of those writes. */
bool kvg_writer_put(KvgWriter *writer,
                    KvgWriterTrack track,
                    KvgTrackInfo *info,
                    const KvgFrame *frame,
                    const KvgTimelineInput *input,
                    int64_t mono_us,
                    GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* A frame came that is damaged: it is counted with those left out. */
void kvg_writer_leave_out(KvgWriter *writer);
/* The track has nothing before this running time. */
void kvg_writer_gap(KvgWriter *writer, KvgWriterTrack track, int64_t running_us);
/* Writes what may go by now; @all: everything. */
bool kvg_writer_drain(KvgWriter *writer, int64_t mono_us, bool all, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
/* A source that can wait should: the other track lags behind. */
bool kvg_writer_is_ahead(const KvgWriter *writer, KvgWriterTrack track);
/* Once after each frame that only a key frame could follow, or a long GOP. */
bool kvg_writer_take_wants_key(KvgWriter *writer);

typedef struct {
    uint64_t left_out; /* frames of no described track, before its key frame, or damaged */
    uint64_t times_repaired;
    uint64_t track_changes;
    bool has_video, has_audio; /* described now */
} KvgWriterStats;
KvgWriterStats kvg_writer_stats(const KvgWriter *writer);
