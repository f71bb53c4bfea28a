/* Authentication and authorisation of HTTP exchanges: verify.c and policy.c put to the wire, with
 * the error forms of each service's protocol. */
#include "base/clock.h"
#include "base/json.h"
#include "os/log.h"
#include "server/auth/context.h"
#include "server/auth/verify.h"
#include <string.h>

#define LOG_DOMAIN "server-auth"

/* What a refusal is called: JSON services, XML services, status of each. */
static const struct {
    const char *json_type;
    int json_status;
    const char *xml_code;
    int xml_status;
} refusals[] = {
    [KVG_AUTH_MISSING] = {"MissingAuthenticationTokenException", 403, "MissingAuthenticationToken",
                          403},
    [KVG_AUTH_INCOMPLETE] = {"IncompleteSignatureException", 400, "IncompleteSignature", 400},
    [KVG_AUTH_UNKNOWN_KEY] = {"UnrecognizedClientException", 403, "InvalidClientTokenId", 403},
    [KVG_AUTH_EXPIRED_TOKEN] = {"ExpiredTokenException", 403, "ExpiredToken", 403},
    [KVG_AUTH_BAD_SIGNATURE] = {"InvalidSignatureException", 403, "SignatureDoesNotMatch", 403},
};

char *
kvg_auth_claimed_service(KvgHttpExchange *x)
{
    const char *header = kvg_http_header(x, "authorization");
    g_autofree char *query = kvg_http_query_param(x, "X-Amz-Credential");
    const char *credential = header != NULL ? strstr(header, "Credential=") : query;
    if (credential == NULL)
        return NULL;
    g_autofree char *copy = g_strndup(credential, 256);
    copy[strcspn(copy, ", ")] = '\0';
    g_auto(GStrv) parts = g_strsplit(copy, "/", 6);
    if (g_strv_length(parts) != 5)
        return NULL;
    return g_strdup(strcmp(parts[3], "execute-api") == 0 ? "iot" : parts[3]);
}

static void
respond_json(KvgHttpExchange *x, int status, const char *type, const char *key, const char *message)
{
    g_autoptr(json_t) object = json_pack("{s:s?}", key, message);
    g_autofree char *body = object != NULL ? kvg_json_to_text(object) : g_strdup("{}");
    const KvgHeader headers[] = {{"Content-Type", "application/json"}, {"x-amzn-ErrorType", type}};
    kvg_http_respond(x, status, headers, G_N_ELEMENTS(headers), body, strlen(body));
}

static void
respond_xml(
    KvgHttpExchange *x, int status, const char *service, const char *code, const char *message)
{
    const char *version = strcmp(service, "iam") == 0 ? "iam.amazonaws.com/doc/2010-05-08"
                                                      : "sts.amazonaws.com/doc/2011-06-15";
    g_autofree char *body = g_markup_printf_escaped(
        "<ErrorResponse xmlns=\"https://%s/\"><Error><Type>Sender</Type><Code>%s</Code>"
        "<Message>%s</Message></Error><RequestId>%s</RequestId></ErrorResponse>",
        version, code, message, kvg_http_request_id(x));
    const KvgHeader headers[] = {{"Content-Type", "text/xml"}};
    kvg_http_respond(x, status, headers, G_N_ELEMENTS(headers), body, strlen(body));
}

static bool
is_query_service(const char *service)
{
    return strcmp(service, "iam") == 0 || strcmp(service, "sts") == 0;
}

/* The service whose rules apply: what is claimed if we have it, else Kinesis Video. */
static char *
service_of(KvgHttpExchange *x)
{
    g_autofree char *claimed = kvg_auth_claimed_service(x);
    if (claimed != NULL && (is_query_service(claimed) || g_str_has_prefix(claimed, "iot")))
        return g_steal_pointer(&claimed);
    return g_strdup("kinesisvideo");
}

bool
kvg_auth_verify(KvgServer *server, KvgHttpExchange *x, GBytes *body, KvgCaller *caller)
{
    g_autofree char *service = service_of(x);
    g_autofree char *hash = NULL;
    if (body != NULL) {
        size_t len = 0;
        const void *data = g_bytes_get_data(body, &len);
        hash = kvg_sigv4_sha256_hex(data != NULL ? data : "", len);
    }
    KvgAuthRequest request = {
        .method = kvg_http_method(x),
        .path = kvg_http_path(x),
        .query = kvg_http_query(x),
        .body_sha256 = hash,
        .service = service,
        .now_ms = kvg_clock_wall_ms(),
    };
    request.headers = kvg_http_headers(x, &request.n_headers);

    g_autofree char *message = NULL;
    const KvgAuthResult result = kvg_auth_check(server, &request, caller, &message);
    if (result == KVG_AUTH_OK) {
        caller->source_ip = g_strdup(kvg_http_peer_address(x));
        caller->is_secure = kvg_http_is_tls(x);
        return true;
    }
    KVG_LOG_INFO(LOG_DOMAIN, "REQUEST_ID", kvg_http_request_id(x), "refused: %s", message);
    kvg_caller_clear(caller);
    if (is_query_service(service))
        respond_xml(x, refusals[result].xml_status, service, refusals[result].xml_code, message);
    else
        respond_json(x, refusals[result].json_status, refusals[result].json_type, "message",
                     message);
    return false;
}

bool
kvg_auth_allows_tags(KvgServer *server,
                     const KvgCaller *caller,
                     const char *action,
                     const char *resource_arn,
                     const json_t *tags)
{
    return kvg_auth_decide(server, caller, action, resource_arn, tags) == KVG_POLICY_ALLOW;
}

bool
kvg_auth_allows(KvgServer *server,
                const KvgCaller *caller,
                const char *action,
                const char *resource_arn)
{
    return kvg_auth_allows_tags(server, caller, action, resource_arn, NULL);
}

void
kvg_auth_refuse(KvgHttpExchange *x,
                const KvgCaller *caller,
                const char *action,
                const char *resource)
{
    g_autofree char *message =
        g_strdup_printf("User: %s is not authorized to perform: %s on resource: %s",
                        caller->principal_arn, action, resource);
    g_autofree char *service = service_of(x);
    if (is_query_service(service))
        respond_xml(x, 403, service, "AccessDenied", message);
    else
        respond_json(x, 403, "AccessDeniedException", "Message", message);
}

bool
kvg_auth_require(KvgServer *server,
                 KvgHttpExchange *x,
                 const KvgCaller *caller,
                 const char *action,
                 const char *resource_arn)
{
    if (kvg_auth_allows(server, caller, action, resource_arn))
        return true;
    kvg_auth_refuse(x, caller, action, resource_arn);
    return false;
}

void
kvg_respond_error(KvgHttpExchange *x, int status, const char *type, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *message = g_strdup_vprintf(format, args);
    va_end(args);
    respond_json(x, status, type, "Message", message);
}
