#include "panorama/shape.h"
#include <string.h>

typedef struct {
    const char *file;
    KvgProblems *problems;
} Check;

static void
check_object(const Check *check, const KvgShape *shape, const json_t *object, const char *path);

static const char *
kind_words(KvgShapeKind kind)
{
    static const char *const words[] = {"a string",  "true or false",     "a whole number",
                                        "a number",  "a list of strings", "a list of objects",
                                        "an object", "anything"};
    return words[kind];
}

static bool
is_kind(const json_t *value, KvgShapeKind kind)
{
    switch (kind) {
    case KVG_SHAPE_STRING:
        return json_is_string(value);
    case KVG_SHAPE_BOOLEAN:
        return json_is_boolean(value);
    case KVG_SHAPE_INTEGER:
        return json_is_integer(value);
    case KVG_SHAPE_NUMBER:
        return json_is_number(value);
    case KVG_SHAPE_STRINGS:
    case KVG_SHAPE_LIST:
        return json_is_array(value);
    case KVG_SHAPE_OBJECT:
        return json_is_object(value);
    case KVG_SHAPE_ANY:
        return true;
    }
    return false;
}

static void G_GNUC_PRINTF(4, 5)
    report(const Check *check, const char *path, const json_t *value, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    kvg_problem_add(check->problems, KVG_PROBLEM_ERROR, check->file, path, value, "%s", text);
}

static void
check_bounds(const Check *check,
             const KvgShapeMember *member,
             const json_t *value,
             const json_t *show,
             const char *path)
{
    static const char *const units[] = {[KVG_SHAPE_STRING] = " characters",
                                        [KVG_SHAPE_STRINGS] = " items",
                                        [KVG_SHAPE_LIST] = " items",
                                        [KVG_SHAPE_ANY] = NULL};
    int64_t size = 0;
    if (json_is_string(value))
        size = g_utf8_strlen(json_string_value(value), -1);
    else if (json_is_array(value))
        size = (int64_t)json_array_size(value);
    else
        size = json_integer_value(value);
    const char *unit = units[member->kind] != NULL ? units[member->kind] : "";
    if (size < member->least && member->most == 0)
        report(check, path, show, "at least %d%s", (int)member->least, unit);
    else if (size < member->least || (member->most != 0 && size > member->most))
        report(check, path, show, "from %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT "%s",
               member->least, member->most, unit);
}

static void
check_string(const Check *check,
             const KvgShapeMember *member,
             const json_t *value,
             const json_t *show,
             const char *path)
{
    const char *text = json_string_value(value);
    if (member->words != NULL && !g_strv_contains(member->words, text)) {
        g_autofree char *words = g_strjoinv(", ", (char **)(uintptr_t)member->words);
        report(check, path, show, "it must be %s", member->rule != NULL ? member->rule : words);
    } else if (member->pattern != NULL &&
               !g_regex_match_simple(member->pattern, text, G_REGEX_DOLLAR_ENDONLY, 0)) {
        report(check, path, show, "it must be %s", member->rule);
    }
}

static void
check_items(const Check *check, const KvgShapeMember *member, const json_t *list, const char *path)
{
    size_t i;
    const json_t *item;
    json_array_foreach(list, i, item)
    {
        g_autofree char *item_path = g_strdup_printf("%s[%zu]", path, i);
        const bool wants_object = member->kind == KVG_SHAPE_LIST;
        if (wants_object ? !json_is_object(item) : !json_is_string(item))
            report(check, item_path, item, "it must be %s",
                   wants_object ? "an object" : "a string");
        else if (wants_object)
            check_object(check, member->choose != NULL ? member->choose(item) : member->shape, item,
                         item_path);
    }
}

static void
check_member(const Check *check,
             const KvgShapeMember *member,
             const json_t *value,
             const char *path)
{
    const json_t *show = member->hides ? NULL : value;
    if (!is_kind(value, member->kind)) {
        report(check, path, show, "it must be %s", kind_words(member->kind));
        return;
    }
    if (member->least != 0 || member->most != 0)
        check_bounds(check, member, value, show, path);
    if (json_is_string(value))
        check_string(check, member, value, show, path);
    else if (json_is_array(value) && member->kind != KVG_SHAPE_ANY)
        check_items(check, member, value, path);
    else if (json_is_object(value) && member->kind == KVG_SHAPE_OBJECT)
        check_object(check, member->choose != NULL ? member->choose(value) : member->shape, value,
                     path);
}

static const KvgShapeMember *
find_member(const KvgShape *shape, const char *name)
{
    for (size_t i = 0; i < shape->n_members; i++) {
        if (strcmp(shape->members[i].name, name) == 0)
            return &shape->members[i];
    }
    return NULL;
}

static void
check_object(const Check *check, const KvgShape *shape, const json_t *object, const char *path)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, name, value)
    {
        const KvgShapeMember *member = find_member(shape, name);
        g_autofree char *shown = g_strndup(name, 64);
        g_autofree char *valid = g_utf8_make_valid(shown, -1);
        g_autofree char *member_path = g_strconcat(path, ".", valid, NULL);
        if (member != NULL)
            check_member(check, member, value, member_path);
        else if (!shape->open)
            report(check, member_path, NULL, "%s has no such member", shape->noun);
    }
    for (size_t i = 0; i < shape->n_members; i++) {
        if (shape->members[i].required && json_object_get(object, shape->members[i].name) == NULL)
            report(check, path, NULL, "%s must have the member '%s'", shape->noun,
                   shape->members[i].name);
    }
}

void
kvg_shape_check(const KvgShape *shape,
                const json_t *object,
                const char *file,
                const char *path,
                KvgProblems *problems)
{
    const Check check = {file, problems};
    check_object(&check, shape, object, path);
}
