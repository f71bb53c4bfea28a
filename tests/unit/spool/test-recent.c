/* The frames kept for a reader that keeps up: taken once, in order, within bounds. */
#include "spool/recent.h"

static void
put(KvgSpoolRecent *recent, uint64_t fragment, uint64_t offset, size_t len)
{
    const KvgFrame frame = {.track = 1, .pts_us = (int64_t)offset};
    kvg_spool_recent_put(recent, fragment, offset, &frame, g_bytes_new_take(g_malloc0(len), len));
}

static bool
takes(KvgSpoolRecent *recent, uint64_t fragment, uint64_t offset)
{
    KvgFrame frame = {0};
    if (!kvg_spool_recent_take(recent, fragment, offset, &frame))
        return false;
    g_assert_cmpint(frame.pts_us, ==, (int64_t)offset);
    g_bytes_unref(frame.data);
    return true;
}

static void
test_nobody_follows(void)
{
    KvgSpoolRecent recent = {0};
    put(&recent, 1, 0, 100);
    g_assert_cmpuint(recent.n, ==, 0);
    g_assert_false(takes(&recent, 1, 0));
}

static void
test_taken_once(void)
{
    KvgSpoolRecent recent = {0};
    kvg_spool_recent_at_end(&recent);
    put(&recent, 1, 0, 100);
    put(&recent, 1, 156, 100);
    put(&recent, 2, 0, 100);
    g_assert_false(takes(&recent, 2, 156));
    g_assert_true(takes(&recent, 1, 156)); /* the one before it is read as well */
    g_assert_false(takes(&recent, 1, 0));
    g_assert_false(takes(&recent, 1, 156));
    g_assert_true(takes(&recent, 2, 0));
    g_assert_cmpuint(recent.bytes, ==, 0);
    kvg_spool_recent_clear(&recent);
}

/* Who falls behind reads from the files again, and nothing is held for him. */
static void
test_falls_behind(void)
{
    KvgSpoolRecent recent = {0};
    kvg_spool_recent_at_end(&recent);
    for (uint64_t i = 0; i < KVG_SPOOL_RECENT_FRAMES + 3; i++)
        put(&recent, 1, i, 10);
    g_assert_cmpuint(recent.n, ==, 0);
    kvg_spool_recent_at_end(&recent);
    put(&recent, 1, 100, KVG_SPOOL_RECENT_BYTES / 2 + 1);
    g_assert_cmpuint(recent.n, ==, 1);
    put(&recent, 1, 101, KVG_SPOOL_RECENT_BYTES / 2 + 1);
    g_assert_cmpuint(recent.n, ==, 0);
    g_assert_cmpuint(recent.bytes, ==, 0);
    g_assert_false(recent.is_followed);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/spool/recent/nobody-follows", test_nobody_follows);
    g_test_add_func("/spool/recent/taken-once", test_taken_once);
    g_test_add_func("/spool/recent/falls-behind", test_falls_behind);
    return g_test_run();
}
