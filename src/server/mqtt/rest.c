/* The data endpoint of AWS IoT by HTTPS: shadows and publishing, with a signature or with a client
 * certificate. */
#include "server/mqtt/rest.h"
#include "base/clock.h"
#include "base/text.h"
#include "server/iot/grant.h"
#include <string.h>

#define MAX_PAYLOAD (128u * 1024)
#define MAX_TOPIC_BYTES 256
#define MAX_TOPIC_SLASHES 7
#define DEFAULT_PAGE 25
#define MAX_PAGE 100
#define THINGS "/things/"
#define SHADOW "/shadow"
#define TOPICS "/topics/"
#define NAMED "/api/things/shadow/ListNamedShadowsForThing/"

/* Who calls: exactly one of the two. */
typedef struct {
    const KvgCaller *caller;
    const KvgIotGrant *grant;
} Who;

typedef struct {
    KvgServer *server;
    KvgMqtt *mqtt;
    KvgHttpExchange *x;
    Who who;
    GBytes *body;
} Call;

static void
answer_error(KvgHttpExchange *x, int status, const char *message)
{
    static const struct {
        int status;
        const char *type;
    } types[] = {
        {400, "InvalidRequestException"},
        {401, "UnauthorizedException"},
        {403, "ForbiddenException"},
        {404, "ResourceNotFoundException"},
        {405, "MethodNotAllowedException"},
        {409, "ConflictException"},
        {413, "RequestEntityTooLargeException"},
        {415, "UnsupportedDocumentEncodingException"},
        {429, "ThrottlingException"},
        {503, "ServiceUnavailableException"},
    };
    const char *type = "InternalFailureException";
    for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
        if (types[i].status == status)
            type = types[i].type;
    }
    g_autoptr(json_t) json = json_pack("{s:s}", "message", message);
    g_autofree char *body = kvg_json_to_text(json);
    const KvgHeader headers[] = {{"Content-Type", "application/json"}, {"x-amzn-ErrorType", type}};
    kvg_http_respond(x, status, headers, G_N_ELEMENTS(headers), body, strlen(body));
}

static void
answer_json(KvgHttpExchange *x, const json_t *json)
{
    g_autofree char *body = kvg_json_to_text(json);
    kvg_http_respond_json(x, 200, body);
}

/* @path under arn:aws:iot:REGION:ACCOUNT. Answers 403 itself. */
static bool
require(const Call *call, const char *action, const char *path)
{
    g_autofree char *arn = strcmp(path, "*") == 0
                               ? g_strdup(path)
                               : g_strdup_printf("arn:aws:iot:%s:%s:%s", call->server->region,
                                                 call->server->account, path);
    if (call->who.grant != NULL ? kvg_iot_grant_allows(call->who.grant, action, arn)
                                : kvg_auth_allows(call->server, call->who.caller, action, arn))
        return true;
    answer_error(call->x, 403, "Forbidden");
    return false;
}

/* ---- shadows ---- */

static void
handle_shadow(const Call *call, const KvgShadowId *id)
{
    static const struct {
        const char *method, *action;
        KvgShadowVerb verb;
    } verbs[] = {
        {"GET", "iot:GetThingShadow", KVG_SHADOW_GET},
        {"POST", "iot:UpdateThingShadow", KVG_SHADOW_UPDATE},
        {"DELETE", "iot:DeleteThingShadow", KVG_SHADOW_DELETE},
    };
    size_t i = 0;
    while (i < G_N_ELEMENTS(verbs) && strcmp(verbs[i].method, kvg_http_method(call->x)) != 0)
        i++;
    if (i == G_N_ELEMENTS(verbs)) {
        answer_error(call->x, 405, "Method not allowed");
        return;
    }
    g_autofree char *path = g_strdup_printf("thing/%s%s%s", id->thing, id->name != NULL ? "/" : "",
                                            id->name != NULL ? id->name : "");
    if (!require(call, verbs[i].action, path))
        return;
    const bool is_update = verbs[i].verb == KVG_SHADOW_UPDATE;
    size_t len = 0;
    const void *payload = is_update ? g_bytes_get_data(call->body, &len) : "";
    g_auto(KvgShadowReply) reply = {0};
    kvg_shadow_perform(call->server, id, verbs[i].verb, payload != NULL ? payload : "", len,
                       kvg_clock_wall_ms(), &reply);
    if (reply.code != 200) {
        answer_error(call->x, reply.code, reply.message);
        return;
    }
    answer_json(call->x, reply.answer);
    /* Listeners hear of changes; who only reads, and who is refused, is told by HTTP alone. */
    if (verbs[i].verb != KVG_SHADOW_GET)
        kvg_mqtt_tell(call->mqtt, id, verbs[i].verb, &reply);
}

static void
handle_named(const Call *call, const char *thing)
{
    g_autofree char *size = kvg_http_query_param(call->x, "pageSize");
    g_autofree char *after = kvg_http_query_param(call->x, "nextToken");
    guint64 limit = DEFAULT_PAGE;
    if (size != NULL && !g_ascii_string_to_unsigned(size, 10, 1, MAX_PAGE, &limit, NULL)) {
        answer_error(call->x, 400, "pageSize must be between 1 and 100");
        return;
    }
    if (!require(call, "iot:ListNamedShadowsForThing", "*"))
        return;
    g_autoptr(json_t) names =
        kvg_shadow_list(call->server, thing, after != NULL ? after : "", (int64_t)limit);
    g_autoptr(json_t) reply = json_pack("{s:O, s:I}", "results", names, "timestamp",
                                        (json_int_t)(kvg_clock_wall_ms() / 1000));
    if (json_array_size(names) > limit) {
        json_array_remove(names, limit);
        json_object_set(reply, "nextToken", json_array_get(names, limit - 1));
    }
    answer_json(call->x, reply);
}

/* ---- publishing ---- */

static bool
is_topic(const char *topic)
{
    size_t slashes = 0;
    for (const char *at = topic; *at != '\0'; at++)
        slashes += *at == '/';
    return *topic != '\0' && strlen(topic) <= MAX_TOPIC_BYTES && slashes <= MAX_TOPIC_SLASHES &&
           strpbrk(topic, "+#") == NULL && topic[0] != '$' && g_utf8_validate(topic, -1, NULL);
}

static void
handle_topic(const Call *call, const char *topic)
{
    if (strcmp(kvg_http_method(call->x), "POST") != 0) {
        answer_error(call->x, 405, "Method not allowed");
        return;
    }
    g_autofree char *qos = kvg_http_query_param(call->x, "qos");
    g_autofree char *retain = kvg_http_query_param(call->x, "retain");
    const bool is_retained = g_strcmp0(retain, "true") == 0;
    if (!is_topic(topic) || (qos != NULL && strcmp(qos, "0") != 0 && strcmp(qos, "1") != 0)) {
        answer_error(call->x, 400, "Invalid topic or qos");
        return;
    }
    g_autofree char *path = g_strdup_printf("topic/%s", topic);
    if (!require(call, "iot:Publish", path) ||
        (is_retained && !require(call, "iot:RetainPublish", path)))
        return;
    size_t len = 0;
    const void *payload = g_bytes_get_data(call->body, &len);
    if (call->mqtt == NULL || !kvg_mqtt_publish(call->mqtt, topic, payload, len,
                                                qos != NULL ? *qos - '0' : 0, is_retained)) {
        answer_error(call->x, 503, "The message broker is not running");
        return;
    }
    g_autoptr(json_t) reply =
        json_pack("{s:s, s:s}", "message", "OK", "traceId", kvg_http_request_id(call->x));
    answer_json(call->x, reply);
}

/* ---- routes ---- */

/* The decoded part of @path between @before and @after (g_free), or NULL. */
static char *
part_of(const char *path, const char *before, const char *after)
{
    const size_t len = strlen(path), fixed = strlen(before) + strlen(after);
    if (len <= fixed || !g_str_has_prefix(path, before) || !g_str_has_suffix(path, after))
        return NULL;
    return kvg_uri_unescape(path + strlen(before), len - fixed, false);
}

static void
route(const Call *call)
{
    const char *path = kvg_http_path(call->x);
    g_auto(KvgShadowId) id = {.thing = part_of(path, THINGS, SHADOW)};
    g_autofree char *thing = part_of(path, NAMED, "");
    g_autofree char *topic = part_of(path, TOPICS, "");
    if (id.thing != NULL) {
        id.name = kvg_http_query_param(call->x, "name");
        if (kvg_shadow_id_is_valid(&id))
            handle_shadow(call, &id);
        else
            answer_error(call->x, 400, "Invalid thing or shadow name");
    } else if (thing != NULL) {
        handle_named(call, thing);
    } else if (topic != NULL) {
        handle_topic(call, topic);
    } else {
        answer_error(call->x, 404, "No such path");
    }
}

bool
kvg_iot_data_is_path(const char *path)
{
    return g_str_has_prefix(path, THINGS) || g_str_has_prefix(path, TOPICS) ||
           g_str_has_prefix(path, NAMED);
}

static GBytes *
read_body(KvgHttpExchange *x)
{
    g_autoptr(GError) error = NULL;
    GBytes *body = kvg_http_read_all(x, MAX_PAYLOAD, &error);
    if (body == NULL)
        answer_error(x, 413, "The payload exceeds the maximum size allowed");
    return body;
}

void
kvg_iot_data_handle(KvgServer *server, KvgMqtt *mqtt, KvgHttpExchange *x)
{
    g_autoptr(GBytes) body = read_body(x);
    g_auto(KvgCaller) caller = {0};
    if (body == NULL || !kvg_auth_verify(server, x, body, &caller))
        return;
    route(
        &(Call){.server = server, .mqtt = mqtt, .x = x, .who = {.caller = &caller}, .body = body});
}

void
kvg_iot_data_handle_device(KvgServer *server, KvgMqtt *mqtt, KvgHttpExchange *x)
{
    g_autoptr(GBytes) body = read_body(x);
    if (body == NULL)
        return;
    X509 *certificate = kvg_http_peer_certificate(x);
    sqlite3 *db = kvg_state_lock(server->state);
    g_autoptr(KvgIotGrant) grant =
        kvg_iot_grant_new(db, certificate, NULL, kvg_http_peer_address(x), kvg_clock_wall_ms());
    kvg_state_unlock(server->state);
    if (grant == NULL) {
        answer_error(x, 403, "Forbidden");
        return;
    }
    route(&(Call){.server = server, .mqtt = mqtt, .x = x, .who = {.grant = grant}, .body = body});
}
