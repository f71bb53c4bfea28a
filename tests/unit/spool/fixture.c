#include "fixture.h"
#include "base/clock.h"
#include "os/file.h"
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

static GHashTable
    *readers; /* KvgSpool -> KvgSpoolReader: each has one here, made when first read */

static void
free_reader(void *reader)
{
    kvg_spool_reader_free(reader);
}

void
init_tests(int *argc, char ***argv)
{
    g_test_init(argc, argv, NULL);
    readers = g_hash_table_new_full(NULL, NULL, NULL, free_reader);
    g_log_set_writer_func(g_log_writer_standard_streams, NULL, NULL);
    g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_FATAL_MASK);
}

int
run_tests(void)
{
    const int result = g_test_run();
    g_hash_table_unref(readers);
    return result;
}

void
set_up(Fixture *f, const void *data)
{
    f->root = g_dir_make_tmp("kvg-spool-XXXXXX", NULL);
    g_assert_nonnull(f->root);
}

void
tear_down(Fixture *f, const void *data)
{
    g_autoptr(GError) error = NULL;
    g_assert_true(kvg_dir_remove(f->root, &error));
    g_assert_no_error(error);
    g_free(f->root);
}

char *
folder(const Fixture *f, const char *name)
{
    return g_build_filename(f->root, name, NULL);
}

KvgSpoolReader *
reader_of(KvgSpool *spool)
{
    KvgSpoolReader *reader = g_hash_table_lookup(readers, spool);
    if (reader == NULL) {
        reader = kvg_spool_reader_new(spool);
        g_hash_table_insert(readers, spool, reader);
    }
    return reader;
}

KvgSpool *
open_with(const KvgSpoolOptions *options)
{
    g_autoptr(GError) error = NULL;
    KvgSpool *spool = kvg_spool_open(options, &error);
    g_assert_no_error(error);
    g_hash_table_remove(readers, spool); /* of an earlier spool at this address */
    return spool;
}

KvgSpool *
open_spool(const char *path, uint64_t limit, uint32_t segment)
{
    const KvgSpoolOptions options = {.path = path, .limit_bytes = limit, .segment_bytes = segment};
    return open_with(&options);
}

void
close_spool(KvgSpool *spool)
{
    g_hash_table_remove(readers, spool);
    kvg_spool_close(spool);
}

KvgSpoolStats
stats_of(KvgSpool *spool)
{
    KvgSpoolStats stats;
    kvg_spool_get_stats(spool, &stats);
    return stats;
}

void
put_tracks(KvgSpool *spool, const char *private)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) codec_private = g_bytes_new(private, strlen(private));
    const KvgTrack tracks[] = {
        {.number = 1,
         .type = KVG_TRACK_VIDEO,
         .codec_id = "V_MPEG4/ISO/AVC",
         .name = "kvg",
         .codec_private = codec_private,
         .width = 1280,
         .height = 720},
        {.number = 2,
         .type = KVG_TRACK_AUDIO,
         .codec_id = "A_AAC",
         .sample_rate_hz = 48000,
         .channels = 2},
    };
    g_assert_true(kvg_spool_put_tracks(spool, tracks, 2, &error));
    g_assert_no_error(error);
}

/* The payload of a frame can be told from its fragment and place. */
GBytes *
payload(uint64_t fragment, unsigned i, size_t len)
{
    uint8_t *data = g_malloc(len);
    for (size_t at = 0; at < len; at++)
        data[at] = (uint8_t)(fragment * 31 + i * 7 + at);
    return g_bytes_new_take(data, len);
}

bool
put_frame(KvgSpool *spool, uint64_t fragment, unsigned i, size_t len, GError **error)
{
    g_autoptr(GBytes) data = payload(fragment, i, len);
    const KvgFrame frame = {.track = i % 4 == 3 ? 2 : 1,
                            .key = i == 0,
                            .pts_us = (int64_t)fragment * 1000000 + i * 40000,
                            .dts_us = (int64_t)fragment * 1000000 + i * 40000 - 5,
                            .duration_us = 40000,
                            .data = data};
    return kvg_spool_put_frame(spool, &frame, error);
}

void
put_fragment(KvgSpool *spool, uint64_t fragment, unsigned n_frames, size_t len)
{
    g_autoptr(GError) error = NULL;
    g_assert_true(kvg_spool_begin_fragment(spool, (int64_t)fragment * 1000, &error));
    for (unsigned i = 0; i < n_frames; i++)
        g_assert_true(put_frame(spool, fragment, i, len, &error));
    g_assert_true(kvg_spool_end_fragment(spool, &error));
    g_assert_no_error(error);
}

KvgSpoolEventKind
read_event(KvgSpool *spool, KvgSpoolEvent *event)
{
    g_autoptr(GError) error = NULL;
    kvg_spool_event_clear(event);
    g_assert_true(kvg_spool_read(reader_of(spool), event, &error));
    g_assert_no_error(error);
    return event->kind;
}

void
check_frame(const KvgSpoolEvent *event, uint64_t fragment, unsigned i, size_t len)
{
    g_autoptr(GBytes) expected = payload(fragment, i, len);
    g_assert_true(g_bytes_equal(event->frame.data, expected));
    g_assert_cmpint(event->frame.track, ==, i % 4 == 3 ? 2 : 1);
    g_assert_cmpint(event->frame.key, ==, i == 0);
    g_assert_cmpint(event->frame.pts_us, ==, (int64_t)fragment * 1000000 + i * 40000);
    g_assert_cmpint(event->frame.dts_us, ==, (int64_t)fragment * 1000000 + i * 40000 - 5);
    g_assert_cmpint(event->frame.duration_us, ==, 40000);
}

/* Reads one whole fragment whose BEGIN is next (TRACKS may stand before it); returns its frames. */
unsigned
read_fragment(KvgSpool *spool, uint64_t fragment, size_t len)
{
    g_auto(KvgSpoolEvent) event = {0};
    if (read_event(spool, &event) == KVG_SPOOL_TRACKS)
        read_event(spool, &event);
    g_assert_cmpint(event.kind, ==, KVG_SPOOL_BEGIN);
    g_assert_cmpuint(event.fragment, ==, fragment);
    g_assert_cmpint(event.timecode_ms, ==, (int64_t)fragment * 1000);
    unsigned n = 0;
    while (read_event(spool, &event) == KVG_SPOOL_FRAME)
        check_frame(&event, fragment, n++, len);
    g_assert_cmpint(event.kind, ==, KVG_SPOOL_END);
    g_assert_cmpuint(event.fragment, ==, fragment);
    return n;
}

void
assert_drained(KvgSpool *spool)
{
    g_auto(KvgSpoolEvent) event = {0};
    g_assert_cmpint(read_event(spool, &event), ==, KVG_SPOOL_NONE);
}

uint64_t
read_rest(KvgSpool *spool, size_t len)
{
    g_auto(KvgSpoolEvent) event = {0};
    unsigned in_fragment = 0;
    uint64_t n = 0;
    while (read_event(spool, &event) != KVG_SPOOL_NONE) {
        if (event.kind == KVG_SPOOL_BEGIN)
            in_fragment = 0;
        if (event.kind != KVG_SPOOL_FRAME)
            continue;
        check_frame(&event, event.fragment, in_fragment++, len);
        n++;
    }
    return n;
}

unsigned
count_files(const char *path, const char *suffix)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    unsigned n = 0;
    const char *name;
    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL)
        n += g_str_has_suffix(name, suffix);
    return n;
}

/* ---- the test's system ---- */

static _Atomic int64_t passed_us;
static pthread_mutex_t fault_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t fault_changed = PTHREAD_COND_INITIALIZER;
static char *fault_below;
static Fault fault;
static bool holds_syncs;

void
test_pass_time(int64_t ms)
{
    atomic_fetch_add(&passed_us, ms * 1000);
}

void
test_set_fault(const char *below, const Fault *new)
{
    pthread_mutex_lock(&fault_lock);
    g_free(fault_below);
    fault_below = new != NULL ? g_strdup(below) : NULL;
    fault = new != NULL ? *new : (Fault){0};
    pthread_mutex_unlock(&fault_lock);
}

void
test_hold_syncs(bool hold)
{
    pthread_mutex_lock(&fault_lock);
    holds_syncs = hold;
    pthread_cond_broadcast(&fault_changed);
    pthread_mutex_unlock(&fault_lock);
}

static int64_t
test_mono_us(void)
{
    return kvg_clock_mono_us() + atomic_load(&passed_us);
}

static int64_t
test_wall_ms(void)
{
    return kvg_clock_wall_ms() + atomic_load(&passed_us) / 1000;
}

/* The fault for a file; none if it lies elsewhere. */
static Fault
fault_of(const char *path)
{
    pthread_mutex_lock(&fault_lock);
    const bool applies = fault_below != NULL && g_str_has_prefix(path, fault_below);
    const Fault found = applies ? fault : (Fault){0};
    pthread_mutex_unlock(&fault_lock);
    return found;
}

static Fault
fault_of_fd(int fd)
{
    char link[64], path[PATH_MAX];
    g_snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const ssize_t len = readlink(link, path, sizeof path - 1);
    path[MAX(len, 0)] = '\0';
    return fault_of(path);
}

static int
fail_with(int code)
{
    errno = code;
    return -1;
}

static int
test_open(const char *path, int flags, mode_t mode)
{
    const int code = fault_of(path).open_code;
    return code != 0 ? fail_with(code) : kvg_spool_system.open(path, flags, mode);
}

/* Takes from the room; false if there is not enough. */
static bool
take_room(size_t len)
{
    pthread_mutex_lock(&fault_lock);
    const bool fits = fault.room > len;
    if (fits)
        fault.room -= len;
    pthread_mutex_unlock(&fault_lock);
    return fits;
}

static ssize_t
test_pwritev(int fd, const struct iovec *parts, int n, off_t offset)
{
    const Fault found = fault_of_fd(fd);
    size_t len = 0;
    for (int i = 0; i < n; i++)
        len += parts[i].iov_len;
    if (found.write_code != 0)
        return fail_with(found.write_code);
    if (found.room != 0 && !take_room(len))
        return fail_with(ENOSPC);
    if (found.short_bytes == 0 || len == 0)
        return kvg_spool_system.pwritev(fd, parts, n, offset);
    while (n > 1 && parts->iov_len == 0)
        parts++, n--;
    const struct iovec part = {parts->iov_base, MIN(parts->iov_len, found.short_bytes)};
    return kvg_spool_system.pwritev(fd, &part, 1, offset);
}

static int
test_fdatasync(int fd)
{
    pthread_mutex_lock(&fault_lock);
    while (holds_syncs)
        pthread_cond_wait(&fault_changed, &fault_lock);
    pthread_mutex_unlock(&fault_lock);
    const int code = fault_of_fd(fd).sync_code;
    return code != 0 ? fail_with(code) : kvg_spool_system.fdatasync(fd);
}

static int
test_sync_folder(const char *path)
{
    const int code = fault_of(path).folder_code;
    return code != 0 ? fail_with(code) : kvg_spool_system.sync_folder(path);
}

static int
test_rename(const char *from, const char *to)
{
    const int code = fault_of(to).rename_code;
    return code != 0 ? fail_with(code) : kvg_spool_system.rename(from, to);
}

static int
test_unlink(const char *path)
{
    GStatBuf info;
    const Fault found = fault_of(path);
    if (found.room != 0 && g_stat(path, &info) == 0) {
        pthread_mutex_lock(&fault_lock);
        fault.room += (uint64_t)info.st_size;
        pthread_mutex_unlock(&fault_lock);
    }
    return kvg_spool_system.unlink(path);
}

const KvgSpoolSystem test_system = {.open = test_open,
                                    .pwritev = test_pwritev,
                                    .fdatasync = test_fdatasync,
                                    .sync_folder = test_sync_folder,
                                    .rename = test_rename,
                                    .unlink = test_unlink,
                                    .mono_us = test_mono_us,
                                    .wall_ms = test_wall_ms};
