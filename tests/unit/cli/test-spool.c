/* kvg spool: what it says, what it exports, and its exit codes, while a writer holds the spool. */
#include "base/json.h"
#include "cli/command.h"
#include "cli/spool.h"
#include "media/mkv_parser.h"
#include "os/file.h"
#include <fcntl.h>
#include <kvg/error.h>
#include <string.h>

#define FRAMES 5

typedef struct {
    char *root, *spools, *memory;
    KvgSpool *spool; /* of camera gate: in use */
} Fixture;

static void
put_tracks(KvgSpool *spool, const char *codec)
{
    const KvgTrack track = {
        .number = 1, .type = KVG_TRACK_VIDEO, .codec_id = codec, .width = 64, .height = 48};
    g_assert_true(kvg_spool_put_tracks(spool, &track, 1, NULL));
}

static void
put_fragments(KvgSpool *spool, unsigned from, unsigned to)
{
    for (unsigned n = from; n <= to; n++) {
        g_assert_true(kvg_spool_begin_fragment(spool, 1700000000000 + n * 1000, NULL));
        for (unsigned i = 0; i < FRAMES; i++) {
            g_autofree char *text = g_strdup_printf("frame %u of %u", i, n);
            g_autoptr(GBytes) data = g_bytes_new(text, strlen(text));
            const int64_t us = (1700000000000 + n * 1000 + i * 40) * 1000;
            const KvgFrame frame = {
                .track = 1, .key = i == 0, .pts_us = us, .dts_us = us, .data = data};
            g_assert_true(kvg_spool_put_frame(spool, &frame, NULL));
        }
        g_assert_true(kvg_spool_end_fragment(spool, NULL));
    }
}

static KvgSpool *
open_mode(const Fixture *f, const char *name, bool hold)
{
    g_autofree char *path = g_build_filename(f->spools, name, NULL);
    g_autofree char *memory = kvg_spool_memory_folder(f->memory, f->spools, name);
    const KvgSpoolOptions options = {.path = path, .memory_path = memory, .hold = hold};
    g_autoptr(GError) error = NULL;
    KvgSpool *spool = kvg_spool_open(&options, &error);
    g_assert_no_error(error);
    return spool;
}

static KvgSpool *
open_spool(const Fixture *f, const char *name)
{
    return open_mode(f, name, false);
}

static void
set_up(Fixture *f, const void *data)
{
    f->root = g_dir_make_tmp("kvg-cli-XXXXXX", NULL);
    f->spools = g_build_filename(f->root, "spools", NULL);
    f->memory = g_build_filename(f->root, "memory", NULL);
    f->spool = open_spool(f, "gate");
    put_tracks(f->spool, "V_MPEG4/ISO/AVC");
    put_fragments(f->spool, 1, 3);
}

static void
tear_down(Fixture *f, const void *data)
{
    kvg_spool_close(f->spool);
    g_assert_true(kvg_dir_remove(f->root, NULL));
    g_free(f->root);
    g_free(f->spools);
    g_free(f->memory);
}

/* Runs kvg spool ARGUMENTS; returns its exit code and what it wrote to the standard output. */
static int
run(const Fixture *f, const char *arguments, char **output, size_t *len)
{
    g_autofree char *line =
        g_strdup_printf("spool %s --spool %s --memory-path %s", arguments, f->spools, f->memory);
    g_auto(GStrv) argv = g_strsplit(line, " ", -1);
    g_autofree void *shallow = g_memdup2(argv, (g_strv_length(argv) + 1) * sizeof *argv);
    g_autofree char *path = g_build_filename(f->root, "output", NULL);
    fflush(stdout);
    g_auto(KvgFd) before = dup(STDOUT_FILENO);
    g_auto(KvgFd) file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    g_assert_cmpint(dup2(file, STDOUT_FILENO), >=, 0);
    const int code = kvg_cmd_spool((int)g_strv_length(argv), shallow);
    fflush(stdout);
    g_assert_cmpint(dup2(before, STDOUT_FILENO), >=, 0);
    g_assert_true(g_file_get_contents(path, output, len, NULL));
    return code;
}

static json_t *
run_json(const Fixture *f, const char *arguments, int expected)
{
    g_autofree char *output = NULL;
    size_t len;
    g_assert_cmpint(run(f, arguments, &output, &len), ==, expected);
    json_t *json = kvg_json_parse_object(output, len, NULL);
    g_assert_nonnull(json);
    return json;
}

/* Reads Matroska back: fragment by fragment, from time zero. */
static void
check_mkv(const void *data, size_t len, unsigned from, unsigned to)
{
    g_autoptr(KvgMkvParser) parser = kvg_mkv_parser_new();
    g_autoptr(GError) error = NULL;
    kvg_mkv_parser_put(parser, data, len);
    unsigned n = from - 1, i = 0, headers = 0;
    KvgMkvEvent event;
    while (kvg_mkv_parser_step(parser, &event, &error) != KVG_MKV_NEED_MORE) {
        g_assert_no_error(error);
        if (event.kind == KVG_MKV_HEADER)
            headers++;
        if (event.kind == KVG_MKV_CLUSTER) {
            n++;
            i = 0;
            g_assert_cmpuint(event.timecode, ==, (n - from) * 1000);
        }
        if (event.kind == KVG_MKV_BLOCK) {
            g_autofree char *text = g_strdup_printf("frame %u of %u", i, n);
            g_assert_cmpmem(event.data, (int)event.len, text, (int)strlen(text));
            g_assert_cmpint(event.relative, ==, (int)i * 40);
            g_assert_cmpint(event.key, ==, i++ == 0);
        }
    }
    g_assert_cmpuint(headers, ==, 1);
    g_assert_cmpuint(n, ==, to);
    g_assert_cmpuint(i, ==, FRAMES);
}

static void
check_file(const Fixture *f, const char *name, unsigned from, unsigned to)
{
    g_autofree char *path = g_build_filename(f->root, name, NULL);
    g_autofree char *content = NULL;
    size_t len;
    g_assert_true(g_file_get_contents(path, &content, &len, NULL));
    check_mkv(content, len, from, to);
}

static void
test_list(Fixture *f, const void *data)
{
    KvgSpool *other = open_spool(f, "dock");
    g_autoptr(json_t) json = run_json(f, "list --output json", 0);
    const json_t *spools = json_object_get(json, "spools");
    g_assert_cmpuint(json_array_size(spools), ==, 2);
    const json_t *dock = json_array_get(spools, 0), *gate = json_array_get(spools, 1);
    g_assert_cmpstr(kvg_json_get_string(dock, "name"), ==, "dock");
    g_assert_cmpint(kvg_json_get_int(dock, "fragments", -1), ==, 0);
    g_assert_null(kvg_json_get_string(dock, "oldest"));
    g_assert_cmpstr(kvg_json_get_string(gate, "name"), ==, "gate");
    g_assert_cmpint(kvg_json_get_int(gate, "fragments", -1), ==, 3);
    g_assert_cmpint(kvg_json_get_int(gate, "memory_bytes", -1), >, 0);
    g_assert_cmpint(kvg_json_get_int(gate, "disk_bytes", -1), ==, 0);
    g_assert_cmpstr(kvg_json_get_string(gate, "oldest"), ==, "2023-11-14T22:13:21Z");
    g_assert_cmpstr(kvg_json_get_string(gate, "newest"), ==, "2023-11-14T22:13:23Z");
    kvg_spool_close(other);
    g_autofree char *text = NULL;
    size_t len;
    g_assert_cmpint(run(f, "list gate", &text, &len), ==, 0);
    g_assert_nonnull(strstr(text, "FRAGMENTS"));
    g_assert_nonnull(strstr(text, "gate"));
    g_assert_null(strstr(text, "dock"));
}

static void
test_list_held(Fixture *f, const void *data)
{
    g_autoptr(KvgSpool) spool = open_mode(f, "door", true);
    put_tracks(spool, "V_MPEG4/ISO/AVC");
    put_fragments(spool, 1, 3);
    const KvgTimeRange range = {1700000002000, 1700000003000};
    g_assert_true(kvg_spool_release(spool, "bell", &range, NULL));
    kvg_spool_settle(spool);
    g_autoptr(json_t) json = run_json(f, "list door --output json", 0);
    const json_t *door = json_array_get(json_object_get(json, "spools"), 0);
    g_assert_cmpint(kvg_json_get_int(door, "held_fragments", -1), ==, 2);
    const json_t *here = json_array_get(json_object_get(door, "here"), 0);
    g_assert_cmpint(json_integer_value(json_array_get(here, 0)), ==, 1700000001000);
    g_assert_cmpint(json_integer_value(json_array_get(here, 1)), ==, 1700000003160);
    const json_t *asked = json_array_get(json_object_get(door, "asked_for"), 0);
    g_assert_cmpstr(kvg_json_get_string(asked, "id"), ==, "bell");
    g_assert_cmpint(kvg_json_get_int(asked, "waiting", -1), ==, 1);
    g_autofree char *text = NULL;
    size_t len;
    g_assert_cmpint(run(f, "list", &text, &len), ==, 0);
    g_assert_nonnull(strstr(text, "here       2023-11-14T22:13:21Z to 2023-11-14T22:13:23Z"));
    g_assert_nonnull(strstr(text, "(bell): 0 uploaded, 1 waiting"));
    g_free(text);
    g_assert_cmpint(run(f, "verify door", &text, &len), ==, 0);
}

/* One flipped byte in a file that is synced: the fragment it is in cannot be read. */
static void
test_verify(Fixture *f, const void *data)
{
    g_autoptr(json_t) before = run_json(f, "verify gate --output json", 0);
    const json_t *gate = json_array_get(json_object_get(before, "spools"), 0);
    g_assert_true(kvg_json_get_bool(gate, "whole", false));
    g_assert_cmpint(kvg_json_get_int(gate, "frames", 0), ==, 3 * FRAMES);
    kvg_spool_close(f->spool); /* to disk */
    g_autofree char *path = g_build_filename(f->spools, "gate/0000000000000000.seg", NULL);
    g_autofree char *content = NULL;
    size_t len;
    g_assert_true(g_file_get_contents(path, &content, &len, NULL));
    char *frame = memmem(content, len, "frame 2 of 2", 12);
    g_assert_nonnull(frame);
    frame[0] ^= 1;
    g_assert_true(g_file_set_contents(path, content, (gssize)len, NULL));
    g_autoptr(json_t) after = run_json(f, "verify --output json", 1);
    gate = json_array_get(json_object_get(after, "spools"), 0);
    g_assert_false(kvg_json_get_bool(gate, "whole", true));
    g_assert_cmpint(kvg_json_get_int(gate, "damaged", 0), ==, 1);
    f->spool = open_spool(f, "gate");
}

static void
test_export(Fixture *f, const void *data)
{
    g_autofree char *arguments = g_strdup_printf("export gate %s/gate.mkv --output json", f->root);
    g_autoptr(json_t) json = run_json(f, arguments, 0);
    g_assert_cmpint(kvg_json_get_int(json, "fragments", 0), ==, 3);
    g_assert_cmpint(kvg_json_get_int(json, "frames", 0), ==, 3 * FRAMES);
    check_file(f, "gate.mkv", 1, 3);
    g_autofree char *output = NULL;
    size_t len;
    g_assert_cmpint(run(f, "export gate - --from 2", &output, &len), ==, 0);
    check_mkv(output, len, 2, 3);
    /* the writer was not disturbed */
    put_fragments(f->spool, 4, 4);
    g_autoptr(KvgSpoolReader) reader = kvg_spool_reader_new(f->spool);
    unsigned n = 0;
    for (;;) {
        g_auto(KvgSpoolEvent) event = {0};
        g_assert_true(kvg_spool_read(reader, &event, NULL));
        if (event.kind == KVG_SPOOL_NONE)
            break;
        n += event.kind == KVG_SPOOL_FRAME;
    }
    g_assert_cmpuint(n, ==, 4 * FRAMES);
}

/* Other tracks: a file of their own; the standard output says where to go on. */
static void
test_export_tracks(Fixture *f, const void *data)
{
    put_tracks(f->spool, "V_MPEGH/ISO/HEVC");
    put_fragments(f->spool, 4, 5);
    g_autofree char *arguments = g_strdup_printf("export gate %s/gate.mkv --output json", f->root);
    g_autoptr(json_t) json = run_json(f, arguments, 0);
    g_assert_cmpuint(json_array_size(json_object_get(json, "files")), ==, 2);
    check_file(f, "gate.mkv", 1, 3);
    check_file(f, "gate-2.mkv", 4, 5);
    g_autofree char *first = NULL, *second = NULL;
    size_t len;
    g_assert_cmpint(run(f, "export gate -", &first, &len), ==, 1);
    check_mkv(first, len, 1, 3);
    g_assert_cmpint(run(f, "export gate - --from 4", &second, &len), ==, 0);
    check_mkv(second, len, 4, 5);
}

static void
test_usage(Fixture *f, const void *data)
{
    static const struct {
        const char *arguments;
        int code;
    } rows[] = {
        {"export", 2},
        {"export gate - more", 2},
        {"list --output xml", 2},
        {"forget gate", 2},
        {"export gate - --from -1", 2},
        {"list --colour", 2},
        {"export lobby -", 1},
        {"export ../../etc -", 1},
        {"export gate - --from 99", 1},
        {"export gate /nowhere/gate.mkv", 1},
        {"verify", 0},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_test_message("%s", rows[i].arguments);
        g_autofree char *output = NULL;
        size_t len;
        g_assert_cmpint(run(f, rows[i].arguments, &output, &len), ==, rows[i].code);
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_log_set_writer_func(g_log_writer_standard_streams, NULL, NULL);
#define ADD(name, test) g_test_add("/cli/spool/" name, Fixture, NULL, set_up, test, tear_down)
    ADD("list", test_list);
    ADD("list/held", test_list_held);
    ADD("verify", test_verify);
    ADD("export", test_export);
    ADD("export-tracks", test_export_tracks);
    ADD("usage", test_usage);
    return g_test_run();
}
