#include "os/log.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static GLogLevelFlags least_level = G_LOG_LEVEL_MESSAGE;

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

static GLogWriterOutput
write_log(GLogLevelFlags level, const GLogField *fields, gsize n_fields, gpointer user_data)
{
    /* GLib's levels grow as they get less important. */
    if ((level & G_LOG_LEVEL_MASK) > least_level)
        return G_LOG_WRITER_HANDLED;
    if (g_log_writer_is_journald(fileno(stderr)))
        return g_log_writer_journald(level, fields, n_fields, user_data);

    const char *domain = field_text(fields, n_fields, "GLIB_DOMAIN");
    const char *text = field_text(fields, n_fields, "MESSAGE");
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();
    g_autofree char *stamp = g_date_time_format(now, "%H:%M:%S");
    g_autofree char *line = g_strdup_printf("%s.%03d %s %s: %s\n", stamp,
                                            g_date_time_get_microsecond(now) / 1000,
                                            level_name(level), domain ? domain : "-",
                                            text ? text : "");
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
    g_log_set_writer_func(write_log, NULL, NULL);
}
