/* What the requests of all reading operations have in common. */
#include "server/playback/fields.h"

#include <kvg/error.h>
#include <math.h>
#include <string.h>

/* Seconds: the year 3237. */
#define MAX_TIME_S 4e10

static bool
is_absent(const json_t *member)
{
    return member == NULL || json_is_null(member);
}

bool
kvg_field_choice(const json_t *json,
                 const char *key,
                 const char *const *values,
                 int fallback,
                 int *choice,
                 GError **error)
{
    const json_t *member = json_object_get(json, key);
    *choice = fallback;
    if (is_absent(member) && fallback >= 0)
        return true;
    const char *text = json_string_value(member);
    for (int i = 0; text != NULL && values[i] != NULL; i++) {
        if (strcmp(text, values[i]) == 0) {
            *choice = i;
            return true;
        }
    }
    g_autofree char *list = g_strjoinv(", ", (char **)(uintptr_t)values);
    g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "%s must be one of: %s", key, list);
    return false;
}

bool
kvg_field_integer(const json_t *json,
                  const char *key,
                  int64_t min,
                  int64_t max,
                  int64_t fallback,
                  int64_t *value,
                  GError **error)
{
    const json_t *member = json_object_get(json, key);
    *value = fallback;
    if (is_absent(member))
        return true;
    if (json_is_integer(member))
        *value = json_integer_value(member);
    if (json_is_integer(member) && *value >= min && *value <= max)
        return true;
    g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID,
                "%s must be an integer from %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT, key, min,
                max);
    return false;
}

bool
kvg_field_text(
    const json_t *json, const char *key, size_t min, size_t max, const char **text, GError **error)
{
    const json_t *member = json_object_get(json, key);
    *text = json_string_value(member);
    if (is_absent(member))
        return true;
    const size_t len = *text != NULL ? strlen(*text) : 0;
    if (*text != NULL && len >= min && len <= max)
        return true;
    g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "%s must be a text of %zu to %zu characters",
                key, min, max);
    return false;
}

bool
kvg_field_time(
    const json_t *json, const char *key, int64_t fallback, int64_t *time_ms, GError **error)
{
    const json_t *member = json_object_get(json, key);
    *time_ms = fallback;
    if (is_absent(member))
        return true;
    const double seconds = json_number_value(member);
    if (!json_is_number(member) || !(seconds >= 0 && seconds <= MAX_TIME_S)) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "%s is not a timestamp", key);
        return false;
    }
    *time_ms = (int64_t)llround(seconds * 1000);
    return true;
}

bool
kvg_field_object(const json_t *json, const char *key, const json_t **object, GError **error)
{
    const json_t *member = json_object_get(json, key);
    *object = NULL;
    if (is_absent(member))
        return true;
    if (json_is_object(member)) {
        *object = member;
        return true;
    }
    g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "%s must be an object", key);
    return false;
}

bool
kvg_field_is_number(const char *text)
{
    return text[0] != '\0' && strspn(text, "0123456789") == strlen(text);
}

json_t *
kvg_time_to_json(int64_t time_ms)
{
    return json_real((double)time_ms / 1000);
}

bool
kvg_field_selector(const json_t *selector,
                   bool is_required,
                   KvgFragmentSelector *result,
                   GError **error)
{
    static const char *const types[] = {"SERVER_TIMESTAMP", "PRODUCER_TIMESTAMP", NULL};
    const json_t *range = NULL;
    int type = 0;
    if (!kvg_field_choice(selector, "FragmentSelectorType", types, is_required ? -1 : 0, &type,
                          error) ||
        !kvg_field_object(selector, "TimestampRange", &range, error) ||
        !kvg_field_time(range, "StartTimestamp", -1, &result->from_ms, error) ||
        !kvg_field_time(range, "EndTimestamp", -1, &result->to_ms, error))
        return false;
    result->order = type == 0 ? KVG_STORE_BY_SERVER_TIME : KVG_STORE_BY_PRODUCER_TIME;
    if (is_required && (result->from_ms < 0 || result->to_ms < 0)) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID,
                    "TimestampRange with StartTimestamp and EndTimestamp is required");
        return false;
    }
    return true;
}
