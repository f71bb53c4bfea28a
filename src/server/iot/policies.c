/* IoT policies with their attachments, and role aliases. */
#include "server/auth/policy.h"
#include "server/iot/call.h"

#include <string.h>

#define MAX_NAME 128
#define POLICY_CHARS "_+=,.@-"
#define ALIAS_CHARS "_=,@-"
#define MAX_POLICY_CHARS 2048 /* white space not counted */
#define DEFAULT_DURATION_S 3600
#define MIN_DURATION_S 900
#define MAX_DURATION_S 43200

static size_t
dense_length(const char *text)
{
    size_t n = 0;
    for (; *text != '\0'; text++)
        n += !g_ascii_isspace(*text);
    return n;
}

static void
create_policy(KvgIotContext *c)
{
    const char *document = kvg_json_get_string(c->input, "policyDocument");
    if (!kvg_iot_name_fits(c->name, MAX_NAME, POLICY_CHARS) || document == NULL) {
        kvg_iot_fail(c, 400, "InvalidRequestException", "Invalid policy name or document");
        return;
    }
    g_autoptr(GError) error = NULL;
    g_autoptr(KvgPolicy) policy = kvg_policy_parse(document, KVG_POLICY_IOT, &error);
    if (policy == NULL || dense_length(document) > MAX_POLICY_CHARS) {
        kvg_iot_fail(c, 400, "MalformedPolicyException", "Policy document is Malformed: %s",
                     error != NULL ? error->message : "too long");
        return;
    }
    const int made = kvg_sql_run(c->db, "INSERT OR IGNORE INTO iot_policy VALUES (?1, ?2, ?3)",
                                 "tti", c->name, document, c->now_ms);
    if (made <= 0) {
        kvg_iot_fail(c, 409, "ResourceAlreadyExistsException",
                     "Policy cannot be created - name already exists (name=%s)", c->name);
        return;
    }
    g_autofree char *arn = kvg_iot_arn(c->server, "policy", c->name);
    kvg_iot_succeed(c, json_pack("{s:s, s:s, s:s, s:s}", "policyName", c->name, "policyArn", arn,
                                 "policyDocument", document, "policyVersionId", "1"));
}

static void
get_policy(KvgIotContext *c)
{
    g_auto(KvgStatement) row = kvg_sql_query(
        c->db, "SELECT document, created_ms FROM iot_policy WHERE name = ?1", "t", c->name);
    if (!kvg_sql_step(row)) {
        kvg_iot_not_found(c, "Policy", c->name);
        return;
    }
    const int64_t created_ms = sqlite3_column_int64(row, 1);
    g_autofree char *arn = kvg_iot_arn(c->server, "policy", c->name);
    kvg_iot_succeed(c,
                    json_pack("{s:s, s:s, s:s, s:s, s:o, s:o}", "policyName", c->name, "policyArn",
                              arn, "policyDocument", kvg_sql_column(row, 0), "defaultVersionId",
                              "1", "creationDate", kvg_iot_seconds(created_ms), "lastModifiedDate",
                              kvg_iot_seconds(created_ms)));
}

static void
delete_policy(KvgIotContext *c)
{
    if (kvg_iot_exists(c, "SELECT 1 FROM policy_certificate WHERE policy = ?1", c->name)) {
        kvg_iot_fail(c, 409, "DeleteConflictException",
                     "The policy cannot be deleted as the policy is attached to one or more "
                     "principals (name=%s)",
                     c->name);
        return;
    }
    const int gone = kvg_sql_run(c->db, "DELETE FROM iot_policy WHERE name = ?1", "t", c->name);
    if (gone < 0)
        kvg_iot_broken(c);
    else if (gone == 0)
        kvg_iot_not_found(c, "Policy", c->name);
    else
        kvg_iot_succeed(c, NULL);
}

/* The certificate of the body's target, or NULL and an answer. */
static char *
target_of(KvgIotContext *c, const char *target)
{
    g_autofree char *id = kvg_iot_certificate_of_arn(c->server, target);
    if (id == NULL) {
        kvg_iot_fail(c, 400, "InvalidRequestException", "Invalid target");
        return NULL;
    }
    if (!kvg_iot_exists(c, "SELECT 1 FROM certificate WHERE id = ?1", id)) {
        kvg_iot_not_found(c, "Target", target);
        return NULL;
    }
    return g_steal_pointer(&id);
}

static void
change_attachment(KvgIotContext *c, const char *sql)
{
    g_autofree char *id = target_of(c, kvg_json_get_string(c->input, "target"));
    if (id == NULL)
        return;
    if (!kvg_iot_exists(c, "SELECT 1 FROM iot_policy WHERE name = ?1", c->name)) {
        kvg_iot_not_found(c, "Policy", c->name);
        return;
    }
    if (kvg_sql_run(c->db, sql, "tt", c->name, id) < 0)
        kvg_iot_broken(c);
    else
        kvg_iot_succeed(c, NULL);
}

static void
attach_policy(KvgIotContext *c)
{
    change_attachment(
        c, "INSERT OR IGNORE INTO policy_certificate (policy, certificate) VALUES (?1, ?2)");
}

static void
detach_policy(KvgIotContext *c)
{
    change_attachment(c, "DELETE FROM policy_certificate WHERE policy = ?1 AND certificate = ?2");
}

static json_t *
attached_item(const KvgIotContext *c, KvgStatement row)
{
    const char *name = kvg_sql_column(row, 0);
    g_autofree char *arn = kvg_iot_arn(c->server, "policy", name);
    return json_pack("{s:s, s:s}", "policyName", name, "policyArn", arn);
}

static void
list_attached(KvgIotContext *c)
{
    KvgIotPage page = {0};
    g_autofree char *id = target_of(c, c->name);
    if (id == NULL || !kvg_iot_page(c, "pageSize", "marker", &page))
        return;
    g_autofree char *after = page.after;
    g_auto(KvgStatement) rows =
        kvg_sql_query(c->db,
                      "SELECT policy FROM policy_certificate WHERE certificate = ?1 AND"
                      " policy > ?2 ORDER BY policy LIMIT ?3",
                      "tti", id, after, page.limit + 1);
    kvg_iot_list(c, rows, "policies", "nextMarker", page.limit, attached_item);
}

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
    const int made = kvg_sql_run(db, "INSERT OR IGNORE INTO role_alias VALUES (?1, ?2, ?3, ?4, ?4)",
                                 "ttii", c->name, role_arn, duration_s, c->now_ms);
    kvg_state_unlock(c->server->state);
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
    if (gone < 0)
        kvg_iot_broken(c);
    else if (gone == 0)
        kvg_iot_not_found(c, "Role alias", c->name);
    else
        kvg_iot_succeed(c, json_object());
}

const KvgIotOperation kvg_iot_policies[] = {
    {"POST", "/policies/{}", "iot:CreatePolicy", "policy", create_policy, false},
    {"GET", "/policies/{}", "iot:GetPolicy", "policy", get_policy, false},
    {"DELETE", "/policies/{}", "iot:DeletePolicy", "policy", delete_policy, false},
    {"PUT", "/target-policies/{}", "iot:AttachPolicy", NULL, attach_policy, false},
    {"POST", "/target-policies/{}", "iot:DetachPolicy", NULL, detach_policy, false},
    {"POST", "/attached-policies/{}", "iot:ListAttachedPolicies", NULL, list_attached, false},
    {"POST", "/role-aliases/{}", "iot:CreateRoleAlias", "rolealias", create_alias, true},
    {"PUT", "/role-aliases/{}", "iot:UpdateRoleAlias", "rolealias", update_alias, true},
    {"GET", "/role-aliases/{}", "iot:DescribeRoleAlias", "rolealias", describe_alias, false},
    {"DELETE", "/role-aliases/{}", "iot:DeleteRoleAlias", "rolealias", delete_alias, false},
    {0},
};
