/* Where a stream keeps the frames that are not persisted yet. */
#pragma once

#include <glib.h>
#include <stdbool.h>

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

G_END_DECLS
