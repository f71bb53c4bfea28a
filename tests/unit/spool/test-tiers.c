/* Where frames wait: in memory, on disk, first the one and then the other; for how long; and what a
 * stream costs. Time is the test's. */
#include "base/bytes.h"
#include "fixture.h"
#include "os/file.h"
#include "spool/record.h"
#include <fcntl.h>
#include <glib/gstdio.h>
#include <kvg/error.h>
#include <string.h>
#include <sys/stat.h>

#define FRAMES 4
#define LEN 1000
#define BIG 40000 /* a fragment of these is more than a reader reads ahead */

typedef struct {
    char *disk, *memory;
    KvgSpoolOptions options;
} Places;

static Places
places(const Fixture *f, KvgSpoolTier tier)
{
    Places p = {.disk = folder(f, "disk/cam"), .memory = folder(f, "memory/x/cam")};
    p.options = (KvgSpoolOptions){
        .path = p.disk, .memory_path = p.memory, .tier = tier, .system = &test_system};
    return p;
}

static void
places_clear(Places *p)
{
    g_free(p->disk);
    g_free(p->memory);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Places, places_clear)

static void
put_fragments(KvgSpool *spool, uint64_t from, uint64_t to)
{
    for (uint64_t n = from; n <= to; n++)
        put_fragment(spool, n, FRAMES, LEN);
}

/* While the service keeps up, the disk is not touched. */
static void
test_auto_spares_disk(Fixture *f, const void *data)
{
    g_auto(Places) p = places(f, KVG_SPOOL_TIER_AUTO);
    KvgSpool *spool = open_with(&p.options);
    put_tracks(spool, "x");
    for (uint64_t n = 1; n <= 50; n++) {
        put_fragments(spool, n, n);
        test_pass_time(1000);
        g_assert_cmpuint(read_rest(spool, LEN), ==, FRAMES);
        kvg_spool_persisted(spool, n);
        kvg_spool_settle(spool);
        g_assert_cmpuint(stats_of(spool).bytes_in[KVG_SPOOL_ON_DISK], ==, 0);
        g_assert_cmpuint(stats_of(spool).bytes_in[KVG_SPOOL_IN_MEMORY], <, 20000);
    }
    g_assert_cmpuint(count_files(p.disk, ".seg"), ==, 0);
    g_assert_cmpuint(count_files(p.disk, "cursor"), ==, 0);
    close_spool(spool);
    g_assert_false(g_file_test(p.memory, G_FILE_TEST_EXISTS));
}

static void
copy_folder(const char *from, const char *to)
{
    g_assert_cmpint(g_mkdir_with_parents(to, 0700), ==, 0);
    g_autoptr(GDir) dir = g_dir_open(from, 0, NULL);
    const char *name;
    while ((name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *source = g_build_filename(from, name, NULL);
        g_autofree char *target = g_build_filename(to, name, NULL);
        g_autofree char *content = NULL;
        gsize len;
        g_assert_true(g_file_get_contents(source, &content, &len, NULL));
        g_assert_true(g_file_set_contents(target, content, (gssize)len, NULL));
    }
}

/* A segment written over an older, longer one holds its own fragments and no others. */
static void
test_written_over(Fixture *f, const void *data)
{
    g_auto(Places) p = places(f, KVG_SPOOL_TIER_AUTO);
    KvgSpool *spool = open_with(&p.options);
    put_tracks(spool, "x");
    unsigned n_reused = 0;
    for (uint64_t n = 1; n <= 12; n++) {
        const unsigned n_frames = n % 3 == 1 ? 9 : 2;
        n_reused += count_files(p.memory, "spare") == 1;
        put_fragment(spool, n, n_frames, LEN);
        kvg_spool_settle(spool);
        g_autofree char *crash = g_strdup_printf("crash%" G_GUINT64_FORMAT, n);
        Places q = {.disk = folder(f, "other/cam"), .memory = folder(f, crash)};
        q.options = p.options;
        q.options.path = q.disk;
        q.options.memory_path = q.memory;
        copy_folder(p.memory, q.memory);
        KvgSpool *after = open_with(&q.options);
        g_assert_cmpuint(stats_of(after).torn_records, ==, 0);
        g_assert_cmpuint(stats_of(after).oldest_fragment, ==, n);
        g_assert_cmpuint(stats_of(after).newest_fragment, ==, n);
        g_assert_cmpuint(read_rest(after, LEN), ==, n_frames);
        kvg_spool_persisted(after, n);
        close_spool(after);
        places_clear(&q);
        g_assert_cmpuint(read_rest(spool, LEN), ==, n_frames);
        kvg_spool_persisted(spool, n);
        test_pass_time(3000);
        kvg_spool_settle(spool);
    }
    g_assert_cmpuint(n_reused, >, 0); /* as the keeper is in time */
    close_spool(spool);
    g_assert_false(g_file_test(p.memory, G_FILE_TEST_EXISTS));
}

/* What is not persisted in time goes to disk, under a reader that is in the middle of it, and is
 * there after a loss of power. */
static void
test_auto_moves(Fixture *f, const void *data)
{
    g_auto(Places) p = places(f, KVG_SPOOL_TIER_AUTO);
    KvgSpool *spool = open_with(&p.options);
    put_tracks(spool, "x");
    put_fragments(spool, 1, 3);
    g_auto(KvgSpoolEvent) event = {0};
    while (read_event(spool, &event) != KVG_SPOOL_FRAME)
        continue;
    test_pass_time(6000);
    put_fragments(spool, 4, 4);
    kvg_spool_settle(spool);
    g_assert_cmpuint(count_files(p.disk, ".seg"), ==, 1);
    g_assert_cmpuint(count_files(p.memory, ".seg"), ==, 1);
    for (unsigned i = 1; i < FRAMES; i++) {
        g_assert_cmpint(read_event(spool, &event), ==, KVG_SPOOL_FRAME);
        check_frame(&event, 1, i, LEN);
    }
    g_assert_cmpint(read_event(spool, &event), ==, KVG_SPOOL_END);
    g_assert_cmpuint(read_rest(spool, LEN), ==, 3 * FRAMES);

    g_autofree char *copy = folder(f, "copy");
    g_autofree char *command = g_strdup_printf("cp -r %s %s", p.disk, copy);
    g_assert_true(g_spawn_command_line_sync(command, NULL, NULL, NULL, NULL));
    KvgSpool *after = open_spool(copy, 0, 0);
    g_assert_cmpuint(read_rest(after, LEN), ==, 3 * FRAMES);
    close_spool(after);
    close_spool(spool);
}

/* An orderly end leaves nothing in memory. */
static void
test_auto_close(Fixture *f, const void *data)
{
    g_auto(Places) p = places(f, KVG_SPOOL_TIER_AUTO);
    KvgSpool *spool = open_with(&p.options);
    put_tracks(spool, "x");
    put_fragments(spool, 1, 3);
    g_autoptr(GError) error = NULL;
    g_assert_true(kvg_spool_begin_fragment(spool, 4000, &error));
    g_assert_true(put_frame(spool, 4, 0, LEN, &error));
    close_spool(spool);
    g_assert_false(g_file_test(p.memory, G_FILE_TEST_EXISTS));
    g_assert_cmpuint(count_files(p.disk, ".seg"), ==, 1);
    spool = open_with(&p.options);
    g_assert_cmpuint(read_rest(spool, LEN), ==, 3 * FRAMES + 1);
    kvg_spool_persisted(spool, 4);
    close_spool(spool);
    g_assert_cmpuint(count_files(p.disk, ".seg"), ==, 0);
}

static void
test_memory(Fixture *f, const void *data)
{
    g_auto(Places) p = places(f, KVG_SPOOL_TIER_MEMORY);
    p.options.limit_bytes = 100000;
    p.options.segment_bytes = 10000;
    KvgSpool *spool = open_with(&p.options);
    put_tracks(spool, "x");
    put_fragments(spool, 1, 10);
    close_spool(spool);
    spool = open_with(&p.options);
    put_tracks(spool, "x");
    put_fragments(spool, 11, 60);
    kvg_spool_settle(spool);
    const KvgSpoolStats stats = stats_of(spool);
    g_assert_cmpuint(stats.bytes_in[KVG_SPOOL_IN_MEMORY], <=, 100000);
    g_assert_cmpuint(stats.evicted_frames, ==, FRAMES * (stats.oldest_fragment - 1));
    g_assert_cmpuint(read_rest(spool, LEN), ==, FRAMES * (61 - stats.oldest_fragment));
    g_assert_false(g_file_test(p.disk, G_FILE_TEST_EXISTS));
    close_spool(spool);
}

/* What an earlier run left in the other place still goes up, in order. */
static void
test_change_of_tier(Fixture *f, const void *data)
{
    const KvgSpoolTier order[] = {KVG_SPOOL_TIER_MEMORY, KVG_SPOOL_TIER_DISK, KVG_SPOOL_TIER_MEMORY,
                                  KVG_SPOOL_TIER_DISK};
    for (guint i = 0; i < G_N_ELEMENTS(order); i++) {
        g_auto(Places) p = places(f, order[i]);
        KvgSpool *spool = open_with(&p.options);
        put_tracks(spool, "x");
        put_fragments(spool, 2 * i + 1, 2 * i + 2);
        close_spool(spool);
    }
    g_auto(Places) p = places(f, KVG_SPOOL_TIER_AUTO);
    KvgSpool *spool = open_with(&p.options);
    for (uint64_t n = 1; n <= 8; n++)
        g_assert_cmpuint(read_fragment(spool, n, LEN), ==, FRAMES);
    assert_drained(spool);
    kvg_spool_persisted(spool, 8);
    close_spool(spool);
    g_assert_cmpuint(count_files(p.disk, ".seg"), ==, 0);
}

static void
test_age(Fixture *f, const void *data)
{
    for (KvgSpoolTier tier = KVG_SPOOL_TIER_AUTO; tier <= KVG_SPOOL_TIER_MEMORY; tier++) {
        g_auto(Places) p = places(f, tier);
        p.options.max_age_ms = 60000;
        KvgSpool *spool = open_with(&p.options);
        put_tracks(spool, "x");
        put_fragments(spool, 1, 2);
        test_pass_time(40000);
        put_fragments(spool, 3, 4);
        kvg_spool_settle(spool);
        g_assert_cmpuint(stats_of(spool).oldest_fragment, ==, 1);
        g_auto(KvgSpoolEvent) event = {0};
        while (read_event(spool, &event) != KVG_SPOOL_FRAME)
            continue;
        test_pass_time(30000);
        kvg_spool_settle(spool);
        g_assert_cmpuint(stats_of(spool).oldest_fragment, ==, 3);
        g_assert_cmpuint(stats_of(spool).evicted_frames, ==, 2 * FRAMES);
        g_assert_cmpint(read_event(spool, &event), ==, KVG_SPOOL_GAP);
        g_assert_cmpuint(event.gap_end, ==, 2);
        g_assert_cmpuint(read_rest(spool, LEN), ==, 2 * FRAMES);
        close_spool(spool);
        /* the time in between counts, too */
        test_pass_time(35000);
        spool = open_with(&p.options);
        put_tracks(spool, "x");
        kvg_spool_settle(spool);
        g_assert_cmpuint(stats_of(spool).n_fragments, ==, 0);
        g_assert_cmpuint(stats_of(spool).evicted_fragments, ==, 2);
        kvg_spool_persisted(spool, 100);
        close_spool(spool);
        g_assert_true(kvg_dir_remove(p.disk, NULL));
        g_assert_true(kvg_dir_remove(p.memory, NULL));
    }
}

/* The disk hangs: the camera's thread goes on, and what memory may hold is not exceeded by more
 * than the limit says for long. Then the disk fails: the oldest in memory go. Then it works again.
 */
static void
test_memory_limit(Fixture *f, const void *data)
{
    g_auto(Places) p = places(f, KVG_SPOOL_TIER_AUTO);
    p.options.memory_limit_bytes = 50000;
    p.options.segment_bytes = 10000;
    KvgSpool *spool = open_with(&p.options);
    put_tracks(spool, "x");
    test_hold_syncs(true);
    put_fragments(spool, 1, 40);
    KvgSpoolStats stats = stats_of(spool);
    g_assert_cmpuint(stats.bytes_in[KVG_SPOOL_IN_MEMORY], <=, 50000);
    g_assert_cmpuint(stats.n_fragments, ==, 40);
    g_assert_cmpuint(stats.evicted_frames, ==, 0);
    test_hold_syncs(false);
    g_assert_cmpuint(read_rest(spool, LEN), ==, 40 * FRAMES);
    kvg_spool_persisted(spool, 40);
    kvg_spool_settle(spool);

    const Fault dead = {.open_code = EROFS, .write_code = EROFS, .rename_code = EROFS};
    test_set_fault(p.disk, &dead);
    put_fragments(spool, 41, 80);
    kvg_spool_settle(spool);
    stats = stats_of(spool);
    g_assert_cmpuint(stats.bytes_in[KVG_SPOOL_IN_MEMORY], <=, 50000);
    g_assert_cmpint(stats.trouble[KVG_SPOOL_ON_DISK], ==, KVG_SPOOL_READ_ONLY);
    g_assert_cmpstr(kvg_spool_describe_trouble(&stats), ==, "disk: read-only");
    g_assert_cmpuint(stats.evicted_fragments, >, 20);
    g_assert_cmpuint(stats.n_fragments + stats.evicted_fragments, ==, 40);

    test_set_fault(NULL, NULL);
    test_pass_time(60000);
    put_fragments(spool, 81, 100);
    kvg_spool_settle(spool);
    g_assert_cmpint(stats_of(spool).trouble[KVG_SPOOL_ON_DISK], ==, KVG_SPOOL_FINE);
    g_assert_cmpuint(stats_of(spool).bytes_in[KVG_SPOOL_ON_DISK], >, 0);
    const uint64_t n_left = stats_of(spool).n_fragments;
    g_assert_cmpuint(read_rest(spool, LEN), ==, n_left * FRAMES);
    close_spool(spool);
}

/* The process died between naming the copy and deleting the original. */
static void
test_two_copies(Fixture *f, const void *data)
{
    g_auto(Places) p = places(f, KVG_SPOOL_TIER_MEMORY);
    KvgSpool *spool = open_with(&p.options);
    put_tracks(spool, "x");
    put_fragments(spool, 1, 3);
    close_spool(spool);
    g_assert_cmpint(g_mkdir_with_parents(p.disk, 0700), ==, 0);
    g_autofree char *command = g_strdup_printf("cp %s/0000000000000000.seg %s", p.memory, p.disk);
    g_assert_true(g_spawn_command_line_sync(command, NULL, NULL, NULL, NULL));
    g_autofree char *unfinished = g_build_filename(p.disk, "0000000000000001.tmp", NULL);
    g_assert_true(g_file_set_contents(unfinished, "half", -1, NULL));
    p.options.tier = KVG_SPOOL_TIER_AUTO;
    spool = open_with(&p.options);
    kvg_spool_settle(spool);
    g_assert_cmpuint(read_rest(spool, LEN), ==, 3 * FRAMES);
    g_assert_cmpuint(stats_of(spool).torn_records, ==, 0);
    g_assert_cmpuint(count_files(p.memory, ".seg"), ==, 0);
    g_assert_cmpuint(count_files(p.disk, ".tmp"), ==, 0);
    close_spool(spool);
}

/* A newer kvg wrote one of the segments: nothing is changed, and the message says what to do. */
static void
test_newer_version(Fixture *f, const void *data)
{
    g_auto(Places) p = places(f, KVG_SPOOL_TIER_DISK);
    p.options.segment_bytes = 3000;
    KvgSpool *spool = open_with(&p.options);
    put_tracks(spool, "x");
    put_fragments(spool, 1, 3);
    close_spool(spool);
    g_autofree char *path = g_build_filename(p.disk, "0000000000000001.seg", NULL);
    g_autofree char *before = NULL;
    size_t len;
    g_assert_true(g_file_get_contents(path, &before, &len, NULL));
    g_autofree char *after = g_memdup2(before, len);
    after[5] = KVG_SEGMENT_VERSION + 1;
    g_assert_true(g_file_set_contents(path, after, (gssize)len, NULL));
    spool = open_with(&p.options); /* a wrong checksum is damage, not a version */
    g_assert_cmpuint(read_rest(spool, LEN), ==, 3 * FRAMES);
    g_assert_cmpuint(stats_of(spool).torn_records, ==, 1);
    close_spool(spool);

    const uint32_t crc = GUINT32_TO_BE(kvg_crc32c(0, after, 12));
    memcpy(after + 12, &crc, 4);
    g_assert_true(g_file_set_contents(path, after, (gssize)len, NULL));
    g_autoptr(GError) error = NULL;
    g_assert_null(kvg_spool_open(&p.options, &error));
    g_assert_error(error, KVG_ERROR, KVG_ERROR_UNSUPPORTED);
    g_assert_nonnull(strstr(error->message, path));
    g_assert_nonnull(strstr(error->message, "newer kvg"));
    g_assert_cmpuint(count_files(p.disk, ".seg"), ==, 3);
    g_autofree char *now = NULL;
    size_t now_len;
    g_assert_true(g_file_get_contents(path, &now, &now_len, NULL));
    g_assert_cmpmem(now, (int)now_len, after, (int)len);
}

/* Somebody looks at a spool that is in use: sees what is there, takes no lock, changes nothing. */
static void
test_look(Fixture *f, const void *data)
{
    g_auto(Places) p = places(f, KVG_SPOOL_TIER_AUTO);
    KvgSpool *spool = open_with(&p.options);
    put_tracks(spool, "x");
    put_fragments(spool, 1, 2);
    test_pass_time(6000);
    put_fragments(spool, 3, 4);
    kvg_spool_settle(spool);
    KvgSpoolOptions look = p.options;
    look.read_only = true;
    KvgSpool *view = open_with(&look);
    const KvgSpoolStats seen = stats_of(view);
    g_assert_cmpuint(seen.n_fragments, ==, 4);
    g_assert_cmpuint(seen.torn_records, ==, 0);
    KvgSpoolFragmentInfo info;
    g_assert_true(kvg_spool_peek(view, 2, &info));
    g_assert_cmpuint(info.number, ==, 2);
    g_assert_cmpuint(info.n_frames, ==, FRAMES);
    g_assert_cmpint(info.place, ==, KVG_SPOOL_ON_DISK);
    g_assert_true(kvg_spool_peek(view, 3, &info));
    g_assert_cmpint(info.place, ==, KVG_SPOOL_IN_MEMORY);
    g_assert_false(kvg_spool_peek(view, 5, &info));
    put_fragments(spool, 5, 5);
    g_assert_cmpuint(read_rest(view, LEN), ==, 4 * FRAMES);
    close_spool(view);
    g_assert_cmpuint(read_rest(spool, LEN), ==, 5 * FRAMES);
    close_spool(spool);
}

/* /dev/shm is everybody's: a folder that others can write to is not ours. */
static void
test_foreign_memory(Fixture *f, const void *data)
{
    g_auto(Places) p = places(f, KVG_SPOOL_TIER_MEMORY);
    g_assert_cmpint(g_mkdir_with_parents(p.memory, 0700), ==, 0);
    g_autofree char *parent = g_path_get_dirname(p.memory);
    g_assert_cmpint(g_chmod(parent, 0777), ==, 0);
    g_autoptr(GError) error = NULL;
    g_assert_null(kvg_spool_open(&p.options, &error));
    g_assert_error(error, KVG_ERROR, KVG_ERROR_INVALID);
    g_assert_nonnull(strstr(error->message, parent));
    p.options.tier = KVG_SPOOL_TIER_AUTO;
    KvgSpool *spool = open_with(&p.options);
    put_tracks(spool, "x");
    put_fragments(spool, 1, 2);
    g_assert_cmpuint(stats_of(spool).bytes_in[KVG_SPOOL_IN_MEMORY], ==, 0);
    g_assert_cmpuint(read_rest(spool, LEN), ==, 2 * FRAMES);
    close_spool(spool);
}

static void
test_memory_folder(Fixture *f, const void *data)
{
    g_autofree char *a = kvg_spool_memory_folder("/run/kvg", "/var/spool/a", "cam");
    g_autofree char *same = kvg_spool_memory_folder("/run/kvg", "/var/spool/b/../a/", "cam");
    g_autofree char *b = kvg_spool_memory_folder("/run/kvg", "/var/spool/b", "cam");
    g_autofree char *own = kvg_spool_memory_folder(NULL, "/var/spool/a", "cam");
    g_autofree char *expected = g_strdup_printf("/dev/shm/kvg-%u/", (unsigned)geteuid());
    g_assert_cmpstr(a, ==, same);
    g_assert_cmpstr(a, !=, b);
    g_assert_true(g_str_has_prefix(a, "/run/kvg/"));
    g_assert_true(g_str_has_suffix(a, "/cam"));
    g_assert_true(g_str_has_prefix(own, expected));
}

/* No camera's thread waits for a disk: with every sync held, a minute of video goes in, over the
 * ends of segments and of fragments. */
static void
test_put_does_not_wait(Fixture *f, const void *data)
{
    for (KvgSpoolTier tier = KVG_SPOOL_TIER_AUTO; tier <= KVG_SPOOL_TIER_DISK; tier++) {
        g_auto(Places) p = places(f, tier);
        p.options.segment_bytes = 20000;
        KvgSpool *spool = open_with(&p.options);
        put_tracks(spool, "x");
        put_fragments(spool, 1, 1);
        kvg_spool_settle(spool);
        test_hold_syncs(true);
        for (uint64_t n = 2; n <= 61; n++) {
            put_fragments(spool, n, n);
            test_pass_time(1000);
        }
        g_assert_cmpuint(read_rest(spool, LEN), ==, 61 * FRAMES);
        test_hold_syncs(false);
        kvg_spool_settle(spool);
        close_spool(spool);
        g_assert_true(kvg_dir_remove(p.disk, NULL));
    }
}

static unsigned
count_entries(const char *path)
{
    return count_files(path, "") - (g_str_has_suffix(path, "fd") ? 1 : 0);
}

static uint64_t
resident_bytes(void)
{
    g_autofree char *text = NULL;
    g_assert_true(g_file_get_contents("/proc/self/statm", &text, NULL, NULL));
    return g_ascii_strtoull(strchr(text, ' '), NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
}

#define N_STREAMS 1000

/* Sanitizers need memory of their own. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define IS_SANITIZED true
#endif
#endif
#if !defined(IS_SANITIZED) && (defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__))
#define IS_SANITIZED true
#endif
#if !defined(IS_SANITIZED)
#define IS_SANITIZED false
#endif

/* A stream is no thread, at most three descriptors, and little memory, with a reader at its end. */
static void
test_cost(Fixture *f, const void *data)
{
    const unsigned fds = count_entries("/proc/self/fd");
    const unsigned threads = count_entries("/proc/self/task");
    const uint64_t bytes = resident_bytes();
    g_autoptr(GPtrArray) spools = g_ptr_array_new();
    for (unsigned i = 0; i < N_STREAMS; i++) {
        g_autofree char *disk = g_strdup_printf("%s/disk/cam%u", f->root, i);
        g_autofree char *memory = g_strdup_printf("%s/memory/x/cam%u", f->root, i);
        const KvgSpoolOptions options = {
            .path = disk, .memory_path = memory, .tier = i % 2 ? KVG_SPOOL_TIER_DISK : 0};
        KvgSpool *spool = open_with(&options);
        g_ptr_array_add(spools, spool);
        put_tracks(spool, "x");
        put_fragments(spool, 1, 3);
        g_assert_cmpuint(read_rest(spool, LEN), ==, 3 * FRAMES);
    }
    const double n = N_STREAMS;
    const double fds_each = (count_entries("/proc/self/fd") - fds) / n;
    const double kib_each = ((double)resident_bytes() - (double)bytes) / n / 1024;
    g_test_message("a stream: %.2f descriptors, %.1f KiB resident", fds_each, kib_each);
    g_assert_cmpfloat(fds_each, <=, 3);
    g_assert_cmpuint(count_entries("/proc/self/task"), ==, threads + 1);
    if (!IS_SANITIZED)
        g_assert_cmpfloat(kib_each, <=, 64);
    for (guint i = 0; i < spools->len; i++) {
        kvg_spool_persisted(g_ptr_array_index(spools, i), 3);
        close_spool(g_ptr_array_index(spools, i));
    }
    /* A thread that was joined may be listed a moment longer. */
    for (unsigned i = 0; i < 500 && count_entries("/proc/self/task") > threads; i++)
        g_usleep(10000);
    g_assert_cmpuint(count_entries("/proc/self/task"), ==, threads);
    g_assert_cmpuint(count_entries("/proc/self/fd"), ==, fds);
}

/* A kill tore the last record of a segment that was written over an older one: it seems to be all
 * there, but its bytes are not. Two runs later, when it is not the newest any more and has been
 * moved, its fragment has every whole frame. */
static void
test_torn_over_old(Fixture *f, const void *data)
{
    g_auto(Places) p = places(f, KVG_SPOOL_TIER_MEMORY);
    KvgSpool *spool = open_with(&p.options);
    put_tracks(spool, "x");
    put_fragments(spool, 1, 2);
    close_spool(spool);
    g_autofree char *path = g_build_filename(p.memory, "0000000000000000.seg", NULL);
    g_autofree char *content = NULL;
    size_t len;
    g_assert_true(g_file_get_contents(path, &content, &len, NULL));
    const size_t record = 56 + LEN, old = 5000;
    g_autofree char *torn = g_malloc0(len + record + old);
    memcpy(torn, content, len);
    memcpy(torn + len, content + len - record, 56); /* the head of one more frame */
    memset(torn + len + 56, 'o', LEN + old);
    g_assert_true(g_file_set_contents(path, torn, (gssize)(len + record + old), NULL));
    p.options.tier = KVG_SPOOL_TIER_AUTO;
    for (uint64_t n = 3; n <= 4; n++) {
        spool = open_with(&p.options);
        g_assert_cmpuint(stats_of(spool).torn_records, ==, 0);
        put_tracks(spool, "x");
        put_fragments(spool, n, n);
        close_spool(spool);
    }
    spool = open_with(&p.options);
    for (uint64_t n = 1; n <= 4; n++)
        g_assert_cmpuint(read_fragment(spool, n, LEN), ==, FRAMES);
    assert_drained(spool);
    close_spool(spool);
}

/* Somebody verifies again and again while the segments in memory come, go and are written over:
 * what is gone is gone, and nothing looks damaged. */
static void
test_look_at_written_over(Fixture *f, const void *data)
{
    g_auto(Places) p = places(f, KVG_SPOOL_TIER_AUTO);
    KvgSpool *spool = open_with(&p.options);
    KvgSpoolOptions look = p.options;
    look.read_only = true;
    put_tracks(spool, "x");
    for (uint64_t n = 1; n <= 30; n++) {
        put_fragment(spool, n, FRAMES, BIG);
        KvgSpool *view = open_with(&look);
        g_auto(KvgSpoolEvent) event = {0};
        while (read_event(view, &event) != KVG_SPOOL_FRAME)
            continue; /* its file is open now */
        kvg_spool_persisted(spool, n);
        test_pass_time(3000);
        kvg_spool_settle(spool);
        put_fragment(spool, n + 1, FRAMES, BIG);
        test_pass_time(3000);
        kvg_spool_settle(spool);
        put_fragment(spool, n + 2, FRAMES, BIG);
        while (read_event(view, &event) != KVG_SPOOL_NONE)
            continue;
        g_assert_cmpuint(stats_of(view).torn_records, ==, 0);
        close_spool(view);
        n += 2;
        kvg_spool_persisted(spool, n);
    }
    close_spool(spool);
}

int
main(int argc, char **argv)
{
    init_tests(&argc, &argv);
    ADD("auto/spares-disk", test_auto_spares_disk);
    ADD("auto/moves", test_auto_moves);
    ADD("auto/written-over", test_written_over);
    ADD("auto/close", test_auto_close);
    ADD("auto/memory-limit", test_memory_limit);
    ADD("auto/two-copies", test_two_copies);
    ADD("auto/torn-over-old", test_torn_over_old);
    ADD("memory", test_memory);
    ADD("change-of-tier", test_change_of_tier);
    ADD("age", test_age);
    ADD("newer-version", test_newer_version);
    ADD("look", test_look);
    ADD("look-at-written-over", test_look_at_written_over);
    ADD("foreign-memory", test_foreign_memory);
    ADD("memory-folder", test_memory_folder);
    ADD("put-does-not-wait", test_put_does_not_wait);
    ADD("cost", test_cost);
    return run_tests();
}
