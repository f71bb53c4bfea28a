/* Where a stream keeps the frames that are not persisted yet. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

G_BEGIN_DECLS

/**
 * KvgSpoolTier: one format on two kinds of storage.
 * @KVG_SPOOL_TIER_AUTO: frames go to memory (tmpfs); what is not persisted within some seconds is
 *   moved to disk. Spares flash; a loss of power costs at most the last seconds
 * @KVG_SPOOL_TIER_DISK: frames go to disk and each finished fragment is synced; survives a loss of
 *   power
 * @KVG_SPOOL_TIER_MEMORY: frames never touch a disk; survives the end of the process, however it
 *   ends, but not a restart of the machine
 */
typedef enum { KVG_SPOOL_TIER_AUTO, KVG_SPOOL_TIER_DISK, KVG_SPOOL_TIER_MEMORY } KvgSpoolTier;

/**
 * kvg_spool_tier_to_string:
 *
 * "auto", "disk" or "memory"; static. Thread: any.
 */
const char *kvg_spool_tier_to_string(KvgSpoolTier tier);
/**
 * kvg_spool_tier_from_string:
 * @text: "auto", "disk" or "memory"
 * @tier: (out): untouched on failure
 *
 * False if @text is none of them. Thread: any.
 */
bool kvg_spool_tier_from_string(const char *text, KvgSpoolTier *tier);

/**
 * KvgTimeRange: from @from_wall_ms on, and before @to_wall_ms; milliseconds since 1970, as the
 * frames have them.
 */
typedef struct {
    int64_t from_wall_ms, to_wall_ms;
} KvgTimeRange;

#define KVG_RELEASE_ID_BYTES 64
#define KVG_RELEASE_MISSING 8

/**
 * KvgRelease: a range of time that was asked for, of a stream that holds its frames.
 * @range: as asked
 * @is_stored: it is in a file: the end of the process, however it ends, does not lose it
 * @is_over: nothing more can be recorded into it
 * @is_done: and everything of it that was there has been uploaded
 * @fragments, @bytes: uploaded
 * @fragments_waiting, @bytes_waiting: still to be uploaded
 * @n_missing: how many parts of the range (up to now) are not there, being evicted or never
 *   recorded; @missing has the first of them
 */
typedef struct {
    char id[KVG_RELEASE_ID_BYTES + 1];
    KvgTimeRange range;
    int64_t asked_wall_ms;
    bool is_stored, is_over, is_done;
    uint64_t fragments, bytes;
    uint64_t fragments_waiting, bytes_waiting;
    unsigned n_missing;
    KvgTimeRange missing[KVG_RELEASE_MISSING];
} KvgRelease;

G_END_DECLS
