/* Patterns as arrays of 16-bit units: a byte, a byte that came from a variable, or a wildcard. */
#include "server/auth/pattern.h"

#include <string.h>

#define FROM_VARIABLE 0x100
#define ANY_RUN 0x200
#define ANY_ONE 0x201
#define BYTE(unit) ((char)((unit)&0xff))
#define ARN_BORDERS 5

static void
put_unit(KvgPattern *pattern, uint16_t unit)
{
    g_array_append_val(pattern, unit);
}

static void
put_literal(KvgPattern *pattern, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        put_unit(pattern, (uint16_t)(FROM_VARIABLE | (uint8_t)text[i]));
}

/* A key with several values cannot stand for one text. */
static const char *
find_variable(const KvgPolicyRequest *request, const char *name, size_t len)
{
    const char *value = NULL;
    for (size_t i = 0; i < request->n_variables; i++) {
        const KvgPolicyVariable *variable = &request->variables[i];
        if (strlen(variable->key) != len || g_ascii_strncasecmp(variable->key, name, len) != 0)
            continue;
        if (value != NULL)
            return NULL;
        value = variable->value;
    }
    return value;
}

/* ${key, 'default'} */
static bool
split_default(const char *name, size_t len, size_t *name_len, const char **value, size_t *value_len)
{
    const char *comma = memchr(name, ',', len);
    *name_len = comma == NULL ? len : (size_t)(comma - name);
    while (*name_len > 0 && name[*name_len - 1] == ' ')
        (*name_len)--;
    if (comma == NULL)
        return false;
    const char *at = comma + 1, *end = name + len;
    while (at < end && *at == ' ')
        at++;
    while (end > at && end[-1] == ' ')
        end--;
    if (end - at < 2 || *at != '\'' || end[-1] != '\'')
        return false;
    *value = at + 1;
    *value_len = (size_t)(end - at - 2);
    return true;
}

/* @name: what stands between ${ and }. */
static bool
put_variable(KvgPattern *pattern, const KvgPolicyRequest *request, const char *name, size_t len)
{
    if (len == 1 && strchr("*?$", *name) != NULL) {
        put_literal(pattern, name, 1);
        return true;
    }
    size_t name_len, fallback_len = 0;
    const char *fallback = NULL;
    const bool has_default = split_default(name, len, &name_len, &fallback, &fallback_len);
    const char *value = find_variable(request, name, name_len);
    if (value == NULL && !has_default)
        return false;
    if (value != NULL)
        put_literal(pattern, value, strlen(value));
    else
        put_literal(pattern, fallback, fallback_len);
    return true;
}

KvgPattern *
kvg_pattern_new(const char *text, const KvgPolicyRequest *request, bool variables)
{
    KvgPattern *pattern = g_array_new(false, false, sizeof(uint16_t));
    for (const char *at = text; *at != '\0'; at++) {
        const char *end = variables && at[0] == '$' && at[1] == '{' ? strchr(at, '}') : NULL;
        if (end != NULL) {
            if (!put_variable(pattern, request, at + 2, (size_t)(end - at - 2))) {
                kvg_pattern_free(pattern);
                return NULL;
            }
            at = end;
        } else if (*at == '*') {
            put_unit(pattern, ANY_RUN);
        } else if (*at == '?') {
            put_unit(pattern, ANY_ONE);
        } else {
            put_unit(pattern, (uint8_t)*at);
        }
    }
    return pattern;
}

void
kvg_pattern_free(KvgPattern *pattern)
{
    g_array_unref(pattern);
}

static bool
same_char(char a, char b, bool ignore_case)
{
    return a == b || (ignore_case && g_ascii_tolower(a) == g_ascii_tolower(b));
}

/* Only the last '*' is ever tried again, so the work is bounded by n * len. */
static bool
match_units(const uint16_t *units, size_t n, const char *text, size_t len, bool ignore_case)
{
    size_t u = 0, t = 0, star = SIZE_MAX, star_text = 0;
    while (t < len) {
        if (u < n && units[u] == ANY_RUN) {
            star = u++;
            star_text = t;
        } else if (u < n &&
                   (units[u] == ANY_ONE || same_char(BYTE(units[u]), text[t], ignore_case))) {
            u++;
            t++;
        } else if (star != SIZE_MAX) {
            u = star + 1;
            t = ++star_text;
        } else {
            return false;
        }
    }
    while (u < n && units[u] == ANY_RUN)
        u++;
    return u == n;
}

static const uint16_t *
units_of(const KvgPattern *pattern)
{
    return (const uint16_t *)(const void *)pattern->data;
}

bool
kvg_pattern_matches(const KvgPattern *pattern, const char *text, bool ignore_case)
{
    return match_units(units_of(pattern), pattern->len, text, strlen(text), ignore_case);
}

bool
kvg_pattern_matches_arn(const KvgPattern *pattern, const char *arn)
{
    const uint16_t *units = units_of(pattern);
    size_t left = pattern->len;
    if (left == 1 && units[0] == ANY_RUN)
        return true;

    for (int border = 0; border < ARN_BORDERS; border++) {
        const char *colon = strchr(arn, ':');
        size_t n = 0;
        while (n < left && units[n] != ':')
            n++;
        if (colon == NULL || n == left)
            return false;
        if (!match_units(units, n, arn, (size_t)(colon - arn), false))
            return false;
        units += n + 1;
        left -= n + 1;
        arn = colon + 1;
    }
    return match_units(units, left, arn, strlen(arn), false);
}

bool
kvg_pattern_equals(const KvgPattern *pattern, const char *text, bool ignore_case)
{
    const uint16_t *units = units_of(pattern);
    if (strlen(text) != pattern->len)
        return false;
    for (size_t i = 0; i < pattern->len; i++) {
        const char c = units[i] == ANY_RUN ? '*' : units[i] == ANY_ONE ? '?' : BYTE(units[i]);
        if (!same_char(c, text[i], ignore_case))
            return false;
    }
    return true;
}
