/* The timelines kept between two requests of one player; one that was dropped is counted anew. */
#pragma once

#include "server/playback/timeline.h"

typedef struct _KvgTimelines KvgTimelines;

KvgTimelines *kvg_timelines_new(void);
void kvg_timelines_free(KvgTimelines *timelines);

typedef struct {
    KvgTimeline *timeline; /* under lock */
    GMutex lock;
    int refs; /* this and the next under KvgTimelines' lock */
    int64_t last_used_us;
} KvgTimelineSlot;
/* The session's timeline, locked; give it back with leave(). Thread: any. */
KvgTimelineSlot *kvg_timelines_enter(KvgTimelines *timelines, const KvgPlaybackSession *session);
void kvg_timelines_leave(KvgTimelines *timelines, KvgTimelineSlot *slot);
