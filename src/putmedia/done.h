/* Which fragments need nothing more: everything below `front`, and ranges above it that were
 * persisted out of turn. Pure. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    uint64_t front; /* the first fragment that is not done */
    GArray *ranges; /* of [from, to], ascending, apart, all above front; at most one per hole */
} KvgDone;

void kvg_done_init(KvgDone *done);
void kvg_done_clear(KvgDone *done);
/* [from, to] are done; from > to is nothing. */
void kvg_done_add(KvgDone *done, uint64_t from, uint64_t to);
/* Only what is below front counts as done any more. */
void kvg_done_rewind(KvgDone *done);
/* The first fragment at or after @fragment that is not done. */
uint64_t kvg_done_next(const KvgDone *done, uint64_t fragment);
