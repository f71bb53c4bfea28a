/* H.264: known SPS, cropping, damage, avcC. */
#include "media/h264.h"

#include <kvg/error.h>
#include <string.h>

/* x264, 1280x720, high profile, 25 fps, VUI with timing and bitstream restriction. */
static const uint8_t sps_720p[] = {0x67, 0x64, 0x00, 0x1f, 0xac, 0xd9, 0x40, 0x50, 0x05,
                                   0xbb, 0x01, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10, 0x00,
                                   0x00, 0x03, 0x03, 0x20, 0xf1, 0x83, 0x19, 0x60};
/* Baseline 640x480 without VUI. */
static const uint8_t sps_vga[] = {0x67, 0x42, 0x00, 0x1e, 0xf4, 0x05, 0x01, 0xec, 0x80};
static const uint8_t pps[] = {0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0};

static void
test_sps(void)
{
    KvgH264Sps sps;
    g_autoptr(GError) error = NULL;
    g_assert_true(kvg_h264_parse_sps(sps_720p, sizeof sps_720p, &sps, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(sps.profile, ==, 100);
    g_assert_cmpuint(sps.level, ==, 31);
    g_assert_cmpuint(sps.width, ==, 1280);
    g_assert_cmpuint(sps.height, ==, 720);
    g_assert_true(sps.has_timing);
    g_assert_cmpuint(sps.time_scale, ==, sps.num_units_in_tick * 50);
    g_assert_cmpuint(sps.max_num_reorder_frames, ==, 2);

    g_assert_true(kvg_h264_parse_sps(sps_vga, sizeof sps_vga, &sps, &error));
    g_assert_cmpuint(sps.width, ==, 640);
    g_assert_cmpuint(sps.height, ==, 480);
    g_assert_false(sps.has_timing);
    g_assert_cmpuint(sps.max_num_reorder_frames, ==, 255);
}

static void
test_sps_damaged(void)
{
    KvgH264Sps sps;
    for (size_t len = 0; len < sizeof sps_720p; len++) {
        /* A copy of exactly that size, so that a sanitizer sees any read behind it. */
        g_autofree uint8_t *copy = g_memdup2(sps_720p, len);
        if (len < 8)
            g_assert_false(kvg_h264_parse_sps(copy, len, &sps, NULL));
        else if (kvg_h264_parse_sps(copy, len, &sps, NULL))
            g_assert_cmpuint(sps.width, ==, 1280);
    }
    g_autoptr(GRand) rand = g_rand_new_with_seed(7);
    for (unsigned i = 0; i < 20000; i++) {
        uint8_t copy[sizeof sps_720p];
        memcpy(copy, sps_720p, sizeof copy);
        for (unsigned j = 0; j < 3; j++)
            copy[g_rand_int_range(rand, 1, sizeof copy)] = (uint8_t)g_rand_int(rand);
        if (!kvg_h264_parse_sps(copy, sizeof copy, &sps, NULL))
            continue;
        g_assert_cmpuint(sps.width, >, 0);
        g_assert_cmpuint(sps.width, <=, 32768);
        g_assert_cmpuint(sps.height, >, 0);
        g_assert_cmpuint(sps.height, <=, 65536);
    }
    const uint8_t zeros[300] = {0x67};
    g_assert_false(kvg_h264_parse_sps(zeros, sizeof zeros, &sps, NULL));
}

static void
test_avcc(void)
{
    g_autoptr(GBytes) avcc = kvg_h264_build_avcc(sps_720p, sizeof sps_720p, pps, sizeof pps);
    gsize len;
    const uint8_t *data = g_bytes_get_data(avcc, &len);
    const uint8_t head[] = {1, 0x64, 0x00, 0x1f, 0xff, 0xe1, 0, sizeof sps_720p};
    g_assert_cmpuint(len, ==, 11 + sizeof sps_720p + sizeof pps);
    g_assert_cmpmem(data, sizeof head, head, sizeof head);
    KvgAvcc parsed;
    g_assert_true(kvg_h264_parse_avcc(data, len, &parsed, NULL));
    g_assert_cmpuint(parsed.nal_length_size, ==, 4);
    g_assert_cmpmem(parsed.sps, (int)parsed.sps_len, sps_720p, sizeof sps_720p);
    g_assert_cmpmem(parsed.pps, (int)parsed.pps_len, pps, sizeof pps);
    for (size_t i = 0; i < len; i++) {
        g_autofree uint8_t *copy = g_memdup2(data, i);
        g_autoptr(GError) error = NULL;
        g_assert_false(kvg_h264_parse_avcc(copy, i, &parsed, &error));
        g_assert_error(error, KVG_ERROR, KVG_ERROR_CORRUPT);
    }
    g_assert_null(kvg_h264_build_avcc(sps_720p, 3, pps, sizeof pps));
    g_assert_null(kvg_h264_build_avcc(sps_720p, sizeof sps_720p, pps, 0));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/h264/sps", test_sps);
    g_test_add_func("/h264/sps-damaged", test_sps_damaged);
    g_test_add_func("/h264/avcc", test_avcc);
    return g_test_run();
}
