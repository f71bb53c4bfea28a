/* What readers are told of a stream that is being uploaded, and what is kept of one that keeps
 * nothing. */
#include "server/live/buffer.h"
#include "server/live/live.h"

#include <kvg/error.h>
#include <string.h>

#define ARN "arn:aws:kinesisvideo:us-east-1:123456789012:stream/cam/1"
#define MINUTE_US (60 * G_USEC_PER_SEC)

static void *
notify(void *live)
{
    g_usleep(20000);
    kvg_live_notify(live, "another");
    kvg_live_notify(live, ARN);
    return NULL;
}

static void
test_wait(void)
{
    KvgLive *live = kvg_live_new();
    KvgLiveWatch *watch = kvg_live_watch(live, ARN);
    const uint64_t version = kvg_live_version(watch);
    kvg_live_wait(watch, version, 1); /* nothing happens: it comes back */
    g_assert_cmpuint(kvg_live_version(watch), ==, version);
    GThread *thread = g_thread_new("notify", notify, live);
    kvg_live_wait(watch, version, 60000);
    g_assert_cmpuint(kvg_live_version(watch), ==, version + 1);
    kvg_live_wait(watch, version, 60000); /* what happened before is not waited for */
    g_thread_join(thread);
    kvg_live_unwatch(watch);
    kvg_live_free(live);
}

static KvgLiveFragment
fragment(unsigned number, GBytes *header)
{
    KvgLiveFragment fragment = {.producer_ms = number, .header = header};
    g_snprintf(fragment.number, sizeof fragment.number, "%u", number);
    return fragment;
}

static void
assert_open(KvgLiveWatch *watch, guint i, const char *number, const char *media, bool is_complete)
{
    g_autoptr(GPtrArray) list = kvg_live_list_open(watch);
    g_assert_cmpuint(list->len, >, i);
    const KvgLiveFragment *open = g_ptr_array_index(list, i);
    g_assert_cmpstr(open->number, ==, number);
    g_autoptr(GBytes) expected = g_bytes_new(media, strlen(media));
    g_assert_true(g_bytes_equal(open->media, expected));
    g_assert_cmpint(open->is_complete, ==, is_complete);
}

static guint
n_open(KvgLiveWatch *watch)
{
    g_autoptr(GPtrArray) list = kvg_live_list_open(watch);
    return list->len;
}

static void
test_open(void)
{
    KvgLive *live = kvg_live_new();
    g_autoptr(GBytes) header = g_bytes_new_static("head", 4);
    g_autoptr(GBytes) media = g_bytes_new_static("abcdef", 6);
    g_assert_false(kvg_live_wants_open(live, ARN, 0));
    kvg_live_want_open(live, ARN, 0);
    g_assert_true(kvg_live_wants_open(live, ARN, G_USEC_PER_SEC));
    KvgLiveWatch *watch = kvg_live_watch(live, ARN);
    const KvgLiveFragment first = fragment(1, header);
    kvg_live_put_open(live, ARN, &first, "abc", 3);
    kvg_live_put_open(live, ARN, &first, "abcd", 4);
    assert_open(watch, 0, "1", "abcd", false);
    kvg_live_end_open(live, ARN, "1", media, 1000);
    assert_open(watch, 0, "1", "abcdef", true);
    kvg_live_end_open(live, ARN, "1", NULL, 0); /* the session's end does not take it back */
    assert_open(watch, 0, "1", "abcdef", true);
    const KvgLiveFragment second = fragment(2, header);
    kvg_live_put_open(live, ARN, &second, "x", 1);
    kvg_live_end_open(live, ARN, "2", NULL, 0);
    g_assert_cmpuint(n_open(watch), ==, 1);
    for (unsigned i = 3; i < 20; i++) {
        const KvgLiveFragment next = fragment(i, header);
        kvg_live_put_open(live, ARN, &next, "x", 1);
    }
    g_assert_cmpuint(n_open(watch), ==, KVG_LIVE_MAX_FRAGMENTS);
    g_assert_false(kvg_live_wants_open(live, ARN, MINUTE_US)); /* nobody asks any more */
    g_assert_cmpuint(n_open(watch), ==, 0);
    kvg_live_unwatch(watch);
    kvg_live_free(live);
}

static void
put(KvgBuffer *buffer, unsigned number, uint64_t size, int64_t now_us)
{
    g_autoptr(GBytes) bytes = g_bytes_new_static("x", 1);
    KvgFragment kept = {.stream_arn = ARN,
                        .header = bytes,
                        .media = bytes,
                        .info = {.size_bytes = size, .producer_ms = number}};
    g_snprintf(kept.info.number, sizeof kept.info.number, "%02u", number);
    kvg_buffer_put(buffer, &kept, now_us);
}

static guint
n_after(KvgBuffer *buffer, const char *after, int64_t now_us)
{
    g_autoptr(GArray) infos = kvg_buffer_list_after(buffer, ARN, after, now_us);
    return infos->len;
}

static void
test_buffer(void)
{
    KvgBuffer *buffer = kvg_buffer_new();
    g_autoptr(GBytes) header = NULL;
    g_autoptr(GBytes) media = NULL;
    g_autoptr(GError) error = NULL;
    g_assert_cmpuint(n_after(buffer, "", 0), ==, 0);
    for (unsigned i = 1; i <= 4; i++)
        put(buffer, i, 10, i * MINUTE_US);
    g_assert_cmpuint(n_after(buffer, "", 4 * MINUTE_US), ==, 4);
    g_assert_cmpuint(n_after(buffer, "02", 4 * MINUTE_US), ==, 2);
    g_assert_cmpuint(n_after(buffer, "5", 4 * MINUTE_US), ==, 4); /* numbers, not text */
    g_assert_true(kvg_buffer_read(buffer, ARN, "03", &header, &media, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(n_after(buffer, "", 7 * MINUTE_US + 1), ==, 2); /* five minutes */
    put(buffer, 5, 199999995, 7 * MINUTE_US);                        /* 200 MB */
    g_assert_cmpuint(n_after(buffer, "", 7 * MINUTE_US), ==, 1);
    put(buffer, 6, 200000001, 7 * MINUTE_US); /* never fits */
    g_assert_cmpuint(n_after(buffer, "", 7 * MINUTE_US), ==, 0);
    put(buffer, 7, 10, 8 * MINUTE_US);
    kvg_buffer_expire(buffer, 20 * MINUTE_US);
    g_clear_pointer(&header, g_bytes_unref);
    g_clear_pointer(&media, g_bytes_unref);
    g_assert_false(kvg_buffer_read(buffer, ARN, "07", &header, &media, &error));
    g_assert_error(error, KVG_ERROR, KVG_ERROR_NOT_FOUND);
    kvg_buffer_free(buffer);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/live/wait", test_wait);
    g_test_add_func("/live/open", test_open);
    g_test_add_func("/live/buffer", test_buffer);
    return g_test_run();
}
