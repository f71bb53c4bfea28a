/* Who am I, and temporary keys of a role. */
#include "server/auth/context.h"
#include "server/auth/session.h"
#include "server/iam/query.h"
#include <string.h>

#define MIN_SESSION_S 900
#define MAX_SESSION_S 43200
#define DEFAULT_SESSION_S 3600
/* Of a session that was itself got by a role. */
#define MAX_CHAINED_S 3600
#define MAX_SESSION_POLICY_CHARS 2048

static void
get_caller(KvgQuery *q)
{
    kvg_query_put(q, "Arn", q->caller->principal_arn);
    kvg_query_put(q, "UserId", q->caller->user_id);
    kvg_query_put(q, "Account", q->server->account);
}

typedef struct {
    char *name, *id, *trust;
    int64_t max_s;
} Role;

static void
role_clear(Role *role)
{
    g_free(role->name);
    g_free(role->id);
    g_free(role->trust);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Role, role_clear)

static bool
find_role(KvgQuery *q, const char *arn, Role *role)
{
    sqlite3 *db = kvg_state_lock(q->server->state);
    {
        g_auto(KvgStatement) row =
            kvg_sql_query(db,
                          "SELECT name, role_id, trust, max_session_s FROM role"
                          " WHERE 'arn:aws:iam::' || ?2 || ':role' || path || name = ?1",
                          "tt", arn, q->server->account);
        if (kvg_sql_step(row)) {
            role->name = g_strdup(kvg_sql_column(row, 0));
            role->id = g_strdup(kvg_sql_column(row, 1));
            role->trust = g_strdup(kvg_sql_column(row, 2));
            role->max_s = sqlite3_column_int64(row, 3);
        }
    }
    kvg_state_unlock(q->server->state);
    return role->name != NULL;
}

/* The role must trust the caller. Trust in the caller itself is enough; trust in the account leaves
 * it to the account to say who. Nothing helps against an explicit deny. */
static bool
may_assume(KvgQuery *q, const char *arn, const Role *role)
{
    g_autoptr(KvgPolicy) trust = kvg_policy_parse(role->trust, KVG_POLICY_TRUST, NULL);
    const KvgPolicyDecision own =
        kvg_auth_decide(q->server, q->caller, "sts:AssumeRole", arn, NULL);
    if (trust == NULL || own == KVG_POLICY_DENY)
        return false;
    g_auto(KvgPolicyContext) context = {0};
    kvg_policy_context_init(&context, q->server, q->caller, NULL, NULL);
    kvg_policy_context_add(&context, "sts:ExternalId", kvg_query_param(q, "ExternalId"));
    kvg_policy_context_add(&context, "sts:RoleSessionName", kvg_query_param(q, "RoleSessionName"));
    KvgPolicyRequest request = {
        .action = "sts:AssumeRole",
        .resource = "*",
        .aws_principal = q->caller->principal_arn,
        .aws_role = q->caller->role_arn,
        .account = q->server->account,
        .variables = (const KvgPolicyVariable *)(const void *)context.variables->data,
        .n_variables = context.variables->len};
    if (kvg_policy_evaluate(trust, &request) != KVG_POLICY_ALLOW)
        return false;
    request.account = NULL;
    return own == KVG_POLICY_ALLOW || kvg_policy_evaluate(trust, &request) == KVG_POLICY_ALLOW;
}

static void
put_session(KvgQuery *q, const KvgSessionSpec *spec)
{
    g_auto(KvgSessionKeys) keys = {0};
    g_autoptr(GError) error = NULL;
    if (!kvg_session_issue(q->server, spec, &keys, &error)) {
        kvg_query_fail(q, 500, "InternalFailure", "%s", error->message);
        return;
    }
    g_autofree char *user = g_strdup_printf("%s:%s", spec->role_id, spec->session_name);
    g_autofree char *arn = g_strdup_printf("arn:aws:sts::%s:assumed-role/%s/%s", q->server->account,
                                           spec->role_name, spec->session_name);
    g_string_append(q->result, "<AssumedRoleUser>");
    kvg_query_put(q, "AssumedRoleId", user);
    kvg_query_put(q, "Arn", arn);
    g_string_append(q->result, "</AssumedRoleUser><Credentials>");
    kvg_query_put(q, "AccessKeyId", keys.access_key);
    kvg_query_put(q, "SecretAccessKey", keys.secret);
    kvg_query_put(q, "SessionToken", keys.token);
    kvg_query_put_date(q, "Expiration", keys.expires_ms);
    g_string_append(q->result, "</Credentials>");
    if (spec->policy != NULL)
        g_string_append_printf(q->result, "<PackedPolicySize>%zu</PackedPolicySize>",
                               strlen(spec->policy) * 100 / MAX_SESSION_POLICY_CHARS);
}

/* What AWS knows and this server does not is refused rather than passed over. */
static bool
check_supported(KvgQuery *q)
{
    static const char *const unknown[] = {"PolicyArns.member.1.arn",
                                          "Tags.member.1.Key",
                                          "TransitiveTagKeys.member.1",
                                          "SerialNumber",
                                          "TokenCode",
                                          "SourceIdentity"};
    for (size_t i = 0; i < G_N_ELEMENTS(unknown); i++) {
        if (kvg_query_param(q, unknown[i]) == NULL)
            continue;
        kvg_query_fail(q, 400, "ValidationError", "%s is not supported here", unknown[i]);
        return false;
    }
    return true;
}

static bool
check_session_policy(KvgQuery *q)
{
    const char *policy = kvg_query_param(q, "Policy");
    if (policy == NULL)
        return true;
    if (strlen(policy) > MAX_SESSION_POLICY_CHARS) {
        kvg_query_fail(q, 400, "PackedPolicyTooLarge",
                       "The session policy has %zu characters; at most %d are allowed.",
                       strlen(policy), MAX_SESSION_POLICY_CHARS);
        return false;
    }
    return kvg_query_need_policy(q, "Policy", KVG_POLICY_IDENTITY);
}

static bool
check_session_name(KvgQuery *q)
{
    if (!kvg_query_need_name(q, "RoleSessionName", 64))
        return false;
    if (strlen(kvg_query_param(q, "RoleSessionName")) >= 2)
        return true;
    kvg_query_fail(q, 400, "ValidationError",
                   "1 validation error detected: Value '%s' at 'roleSessionName' failed to satisfy "
                   "constraint: Member must have length greater than or equal to 2",
                   kvg_query_param(q, "RoleSessionName"));
    return false;
}

static bool
check_role_arn(KvgQuery *q)
{
    const char *arn = kvg_query_param(q, "RoleArn");
    if (arn != NULL && strlen(arn) >= 20 && strlen(arn) <= 2048)
        return true;
    kvg_query_fail(q, 400, "ValidationError",
                   "1 validation error detected: Value at 'roleArn' failed to satisfy constraint: "
                   "Member must have length between 20 and 2048");
    return false;
}

static bool
check_duration(KvgQuery *q, const Role *role, int64_t duration_s)
{
    if (duration_s > role->max_s) {
        kvg_query_fail(q, 400, "ValidationError",
                       "The requested DurationSeconds exceeds the MaxSessionDuration set for this "
                       "role.");
        return false;
    }
    if (q->caller->role_name == NULL || duration_s <= MAX_CHAINED_S)
        return true;
    kvg_query_fail(q, 400, "ValidationError",
                   "The requested DurationSeconds exceeds the 1 hour session limit for roles "
                   "assumed by role chaining");
    return false;
}

static void
assume_role(KvgQuery *q)
{
    const char *arn = kvg_query_param(q, "RoleArn");
    int64_t duration_s;
    if (!check_role_arn(q) || !check_session_name(q) ||
        !kvg_query_number(q, "DurationSeconds", MIN_SESSION_S, MAX_SESSION_S, DEFAULT_SESSION_S,
                          &duration_s) ||
        !check_supported(q) || !check_session_policy(q))
        return;
    g_auto(Role) role = {0};
    if (!find_role(q, arn, &role) || !may_assume(q, arn, &role)) {
        kvg_query_fail(q, 403, "AccessDenied",
                       "User: %s is not authorized to perform: sts:AssumeRole on resource: %s",
                       q->caller->principal_arn, arn);
        return;
    }
    if (!check_duration(q, &role, duration_s))
        return;
    const KvgSessionSpec spec = {.role_name = role.name,
                                 .role_id = role.id,
                                 .role_arn = arn,
                                 .session_name = kvg_query_param(q, "RoleSessionName"),
                                 .policy = kvg_query_param(q, "Policy"),
                                 .expires_ms = q->now_ms + duration_s * 1000};
    put_session(q, &spec);
}

const KvgQueryOperation kvg_sts_operations[] = {
    {.name = "GetCallerIdentity", .handle = get_caller, .is_free = true, .is_unlocked = true},
    {.name = "AssumeRole", .handle = assume_role, .is_free = true, .is_unlocked = true},
    {0},
};
