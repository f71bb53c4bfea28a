/* Numbering of fragments. Sequence 0 is the first fragment at or after the session's start, and
 * each fragment after it counts one: whoever counts the same fragments in the store gets the same
 * numbers, so a restarted server continues a playlist where the old one left it. */
#include "server/playback/timeline.h"

#include "os/log.h"
#include "server/playback/fragment.h"
#include <string.h>

#define CHUNK 1000u
#define MAX_GAP_MS 50
#define CLOCK_STEP_MS 30000
#define NEW_COLLECTION_MS (5 * 60 * 1000)

struct _KvgTimeline {
    KvgPlaybackSession session;
    GArray *entries;
    uint64_t next_sequence;
    uint64_t discontinuities;
    KvgFragmentInfo last;
    bool has_last;
    bool is_complete; /* ON_DEMAND: loaded, never changes */
    int64_t added_ms; /* LIVE_REPLAY: length of what followed the first window */
    int64_t head_ms;
    int64_t longest_ms;
};

KvgTimeline *
kvg_timeline_new(const KvgPlaybackSession *session)
{
    KvgTimeline *timeline = g_new0(KvgTimeline, 1);
    timeline->session = *session;
    timeline->entries = g_array_new(FALSE, TRUE, sizeof(KvgTimelineEntry));
    return timeline;
}

void
kvg_timeline_free(KvgTimeline *timeline)
{
    if (timeline == NULL)
        return;
    g_array_unref(timeline->entries);
    g_free(timeline);
}

static KvgTimelineEntry *
entry_at(const KvgTimeline *timeline, size_t i)
{
    return &g_array_index(timeline->entries, KvgTimelineEntry, i);
}

/* Decimal numbers without leading zeros. */
static int
compare_numbers(const char *a, const char *b)
{
    const size_t len_a = strlen(a);
    const size_t len_b = strlen(b);
    if (len_a != len_b)
        return len_a < len_b ? -1 : 1;
    return strcmp(a, b);
}

static bool
is_discontinuity(const KvgTimeline *timeline, const KvgFragmentInfo *info)
{
    switch (timeline->session.discontinuity) {
    case KVG_DISCONTINUITY_ALWAYS:
        return true;
    case KVG_DISCONTINUITY_ON_CHANGE: {
        const int64_t gap =
            info->producer_ms - timeline->last.producer_ms - timeline->last.length_ms;
        return timeline->has_last && (gap > MAX_GAP_MS || gap < -MAX_GAP_MS);
    }
    case KVG_DISCONTINUITY_NEVER:
    default:
        return false;
    }
}

/* Some that have left the playlist stay: players may still fetch them. */
static void
trim(KvgTimeline *timeline)
{
    const size_t keep = 2 * (size_t)timeline->session.max_results + 10;
    if (timeline->session.mode != KVG_PLAYBACK_ON_DEMAND && timeline->entries->len > 2 * keep)
        g_array_remove_range(timeline->entries, 0, timeline->entries->len - (guint)keep);
}

static void
append(KvgTimeline *timeline, const KvgFragmentInfo *info)
{
    KvgTimelineEntry entry = {.info = *info, .sequence = timeline->next_sequence++};
    entry.is_discontinuity = is_discontinuity(timeline, info);
    timeline->discontinuities += entry.is_discontinuity;
    entry.discontinuities = timeline->discontinuities;
    g_array_append_val(timeline->entries, entry);
    if (entry.sequence >= timeline->session.max_results)
        timeline->added_ms += MAX(info->length_ms, 1);
    else
        timeline->head_ms = info->producer_ms + info->length_ms - timeline->session.origin_ms;
    timeline->longest_ms = MAX(timeline->longest_ms, info->length_ms);
    timeline->last = *info;
    timeline->has_last = true;
    trim(timeline);
}

/* A late fragment, older than the newest one listed, is never inserted. Live, by producer time,
 * that keeps out what is uploaded later beside what happens now; unless nothing newer has come for
 * a while, for then the producer's clock has stepped back. */
static bool
is_new(const KvgTimeline *timeline, const KvgFragmentInfo *info)
{
    const KvgFragmentInfo *last = &timeline->last;
    if (!timeline->has_last)
        return true;
    if (compare_numbers(info->number, last->number) <= 0)
        return false;
    if (timeline->session.order == KVG_STORE_BY_SERVER_TIME)
        return true;
    if (timeline->session.mode == KVG_PLAYBACK_LIVE && info->producer_ms < last->producer_ms)
        return info->server_ms - last->server_ms > CLOCK_STEP_MS;
    return info->producer_ms != last->producer_ms;
}

/* A replay shows its first window at once and then one fragment per elapsed fragment. */
static bool
is_due(const KvgTimeline *timeline, int64_t now_ms)
{
    return timeline->session.mode != KVG_PLAYBACK_LIVE_REPLAY ||
           timeline->next_sequence < timeline->session.max_results ||
           timeline->added_ms <= now_ms - timeline->session.created_ms;
}

static bool
load_following(KvgTimeline *timeline, KvgStore *store, int64_t now_ms, GError **error)
{
    const KvgPlaybackSession *session = &timeline->session;
    const bool is_live = session->mode == KVG_PLAYBACK_LIVE;
    const KvgStoreOrder order = is_live ? KVG_STORE_BY_SERVER_TIME : session->order;
    for (;;) {
        int64_t from = session->from_ms;
        if (timeline->has_last)
            from = order == KVG_STORE_BY_SERVER_TIME ? timeline->last.server_ms
                                                     : timeline->last.producer_ms;
        g_autoptr(GArray) infos =
            kvg_store_list(store, session->stream_arn, order, MAX(from, session->from_ms),
                           is_live ? G_MAXINT64 : session->to_ms, CHUNK, false, error);
        if (infos == NULL)
            return false;
        bool has_grown = false;
        for (guint i = 0; i < infos->len; i++) {
            const KvgFragmentInfo *info = &g_array_index(infos, KvgFragmentInfo, i);
            if (!is_new(timeline, info))
                continue;
            if (!is_due(timeline, now_ms))
                return true;
            append(timeline, info);
            has_grown = true;
        }
        if (infos->len < CHUNK || !has_grown)
            return true;
    }
}

/* The same time, uploaded again much later, is another collection: only the oldest is shown. */
static void
keep_oldest_collection(GArray *infos)
{
    for (guint i = 1; i < infos->len; i++) {
        const KvgFragmentInfo *info = &g_array_index(infos, KvgFragmentInfo, i);
        const KvgFragmentInfo *before = &g_array_index(infos, KvgFragmentInfo, i - 1);
        if (info->producer_ms <= before->producer_ms &&
            info->server_ms - before->server_ms > NEW_COLLECTION_MS) {
            g_array_set_size(infos, i);
            return;
        }
    }
}

/* Of fragments with the same producer time only the one stored last counts. */
static GHashTable *
newest_by_producer_time(const GArray *infos)
{
    GHashTable *newest = g_hash_table_new(g_int64_hash, g_int64_equal);
    for (guint i = 0; i < infos->len; i++) {
        KvgFragmentInfo *info = &g_array_index(infos, KvgFragmentInfo, i);
        g_hash_table_replace(newest, &info->producer_ms, info);
    }
    return newest;
}

static bool
load_once(KvgTimeline *timeline, KvgStore *store, GError **error)
{
    const KvgPlaybackSession *session = &timeline->session;
    g_autoptr(GArray) infos =
        kvg_store_list(store, session->stream_arn, session->order, session->from_ms, session->to_ms,
                       session->max_results, false, error);
    if (infos == NULL)
        return false;
    if (session->order == KVG_STORE_BY_PRODUCER_TIME)
        keep_oldest_collection(infos);
    g_autoptr(GHashTable) newest = newest_by_producer_time(infos);
    for (guint i = 0; i < infos->len; i++) {
        const KvgFragmentInfo *info = &g_array_index(infos, KvgFragmentInfo, i);
        if (session->order == KVG_STORE_BY_SERVER_TIME ||
            g_hash_table_lookup(newest, &info->producer_ms) == info)
            append(timeline, info);
    }
    timeline->is_complete = true;
    return true;
}

bool
kvg_timeline_update(KvgTimeline *timeline, KvgStore *store, int64_t now_ms, GError **error)
{
    if (timeline->is_complete)
        return true;
    if (timeline->session.mode == KVG_PLAYBACK_ON_DEMAND)
        return load_once(timeline, store, error);
    return load_following(timeline, store, now_ms, error);
}

/* Equal headers need not be read again. A fragment that cannot be read is taken for one like its
 * neighbour; fetching it will fail alone. */
static void
find_init_id(KvgTimeline *timeline, KvgStore *store, size_t i)
{
    KvgTimelineEntry *entry = entry_at(timeline, i);
    if (entry->has_init)
        return;
    entry->has_init = true;
    const KvgTimelineEntry *before = i > 0 ? entry_at(timeline, i - 1) : NULL;
    if (before != NULL && before->has_init) {
        entry->init_id = before->init_id;
        if (before->info.header_id == entry->info.header_id)
            return;
    }
    g_autoptr(GError) error = NULL;
    const char *arn = timeline->session.stream_arn;
    g_autoptr(KvgFragmentReader) reader =
        kvg_fragment_read(store, arn, entry->info.number, false, &error);
    if (reader != NULL)
        entry->init_id = kvg_fragment_reader_init_id(reader);
    else
        KVG_LOG_WARNING("playback", "STREAM", arn, "fragment %s of %s: %s", entry->info.number, arn,
                        error->message);
}

static void
set_period(KvgTimeline *timeline, size_t i)
{
    KvgTimelineEntry *entry = entry_at(timeline, i);
    const int64_t media_ms = entry->info.producer_ms - timeline->session.origin_ms;
    if (entry->has_period)
        return;
    entry->has_period = true;
    const KvgTimelineEntry *before = i > 0 ? entry_at(timeline, i - 1) : NULL;
    entry->period_media_ms = entry->period_start_ms = media_ms;
    if (before == NULL || !before->has_period)
        return;
    const int64_t step_ms = entry->info.producer_ms - before->info.producer_ms;
    const int64_t before_ms = before->info.producer_ms - timeline->session.origin_ms;
    const int64_t shown_ms = before->period_start_ms + before_ms - before->period_media_ms;
    if (before->init_id == entry->init_id && step_ms > 0) {
        entry->period_media_ms = before->period_media_ms;
        entry->period_start_ms = before->period_start_ms;
    } else {
        entry->period_start_ms = shown_ms + (step_ms > 0 ? step_ms : before->info.length_ms);
    }
}

const KvgTimelineEntry *
kvg_timeline_window(KvgTimeline *timeline, KvgStore *store, size_t *n)
{
    const size_t len = timeline->entries->len;
    *n = MIN(len, timeline->session.max_results);
    if (*n == 0)
        return NULL;
    const size_t first = len - *n;
    for (size_t i = first; i < len; i++) {
        find_init_id(timeline, store, i);
        set_period(timeline, i);
    }
    return entry_at(timeline, first);
}

const KvgTimelineEntry *
kvg_timeline_all(const KvgTimeline *timeline, size_t *n)
{
    *n = timeline->entries->len;
    return *n > 0 ? entry_at(timeline, 0) : NULL;
}

const KvgTimelineEntry *
kvg_timeline_find(const KvgTimeline *timeline, const char *number)
{
    for (size_t i = timeline->entries->len; i-- > 0;) {
        if (strcmp(entry_at(timeline, i)->info.number, number) == 0)
            return entry_at(timeline, i);
    }
    return NULL;
}

const KvgTimelineEntry *
kvg_timeline_find_sequence(const KvgTimeline *timeline, uint64_t sequence)
{
    const size_t len = timeline->entries->len;
    const uint64_t first = len > 0 ? entry_at(timeline, 0)->sequence : 0;
    return sequence >= first && sequence - first < len
               ? entry_at(timeline, (size_t)(sequence - first))
               : NULL;
}

const KvgTimelineEntry *
kvg_timeline_find_init(const KvgTimeline *timeline, uint32_t init_id)
{
    for (size_t i = timeline->entries->len; i-- > 0;) {
        const KvgTimelineEntry *entry = entry_at(timeline, i);
        if (entry->has_init && entry->init_id == init_id)
            return entry;
    }
    return NULL;
}

int64_t
kvg_timeline_longest_ms(const KvgTimeline *timeline)
{
    return timeline->longest_ms;
}

int64_t
kvg_timeline_head_ms(const KvgTimeline *timeline)
{
    return timeline->head_ms;
}
