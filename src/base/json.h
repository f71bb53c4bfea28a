/* jansson with scope cleanup, and getters that do not care whether a member is missing or null. */
#pragma once

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

G_DEFINE_AUTOPTR_CLEANUP_FUNC(json_t, json_decref)

/* Parses @len bytes as one JSON object, at most 2048 levels deep (jansson's own bound), duplicate
 * keys refused. Owned by the caller; NULL and KVG_ERROR_INVALID with line and column. */
json_t *kvg_json_parse_object(const void *data, size_t len, GError **error);

/* The string member @key, or NULL if absent, null or not a string. Valid while @object is. */
const char *kvg_json_get_string(const json_t *object, const char *key);
/* The number member @key, or @fallback. */
int64_t kvg_json_get_int(const json_t *object, const char *key, int64_t fallback);
bool kvg_json_get_bool(const json_t *object, const char *key, bool fallback);

/* Compact text of @value (g_free). Slashes and printable ASCII are not escaped. */
char *kvg_json_to_text(const json_t *value);
