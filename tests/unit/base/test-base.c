/* Bytes, text rules, JSON and back-off. */
#include "base/backoff.h"
#include "base/bytes.h"
#include "base/json.h"
#include "base/text.h"
#include <kvg/error.h>
#include <string.h>

static void
test_reader(void)
{
    const uint8_t data[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18};
    KvgReader reader = kvg_reader_init(data, sizeof data);
    g_assert_cmpuint(kvg_reader_u8(&reader), ==, 1);
    g_assert_cmpuint(kvg_reader_u16(&reader), ==, 0x0203);
    g_assert_cmpuint(kvg_reader_u24(&reader), ==, 0x040506);
    g_assert_cmpuint(kvg_reader_u32(&reader), ==, 0x0708090a);
    g_assert_cmpuint(kvg_reader_left(&reader), ==, 8);
    g_assert_cmpuint(kvg_reader_u64(&reader), ==, 0x0b0c0d0e0f101112);
    g_assert_false(reader.failed);
    g_assert_cmpuint(kvg_reader_u8(&reader), ==, 0);
    g_assert_true(reader.failed);
    g_assert_null(kvg_reader_take(&reader, 1));
    /* failed for good, also for what would fit */
    reader = kvg_reader_init(data, 3);
    g_assert_cmpuint(kvg_reader_u32(&reader), ==, 0);
    g_assert_cmpuint(kvg_reader_u8(&reader), ==, 0);
    g_assert_true(reader.failed);
}

static void
test_builder(void)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    kvg_bytes_put_u8(out, 1);
    kvg_bytes_put_u16(out, 0x0203);
    kvg_bytes_put_u24(out, 0x040506);
    kvg_bytes_put_u32(out, 0);
    kvg_bytes_put_u64(out, 0x0b0c0d0e0f101112);
    kvg_bytes_set_u32(out, 6, 0x0708090a);
    for (guint i = 0; i < out->len; i++)
        g_assert_cmpuint(out->data[i], ==, i + 1);
    g_assert_cmpuint(out->len, ==, 18);
}

/* RFC 3720, B.4 */
static void
test_crc32c(void)
{
    uint8_t data[32] = {0};
    g_assert_cmphex(kvg_crc32c(0, data, 32), ==, 0x8a9136aa);
    memset(data, 0xff, 32);
    g_assert_cmphex(kvg_crc32c(0, data, 32), ==, 0x62a8ab43);
    for (unsigned i = 0; i < 32; i++)
        data[i] = (uint8_t)i;
    g_assert_cmphex(kvg_crc32c(0, data, 32), ==, 0x46dd794e);
    for (size_t cut = 0; cut <= 32; cut++)
        g_assert_cmphex(kvg_crc32c(kvg_crc32c(0, data, cut), data + cut, 32 - cut), ==, 0x46dd794e);
    g_assert_cmphex(kvg_crc32c(0, "123456789", 9), ==, 0xe3069283);
}

static void
test_names(void)
{
    g_autofree char *longest = g_strnfill(128, 'a');
    g_autofree char *too_long = g_strnfill(129, 'a');
    g_assert_true(kvg_name_is_camera("Gate_1-b"));
    g_assert_true(kvg_name_is_camera(longest));
    g_assert_false(kvg_name_is_camera(too_long));
    g_assert_false(kvg_name_is_camera(""));
    g_assert_false(kvg_name_is_camera("a.b"));
    g_assert_false(kvg_name_is_camera("a/b"));
    g_assert_true(kvg_name_is_stream("a.b"));
    g_assert_false(kvg_name_is_stream("a b"));
}

static void
test_units(void)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } sizes[] = {{"20GiB", 20ull << 30}, {"500MB", 500000000}, {"64KiB", 65536}, {"1024", 1024}};
    static const char *const bad_sizes[] = {"", "GiB", "-1", "1.5GiB", "1XB", "99999999999999GiB"};
    static const struct {
        const char *text;
        int64_t ms;
    } durations[] = {
        {"250ms", 250}, {"90s", 90000}, {"15m", 900000}, {"24h", 86400000}, {"7d", 604800000}};
    static const char *const bad_durations[] = {"", "5", "h", "-1h", "1y", "999999999999999d"};
    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        uint64_t bytes = 0;
        g_assert_true(kvg_parse_size(sizes[i].text, &bytes, NULL));
        g_assert_cmpuint(bytes, ==, sizes[i].bytes);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(bad_sizes); i++) {
        g_autoptr(GError) error = NULL;
        uint64_t bytes;
        g_assert_false(kvg_parse_size(bad_sizes[i], &bytes, &error));
        g_assert_error(error, KVG_ERROR, KVG_ERROR_INVALID);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(durations); i++) {
        int64_t ms = 0;
        g_assert_true(kvg_parse_duration_ms(durations[i].text, &ms, NULL));
        g_assert_cmpint(ms, ==, durations[i].ms);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(bad_durations); i++) {
        g_autoptr(GError) error = NULL;
        int64_t ms;
        g_assert_false(kvg_parse_duration_ms(bad_durations[i], &ms, &error));
        g_assert_error(error, KVG_ERROR, KVG_ERROR_INVALID);
    }
    uint32_t bps = 0;
    g_assert_true(kvg_parse_bitrate("1500k", &bps, NULL));
    g_assert_cmpuint(bps, ==, 1500000);
    g_assert_true(kvg_parse_bitrate("2M", &bps, NULL));
    g_assert_cmpuint(bps, ==, 2000000);
    g_assert_false(kvg_parse_bitrate("9999999M", &bps, NULL));
}

static void
test_uris(void)
{
    g_autofree char *escaped = kvg_uri_escape("a b/ü~", false);
    g_assert_cmpstr(escaped, ==, "a%20b%2F%C3%BC~");
    g_autofree char *kept = kvg_uri_escape("a b/c", true);
    g_assert_cmpstr(kept, ==, "a%20b/c");
    g_autofree char *plain = kvg_uri_unescape("a%20b+c", 7, true);
    g_assert_cmpstr(plain, ==, "a b c");
    g_assert_null(kvg_uri_unescape("%zz", 3, false));
    g_assert_null(kvg_uri_unescape("%0", 2, false));
    g_assert_null(kvg_uri_unescape("%00", 3, false));
    g_autofree char *shown = kvg_uri_redact("rtsp://user:p%40ss@10.0.0.1:554/a");
    g_assert_null(strstr(shown, "p%40ss"));
    g_assert_nonnull(strstr(shown, "10.0.0.1:554/a"));
    g_autofree char *time = kvg_format_iso8601(1716208496005, true);
    g_assert_cmpstr(time, ==, "2024-05-20T12:34:56.005Z");
}

static void
test_json(void)
{
    static const char text[] = "{\"a\":\"x\",\"n\":5,\"b\":true,\"z\":null}";
    g_autoptr(json_t) object = kvg_json_parse_object(text, strlen(text), NULL);
    g_assert_cmpstr(kvg_json_get_string(object, "a"), ==, "x");
    g_assert_null(kvg_json_get_string(object, "n"));
    g_assert_null(kvg_json_get_string(object, "z"));
    g_assert_null(kvg_json_get_string(NULL, "a"));
    g_assert_cmpint(kvg_json_get_int(object, "n", -1), ==, 5);
    g_assert_cmpint(kvg_json_get_int(object, "q", -1), ==, -1);
    g_assert_true(kvg_json_get_bool(object, "b", false));
    static const char *const bad[] = {"", "[]", "{\"a\":1,\"a\":2}", "{\"a\":1}x", "{\"a\":"};
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(kvg_json_parse_object(bad[i], strlen(bad[i]), &error));
        g_assert_error(error, KVG_ERROR, KVG_ERROR_INVALID);
    }
    g_autofree char *deep = g_strnfill(100000, '[');
    g_assert_null(kvg_json_parse_object(deep, 100000, NULL));
}

static void
test_backoff(void)
{
    for (unsigned round = 0; round < 100; round++) {
        KvgBackoff backoff = {.base_ms = 100, .cap_ms = 5000};
        int64_t bound = 100;
        for (unsigned i = 0; i < 80; i++) {
            const int64_t ms = kvg_backoff_next_ms(&backoff);
            g_assert_cmpint(ms, >=, bound / 2);
            g_assert_cmpint(ms, <=, bound);
            bound = MIN(bound * 2, 5000);
        }
        kvg_backoff_reset(&backoff);
        g_assert_cmpint(kvg_backoff_next_ms(&backoff), <=, 100);
    }
}

static void
test_hide_keys(void)
{
    static const struct {
        const char *text, *shown;
    } rows[] = {
        {"", ""},
        {"the signature does not match", "the signature does not match"},
        {"bad: AWS4 SignedHeaders=host, Signature=0a1b, x",
         "bad: AWS4 SignedHeaders=host, Signature=...., x"},
        {"?X-Amz-Signature=ab&X-Amz-Security-Token=cd",
         "?X-Amz-Signature=..&X-Amz-Security-Token=.."},
        {"x-amz-security-token: FQoG\nhost:a", "x-amz-security-token: ....\nhost:a"},
        {"Signature=", "Signature="},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *text = g_strdup(rows[i].text);
        kvg_text_hide_keys(text);
        g_assert_cmpstr(text, ==, rows[i].shown);
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/base/reader", test_reader);
    g_test_add_func("/base/builder", test_builder);
    g_test_add_func("/base/crc32c", test_crc32c);
    g_test_add_func("/base/names", test_names);
    g_test_add_func("/base/units", test_units);
    g_test_add_func("/base/uris", test_uris);
    g_test_add_func("/base/json", test_json);
    g_test_add_func("/base/backoff", test_backoff);
    g_test_add_func("/text/hide-keys", test_hide_keys);
    return g_test_run();
}
