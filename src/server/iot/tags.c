/* Tags of what in the registry may have some: policies, role aliases, thing groups. */
#include "server/iot/call.h"

#include <string.h>

#define MAX_TAGS 50
#define MAX_KEY 128
#define MAX_VALUE 256

static bool
put_tag(KvgIotContext *c, const char *arn, const json_t *tag)
{
    const char *key = kvg_json_get_string(tag, "Key");
    const char *value = kvg_json_get_string(tag, "Value");
    if (key == NULL || *key == '\0' || g_utf8_strlen(key, -1) > MAX_KEY ||
        g_str_has_prefix(key, "aws:") || (value != NULL && g_utf8_strlen(value, -1) > MAX_VALUE)) {
        kvg_iot_fail(c, 400, "InvalidRequestException", "Invalid tag");
        return false;
    }
    if (kvg_sql_run(c->db, "INSERT OR REPLACE INTO iot_tag VALUES (?1, ?2, ?3)", "ttt", arn, key,
                    value != NULL ? value : "") < 0) {
        kvg_iot_broken(c);
        return false;
    }
    return true;
}

bool
kvg_iot_put_tags(KvgIotContext *c, const char *arn, const json_t *tags)
{
    size_t i;
    json_t *tag;
    json_array_foreach((json_t *)(uintptr_t)tags, i, tag)
    {
        if (!put_tag(c, arn, tag))
            return false;
    }
    if (kvg_sql_int(c->db, 0, "SELECT count(*) FROM iot_tag WHERE arn = ?1", "t", arn) <= MAX_TAGS)
        return true;
    kvg_iot_fail(c, 410, "LimitExceededException", "More than %d tags on a resource", MAX_TAGS);
    return false;
}

bool
kvg_iot_forget_tags(KvgIotContext *c, const char *kind)
{
    g_autofree char *arn = kvg_iot_arn(c->server, kind, c->name);
    return kvg_sql_run(c->db, "DELETE FROM iot_tag WHERE arn = ?1", "t", arn) >= 0;
}

static bool
check_resource(KvgIotContext *c, const char *arn)
{
    static const struct {
        const char *kind, *sql;
    } kinds[] = {
        {"policy", "SELECT 1 FROM iot_policy WHERE name = ?1"},
        {"rolealias", "SELECT 1 FROM role_alias WHERE name = ?1"},
        {"thinggroup", "SELECT 1 FROM thing_group WHERE name = ?1"},
    };
    for (size_t i = 0; arn != NULL && i < G_N_ELEMENTS(kinds); i++) {
        g_autofree char *prefix = kvg_iot_arn(c->server, kinds[i].kind, "");
        if (!g_str_has_prefix(arn, prefix))
            continue;
        if (kvg_iot_exists(c, kinds[i].sql, arn + strlen(prefix)))
            return true;
        kvg_iot_not_found(c, "Resource", arn);
        return false;
    }
    kvg_iot_fail(c, 400, "InvalidRequestException", "Invalid resourceArn");
    return false;
}

static void
tag_resource(KvgIotContext *c)
{
    const char *arn = kvg_json_get_string(c->input, "resourceArn");
    if (check_resource(c, arn) && kvg_iot_put_tags(c, arn, json_object_get(c->input, "tags")))
        kvg_iot_succeed(c, json_object());
}

static void
untag_resource(KvgIotContext *c)
{
    const char *arn = kvg_json_get_string(c->input, "resourceArn");
    if (!check_resource(c, arn))
        return;
    size_t i;
    json_t *key;
    json_array_foreach(json_object_get(c->input, "tagKeys"), i, key)
    {
        if (kvg_sql_run(c->db, "DELETE FROM iot_tag WHERE arn = ?1 AND key = ?2", "tt", arn,
                        json_is_string(key) ? json_string_value(key) : "") < 0) {
            kvg_iot_broken(c);
            return;
        }
    }
    kvg_iot_succeed(c, json_object());
}

static json_t *
tag_item(const KvgIotContext *c, KvgStatement row)
{
    return json_pack("{s:s, s:s}", "Key", kvg_sql_column(row, 0), "Value", kvg_sql_column(row, 1));
}

/* All tags of a resource fit into one page. */
static void
list_tags(KvgIotContext *c)
{
    g_autofree char *arn = kvg_iot_param(c, "resourceArn");
    if (!check_resource(c, arn))
        return;
    g_auto(KvgStatement) rows = kvg_sql_query(
        c->db, "SELECT key, value FROM iot_tag WHERE arn = ?1 ORDER BY key", "t", arn);
    kvg_iot_list(c, rows, "tags", "nextToken", MAX_TAGS, tag_item);
}

const KvgIotOperation kvg_iot_tags[] = {
    {"GET", "/tags", "iot:ListTagsForResource", NULL, list_tags, false},
    {"POST", "/tags", "iot:TagResource", NULL, tag_resource, false},
    {"POST", "/untag", "iot:UntagResource", NULL, untag_resource, false},
    {0},
};
