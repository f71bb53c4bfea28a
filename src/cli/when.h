/* A moment as people write it on a command line. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* "2026-11-25T08:00:00Z", without a zone local time; "08:00" or "08:00:30" of today; "-5m" before
 * now; "now"; milliseconds since 1970. KVG_ERROR_INVALID. */
bool kvg_when_parse(const char *text, int64_t now_ms, int64_t *ms, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
