/* kvg explain CODE: an error in words, with cause and remedy. */
#include "cli/explain.h"
#include "base/json.h"
#include "cli/command.h"
#include <stdio.h>
#include <string.h>

#define MAX_NEAREST 5

static char *
number_text(const KvgExplanation *row)
{
    if (row->number == 0)
        return NULL;
    return row->class == KVG_EXPLAIN_PRODUCER ? g_strdup_printf("0x%08x", row->number)
                                              : g_strdup_printf("%u", row->number);
}

static json_t *
row_json(const KvgExplanation *row)
{
    g_autofree char *number = number_text(row);
    json_t *object = json_pack("{s:s, s:s, s:s, s:s}", "class", kvg_explain_class_name(row->class),
                               "name", row->name, "cause", row->cause, "remedy", row->remedy);
    if (number != NULL)
        json_object_set_new(object, "number", json_string(number));
    return object;
}

static void
print_row(const KvgExplanation *row)
{
    g_autofree char *number = number_text(row);
    printf("%s%s%s (%s)\n  cause   %s\n  remedy  %s\n", number != NULL ? number : "",
           number != NULL ? " " : "", row->name, kvg_explain_class_name(row->class), row->cause,
           row->remedy);
}

/* ---- one code ---- */

static void
print_unknown(const char *code, const GPtrArray *nearest)
{
    fprintf(stderr, "kvg explain: '%.100s' is not known\n", code);
    char *end = NULL;
    const guint64 number = g_ascii_strtoull(code, &end, 16);
    const bool is_status = g_ascii_strncasecmp(code, "0x", 2) == 0 && *end == '\0' &&
                           number <= UINT32_MAX && kvg_explain_family((uint32_t)number) != NULL;
    if (is_status)
        fprintf(stderr, "It is a status of AWS's producer, %s; its log says more beside it.\n",
                kvg_explain_family((uint32_t)number));
    for (guint i = 0; i < nearest->len; i++) {
        const KvgExplanation *row = nearest->pdata[i];
        fprintf(stderr, "%s %s (%s)\n", i == 0 ? "Is it" : "   or", row->name,
                kvg_explain_class_name(row->class));
    }
    if (nearest->len == 0 && !is_status)
        fprintf(stderr, "'kvg explain' lists the classes, 'kvg explain ack' all codes of one.\n");
}

static bool
explain_code(const char *code, json_t *out)
{
    g_autoptr(GPtrArray) found = kvg_explain_find(code);
    g_autoptr(GPtrArray) nearest = kvg_explain_nearest(code, found->len == 0 ? MAX_NEAREST : 0);
    g_autoptr(json_t) explanations = json_array();
    g_autoptr(json_t) names = json_array();
    for (guint i = 0; i < found->len; i++) {
        if (out == NULL)
            print_row(found->pdata[i]);
        json_array_append_new(explanations, row_json(found->pdata[i]));
    }
    for (guint i = 0; i < nearest->len; i++)
        json_array_append_new(names, json_string(((KvgExplanation *)nearest->pdata[i])->name));
    if (out != NULL)
        json_array_append_new(out, json_pack("{s:s, s:O, s:O}", "code", code, "explanations",
                                             explanations, "nearest", names));
    else if (found->len == 0)
        print_unknown(code, nearest);
    return found->len > 0;
}

/* ---- classes ---- */

static bool
find_class(const char *name, KvgExplainClass *class)
{
    for (KvgExplainClass i = 0; i < KVG_EXPLAIN_N_CLASSES; i++) {
        if (strcmp(kvg_explain_class_name(i), name) != 0)
            continue;
        *class = i;
        return true;
    }
    return false;
}

static void
list_class(KvgExplainClass class, json_t *out)
{
    for (size_t i = 0; i < kvg_explain_count(); i++) {
        const KvgExplanation *row = kvg_explain_row(i);
        g_autofree char *number = number_text(row);
        if (row->class != class)
            continue;
        if (out != NULL)
            json_array_append_new(out, row_json(row));
        else
            printf("%-10s %-40s %s\n", number != NULL ? number : "", row->name, row->cause);
    }
}

static void
list_classes(json_t *out)
{
    for (KvgExplainClass class = 0; class < KVG_EXPLAIN_N_CLASSES; class ++) {
        int n = 0;
        for (size_t i = 0; i < kvg_explain_count(); i++)
            n += kvg_explain_row(i)->class == class;
        if (out != NULL)
            json_array_append_new(out, json_pack("{s:s, s:s, s:i}", "class",
                                                 kvg_explain_class_name(class), "about",
                                                 kvg_explain_class_about(class), "codes", n));
        else
            printf("%-10s %4d  %s\n", kvg_explain_class_name(class), n,
                   kvg_explain_class_about(class));
    }
    if (out == NULL)
        printf("\nkvg explain CLASS lists its codes. Examples of codes: 4002, 0x5200005e, 403,\n"
               "InvalidSignatureException, policy, or a whole message in quotes.\n");
}

/* ---- the command ---- */

static bool
explain_all(int argc, char **argv, json_t *out)
{
    bool ok = true;
    if (argc < 2)
        list_classes(out);
    for (int i = 1; i < argc; i++) {
        KvgExplainClass class = 0;
        if (find_class(argv[i], &class))
            list_class(class, out);
        else
            ok = explain_code(argv[i], out) && ok;
    }
    return ok;
}

int
kvg_cmd_explain(int argc, char **argv)
{
    g_autofree char *output = NULL;
    const GOptionEntry entries[] = {
        {"output", 0, 0, G_OPTION_ARG_STRING, &output, "'json': an array of objects", "FORMAT"},
        G_OPTION_ENTRY_NULL,
    };
    g_autoptr(GOptionContext) context =
        g_option_context_new("[CODE...] - say what an error means and what to do");
    g_autoptr(GError) error = NULL;
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error)) {
        fprintf(stderr, "kvg explain: %s\n", error->message);
        return 2;
    }
    if (output != NULL && strcmp(output, "json") != 0 && strcmp(output, "text") != 0) {
        fprintf(stderr, "kvg explain: --output takes 'text' or 'json', not '%.40s'\n", output);
        return 2;
    }
    const bool is_json = g_strcmp0(output, "json") == 0;
    g_autoptr(json_t) out = is_json ? json_array() : NULL;
    const bool ok = explain_all(argc, argv, out);
    if (is_json) {
        g_autofree char *text = kvg_json_to_text(out);
        printf("%s\n", text);
    }
    return ok ? 0 : 1;
}
