/* The IoT control plane and the credentials provider as HTTP routes. */
#include "base/clock.h"
#include "base/text.h"
#include "server/iot/call.h"
#include "server/iot/credentials.h"
#include <string.h>

#define MAX_BODY_BYTES (512 * 1024)
#define ALIAS_PREFIX "/role-aliases/"
#define ALIAS_SUFFIX "/credentials"

static void
respond(KvgHttpExchange *x, const KvgIotReply *reply)
{
    g_autoptr(json_t) error =
        reply->type != NULL ? json_pack("{s:s?}", "message", reply->message) : NULL;
    const json_t *json = error != NULL ? error : reply->json;
    g_autofree char *body = json != NULL ? kvg_json_to_text(json) : g_strdup("");
    const KvgHeader headers[] = {{"Content-Type", "application/json"},
                                 {"x-amzn-ErrorType", reply->type}};
    kvg_http_respond(x, reply->status, headers, reply->type != NULL ? 2 : 1, body, strlen(body));
}

void
kvg_iot_handle(KvgServer *server, KvgHttpExchange *x)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) body = kvg_http_read_all(x, MAX_BODY_BYTES, &error);
    if (body == NULL) {
        kvg_respond_error(x, 400, "InvalidRequestException", "%s", error->message);
        return;
    }
    g_auto(KvgCaller) caller = {0};
    if (!kvg_auth_verify(server, x, body, &caller))
        return;
    KvgIotRequest request = {
        .method = kvg_http_method(x),
        .path = kvg_http_path(x),
        .query = kvg_http_query(x),
        .principal = kvg_http_header(x, "x-amzn-principal"),
        .host = kvg_http_header(x, "host"),
    };
    request.body = g_bytes_get_data(body, &request.len);
    g_auto(KvgIotReply) reply = {0};
    kvg_iot_call(server, &caller, &request, &reply);
    respond(x, &reply);
}

/* The alias in /role-aliases/ALIAS/credentials (g_free), or NULL. */
static char *
alias_of(const char *path)
{
    const size_t len = strlen(path);
    const size_t fixed = strlen(ALIAS_PREFIX) + strlen(ALIAS_SUFFIX);
    if (len <= fixed || !g_str_has_prefix(path, ALIAS_PREFIX) ||
        !g_str_has_suffix(path, ALIAS_SUFFIX))
        return NULL;
    g_autofree char *alias = kvg_uri_unescape(path + strlen(ALIAS_PREFIX), len - fixed, false);
    if (!kvg_iot_name_fits(alias, 128, "_=,@-"))
        return NULL;
    return g_steal_pointer(&alias);
}

void
kvg_credentials_handle(KvgServer *server, KvgHttpExchange *x)
{
    g_autofree char *alias = alias_of(kvg_http_path(x));
    if (alias == NULL || strcmp(kvg_http_method(x), "GET") != 0) {
        kvg_respond_error(x, 404, "ResourceNotFoundException", "No such path");
        return;
    }
    g_auto(KvgIotReply) reply = {0};
    X509 *certificate = kvg_http_peer_certificate(x);
    kvg_credentials_decide(server, certificate, kvg_http_header(x, "x-amzn-iot-thingname"), alias,
                           kvg_clock_wall_ms(), &reply);
    respond(x, &reply);
}
