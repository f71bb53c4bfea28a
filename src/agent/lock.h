/* One agent a spool: a file in the spool's folder that supervisor and workers hold locked together,
 * until the last of them is gone. */
#pragma once

#include <glib.h>

/* The locked file; it is free again when the last descriptor of it is closed, here and in the
 * processes that got one. Waits up to @wait_ms for those of an agent that has just died. -1 and
 * who has it. */
int kvg_agent_lock(const char *spool_path, int64_t wait_ms, GError **error);
