/* The store of fragments: what was called back as stored is there, byte for byte, after a kill at
 * any moment, a lost or stale index, a torn tail; damage and expiry cost exactly what they must. */
#include "os/file.h"
#include "server/store/care.h"
#include "server/store/store.h"
#include <fcntl.h>
#include <glib/gstdio.h>
#include <kvg/error.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define ARN "arn:aws:kinesisvideo:us-east-1:123456789012:stream/gate/1"
#define HEAD (56 + strlen(ARN) + 47 + 88) /* names and key block included */
#define OTHER "arn:aws:kinesisvideo:us-east-1:123456789012:stream/dock/2"

typedef struct {
    char *root;
    uint64_t segment_bytes, reserve_bytes;
} Fixture;

static void
set_up(Fixture *f, const void *data)
{
    f->root = g_dir_make_tmp("kvg-store-XXXXXX", NULL);
    g_assert_nonnull(f->root);
    f->reserve_bytes = 1;
}

static void
tear_down(Fixture *f, const void *data)
{
    g_autoptr(GError) error = NULL;
    g_assert_true(kvg_dir_remove(f->root, &error));
    g_free(f->root);
}

static KvgStore *
open_store(const Fixture *f, const char *name)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = g_build_filename(f->root, name, NULL);
    const KvgStoreOptions options = {
        .path = path, .segment_bytes = f->segment_bytes, .reserve_bytes = f->reserve_bytes};
    KvgStore *store = kvg_store_open(&options, &error);
    g_assert_no_error(error);
    return store;
}

/* ---- fragments that can be told from their number ---- */

static GBytes *
content(unsigned n, size_t len, unsigned salt)
{
    g_autoptr(GRand) random = g_rand_new_with_seed(n * 2 + salt);
    uint8_t *data = g_malloc(len);
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)g_rand_int(random);
    return g_bytes_new_take(data, len);
}

static size_t
media_len(unsigned n)
{
    return 100 + n % 7 * 50;
}

static KvgFragmentInfo
info_of(unsigned n)
{
    KvgFragmentInfo info = {.server_ms = 1000000 + n * 1000,
                            .producer_ms = 500000 + n * 1000,
                            .length_ms = 1000,
                            .size_bytes = 40 + media_len(n)};
    g_snprintf(info.number, sizeof info.number, "91343852333181432392682062%021u", n);
    return info;
}

typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned n_done, n_failed;
    int code; /* of the last failure */
} Wait;

#define WAIT_INIT                                                                                  \
    {                                                                                              \
        PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, 0                               \
    }

static void
on_done(const GError *error, void *user_data)
{
    Wait *wait = user_data;
    pthread_mutex_lock(&wait->lock);
    wait->n_done++;
    if (error != NULL) {
        wait->n_failed++;
        wait->code = error->code;
    }
    pthread_cond_broadcast(&wait->changed);
    pthread_mutex_unlock(&wait->lock);
}

static void
append(KvgStore *store, const char *arn, unsigned n, KvgStoreDone done, void *user_data)
{
    g_autoptr(GBytes) header = content(n, 40, 0);
    g_autoptr(GBytes) media = content(n, media_len(n), 1);
    const KvgFragment fragment = {
        .stream_arn = arn, .info = info_of(n), .header = header, .media = media};
    kvg_store_append(store, &fragment, done, user_data);
}

static void
wait_for(Wait *wait, unsigned n)
{
    pthread_mutex_lock(&wait->lock);
    while (wait->n_done < n)
        pthread_cond_wait(&wait->changed, &wait->lock);
    pthread_mutex_unlock(&wait->lock);
}

static void
store_range(KvgStore *store, const char *arn, unsigned from, unsigned to)
{
    Wait wait = WAIT_INIT;
    for (unsigned n = from; n <= to; n++)
        append(store, arn, n, on_done, &wait);
    wait_for(&wait, to - from + 1);
    g_assert_cmpuint(wait.n_failed, ==, 0);
}

static bool
is_there(KvgStore *store, const char *arn, unsigned n, GError **error)
{
    const KvgFragmentInfo info = info_of(n);
    g_autoptr(GBytes) header = NULL;
    g_autoptr(GBytes) media = NULL;
    if (!kvg_store_read(store, arn, info.number, &header, &media, error))
        return false;
    g_autoptr(GBytes) expected_header = content(n, 40, 0);
    g_autoptr(GBytes) expected_media = content(n, media_len(n), 1);
    g_assert_true(g_bytes_equal(header, expected_header));
    g_assert_true(g_bytes_equal(media, expected_media));
    return true;
}

static void
assert_there(KvgStore *store, const char *arn, unsigned from, unsigned to)
{
    g_autoptr(GError) error = NULL;
    for (unsigned n = from; n <= to; n++) {
        is_there(store, arn, n, &error);
        g_assert_no_error(error);
    }
}

/* The listed numbers must be @from..@to, with their times. */
static void
assert_listed(KvgStore *store,
              KvgStoreOrder order,
              int64_t from_ms,
              int64_t to_ms,
              size_t max,
              bool newest,
              unsigned from,
              unsigned to)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GArray) found =
        kvg_store_list(store, ARN, order, from_ms, to_ms, max, newest, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(found->len, ==, to + 1 - from);
    for (guint i = 0; i < found->len; i++) {
        const KvgFragmentInfo *info = &g_array_index(found, KvgFragmentInfo, i);
        const KvgFragmentInfo expected = info_of(from + i);
        g_assert_cmpstr(info->number, ==, expected.number);
        g_assert_cmpint(info->server_ms, ==, expected.server_ms);
        g_assert_cmpint(info->producer_ms, ==, expected.producer_ms);
        g_assert_cmpint(info->length_ms, ==, expected.length_ms);
        if (info->size_bytes < 1000) /* not one of the large ones */
            g_assert_cmpuint(info->size_bytes, ==, expected.size_bytes);
    }
}

static char *
log_file(const Fixture *f, const char *name, unsigned sequence)
{
    return g_strdup_printf("%s/%s/log/%016x.log", f->root, name, sequence);
}

/* ---- tests ---- */

static void
test_list_and_read(Fixture *f, const void *data)
{
    g_autoptr(KvgStore) store = open_store(f, "a");
    store_range(store, ARN, 1, 20);
    store_range(store, OTHER, 5, 6);
    assert_there(store, ARN, 1, 20);
    const KvgStoreOrder server = KVG_STORE_BY_SERVER_TIME;
    assert_listed(store, server, INT64_MIN, INT64_MAX, 100, false, 1, 20);
    assert_listed(store, server, 1005000, 1009000, 100, false, 5, 9); /* both ends belong to it */
    assert_listed(store, server, 1005000, 1009000, 2, false, 5, 6);
    assert_listed(store, server, 1005000, 1009000, 2, true, 8, 9);
    assert_listed(store, KVG_STORE_BY_PRODUCER_TIME, 505000, 509000, 100, false, 5, 9);
    assert_listed(store, KVG_STORE_BY_PRODUCER_TIME, 500000, INT64_MAX, 3, true, 18, 20);
    assert_listed(store, server, 2000000, 3000000, 3, true, 1, 0);
    g_autoptr(GError) error = NULL;
    g_assert_false(is_there(store, OTHER, 1, &error));
    g_assert_error(error, KVG_ERROR, KVG_ERROR_NOT_FOUND);
    store_range(store, ARN, 20, 20); /* again: replaced */
    assert_listed(store, server, INT64_MIN, INT64_MAX, 100, false, 1, 20);
}

static void
test_reopen(Fixture *f, const void *data)
{
    f->segment_bytes = 1000;
    for (unsigned round = 0; round < 5; round++) {
        g_autoptr(KvgStore) store = open_store(f, "a");
        store_range(store, ARN, round * 10 + 1, round * 10 + 10);
        assert_there(store, ARN, 1, round * 10 + 10);
    }
}

static void
test_one_owner(Fixture *f, const void *data)
{
    G_GNUC_UNUSED g_autoptr(KvgStore) store = open_store(f, "a");
    g_autofree char *path = g_build_filename(f->root, "a", NULL);
    const KvgStoreOptions options = {.path = path};
    g_autoptr(GError) error = NULL;
    g_assert_null(kvg_store_open(&options, &error));
    g_assert_error(error, KVG_ERROR, KVG_ERROR_INVALID);
}

static void
remove_index(const Fixture *f, const char *name)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < G_N_ELEMENTS(suffixes); i++) {
        g_autofree char *path = g_strdup_printf("%s/%s/index.db%s", f->root, name, suffixes[i]);
        g_unlink(path);
    }
}

static void
test_index_lost_stale_damaged(Fixture *f, const void *data)
{
    f->segment_bytes = 2000;
    g_autofree char *index = g_build_filename(f->root, "a", "index.db", NULL);
    g_autofree char *saved = NULL;
    size_t len;
    {
        g_autoptr(KvgStore) store = open_store(f, "a");
        store_range(store, ARN, 1, 30);
    }
    g_assert_true(g_file_get_contents(index, &saved, &len, NULL));
    {
        g_autoptr(KvgStore) store = open_store(f, "a");
        store_range(store, ARN, 31, 60);
    }
    g_assert_true(g_file_set_contents(index, saved, (gssize)len, NULL)); /* stale */
    {
        g_autoptr(KvgStore) store = open_store(f, "a");
        assert_there(store, ARN, 1, 60);
        assert_listed(store, KVG_STORE_BY_SERVER_TIME, 0, INT64_MAX, 100, false, 1, 60);
    }
    remove_index(f, "a");
    {
        g_autoptr(KvgStore) store = open_store(f, "a");
        assert_there(store, ARN, 1, 60);
    }
    memset(saved + len / 2, 0x55, len / 2);
    g_assert_true(g_file_set_contents(index, saved, (gssize)len, NULL));
    g_autoptr(KvgStore) store = open_store(f, "a");
    assert_there(store, ARN, 1, 60);
    store_range(store, ARN, 61, 61);
    assert_listed(store, KVG_STORE_BY_SERVER_TIME, 0, INT64_MAX, 100, false, 1, 61);
}

/* An index that knows more than the log has (a folder restored in parts). */
static void
test_index_ahead(Fixture *f, const void *data)
{
    {
        g_autoptr(KvgStore) store = open_store(f, "a");
        store_range(store, ARN, 1, 10);
    }
    g_autofree char *file = log_file(f, "a", 1);
    GStatBuf info;
    g_assert_cmpint(g_stat(file, &info), ==, 0);
    g_assert_cmpint(truncate(file, info.st_size / 2), ==, 0);
    g_autoptr(KvgStore) store = open_store(f, "a");
    assert_there(store, ARN, 1, 4);
    g_assert_false(is_there(store, ARN, 10, NULL));
    store_range(store, ARN, 11, 12);
    assert_there(store, ARN, 11, 12);
}

static void
test_torn_at_every_byte(Fixture *f, const void *data)
{
    {
        g_autoptr(KvgStore) store = open_store(f, "a");
        store_range(store, ARN, 1, 3);
    }
    g_autofree char *file = log_file(f, "a", 1);
    g_autofree char *whole = NULL;
    size_t len;
    g_assert_true(g_file_get_contents(file, &whole, &len, NULL));
    const size_t last = HEAD + 40 + media_len(3);
    for (size_t cut = len - last; cut < len; cut++) {
        remove_index(f, "a");
        g_assert_true(g_file_set_contents(file, whole, (gssize)cut, NULL));
        g_autoptr(KvgStore) store = open_store(f, "a");
        assert_there(store, ARN, 1, 2);
        g_assert_false(is_there(store, ARN, 3, NULL));
        store_range(store, ARN, 4, 4);
        assert_there(store, ARN, 4, 4);
    }
}

static void
test_flipped_bits(Fixture *f, const void *data)
{
    {
        g_autoptr(KvgStore) store = open_store(f, "a");
        store_range(store, ARN, 1, 3);
    }
    g_autofree char *file = log_file(f, "a", 1);
    const size_t first = HEAD + 40 + media_len(1);
    const size_t second = first + HEAD + 40 + media_len(2);
    for (size_t at = first; at < second; at++) {
        g_auto(KvgFd) fd = open(file, O_RDWR | O_CLOEXEC);
        uint8_t byte;
        g_assert_cmpint(pread(fd, &byte, 1, (off_t)at), ==, 1);
        const uint8_t flipped = byte ^ 0x40;
        g_assert_cmpint(pwrite(fd, &flipped, 1, (off_t)at), ==, 1);
        if (at % 2 == 0)
            remove_index(f, "a");
        g_autoptr(KvgStore) store = open_store(f, "a");
        assert_there(store, ARN, 1, 1);
        assert_there(store, ARN, 3, 3);
        g_autoptr(GError) error = NULL;
        if (at % 2 == 0 || at >= first + HEAD - 88) {
            g_assert_false(is_there(store, ARN, 2, &error));
            g_assert_nonnull(error);
        }
        g_assert_cmpint(pwrite(fd, &byte, 1, (off_t)at), ==, 1);
    }
}

static unsigned
count_segments(const Fixture *f, const char *name)
{
    g_autofree char *path = g_build_filename(f->root, name, "log", NULL);
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    unsigned n = 0;
    while (g_dir_read_name(dir) != NULL)
        n++;
    return n;
}

static GError *
open_fails(const Fixture *f, const char *name)
{
    g_autofree char *path = g_build_filename(f->root, name, NULL);
    const KvgStoreOptions options = {.path = path, .reserve_bytes = 1};
    GError *error = NULL;
    g_assert_null(kvg_store_open(&options, &error));
    return error;
}

/* Nothing of the video can be read from the disk without the master key, and with another one
 * nothing is taken for video. */
static void
test_encryption(Fixture *f, const void *data)
{
    {
        g_autoptr(KvgStore) store = open_store(f, "a");
        store_range(store, ARN, 1, 3);
        store_range(store, OTHER, 1, 1);
    }
    g_autofree char *file = log_file(f, "a", 1);
    g_autofree char *key_file = g_build_filename(f->root, "a", "master.key", NULL);
    g_autofree char *whole = NULL;
    g_autofree char *key = NULL;
    size_t len, key_len;
    GStatBuf info;
    g_assert_true(g_file_get_contents(file, &whole, &len, NULL));
    g_assert_true(g_file_get_contents(key_file, &key, &key_len, NULL));
    g_assert_cmpint(g_stat(key_file, &info), ==, 0);
    g_assert_cmpuint(info.st_mode & 0777, ==, 0600);
    g_assert_cmpuint(key_len, ==, 32);
    for (unsigned n = 1; n <= 3; n++) {
        g_autoptr(GBytes) media = content(n, media_len(n), 1);
        g_assert_null(memmem(whole, len, g_bytes_get_data(media, NULL), 16));
    }
    g_assert_null(memmem(whole, len, key, key_len));

    g_assert_cmpint(g_unlink(key_file), ==, 0);
    g_autoptr(GError) missing = open_fails(f, "a");
    g_assert_error(missing, KVG_ERROR, KVG_ERROR_AUTH);
    g_assert_nonnull(strstr(missing->message, key_file));

    key[0] = (char)(key[0] ^ 1);
    g_assert_true(g_file_set_contents(key_file, key, (gssize)key_len, NULL));
    {
        g_autoptr(KvgStore) store = open_store(f, "a");
        g_autoptr(GError) error = NULL;
        g_assert_false(is_there(store, ARN, 1, &error));
        g_assert_error(error, KVG_ERROR, KVG_ERROR_CORRUPT);
        store_range(store, ARN, 4, 4);
        assert_there(store, ARN, 4, 4);
    }
    key[0] = (char)(key[0] ^ 1);
    g_assert_true(g_file_set_contents(key_file, key, (gssize)key_len, NULL));
    g_autoptr(KvgStore) store = open_store(f, "a");
    assert_there(store, ARN, 1, 3);
    assert_there(store, OTHER, 1, 1);
    g_assert_false(is_there(store, ARN, 4, NULL));
}

static void
test_format(Fixture *f, const void *data)
{
    {
        g_autoptr(KvgStore) store = open_store(f, "a");
        store_range(store, ARN, 1, 1);
    }
    g_autofree char *format = g_build_filename(f->root, "a", "format", NULL);
    g_assert_true(g_file_set_contents(format, "2\n", -1, NULL));
    g_autoptr(GError) error = open_fails(f, "a");
    g_assert_error(error, KVG_ERROR, KVG_ERROR_UNSUPPORTED);
    g_assert_nonnull(strstr(error->message, "format 2"));
    g_assert_true(g_file_set_contents(format, "1\n", -1, NULL));
    g_autoptr(KvgStore) store = open_store(f, "a");
    assert_there(store, ARN, 1, 1);
}

/* A disk that takes no more in the middle of a fragment: the callers are told, nothing stored is
 * lost, and storing goes on when there is room. */
static void
test_disk_that_refuses(Fixture *f, const void *data)
{
    g_autoptr(KvgStore) store = open_store(f, "a");
    store_range(store, ARN, 1, 5);
    struct rlimit limit;
    g_assert_cmpint(getrlimit(RLIMIT_FSIZE, &limit), ==, 0);
    const struct rlimit tight = {.rlim_cur = 5 * (HEAD + 40) + 1200, .rlim_max = limit.rlim_max};
    g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &tight), ==, 0);
    Wait wait = WAIT_INIT;
    for (unsigned n = 6; n <= 40; n++) {
        append(store, ARN, n, on_done, &wait);
        wait_for(&wait, n - 5);
    }
    g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &limit), ==, 0);
    g_assert_cmpuint(wait.n_failed, >, 0);
    assert_there(store, ARN, 1, 5);
    for (unsigned n = 6; n <= 40; n++)
        g_assert_true(is_there(store, ARN, n, NULL) == (n - 5 <= 35 - wait.n_failed));
    store_range(store, ARN, 50, 60);
    assert_there(store, ARN, 50, 60);
}

static int64_t
bytes_on_disk(const Fixture *f)
{
    g_autofree char *path = g_build_filename(f->root, "a", "log", NULL);
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *name;
    int64_t total = 0;
    while ((name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *file = g_build_filename(path, name, NULL);
        GStatBuf info;
        g_assert_cmpint(g_stat(file, &info), ==, 0);
        total += info.st_blocks * 512;
    }
    return total;
}

static void
append_large(KvgStore *store, const char *arn, unsigned n, Wait *wait)
{
    g_autoptr(GBytes) header = content(n, 40, 0);
    g_autoptr(GBytes) media = content(n, 100000, 1);
    const KvgFragment fragment = {
        .stream_arn = arn, .info = info_of(n), .header = header, .media = media};
    kvg_store_append(store, &fragment, on_done, wait);
}

static void
test_expire(Fixture *f, const void *data)
{
    f->segment_bytes = 1000000;
    Wait wait = WAIT_INIT;
    g_autoptr(GError) error = NULL;
    {
        g_autoptr(KvgStore) store = open_store(f, "a");
        for (unsigned n = 1; n <= 40; n++) {
            append_large(store, ARN, n, &wait);
            wait_for(&wait, n);
        }
        store_range(store, OTHER, 41, 41);
        const int64_t before = bytes_on_disk(f);
        g_assert_true(kvg_store_expire(store, ARN, 1036000, &error));
        g_assert_no_error(error);
        g_assert_cmpint(bytes_on_disk(f), <, before / 4);
        assert_listed(store, KVG_STORE_BY_SERVER_TIME, 0, INT64_MAX, 100, false, 36, 40);
        g_assert_false(is_there(store, ARN, 1, NULL));
        assert_there(store, OTHER, 41, 41);
        g_autofree char *first = log_file(f, "a", 1);
        g_assert_false(g_file_test(first, G_FILE_TEST_EXISTS));
    }
    remove_index(f, "a"); /* what has expired does not come back */
    g_autoptr(KvgStore) store = open_store(f, "a");
    assert_listed(store, KVG_STORE_BY_SERVER_TIME, 0, INT64_MAX, 100, false, 36, 40);
    assert_there(store, OTHER, 41, 41);
    g_assert_true(kvg_store_expire(store, ARN, INT64_MAX, &error));
    assert_listed(store, KVG_STORE_BY_SERVER_TIME, 0, INT64_MAX, 100, false, 1, 0);
    assert_there(store, OTHER, 41, 41);
}

static void
test_full_disk(Fixture *f, const void *data)
{
    f->reserve_bytes = UINT64_MAX;
    {
        g_autoptr(KvgStore) store = open_store(f, "a");
        Wait wait = WAIT_INIT;
        append(store, ARN, 1, on_done, &wait);
        wait_for(&wait, 1);
        g_assert_cmpuint(wait.n_failed, ==, 1);
        g_assert_cmpint(wait.code, ==, KVG_ERROR_NO_SPACE);
        g_assert_false(is_there(store, ARN, 1, NULL));
    }
    f->reserve_bytes = 1;
    g_autoptr(KvgStore) store = open_store(f, "a");
    store_range(store, ARN, 1, 1);
    assert_there(store, ARN, 1, 1);
}

#define N_THREADS 8
#define N_EACH 50

typedef struct {
    KvgStore *store;
    unsigned first;
} Producer;

static void *
run_producer(void *data)
{
    const Producer *producer = data;
    for (unsigned i = 0; i < N_EACH; i++)
        store_range(producer->store, ARN, producer->first + i, producer->first + i);
    return NULL;
}

static void
test_many_threads(Fixture *f, const void *data)
{
    f->segment_bytes = 5000;
    g_autoptr(KvgStore) store = open_store(f, "a");
    pthread_t threads[N_THREADS];
    Producer producers[N_THREADS];
    for (unsigned i = 0; i < N_THREADS; i++) {
        producers[i] = (Producer){.store = store, .first = 1 + i * N_EACH};
        g_assert_cmpint(pthread_create(&threads[i], NULL, run_producer, &producers[i]), ==, 0);
    }
    for (unsigned i = 0; i < N_THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_there(store, ARN, 1, N_THREADS * N_EACH);
    assert_listed(store, KVG_STORE_BY_SERVER_TIME, 0, INT64_MAX, 1000, false, 1,
                  N_THREADS * N_EACH);
}

/* ---- care ---- */

static void
count_line(const char *line, void *user_data)
{
    (*(unsigned *)user_data)++;
}

static KvgStoreCheck
check_store(const Fixture *f, const char *name)
{
    g_autofree char *path = g_build_filename(f->root, name, NULL);
    g_autoptr(GError) error = NULL;
    KvgStoreCheck result;
    unsigned lines = 0;
    g_assert_true(kvg_store_check(&(KvgStoreOptions){.path = path, .reserve_bytes = 1}, &result,
                                  count_line, &lines, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(lines, ==, 1 + result.damaged + result.not_listed);
    return result;
}

/* A flipped byte is found and named, and a repair leaves its fragment out and no other. */
static void
test_check_and_repair(Fixture *f, const void *data)
{
    f->segment_bytes = 2000;
    {
        g_autoptr(KvgStore) store = open_store(f, "a");
        store_range(store, ARN, 1, 20);
        g_autofree char *busy = g_build_filename(f->root, "a", NULL);
        KvgStoreCheck result;
        g_autoptr(GError) error = NULL;
        g_assert_false(
            kvg_store_check(&(KvgStoreOptions){.path = busy}, &result, NULL, NULL, &error));
        g_assert_error(error, KVG_ERROR, KVG_ERROR_INVALID);
    }
    KvgStoreCheck result = check_store(f, "a");
    g_assert_cmpuint(result.fragments, ==, 20);
    g_assert_cmpuint(result.damaged + result.not_listed + result.not_there, ==, 0);

    g_autofree char *file = log_file(f, "a", 1);
    g_auto(KvgFd) fd = open(file, O_RDWR | O_CLOEXEC);
    g_assert_cmpint(pwrite(fd, "!", 1, (off_t)(HEAD + 7)), ==, 1);
    result = check_store(f, "a");
    g_assert_cmpuint(result.damaged, ==, 1);
    g_assert_cmpuint(result.not_listed + result.not_there, ==, 0);

    g_autofree char *path = g_build_filename(f->root, "a", NULL);
    g_autoptr(GError) error = NULL;
    const KvgStoreOptions options = {.path = path, .segment_bytes = 2000, .reserve_bytes = 1};
    g_assert_true(kvg_store_repair(&options, &error));
    g_assert_no_error(error);
    g_autoptr(KvgStore) store = open_store(f, "a");
    assert_there(store, ARN, 2, 20);
    g_autoptr(GError) gone = NULL;
    g_assert_false(is_there(store, ARN, 1, &gone));
    g_assert_error(gone, KVG_ERROR, KVG_ERROR_NOT_FOUND);
}

static void
test_compact(Fixture *f, const void *data)
{
    f->segment_bytes = 4000;
    {
        g_autoptr(KvgStore) store = open_store(f, "a");
        /* Every segment keeps one fragment of the stream that stays. */
        for (unsigned n = 1; n <= 60; n++)
            store_range(store, n % 10 == 0 ? OTHER : ARN, n, n);
        g_autoptr(GError) error = NULL;
        g_assert_true(kvg_store_expire(store, ARN, INT64_MAX, &error));
    }
    const unsigned before = count_segments(f, "a");
    g_autofree char *path = g_build_filename(f->root, "a", NULL);
    const KvgStoreOptions options = {.path = path, .segment_bytes = 4000, .reserve_bytes = 1};
    g_autoptr(GError) error = NULL;
    uint64_t freed_bytes;
    unsigned lines = 0;
    g_assert_true(kvg_store_compact(&options, &freed_bytes, count_line, &lines, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(freed_bytes, >, 0);
    g_assert_cmpuint(lines, >, 0);
    const KvgStoreCheck result = check_store(f, "a");
    g_assert_cmpuint(result.fragments, ==, 6);
    g_assert_cmpuint(result.damaged + result.not_listed + result.not_there, ==, 0);
    g_assert_cmpuint(count_segments(f, "a"), <=, before);
    g_autoptr(KvgStore) store = open_store(f, "a");
    for (unsigned n = 10; n <= 60; n += 10)
        assert_there(store, OTHER, n, n);
    store_range(store, ARN, 100, 103);
    assert_there(store, ARN, 100, 103);
}

static void
test_backup(Fixture *f, const void *data)
{
    f->segment_bytes = 2000;
    g_autoptr(KvgStore) store = open_store(f, "a");
    store_range(store, ARN, 1, 30);
    g_autofree char *from = g_build_filename(f->root, "a", NULL);
    g_autofree char *to = g_build_filename(f->root, "b", NULL);
    g_autoptr(GError) error = NULL;
    g_assert_true(kvg_store_backup(&(KvgStoreOptions){.path = from}, to, &error));
    g_assert_no_error(error);
    store_range(store, ARN, 31, 40);
    g_autoptr(KvgStore) copy = open_store(f, "b");
    assert_there(copy, ARN, 1, 30);
    g_assert_false(is_there(copy, ARN, 31, NULL));
}

/* ---- kill -9 ---- */

static Wait in_flight = WAIT_INIT;

static void
tell_parent(const GError *error, void *user_data)
{
    const uint32_t n = GPOINTER_TO_UINT(user_data);
    if (error == NULL && write(STDOUT_FILENO, &n, sizeof n) != sizeof n)
        _exit(1);
    on_done(error, &in_flight);
}

/* Runs as a process of its own: appends for ever, writing each stored number to stdout. */
static void G_GNUC_NORETURN
append_for_ever(const char *root, unsigned first)
{
    const Fixture f = {.root = (char *)(uintptr_t)root, .segment_bytes = 20000, .reserve_bytes = 1};
    KvgStore *store = open_store(&f, "a");
    for (unsigned i = 0;; i++) {
        append(store, ARN, first + i, tell_parent, GUINT_TO_POINTER(first + i));
        wait_for(&in_flight, i > 20 ? i - 20 : 0);
    }
}

static const char *self;

static void
test_kill(Fixture *f, const void *data)
{
    f->segment_bytes = 20000;
    g_autoptr(GRand) random = g_rand_new_with_seed(20);
    unsigned newest = 0;
    /* scripts/soak: 500 */
    const char *kills = g_getenv("KVG_KILLS");
    const unsigned n_rounds = kills != NULL ? (unsigned)atoi(kills) : 20;
    for (unsigned round = 0; round < n_rounds; round++) {
        g_autofree char *first = g_strdup_printf("%u", newest + 1000);
        const char *argv[] = {self, "--append", f->root, first, NULL};
        GPid pid;
        int out;
        g_assert_true(g_spawn_async_with_pipes(NULL, (char **)(uintptr_t)argv, NULL,
                                               G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL, &pid, NULL,
                                               &out, NULL, NULL));
        g_autoptr(GArray) stored = g_array_new(FALSE, FALSE, sizeof(uint32_t));
        const unsigned enough = (unsigned)g_rand_int_range(random, 1, 300);
        uint32_t n;
        while (read(out, &n, sizeof n) == sizeof n) {
            g_array_append_val(stored, n);
            if (stored->len == enough)
                kill(pid, SIGKILL);
        }
        close(out);
        waitpid(pid, NULL, 0);
        g_assert_cmpuint(stored->len, >=, enough);
        g_autoptr(KvgStore) store = open_store(f, "a");
        for (guint i = 0; i < stored->len; i++)
            assert_there(store, ARN, g_array_index(stored, uint32_t, i),
                         g_array_index(stored, uint32_t, i));
        newest = g_array_index(stored, uint32_t, stored->len - 1);
    }
}

int
main(int argc, char **argv)
{
    self = argv[0];
    if (argc == 4 && strcmp(argv[1], "--append") == 0)
        append_for_ever(argv[2], (unsigned)atoi(argv[3]));
    g_test_init(&argc, &argv, NULL);
    signal(SIGXFSZ, SIG_IGN); /* of the disk that refuses */
    g_log_set_writer_func(g_log_writer_standard_streams, NULL, NULL);
    g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_FATAL_MASK);
#define ADD(name, test) g_test_add("/store/" name, Fixture, NULL, set_up, test, tear_down)
    ADD("list-and-read", test_list_and_read);
    ADD("reopen", test_reopen);
    ADD("one-owner", test_one_owner);
    ADD("index-lost-stale-damaged", test_index_lost_stale_damaged);
    ADD("index-ahead", test_index_ahead);
    ADD("torn-at-every-byte", test_torn_at_every_byte);
    ADD("flipped-bits", test_flipped_bits);
    ADD("encryption", test_encryption);
    ADD("format", test_format);
    ADD("disk-that-refuses", test_disk_that_refuses);
    ADD("check-and-repair", test_check_and_repair);
    ADD("compact", test_compact);
    ADD("backup", test_backup);
    ADD("expire", test_expire);
    ADD("full-disk", test_full_disk);
    ADD("many-threads", test_many_threads);
    ADD("kill", test_kill);
    return g_test_run();
}
