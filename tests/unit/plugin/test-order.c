/* One timeline and one order for two tracks; the clock is a number here. */
#include "plugin/interleaver.h"
#include "plugin/timeline.h"

#include <string.h>

#define SECOND G_TIME_SPAN_SECOND
#define NOW (INT64_C(1700000000) * SECOND)

/* ---- order ---- */

static void
put(KvgInterleaver *interleaver, unsigned track, int64_t place_us, int64_t now_us)
{
    KvgInterleaved item = {.place_us = place_us, .arrived_us = now_us};
    item.frame.data = g_bytes_new_static("x", 1);
    kvg_interleaver_put(interleaver, track, &item);
}

/* "v10 a12 ": what goes out at @now_us. */
static char *
take_all(KvgInterleaver *interleaver, int64_t now_us, bool all)
{
    GString *out = g_string_new(NULL);
    for (;;) {
        unsigned track = 0;
        g_auto(KvgInterleaved) item = {0};
        if (!kvg_interleaver_take(interleaver, now_us, all, &track, &item))
            return g_string_free(out, FALSE);
        g_string_append_printf(out, "%c%d ", track == 0 ? 'v' : 'a', (int)item.place_us);
    }
}

#define EXPECT(interleaver, now_us, all, text)                                                     \
    G_STMT_START                                                                                   \
    {                                                                                              \
        g_autofree char *taken = take_all(interleaver, now_us, all);                               \
        g_assert_cmpstr(taken, ==, text);                                                          \
    }                                                                                              \
    G_STMT_END

static void
test_order(void)
{
    KvgInterleaver x;
    kvg_interleaver_init(&x);
    kvg_interleaver_open(&x, 0, SECOND);
    kvg_interleaver_open(&x, 1, SECOND);
    put(&x, 0, 10, 0);
    put(&x, 0, 20, 0);
    EXPECT(&x, 0, false, ""); /* sound of 5 may still come */
    put(&x, 1, 5, 0);
    EXPECT(&x, 0, false, "a5 ");
    put(&x, 1, 20, 0);
    EXPECT(&x, 0, false, "v10 v20 a20 "); /* picture first where both are equal */
    kvg_interleaver_advance(&x, 0, 40);
    put(&x, 1, 30, 0);
    EXPECT(&x, 0, false, "a30 ");
    put(&x, 1, 50, 0);
    EXPECT(&x, 0, false, "");
    kvg_interleaver_set_ended(&x, 0, true);
    EXPECT(&x, 0, false, "a50 ");
    put(&x, 1, 60, 0);
    put(&x, 0, 55, 0);
    EXPECT(&x, 0, true, "v55 a60 ");
    kvg_interleaver_clear(&x);
}

/* A track that stays away is waited for once, and again only after it has come back. */
static void
test_patience(void)
{
    KvgInterleaver x;
    kvg_interleaver_init(&x);
    kvg_interleaver_open(&x, 0, 10 * SECOND);
    kvg_interleaver_open(&x, 1, 2 * SECOND);
    put(&x, 0, 10, 0);
    put(&x, 0, 20, SECOND);
    EXPECT(&x, 2 * SECOND - 1, false, "");
    EXPECT(&x, 2 * SECOND, false, "v10 v20 ");
    put(&x, 0, 30, 3 * SECOND);
    EXPECT(&x, 3 * SECOND, false, "v30 ");
    put(&x, 1, 25, 3 * SECOND); /* late, but not lost */
    EXPECT(&x, 3 * SECOND, false, "a25 ");
    put(&x, 0, 40, 3 * SECOND);
    EXPECT(&x, 3 * SECOND, false, "");
    put(&x, 1, 41, 4 * SECOND);
    EXPECT(&x, 4 * SECOND, false, "v40 ");
    EXPECT(&x, 14 * SECOND - 1, false, ""); /* sound waits longer for pictures */
    EXPECT(&x, 14 * SECOND, false, "a41 ");
    /* However much comes, what waits is bounded. */
    for (int i = 0; i < 6000; i++)
        put(&x, 1, 100 + i, 14 * SECOND);
    g_autofree char *flood = take_all(&x, 14 * SECOND, false);
    g_assert_true(g_str_has_prefix(flood, "a100 "));
    kvg_interleaver_clear(&x);
}

static void
test_ahead(void)
{
    KvgInterleaver x;
    kvg_interleaver_init(&x);
    kvg_interleaver_open(&x, 0, SECOND);
    put(&x, 0, 0, 0);
    put(&x, 0, 9 * SECOND, 0);
    g_assert_false(kvg_interleaver_is_ahead(&x, 0)); /* alone */
    kvg_interleaver_open(&x, 1, SECOND);
    g_assert_true(kvg_interleaver_is_ahead(&x, 0));
    kvg_interleaver_close(&x, 1);
    g_assert_false(kvg_interleaver_is_ahead(&x, 0));
    kvg_interleaver_clear(&x);
}

/* ---- timeline ---- */

static int64_t
map(KvgTimeline *timeline,
    unsigned track,
    int64_t pts_us,
    int64_t dts_us,
    int64_t now_us,
    bool live)
{
    const KvgTimelineInput input = {.pts_us = pts_us,
                                    .dts_us = dts_us,
                                    .now_us = now_us,
                                    .captured_us = KVG_TIMELINE_NONE,
                                    .live = live,
                                    .may_reorder = true};
    int64_t pts, dts;
    kvg_timeline_map(timeline, track, &input, &pts, &dts);
    return pts;
}

static void
test_shared(void)
{
    KvgTimeline t;
    kvg_timeline_init(&t, KVG_TIMELINE_NONE);
    g_assert_cmpint(map(&t, 0, SECOND, SECOND, NOW, true), ==, NOW);
    /* Sound that is delivered 300 ms later keeps its distance to the picture. */
    g_assert_cmpint(map(&t, 1, SECOND, SECOND, NOW + 300000, true), ==, NOW);
    g_assert_cmpint(t.repaired, ==, 0);
    /* The source's clock jumps two hours: the picture goes on now, and the sound with it. */
    g_assert_cmpint(map(&t, 0, 7200 * SECOND, 7200 * SECOND, NOW + SECOND, true), ==, NOW + SECOND);
    g_assert_cmpint(map(&t, 1, 7200 * SECOND + 5, 7200 * SECOND + 5, NOW + SECOND, true), ==,
                    NOW + SECOND + 5);
    g_assert_cmpint(t.repaired, ==, 2);
}

static void
test_without_times(void)
{
    KvgTimeline t;
    kvg_timeline_init(&t, KVG_TIMELINE_NONE);
    map(&t, 0, 0, 0, NOW, false);
    map(&t, 0, 40000, 40000, NOW, false);
    g_assert_cmpint(map(&t, 0, KVG_TIMELINE_NONE, KVG_TIMELINE_NONE, NOW, false), ==, NOW + 80000);
    g_assert_cmpint(map(&t, 0, INT64_MAX, INT64_MAX, NOW, false), ==, NOW + 120000);
    g_assert_cmpint(t.repaired, ==, 2);
}

/* Presentation times without decoding times: the former stay, the latter only ever grow. */
static void
test_reordered(void)
{
    static const int order[] = {0, 3, 1, 2, 6, 4, 5};
    KvgTimeline t;
    int64_t last = INT64_MIN;
    kvg_timeline_init(&t, KVG_TIMELINE_NONE);
    for (size_t i = 0; i < G_N_ELEMENTS(order); i++) {
        const KvgTimelineInput input = {.pts_us = order[i] * 40000,
                                        .dts_us = KVG_TIMELINE_NONE,
                                        .now_us = NOW,
                                        .captured_us = KVG_TIMELINE_NONE,
                                        .may_reorder = true};
        int64_t pts, dts;
        kvg_timeline_map(&t, 0, &input, &pts, &dts);
        g_assert_cmpint(pts, ==, NOW + order[i] * 40000);
        g_assert_cmpint(dts, >, last);
        last = dts;
    }
    g_assert_cmpint(t.repaired, ==, 0);
}

/* The camera says after a second that it captured 300 ms before the frames arrived: both tracks
 * glide there in steps nobody sees. A clock that is minutes off is not believed. */
static void
test_glides_to_capture(void)
{
    KvgTimeline t;
    int64_t last = 0, pts = 0, dts = 0;
    kvg_timeline_init(&t, KVG_TIMELINE_NONE);
    for (int i = 0; i < 400; i++) {
        const int64_t at = i * 66000;
        const bool says = i >= 15;
        const KvgTimelineInput picture = {.pts_us = at,
                                          .dts_us = KVG_TIMELINE_NONE,
                                          .now_us = NOW + at,
                                          .captured_us = says ? NOW + at - 300000 : INT64_MIN,
                                          .live = true};
        kvg_timeline_map(&t, 0, &picture, &pts, &dts);
        if (i > 0)
            g_assert_cmpint(pts - last, >, 60000);
        last = pts;
        map(&t, 1, at, at, NOW + at, true);
    }
    g_assert_cmpint(ABS(pts - (NOW + 399 * 66000 - 300000)), <=, 2000);
    g_assert_cmpint(ABS(map(&t, 1, 400 * 66000, 400 * 66000, NOW + 400 * 66000, true) -
                        (NOW + 400 * 66000 - 300000)),
                    <=, 4000);
    g_assert_cmpint(t.repaired, ==, 0);

    kvg_timeline_init(&t, KVG_TIMELINE_NONE);
    for (int i = 0; i < 100; i++) {
        const KvgTimelineInput wrong = {.pts_us = i * 66000,
                                        .dts_us = KVG_TIMELINE_NONE,
                                        .now_us = NOW + i * 66000,
                                        .captured_us = NOW + i * 66000 - 120 * SECOND,
                                        .live = true};
        kvg_timeline_map(&t, 0, &wrong, &pts, &dts);
        g_assert_cmpint(pts, ==, NOW + i * 66000);
    }
}

/* What is put into a stream that was written before follows it, even if the clock is behind. */
static void
test_follows(void)
{
    KvgTimeline t;
    kvg_timeline_init(&t, NOW + SECOND);
    g_assert_cmpint(map(&t, 0, 0, 0, NOW, true), ==, NOW + SECOND + 40000);
    kvg_timeline_restart(&t, 0);
    g_assert_cmpint(map(&t, 0, 0, 0, NOW, false), ==, NOW + SECOND + 80000);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/order/order", test_order);
    g_test_add_func("/order/patience", test_patience);
    g_test_add_func("/order/ahead", test_ahead);
    g_test_add_func("/order/shared", test_shared);
    g_test_add_func("/order/without-times", test_without_times);
    g_test_add_func("/order/reordered", test_reordered);
    g_test_add_func("/order/glides-to-capture", test_glides_to_capture);
    g_test_add_func("/order/follows", test_follows);
    return g_test_run();
}
