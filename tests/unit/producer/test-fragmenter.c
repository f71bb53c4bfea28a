/* Where fragments begin, and what becomes of bad timestamps. */
#include "producer/fragmenter.h"

#define START_US (INT64_C(1700000000) * 1000000)
#define FRAME_US 40000

static const KvgTrack video = {.number = 1, .type = KVG_TRACK_VIDEO, .codec_id = "V_MPEG4/ISO/AVC"};
static const KvgTrack audio = {.number = 2, .type = KVG_TRACK_AUDIO, .codec_id = "A_AAC"};

typedef struct {
    KvgFragmenter f;
    GBytes *data;
    KvgFrame last;
} Fixture;

static void
set_up(Fixture *x, gconstpointer unused)
{
    static const uint8_t bytes[100];
    x->data = g_bytes_new_static(bytes, sizeof bytes);
    kvg_fragmenter_init(&x->f, false, 0, 0);
    g_assert_true(kvg_fragmenter_set_tracks(&x->f, &video, 1));
}

static void
tear_down(Fixture *x, gconstpointer unused)
{
    kvg_fragmenter_clear(&x->f);
    g_bytes_unref(x->data);
}

static KvgFragmenterVerdict
put(Fixture *x, uint8_t track, int64_t at_us, bool key)
{
    x->last =
        (KvgFrame){.track = track, .key = key, .pts_us = at_us, .dts_us = at_us, .data = x->data};
    return kvg_fragmenter_put(&x->f, &x->last);
}

static void
test_before_key(Fixture *x, gconstpointer unused)
{
    g_assert_cmpint(put(x, 1, START_US, false), ==, KVG_FRAGMENTER_LEAVE_OUT);
    g_assert_cmpint(put(x, 1, START_US + FRAME_US, true), ==, KVG_FRAGMENTER_BEGIN);
    g_assert_cmpint(x->f.timecode_ms, ==, (START_US + FRAME_US) / 1000);
    g_assert_cmpint(put(x, 1, START_US + 2 * FRAME_US, false), ==, KVG_FRAGMENTER_CONTINUE);
}

/* Five fragments a second are allowed: I-frames only at 25 a second make five. */
static void
test_all_keys(Fixture *x, gconstpointer unused)
{
    unsigned n = 0;
    for (int i = 0; i < 100; i++)
        n += put(x, 1, START_US + i * FRAME_US, true) == KVG_FRAGMENTER_BEGIN;
    g_assert_cmpuint(n, ==, 20);
    g_assert_cmpuint(x->f.repaired, ==, 0);
}

static void
test_by_time(Fixture *x, gconstpointer unused)
{
    kvg_fragmenter_init(&x->f, true, 2000, 0);
    g_assert_true(kvg_fragmenter_set_tracks(&x->f, &video, 1));
    for (int i = 0; i < 250; i++) {
        const bool begins = put(x, 1, START_US + i * FRAME_US, i % 25 == 0) == KVG_FRAGMENTER_BEGIN;
        g_assert_cmpint(begins, ==, i % 50 == 0);
    }
}

static void
test_long_gop(Fixture *x, gconstpointer unused)
{
    int64_t last_ms = 0;
    for (int i = 0; i < 60 * 25; i++) {
        if (put(x, 1, START_US + i * FRAME_US, i == 0) == KVG_FRAGMENTER_BEGIN) {
            g_assert_cmpint(x->f.timecode_ms, >, last_ms);
            last_ms = x->f.timecode_ms;
        }
        g_assert_cmpint(x->last.pts_us / 1000 - x->f.timecode_ms, <, KVG_FRAGMENT_MAX_MS);
    }
    g_assert_cmpuint(x->f.forced, ==, 3);
}

static void
test_large(Fixture *x, gconstpointer unused)
{
    g_bytes_unref(x->data);
    x->data = g_bytes_new_take(g_malloc0(20000000), 20000000);
    g_assert_cmpint(put(x, 1, START_US, true), ==, KVG_FRAGMENTER_BEGIN);
    g_assert_cmpint(put(x, 1, START_US + 1 * FRAME_US, false), ==, KVG_FRAGMENTER_CONTINUE);
    g_assert_cmpint(put(x, 1, START_US + 2 * FRAME_US, false), ==, KVG_FRAGMENTER_BEGIN);
}

/* Equal and slightly backward times are squeezed, and the timeline is the camera's again after. */
static void
test_jitter(Fixture *x, gconstpointer unused)
{
    put(x, 1, START_US, true);
    put(x, 1, START_US, false);
    g_assert_cmpint(x->last.dts_us, ==, START_US + 1000);
    put(x, 1, START_US - 500000, false);
    g_assert_cmpint(x->last.dts_us, ==, START_US + 2000);
    put(x, 1, START_US + FRAME_US, false);
    g_assert_cmpint(x->last.dts_us, ==, START_US + FRAME_US);
    g_assert_cmpuint(x->f.repaired, ==, 2);
}

/* A clock set back by 10 s loses no frame; when it has caught up its times count again. */
static void
test_back_10_s(Fixture *x, gconstpointer unused)
{
    put(x, 1, START_US, true);
    put(x, 1, START_US + FRAME_US, false);
    int64_t last_us = x->last.dts_us;
    for (int i = 2; i < 400; i++) {
        g_assert_cmpint(put(x, 1, START_US + i * FRAME_US - 10000000, i % 25 == 0), !=,
                        KVG_FRAGMENTER_LEAVE_OUT);
        g_assert_cmpint(x->last.dts_us, >, last_us);
        g_assert_cmpint(x->last.dts_us, <=, last_us + FRAME_US + 1000);
        last_us = x->last.dts_us;
    }
    put(x, 1, START_US + 100 * 1000000, false);
    g_assert_cmpint(x->last.dts_us, ==, START_US + 100 * 1000000);
}

static void
test_jump_ahead(Fixture *x, gconstpointer unused)
{
    put(x, 1, START_US, true);
    g_assert_cmpint(put(x, 1, START_US + 7200 * INT64_C(1000000), false), ==, KVG_FRAGMENTER_BEGIN);
    g_assert_cmpuint(x->f.forced, ==, 1);
}

static void
test_missing_times(Fixture *x, gconstpointer unused)
{
    put(x, 1, START_US, true);
    put(x, 1, START_US + FRAME_US, false);
    put(x, 1, INT64_MIN, false);
    g_assert_cmpint(x->last.dts_us, ==, START_US + 2 * FRAME_US);
    put(x, 1, INT64_MAX, false);
    g_assert_cmpint(x->last.pts_us, ==, START_US + 3 * FRAME_US);
    g_assert_cmpuint(x->f.repaired, ==, 2);
}

/* B-frames: presentation goes back and forth, decoding does not; nothing to repair. */
static void
test_b_frames(Fixture *x, gconstpointer unused)
{
    static const int order[] = {0, 3, 1, 2, 6, 4, 5};
    for (size_t i = 0; i < G_N_ELEMENTS(order); i++) {
        KvgFrame frame = {.track = 1,
                          .key = i == 0,
                          .dts_us = START_US + (int64_t)i * FRAME_US,
                          .pts_us = START_US + (order[i] + 2) * FRAME_US,
                          .data = x->data};
        kvg_fragmenter_put(&x->f, &frame);
        g_assert_cmpint(frame.pts_us, ==, START_US + (order[i] + 2) * FRAME_US);
    }
    g_assert_cmpuint(x->f.repaired, ==, 0);
    g_assert_cmpint(x->f.latest_ms, ==, (START_US + 8 * FRAME_US) / 1000);
}

static void
test_audio_does_not_lead(Fixture *x, gconstpointer unused)
{
    const KvgTrack both[] = {video, audio};
    g_assert_true(kvg_fragmenter_set_tracks(&x->f, both, 2));
    g_assert_cmpint(put(x, 2, START_US, true), ==, KVG_FRAGMENTER_LEAVE_OUT);
    g_assert_cmpint(put(x, 1, START_US, true), ==, KVG_FRAGMENTER_BEGIN);
    g_assert_cmpint(put(x, 2, START_US + 1000000, true), ==, KVG_FRAGMENTER_CONTINUE);
    /* The next picture is earlier than the sound already sent: its fragment must still be later. */
    g_assert_cmpint(put(x, 1, START_US + 990000, true), ==, KVG_FRAGMENTER_BEGIN);
    g_assert_cmpint(x->f.timecode_ms, ==, START_US / 1000 + 1001);
}

static void
test_new_tracks(Fixture *x, gconstpointer unused)
{
    put(x, 1, START_US, true);
    g_assert_true(kvg_fragmenter_set_tracks(&x->f, &video, 1));
    g_assert_cmpint(put(x, 1, START_US + FRAME_US, false), ==, KVG_FRAGMENTER_LEAVE_OUT);
    g_assert_cmpint(put(x, 1, START_US + 2 * FRAME_US, true), ==, KVG_FRAGMENTER_BEGIN);
    g_assert_false(kvg_fragmenter_set_tracks(&x->f, &video, 0));
}

/* After a restart with a clock that is behind, timecodes still grow. */
static void
test_after_restart(Fixture *x, gconstpointer unused)
{
    kvg_fragmenter_init(&x->f, false, 0, START_US / 1000 + 5000);
    g_assert_true(kvg_fragmenter_set_tracks(&x->f, &video, 1));
    g_assert_cmpint(put(x, 1, START_US, true), ==, KVG_FRAGMENTER_BEGIN);
    g_assert_cmpint(x->f.timecode_ms, ==, START_US / 1000 + 5001);
}

/* Audio alone: every frame is a key frame, so time decides. */
static void
test_audio_only(Fixture *x, gconstpointer unused)
{
    g_assert_true(kvg_fragmenter_set_tracks(&x->f, &audio, 1));
    unsigned n = 0;
    for (int i = 0; i < 500; i++)
        n += put(x, 2, START_US + i * 20000, true) == KVG_FRAGMENTER_BEGIN;
    g_assert_cmpuint(n, ==, 6); /* 10 s in fragments of 2 s, each a frame early */
}

/* A microphone that stops: each fragment that lacks it gets silence, within its own times. */
static void
test_stand_in(Fixture *x, gconstpointer unused)
{
    static const uint8_t law[18] = {7, 0, 1, 0};
    g_autoptr(GBytes) private = g_bytes_new_static(law, sizeof law);
    const KvgTrack both[] = {video,
                             {.number = 2,
                              .type = KVG_TRACK_AUDIO,
                              .codec_id = "A_MS/ACM",
                              .codec_private = private,
                              .channels = 1}};
    KvgFrame filler;
    g_assert_true(kvg_fragmenter_set_tracks(&x->f, both, 2));
    put(x, 1, START_US, true);
    put(x, 2, START_US + 10000, true);
    g_assert_cmpint(put(x, 1, START_US + 1000000, true), ==, KVG_FRAGMENTER_BEGIN);
    g_assert_false(kvg_fragmenter_take_stand_in(&x->f, &filler));
    put(x, 1, START_US + 1500000, false);
    g_assert_cmpint(put(x, 1, START_US + 2000000, true), ==, KVG_FRAGMENTER_BEGIN);
    g_assert_true(kvg_fragmenter_take_stand_in(&x->f, &filler));
    g_assert_cmpuint(filler.track, ==, 2);
    g_assert_cmpint(filler.pts_us, ==, START_US + 1500000);
    g_assert_cmpint(*(const uint8_t *)g_bytes_get_data(filler.data, NULL), ==, 0xff);
    g_assert_false(kvg_fragmenter_take_stand_in(&x->f, &filler));
    /* The last fragment, too. */
    kvg_fragmenter_break(&x->f);
    g_assert_true(kvg_fragmenter_take_stand_in(&x->f, &filler));
    g_assert_false(kvg_fragmenter_take_stand_in(&x->f, &filler));
}

/* A codec whose silence is not known repeats its last frame. */
static void
test_stand_in_unknown(Fixture *x, gconstpointer unused)
{
    const KvgTrack both[] = {video, audio};
    KvgFrame filler;
    g_assert_true(kvg_fragmenter_set_tracks(&x->f, both, 2));
    put(x, 1, START_US, true);
    kvg_fragmenter_break(&x->f);
    g_assert_false(kvg_fragmenter_take_stand_in(&x->f, &filler)); /* nothing to repeat yet */
    put(x, 1, START_US + 1000000, true);
    put(x, 2, START_US + 1010000, true);
    put(x, 1, START_US + 2000000, true);
    put(x, 1, START_US + 3000000, true);
    g_assert_true(kvg_fragmenter_take_stand_in(&x->f, &filler));
    g_assert_true(filler.data == x->data);
}

/* A GOP of a minute with two B-frames: no frame is as early as the latest of the fragment before.
 */
static void
test_long_gop_b_frames(Fixture *x, gconstpointer unused)
{
    static const int order[] = {2, 0, 1};
    int64_t latest_ms = -1, before_ms = -1;
    for (int i = 0; i < 60 * 25; i++) {
        KvgFrame frame = {.track = 1,
                          .key = i == 0,
                          .dts_us = START_US + (int64_t)i * FRAME_US,
                          .pts_us = START_US + (i / 3 * 3 + order[i % 3] + 2) * FRAME_US,
                          .data = x->data};
        if (kvg_fragmenter_put(&x->f, &frame) == KVG_FRAGMENTER_BEGIN)
            before_ms = latest_ms;
        g_assert_cmpint(frame.pts_us / 1000, >, before_ms);
        latest_ms = MAX(latest_ms, frame.pts_us / 1000);
    }
    g_assert_cmpuint(x->f.forced, ==, 3);
    g_assert_cmpuint(x->f.repaired, ==, 0);
}

#define ADD(path, function)                                                                        \
    g_test_add("/fragmenter/" path, Fixture, NULL, set_up, function, tear_down)

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("before-key", test_before_key);
    ADD("all-keys", test_all_keys);
    ADD("by-time", test_by_time);
    ADD("long-gop", test_long_gop);
    ADD("large", test_large);
    ADD("jitter", test_jitter);
    ADD("back-10-s", test_back_10_s);
    ADD("jump-ahead", test_jump_ahead);
    ADD("missing-times", test_missing_times);
    ADD("b-frames", test_b_frames);
    ADD("audio-does-not-lead", test_audio_does_not_lead);
    ADD("new-tracks", test_new_tracks);
    ADD("after-restart", test_after_restart);
    ADD("audio-only", test_audio_only);
    ADD("stand-in", test_stand_in);
    ADD("stand-in-unknown", test_stand_in_unknown);
    ADD("long-gop-b-frames", test_long_gop_b_frames);
    return g_test_run();
}
