/* Who has to be served when: a binary heap of deadlines that their owners embed. Setting one costs
 * the logarithm of their number, so a thousand quiet streams cost nothing. */
#pragma once

#include <glib.h>
#include <stdint.h>

typedef struct _KvgDue KvgDue;
struct _KvgDue {
    void (*serve)(KvgDue *due, int64_t now_us);
    int64_t at_us;
    guint place; /* in the heap, from 1; 0: not in it */
};

typedef struct {
    GPtrArray *heap; /* KvgDue, earliest first */
} KvgDueHeap;

void kvg_due_heap_init(KvgDueHeap *heap);
void kvg_due_heap_clear(KvgDueHeap *heap);
/* INT64_MAX: never; takes it out. */
void kvg_due_set(KvgDueHeap *heap, KvgDue *due, int64_t at_us);
/* Serves what is due; each is taken out first. */
void kvg_due_serve(KvgDueHeap *heap, int64_t now_us);
/* INT64_MAX: nothing. */
int64_t kvg_due_next(const KvgDueHeap *heap);
