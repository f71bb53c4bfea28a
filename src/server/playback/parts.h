/* A fragment cut into the parts of low-latency HLS. The cut follows from the frames alone, so a
 * fragment that is still arriving and the same one when it is stored have the same parts. No I/O.
 */
#pragma once

#include "media/mp4_timing.h"
#include <glib.h>

#define KVG_PART_MS 160
/* The longest a part may be: frames do not end on the dot, but every rate from ten a second on has
 * a frame that begins between the two. */
#define KVG_PART_TARGET_MS 200

typedef struct {
    guint first, n; /* samples */
    int64_t start_ms, length_ms;
    bool is_independent; /* begins with a key frame, or is sound */
} KvgPart;

/* The complete parts (KvgPart) of one track's @samples (KvgMp4Sample). The last one is complete
 * only when the fragment is: @length_ms >= 0 is where it ends. */
GArray *kvg_parts_cut(const GArray *samples, bool is_audio, int64_t length_ms);
