#include "config/schedule.h"

#include <kvg/error.h>
#include <string.h>

#define DAY_S 86400
/* A week, and the days around it that a window may reach into. */
#define DAYS_BEFORE 1
#define DAYS_AFTER 8

/* ---- reading ---- */

static bool
fail(GError **error, const char *text, const char *why)
{
    g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID,
                "'%.64s': %s; write \"mon-fri 08:00-18:00\", \"sat,sun 10:00-16:30\" or "
                "\"* 22:00-06:00\"",
                text, why);
    return false;
}

/* 0 to 6; -1: none. */
static int
day_of(const char *name)
{
    static const char *const names[] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};
    for (int i = 0; i < 7; i++) {
        if (g_ascii_strcasecmp(name, names[i]) == 0)
            return i;
    }
    return -1;
}

static bool
parse_days(const char *text, uint8_t *days)
{
    *days = 0x7f;
    if (strcmp(text, "*") == 0)
        return true;
    *days = 0;
    g_auto(GStrv) parts = g_strsplit(text, ",", 8);
    for (char **part = parts; *part != NULL; part++) {
        g_auto(GStrv) ends = g_strsplit(*part, "-", 2);
        const int first = ends[0] != NULL ? day_of(ends[0]) : -1;
        const int last = first >= 0 && ends[1] != NULL ? day_of(ends[1]) : first;
        if (first < 0 || last < 0)
            return false;
        for (int day = first;; day = (day + 1) % 7) { /* fri-mon goes over Sunday */
            *days |= (uint8_t)(1u << day);
            if (day == last)
                break;
        }
    }
    return *days != 0;
}

/* "08:00", "08:00:30", "24:00" */
static bool
parse_time(const char *text, uint32_t *seconds)
{
    if (!g_regex_match_simple("^[0-9]{2}:[0-9]{2}(:[0-9]{2})?$", text, G_REGEX_DOLLAR_ENDONLY, 0))
        return false;
    const unsigned hours = (unsigned)g_ascii_strtoull(text, NULL, 10);
    const unsigned minutes = (unsigned)g_ascii_strtoull(text + 3, NULL, 10);
    const unsigned rest = text[5] == ':' ? (unsigned)g_ascii_strtoull(text + 6, NULL, 10) : 0;
    *seconds = hours * 3600 + minutes * 60 + rest;
    return minutes < 60 && rest < 60 && *seconds <= DAY_S;
}

bool
kvg_window_parse(const char *text, KvgWindow *window, GError **error)
{
    g_auto(GStrv) words = g_strsplit(text, " ", 2);
    if (words[0] == NULL || words[1] == NULL)
        return fail(error, text, "days and times are separated by one blank");
    if (!parse_days(words[0], &window->days))
        return fail(error, text, "days are mon, tue, wed, thu, fri, sat, sun or *");
    g_auto(GStrv) times = g_strsplit(words[1], "-", 2);
    if (times[0] == NULL || times[1] == NULL || !parse_time(times[0], &window->from_s) ||
        !parse_time(times[1], &window->to_s) || window->from_s == DAY_S)
        return fail(error, text, "times are HH:MM-HH:MM, from 00:00 to 24:00");
    if (window->from_s == window->to_s)
        return fail(error, text, "it begins when it ends; a whole day is 00:00-24:00");
    return true;
}

static GTimeZone *
zone_new(const char *name)
{
    return *name != '\0' ? g_time_zone_new_identifier(name) : g_time_zone_new_local();
}

bool
kvg_schedule_knows_zone(const char *name)
{
    g_autoptr(GTimeZone) zone = *name != '\0' ? g_time_zone_new_identifier(name) : NULL;
    return zone != NULL;
}

/* ---- what holds ---- */

/* UTC of a local time, given as if it were UTC. */
static int64_t
to_utc_ms(GTimeZone *zone, int64_t local_s, bool is_end)
{
    const int interval = g_time_zone_adjust_time(
        zone, is_end ? G_TIME_TYPE_STANDARD : G_TIME_TYPE_DAYLIGHT, &local_s);
    return (local_s - g_time_zone_get_offset(zone, interval)) * 1000;
}

/* 1970 began on a Thursday. */
static unsigned
weekday_of(int64_t day)
{
    return (unsigned)(((day + 3) % 7 + 7) % 7);
}

typedef struct {
    int64_t from_ms, to_ms;
} Span;

static int
compare_spans(const void *a, const void *b)
{
    const Span *x = a, *y = b;
    return x->from_ms < y->from_ms ? -1 : x->from_ms > y->from_ms;
}

/* The windows of the days around @now_ms, in order. */
static GArray *
list_spans(const KvgSchedule *schedule, GTimeZone *zone, int64_t now_ms)
{
    GArray *spans = g_array_new(FALSE, FALSE, sizeof(Span));
    const int interval = g_time_zone_find_interval(zone, G_TIME_TYPE_UNIVERSAL, now_ms / 1000);
    const int64_t today = (now_ms / 1000 + g_time_zone_get_offset(zone, interval)) / DAY_S;
    for (int64_t day = today - DAYS_BEFORE; day <= today + DAYS_AFTER; day++) {
        for (unsigned i = 0; i < schedule->n_windows; i++) {
            const KvgWindow *window = &schedule->windows[i];
            if ((window->days & 1u << weekday_of(day)) == 0)
                continue;
            const int64_t last = window->to_s > window->from_s ? day : day + 1;
            const Span span = {to_utc_ms(zone, day * DAY_S + window->from_s, false),
                               to_utc_ms(zone, last * DAY_S + window->to_s, true)};
            g_array_append_val(spans, span);
        }
    }
    g_array_sort(spans, compare_spans);
    return spans;
}

bool
kvg_schedule_is_on(const KvgSchedule *schedule, int64_t now_ms, int64_t *until_ms)
{
    g_autoptr(GTimeZone) zone = zone_new(schedule->zone);
    if (zone == NULL) /* the system has forgotten it since the file was checked */
        zone = g_time_zone_new_utc();
    g_autoptr(GArray) spans = list_spans(schedule, zone, now_ms);
    bool is_on = false;
    *until_ms = INT64_MAX;
    for (guint i = 0; i < spans->len; i++) {
        const Span *span = &g_array_index(spans, Span, i);
        if (span->to_ms <= now_ms)
            continue;
        if (span->from_ms > (is_on ? *until_ms : now_ms)) {
            if (!is_on)
                *until_ms = span->from_ms;
            break;
        }
        *until_ms = is_on ? MAX(*until_ms, span->to_ms) : span->to_ms;
        is_on = true;
    }
    /* On for a week and a day: it is never off. */
    if (is_on && *until_ms - now_ms > INT64_C(7) * DAY_S * 1000)
        *until_ms = INT64_MAX;
    return is_on;
}

char *
kvg_schedule_describe(const KvgSchedule *schedule, int64_t at_ms, int64_t now_ms)
{
    static const char *const names[] = {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"};
    g_autoptr(GTimeZone) zone = zone_new(schedule->zone);
    if (zone == NULL)
        zone = g_time_zone_new_utc();
    const int then = g_time_zone_find_interval(zone, G_TIME_TYPE_UNIVERSAL, at_ms / 1000);
    const int today = g_time_zone_find_interval(zone, G_TIME_TYPE_UNIVERSAL, now_ms / 1000);
    const int64_t local_s = at_ms / 1000 + g_time_zone_get_offset(zone, then);
    const int64_t now_s = now_ms / 1000 + g_time_zone_get_offset(zone, today);
    const bool is_today = local_s / DAY_S == now_s / DAY_S;
    const unsigned of_day = (unsigned)(local_s % DAY_S);
    g_autofree char *rest = of_day % 60 != 0 ? g_strdup_printf(":%02u", of_day % 60) : g_strdup("");
    return g_strdup_printf("%s%s%02u:%02u%s", is_today ? "" : names[weekday_of(local_s / DAY_S)],
                           is_today ? "" : " ", of_day / 3600, of_day / 60 % 60, rest);
}
