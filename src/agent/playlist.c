#include "agent/playlist.h"
#include <glib.h>
#include <string.h>

/* Appends the last path component of @uri behind @prefix, and its query without the token. */
static void
append_uri(GString *out, const char *prefix, const char *uri, size_t len)
{
    g_autofree char *copy = g_strndup(uri, len);
    char *query = strchr(copy, '?');
    if (query != NULL)
        *query++ = '\0';
    const char *slash = strrchr(copy, '/');
    g_string_append(out, prefix);
    g_string_append(out, slash != NULL ? slash + 1 : copy);
    g_auto(GStrv) pairs = g_strsplit(query != NULL ? query : "", "&", -1);
    char separator = '?';
    for (char **pair = pairs; *pair != NULL; pair++) {
        if (**pair == '\0' || g_str_has_prefix(*pair, "SessionToken="))
            continue;
        g_string_append_printf(out, "%c%s", separator, *pair);
        separator = '&';
    }
}

/* A tag may hold one URI="..." attribute. */
static void
append_tag(GString *out, const char *prefix, const char *line)
{
    const char *uri = strstr(line, "URI=\"");
    const char *end = uri != NULL ? strchr(uri + 5, '"') : NULL;
    if (end == NULL) {
        g_string_append(out, line);
        return;
    }
    g_string_append_len(out, line, uri + 5 - line);
    append_uri(out, prefix, uri + 5, (size_t)(end - uri - 5));
    g_string_append(out, end);
}

char *
kvg_playlist_rewrite(const char *playlist, const char *prefix)
{
    g_autoptr(GString) out = g_string_new(NULL);
    g_auto(GStrv) lines = g_strsplit(playlist, "\n", -1);
    for (char **line = lines; *line != NULL; line++) {
        g_strchomp(*line);
        if (**line == '#')
            append_tag(out, prefix, *line);
        else if (**line != '\0')
            append_uri(out, prefix, *line, strlen(*line));
        if (line[1] != NULL)
            g_string_append_c(out, '\n');
    }
    return g_string_free(g_steal_pointer(&out), FALSE);
}
