/* The fragments of one session, numbered: a fragment keeps its media sequence and discontinuity
 * numbers for as long as the session lives, in this process and in the next. Reads the store. */
#pragma once

#include "server/playback/session.h"
#include "server/store/store.h"

typedef struct {
    KvgFragmentInfo info;
    uint64_t sequence;
    uint64_t discontinuities; /* EXT-X-DISCONTINUITY tags up to and with this fragment's */
    bool is_discontinuity;
    bool has_init, has_period;
    uint32_t init_id; /* fragments of one id share an init segment */
    /* Known with the init id. A period is a run of fragments of one init id whose times do not step
     * back: when it begins, on the media timeline and on that of the presentation. */
    int64_t period_media_ms, period_start_ms;
} KvgTimelineEntry;

typedef struct _KvgTimeline KvgTimeline;

KvgTimeline *kvg_timeline_new(const KvgPlaybackSession *session);
void kvg_timeline_free(KvgTimeline *timeline);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgTimeline, kvg_timeline_free)
/* Takes over what the store has got since. */
bool kvg_timeline_update(KvgTimeline *timeline, KvgStore *store, int64_t now_ms, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
/* The entries a playlist shows now, init ids known (reads fragments whose header differs from the
 * one before). */
const KvgTimelineEntry *kvg_timeline_window(KvgTimeline *timeline, KvgStore *store, size_t *n);
/* All entries there are; their init ids may not be known. */
const KvgTimelineEntry *kvg_timeline_all(const KvgTimeline *timeline, size_t *n);
/* By fragment number, also those that left the window lately; NULL. */
const KvgTimelineEntry *kvg_timeline_find(const KvgTimeline *timeline, const char *number);
const KvgTimelineEntry *kvg_timeline_find_sequence(const KvgTimeline *timeline, uint64_t sequence);
/* The newest entry with that init segment; NULL. */
const KvgTimelineEntry *kvg_timeline_find_init(const KvgTimeline *timeline, uint32_t init_id);
/* Where on the media timeline the first window ended. */
int64_t kvg_timeline_head_ms(const KvgTimeline *timeline);
/* Longest fragment seen, never decreasing. */
int64_t kvg_timeline_longest_ms(const KvgTimeline *timeline);
