/* Moments as people write them. */
#include "cli/when.h"
#include <kvg/error.h>

/* 2026-11-25T09:30:00Z, in Berlin 10:30 */
#define NOW_MS INT64_C(1795599000000)

static void
test_moments(void)
{
    static const struct {
        const char *text;
        int64_t ms; /* -1: it is wrong */
    } rows[] = {
        {"now", NOW_MS},
        {"-5m", NOW_MS - 300000},
        {"-1h", NOW_MS - 3600000},
        {"10:30", NOW_MS},
        {"10:30:05", NOW_MS + 5000},
        {"00:00", NOW_MS - 37800000},
        {"2026-11-25T09:30:00Z", NOW_MS},
        {"2026-11-25T09:30:00.250Z", NOW_MS + 250},
        {"2026-11-25T10:30:00", NOW_MS},
        {"2026-11-25T04:30:00-05:00", NOW_MS},
        {"1795599000000", NOW_MS},
        {"", -1},
        {"soon", -1},
        {"5m", -1},
        {"-5", -1},
        {"25:00", -1},
        {"2026-11-25", -1},
        {"12345", -1},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        int64_t ms = 0;
        g_autoptr(GError) error = NULL;
        const bool ok = kvg_when_parse(rows[i].text, NOW_MS, &ms, &error);
        g_test_message("'%s'", rows[i].text);
        g_assert_true(ok == (rows[i].ms >= 0));
        if (ok)
            g_assert_cmpint(ms, ==, rows[i].ms);
        else
            g_assert_error(error, KVG_ERROR, KVG_ERROR_INVALID);
    }
}

int
main(int argc, char **argv)
{
    g_setenv("TZ", "Europe/Berlin", TRUE);
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/when/moments", test_moments);
    return g_test_run();
}
