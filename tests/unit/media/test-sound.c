/* AAC and G.711: what is known of a track before its first frame. */
#include "media/aac.h"
#include "media/g711.h"

#include <kvg/error.h>

static void
test_config(void)
{
    static const struct {
        KvgAacConfig config;
        uint8_t bytes[2];
    } cases[] = {
        {{2, 8000, 1}, {0x15, 0x88}},
        {{2, 48000, 2}, {0x11, 0x90}},
        {{2, 44100, 2}, {0x12, 0x10}},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GBytes) built = kvg_aac_build_config(&cases[i].config);
        gsize len;
        const uint8_t *data = g_bytes_get_data(built, &len);
        KvgAacConfig parsed;
        g_assert_cmpmem(data, (int)len, cases[i].bytes, 2);
        g_assert_true(kvg_aac_parse_config(data, len, &parsed, NULL));
        g_assert_cmpuint(parsed.object_type, ==, 2);
        g_assert_cmpuint(parsed.rate_hz, ==, cases[i].config.rate_hz);
        g_assert_cmpuint(parsed.channels, ==, cases[i].config.channels);
        g_assert_false(kvg_aac_parse_config(data, 1, &parsed, NULL));
        g_assert_false(kvg_aac_parse_config(data, 0, &parsed, NULL));
    }
    const KvgAacConfig odd = {2, 12345, 1};
    g_assert_null(kvg_aac_build_config(&odd));
    /* The rate in 24 bits, and the escaped object type. */
    KvgAacConfig parsed;
    const uint8_t explicit_rate[] = {0x17, 0x80, 0x18, 0x1c, 0x88};
    g_assert_true(kvg_aac_parse_config(explicit_rate, sizeof explicit_rate, &parsed, NULL));
    g_assert_cmpuint(parsed.rate_hz, ==, 0x3039);
}

static void
test_adts(void)
{
    /* AAC-LC, 44100 Hz, stereo, no CRC, 7 + 3 bytes. */
    const uint8_t frame[] = {0xff, 0xf1, 0x50, 0x80, 0x01, 0x5f, 0xfc, 'a', 'b', 'c'};
    KvgAacConfig config;
    size_t at, len;
    g_autoptr(GError) error = NULL;
    g_assert_true(kvg_adts_parse(frame, sizeof frame, &config, &at, &len, &error));
    g_assert_cmpuint(config.rate_hz, ==, 44100);
    g_assert_cmpuint(config.channels, ==, 2);
    g_assert_cmpuint(config.object_type, ==, 2);
    g_assert_cmpmem(frame + at, (int)len, "abc", 3);
    for (size_t cut = 0; cut < sizeof frame; cut++) {
        g_autofree uint8_t *copy = g_memdup2(frame, cut);
        g_assert_false(kvg_adts_parse(copy, cut, &config, &at, &len, NULL));
    }
    uint8_t two_blocks[sizeof frame];
    memcpy(two_blocks, frame, sizeof frame);
    two_blocks[6] |= 1;
    g_assert_false(kvg_adts_parse(two_blocks, sizeof frame, &config, &at, &len, &error));
    g_assert_error(error, KVG_ERROR, KVG_ERROR_UNSUPPORTED);
}

static void
test_silence(void)
{
    const KvgAacConfig stereo = {2, 48000, 2}, mono = {2, 48000, 1}, six = {2, 48000, 6};
    g_autoptr(GBytes) two = kvg_aac_silence(&stereo);
    g_autoptr(GBytes) one = kvg_aac_silence(&mono);
    g_assert_cmpuint(g_bytes_get_size(two), ==, 6);
    g_assert_cmpuint(g_bytes_get_size(one), ==, 4);
    g_assert_null(kvg_aac_silence(&six));
}

static void
test_g711(void)
{
    const uint8_t expected[] = {7, 0, 1, 0, 0x40, 0x1f, 0, 0, 0x40, 0x1f, 0, 0, 1, 0, 8, 0, 0, 0};
    g_autoptr(GBytes) built = kvg_g711_build_config(KVG_G711_MULAW, 1, 8000);
    gsize len;
    const void *data = g_bytes_get_data(built, &len);
    g_assert_cmpmem(data, (int)len, expected, sizeof expected);
    g_assert_cmpuint(kvg_g711_silence(KVG_G711_ALAW), ==, 0xd5);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/sound/aac-config", test_config);
    g_test_add_func("/sound/adts", test_adts);
    g_test_add_func("/sound/silence", test_silence);
    g_test_add_func("/sound/g711", test_g711);
    return g_test_run();
}
