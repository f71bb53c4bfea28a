#include "config/schema.h"

#include "config/camera.h"
#include "config/config.h"
#include "config/keys.h"
#include "config/site.h"

#include <string.h>

static json_t *table_schema(const KvgConfigKey *keys);

static json_t *
text_schema(const char *pattern)
{
    return pattern != NULL ? json_pack("{s:s, s:s}", "type", "string", "pattern", pattern)
                           : json_pack("{s:[s, s]}", "type", "string", "number");
}

static json_t *
number_schema(const KvgConfigKey *key)
{
    json_t *schema = json_pack("{s:s, s:I}", "type", "integer", "minimum", (json_int_t)key->least);
    if (key->most != 0)
        json_object_set_new(schema, "maximum", json_integer((json_int_t)key->most));
    return schema;
}

/* What one value of @key may be, apart from its words. */
static json_t *
kind_schema(const KvgConfigKey *key)
{
    switch (key->kind) {
    case KVG_CONFIG_TEXT:
    case KVG_CONFIG_PATH:
        return text_schema(key->pattern);
    case KVG_CONFIG_SWITCH:
        return json_pack("{s:[b, b, s, s]}", "enum", 1, 0, "on", "off");
    case KVG_CONFIG_NUMBER:
        return number_schema(key);
    case KVG_CONFIG_SIZE:
        return json_pack("{s:[s, s], s:s}", "type", "string", "integer", "pattern",
                         "^[0-9]+(B|[kK]B|[MGT]B|[KMGT]iB)?$");
    case KVG_CONFIG_DURATION:
        return text_schema("^[0-9]+(ms|s|m|h|d)$");
    case KVG_CONFIG_BIT_RATE:
        return json_pack("{s:[s, s], s:s}", "type", "string", "integer", "pattern",
                         "^[0-9]+[kM]?$");
    case KVG_CONFIG_MAPPING:
        return table_schema(key->keys);
    case KVG_CONFIG_NAMED:
        return json_pack("{s:s, s:o, s:o}", "type", "object", "propertyNames",
                         text_schema(key->pattern), "additionalProperties",
                         key->keys != NULL ? table_schema(key->keys) : text_schema(NULL));
    case KVG_CONFIG_LIST:
        return json_pack("{s:s, s:o}", "type", "array", "items",
                         key->keys != NULL ? table_schema(key->keys) : text_schema(key->pattern));
    case KVG_CONFIG_CHOICE:
        break;
    }
    return NULL;
}

static json_t *
words_schema(const char *words)
{
    g_auto(GStrv) list = g_strsplit(words, "|", -1);
    json_t *array = json_array();
    for (char **word = list; *word != NULL; word++)
        json_array_append_new(array, json_string(*word));
    return json_pack("{s:o}", "enum", array);
}

/* Whether "${NAME}" must be allowed besides. */
static bool
needs_variable(const KvgConfigKey *key)
{
    const bool is_scalar = key->kind != KVG_CONFIG_MAPPING && key->kind != KVG_CONFIG_NAMED &&
                           key->kind != KVG_CONFIG_LIST;
    const bool is_any_text =
        (key->kind == KVG_CONFIG_TEXT || key->kind == KVG_CONFIG_PATH) && key->pattern == NULL;
    return is_scalar && !is_any_text;
}

/* The default with the type that a YAML reader gives it. */
static json_t *
standard_value(const KvgConfigKey *key)
{
    if (key->kind == KVG_CONFIG_SWITCH)
        return json_boolean(g_str_equal(key->standard, "on"));
    guint64 number = 0;
    if (key->kind == KVG_CONFIG_NUMBER &&
        g_ascii_string_to_unsigned(key->standard, 10, 0, INT64_MAX, &number, NULL))
        return json_integer((json_int_t)number);
    return json_string(key->standard);
}

static json_t *
key_schema(const KvgConfigKey *key)
{
    json_t *ways = json_array();
    json_t *kind = kind_schema(key);
    if (kind != NULL)
        json_array_append_new(ways, kind);
    if (key->words != NULL)
        json_array_append_new(ways, words_schema(key->words));
    if (needs_variable(key))
        json_array_append_new(ways, json_pack("{s:s}", "$ref", "#/$defs/variable"));
    json_t *schema = json_array_size(ways) == 1 ? json_incref(json_array_get(ways, 0))
                                                : json_pack("{s:O}", "anyOf", ways);
    json_decref(ways);
    json_object_set_new(schema, "description", json_string(key->about));
    if (key->standard != NULL)
        json_object_set_new(schema, "default", standard_value(key));
    return schema;
}

static json_t *
table_schema(const KvgConfigKey *keys)
{
    json_t *properties = json_object();
    json_t *required = json_array();
    for (const KvgConfigKey *key = keys; key->name != NULL; key++) {
        json_object_set_new(properties, key->name, key_schema(key));
        if (key->is_required)
            json_array_append_new(required, json_string(key->name));
    }
    json_t *schema = json_pack("{s:s, s:o, s:b}", "type", "object", "properties", properties,
                               "additionalProperties", 0);
    if (json_array_size(required) > 0)
        json_object_set(schema, "required", required);
    json_decref(required);
    return schema;
}

json_t *
kvg_config_schema(void)
{
    json_t *schema = table_schema(kvg_config_site_keys);
    json_object_set_new(schema, "$schema",
                        json_string("https://json-schema.org/draft/2020-12/schema"));
    json_object_set_new(schema, "title", json_string("kvg.yaml"));
    json_object_set_new(schema, "$defs",
                        json_pack("{s:{s:s, s:s, s:s}}", "variable", "type", "string", "pattern",
                                  "\\$", "description",
                                  "${NAME} is replaced by the environment variable; $$ is a $"));
    return schema;
}
