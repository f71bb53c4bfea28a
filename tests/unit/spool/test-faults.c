/* Disks that are full, read-only, gone, or that fail: what happens is defined, counted and named,
 * and recording goes on as soon as the cause is gone. */
#include "fixture.h"
#include "os/file.h"
#include <errno.h>
#include <glib/gstdio.h>
#include <kvg/error.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define FRAMES 4
#define LEN 1000

typedef struct {
    char *disk, *memory;
    KvgSpoolOptions options;
} Places;

static Places
places(const Fixture *f, KvgSpoolTier tier)
{
    Places p = {.disk = folder(f, "disk/cam"), .memory = folder(f, "memory/x/cam")};
    p.options = (KvgSpoolOptions){.path = p.disk,
                                  .memory_path = p.memory,
                                  .tier = tier,
                                  .segment_bytes = 10000,
                                  .system = &test_system};
    return p;
}

static void
places_clear(Places *p)
{
    test_set_fault(NULL, NULL);
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

/* Tries a whole fragment; returns how many frames the spool took. */
static unsigned
try_fragment(KvgSpool *spool, uint64_t fragment, int *code)
{
    g_autoptr(GError) error = NULL;
    unsigned n = 0;
    if (kvg_spool_begin_fragment(spool, (int64_t)fragment * 1000, &error)) {
        while (n < FRAMES && put_frame(spool, fragment, n, LEN, &error))
            n++;
        g_assert_true(kvg_spool_end_fragment(spool, NULL));
    }
    *code = error != NULL ? error->code : -1;
    return n;
}

/* A full disk: the oldest fragments make room and nothing is refused. */
static void
test_full_evicts(Fixture *f, const void *data)
{
    g_auto(Places) p = places(f, KVG_SPOOL_TIER_DISK);
    KvgSpool *spool = open_with(&p.options);
    const Fault small = {.room = 60000};
    test_set_fault(p.disk, &small);
    put_tracks(spool, "x");
    put_fragments(spool, 1, 50);
    const KvgSpoolStats stats = stats_of(spool);
    g_assert_cmpuint(stats.evicted_fragments, >, 30);
    g_assert_cmpuint(stats.evicted_fragments, ==, stats.oldest_fragment - 1);
    g_assert_cmpuint(stats.failures[KVG_SPOOL_FULL], >, 3);
    g_assert_cmpint(stats.trouble[KVG_SPOOL_ON_DISK], ==, KVG_SPOOL_FINE);
    g_assert_cmpuint(read_rest(spool, LEN), ==, stats.n_fragments * FRAMES);
    close_spool(spool);
}

typedef struct {
    const char *name;
    Fault fault;
    KvgSpoolTrouble trouble;
    int code; /* of the error */
} Refusal;

static const Refusal refusals[] = {
    {"full", {.write_code = ENOSPC, .open_code = ENOSPC}, KVG_SPOOL_FULL, KVG_ERROR_NO_SPACE},
    {"quota of the user",
     {.write_code = EDQUOT, .open_code = EDQUOT},
     KVG_SPOOL_FULL,
     KVG_ERROR_NO_SPACE},
    {"read-only", {.write_code = EROFS, .open_code = EROFS}, KVG_SPOOL_READ_ONLY, KVG_ERROR_FAILED},
    {"broken", {.write_code = EIO, .open_code = EIO}, KVG_SPOOL_WRITE_FAILED, KVG_ERROR_FAILED},
    {"broken for writing", {.write_code = EIO}, KVG_SPOOL_WRITE_FAILED, KVG_ERROR_FAILED},
    {"unplugged",
     {.write_code = ENODEV, .open_code = ENODEV},
     KVG_SPOOL_VANISHED,
     KVG_ERROR_FAILED},
};

/* Nothing can be written and nothing evicted: frames are refused with the cause, and taken again
 * with the first key frame after it has gone. What was there before stays readable. */
static void
test_refusals(Fixture *f, const void *data)
{
    for (guint i = 0; i < G_N_ELEMENTS(refusals); i++) {
        const Refusal *refusal = &refusals[i];
        g_test_message("%s", refusal->name);
        g_auto(Places) p = places(f, KVG_SPOOL_TIER_DISK);
        p.options.segment_bytes = 1000000;
        KvgSpool *spool = open_with(&p.options);
        put_tracks(spool, "x");
        put_fragments(spool, 1, 1);
        kvg_spool_settle(spool);
        test_set_fault(p.disk, &refusal->fault);
        for (uint64_t n = 2; n < 5; n++) {
            int code;
            g_assert_cmpuint(try_fragment(spool, n, &code), ==, 0);
            g_assert_cmpint(code, ==, refusal->code);
        }
        KvgSpoolStats stats = stats_of(spool);
        g_assert_cmpint(stats.trouble[KVG_SPOOL_ON_DISK], ==, refusal->trouble);
        g_assert_cmpuint(stats.failures[refusal->trouble], >=, 3);
        g_assert_nonnull(kvg_spool_describe_trouble(&stats));
        test_set_fault(NULL, NULL);
        put_fragments(spool, stats.newest_fragment + 1, stats.newest_fragment + 2);
        g_assert_cmpint(stats_of(spool).trouble[KVG_SPOOL_ON_DISK], ==, KVG_SPOOL_FINE);
        g_assert_cmpuint(stats_of(spool).evicted_frames, ==, 0);
        g_assert_cmpuint(read_rest(spool, LEN), ==, 3 * FRAMES);
        close_spool(spool);
        g_assert_true(kvg_dir_remove(p.disk, NULL));
    }
}

/* The disk of tier auto fails in each way: memory bridges it and nothing is lost. */
static void
test_auto_bridges(Fixture *f, const void *data)
{
    for (guint i = 0; i < G_N_ELEMENTS(refusals); i++) {
        g_test_message("%s", refusals[i].name);
        g_auto(Places) p = places(f, KVG_SPOOL_TIER_AUTO);
        KvgSpool *spool = open_with(&p.options);
        put_tracks(spool, "x");
        test_set_fault(p.disk, &refusals[i].fault);
        for (uint64_t n = 1; n <= 30; n++) {
            put_fragments(spool, n, n);
            test_pass_time(1000);
        }
        kvg_spool_settle(spool);
        g_assert_cmpint(stats_of(spool).trouble[KVG_SPOOL_ON_DISK], ==, refusals[i].trouble);
        test_set_fault(NULL, NULL);
        test_pass_time(60000);
        kvg_spool_settle(spool);
        g_assert_cmpint(stats_of(spool).trouble[KVG_SPOOL_ON_DISK], ==, KVG_SPOOL_FINE);
        g_assert_cmpuint(stats_of(spool).bytes_in[KVG_SPOOL_ON_DISK], >, 25 * FRAMES * LEN);
        g_assert_cmpuint(read_rest(spool, LEN), ==, 30 * FRAMES);
        close_spool(spool);
        g_assert_cmpuint(count_files(p.disk, ".tmp"), ==, 0);
        g_assert_true(kvg_dir_remove(p.disk, NULL));
    }
}

/* A write fails in the middle of a fragment, under a reader: the fragment goes on in another
 * segment and no frame is lost. */
static void
carry_over(
    Fixture *f, KvgSpoolTier tier, bool in_memory, const Fault *fault, KvgSpoolTrouble trouble)
{
    g_auto(Places) p = places(f, tier);
    KvgSpool *spool = open_with(&p.options);
    g_autoptr(GError) error = NULL;
    put_tracks(spool, "x");
    put_fragments(spool, 1, 1);
    g_assert_cmpuint(read_rest(spool, LEN), ==, FRAMES);
    g_assert_true(kvg_spool_begin_fragment(spool, 2000, &error));
    g_assert_true(put_frame(spool, 2, 0, LEN, &error));
    g_assert_true(put_frame(spool, 2, 1, LEN, &error));
    g_auto(KvgSpoolEvent) event = {0};
    while (read_event(spool, &event) != KVG_SPOOL_FRAME)
        continue;
    g_autofree char *first =
        g_build_filename(in_memory ? p.memory : p.disk,
                         in_memory && fault->open_code != 0 ? "" : "0000000000000000.seg", NULL);
    test_set_fault(first, fault);
    for (unsigned i = 2; i < 6; i++) {
        g_assert_true(put_frame(spool, 2, i, LEN, &error));
        g_assert_no_error(error);
    }
    g_assert_true(kvg_spool_end_fragment(spool, &error));
    const KvgSpoolStats stats = stats_of(spool);
    g_assert_cmpuint(stats.failures[trouble], ==, fault->open_code != 0 ? 1 : 1);
    g_assert_cmpuint(stats.evicted_frames, ==, 0);
    for (unsigned i = 1; i < 6; i++) {
        g_assert_cmpint(read_event(spool, &event), ==, KVG_SPOOL_FRAME);
        check_frame(&event, 2, i, LEN);
    }
    g_assert_cmpint(read_event(spool, &event), ==, KVG_SPOOL_END);
    test_set_fault(NULL, NULL);
    kvg_spool_seek(reader_of(spool), 1);
    g_assert_cmpuint(read_rest(spool, LEN), ==, FRAMES + 6);
    close_spool(spool);
    spool = open_with(&p.options);
    g_assert_cmpuint(read_rest(spool, LEN), ==, FRAMES + 6);
    close_spool(spool);
    g_assert_true(kvg_dir_remove(p.disk, NULL));
    g_assert_true(kvg_dir_remove(p.memory, NULL));
}

static void
test_carry_over(Fixture *f, const void *data)
{
    const Fault broken = {.write_code = EIO}, full = {.write_code = ENOSPC};
    const Fault full_for_all = {.write_code = ENOSPC, .open_code = ENOSPC};
    carry_over(f, KVG_SPOOL_TIER_DISK, false, &broken, KVG_SPOOL_WRITE_FAILED);
    carry_over(f, KVG_SPOOL_TIER_MEMORY, true, &broken, KVG_SPOOL_WRITE_FAILED);
    carry_over(f, KVG_SPOOL_TIER_AUTO, true, &broken, KVG_SPOOL_WRITE_FAILED);
    carry_over(f, KVG_SPOOL_TIER_AUTO, true, &full, KVG_SPOOL_FULL);
    carry_over(f, KVG_SPOOL_TIER_AUTO, true, &full_for_all, KVG_SPOOL_FULL);
}

static void
test_short_writes(Fixture *f, const void *data)
{
    for (size_t most = 1; most < 200; most = most * 3 + 1) {
        g_auto(Places) p = places(f, KVG_SPOOL_TIER_AUTO);
        KvgSpool *spool = open_with(&p.options);
        const Fault fault = {.short_bytes = most};
        test_set_fault(f->root, &fault);
        put_tracks(spool, "x");
        put_fragments(spool, 1, 3);
        test_pass_time(6000);
        put_fragments(spool, 4, 4);
        kvg_spool_settle(spool);
        g_assert_cmpuint(stats_of(spool).n_failures, ==, 0);
        g_assert_cmpuint(read_rest(spool, LEN), ==, 4 * FRAMES);
        close_spool(spool);
        spool = open_with(&p.options);
        g_assert_cmpuint(read_rest(spool, LEN), ==, 4 * FRAMES);
        close_spool(spool);
        g_assert_true(kvg_dir_remove(p.disk, NULL));
    }
}

/* A sync that fails says nothing of what it lost: a new segment, and the frames stay readable. */
static void
test_sync(Fixture *f, const void *data)
{
    const Fault faults[] = {{.sync_code = EIO}, {.folder_code = EIO}};
    for (guint i = 0; i < G_N_ELEMENTS(faults); i++) {
        g_auto(Places) p = places(f, KVG_SPOOL_TIER_DISK);
        p.options.segment_bytes = 1000000;
        KvgSpool *spool = open_with(&p.options);
        put_tracks(spool, "x");
        test_set_fault(p.disk, &faults[i]);
        put_fragments(spool, 1, 1);
        kvg_spool_settle(spool);
        g_assert_cmpint(stats_of(spool).trouble[KVG_SPOOL_ON_DISK], ==, KVG_SPOOL_SYNC_FAILED);
        g_assert_cmpuint(stats_of(spool).failures[KVG_SPOOL_SYNC_FAILED], ==, 1);
        put_fragments(spool, 2, 2);
        kvg_spool_settle(spool);
        g_assert_cmpuint(count_files(p.disk, ".seg"), ==, 2);
        g_assert_cmpuint(stats_of(spool).failures[KVG_SPOOL_SYNC_FAILED], ==, 2);
        test_set_fault(NULL, NULL);
        put_fragments(spool, 3, 4);
        kvg_spool_settle(spool);
        g_assert_cmpint(stats_of(spool).trouble[KVG_SPOOL_ON_DISK], ==, KVG_SPOOL_FINE);
        g_assert_cmpuint(count_files(p.disk, ".seg"), ==, 3);
        g_assert_cmpuint(read_rest(spool, LEN), ==, 4 * FRAMES);
        close_spool(spool);
        g_assert_true(kvg_dir_remove(p.disk, NULL));
    }
}

/* Somebody deletes the folders of a running spool, with all above them that is ours. What was in
 * them is lost and counted; the next fragment is recorded, and the spool is locked again. */
static void
test_vanished(Fixture *f, const void *data)
{
    for (KvgSpoolTier tier = KVG_SPOOL_TIER_AUTO; tier <= KVG_SPOOL_TIER_MEMORY; tier++) {
        g_auto(Places) p = places(f, tier);
        KvgSpool *spool = open_with(&p.options);
        put_tracks(spool, "x");
        put_fragments(spool, 1, 5);
        kvg_spool_settle(spool);
        g_autofree char *disk = folder(f, "disk"), *memory = folder(f, "memory");
        g_assert_true(kvg_dir_remove(disk, NULL));
        g_assert_true(kvg_dir_remove(memory, NULL));
        put_fragments(spool, 6, 8);
        KvgSpoolStats stats = stats_of(spool);
        g_assert_cmpuint(stats.failures[KVG_SPOOL_VANISHED], >=, 1);
        g_assert_cmpstr(kvg_spool_describe_trouble(&stats), ==, NULL);
        const uint64_t n = read_rest(spool, LEN);
        g_assert_cmpuint(n, >=, 3 * FRAMES);
        g_assert_cmpuint(n + stats_of(spool).evicted_frames, ==, 8 * FRAMES);
        g_autoptr(GError) error = NULL;
        if (tier != KVG_SPOOL_TIER_AUTO) {
            g_assert_null(kvg_spool_open(&p.options, &error));
            g_assert_error(error, KVG_ERROR, KVG_ERROR_INVALID);
        }
        close_spool(spool);
        g_assert_true(kvg_dir_remove(disk, NULL));
        g_assert_true(kvg_dir_remove(memory, NULL));
    }
}

/* ---- faults at random: every frame that was taken is read, or counted ---- */

static Fault
random_fault(GRand *random)
{
    static const int codes[] = {0, 0, 0, ENOSPC, EROFS, EIO, ENOENT};
    const int code = codes[g_rand_int_range(random, 0, G_N_ELEMENTS(codes))];
    Fault fault = {0};
    if (g_rand_boolean(random))
        fault.write_code = code;
    if (g_rand_boolean(random))
        fault.open_code = code;
    if (g_rand_boolean(random))
        fault.sync_code = code;
    if (g_rand_boolean(random))
        fault.rename_code = code;
    if (g_rand_int_range(random, 0, 4) == 0)
        fault.short_bytes = (size_t)g_rand_int_range(random, 1, 900);
    if (g_rand_int_range(random, 0, 4) == 0)
        fault.room = (uint64_t)g_rand_int_range(random, 1000, 60000);
    return fault;
}

/* As the producer does: what follows a frame that was refused is left out up to the next key frame.
 */
static unsigned
try_next(KvgSpool *spool)
{
    unsigned n = 0;
    if (!kvg_spool_begin_fragment(spool, 0, NULL))
        return 0;
    const uint64_t number = stats_of(spool).newest_fragment;
    while (n < FRAMES && put_frame(spool, number, n, LEN, NULL))
        n++;
    g_assert_true(kvg_spool_end_fragment(spool, NULL));
    return n;
}

static void
walk(Fixture *f, guint32 seed)
{
    GRand *random = g_rand_new_with_seed(seed);
    g_auto(Places) p = places(f, (KvgSpoolTier)(seed % 3));
    p.options.memory_limit_bytes = 40000;
    p.options.limit_bytes = 150000;
    KvgSpool *spool = open_with(&p.options);
    put_tracks(spool, "x");
    const char *const below[] = {p.disk, p.memory, f->root};
    uint64_t taken = 0, read = 0;
    for (unsigned step = 0; step < 200; step++) {
        const int what = g_rand_int_range(random, 0, 10);
        if (what == 0) {
            const Fault fault = random_fault(random);
            test_set_fault(below[g_rand_int_range(random, 0, 3)], &fault);
        } else if (what == 1) {
            test_set_fault(NULL, NULL);
        } else if (what == 2) {
            read += read_rest(spool, LEN);
        } else if (what == 3) {
            test_pass_time(g_rand_int_range(random, 0, 20000));
        } else if (what == 4) {
            kvg_spool_settle(spool);
        } else {
            taken += try_next(spool);
        }
    }
    test_set_fault(NULL, NULL);
    g_assert_cmpuint(try_next(spool), ==, FRAMES); /* nothing is wrong any more */
    taken += FRAMES;
    read += read_rest(spool, LEN);
    /* what was read and then evicted is counted twice */
    g_assert_cmpuint(read, <=, taken);
    g_assert_cmpuint(read + stats_of(spool).evicted_frames, >=, taken);
    g_assert_cmpuint(stats_of(spool).torn_records, ==, 0);
    close_spool(spool);
    g_rand_free(random);
    g_assert_true(kvg_dir_remove(p.disk, NULL));
    g_assert_true(kvg_dir_remove(p.memory, NULL));
}

static void
test_walk(Fixture *f, const void *data)
{
    for (guint32 seed = 0; seed < 60; seed++)
        walk(f, seed);
}

/* ---- a real file system that is full, and then read-only ---- */

static void
use_small_disk(const char *mount_point)
{
    g_autofree char *path = g_build_filename(mount_point, "cam", NULL);
    KvgSpool *spool = open_spool(path, 0, 20000);
    put_tracks(spool, "x");
    put_fragments(spool, 1, 200);
    KvgSpoolStats stats = stats_of(spool);
    g_assert_cmpuint(stats.evicted_fragments, >, 0);
    g_assert_cmpuint(stats.failures[KVG_SPOOL_FULL], >, 0);
    g_assert_cmpuint(read_rest(spool, LEN), ==, stats.n_fragments * FRAMES);
    kvg_spool_persisted(spool, 200);
    kvg_spool_settle(spool);
    close_spool(spool);
    g_assert_cmpint(mount(NULL, mount_point, NULL, MS_REMOUNT | MS_RDONLY, NULL), ==, 0);
    g_autoptr(GError) error = NULL;
    const KvgSpoolOptions options = {.path = path};
    g_assert_null(kvg_spool_open(&options, &error));
    g_assert_nonnull(strstr(error->message, g_strerror(EROFS)));
}

static void
test_real_disk(Fixture *f, const void *data)
{
    const pid_t child = fork();
    if (child == 0) {
        /* A mount that nobody else sees, and that goes with the process. */
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount("tmpfs", f->root, "tmpfs", 0, "size=300k") < 0)
            _exit(77);
        use_small_disk(f->root);
        _exit(0);
    }
    int status;
    g_assert_cmpint(waitpid(child, &status, 0), ==, child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        g_test_skip("a file system cannot be mounted here");
        return;
    }
    g_assert_cmpint(status, ==, 0);
}

int
main(int argc, char **argv)
{
    init_tests(&argc, &argv);
    ADD("faults/full-evicts", test_full_evicts);
    ADD("faults/refusals", test_refusals);
    ADD("faults/auto-bridges", test_auto_bridges);
    ADD("faults/carry-over", test_carry_over);
    ADD("faults/short-writes", test_short_writes);
    ADD("faults/sync", test_sync);
    ADD("faults/vanished", test_vanished);
    ADD("faults/walk", test_walk);
    ADD("faults/real-disk", test_real_disk);
    return run_tests();
}
