/* The two clocks. Code below agent/ and server/ takes the time as a parameter where it decides
 * something; these are for the callers at the edge. */
#pragma once

#include <stdint.h>

/* Monotonic microseconds, for intervals. */
int64_t kvg_clock_mono_us(void);
/* Wall clock in milliseconds since 1970, for timestamps that leave the process. */
int64_t kvg_clock_wall_ms(void);
