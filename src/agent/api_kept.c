/* Recording that is kept here: events, and time ranges to be uploaded. */
#include "agent/api_private.h"
#include "agent/kept.h"
#include <kvg/error.h>

typedef json_t *(*Order)(KvgErrands *, const char *, const json_t *, GError **);

static bool
is_camera(KvgApi *api, const KvgApiRequest *request)
{
    g_autoptr(json_t) camera = kvg_board_get(api->board, request->camera);
    if (camera == NULL)
        kvg_api_respond_message(request->x, 404, "there is no such camera");
    return camera != NULL;
}

static void
respond_kept(KvgHttpExchange *x, int status, const json_t *answer, const GError *error)
{
    if (answer != NULL)
        kvg_api_respond(x, status, answer);
    else if (g_error_matches(error, KVG_ERROR, KVG_ERROR_INVALID))
        kvg_api_respond_message(x, 400, error->message);
    else
        kvg_api_respond_message(x, g_error_matches(error, KVG_ERROR, KVG_ERROR_RETRY) ? 503 : 507,
                                error->message);
}

static void
order(KvgApi *api, const KvgApiRequest *request, Order send)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(json_t) body = is_camera(api, request) ? kvg_api_read_object(request->x) : NULL;
    if (body == NULL)
        return;
    g_autoptr(json_t) answer = send(api->errands, request->camera, body, &error);
    respond_kept(request->x, 202, answer, error);
}

void
kvg_api_post_event(KvgApi *api, const KvgApiRequest *request)
{
    order(api, request, kvg_kept_event);
}

void
kvg_api_post_upload(KvgApi *api, const KvgApiRequest *request)
{
    order(api, request, kvg_kept_upload);
}

void
kvg_api_get_uploads(KvgApi *api, const KvgApiRequest *request)
{
    g_autoptr(GError) error = NULL;
    if (!is_camera(api, request))
        return;
    g_autoptr(json_t) answer = kvg_kept_list(api->errands, request->camera, &error);
    respond_kept(request->x, 200, answer, error);
}
