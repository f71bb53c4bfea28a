#include "panorama/yaml.h"
#include <kvg/error.h>
#include <string.h>

/* Double-quoted; a dollar would be taken for a variable of the environment. */
static void
append_quoted(GString *out, const char *text)
{
    g_string_append_c(out, '"');
    for (const char *p = text; *p != '\0'; p++) {
        const uint8_t c = (uint8_t)*p;
        if (c == '"' || c == '\\')
            g_string_append_printf(out, "\\%c", c);
        else if (c == '$')
            g_string_append(out, "$$");
        else if (c < 0x20 || c == 0x7f)
            g_string_append_printf(out, "\\x%02x", c);
        else
            g_string_append_c(out, *p);
    }
    g_string_append_c(out, '"');
}

static void
append_key(GString *out, const char *key, const char *value)
{
    if (value == NULL)
        return;
    g_string_append_printf(out, "%s: ", key);
    append_quoted(out, value);
    g_string_append_c(out, '\n');
}

char *
kvg_yaml_site(const KvgYamlSite *site, const char *instance)
{
    GString *out = g_string_new(NULL);
    g_string_append_printf(out, "# Made by kvg import panorama (%s).\n", instance);
    append_key(out, "region", site->region);
    append_key(out, "endpoint", site->endpoint);
    append_key(out, "ca_bundle", site->ca_bundle);
    g_string_append(out, "identity:\n  directory: certs\n");
    if (site->role_alias != NULL)
        append_key(out, "  role_alias", site->role_alias);
    g_string_append(out, "cameras:\n");
    return g_string_free(out, FALSE);
}

static char *
begin_line(const char *instance)
{
    return g_strdup_printf("# panorama instance %s begins", instance);
}

static char *
end_line(const char *instance)
{
    return g_strdup_printf("# panorama instance %s ends", instance);
}

static void
append_camera(GString *out, const char *indent, const KvgPlanCamera *camera)
{
    g_autofree char *inner = g_strconcat(indent, "  ", NULL);
    g_string_append_printf(out, "%s%s:\n%ssource: ", indent, camera->name, inner);
    append_quoted(out, camera->url);
    if (camera->username != NULL) {
        g_string_append_printf(out, "\n%susername: ", inner);
        append_quoted(out, camera->username);
    }
    if (camera->password != NULL)
        g_string_append_printf(out, "\n%spassword_file: secrets/%s", inner, camera->name);
    if (camera->is_off)
        g_string_append_printf(out, "\n%sstreaming: off", inner);
    g_string_append_c(out, '\n');
}

static void
append_block(GString *out, const char *indent, const char *instance, const KvgPlan *plan)
{
    g_autofree char *begin = begin_line(instance);
    g_autofree char *end = end_line(instance);
    g_string_append_printf(out, "%s%s\n", indent, begin);
    for (guint i = 0; i < plan->cameras->len; i++)
        append_camera(out, indent, plan->cameras->pdata[i]);
    g_string_append_printf(out, "%s%s\n", indent, end);
}

/* The lines of the block within @lines, without the newlines; false: there is none. */
static bool
find_block(char **lines, const char *instance, guint *first, guint *last)
{
    g_autofree char *begin = begin_line(instance);
    g_autofree char *end = end_line(instance);
    bool has_begin = false;
    for (guint i = 0; lines[i] != NULL; i++) {
        const char *text = lines[i] + strspn(lines[i], " ");
        if (strcmp(text, begin) == 0) {
            *first = i;
            has_begin = true;
        } else if (has_begin && strcmp(text, end) == 0) {
            *last = i;
            return true;
        }
    }
    return false;
}

char *
kvg_yaml_remove(const char *existing, const char *instance)
{
    g_auto(GStrv) lines = g_strsplit(existing, "\n", -1);
    guint first, last;
    if (!find_block(lines, instance, &first, &last))
        return NULL;
    GString *out = g_string_new(NULL);
    for (guint i = 0; lines[i] != NULL; i++) {
        if (i < first || i > last)
            g_string_append_printf(out, "%s%s", lines[i], lines[i + 1] != NULL ? "\n" : "");
    }
    return g_string_free(out, FALSE);
}

static bool
is_cameras_line(const char *line)
{
    const size_t len = strlen("cameras:");
    return strncmp(line, "cameras:", len) == 0 &&
           (line[len + strspn(line + len, " \t\r")] == '\0' ||
            (line[len] == ' ' && line[len + strspn(line + len, " \t")] == '#'));
}

/* As the first camera below is indented. */
static char *
indent_below(char **lines, guint at)
{
    for (guint i = at + 1; lines[i] != NULL; i++) {
        const size_t n = strspn(lines[i], " ");
        if (lines[i][n] == '\0' || lines[i][n] == '#' || lines[i][n] == '\r')
            continue;
        return n > 0 ? g_strndup(lines[i], n) : g_strdup("  ");
    }
    return g_strdup("  ");
}

char *
kvg_yaml_insert(const char *existing, const char *instance, const KvgPlan *plan, GError **error)
{
    g_autofree char *without = kvg_yaml_remove(existing, instance);
    g_auto(GStrv) lines = g_strsplit(without != NULL ? without : existing, "\n", -1);
    g_autoptr(GString) out = g_string_new(NULL);
    bool is_done = false;
    for (guint i = 0; lines[i] != NULL; i++) {
        /* The last piece is what follows the last newline, mostly nothing. */
        if (lines[i + 1] == NULL && lines[i][0] == '\0')
            break;
        g_string_append_printf(out, "%s\n", lines[i]);
        if (is_done || !is_cameras_line(lines[i]))
            continue;
        g_autofree char *indent = indent_below(lines, i);
        append_block(out, indent, instance, plan);
        is_done = true;
    }
    if (is_done)
        return g_string_free(g_steal_pointer(&out), FALSE);
    g_set_error_literal(error, KVG_ERROR, KVG_ERROR_INVALID,
                        "there is no line 'cameras:' with the cameras below it; write it so, then "
                        "cameras can be added");
    return NULL;
}
