/* H.265: SPS, hvcC, damage. */
#include "media/h265.h"

#include <kvg/error.h>
#include <string.h>

/* x265, 318x178 (cropped from 320x184), main profile. */
static const uint8_t vps[] = {0x40, 0x01, 0x0c, 0x01, 0xff, 0xff, 0x01, 0x60,
                              0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03,
                              0x00, 0x00, 0x03, 0x00, 0x3f, 0x95, 0x98, 0x09};
static const uint8_t sps[] = {0x42, 0x01, 0x01, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90,
                              0x00, 0x00, 0x03, 0x00, 0x00, 0x03, 0x00, 0x3f, 0xa0, 0x0a,
                              0x08, 0x0b, 0x9d, 0x49, 0x96, 0x56, 0x69, 0x24, 0xca, 0xff,
                              0xf0, 0x00, 0x10, 0x00, 0x16, 0xa0, 0xc0, 0xc0, 0xc0, 0x80,
                              0x00, 0x00, 0x03, 0x00, 0x80, 0x00, 0x00, 0x0f, 0x04};
static const uint8_t pps[] = {0x44, 0x01, 0xc1, 0x72, 0xb4, 0x62, 0x40};
/* What matroskamux wrote for the same stream, up to the arrays. */
static const uint8_t hvcc_head[] = {0x01, 0x01, 0x60, 0x00, 0x00, 0x00, 0x90, 0x00,
                                    0x00, 0x00, 0x00, 0x00, 0x3f, 0xf0, 0x00, 0xfc,
                                    0xfd, 0xf8, 0xf8, 0x00, 0x00, 0x0f, 0x03};

static void
test_sps(void)
{
    KvgH265Sps parsed;
    g_autoptr(GError) error = NULL;
    g_assert_true(kvg_h265_parse_sps(sps, sizeof sps, &parsed, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(parsed.width, ==, 318);
    g_assert_cmpuint(parsed.height, ==, 178);
    g_assert_cmpuint(parsed.chroma_format, ==, 1);
    g_assert_cmpuint(parsed.bit_depth_luma, ==, 8);
    g_assert_cmpuint(parsed.n_temporal_layers, ==, 1);
    g_assert_true(parsed.temporal_id_nested);
    g_assert_cmpuint(parsed.max_num_reorder_frames, ==, 2);
    g_assert_cmpuint(parsed.id, ==, 0);
}

static void
test_sps_damaged(void)
{
    KvgH265Sps parsed;
    for (size_t len = 0; len < sizeof sps; len++) {
        g_autofree uint8_t *copy = g_memdup2(sps, len);
        if (len < 24)
            g_assert_false(kvg_h265_parse_sps(copy, len, &parsed, NULL));
        else if (kvg_h265_parse_sps(copy, len, &parsed, NULL))
            g_assert_cmpuint(parsed.width, ==, 318);
    }
    g_autoptr(GRand) rand = g_rand_new_with_seed(11);
    for (unsigned i = 0; i < 20000; i++) {
        uint8_t copy[sizeof sps];
        memcpy(copy, sps, sizeof copy);
        for (unsigned j = 0; j < 3; j++)
            copy[g_rand_int_range(rand, 2, sizeof copy)] = (uint8_t)g_rand_int(rand);
        if (!kvg_h265_parse_sps(copy, sizeof copy, &parsed, NULL))
            continue;
        g_assert_cmpuint(parsed.width, >, 0);
        g_assert_cmpuint(parsed.width, <=, 65535);
        g_assert_cmpuint(parsed.max_num_reorder_frames, <=, 16);
    }
}

static GPtrArray *
list_of(const void *data, size_t len)
{
    GPtrArray *list = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
    g_ptr_array_add(list, g_bytes_new(data, len));
    return list;
}

static void
count_nal(const uint8_t *nal, size_t len, void *user_data)
{
    unsigned *counts = user_data;
    counts[kvg_h265_nal_type(nal) - KVG_H265_VPS]++;
    g_assert_cmpuint(len, ==,
                     kvg_h265_nal_type(nal) == KVG_H265_VPS   ? sizeof vps
                     : kvg_h265_nal_type(nal) == KVG_H265_SPS ? sizeof sps
                                                              : sizeof pps);
}

static void
test_hvcc(void)
{
    g_autoptr(GPtrArray) v = list_of(vps, sizeof vps);
    g_autoptr(GPtrArray) s = list_of(sps, sizeof sps);
    g_autoptr(GPtrArray) p = list_of(pps, sizeof pps);
    g_autoptr(GPtrArray) none = g_ptr_array_new();
    g_autoptr(GPtrArray) wrong = list_of(pps, sizeof pps);
    g_assert_null(kvg_h265_build_hvcc(none, s, p));
    g_assert_null(kvg_h265_build_hvcc(v, none, p));
    g_assert_null(kvg_h265_build_hvcc(v, wrong, p));

    g_autoptr(GBytes) hvcc = kvg_h265_build_hvcc(v, s, p);
    gsize len;
    const uint8_t *data = g_bytes_get_data(hvcc, &len);
    g_assert_cmpmem(data, sizeof hvcc_head, hvcc_head, sizeof hvcc_head);
    g_assert_cmpuint(len, ==, 23 + 3 * 5 + sizeof vps + sizeof sps + sizeof pps);

    KvgHvcc parsed;
    unsigned counts[3] = {0};
    g_assert_true(kvg_h265_parse_hvcc(data, len, &parsed, NULL));
    g_assert_cmpuint(parsed.nal_length_size, ==, 4);
    kvg_hvcc_foreach(&parsed, count_nal, counts);
    for (unsigned i = 0; i < 3; i++)
        g_assert_cmpuint(counts[i], ==, 1);
    for (size_t i = 0; i < len; i++) {
        g_autofree uint8_t *copy = g_memdup2(data, i);
        g_autoptr(GError) error = NULL;
        g_assert_false(kvg_h265_parse_hvcc(copy, i, &parsed, &error));
        g_assert_error(error, KVG_ERROR, KVG_ERROR_CORRUPT);
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/h265/sps", test_sps);
    g_test_add_func("/h265/sps-damaged", test_sps_damaged);
    g_test_add_func("/h265/hvcc", test_hvcc);
    return g_test_run();
}
