/* Where the keys of a request come from, and how policies are combined; see context.h. */
#include "server/auth/context.h"

#include "base/clock.h"
#include "base/text.h"
#include "server/state/sql.h"
#include <string.h>

void
kvg_policy_context_clear(KvgPolicyContext *context)
{
    g_clear_pointer(&context->variables, g_array_unref);
    g_clear_pointer(&context->texts, g_ptr_array_unref);
}

static const char *
keep(KvgPolicyContext *context, char *text)
{
    g_ptr_array_add(context->texts, text);
    return text;
}

void
kvg_policy_context_add(KvgPolicyContext *context, const char *key, const char *value)
{
    if (value == NULL)
        return;
    const KvgPolicyVariable variable = {.key = keep(context, g_strdup(key)),
                                        .value = keep(context, g_strdup(value))};
    g_array_append_val(context->variables, variable);
}

/* @sql: keys and values for the one parameter @name. */
static void
add_tags(
    KvgPolicyContext *context, sqlite3 *db, const char *prefix, const char *sql, const char *name)
{
    g_auto(KvgStatement) rows = kvg_sql_query(db, sql, "t", name);
    while (kvg_sql_step(rows)) {
        g_autofree char *key = g_strconcat(prefix, kvg_sql_column(rows, 0), NULL);
        kvg_policy_context_add(context, key, kvg_sql_column(rows, 1));
    }
}

static void
add_stored_tags(KvgPolicyContext *context,
                KvgServer *server,
                const KvgCaller *caller,
                const char *resource_arn)
{
    sqlite3 *db = kvg_state_lock(server->state);
    if (resource_arn != NULL && g_str_has_prefix(resource_arn, "arn:aws:kinesisvideo:"))
        add_tags(context, db, "aws:ResourceTag/",
                 "SELECT key, value FROM stream_tag WHERE arn = ?1", resource_arn);
    if (caller->role_name != NULL)
        add_tags(context, db, "aws:PrincipalTag/",
                 "SELECT key, value FROM role_tag WHERE role = ?1", caller->role_name);
    else if (caller->user_name != NULL)
        add_tags(context, db, "aws:PrincipalTag/",
                 "SELECT key, value FROM user_tag WHERE user = ?1", caller->user_name);
    kvg_state_unlock(server->state);
}

static void
add_request_tags(KvgPolicyContext *context, const json_t *tags)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)tags, name, value)
    {
        g_autofree char *key = g_strconcat("aws:RequestTag/", name, NULL);
        kvg_policy_context_add(context, key, json_string_value(value));
        kvg_policy_context_add(context, "aws:TagKeys", name);
    }
}

void
kvg_policy_context_init(KvgPolicyContext *context,
                        KvgServer *server,
                        const KvgCaller *caller,
                        const char *resource_arn,
                        const json_t *request_tags)
{
    context->variables = g_array_new(false, false, sizeof(KvgPolicyVariable));
    context->texts = g_ptr_array_new_with_free_func(g_free);
    const int64_t now_ms = kvg_clock_wall_ms();
    g_autofree char *epoch = g_strdup_printf("%" G_GINT64_FORMAT, now_ms / 1000);
    g_autofree char *now = kvg_format_iso8601(now_ms, false);
    g_autofree char *issued =
        caller->issued_ms > 0 ? kvg_format_iso8601(caller->issued_ms, false) : NULL;
    const KvgPolicyVariable all[] = {
        {"credentials-iot:ThingName", caller->thing_name},
        {"credentials-iot:AwsCertificateId", caller->certificate_id},
        {"aws:userid", caller->user_id},
        {"aws:username", caller->user_name},
        {"aws:PrincipalArn", caller->role_arn != NULL ? caller->role_arn : caller->principal_arn},
        {"aws:PrincipalAccount", server->account},
        {"aws:PrincipalType", caller->role_name != NULL ? "AssumedRole" : "User"},
        {"aws:SourceIp", caller->source_ip},
        {"aws:SecureTransport", caller->is_secure ? "true" : "false"},
        {"aws:RequestedRegion", server->region},
        {"aws:EpochTime", epoch},
        {"aws:CurrentTime", now},
        {"aws:TokenIssueTime", issued},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(all); i++)
        kvg_policy_context_add(context, all[i].key, all[i].value);
    add_stored_tags(context, server, caller, resource_arn);
    add_request_tags(context, request_tags);
}

/* ---- the decision ---- */

/* The caller's inline policies, or NULL if role or user is gone, or was made anew since. */
static GPtrArray *
documents_of(KvgServer *server, const KvgCaller *caller)
{
    const bool is_role = caller->role_name != NULL;
    const char *name = is_role ? caller->role_name : caller->user_name;
    GPtrArray *documents = NULL;
    sqlite3 *db = kvg_state_lock(server->state);
    {
        g_autofree char *id =
            kvg_sql_text(db,
                         is_role ? "SELECT role_id || ':' FROM role WHERE name = ?1"
                                 : "SELECT user_id FROM iam_user WHERE name = ?1",
                         "t", name);
        if (id != NULL && g_str_has_prefix(caller->user_id, id)) {
            documents = g_ptr_array_new_with_free_func(g_free);
            g_auto(KvgStatement) rows =
                kvg_sql_query(db,
                              is_role ? "SELECT document FROM role_policy WHERE role = ?1"
                                      : "SELECT document FROM user_policy WHERE user = ?1",
                              "t", name);
            while (kvg_sql_step(rows))
                g_ptr_array_add(documents, g_strdup(kvg_sql_column(rows, 0)));
        }
    }
    kvg_state_unlock(server->state);
    return documents;
}

/* Documents are checked when stored; one that cannot be read any more denies. */
static KvgPolicyDecision
evaluate(const char *document, const KvgPolicyRequest *request)
{
    g_autoptr(KvgPolicy) policy = kvg_policy_parse(document, KVG_POLICY_IDENTITY, NULL);
    return policy != NULL ? kvg_policy_evaluate(policy, request) : KVG_POLICY_DENY;
}

/* A session policy gives nothing; it only takes away. */
static KvgPolicyDecision
restrict_by(const char *session_policy, const KvgPolicyRequest *request, KvgPolicyDecision decision)
{
    if (session_policy == NULL || decision == KVG_POLICY_DENY)
        return decision;
    const KvgPolicyDecision own = evaluate(session_policy, request);
    if (own == KVG_POLICY_DENY)
        return KVG_POLICY_DENY;
    return own == KVG_POLICY_ALLOW ? decision : KVG_POLICY_NO_MATCH;
}

KvgPolicyDecision
kvg_auth_decide(KvgServer *server,
                const KvgCaller *caller,
                const char *action,
                const char *resource_arn,
                const json_t *request_tags)
{
    if (caller->is_administrator)
        return KVG_POLICY_ALLOW;
    if (caller->user_id == NULL || (caller->role_name == NULL && caller->user_name == NULL))
        return KVG_POLICY_DENY;
    g_autoptr(GPtrArray) documents = documents_of(server, caller);
    if (documents == NULL)
        return KVG_POLICY_DENY;

    g_auto(KvgPolicyContext) context = {0};
    kvg_policy_context_init(&context, server, caller, resource_arn, request_tags);
    const KvgPolicyRequest request = {
        .action = action,
        .resource = resource_arn,
        .variables = (const KvgPolicyVariable *)(const void *)context.variables->data,
        .n_variables = context.variables->len};
    KvgPolicyDecision decision = KVG_POLICY_NO_MATCH;
    for (guint i = 0; i < documents->len; i++)
        decision =
            kvg_policy_combine(decision, evaluate(g_ptr_array_index(documents, i), &request));
    return restrict_by(caller->session_policy, &request, decision);
}
