/* The registry: things and the certificates attached to them. */
#include "server/iot/call.h"

#include <stdlib.h>
#include <string.h>

#define NAME_MAX_CHARS 128
#define NAME_CHARS ":_-"
#define MAX_ATTRIBUTES 3 /* of a thing without a type */
#define MAX_ATTRIBUTES_TYPED 50
#define MAX_ATTRIBUTE_KEY 128
#define MAX_ATTRIBUTE_VALUE 800
#define MAX_PRINCIPALS 100

static const char exists_sql[] = "SELECT 1 FROM thing WHERE name = ?1";

char *
kvg_iot_attributes(const json_t *payload, size_t max)
{
    json_t *attributes = json_object_get(payload, "attributes");
    if (attributes == NULL || json_is_null(attributes))
        return g_strdup("{}");
    if (!json_is_object(attributes) || json_object_size(attributes) > max)
        return NULL;
    const char *key;
    json_t *value;
    json_object_foreach(attributes, key, value)
    {
        if (!kvg_iot_name_fits(key, MAX_ATTRIBUTE_KEY, "_.,@/:#-") || !json_is_string(value) ||
            json_string_length(value) > MAX_ATTRIBUTE_VALUE)
            return NULL;
    }
    char *raw = json_dumps(attributes, JSON_COMPACT | JSON_SORT_KEYS);
    char *text = g_strdup(raw);
    free(raw);
    return text;
}

json_t *
kvg_iot_json(const char *text)
{
    json_t *json = json_loads(text, 0, NULL);
    return json != NULL ? json : json_object();
}

static json_t *
thing_summary(const KvgServer *server, const char *name, const char *id)
{
    g_autofree char *arn = kvg_iot_arn(server, "thing", name);
    return json_pack("{s:s, s:s, s:s}", "thingName", name, "thingArn", arn, "thingId", id);
}

/* A repeat of the same creation succeeds, as a provisioning that is resumed needs it. */
static void
answer_existing(KvgIotContext *c, const char *type, const char *attributes)
{
    g_auto(KvgStatement) row = kvg_sql_query(
        c->db, "SELECT thing_id, coalesce(type_name, ''), attributes FROM thing WHERE name = ?1",
        "t", c->name);
    if (!kvg_sql_step(row)) {
        kvg_iot_broken(c);
        return;
    }
    if (strcmp(kvg_sql_column(row, 1), type != NULL ? type : "") != 0 ||
        strcmp(kvg_sql_column(row, 2), attributes) != 0) {
        kvg_iot_fail(c, 409, "ResourceAlreadyExistsException",
                     "Thing %s already exists in account with different attributes", c->name);
        return;
    }
    kvg_iot_succeed(c, thing_summary(c->server, c->name, kvg_sql_column(row, 0)));
}

static void
create_thing(KvgIotContext *c)
{
    if (!kvg_iot_name_fits(c->name, NAME_MAX_CHARS, NAME_CHARS)) {
        kvg_iot_fail(c, 400, "InvalidRequestException", "Invalid thing name");
        return;
    }
    const char *type = kvg_json_get_string(c->input, "thingTypeName");
    const char *billing = kvg_json_get_string(c->input, "billingGroupName");
    if (billing != NULL) {
        kvg_iot_not_found(c, "Billing group", billing); /* there are none here */
        return;
    }
    g_autofree char *attributes =
        kvg_iot_attributes(json_object_get(c->input, "attributePayload"),
                           type != NULL ? MAX_ATTRIBUTES_TYPED : MAX_ATTRIBUTES);
    if (attributes == NULL ||
        (type != NULL && !kvg_iot_name_fits(type, NAME_MAX_CHARS, NAME_CHARS))) {
        kvg_iot_fail(c, 400, "InvalidRequestException", "Invalid thing attributes or type");
        return;
    }
    g_autofree char *id = g_uuid_string_random();
    const int made = kvg_sql_run(c->db, "INSERT OR IGNORE INTO thing VALUES (?1, ?2, ?3, ?4, 1)",
                                 "tttt", c->name, id, type, attributes);
    if (made < 0)
        kvg_iot_broken(c);
    else if (made == 0)
        answer_existing(c, type, attributes);
    else
        kvg_iot_succeed(c, thing_summary(c->server, c->name, id));
}

static json_t *
thing_item(const KvgIotContext *c, KvgStatement row)
{
    const char *name = kvg_sql_column(row, 0);
    g_autofree char *arn = kvg_iot_arn(c->server, "thing", name);
    json_t *item = json_pack("{s:s, s:s, s:o, s:I}", "thingName", name, "thingArn", arn,
                             "attributes", kvg_iot_json(kvg_sql_column(row, 1)), "version",
                             (json_int_t)sqlite3_column_int64(row, 2));
    const char *type = kvg_sql_column(row, 3);
    if (*type != '\0')
        json_object_set_new(item, "thingTypeName", json_string(type));
    return item;
}

static void
describe_thing(KvgIotContext *c)
{
    g_auto(KvgStatement) row =
        kvg_sql_query(c->db,
                      "SELECT name, attributes, version, type_name, thing_id FROM thing"
                      " WHERE name = ?1",
                      "t", c->name);
    if (!kvg_sql_step(row)) {
        kvg_iot_not_found(c, "Thing", c->name);
        return;
    }
    json_t *reply = thing_item(c, row);
    json_object_set_new(reply, "defaultClientId", json_string(c->name));
    json_object_set_new(reply, "thingId", json_string(kvg_sql_column(row, 4)));
    kvg_iot_succeed(c, reply);
}

static void
list_things(KvgIotContext *c)
{
    g_auto(KvgIotPage) page = {0};
    g_autofree char *key = kvg_iot_param(c, "attributeName");
    g_autofree char *value = kvg_iot_param(c, "attributeValue");
    g_autofree char *type = kvg_iot_param(c, "thingTypeName");
    if (!kvg_iot_page(c, "maxResults", "nextToken", &page))
        return;
    g_auto(KvgStatement) rows = kvg_sql_query(
        c->db,
        "SELECT name, attributes, version, type_name FROM thing WHERE (?4 IS NULL OR type_name = "
        "?4)"
        " AND (?5 IS NULL OR EXISTS (SELECT 1 FROM json_each(attributes) WHERE key = ?5 AND"
        " (?6 IS NULL OR value = ?6))) AND" KVG_IOT_PAGE_SQL("name"),
        "tiittt", page.after, page.limit + 1, page.descends, type, key, value);
    kvg_iot_list(c, rows, "things", "nextToken", page.limit, thing_item);
}

/* The attributes of the body instead of, or with merge=true over, those that are there; an empty
 * value takes one away. NULL and an answer if they are not acceptable. */
static char *
merged_attributes(KvgIotContext *c, const char *old, const char *type)
{
    const json_t *payload = json_object_get(c->input, "attributePayload");
    g_autofree char *given = kvg_iot_attributes(payload, MAX_ATTRIBUTES_TYPED);
    g_autoptr(json_t) result = payload == NULL || json_is_true(json_object_get(payload, "merge"))
                                   ? kvg_iot_json(old)
                                   : json_object();
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(payload, "attributes"), key, value)
    {
        if (json_string_length(value) > 0)
            json_object_set(result, key, value);
        else
            json_object_del(result, key);
    }
    g_autoptr(json_t) wrapped = json_pack("{s:O}", "attributes", result);
    char *text = given == NULL ? NULL
                               : kvg_iot_attributes(wrapped, *type != '\0' ? MAX_ATTRIBUTES_TYPED
                                                                           : MAX_ATTRIBUTES);
    if (text == NULL)
        kvg_iot_fail(c, 400, "InvalidRequestException", "Invalid thing attributes");
    return text;
}

static void
update_thing(KvgIotContext *c)
{
    g_auto(KvgStatement) row = kvg_sql_query(
        c->db, "SELECT attributes, coalesce(type_name, ''), version FROM thing WHERE name = ?1",
        "t", c->name);
    if (!kvg_sql_step(row)) {
        kvg_iot_not_found(c, "Thing", c->name);
        return;
    }
    const int64_t version = sqlite3_column_int64(row, 2);
    if (kvg_json_get_int(c->input, "expectedVersion", version) != version) {
        kvg_iot_fail(c, 409, "VersionConflictException", "Version conflict");
        return;
    }
    const char *type = kvg_json_get_string(c->input, "thingTypeName");
    if (type == NULL)
        type = json_is_true(json_object_get(c->input, "removeThingType")) ? ""
                                                                          : kvg_sql_column(row, 1);
    if (*type != '\0' && !kvg_iot_name_fits(type, NAME_MAX_CHARS, NAME_CHARS)) {
        kvg_iot_fail(c, 400, "InvalidRequestException", "Invalid thing type");
        return;
    }
    g_autofree char *attributes = merged_attributes(c, kvg_sql_column(row, 0), type);
    if (attributes == NULL)
        return;
    if (kvg_sql_run(c->db,
                    "UPDATE thing SET attributes = ?2, type_name = nullif(?3, ''),"
                    " version = version + 1 WHERE name = ?1",
                    "ttt", c->name, attributes, type) != 1)
        kvg_iot_broken(c);
    else
        kvg_iot_succeed(c, json_object());
}

static void
delete_thing(KvgIotContext *c)
{
    g_autofree char *expected = kvg_iot_param(c, "expectedVersion");
    const int64_t version =
        kvg_sql_int(c->db, 0, "SELECT version FROM thing WHERE name = ?1", "t", c->name);
    if (expected != NULL && version != 0 && g_ascii_strtoll(expected, NULL, 10) != version) {
        kvg_iot_fail(c, 409, "VersionConflictException", "Version conflict");
        return;
    }
    if (kvg_iot_exists(c, "SELECT 1 FROM thing_certificate WHERE thing = ?1", c->name)) {
        kvg_iot_fail(c, 400, "InvalidRequestException",
                     "Cannot delete. Thing %s is still attached to one or more principals",
                     c->name);
        return;
    }
    if (kvg_sql_run(c->db, "DELETE FROM thing WHERE name = ?1", "t", c->name) < 0)
        kvg_iot_broken(c);
    else
        kvg_iot_succeed(c, json_object());
}

/* The certificate of x-amzn-principal, or NULL and an answer. */
static char *
principal_of(KvgIotContext *c)
{
    g_autofree char *id = kvg_iot_certificate_of_arn(c->server, c->request->principal);
    if (id == NULL) {
        kvg_iot_fail(c, 400, "InvalidRequestException", "Invalid principal");
        return NULL;
    }
    if (!kvg_iot_exists(c, "SELECT 1 FROM certificate WHERE id = ?1", id)) {
        kvg_iot_not_found(c, "Principal", c->request->principal);
        return NULL;
    }
    return g_steal_pointer(&id);
}

/* A certificate attached with EXCLUSIVE_THING has this one thing only. */
static bool
check_exclusive(KvgIotContext *c, const char *id, bool wants_exclusive)
{
    const bool is_taken =
        kvg_sql_int(c->db, 0,
                    "SELECT 1 FROM thing_certificate WHERE certificate = ?1 AND thing <> ?2 AND"
                    " (is_exclusive OR ?3)",
                    "tti", id, c->name, (int64_t)wants_exclusive) == 1;
    if (is_taken)
        kvg_iot_fail(c, 400, "InvalidRequestException",
                     "Principal is attached to another thing, and one of both exclusively");
    return !is_taken;
}

static void
attach_principal(KvgIotContext *c)
{
    g_autofree char *how = kvg_iot_param(c, "thingPrincipalType");
    const bool is_exclusive = g_strcmp0(how, "EXCLUSIVE_THING") == 0;
    if (how != NULL && !is_exclusive && strcmp(how, "NON_EXCLUSIVE_THING") != 0) {
        kvg_iot_fail(c, 400, "InvalidRequestException", "Invalid thingPrincipalType");
        return;
    }
    g_autofree char *id = principal_of(c);
    if (id == NULL)
        return;
    if (!kvg_iot_exists(c, exists_sql, c->name)) {
        kvg_iot_not_found(c, "Thing", c->name);
        return;
    }
    const int64_t attached = kvg_sql_int(
        c->db, 0, "SELECT count(*) FROM thing_certificate WHERE thing = ?1", "t", c->name);
    if (attached >= MAX_PRINCIPALS) {
        kvg_iot_fail(c, 410, "LimitExceededException", "Too many principals on thing %s", c->name);
        return;
    }
    if (!check_exclusive(c, id, is_exclusive))
        return;
    if (kvg_sql_run(c->db, "INSERT OR REPLACE INTO thing_certificate VALUES (?1, ?2, ?3)", "tti",
                    c->name, id, (int64_t)is_exclusive) < 0)
        kvg_iot_broken(c);
    else
        kvg_iot_succeed(c, json_object());
}

static void
detach_principal(KvgIotContext *c)
{
    g_autofree char *id = principal_of(c);
    if (id == NULL)
        return;
    if (!kvg_iot_exists(c, exists_sql, c->name)) {
        kvg_iot_not_found(c, "Thing", c->name);
        return;
    }
    if (kvg_sql_run(c->db, "DELETE FROM thing_certificate WHERE thing = ?1 AND certificate = ?2",
                    "tt", c->name, id) < 0)
        kvg_iot_broken(c);
    else
        kvg_iot_succeed(c, json_object());
}

static void
list_thing_principals(KvgIotContext *c)
{
    g_auto(KvgIotPage) page = {0};
    if (!kvg_iot_exists(c, exists_sql, c->name)) {
        kvg_iot_not_found(c, "Thing", c->name);
        return;
    }
    if (!kvg_iot_page(c, "maxResults", "nextToken", &page))
        return;
    g_auto(KvgStatement) rows = kvg_sql_query(
        c->db,
        "SELECT certificate FROM thing_certificate WHERE thing = ?4 AND" KVG_IOT_PAGE_SQL(
            "certificate"),
        "tiit", page.after, page.limit + 1, page.descends, c->name);
    kvg_iot_list(c, rows, "principals", "nextToken", page.limit, kvg_iot_certificate_arn_item);
}

static void
list_principal_things(KvgIotContext *c)
{
    g_auto(KvgIotPage) page = {0};
    g_autofree char *id = principal_of(c);
    if (id == NULL || !kvg_iot_page(c, "maxResults", "nextToken", &page))
        return;
    g_auto(KvgStatement) rows = kvg_sql_query(
        c->db,
        "SELECT thing FROM thing_certificate WHERE certificate = ?4 AND" KVG_IOT_PAGE_SQL("thing"),
        "tiit", page.after, page.limit + 1, page.descends, id);
    kvg_iot_list(c, rows, "things", "nextToken", page.limit, kvg_iot_name_item);
}

/* Every endpoint is this server; the host is the one the caller reached it by. */
static void
describe_endpoint(KvgIotContext *c)
{
    static const char *const types[] = {"iot:Data", "iot:Data-ATS", "iot:CredentialProvider",
                                        "iot:Jobs", NULL};
    g_autofree char *type = kvg_iot_param(c, "endpointType");
    if (type != NULL && !g_strv_contains(types, type)) {
        kvg_iot_fail(c, 400, "InvalidRequestException", "Unknown endpoint type");
        return;
    }
    g_autofree char *host =
        g_strdup(c->request->host != NULL ? c->request->host : c->server->listen_address);
    char *colon = strrchr(host, ':');
    if (colon != NULL && strchr(colon, ']') == NULL && (*host == '[' || strchr(host, ':') == colon))
        *colon = '\0';
    const bool is_mqtt =
        g_strcmp0(type, "iot:CredentialProvider") != 0 && c->server->mqtt_port != 0;
    g_autofree char *address =
        g_strdup_printf("%s:%u", host, is_mqtt ? c->server->mqtt_port : c->server->mtls_port);
    kvg_iot_succeed(c, json_pack("{s:s}", "endpointAddress", address));
}

const KvgIotOperation kvg_iot_things[] = {
    {"GET", "/endpoint", "iot:DescribeEndpoint", NULL, describe_endpoint, false},
    {"GET", "/things", "iot:ListThings", NULL, list_things, false},
    {"POST", "/things/{}", "iot:CreateThing", "thing", create_thing, false},
    {"GET", "/things/{}", "iot:DescribeThing", "thing", describe_thing, false},
    {"PATCH", "/things/{}", "iot:UpdateThing", "thing", update_thing, false},
    {"DELETE", "/things/{}", "iot:DeleteThing", "thing", delete_thing, false},
    {"PUT", "/things/{}/principals", "iot:AttachThingPrincipal", NULL, attach_principal, false},
    {"DELETE", "/things/{}/principals", "iot:DetachThingPrincipal", NULL, detach_principal, false},
    {"GET", "/things/{}/principals", "iot:ListThingPrincipals", NULL, list_thing_principals, false},
    {"GET", "/principals/things", "iot:ListPrincipalThings", NULL, list_principal_things, false},
    {0},
};
