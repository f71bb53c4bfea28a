/* From a pipeline's running time to the wall clock of a frame, one timeline for picture and sound.
 * A live source stays near the clock; once it says when it captured, which cameras do some seconds
 * after they began, both tracks glide to that. Steps back are left to the fragmenter, which finds
 * back to the source's own times when the source does. No I/O; the clock is a parameter. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define KVG_TIMELINE_NONE INT64_MIN
#define KVG_TIMELINE_TRACKS 2

typedef struct {
    bool started;
    int64_t offset_us;   /* running time + offset = wall clock */
    int64_t last_dts_us; /* KVG_TIMELINE_NONE before the first frame */
    int64_t step_us;     /* between the last two frames: where a frame without times goes */
} KvgTimelineTrack;

typedef struct {
    KvgTimelineTrack tracks[KVG_TIMELINE_TRACKS];
    bool knows_capture;
    int64_t capture_offset_us; /* running time + this = the camera's clock, as it said last */
    uint64_t repaired;         /* times an offset had to move, and frames without any time */
} KvgTimeline;

/**
 * KvgTimelineInput: what is known of one frame; KVG_TIMELINE_NONE where something is not.
 * @pts_us, @dts_us: running time
 * @now_us: wall clock at arrival
 * @captured_us: wall clock of @pts_us by the camera, if it said so; believed within a few seconds
 * @live: the source runs at the pace of the clock
 * @may_reorder: presentation times without decoding times may go back and forth
 */
typedef struct {
    int64_t pts_us, dts_us;
    int64_t now_us;
    int64_t captured_us;
    bool live;
    bool may_reorder;
} KvgTimelineInput;

/* @last_dts_us: of the frame put before by whoever; KVG_TIMELINE_NONE. */
void kvg_timeline_init(KvgTimeline *timeline, int64_t last_dts_us);
/* The running time of @track begins anew (a flush). */
void kvg_timeline_restart(KvgTimeline *timeline, unsigned track);
void kvg_timeline_map(KvgTimeline *timeline,
                      unsigned track,
                      const KvgTimelineInput *input,
                      int64_t *pts_us,
                      int64_t *dts_us);
/* A running time of @track as wall clock; KVG_TIMELINE_NONE before its first frame. */
int64_t kvg_timeline_peek(const KvgTimeline *timeline, unsigned track, int64_t running_us);
