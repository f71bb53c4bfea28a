/* Video does not expire because a clock jumped: a table of what wall and monotonic clock say, and
 * what is believed. */
#include "server/control/expiry_clock.h"

#include <glib.h>

#define HOUR 60 /* in minutes, the unit of this table */
#define DAY (24 * HOUR)

typedef struct {
    int mono, wall; /* minutes */
    int believed;
    bool is_held;
} Step;

static void
run(const char *name, const Step *steps, size_t n)
{
    KvgExpiryClock clock = {0};
    for (size_t i = 0; i < n; i++) {
        bool is_held;
        const int64_t believed = kvg_expiry_clock_step(&clock, steps[i].wall * INT64_C(60000),
                                                       steps[i].mono * INT64_C(60000), &is_held);
        if (believed != steps[i].believed * INT64_C(60000) || is_held != steps[i].is_held)
            g_error("%s, step %zu: %d minutes, held %d", name, i, (int)(believed / 60000), is_held);
    }
}
#define RUN(name, ...)                                                                             \
    do {                                                                                           \
        static const Step steps[] = __VA_ARGS__;                                                   \
        run(name, steps, G_N_ELEMENTS(steps));                                                     \
    } while (0)

static void
test_jumps(void)
{
    RUN("an honest clock",
        {{5, 1000, 1000, false}, {6, 1001, 1001, false}, {66, 1061, 1061, false}});
    RUN("a small step ahead", {{5, 1000, 1000, false}, {6, 1041, 1041, false}});
    RUN("a day ahead and back", {{5, 1000, 1000, false},
                                 {6, 1001 + DAY, 1001, true},
                                 {36, 1031 + DAY, 1031, true},
                                 {40, 1035, 1035, false},
                                 {41, 1036, 1036, false}});
    RUN("a day ahead for good", {{5, 1000, 1000, false},
                                 {6, 1001 + DAY, 1001, true},
                                 {65, 1060 + DAY, 1060, true},
                                 {66, 1061 + DAY, 1061 + DAY, false},
                                 {67, 1062 + DAY, 1062 + DAY, false}});
    RUN("a day back", {{5, 1000 + DAY, 1000 + DAY, false},
                       {6, 1001, 1001, false},
                       {7, 1002 + DAY, 1002, true},
                       {67, 1062 + DAY, 1062 + DAY, false}});
    RUN("two jumps", {{5, 1000, 1000, false},
                      {6, 1001 + DAY, 1001, true},
                      {7, 1002 + 2 * DAY, 1002, true},
                      {66, 1061 + 2 * DAY, 1061 + 2 * DAY, false}});
}

static void
test_restart(void)
{
    KvgExpiryClock clock;
    bool is_held;
    const int64_t minute = 60000, then = 1000 * minute, ahead = then + DAY * minute;
    kvg_expiry_clock_resume(&clock, then, 5 * minute);
    g_assert_cmpint(kvg_expiry_clock_step(&clock, ahead, 5 * minute, &is_held), ==, then);
    g_assert_true(is_held);
    const int64_t later = kvg_expiry_clock_step(&clock, ahead + 60 * minute, 65 * minute, &is_held);
    g_assert_cmpint(later, ==, ahead + 60 * minute);
    g_assert_false(is_held);
    kvg_expiry_clock_resume(&clock, ahead, 5 * minute);
    g_assert_cmpint(kvg_expiry_clock_step(&clock, then, 5 * minute, &is_held), ==, then);
    g_assert_false(is_held);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/server/expiry-clock/jumps", test_jumps);
    g_test_add_func("/server/expiry-clock/restart", test_restart);
    return g_test_run();
}
