#include "putmedia/due.h"

void
kvg_due_heap_init(KvgDueHeap *heap)
{
    heap->heap = g_ptr_array_new();
}

void
kvg_due_heap_clear(KvgDueHeap *heap)
{
    g_ptr_array_unref(heap->heap);
}

static KvgDue *
at(const KvgDueHeap *heap, guint place)
{
    return g_ptr_array_index(heap->heap, place - 1);
}

static void
put_at(KvgDueHeap *heap, guint place, KvgDue *due)
{
    g_ptr_array_index(heap->heap, place - 1) = due;
    due->place = place;
}

/* Moves @due from @place to where it belongs. */
static void
settle(KvgDueHeap *heap, guint place, KvgDue *due)
{
    const guint n = heap->heap->len;
    while (place > 1 && at(heap, place / 2)->at_us > due->at_us) {
        put_at(heap, place, at(heap, place / 2));
        place /= 2;
    }
    for (guint child = place * 2; child <= n; child = place * 2) {
        if (child < n && at(heap, child + 1)->at_us < at(heap, child)->at_us)
            child++;
        if (at(heap, child)->at_us >= due->at_us)
            break;
        put_at(heap, place, at(heap, child));
        place = child;
    }
    put_at(heap, place, due);
}

static void
take_out(KvgDueHeap *heap, KvgDue *due)
{
    const guint place = due->place;
    KvgDue *last = at(heap, heap->heap->len);
    g_ptr_array_set_size(heap->heap, (gint)heap->heap->len - 1);
    due->place = 0;
    if (last != due)
        settle(heap, place, last);
}

void
kvg_due_set(KvgDueHeap *heap, KvgDue *due, int64_t at_us)
{
    due->at_us = at_us;
    if (at_us == INT64_MAX) {
        if (due->place != 0)
            take_out(heap, due);
        return;
    }
    if (due->place == 0) {
        g_ptr_array_add(heap->heap, due);
        due->place = heap->heap->len;
    }
    settle(heap, due->place, due);
}

void
kvg_due_serve(KvgDueHeap *heap, int64_t now_us)
{
    while (heap->heap->len > 0 && at(heap, 1)->at_us <= now_us) {
        KvgDue *due = at(heap, 1);
        take_out(heap, due);
        due->serve(due, now_us);
    }
}

int64_t
kvg_due_next(const KvgDueHeap *heap)
{
    return heap->heap->len > 0 ? at(heap, 1)->at_us : INT64_MAX;
}
