/* Windows of time: what is read, and what holds when, as tables. */
#include "config/schedule.h"
#include <kvg/error.h>
#include <string.h>

/* UTC, "2026-03-29 00:59:59" */
static int64_t
ms_of(const char *text)
{
    g_autofree char *iso = g_strdup_printf("%.10sT%sZ", text, text + 11);
    g_autoptr(GDateTime) time = g_date_time_new_from_iso8601(iso, NULL);
    g_assert_nonnull(time);
    return g_date_time_to_unix(time) * 1000;
}

static KvgSchedule
schedule_of(const char *zone, const char *windows)
{
    KvgSchedule schedule = {0};
    g_strlcpy(schedule.zone, zone, sizeof schedule.zone);
    g_auto(GStrv) list = g_strsplit(windows, "|", -1);
    for (char **one = list; *one != NULL; one++) {
        g_autoptr(GError) error = NULL;
        g_assert_true(kvg_window_parse(*one, &schedule.windows[schedule.n_windows++], &error));
        g_assert_no_error(error);
    }
    return schedule;
}

#define NEVER "never"

static const struct {
    const char *zone, *windows, *now; /* UTC */
    bool is_on;
    const char *until; /* UTC */
    const char *text;  /* of until */
} rows[] = {
    /* 2026-11-25 is a Wednesday. */
    {"UTC", "mon-fri 08:00-18:00", "2026-11-25 07:59:59", false, "2026-11-25 08:00:00", "08:00"},
    {"UTC", "mon-fri 08:00-18:00", "2026-11-25 08:00:00", true, "2026-11-25 18:00:00", "18:00"},
    {"UTC", "mon-fri 08:00-18:00", "2026-11-25 17:59:59", true, "2026-11-25 18:00:00", "18:00"},
    {"UTC", "mon-fri 08:00-18:00", "2026-11-25 18:00:00", false, "2026-11-26 08:00:00",
     "Thu 08:00"},
    {"UTC", "mon-fri 08:00-18:00", "2026-11-27 18:00:00", false, "2026-11-30 08:00:00",
     "Mon 08:00"},
    {"UTC", "sat,sun 10:00-16:30:15", "2026-11-28 12:00:00", true, "2026-11-28 16:30:15",
     "16:30:15"},
    {"UTC", "wed 08:00-09:00", "2026-11-25 09:00:00", false, "2026-12-02 08:00:00", "Wed 08:00"},
    /* over midnight, and over the end of a week */
    {"UTC", "* 22:00-06:00", "2026-11-25 03:00:00", true, "2026-11-25 06:00:00", "06:00"},
    {"UTC", "* 22:00-06:00", "2026-11-25 12:00:00", false, "2026-11-25 22:00:00", "22:00"},
    {"UTC", "* 22:00-06:00", "2026-11-25 23:00:00", true, "2026-11-26 06:00:00", "Thu 06:00"},
    {"UTC", "sun 22:00-06:00", "2026-11-30 05:59:00", true, "2026-11-30 06:00:00", "06:00"},
    {"UTC", "fri-mon 20:00-21:00", "2026-11-25 12:00:00", false, "2026-11-27 20:00:00",
     "Fri 20:00"},
    {"UTC", "fri-mon 20:00-21:00", "2026-11-30 20:30:00", true, "2026-11-30 21:00:00", "21:00"},
    /* several: they join where they touch */
    {"UTC", "* 08:00-12:00|* 12:00-14:00|* 13:00-15:00", "2026-11-25 09:00:00", true,
     "2026-11-25 15:00:00", "15:00"},
    {"UTC", "* 08:00-12:00|* 13:00-15:00", "2026-11-25 12:30:00", false, "2026-11-25 13:00:00",
     "13:00"},
    {"UTC", "wed 20:00-24:00|thu 00:00-02:00", "2026-11-25 23:00:00", true, "2026-11-26 02:00:00",
     "Thu 02:00"},
    {"UTC", "* 00:00-24:00", "2026-11-25 09:00:00", true, NEVER, ""},
    {"UTC", "mon-sat 00:00-24:00", "2026-11-23 00:00:00", true, "2026-11-29 00:00:00", "Sun 00:00"},
    /* local time */
    {"America/New_York", "mon 08:00-18:00", "2026-11-23 12:59:59", false, "2026-11-23 13:00:00",
     "08:00"},
    {"Asia/Kolkata", "mon 00:00-01:00", "2026-11-22 18:30:00", true, "2026-11-22 19:30:00",
     "01:00"},
    {"Pacific/Auckland", "mon 08:00-09:00", "2026-11-22 18:59:00", false, "2026-11-22 19:00:00",
     "08:00"},
    /* Berlin puts its clocks forward at 01:00 UTC on 2026-03-29, a Sunday: 02:00 is 03:00. */
    {"Europe/Berlin", "* 01:30-04:00", "2026-03-29 00:29:59", false, "2026-03-29 00:30:00",
     "01:30"},
    {"Europe/Berlin", "* 01:30-04:00", "2026-03-29 00:30:00", true, "2026-03-29 02:00:00", "04:00"},
    {"Europe/Berlin", "* 02:30-04:00", "2026-03-29 00:59:59", false, "2026-03-29 01:00:00",
     "03:00"},
    {"Europe/Berlin", "* 01:00-02:30", "2026-03-29 00:30:00", true, "2026-03-29 01:00:00", "03:00"},
    {"Europe/Berlin", "* 08:00-18:00", "2026-03-28 18:00:00", false, "2026-03-29 06:00:00",
     "Sun 08:00"},
    /* ... and back at 01:00 UTC on 2026-10-25: 02:00 to 03:00 come twice. */
    {"Europe/Berlin", "* 02:30-04:00", "2026-10-25 00:29:59", false, "2026-10-25 00:30:00",
     "02:30"},
    {"Europe/Berlin", "* 01:00-02:30", "2026-10-25 00:45:00", true, "2026-10-25 01:30:00", "02:30"},
    {"Europe/Berlin", "* 08:00-18:00", "2026-10-24 18:00:00", false, "2026-10-25 07:00:00",
     "Sun 08:00"},
    {"Europe/Berlin", "sun 22:00-06:00", "2026-10-25 23:00:00", true, "2026-10-26 05:00:00",
     "06:00"},
};

static void
test_holds(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_test_message("%zu: %s, %s at %s", i, rows[i].zone, rows[i].windows, rows[i].now);
        const KvgSchedule schedule = schedule_of(rows[i].zone, rows[i].windows);
        const int64_t now_ms = ms_of(rows[i].now);
        int64_t until_ms;
        g_assert_cmpint(kvg_schedule_is_on(&schedule, now_ms, &until_ms), ==, rows[i].is_on);
        if (strcmp(rows[i].until, NEVER) == 0) {
            g_assert_cmpint(until_ms, ==, INT64_MAX);
            continue;
        }
        g_assert_cmpint(until_ms, ==, ms_of(rows[i].until));
        g_autofree char *text = kvg_schedule_describe(&schedule, until_ms, now_ms);
        g_assert_cmpstr(text, ==, rows[i].text);
    }
}

/* Through a year of a zone with summer time: what is said to hold until then holds until then. */
static void
test_changes(void)
{
    const KvgSchedule schedule = schedule_of("Europe/Berlin", "mon-fri 07:30-12:00|* 22:00-02:30");
    int64_t at_ms = ms_of("2026-01-01 00:00:00");
    const int64_t end_ms = ms_of("2027-01-01 00:00:00");
    unsigned n = 0;
    int64_t until_ms, unused;
    bool is_on = kvg_schedule_is_on(&schedule, at_ms, &until_ms);
    for (; until_ms < end_ms; n++) {
        g_assert_cmpint(until_ms, >, at_ms);
        g_assert_true(kvg_schedule_is_on(&schedule, until_ms - 1, &unused) == is_on);
        g_assert_cmpint(unused, ==, until_ms);
        at_ms = until_ms;
        g_assert_true(kvg_schedule_is_on(&schedule, at_ms, &until_ms) != is_on);
        is_on = !is_on;
    }
    g_assert_cmpuint(n, ==, 2 * 365 + 2 * 261); /* weekdays of 2026 */
}

static void
test_wrong(void)
{
    static const char *const wrong[] = {"",
                                        "mon",
                                        "08:00-18:00",
                                        "mon 8:00-18:00",
                                        "mon 08:00",
                                        "mon 25:00-26:00",
                                        "mon 08:60-09:00",
                                        "mon 08:00-08:00",
                                        "mon 24:00-08:00",
                                        "may 08:00-09:00",
                                        "mon- 08:00-09:00",
                                        "mon,, 08:00-09:00",
                                        "mon  08:00-09:00",
                                        "mon 08:00-09:00 ",
                                        "mon-tue-wed 08:00-09:00",
                                        "mon 08:00-24:01",
                                        "mon 08:00:60-09:00"};
    for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
        KvgWindow window;
        g_autoptr(GError) error = NULL;
        g_test_message("'%s'", wrong[i]);
        g_assert_false(kvg_window_parse(wrong[i], &window, &error));
        g_assert_error(error, KVG_ERROR, KVG_ERROR_INVALID);
        g_assert_nonnull(strstr(error->message, "mon-fri 08:00-18:00"));
    }
    g_assert_true(kvg_schedule_knows_zone("Europe/Berlin"));
    g_assert_false(kvg_schedule_knows_zone("Europe/Atlantis"));
    g_assert_false(kvg_schedule_knows_zone(""));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/schedule/holds", test_holds);
    g_test_add_func("/schedule/changes", test_changes);
    g_test_add_func("/schedule/wrong", test_wrong);
    return g_test_run();
}
