#include "agent/camera.h"

#define CONNECT_MS 20000 /* from start to the first frame */
#define STALL_MS 10000   /* without a frame: stalled, unless configured */
#define GIVE_UP_MS 5000  /* stalled for so long: restart */
#define STEADY_MS 30000  /* live for so long: the back-off starts over */
#define RECHECK_MS 5000  /* failed: look again */
#define CHANGES_MS 10000 /* a pipeline is built anew at once this often */

const char *
kvg_camera_state_to_string(KvgCameraState state)
{
    static const char *const names[] = {
        [KVG_CAMERA_OFF] = "off",         [KVG_CAMERA_CONNECTING] = "connecting",
        [KVG_CAMERA_LIVE] = "live",       [KVG_CAMERA_STALLED] = "stalled",
        [KVG_CAMERA_BACKOFF] = "backoff", [KVG_CAMERA_FAILED] = "failed",
        [KVG_CAMERA_ENDED] = "ended",
    };
    return names[state];
}

static void
enter(KvgCamera *camera, KvgCameraState state, const char *reason, int64_t now_ms)
{
    if (state != camera->state)
        camera->since_ms = now_ms;
    camera->state = state;
    char *copy = g_strdup(reason); /* may be the old one */
    g_free(camera->reason);
    camera->reason = copy;
}

void
kvg_camera_init(KvgCamera *camera, bool streaming, int64_t now_ms)
{
    *camera = (KvgCamera){.state = streaming ? KVG_CAMERA_BACKOFF : KVG_CAMERA_OFF,
                          .since_ms = now_ms,
                          .retry_at_ms = now_ms,
                          .changed_ms = now_ms - CHANGES_MS,
                          .watch_frames_ms = STALL_MS,
                          .backoff = {.base_ms = 1000, .cap_ms = 30000}};
    camera->reason = g_strdup(streaming ? "starting" : "switched off");
}

void
kvg_camera_clear(KvgCamera *camera)
{
    g_clear_pointer(&camera->reason, g_free);
}

void
kvg_camera_on_frame(KvgCamera *camera, int64_t now_ms)
{
    camera->last_frame_ms = now_ms;
    if (camera->state == KVG_CAMERA_CONNECTING || camera->state == KVG_CAMERA_STALLED)
        enter(camera, KVG_CAMERA_LIVE, NULL, now_ms);
    if (camera->state == KVG_CAMERA_LIVE && now_ms - camera->since_ms >= STEADY_MS)
        kvg_backoff_reset(&camera->backoff);
}

void
kvg_camera_on_failure(KvgCamera *camera, const char *reason, bool permanent, int64_t now_ms)
{
    if (camera->state == KVG_CAMERA_OFF || camera->state == KVG_CAMERA_BACKOFF)
        return; /* what a pipeline says while it is being taken down */
    /* What has worked for long is most likely there again: a camera that was restarted. */
    const bool was_steady =
        camera->state == KVG_CAMERA_LIVE && now_ms - camera->since_ms >= STEADY_MS;
    const int64_t wait_ms = permanent    ? RECHECK_MS
                            : was_steady ? 0
                                         : kvg_backoff_next_ms(&camera->backoff);
    camera->retry_at_ms = now_ms + wait_ms;
    enter(camera, permanent ? KVG_CAMERA_FAILED : KVG_CAMERA_BACKOFF, reason, now_ms);
}

void
kvg_camera_on_change(KvgCamera *camera, const char *reason, int64_t now_ms)
{
    const bool is_rare = now_ms - camera->changed_ms >= CHANGES_MS;
    camera->changed_ms = now_ms;
    kvg_camera_on_failure(camera, reason, false, now_ms);
    if (is_rare)
        camera->retry_at_ms = now_ms;
}

void
kvg_camera_on_finish(KvgCamera *camera, const char *reason, int64_t now_ms)
{
    if (camera->state != KVG_CAMERA_OFF)
        enter(camera, KVG_CAMERA_ENDED, reason, now_ms);
}

void
kvg_camera_remark(KvgCamera *camera, const char *remark)
{
    if (camera->state == KVG_CAMERA_LIVE && g_strcmp0(camera->reason, remark) != 0)
        enter(camera, KVG_CAMERA_LIVE, remark, camera->since_ms);
}

KvgCameraAction
kvg_camera_switch(KvgCamera *camera, bool on, const char *reason, int64_t now_ms)
{
    const bool has_pipeline = camera->state == KVG_CAMERA_CONNECTING ||
                              camera->state == KVG_CAMERA_LIVE ||
                              camera->state == KVG_CAMERA_STALLED;
    if (on == (camera->state != KVG_CAMERA_OFF))
        return KVG_CAMERA_DO_NOTHING;
    enter(camera, on ? KVG_CAMERA_BACKOFF : KVG_CAMERA_OFF, reason, now_ms);
    camera->retry_at_ms = now_ms;
    camera->last_frame_ms = 0; /* the next start is no restart */
    kvg_backoff_reset(&camera->backoff);
    return has_pipeline ? KVG_CAMERA_DO_STOP : KVG_CAMERA_DO_NOTHING;
}

KvgCameraAction
kvg_camera_restart(KvgCamera *camera, const char *reason, int64_t now_ms)
{
    if (camera->state == KVG_CAMERA_OFF)
        return KVG_CAMERA_DO_NOTHING;
    const KvgCameraAction action = kvg_camera_switch(camera, false, reason, now_ms);
    kvg_camera_switch(camera, true, reason, now_ms);
    return action;
}

static KvgCameraAction
give_up(KvgCamera *camera, const char *reason, int64_t now_ms)
{
    kvg_camera_on_failure(camera, reason, false, now_ms);
    return KVG_CAMERA_DO_STOP;
}

static KvgCameraAction
start(KvgCamera *camera, int64_t now_ms)
{
    if (camera->state == KVG_CAMERA_BACKOFF && camera->last_frame_ms != 0)
        camera->restarts++;
    enter(camera, KVG_CAMERA_CONNECTING, camera->reason, now_ms);
    return KVG_CAMERA_DO_START;
}

KvgCameraAction
kvg_camera_tick(KvgCamera *camera, int64_t now_ms)
{
    switch (camera->state) {
    case KVG_CAMERA_OFF:
    case KVG_CAMERA_ENDED:
        return KVG_CAMERA_DO_NOTHING;
    case KVG_CAMERA_CONNECTING:
        return now_ms - camera->since_ms >= CONNECT_MS
                   ? give_up(camera, "no picture within 20 s of connecting", now_ms)
                   : KVG_CAMERA_DO_NOTHING;
    case KVG_CAMERA_LIVE:
        if (now_ms - camera->last_frame_ms >= camera->watch_frames_ms)
            enter(camera, KVG_CAMERA_STALLED, "the camera sends no frames", now_ms);
        return KVG_CAMERA_DO_NOTHING;
    case KVG_CAMERA_STALLED:
        return now_ms - camera->since_ms >= GIVE_UP_MS
                   ? give_up(camera, "the camera stopped sending frames; connecting again", now_ms)
                   : KVG_CAMERA_DO_NOTHING;
    case KVG_CAMERA_BACKOFF:
    case KVG_CAMERA_FAILED:
        return now_ms >= camera->retry_at_ms ? start(camera, now_ms) : KVG_CAMERA_DO_NOTHING;
    }
    return KVG_CAMERA_DO_NOTHING;
}
