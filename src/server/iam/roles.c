/* Roles: what devices' credentials and AssumeRole lead to. */
#include "server/auth/session.h"
#include "server/iam/entity.h"
#include <string.h>

#define MAX_TRUST_CHARS 2048
#define MIN_SESSION_S 3600
#define MAX_SESSION_S 43200

#define ROLE_COLUMNS "name, role_id, path, description, trust, max_session_s, created_ms"

static void
put_role(KvgQuery *q, KvgStatement row)
{
    g_autofree char *arn =
        kvg_iam_arn(q->server, "role", kvg_sql_column(row, 2), kvg_sql_column(row, 0));
    kvg_query_put(q, "Path", kvg_sql_column(row, 2));
    kvg_query_put(q, "RoleName", kvg_sql_column(row, 0));
    kvg_query_put(q, "RoleId", kvg_sql_column(row, 1));
    kvg_query_put(q, "Arn", arn);
    kvg_query_put_date(q, "CreateDate", sqlite3_column_int64(row, 6));
    kvg_query_put_document(q, "AssumeRolePolicyDocument", kvg_sql_column(row, 4));
    if (*kvg_sql_column(row, 3) != '\0')
        kvg_query_put(q, "Description", kvg_sql_column(row, 3));
    kvg_query_put(q, "MaxSessionDuration", kvg_sql_column(row, 5));
}

static void
get_role(KvgQuery *q)
{
    const char *name = kvg_entity_need(q, &kvg_entity_role);
    if (name == NULL)
        return;
    g_auto(KvgStatement) row =
        kvg_sql_query(q->db, "SELECT " ROLE_COLUMNS " FROM role WHERE name = ?1", "t", name);
    if (!kvg_sql_step(row)) {
        kvg_query_broken(q);
        return;
    }
    g_string_append(q->result, "<Role>");
    put_role(q, row);
    kvg_entity_put_tags(q, &kvg_entity_role, name);
    g_string_append(q->result, "</Role>");
}

static bool
need_trust(KvgQuery *q, const char *parameter)
{
    if (!kvg_query_need_policy(q, parameter, KVG_POLICY_TRUST))
        return false;
    if (kvg_query_dense_length(kvg_query_param(q, parameter)) <= MAX_TRUST_CHARS)
        return true;
    kvg_query_fail(q, 409, "LimitExceeded", "Cannot exceed quota for ACLSizePerRole: %d",
                   MAX_TRUST_CHARS);
    return false;
}

static bool
check_description(KvgQuery *q)
{
    const char *description = kvg_query_param(q, "Description");
    if (description == NULL || g_utf8_strlen(description, -1) <= 1000)
        return true;
    kvg_query_fail(q, 400, "ValidationError",
                   "1 validation error detected: Value at 'description' failed to satisfy "
                   "constraint: Member must have length less than or equal to 1000");
    return false;
}

static void
create_role(KvgQuery *q)
{
    const char *name = kvg_query_param(q, "RoleName");
    int64_t max_s;
    if (!kvg_query_need_name(q, "RoleName", 64) || !need_trust(q, "AssumeRolePolicyDocument") ||
        !check_description(q) ||
        !kvg_query_number(q, "MaxSessionDuration", MIN_SESSION_S, MAX_SESSION_S, MIN_SESSION_S,
                          &max_s))
        return;
    const char *path = kvg_query_path(q);
    if (path == NULL)
        return;
    if (kvg_query_param(q, "PermissionsBoundary") != NULL) {
        kvg_query_fail(q, 400, "InvalidInput", "Permissions boundaries are not supported here.");
        return;
    }
    g_autofree char *id = kvg_random_id("AROA", 17);
    const int made =
        kvg_sql_run(q->db, "INSERT OR IGNORE INTO role VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                    "tttttii", name, id, path, kvg_query_param(q, "Description"),
                    kvg_query_param(q, "AssumeRolePolicyDocument"), max_s, q->now_ms);
    if (made == 0)
        kvg_query_fail(q, 409, "EntityAlreadyExists", "Role with name %s already exists.", name);
    else if (made < 0)
        kvg_query_broken(q);
    else if (kvg_entity_set_tags(q, &kvg_entity_role, name))
        get_role(q);
}

static void
list_roles(KvgQuery *q)
{
    const char *prefix = kvg_query_param(q, "PathPrefix");
    g_autofree char *after = NULL;
    int64_t max;
    if (!kvg_query_page(q, &after, &max))
        return;
    g_auto(KvgStatement) rows =
        kvg_sql_query(q->db,
                      "SELECT " ROLE_COLUMNS " FROM role WHERE name > ?1"
                      " AND substr(path, 1, length(?2)) = ?2 ORDER BY name LIMIT ?3",
                      "tti", after, prefix != NULL ? prefix : "/", max + 1);
    kvg_query_list(q, rows, max, "Roles", put_role);
}

static void
update_trust(KvgQuery *q)
{
    const char *name = kvg_entity_need(q, &kvg_entity_role);
    if (name == NULL || !need_trust(q, "PolicyDocument"))
        return;
    if (kvg_sql_run(q->db, "UPDATE role SET trust = ?2 WHERE name = ?1", "tt", name,
                    kvg_query_param(q, "PolicyDocument")) < 0)
        kvg_query_broken(q);
}

static void
delete_role(KvgQuery *q)
{
    const char *name = kvg_entity_need(q, &kvg_entity_role);
    if (name == NULL || !kvg_entity_check_no_policies(q, &kvg_entity_role, name))
        return;
    if (kvg_sql_run(q->db, "DELETE FROM role WHERE name = ?1", "t", name) != 1)
        kvg_query_broken(q);
}

#define ON_ROLE(NAME)                                                                              \
    static void NAME##_of_role(KvgQuery *q)                                                        \
    {                                                                                              \
        kvg_entity_##NAME(q, &kvg_entity_role);                                                    \
    }
ON_ROLE(put_policy)
ON_ROLE(get_policy)
ON_ROLE(list_policies)
ON_ROLE(list_attached)
ON_ROLE(delete_policy)
ON_ROLE(tag)
ON_ROLE(untag)
ON_ROLE(list_tags)

const KvgQueryOperation kvg_iam_roles[] = {
    {.name = "CreateRole", .handle = create_role, .resource = "role"},
    {.name = "GetRole", .handle = get_role, .resource = "role"},
    {.name = "ListRoles", .handle = list_roles},
    {.name = "UpdateAssumeRolePolicy", .handle = update_trust, .resource = "role"},
    {.name = "DeleteRole", .handle = delete_role, .resource = "role"},
    {.name = "PutRolePolicy", .handle = put_policy_of_role, .resource = "role"},
    {.name = "GetRolePolicy", .handle = get_policy_of_role, .resource = "role"},
    {.name = "ListRolePolicies", .handle = list_policies_of_role, .resource = "role"},
    {.name = "ListAttachedRolePolicies", .handle = list_attached_of_role, .resource = "role"},
    {.name = "DeleteRolePolicy", .handle = delete_policy_of_role, .resource = "role"},
    {.name = "TagRole", .handle = tag_of_role, .resource = "role"},
    {.name = "UntagRole", .handle = untag_of_role, .resource = "role"},
    {.name = "ListRoleTags", .handle = list_tags_of_role, .resource = "role"},
    {0},
};
