/* Start codes and length prefixes. */
#include "media/annexb.h"

static void
test_annexb(void)
{
    static const struct {
        const char *in;
        size_t len;
        const char *out; /* NULL: no start code */
        size_t out_len;
    } cases[] = {
        {"", 0, NULL, 0},
        {"\x00\x00\x00\x05hello", 9, NULL, 0},
        {"\x00\x00\x01"
         "a",
         4,
         "\x00\x00\x00\x01"
         "a",
         5},
        {"\x00\x00\x00\x01"
         "ab\x00\x00\x01"
         "c\x00\x00\x00\x01"
         "d\x00\x00",
         16,
         "\x00\x00\x00\x02"
         "ab\x00\x00\x00\x01"
         "c\x00\x00\x00\x01"
         "d",
         16},
        {"\x00\x00\x01\x00\x00\x01"
         "x",
         7, "\x00\x00\x00\x01x", 5},
        {"\x00\x00\x01", 3, "", 0},
        {"\x00\x00\x01"
         "a\x00\x00\x03\x01"
         "b",
         9,
         "\x00\x00\x00\x06"
         "a\x00\x00\x03\x01"
         "b",
         10},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GBytes) out = kvg_annexb_to_lengths((const uint8_t *)cases[i].in, cases[i].len);
        if (cases[i].out == NULL) {
            g_assert_null(out);
            continue;
        }
        g_assert_nonnull(out);
        gsize len;
        const void *data = g_bytes_get_data(out, &len);
        g_assert_cmpmem(data, (int)len, cases[i].out, (int)cases[i].out_len);
    }
}

static void
test_lengths(void)
{
    static const uint8_t two[] = {0, 2, 'a', 'b', 0, 0, 0, 1, 'c'};
    size_t at = 0, len;
    const uint8_t *nal;
    g_assert_true(kvg_lengths_next(two, sizeof two, 2, &at, &nal, &len));
    g_assert_cmpmem(nal, (int)len, "ab", 2);
    g_assert_true(kvg_lengths_next(two, sizeof two, 2, &at, &nal, &len));
    g_assert_cmpmem(nal, (int)len, "c", 1);
    g_assert_false(kvg_lengths_next(two, sizeof two, 2, &at, &nal, &len));

    g_autoptr(GBytes) wide = kvg_lengths_widen(two, sizeof two, 2);
    gsize wide_len;
    const void *data = g_bytes_get_data(wide, &wide_len);
    g_assert_cmpmem(data, (int)wide_len, "\0\0\0\2ab\0\0\0\1c", 11);

    /* A length beyond the end, of each size, at each cut. */
    for (unsigned size = 1; size <= 4; size++) {
        for (size_t cut = 1; cut < 8; cut++) {
            g_autofree uint8_t *bytes = g_malloc(cut);
            memset(bytes, 0xff, cut);
            at = 0;
            g_assert_false(kvg_lengths_next(bytes, cut, size, &at, &nal, &len));
            g_assert_null(kvg_lengths_widen(bytes, cut, size));
        }
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/annexb/to-lengths", test_annexb);
    g_test_add_func("/annexb/lengths", test_lengths);
    return g_test_run();
}
