/* IAM and STS over HTTP: form-encoded calls, XML answers; and the helpers of query.h. */
#include "server/iam/query.h"

#include "base/clock.h"
#include "base/text.h"
#include <string.h>

#define MAX_BODY_BYTES (512 * 1024)
#define MAX_PARAMS 512
#define DEFAULT_ITEMS 100
#define MAX_ITEMS 1000
#define NAME_CHARS "_+=,.@-"

void
kvg_query_fail(KvgQuery *q, int status, const char *code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_free(q->message);
    q->status = status;
    q->code = code;
    q->message = g_strdup_vprintf(format, args);
    va_end(args);
}

void
kvg_query_broken(KvgQuery *q)
{
    kvg_query_fail(q, 500, "ServiceFailure", "The state of the service could not be changed.");
}

const char *
kvg_query_param(const KvgQuery *q, const char *name)
{
    return g_hash_table_lookup(q->params, name);
}

/* "RoleName" is called "roleName" in messages. */
static void
fail_constraint(KvgQuery *q, const char *parameter, const char *constraint)
{
    const char *value = kvg_query_param(q, parameter);
    g_autofree char *shown = value != NULL ? g_strdup_printf("'%.128s'", value) : g_strdup("null");
    g_autofree char *name = g_strdup(parameter);
    *name = g_ascii_tolower(*name);
    kvg_query_fail(q, 400, "ValidationError",
                   "1 validation error detected: Value %s at '%s' failed to satisfy constraint: %s",
                   shown, name, constraint);
}

bool
kvg_query_need_name(KvgQuery *q, const char *parameter, size_t max)
{
    const char *value = kvg_query_param(q, parameter);
    const size_t len = value != NULL ? strlen(value) : 0;
    g_autofree char *constraint = NULL;
    if (value == NULL)
        constraint = g_strdup("Member must not be null");
    else if (len < 1)
        constraint = g_strdup("Member must have length greater than or equal to 1");
    else if (len > max)
        constraint = g_strdup_printf("Member must have length less than or equal to %zu", max);
    if (constraint != NULL) {
        fail_constraint(q, parameter, constraint);
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if (g_ascii_isalnum(value[i]) || strchr(NAME_CHARS, value[i]) != NULL)
            continue;
        kvg_query_fail(q, 400, "ValidationError",
                       "The specified value for %c%s is invalid. It must contain only alphanumeric "
                       "characters and/or the following: +=,.@_-",
                       g_ascii_tolower(*parameter), parameter + 1);
        return false;
    }
    return true;
}

bool
kvg_query_number(
    KvgQuery *q, const char *parameter, int64_t min, int64_t max, int64_t fallback, int64_t *value)
{
    const char *text = kvg_query_param(q, parameter);
    *value = fallback;
    if (text == NULL)
        return true;
    gint64 number = 0;
    if (!g_ascii_string_to_signed(text, 10, G_MININT64, G_MAXINT64, &number, NULL)) {
        kvg_query_fail(q, 400, "MalformedInput", "%s is not a whole number", parameter);
        return false;
    }
    *value = number;
    if (number >= min && number <= max)
        return true;
    g_autofree char *constraint =
        g_strdup_printf("Member must have value %s than or equal to %d",
                        number < min ? "greater" : "less", (int)(number < min ? min : max));
    fail_constraint(q, parameter, constraint);
    return false;
}

const char *
kvg_query_path(KvgQuery *q)
{
    const char *path = kvg_query_param(q, "Path");
    if (path == NULL)
        return "/";
    const size_t len = strlen(path);
    bool fits = len > 0 && len <= 512 && path[0] == '/' && path[len - 1] == '/';
    for (const char *at = path; fits && *at != '\0'; at++)
        fits = g_ascii_isgraph(*at);
    if (fits)
        return path;
    kvg_query_fail(q, 400, "ValidationError",
                   "The specified value for path is invalid. It must begin and end with / and "
                   "contain only alphanumeric characters and/or / characters.");
    return NULL;
}

bool
kvg_query_need_policy(KvgQuery *q, const char *parameter, KvgPolicyKind kind)
{
    const char *document = kvg_query_param(q, parameter);
    if (document == NULL) {
        fail_constraint(q, parameter, "Member must not be null");
        return false;
    }
    g_autoptr(GError) error = NULL;
    g_autoptr(KvgPolicy) policy = kvg_policy_parse(document, kind, &error);
    if (policy != NULL)
        return true;
    kvg_query_fail(q, 400, "MalformedPolicyDocument", "%s", error->message);
    return false;
}

size_t
kvg_query_dense_length(const char *text)
{
    size_t n = 0;
    for (; *text != '\0'; text++)
        n += !g_ascii_isspace(*text);
    return n;
}

void
kvg_query_put(KvgQuery *q, const char *element, const char *text)
{
    g_autofree char *escaped = g_markup_escape_text(text, -1);
    g_string_append_printf(q->result, "<%s>%s</%s>", element, escaped, element);
}

void
kvg_query_put_document(KvgQuery *q, const char *element, const char *document)
{
    g_autofree char *escaped = kvg_uri_escape(document, false);
    kvg_query_put(q, element, escaped);
}

void
kvg_query_put_date(KvgQuery *q, const char *element, int64_t wall_ms)
{
    g_autofree char *date = kvg_format_iso8601(wall_ms, false);
    kvg_query_put(q, element, date);
}

bool
kvg_query_page(KvgQuery *q, char **after, int64_t *max)
{
    const char *marker = kvg_query_param(q, "Marker");
    *after = NULL;
    if (!kvg_query_number(q, "MaxItems", 1, MAX_ITEMS, DEFAULT_ITEMS, max))
        return false;
    gsize len = 0;
    g_autofree guchar *bytes = marker != NULL ? g_base64_decode(marker, &len) : NULL;
    if (marker != NULL && (len == 0 || len > 128 || memchr(bytes, '\0', len) != NULL)) {
        kvg_query_fail(q, 400, "ValidationError", "Invalid Marker.");
        return false;
    }
    *after = bytes != NULL ? g_strndup((const char *)bytes, len) : g_strdup("");
    return true;
}

void
kvg_query_list(KvgQuery *q,
               KvgStatement rows,
               int64_t max,
               const char *element,
               void (*put)(KvgQuery *q, KvgStatement row))
{
    g_autofree char *last = NULL;
    bool is_truncated = false;
    g_string_append_printf(q->result, "<%s>", element);
    for (int64_t n = 0; kvg_sql_step(rows); n++) {
        is_truncated = n == max;
        if (is_truncated)
            break;
        g_string_append(q->result, "<member>");
        put(q, rows);
        g_string_append(q->result, "</member>");
        g_free(last);
        last = g_strdup(kvg_sql_column(rows, 0));
    }
    g_string_append_printf(q->result, "</%s>", element);
    kvg_query_put(q, "IsTruncated", is_truncated ? "true" : "false");
    if (!is_truncated)
        return;
    g_autofree char *marker = g_base64_encode((const guchar *)last, strlen(last));
    kvg_query_put(q, "Marker", marker);
}

char *
kvg_iam_arn(const KvgServer *server, const char *kind, const char *path, const char *name)
{
    return g_strdup_printf("arn:aws:iam::%s:%s%s%s", server->account, kind, path, name);
}

/* ---- HTTP ---- */

static GHashTable *
parse_form(const char *text)
{
    GHashTable *params = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    g_auto(GStrv) parts = g_strsplit(text, "&", MAX_PARAMS);
    for (char **part = parts; *part != NULL; part++) {
        const char *equals = strchr(*part, '=');
        if (equals == NULL)
            continue;
        g_autofree char *name = kvg_uri_unescape(*part, (size_t)(equals - *part), true);
        g_autofree char *value = kvg_uri_unescape(equals + 1, strlen(equals + 1), true);
        if (name != NULL && value != NULL && g_utf8_validate(value, -1, NULL))
            g_hash_table_replace(params, g_steal_pointer(&name), g_steal_pointer(&value));
    }
    return params;
}

/* A GET carries the call in its query, a POST in its body. */
static char *
form_text(KvgHttpExchange *x, GBytes *body)
{
    size_t len = 0;
    const char *data = g_bytes_get_data(body, &len);
    if (strcmp(kvg_http_method(x), "GET") != 0 && len > 0)
        return g_strndup(data, len);
    return g_strdup(kvg_http_query(x) != NULL ? kvg_http_query(x) : "");
}

static void
perform(KvgQuery *q, const KvgQueryOperation *operation)
{
    if (operation->is_unlocked) {
        operation->handle(q);
        return;
    }
    q->db = kvg_state_lock(q->server->state);
    kvg_sql_run(q->db, "BEGIN IMMEDIATE", "");
    operation->handle(q);
    if (kvg_sql_run(q->db, q->code == NULL ? "COMMIT" : "ROLLBACK", "") < 0)
        kvg_query_broken(q);
    if (sqlite3_get_autocommit(q->db) == 0)
        kvg_sql_run(q->db, "ROLLBACK", "");
    kvg_state_unlock(q->server->state);
}

/* The ARN a policy is asked about: with the path of the role or user, if there is one. */
static char *
resource_of(KvgQuery *q, const char *kind)
{
    if (kind == NULL)
        return g_strdup("*");
    const bool is_role = strcmp(kind, "role") == 0;
    const char *name = kvg_query_param(q, is_role ? "RoleName" : "UserName");
    if (name == NULL)
        name = is_role ? "" : q->caller->user_name;
    if (name == NULL)
        return g_strdup("*");
    g_autofree char *path = kvg_sql_text(kvg_state_lock(q->server->state),
                                         is_role ? "SELECT path FROM role WHERE name = ?1"
                                                 : "SELECT path FROM iam_user WHERE name = ?1",
                                         "t", name);
    kvg_state_unlock(q->server->state);
    const char *given = kvg_query_param(q, "Path");
    return kvg_iam_arn(q->server, kind, path != NULL ? path : given != NULL ? given : "/", name);
}

static bool
is_permitted(KvgQuery *q, const char *service, const KvgQueryOperation *operation)
{
    if (operation->is_free)
        return true;
    g_autofree char *action = g_strdup_printf("%s:%s", service, operation->name);
    g_autofree char *resource = resource_of(q, operation->resource);
    return kvg_auth_require(q->server, q->x, q->caller, action, resource);
}

static char *
error_text(const KvgQuery *q, const char *space)
{
    return g_markup_printf_escaped(
        "<ErrorResponse xmlns=\"%s\"><Error><Type>%s</Type><Code>%s</Code>"
        "<Message>%s</Message></Error><RequestId>%s</RequestId>"
        "</ErrorResponse>",
        space, q->status < 500 ? "Sender" : "Receiver", q->code, q->message,
        kvg_http_request_id(q->x));
}

static char *
result_text(const KvgQuery *q, const char *space, const char *operation)
{
    g_autofree char *result =
        q->result->len > 0
            ? g_strdup_printf("<%sResult>%s</%sResult>", operation, q->result->str, operation)
            : g_strdup("");
    return g_strdup_printf("<%sResponse xmlns=\"%s\">%s<ResponseMetadata><RequestId>%s</RequestId>"
                           "</ResponseMetadata></%sResponse>",
                           operation, space, result, kvg_http_request_id(q->x), operation);
}

static void
respond(KvgQuery *q, const char *service, const char *operation)
{
    const char *space = strcmp(service, "iam") == 0 ? "https://iam.amazonaws.com/doc/2010-05-08/"
                                                    : "https://sts.amazonaws.com/doc/2011-06-15/";
    const bool has_failed = q->code != NULL;
    g_autofree char *body = has_failed ? error_text(q, space) : result_text(q, space, operation);
    const KvgHeader headers[] = {{"Content-Type", "text/xml"}};
    kvg_http_respond(q->x, has_failed ? q->status : 200, headers, 1, body, strlen(body));
}

static const KvgQueryOperation *
find_operation(const char *service, const char *name)
{
    const bool is_iam = strcmp(service, "iam") == 0;
    const KvgQueryOperation *const tables[] = {is_iam ? kvg_iam_roles : kvg_sts_operations,
                                               is_iam ? kvg_iam_users : NULL};
    for (size_t i = 0; i < G_N_ELEMENTS(tables) && name != NULL && tables[i] != NULL; i++) {
        for (const KvgQueryOperation *operation = tables[i]; operation->name != NULL; operation++) {
            if (strcmp(operation->name, name) == 0)
                return operation;
        }
    }
    return NULL;
}

static void
query_clear(KvgQuery *q)
{
    g_hash_table_unref(q->params);
    g_string_free(q->result, true);
    g_free(q->message);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(KvgQuery, query_clear)

static bool
check_action(KvgQuery *q, const char *service, const KvgQueryOperation *operation)
{
    const char *name = kvg_query_param(q, "Action");
    const char *version = kvg_query_param(q, "Version");
    const char *known = strcmp(service, "iam") == 0 ? "2010-05-08" : "2011-06-15";
    if (name == NULL)
        kvg_query_fail(q, 400, "MissingAction", "Missing Action");
    else if (operation == NULL || g_strcmp0(version, known) != 0)
        kvg_query_fail(q, 400, "InvalidAction", "Could not find operation %.64s for version %.16s",
                       name, version != NULL ? version : "NO_VERSION_SPECIFIED");
    return q->code == NULL;
}

void
kvg_iam_handle(KvgServer *server, KvgHttpExchange *x)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) body = kvg_http_read_all(x, MAX_BODY_BYTES, &error);
    if (body == NULL) {
        kvg_respond_error(x, 400, "InvalidInput", "%s", error->message);
        return;
    }
    g_auto(KvgCaller) caller = {0};
    if (!kvg_auth_verify(server, x, body, &caller))
        return;
    g_autofree char *claimed = kvg_auth_claimed_service(x);
    const char *service = g_strcmp0(claimed, "sts") == 0 ? "sts" : "iam";
    g_autofree char *text = form_text(x, body);
    g_auto(KvgQuery) q = {.server = server,
                          .caller = &caller,
                          .x = x,
                          .params = parse_form(text),
                          .now_ms = kvg_clock_wall_ms(),
                          .result = g_string_new(NULL)};
    const KvgQueryOperation *operation = find_operation(service, kvg_query_param(&q, "Action"));
    if (check_action(&q, service, operation)) {
        if (!is_permitted(&q, service, operation))
            return;
        perform(&q, operation);
    }
    respond(&q, service, operation != NULL ? operation->name : "");
}
