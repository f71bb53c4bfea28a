/* Where a camera's stored video is looked at on its way into the sink: decoded once, however many
 * consumers there are, and only while there is one. Lives over restarts of the camera's pipeline.
 */
#pragma once

#include "frames/server.h"
#include <gst/gst.h>

typedef struct _KvgFramesTap KvgFramesTap;

typedef struct {
    KvgFramesStats server;
    uint64_t copies; /* pictures that were not decoded into shared memory */
    bool is_decoding;
} KvgFramesTapStats;

/* Serves the frames of @camera in @folder, which is made (0700) if there is none. */
KvgFramesTap *kvg_frames_tap_open(const char *folder, const char *camera, GError **error);
KvgFramesTap *kvg_frames_tap_ref(KvgFramesTap *tap); /* NULL is fine */
void kvg_frames_tap_unref(KvgFramesTap *tap);        /* the same */
/* Serves no more; consumers see the end. What still holds a reference puts into nothing. Gives the
 * reference back. NULL is fine. */
void kvg_frames_tap_close(KvgFramesTap *tap);
/* Whether anybody looks: if not, nothing need be put. Thread: any. */
bool kvg_frames_tap_is_wanted(const KvgFramesTap *tap);
/* One access unit of @caps, taken at @wall_us. Never waits for anybody. Thread: one at a time. */
void kvg_frames_tap_put(KvgFramesTap *tap, const GstCaps *caps, GstBuffer *buffer, int64_t wall_us);
void kvg_frames_tap_get_stats(KvgFramesTap *tap, KvgFramesTapStats *stats);
