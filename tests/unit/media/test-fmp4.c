/* Fragmented MP4: what trun and tfdt say, and refusal of what no player could take. */
#include "base/bytes.h"
#include "media/fmp4.h"
#include "media/h264.h"

#include <kvg/error.h>
#include <string.h>

static const uint8_t sps[] = {0x67, 0x42, 0x00, 0x1e, 0xf4, 0x05, 0x01, 0xec, 0x80};
static const uint8_t pps[] = {0x68, 0xeb};

static KvgTrack
video_track(GBytes *avcc)
{
    return (KvgTrack){
        .number = 1, .type = KVG_TRACK_VIDEO, .codec_id = "V_MPEG4/ISO/AVC", .codec_private = avcc};
}

/* Content of the first box of @type anywhere, by its four letters. */
static KvgReader
find_box(GBytes *bytes, const char *type)
{
    gsize len;
    const uint8_t *data = g_bytes_get_data(bytes, &len);
    for (gsize i = 4; i + 4 <= len; i++) {
        if (memcmp(data + i, type, 4) == 0)
            return kvg_reader_init(data + i + 4, len - i - 4);
    }
    g_error("no box %s", type);
}

static void
test_init(void)
{
    g_autoptr(GBytes) avcc = kvg_h264_build_avcc(sps, sizeof sps, pps, sizeof pps);
    const KvgTrack track = video_track(avcc);
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) init = kvg_fmp4_write_init(&track, &error);
    g_assert_no_error(error);
    KvgReader avc1 = find_box(init, "avc1");
    kvg_reader_take(&avc1, 24);
    g_assert_cmpuint(kvg_reader_u16(&avc1), ==, 640);
    g_assert_cmpuint(kvg_reader_u16(&avc1), ==, 480);
    g_autofree char *codec = kvg_fmp4_codec_string(&track);
    g_assert_cmpstr(codec, ==, "avc1.42001e");
}

static void
test_refused(void)
{
    static const struct {
        const char *codec;
        const char *config;
        size_t len;
        KvgError code;
    } cases[] = {
        {"A_OPUS", "xx", 2, KVG_ERROR_UNSUPPORTED},
        {"", "xx", 2, KVG_ERROR_UNSUPPORTED},
        {"V_MPEG4/ISO/AVC", "xx", 2, KVG_ERROR_CORRUPT},
        {"V_MPEG4/ISO/AVC", "\x00\x00\x00\x01\x67", 5, KVG_ERROR_CORRUPT},
        {"V_MPEGH/ISO/HEVC", "\x01", 1, KVG_ERROR_CORRUPT},
        {"A_AAC", "\x11", 1, KVG_ERROR_CORRUPT},
        {"A_AAC", "\xff\xff", 2, KVG_ERROR_CORRUPT},
        {"A_AAC", NULL, 0, KVG_ERROR_CORRUPT},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GBytes) config =
            cases[i].config != NULL ? g_bytes_new(cases[i].config, cases[i].len) : NULL;
        const KvgTrack track = {.number = 1,
                                .type = KVG_TRACK_VIDEO,
                                .codec_id = cases[i].codec,
                                .codec_private = config};
        g_autoptr(GError) error = NULL;
        g_assert_null(kvg_fmp4_write_init(&track, &error));
        g_assert_error(error, KVG_ERROR, (int)cases[i].code);
        g_assert_null(kvg_fmp4_codec_string(&track));
    }
}

static void
test_aac(void)
{
    static const struct {
        const char *config;
        size_t len;
        uint16_t rate, channels;
        const char *codec;
    } cases[] = {
        {"\x11\x90", 2, 48000, 2, "mp4a.40.2"},
        {"\x15\x88", 2, 8000, 1, "mp4a.40.2"},
        {"\x17\x80\x3e\x80\x08", 5, 32000, 1, "mp4a.40.2"}, /* explicit frequency */
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GBytes) config = g_bytes_new(cases[i].config, cases[i].len);
        const KvgTrack track = {
            .number = 2, .type = KVG_TRACK_AUDIO, .codec_id = "A_AAC", .codec_private = config};
        g_autoptr(GError) error = NULL;
        g_autoptr(GBytes) init = kvg_fmp4_write_init(&track, &error);
        g_assert_no_error(error);
        KvgReader mp4a = find_box(init, "mp4a");
        kvg_reader_take(&mp4a, 16);
        g_assert_cmpuint(kvg_reader_u16(&mp4a), ==, cases[i].channels);
        kvg_reader_take(&mp4a, 6);
        if (i < 2)
            g_assert_cmpuint(kvg_reader_u16(&mp4a), ==, cases[i].rate);
        g_autofree char *codec = kvg_fmp4_codec_string(&track);
        g_assert_cmpstr(codec, ==, cases[i].codec);
    }
}

static void
test_timing(void)
{
    g_autoptr(GBytes) avcc = kvg_h264_build_avcc(sps, sizeof sps, pps, sizeof pps);
    const KvgTrack track = video_track(avcc);
    /* I P B B, then two frames in the same millisecond, then the end. */
    static const int64_t pts[] = {0, 120, 40, 80, 160, 160};
    static const uint32_t durations[] = {40, 40, 40, 40, 1, 39};
    static const int32_t offsets[] = {0, 80, -40, -40, 0, -1};
    KvgMp4Sample samples[6];
    for (size_t i = 0; i < 6; i++)
        samples[i] = (KvgMp4Sample){.pts_ms = pts[i],
                                     .duration_ms = -1,
                                     .key = i == 0,
                                     .data = (const uint8_t *)"abcdef" + i,
                                     .len = 1};
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) out =
        kvg_fmp4_write_fragment(&track, 7, 1700000000123, 200, samples, 6, &error);
    g_assert_no_error(error);
    KvgReader tfdt = find_box(out, "tfdt");
    kvg_reader_u32(&tfdt);
    g_assert_cmpuint(kvg_reader_u64(&tfdt), ==, 1700000000123);
    KvgReader trun = find_box(out, "trun");
    g_assert_cmphex(kvg_reader_u32(&trun), ==, 0x01000f01);
    g_assert_cmpuint(kvg_reader_u32(&trun), ==, 6);
    kvg_reader_u32(&trun);
    for (size_t i = 0; i < 6; i++) {
        g_assert_cmpuint(kvg_reader_u32(&trun), ==, durations[i]);
        g_assert_cmpuint(kvg_reader_u32(&trun), ==, 1);
        g_assert_cmphex(kvg_reader_u32(&trun), ==, i == 0 ? 0x02000000 : 0x01010000);
        g_assert_cmpint((int32_t)kvg_reader_u32(&trun), ==, offsets[i]);
    }
    KvgReader mdat = find_box(out, "mdat");
    g_assert_cmpmem(mdat.at, (int)kvg_reader_left(&mdat), "abcdef", 6);
}

static void
test_hostile_times(void)
{
    g_autoptr(GBytes) avcc = kvg_h264_build_avcc(sps, sizeof sps, pps, sizeof pps);
    const KvgTrack track = video_track(avcc);
    static const int64_t values[] = {INT64_MIN, -G_MAXINT32 - 10LL, G_MAXINT64};
    for (size_t i = 0; i < G_N_ELEMENTS(values); i++) {
        KvgMp4Sample sample = {.pts_ms = 0, .duration_ms = -1, .data = sps, .len = 1};
        g_assert_null(kvg_fmp4_write_fragment(&track, 1, values[i], 0, &sample, 1, NULL));
        g_assert_null(kvg_fmp4_write_fragment(&track, 1, 0, values[i], &sample, 1, NULL));
        sample.pts_ms = values[i];
        g_assert_null(kvg_fmp4_write_fragment(&track, 1, 0, 0, &sample, 1, NULL));
    }
    g_assert_null(kvg_fmp4_write_fragment(&track, 1, 0, 0, NULL, 0, NULL));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/fmp4/init", test_init);
    g_test_add_func("/fmp4/refused", test_refused);
    g_test_add_func("/fmp4/aac", test_aac);
    g_test_add_func("/fmp4/timing", test_timing);
    g_test_add_func("/fmp4/hostile-times", test_hostile_times);
    return g_test_run();
}
