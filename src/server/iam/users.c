/* Users and their access keys. The first, the administrator, is made with the data folder, may do
 * everything, and stays. */
#include "server/auth/session.h"
#include "server/iam/entity.h"
#include <string.h>

#define MAX_KEYS 2

#define USER_COLUMNS "name, user_id, path, created_ms"

static void
put_user(KvgQuery *q, KvgStatement row)
{
    g_autofree char *arn =
        kvg_iam_arn(q->server, "user", kvg_sql_column(row, 2), kvg_sql_column(row, 0));
    kvg_query_put(q, "Path", kvg_sql_column(row, 2));
    kvg_query_put(q, "UserName", kvg_sql_column(row, 0));
    kvg_query_put(q, "UserId", kvg_sql_column(row, 1));
    kvg_query_put(q, "Arn", arn);
    kvg_query_put_date(q, "CreateDate", sqlite3_column_int64(row, 3));
}

/* The user the call names, or else the caller. NULL: the call failed. */
static const char *
need_user(KvgQuery *q)
{
    if (kvg_query_param(q, "UserName") != NULL)
        return kvg_entity_need(q, &kvg_entity_user);
    if (q->caller->user_name == NULL)
        kvg_query_fail(q, 400, "ValidationError",
                       "Must specify userName when calling with non-User credentials");
    return q->caller->user_name;
}

static void
show_user(KvgQuery *q, const char *name)
{
    g_auto(KvgStatement) row =
        kvg_sql_query(q->db, "SELECT " USER_COLUMNS " FROM iam_user WHERE name = ?1", "t", name);
    if (!kvg_sql_step(row)) {
        kvg_query_broken(q);
        return;
    }
    g_string_append(q->result, "<User>");
    put_user(q, row);
    kvg_entity_put_tags(q, &kvg_entity_user, name);
    g_string_append(q->result, "</User>");
}

static void
get_user(KvgQuery *q)
{
    const char *name = need_user(q);
    if (name != NULL)
        show_user(q, name);
}

static void
create_user(KvgQuery *q)
{
    const char *name = kvg_query_param(q, "UserName");
    if (!kvg_query_need_name(q, "UserName", 64))
        return;
    const char *path = kvg_query_path(q);
    if (path == NULL)
        return;
    g_autofree char *id = kvg_random_id("AIDA", 17);
    const int made = kvg_sql_run(q->db,
                                 "INSERT OR IGNORE INTO iam_user (name, user_id, path, created_ms)"
                                 " VALUES (?1, ?2, ?3, ?4)",
                                 "ttti", name, id, path, q->now_ms);
    if (made == 0)
        kvg_query_fail(q, 409, "EntityAlreadyExists", "User with name %s already exists.", name);
    else if (made < 0)
        kvg_query_broken(q);
    else if (kvg_entity_set_tags(q, &kvg_entity_user, name))
        show_user(q, name);
}

static void
list_users(KvgQuery *q)
{
    const char *prefix = kvg_query_param(q, "PathPrefix");
    g_autofree char *after = NULL;
    int64_t max;
    if (!kvg_query_page(q, &after, &max))
        return;
    g_auto(KvgStatement) rows =
        kvg_sql_query(q->db,
                      "SELECT " USER_COLUMNS " FROM iam_user WHERE name > ?1"
                      " AND substr(path, 1, length(?2)) = ?2 ORDER BY name LIMIT ?3",
                      "tti", after, prefix != NULL ? prefix : "/", max + 1);
    kvg_query_list(q, rows, max, "Users", put_user);
}

static void
delete_user(KvgQuery *q)
{
    const char *name = kvg_entity_need(q, &kvg_entity_user);
    if (name == NULL)
        return;
    if (kvg_sql_int(q->db, 0, "SELECT 1 FROM access_key WHERE user_name = ?1 COLLATE NOCASE", "t",
                    name) == 1)
        kvg_query_fail(q, 409, "DeleteConflict",
                       "Cannot delete entity, must delete access keys first.");
    else if (kvg_entity_check_no_policies(q, &kvg_entity_user, name) &&
             kvg_sql_run(q->db, "DELETE FROM iam_user WHERE name = ?1 AND is_administrator = 0",
                         "t", name) != 1)
        kvg_query_fail(q, 409, "DeleteConflict", "The administrator cannot be deleted.");
}

/* ---- access keys ---- */

static void
create_key(KvgQuery *q)
{
    const char *name = need_user(q);
    if (name == NULL)
        return;
    if (kvg_sql_int(q->db, 0, "SELECT count(*) FROM access_key WHERE user_name = ?1 COLLATE NOCASE",
                    "t", name) >= MAX_KEYS) {
        kvg_query_fail(q, 409, "LimitExceeded", "Cannot exceed quota for AccessKeysPerUser: %d",
                       MAX_KEYS);
        return;
    }
    g_autofree char *id = kvg_random_id("AKIA", 16);
    g_autofree char *secret = kvg_random_secret();
    g_autofree char *user =
        kvg_sql_text(q->db, "SELECT name FROM iam_user WHERE name = ?1", "t", name);
    if (kvg_sql_run(q->db,
                    "INSERT INTO access_key (id, secret, user_name, user_id, created_ms)"
                    " SELECT ?2, ?3, name, user_id, ?4 FROM iam_user WHERE name = ?1",
                    "ttti", name, id, secret, q->now_ms) != 1) {
        kvg_query_broken(q);
        return;
    }
    g_string_append(q->result, "<AccessKey>");
    kvg_query_put(q, "UserName", user);
    kvg_query_put(q, "AccessKeyId", id);
    kvg_query_put(q, "Status", "Active");
    kvg_query_put(q, "SecretAccessKey", secret);
    kvg_query_put_date(q, "CreateDate", q->now_ms);
    g_string_append(q->result, "</AccessKey>");
}

static void
put_key(KvgQuery *q, KvgStatement row)
{
    kvg_query_put(q, "UserName", kvg_sql_column(row, 1));
    kvg_query_put(q, "AccessKeyId", kvg_sql_column(row, 0));
    kvg_query_put(q, "Status", kvg_sql_column(row, 2));
    kvg_query_put_date(q, "CreateDate", sqlite3_column_int64(row, 3));
}

static void
list_keys(KvgQuery *q)
{
    const char *name = need_user(q);
    g_autofree char *after = NULL;
    int64_t max;
    if (name == NULL || !kvg_query_page(q, &after, &max))
        return;
    g_auto(KvgStatement) rows =
        kvg_sql_query(q->db,
                      "SELECT id, user_name, status, created_ms FROM access_key"
                      " WHERE user_name = ?1 COLLATE NOCASE AND id > ?2 ORDER BY id LIMIT ?3",
                      "tti", name, after, max + 1);
    kvg_query_list(q, rows, max, "AccessKeyMetadata", put_key);
}

/* @statement changes the key of a user; it is told when there is none. */
static void
change_key(KvgQuery *q, const char *statement, const char *status)
{
    const char *name = need_user(q);
    if (name == NULL || !kvg_query_need_name(q, "AccessKeyId", 128))
        return;
    const int n = kvg_sql_run(q->db, statement, status != NULL ? "ttt" : "tt", name,
                              kvg_query_param(q, "AccessKeyId"), status);
    if (n < 0)
        kvg_query_broken(q);
    else if (n == 0)
        kvg_query_fail(q, 404, "NoSuchEntity", "The Access Key with id %s cannot be found.",
                       kvg_query_param(q, "AccessKeyId"));
}

static void
update_key(KvgQuery *q)
{
    const char *status = kvg_query_param(q, "Status");
    if (g_strcmp0(status, "Active") != 0 && g_strcmp0(status, "Inactive") != 0)
        kvg_query_fail(q, 400, "ValidationError",
                       "1 validation error detected: Value at 'status' failed to satisfy "
                       "constraint: Member must satisfy enum value set: [Active, Inactive]");
    else
        change_key(q,
                   "UPDATE access_key SET status = ?3 WHERE user_name = ?1 COLLATE NOCASE"
                   " AND id = ?2",
                   status);
}

static void
delete_key(KvgQuery *q)
{
    change_key(q, "DELETE FROM access_key WHERE user_name = ?1 COLLATE NOCASE AND id = ?2", NULL);
}

#define ON_USER(NAME)                                                                              \
    static void NAME##_of_user(KvgQuery *q)                                                        \
    {                                                                                              \
        kvg_entity_##NAME(q, &kvg_entity_user);                                                    \
    }
ON_USER(put_policy)
ON_USER(get_policy)
ON_USER(list_policies)
ON_USER(list_attached)
ON_USER(delete_policy)
ON_USER(tag)
ON_USER(untag)
ON_USER(list_tags)

const KvgQueryOperation kvg_iam_users[] = {
    {.name = "CreateUser", .handle = create_user, .resource = "user"},
    {.name = "GetUser", .handle = get_user, .resource = "user"},
    {.name = "ListUsers", .handle = list_users},
    {.name = "DeleteUser", .handle = delete_user, .resource = "user"},
    {.name = "CreateAccessKey", .handle = create_key, .resource = "user"},
    {.name = "ListAccessKeys", .handle = list_keys, .resource = "user"},
    {.name = "UpdateAccessKey", .handle = update_key, .resource = "user"},
    {.name = "DeleteAccessKey", .handle = delete_key, .resource = "user"},
    {.name = "PutUserPolicy", .handle = put_policy_of_user, .resource = "user"},
    {.name = "GetUserPolicy", .handle = get_policy_of_user, .resource = "user"},
    {.name = "ListUserPolicies", .handle = list_policies_of_user, .resource = "user"},
    {.name = "ListAttachedUserPolicies", .handle = list_attached_of_user, .resource = "user"},
    {.name = "DeleteUserPolicy", .handle = delete_policy_of_user, .resource = "user"},
    {.name = "TagUser", .handle = tag_of_user, .resource = "user"},
    {.name = "UntagUser", .handle = untag_of_user, .resource = "user"},
    {.name = "ListUserTags", .handle = list_tags_of_user, .resource = "user"},
    {0},
};
