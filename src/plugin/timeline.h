/* From a pipeline's running time to the wall clock of a frame, repaired where a source jumps:
 * decoding times never go backwards, and a live source stays near the clock. No I/O; the clock is a
 * parameter. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define KVG_TIMELINE_NONE INT64_MIN

typedef struct {
    bool started;
    int64_t offset_us;   /* running time + offset = wall clock */
    int64_t last_dts_us; /* KVG_TIMELINE_NONE before the first frame */
    int64_t step_us;     /* between the last two frames: where a repaired frame goes */
    uint64_t repaired;   /* times the offset had to move */
} KvgTimeline;

/**
 * KvgTimelineInput: what is known of one frame; KVG_TIMELINE_NONE where something is not.
 * @pts_us, @dts_us: running time
 * @now_us: wall clock at arrival
 * @captured_us: wall clock of @pts_us by the camera, if it said so; believed within a few seconds
 * @live: the source runs at the pace of the clock
 */
typedef struct {
    int64_t pts_us, dts_us, duration_us;
    int64_t now_us;
    int64_t captured_us;
    bool live;
} KvgTimelineInput;

/* @last_dts_us: of the frame put before by whoever; KVG_TIMELINE_NONE. */
void kvg_timeline_init(KvgTimeline *timeline, int64_t last_dts_us);
void kvg_timeline_map(KvgTimeline *timeline,
                      const KvgTimelineInput *input,
                      int64_t *pts_us,
                      int64_t *dts_us);
