/* The time by which video expires. A wall clock that jumps ahead must not delete what nobody can
 * record again, so a jump is believed only after it has lasted. No I/O. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define KVG_EXPIRY_JUMP_MS (3600 * INT64_C(1000)) /* further ahead than this is a jump */
#define KVG_EXPIRY_HOLD_MS (3600 * INT64_C(1000)) /* that must last so long */

/* Zero before the first use. */
typedef struct {
    bool has_started;
    int64_t believed_ms, mono_ms; /* at the last call */
    int64_t jump_since_ms;        /* monotonic; 0: the clocks agree */
} KvgExpiryClock;

/* Goes on from @believed_ms, the time of an earlier process: what is ahead of it now may be a clock
 * that was set wrong in between. */
void kvg_expiry_clock_resume(KvgExpiryClock *clock, int64_t believed_ms, int64_t mono_ms);
/* The time to expire by, given the wall clock and one that never jumps. @is_held: (out): a jump
 * ahead is not believed yet. */
int64_t
kvg_expiry_clock_step(KvgExpiryClock *clock, int64_t wall_ms, int64_t mono_ms, bool *is_held);
