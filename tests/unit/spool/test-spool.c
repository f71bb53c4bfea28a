/* The spool: what goes in comes out, also after a crash at any byte, a flipped bit, a vanished
 * folder and a full quota. A crash is a copy of the folder while the first owner still has it open.
 */
#include "fixture.h"
#include "os/file.h"
#include "spool/spool.h"
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <kvg/error.h>
#include <pthread.h>
#include <string.h>

static void
copy_file(const char *from, const char *to, size_t max)
{
    g_autofree char *data = NULL;
    size_t len;
    g_assert_true(g_file_get_contents(from, &data, &len, NULL));
    g_assert_true(g_file_set_contents(to, data, (gssize)MIN(len, max), NULL));
}

/* What another process would find if the owner died now; @max cuts the segment files. */
static char *
crash(const Fixture *f, const char *path, const char *name, size_t max)
{
    char *copy = folder(f, name);
    g_assert_cmpint(g_mkdir(copy, 0700), ==, 0);
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *file;
    while ((file = g_dir_read_name(dir)) != NULL) {
        g_autofree char *from = g_build_filename(path, file, NULL);
        g_autofree char *to = g_build_filename(copy, file, NULL);
        copy_file(from, to, g_str_has_suffix(file, ".seg") ? max : SIZE_MAX);
    }
    return copy;
}

/* Path of the first or last segment. */
static char *
segment(const char *path, bool last)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    g_autofree char *found = NULL;
    const char *file;
    while ((file = g_dir_read_name(dir)) != NULL) {
        if (!g_str_has_suffix(file, ".seg"))
            continue;
        if (found == NULL || (strcmp(file, found) > 0) == last) {
            g_free(found);
            found = g_strdup(file);
        }
    }
    return found != NULL ? g_build_filename(path, found, NULL) : NULL;
}

static void
test_round_trip(Fixture *f, const void *data)
{
    g_autofree char *path = folder(f, "a");
    g_autoptr(KvgSpool) spool = open_spool(path, 0, 0);
    g_autoptr(GError) error = NULL;
    g_assert_false(kvg_spool_begin_fragment(spool, 0, &error));
    g_assert_error(error, KVG_ERROR, KVG_ERROR_INVALID);
    g_clear_error(&error);
    g_assert_false(put_frame(spool, 1, 0, 10, &error));
    g_assert_error(error, KVG_ERROR, KVG_ERROR_INVALID);
    put_tracks(spool, "one");
    put_fragment(spool, 1, 5, 100);
    put_fragment(spool, 2, 5, 100000); /* beyond the read-ahead */
    put_tracks(spool, "two");
    put_fragment(spool, 3, 1, 0);

    g_auto(KvgSpoolEvent) event = {0};
    g_assert_cmpint(read_event(spool, &event), ==, KVG_SPOOL_TRACKS);
    g_assert_cmpuint(event.n_tracks, ==, 2);
    g_assert_cmpstr(event.tracks[0].codec_id, ==, "V_MPEG4/ISO/AVC");
    g_assert_cmpuint(event.tracks[0].width, ==, 1280);
    g_assert_cmpmem(g_bytes_get_data(event.tracks[0].codec_private, NULL), 3, "one", 3);
    g_assert_null(event.tracks[1].codec_private);
    g_assert_null(event.tracks[1].name);
    g_assert_cmpfloat(event.tracks[1].sample_rate_hz, ==, 48000);
    g_assert_cmpuint(read_fragment(spool, 1, 100), ==, 5);
    g_assert_cmpuint(read_fragment(spool, 2, 100000), ==, 5);
    g_assert_cmpint(read_event(spool, &event), ==, KVG_SPOOL_TRACKS);
    g_assert_cmpmem(g_bytes_get_data(event.tracks[0].codec_private, NULL), 3, "two", 3);
    g_assert_cmpuint(read_fragment(spool, 3, 0), ==, 1);
    assert_drained(spool);
    /* again from the middle */
    kvg_spool_seek(reader_of(spool), 2);
    g_assert_cmpint(read_event(spool, &event), ==, KVG_SPOOL_TRACKS);
    g_assert_cmpuint(read_fragment(spool, 2, 100000), ==, 5);
}

static void
test_follow_open(Fixture *f, const void *data)
{
    g_autofree char *path = folder(f, "a");
    g_autoptr(KvgSpool) spool = open_spool(path, 0, 0);
    g_autoptr(GError) error = NULL;
    g_auto(KvgSpoolEvent) event = {0};
    put_tracks(spool, "x");
    assert_drained(spool);
    g_assert_true(kvg_spool_begin_fragment(spool, 1000, &error));
    g_assert_cmpint(read_event(spool, &event), ==, KVG_SPOOL_TRACKS);
    g_assert_cmpint(read_event(spool, &event), ==, KVG_SPOOL_BEGIN);
    for (unsigned i = 0; i < 50; i++) {
        assert_drained(spool);
        g_assert_true(put_frame(spool, 1, i, 5000, &error));
        g_assert_cmpint(read_event(spool, &event), ==, KVG_SPOOL_FRAME);
        check_frame(&event, 1, i, 5000);
    }
    KvgSpoolStats stats;
    kvg_spool_get_stats(spool, &stats);
    g_assert_true(stats.fragment_open);
    g_assert_true(kvg_spool_end_fragment(spool, &error));
    g_assert_cmpint(read_event(spool, &event), ==, KVG_SPOOL_END);
    kvg_spool_get_stats(spool, &stats);
    g_assert_false(stats.fragment_open);
    g_assert_cmpuint(stats.bytes, >, 250000);
}

static void
test_persisted_frees(Fixture *f, const void *data)
{
    g_autofree char *path = folder(f, "a");
    {
        g_autoptr(KvgSpool) spool = open_spool(path, 0, 10000);
        put_tracks(spool, "x");
        for (uint64_t n = 1; n <= 10; n++)
            put_fragment(spool, n, 4, 3000);
        kvg_spool_persisted(spool, 7);
        kvg_spool_settle(spool);
        g_autofree char *oldest = segment(path, false);
        g_autofree char *expected = g_strdup_printf("%s/%016x.seg", path, 7);
        g_assert_cmpstr(oldest, ==, expected); /* one fragment a segment, counted from 0 */
        KvgSpoolStats stats;
        kvg_spool_get_stats(spool, &stats);
        g_assert_cmpuint(stats.oldest_fragment, ==, 8);
        g_assert_cmpuint(stats.newest_fragment, ==, 10);
    }
    {
        g_autoptr(KvgSpool) spool = open_spool(path, 0, 10000);
        for (uint64_t n = 8; n <= 10; n++)
            g_assert_cmpuint(read_fragment(spool, n, 3000), ==, 4);
        assert_drained(spool);
        kvg_spool_persisted(spool, 10);
    }
    g_autoptr(KvgSpool) spool = open_spool(path, 0, 10000);
    g_autofree char *left = segment(path, false);
    g_assert_null(left);
    put_tracks(spool, "x");
    put_fragment(spool, 11, 4, 3000); /* numbers go on growing */
    g_assert_cmpuint(read_fragment(spool, 11, 3000), ==, 4);
}

/* The process dies with its last fragment open; then the same with the file cut at every byte. */
static void
test_torn_at_every_byte(Fixture *f, const void *data)
{
    g_autofree char *path = folder(f, "a");
    g_autoptr(KvgSpool) spool = open_spool(path, 0, 0);
    g_autoptr(GError) error = NULL;
    put_tracks(spool, "x");
    put_fragment(spool, 1, 2, 20);
    g_assert_true(kvg_spool_begin_fragment(spool, 2000, &error));
    for (unsigned i = 0; i < 3; i++)
        g_assert_true(put_frame(spool, 2, i, 20, &error));
    g_autofree char *file = segment(path, true);
    GStatBuf info;
    g_assert_cmpint(g_stat(file, &info), ==, 0);
    const size_t record = 56 + 20;
    for (size_t cut = 0; cut <= (size_t)info.st_size; cut++) {
        g_autofree char *name = g_strdup_printf("cut-%zu", cut);
        g_autofree char *copy = crash(f, path, name, cut);
        g_autoptr(KvgSpool) again = open_spool(copy, 0, 0);
        const size_t lost = ((size_t)info.st_size - cut + record - 1) / record;
        if (lost < 3) {
            g_assert_cmpuint(read_fragment(again, 1, 20), ==, 2);
            g_assert_cmpuint(read_fragment(again, 2, 20), ==, 3 - lost);
        } else if (cut + 3 * record + 56 >= (size_t)info.st_size) {
            g_assert_cmpuint(read_fragment(again, 1, 20), ==, 2);
        }
        /* whatever was lost: the spool takes new fragments and gives them back */
        KvgSpoolStats stats;
        kvg_spool_get_stats(again, &stats);
        kvg_spool_seek(reader_of(again), stats.newest_fragment + 1);
        put_tracks(again, "y");
        g_assert_true(kvg_spool_begin_fragment(again, 1, &error));
        kvg_spool_get_stats(again, &stats);
        g_assert_true(put_frame(again, stats.newest_fragment, 0, 33, &error));
        g_assert_true(kvg_spool_end_fragment(again, &error));
        g_auto(KvgSpoolEvent) event = {0};
        g_assert_cmpint(read_event(again, &event), ==, KVG_SPOOL_TRACKS);
        g_assert_cmpint(read_event(again, &event), ==, KVG_SPOOL_BEGIN);
        g_assert_cmpint(read_event(again, &event), ==, KVG_SPOOL_FRAME);
        check_frame(&event, stats.newest_fragment, 0, 33);
    }
}

/* One flipped bit anywhere costs at most the fragment it is in. */
static void
test_flipped_bits(Fixture *f, const void *data)
{
    g_autofree char *path = folder(f, "a");
    {
        g_autoptr(KvgSpool) spool = open_spool(path, 0, 600);
        put_tracks(spool, "x");
        for (uint64_t n = 1; n <= 6; n++) /* three in each of two segments */
            put_fragment(spool, n, 2, 20);
    }
    for (unsigned which = 0; which < 2; which++) {
        g_autofree char *file = segment(path, which == 1);
        GStatBuf info;
        g_assert_cmpint(g_stat(file, &info), ==, 0);
        for (off_t at = 16; at < info.st_size; at++) {
            g_autofree char *name = g_strdup_printf("flip-%u-%ld", which, (long)at);
            g_autofree char *copy = crash(f, path, name, SIZE_MAX);
            g_autofree char *damaged = segment(copy, which == 1);
            g_auto(KvgFd) fd = open(damaged, O_RDWR | O_CLOEXEC);
            uint8_t byte;
            g_assert_cmpint(pread(fd, &byte, 1, at), ==, 1);
            byte ^= 0x10;
            g_assert_cmpint(pwrite(fd, &byte, 1, at), ==, 1);
            g_autoptr(KvgSpool) spool = open_spool(copy, 0, 600);
            g_auto(KvgSpoolEvent) event = {0};
            unsigned n_whole = 0, n_frames = 0;
            uint64_t current = 0;
            while (read_event(spool, &event) != KVG_SPOOL_NONE) {
                if (event.kind == KVG_SPOOL_BEGIN)
                    current = event.fragment, n_frames = 0;
                else if (event.kind == KVG_SPOOL_FRAME)
                    check_frame(&event, current, n_frames++, 20);
                else if (event.kind == KVG_SPOOL_END && n_frames == 2)
                    n_whole++;
            }
            KvgSpoolStats stats;
            kvg_spool_get_stats(spool, &stats);
            g_assert_cmpuint(stats.torn_records, >, 0);
            /* damage to the tracks costs all fragments that lean on them: the segment's */
            g_assert_cmpuint(n_whole, >=, at < 200 ? 3 : 5);
        }
    }
}

static void
test_quota(Fixture *f, const void *data)
{
    g_autofree char *path = folder(f, "a");
    g_autoptr(KvgSpool) spool = open_spool(path, 100000, 10000);
    g_autoptr(GError) error = NULL;
    put_tracks(spool, "x");
    put_fragment(spool, 1, 2, 5000);
    g_auto(KvgSpoolEvent) event = {0};
    g_assert_cmpint(read_event(spool, &event), ==, KVG_SPOOL_TRACKS);
    g_assert_cmpint(read_event(spool, &event), ==, KVG_SPOOL_BEGIN);
    g_assert_cmpint(read_event(spool, &event), ==, KVG_SPOOL_FRAME);
    for (uint64_t n = 2; n <= 30; n++)
        put_fragment(spool, n, 2, 5000);
    KvgSpoolStats stats;
    kvg_spool_get_stats(spool, &stats);
    g_assert_cmpuint(stats.bytes, <=, 100000);
    g_assert_cmpuint(stats.bytes, >=, 70000);
    g_assert_cmpuint(stats.evicted_fragments, ==, stats.oldest_fragment - 1);
    g_assert_cmpuint(stats.evicted_frames, ==, 2 * stats.evicted_fragments);
    g_assert_cmpint(read_event(spool, &event), ==, KVG_SPOOL_GAP);
    g_assert_cmpuint(event.fragment, ==, 1);
    g_assert_cmpuint(event.gap_end, ==, stats.oldest_fragment - 1);
    for (uint64_t n = stats.oldest_fragment; n <= 30; n++)
        g_assert_cmpuint(read_fragment(spool, n, 5000), ==, 2);
    assert_drained(spool);
    /* a fragment larger than the whole spool is refused at the frame that does not fit */
    g_assert_true(kvg_spool_begin_fragment(spool, 31000, &error));
    unsigned n_put = 0;
    while (put_frame(spool, 31, n_put, 5000, &error))
        n_put++;
    g_assert_error(error, KVG_ERROR, KVG_ERROR_NO_SPACE);
    g_assert_cmpuint(n_put, >, 10);
    g_clear_error(&error);
    g_assert_true(kvg_spool_end_fragment(spool, &error));
    g_assert_cmpuint(read_fragment(spool, 31, 5000), ==, n_put);
    put_fragment(spool, 32, 2, 5000);
    g_assert_cmpuint(read_fragment(spool, 32, 5000), ==, 2);
}

static void
test_one_owner(Fixture *f, const void *data)
{
    g_autofree char *path = folder(f, "a");
    G_GNUC_UNUSED g_autoptr(KvgSpool) spool = open_spool(path, 0, 0);
    g_autoptr(GError) error = NULL;
    const KvgSpoolOptions options = {.path = path};
    g_assert_null(kvg_spool_open(&options, &error));
    g_assert_error(error, KVG_ERROR, KVG_ERROR_INVALID);
    g_assert_nonnull(strstr(error->message, path));
    GStatBuf info;
    g_assert_cmpint(g_stat(path, &info), ==, 0);
    g_assert_cmpint(info.st_mode & 0777, ==, 0700);
}

static void
test_vanished_folder(Fixture *f, const void *data)
{
    g_autofree char *path = folder(f, "a");
    g_autoptr(KvgSpool) spool = open_spool(path, 0, 0);
    g_autoptr(GError) error = NULL;
    put_tracks(spool, "x");
    put_fragment(spool, 1, 2, 100);
    kvg_spool_settle(spool);
    g_assert_true(kvg_dir_remove(path, &error));
    put_fragment(spool, 2, 2, 100);
    g_auto(KvgSpoolEvent) event = {0};
    g_assert_cmpint(read_event(spool, &event), ==, KVG_SPOOL_TRACKS);
    g_assert_cmpint(read_event(spool, &event), ==, KVG_SPOOL_BEGIN);
    g_assert_cmpint(read_event(spool, &event), ==, KVG_SPOOL_GAP);
    g_assert_cmpuint(event.gap_end, ==, 1);
    g_assert_cmpuint(read_fragment(spool, 2, 100), ==, 2);
}

static void
test_hostile_files(Fixture *f, const void *data)
{
    g_autoptr(GRand) random = g_rand_new_with_seed(7);
    for (unsigned round = 0; round < 200; round++) {
        g_autofree char *name = g_strdup_printf("r%u", round);
        g_autofree char *path = folder(f, name);
        g_assert_cmpint(g_mkdir(path, 0700), ==, 0);
        for (unsigned i = 0; i < 3; i++) {
            uint8_t noise[2000];
            for (size_t at = 0; at < sizeof noise; at++)
                noise[at] = (uint8_t)g_rand_int(random);
            memcpy(noise + 16, "KVGR", 4);
            g_autofree char *file = i == 2 ? g_build_filename(path, "cursor", NULL)
                                           : g_strdup_printf("%s/%016x.seg", path, i);
            g_assert_true(g_file_set_contents(file, (char *)noise, sizeof noise, NULL));
        }
        g_autoptr(KvgSpool) spool = open_spool(path, 0, 0);
        assert_drained(spool);
        put_tracks(spool, "x");
        put_fragment(spool, 1, 2, 10);
        g_assert_cmpuint(read_fragment(spool, 1, 10), ==, 2);
    }
}

#define N_CONCURRENT 400

static void *
write_all(void *data)
{
    for (uint64_t n = 1; n <= N_CONCURRENT; n++)
        put_fragment(data, n, 10, 2000);
    return NULL;
}

static void
test_concurrent(Fixture *f, const void *data)
{
    g_autofree char *path = folder(f, "a");
    g_autoptr(KvgSpool) spool = open_spool(path, 0, 100000);
    put_tracks(spool, "x");
    pthread_t writer;
    g_assert_cmpint(pthread_create(&writer, NULL, write_all, spool), ==, 0);
    g_auto(KvgSpoolEvent) event = {0};
    uint64_t done = 0;
    unsigned n = 0;
    while (done < N_CONCURRENT) {
        switch (read_event(spool, &event)) {
        case KVG_SPOOL_FRAME:
            check_frame(&event, done + 1, n++, 2000);
            break;
        case KVG_SPOOL_END:
            g_assert_cmpuint(n, ==, 10);
            n = 0;
            kvg_spool_persisted(spool, ++done);
            break;
        case KVG_SPOOL_GAP:
            g_assert_not_reached();
        case KVG_SPOOL_NONE:
            g_thread_yield();
            break;
        case KVG_SPOOL_TRACKS:
        case KVG_SPOOL_BEGIN:
        case KVG_SPOOL_TAG:
            break;
        }
    }
    pthread_join(writer, NULL);
    KvgSpoolStats stats;
    kvg_spool_get_stats(spool, &stats);
    g_assert_cmpuint(stats.bytes, ==, 0);
    g_assert_cmpuint(stats.oldest_fragment, ==, 0);
}

/* Metadata lies between the frames it was put between, and survives a restart. */
static void
test_tags(Fixture *f, const void *data)
{
    g_autofree char *path = folder(f, "a");
    g_autoptr(GError) error = NULL;
    {
        g_autoptr(KvgSpool) spool = open_spool(path, 0, 0);
        put_tracks(spool, "x");
        g_assert_false(kvg_spool_put_tag(spool, "gate", "open", &error));
        g_assert_error(error, KVG_ERROR, KVG_ERROR_INVALID);
        g_clear_error(&error);
        g_assert_true(kvg_spool_begin_fragment(spool, 1000, &error));
        g_assert_true(put_frame(spool, 1, 0, 10, &error));
        g_assert_true(kvg_spool_put_tag(spool, "gate", "open", &error));
        g_assert_true(kvg_spool_put_tag(spool, "empty", "", &error));
        g_assert_true(put_frame(spool, 1, 1, 10, &error));
    }
    g_autoptr(KvgSpool) spool = open_spool(path, 0, 0);
    g_auto(KvgSpoolEvent) event = {0};
    g_assert_cmpint(read_event(spool, &event), ==, KVG_SPOOL_TRACKS);
    g_assert_cmpint(read_event(spool, &event), ==, KVG_SPOOL_BEGIN);
    g_assert_cmpint(read_event(spool, &event), ==, KVG_SPOOL_FRAME);
    g_assert_cmpint(read_event(spool, &event), ==, KVG_SPOOL_TAG);
    g_assert_cmpstr(event.tag_name, ==, "gate");
    g_assert_cmpstr(event.tag_value, ==, "open");
    g_assert_cmpint(read_event(spool, &event), ==, KVG_SPOOL_TAG);
    g_assert_cmpstr(event.tag_value, ==, "");
    g_assert_cmpint(read_event(spool, &event), ==, KVG_SPOOL_FRAME);
    g_assert_cmpint(read_event(spool, &event), ==, KVG_SPOOL_END);
}

/* Each goes its own way; what is gone before either reads it is a gap for both. */
static void
test_two_readers(Fixture *f, const void *data)
{
    g_autofree char *path = folder(f, "a");
    g_autoptr(GError) error = NULL;
    g_autoptr(KvgSpool) spool = open_spool(path, 0, 10000);
    g_auto(KvgSpoolEvent) event = {0};
    put_tracks(spool, "x");
    for (uint64_t n = 1; n <= 5; n++)
        put_fragment(spool, n, 4, 3000);
    g_autoptr(KvgSpoolReader) late = kvg_spool_reader_new(spool);
    kvg_spool_seek(late, 4);
    g_assert_true(kvg_spool_read(late, &event, &error));
    g_assert_cmpint(event.kind, ==, KVG_SPOOL_TRACKS);
    kvg_spool_event_clear(&event);
    g_assert_cmpuint(read_fragment(spool, 1, 3000), ==, 4);
    g_assert_true(kvg_spool_read(late, &event, &error));
    g_assert_cmpint(event.kind, ==, KVG_SPOOL_BEGIN);
    g_assert_cmpuint(event.fragment, ==, 4);
    kvg_spool_event_clear(&event);
    kvg_spool_persisted(spool, 4);
    g_assert_cmpint(read_event(spool, &event), ==, KVG_SPOOL_GAP);
    g_assert_cmpuint(event.fragment, ==, 2);
    g_assert_cmpuint(event.gap_end, ==, 4);
    kvg_spool_event_clear(&event);
    g_assert_true(kvg_spool_read(late, &event, &error));
    g_assert_cmpint(event.kind, ==, KVG_SPOOL_GAP);
    g_assert_cmpuint(event.gap_end, ==, 4);
}

int
main(int argc, char **argv)
{
    init_tests(&argc, &argv);
    ADD("round-trip", test_round_trip);
    ADD("follow-open", test_follow_open);
    ADD("persisted-frees", test_persisted_frees);
    ADD("torn-at-every-byte", test_torn_at_every_byte);
    ADD("flipped-bits", test_flipped_bits);
    ADD("quota", test_quota);
    ADD("one-owner", test_one_owner);
    ADD("vanished-folder", test_vanished_folder);
    ADD("hostile-files", test_hostile_files);
    ADD("tags", test_tags);
    ADD("two-readers", test_two_readers);
    ADD("concurrent", test_concurrent);
    return run_tests();
}
