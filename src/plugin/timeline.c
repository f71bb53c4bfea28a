#include "plugin/timeline.h"
#include <glib.h>

#define DEFAULT_STEP_US (40 * 1000)
#define MIN_STEP_US 1000
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

/* Of its step, a frame may come this much earlier or later to get nearer to the capture time. */
#define GLIDE_PART 20
/* Nearer than this is near enough. */
#define GLIDE_LEAST_US 2000

void
kvg_timeline_init(KvgTimeline *timeline, int64_t last_dts_us)
{
    *timeline = (KvgTimeline){0};
    for (unsigned i = 0; i < KVG_TIMELINE_TRACKS; i++)
        timeline->tracks[i] =
            (KvgTimelineTrack){.last_dts_us = last_dts_us, .step_us = DEFAULT_STEP_US};
}

void
kvg_timeline_restart(KvgTimeline *timeline, unsigned track)
{
    timeline->tracks[track].started = false;
    timeline->knows_capture = false;
}

static bool
is_usable(int64_t running_us)
{
    return running_us != KVG_TIMELINE_NONE && ABS(running_us) < MAX_RUNNING_US;
}

/* Where a frame goes that cannot go where it says: behind the one before; if live, not before now.
 */
static int64_t
next_place_us(const KvgTimelineTrack *track, const KvgTimelineInput *input)
{
    if (track->last_dts_us == KVG_TIMELINE_NONE)
        return input->now_us;
    const int64_t next_us = track->last_dts_us + track->step_us;
    return input->live ? MAX(input->now_us, next_us) : next_us;
}

static bool
is_near(const KvgTimelineInput *input, int64_t wall_us)
{
    return wall_us <= input->now_us + MAX_EARLY_US && wall_us >= input->now_us - MAX_LATE_US;
}

/* The other track of the same source began before: picture and sound stay together. */
static bool
follow_other(KvgTimelineTrack *track,
             const KvgTimelineTrack *other,
             const KvgTimelineInput *input,
             int64_t dts_us)
{
    if (!other->started || (input->live && !is_near(input, dts_us + other->offset_us)))
        return false;
    if (track->last_dts_us != KVG_TIMELINE_NONE && other->offset_us + dts_us < track->last_dts_us)
        return false;
    track->offset_us = other->offset_us;
    return true;
}

static void
start(KvgTimelineTrack *track,
      const KvgTimelineTrack *other,
      const KvgTimelineInput *input,
      int64_t pts_us,
      int64_t dts_us)
{
    track->started = true;
    if (follow_other(track, other, input, dts_us))
        return;
    track->offset_us = MAX(input->now_us, next_place_us(track, input)) - dts_us;
    if (input->captured_us != KVG_TIMELINE_NONE &&
        ABS(input->captured_us - input->now_us) <= MAX_CAPTURE_ERROR_US)
        track->offset_us = input->captured_us - pts_us;
}

static void
note_capture(KvgTimeline *timeline, const KvgTimelineInput *input, int64_t pts_us)
{
    if (input->captured_us == KVG_TIMELINE_NONE ||
        ABS(input->captured_us - input->now_us) > MAX_CAPTURE_ERROR_US)
        return;
    timeline->knows_capture = true;
    timeline->capture_offset_us = input->captured_us - pts_us;
}

/* A jump would squeeze or tear what is being stored; a little with each frame is not seen. */
static void
glide(const KvgTimeline *timeline, KvgTimelineTrack *track, const KvgTimelineInput *input)
{
    if (!timeline->knows_capture || !input->live)
        return;
    const int64_t way_us = timeline->capture_offset_us - track->offset_us;
    const int64_t most_us = track->step_us / GLIDE_PART;
    if (ABS(way_us) >= GLIDE_LEAST_US)
        track->offset_us += CLAMP(way_us, -most_us, most_us);
}

/* A decoding time for a frame that has none: its presentation time, unless that goes back because
 * frames are reordered; then just behind the frame before. */
static int64_t
make_dts(const KvgTimelineTrack *track, const KvgTimelineInput *input, int64_t pts_us)
{
    if (!input->may_reorder || track->last_dts_us == KVG_TIMELINE_NONE ||
        pts_us > track->last_dts_us || pts_us < track->last_dts_us - MAX_REORDER_US)
        return pts_us;
    return track->last_dts_us + 1;
}

static void
note_dts(KvgTimelineTrack *track, int64_t dts_us)
{
    const int64_t step_us =
        track->last_dts_us != KVG_TIMELINE_NONE ? dts_us - track->last_dts_us : 0;
    if (step_us >= MIN_STEP_US)
        track->step_us = MIN(step_us, MAX_STEP_US);
    track->last_dts_us = dts_us;
}

void
kvg_timeline_map(KvgTimeline *timeline,
                 unsigned index,
                 const KvgTimelineInput *input,
                 int64_t *pts_us,
                 int64_t *dts_us)
{
    KvgTimelineTrack *track = &timeline->tracks[index];
    const bool has_pts = is_usable(input->pts_us);
    const bool has_dts = is_usable(input->dts_us);
    if (!has_pts && !has_dts) {
        *pts_us = *dts_us = next_place_us(track, input);
        track->last_dts_us = *dts_us;
        timeline->repaired++;
        return;
    }

    const KvgTimelineTrack *other = &timeline->tracks[1 - index];
    const int64_t dts = has_dts ? input->dts_us : input->pts_us;
    const int64_t pts = has_pts ? input->pts_us : input->dts_us;
    note_capture(timeline, input, pts);
    if (!track->started)
        start(track, other, input, pts, dts);
    else
        glide(timeline, track, input);
    if (input->live && !is_near(input, dts + track->offset_us)) {
        if (!follow_other(track, other, input, dts))
            track->offset_us = next_place_us(track, input) - dts;
        timeline->knows_capture = false; /* whose running time this was */
        timeline->repaired++;
    }

    *pts_us = pts + track->offset_us;
    *dts_us = has_dts ? dts + track->offset_us : make_dts(track, input, *pts_us);
    if (ABS(*pts_us - *dts_us) > MAX_LATE_US)
        *pts_us = *dts_us;
    note_dts(track, *dts_us);
}

int64_t
kvg_timeline_peek(const KvgTimeline *timeline, unsigned index, int64_t running_us)
{
    const KvgTimelineTrack *track = &timeline->tracks[index];
    if (!track->started || !is_usable(running_us))
        return KVG_TIMELINE_NONE;
    return running_us + track->offset_us;
}
