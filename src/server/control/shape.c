/* Every check walks the shape; see shape.h. Wording: the validation errors of the AWS services. */
#include "server/control/shape.h"

#include <string.h>

/* What of a refused value an error repeats. */
#define MAX_SHOWN_CHARS 256
/* Nothing this long fits any pattern of ours; the length alone is complained about. */
#define MAX_MATCHED_BYTES 8192

typedef struct {
    GString *text;
    unsigned n;
    char *wrong_type; /* the first ends the check */
} Check;

static char *
show_value(const json_t *value)
{
    if (value == NULL || json_is_null(value))
        return g_strdup("null");
    g_autofree char *text = json_is_string(value)
                                ? g_strdup(json_string_value(value))
                                : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    g_autofree char *shown =
        g_utf8_substring(text, 0, MIN(g_utf8_strlen(text, -1), (glong)MAX_SHOWN_CHARS));
    return g_strdup_printf("'%s'", shown);
}

static void
report(Check *c, const char *path, const json_t *value, const char *constraint)
{
    g_autofree char *shown = show_value(value);
    g_string_append_printf(c->text, "%sValue %s at '%s' failed to satisfy constraint: %s",
                           c->n > 0 ? "; " : "", shown, path, constraint);
    c->n++;
}

static void
report_type(Check *c, KvgShapeKind wanted, const json_t *value)
{
    static const char *const names[] = {"a String",    "an Integer", "a Boolean", "a Timestamp",
                                        "a structure", "a list",     "a map"};
    const char *given = json_is_string(value)    ? "STRING_VALUE"
                        : json_is_number(value)  ? "NUMBER_VALUE"
                        : json_is_boolean(value) ? "BOOLEAN_VALUE"
                        : json_is_array(value)   ? "LIST_VALUE"
                                                 : "STRUCTURE_VALUE";
    c->wrong_type = g_strdup_printf("%s can not be converted to %s", given, names[wanted]);
}

/* The service's names begin with a small letter: "streamARN", "aPIName". */
static char *
join_path(const char *parent, const char *name)
{
    char *path = *parent != '\0' ? g_strdup_printf("%s.%s", parent, name) : g_strdup(name);
    char *first = path + strlen(path) - strlen(name);
    *first = g_ascii_tolower(*first);
    return path;
}

/* GLib's \w knows all alphabets, the service's only ASCII. */
static bool
pattern_fits(const char *pattern, const char *text)
{
    g_autoptr(GString) whole = g_string_new(NULL);
    g_string_printf(whole, "\\A(?:%s)\\z", pattern);
    g_string_replace(whole, "\\w", "a-zA-Z0-9_", 0);
    g_string_replace(whole, "\\d", "0-9", 0);
    return g_regex_match_simple(whole->str, text, 0, 0);
}

static char *
enum_constraint(const KvgShape *shape)
{
    g_autofree char *all = g_strjoinv(", ", (char **)(uintptr_t)shape->values);
    return g_strdup_printf("Member must satisfy enum value set: [%s]", all);
}

/* What a text must satisfy, in words; with @text only what it does not. */
static GPtrArray *
text_constraints(const KvgShape *shape, const char *text)
{
    GPtrArray *all = g_ptr_array_new_with_free_func(g_free);
    const int64_t len = text != NULL ? g_utf8_strlen(text, -1) : 0;
    const size_t n_bytes = text != NULL ? strlen(text) : 0;
    if (shape->max > 0 && (text == NULL || len > shape->max))
        g_ptr_array_add(all, g_strdup_printf("Member must have length less than or equal to %d",
                                             (int)shape->max));
    if (shape->min > 0 && (text == NULL || len < shape->min))
        g_ptr_array_add(all, g_strdup_printf("Member must have length greater than or equal to %d",
                                             (int)shape->min));
    const bool is_matched = n_bytes <= MAX_MATCHED_BYTES;
    if (shape->pattern != NULL &&
        (text == NULL || (is_matched && !pattern_fits(shape->pattern, text))))
        g_ptr_array_add(all, g_strdup_printf("Member must satisfy regular expression pattern: %s",
                                             shape->pattern));
    if (shape->values != NULL && (text == NULL || !g_strv_contains(shape->values, text)))
        g_ptr_array_add(all, enum_constraint(shape));
    return all;
}

static bool
text_fits(const KvgShape *shape, const char *text)
{
    g_autoptr(GPtrArray) violated = text_constraints(shape, text);
    return violated->len == 0;
}

/* "Map keys must satisfy constraint: [..., ...]" */
static void
report_elements(
    Check *c, const char *path, const json_t *value, const char *what, const KvgShape *shape)
{
    g_autoptr(GPtrArray) all = text_constraints(shape, NULL);
    g_ptr_array_add(all, NULL);
    g_autofree char *list = g_strjoinv(", ", (char **)all->pdata);
    g_autofree char *text = g_strdup_printf("%s must satisfy constraint: [%s]", what, list);
    report(c, path, value, text);
}

static void
check_count(Check *c, const KvgShape *shape, const json_t *value, const char *path, size_t n)
{
    g_autofree char *text = NULL;
    if (shape->max > 0 && n > (size_t)shape->max)
        text = g_strdup_printf("Member must have length less than or equal to %d", (int)shape->max);
    else if (n < (size_t)shape->min)
        text =
            g_strdup_printf("Member must have length greater than or equal to %d", (int)shape->min);
    if (text != NULL)
        report(c, path, value, text);
}

static void check_value(Check *c, const KvgShape *shape, const json_t *value, const char *path);

static void
check_text(Check *c, const KvgShape *shape, const json_t *value, const char *path)
{
    g_autoptr(GPtrArray) violated = text_constraints(shape, json_string_value(value));
    for (guint i = 0; i < violated->len; i++)
        report(c, path, value, g_ptr_array_index(violated, i));
}

static void
check_integer(Check *c, const KvgShape *shape, const json_t *value, const char *path)
{
    const json_int_t number = json_integer_value(value);
    g_autofree char *text = NULL;
    if (number < shape->min)
        text =
            g_strdup_printf("Member must have value greater than or equal to %d", (int)shape->min);
    else if (shape->max > 0 && number > shape->max)
        text = g_strdup_printf("Member must have value less than or equal to %d", (int)shape->max);
    if (text != NULL)
        report(c, path, value, text);
}

static void
check_list(Check *c, const KvgShape *shape, const json_t *value, const char *path)
{
    const size_t n = json_array_size(value);
    check_count(c, shape, value, path, n);
    for (size_t i = 0; i < n && c->wrong_type == NULL; i++) {
        const json_t *item = json_array_get(value, i);
        if (shape->element->kind == KVG_SHAPE_STRING && json_is_string(item)) {
            if (text_fits(shape->element, json_string_value(item)))
                continue;
            report_elements(c, path, value, "Member", shape->element);
            return; /* once for the list */
        }
        g_autofree char *item_path = g_strdup_printf("%s.%zu.member", path, i + 1);
        check_value(c, shape->element, item, item_path);
    }
}

static void
check_map(Check *c, const KvgShape *shape, const json_t *value, const char *path)
{
    const char *key;
    json_t *item;
    bool keys_fit = true, values_fit = true;
    check_count(c, shape, value, path, json_object_size(value));
    json_object_foreach((json_t *)(uintptr_t)value, key, item)
    {
        if (!json_is_string(item)) {
            report_type(c, KVG_SHAPE_STRING, item);
            return;
        }
        keys_fit = keys_fit && text_fits(shape->key, key);
        values_fit = values_fit && text_fits(shape->element, json_string_value(item));
    }
    if (!keys_fit)
        report_elements(c, path, value, "Map keys", shape->key);
    if (!values_fit)
        report_elements(c, path, value, "Map value", shape->element);
}

static void
check_members(Check *c, const KvgShape *shape, const json_t *value, const char *path)
{
    for (const KvgMember *member = shape->members; member->name != NULL; member++) {
        const json_t *item = json_object_get(value, member->name);
        g_autofree char *item_path = join_path(path, member->name);
        if (item != NULL && !json_is_null(item))
            check_value(c, member->shape, item, item_path);
        else if (member->is_required)
            report(c, item_path, NULL, "Member must not be null");
        if (c->wrong_type != NULL)
            return;
    }
}

static bool
has_kind(const json_t *value, KvgShapeKind kind)
{
    switch (kind) {
    case KVG_SHAPE_STRING:
        return json_is_string(value);
    case KVG_SHAPE_INTEGER:
        return json_is_integer(value);
    case KVG_SHAPE_BOOLEAN:
        return json_is_boolean(value);
    case KVG_SHAPE_TIMESTAMP:
        return json_is_number(value) || json_is_string(value);
    case KVG_SHAPE_LIST:
        return json_is_array(value);
    case KVG_SHAPE_STRUCTURE:
    case KVG_SHAPE_MAP:
        return json_is_object(value);
    default:
        return false;
    }
}

static void
check_value(Check *c, const KvgShape *shape, const json_t *value, const char *path)
{
    if (!has_kind(value, shape->kind))
        report_type(c, shape->kind, value);
    else if (shape->kind == KVG_SHAPE_STRING)
        check_text(c, shape, value, path);
    else if (shape->kind == KVG_SHAPE_INTEGER)
        check_integer(c, shape, value, path);
    else if (shape->kind == KVG_SHAPE_STRUCTURE)
        check_members(c, shape, value, path);
    else if (shape->kind == KVG_SHAPE_LIST)
        check_list(c, shape, value, path);
    else if (shape->kind == KVG_SHAPE_MAP)
        check_map(c, shape, value, path);
}

KvgShapeResult
kvg_shape_check(const KvgShape *shape, const json_t *value, char **message)
{
    g_autoptr(GString) text = g_string_new(NULL);
    Check c = {.text = text};
    check_value(&c, shape, value, "");
    if (c.wrong_type != NULL) {
        *message = c.wrong_type;
        return KVG_SHAPE_WRONG_TYPE;
    }
    if (c.n == 0)
        return KVG_SHAPE_FITS;
    *message =
        g_strdup_printf("%u validation error%s detected: %s", c.n, c.n > 1 ? "s" : "", text->str);
    return KVG_SHAPE_VIOLATED;
}
