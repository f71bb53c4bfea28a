/* What cameras and files really deliver: each row ends with its frames in the spool and none lost.
 */
#include "plugin/kvssink.h"
#include "sink.h"

#include <string.h>

#define N_FRAMES 100
#define STEP_MS 40

/* ---- times ---- */

typedef struct {
    int64_t pts_ms, dts_ms;
    bool key;
} Times;
typedef struct {
    const char *name;
    Times (*times)(unsigned i);
    unsigned n_lost;    /* that nothing could decode */
    bool is_exact;      /* presentation times come out as they went in */
    unsigned fragments; /* not live; 0: whatever */
} TimesRow;

static Times
plain(unsigned i)
{
    return (Times){i * STEP_MS, i * STEP_MS, i % 25 == 0};
}

static Times
back_10_s(unsigned i)
{
    const int64_t at_ms = 20000 + i * STEP_MS - (i >= 50 ? 10000 : 0);
    return (Times){at_ms, at_ms, i % 25 == 0};
}

static Times
back_half_s(unsigned i)
{
    const int64_t at_ms = 20000 + i * STEP_MS - (i >= 50 ? 500 : 0);
    return (Times){at_ms, at_ms, i % 25 == 0};
}

static Times
gap_30_s(unsigned i)
{
    const int64_t at_ms = i * STEP_MS + (i >= 50 ? 30000 : 0);
    return (Times){at_ms, at_ms, i % 25 == 0};
}

static Times
gap_2_h(unsigned i)
{
    const int64_t at_ms = i * STEP_MS + (i >= 60 ? 7200000 : 0);
    return (Times){at_ms, at_ms, i % 25 == 0};
}

static Times
one_glitch(unsigned i)
{
    const int64_t at_ms = 20000 + i * STEP_MS - (i == 50 ? 3000 : 0);
    return (Times){at_ms, at_ms, i % 25 == 0};
}

static Times
some_missing(unsigned i)
{
    if (i == 30 || i == 31 || i == 50)
        return (Times){-1, -1, i % 25 == 0};
    return plain(i);
}

static Times
none_at_all(unsigned i)
{
    return (Times){-1, -1, i % 25 == 0};
}

/* IbbPbbP, closed GOPs of 25, in decoding order. */
static int64_t
reordered_ms(unsigned i)
{
    static const int offset[] = {2, -1, -1};
    const unsigned in_gop = i % 25;
    const int shift = in_gop == 0 ? 0 : offset[(in_gop - 1) % 3];
    return (int64_t)(i + 2) * STEP_MS + shift * STEP_MS;
}

static Times
b_frames(unsigned i)
{
    return (Times){reordered_ms(i), i * STEP_MS, i % 25 == 0};
}

static Times
b_frames_without_dts(unsigned i)
{
    return (Times){reordered_ms(i), -1, i % 25 == 0};
}

static Times
long_gop(unsigned i)
{
    return (Times){i * 500, i * 500, i == 0};
}

static Times
long_gop_b_frames(unsigned i)
{
    static const int order[] = {2, 0, 1};
    return (Times){(i / 3 * 3 + order[i % 3] + 1) * 500, i * 500, i == 0};
}

static Times
all_keys(unsigned i)
{
    return (Times){i * STEP_MS, i * STEP_MS, true};
}

static Times
late_key(unsigned i)
{
    return (Times){i * STEP_MS, i * STEP_MS, i % 25 == 10};
}

static const TimesRow times_rows[] = {
    {"plain", plain, 0, true, 4},
    {"back-10-s", back_10_s, 0, false, 0},
    {"back-half-s", back_half_s, 0, false, 0},
    {"gap-30-s", gap_30_s, 0, true, 4},
    {"gap-2-h", gap_2_h, 0, true, 5}, /* one more where the gap cuts a GOP */
    {"one-glitch", one_glitch, 0, false, 4},
    {"some-missing", some_missing, 0, true, 4},
    {"none-at-all", none_at_all, 0, false, 4},
    {"b-frames", b_frames, 0, true, 4},
    {"b-frames-without-dts", b_frames_without_dts, 0, true, 4},
    {"gop-30-s", long_gop, 0, true, 3},
    {"gop-30-s-b-frames", long_gop_b_frames, 0, true, 3},
    {"i-frames-only", all_keys, 0, true, 20},
    {"starts-without-key", late_key, 10, true, 4},
};

static void
check_exact(const TimesRow *row, const Stored *stored)
{
    const int64_t offset_ms = STORED(stored, 0).pts_ms - row->times(row->n_lost).pts_ms;
    for (guint i = 0; i < stored->frames->len; i++) {
        const Times times = row->times(i + row->n_lost);
        const int64_t want_ms = times.pts_ms >= 0 ? times.pts_ms : plain(i + row->n_lost).pts_ms;
        g_assert_cmpint(STORED(stored, i).pts_ms - offset_ms - want_ms, <=, 1);
        g_assert_cmpint(STORED(stored, i).pts_ms - offset_ms - want_ms, >=, -1);
    }
}

static void
check_times(const TimesRow *row, gboolean is_live)
{
    g_autoptr(Sink) sink = sink_new(is_live);
    g_autoptr(GBytes) avcc = avcc_720p();
    sink_open(sink, 0);
    sink_play(sink);
    sink_caps(sink, 0, VIDEO_AVC, avcc);
    for (unsigned i = 0; i < N_FRAMES; i++) {
        const Times times = row->times(i);
        g_autoptr(GBytes) unit = avc_unit(times.key, i);
        g_assert_cmpint(sink_push(sink, 0, times.pts_ms, times.dts_ms, times.key, unit), ==,
                        GST_FLOW_OK);
    }
    g_assert_cmpuint(sink_stat(sink, "frames-dropped"), ==, 0);
    sink_eos(sink, 0);
    g_assert_cmpuint(sink_messages(sink, GST_MESSAGE_EOS), ==, 1);
    sink_stop(sink);

    g_autoptr(Stored) stored = stored_read(sink);
    g_assert_cmpuint(stored->frames->len, ==, N_FRAMES - row->n_lost);
    for (guint i = 0; i < stored->frames->len; i++) {
        const unsigned at = i + row->n_lost;
        g_autoptr(GBytes) expected = avc_unit(row->times(at).key, at);
        g_assert_true(g_bytes_equal(STORED(stored, i).data, expected));
        g_assert_cmpint(STORED(stored, i).key, ==, row->times(at).key);
    }
    if (!is_live && row->fragments != 0)
        g_assert_cmpuint(stored->n_fragments, ==, row->fragments);
    if (!is_live && row->is_exact)
        check_exact(row, stored);
    /* Whatever the camera said, what is stored goes on by steps one can play. */
    const int64_t span_ms =
        STORED(stored, stored->frames->len - 1).pts_ms - STORED(stored, 0).pts_ms;
    g_assert_cmpint(span_ms, >=, (N_FRAMES - row->n_lost - 20) * 1);
}

static void
test_times(gconstpointer data)
{
    check_times(data, FALSE);
    check_times(data, TRUE);
}

/* ---- forms ---- */

static GBytes *
start_code(const void *nal, size_t len)
{
    return join(bytes_of("\0\0\0\1", 4), bytes_of(nal, len));
}

static const uint8_t sps_720p[] = {0x67, 0x64, 0x00, 0x1f, 0xac, 0xd9, 0x40, 0x50, 0x05,
                                   0xbb, 0x01, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10, 0x00,
                                   0x00, 0x03, 0x03, 0x20, 0xf1, 0x83, 0x19, 0x60};
static const uint8_t sps_vga[] = {0x67, 0x42, 0x00, 0x1e, 0xf4, 0x05, 0x01, 0xec, 0x80};
static const uint8_t pps[] = {0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0};
static const uint8_t idr[] = {0x65, 0x88, 0x84, 0x11};
static const uint8_t slice[] = {0x41, 0x9a, 0x22, 0x33};

/* Start codes in, lengths out; the track is found in the stream, and followed when it changes. */
static void
test_byte_stream(void)
{
    g_autoptr(Sink) sink = sink_new(FALSE);
    sink_open(sink, 0);
    sink_play(sink);
    sink_caps(sink, 0, "video/x-h264,stream-format=byte-stream,alignment=au,width=1280,height=720",
              NULL);
    for (unsigned i = 0; i < 75; i++) {
        const bool key = i % 25 == 0;
        const bool is_vga = i >= 25 && i < 50;
        g_autoptr(GBytes) unit = start_code(key ? idr : slice, sizeof idr);
        if (key) {
            GBytes *sets = is_vga ? start_code(sps_vga, sizeof sps_vga)
                                  : start_code(sps_720p, sizeof sps_720p);
            sets = join(sets, start_code(pps, sizeof pps));
            unit = join(sets, g_steal_pointer(&unit));
        }
        sink_push(sink, 0, i * STEP_MS, i * STEP_MS, key, unit);
    }
    sink_stop(sink);
    g_autoptr(Stored) stored = stored_read(sink);
    g_assert_cmpuint(stored->frames->len, ==, 75);
    g_assert_cmpuint(stored->tracks->len, ==, 3);
    for (unsigned i = 0; i < 3; i++) {
        const StoredTracks *tracks = &g_array_index(stored->tracks, StoredTracks, i);
        g_assert_cmpuint(tracks->width, ==, i == 1 ? 640 : 1280);
        g_assert_cmpuint(tracks->height, ==, i == 1 ? 480 : 720);
    }
    g_autoptr(GBytes) expected = join(bytes_of("\0\0\0\4", 4), bytes_of(slice, sizeof slice));
    g_assert_true(g_bytes_equal(STORED(stored, 1).data, expected));
}

/* avc3: lengths, and the sets only in the stream. */
static void
test_avc3(void)
{
    g_autoptr(Sink) sink = sink_new(FALSE);
    sink_open(sink, 0);
    sink_play(sink);
    sink_caps(sink, 0, "video/x-h264,stream-format=avc3,alignment=au,width=640,height=480", NULL);
    GBytes *first = join(bytes_of("\0\0\0\x09", 4), bytes_of(sps_vga, sizeof sps_vga));
    first = join(first, join(bytes_of("\0\0\0\6", 4), bytes_of(pps, sizeof pps)));
    first = join(first, join(bytes_of("\0\0\0\4", 4), bytes_of(idr, sizeof idr)));
    sink_push(sink, 0, 0, 0, true, first);
    g_bytes_unref(first);
    sink_stop(sink);
    g_autoptr(Stored) stored = stored_read(sink);
    g_assert_cmpuint(stored->frames->len, ==, 1);
    g_assert_cmpuint(g_array_index(stored->tracks, StoredTracks, 0).width, ==, 640);
}

/* The caps change twice in mid-stream; the first frames after a change need not be key frames. */
static void
test_caps_change(void)
{
    g_autoptr(Sink) sink = sink_new(FALSE);
    g_autoptr(GBytes) big = avcc_720p();
    g_autoptr(GBytes) small = avcc_vga();
    sink_open(sink, 0);
    sink_play(sink);
    for (unsigned i = 0; i < 90; i++) {
        if (i % 30 == 0)
            sink_caps(sink, 0,
                      i == 30 ? "video/x-h264,stream-format=avc,alignment=au,width=640,height=480"
                              : VIDEO_AVC,
                      i == 30 ? small : big);
        const bool key = i % 15 == 0;
        g_autoptr(GBytes) unit = avc_unit(key, i);
        sink_push(sink, 0, i * STEP_MS, i * STEP_MS, key, unit);
    }
    g_assert_cmpuint(sink_stat(sink, "track-changes"), ==, 2);
    sink_stop(sink);
    g_autoptr(Stored) stored = stored_read(sink);
    g_assert_cmpuint(stored->frames->len, ==, 90);
    g_assert_cmpuint(stored->tracks->len, ==, 3);
    g_assert_cmpuint(g_array_index(stored->tracks, StoredTracks, 1).width, ==, 640);
    g_assert_cmpuint(g_array_index(stored->tracks, StoredTracks, 2).width, ==, 1280);
}

/* ---- sound ---- */

static void
test_audio_only(void)
{
    g_autoptr(Sink) sink = sink_new(FALSE);
    g_autoptr(GBytes) samples = bytes_of("0123456789abcdef", 16);
    sink_open(sink, 1);
    sink_play(sink);
    sink_caps(sink, 1, AUDIO_MULAW, NULL);
    for (unsigned i = 0; i < 500; i++)
        sink_push(sink, 1, i * 20, -1, true, samples);
    sink_eos(sink, 1);
    g_assert_cmpuint(sink_messages(sink, GST_MESSAGE_EOS), ==, 1);
    sink_stop(sink);
    g_autoptr(Stored) stored = stored_read(sink);
    g_assert_cmpuint(stored->frames->len, ==, 500);
    g_assert_cmpuint(stored->n_fragments, ==, 6);
    g_assert_cmpstr(g_array_index(stored->tracks, StoredTracks, 0).codec_id, ==, "A_MS/ACM");
}

static void
test_adts(void)
{
    static const uint8_t frame[] = {0xff, 0xf1, 0x50, 0x80, 0x01, 0x5f, 0xfc, 'a', 'b', 'c'};
    g_autoptr(Sink) sink = sink_new(FALSE);
    g_autoptr(GBytes) whole = bytes_of(frame, sizeof frame);
    g_autoptr(GBytes) torn = bytes_of(frame, sizeof frame - 1);
    sink_open(sink, 1);
    sink_play(sink);
    sink_caps(sink, 1,
              "audio/mpeg,mpegversion=4,stream-format=adts,framed=true,channels=2,rate=44100",
              NULL);
    for (unsigned i = 0; i < 50; i++)
        sink_push(sink, 1, i * 23, -1, true, i == 20 ? torn : whole);
    g_assert_cmpuint(sink_messages(sink, GST_MESSAGE_WARNING), ==, 1);
    g_assert_cmpuint(sink_stat(sink, "frames-left-out"), ==, 1);
    sink_stop(sink);
    g_autoptr(Stored) stored = stored_read(sink);
    g_assert_cmpuint(stored->frames->len, ==, 49);
    g_assert_cmpmem(g_bytes_get_data(STORED(stored, 0).data, NULL), 3, "abc", 3);
    g_assert_cmpstr(g_array_index(stored->tracks, StoredTracks, 0).codec_id, ==, "A_AAC");
}

/* Second after second of one track and then of the other, as a demuxer without queues. */
static void
put_second(Sink *sink, unsigned second, bool has_video, bool has_audio)
{
    g_autoptr(GBytes) samples = bytes_of("0123456789abcdef", 16);
    for (unsigned i = 0; has_video && i < 25; i++) {
        g_autoptr(GBytes) unit = avc_unit(i == 0, second * 25 + i);
        const int64_t at_ms = second * 1000 + i * STEP_MS;
        g_assert_cmpint(sink_push(sink, 0, at_ms, at_ms, i == 0, unit), ==, GST_FLOW_OK);
    }
    for (unsigned i = 0; has_audio && i < 50; i++)
        g_assert_cmpint(sink_push(sink, 1, second * 1000 + i * 20, -1, true, samples), ==,
                        GST_FLOW_OK);
}

static Sink *
new_av(gboolean is_live)
{
    Sink *sink = sink_new(is_live);
    g_autoptr(GBytes) avcc = avcc_720p();
    sink_open(sink, 0);
    sink_open(sink, 1);
    sink_play(sink);
    sink_caps(sink, 0, VIDEO_AVC, avcc);
    sink_caps(sink, 1, AUDIO_MULAW, NULL);
    return sink;
}

static void
test_both(void)
{
    g_autoptr(Sink) sink = new_av(FALSE);
    for (unsigned s = 0; s < 6; s++)
        put_second(sink, s, true, true);
    sink_eos(sink, 0);
    g_assert_cmpuint(sink_messages(sink, GST_MESSAGE_EOS), ==, 0);
    sink_eos(sink, 1);
    g_assert_cmpuint(sink_messages(sink, GST_MESSAGE_EOS), ==, 1);
    sink_stop(sink);
    g_autoptr(Stored) stored = stored_read(sink);
    g_assert_cmpuint(stored->n_fragments, ==, 6);
    g_assert_cmpuint(stored->tracks->len, ==, 1);
    g_assert_cmpuint(g_array_index(stored->tracks, StoredTracks, 0).n, ==, 2);
    g_assert_cmpuint(stored_count(stored, 1), ==, 150);
    g_assert_cmpuint(stored_count(stored, 2), ==, 300);
    /* In one order, on one timeline. */
    const int64_t start_ms = STORED(stored, 0).pts_ms;
    int64_t seen[3] = {0};
    for (guint i = 0; i < stored->frames->len; i++) {
        const StoredFrame *frame = &STORED(stored, i);
        g_assert_cmpint(frame->pts_ms - start_ms, ==, seen[frame->track]);
        g_assert_cmpuint(frame->fragment, ==, (frame->pts_ms - start_ms) / 1000);
        seen[frame->track] += frame->track == 1 ? STEP_MS : 20;
    }
}

/* Sound far ahead of the picture, as with an encoder that looks ahead: it waits, and nothing moves.
 */
static void
test_video_lags(void)
{
    g_autoptr(Sink) sink = new_av(TRUE);
    for (unsigned s = 0; s < 8; s++) {
        put_second(sink, s, false, true);
        if (s >= 3)
            put_second(sink, s - 3, true, false);
    }
    sink_stop(sink);
    g_autoptr(Stored) stored = stored_read(sink);
    g_assert_cmpuint(stored->n_fragments, >=, 5);
    g_assert_cmpuint(stored_count(stored, 1), ==, 125);
    g_assert_cmpuint(stored_count(stored, 2), ==, 400);
}

/* A microphone that stops costs no picture; back again it is recorded again. */
static void
test_microphone_stops(void)
{
    g_autoptr(Sink) sink = new_av(FALSE);
    for (unsigned s = 0; s < 3; s++)
        put_second(sink, s, true, true);
    for (unsigned s = 3; s < 15; s++) {
        gst_pad_push_event(sink->feeds[1], gst_event_new_gap(s * GST_SECOND, GST_SECOND));
        put_second(sink, s, true, false);
    }
    for (unsigned s = 15; s < 20; s++)
        put_second(sink, s, true, true);
    g_assert_cmpuint(sink_stat(sink, "track-changes"), ==, 2);
    g_assert_cmpuint(sink_stat(sink, "frames-dropped"), ==, 0);
    g_assert_cmpuint(sink_stat(sink, "frames-dropped-evicted"), ==, 0);
    g_assert_cmpuint(sink_stat(sink, "sessions-ended-lost"), ==, 0);
    sink_stop(sink);
    g_autoptr(Stored) stored = stored_read(sink);
    g_assert_cmpuint(stored_count(stored, 1), ==, 20 * 25);
    g_assert_cmpuint(stored->tracks->len, ==, 3);
    g_assert_cmpuint(g_array_index(stored->tracks, StoredTracks, 0).n, ==, 2);
    g_assert_cmpuint(g_array_index(stored->tracks, StoredTracks, 1).n, ==, 1);
    g_assert_cmpint(g_array_index(stored->tracks, StoredTracks, 1).types[0], ==, KVG_TRACK_VIDEO);
    g_assert_cmpuint(g_array_index(stored->tracks, StoredTracks, 2).n, ==, 2);
}

/* The picture ends before the sound, and the other way round. */
static void
test_one_ends(void)
{
    for (unsigned longer = 0; longer < 2; longer++) {
        g_autoptr(Sink) sink = new_av(FALSE);
        for (unsigned s = 0; s < 3; s++)
            put_second(sink, s, true, true);
        sink_eos(sink, 1 - longer);
        for (unsigned s = 3; s < 14; s++)
            put_second(sink, s, longer == 0, longer == 1);
        sink_eos(sink, longer);
        g_assert_cmpuint(sink_messages(sink, GST_MESSAGE_EOS), ==, 1);
        sink_stop(sink);
        g_autoptr(Stored) stored = stored_read(sink);
        g_assert_cmpuint(stored_count(stored, 1), ==, (longer == 0 ? 14 : 3) * 25);
        g_assert_cmpuint(stored_count(stored, 2), >=, (longer == 1 ? 14 : 3) * 50);
        const StoredTracks *last =
            &g_array_index(stored->tracks, StoredTracks, stored->tracks->len - 1);
        g_assert_cmpuint(last->n, ==, 1);
        g_assert_cmpint(last->types[0], ==, longer == 0 ? KVG_TRACK_VIDEO : KVG_TRACK_AUDIO);
    }
}

/* Sound of another kind in mid-stream is described anew with the next picture that can be. */
static void
test_sound_changes(void)
{
    g_autoptr(Sink) sink = new_av(FALSE);
    for (unsigned s = 0; s < 9; s++) {
        if (s == 3)
            sink_caps(sink, 1, "audio/x-alaw,channels=2,rate=16000", NULL);
        if (s == 6)
            sink_caps(sink, 1, "audio/mpeg,mpegversion=4,stream-format=raw,channels=1,rate=8000",
                      NULL);
        put_second(sink, s, true, true);
    }
    sink_eos(sink, 0);
    sink_eos(sink, 1);
    sink_stop(sink);
    g_autoptr(Stored) stored = stored_read(sink);
    g_assert_cmpuint(stored_count(stored, 1), ==, 9 * 25);
    /* At most what came between a change and that picture is missing. */
    g_assert_cmpuint(stored_count(stored, 2), >=, 7 * 50);
    g_assert_cmpuint(stored->tracks->len, ==, 3);
}

/* AAC without codec_data is AAC-LC, as encoders make it. */
static void
test_aac_without_config(void)
{
    g_autoptr(Sink) sink = sink_new(FALSE);
    g_autoptr(GBytes) unit = bytes_of("abcd", 4);
    sink_open(sink, 1);
    sink_play(sink);
    sink_caps(sink, 1, "audio/mpeg,mpegversion=4,stream-format=raw,channels=2,rate=48000", NULL);
    for (unsigned i = 0; i < 10; i++)
        sink_push(sink, 1, i * 21, -1, true, unit);
    sink_stop(sink);
    g_autoptr(Stored) stored = stored_read(sink);
    g_assert_cmpuint(stored->frames->len, ==, 10);
    g_assert_cmpstr(g_array_index(stored->tracks, StoredTracks, 0).codec_id, ==, "A_AAC");
}

int
main(int argc, char **argv)
{
    gst_init(&argc, &argv);
    g_test_init(&argc, &argv, NULL);
    g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_FATAL_MASK);
    g_assert_true(kvg_plugin_register_static());
    for (size_t i = 0; i < G_N_ELEMENTS(times_rows); i++) {
        g_autofree char *path = g_strconcat("/input/times/", times_rows[i].name, NULL);
        g_test_add_data_func(path, &times_rows[i], test_times);
    }
    g_test_add_func("/input/byte-stream", test_byte_stream);
    g_test_add_func("/input/avc3", test_avc3);
    g_test_add_func("/input/caps-change", test_caps_change);
    g_test_add_func("/input/audio-only", test_audio_only);
    g_test_add_func("/input/adts", test_adts);
    g_test_add_func("/input/both", test_both);
    g_test_add_func("/input/video-lags", test_video_lags);
    g_test_add_func("/input/microphone-stops", test_microphone_stops);
    g_test_add_func("/input/one-ends", test_one_ends);
    g_test_add_func("/input/sound-changes", test_sound_changes);
    g_test_add_func("/input/aac-without-config", test_aac_without_config);
    return g_test_run();
}
