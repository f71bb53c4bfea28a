/* Role aliases: names under which cameras ask for the credentials of a role. */
#include "server/iot/call.h"

#include <string.h>

#define MAX_NAME 128
#define ALIAS_CHARS "_=,@-"
#define DEFAULT_DURATION_S 3600
#define MIN_DURATION_S 900
#define MAX_DURATION_S 43200

static bool
is_role_arn(const KvgServer *server, const char *arn)
{
    g_autofree char *prefix = g_strdup_printf("arn:aws:iam::%s:role/", server->account);
    return arn != NULL && g_str_has_prefix(arn, prefix) && arn[strlen(prefix)] != '\0' &&
           strlen(arn) <= 2048;
}

/* roleArn and credentialDurationSeconds, checked; defaults for what is absent. */
static bool
alias_input(KvgIotContext *c, const char **role_arn, int64_t *duration_s)
{
    const char *given = kvg_json_get_string(c->input, "roleArn");
    if (given != NULL)
        *role_arn = given;
    *duration_s = kvg_json_get_int(c->input, "credentialDurationSeconds", *duration_s);
    if (!is_role_arn(c->server, *role_arn) || *duration_s < MIN_DURATION_S ||
        *duration_s > MAX_DURATION_S) {
        kvg_iot_fail(c, 400, "InvalidRequestException",
                     "Invalid roleArn, or credentialDurationSeconds outside 900 to 43200");
        return false;
    }
    /* Without this, who may write aliases could hand out any role. */
    if (!kvg_auth_allows(c->server, c->caller, "iam:PassRole", *role_arn)) {
        kvg_iot_fail(c, 403, "AccessDeniedException",
                     "User: %s is not authorized to perform: iam:PassRole on resource: %s",
                     c->caller->principal_arn, *role_arn);
        return false;
    }
    return true;
}

static void
answer_alias(KvgIotContext *c)
{
    g_autofree char *arn = kvg_iot_arn(c->server, "rolealias", c->name);
    kvg_iot_succeed(c, json_pack("{s:s, s:s}", "roleAlias", c->name, "roleAliasArn", arn));
}

static void
create_alias(KvgIotContext *c)
{
    const char *role_arn = NULL;
    int64_t duration_s = DEFAULT_DURATION_S;
    if (!kvg_iot_name_fits(c->name, MAX_NAME, ALIAS_CHARS)) {
        kvg_iot_fail(c, 400, "InvalidRequestException", "Invalid role alias name");
        return;
    }
    if (!alias_input(c, &role_arn, &duration_s))
        return;
    sqlite3 *db = kvg_state_lock(c->server->state);
    c->db = db; /* for the tags */
    const int made = kvg_sql_run(db, "INSERT OR IGNORE INTO role_alias VALUES (?1, ?2, ?3, ?4, ?4)",
                                 "ttii", c->name, role_arn, duration_s, c->now_ms);
    g_autofree char *arn = kvg_iot_arn(c->server, "rolealias", c->name);
    const bool is_tagged = made <= 0 || kvg_iot_put_tags(c, arn, json_object_get(c->input, "tags"));
    if (!is_tagged)
        kvg_sql_run(db, "DELETE FROM role_alias WHERE name = ?1", "t", c->name);
    kvg_state_unlock(c->server->state);
    if (!is_tagged)
        return;
    if (made < 0)
        kvg_iot_broken(c);
    else if (made == 0)
        kvg_iot_fail(c, 409, "ResourceAlreadyExistsException", "Role alias %s already exists",
                     c->name);
    else
        answer_alias(c);
}

static void
update_alias(KvgIotContext *c)
{
    g_autofree char *old_arn = NULL;
    sqlite3 *db = kvg_state_lock(c->server->state);
    old_arn = kvg_sql_text(db, "SELECT role_arn FROM role_alias WHERE name = ?1", "t", c->name);
    int64_t duration_s = kvg_sql_int(
        db, DEFAULT_DURATION_S, "SELECT duration_s FROM role_alias WHERE name = ?1", "t", c->name);
    kvg_state_unlock(c->server->state);
    if (old_arn == NULL) {
        kvg_iot_not_found(c, "Role alias", c->name);
        return;
    }
    const char *role_arn = old_arn;
    if (!alias_input(c, &role_arn, &duration_s))
        return;
    db = kvg_state_lock(c->server->state);
    const int changed = kvg_sql_run(
        db,
        "UPDATE role_alias SET role_arn = ?2, duration_s = ?3, modified_ms = ?4 WHERE name = ?1",
        "ttii", c->name, role_arn, duration_s, c->now_ms);
    kvg_state_unlock(c->server->state);
    if (changed < 0)
        kvg_iot_broken(c);
    else
        answer_alias(c);
}

static void
describe_alias(KvgIotContext *c)
{
    g_auto(KvgStatement) row = kvg_sql_query(
        c->db,
        "SELECT role_arn, duration_s, created_ms, modified_ms FROM role_alias WHERE name = ?1", "t",
        c->name);
    if (!kvg_sql_step(row)) {
        kvg_iot_not_found(c, "Role alias", c->name);
        return;
    }
    g_autofree char *arn = kvg_iot_arn(c->server, "rolealias", c->name);
    json_t *about =
        json_pack("{s:s, s:s, s:s, s:s, s:I, s:o, s:o}", "roleAlias", c->name, "roleAliasArn", arn,
                  "roleArn", kvg_sql_column(row, 0), "owner", c->server->account,
                  "credentialDurationSeconds", (json_int_t)sqlite3_column_int64(row, 1),
                  "creationDate", kvg_iot_seconds(sqlite3_column_int64(row, 2)), "lastModifiedDate",
                  kvg_iot_seconds(sqlite3_column_int64(row, 3)));
    kvg_iot_succeed(c, json_pack("{s:o}", "roleAliasDescription", about));
}

static void
delete_alias(KvgIotContext *c)
{
    const int gone = kvg_sql_run(c->db, "DELETE FROM role_alias WHERE name = ?1", "t", c->name);
    if (gone < 0 || !kvg_iot_forget_tags(c, "rolealias"))
        kvg_iot_broken(c);
    else if (gone == 0)
        kvg_iot_not_found(c, "Role alias", c->name);
    else
        kvg_iot_succeed(c, json_object());
}

static void
list_aliases(KvgIotContext *c)
{
    g_auto(KvgIotPage) page = {0};
    if (!kvg_iot_page(c, "pageSize", "marker", &page))
        return;
    g_auto(KvgStatement) rows =
        kvg_sql_query(c->db, "SELECT name FROM role_alias WHERE" KVG_IOT_PAGE_SQL("name"), "tii",
                      page.after, page.limit + 1, page.descends);
    kvg_iot_list(c, rows, "roleAliases", "nextMarker", page.limit, kvg_iot_name_item);
}

const KvgIotOperation kvg_iot_aliases[] = {
    {"GET", "/role-aliases", "iot:ListRoleAliases", NULL, list_aliases, false},
    {"POST", "/role-aliases/{}", "iot:CreateRoleAlias", "rolealias", create_alias, true},
    {"PUT", "/role-aliases/{}", "iot:UpdateRoleAlias", "rolealias", update_alias, true},
    {"GET", "/role-aliases/{}", "iot:DescribeRoleAlias", "rolealias", describe_alias, false},
    {"DELETE", "/role-aliases/{}", "iot:DeleteRoleAlias", "rolealias", delete_alias, false},
    {0},
};
