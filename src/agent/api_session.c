/* /api/session: the console's way to say the token once, and to forget it. */
#include "agent/api_private.h"
#include "base/clock.h"
#include <string.h>

static void
respond_cookie(KvgApi *api, KvgHttpExchange *x, const int64_t *expires_ms)
{
    g_autofree char *cookie = kvg_access_cookie(api->access, x, expires_ms);
    g_autoptr(json_t) body = json_object();
    if (expires_ms != NULL)
        json_object_set_new(body, "expires_ms", json_integer(*expires_ms));
    else
        json_object_set_new(body, "message", json_string("signed out"));
    g_autofree char *text = kvg_json_to_text(body);
    const KvgHeader headers[] = {{"Content-Type", "application/json"},
                                 {"Cache-Control", "no-store"},
                                 {"Set-Cookie", cookie}};
    kvg_http_respond(x, 200, headers, G_N_ELEMENTS(headers), text, strlen(text));
}

void
kvg_api_post_session(KvgApi *api, const KvgApiRequest *request)
{
    g_autoptr(json_t) body = kvg_api_read_object(request->x);
    if (body == NULL)
        return;
    const char *token = kvg_json_get_string(body, "token");
    if (token == NULL) {
        kvg_api_respond_message(request->x, 400, "send {\"token\": \"...\"}");
        return;
    }
    const int64_t expires_ms = kvg_clock_wall_ms() + KVG_ACCESS_SESSION_MS;
    const KvgAccessVerdict verdict =
        kvg_access_try(api->access, kvg_http_peer_address(request->x), token);
    if (verdict == KVG_ACCESS_YES)
        respond_cookie(api, request->x, &expires_ms);
    else if (verdict == KVG_ACCESS_NOT_NEEDED)
        kvg_api_respond_message(request->x, 409, "this agent asks for no token");
    else
        kvg_access_refuse(request->x, verdict);
}

void
kvg_api_delete_session(KvgApi *api, const KvgApiRequest *request)
{
    respond_cookie(api, request->x, NULL);
}
