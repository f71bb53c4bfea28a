#include "server/iot/template.h"

#include "server/iot/call.h"
#include <kvg/error.h>
#include <string.h>

#define NAME_CHARS ":_-"
#define MAX_NAME 128
#define MAX_VALUE 1024

typedef struct {
    KvgServer *server;
    sqlite3 *db;
    const json_t *declared; /* Parameters */
    const json_t *given;    /* by the device */
    const char *certificate_id;
    int64_t now_ms;
} Scope;

static bool
fail(GError **error, const char *what, const char *name)
{
    g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "%s%s%s", what, name != NULL ? " " : "",
                name != NULL ? name : "");
    return false;
}

/* ---- values ---- */

static char *
resolve_reference(const Scope *scope, const char *name, GError **error)
{
    if (strcmp(name, "AWS::IoT::Certificate::Id") == 0)
        return g_strdup(scope->certificate_id);
    const json_t *declared = json_object_get(scope->declared, name);
    const char *value = kvg_json_get_string(scope->given, name);
    if (value == NULL)
        value = kvg_json_get_string(declared, "Default");
    if (declared == NULL || value == NULL || strlen(value) > MAX_VALUE) {
        fail(error, declared == NULL ? "Undeclared parameter" : "Missing or too long parameter",
             name);
        return NULL;
    }
    return g_strdup(value);
}

static char *resolve(const Scope *scope, const json_t *value, GError **error);

/* {"Fn::Join": ["-", [value, ...]]}; the parts are values without a Fn::Join of their own. */
static char *
resolve_join(const Scope *scope, const json_t *join, GError **error)
{
    const char *separator = json_string_value(json_array_get(join, 0));
    const json_t *parts = json_array_get(join, 1);
    g_autoptr(GString) text = g_string_new(NULL);
    for (size_t i = 0; separator != NULL && i < json_array_size(parts); i++) {
        const json_t *part = json_array_get(parts, i);
        g_autofree char *one =
            json_object_get(part, "Fn::Join") == NULL ? resolve(scope, part, error) : NULL;
        if (one == NULL) {
            if (error != NULL && *error == NULL)
                fail(error, "Fn::Join within Fn::Join", NULL);
            return NULL;
        }
        g_string_append_printf(text, "%s%s", i > 0 ? separator : "", one);
    }
    if (text->len == 0) {
        fail(error, "Fn::Join takes a separator and a list", NULL);
        return NULL;
    }
    return g_string_free(g_steal_pointer(&text), FALSE);
}

/* A text, {"Ref": NAME} or Fn::Join (g_free). */
static char *
resolve(const Scope *scope, const json_t *value, GError **error)
{
    if (json_is_string(value))
        return g_strdup(json_string_value(value));
    const char *reference = kvg_json_get_string(value, "Ref");
    if (reference != NULL)
        return resolve_reference(scope, reference, error);
    const json_t *join = json_object_get(value, "Fn::Join");
    if (join != NULL)
        return resolve_join(scope, join, error);
    fail(error, "A value must be a text, Ref or Fn::Join", NULL);
    return NULL;
}

/* ---- resources ---- */

static const json_t *
find_resource(const json_t *template, const char *type)
{
    const char *name;
    json_t *resource;
    json_object_foreach(json_object_get(template, "Resources"), name, resource)
    {
        if (g_strcmp0(kvg_json_get_string(resource, "Type"), type) == 0)
            return json_object_get(resource, "Properties");
    }
    return NULL;
}

/* AttributePayload: {name: value} as the registry keeps it (g_free). */
static char *
attributes_of(const Scope *scope, const json_t *thing, GError **error)
{
    g_autoptr(json_t) resolved = json_object();
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(thing, "AttributePayload"), key, value)
    {
        g_autofree char *text = resolve(scope, value, error);
        if (text == NULL)
            return NULL;
        json_object_set_new(resolved, key, json_string(text));
    }
    g_autoptr(json_t) payload = json_pack("{s:O}", "attributes", resolved);
    char *text = kvg_iot_attributes(payload, 3);
    if (text == NULL)
        fail(error, "The thing's attributes are not acceptable", NULL);
    return text;
}

static bool
add_to_groups(const Scope *scope, const json_t *thing, const char *name, GError **error)
{
    size_t i;
    json_t *value;
    json_array_foreach(json_object_get(thing, "ThingGroups"), i, value)
    {
        g_autofree char *group = resolve(scope, value, error);
        if (group == NULL)
            return false;
        if (kvg_sql_run(scope->db, "INSERT OR IGNORE INTO thing_group_member VALUES (?1, ?2)", "tt",
                        name, group) < 0)
            return fail(error, "There is no thing group", group);
    }
    return true;
}

/* The thing's name (g_free). */
static char *
make_thing(const Scope *scope, const json_t *thing, GError **error)
{
    g_autofree char *name = resolve(scope, json_object_get(thing, "ThingName"), error);
    if (name == NULL)
        return NULL;
    if (!kvg_iot_name_fits(name, MAX_NAME, NAME_CHARS)) {
        fail(error, "Invalid thing name", NULL);
        return NULL;
    }
    g_autofree char *attributes = attributes_of(scope, thing, error);
    g_autofree char *id = g_uuid_string_random();
    if (attributes == NULL)
        return NULL;
    if (kvg_sql_run(scope->db, "INSERT OR IGNORE INTO thing VALUES (?1, ?2, NULL, ?3, 1)", "ttt",
                    name, id, attributes) < 0 ||
        kvg_sql_run(scope->db, "INSERT OR IGNORE INTO thing_certificate VALUES (?1, ?2, 0)", "tt",
                    name, scope->certificate_id) < 0) {
        fail(error, "The thing could not be made:", name);
        return NULL;
    }
    return add_to_groups(scope, thing, name, error) ? g_steal_pointer(&name) : NULL;
}

static bool
set_status(const Scope *scope, const json_t *certificate, GError **error)
{
    const char *status = kvg_json_get_string(certificate, "Status");
    if (g_strcmp0(status, "INACTIVE") != 0)
        status = "ACTIVE";
    return kvg_sql_run(scope->db,
                       "UPDATE certificate SET status = ?2, modified_ms = ?3,"
                       " version = version + 1 WHERE id = ?1",
                       "tti", scope->certificate_id, status, scope->now_ms) == 1 ||
           fail(error, "The certificate does not exist any more", NULL);
}

static bool
attach_policy(const Scope *scope, const json_t *policy, GError **error)
{
    g_autofree char *name = resolve(scope, json_object_get(policy, "PolicyName"), error);
    if (name == NULL)
        return false;
    return kvg_sql_run(scope->db,
                       "INSERT OR IGNORE INTO policy_certificate (policy, certificate)"
                       " VALUES (?1, ?2)",
                       "tt", name, scope->certificate_id) >= 0 ||
           fail(error, "There is no policy", name);
}

json_t *
kvg_template_apply(KvgServer *server,
                   sqlite3 *db,
                   const char *body,
                   const json_t *parameters,
                   const char *certificate_id,
                   int64_t now_ms,
                   GError **error)
{
    g_autoptr(json_t) template = kvg_json_parse_object(body, strlen(body), error);
    if (template == NULL)
        return NULL;
    const Scope scope = {.server = server,
                         .db = db,
                         .declared = json_object_get(template, "Parameters"),
                         .given = parameters,
                         .certificate_id = certificate_id,
                         .now_ms = now_ms};
    const json_t *policy = find_resource(template, "AWS::IoT::Policy");
    g_autofree char *thing = make_thing(&scope, find_resource(template, "AWS::IoT::Thing"), error);
    if (thing == NULL ||
        !set_status(&scope, find_resource(template, "AWS::IoT::Certificate"), error) ||
        (policy != NULL && !attach_policy(&scope, policy, error)))
        return NULL;
    json_t *configuration = json_object_get(template, "DeviceConfiguration");
    return json_pack("{s:o, s:s}", "deviceConfiguration",
                     configuration != NULL ? json_incref(configuration) : json_object(),
                     "thingName", thing);
}

bool
kvg_template_check(const char *body, GError **error)
{
    g_autoptr(json_t) template = kvg_json_parse_object(body, strlen(body), error);
    if (template == NULL)
        return false;
    const char *name;
    json_t *resource;
    json_object_foreach(json_object_get(template, "Resources"), name, resource)
    {
        static const char *const types[] = {"AWS::IoT::Thing", "AWS::IoT::Certificate",
                                            "AWS::IoT::Policy", NULL};
        const char *type = kvg_json_get_string(resource, "Type");
        if (type == NULL || !g_strv_contains(types, type))
            return fail(error, "Unknown type of resource", name);
    }
    if (json_object_get(find_resource(template, "AWS::IoT::Policy"), "PolicyDocument") != NULL)
        return fail(error, "A policy must be given by its PolicyName", NULL);
    return (json_object_get(find_resource(template, "AWS::IoT::Thing"), "ThingName") != NULL &&
            find_resource(template, "AWS::IoT::Certificate") != NULL) ||
           fail(error, "A thing with a ThingName and a certificate are needed", NULL);
}
