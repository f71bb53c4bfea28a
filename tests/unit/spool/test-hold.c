/* Fragments that are held until their time is asked for. The times of the test's fragments are
 * their numbers in seconds; places are what readers see. */
#include "fixture.h"
#include "os/file.h"
#include <kvg/error.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define FRAMES 10 /* 0.4 s */
#define LEN 400

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
                                  .hold = true,
                                  .system = &test_system};
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
put_all(KvgSpool *spool, uint64_t from, uint64_t to)
{
    for (uint64_t second = from; second <= to; second++)
        put_fragment(spool, second, FRAMES, LEN);
}

static KvgSpool *
open_filled(const KvgSpoolOptions *options, uint64_t from, uint64_t to)
{
    KvgSpool *spool = open_with(options);
    put_tracks(spool, "x");
    put_all(spool, from, to);
    return spool;
}

static void
release(KvgSpool *spool, const char *id, int64_t from_ms, int64_t to_ms)
{
    g_autoptr(GError) error = NULL;
    const KvgTimeRange range = {from_ms, to_ms};
    g_assert_true(kvg_spool_release(spool, id, &range, &error));
    g_assert_no_error(error);
}

static bool is_killed; /* then some fragments are cut */

/* The seconds of all that can be read now, in order, as text; the last place is @place. */
static char *
read_seconds(KvgSpool *spool, uint64_t *place)
{
    GString *seconds = g_string_new(NULL);
    g_auto(KvgSpoolEvent) event = {0};
    unsigned n = 0;
    int64_t second = 0;
    while (read_event(spool, &event) != KVG_SPOOL_NONE) {
        if (event.kind == KVG_SPOOL_BEGIN) {
            second = event.timecode_ms / 1000;
            *place = event.fragment;
            n = 0;
            g_string_append_printf(seconds, "%s%" G_GINT64_FORMAT, seconds->len > 0 ? " " : "",
                                   second);
        } else if (event.kind == KVG_SPOOL_FRAME) {
            check_frame(&event, (uint64_t)second, n++, LEN);
        } else if (event.kind == KVG_SPOOL_END) {
            g_assert_true(n == FRAMES || (is_killed && n > 0));
        }
    }
    return g_string_free(seconds, FALSE);
}

#define expect_read(spool, expected)                                                               \
    G_STMT_START                                                                                   \
    {                                                                                              \
        g_autofree char *seconds_ = read_seconds(spool, &(uint64_t){0});                           \
        g_assert_cmpstr(seconds_, ==, expected);                                                   \
    }                                                                                              \
    G_STMT_END

/* Reads what there is and has it persisted. */
#define expect_uploaded(spool, expected)                                                           \
    G_STMT_START                                                                                   \
    {                                                                                              \
        uint64_t place_ = 0;                                                                       \
        g_autofree char *seconds_ = read_seconds(spool, &place_);                                  \
        g_assert_cmpstr(seconds_, ==, expected);                                                   \
        kvg_spool_persisted(spool, place_);                                                        \
        kvg_spool_settle(spool);                                                                   \
    }                                                                                              \
    G_STMT_END

static KvgRelease
release_of(KvgSpool *spool, const char *id)
{
    size_t n;
    g_autofree KvgRelease *list = kvg_spool_list_releases(spool, &n);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(list[i].id, id) == 0)
            return list[i];
    }
    g_error("no release '%s'", id);
}

/* What is in the spool, as "from-to from-to" in ms. */
static char *
held_of(KvgSpool *spool)
{
    size_t n;
    g_autofree KvgTimeRange *held = kvg_spool_list_held(spool, &n);
    GString *text = g_string_new(NULL);
    for (size_t i = 0; i < n; i++)
        g_string_append_printf(text, "%s%" G_GINT64_FORMAT "-%" G_GINT64_FORMAT, i > 0 ? " " : "",
                               held[i].from_wall_ms, held[i].to_wall_ms);
    return g_string_free(text, FALSE);
}

#define expect_held(spool, expected)                                                               \
    G_STMT_START                                                                                   \
    {                                                                                              \
        g_autofree char *held_ = held_of(spool);                                                   \
        g_assert_cmpstr(held_, ==, expected);                                                      \
    }                                                                                              \
    G_STMT_END

/* ---- what goes up ---- */

static void
test_ranges(Fixture *f, const void *data)
{
    for (KvgSpoolTier tier = KVG_SPOOL_TIER_AUTO; tier <= KVG_SPOOL_TIER_MEMORY; tier++) {
        g_auto(Places) p = places(f, tier);
        KvgSpool *spool = open_filled(&p.options, 1, 20);
        expect_read(spool, "");
        g_assert_cmpuint(stats_of(spool).held_fragments, ==, 20);
        g_assert_cmpuint(stats_of(spool).first_wanted, ==, 0);
        expect_held(spool, "1000-20400");

        release(spool, "new", 13000, 16000);
        release(spool, "old", 4200, 6001); /* 4 ends at 4.4, 6 begins at 6 */
        g_assert_cmpuint(stats_of(spool).first_wanted, ==, 1);
        g_assert_cmpuint(stats_of(spool).last_wanted, ==, 6);
        g_assert_cmpuint(release_of(spool, "old").fragments_waiting, ==, 3);
        expect_uploaded(spool, "13 14 15 4 5 6"); /* in the order in which they were asked for */
        g_assert_cmpuint(stats_of(spool).held_fragments, ==, 14);
        g_assert_cmpuint(stats_of(spool).n_fragments, ==, 14);
        expect_held(spool, "1000-3400 7000-12400 16000-20400");
        const KvgRelease old = release_of(spool, "old");
        g_assert_true(old.is_done && old.is_over && old.is_stored);
        g_assert_cmpuint(old.fragments, ==, 3);
        g_assert_cmpuint(old.bytes, >, 3 * FRAMES * LEN);
        g_assert_cmpuint(old.n_missing, ==, 0);

        /* What has gone up once is not sent again, and not missing. */
        release(spool, "both", 5000, 8000);
        expect_uploaded(spool, "7");
        g_assert_true(release_of(spool, "both").is_done);
        g_assert_cmpuint(release_of(spool, "both").n_missing, ==, 0);
        g_assert_cmpuint(stats_of(spool).evicted_fragments, ==, 0);
        g_assert_cmpuint(stats_of(spool).unasked_fragments, ==, 0);
        close_spool(spool);
        g_assert_true(kvg_dir_remove(p.disk, NULL));
        g_assert_true(kvg_dir_remove(p.memory, NULL));
    }
}

static int64_t
now_s(void)
{
    return test_system.wall_ms() / 1000;
}

/* An event: from before to after it. A fragment that grows into the range goes up while it does. */
static void
test_event(Fixture *f, const void *data)
{
    g_auto(Places) p = places(f, KVG_SPOOL_TIER_AUTO);
    const uint64_t now = (uint64_t)now_s();
    KvgSpool *spool = open_filled(&p.options, now - 10, now - 1);
    g_assert_false(stats_of(spool).is_releasing);
    release(spool, "event", (int64_t)now * 1000 - 2500, (int64_t)now * 1000 + 3000);
    g_assert_true(stats_of(spool).is_releasing);
    put_fragment(spool, now, FRAMES, LEN);
    uint64_t place = 0;
    g_autofree char *seconds = read_seconds(spool, &place);
    g_autofree char *expected = g_strdup_printf(
        "%" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT, now - 2, now - 1, now);
    g_assert_cmpstr(seconds, ==, expected);

    /* The next event comes before the first one is over: it goes on. */
    release(spool, "event", (int64_t)now * 1000, (int64_t)now * 1000 + 5000);
    put_all(spool, now + 1, now + 4);
    g_assert_true(stats_of(spool).is_releasing);
    put_all(spool, now + 5, now + 8);
    g_assert_false(stats_of(spool).is_releasing);
    g_free(seconds);
    seconds = read_seconds(spool, &place);
    g_assert_cmpuint(place, ==, 7); /* now - 2 to now + 4 */
    kvg_spool_persisted(spool, place);
    kvg_spool_settle(spool);
    const KvgRelease event = release_of(spool, "event");
    g_assert_true(event.is_done);
    g_assert_cmpuint(event.fragments, ==, 7);
    g_assert_cmpint(event.range.from_wall_ms, ==, (int64_t)now * 1000 - 2500);

    /* One that begins in the middle of the open fragment. */
    release(spool, "later", (int64_t)now * 1000 + 9200, (int64_t)now * 1000 + 9300);
    g_assert_true(kvg_spool_begin_fragment(spool, (int64_t)(now + 9) * 1000, NULL));
    for (unsigned i = 0; i < FRAMES; i++) {
        g_assert_true(put_frame(spool, now + 9, i, LEN, NULL));
        g_assert_cmpuint(stats_of(spool).first_wanted, ==, (i + 1) * 40 <= 200 ? 0 : 8);
    }
    g_assert_true(kvg_spool_end_fragment(spool, NULL));
    close_spool(spool);
}

/* Of a camera that delivers nothing more, the end of the range comes by the clock. */
static void
test_silent_camera(Fixture *f, const void *data)
{
    g_auto(Places) p = places(f, KVG_SPOOL_TIER_AUTO);
    const uint64_t now = (uint64_t)now_s();
    KvgSpool *spool = open_filled(&p.options, now - 3, now - 1);
    release(spool, "event", (int64_t)(now - 2) * 1000, (int64_t)(now + 10) * 1000);
    uint64_t place = 0;
    g_free(read_seconds(spool, &place));
    kvg_spool_persisted(spool, place);
    kvg_spool_settle(spool);
    g_assert_false(release_of(spool, "event").is_done);
    test_pass_time(45000);
    kvg_spool_settle(spool);
    const KvgRelease event = release_of(spool, "event");
    g_assert_true(event.is_done);
    g_assert_cmpuint(event.fragments, ==, 2);
    g_assert_cmpuint(event.n_missing, ==, 1);
    g_assert_cmpint(event.missing[0].from_wall_ms, ==, (int64_t)(now - 1) * 1000 + 400);
    g_assert_cmpint(event.missing[0].to_wall_ms, ==, (int64_t)(now + 10) * 1000);
    close_spool(spool);
}

static void
test_missing(Fixture *f, const void *data)
{
    g_auto(Places) p = places(f, KVG_SPOOL_TIER_DISK);
    KvgSpool *spool = open_filled(&p.options, 10, 13);
    put_all(spool, 20, 22);
    release(spool, "wide", 5000, 30000);
    const KvgRelease before = release_of(spool, "wide");
    g_assert_false(before.is_done);
    g_assert_cmpuint(before.fragments_waiting, ==, 7);
    expect_uploaded(spool, "10 11 12 13 20 21 22");
    const KvgRelease wide = release_of(spool, "wide");
    g_assert_true(wide.is_done);
    g_assert_cmpuint(wide.n_missing, ==, 3);
    const int64_t missing[][2] = {{5000, 10000}, {13400, 20000}, {22400, 30000}};
    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmpint(wide.missing[i].from_wall_ms, ==, missing[i][0]);
        g_assert_cmpint(wide.missing[i].to_wall_ms, ==, missing[i][1]);
    }
    release(spool, "nothing", 100000, 100500);
    kvg_spool_settle(spool);
    g_assert_true(release_of(spool, "nothing").is_done);
    g_assert_cmpuint(release_of(spool, "nothing").n_missing, ==, 1);
    close_spool(spool);
}

static void
expect_refused(KvgSpool *spool, const char *id, int64_t from_ms, int64_t to_ms, int code)
{
    g_autoptr(GError) error = NULL;
    const KvgTimeRange range = {from_ms, to_ms};
    g_assert_false(kvg_spool_release(spool, id, &range, &error));
    g_assert_error(error, KVG_ERROR, code);
}

static void
test_refused(Fixture *f, const void *data)
{
    g_auto(Places) p = places(f, KVG_SPOOL_TIER_DISK);
    KvgSpool *spool = open_filled(&p.options, 1, 2);
    g_autofree char *long_id = g_strnfill(KVG_RELEASE_ID_BYTES + 1, 'x');
    expect_refused(spool, "", 1, 2, KVG_ERROR_INVALID);
    expect_refused(spool, long_id, 1, 2, KVG_ERROR_INVALID);
    expect_refused(spool, "\xff", 1, 2, KVG_ERROR_INVALID);
    expect_refused(spool, "a", 2, 1, KVG_ERROR_INVALID);
    expect_refused(spool, "a", -1, 1, KVG_ERROR_INVALID);
    release(spool, "done", 100000, 100001);
    kvg_spool_settle(spool);
    expect_refused(spool, "done", 1, 2, KVG_ERROR_INVALID);
    for (unsigned i = 0; i < 1000; i++) {
        g_autofree char *id = g_strdup_printf("%u", i);
        release(spool, id, 1000, 2000);
    }
    expect_refused(spool, "one more", 1000, 2000, KVG_ERROR_NO_SPACE);
    release(spool, "7", 1000, 3000); /* but one that is known may grow */
    expect_uploaded(spool, "1 2");
    size_t n;
    g_autofree KvgRelease *list = kvg_spool_list_releases(spool, &n);
    for (size_t i = 0; i < n; i++)
        g_assert_true(list[i].is_done);
    release(spool, "again", 1000, 2000);
    g_free(list);
    list = kvg_spool_list_releases(spool, &n);
    g_assert_cmpuint(n, ==, 64 + 1);
    close_spool(spool);

    p.options.hold = false;
    g_assert_true(kvg_dir_remove(p.disk, NULL));
    spool = open_filled(&p.options, 1, 2);
    expect_refused(spool, "a", 1000, 2000, KVG_ERROR_INVALID);
    close_spool(spool);
}

/* ---- what goes without having been asked for ---- */

static void
test_keep(Fixture *f, const void *data)
{
    g_auto(Places) p = places(f, KVG_SPOOL_TIER_AUTO);
    p.options.keep_ms = 40000;
    KvgSpool *spool = open_filled(&p.options, 1, 4);
    release(spool, "wanted", 2000, 3000);
    test_pass_time(30000);
    put_all(spool, 31, 33);
    test_pass_time(11000);
    kvg_spool_settle(spool);
    KvgSpoolStats stats = stats_of(spool);
    g_assert_cmpuint(stats.unasked_fragments, ==, 3);
    g_assert_cmpuint(stats.unasked_frames, ==, 3 * FRAMES);
    g_assert_cmpuint(stats.evicted_frames, ==, 0);
    expect_held(spool, "2000-2400 31000-33400");
    expect_uploaded(spool, "2");
    test_pass_time(30000);
    kvg_spool_settle(spool);
    stats = stats_of(spool);
    g_assert_cmpuint(stats.n_fragments, ==, 0);
    g_assert_cmpuint(stats.unasked_fragments, ==, 6);
    put_fragment(spool, 70, FRAMES, LEN); /* the segment that was in use is left */
    kvg_spool_settle(spool);
    g_assert_cmpuint(count_files(p.memory, ".seg"), ==, 1);
    close_spool(spool);
}

/* A full spool gives up what nobody has asked for, however new, before what has to go up. */
static void
test_limit(Fixture *f, const void *data)
{
    g_auto(Places) p = places(f, KVG_SPOOL_TIER_DISK);
    p.options.limit_bytes = 60000;
    p.options.segment_bytes = 6000;
    KvgSpool *spool = open_filled(&p.options, 1, 4);
    release(spool, "wanted", 2000, 4000);
    put_all(spool, 5, 60);
    g_assert_cmpuint(stats_of(spool).evicted_fragments, ==, 0);
    g_assert_cmpuint(stats_of(spool).unasked_fragments, >, 40);
    expect_uploaded(spool, "2 3");
    /* Until there is nothing else. */
    release(spool, "all", 0, 1000000);
    put_all(spool, 61, 80);
    g_assert_cmpuint(stats_of(spool).evicted_fragments, >, 0);
    g_assert_cmpuint(stats_of(spool).bytes, <=, 60000);
    g_autofree char *rest = read_seconds(spool, &(uint64_t){0});
    g_assert_true(g_str_has_suffix(rest, "79 80"));
    close_spool(spool);
}

/* What nobody asks for stays away from the disk while memory has room. */
static void
test_flash(Fixture *f, const void *data)
{
    g_auto(Places) p = places(f, KVG_SPOOL_TIER_AUTO);
    p.options.memory_limit_bytes = 200000;
    p.options.keep_ms = 600000;
    KvgSpool *spool = open_filled(&p.options, 1, 5);
    test_pass_time(90000);
    put_all(spool, 91, 95);
    kvg_spool_settle(spool);
    g_assert_cmpuint(count_files(p.disk, ".seg"), ==, 0);
    release(spool, "wanted", 92000, 93000);
    test_pass_time(6000);
    put_all(spool, 101, 102); /* in a new segment: the one with what is to go up grows old */
    test_pass_time(6000);
    kvg_spool_settle(spool);
    KvgSpoolFragmentInfo info;
    g_assert_true(kvg_spool_peek(spool, 7, &info));
    g_assert_cmpint(info.place, ==, KVG_SPOOL_ON_DISK);
    g_assert_true(kvg_spool_peek(spool, 1, &info));
    g_assert_cmpint(info.place, ==, KVG_SPOOL_IN_MEMORY);
    put_all(spool, 110, 160); /* more than half of the memory */
    test_pass_time(90000);
    put_all(spool, 250, 251);
    kvg_spool_settle(spool);
    g_assert_true(kvg_spool_peek(spool, 1, &info));
    g_assert_cmpint(info.place, ==, KVG_SPOOL_ON_DISK);
    close_spool(spool);
}

/* ---- the next process ---- */

static void
test_reopen(Fixture *f, const void *data)
{
    for (KvgSpoolTier tier = KVG_SPOOL_TIER_AUTO; tier <= KVG_SPOOL_TIER_MEMORY; tier++) {
        g_auto(Places) p = places(f, tier);
        const uint64_t now = (uint64_t)now_s();
        KvgSpool *spool = open_filled(&p.options, 1, 9);
        release(spool, "first", 2000, 4000);
        expect_uploaded(spool, "2 3");
        release(spool, "second", 6000, 8000);
        release(spool, "third", 1000 * (int64_t)now, 1000 * (int64_t)now + 60000);
        kvg_spool_settle(spool);
        g_assert_true(release_of(spool, "third").is_stored);
        close_spool(spool);

        KvgSpoolOptions look = p.options;
        look.read_only = true;
        KvgSpool *view = open_with(&look);
        expect_held(view, "1000-1400 4000-9400");
        g_assert_cmpuint(stats_of(view).held_fragments, ==, 5);
        g_assert_false(release_of(view, "third").is_done);
        close_spool(view);

        spool = open_with(&p.options);
        expect_held(spool, "1000-1400 4000-9400");
        g_assert_true(release_of(spool, "first").is_done);
        g_assert_cmpuint(release_of(spool, "first").fragments, ==, 2);
        put_tracks(spool, "x");
        put_all(spool, now, now + 1);
        g_autofree char *expected =
            g_strdup_printf("6 7 %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT, now, now + 1);
        expect_uploaded(spool, expected);
        close_spool(spool);

        /* A file that is damaged is as none: nothing goes up that may not. */
        g_autofree char *path =
            g_build_filename(tier == KVG_SPOOL_TIER_MEMORY ? p.memory : p.disk, "releases", NULL);
        g_assert_true(g_file_set_contents(path, "KVG", -1, NULL));
        spool = open_with(&p.options);
        expect_read(spool, "");
        size_t n;
        g_free(kvg_spool_list_releases(spool, &n));
        g_assert_cmpuint(n, ==, 0);
        close_spool(spool);
        g_assert_true(kvg_dir_remove(p.disk, NULL));
        g_assert_true(kvg_dir_remove(p.memory, NULL));
    }
}

/* Each mode leaves to the next what it has. */
static void
test_change_of_mode(Fixture *f, const void *data)
{
    g_auto(Places) p = places(f, KVG_SPOOL_TIER_DISK);
    p.options.hold = false;
    KvgSpool *spool = open_filled(&p.options, 1, 3);
    close_spool(spool);
    p.options.hold = true;
    spool = open_filled(&p.options, 4, 6);
    expect_read(spool, "1 2 3"); /* were to go up */
    close_spool(spool);
    p.options.hold = false;
    spool = open_filled(&p.options, 7, 9);
    expect_uploaded(spool, "1 2 3 7 8 9"); /* nobody has asked for 4 to 6 */
    release(spool, "later", 5000, 6000);
    expect_uploaded(spool, "5");
    test_pass_time(25 * INT64_C(3600000));
    kvg_spool_settle(spool);
    g_assert_cmpuint(stats_of(spool).unasked_fragments, ==, 2);
    g_assert_cmpuint(stats_of(spool).evicted_fragments, ==, 0);
    close_spool(spool);
    spool = open_filled(&p.options, 10, 11);
    expect_read(spool, "10 11");
    g_assert_cmpuint(stats_of(spool).last_wanted, ==, stats_of(spool).newest_fragment);
    close_spool(spool);
}

/* A full or vanished disk: a release waits in memory, or is stored when it works again. */
static void
test_disk_fails(Fixture *f, const void *data)
{
    g_auto(Places) p = places(f, KVG_SPOOL_TIER_AUTO);
    KvgSpool *spool = open_filled(&p.options, 1, 3);
    test_set_fault(p.disk, &(Fault){.open_code = ENOSPC});
    release(spool, "a", 1000, 2000);
    kvg_spool_settle(spool);
    g_assert_true(release_of(spool, "a").is_stored);
    g_assert_cmpuint(count_files(p.memory, "releases"), ==, 1);
    test_set_fault(p.memory, &(Fault){.open_code = EIO});
    g_assert_true(kvg_dir_remove(p.disk, NULL));
    release(spool, "b", 2000, 3000);
    kvg_spool_settle(spool);
    g_assert_false(release_of(spool, "b").is_stored);
    test_set_fault(NULL, NULL);
    kvg_spool_settle(spool);
    g_assert_true(release_of(spool, "b").is_stored);
    expect_uploaded(spool, "1 2");
    close_spool(spool);
}

/* ---- kill -9 ---- */

typedef struct {
    _Atomic int64_t stored; /* releases up to this one are */
} Diary;

static void
work_until_killed(const KvgSpoolOptions *options, Diary *diary)
{
    KvgSpool *spool = open_with(options);
    put_tracks(spool, "x");
    int64_t id = atomic_load(&diary->stored);
    for (uint64_t second = (uint64_t)id * 10 + 1;; second++) {
        put_fragment(spool, second, FRAMES, LEN);
        if (second % 10 != 0)
            continue;
        g_autofree char *text = g_strdup_printf("%" G_GINT64_FORMAT, ++id);
        release(spool, text, (int64_t)second * 1000 - 4000, (int64_t)second * 1000 - 1000);
        while (!release_of(spool, text).is_stored)
            g_usleep(100);
        atomic_store(&diary->stored, id);
    }
}

static void
test_kill(Fixture *f, const void *data)
{
    GRand *random = g_rand_new_with_seed(3);
    is_killed = true;
    Diary *diary =
        mmap(NULL, sizeof *diary, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    g_assert_true(diary != MAP_FAILED);
    for (unsigned i = 0; i < 30; i++) {
        g_auto(Places) p = places(f, (KvgSpoolTier)(i % 3));
        p.options.segment_bytes = 20000;
        p.options.move_after_ms = 2;
        for (unsigned again = 0; again < 2; again++) {
            const pid_t child = fork();
            if (child == 0) {
                work_until_killed(&p.options, diary);
                _exit(1);
            }
            g_usleep((gulong)g_rand_int_range(random, 5000, 40000));
            g_assert_cmpint(kill(child, SIGKILL), ==, 0);
            g_assert_cmpint(waitpid(child, NULL, 0), ==, child);
        }
        KvgSpool *spool = open_with(&p.options);
        const int64_t stored = atomic_load(&diary->stored);
        g_autofree char *seconds = read_seconds(spool, &(uint64_t){0});
        g_auto(GStrv) read = g_strsplit(seconds, " ", -1);
        for (int64_t id = 1; id <= stored; id++) {
            for (int64_t second = id * 10 - 4; second < id * 10 - 1; second++) {
                g_autofree char *expected = g_strdup_printf("%" G_GINT64_FORMAT, second);
                g_assert_true(g_strv_contains((const char *const *)read, expected));
            }
        }
        for (guint k = 0; read[k] != NULL; k++) { /* and nothing else */
            const gint64 of_ten = g_ascii_strtoll(read[k], NULL, 10) % 10;
            g_assert_true(of_ten >= 6 && of_ten <= 8);
        }
        close_spool(spool);
        atomic_store(&diary->stored, 0);
        g_assert_true(kvg_dir_remove(p.disk, NULL));
        g_assert_true(kvg_dir_remove(p.memory, NULL));
    }
    munmap(diary, sizeof *diary);
    g_rand_free(random);
}

int
main(int argc, char **argv)
{
    init_tests(&argc, &argv);
    ADD("hold/ranges", test_ranges);
    ADD("hold/event", test_event);
    ADD("hold/silent-camera", test_silent_camera);
    ADD("hold/missing", test_missing);
    ADD("hold/refused", test_refused);
    ADD("hold/keep", test_keep);
    ADD("hold/limit", test_limit);
    ADD("hold/flash", test_flash);
    ADD("hold/reopen", test_reopen);
    ADD("hold/change-of-mode", test_change_of_mode);
    ADD("hold/disk-fails", test_disk_fails);
    ADD("hold/kill", test_kill);
    return run_tests();
}
