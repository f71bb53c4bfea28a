#include "base/backoff.h"

#include <glib.h>

int64_t
kvg_backoff_next_ms(KvgBackoff *backoff)
{
    int64_t limit = backoff->base_ms;
    for (unsigned i = 0; i < backoff->attempt && limit < backoff->cap_ms; i++)
        limit *= 2;
    limit = MIN(limit, backoff->cap_ms);
    backoff->attempt++;
    return limit / 2 + (int64_t)(g_random_double() * (double)(limit - limit / 2));
}

void
kvg_backoff_reset(KvgBackoff *backoff)
{
    backoff->attempt = 0;
}
