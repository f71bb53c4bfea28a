#include "panorama/problems.h"
#include <string.h>

#define MAX_PROBLEMS 200
#define MAX_VALUE_CHARS 80

static void
problem_free(void *data)
{
    KvgProblem *problem = data;
    g_free(problem->file);
    g_free(problem->path);
    g_free(problem->value);
    g_free(problem->text);
    g_free(problem);
}

void
kvg_problems_init(KvgProblems *problems)
{
    *problems = (KvgProblems){.list = g_ptr_array_new_with_free_func(problem_free)};
}

void
kvg_problems_clear(KvgProblems *problems)
{
    g_clear_pointer(&problems->list, g_ptr_array_unref);
}

/* Control characters are escaped by JSON; what is longer is cut between characters. */
static char *
shown(const json_t *value)
{
    if (json_is_object(value) || json_is_array(value))
        return g_strdup(json_is_object(value) ? "an object" : "a list");
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    if (text == NULL)
        return NULL;
    char *result = g_utf8_strlen(text, -1) <= MAX_VALUE_CHARS ? g_strdup(text) : NULL;
    if (result == NULL) {
        g_autofree char *start = g_utf8_substring(text, 0, MAX_VALUE_CHARS);
        result = g_strconcat(start, "...", NULL);
    }
    free(text);
    return result;
}

void
kvg_problem_add(KvgProblems *problems,
                KvgSeverity severity,
                const char *file,
                const char *path,
                const json_t *value,
                const char *format,
                ...)
{
    if (severity == KVG_PROBLEM_ERROR)
        problems->n_errors++;
    if (problems->list->len >= MAX_PROBLEMS) {
        problems->n_left_out++;
        return;
    }
    KvgProblem *problem = g_new0(KvgProblem, 1);
    va_list arguments;
    va_start(arguments, format);
    problem->text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    problem->severity = severity;
    problem->file = g_strdup(file);
    problem->path = g_strdup(path);
    problem->value = value != NULL ? shown(value) : NULL;
    g_ptr_array_add(problems->list, problem);
}

static const char *
severity_word(KvgSeverity severity)
{
    static const char *const words[] = {"error", "warning", "note"};
    return words[severity];
}

char *
kvg_problem_to_text(const KvgProblem *problem)
{
    GString *text = g_string_new(NULL);
    const char *const parts[] = {problem->file, problem->path, problem->value};
    for (size_t i = 0; i < G_N_ELEMENTS(parts); i++) {
        if (parts[i] != NULL)
            g_string_append_printf(text, "%s: ", parts[i]);
    }
    if (problem->severity != KVG_PROBLEM_ERROR)
        g_string_append_printf(text, "%s: ", severity_word(problem->severity));
    g_string_append(text, problem->text);
    return g_string_free(text, FALSE);
}

json_t *
kvg_problems_to_json(const KvgProblems *problems)
{
    json_t *array = json_array();
    for (guint i = 0; i < problems->list->len; i++) {
        const KvgProblem *problem = g_ptr_array_index(problems->list, i);
        json_array_append_new(array, json_pack("{s:s, s:s?, s:s?, s:s?, s:s}", "severity",
                                               severity_word(problem->severity), "file",
                                               problem->file, "path", problem->path, "value",
                                               problem->value, "text", problem->text));
    }
    return array;
}
