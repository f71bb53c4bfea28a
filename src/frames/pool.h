/* A GstBufferPool whose buffers are slots of shared memory: what a converter writes into them is at
 * once what consumers read. */
#pragma once

#include "frames/slot.h"
#include <gst/video/video.h>

/* More than all consumers may hold, the newest frame, and those in the making. */
#define KVG_FRAMES_POOL_MAX 40

GstBufferPool *kvg_frames_pool_new(void);
/* The slot that @buffer lies in; NULL: it is of another pool. @pool: of its kvg_frames_pool_id().
 */
const KvgFramesSlot *kvg_frames_pool_slot(GstBuffer *buffer, uint32_t *pool);
