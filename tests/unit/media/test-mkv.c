/* The Matroska writer against the parser, and the parser against every way to cut or damage input:
 * whole, byte by byte, random splits, truncated, mutated. The layout itself is checked byte by
 * byte. */
#include "base/bytes.h"
#include "media/mkv_parser.h"
#include "media/mkv_writer.h"

#include <kvg/error.h>
#include <string.h>

#define EBML "\x1a\x45\xdf\xa3\x80"
#define SEGMENT "\x18\x53\x80\x67\xff"
#define TRACKS "\x16\x54\xae\x6b\x8d\xae\x8b\xd7\x81\x01\x83\x81\x01\x86\x83V_X"
#define CLUSTER "\x1f\x43\xb6\x75\xff\xe7\x81\x07"
#define BLOCK "\xa3\x85\x81\0\x05\x80x"
#define KNOWN_CLUSTER "\x1f\x43\xb6\x75\x8a\xe7\x81\x07" BLOCK

static const uint8_t uid[16] = "0123456789abcdef";

static GBytes *
make_header(void)
{
    g_autoptr(GBytes) avcc = g_bytes_new_static("avcC", 4);
    g_autoptr(GBytes) asc = g_bytes_new_static("\x11\x90", 2);
    const KvgTrack tracks[] = {
        {.number = 1,
         .type = KVG_TRACK_VIDEO,
         .codec_id = "V_MPEG4/ISO/AVC",
         .codec_private = avcc,
         .name = "video",
         .width = 1280,
         .height = 720},
        {.number = 2,
         .type = KVG_TRACK_AUDIO,
         .codec_id = "A_AAC",
         .codec_private = asc,
         .sample_rate_hz = 48000,
         .channels = 2},
    };
    return kvg_mkv_write_header(tracks, 2, uid, "kvg/test");
}

static void
put_block(GByteArray *out, uint8_t track, int16_t relative, bool key, const char *data, size_t len)
{
    kvg_mkv_write_block_head(out, track, relative, key, len);
    g_byte_array_append(out, (const uint8_t *)data, (guint)len);
}

/* A session: header, tag, two clusters with a tag, second header, a cluster. */
static GByteArray *
make_session(void)
{
    g_autoptr(GBytes) header = make_header();
    gsize len;
    const void *data = g_bytes_get_data(header, &len);
    GByteArray *out = g_byte_array_new();
    g_byte_array_append(out, data, (guint)len);
    kvg_mkv_write_tag(out, "place", "hall");
    kvg_mkv_write_cluster(out, 1000);
    put_block(out, 1, 0, true, "key", 3);
    put_block(out, 2, 5, true, "audio", 5);
    put_block(out, 1, -7, false, "delta", 5);
    kvg_mkv_write_tag(out, "AWS_KINESISVIDEO_END_OF_FRAGMENT", "");
    kvg_mkv_write_cluster(out, 3000);
    put_block(out, 1, 0, true, "", 0);
    g_byte_array_append(out, data, (guint)len);
    kvg_mkv_write_cluster(out, 5000);
    put_block(out, 1, 40, true, "last", 4);
    return out;
}

/* One line per event; two ways to feed the same bytes must give the same lines. */
static bool
drain(KvgMkvParser *parser, GString *log)
{
    for (;;) {
        KvgMkvEvent event;
        g_autoptr(GError) error = NULL;
        switch (kvg_mkv_parser_step(parser, &event, &error)) {
        case KVG_MKV_NEED_MORE:
            return true;
        case KVG_MKV_FAILED:
            g_assert_nonnull(error);
            g_assert_true(error->domain == KVG_ERROR);
            g_string_append_printf(log, "failed %s\n", error->message);
            return false;
        case KVG_MKV_DOCUMENT:
            g_string_append_printf(log, "document %" G_GUINT64_FORMAT "\n", event.offset);
            break;
        case KVG_MKV_HEADER: {
            size_t n;
            g_assert_nonnull(kvg_mkv_parser_tracks(parser, &n));
            g_string_append_printf(log, "header %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT " %zu\n",
                                   event.offset, event.end_offset, n);
            break;
        }
        case KVG_MKV_CLUSTER:
            g_string_append_printf(
                log, "cluster %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT "\n",
                event.offset, event.end_offset, event.timecode);
            break;
        case KVG_MKV_BLOCK:
            g_string_append_printf(
                log, "block %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT " %u %d %d %.*s\n",
                event.offset, event.end_offset, event.track, event.relative, event.key,
                (int)event.len, (const char *)event.data);
            break;
        case KVG_MKV_TAG:
            g_assert_true(g_utf8_validate(event.name, -1, NULL));
            g_string_append_printf(log, "tag %s=%s\n", event.name, event.value);
            break;
        default:
            g_assert_not_reached();
        }
    }
}

/* Puts pieces of @step bytes, or random ones if @rand. Each piece is a heap copy of its exact size.
 */
static char *
parse(const uint8_t *data, size_t len, size_t step, GRand *rand)
{
    g_autoptr(KvgMkvParser) parser = kvg_mkv_parser_new();
    g_autoptr(GString) log = g_string_new(NULL);
    for (size_t at = 0; at < len;) {
        size_t n = rand != NULL ? (size_t)g_rand_int_range(rand, 1, 40) : step;
        n = MIN(n, len - at);
        g_autofree uint8_t *piece = g_memdup2(data + at, n);
        kvg_mkv_parser_put(parser, piece, n);
        at += n;
        if (!drain(parser, log))
            break;
    }
    return g_strdup(log->str);
}

static void
test_layout(void)
{
    g_autoptr(GBytes) header = make_header();
    static const uint8_t start[] = {
        0x1A, 0x45, 0xDF, 0xA3, 0xA3, 0x42, 0x86, 0x81, 0x01, 0x42, 0xF7, 0x81, 0x01, 0x42,
        0xF2, 0x81, 0x04, 0x42, 0xF3, 0x81, 0x08, 0x42, 0x82, 0x88, 'm',  'a',  't',  'r',
        'o',  's',  'k',  'a',  0x42, 0x87, 0x81, 0x02, 0x42, 0x85, 0x81, 0x02, 0x18, 0x53,
        0x80, 0x67, 0xFF, 0x15, 0x49, 0xA9, 0x66, 0x40, 0x35, 0x73, 0xA4, 0x90};
    g_assert_cmpmem(g_bytes_get_data(header, NULL), sizeof start, start, sizeof start);

    g_autoptr(GByteArray) out = g_byte_array_new();
    kvg_mkv_write_cluster(out, 0x0102);
    put_block(out, 1, -2, true, "x", 1);
    static const uint8_t cluster[] = {0x1F, 0x43, 0xB6, 0x75, 0xFF, 0xE7, 0x88, 0,    0,    0,  0,
                                      0,    0,    0x01, 0x02, 0xA7, 0x81, 0,    0xA3, 0x01, 0,  0,
                                      0,    0,    0,    0,    5,    0x81, 0xFF, 0xFE, 0x80, 'x'};
    g_assert_cmpmem(out->data, out->len, cluster, sizeof cluster);
}

static void
test_events(void)
{
    g_autoptr(GByteArray) session = make_session();
    g_autofree char *log = parse(session->data, session->len, session->len, NULL);
    const char *const expected[] = {
        "document 0", "tag place=hall", "header 0 ", "cluster ",
        "block ",     "block ",         "block ",    "tag AWS_KINESISVIDEO_END_OF_FRAGMENT=",
        "cluster ",   "block ",         "document ", "header ",
        "cluster ",   "block ",         ""};
    g_auto(GStrv) lines = g_strsplit(log, "\n", 0);
    g_assert_cmpuint(g_strv_length(lines), ==, G_N_ELEMENTS(expected));
    for (size_t i = 0; i < G_N_ELEMENTS(expected); i++) {
        if (!g_str_has_prefix(lines[i], expected[i]))
            g_error("event %zu: '%s' does not begin with '%s'", i, lines[i], expected[i]);
    }
    g_assert_true(g_str_has_suffix(lines[6], " 1 -7 0 delta"));
}

static void
test_header(void)
{
    g_autoptr(GByteArray) session = make_session();
    g_autoptr(KvgMkvParser) parser = kvg_mkv_parser_new();
    kvg_mkv_parser_put(parser, session->data, session->len);
    KvgMkvEvent event;
    do
        kvg_mkv_parser_step(parser, &event, NULL);
    while (event.kind == KVG_MKV_DOCUMENT || event.kind == KVG_MKV_TAG);
    g_assert_cmpint(event.kind, ==, KVG_MKV_HEADER);
    size_t n;
    const KvgTrack *tracks = kvg_mkv_parser_tracks(parser, &n);
    g_assert_cmpuint(n, ==, 2);
    g_assert_cmpstr(tracks[0].codec_id, ==, "V_MPEG4/ISO/AVC");
    g_assert_cmpstr(tracks[0].name, ==, "video");
    g_assert_cmpuint(tracks[0].width, ==, 1280);
    g_assert_cmpuint(tracks[0].height, ==, 720);
    g_assert_cmpmem(g_bytes_get_data(tracks[0].codec_private, NULL), 4, "avcC", 4);
    g_assert_cmpfloat(tracks[1].sample_rate_hz, ==, 48000);
    g_assert_cmpuint(tracks[1].channels, ==, 2);
    g_assert_null(tracks[1].name);
    g_assert_cmpuint(kvg_mkv_parser_timecode_scale_ns(parser), ==, 1000000);
    /* Verbatim up to the Cluster, tag included, but for the size of Segment (1 byte -> 8). */
    gsize len;
    const uint8_t *header = g_bytes_get_data(kvg_mkv_parser_header(parser), &len);
    g_assert_cmpuint(len, ==, event.end_offset + 7);
    g_assert_cmpmem(header, 44, session->data, 44);
    g_assert_cmpmem(header + 44, 8, "\x01\xff\xff\xff\xff\xff\xff\xff", 8);
    g_assert_cmpmem(header + 52, (int)len - 52, session->data + 45, (int)len - 52);
}

static void
test_splits(void)
{
    g_autoptr(GByteArray) session = make_session();
    g_autofree char *whole = parse(session->data, session->len, session->len, NULL);
    g_autofree char *bytes = parse(session->data, session->len, 1, NULL);
    g_assert_cmpstr(whole, ==, bytes);
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);
    for (unsigned i = 0; i < 200; i++) {
        g_autofree char *random = parse(session->data, session->len, 0, rand);
        g_assert_cmpstr(whole, ==, random);
    }
}

/* The input may end between elements only, and not within a Cluster of known size. */
static void
test_whole(void)
{
    static const char stream[] = EBML SEGMENT TRACKS CLUSTER BLOCK "\xec\x82zz" KNOWN_CLUSTER;
    static const char wholes[] = {0,
                                  sizeof EBML - 1,
                                  sizeof EBML SEGMENT - 1,
                                  sizeof EBML SEGMENT TRACKS - 1,
                                  sizeof EBML SEGMENT TRACKS CLUSTER - 1,
                                  sizeof EBML SEGMENT TRACKS CLUSTER BLOCK - 1,
                                  sizeof EBML SEGMENT TRACKS CLUSTER BLOCK - 1 + 4,
                                  sizeof stream - 1};
    g_autoptr(KvgMkvParser) parser = kvg_mkv_parser_new();
    for (size_t len = 0; len < sizeof stream; len++) {
        KvgMkvEvent event;
        while (kvg_mkv_parser_step(parser, &event, NULL) != KVG_MKV_NEED_MORE)
            g_assert_cmpint(event.kind, !=, KVG_MKV_FAILED);
        const bool is_expected = memchr(wholes, (int)len, sizeof wholes) != NULL;
        if (kvg_mkv_parser_is_whole(parser) != is_expected)
            g_error("after %zu bytes: expected %d", len, is_expected);
        kvg_mkv_parser_put(parser, stream + len, 1);
    }
}

static void
test_truncated(void)
{
    g_autoptr(GByteArray) session = make_session();
    g_autofree char *whole = parse(session->data, session->len, session->len, NULL);
    for (guint len = 0; len < session->len; len++) {
        g_autofree char *part = parse(session->data, len, MAX(len, 1), NULL);
        g_assert_true(g_str_has_prefix(whole, part));
    }
}

static void
test_mutated(void)
{
    g_autoptr(GByteArray) session = make_session();
    g_autoptr(GRand) rand = g_rand_new_with_seed(2);
    for (unsigned i = 0; i < 5000; i++) {
        g_autofree uint8_t *copy = g_memdup2(session->data, session->len);
        for (int j = g_rand_int_range(rand, 1, 6); j > 0; j--)
            copy[g_rand_int_range(rand, 0, (gint32)session->len)] = (uint8_t)g_rand_int(rand);
        g_autofree char *whole = parse(copy, session->len, session->len, NULL);
        g_autofree char *random = parse(copy, session->len, 0, rand);
        g_assert_cmpstr(whole, ==, random);
    }
}

static void
test_table(void)
{
#define CASE(bytes, last)                                                                          \
    {                                                                                              \
        bytes, sizeof bytes - 1, last                                                              \
    }
    static const struct {
        const char *in;
        size_t len;
        const char *last; /* a line of the log */
    } cases[] = {
        CASE("\x00", "failed"),
        CASE("GET / HTTP", "failed"),
        CASE(EBML EBML, "failed"),
        CASE(EBML SEGMENT SEGMENT, "failed"),
        CASE(EBML SEGMENT CLUSTER, "failed Matroska: a Cluster before Tracks"),
        CASE("\x1a\x45\xdf\xa3\x87\x42\x82\x84webx" SEGMENT, "failed"),
        CASE("\x1a\x45\xdf\xa3\x10\x40\x00\x01", "failed Matroska: element too large"),
        CASE("\x1a\x45\xdf\xa3\xff", "failed Matroska: an element of unknown size"),
        CASE(EBML SEGMENT TRACKS CLUSTER "\xa3\x85\x81\0\x05\x80x", " 1 5 1 x"),
        CASE(EBML SEGMENT TRACKS CLUSTER "\xa3\x85\x81\0\x05\x82x", "failed Matroska: laced"),
        CASE(EBML SEGMENT TRACKS CLUSTER "\xa3\x83\x81\0\x05", "failed Matroska: damaged block"),
        CASE(EBML SEGMENT TRACKS CLUSTER "\xa3\x08\xff\xff\xff\xff", "failed"),
        CASE(EBML SEGMENT TRACKS CLUSTER "\xa0\x8b\xa1\x85\x81\0\x05\x00x\x9b\x82\x01\0",
             " 1 5 1 x"),
        CASE(EBML SEGMENT TRACKS CLUSTER "\xa0\x8a\xa1\x85\x81\0\x05\x00x\xfb\x81\x01", " 1 5 0 x"),
        CASE(EBML SEGMENT TRACKS CLUSTER "\xec\x82zz\xa3\x85\x81\0\x05\x80x", " 1 5 1 x"),
        CASE(EBML SEGMENT TRACKS CLUSTER "\xe7\x81\x07", "failed"),
        CASE(EBML SEGMENT TRACKS "\x1f\x43\xb6\x75\xff\xa3\x85\x81\0\x05\x80x", "failed"),
        CASE(EBML SEGMENT TRACKS "\x1f\x43\xb6\x75\x8a\xe7\x81\x07\xa3\x85\x81\0\x05\x80x\xec\x80",
             " 1 5 1 x"),
        CASE(EBML SEGMENT TRACKS "\x1f\x43\xb6\x75\x89\xe7\x81\x07\xa3\x85\x81\0\x05\x80x",
             "failed Matroska: an element longer than its Cluster"),
        CASE(EBML SEGMENT TRACKS "\x1f\x43\xb6\x75\x83\xe7\x81\x07\xa3\x85\x81\0\x05\x80x",
             "failed Matroska: a block outside a Cluster"),
        CASE(EBML SEGMENT TRACKS CLUSTER "\x12\x54\xc3\x67\x8e\x73\x73\x8b\x67\xc8\x88"
                                         "\x45\xa3\x81\xff\x44\x87\x81v",
             "failed Matroska: a tag is not UTF-8"),
        CASE(EBML SEGMENT TRACKS CLUSTER "\x12\x54\xc3\x67\x8e\x73\x73\x8b\x67\xc8\x88"
                                         "\x45\xa3\x81n\x44\x87\x81v",
             "tag n=v"),
    };
#undef CASE
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *log = parse((const uint8_t *)cases[i].in, cases[i].len, 1, NULL);
        if (strstr(log, cases[i].last) == NULL)
            g_error("case %zu: no '%s' in:\n%s", i, cases[i].last, log);
    }
}

/* A block of 8 MiB in pieces of 1 KiB must not be copied again and again. */
static void
test_large_block(void)
{
    const size_t size = 8u << 20;
    g_autoptr(GBytes) header = make_header();
    g_autoptr(GByteArray) out = g_byte_array_new();
    g_byte_array_append(out, g_bytes_get_data(header, NULL), (guint)g_bytes_get_size(header));
    kvg_mkv_write_cluster(out, 0);
    kvg_mkv_write_block_head(out, 1, 0, true, size);
    g_autoptr(KvgMkvParser) parser = kvg_mkv_parser_new();
    kvg_mkv_parser_put(parser, out->data, out->len);
    KvgMkvEvent event;
    while (kvg_mkv_parser_step(parser, &event, NULL) != KVG_MKV_NEED_MORE)
        ;
    uint8_t piece[1024];
    for (size_t at = 0; at < size; at += sizeof piece) {
        g_assert_cmpint(kvg_mkv_parser_step(parser, &event, NULL), ==, KVG_MKV_NEED_MORE);
        memset(piece, (int)(at >> 10 & 0xff), sizeof piece);
        kvg_mkv_parser_put(parser, piece, sizeof piece);
    }
    g_assert_cmpint(kvg_mkv_parser_step(parser, &event, NULL), ==, KVG_MKV_BLOCK);
    g_assert_cmpuint(event.len, ==, size);
    for (size_t at = 0; at < size; at += 1024)
        g_assert_cmpuint(event.data[at], ==, at >> 10 & 0xff);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/mkv/writer/layout", test_layout);
    g_test_add_func("/mkv/parser/events", test_events);
    g_test_add_func("/mkv/parser/header", test_header);
    g_test_add_func("/mkv/parser/splits", test_splits);
    g_test_add_func("/mkv/parser/whole", test_whole);
    g_test_add_func("/mkv/parser/truncated", test_truncated);
    g_test_add_func("/mkv/parser/mutated", test_mutated);
    g_test_add_func("/mkv/parser/table", test_table);
    g_test_add_func("/mkv/parser/large-block", test_large_block);
    return g_test_run();
}
