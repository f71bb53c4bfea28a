/* Parameter sets in band and out of band, and what counts as a change. */
#include "media/parameter_sets.h"

#include "media/h264.h"
#include <string.h>

static const uint8_t sps_720p[] = {0x67, 0x64, 0x00, 0x1f, 0xac, 0xd9, 0x40, 0x50, 0x05,
                                   0xbb, 0x01, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10, 0x00,
                                   0x00, 0x03, 0x03, 0x20, 0xf1, 0x83, 0x19, 0x60};
static const uint8_t sps_vga[] = {0x67, 0x42, 0x00, 0x1e, 0xf4, 0x05, 0x01, 0xec, 0x80};
static const uint8_t pps_0[] = {0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0};
static const uint8_t pps_1[] = {0x68, 0x5b, 0xe3, 0xcb, 0x22, 0xc0}; /* id 1: 010 */
static const uint8_t idr[] = {0x65, 0x88, 0x84};

static void
put_nal(GByteArray *unit, unsigned length_size, const void *nal, size_t len)
{
    const uint8_t code[] = {0, 0, 0, 1};
    const uint8_t length[] = {0, 0, 0, (uint8_t)len};
    if (length_size == 0)
        g_byte_array_append(unit, code, 4);
    else
        g_byte_array_append(unit, length + 4 - length_size, length_size);
    g_byte_array_append(unit, nal, (guint)len);
}

#define PUT(unit, size, nal) put_nal(unit, size, nal, sizeof(nal))

static void
test_in_band(gconstpointer size)
{
    const unsigned length_size = GPOINTER_TO_UINT(size);
    g_autoptr(KvgParameterSets) sets = kvg_parameter_sets_new(KVG_VIDEO_H264);
    g_autoptr(GByteArray) first = g_byte_array_new();
    g_assert_null(kvg_parameter_sets_build(sets));
    g_assert_cmpuint(kvg_parameter_sets_format(sets).width, ==, 0);

    PUT(first, length_size, sps_720p);
    g_assert_true(kvg_parameter_sets_put_unit(sets, first->data, first->len, length_size));
    g_assert_null(kvg_parameter_sets_build(sets)); /* no PPS yet */
    PUT(first, length_size, pps_0);
    PUT(first, length_size, idr);
    PUT(first, length_size, sps_vga); /* behind a slice: not looked at */
    g_assert_true(kvg_parameter_sets_put_unit(sets, first->data, first->len, length_size));
    g_assert_false(kvg_parameter_sets_put_unit(sets, first->data, first->len, length_size));
    g_autoptr(GBytes) built = kvg_parameter_sets_build(sets);
    g_autoptr(GBytes) expected =
        kvg_h264_build_avcc(sps_720p, sizeof sps_720p, pps_0, sizeof pps_0);
    g_assert_true(g_bytes_equal(built, expected));
    const KvgPictureFormat format = kvg_parameter_sets_format(sets);
    g_assert_cmpuint(format.width, ==, 1280);
    g_assert_cmpuint(format.height, ==, 720);
    g_assert_true(format.may_reorder);

    /* A PPS more is a change, once; the smaller unit after it is none. */
    g_autoptr(GByteArray) more = g_byte_array_new();
    PUT(more, length_size, pps_1);
    g_assert_true(kvg_parameter_sets_put_unit(sets, more->data, more->len, length_size));
    g_assert_false(kvg_parameter_sets_put_unit(sets, first->data, first->len, length_size));

    /* Another SPS of the same id: the sets of the old sequence go. */
    g_autoptr(GByteArray) second = g_byte_array_new();
    PUT(second, length_size, sps_vga);
    PUT(second, length_size, pps_0);
    g_assert_true(kvg_parameter_sets_put_unit(sets, second->data, second->len, length_size));
    g_assert_cmpuint(kvg_parameter_sets_format(sets).width, ==, 640);
    g_assert_false(kvg_parameter_sets_format(sets).may_reorder);
    g_autoptr(GBytes) vga = kvg_parameter_sets_build(sets);
    KvgAvcc parsed;
    gsize len;
    const uint8_t *data = g_bytes_get_data(vga, &len);
    g_assert_true(kvg_h264_parse_avcc(data, len, &parsed, NULL));
    g_assert_cmpmem(parsed.sps, (int)parsed.sps_len, sps_vga, sizeof sps_vga);
}

static void
test_record(void)
{
    g_autoptr(KvgParameterSets) sets = kvg_parameter_sets_new(KVG_VIDEO_H264);
    g_autoptr(GBytes) avcc = kvg_h264_build_avcc(sps_720p, sizeof sps_720p, pps_0, sizeof pps_0);
    gsize len;
    const uint8_t *data = g_bytes_get_data(avcc, &len);
    /* High profile has bytes behind the sets: kept as they are. */
    g_autofree uint8_t *record = g_malloc(len + 4);
    memcpy(record, data, len);
    memcpy(record + len, "\xfd\xf8\xf8\x00", 4);
    unsigned length_size = 0;
    g_assert_true(kvg_parameter_sets_put_record(sets, record, len + 4, &length_size, NULL));
    g_assert_cmpuint(length_size, ==, 4);
    g_autoptr(GBytes) kept = kvg_parameter_sets_build(sets);
    g_assert_cmpuint(g_bytes_get_size(kept), ==, len + 4);

    /* The same sets in band change nothing. */
    g_autoptr(GByteArray) unit = g_byte_array_new();
    PUT(unit, 4, sps_720p);
    PUT(unit, 4, pps_0);
    g_assert_false(kvg_parameter_sets_put_unit(sets, unit->data, unit->len, 4));

    /* Lengths of two bytes: the record must say four, as the frames will. */
    record[4] = 0xfd;
    g_assert_true(kvg_parameter_sets_put_record(sets, record, len, &length_size, NULL));
    g_assert_cmpuint(length_size, ==, 2);
    g_autoptr(GBytes) widened = kvg_parameter_sets_build(sets);
    g_assert_true(g_bytes_equal(widened, avcc));

    for (size_t cut = 0; cut < len; cut++) {
        g_autofree uint8_t *copy = g_memdup2(data, cut);
        g_assert_false(kvg_parameter_sets_put_record(sets, copy, cut, &length_size, NULL));
        g_assert_null(kvg_parameter_sets_build(sets));
    }
}

/* However many ids a stream uses, what is kept is bounded. */
static void
test_bounded(void)
{
    g_autoptr(KvgParameterSets) sets = kvg_parameter_sets_new(KVG_VIDEO_H265);
    g_autoptr(GRand) rand = g_rand_new_with_seed(5);
    for (unsigned i = 0; i < 5000; i++) {
        g_autoptr(GByteArray) unit = g_byte_array_new();
        uint8_t pps[8] = {0x44, 0x01};
        for (unsigned j = 2; j < sizeof pps; j++)
            pps[j] = (uint8_t)g_rand_int(rand);
        PUT(unit, 0, pps);
        kvg_parameter_sets_put_unit(sets, unit->data, unit->len, 0);
    }
    g_assert_null(kvg_parameter_sets_build(sets));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/parameter-sets/in-band/start-codes", GUINT_TO_POINTER(0), test_in_band);
    g_test_add_data_func("/parameter-sets/in-band/lengths-4", GUINT_TO_POINTER(4), test_in_band);
    g_test_add_data_func("/parameter-sets/in-band/lengths-2", GUINT_TO_POINTER(2), test_in_band);
    g_test_add_func("/parameter-sets/record", test_record);
    g_test_add_func("/parameter-sets/bounded", test_bounded);
    return g_test_run();
}
