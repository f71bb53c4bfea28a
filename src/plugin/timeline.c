#include "plugin/timeline.h"
#include <glib.h>

#define DEFAULT_STEP_US (40 * 1000)
#define MAX_STEP_US (1000 * 1000)
/* A live frame may be late by what a network holds back, but hardly early. */
#define MAX_LATE_US (30 * G_TIME_SPAN_SECOND)
#define MAX_EARLY_US (2 * G_TIME_SPAN_SECOND)
/* A camera's own clock further off than this is simply wrong. */
#define MAX_CAPTURE_ERROR_US (5 * G_TIME_SPAN_SECOND)
/* Running times beyond this (some 146 years) are damage; sums below stay far from overflow. */
#define MAX_RUNNING_US (INT64_MAX / 2000)
/* Without DTS, presentation times go back by the reordering of B-frames, never by this much. */
#define MAX_REORDER_US (2 * G_TIME_SPAN_SECOND)

void
kvg_timeline_init(KvgTimeline *timeline, int64_t last_dts_us)
{
    *timeline = (KvgTimeline){.last_dts_us = last_dts_us, .step_us = DEFAULT_STEP_US};
}

static bool
is_usable(int64_t running_us)
{
    return running_us != KVG_TIMELINE_NONE && ABS(running_us) < MAX_RUNNING_US;
}

/* Where a frame goes that cannot go where it says: now, but behind the one before. */
static int64_t
next_place_us(const KvgTimeline *timeline, int64_t now_us)
{
    if (timeline->last_dts_us == KVG_TIMELINE_NONE)
        return now_us;
    return MAX(now_us, timeline->last_dts_us + timeline->step_us);
}

static void
start(KvgTimeline *timeline, const KvgTimelineInput *input, int64_t pts_us, int64_t dts_us)
{
    timeline->started = true;
    timeline->offset_us = input->now_us - dts_us;
    if (input->captured_us != KVG_TIMELINE_NONE &&
        ABS(input->captured_us - input->now_us) <= MAX_CAPTURE_ERROR_US)
        timeline->offset_us = input->captured_us - pts_us;
}

static bool
is_out_of_place(const KvgTimeline *timeline, const KvgTimelineInput *input, int64_t wall_us)
{
    const int64_t tolerance_us = is_usable(input->dts_us) ? 0 : MAX_REORDER_US;
    if (timeline->last_dts_us != KVG_TIMELINE_NONE &&
        wall_us < timeline->last_dts_us - tolerance_us)
        return true;
    if (!input->live)
        return false;
    return wall_us > input->now_us + MAX_EARLY_US || wall_us < input->now_us - MAX_LATE_US;
}

void
kvg_timeline_map(KvgTimeline *timeline,
                 const KvgTimelineInput *input,
                 int64_t *pts_us,
                 int64_t *dts_us)
{
    const bool has_pts = is_usable(input->pts_us);
    const bool has_dts = is_usable(input->dts_us);
    if (!has_pts && !has_dts) {
        *pts_us = *dts_us = timeline->last_dts_us = next_place_us(timeline, input->now_us);
        timeline->repaired++;
        return;
    }

    const int64_t dts = has_dts ? input->dts_us : input->pts_us;
    const int64_t pts = has_pts ? input->pts_us : input->dts_us;
    if (!timeline->started)
        start(timeline, input, pts, dts);
    if (is_out_of_place(timeline, input, dts + timeline->offset_us)) {
        timeline->offset_us = next_place_us(timeline, input->now_us) - dts;
        timeline->repaired++;
    }

    const int64_t last_us = timeline->last_dts_us;
    *pts_us = pts + timeline->offset_us;
    *dts_us = dts + timeline->offset_us;
    if (last_us != KVG_TIMELINE_NONE && *dts_us < last_us)
        *dts_us = last_us; /* reordering without DTS */
    if (ABS(*pts_us - *dts_us) > MAX_LATE_US)
        *pts_us = *dts_us;
    if (last_us != KVG_TIMELINE_NONE && *dts_us > last_us)
        timeline->step_us = CLAMP(*dts_us - last_us, 1, MAX_STEP_US);
    timeline->last_dts_us = *dts_us;
}
