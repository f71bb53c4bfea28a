/* Conditions: { Operator: { key: value | [values] } }, all of them must hold. Operators are a table
 * of comparisons of one request value with one policy value; negation, IfExists and the set
 * prefixes are worked out around it. */
#include "server/auth/condition.h"

#include "server/auth/pattern.h"
#include <arpa/inet.h>
#include <kvg/error.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef enum {
    ORDER_EQUAL,
    ORDER_LESS,
    ORDER_LESS_EQUAL,
    ORDER_GREATER,
    ORDER_GREATER_EQUAL
} Order;

typedef struct _Operator Operator;
struct _Operator {
    const char *name;
    bool (*compare)(const Operator *self,
                    const KvgPattern *pattern,
                    const char *policy,
                    const char *value);
    bool negated;
    bool ignore_case;
    Order order;
};

static bool
compare_text(const Operator *self, const KvgPattern *pattern, const char *policy, const char *value)
{
    return kvg_pattern_equals(pattern, value, self->ignore_case);
}

static bool
compare_like(const Operator *self, const KvgPattern *pattern, const char *policy, const char *value)
{
    return kvg_pattern_matches(pattern, value, false);
}

static bool
compare_arn(const Operator *self, const KvgPattern *pattern, const char *policy, const char *value)
{
    return kvg_pattern_matches_arn(pattern, value);
}

static bool
compare_bool(const Operator *self, const KvgPattern *pattern, const char *policy, const char *value)
{
    return g_ascii_strcasecmp(policy, value) == 0;
}

static bool
in_order(Order order, double value, double policy)
{
    switch (order) {
    case ORDER_LESS:
        return value < policy;
    case ORDER_LESS_EQUAL:
        return value <= policy;
    case ORDER_GREATER:
        return value > policy;
    case ORDER_GREATER_EQUAL:
        return value >= policy;
    case ORDER_EQUAL:
    default:
        return !(value < policy) && !(value > policy);
    }
}

static bool
parse_number(const char *text, double *number)
{
    char *end = NULL;
    *number = g_ascii_strtod(text, &end);
    return end != text && *end == '\0' && isfinite(*number);
}

static bool
compare_number(const Operator *self,
               const KvgPattern *pattern,
               const char *policy,
               const char *value)
{
    double a, b;
    return parse_number(value, &a) && parse_number(policy, &b) && in_order(self->order, a, b);
}

static bool
parse_date(const char *text, double *seconds)
{
    if (parse_number(text, seconds))
        return true;
    g_autoptr(GTimeZone) utc = g_time_zone_new_utc();
    g_autoptr(GDateTime) date = g_date_time_new_from_iso8601(text, utc);
    if (date == NULL)
        return false;
    *seconds = (double)g_date_time_to_unix(date) + g_date_time_get_microsecond(date) / 1e6;
    return true;
}

static bool
compare_date(const Operator *self, const KvgPattern *pattern, const char *policy, const char *value)
{
    double a, b;
    return parse_date(value, &a) && parse_date(policy, &b) && in_order(self->order, a, b);
}

/* "192.0.2.0/24" or a bare address; the family's bytes go to @bytes. */
static bool
parse_cidr(const char *text, int *family, uint8_t bytes[16], unsigned *prefix)
{
    g_autofree char *address = g_strdup(text);
    char *slash = strchr(address, '/');
    if (slash != NULL)
        *slash = '\0';
    *family = strchr(address, ':') != NULL ? AF_INET6 : AF_INET;
    const unsigned bits = *family == AF_INET6 ? 128 : 32;
    if (inet_pton(*family, address, bytes) != 1)
        return false;
    guint64 number = bits;
    if (slash != NULL && !g_ascii_string_to_unsigned(slash + 1, 10, 0, bits, &number, NULL))
        return false;
    *prefix = (unsigned)number;
    return true;
}

static bool
compare_address(const Operator *self,
                const KvgPattern *pattern,
                const char *policy,
                const char *value)
{
    int family, value_family;
    unsigned prefix, value_prefix;
    uint8_t net[16] = {0}, address[16] = {0};
    if (!parse_cidr(policy, &family, net, &prefix) ||
        !parse_cidr(value, &value_family, address, &value_prefix) || family != value_family)
        return false;
    for (unsigned bit = 0; bit < prefix; bit++) {
        const uint8_t mask = (uint8_t)(0x80u >> (bit % 8));
        if ((net[bit / 8] & mask) != (address[bit / 8] & mask))
            return false;
    }
    return true;
}

static const Operator operators[] = {
    {.name = "StringEquals", .compare = compare_text},
    {.name = "StringNotEquals", .compare = compare_text, .negated = true},
    {.name = "StringEqualsIgnoreCase", .compare = compare_text, .ignore_case = true},
    {.name = "StringNotEqualsIgnoreCase",
     .compare = compare_text,
     .negated = true,
     .ignore_case = true},
    {.name = "StringLike", .compare = compare_like},
    {.name = "StringNotLike", .compare = compare_like, .negated = true},
    {.name = "BinaryEquals", .compare = compare_text},
    {.name = "ArnEquals", .compare = compare_arn},
    {.name = "ArnLike", .compare = compare_arn},
    {.name = "ArnNotEquals", .compare = compare_arn, .negated = true},
    {.name = "ArnNotLike", .compare = compare_arn, .negated = true},
    {.name = "Bool", .compare = compare_bool},
    {.name = "IpAddress", .compare = compare_address},
    {.name = "NotIpAddress", .compare = compare_address, .negated = true},
    {.name = "NumericEquals", .compare = compare_number},
    {.name = "NumericNotEquals", .compare = compare_number, .negated = true},
    {.name = "NumericLessThan", .compare = compare_number, .order = ORDER_LESS},
    {.name = "NumericLessThanEquals", .compare = compare_number, .order = ORDER_LESS_EQUAL},
    {.name = "NumericGreaterThan", .compare = compare_number, .order = ORDER_GREATER},
    {.name = "NumericGreaterThanEquals", .compare = compare_number, .order = ORDER_GREATER_EQUAL},
    {.name = "DateEquals", .compare = compare_date},
    {.name = "DateNotEquals", .compare = compare_date, .negated = true},
    {.name = "DateLessThan", .compare = compare_date, .order = ORDER_LESS},
    {.name = "DateLessThanEquals", .compare = compare_date, .order = ORDER_LESS_EQUAL},
    {.name = "DateGreaterThan", .compare = compare_date, .order = ORDER_GREATER},
    {.name = "DateGreaterThanEquals", .compare = compare_date, .order = ORDER_GREATER_EQUAL},
    {.name = "Null", .compare = NULL},
};

typedef struct {
    const Operator *rule; /* NULL: unknown */
    bool if_exists;
    bool for_all; /* ForAllValues: an absent key holds */
    bool for_any;
} Parsed;

static Parsed
parse_operator(const char *name)
{
    Parsed parsed = {0};
    if (g_str_has_prefix(name, "ForAllValues:")) {
        parsed.for_all = true;
        name += strlen("ForAllValues:");
    } else if (g_str_has_prefix(name, "ForAnyValue:")) {
        parsed.for_any = true;
        name += strlen("ForAnyValue:");
    }
    g_autofree char *base = g_strdup(name);
    if (g_str_has_suffix(base, "IfExists")) {
        base[strlen(base) - strlen("IfExists")] = '\0';
        parsed.if_exists = true;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(operators); i++) {
        if (strcmp(operators[i].name, base) == 0)
            parsed.rule = &operators[i];
    }
    const bool is_null = parsed.rule != NULL && parsed.rule->compare == NULL;
    if (is_null && (parsed.if_exists || parsed.for_all || parsed.for_any))
        parsed.rule = NULL;
    return parsed;
}

static bool
is_scalar(const json_t *value)
{
    return json_is_string(value) || json_is_number(value) || json_is_boolean(value);
}

/* Numbers and booleans may be written bare. */
static char *
scalar_text(const json_t *value)
{
    if (json_is_string(value))
        return g_strdup(json_string_value(value));
    char *raw = json_dumps(value, JSON_ENCODE_ANY);
    char *text = g_strdup(raw != NULL ? raw : "");
    free(raw);
    return text;
}

static bool
check_values(const json_t *values)
{
    if (!json_is_array(values))
        return is_scalar(values);
    for (size_t i = 0; i < json_array_size(values); i++) {
        if (!is_scalar(json_array_get(values, i)))
            return false;
    }
    return json_array_size(values) > 0;
}

static bool
invalid(GError **error, const char *what, const char *name)
{
    g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "%s: %.64s", what, name);
    return false;
}

bool
kvg_condition_check(const json_t *condition, GError **error)
{
    if (!json_is_object(condition))
        return invalid(error, "Condition must be an object", "Condition");

    const char *name, *key;
    json_t *keys, *values;
    /* jansson iterates only over what it may change; nothing is changed here. */
    json_t *object = (json_t *)(uintptr_t)condition;
    json_object_foreach(object, name, keys)
    {
        if (parse_operator(name).rule == NULL)
            return invalid(error, "Invalid Condition type", name);
        if (!json_is_object(keys))
            return invalid(error, "Condition operator must hold an object", name);
        json_object_foreach(keys, key, values)
        {
            if (!check_values(values))
                return invalid(error, "Invalid condition value of", key);
        }
    }
    return true;
}

static bool
one_matches(const Operator *rule,
            const json_t *policy,
            const char *value,
            const KvgPolicyRequest *request,
            bool variables)
{
    g_autofree char *text = scalar_text(policy);
    KvgPattern *pattern = kvg_pattern_new(text, request, variables);
    if (pattern == NULL)
        return false;
    const bool matches = rule->compare(rule, pattern, text, value);
    kvg_pattern_free(pattern);
    return matches;
}

static bool
any_matches(const Operator *rule,
            const json_t *values,
            const char *value,
            const KvgPolicyRequest *request,
            bool variables)
{
    if (!json_is_array(values))
        return one_matches(rule, values, value, request, variables);
    for (size_t i = 0; i < json_array_size(values); i++) {
        if (one_matches(rule, json_array_get(values, i), value, request, variables))
            return true;
    }
    return false;
}

static bool
null_holds(const json_t *values, bool is_absent)
{
    g_autofree char *text = scalar_text(json_is_array(values) ? json_array_get(values, 0) : values);
    return (g_ascii_strcasecmp(text, "true") == 0) == is_absent;
}

/* How many of the request's values of @key there are, and how many of them fulfil the rule. */
static void
count_values(const Parsed *parsed,
             const char *key,
             const json_t *values,
             const KvgPolicyRequest *request,
             bool variables,
             size_t *n,
             size_t *n_fit)
{
    *n = *n_fit = 0;
    for (size_t i = 0; i < request->n_variables; i++) {
        const KvgPolicyVariable *variable = &request->variables[i];
        if (variable->value == NULL || g_ascii_strcasecmp(variable->key, key) != 0)
            continue;
        (*n)++;
        if (parsed->rule->compare != NULL)
            *n_fit += any_matches(parsed->rule, values, variable->value, request, variables) !=
                      parsed->rule->negated;
    }
}

static bool
key_holds(const Parsed *parsed,
          const char *key,
          const json_t *values,
          const KvgPolicyRequest *request,
          bool variables)
{
    size_t n, n_fit;
    const Operator *rule = parsed->rule;
    count_values(parsed, key, values, request, variables, &n, &n_fit);
    if (rule->compare == NULL)
        return null_holds(values, n == 0);
    if (n == 0 && parsed->for_any)
        return false;
    if (n == 0)
        return rule->negated || parsed->if_exists || parsed->for_all;
    /* Without a prefix, "not" means: none of them. */
    const bool needs_all = parsed->for_all || (rule->negated && !parsed->for_any);
    return needs_all ? n_fit == n : n_fit > 0;
}

bool
kvg_condition_holds(const json_t *condition, const KvgPolicyRequest *request, bool variables)
{
    const char *name, *key;
    json_t *keys, *values;
    json_t *object = (json_t *)(uintptr_t)condition;
    json_object_foreach(object, name, keys)
    {
        const Parsed parsed = parse_operator(name);
        if (parsed.rule == NULL)
            return false;
        json_object_foreach(keys, key, values)
        {
            if (!key_holds(&parsed, key, values, request, variables))
                return false;
        }
    }
    return true;
}
