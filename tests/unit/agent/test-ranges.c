/* Ranges of a recording: joined, cut, in order. */
#include "agent/ranges.h"

static GArray *
ranges_of(const int64_t (*pairs)[2], size_t n)
{
    GArray *ranges = g_array_new(FALSE, FALSE, sizeof(KvgRange));
    for (size_t i = 0; i < n; i++) {
        const KvgRange range = {pairs[i][0], pairs[i][1]};
        g_array_append_val(ranges, range);
    }
    return ranges;
}

static void
check(const GArray *ranges, const int64_t (*pairs)[2], size_t n)
{
    g_assert_cmpuint(ranges->len, ==, n);
    for (size_t i = 0; i < n; i++) {
        g_assert_cmpint(g_array_index(ranges, KvgRange, i).start_ms, ==, pairs[i][0]);
        g_assert_cmpint(g_array_index(ranges, KvgRange, i).end_ms, ==, pairs[i][1]);
    }
}

static void
test_merge(void)
{
    /* in any order, overlapping, one within another, and a pause of more than the slack */
    const int64_t given[][2] = {{5000, 6000}, {0, 1000},    {1900, 3000},
                                {2000, 2100}, {9001, 9500}, {6000, 8000}};
    const int64_t joined[][2] = {{0, 3000}, {5000, 8000}, {9001, 9500}};
    g_autoptr(GArray) ranges = ranges_of(given, G_N_ELEMENTS(given));
    kvg_ranges_merge(ranges, 1000);
    check(ranges, joined, G_N_ELEMENTS(joined));
    kvg_ranges_merge(ranges, 1000); /* once more changes nothing */
    check(ranges, joined, G_N_ELEMENTS(joined));
    g_array_set_size(ranges, 0);
    kvg_ranges_merge(ranges, 1000);
    g_assert_cmpuint(ranges->len, ==, 0);
}

static void
test_clip(void)
{
    const int64_t given[][2] = {{0, 10}, {20, 30}, {40, 50}};
    const int64_t middle[][2] = {{5, 10}, {20, 30}, {40, 45}};
    const int64_t inner[][2] = {{22, 25}};
    g_autoptr(GArray) ranges = ranges_of(given, G_N_ELEMENTS(given));
    kvg_ranges_clip(ranges, 5, 45);
    check(ranges, middle, G_N_ELEMENTS(middle));
    kvg_ranges_clip(ranges, 22, 25);
    check(ranges, inner, G_N_ELEMENTS(inner));
    kvg_ranges_clip(ranges, 25, 40);
    g_assert_cmpuint(ranges->len, ==, 0);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ranges/merge", test_merge);
    g_test_add_func("/ranges/clip", test_clip);
    return g_test_run();
}
