/* A table of sessions, the least used of which goes first. */
#include "server/playback/timelines.h"

#include "base/clock.h"
#include <string.h>

/* A timeline is at most a megabyte (5000 fragments on demand). */
#define MAX_TIMELINES 512u

struct _KvgTimelines {
    GMutex lock;       /* protects slots and their refs */
    GHashTable *slots; /* session id in hex -> KvgTimelineKvgTimelineSlot */
};

static void
slot_unref_locked(void *data)
{
    KvgTimelineSlot *slot = data;
    if (--slot->refs > 0)
        return;
    kvg_timeline_free(slot->timeline);
    g_mutex_clear(&slot->lock);
    g_free(slot);
}

KvgTimelines *
kvg_timelines_new(void)
{
    KvgTimelines *timelines = g_new0(KvgTimelines, 1);
    g_mutex_init(&timelines->lock);
    timelines->slots = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, slot_unref_locked);
    return timelines;
}

void
kvg_timelines_free(KvgTimelines *timelines)
{
    if (timelines == NULL)
        return;
    g_hash_table_unref(timelines->slots);
    g_mutex_clear(&timelines->lock);
    g_free(timelines);
}

static void
drop_oldest_locked(KvgTimelines *timelines)
{
    GHashTableIter iter;
    void *id;
    void *value;
    const char *oldest_id = NULL;
    int64_t oldest_us = G_MAXINT64;
    g_hash_table_iter_init(&iter, timelines->slots);
    while (g_hash_table_iter_next(&iter, &id, &value)) {
        const KvgTimelineSlot *slot = value;
        if (slot->last_used_us < oldest_us) {
            oldest_us = slot->last_used_us;
            oldest_id = id;
        }
    }
    if (oldest_id != NULL)
        g_hash_table_remove(timelines->slots, oldest_id);
}

static KvgTimelineSlot *
slot_ref_locked(KvgTimelines *timelines, const KvgPlaybackSession *session)
{
    char id[2 * sizeof session->id + 1];
    for (size_t i = 0; i < sizeof session->id; i++)
        g_snprintf(id + 2 * i, 3, "%02x", session->id[i]);
    KvgTimelineSlot *slot = g_hash_table_lookup(timelines->slots, id);
    if (slot == NULL) {
        if (g_hash_table_size(timelines->slots) >= MAX_TIMELINES)
            drop_oldest_locked(timelines);
        slot = g_new0(KvgTimelineSlot, 1);
        slot->refs = 1;
        g_mutex_init(&slot->lock);
        slot->timeline = kvg_timeline_new(session);
        g_hash_table_insert(timelines->slots, g_strdup(id), slot);
    }
    slot->refs++;
    slot->last_used_us = kvg_clock_mono_us();
    return slot;
}

KvgTimelineSlot *
kvg_timelines_enter(KvgTimelines *timelines, const KvgPlaybackSession *session)
{
    g_mutex_lock(&timelines->lock);
    KvgTimelineSlot *slot = slot_ref_locked(timelines, session);
    g_mutex_unlock(&timelines->lock);
    g_mutex_lock(&slot->lock);
    return slot;
}

void
kvg_timelines_leave(KvgTimelines *timelines, KvgTimelineSlot *slot)
{
    g_mutex_unlock(&slot->lock);
    g_mutex_lock(&timelines->lock);
    slot_unref_locked(slot);
    g_mutex_unlock(&timelines->lock);
}
