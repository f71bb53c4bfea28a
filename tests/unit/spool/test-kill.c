/* kill -9 at 200 random moments: while frames are written, segments begin and end, the oldest are
 * evicted, a reader persists, and segments move from memory to disk. Every frame that put_frame
 * took is there at the next open, byte for byte; the page cache outlives the process. */
#include "fixture.h"
#include "os/file.h"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define N_KILLS 200
#define MAX_FRAGMENTS 65536
#define LEN 700
#define LIMIT_BYTES 60000u
#define SEGMENT_BYTES 6000u

typedef enum { PLAIN, ROTATES, EVICTS, PERSISTS, N_WORKS } Work;

/* What the process that is killed tells the one that looks afterwards. */
typedef struct {
    _Atomic bool is_open;
    _Atomic uint64_t newest;                 /* fragment with an accepted frame */
    _Atomic uint64_t persisted;              /* said to the spool, or about to be */
    _Atomic uint8_t accepted[MAX_FRAGMENTS]; /* frames, by fragment */
} Diary;

static KvgSpoolOptions
options_of(const char *disk, const char *memory, KvgSpoolTier tier, Work work)
{
    return (KvgSpoolOptions){.path = disk,
                             .memory_path = memory,
                             .tier = tier,
                             .limit_bytes = work == EVICTS ? LIMIT_BYTES : 0,
                             .segment_bytes = work == PLAIN ? 0 : SEGMENT_BYTES,
                             .move_after_ms = 2};
}

typedef struct {
    KvgSpool *spool;
    Diary *diary;
} Persister;

static void *
persist(void *data)
{
    Persister *p = data;
    KvgSpoolReader *reader = kvg_spool_reader_new(p->spool);
    for (;;) {
        g_auto(KvgSpoolEvent) event = {0};
        g_assert_true(kvg_spool_read(reader, &event, NULL));
        if (event.kind == KVG_SPOOL_END) {
            atomic_store(&p->diary->persisted, event.fragment);
            kvg_spool_persisted(p->spool, event.fragment);
        }
        if (event.kind == KVG_SPOOL_NONE)
            g_usleep(200);
    }
    return NULL;
}

/* Writes until it is killed. */
static void
work_until_killed(const KvgSpoolOptions *options, Work work, Diary *diary, GRand *random)
{
    KvgSpool *spool = open_with(options);
    put_tracks(spool, "x");
    Persister persister = {spool, diary};
    pthread_t thread;
    if (work == PERSISTS)
        g_assert_cmpint(pthread_create(&thread, NULL, persist, &persister), ==, 0);
    atomic_store(&diary->is_open, true);
    for (;;) {
        g_assert_true(kvg_spool_begin_fragment(spool, 0, NULL));
        const uint64_t fragment = stats_of(spool).newest_fragment;
        g_assert_cmpuint(fragment, <, MAX_FRAGMENTS);
        const gint32 n = g_rand_int_range(random, 1, 9);
        for (gint32 i = 0; i < n; i++) {
            g_assert_true(put_frame(spool, fragment, (unsigned)i, LEN, NULL));
            atomic_store(&diary->accepted[fragment], (uint8_t)(i + 1));
            atomic_store(&diary->newest, fragment);
            if (work == PERSISTS)
                g_usleep(50);
        }
        g_assert_true(kvg_spool_end_fragment(spool, NULL));
    }
}

/* Everything accepted is there, from the first fragment that is neither persisted nor evicted. What
 * was evicted may come back, whole or in part, if its files were still to be deleted; what the
 * limit has room for is whole. */
static void
check(KvgSpool *spool, const Diary *diary, Work work)
{
    const uint64_t newest = atomic_load(&diary->newest);
    uint64_t expected = atomic_load(&diary->persisted) + 1;
    uint64_t bytes = 0;
    bool has_evicted = false;
    g_auto(KvgSpoolEvent) event = {0};
    uint64_t fragment = 0;
    unsigned n = 0;
    while (read_event(spool, &event) != KVG_SPOOL_NONE) {
        if (event.kind == KVG_SPOOL_BEGIN) {
            fragment = event.fragment;
            n = 0;
        } else if (event.kind == KVG_SPOOL_FRAME) {
            check_frame(&event, fragment, n++, LEN);
        } else if (event.kind == KVG_SPOOL_END && fragment >= expected) {
            const unsigned accepted = atomic_load(&diary->accepted[fragment]);
            while (expected < fragment && atomic_load(&diary->accepted[expected]) == 0)
                expected++; /* begun, and killed before its first frame */
            if (work == EVICTS && (fragment > expected || n < accepted)) {
                has_evicted = true;
                bytes = 0;
            } else {
                g_assert_cmpuint(fragment, ==, expected);
                g_assert_cmpuint(n, >=, accepted);
                bytes += n * LEN;
            }
            expected = fragment + 1;
        }
    }
    if (has_evicted)
        g_assert_cmpuint(bytes, >=, LIMIT_BYTES - 4 * SEGMENT_BYTES);
    g_assert_cmpuint(expected, >, newest);
}

static void
kill_once(const KvgSpoolOptions *options, Work work, Diary *diary, GRand *random)
{
    atomic_store(&diary->is_open, false);
    const guint32 seed = g_rand_int(random);
    const pid_t child = fork();
    if (child == 0) {
        work_until_killed(options, work, diary, g_rand_new_with_seed(seed));
        _exit(1);
    }
    while (!atomic_load(&diary->is_open))
        g_usleep(100);
    g_usleep((gulong)g_rand_int_range(random, 0, 12000));
    g_assert_cmpint(kill(child, SIGKILL), ==, 0);
    int status;
    g_assert_cmpint(waitpid(child, &status, 0), ==, child);
    g_assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void
test_kill(Fixture *f, const void *data)
{
    GRand *random = g_rand_new_with_seed(9);
    Diary *diary =
        mmap(NULL, sizeof *diary, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    g_assert_true(diary != MAP_FAILED);
    uint64_t n_fragments = 0, n_persisted = 0;
    for (unsigned i = 0; i < N_KILLS; i++) {
        const KvgSpoolTier tier = (KvgSpoolTier)(i % 3);
        const Work work = (Work)(i / 3 % N_WORKS);
        g_autofree char *disk = g_strdup_printf("%s/disk/%u-%u", f->root, tier, work);
        g_autofree char *memory = g_strdup_printf("%s/memory/%u-%u", f->root, tier, work);
        const KvgSpoolOptions options = options_of(disk, memory, tier, work);
        memset(diary, 0, sizeof *diary);
        kill_once(&options, work, diary, random);
        if (g_rand_boolean(random)) /* killed again before anybody looked */
            kill_once(&options, work, diary, random);
        KvgSpool *spool = open_with(&options);
        check(spool, diary, work);
        n_fragments += atomic_load(&diary->newest);
        n_persisted += atomic_load(&diary->persisted);
        close_spool(spool);
        g_assert_true(kvg_dir_remove(disk, NULL));
        g_assert_true(kvg_dir_remove(memory, NULL));
    }
    g_test_message("%u kills, %" G_GUINT64_FORMAT " fragments, %" G_GUINT64_FORMAT " persisted",
                   N_KILLS, n_fragments, n_persisted);
    munmap(diary, sizeof *diary);
    g_rand_free(random);
}

int
main(int argc, char **argv)
{
    init_tests(&argc, &argv);
    ADD("kill", test_kill);
    return run_tests();
}
