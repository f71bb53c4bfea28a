/* Whether a camera may have a process again after its own was ended from outside. No I/O, no clock.
 *
 *   5 ends within 10 min of each other --> quarantine of 5 min --> one try
 *   the try ends within 10 min ----------> 10 min, 20, 40, then every hour
 *   10 min without an end ---------------> as if nothing had been
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* All 0: nothing has happened. */
typedef struct {
    unsigned n_ends;           /* in a row */
    unsigned n_sentences;      /* in a row */
    int64_t first_ms, last_ms; /* ends of the row */
    int64_t until_ms;          /* in quarantine until then; 0: it is not */
} KvgQuarantine;

/* A process of the camera alone ended after @lived_ms. True: the camera is in quarantine now. */
bool kvg_quarantine_on_end(KvgQuarantine *quarantine, int64_t lived_ms, int64_t now_ms);
/* Quarantine is over: time for a try. False while it lasts, or if there is none. */
bool kvg_quarantine_is_over(const KvgQuarantine *quarantine, int64_t now_ms);
/* The try is made. */
void kvg_quarantine_try(KvgQuarantine *quarantine);
/* Why, in words; @last: how the last process ended (g_free). */
char *kvg_quarantine_reason(const KvgQuarantine *quarantine, const char *last);
