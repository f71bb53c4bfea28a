/* One camera's life as a state machine, without GStreamer and without a clock of its own: events
 * and the time in, the next thing to do out. */
#pragma once

#include "base/backoff.h"
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum {
    KVG_CAMERA_OFF,        /* switched off */
    KVG_CAMERA_CONNECTING, /* pipeline started, no frame yet */
    KVG_CAMERA_LIVE,
    KVG_CAMERA_STALLED, /* frames stopped coming; about to be restarted */
    KVG_CAMERA_BACKOFF, /* waits for the next attempt */
    KVG_CAMERA_FAILED,  /* something on this machine must be corrected first; looked at again later
                         */
    KVG_CAMERA_ENDED,   /* a file that was played to its end */
} KvgCameraState;
#define KVG_CAMERA_N_STATES (KVG_CAMERA_ENDED + 1)
const char *kvg_camera_state_to_string(KvgCameraState state);

typedef enum { KVG_CAMERA_DO_NOTHING, KVG_CAMERA_DO_START, KVG_CAMERA_DO_STOP } KvgCameraAction;

typedef struct {
    KvgCameraState state;
    int64_t since_ms; /* of the state */
    char *reason;     /* in words; NULL when there is nothing to say */
    KvgBackoff backoff;
    int64_t retry_at_ms;
    int64_t last_frame_ms;
    int64_t changed_ms;      /* of the last kvg_camera_on_change() */
    int64_t watch_frames_ms; /* without a frame for so long: stalled */
    unsigned restarts;       /* attempts after the first */
} KvgCamera;

void kvg_camera_init(KvgCamera *camera, bool streaming, int64_t now_ms);
void kvg_camera_clear(KvgCamera *camera);
/* A frame arrived. */
void kvg_camera_on_frame(KvgCamera *camera, int64_t now_ms);
/* The source failed; @permanent: nothing will change until somebody corrects something here. */
void kvg_camera_on_failure(KvgCamera *camera, const char *reason, bool permanent, int64_t now_ms);
/* The source is there, but its pipeline must be built anew: at once, unless that happens all the
 * time. */
void kvg_camera_on_change(KvgCamera *camera, const char *reason, int64_t now_ms);
/* All there was has been delivered; what follows is somebody's decision. */
void kvg_camera_on_finish(KvgCamera *camera, const char *reason, int64_t now_ms);
/* Of a live camera, what is wrong behind it; NULL: nothing (any more). */
void kvg_camera_remark(KvgCamera *camera, const char *remark);
/* Switched on or off by somebody, for @reason. */
KvgCameraAction kvg_camera_switch(KvgCamera *camera, bool on, const char *reason, int64_t now_ms);
/* Something about it was changed: STOP if there is a pipeline, which comes back at once. */
KvgCameraAction kvg_camera_restart(KvgCamera *camera, const char *reason, int64_t now_ms);
/* Called often: what is due now. STOP comes with a change to BACKOFF. */
KvgCameraAction kvg_camera_tick(KvgCamera *camera, int64_t now_ms);
