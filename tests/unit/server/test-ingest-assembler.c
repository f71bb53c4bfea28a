/* Cutting uploads into fragments: the same bytes come out however they arrive, and every rule has
 * its error. */
#include "server/ingest/assembler.h"

#include "media/mkv_writer.h"
#include <string.h>

#define BASE_MS 1700000000000u
#define END_TAG "AWS_KINESISVIDEO_END_OF_FRAGMENT"

static const uint8_t uid[16] = "0123456789abcdef";

static GBytes *
make_header(unsigned n_tracks)
{
    KvgTrack tracks[8] = {{0}};
    for (unsigned i = 0; i < n_tracks; i++) {
        tracks[i].number = (uint8_t)(i + 1);
        tracks[i].type = i == 0 ? KVG_TRACK_VIDEO : KVG_TRACK_AUDIO;
        tracks[i].codec_id = i == 0 ? "V_MPEG4/ISO/AVC" : "A_AAC";
    }
    return kvg_mkv_write_header(tracks, n_tracks, uid, "test");
}

static void
put_header(GByteArray *out, unsigned n_tracks)
{
    g_autoptr(GBytes) header = make_header(n_tracks);
    g_byte_array_append(out, g_bytes_get_data(header, NULL), (guint)g_bytes_get_size(header));
}

static void
put_block(GByteArray *out, uint8_t track, int relative_ms, size_t len)
{
    g_autofree uint8_t *payload = g_malloc(len);
    memset(payload, relative_ms, len);
    kvg_mkv_write_block_head(out, track, (int16_t)relative_ms, relative_ms == 0, len);
    g_byte_array_append(out, payload, (guint)len);
}

/* A Cluster of two seconds: ten frames each on @n_tracks tracks. */
static void
put_cluster(GByteArray *out, uint64_t timecode, unsigned n_tracks)
{
    kvg_mkv_write_cluster(out, timecode);
    for (int i = 0; i < 10; i++) {
        for (unsigned track = 1; track <= n_tracks; track++)
            put_block(out, (uint8_t)track, i * 200 + (int)track - 1, (size_t)(50 + 31 * i));
    }
}

static void
put_raw(GByteArray *out, const char *bytes, size_t len)
{
    g_byte_array_append(out, (const uint8_t *)bytes, (guint)len);
}
#define PUT_RAW(out, text) put_raw(out, text, sizeof text - 1)

typedef struct {
    unsigned n_begun, n_fragments, n_frames;
    int error_id;
    bool error_has_fragment;
    uint64_t timecode;  /* of the last event */
    int64_t length_ms;  /* of the last fragment */
    GByteArray *media;  /* of all fragments */
    GByteArray *header; /* of the last */
} Outcome;

static void
outcome_clear(Outcome *outcome)
{
    g_byte_array_unref(outcome->media);
    g_byte_array_unref(outcome->header);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Outcome, outcome_clear)

static void
append_bytes(GByteArray *out, GBytes *bytes)
{
    g_byte_array_append(out, g_bytes_get_data(bytes, NULL), (guint)g_bytes_get_size(bytes));
}

static void
drain(KvgAssembler *assembler, Outcome *outcome)
{
    g_auto(KvgAssemblerEvent) event = {0};
    while (kvg_assembler_step(assembler, &event) != KVG_ASSEMBLER_NEED_MORE) {
        outcome->timecode = event.timecode;
        if (event.kind == KVG_ASSEMBLER_FAILED) {
            outcome->error_id = event.error_id;
            outcome->error_has_fragment = event.has_fragment;
            g_test_message("%d: %s", event.error_id, event.reason);
            return;
        }
        outcome->n_begun += event.kind == KVG_ASSEMBLER_BEGIN;
        if (event.kind != KVG_ASSEMBLER_FRAGMENT)
            continue;
        g_assert_cmpuint(outcome->n_begun, ==, ++outcome->n_fragments);
        outcome->n_frames += event.n_frames;
        outcome->length_ms = event.length_ms;
        append_bytes(outcome->media, event.media);
        g_byte_array_set_size(outcome->header, 0);
        append_bytes(outcome->header, event.header);
    }
}

/* @step: bytes per put; 0: all at once; negative: random, seeded by it. */
static Outcome
run(const GByteArray *stream, int step, bool is_finished)
{
    Outcome outcome = {.media = g_byte_array_new(), .header = g_byte_array_new()};
    g_autoptr(KvgAssembler) assembler = kvg_assembler_new();
    g_autoptr(GRand) random = g_rand_new_with_seed((guint32)step);
    for (guint at = 0; at < stream->len;) {
        const gint32 most = step < 0 ? g_rand_int_range(random, 1, 1500) : step;
        const guint left = stream->len - at;
        const guint len = step == 0 ? left : MIN(left, (guint)most);
        kvg_assembler_put(assembler, stream->data + at, len);
        drain(assembler, &outcome);
        at += len;
    }
    if (is_finished) {
        kvg_assembler_finish(assembler);
        drain(assembler, &outcome);
    }
    return outcome;
}

static void
assert_bytes(const GByteArray *actual, const GByteArray *expected)
{
    g_assert_cmpmem(actual->data, actual->len, expected->data, expected->len);
}

/* Runs @stream in all ways; @media: what the fragments must be together. */
static void
check_media(const GByteArray *stream, const GByteArray *media, unsigned n_fragments)
{
    static const int steps[] = {0, 1, 7, 4096, -1, -2, -3};
    for (size_t i = 0; i < G_N_ELEMENTS(steps); i++) {
        g_auto(Outcome) outcome = run(stream, steps[i], true);
        g_assert_cmpint(outcome.error_id, ==, 0);
        g_assert_cmpuint(outcome.n_fragments, ==, n_fragments);
        assert_bytes(outcome.media, media);
    }
}

/* Runs @stream in several ways; each ends in @error_id after @n_fragments. */
static void
check_error(const GByteArray *stream, int error_id, unsigned n_fragments)
{
    static const int steps[] = {0, 5, -1};
    for (size_t i = 0; i < G_N_ELEMENTS(steps); i++) {
        g_auto(Outcome) outcome = run(stream, steps[i], true);
        g_assert_cmpint(outcome.error_id, ==, error_id);
        g_assert_cmpuint(outcome.n_fragments, ==, n_fragments);
    }
}

static void
test_bytes(void)
{
    g_autoptr(GByteArray) stream = g_byte_array_new();
    g_autoptr(GByteArray) media = g_byte_array_new();
    for (unsigned i = 0; i < 5; i++)
        put_cluster(media, BASE_MS + i * 2000, 2);
    put_header(stream, 2);
    g_byte_array_append(stream, media->data, media->len);
    check_media(stream, media, 5);

    g_auto(Outcome) outcome = run(stream, 0, true);
    g_autoptr(GBytes) header = make_header(2);
    g_assert_cmpuint(outcome.n_frames, ==, 100);
    g_assert_cmpuint(outcome.timecode, ==, BASE_MS + 8000);
    g_assert_cmpint(outcome.length_ms, ==, 2001); /* 0..1801 ms and a last frame of 200 ms */
    g_assert_cmpuint(outcome.header->len, ==, g_bytes_get_size(header) + 7); /* Segment size */

    g_auto(Outcome) torn = run(stream, -9, false);
    g_assert_cmpuint(torn.n_begun, ==, 5);
    g_assert_cmpuint(torn.n_fragments, ==, 4);
}

static void
test_tags(void)
{
    g_autoptr(GByteArray) stream = g_byte_array_new();
    g_autoptr(GByteArray) media = g_byte_array_new();
    put_cluster(media, BASE_MS, 1);
    kvg_mkv_write_tag(media, "place", "gate");
    kvg_mkv_write_tag(media, END_TAG, "");
    const guint first = media->len;
    put_cluster(media, BASE_MS + 2000, 1);
    kvg_mkv_write_tag(media, "place", "door");
    put_header(stream, 1);
    kvg_mkv_write_tag(stream, "before", "the first Cluster");
    g_byte_array_append(stream, media->data, media->len);
    check_media(stream, media, 2);

    /* The tag completes the fragment before anything follows it. */
    g_byte_array_set_size(stream, stream->len - (media->len - first));
    g_auto(Outcome) outcome = run(stream, 3, false);
    g_assert_cmpuint(outcome.n_fragments, ==, 1);

    /* Behind it there is no fragment that more tags could belong to. */
    kvg_mkv_write_tag(stream, "late", "tag");
    kvg_mkv_write_tag(stream, END_TAG, "");
    put_cluster(stream, BASE_MS + 4000, 1);
    g_byte_array_set_size(media, first);
    put_cluster(media, BASE_MS + 4000, 1);
    check_media(stream, media, 2);
}

/* Cues and Void behind a Cluster are part of what is stored; so is an empty Cluster size. */
static void
test_other_elements(void)
{
    g_autoptr(GByteArray) stream = g_byte_array_new();
    g_autoptr(GByteArray) media = g_byte_array_new();
    put_cluster(media, BASE_MS, 1);
    PUT_RAW(media, "\x1C\x53\xBB\x6B\x83"
                   "abc");
    kvg_mkv_write_tag(media, END_TAG, "");
    put_cluster(media, BASE_MS + 2000, 1);
    PUT_RAW(media, "\xEC\x84"
                   "void");
    PUT_RAW(media, "\x1C\x53\xBB\x6B\x80");
    put_header(stream, 1);
    g_byte_array_append(stream, media->data, media->len);
    check_media(stream, media, 2);
    PUT_RAW(stream, "\x1C\x53\xBB\x6B\x88"
                    "short");
    check_error(stream, 4006, 1);
}

static void
test_second_header(void)
{
    g_autoptr(GByteArray) stream = g_byte_array_new();
    g_autoptr(GByteArray) media = g_byte_array_new();
    put_header(stream, 2);
    put_cluster(stream, BASE_MS, 2);
    put_header(stream, 2);
    /* Belongs to the fragment that comes, whatever it is called. */
    kvg_mkv_write_tag(stream, END_TAG, "");
    put_cluster(stream, BASE_MS + 2000, 2);
    put_header(stream, 2);
    put_cluster(media, BASE_MS, 2);
    put_cluster(media, BASE_MS + 2000, 2);
    check_media(stream, media, 2);

    /* A header that no Cluster follows, with tags: the fragment ends before it. */
    kvg_mkv_write_tag(stream, "a", "b");
    check_media(stream, media, 2);

    g_autoptr(GByteArray) other = g_byte_array_new();
    put_header(other, 2);
    put_cluster(other, BASE_MS, 2);
    put_header(other, 1);
    put_cluster(other, BASE_MS + 2000, 1);
    check_error(other, 4010, 1);
}

static void
test_length(void)
{
    g_autoptr(GByteArray) stream = g_byte_array_new();
    put_header(stream, 1);
    kvg_mkv_write_cluster(stream, 1000);
    put_block(stream, 1, 0, 10);
    put_block(stream, 1, 120, 10); /* decoding order: P B B */
    put_block(stream, 1, 40, 10);
    put_block(stream, 1, 80, 10);
    g_auto(Outcome) reordered = run(stream, 0, true);
    g_assert_cmpint(reordered.length_ms, ==, 160);

    /* A lone frame lasts as long as frames did before. */
    kvg_mkv_write_cluster(stream, 1160);
    put_block(stream, 1, 0, 10);
    g_auto(Outcome) lone = run(stream, 0, true);
    g_assert_cmpint(lone.length_ms, ==, 40);

    /* BlockGroup { Block(track 1, +0), BlockDuration 1000 } */
    kvg_mkv_write_cluster(stream, 1200);
    PUT_RAW(stream, "\xA0\x8B\xA1\x85\x81\x00\x00\x00x\x9B\x82\x03\xE8");
    g_auto(Outcome) given = run(stream, 0, true);
    g_assert_cmpint(given.error_id, ==, 0);
    g_assert_cmpint(given.length_ms, ==, 1000);
}

static void
test_errors(void)
{
    g_autoptr(GByteArray) stream = g_byte_array_new();
    check_error(stream, 4006, 0); /* nothing at all */
    PUT_RAW(stream, "this is not Matroska");
    check_error(stream, 4006, 0);
    g_byte_array_set_size(stream, 0);
    put_cluster(stream, BASE_MS, 1);
    check_error(stream, 4006, 0); /* no header */
    g_byte_array_set_size(stream, 0);
    put_header(stream, 1);
    check_error(stream, 4006, 0); /* no frame */
    const guint header_len = stream->len;
    kvg_mkv_write_cluster(stream, BASE_MS);
    check_error(stream, 4006, 0);
    put_block(stream, 1, 0, 100);
    g_byte_array_set_size(stream, stream->len - 1);
    check_error(stream, 4006, 0); /* ends within a block */

    g_byte_array_set_size(stream, header_len);
    put_cluster(stream, BASE_MS, 1);
    const guint cluster_len = stream->len;
    put_block(stream, 2, 1900, 10);
    check_error(stream, 4010, 0);
    g_byte_array_set_size(stream, cluster_len);
    put_block(stream, 1, 20001, 10);
    check_error(stream, 4002, 0);
    g_byte_array_set_size(stream, cluster_len);
    put_cluster(stream, BASE_MS + 1800, 1);
    check_error(stream, 4004, 1);
    g_byte_array_set_size(stream, cluster_len);
    kvg_mkv_write_cluster(stream, BASE_MS + 3000);
    check_error(stream, 4011, 1); /* an empty Cluster after a good one */

    g_byte_array_set_size(stream, 0);
    put_header(stream, 2);
    put_cluster(stream, BASE_MS, 1);
    check_error(stream, 4011, 0);
    g_byte_array_set_size(stream, 0);
    put_header(stream, 4);
    put_cluster(stream, BASE_MS, 4);
    check_error(stream, 4012, 0);

    g_byte_array_set_size(stream, 0);
    put_header(stream, 1);
    put_cluster(stream, G_MAXINT64 / 2, 1);
    g_auto(Outcome) late = run(stream, 0, true); /* the handler judges the time */
    g_assert_cmpint(late.error_id, ==, 0);
}

static void
test_tag_limits(void)
{
    g_autoptr(GByteArray) stream = g_byte_array_new();
    put_header(stream, 1);
    put_cluster(stream, BASE_MS, 1);
    for (unsigned i = 0; i < KVG_ASSEMBLER_MAX_TAGS; i++)
        kvg_mkv_write_tag(stream, "n", "v");
    g_auto(Outcome) full = run(stream, 0, true);
    g_assert_cmpint(full.error_id, ==, 0);
    kvg_mkv_write_tag(stream, "n", "v");
    check_error(stream, 4009, 0);

    g_byte_array_set_size(stream, 0);
    put_header(stream, 1);
    for (unsigned i = 0; i <= KVG_ASSEMBLER_MAX_TAGS; i++)
        kvg_mkv_write_tag(stream, "n", "v");
    put_cluster(stream, BASE_MS, 1);
    check_error(stream, 4009, 0);

    g_byte_array_set_size(stream, 0);
    put_header(stream, 1);
    put_cluster(stream, BASE_MS, 1);
    g_autofree char *name = g_strnfill(KVG_ASSEMBLER_MAX_TAG_NAME + 1, 'n');
    kvg_mkv_write_tag(stream, name, "v");
    check_error(stream, 4009, 0);
}

/* One block that says it is larger than a fragment may be, and many that are together. */
static void
test_size_limit(void)
{
    g_autoptr(GByteArray) stream = g_byte_array_new();
    put_header(stream, 1);
    kvg_mkv_write_cluster(stream, BASE_MS);
    kvg_mkv_write_block_head(stream, 1, 0, true, 60u * 1024 * 1024);
    g_auto(Outcome) claimed = run(stream, 0, false);
    g_assert_cmpint(claimed.error_id, ==, 4001);
    g_assert_true(claimed.error_has_fragment);

    g_byte_array_set_size(stream, 0);
    put_header(stream, 1);
    kvg_mkv_write_cluster(stream, BASE_MS);
    g_autoptr(KvgAssembler) assembler = kvg_assembler_new();
    g_autoptr(GByteArray) block = g_byte_array_new();
    put_block(block, 1, 0, 1024 * 1024);
    g_auto(Outcome) outcome = {.media = g_byte_array_new(), .header = g_byte_array_new()};
    kvg_assembler_put(assembler, stream->data, stream->len);
    unsigned n = 0;
    for (; outcome.error_id == 0 && n < 60; n++) {
        kvg_assembler_put(assembler, block->data, block->len);
        drain(assembler, &outcome);
    }
    g_assert_cmpint(outcome.error_id, ==, 4001);
    g_assert_cmpuint(n, ==, 50);
    /* Nothing more is kept after a failure. */
    const size_t held = kvg_assembler_held_bytes(assembler);
    kvg_assembler_put(assembler, block->data, block->len);
    g_assert_cmpuint(kvg_assembler_held_bytes(assembler), ==, held);
}

/* An element without end that is skipped unread: collected as part of an open fragment, up to its
 * limit; behind a fragment not at all. */
static void
check_endless_element(bool is_open, int error_id)
{
    g_autoptr(GByteArray) stream = g_byte_array_new();
    put_header(stream, 1);
    put_cluster(stream, BASE_MS, 1);
    if (!is_open)
        kvg_mkv_write_tag(stream, END_TAG, "");
    PUT_RAW(stream, "\x1C\x53\xBB\x6B\x01\x10\x00\x00\x00\x00\x00\x00"); /* Cues */
    g_autoptr(KvgAssembler) assembler = kvg_assembler_new();
    g_auto(Outcome) outcome = {.media = g_byte_array_new(), .header = g_byte_array_new()};
    kvg_assembler_put(assembler, stream->data, stream->len);
    g_autofree uint8_t *zeros = g_malloc0(1024 * 1024);
    for (unsigned i = 0; outcome.error_id == 0 && i < 60; i++) {
        kvg_assembler_put(assembler, zeros, 1024 * 1024);
        drain(assembler, &outcome);
        g_assert_true(is_open || kvg_assembler_held_bytes(assembler) < 4u * 1024 * 1024);
    }
    g_assert_cmpint(outcome.error_id, ==, error_id);
}

static void
test_endless_element(void)
{
    check_endless_element(true, 4001);
    check_endless_element(false, 0);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/server/assembler/bytes", test_bytes);
    g_test_add_func("/server/assembler/tags", test_tags);
    g_test_add_func("/server/assembler/other-elements", test_other_elements);
    g_test_add_func("/server/assembler/second-header", test_second_header);
    g_test_add_func("/server/assembler/length", test_length);
    g_test_add_func("/server/assembler/errors", test_errors);
    g_test_add_func("/server/assembler/tag-limits", test_tag_limits);
    g_test_add_func("/server/assembler/size-limit", test_size_limit);
    g_test_add_func("/server/assembler/endless-element", test_endless_element);
    return g_test_run();
}
