/* Inline policies and tags; the tables of roles and users differ in their names only. */
#include "server/iam/entity.h"

#include <string.h>

#define MAX_TAGS 50

const KvgEntity kvg_entity_role = {.kind = "role",
                                   .title = "Role",
                                   .parameter = "RoleName",
                                   .table = "role",
                                   .policies = "role_policy",
                                   .tags = "role_tag",
                                   .max_policy_chars = 10240};
const KvgEntity kvg_entity_user = {.kind = "user",
                                   .title = "User",
                                   .parameter = "UserName",
                                   .table = "iam_user",
                                   .policies = "user_policy",
                                   .tags = "user_tag",
                                   .max_policy_chars = 2048};

/* @format with the table and the column that names the owner (g_free). All are names of ours. */
static char *
sql(const char *format, const char *table, const KvgEntity *entity)
{
    GString *text = g_string_new(format);
    g_string_replace(text, "TABLE", table, 0);
    g_string_replace(text, "OWNER", entity->kind, 0);
    return g_string_free(text, false);
}

const char *
kvg_entity_need(KvgQuery *q, const KvgEntity *entity)
{
    if (!kvg_query_need_name(q, entity->parameter, 64))
        return NULL;
    const char *name = kvg_query_param(q, entity->parameter);
    g_autofree char *find = sql("SELECT 1 FROM TABLE WHERE name = ?1", entity->table, entity);
    if (kvg_sql_int(q->db, 0, find, "t", name) == 1)
        return name;
    kvg_query_fail(q, 404, "NoSuchEntity", "The %s with name %s cannot be found.", entity->kind,
                   name);
    return NULL;
}

/* ---- inline policies ---- */

static void
fail_no_policy(KvgQuery *q, const KvgEntity *entity)
{
    kvg_query_fail(q, 404, "NoSuchEntity", "The %s policy with name %s cannot be found.",
                   entity->kind, kvg_query_param(q, "PolicyName"));
}

static bool
check_size(KvgQuery *q, const KvgEntity *entity, const char *name)
{
    g_autofree char *others =
        sql("SELECT document FROM TABLE WHERE OWNER = ?1 AND name <> ?2", entity->policies, entity);
    size_t total = kvg_query_dense_length(kvg_query_param(q, "PolicyDocument"));
    g_auto(KvgStatement) rows =
        kvg_sql_query(q->db, others, "tt", name, kvg_query_param(q, "PolicyName"));
    while (kvg_sql_step(rows))
        total += kvg_query_dense_length(kvg_sql_column(rows, 0));
    if (total <= (size_t)entity->max_policy_chars)
        return true;
    kvg_query_fail(q, 409, "LimitExceeded", "Maximum policy size of %d bytes exceeded for %s %s",
                   entity->max_policy_chars, entity->kind, name);
    return false;
}

void
kvg_entity_put_policy(KvgQuery *q, const KvgEntity *entity)
{
    const char *name = kvg_entity_need(q, entity);
    if (name == NULL || !kvg_query_need_name(q, "PolicyName", 128) ||
        !kvg_query_need_policy(q, "PolicyDocument", KVG_POLICY_IDENTITY) ||
        !check_size(q, entity, name))
        return;
    g_autofree char *put = sql("INSERT OR REPLACE INTO TABLE (OWNER, name, document)"
                               " VALUES (?1, ?2, ?3)",
                               entity->policies, entity);
    if (kvg_sql_run(q->db, put, "ttt", name, kvg_query_param(q, "PolicyName"),
                    kvg_query_param(q, "PolicyDocument")) < 0)
        kvg_query_broken(q);
}

void
kvg_entity_get_policy(KvgQuery *q, const KvgEntity *entity)
{
    const char *name = kvg_entity_need(q, entity);
    if (name == NULL || !kvg_query_need_name(q, "PolicyName", 128))
        return;
    g_autofree char *get =
        sql("SELECT document FROM TABLE WHERE OWNER = ?1 AND name = ?2", entity->policies, entity);
    g_autofree char *document =
        kvg_sql_text(q->db, get, "tt", name, kvg_query_param(q, "PolicyName"));
    if (document == NULL) {
        fail_no_policy(q, entity);
        return;
    }
    kvg_query_put(q, entity->parameter, name);
    kvg_query_put(q, "PolicyName", kvg_query_param(q, "PolicyName"));
    kvg_query_put_document(q, "PolicyDocument", document);
}

static void
put_text(KvgQuery *q, KvgStatement row)
{
    g_autofree char *escaped = g_markup_escape_text(kvg_sql_column(row, 0), -1);
    g_string_append(q->result, escaped);
}

void
kvg_entity_list_policies(KvgQuery *q, const KvgEntity *entity)
{
    const char *name = kvg_entity_need(q, entity);
    g_autofree char *after = NULL;
    int64_t max;
    if (name == NULL || !kvg_query_page(q, &after, &max))
        return;
    g_autofree char *list = sql("SELECT name FROM TABLE WHERE OWNER = ?1 AND name > ?2"
                                " ORDER BY name LIMIT ?3",
                                entity->policies, entity);
    g_auto(KvgStatement) rows = kvg_sql_query(q->db, list, "tti", name, after, max + 1);
    kvg_query_list(q, rows, max, "PolicyNames", put_text);
}

/* There are no managed policies here. */
void
kvg_entity_list_attached(KvgQuery *q, const KvgEntity *entity)
{
    g_autofree char *after = NULL;
    int64_t max;
    if (kvg_entity_need(q, entity) != NULL && kvg_query_page(q, &after, &max))
        kvg_query_list(q, NULL, max, "AttachedPolicies", put_text);
}

void
kvg_entity_delete_policy(KvgQuery *q, const KvgEntity *entity)
{
    const char *name = kvg_entity_need(q, entity);
    if (name == NULL || !kvg_query_need_name(q, "PolicyName", 128))
        return;
    g_autofree char *delete =
        sql("DELETE FROM TABLE WHERE OWNER = ?1 AND name = ?2", entity->policies, entity);
    if (kvg_sql_run(q->db, delete, "tt", name, kvg_query_param(q, "PolicyName")) != 1)
        fail_no_policy(q, entity);
}

bool
kvg_entity_check_no_policies(KvgQuery *q, const KvgEntity *entity, const char *name)
{
    g_autofree char *any =
        sql("SELECT 1 FROM TABLE WHERE OWNER = ?1 LIMIT 1", entity->policies, entity);
    if (kvg_sql_int(q->db, 0, any, "t", name) == 0)
        return true;
    kvg_query_fail(q, 409, "DeleteConflict", "Cannot delete entity, must delete policies first.");
    return false;
}

/* ---- tags ---- */

static bool
check_tag(KvgQuery *q, const char *key, const char *value)
{
    const glong key_len = g_utf8_strlen(key, -1);
    if (key_len >= 1 && key_len <= 128 && g_utf8_strlen(value, -1) <= 256 &&
        g_ascii_strncasecmp(key, "aws:", 4) != 0)
        return true;
    kvg_query_fail(q, 400, "InvalidInput",
                   "Tag keys have 1 to 128 characters and do not begin with aws:, values at most "
                   "256: '%.128s'",
                   key);
    return false;
}

bool
kvg_entity_set_tags(KvgQuery *q, const KvgEntity *entity, const char *name)
{
    g_autofree char *put = sql("INSERT OR REPLACE INTO TABLE (OWNER, key, value)"
                               " VALUES (?1, ?2, ?3)",
                               entity->tags, entity);
    for (unsigned i = 1;; i++) {
        g_autofree char *key_name = g_strdup_printf("Tags.member.%u.Key", i);
        g_autofree char *value_name = g_strdup_printf("Tags.member.%u.Value", i);
        const char *key = kvg_query_param(q, key_name);
        const char *value = kvg_query_param(q, value_name);
        if (key == NULL)
            break;
        if (!check_tag(q, key, value != NULL ? value : ""))
            return false;
        if (kvg_sql_run(q->db, put, "ttt", name, key, value != NULL ? value : "") < 0) {
            kvg_query_broken(q);
            return false;
        }
    }
    g_autofree char *count =
        sql("SELECT count(*) FROM TABLE WHERE OWNER = ?1", entity->tags, entity);
    if (kvg_sql_int(q->db, 0, count, "t", name) <= MAX_TAGS)
        return true;
    kvg_query_fail(q, 409, "LimitExceeded", "Cannot exceed quota for TagsPer%s: %d", entity->title,
                   MAX_TAGS);
    return false;
}

void
kvg_entity_tag(KvgQuery *q, const KvgEntity *entity)
{
    const char *name = kvg_entity_need(q, entity);
    if (name == NULL)
        return;
    if (kvg_query_param(q, "Tags.member.1.Key") == NULL)
        kvg_query_fail(q, 400, "ValidationError",
                       "1 validation error detected: Value null at 'tags' failed to satisfy "
                       "constraint: Member must not be null");
    else
        kvg_entity_set_tags(q, entity, name);
}

void
kvg_entity_untag(KvgQuery *q, const KvgEntity *entity)
{
    const char *name = kvg_entity_need(q, entity);
    g_autofree char *delete =
        sql("DELETE FROM TABLE WHERE OWNER = ?1 AND key = ?2", entity->tags, entity);
    for (unsigned i = 1; name != NULL; i++) {
        g_autofree char *key_name = g_strdup_printf("TagKeys.member.%u", i);
        const char *key = kvg_query_param(q, key_name);
        if (key == NULL)
            return;
        if (kvg_sql_run(q->db, delete, "tt", name, key) < 0)
            kvg_query_broken(q);
    }
}

static void
put_tag(KvgQuery *q, KvgStatement row)
{
    kvg_query_put(q, "Key", kvg_sql_column(row, 0));
    kvg_query_put(q, "Value", kvg_sql_column(row, 1));
}

#define LIST_TAGS "SELECT key, value FROM TABLE WHERE OWNER = ?1 AND key > ?2 ORDER BY key LIMIT ?3"

void
kvg_entity_list_tags(KvgQuery *q, const KvgEntity *entity)
{
    const char *name = kvg_entity_need(q, entity);
    g_autofree char *after = NULL;
    int64_t max;
    if (name == NULL || !kvg_query_page(q, &after, &max))
        return;
    g_autofree char *list = sql(LIST_TAGS, entity->tags, entity);
    g_auto(KvgStatement) rows = kvg_sql_query(q->db, list, "tti", name, after, max + 1);
    kvg_query_list(q, rows, max, "Tags", put_tag);
}

void
kvg_entity_put_tags(KvgQuery *q, const KvgEntity *entity, const char *name)
{
    g_autofree char *list = sql(LIST_TAGS, entity->tags, entity);
    g_auto(KvgStatement) rows = kvg_sql_query(q->db, list, "tti", name, "", (int64_t)MAX_TAGS);
    const size_t before = q->result->len;
    g_string_append(q->result, "<Tags>");
    bool any = false;
    for (; kvg_sql_step(rows); any = true) {
        g_string_append(q->result, "<member>");
        put_tag(q, rows);
        g_string_append(q->result, "</member>");
    }
    if (any)
        g_string_append(q->result, "</Tags>");
    else
        g_string_truncate(q->result, before);
}
