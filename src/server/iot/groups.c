/* Thing groups: a tree of names, the things in them. Policies attached to a group count for the
 * certificates of its things. */
#include "server/iot/call.h"

#include <string.h>

#define NAME_MAX_CHARS 128
#define NAME_CHARS ":_-"
#define MAX_ATTRIBUTES 50
#define MAX_DEPTH 7
#define MAX_GROUPS_OF_THING 10

static const char exists_sql[] = "SELECT 1 FROM thing_group WHERE name = ?1";

/* How many groups stand above @name. */
static int64_t
depth_of(const KvgIotContext *c, const char *name)
{
    return kvg_sql_int(
        c->db, 0,
        "WITH RECURSIVE up(name) AS (SELECT ?1 UNION SELECT parent FROM thing_group g"
        " JOIN up ON g.name = up.name WHERE parent IS NOT NULL)"
        " SELECT count(*) - 1 FROM up",
        "t", name);
}

/* The properties of the body as they are kept: description and attributes (g_free). */
static bool
properties_of(KvgIotContext *c, const char **description, char **attributes)
{
    const json_t *properties = json_object_get(c->input, "thingGroupProperties");
    *description = kvg_json_get_string(properties, "thingGroupDescription");
    *attributes =
        kvg_iot_attributes(json_object_get(properties, "attributePayload"), MAX_ATTRIBUTES);
    if (*attributes != NULL && (*description == NULL || strlen(*description) <= 2028))
        return true;
    kvg_iot_fail(c, 400, "InvalidRequestException", "Invalid thingGroupProperties");
    return false;
}

static bool
check_parent(KvgIotContext *c, const char *parent)
{
    if (parent == NULL)
        return true;
    if (!kvg_iot_exists(c, exists_sql, parent)) {
        kvg_iot_not_found(c, "Thing group", parent);
        return false;
    }
    if (depth_of(c, parent) + 1 < MAX_DEPTH)
        return true;
    kvg_iot_fail(c, 410, "LimitExceededException", "Thing groups are nested too deeply");
    return false;
}

static void
answer_group(KvgIotContext *c)
{
    g_autofree char *arn = kvg_iot_arn(c->server, "thinggroup", c->name);
    g_autofree char *id =
        kvg_sql_text(c->db, "SELECT group_id FROM thing_group WHERE name = ?1", "t", c->name);
    kvg_iot_succeed(c, json_pack("{s:s, s:s, s:s?}", "thingGroupName", c->name, "thingGroupArn",
                                 arn, "thingGroupId", id));
}

static void
create_group(KvgIotContext *c)
{
    const char *parent = kvg_json_get_string(c->input, "parentGroupName");
    const char *description;
    g_autofree char *attributes = NULL;
    if (!kvg_iot_name_fits(c->name, NAME_MAX_CHARS, NAME_CHARS)) {
        kvg_iot_fail(c, 400, "InvalidRequestException", "Invalid thing group name");
        return;
    }
    if (!properties_of(c, &description, &attributes) || !check_parent(c, parent))
        return;
    g_autofree char *id = g_uuid_string_random();
    g_autofree char *arn = kvg_iot_arn(c->server, "thinggroup", c->name);
    const int made = kvg_sql_run(
        c->db, "INSERT OR IGNORE INTO thing_group VALUES (?1, ?2, ?3, ?4, ?5, 1, ?6)", "ttttti",
        c->name, id, parent, description != NULL ? description : "", attributes, c->now_ms);
    if (made < 0)
        kvg_iot_broken(c);
    else if (made == 0)
        kvg_iot_fail(c, 409, "ResourceAlreadyExistsException",
                     "Thing Group %s already exists in account", c->name);
    else if (kvg_iot_put_tags(c, arn, json_object_get(c->input, "tags")))
        answer_group(c);
}

static json_t *
ancestors(const KvgIotContext *c)
{
    json_t *list = json_array();
    g_auto(KvgStatement) rows = kvg_sql_query(
        c->db,
        "WITH RECURSIVE up(name, level) AS (SELECT parent, 1 FROM thing_group WHERE name = ?1 UNION"
        " SELECT parent, level + 1 FROM thing_group g JOIN up ON g.name = up.name)"
        " SELECT name FROM up WHERE name IS NOT NULL ORDER BY level DESC",
        "t", c->name);
    while (kvg_sql_step(rows)) {
        const char *name = kvg_sql_column(rows, 0);
        g_autofree char *arn = kvg_iot_arn(c->server, "thinggroup", name);
        json_array_append_new(list, json_pack("{s:s, s:s}", "groupName", name, "groupArn", arn));
    }
    return list;
}

static void
describe_group(KvgIotContext *c)
{
    g_auto(KvgStatement) row =
        kvg_sql_query(c->db,
                      "SELECT version, description, attributes, created_ms, parent FROM thing_group"
                      " WHERE name = ?1",
                      "t", c->name);
    if (!kvg_sql_step(row)) {
        kvg_iot_not_found(c, "Thing group", c->name);
        return;
    }
    answer_group(c);
    json_t *about = c->reply->json;
    json_t *metadata =
        json_pack("{s:o, s:o}", "creationDate", kvg_iot_seconds(sqlite3_column_int64(row, 3)),
                  "rootToParentThingGroups", ancestors(c));
    if (*kvg_sql_column(row, 4) != '\0')
        json_object_set_new(metadata, "parentGroupName", json_string(kvg_sql_column(row, 4)));
    json_object_set_new(about, "version", json_integer(sqlite3_column_int64(row, 0)));
    json_object_set_new(about, "thingGroupMetadata", metadata);
    json_t *properties = json_pack("{s:{s:o}}", "attributePayload", "attributes",
                                   kvg_iot_json(kvg_sql_column(row, 2)));
    if (*kvg_sql_column(row, 1) != '\0')
        json_object_set_new(properties, "thingGroupDescription",
                            json_string(kvg_sql_column(row, 1)));
    json_object_set_new(about, "thingGroupProperties", properties);
}

/* 0 and an answer if the group is not there, or not in the version that is asked for. */
static int64_t
check_version(KvgIotContext *c, int64_t expected)
{
    const int64_t version =
        kvg_sql_int(c->db, 0, "SELECT version FROM thing_group WHERE name = ?1", "t", c->name);
    if (version == 0) {
        kvg_iot_not_found(c, "Thing group", c->name);
    } else if (expected != 0 && expected != version) {
        kvg_iot_fail(c, 409, "VersionConflictException", "Version conflict");
        return 0;
    }
    return version;
}

static void
update_group(KvgIotContext *c)
{
    const int64_t version = check_version(c, kvg_json_get_int(c->input, "expectedVersion", 0));
    const char *description;
    g_autofree char *attributes = NULL;
    if (version == 0 || !properties_of(c, &description, &attributes))
        return;
    if (kvg_sql_run(c->db,
                    "UPDATE thing_group SET description = ?2, attributes = ?3,"
                    " version = version + 1 WHERE name = ?1",
                    "ttt", c->name, description != NULL ? description : "", attributes) != 1)
        kvg_iot_broken(c);
    else
        kvg_iot_succeed(c, json_pack("{s:I}", "version", (json_int_t)(version + 1)));
}

static void
delete_group(KvgIotContext *c)
{
    g_autofree char *expected = kvg_iot_param(c, "expectedVersion");
    if (!kvg_iot_exists(c, exists_sql, c->name)) {
        kvg_iot_succeed(c, json_object());
        return;
    }
    if (check_version(c, expected != NULL ? g_ascii_strtoll(expected, NULL, 10) : 0) == 0)
        return;
    if (kvg_iot_exists(c, "SELECT 1 FROM thing_group WHERE parent = ?1", c->name)) {
        kvg_iot_fail(c, 400, "InvalidRequestException",
                     "Cannot delete. Thing group %s has child groups", c->name);
        return;
    }
    if (kvg_sql_run(c->db, "DELETE FROM thing_group WHERE name = ?1", "t", c->name) < 0 ||
        !kvg_iot_forget_tags(c, "thinggroup"))
        kvg_iot_broken(c);
    else
        kvg_iot_succeed(c, json_object());
}

static json_t *
group_item(const KvgIotContext *c, KvgStatement row)
{
    const char *name = kvg_sql_column(row, 0);
    g_autofree char *arn = kvg_iot_arn(c->server, "thinggroup", name);
    return json_pack("{s:s, s:s}", "groupName", name, "groupArn", arn);
}

static void
list_groups(KvgIotContext *c)
{
    g_auto(KvgIotPage) page = {0};
    g_autofree char *parent = kvg_iot_param(c, "parentGroup");
    g_autofree char *prefix = kvg_iot_param(c, "namePrefixFilter");
    g_autofree char *recursive = kvg_iot_param(c, "recursive");
    if (!kvg_iot_page(c, "maxResults", "nextToken", &page))
        return;
    if (parent != NULL && !kvg_iot_exists(c, exists_sql, parent)) {
        kvg_iot_not_found(c, "Thing group", parent);
        return;
    }
    g_auto(KvgStatement) rows = kvg_sql_query(
        c->db,
        "WITH RECURSIVE down(name, level) AS (SELECT name, 0 FROM thing_group WHERE"
        " coalesce(parent, '') = ?4 UNION SELECT g.name, level + 1 FROM thing_group g JOIN down ON"
        " parent = down.name WHERE ?6)"
        " SELECT name FROM down WHERE substr(name, 1, length(?5)) = ?5 AND" KVG_IOT_PAGE_SQL(
            "name"),
        "tiitti", page.after, page.limit + 1, page.descends, parent != NULL ? parent : "",
        prefix != NULL ? prefix : "", (int64_t)(g_strcmp0(recursive, "false") != 0));
    kvg_iot_list(c, rows, "thingGroups", "nextToken", page.limit, group_item);
}

/* ---- members ---- */

/* NAME or ARN of the body (g_free); NULL if neither is there. */
static char *
given(const KvgIotContext *c, const char *kind, const char *name_key, const char *arn_key)
{
    const char *name = kvg_json_get_string(c->input, name_key);
    const char *arn = kvg_json_get_string(c->input, arn_key);
    g_autofree char *prefix = kvg_iot_arn(c->server, kind, "");
    if (name == NULL && arn != NULL && g_str_has_prefix(arn, prefix))
        name = arn + strlen(prefix);
    return g_strdup(name);
}

static bool
member_of(KvgIotContext *c, char **thing, char **group)
{
    *thing = given(c, "thing", "thingName", "thingArn");
    *group = given(c, "thinggroup", "thingGroupName", "thingGroupArn");
    if (*thing == NULL || *group == NULL) {
        kvg_iot_fail(c, 400, "InvalidRequestException", "Invalid thing or thing group");
        return false;
    }
    if (!kvg_iot_exists(c, "SELECT 1 FROM thing WHERE name = ?1", *thing)) {
        kvg_iot_not_found(c, "Thing", *thing);
        return false;
    }
    if (!kvg_iot_exists(c, exists_sql, *group)) {
        kvg_iot_not_found(c, "Thing group", *group);
        return false;
    }
    return true;
}

static void
add_member(KvgIotContext *c)
{
    g_autofree char *thing = NULL, *group = NULL;
    if (!member_of(c, &thing, &group))
        return;
    if (kvg_sql_run(c->db, "INSERT OR IGNORE INTO thing_group_member VALUES (?1, ?2)", "tt", thing,
                    group) < 0)
        kvg_iot_broken(c);
    else if (kvg_sql_int(c->db, 0, "SELECT count(*) FROM thing_group_member WHERE thing = ?1", "t",
                         thing) > MAX_GROUPS_OF_THING)
        kvg_iot_fail(c, 410, "LimitExceededException", "Thing %s is in too many groups", thing);
    else
        kvg_iot_succeed(c, json_object());
}

static void
remove_member(KvgIotContext *c)
{
    g_autofree char *thing = NULL, *group = NULL;
    if (!member_of(c, &thing, &group))
        return;
    if (kvg_sql_run(c->db, "DELETE FROM thing_group_member WHERE thing = ?1 AND thing_group = ?2",
                    "tt", thing, group) < 0)
        kvg_iot_broken(c);
    else
        kvg_iot_succeed(c, json_object());
}

static void
list_groups_of_thing(KvgIotContext *c)
{
    g_auto(KvgIotPage) page = {0};
    if (!kvg_iot_exists(c, "SELECT 1 FROM thing WHERE name = ?1", c->name)) {
        kvg_iot_not_found(c, "Thing", c->name);
        return;
    }
    if (!kvg_iot_page(c, "maxResults", "nextToken", &page))
        return;
    g_auto(KvgStatement) rows = kvg_sql_query(
        c->db,
        "SELECT thing_group FROM thing_group_member WHERE thing = ?4 AND" KVG_IOT_PAGE_SQL(
            "thing_group"),
        "tiit", page.after, page.limit + 1, page.descends, c->name);
    kvg_iot_list(c, rows, "thingGroups", "nextToken", page.limit, group_item);
}

static void
list_things_of_group(KvgIotContext *c)
{
    g_auto(KvgIotPage) page = {0};
    g_autofree char *recursive = kvg_iot_param(c, "recursive");
    if (!kvg_iot_exists(c, exists_sql, c->name)) {
        kvg_iot_not_found(c, "Thing group", c->name);
        return;
    }
    if (!kvg_iot_page(c, "maxResults", "nextToken", &page))
        return;
    g_auto(KvgStatement) rows = kvg_sql_query(
        c->db,
        "WITH RECURSIVE down(name) AS (SELECT ?4 UNION SELECT g.name FROM thing_group g JOIN down "
        "ON"
        " parent = down.name WHERE ?5)"
        " SELECT thing FROM (SELECT DISTINCT thing FROM thing_group_member JOIN down ON"
        " thing_group = down.name) WHERE" KVG_IOT_PAGE_SQL("thing"),
        "tiiti", page.after, page.limit + 1, page.descends, c->name,
        (int64_t)(g_strcmp0(recursive, "true") == 0));
    kvg_iot_list(c, rows, "things", "nextToken", page.limit, kvg_iot_name_item);
}

const KvgIotOperation kvg_iot_groups[] = {
    /* Before the patterns that they would match, too. */
    {"PUT", "/thing-groups/addThingToThingGroup", "iot:AddThingToThingGroup", NULL, add_member,
     false},
    {"PUT", "/thing-groups/removeThingFromThingGroup", "iot:RemoveThingFromThingGroup", NULL,
     remove_member, false},
    {"GET", "/thing-groups", "iot:ListThingGroups", NULL, list_groups, false},
    {"POST", "/thing-groups/{}", "iot:CreateThingGroup", "thinggroup", create_group, false},
    {"GET", "/thing-groups/{}", "iot:DescribeThingGroup", "thinggroup", describe_group, false},
    {"PATCH", "/thing-groups/{}", "iot:UpdateThingGroup", "thinggroup", update_group, false},
    {"DELETE", "/thing-groups/{}", "iot:DeleteThingGroup", "thinggroup", delete_group, false},
    {"GET", "/thing-groups/{}/things", "iot:ListThingsInThingGroup", "thinggroup",
     list_things_of_group, false},
    {"GET", "/things/{}/thing-groups", "iot:ListThingGroupsForThing", NULL, list_groups_of_thing,
     false},
    {0},
};
