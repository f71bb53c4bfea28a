/* Policies attached to certificates and to thing groups. */
#include "server/iot/call.h"

#include <string.h>

/* A certificate or a thing group, by its ARN. */
typedef struct {
    char *name; /* certificate id or group */
    bool is_group;
} Target;

static void
target_clear(Target *target)
{
    g_free(target->name);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Target, target_clear)

static bool
find_target(KvgIotContext *c, const char *arn, Target *target)
{
    g_autofree char *group_prefix = kvg_iot_arn(c->server, "thinggroup", "");
    target->is_group = arn != NULL && g_str_has_prefix(arn, group_prefix);
    target->name = target->is_group ? g_strdup(arn + strlen(group_prefix))
                                    : kvg_iot_certificate_of_arn(c->server, arn);
    if (target->name == NULL) {
        kvg_iot_fail(c, 400, "InvalidRequestException", "Invalid target");
        return false;
    }
    if (!kvg_iot_exists(c,
                        target->is_group ? "SELECT 1 FROM thing_group WHERE name = ?1"
                                         : "SELECT 1 FROM certificate WHERE id = ?1",
                        target->name)) {
        kvg_iot_not_found(c, "Target", arn);
        return false;
    }
    return true;
}

static void
change_attachment(KvgIotContext *c, const char *certificate_sql, const char *group_sql)
{
    g_auto(Target) target = {0};
    if (!find_target(c, kvg_json_get_string(c->input, "target"), &target))
        return;
    if (!kvg_iot_exists(c, "SELECT 1 FROM iot_policy WHERE name = ?1", c->name)) {
        kvg_iot_not_found(c, "Policy", c->name);
        return;
    }
    if (kvg_sql_run(c->db, target.is_group ? group_sql : certificate_sql, "tt", c->name,
                    target.name) < 0)
        kvg_iot_broken(c);
    else
        kvg_iot_succeed(c, NULL);
}

static void
attach_policy(KvgIotContext *c)
{
    change_attachment(
        c, "INSERT OR IGNORE INTO policy_certificate (policy, certificate) VALUES (?1, ?2)",
        "INSERT OR IGNORE INTO policy_group (policy, thing_group) VALUES (?1, ?2)");
}

static void
detach_policy(KvgIotContext *c)
{
    change_attachment(c, "DELETE FROM policy_certificate WHERE policy = ?1 AND certificate = ?2",
                      "DELETE FROM policy_group WHERE policy = ?1 AND thing_group = ?2");
}

static json_t *
attached_item(const KvgIotContext *c, KvgStatement row)
{
    const char *name = kvg_sql_column(row, 0);
    g_autofree char *arn = kvg_iot_arn(c->server, "policy", name);
    return json_pack("{s:s, s:s}", "policyName", name, "policyArn", arn);
}

/* With recursive=true also those of the groups that a certificate's things, or a group itself, are
 * in. */
static void
list_attached(KvgIotContext *c)
{
    static const char sql[] =
        "WITH RECURSIVE up(name) AS (SELECT ?4 WHERE ?5 UNION SELECT thing_group FROM"
        " thing_certificate t JOIN thing_group_member m ON m.thing = t.thing WHERE ?6 AND NOT ?5"
        " AND certificate = ?4 UNION SELECT parent FROM thing_group g JOIN up ON g.name = up.name"
        " WHERE ?6 AND parent IS NOT NULL)"
        "SELECT policy FROM (SELECT policy FROM policy_certificate WHERE NOT ?5 AND certificate = "
        "?4"
        " UNION SELECT policy FROM policy_group JOIN up ON thing_group = up.name)"
        " WHERE" KVG_IOT_PAGE_SQL("policy");
    g_auto(KvgIotPage) page = {0};
    g_auto(Target) target = {0};
    if (!find_target(c, c->name, &target) || !kvg_iot_page(c, "pageSize", "marker", &page))
        return;
    g_autofree char *recursive = kvg_iot_param(c, "recursive");
    g_auto(KvgStatement) rows =
        kvg_sql_query(c->db, sql, "tiitii", page.after, page.limit + 1, page.descends, target.name,
                      (int64_t)target.is_group, (int64_t)(g_strcmp0(recursive, "true") == 0));
    kvg_iot_list(c, rows, "policies", "nextMarker", page.limit, attached_item);
}

static void
list_targets(KvgIotContext *c)
{
    g_auto(KvgIotPage) page = {0};
    if (!kvg_iot_exists(c, "SELECT 1 FROM iot_policy WHERE name = ?1", c->name)) {
        kvg_iot_not_found(c, "Policy", c->name);
        return;
    }
    if (!kvg_iot_page(c, "pageSize", "marker", &page))
        return;
    g_autofree char *certificates = kvg_iot_arn(c->server, "cert", "");
    g_autofree char *groups = kvg_iot_arn(c->server, "thinggroup", "");
    g_auto(KvgStatement) rows = kvg_sql_query(
        c->db,
        "SELECT arn FROM (SELECT ?5 || certificate AS arn FROM policy_certificate WHERE policy = ?4"
        " UNION SELECT ?6 || thing_group FROM policy_group WHERE policy = ?4)"
        " WHERE" KVG_IOT_PAGE_SQL("arn"),
        "tiittt", page.after, page.limit + 1, page.descends, c->name, certificates, groups);
    kvg_iot_list(c, rows, "targets", "nextMarker", page.limit, kvg_iot_name_item);
}

const KvgIotOperation kvg_iot_targets[] = {
    {"PUT", "/target-policies/{}", "iot:AttachPolicy", NULL, attach_policy, false},
    {"POST", "/target-policies/{}", "iot:DetachPolicy", NULL, detach_policy, false},
    {"POST", "/attached-policies/{}", "iot:ListAttachedPolicies", NULL, list_attached, false},
    {"POST", "/policy-targets/{}", "iot:ListTargetsForPolicy", "policy", list_targets, false},
    {0},
};
