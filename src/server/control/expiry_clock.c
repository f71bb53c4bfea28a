#include "server/control/expiry_clock.h"

void
kvg_expiry_clock_resume(KvgExpiryClock *clock, int64_t believed_ms, int64_t mono_ms)
{
    *clock = (KvgExpiryClock){.has_started = true, .believed_ms = believed_ms, .mono_ms = mono_ms};
}

int64_t
kvg_expiry_clock_step(KvgExpiryClock *clock, int64_t wall_ms, int64_t mono_ms, bool *is_held)
{
    const int64_t expected_ms = clock->believed_ms + (mono_ms - clock->mono_ms);
    const bool is_ahead = clock->has_started && wall_ms - expected_ms > KVG_EXPIRY_JUMP_MS;
    if (is_ahead && clock->jump_since_ms == 0)
        clock->jump_since_ms = mono_ms;
    if (!is_ahead)
        clock->jump_since_ms = 0;
    *is_held = is_ahead && mono_ms - clock->jump_since_ms < KVG_EXPIRY_HOLD_MS;
    clock->has_started = true;
    clock->mono_ms = mono_ms;
    /* A clock that goes back deletes less, so it is believed at once. */
    clock->believed_ms = *is_held ? expected_ms : wall_ms;
    if (!*is_held)
        clock->jump_since_ms = 0;
    return clock->believed_ms;
}
