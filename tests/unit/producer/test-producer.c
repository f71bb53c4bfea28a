/* The producer against a service that misbehaves (service.h). What that has persisted is parsed and
 * compared with what was put, frame by frame. */
#include "os/file.h"
#include "service.h"
#include <glib/gstdio.h>
#include <kvg/kvg.h>
#include <string.h>

#define GOP 25
#define FRAME_US 40000

/* ---- the camera ---- */

typedef struct {
    Service service;
    char *spool;
    KvgCredentials *credentials;
    KvgProducer *producer;
    KvgProducerOptions producer_options; /* beyond the usual */
    KvgStreamOptions options;
    KvgStream *stream;
    GPtrArray *sent; /* Frame */
    int64_t next_us;
} Fixture;

static void
start_producer(Fixture *x)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *endpoint = g_strdup_printf("http://127.0.0.1:%u", x->service.port);
    KvgProducerOptions options = x->producer_options;
    options.region = "us-east-1";
    options.endpoint = endpoint;
    options.spool_path = x->spool;
    x->producer = kvg_producer_new(&options, &error);
    g_assert_no_error(error);
    KvgStreamOptions stream = x->options;
    stream.name = "gate";
    stream.credentials = x->credentials;
    stream.create = true;
    stream.retention_hours = 24;
    x->stream = kvg_producer_open_stream(x->producer, &stream, &error);
    g_assert_no_error(error);
}

static void
set_up(Fixture *x, gconstpointer unused)
{
    service_init(&x->service);
    x->spool = g_dir_make_tmp("kvg-producer-XXXXXX", NULL);
    x->credentials = kvg_credentials_new_static("AKIDEXAMPLE", "secret", NULL);
    x->sent = g_ptr_array_new_with_free_func(frame_free);
    x->next_us = INT64_C(1700000000) * 1000000;
    service_start(&x->service);
}

static void
stop_producer(Fixture *x)
{
    if (x->stream != NULL)
        kvg_stream_close(x->stream, 0, NULL);
    x->stream = NULL;
    g_clear_pointer(&x->producer, kvg_producer_free);
}

static void
tear_down(Fixture *x, gconstpointer unused)
{
    stop_producer(x);
    service_stop(&x->service);
    service_clear(&x->service);
    kvg_credentials_unref(x->credentials);
    g_ptr_array_unref(x->sent);
    g_assert_true(kvg_dir_remove(x->spool, NULL));
    g_free(x->spool);
}

static void
set_tracks(Fixture *x, const char *avcc)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) private = g_bytes_new(avcc, strlen(avcc));
    const KvgTrack track = {.number = 1,
                            .type = KVG_TRACK_VIDEO,
                            .codec_id = "V_MPEG4/ISO/AVC",
                            .codec_private = private,
                            .width = 640,
                            .height = 360};
    g_assert_true(kvg_stream_set_tracks(x->stream, &track, 1, &error));
    g_assert_no_error(error);
}

/* Puts @n frames of very different sizes; every GOP-th is a key frame. */
static void
put_frames(Fixture *x, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        g_autoptr(GError) error = NULL;
        const size_t len = i % GOP == 0 ? 100000 + i : 1 + (i * 977) % 5000;
        uint8_t *data = g_malloc(len);
        memset(data, (int)(x->sent->len & 0xff), len);
        Frame *frame = g_new0(Frame, 1);
        *frame = (Frame){x->next_us / 1000, i % GOP == 0, g_bytes_new_take(data, len)};
        g_ptr_array_add(x->sent, frame);
        const KvgFrame put = {.track = 1,
                              .key = frame->key,
                              .pts_us = x->next_us,
                              .dts_us = x->next_us,
                              .duration_us = FRAME_US,
                              .data = frame->data};
        g_assert_true(kvg_stream_put_frame(x->stream, &put, &error));
        g_assert_no_error(error);
        x->next_us += FRAME_US;
    }
}

static void
close_stream(Fixture *x)
{
    g_autoptr(GError) error = NULL;
    const bool ok = kvg_stream_close(g_steal_pointer(&x->stream), WAIT_MS, &error);
    g_assert_no_error(error);
    g_assert_true(ok);
}

static int
compare_timecodes(const void *a, const void *b)
{
    const int64_t left = **(int64_t *const *)a, right = **(int64_t *const *)b;
    return left < right ? -1 : left > right;
}

/* What is persisted, in the order of timecodes, is exactly what was put, less [@without, +GOP). */
static void
expect_all_but(Fixture *x, unsigned without)
{
    guint n = 0;
    g_autofree int64_t **keys =
        (int64_t **)g_hash_table_get_keys_as_array(x->service.fragments, &n);
    qsort(keys, n, sizeof *keys, compare_timecodes);
    unsigned at = 0;
    for (guint i = 0; i < n; i++) {
        const GPtrArray *frames = g_hash_table_lookup(x->service.fragments, keys[i]);
        for (guint j = 0; j < frames->len; j++, at++) {
            if (at == without)
                at += GOP;
            const Frame *got = g_ptr_array_index(frames, j);
            g_assert_cmpuint(at, <, x->sent->len);
            const Frame *sent = g_ptr_array_index(x->sent, at);
            g_assert_cmpint(got->pts_ms, ==, sent->pts_ms);
            g_assert_cmpint(got->key, ==, sent->key);
            g_assert_true(g_bytes_equal(got->data, sent->data));
        }
    }
    g_assert_cmpuint(at, ==, x->sent->len);
}

static void
expect_all(Fixture *x)
{
    expect_all_but(x, UINT_MAX);
}

/* Waits until as many fragments are persisted. */
static void
wait_persisted(Fixture *x, uint64_t n, KvgStreamStats *stats)
{
    const int64_t until_us = g_get_monotonic_time() + WAIT_MS * 1000;
    do {
        kvg_stream_get_stats(x->stream, stats);
        if (stats->fragments_persisted >= n)
            return;
        g_usleep(5000);
    } while (g_get_monotonic_time() < until_us);
    g_test_message("%s: %s", kvg_stream_state_to_string(stats->state), stats->reason);
    g_assert_cmpuint(stats->fragments_persisted, >=, n);
}

/* ---- tests ---- */

static void
test_normal(Fixture *x, gconstpointer unused)
{
    x->service.missing = 1;
    start_producer(x);
    set_tracks(x, "avcc");
    put_frames(x, 10 * GOP + 7);
    KvgStreamStats stats;
    wait_persisted(x, 10, &stats);
    g_assert_cmpuint(stats.frames_put, ==, 10 * GOP + 7);
    g_assert_cmpuint(stats.frames_persisted, ==, 10 * GOP);
    g_assert_cmpuint(stats.media_ms_persisted, ==, 10000);
    g_assert_cmpuint(stats.frames_dropped, ==, 0);
    g_assert_cmpuint(stats.fragments_put, ==, 10);
    g_assert_cmpuint(stats.sessions, ==, 1);
    g_assert_cmpint(stats.state, ==, KVG_STREAM_STREAMING);
    g_assert_cmpint(stats.first_persisted_mono_us, >, 0);
    close_stream(x);
    expect_all(x);
    g_assert_cmpuint(x->service.n_create, ==, 1);
    g_assert_cmpuint(x->service.n_describe, ==, 2);
    g_assert_cmpuint(x->service.n_endpoint, ==, 1);
    g_assert_cmpuint(x->service.n_put, ==, 1);
}

static void
test_reset(Fixture *x, gconstpointer unused)
{
    x->service.reset_after = 3 * GOP + 10;
    start_producer(x);
    set_tracks(x, "avcc");
    put_frames(x, 6 * GOP);
    KvgStreamStats stats;
    wait_persisted(x, 5, &stats);
    g_assert_cmpuint(stats.sessions, >=, 2);
    g_assert_cmpuint(stats.frames_dropped, ==, 0);
    close_stream(x);
    expect_all(x);
}

static void
test_resend(Fixture *x, gconstpointer unused)
{
    x->service.error_timecode = x->next_us / 1000 + 2000;
    x->service.error_id = 5000;
    start_producer(x);
    set_tracks(x, "avcc");
    put_frames(x, 5 * GOP);
    close_stream(x);
    expect_all(x);
    g_assert_cmpuint(x->service.n_put, ==, 2);
}

static void
test_refused_fragment(Fixture *x, gconstpointer unused)
{
    x->service.error_timecode = x->next_us / 1000 + 2000;
    x->service.error_id = 4002;
    start_producer(x);
    set_tracks(x, "avcc");
    put_frames(x, 5 * GOP + 1);
    KvgStreamStats stats;
    wait_persisted(x, 4, &stats);
    g_assert_cmpuint(stats.frames_dropped, ==, GOP);
    g_assert_cmpuint(stats.fragments_dropped, ==, 1);
    close_stream(x);
    expect_all_but(x, 2 * GOP);
}

static void
test_forbidden_first(Fixture *x, gconstpointer unused)
{
    x->service.refuse = 1;
    start_producer(x);
    set_tracks(x, "avcc");
    put_frames(x, 3 * GOP);
    close_stream(x);
    expect_all(x);
    g_assert_cmpuint(x->service.n_put, ==, 1);
}

static void
test_down_then_up(Fixture *x, gconstpointer unused)
{
    service_stop(&x->service);
    start_producer(x);
    set_tracks(x, "avcc");
    put_frames(x, 4 * GOP);
    KvgStreamStats stats;
    do {
        g_usleep(5000);
        kvg_stream_get_stats(x->stream, &stats);
    } while (stats.state != KVG_STREAM_WAITING);
    g_assert_cmpstr(stats.reason, !=, "");
    service_start(&x->service);
    wait_persisted(x, 3, &stats);
    /* Once more, in mid-stream. */
    service_stop(&x->service);
    put_frames(x, 4 * GOP);
    service_start(&x->service);
    wait_persisted(x, 7, &stats);
    g_assert_cmpuint(stats.frames_dropped, ==, 0);
    close_stream(x);
    expect_all(x);
}

static void
test_restart(Fixture *x, gconstpointer unused)
{
    g_autoptr(GError) error = NULL;
    service_stop(&x->service);
    start_producer(x);
    set_tracks(x, "avcc");
    put_frames(x, 3 * GOP);
    g_assert_false(kvg_stream_close(g_steal_pointer(&x->stream), 0, &error));
    g_assert_error(error, KVG_ERROR, KVG_ERROR_RETRY);
    stop_producer(x);
    service_start(&x->service);
    start_producer(x);
    set_tracks(x, "avcc");
    put_frames(x, 2 * GOP);
    close_stream(x);
    expect_all(x);
}

/* One PutMedia request has one header: other tracks get a request of their own. */
static void
test_new_tracks(Fixture *x, gconstpointer unused)
{
    start_producer(x);
    set_tracks(x, "avcc");
    put_frames(x, 2 * GOP);
    const int64_t change_ms = x->next_us / 1000;
    set_tracks(x, "other avcc");
    put_frames(x, 2 * GOP);
    close_stream(x);
    expect_all(x);
    g_assert_cmpuint(x->service.n_put, ==, 2);
    GBytes *before = g_hash_table_lookup(x->service.headers, &(int64_t){change_ms - 1000});
    GBytes *after = g_hash_table_lookup(x->service.headers, &(int64_t){change_ms});
    g_assert_nonnull(before);
    g_assert_nonnull(after);
    g_assert_false(g_bytes_equal(before, after));
}

static void
test_invalid(Fixture *x, gconstpointer unused)
{
    g_autoptr(GError) error = NULL;
    start_producer(x);
    const KvgStreamOptions bad = {.name = "../gate", .credentials = x->credentials};
    g_assert_null(kvg_producer_open_stream(x->producer, &bad, &error));
    g_assert_error(error, KVG_ERROR, KVG_ERROR_INVALID);
    g_clear_error(&error);
    const KvgStreamOptions again = {.name = "gate", .credentials = x->credentials};
    g_assert_null(kvg_producer_open_stream(x->producer, &again, &error));
    g_assert_error(error, KVG_ERROR, KVG_ERROR_INVALID);
    g_clear_error(&error);
    set_tracks(x, "avcc");
    g_autoptr(GBytes) empty = g_bytes_new(NULL, 0);
    g_autoptr(GBytes) some = g_bytes_new("x", 1);
    const KvgFrame frames[] = {{.track = 1, .data = empty}, {.track = 9, .data = some}};
    for (size_t i = 0; i < G_N_ELEMENTS(frames); i++) {
        g_assert_false(kvg_stream_put_frame(x->stream, &frames[i], &error));
        g_assert_error(error, KVG_ERROR, KVG_ERROR_INVALID);
        g_clear_error(&error);
    }
    KvgStreamStats stats;
    kvg_stream_get_stats(x->stream, &stats);
    g_assert_cmpuint(stats.frames_dropped, ==, 2);
    close_stream(x);
}

/* A camera that never delivered anything: no session, and closing does not wait. */
static void
test_nothing(Fixture *x, gconstpointer unused)
{
    start_producer(x);
    set_tracks(x, "avcc");
    close_stream(x);
    g_assert_cmpuint(x->service.n_put, ==, 0);
}

/* The limits of the service are ours, and say what is wrong. */
static void
test_metadata_limits(Fixture *x, gconstpointer unused)
{
    g_autofree char *long_name = g_strnfill(129, 'n');
    g_autofree char *long_value = g_strnfill(257, 'v');
    const struct {
        const char *name, *value, *text;
    } bad[] = {
        {"", "v", "1 to 128"},
        {long_name, "v", "1 to 128"},
        {"n", long_value, "at most 256"},
        {"n\xff", "v", "UTF-8"},
        {"n", "\xc0", "UTF-8"},
        {"AWS_KINESISVIDEO_END_OF_FRAGMENT", "", "service's own"},
        {"awsome", "v", "service's own"},
    };
    start_producer(x);
    set_tracks(x, "avcc");
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_false(
            kvg_stream_put_metadata(x->stream, bad[i].name, bad[i].value, false, &error));
        g_assert_error(error, KVG_ERROR, KVG_ERROR_INVALID);
        g_assert_nonnull(strstr(error->message, bad[i].text));
    }
    g_autoptr(GError) error = NULL;
    put_frames(x, 1);
    for (unsigned i = 0; i < 9; i++) {
        g_autofree char *name = g_strdup_printf("n%u", i);
        g_assert_true(kvg_stream_put_metadata(x->stream, name, "v", false, &error));
    }
    g_assert_false(kvg_stream_put_metadata(x->stream, "tenth", "v", false, &error));
    g_assert_error(error, KVG_ERROR, KVG_ERROR_INVALID);
    close_stream(x);
}

/* ---- one session follows another, pauses, clocks, backlogs ---- */

static const char *
tags_of(Fixture *x, int64_t timecode_ms)
{
    const GString *tags = g_hash_table_lookup(x->service.tags, &timecode_ms);
    g_assert_nonnull(tags);
    return tags->str;
}

static void
put_metadata(Fixture *x, const char *name, const char *value, bool persistent)
{
    g_autoptr(GError) error = NULL;
    g_assert_true(kvg_stream_put_metadata(x->stream, name, value, persistent, &error));
    g_assert_no_error(error);
}

/* Metadata labels the fragment that is being recorded, or the next one; persistent ones all. */
static void
test_metadata(Fixture *x, gconstpointer unused)
{
    const int64_t start_ms = x->next_us / 1000;
    start_producer(x);
    set_tracks(x, "avcc");
    put_metadata(x, "before", "first", false);
    put_metadata(x, "site", "north", true);
    put_frames(x, GOP - 5);
    put_metadata(x, "gate", "open", false);
    put_frames(x, 5);
    put_frames(x, GOP);
    put_metadata(x, "site", "", true);
    put_frames(x, GOP);
    close_stream(x);
    expect_all(x);
    g_assert_cmpstr(tags_of(x, start_ms), ==, "before=first;site=north;gate=open;");
    g_assert_cmpstr(tags_of(x, start_ms + 1000), ==, "site=north;");
    g_assert_cmpstr(tags_of(x, start_ms + 2000), ==, "");
}

/* A camera that pauses in the middle of a GOP: what it sent is persisted without waiting for more,
 * and what comes later is not lost. */
static void
test_pause(Fixture *x, gconstpointer unused)
{
    x->options.pause_ms = 1000;
    start_producer(x);
    set_tracks(x, "avcc");
    const int64_t start_ms = x->next_us / 1000;
    put_frames(x, 10);
    put_metadata(x, "a", "1", false);
    KvgStreamStats stats;
    const int64_t until_us = g_get_monotonic_time() + WAIT_MS * 1000;
    do {
        g_usleep(5000);
        kvg_stream_get_stats(x->stream, &stats);
    } while (stats.acks_persisted == 0 && g_get_monotonic_time() < until_us);
    g_assert_cmpuint(stats.acks_persisted, ==, 1);
    g_assert_cmpuint(stats.sessions, ==, 1);
    g_assert_cmpuint(stats.fragments_persisted, ==, 0);
    put_frames(x, 1); /* the first of a new GOP would be a key frame; this one is no fragment's */
    x->next_us += 5000000;
    put_frames(x, GOP);
    wait_persisted(x, 1, &stats);
    g_assert_cmpuint(stats.sessions, ==, 1);
    close_stream(x);
    g_assert_cmpstr(tags_of(x, start_ms), ==, "a=1;AWS_KINESISVIDEO_END_OF_FRAGMENT=;");
    expect_all(x);
}

/* Nobody is there, not even a name for the stream: everything is kept, and goes up later. */
static void
test_offline_first(Fixture *x, gconstpointer unused)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = g_build_filename(x->spool, "keys", NULL);
    kvg_credentials_unref(x->credentials);
    x->credentials = kvg_credentials_new_file(path);
    x->service.missing = 1;
    service_stop(&x->service);
    start_producer(x);
    set_tracks(x, "avcc");
    put_frames(x, 4 * GOP);
    KvgStreamStats stats;
    do {
        g_usleep(5000);
        kvg_stream_get_stats(x->stream, &stats);
    } while (stats.failures == 0);
    g_assert_nonnull(strstr(stats.reason, "keys"));
    g_assert_cmpuint(stats.frames_put, ==, 4 * GOP);
    g_assert_cmpuint(stats.spool_fragments, ==, 4);
    service_start(&x->service);
    g_assert_true(g_file_set_contents(path, "CREDENTIALS AKIDEXAMPLE secret", -1, &error));
    wait_persisted(x, 3, &stats);
    close_stream(x);
    expect_all(x);
    g_assert_cmpuint(x->service.n_create, ==, 1);
    g_assert_cmpint(g_unlink(path), ==, 0);
}

/* A clock an hour off: one refusal in the control plane, none at PutMedia, and no waiting. */
static void
test_clock(Fixture *x, gconstpointer data)
{
    x->service.clock_ms = GPOINTER_TO_INT(data) * INT64_C(1000);
    start_producer(x);
    set_tracks(x, "avcc");
    put_frames(x, 3 * GOP);
    KvgStreamStats stats;
    wait_persisted(x, 2, &stats);
    g_assert_cmpuint(stats.clock_corrections, ==, 1);
    g_assert_cmpint(ABS(stats.clock_offset_ms - x->service.clock_ms), <, 5000);
    close_stream(x);
    expect_all(x);
    g_assert_cmpuint(x->service.n_skewed, ==, 1);
}

/* Credentials run out: the next session is open beside the first one before it takes over. */
static void
test_rotation(Fixture *x, gconstpointer unused)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = g_build_filename(x->spool, "keys", NULL);
    for (int i = 0; i < 2; i++) {
        g_autoptr(GDateTime) now = g_date_time_new_now_utc();
        g_autoptr(GDateTime) end = g_date_time_add_seconds(now, i == 0 ? 39 : 3600);
        g_autofree char *date = g_date_time_format(end, "%Y-%m-%dT%H:%M:%SZ");
        g_autofree char *text = g_strdup_printf("CREDENTIALS KEY%d %s secret token", i, date);
        g_assert_true(g_file_set_contents(path, text, -1, &error));
        if (i > 0)
            break;
        kvg_credentials_unref(x->credentials);
        x->credentials = kvg_credentials_new_file(path);
        start_producer(x);
        set_tracks(x, "avcc");
        put_frames(x, GOP + 1);
        KvgStreamStats stats;
        wait_persisted(x, 1, &stats);
    }
    KvgStreamStats stats;
    const int64_t until_us = g_get_monotonic_time() + WAIT_MS * 1000;
    do {
        put_frames(x, GOP);
        g_usleep(100000);
        kvg_stream_get_stats(x->stream, &stats);
    } while (stats.session_ends[KVG_STREAM_END_ROTATED] == 0 && g_get_monotonic_time() < until_us);
    close_stream(x);
    expect_all(x);
    g_assert_cmpuint(stats.session_ends[KVG_STREAM_END_ROTATED], ==, 1);
    g_assert_cmpuint(stats.failures, ==, 0);
    g_assert_cmpuint(stats.fragments_resent, ==, 0);
    g_assert_cmpuint(x->service.n_put, ==, 2);
    g_assert_cmpuint(x->service.max_open, ==, 2);
    g_assert_cmpint(g_unlink(path), ==, 0);
}

/* A backlog from an earlier process. */
static void
make_backlog(Fixture *x, unsigned n_fragments)
{
    service_stop(&x->service);
    start_producer(x);
    set_tracks(x, "avcc");
    put_frames(x, n_fragments * GOP);
    stop_producer(x);
    service_start(&x->service);
}

/* The newest first, the rest behind it; with a service that allows one connection, in turns. */
static void
test_live_first(Fixture *x, gconstpointer data)
{
    make_backlog(x, 30);
    x->options.catch_up = KVG_CATCH_UP_LIVE_FIRST;
    x->service.max_calls = GPOINTER_TO_UINT(data);
    start_producer(x);
    set_tracks(x, "avcc");
    const int64_t live_ms = x->next_us / 1000;
    KvgStreamStats stats;
    const int64_t until_us = g_get_monotonic_time() + WAIT_MS * 1000;
    do {
        put_frames(x, GOP);
        g_usleep(50000);
        kvg_stream_get_stats(x->stream, &stats);
    } while ((stats.fragments_persisted < 31 || stats.session_ends[KVG_STREAM_END_BACKLOG] == 0) &&
             g_get_monotonic_time() < until_us);
    g_assert_cmpuint(stats.session_ends[KVG_STREAM_END_BACKLOG], >, 0);
    g_assert_cmpint(g_array_index(x->service.order, int64_t, 0), >=, live_ms - 1000);
    close_stream(x);
    expect_all(x);
    g_assert_cmpuint(stats.frames_dropped, ==, 0);
    g_assert_cmpuint(x->service.max_open, ==, x->service.max_calls != 0 ? 1 : 2);
}

/* The limit holds for the backlog, and what is live is not held up by it. */
static void
test_bandwidth(Fixture *x, gconstpointer unused)
{
    make_backlog(x, 20); /* 3 MB */
    x->options.backlog_bps = 16000000;
    start_producer(x);
    const int64_t begin_us = g_get_monotonic_time();
    KvgStreamStats stats;
    wait_persisted(x, 19, &stats);
    const double seconds = (double)(g_get_monotonic_time() - begin_us) / 1e6;
    const double rate_bps = (double)stats.bytes_sent * 8 / seconds;
    g_test_message("%.0f bit/s", rate_bps);
    g_assert_cmpfloat(rate_bps, <, 24000000);
    set_tracks(x, "avcc");
    put_frames(x, 20 * GOP); /* live: as fast as it comes */
    close_stream(x);
    expect_all(x);
}

/* ---- holding ---- */

static void
release(Fixture *x, const char *id, int64_t from_ms, int64_t to_ms)
{
    g_autoptr(GError) error = NULL;
    const KvgTimeRange range = {from_ms, to_ms};
    g_assert_true(kvg_stream_release(x->stream, id, &range, &error));
    g_assert_no_error(error);
}

static KvgRelease
wait_release_done(Fixture *x, const char *id)
{
    const int64_t until_us = g_get_monotonic_time() + WAIT_MS * 1000;
    while (g_get_monotonic_time() < until_us) {
        size_t n;
        g_autofree KvgRelease *list = kvg_stream_list_releases(x->stream, &n);
        for (size_t i = 0; i < n; i++) {
            if (strcmp(list[i].id, id) == 0 && list[i].is_done)
                return list[i];
        }
        g_usleep(5000);
    }
    g_error("release '%s' is not done", id);
}

static void
wait_state(Fixture *x, KvgStreamState state)
{
    KvgStreamStats stats;
    const int64_t until_us = g_get_monotonic_time() + WAIT_MS * 1000;
    do {
        kvg_stream_get_stats(x->stream, &stats);
        g_usleep(5000);
    } while (stats.state != state && g_get_monotonic_time() < until_us);
    g_assert_cmpstr(kvg_stream_state_to_string(stats.state), ==, kvg_stream_state_to_string(state));
}

/* The seconds since the first frame of what has been persisted, in the order in which it came. */
static void
expect_order(Fixture *x, const char *expected)
{
    GString *order = g_string_new(NULL);
    pthread_mutex_lock(&x->service.lock);
    for (guint i = 0; i < x->service.order->len; i++)
        g_string_append_printf(
            order, "%s%d", i > 0 ? " " : "",
            (int)(g_array_index(x->service.order, int64_t, i) / 1000 - INT64_C(1700000000)));
    pthread_mutex_unlock(&x->service.lock);
    g_assert_cmpstr(order->str, ==, expected);
    g_string_free(order, TRUE);
}

static const int64_t t0_ms = INT64_C(1700000000) * 1000;

/* Nothing is connected until a range is asked for; that, and nothing else, goes up with its own
 * times; one before it in a session of its own; and nothing is connected again. */
static void
test_hold(Fixture *x, gconstpointer unused)
{
    x->options.hold = true;
    start_producer(x);
    set_tracks(x, "avcc");
    put_frames(x, 20 * GOP);
    wait_state(x, KVG_STREAM_HOLDING);
    g_usleep(200000);
    g_assert_cmpuint(x->service.n_describe + x->service.n_endpoint + x->service.n_put, ==, 0);
    KvgStreamStats stats;
    kvg_stream_get_stats(x->stream, &stats);
    g_assert_cmpuint(stats.held_fragments, ==, 20);
    g_assert_cmpuint(stats.spool_bytes, ==, 0);
    g_assert_cmpint(stats.credentials_expire_wall_ms, ==, 0);

    release(x, "a", t0_ms + 10000, t0_ms + 13000);
    g_assert_cmpuint(wait_release_done(x, "a").fragments, ==, 3);
    release(x, "b", t0_ms + 2500, t0_ms + 3500);
    g_assert_cmpuint(wait_release_done(x, "b").fragments, ==, 2);
    expect_order(x, "10 11 12 2 3");
    wait_state(x, KVG_STREAM_HOLDING);
    g_assert_cmpuint(x->service.n_put, ==, 2);
    kvg_stream_get_stats(x->stream, &stats);
    g_assert_cmpuint(stats.frames_persisted, ==, 5 * GOP);
    g_assert_cmpuint(stats.frames_dropped + stats.frames_not_asked_for, ==, 0);
    g_assert_cmpuint(stats.held_fragments, ==, 15);

    /* The rest as one range: what has gone up is not sent again. */
    release(x, "rest", t0_ms, t0_ms + 60000);
    close_stream(x);
    expect_all(x);
    expect_order(x, "10 11 12 2 3 0 1 4 5 6 7 8 9 13 14 15 16 17 18 19");
}

/* An event: from what was recorded before it to what comes after it, live, then no more. */
static void
test_hold_event(Fixture *x, gconstpointer unused)
{
    const int64_t now_ms = g_get_real_time() / 1000;
    x->next_us = (now_ms - 8000) * 1000;
    x->options.hold = true;
    start_producer(x);
    set_tracks(x, "avcc");
    put_frames(x, 8 * GOP);
    release(x, "door", now_ms - 2500, now_ms + 2500);
    for (unsigned i = 0; i < 8; i++) { /* each arrives while the session is open */
        put_frames(x, GOP);
        g_usleep(50000);
    }
    const KvgRelease door = wait_release_done(x, "door");
    g_assert_cmpuint(door.fragments, ==, 6);
    g_assert_cmpuint(door.n_missing, ==, 0);
    wait_state(x, KVG_STREAM_HOLDING);
    g_assert_cmpuint(x->service.n_put, ==, 1);
    g_assert_cmpuint(g_hash_table_size(x->service.fragments), ==, 6);
    g_assert_true(g_hash_table_contains(x->service.fragments, &(int64_t){now_ms - 3000}));
    g_assert_true(g_hash_table_contains(x->service.fragments, &(int64_t){now_ms + 2000}));
    close_stream(x);
}

/* Asked for while there is no network; the process ends; the next one uploads it. */
static void
test_hold_restart(Fixture *x, gconstpointer unused)
{
    service_stop(&x->service);
    x->options.hold = true;
    start_producer(x);
    set_tracks(x, "avcc");
    put_frames(x, 10 * GOP);
    release(x, "a", t0_ms + 4000, t0_ms + 6000);
    g_autoptr(GError) error = NULL;
    g_assert_false(kvg_stream_close(g_steal_pointer(&x->stream), 0, &error));
    g_assert_error(error, KVG_ERROR, KVG_ERROR_RETRY);
    stop_producer(x);
    service_start(&x->service);
    start_producer(x);
    const KvgRelease a = wait_release_done(x, "a");
    g_assert_cmpuint(a.fragments, ==, 2);
    expect_order(x, "4 5");
    size_t n;
    g_autofree KvgTimeRange *held = kvg_stream_list_held(x->stream, &n);
    g_assert_cmpuint(n, ==, 2);
    g_assert_cmpint(held[0].from_wall_ms, ==, t0_ms);
    g_assert_cmpint(held[0].to_wall_ms, ==, t0_ms + 4000);
    g_assert_cmpint(held[1].to_wall_ms, ==, t0_ms + 10000);
    close_stream(x);
    expect_order(x, "4 5");
}

static void
test_hold_keep(Fixture *x, gconstpointer unused)
{
    x->options.hold = true;
    x->options.hold_keep_ms = 300;
    start_producer(x);
    set_tracks(x, "avcc");
    put_frames(x, 4 * GOP);
    KvgStreamStats stats;
    const int64_t until_us = g_get_monotonic_time() + WAIT_MS * 1000;
    do {
        g_usleep(10000);
        kvg_stream_get_stats(x->stream, &stats);
    } while (stats.fragments_not_asked_for < 3 && g_get_monotonic_time() < until_us);
    g_assert_cmpuint(stats.frames_not_asked_for, ==, 3 * GOP); /* the fourth is open */
    g_assert_cmpuint(stats.frames_dropped, ==, 0);
    close_stream(x); /* waits for nothing */
    g_assert_cmpuint(x->service.n_put, ==, 0);
}

static void
test_hold_not(Fixture *x, gconstpointer unused)
{
    start_producer(x);
    g_autoptr(GError) error = NULL;
    const KvgTimeRange range = {1, 2};
    g_assert_false(kvg_stream_release(x->stream, "a", &range, &error));
    g_assert_error(error, KVG_ERROR, KVG_ERROR_INVALID);
    g_assert_nonnull(strstr(error->message, "stream 'gate'"));
}

#define ADD(path, function)                                                                        \
    g_test_add("/producer/" path, Fixture, NULL, set_up, function, tear_down)

#define ADD_DATA(path, number, function)                                                           \
    g_test_add("/producer/" path, Fixture, GINT_TO_POINTER(number), set_up, function, tear_down)

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    /* Warnings are what these tests provoke. */
    g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_ERROR);
    ADD("normal", test_normal);
    ADD("reset", test_reset);
    ADD("resend", test_resend);
    ADD("refused-fragment", test_refused_fragment);
    ADD("forbidden-first", test_forbidden_first);
    ADD("down-then-up", test_down_then_up);
    ADD("restart", test_restart);
    ADD("new-tracks", test_new_tracks);
    ADD("invalid", test_invalid);
    ADD("nothing", test_nothing);
    ADD("metadata-limits", test_metadata_limits);
    ADD("metadata", test_metadata);
    ADD("pause", test_pause);
    ADD("offline-first", test_offline_first);
    ADD_DATA("clock/ahead", 3600, test_clock);
    ADD_DATA("clock/behind", -3600, test_clock);
    ADD("rotation", test_rotation);
    ADD_DATA("live-first/beside", 0, test_live_first);
    ADD_DATA("live-first/in-turn", 1, test_live_first);
    ADD("bandwidth", test_bandwidth);
    ADD("hold", test_hold);
    ADD("hold/event", test_hold_event);
    ADD("hold/restart", test_hold_restart);
    ADD("hold/keep", test_hold_keep);
    ADD("hold/not", test_hold_not);
    return g_test_run();
}
