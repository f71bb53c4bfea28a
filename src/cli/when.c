#include "cli/when.h"
#include "base/text.h"
#include <kvg/error.h>
#include <string.h>

#define TIME_PATTERN "^[0-2][0-9]:[0-5][0-9](:[0-5][0-9])?$"

static GDateTime *
parse_date(const char *text, int64_t now_ms)
{
    g_autoptr(GTimeZone) local = g_time_zone_new_local();
    if (!g_regex_match_simple(TIME_PATTERN, text, G_REGEX_DOLLAR_ENDONLY, 0))
        return g_date_time_new_from_iso8601(text, local);
    g_autoptr(GDateTime) now = g_date_time_new_from_unix_local(now_ms / 1000);
    g_autofree char *day = g_date_time_format(now, "%Y-%m-%d");
    g_autofree char *whole = g_strdup_printf("%sT%s%s", day, text, strlen(text) == 5 ? ":00" : "");
    return g_date_time_new_from_iso8601(whole, local);
}

bool
kvg_when_parse(const char *text, int64_t now_ms, int64_t *ms, GError **error)
{
    guint64 number = 0;
    int64_t before_ms = 0;
    g_autoptr(GDateTime) date = NULL;
    if (strcmp(text, "now") == 0)
        *ms = now_ms;
    else if (text[0] == '-' && kvg_parse_duration_ms(text + 1, &before_ms, NULL))
        *ms = now_ms - before_ms;
    else if (strlen(text) >= 10 &&
             g_ascii_string_to_unsigned(text, 10, 0, INT64_MAX, &number, NULL))
        *ms = (int64_t)number;
    else if ((date = parse_date(text, now_ms)) != NULL)
        *ms = g_date_time_to_unix(date) * 1000 + g_date_time_get_microsecond(date) / 1000;
    else {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID,
                    "'%.64s' is no time; write 2026-11-25T08:00:00Z, 08:00 (today), -5m (before "
                    "now) or now",
                    text);
        return false;
    }
    return true;
}
