/* Exponential back-off with full jitter in its upper half: attempt n waits between half of and all
 * of min(cap, base * 2^n). Half is kept so that a retry is never immediate. */
#pragma once

#include <stdint.h>

typedef struct {
    int64_t base_ms;
    int64_t cap_ms;
    unsigned attempt;
} KvgBackoff;

/* The next delay in milliseconds; counts the attempt. */
int64_t kvg_backoff_next_ms(KvgBackoff *backoff);
/* Call after a success. */
void kvg_backoff_reset(KvgBackoff *backoff);
