/* Which fragments are where: in memory only, rebuilt from the record heads at open. */
#include "spool/private.h"
#include <string.h>

char *
kvg_spool_segment_path(const KvgSpool *spool, uint64_t sequence)
{
    return g_strdup_printf("%s/%016" G_GINT64_MODIFIER "x.seg", spool->path, sequence);
}

guint
kvg_spool_count(const KvgSpool *spool)
{
    return spool->shared.fragments->len - spool->shared.first;
}

KvgSpoolFragment *
kvg_spool_at(KvgSpool *spool, guint i)
{
    return &g_array_index(spool->shared.fragments, KvgSpoolFragment, spool->shared.first + i);
}

KvgSpoolFragment *
kvg_spool_lookup(KvgSpool *spool, uint64_t number)
{
    guint low = 0;
    guint high = kvg_spool_count(spool);
    while (low < high) {
        const guint middle = low + (high - low) / 2;
        if (kvg_spool_at(spool, middle)->number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low < kvg_spool_count(spool) ? kvg_spool_at(spool, low) : NULL;
}

KvgSpoolSegment *
kvg_spool_segment(KvgSpool *spool, uint64_t sequence)
{
    for (guint i = 0; i < spool->shared.segments->len; i++) {
        KvgSpoolSegment *segment = &g_array_index(spool->shared.segments, KvgSpoolSegment, i);
        if (segment->sequence == sequence)
            return segment;
    }
    return NULL;
}

void
kvg_spool_add(KvgSpool *spool, const KvgSpoolFragment *fragment)
{
    g_array_append_val(spool->shared.fragments, *fragment);
    kvg_spool_segment(spool, fragment->segment)->n_fragments++;
    spool->shared.bytes_live += fragment->end - fragment->start;
    spool->shared.next_fragment = MAX(spool->shared.next_fragment, fragment->number + 1);
}

void
kvg_spool_pop(KvgSpool *spool)
{
    KvgSpoolFragment *fragment = kvg_spool_at(spool, 0);
    kvg_spool_segment(spool, fragment->segment)->n_fragments--;
    spool->shared.bytes_live -= fragment->end - fragment->start;
    g_clear_pointer(&fragment->tracks, g_bytes_unref);
    spool->shared.first++;
    if (spool->shared.first > 64 && spool->shared.first > kvg_spool_count(spool)) {
        g_array_remove_range(spool->shared.fragments, 0, spool->shared.first);
        spool->shared.first = 0;
    }
}

void
kvg_spool_remove(KvgSpool *spool, uint64_t number)
{
    KvgSpoolFragment *fragment = kvg_spool_lookup(spool, number);
    if (fragment == NULL || fragment->number != number || !fragment->complete)
        return;
    spool->shared.evicted_fragments++;
    spool->shared.evicted_frames += fragment->n_frames;
    kvg_spool_segment(spool, fragment->segment)->n_fragments--;
    spool->shared.bytes_live -= fragment->end - fragment->start;
    g_clear_pointer(&fragment->tracks, g_bytes_unref);
    const KvgSpoolFragment *first = &g_array_index(spool->shared.fragments, KvgSpoolFragment, 0);
    g_array_remove_index(spool->shared.fragments, (guint)(fragment - first));
}

void
kvg_spool_sweep(KvgSpool *spool, bool all)
{
    while (spool->shared.segments->len > (all ? 0u : 1u)) {
        const KvgSpoolSegment oldest = g_array_index(spool->shared.segments, KvgSpoolSegment, 0);
        if (oldest.n_fragments > 0)
            return;
        g_autofree char *path = kvg_spool_segment_path(spool, oldest.sequence);
        unlink(path); /* already gone, or found again at the next open */
        spool->shared.bytes_on_disk -= oldest.size;
        g_array_remove_index(spool->shared.segments, 0);
    }
}

bool
kvg_spool_evict(KvgSpool *spool)
{
    if (spool->shared.segments->len < 2)
        return false;
    const uint64_t oldest = g_array_index(spool->shared.segments, KvgSpoolSegment, 0).sequence;
    while (kvg_spool_count(spool) > 0 && kvg_spool_at(spool, 0)->segment == oldest) {
        spool->shared.evicted_fragments++;
        spool->shared.evicted_frames += kvg_spool_at(spool, 0)->n_frames;
        kvg_spool_pop(spool);
    }
    kvg_spool_sweep(spool, false);
    return true;
}
