/* Which fragments are where: in memory only, rebuilt from the record heads at open. Fragments and
 * segments stand in the order of their numbers, and the fragments of a segment side by side. */
#include "spool/private.h"

char *
kvg_spool_segment_path(const KvgSpool *spool, KvgSpoolPlace place, uint64_t sequence)
{
    return g_strdup_printf("%s/%016" G_GINT64_MODIFIER "x.seg", spool->paths[place], sequence);
}

char *
kvg_spool_unfinished_path(const KvgSpool *spool, uint64_t sequence)
{
    return g_strdup_printf("%s/%016" G_GINT64_MODIFIER "x.tmp", spool->paths[KVG_SPOOL_ON_DISK],
                           sequence);
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

KvgSpoolFragment *
kvg_spool_open_fragment(KvgSpool *spool)
{
    const guint n = kvg_spool_count(spool);
    KvgSpoolFragment *newest = n > 0 ? kvg_spool_at(spool, n - 1) : NULL;
    return newest != NULL && !newest->complete ? newest : NULL;
}

static KvgSpoolSegment *
segment_at(KvgSpool *spool, guint i)
{
    return &g_array_index(spool->shared.segments, KvgSpoolSegment, i);
}

/* The newest is asked for most: search from there. */
KvgSpoolSegment *
kvg_spool_segment(KvgSpool *spool, uint64_t sequence)
{
    for (guint i = spool->shared.segments->len; i > 0; i--) {
        if (segment_at(spool, i - 1)->sequence == sequence)
            return segment_at(spool, i - 1);
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
    spool->shared.newest_end_ms = fragment->end_ms;
    if (spool->has_queue)
        kvg_spool_judge_open(spool, kvg_spool_at(spool, kvg_spool_count(spool) - 1));
}

static void
forget(KvgSpool *spool, KvgSpoolFragment *fragment)
{
    KvgSpoolSegment *segment = kvg_spool_segment(spool, fragment->segment);
    if (segment != NULL)
        segment->n_fragments--;
    if (fragment->place != 0)
        kvg_spool_unqueue(spool, fragment);
    spool->shared.bytes_live -= fragment->end - fragment->start;
    g_clear_pointer(&fragment->tracks, g_bytes_unref);
}

/* Out of the array; they are forgotten. */
static void
cut(KvgSpool *spool, guint i, guint n)
{
    if (i > 0) {
        g_array_remove_range(spool->shared.fragments, spool->shared.first + i, n);
        return;
    }
    spool->shared.first += n;
    if (spool->shared.first > 64 && spool->shared.first > kvg_spool_count(spool)) {
        g_array_remove_range(spool->shared.fragments, 0, spool->shared.first);
        spool->shared.first = 0;
    }
}

void
kvg_spool_pop(KvgSpool *spool)
{
    forget(spool, kvg_spool_at(spool, 0));
    cut(spool, 0, 1);
}

void
kvg_spool_forget_newest(KvgSpool *spool)
{
    forget(spool, kvg_spool_at(spool, kvg_spool_count(spool) - 1));
    g_array_set_size(spool->shared.fragments, spool->shared.fragments->len - 1);
}

/* Forgets @n complete fragments from the @i-th on. The cursor moves over what goes in front, so
 * that it is not found and counted again. */
static void
take_out(KvgSpool *spool, guint i, guint n)
{
    for (guint k = i; k < i + n; k++)
        forget(spool, kvg_spool_at(spool, k));
    if (i == 0) {
        const bool is_all = n == kvg_spool_count(spool);
        const uint64_t last = kvg_spool_at(spool, n - 1)->number;
        /* Where fragments are held, the ones between may have gone up, or away, before. */
        spool->shared.persisted =
            is_all || !spool->has_queue ? last : kvg_spool_at(spool, n)->number - 1;
        spool->shared.is_cursor_dirty = true;
    }
    cut(spool, i, n);
}

void
kvg_spool_take_out(KvgSpool *spool, const KvgSpoolFragment *fragment)
{
    take_out(spool, (guint)(fragment - kvg_spool_at(spool, 0)), 1);
}

/* As take_out(), and counts. */
static void
evict_range(KvgSpool *spool, guint i, guint n)
{
    for (guint k = i; k < i + n; k++) {
        const KvgSpoolFragment *fragment = kvg_spool_at(spool, k);
        const bool is_unasked = spool->has_queue && fragment->place == 0;
        spool->shared.unasked_fragments += is_unasked;
        spool->shared.unasked_frames += is_unasked ? fragment->n_frames : 0;
        spool->shared.evicted_fragments += !is_unasked;
        spool->shared.evicted_frames += is_unasked ? 0 : fragment->n_frames;
    }
    if (n > 0)
        take_out(spool, i, n);
}

void
kvg_spool_remove(KvgSpool *spool, uint64_t number)
{
    const KvgSpoolFragment *fragment = kvg_spool_lookup(spool, number);
    if (fragment != NULL && fragment->number == number && fragment->complete)
        evict_range(spool, (guint)(fragment - kvg_spool_at(spool, 0)), 1);
}

void
kvg_spool_drop_segment(KvgSpool *spool, guint i, bool is_used_up)
{
    const KvgSpoolSegment *segment = segment_at(spool, i);
    const KvgSpoolDoomed doomed = {segment->sequence, segment->place,
                                   is_used_up ? segment->size : 0};
    g_array_append_val(spool->shared.doomed, doomed);
    spool->shared.bytes_in[segment->place] -= segment->size;
    kvg_spool_file_unref(segment->file);
    g_array_remove_index(spool->shared.segments, i);
}

void
kvg_spool_sweep(KvgSpool *spool)
{
    for (guint i = 0; i < spool->shared.segments->len;) {
        const KvgSpoolSegment *segment = segment_at(spool, i);
        if (segment->n_fragments == 0 && !segment->is_open)
            kvg_spool_drop_segment(spool, i, true);
        else
            i++;
    }
}

/* @spares: not one that has something to go up. */
static bool
evict_one(KvgSpool *spool, KvgSpoolPlace place, bool spares)
{
    const KvgSpoolFragment *open = kvg_spool_open_fragment(spool);
    for (guint i = 0; i < spool->shared.segments->len; i++) {
        const KvgSpoolSegment segment = *segment_at(spool, i);
        const bool is_needed = segment.is_open || (spares && segment.n_wanted > 0) ||
                               (open != NULL && open->segment == segment.sequence);
        if (is_needed || (place != KVG_SPOOL_N_PLACES && segment.place != place))
            continue;
        guint from = 0;
        while (from < kvg_spool_count(spool) &&
               kvg_spool_at(spool, from)->segment != segment.sequence)
            from++;
        evict_range(spool, from, segment.n_fragments);
        kvg_spool_drop_segment(spool, i, false);
        return true;
    }
    return false;
}

bool
kvg_spool_evict(KvgSpool *spool, KvgSpoolPlace place)
{
    return (spool->has_queue && evict_one(spool, place, true)) || evict_one(spool, place, false);
}

static bool
is_too_old(const KvgSpool *spool, const KvgSpoolFragment *fragment, int64_t now_us)
{
    const bool is_unasked = spool->has_queue && fragment->place == 0;
    const int64_t most_us = is_unasked ? spool->keep_us : spool->max_age_us;
    return most_us != 0 && fragment->complete && fragment->begun_us < now_us - most_us;
}

uint64_t
kvg_spool_evict_older(KvgSpool *spool, int64_t now_us)
{
    const uint64_t before = spool->shared.evicted_fragments;
    bool has_evicted = false;
    for (guint i = 0; i < kvg_spool_count(spool);) {
        guint n = 0;
        while (i + n < kvg_spool_count(spool) &&
               is_too_old(spool, kvg_spool_at(spool, i + n), now_us))
            n++;
        evict_range(spool, i, n);
        has_evicted = has_evicted || n > 0;
        /* They stand by age; but one asked for may stay among those that are not. */
        if (kvg_spool_count(spool) == i || kvg_spool_at(spool, i)->place == 0)
            break;
        i++;
    }
    if (has_evicted)
        kvg_spool_sweep(spool);
    return spool->shared.evicted_fragments - before;
}
