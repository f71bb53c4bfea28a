/* Our writers before outside judges: real encoder output is parsed, written again as Matroska and
 * as fragmented MP4, and given to ffprobe and matroskademux. Skipped where those programs are
 * missing. */
#include "media/fmp4.h"
#include "media/mkv_parser.h"
#include "media/mkv_writer.h"

#include <glib/gstdio.h>
#include <kvg/error.h>
#include <string.h>

typedef struct {
    uint8_t track;
    int64_t pts_ms;
    bool key;
    const uint8_t *data;
    size_t len;
} Frame;

typedef struct {
    char *folder;
    KvgMkvParser *parser;
    const KvgTrack *tracks;
    size_t n_tracks;
    GArray *frames;
} Media;

static bool
run(const char *folder, const char *command, char **output)
{
    g_auto(GStrv) argv = g_strsplit(command, " ", 0);
    g_autofree char *errors = NULL;
    g_autoptr(GError) error = NULL;
    int status = 0;
    if (!g_spawn_sync(folder, argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, output, &errors, &status,
                      &error))
        g_error("%s: %s", command, error->message);
    if (status != 0 || (errors != NULL && errors[0] != '\0'))
        g_test_message("%s: status %d: %s", command, status, errors);
    return status == 0 && (errors == NULL || errors[0] == '\0');
}

static char *
path_of(const Media *media, const char *name)
{
    return g_build_filename(media->folder, name, NULL);
}

static void
load(Media *media, const char *encode)
{
    g_autoptr(GError) error = NULL;
    media->folder = g_dir_make_tmp("kvg-media-XXXXXX", &error);
    g_assert_no_error(error);
    g_assert_true(run(media->folder, encode, NULL));
    g_autofree char *path = path_of(media, "in.mkv");
    g_autofree char *bytes = NULL;
    gsize len;
    g_assert_true(g_file_get_contents(path, &bytes, &len, NULL));
    media->parser = kvg_mkv_parser_new();
    kvg_mkv_parser_put(media->parser, bytes, len);
    media->frames = g_array_new(FALSE, FALSE, sizeof(Frame));
    KvgMkvEvent event;
    uint64_t timecode = 0;
    while (kvg_mkv_parser_step(media->parser, &event, &error) != KVG_MKV_NEED_MORE) {
        g_assert_no_error(error);
        if (event.kind == KVG_MKV_HEADER)
            media->tracks = kvg_mkv_parser_tracks(media->parser, &media->n_tracks);
        if (event.kind == KVG_MKV_CLUSTER)
            timecode = event.timecode;
        if (event.kind != KVG_MKV_BLOCK)
            continue;
        const Frame frame = {.track = event.track,
                             .pts_ms = (int64_t)timecode + event.relative,
                             .key = event.key,
                             .data = event.data,
                             .len = event.len};
        g_array_append_val(media->frames, frame);
    }
}

static void
unload(Media *media)
{
    static const char *const names[] = {"in.mkv", "out.mkv", "out.bin", "1.mp4", "2.mp4"};
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *path = path_of(media, names[i]);
        g_unlink(path);
    }
    g_assert_cmpint(g_rmdir(media->folder), ==, 0);
    kvg_mkv_parser_free(media->parser);
    g_array_unref(media->frames);
    g_free(media->folder);
}

/* A cluster at each key frame of track 1. */
static void
write_mkv(const Media *media)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    g_autoptr(GBytes) header = kvg_mkv_write_header(media->tracks, media->n_tracks,
                                                    (const uint8_t *)"0123456789abcdef", "kvg");
    g_byte_array_append(out, g_bytes_get_data(header, NULL), (guint)g_bytes_get_size(header));
    int64_t start = 0;
    for (guint i = 0; i < media->frames->len; i++) {
        const Frame *frame = &g_array_index(media->frames, Frame, i);
        if (i == 0 || (frame->track == 1 && frame->key)) {
            start = frame->pts_ms;
            kvg_mkv_write_cluster(out, (uint64_t)start);
        }
        kvg_mkv_write_block_head(out, frame->track, (int16_t)(frame->pts_ms - start), frame->key,
                                 frame->len);
        g_byte_array_append(out, frame->data, (guint)frame->len);
    }
    kvg_mkv_write_tag(out, "AWS_KINESISVIDEO_END_OF_FRAGMENT", "");
    g_autofree char *path = path_of(media, "out.mkv");
    g_assert_true(g_file_set_contents(path, (const char *)out->data, out->len, NULL));
}

static void
check_demux(const Media *media)
{
    g_assert_true(run(media->folder,
                      "gst-launch-1.0 -q filesrc location=out.mkv ! matroskademux name=d d.video_0 "
                      "! filesink location=out.bin",
                      NULL));
    g_autoptr(GByteArray) expected = g_byte_array_new();
    for (guint i = 0; i < media->frames->len; i++) {
        const Frame *frame = &g_array_index(media->frames, Frame, i);
        if (frame->track == 1)
            g_byte_array_append(expected, frame->data, (guint)frame->len);
    }
    g_autofree char *path = path_of(media, "out.bin");
    g_autofree char *bytes = NULL;
    gsize len;
    g_assert_true(g_file_get_contents(path, &bytes, &len, NULL));
    g_assert_cmpmem(bytes, (int)len, expected->data, (int)expected->len);
}

/* Init segment and one fragment per key frame of @track (all in one for audio). */
static guint
write_mp4(const Media *media, const KvgTrack *track)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GByteArray) out = g_byte_array_new();
    g_autoptr(GBytes) init = kvg_fmp4_write_init(track, &error);
    g_assert_no_error(error);
    g_byte_array_append(out, g_bytes_get_data(init, NULL), (guint)g_bytes_get_size(init));
    g_autoptr(GArray) samples = g_array_new(FALSE, FALSE, sizeof(KvgMp4Sample));
    guint n = 0;
    uint32_t sequence = 0;
    int64_t start = 0;
    for (guint i = 0; i <= media->frames->len; i++) {
        const Frame *frame =
            i < media->frames->len ? &g_array_index(media->frames, Frame, i) : NULL;
        if (frame != NULL && frame->track != track->number)
            continue;
        const bool cut = frame == NULL || (frame->key && track->type == KVG_TRACK_VIDEO);
        if (cut && samples->len > 0) {
            const int64_t length = frame != NULL ? frame->pts_ms - start : 0;
            const KvgMp4Sample *data = (const KvgMp4Sample *)(void *)samples->data;
            g_autoptr(GBytes) fragment = kvg_fmp4_write_fragment(track, ++sequence, start, length,
                                                                 data, samples->len, &error);
            g_assert_no_error(error);
            g_byte_array_append(out, g_bytes_get_data(fragment, NULL),
                                (guint)g_bytes_get_size(fragment));
            g_array_set_size(samples, 0);
        }
        if (frame == NULL)
            break;
        if (samples->len == 0)
            start = frame->pts_ms;
        const KvgMp4Sample sample = {.pts_ms = frame->pts_ms - start,
                                      .duration_ms = -1,
                                      .key = frame->key,
                                      .data = frame->data,
                                      .len = frame->len};
        g_array_append_val(samples, sample);
        n++;
    }
    g_autofree char *name = g_strdup_printf("%u.mp4", track->number);
    g_autofree char *path = path_of(media, name);
    g_assert_true(g_file_set_contents(path, (const char *)out->data, out->len, NULL));
    return n;
}

/* Frames, and that each decoding time follows the one before by the same step (within 1 ms). */
static void
check_mp4(const Media *media, const KvgTrack *track, guint n_frames, double seconds)
{
    g_autofree char *probe =
        g_strdup_printf("ffprobe -v error -show_entries packet=dts_time,duration_time "
                        "-of csv=p=0 %u.mp4",
                        track->number);
    g_autofree char *output = NULL;
    g_assert_true(run(media->folder, probe, &output));
    g_auto(GStrv) lines = g_strsplit(g_strchomp(output), "\n", 0);
    g_assert_cmpuint(g_strv_length(lines), ==, n_frames);
    double end = -1;
    double total = 0;
    for (guint i = 0; lines[i] != NULL; i++) {
        char *rest;
        const double dts = g_ascii_strtod(lines[i], &rest);
        /* The demuxer gives no duration for the first packet of AAC. */
        const bool is_unknown = i == 0 && strcmp(rest, ",N/A") == 0;
        const double duration =
            is_unknown ? 0.021 : g_ascii_strtod(*rest == ',' ? rest + 1 : "0", NULL);
        g_assert_cmpfloat(duration, >, 0);
        if (i > 0)
            g_assert_cmpfloat_with_epsilon(dts, end, 0.0015);
        end = dts + duration;
        total += duration;
    }
    g_assert_cmpfloat_with_epsilon(total, seconds, 0.1);
    /* The decoder is the last judge. */
    g_autofree char *decode =
        g_strdup_printf("ffmpeg -v error -xerror -i %u.mp4 -f null -", track->number);
    g_assert_true(run(media->folder, decode, NULL));
}

static void
judge(const char *encode, double seconds)
{
    static const char *const programs[] = {"ffmpeg", "ffprobe", "gst-launch-1.0"};
    for (size_t i = 0; i < G_N_ELEMENTS(programs); i++) {
        g_autofree char *found = g_find_program_in_path(programs[i]);
        if (found == NULL) {
            g_test_skip("ffmpeg, ffprobe or gst-launch-1.0 is not installed");
            return;
        }
    }
    Media media = {0};
    load(&media, encode);
    write_mkv(&media);
    g_autofree char *output = NULL;
    g_assert_true(
        run(media.folder, "ffprobe -v error -show_entries packet=pts_time out.mkv", &output));
    check_demux(&media);
    for (size_t i = 0; i < media.n_tracks; i++) {
        const guint n = write_mp4(&media, &media.tracks[i]);
        check_mp4(&media, &media.tracks[i], n, seconds);
    }
    unload(&media);
}

#define FFMPEG "ffmpeg -v error -y -f lavfi -i testsrc2=size=318x178:rate=25:duration=4 "

static void
test_h264_aac(void)
{
    judge(FFMPEG
          "-f lavfi -i sine=sample_rate=48000:duration=4 -pix_fmt yuv420p -c:v libx264 -g 25 "
          "-threads 1 -bf 0 -c:a aac -shortest in.mkv",
          4);
}

static void
test_h264_b_frames(void)
{
    judge(FFMPEG "-pix_fmt yuv420p -c:v libx264 -g 50 -bf 2 -threads 1 in.mkv", 4);
}

static void
test_h265(void)
{
    judge(FFMPEG "-pix_fmt yuv420p -c:v libx265 -x265-params "
                 "log-level=none:keyint=25:bframes=0:pools=1 in.mkv",
          4);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/judges/h264-aac", test_h264_aac);
    g_test_add_func("/judges/h264-b-frames", test_h264_b_frames);
    g_test_add_func("/judges/h265", test_h265);
    return g_test_run();
}
