#include "agent/quarantine.h"

#include <glib.h>

#define MAX_ENDS 5
#define STEADY_MS (10 * 60000) /* a process that lived so long counts as healthy */
#define FIRST_MS (5 * 60000)
#define LONGEST_MS (60 * 60000)

bool
kvg_quarantine_on_end(KvgQuarantine *quarantine, int64_t lived_ms, int64_t now_ms)
{
    if (lived_ms >= STEADY_MS)
        *quarantine = (KvgQuarantine){0};
    if (quarantine->n_ends++ == 0)
        quarantine->first_ms = now_ms;
    quarantine->last_ms = now_ms;
    if (quarantine->n_ends < MAX_ENDS)
        return false;
    int64_t length_ms = FIRST_MS;
    for (unsigned i = 0; i < quarantine->n_sentences && length_ms < LONGEST_MS; i++)
        length_ms *= 2;
    quarantine->until_ms = now_ms + MIN(length_ms, LONGEST_MS);
    quarantine->n_sentences++;
    return true;
}

bool
kvg_quarantine_is_over(const KvgQuarantine *quarantine, int64_t now_ms)
{
    return quarantine->until_ms != 0 && now_ms >= quarantine->until_ms;
}

void
kvg_quarantine_try(KvgQuarantine *quarantine)
{
    quarantine->until_ms = 0;
}

char *
kvg_quarantine_reason(const KvgQuarantine *quarantine, const char *last)
{
    const int64_t within_s = (quarantine->last_ms - quarantine->first_ms) / 1000 + 1;
    const int64_t length_min = (quarantine->until_ms - quarantine->last_ms) / 60000;
    return g_strdup_printf(
        "its process ended %u times within %" G_GINT64_FORMAT " s, the last %s; it rests for "
        "%" G_GINT64_FORMAT " min, or until it is switched off or its configuration is changed",
        quarantine->n_ends, within_s, last, length_min);
}
