/* Runs kvg-images: makes a picture of frames, within a time, few at once. Hides the process. */
#pragma once

#include "media/mp4_timing.h"
#include <glib.h>
#include <stdbool.h>

typedef struct {
    bool is_png;
    unsigned quality;       /* JPEG: 1..100 */
    unsigned width, height; /* both 0: as the video is */
} KvgImageFormat;

typedef struct _KvgImager KvgImager;

/* Waits a while for one of the few places. NULL: KVG_ERROR_THROTTLED if there is none. Thread: the
 * imager belongs to one, new() may be called by any. */
KvgImager *kvg_imager_new(GError **error);
/* Ends the process, however busy it is. */
void kvg_imager_free(KvgImager *imager);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgImager, kvg_imager_free)
/* @samples from a key frame on, in decode order; the picture of number @wanted. NULL:
 * KVG_ERROR_CORRUPT if they cannot be decoded or that takes too long. */
GBytes *kvg_imager_make(KvgImager *imager,
                        const KvgImageFormat *format,
                        const KvgMp4Track *track,
                        const KvgMp4Sample *samples,
                        size_t n,
                        size_t wanted,
                        GError **error);
