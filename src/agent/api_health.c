/* /metrics, /healthz and /readyz, for whatever starts the agent again or waits for it. */
#include "agent/api_private.h"
#include "agent/metrics.h"
#include <string.h>

void
kvg_api_get_health(KvgApi *api, const KvgApiRequest *request)
{
    g_autoptr(json_t) body = json_pack("{s:s}", "status", "ok");
    kvg_api_respond(request->x, 200, body);
}

void
kvg_api_get_ready(KvgApi *api, const KvgApiRequest *request)
{
    g_autofree char *missing = kvg_board_not_ready(api->board);
    if (missing == NULL) {
        kvg_api_respond_message(request->x, 200, "all cameras live");
        return;
    }
    /* Who has no token is told that something is amiss, not the cameras' names. */
    const bool is_known = kvg_access_is_known(api->access, request->x);
    g_autofree char *text =
        is_known ? g_strconcat("not live: ", missing, NULL) : g_strdup("not all cameras are live");
    kvg_api_respond_message(request->x, 503, text);
}

void
kvg_api_get_metrics(KvgApi *api, const KvgApiRequest *request)
{
    g_autoptr(json_t) all = kvg_board_all(api->board);
    const json_t *cameras = json_object_get(all, "cameras");
    g_autoptr(json_t) site = kvg_api_make_site(api, cameras);
    g_autofree char *text = kvg_metrics_text(cameras, site);
    const KvgHeader headers[] = {{"Content-Type", "text/plain; version=0.0.4; charset=utf-8"},
                                 {"Cache-Control", "no-store"}};
    kvg_http_respond(request->x, 200, headers, G_N_ELEMENTS(headers), text, strlen(text));
}
