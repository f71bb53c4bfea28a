/* IAM and STS: form-encoded calls, XML answers. Roles and their inline policies; who am I;
 * AssumeRole. */
#include "base/clock.h"
#include "base/text.h"
#include "server/auth/policy.h"
#include "server/auth/session.h"
#include "server/iot/call.h"
#include <string.h>

#define MAX_BODY_BYTES (512 * 1024)
#define MAX_PARAMS 256
#define MAX_TRUST_CHARS 2048
#define MAX_INLINE_CHARS 10240
#define NAME_CHARS "_+=,.@-"

typedef struct {
    KvgServer *server;
    const KvgCaller *caller;
    KvgHttpExchange *x;
    GHashTable *params;
    sqlite3 *db;
    GString *result; /* inside <OpResult> */
    /* on failure */
    int status;
    const char *code;
    char *message;
} Query;

typedef struct {
    const char *name;
    const char *service;
    bool on_role; /* the resource is the role's ARN */
    bool free;    /* needs no permission */
    bool unlocked;
    void (*handle)(Query *q);
} Operation;

static void fail(Query *q, int status, const char *code, const char *format, ...)
    G_GNUC_PRINTF(4, 5);

static void
fail(Query *q, int status, const char *code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_free(q->message);
    q->status = status;
    q->code = code;
    q->message = g_strdup_vprintf(format, args);
    va_end(args);
}

static const char *
param(const Query *q, const char *name)
{
    return g_hash_table_lookup(q->params, name);
}

static void
put(GString *out, const char *element, const char *text)
{
    g_autofree char *escaped = g_markup_escape_text(text, -1);
    g_string_append_printf(out, "<%s>%s</%s>", element, escaped, element);
}

/* Documents travel percent-encoded. */
static void
put_document(GString *out, const char *element, const char *document)
{
    g_autofree char *escaped = kvg_uri_escape(document, false);
    put(out, element, escaped);
}

static char *
role_arn(const KvgServer *server, const char *path, const char *name)
{
    return g_strdup_printf("arn:aws:iam::%s:role%s%s", server->account, path, name);
}

static bool
need_name(Query *q, const char *parameter, size_t max)
{
    if (kvg_iot_name_fits(param(q, parameter), max, NAME_CHARS))
        return true;
    fail(q, 400, "ValidationError",
         "The specified value for %s is invalid. It must contain only alphanumeric characters "
         "and/or the following: +=,.@_-",
         parameter);
    return false;
}

static bool
need_role(Query *q)
{
    if (!need_name(q, "RoleName", 64))
        return false;
    if (kvg_sql_int(q->db, 0, "SELECT 1 FROM role WHERE name = ?1", "t", param(q, "RoleName")) == 1)
        return true;
    fail(q, 404, "NoSuchEntity", "The role with name %s cannot be found.", param(q, "RoleName"));
    return false;
}

static size_t
dense_length(const char *text)
{
    size_t n = 0;
    for (; *text != '\0'; text++)
        n += !g_ascii_isspace(*text);
    return n;
}

static bool
need_policy(Query *q, const char *parameter, KvgPolicyKind kind)
{
    const char *document = param(q, parameter);
    g_autoptr(GError) error = NULL;
    g_autoptr(KvgPolicy) policy =
        document != NULL ? kvg_policy_parse(document, kind, &error) : NULL;
    if (policy == NULL) {
        fail(q, 400, "MalformedPolicyDocument", "%s",
             error != NULL ? error->message : "Syntax errors in policy.");
        return false;
    }
    if (kind == KVG_POLICY_TRUST && dense_length(document) > MAX_TRUST_CHARS) {
        fail(q, 409, "LimitExceeded", "Cannot exceed quota for ACLSizePerRole: %d",
             MAX_TRUST_CHARS);
        return false;
    }
    return true;
}

static void
put_role(Query *q, KvgStatement row)
{
    g_autofree char *arn = role_arn(q->server, kvg_sql_column(row, 2), kvg_sql_column(row, 0));
    g_autofree char *created = kvg_format_iso8601(sqlite3_column_int64(row, 6), false);
    put(q->result, "Path", kvg_sql_column(row, 2));
    put(q->result, "RoleName", kvg_sql_column(row, 0));
    put(q->result, "RoleId", kvg_sql_column(row, 1));
    put(q->result, "Arn", arn);
    put(q->result, "CreateDate", created);
    put_document(q->result, "AssumeRolePolicyDocument", kvg_sql_column(row, 4));
    if (*kvg_sql_column(row, 3) != '\0')
        put(q->result, "Description", kvg_sql_column(row, 3));
    g_string_append_printf(q->result, "<MaxSessionDuration>%d</MaxSessionDuration>",
                           sqlite3_column_int(row, 5));
}

#define ROLE_COLUMNS "name, role_id, path, description, trust, max_session_s, created_ms"

static void
get_role(Query *q)
{
    if (!need_role(q))
        return;
    g_auto(KvgStatement) row = kvg_sql_query(
        q->db, "SELECT " ROLE_COLUMNS " FROM role WHERE name = ?1", "t", param(q, "RoleName"));
    if (!kvg_sql_step(row)) {
        fail(q, 500, "ServiceFailure", "Internal failure");
        return;
    }
    g_string_append(q->result, "<Role>");
    put_role(q, row);
    g_string_append(q->result, "</Role>");
}

static bool
store_tags(Query *q)
{
    for (unsigned i = 1; i <= 50; i++) {
        g_autofree char *key_name = g_strdup_printf("Tags.member.%u.Key", i);
        g_autofree char *value_name = g_strdup_printf("Tags.member.%u.Value", i);
        const char *key = param(q, key_name), *value = param(q, value_name);
        if (key == NULL)
            return true;
        if (kvg_sql_run(q->db, "INSERT OR REPLACE INTO role_tag VALUES (?1, ?2, ?3)", "ttt",
                        param(q, "RoleName"), key, value != NULL ? value : "") < 0)
            return false;
    }
    return true;
}

static bool
path_fits(const char *path)
{
    const size_t len = strlen(path);
    if (len == 0 || len > 512 || path[0] != '/' || path[len - 1] != '/')
        return false;
    for (const char *at = path; *at != '\0'; at++) {
        if (!g_ascii_isgraph(*at))
            return false;
    }
    return true;
}

static void
create_role(Query *q)
{
    const char *path = param(q, "Path") != NULL ? param(q, "Path") : "/";
    const char *description = param(q, "Description");
    const char *max = param(q, "MaxSessionDuration");
    guint64 max_s = 3600;
    if (!need_name(q, "RoleName", 64) ||
        !need_policy(q, "AssumeRolePolicyDocument", KVG_POLICY_TRUST))
        return;
    if (!path_fits(path) || (description != NULL && strlen(description) > 1000) ||
        (max != NULL && !g_ascii_string_to_unsigned(max, 10, 3600, 43200, &max_s, NULL))) {
        fail(q, 400, "ValidationError", "Invalid Path, Description or MaxSessionDuration");
        return;
    }
    g_autofree char *id = kvg_random_id("AROA", 17);
    const int made =
        kvg_sql_run(q->db, "INSERT OR IGNORE INTO role VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                    "tttttii", param(q, "RoleName"), id, path, description,
                    param(q, "AssumeRolePolicyDocument"), (int64_t)max_s, kvg_clock_wall_ms());
    if (made == 0)
        fail(q, 409, "EntityAlreadyExists", "Role with name %s already exists.",
             param(q, "RoleName"));
    else if (made < 0 || !store_tags(q))
        fail(q, 500, "ServiceFailure", "Internal failure");
    else
        get_role(q);
}

static void
list_roles(Query *q)
{
    g_auto(KvgStatement) rows =
        kvg_sql_query(q->db, "SELECT " ROLE_COLUMNS " FROM role ORDER BY name LIMIT 1000", "");
    g_string_append(q->result, "<IsTruncated>false</IsTruncated><Roles>");
    while (kvg_sql_step(rows)) {
        g_string_append(q->result, "<member>");
        put_role(q, rows);
        g_string_append(q->result, "</member>");
    }
    g_string_append(q->result, "</Roles>");
}

static void
update_trust(Query *q)
{
    if (!need_role(q) || !need_policy(q, "PolicyDocument", KVG_POLICY_TRUST))
        return;
    if (kvg_sql_run(q->db, "UPDATE role SET trust = ?2 WHERE name = ?1", "tt", param(q, "RoleName"),
                    param(q, "PolicyDocument")) < 0)
        fail(q, 500, "ServiceFailure", "Internal failure");
}

static void
put_policy(Query *q)
{
    if (!need_role(q) || !need_name(q, "PolicyName", 128) ||
        !need_policy(q, "PolicyDocument", KVG_POLICY_IDENTITY))
        return;
    size_t total = dense_length(param(q, "PolicyDocument"));
    {
        g_auto(KvgStatement) rows =
            kvg_sql_query(q->db, "SELECT document FROM role_policy WHERE role = ?1 AND name <> ?2",
                          "tt", param(q, "RoleName"), param(q, "PolicyName"));
        while (kvg_sql_step(rows))
            total += dense_length(kvg_sql_column(rows, 0));
    }
    if (total > MAX_INLINE_CHARS) {
        fail(q, 409, "LimitExceeded", "Maximum policy size of %d bytes exceeded for role %s",
             MAX_INLINE_CHARS, param(q, "RoleName"));
        return;
    }
    if (kvg_sql_run(q->db, "INSERT OR REPLACE INTO role_policy VALUES (?1, ?2, ?3)", "ttt",
                    param(q, "RoleName"), param(q, "PolicyName"), param(q, "PolicyDocument")) < 0)
        fail(q, 500, "ServiceFailure", "Internal failure");
}

static void
get_policy(Query *q)
{
    if (!need_role(q) || !need_name(q, "PolicyName", 128))
        return;
    g_autofree char *document =
        kvg_sql_text(q->db, "SELECT document FROM role_policy WHERE role = ?1 AND name = ?2", "tt",
                     param(q, "RoleName"), param(q, "PolicyName"));
    if (document == NULL) {
        fail(q, 404, "NoSuchEntity", "The role policy with name %s cannot be found.",
             param(q, "PolicyName"));
        return;
    }
    put(q->result, "RoleName", param(q, "RoleName"));
    put(q->result, "PolicyName", param(q, "PolicyName"));
    put_document(q->result, "PolicyDocument", document);
}

static void
list_policies(Query *q)
{
    if (!need_role(q))
        return;
    g_auto(KvgStatement) rows =
        kvg_sql_query(q->db, "SELECT name FROM role_policy WHERE role = ?1 ORDER BY name", "t",
                      param(q, "RoleName"));
    g_string_append(q->result, "<IsTruncated>false</IsTruncated><PolicyNames>");
    while (kvg_sql_step(rows))
        put(q->result, "member", kvg_sql_column(rows, 0));
    g_string_append(q->result, "</PolicyNames>");
}

static void
list_attached(Query *q)
{
    if (need_role(q))
        g_string_append(q->result, "<IsTruncated>false</IsTruncated><AttachedPolicies/>");
}

static void
delete_policy(Query *q)
{
    if (!need_role(q) || !need_name(q, "PolicyName", 128))
        return;
    if (kvg_sql_run(q->db, "DELETE FROM role_policy WHERE role = ?1 AND name = ?2", "tt",
                    param(q, "RoleName"), param(q, "PolicyName")) != 1)
        fail(q, 404, "NoSuchEntity", "The role policy with name %s cannot be found.",
             param(q, "PolicyName"));
}

static void
delete_role(Query *q)
{
    if (!need_role(q))
        return;
    if (kvg_sql_int(q->db, 0, "SELECT 1 FROM role_policy WHERE role = ?1", "t",
                    param(q, "RoleName")) == 1) {
        fail(q, 409, "DeleteConflict", "Cannot delete entity, must delete policies first.");
        return;
    }
    if (kvg_sql_run(q->db, "DELETE FROM role WHERE name = ?1", "t", param(q, "RoleName")) != 1)
        fail(q, 500, "ServiceFailure", "Internal failure");
}

static void
get_caller(Query *q)
{
    put(q->result, "Arn", q->caller->principal_arn);
    put(q->result, "UserId", q->caller->user_id);
    put(q->result, "Account", q->server->account);
}

/* The role behind @arn if it trusts the caller. */
static bool
find_trusting_role(Query *q, const char *arn, char **name, char **id, int64_t *max_s)
{
    g_autofree char *trust = NULL;
    sqlite3 *db = kvg_state_lock(q->server->state);
    {
        g_auto(KvgStatement) row =
            kvg_sql_query(db,
                          "SELECT name, role_id, trust, max_session_s FROM role"
                          " WHERE 'arn:aws:iam::' || ?2 || ':role' || path || name = ?1",
                          "tt", arn, q->server->account);
        if (kvg_sql_step(row)) {
            *name = g_strdup(kvg_sql_column(row, 0));
            *id = g_strdup(kvg_sql_column(row, 1));
            trust = g_strdup(kvg_sql_column(row, 2));
            *max_s = sqlite3_column_int64(row, 3);
        }
    }
    kvg_state_unlock(q->server->state);
    const KvgPolicyRequest request = {.action = "sts:AssumeRole",
                                      .resource = "*",
                                      .aws_principal = q->caller->principal_arn,
                                      .account = q->server->account};
    g_autoptr(KvgPolicy) policy =
        trust != NULL ? kvg_policy_parse(trust, KVG_POLICY_TRUST, NULL) : NULL;
    return policy != NULL && kvg_policy_evaluate(policy, &request) == KVG_POLICY_ALLOW &&
           kvg_auth_allows(q->server, q->caller, "sts:AssumeRole", arn);
}

static void
put_session(Query *q, const KvgSessionSpec *spec)
{
    g_auto(KvgSessionKeys) keys = {0};
    g_autoptr(GError) error = NULL;
    if (!kvg_session_issue(q->server, spec, &keys, &error)) {
        fail(q, 500, "InternalFailure", "%s", error->message);
        return;
    }
    g_autofree char *user = g_strdup_printf("%s:%s", spec->role_id, spec->session_name);
    g_autofree char *arn = g_strdup_printf("arn:aws:sts::%s:assumed-role/%s/%s", q->server->account,
                                           spec->role_name, spec->session_name);
    g_autofree char *expiration = kvg_format_iso8601(keys.expires_ms, false);
    g_string_append(q->result, "<AssumedRoleUser>");
    put(q->result, "AssumedRoleId", user);
    put(q->result, "Arn", arn);
    g_string_append(q->result, "</AssumedRoleUser><Credentials>");
    put(q->result, "AccessKeyId", keys.access_key);
    put(q->result, "SecretAccessKey", keys.secret);
    put(q->result, "SessionToken", keys.token);
    put(q->result, "Expiration", expiration);
    g_string_append(q->result, "</Credentials>");
}

static void
assume_role(Query *q)
{
    const char *arn = param(q, "RoleArn"), *session = param(q, "RoleSessionName");
    const char *duration = param(q, "DurationSeconds");
    guint64 duration_s = 3600;
    if (arn == NULL || !kvg_iot_name_fits(session, 64, NAME_CHARS) || strlen(session) < 2 ||
        param(q, "Policy") != NULL || param(q, "PolicyArns.member.1.arn") != NULL ||
        (duration != NULL &&
         !g_ascii_string_to_unsigned(duration, 10, 900, 43200, &duration_s, NULL))) {
        fail(q, 400, "ValidationError",
             "Invalid RoleArn, RoleSessionName or DurationSeconds, or session policies, which are "
             "not supported");
        return;
    }
    g_autofree char *name = NULL, *id = NULL;
    int64_t max_s = 0;
    if (!find_trusting_role(q, arn, &name, &id, &max_s)) {
        fail(q, 403, "AccessDenied",
             "User: %s is not authorized to perform: sts:AssumeRole on resource: %s",
             q->caller->principal_arn, arn);
        return;
    }
    if ((int64_t)duration_s > max_s) {
        fail(q, 400, "ValidationError",
             "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.");
        return;
    }
    const KvgSessionSpec spec = {.role_name = name,
                                 .role_id = id,
                                 .session_name = session,
                                 .expires_ms = kvg_clock_wall_ms() + (int64_t)duration_s * 1000};
    put_session(q, &spec);
}

static const Operation operations[] = {
    {.name = "CreateRole", .service = "iam", .on_role = true, .handle = create_role},
    {.name = "GetRole", .service = "iam", .on_role = true, .handle = get_role},
    {.name = "ListRoles", .service = "iam", .handle = list_roles},
    {.name = "UpdateAssumeRolePolicy", .service = "iam", .on_role = true, .handle = update_trust},
    {.name = "PutRolePolicy", .service = "iam", .on_role = true, .handle = put_policy},
    {.name = "GetRolePolicy", .service = "iam", .on_role = true, .handle = get_policy},
    {.name = "ListRolePolicies", .service = "iam", .on_role = true, .handle = list_policies},
    {.name = "ListAttachedRolePolicies",
     .service = "iam",
     .on_role = true,
     .handle = list_attached},
    {.name = "DeleteRolePolicy", .service = "iam", .on_role = true, .handle = delete_policy},
    {.name = "DeleteRole", .service = "iam", .on_role = true, .handle = delete_role},
    {.name = "GetCallerIdentity",
     .service = "sts",
     .free = true,
     .unlocked = true,
     .handle = get_caller},
    {.name = "AssumeRole", .service = "sts", .free = true, .unlocked = true, .handle = assume_role},
};

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

static void
perform(Query *q, const Operation *operation)
{
    if (operation->unlocked) {
        operation->handle(q);
        return;
    }
    q->db = kvg_state_lock(q->server->state);
    kvg_sql_run(q->db, "BEGIN IMMEDIATE", "");
    operation->handle(q);
    if (kvg_sql_run(q->db, q->code == NULL ? "COMMIT" : "ROLLBACK", "") < 0)
        fail(q, 500, "ServiceFailure", "Internal failure");
    if (sqlite3_get_autocommit(q->db) == 0)
        kvg_sql_run(q->db, "ROLLBACK", "");
    kvg_state_unlock(q->server->state);
}

static bool
permitted(Query *q, const Operation *operation)
{
    if (operation->free)
        return true;
    const char *name = param(q, "RoleName");
    g_autofree char *action = g_strdup_printf("%s:%s", operation->service, operation->name);
    g_autofree char *resource =
        operation->on_role && name != NULL ? role_arn(q->server, "/", name) : g_strdup("*");
    return kvg_auth_require(q->server, q->x, q->caller, action, resource);
}

static void
respond(Query *q, const char *service, const char *operation)
{
    const char *space = strcmp(service, "iam") == 0 ? "https://iam.amazonaws.com/doc/2010-05-08/"
                                                    : "https://sts.amazonaws.com/doc/2011-06-15/";
    const char *id = kvg_http_request_id(q->x);
    g_autofree char *body =
        q->code != NULL
            ? g_markup_printf_escaped("<ErrorResponse xmlns=\"%s\"><Error><Type>%s</Type>"
                                      "<Code>%s</Code><Message>%s</Message></Error>"
                                      "<RequestId>%s</RequestId></ErrorResponse>",
                                      space, q->status < 500 ? "Sender" : "Receiver", q->code,
                                      q->message, id)
            : g_strdup_printf("<%sResponse xmlns=\"%s\"><%sResult>%s</%sResult><ResponseMetadata>"
                              "<RequestId>%s</RequestId></ResponseMetadata></%sResponse>",
                              operation, space, operation, q->result->str, operation, id,
                              operation);
    const KvgHeader headers[] = {{"Content-Type", "text/xml"}};
    kvg_http_respond(q->x, q->code != NULL ? q->status : 200, headers, 1, body, strlen(body));
}

static const Operation *
find_operation(const char *service, const char *name)
{
    for (size_t i = 0; name != NULL && i < G_N_ELEMENTS(operations); i++) {
        if (strcmp(operations[i].name, name) == 0 && strcmp(operations[i].service, service) == 0)
            return &operations[i];
    }
    return NULL;
}

static void
query_clear(Query *q)
{
    g_hash_table_unref(q->params);
    g_string_free(q->result, true);
    g_free(q->message);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Query, query_clear)

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
    g_auto(Query) q = {.server = server,
                       .caller = &caller,
                       .x = x,
                       .params = parse_form(text),
                       .result = g_string_new(NULL)};
    const char *name = param(&q, "Action");
    const Operation *operation = find_operation(service, name);
    if (operation == NULL) {
        fail(&q, 400, "InvalidAction", "Could not find operation %.64s", name != NULL ? name : "");
        respond(&q, service, "");
        return;
    }
    if (!permitted(&q, operation))
        return;
    perform(&q, operation);
    respond(&q, service, operation->name);
}
