/* The KVS control plane: one function per operation, found by path. The dispatcher authenticates,
 * parses and answers; an operation only fills in its reply, with state.db locked. */
#include "server/control/streams.h"

#include "base/clock.h"
#include "base/text.h"
#include <kvg/error.h>
#include <string.h>

#define MAX_BODY_BYTES 65536
#define DEFAULT_PAGE 10000

typedef struct {
    KvgServer *server;
    KvgHttpExchange *x;
    sqlite3 *db;
    const json_t *input;
    KvgStreamInfo stream; /* of operations on a stream: it exists */
    json_t *output;
    int status; /* of the error */
    const char *type;
    char *message;
} Call;

typedef struct {
    const char *path;
    const char *action;
    void (*run)(Call *call);
    bool on_stream; /* names an existing stream by StreamName or StreamARN */
} Operation;

static void G_GNUC_PRINTF(4, 5)
    fail(Call *call, int status, const char *type, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_free(call->message);
    call->message = g_strdup_vprintf(format, args);
    va_end(args);
    call->status = status;
    call->type = type;
}

static void
fail_argument(Call *call, const char *name)
{
    fail(call, 400, "InvalidArgumentException", "The value of '%s' is missing or not valid.", name);
}

static void
fail_database(Call *call)
{
    fail(call, 500, "InternalFailure", "The state of the service could not be changed.");
}

/* Absent or null is fine; else a text of 1..max characters out of @allowed (NULL: any). */
static bool
read_text(Call *call, const char *key, size_t max, const char *allowed, const char **text)
{
    const json_t *member = json_object_get(call->input, key);
    *text = json_string_value(member);
    if (!member || json_is_null(member))
        return true;
    const size_t len = *text ? strlen(*text) : 0;
    if (len >= 1 && len <= max && (!allowed || strspn(*text, allowed) == len))
        return true;
    fail_argument(call, key);
    return false;
}

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
#define NAME_SET LETTERS "_.-"

/* type/subtype(,type/subtype)* */
static bool
is_media_type(const char *text)
{
    g_auto(GStrv) types = g_strsplit(text, ",", -1);
    for (char **type = types; *type; type++) {
        const size_t major = strspn(*type, NAME_SET "+");
        if (major == 0 || (*type)[major] != '/')
            return false;
        const char *minor = *type + major + 1;
        if (!*minor || strspn(minor, NAME_SET "+") != strlen(minor))
            return false;
    }
    return true;
}

static bool
read_media_type(Call *call, const char **text)
{
    if (!read_text(call, "MediaType", 128, NULL, text))
        return false;
    if (!*text || is_media_type(*text))
        return true;
    fail_argument(call, "MediaType");
    return false;
}

static bool
read_hours(Call *call, const char *key, int64_t least, int64_t fallback, int64_t *hours)
{
    const json_t *member = json_object_get(call->input, key);
    *hours = kvg_json_get_int(call->input, key, fallback);
    const bool is_absent = !member || json_is_null(member);
    if ((is_absent || json_is_integer(member)) && *hours >= least &&
        *hours <= KVG_MAX_RETENTION_HOURS)
        return true;
    fail_argument(call, key);
    return false;
}

static bool
set_tags(Call *call, const char *arn, const json_t *tags)
{
    const char *key;
    json_t *value;
    if (!json_is_object(tags) || json_object_size(tags) < 1 ||
        json_object_size(tags) > KVG_MAX_TAGS) {
        fail_argument(call, "Tags");
        return false;
    }
    json_object_foreach((json_t *)(uintptr_t)tags, key, value)
    {
        const char *text = json_string_value(value);
        if (!*key || strlen(key) > 512 || !text || strlen(text) > 1024 ||
            g_str_has_prefix(key, "aws:")) {
            fail_argument(call, "Tags");
            return false;
        }
        if (kvg_sql_run(call->db,
                        "INSERT OR REPLACE INTO stream_tag (arn, key, value)"
                        " VALUES (?1, ?2, ?3)",
                        "ttt", arn, key, text) < 0) {
            fail_database(call);
            return false;
        }
    }
    const int64_t n =
        kvg_sql_int(call->db, 0, "SELECT count(*) FROM stream_tag WHERE arn = ?1", "t", arn);
    if (n > KVG_MAX_TAGS)
        fail(call, 400, "TagsPerResourceExceededLimitException", "A stream has at most 50 tags.");
    return n <= KVG_MAX_TAGS;
}

static void
run_create(Call *call)
{
    const char *name = kvg_json_get_string(call->input, "StreamName");
    const char *device, *media_type, *kms;
    int64_t hours;
    if (!name || !kvg_name_is_stream(name)) {
        fail_argument(call, "StreamName");
        return;
    }
    if (!read_text(call, "DeviceName", 128, NAME_SET, &device) ||
        !read_media_type(call, &media_type) || !read_text(call, "KmsKeyId", 2048, NULL, &kms) ||
        !read_hours(call, "DataRetentionInHours", 0, 0, &hours))
        return;
    g_auto(KvgStreamInfo) existing = {0};
    if (kvg_stream_find(call->db, name, NULL, &existing)) {
        fail(call, 400, "ResourceInUseException", "The stream %s already exists.", name);
        return;
    }
    const int64_t now_ms = kvg_clock_wall_ms();
    g_autofree char *version = kvg_stream_new_version();
    g_autofree char *arn =
        g_strdup_printf("arn:aws:kinesisvideo:%s:%s:stream/%s/%" G_GINT64_FORMAT,
                        call->server->region, call->server->account, name, now_ms);
    if (kvg_sql_run(call->db,
                    "INSERT INTO stream (" KVG_STREAM_COLUMNS
                    ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                    "ttttttii", name, arn, version, media_type, device, kms, now_ms, hours) < 1) {
        fail_database(call);
        return;
    }
    const json_t *tags = json_object_get(call->input, "Tags");
    if (tags && !json_is_null(tags) && !set_tags(call, arn, tags))
        return;
    call->output = json_pack("{s:s}", "StreamARN", arn);
}

static json_t *
info_to_json(const KvgServer *server, const KvgStreamInfo *info)
{
    g_autofree char *kms = info->kms_key_id
                               ? g_strdup(info->kms_key_id)
                               : g_strdup_printf("arn:aws:kms:%s:%s:alias/aws/kinesisvideo",
                                                 server->region, server->account);
    return json_pack("{s:f, s:I, s:s?, s:n, s:s, s:s?, s:s, s:s, s:s, s:s}", "CreationTime",
                     (double)info->created_ms / 1000.0, "DataRetentionInHours",
                     (json_int_t)info->retention_hours, "DeviceName", info->device_name,
                     "IngestionConfiguration", "KmsKeyId", kms, "MediaType", info->media_type,
                     "Status", info->status, "StreamARN", info->arn, "StreamName", info->name,
                     "Version", info->version);
}

static void
run_describe(Call *call)
{
    call->output = json_pack("{s:o}", "StreamInfo", info_to_json(call->server, &call->stream));
}

/* NextToken is the last name of the page before, in base64. */
static char *
token_to_name(const char *token)
{
    gsize len = 0;
    g_autofree guchar *bytes = token && *token ? g_base64_decode(token, &len) : NULL;
    return bytes && len > 0 && len <= 256 ? g_strndup((const char *)bytes, len) : NULL;
}

static bool
read_condition(Call *call, const char **prefix)
{
    *prefix = "";
    const json_t *condition = json_object_get(call->input, "StreamNameCondition");
    if (!condition || json_is_null(condition))
        return true;
    const char *operator= kvg_json_get_string(condition, "ComparisonOperator");
    const char *value = kvg_json_get_string(condition, "ComparisonValue");
    const bool is_valid =
        (!operator|| strcmp(operator, "BEGINS_WITH") == 0) && (!value || strlen(value) <= 256);
    if (!is_valid)
        fail_argument(call, "StreamNameCondition");
    *prefix = value ? value : "";
    return is_valid;
}

static void
run_list(Call *call)
{
    const int64_t max = kvg_json_get_int(call->input, "MaxResults", DEFAULT_PAGE);
    const char *token = kvg_json_get_string(call->input, "NextToken");
    g_autofree char *after = token_to_name(token);
    const char *prefix;
    if (!read_condition(call, &prefix))
        return;
    if (max < 1 || max > DEFAULT_PAGE || (token && *token && !after)) {
        fail_argument(call, max < 1 || max > DEFAULT_PAGE ? "MaxResults" : "NextToken");
        return;
    }
    g_auto(KvgStatement) rows =
        kvg_sql_query(call->db,
                      "SELECT " KVG_STREAM_COLUMNS " FROM stream WHERE name > ?1"
                      " AND substr(name, 1, length(?2)) = ?2 ORDER BY name LIMIT ?3",
                      "tti", after ? after : "", prefix, max + 1);
    json_t *list = json_array();
    g_autofree char *next = NULL;
    g_autofree char *last = NULL;
    while (kvg_sql_step(rows)) {
        if ((int64_t)json_array_size(list) == max) {
            next = g_base64_encode((const guchar *)last, strlen(last));
            break;
        }
        g_auto(KvgStreamInfo) info = {0};
        kvg_stream_from_row(rows, &info);
        json_array_append_new(list, info_to_json(call->server, &info));
        g_free(last);
        last = g_strdup(info.name);
    }
    call->output = json_pack("{s:o, s:s?}", "StreamInfoList", list, "NextToken", next);
}

static bool
check_version(Call *call, bool is_required)
{
    const char *version = kvg_json_get_string(call->input, "CurrentVersion");
    if (!version && is_required) {
        fail_argument(call, "CurrentVersion");
        return false;
    }
    if (!version || strcmp(version, call->stream.version) == 0)
        return true;
    fail(call, 400, "VersionMismatchException",
         "The stream version that you specified is not the latest version.");
    return false;
}

static void
run_delete(Call *call)
{
    if (!json_is_string(json_object_get(call->input, "StreamARN")))
        fail_argument(call, "StreamARN");
    else if (check_version(call, false) && !kvg_stream_delete(call->db, call->stream.arn))
        fail_database(call);
}

static void
run_update(Call *call)
{
    const char *device, *media_type;
    if (!check_version(call, true) || !read_text(call, "DeviceName", 128, NAME_SET, &device) ||
        !read_media_type(call, &media_type))
        return;
    g_autofree char *version = kvg_stream_new_version();
    if (kvg_sql_run(call->db,
                    "UPDATE stream SET version = ?2, device_name = coalesce(?3, device_name),"
                    " media_type = coalesce(?4, media_type) WHERE arn = ?1",
                    "tttt", call->stream.arn, version, device, media_type) < 1)
        fail_database(call);
}

static void
run_update_retention(Call *call)
{
    const char *operation = kvg_json_get_string(call->input, "Operation");
    int64_t change;
    if (!check_version(call, true) ||
        !read_hours(call, "DataRetentionChangeInHours", 1, 0, &change))
        return;
    const bool is_increase = g_strcmp0(operation, "INCREASE_DATA_RETENTION") == 0;
    if (!is_increase && g_strcmp0(operation, "DECREASE_DATA_RETENTION") != 0) {
        fail_argument(call, "Operation");
        return;
    }
    const int64_t hours = call->stream.retention_hours + (is_increase ? change : -change);
    if (hours < 0 || hours > KVG_MAX_RETENTION_HOURS) {
        fail_argument(call, "DataRetentionChangeInHours");
        return;
    }
    g_autofree char *version = kvg_stream_new_version();
    if (kvg_sql_run(call->db, "UPDATE stream SET version = ?2, retention_hours = ?3 WHERE arn = ?1",
                    "tti", call->stream.arn, version, hours) < 1)
        fail_database(call);
}

static void
run_get_endpoint(Call *call)
{
    static const char *const apis[] = {
        "PUT_MEDIA",
        "GET_MEDIA",
        "LIST_FRAGMENTS",
        "GET_MEDIA_FOR_FRAGMENT_LIST",
        "GET_HLS_STREAMING_SESSION_URL",
        "GET_DASH_STREAMING_SESSION_URL",
        "GET_CLIP",
        "GET_IMAGES",
        NULL,
    };
    const char *api = kvg_json_get_string(call->input, "APIName");
    if (!api || !g_strv_contains(apis, api)) {
        fail_argument(call, "APIName");
        return;
    }
    g_autofree char *url = kvg_control_own_url(call->x);
    call->output = json_pack("{s:s}", "DataEndpoint", url);
}

static void
run_tag(Call *call)
{
    set_tags(call, call->stream.arn, json_object_get(call->input, "Tags"));
}

static void
run_untag(Call *call)
{
    const json_t *keys = json_object_get(call->input, "TagKeyList");
    if (!json_is_array(keys) || json_array_size(keys) < 1 || json_array_size(keys) > KVG_MAX_TAGS) {
        fail_argument(call, "TagKeyList");
        return;
    }
    for (size_t i = 0; i < json_array_size(keys); i++)
        if (kvg_sql_run(call->db, "DELETE FROM stream_tag WHERE arn = ?1 AND key = ?2", "tt",
                        call->stream.arn, json_string_value(json_array_get(keys, i))) < 0)
            fail_database(call);
}

static void
run_list_tags(Call *call)
{
    json_t *tags = json_object();
    g_auto(KvgStatement) rows = kvg_sql_query(
        call->db, "SELECT key, value FROM stream_tag WHERE arn = ?1", "t", call->stream.arn);
    while (kvg_sql_step(rows))
        json_object_set_new(tags, kvg_sql_column(rows, 0), json_string(kvg_sql_column(rows, 1)));
    call->output = json_pack("{s:o, s:n}", "Tags", tags, "NextToken");
}

static const Operation operations[] = {
    {"/createStream", "kinesisvideo:CreateStream", run_create, false},
    {"/describeStream", "kinesisvideo:DescribeStream", run_describe, true},
    {"/listStreams", "kinesisvideo:ListStreams", run_list, false},
    {"/updateStream", "kinesisvideo:UpdateStream", run_update, true},
    {"/updateDataRetention", "kinesisvideo:UpdateDataRetention", run_update_retention, true},
    {"/deleteStream", "kinesisvideo:DeleteStream", run_delete, true},
    {"/getDataEndpoint", "kinesisvideo:GetDataEndpoint", run_get_endpoint, true},
    {"/tagStream", "kinesisvideo:TagStream", run_tag, true},
    {"/untagStream", "kinesisvideo:UntagStream", run_untag, true},
    {"/listTagsForStream", "kinesisvideo:ListTagsForStream", run_list_tags, true},
};

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

/* What the policy is asked about: the stream, or for a name that has none, all of that name. */
static char *
resource_of(const KvgServer *server, const Call *call, const char *name, const char *arn)
{
    if (call->stream.arn)
        return g_strdup(call->stream.arn);
    if (arn)
        return g_strdup(arn);
    return g_strdup_printf("arn:aws:kinesisvideo:%s:%s:stream/%s/*", server->region,
                           server->account, name ? name : "*");
}

static bool
find_target(Call *call, const Operation *operation, const char *name, const char *arn)
{
    if (!operation->on_stream)
        return true;
    const bool is_named =
        (name || arn) && (!name || kvg_name_is_stream(name)) && (!arn || strlen(arn) <= 1024);
    if (!is_named) {
        fail_argument(call, "StreamName");
        return false;
    }
    kvg_stream_find(call->db, name, arn, &call->stream);
    return true;
}

static void
answer(Call *call)
{
    if (call->type) {
        kvg_respond_error(call->x, call->status, call->type, "%s", call->message);
        return;
    }
    g_autofree char *text = call->output ? kvg_json_to_text(call->output) : g_strdup("{}");
    kvg_http_respond_json(call->x, 200, text);
}

/* An operation that fails half-way leaves nothing behind. */
static void
run_locked(Call *call, const Operation *operation)
{
    call->db = kvg_state_lock(call->server->state);
    kvg_stream_info_clear(&call->stream);
    const char *name = kvg_json_get_string(call->input, "StreamName");
    const char *arn = kvg_json_get_string(call->input, "StreamARN");
    find_target(call, operation, name, arn);
    if (operation->on_stream && !call->type && !call->stream.arn)
        fail(call, 404, "ResourceNotFoundException",
             "The requested stream is not found or not active.");
    sqlite3_exec(call->db, "SAVEPOINT control", NULL, NULL, NULL);
    const bool is_own_transaction = operation->run == run_delete;
    if (is_own_transaction)
        sqlite3_exec(call->db, "RELEASE control", NULL, NULL, NULL);
    if (!call->type)
        operation->run(call);
    if (!is_own_transaction) {
        if (call->type)
            sqlite3_exec(call->db, "ROLLBACK TO control", NULL, NULL, NULL);
        if (sqlite3_exec(call->db, "RELEASE control", NULL, NULL, NULL) != SQLITE_OK && !call->type)
            fail_database(call);
    }
    kvg_state_unlock(call->server->state);
}

static void
run_operation(KvgServer *server,
              KvgHttpExchange *x,
              const KvgCaller *caller,
              const Operation *operation,
              json_t *input)
{
    Call call = {.server = server, .x = x, .input = input};
    const char *name = kvg_json_get_string(input, "StreamName");
    const char *arn = kvg_json_get_string(input, "StreamARN");
    call.db = kvg_state_lock(server->state);
    const bool is_named = find_target(&call, operation, name, arn);
    g_autofree char *resource = resource_of(server, &call, name, arn);
    kvg_state_unlock(server->state);
    if (!is_named)
        answer(&call);
    else if (kvg_auth_require(server, x, caller, operation->action, resource)) {
        run_locked(&call, operation);
        answer(&call);
    }
    kvg_stream_info_clear(&call.stream);
    json_decref(call.output);
    g_free(call.message);
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
    const Operation *operation = NULL;
    for (size_t i = 0; i < G_N_ELEMENTS(operations); i++)
        if (strcmp(operations[i].path, kvg_http_path(x)) == 0)
            operation = &operations[i];
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
    run_operation(server, x, &caller, operation, input);
}
