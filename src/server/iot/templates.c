/* The calls that keep provisioning templates. One version of each; what template.c cannot carry out
 * is refused when it is made. */
#include "server/iot/call.h"
#include "server/iot/template.h"

#include <string.h>

#define MAX_NAME 36
#define MAX_BODY 10240

static void
answer_template(KvgIotContext *c)
{
    g_autofree char *arn = kvg_iot_arn(c->server, "provisioningtemplate", c->name);
    kvg_iot_succeed(c, json_pack("{s:s, s:s, s:i}", "templateArn", arn, "templateName", c->name,
                                 "defaultVersionId", 1));
}

static void
create_template(KvgIotContext *c)
{
    const char *name = kvg_json_get_string(c->input, "templateName");
    const char *body = kvg_json_get_string(c->input, "templateBody");
    const char *role = kvg_json_get_string(c->input, "provisioningRoleArn");
    g_autoptr(GError) error = NULL;
    if (!kvg_iot_name_fits(name, MAX_NAME, "_-") || role == NULL || body == NULL ||
        strlen(body) > MAX_BODY || !kvg_template_check(body, &error)) {
        kvg_iot_fail(c, 400, "InvalidRequestException", "Invalid template%s%s",
                     error != NULL ? ": " : "", error != NULL ? error->message : "");
        return;
    }
    c->name = name;
    const int made = kvg_sql_run(
        c->db, "INSERT OR IGNORE INTO fleet_template VALUES (?1, ?2, ?3, ?4, ?5)", "tttii", name,
        body, role, (int64_t)kvg_json_get_bool(c->input, "enabled", false), c->now_ms);
    if (made < 0)
        kvg_iot_broken(c);
    else if (made == 0)
        kvg_iot_fail(c, 409, "ResourceAlreadyExistsException",
                     "Provisioning template %s already exists", name);
    else
        answer_template(c);
}

static json_t *
template_item(const KvgIotContext *c, KvgStatement row)
{
    const char *name = kvg_sql_column(row, 0);
    g_autofree char *arn = kvg_iot_arn(c->server, "provisioningtemplate", name);
    const int64_t created_ms = sqlite3_column_int64(row, 2);
    return json_pack("{s:s, s:s, s:b, s:o, s:o, s:s}", "templateName", name, "templateArn", arn,
                     "enabled", sqlite3_column_int(row, 1), "creationDate",
                     kvg_iot_seconds(created_ms), "lastModifiedDate", kvg_iot_seconds(created_ms),
                     "type", "FLEET_PROVISIONING");
}

static void
describe_template(KvgIotContext *c)
{
    g_auto(KvgStatement) row = kvg_sql_query(
        c->db,
        "SELECT name, is_enabled, created_ms, body, role_arn FROM fleet_template WHERE name = ?1",
        "t", c->name);
    if (!kvg_sql_step(row)) {
        kvg_iot_not_found(c, "Provisioning template", c->name);
        return;
    }
    json_t *about = template_item(c, row);
    json_object_set_new(about, "defaultVersionId", json_integer(1));
    json_object_set_new(about, "templateBody", json_string(kvg_sql_column(row, 3)));
    json_object_set_new(about, "provisioningRoleArn", json_string(kvg_sql_column(row, 4)));
    kvg_iot_succeed(c, about);
}

static void
list_templates(KvgIotContext *c)
{
    g_auto(KvgIotPage) page = {0};
    if (!kvg_iot_page(c, "maxResults", "nextToken", &page))
        return;
    g_auto(KvgStatement) rows = kvg_sql_query(
        c->db,
        "SELECT name, is_enabled, created_ms FROM fleet_template WHERE" KVG_IOT_PAGE_SQL("name"),
        "tii", page.after, page.limit + 1, page.descends);
    kvg_iot_list(c, rows, "templates", "nextToken", page.limit, template_item);
}

static void
delete_template(KvgIotContext *c)
{
    const int gone = kvg_sql_run(c->db, "DELETE FROM fleet_template WHERE name = ?1", "t", c->name);
    if (gone < 0)
        kvg_iot_broken(c);
    else if (gone == 0)
        kvg_iot_not_found(c, "Provisioning template", c->name);
    else
        kvg_iot_succeed(c, json_object());
}

const KvgIotOperation kvg_iot_templates[] = {
    {"GET", "/provisioning-templates", "iot:ListProvisioningTemplates", NULL, list_templates,
     false},
    {"POST", "/provisioning-templates", "iot:CreateProvisioningTemplate", NULL, create_template,
     false},
    {"GET", "/provisioning-templates/{}", "iot:DescribeProvisioningTemplate",
     "provisioningtemplate", describe_template, false},
    {"DELETE", "/provisioning-templates/{}", "iot:DeleteProvisioningTemplate",
     "provisioningtemplate", delete_template, false},
    {0},
};
