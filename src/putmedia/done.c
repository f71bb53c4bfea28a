#include "putmedia/done.h"

typedef struct {
    uint64_t from, to;
} Range;

void
kvg_done_init(KvgDone *done)
{
    done->front = 1;
    done->ranges = g_array_new(FALSE, FALSE, sizeof(Range));
}

void
kvg_done_clear(KvgDone *done)
{
    g_array_unref(done->ranges);
}

static Range *
at(const KvgDone *done, guint i)
{
    return &g_array_index(done->ranges, Range, i);
}

void
kvg_done_add(KvgDone *done, uint64_t from, uint64_t to)
{
    from = MAX(from, done->front);
    if (from > to)
        return;
    /* [i, end) touch or overlap the new range. */
    guint i = 0;
    while (i < done->ranges->len && at(done, i)->to + 1 < from)
        i++;
    guint end = i;
    while (end < done->ranges->len && at(done, end)->from <= to + 1)
        end++;
    Range merged = {.from = from, .to = to};
    if (end > i) {
        merged.from = MIN(from, at(done, i)->from);
        merged.to = MAX(to, at(done, end - 1)->to);
        g_array_remove_range(done->ranges, i, end - i);
    }
    if (merged.from == done->front)
        done->front = merged.to + 1;
    else
        g_array_insert_val(done->ranges, i, merged);
}

void
kvg_done_rewind(KvgDone *done)
{
    g_array_set_size(done->ranges, 0);
}

uint64_t
kvg_done_next(const KvgDone *done, uint64_t fragment)
{
    fragment = MAX(fragment, done->front);
    for (guint i = 0; i < done->ranges->len && at(done, i)->from <= fragment; i++) {
        if (fragment <= at(done, i)->to)
            return at(done, i)->to + 1;
    }
    return fragment;
}
