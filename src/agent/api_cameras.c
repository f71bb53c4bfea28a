/* /api/cameras: what each camera does, did, and shall do. */
#include "agent/api_private.h"

void
kvg_api_get_cameras(KvgApi *api, const KvgApiRequest *request)
{
    g_autoptr(json_t) body = kvg_board_all(api->board);
    kvg_api_respond(request->x, 200, body);
}

static void
respond_missing(KvgHttpExchange *x)
{
    kvg_api_respond_message(x, 404, "there is no such camera");
}

void
kvg_api_get_camera(KvgApi *api, const KvgApiRequest *request)
{
    g_autoptr(json_t) camera = kvg_board_get(api->board, request->camera);
    if (camera == NULL) {
        respond_missing(request->x);
        return;
    }
    json_object_set_new(camera, "control", kvg_control_describe(api->control, request->camera));
    kvg_api_respond(request->x, 200, camera);
}

void
kvg_api_patch_camera(KvgApi *api, const KvgApiRequest *request)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(json_t) change = kvg_api_read_object(request->x);
    if (change == NULL)
        return;
    if (!kvg_control_set(api->control, request->camera, change, &error))
        kvg_api_respond_error(request->x, error);
    else
        kvg_api_get_camera(api, request);
}

void
kvg_api_get_history(KvgApi *api, const KvgApiRequest *request)
{
    g_autoptr(json_t) changes = kvg_board_history(api->board, request->camera);
    if (changes == NULL) {
        respond_missing(request->x);
        return;
    }
    g_autoptr(json_t) body = json_pack("{s:s, s:O}", "name", request->camera, "changes", changes);
    kvg_api_respond(request->x, 200, body);
}
