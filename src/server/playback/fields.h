/* Members of a request, checked one by one. KVG_ERROR_INVALID says what is wrong, in the words for
 * the caller. No I/O. */
#pragma once

#include "base/json.h"
#include "server/store/store.h"

/* Index of the member's value in @values (NULL-terminated); @fallback if it is absent, and if that
 * is negative the member is required. */
bool kvg_field_choice(const json_t *json,
                      const char *key,
                      const char *const *values,
                      int fallback,
                      int *choice,
                      GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool kvg_field_integer(const json_t *json,
                       const char *key,
                       int64_t min,
                       int64_t max,
                       int64_t fallback,
                       int64_t *value,
                       GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Text of @min to @max characters; NULL if it is absent. */
bool kvg_field_text(const json_t *json,
                    const char *key,
                    size_t min,
                    size_t max,
                    const char **text,
                    GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Seconds since 1970 with a fraction, to milliseconds. */
bool kvg_field_time(const json_t *json,
                    const char *key,
                    int64_t fallback,
                    int64_t *time_ms,
                    GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* The object member @key; NULL if it is absent. */
bool kvg_field_object(const json_t *json, const char *key, const json_t **object, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/* Decimal digits only. */
bool kvg_field_is_number(const char *text);

/* A time as the service's JSON has it: seconds, milliseconds as the fraction. */
json_t *kvg_time_to_json(int64_t time_ms);

typedef struct {
    KvgStoreOrder order;
    int64_t from_ms, to_ms; /* -1: not given */
} KvgFragmentSelector;
/* FragmentSelectorType and TimestampRange of @selector (NULL: neither is given). */
bool kvg_field_selector(const json_t *selector,
                        bool is_required,
                        KvgFragmentSelector *result,
                        GError **error) G_GNUC_WARN_UNUSED_RESULT;
