#include "base/json.h"

#include <kvg/error.h>

json_t *
kvg_json_parse_object(const void *data, size_t len, GError **error)
{
    json_error_t problem;
    g_autoptr(json_t) root = json_loadb(data, len, JSON_REJECT_DUPLICATES, &problem);
    if (!root) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "invalid JSON at line %d, column %d: %s",
                    problem.line, problem.column, problem.text);
        return NULL;
    }
    if (!json_is_object(root)) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "JSON is not an object");
        return NULL;
    }
    return g_steal_pointer(&root);
}

const char *
kvg_json_get_string(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

int64_t
kvg_json_get_int(const json_t *object, const char *key, int64_t fallback)
{
    const json_t *value = json_object_get(object, key);
    return json_is_integer(value) ? json_integer_value(value) : fallback;
}

bool
kvg_json_get_bool(const json_t *object, const char *key, bool fallback)
{
    const json_t *value = json_object_get(object, key);
    return json_is_boolean(value) ? json_is_true(value) : fallback;
}

char *
kvg_json_to_text(const json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT);
    char *copy = g_strdup(text);
    free(text);
    return copy;
}
