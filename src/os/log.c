#include "os/log.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static GLogLevelFlags least_level = G_LOG_LEVEL_MESSAGE;
static bool is_json;

static const char *
field_text(const GLogField *fields, gsize n_fields, const char *key)
{
    for (gsize i = 0; i < n_fields; i++)
        if (g_str_equal(fields[i].key, key))
            return fields[i].value;
    return NULL;
}

static const char *
level_name(GLogLevelFlags level)
{
    if (level & (G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL))
        return "error";
    if (level & G_LOG_LEVEL_WARNING)
        return "warning";
    if (level & G_LOG_LEVEL_MESSAGE)
        return "message";
    return level & G_LOG_LEVEL_INFO ? "info" : "debug";
}

static void
put_json_text(GString *out, const char *text)
{
    g_string_append_c(out, '"');
    for (const char *at = text; *at; at++) {
        if (*at == '"' || *at == '\\')
            g_string_append_printf(out, "\\%c", *at);
        else if ((unsigned char)*at < 0x20)
            g_string_append_printf(out, "\\u%04x", *at);
        else
            g_string_append_c(out, *at);
    }
    g_string_append_c(out, '"');
}

/* One object per line: time, level, domain, message, and every other field under its own name in
 * small letters. */
static char *
json_line(const char *level, const GLogField *fields, gsize n_fields)
{
    static const char *const left_out[] = {"PRIORITY", "CODE_FILE", "GLIB_DOMAIN", NULL};
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();
    g_autofree char *stamp = g_date_time_format(now, "%Y-%m-%dT%H:%M:%S");
    const char *domain = field_text(fields, n_fields, "GLIB_DOMAIN");
    GString *out = g_string_new(NULL);
    g_string_append_printf(out, "{\"time\":\"%s.%03dZ\",\"level\":\"%s\",\"domain\":", stamp,
                           g_date_time_get_microsecond(now) / 1000, level);
    put_json_text(out, domain ? domain : "-");
    for (gsize i = 0; i < n_fields; i++) {
        if (g_strv_contains(left_out, fields[i].key) || fields[i].length >= 0)
            continue;
        g_autofree char *name = g_ascii_strdown(fields[i].key, -1);
        g_autofree char *text = g_utf8_make_valid(fields[i].value, -1);
        g_string_append_printf(out, ",\"%s\":", name);
        put_json_text(out, text);
    }
    g_string_append(out, "}\n");
    return g_string_free(out, FALSE);
}

static char *
plain_line(const char *level, const GLogField *fields, gsize n_fields)
{
    const char *domain = field_text(fields, n_fields, "GLIB_DOMAIN");
    const char *text = field_text(fields, n_fields, "MESSAGE");
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();
    g_autofree char *stamp = g_date_time_format(now, "%H:%M:%S");
    return g_strdup_printf("%s.%03d %s %s: %s\n", stamp, g_date_time_get_microsecond(now) / 1000,
                           level, domain ? domain : "-", text ? text : "");
}

static GLogWriterOutput
write_log(GLogLevelFlags level, const GLogField *fields, gsize n_fields, gpointer user_data)
{
    /* GLib's levels grow as they get less important. */
    if ((level & G_LOG_LEVEL_MASK) > least_level)
        return G_LOG_WRITER_HANDLED;
    if (g_log_writer_is_journald(fileno(stderr)))
        return g_log_writer_journald(level, fields, n_fields, user_data);

    g_autofree char *line = is_json ? json_line(level_name(level), fields, n_fields)
                                    : plain_line(level_name(level), fields, n_fields);
    /* One write per line: lines of several processes on one terminal do not mix. */
    ssize_t written = write(fileno(stderr), line, strlen(line));
    return written < 0 ? G_LOG_WRITER_UNHANDLED : G_LOG_WRITER_HANDLED;
}

void
kvg_log_init(void)
{
    const char *wanted = g_getenv("KVG_LOG_LEVEL");
    if (g_strcmp0(wanted, "debug") == 0)
        least_level = G_LOG_LEVEL_DEBUG;
    else if (g_strcmp0(wanted, "info") == 0)
        least_level = G_LOG_LEVEL_INFO;
    else if (g_strcmp0(wanted, "warning") == 0)
        least_level = G_LOG_LEVEL_WARNING;
    is_json = g_strcmp0(g_getenv("KVG_LOG_FORMAT"), "json") == 0;
    g_log_set_writer_func(write_log, NULL, NULL);
}
