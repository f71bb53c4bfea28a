/* The KVS control plane's dispatcher: path to operation, authentication, validation, permission,
 * quotas, and the answer. What the operations do is in stream_calls.c and its neighbours. */
#include "server/control/call.h"

#include "base/clock.h"
#include "server/control/quotas.h"
#include <string.h>

#define MAX_BODY_BYTES 65536
#define NOT_FOUND "The requested stream is not found or not active."

void
kvg_control_fail(KvgControlCall *call, int status, const char *type, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_free(call->message);
    call->message = g_strdup_vprintf(format, args);
    va_end(args);
    call->status = status;
    call->type = type;
}

void
kvg_control_fail_argument(KvgControlCall *call, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    kvg_control_fail(call, 400, "InvalidArgumentException", "%s", text);
}

void
kvg_control_fail_database(KvgControlCall *call)
{
    kvg_control_fail(call, 500, "InternalFailure",
                     "The state of the service could not be changed.");
}

bool
kvg_control_check_version(KvgControlCall *call)
{
    const char *version = kvg_json_get_string(call->input, "CurrentVersion");
    if (!version || strcmp(version, call->stream.version) == 0)
        return true;
    kvg_control_fail(call, 400, "VersionMismatchException",
                     "The stream version that you specified is not the latest version.");
    return false;
}

void
kvg_control_begin_change(KvgControlCall *call, const char *change)
{
    if (!kvg_stream_begin_change(call->db, call->stream.arn, change,
                                 call->now_ms + call->server->change_ms))
        kvg_control_fail_database(call);
}

bool
kvg_control_read_token(KvgControlCall *call, char **after)
{
    const char *token = kvg_json_get_string(call->input, "NextToken");
    *after = g_strdup("");
    if (!token || !*token)
        return true;
    gsize len = 0;
    g_autofree guchar *bytes = g_base64_decode(token, &len);
    g_autofree char *again = g_base64_encode(bytes, len);
    if (len == 0 || len > 256 || memchr(bytes, '\0', len) || strcmp(again, token) != 0) {
        kvg_control_fail_argument(call, "Invalid NextToken.");
        return false;
    }
    g_free(*after);
    *after = g_strndup((const char *)bytes, len);
    return true;
}

json_t *
kvg_control_write_token(const char *last)
{
    g_autofree char *token = last ? g_base64_encode((const guchar *)last, strlen(last)) : NULL;
    return token ? json_string(token) : json_null();
}

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

static bool
is_host(const char *host)
{
    return host && *host && strlen(host) <= 255 && strspn(host, LETTERS ".-:[]_") == strlen(host);
}

char *
kvg_control_own_url(KvgHttpExchange *x)
{
    const char *scheme = kvg_http_is_tls(x) ? "https" : "http";
    const uint16_t port = kvg_http_local_port(x);
    const char *header = kvg_http_header(x, "host");
    const char *host = is_host(header) ? header : "127.0.0.1";
    const char *after_address = strrchr(host, ']');
    const bool has_port = strchr(after_address ? after_address : host, ':') != NULL;
    const bool is_default = port == (kvg_http_is_tls(x) ? 443 : 80);
    /* Some producers leave the port out of Host; the URL must still lead back here. */
    return has_port || is_default ? g_strdup_printf("%s://%s", scheme, host)
                                  : g_strdup_printf("%s://%s:%u", scheme, host, port);
}

/* ---- what the call is about ---- */

typedef struct {
    const char *name, *arn; /* as the caller gave them; NULL */
    bool is_stream;         /* one of this service: looked up */
} Target;

static Target
target_of(const KvgControlOperation *operation, const json_t *input)
{
    switch (operation->target) {
    case KVG_TARGET_NEW:
        return (Target){kvg_json_get_string(input, "StreamName"), NULL, false};
    case KVG_TARGET_STREAM:
        return (Target){kvg_json_get_string(input, "StreamName"),
                        kvg_json_get_string(input, "StreamARN"), true};
    case KVG_TARGET_RESOURCE:
        return (Target){NULL, kvg_json_get_string(input, "ResourceARN"), true};
    case KVG_TARGET_CHANNEL:
        return (Target){kvg_json_get_string(input, "ChannelName"),
                        kvg_json_get_string(input, "ChannelARN"), false};
    case KVG_TARGET_NONE:
    default:
        return (Target){0};
    }
}

static bool
check_target(KvgControlCall *call, const KvgControlOperation *operation, const Target *target)
{
    if (operation->target == KVG_TARGET_NONE)
        return true;
    if (!target->name && !target->arn) {
        const char *kind = operation->target == KVG_TARGET_CHANNEL ? "Channel" : "Stream";
        kvg_control_fail_argument(call, "Either %sName or %sARN must be given.", kind, kind);
        return false;
    }
    g_autofree char *ignored = NULL;
    g_autoptr(json_t) arn = target->arn ? json_string(target->arn) : NULL;
    if (!operation->checks_arn_form || !arn ||
        kvg_shape_check(&kvg_shape_arn, arn, &ignored) == KVG_SHAPE_FITS)
        return true;
    kvg_control_fail(call, 400, "InvalidResourceFormatException",
                     "The format of the StreamARN is invalid.");
    return false;
}

/* What policies are asked about: the stream, or for a name that has none, all of that name. */
static char *
resource_of(const KvgControlCall *call, const KvgControlOperation *operation, const Target *target)
{
    const char *kind = operation->target == KVG_TARGET_CHANNEL ? "channel" : "stream";
    if (call->stream.arn)
        return g_strdup(call->stream.arn);
    if (target->arn)
        return g_strdup(target->arn);
    if (!target->name)
        return g_strdup("*");
    return g_strdup_printf("arn:aws:kinesisvideo:%s:%s:%s/%s/*", call->server->region,
                           call->server->account, kind, target->name);
}

/* The tags a request brings, as a map; NULL. (json_decref) */
static json_t *
request_tags(const json_t *input)
{
    json_t *tags = json_object_get(input, "Tags");
    if (json_is_object(tags))
        return json_incref(tags);
    if (!json_is_array(tags))
        return NULL;
    json_t *map = json_object();
    for (size_t i = 0; i < json_array_size(tags); i++) {
        const json_t *tag = json_array_get(tags, i);
        json_object_set(map, kvg_json_get_string(tag, "Key"), json_object_get(tag, "Value"));
    }
    return map;
}

/* A refusal names the bare stream if the name leads nowhere. */
static bool
check_permission(KvgControlCall *call,
                 const KvgControlOperation *operation,
                 const KvgCaller *caller,
                 const Target *target)
{
    g_autofree char *action = g_strdup_printf("kinesisvideo:%s", operation->name);
    g_autofree char *resource = resource_of(call, operation, target);
    g_autoptr(json_t) tags = request_tags(call->input);
    if (kvg_auth_allows_tags(call->server, caller, action, resource, tags))
        return true;
    const bool is_unknown =
        target->name && !call->stream.arn && operation->target != KVG_TARGET_NEW;
    kvg_auth_refuse(call->x, caller, action, is_unknown ? target->name : resource);
    return false;
}

static bool
check_quota(KvgControlCall *call, const KvgControlOperation *operation)
{
    if (kvg_quotas_take(call->server->quotas, operation->name, operation->per_account,
                        call->stream.arn, operation->per_stream, kvg_clock_mono_us()))
        return true;
    kvg_control_fail(call, 400, "ClientLimitExceededException",
                     "Limit exceeded on number of requests for %s API for resource '%s'",
                     operation->name, call->stream.name ? call->stream.name : "*");
    return false;
}

static void
find_stream(KvgControlCall *call, const Target *target)
{
    call->now_ms = kvg_clock_wall_ms();
    kvg_stream_finish_deletions(call->db, call->now_ms);
    kvg_stream_info_clear(&call->stream);
    if (target->is_stream)
        kvg_stream_find(call->db, target->name, target->arn, call->now_ms, &call->stream);
}

static bool
check_stream(KvgControlCall *call, const KvgControlOperation *operation)
{
    if (operation->target == KVG_TARGET_NONE || operation->target == KVG_TARGET_NEW)
        return true;
    if (!call->stream.arn) {
        kvg_control_fail(call, 404, "ResourceNotFoundException", "%s",
                         operation->target == KVG_TARGET_CHANNEL
                             ? "The requested channel is not found or not active."
                             : NOT_FOUND);
        return false;
    }
    if (!operation->is_change || strcmp(call->stream.status, "ACTIVE") == 0)
        return true;
    kvg_control_fail(call, 400, "ResourceInUseException",
                     "The stream %s is not in ACTIVE status: it is %s.", call->stream.name,
                     call->stream.status);
    return false;
}

/* An operation that fails half-way leaves nothing behind. A stream that was made anew since the
 * caller's rights were looked at is not the one they are for. */
static void
run_locked(KvgControlCall *call, const KvgControlOperation *operation, const Target *target)
{
    g_autofree char *permitted = g_strdup(call->stream.arn);
    call->db = kvg_state_lock(call->server->state);
    sqlite3_exec(call->db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    find_stream(call, target);
    if (g_strcmp0(permitted, call->stream.arn) != 0)
        kvg_stream_info_clear(&call->stream);
    if (check_stream(call, operation) && check_quota(call, operation))
        operation->run(call);
    if (call->type)
        sqlite3_exec(call->db, "ROLLBACK", NULL, NULL, NULL);
    else if (sqlite3_exec(call->db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK) {
        kvg_control_fail_database(call);
        sqlite3_exec(call->db, "ROLLBACK", NULL, NULL, NULL);
    }
    kvg_state_unlock(call->server->state);
}

static void
answer(const KvgControlCall *call)
{
    if (call->type) {
        kvg_respond_error(call->x, call->status, call->type, "%s", call->message);
        return;
    }
    g_autofree char *text = call->output ? kvg_json_to_text(call->output) : g_strdup("{}");
    kvg_http_respond_json(call->x, 200, text);
}

static bool
validate(KvgControlCall *call, const KvgControlOperation *operation)
{
    g_autofree char *message = NULL;
    switch (kvg_shape_check(operation->input, call->input, &message)) {
    case KVG_SHAPE_FITS:
        return true;
    case KVG_SHAPE_WRONG_TYPE:
        kvg_control_fail(call, 400, "SerializationException", "%s", message);
        return false;
    case KVG_SHAPE_VIOLATED:
    default:
        kvg_control_fail_argument(call, "%s", message);
        return false;
    }
}

static void
perform(KvgControlCall *call, const KvgControlOperation *operation, const KvgCaller *caller)
{
    const Target target = target_of(operation, call->input);
    if (!validate(call, operation) || !check_target(call, operation, &target)) {
        answer(call);
        return;
    }
    call->db = kvg_state_lock(call->server->state);
    find_stream(call, &target);
    kvg_state_unlock(call->server->state);
    if (!check_permission(call, operation, caller, &target))
        return;
    run_locked(call, operation, &target);
    answer(call);
}

static const KvgControlOperation *
find_operation(const char *path)
{
    const KvgControlOperation *const tables[] = {kvg_control_streams, kvg_control_tags,
                                                 kvg_control_configurations, kvg_control_edge};
    for (size_t i = 0; i < G_N_ELEMENTS(tables); i++)
        for (const KvgControlOperation *operation = tables[i]; operation->name; operation++)
            if (strcmp(operation->path, path) == 0)
                return operation;
    return NULL;
}

const char *
kvg_control_operation_name(const char *path)
{
    const KvgControlOperation *operation = find_operation(path);
    return operation ? operation->name : NULL;
}

void
kvg_control_handle(KvgServer *server, KvgHttpExchange *x)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) body = kvg_http_read_all(x, MAX_BODY_BYTES, &error);
    if (!body) {
        kvg_respond_error(x, 400, "InvalidArgumentException",
                          "The request body is too large or incomplete.");
        return;
    }
    const KvgControlOperation *operation = find_operation(kvg_http_path(x));
    if (!operation || strcmp(kvg_http_method(x), "POST") != 0) {
        kvg_respond_error(x, 404, "UnknownOperationException", "There is no such operation.");
        return;
    }
    g_auto(KvgCaller) caller = {0};
    if (!kvg_auth_verify(server, x, body, &caller))
        return;
    gsize len;
    const char *text = g_bytes_get_data(body, &len);
    g_autoptr(json_t) input = len > 0 ? kvg_json_parse_object(text, len, &error) : json_object();
    if (!input) {
        kvg_respond_error(x, 400, "SerializationException", "%s", error->message);
        return;
    }
    KvgControlCall call = {.server = server, .x = x, .input = input};
    perform(&call, operation, &caller);
    kvg_stream_info_clear(&call.stream);
    json_decref(call.output);
    g_free(call.message);
}
