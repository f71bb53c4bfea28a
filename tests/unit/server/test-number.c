/* Fragment numbers grow whatever the clock does: a table of what it says, with restarts between. */
#include "os/file.h"
#include "server/ingest/number.h"

#include <kvg/error.h>
#include <string.h>

#define ARN "arn:aws:kinesisvideo:us-east-1:123456789012:stream/gate/1"
#define OTHER "arn:aws:kinesisvideo:us-east-1:123456789012:stream/dock/2"
#define NOW INT64_C(1760000000000)
#define DAY INT64_C(86400000)

typedef struct {
    GMutex lock;
    GCond changed;
    bool is_done, has_failed;
} Wait;

static void
on_done(const GError *error, void *user_data)
{
    Wait *wait = user_data;
    g_mutex_lock(&wait->lock);
    wait->is_done = true;
    wait->has_failed = error != NULL;
    g_cond_signal(&wait->changed);
    g_mutex_unlock(&wait->lock);
}

static void
keep(KvgStore *store, const char *number, int64_t server_ms)
{
    g_autoptr(GBytes) bytes = g_bytes_new_static("video", 5);
    KvgFragment fragment = {
        .stream_arn = ARN,
        .header = bytes,
        .media = bytes,
        .info = {
            .server_ms = server_ms, .producer_ms = server_ms, .length_ms = 1000, .size_bytes = 10}};
    g_strlcpy(fragment.info.number, number, sizeof fragment.info.number);
    Wait wait = {0};
    kvg_store_append(store, &fragment, on_done, &wait);
    g_mutex_lock(&wait.lock);
    while (!wait.is_done)
        g_cond_wait(&wait.changed, &wait.lock);
    g_mutex_unlock(&wait.lock);
    g_assert_false(wait.has_failed);
}

/* One life of the server: @n numbers at @clock_ms, all of them stored, each above @newest. */
static void
live(const char *path, int64_t clock_ms, unsigned n, char newest[64])
{
    g_autoptr(GError) error = NULL;
    const KvgStoreOptions options = {.path = path, .reserve_bytes = 1};
    g_autoptr(KvgStore) store = kvg_store_open(&options, &error);
    g_assert_no_error(error);
    KvgNumbers *numbers = kvg_numbers_new(store);
    for (unsigned i = 0; i < n; i++) {
        char number[64];
        kvg_numbers_next(numbers, ARN, clock_ms, number);
        g_assert_cmpuint(strlen(number), ==, 47);
        g_assert_cmpuint(strspn(number, "0123456789"), ==, 47);
        /* Equally long, so text compares as numbers do. */
        if (strcmp(number, newest) <= 0)
            g_error("%s follows %s at %" G_GINT64_FORMAT, number, newest, clock_ms);
        g_strlcpy(newest, number, 64);
        keep(store, number, clock_ms);
    }
    kvg_numbers_free(numbers);
}

static void
test_clock_that_jumps(void)
{
    static const int64_t jumps[] = {0, 1000, -DAY, -DAY, -DAY + 500, DAY, 0, -NOW, -NOW - DAY, DAY};
    g_autofree char *path = g_dir_make_tmp("kvg-number-XXXXXX", NULL);
    g_assert_nonnull(path);
    char newest[64] = "";
    for (size_t i = 0; i < G_N_ELEMENTS(jumps); i++)
        live(path, NOW + jumps[i], 5, newest);
    g_autoptr(GError) error = NULL;
    g_assert_true(kvg_dir_remove(path, &error));
}

/* Within one life, too, and one stream's clock is none of another's business. */
static void
test_without_restart(void)
{
    g_autofree char *path = g_dir_make_tmp("kvg-number-XXXXXX", NULL);
    g_autoptr(GError) error = NULL;
    const KvgStoreOptions options = {.path = path, .reserve_bytes = 1};
    KvgStore *store = kvg_store_open(&options, &error);
    g_assert_no_error(error);
    KvgNumbers *numbers = kvg_numbers_new(store);
    char a[64], b[64], other[64];
    kvg_numbers_next(numbers, ARN, NOW + DAY, a);
    kvg_numbers_next(numbers, ARN, NOW, b);
    kvg_numbers_next(numbers, OTHER, NOW, other);
    g_assert_cmpstr(a, <, b);
    g_assert_cmpstr(other, <, a);
    kvg_numbers_free(numbers);
    kvg_store_close(store);
    g_assert_true(kvg_dir_remove(path, &error));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/number/clock-that-jumps", test_clock_that_jumps);
    g_test_add_func("/number/without-restart", test_without_restart);
    return g_test_run();
}
