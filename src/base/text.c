#include "base/text.h"

#include <kvg/error.h>
#include <string.h>

static bool
is_name(const char *name, size_t max, const char *extra)
{
    if (!name)
        return false;
    size_t len = strnlen(name, max + 1);
    if (len == 0 || len > max)
        return false;
    for (size_t i = 0; i < len; i++)
        if (!g_ascii_isalnum(name[i]) && !strchr(extra, name[i]))
            return false;
    return true;
}

bool
kvg_name_is_camera(const char *name)
{
    return is_name(name, 128, "_-");
}

bool
kvg_name_is_stream(const char *name)
{
    return is_name(name, 256, "_.-");
}

typedef struct {
    const char *suffix;
    uint64_t factor;
} Unit;

static bool
parse_with_unit(
    const char *text, const Unit *units, const char *what, uint64_t *out, GError **error)
{
    char *end = NULL;
    uint64_t number = g_ascii_isdigit(text[0]) ? g_ascii_strtoull(text, &end, 10) : 0;
    uint64_t factor = 0;
    for (const Unit *u = units; end && u->suffix; u++)
        if (g_str_equal(end, u->suffix))
            factor = u->factor;
    if (factor == 0 || number > (uint64_t)INT64_MAX / factor) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "'%s' is not %s", text, what);
        return false;
    }
    *out = number * factor;
    return true;
}

bool
kvg_parse_size(const char *text, uint64_t *bytes, GError **error)
{
    static const Unit units[] = {{"", 1},
                                 {"B", 1},
                                 {"kB", 1000},
                                 {"KB", 1000},
                                 {"MB", 1000000},
                                 {"GB", 1000000000},
                                 {"TB", 1000000000000},
                                 {"KiB", 1024},
                                 {"MiB", 1024 * 1024},
                                 {"GiB", 1024 * 1024 * 1024},
                                 {"TiB", 1024ull * 1024 * 1024 * 1024},
                                 {NULL, 0}};
    return parse_with_unit(text, units, "a size such as 20GiB or 500MB", bytes, error);
}

bool
kvg_parse_duration_ms(const char *text, int64_t *ms, GError **error)
{
    static const Unit units[] = {{"ms", 1},      {"s", 1000},     {"m", 60000},
                                 {"h", 3600000}, {"d", 86400000}, {NULL, 0}};
    uint64_t value;
    if (!parse_with_unit(text, units, "a duration such as 500ms, 30s, 15m, 24h or 7d", &value,
                         error))
        return false;
    *ms = (int64_t)value;
    return true;
}

bool
kvg_parse_bitrate(const char *text, uint32_t *bps, GError **error)
{
    static const Unit units[] = {{"", 1}, {"k", 1000}, {"M", 1000000}, {NULL, 0}};
    uint64_t value;
    if (!parse_with_unit(text, units, "a bitrate such as 1500k or 2M", &value, error))
        return false;
    if (value > UINT32_MAX) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "bitrate '%s' is too large", text);
        return false;
    }
    *bps = (uint32_t)value;
    return true;
}

char *
kvg_uri_escape(const char *text, bool keep_slash)
{
    GString *out = g_string_sized_new(strlen(text) + 16);
    for (const char *p = text; *p; p++) {
        if (g_ascii_isalnum(*p) || strchr("-_.~", *p) || (keep_slash && *p == '/'))
            g_string_append_c(out, *p);
        else
            g_string_append_printf(out, "%%%02X", (unsigned)(uint8_t)*p);
    }
    return g_string_free(out, FALSE);
}

char *
kvg_uri_unescape(const char *text, size_t len, bool form)
{
    g_autoptr(GString) out = g_string_sized_new(len);
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '+' && form) {
            g_string_append_c(out, ' ');
        } else if (text[i] == '%') {
            if (i + 2 >= len || !g_ascii_isxdigit(text[i + 1]) || !g_ascii_isxdigit(text[i + 2]))
                return NULL;
            int value = g_ascii_xdigit_value(text[i + 1]) * 16 + g_ascii_xdigit_value(text[i + 2]);
            if (value == 0)
                return NULL;
            g_string_append_c(out, (char)value);
            i += 2;
        } else {
            g_string_append_c(out, text[i]);
        }
    }
    return g_string_free(g_steal_pointer(&out), FALSE);
}

char *
kvg_format_iso8601(int64_t wall_ms, bool millis)
{
    g_autoptr(GDateTime) time = g_date_time_new_from_unix_utc(wall_ms / 1000);
    if (!time)
        return g_strdup("invalid time");
    g_autofree char *seconds = g_date_time_format(time, "%Y-%m-%dT%H:%M:%S");
    return millis ? g_strdup_printf("%s.%03dZ", seconds, (int)(wall_ms % 1000))
                  : g_strdup_printf("%sZ", seconds);
}

char *
kvg_uri_redact(const char *uri)
{
    const char *scheme = strstr(uri, "://");
    if (!scheme)
        return g_strdup(uri);
    const char *authority = scheme + 3;
    size_t authority_len = strcspn(authority, "/?#");
    const char *at = memrchr(authority, '@', authority_len);
    if (!at)
        return g_strdup(uri);
    return g_strdup_printf("%.*s%s", (int)(authority - uri), uri, at + 1);
}

void
kvg_text_hide_keys(char *text)
{
    static const char *const names[] = {"Signature", "Security-Token", "SessionToken"};
    static const char end[] = " ,;&\"'<>\r\n";
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        char *at = text;
        while ((at = strcasestr(at, names[i])) != NULL) {
            at += strlen(names[i]);
            if (*at != '=' && *at != ':')
                continue;
            at++;
            at += strspn(at, " ");
            const size_t len = strcspn(at, end);
            memset(at, '.', len);
            at += len;
        }
    }
}
