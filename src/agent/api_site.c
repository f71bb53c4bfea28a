/* /api/site: the site as a whole, and its configuration read again. */
#include "agent/api_private.h"

void
kvg_api_get_site(KvgApi *api, const KvgApiRequest *request)
{
    g_autoptr(json_t) site =
        json_pack("{s:s, s:o}", "version", KVG_VERSION, "reload", kvg_board_get_reload(api->board));
    kvg_api_respond(request->x, 200, site);
}

/* Waits until the main thread has done it. */
void
kvg_api_post_reload(KvgApi *api, const KvgApiRequest *request)
{
    g_autoptr(json_t) result = kvg_reload_request(api->reload);
    if (result == NULL)
        kvg_api_respond_message(request->x, 503, "the agent is ending");
    else
        kvg_api_respond(request->x, kvg_json_get_bool(result, "ok", false) ? 200 : 400, result);
}
