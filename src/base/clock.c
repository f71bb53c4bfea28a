#include "base/clock.h"

#include <glib.h>

int64_t
kvg_clock_mono_us(void)
{
    return g_get_monotonic_time();
}

int64_t
kvg_clock_wall_ms(void)
{
    return g_get_real_time() / 1000;
}
