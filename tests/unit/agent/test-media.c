/* What becomes of a camera's video, in words; what a V4L2 camera is asked for; failures in words;
 * the state machine where pipelines are built anew. */
#include "agent/camera.h"
#include "agent/decision.h"
#include "agent/failure.h"
#include "agent/source_v4l2.h"
#include <gst/gst.h>
#include <kvg/error.h>
#include <string.h>

/* ---- decisions ---- */

static void
expect_decision(const KvgMedia *media, const char *expected)
{
    g_autofree char *said = kvg_media_decision(media);
    g_assert_cmpstr(said, ==, expected);
}

static void
test_passthrough(void)
{
    KvgMedia media = {0};
    expect_decision(&media, NULL);
    media = (KvgMedia){.codec = "h264", .profile = "main", .width = 1280, .height = 720};
    expect_decision(&media, "passthrough: H.264 main 1280x720");
    media.fps = 15;
    media.gop_ms = 1000;
    expect_decision(&media,
                    "passthrough: H.264 main 1280x720 at 15 frames/s, key frame each 1.0 s");
    g_assert_null(kvg_media_unsuitable(&media));
    media.gop_ms = 12000;
    g_autofree char *slow = kvg_media_decision(&media);
    g_assert_nonnull(strstr(slow, "more than 10 s between key frames"));
    g_assert_nonnull(strstr(slow, "video: auto encodes it"));
    media.reorders = true;
    g_assert_nonnull(strstr(kvg_media_unsuitable(&media), "B-frames"));
}

static void
test_encoded(void)
{
    KvgMedia media = {.codec = "jpeg",
                      .width = 1920,
                      .height = 1080,
                      .fps = 25,
                      .encoded = true,
                      .encode_reason = g_strdup("the camera sends MJPEG, which KVS cannot play"),
                      .encoder = "x264enc",
                      .out_width = 1280,
                      .out_height = 720,
                      .out_fps = 25,
                      .bitrate_bps = 1500000};
    expect_decision(&media,
                    "encoded: the camera sends MJPEG, which KVS cannot play; MJPEG 1920x1080 "
                    "at 25 frames/s becomes H.264 1280x720 at 25 frames/s, 1500 kbit/s, by "
                    "x264enc");
    kvg_media_clear(&media);
}

static void
test_profiles(void)
{
    static const struct {
        const char *codec, *profile;
        bool plays;
    } table[] = {{"h264", "constrained-baseline", true},
                 {"h264", "main", true},
                 {"h264", "high", true},
                 {"h264", "progressive-high", true},
                 {"h264", "high-10", false},
                 {"h264", "high-4:2:2", false},
                 {"h264", "high-4:4:4", false},
                 {"h264", "cavlc-4:4:4-intra", false},
                 {"h265", "main", true},
                 {"h265", "main-10", true},
                 {"h265", "main-4:4:4", false},
                 {"h264", "", true}};
    for (size_t i = 0; i < G_N_ELEMENTS(table); i++)
        g_assert_true((kvg_media_unplayable(table[i].codec, table[i].profile) == NULL) ==
                      table[i].plays);
}

/* ---- V4L2 ---- */

#define RAW "video/x-raw,format=YUY2,width=640,height=480,framerate={30/1,15/1};"
#define RAW_SLOW "video/x-raw,format=YUY2,width=1280,height=720,framerate={10/1,5/1};"
#define JPEG "image/jpeg,width={640,1280,1920},height={480,720,1080},framerate={30/1,15/1};"
#define H264                                                                                       \
    "video/x-h264,stream-format=byte-stream,width=[16,1920],height=[16,1080],"                     \
    "framerate=[1/1,30/1];"

static void
test_v4l2(void)
{
    static const struct {
        const char *offered;
        KvgConfigV4l2 wanted;
        const char *chosen; /* type, width, height, rate; NULL: refused */
    } table[] = {
        {RAW_SLOW JPEG H264, {0}, "video/x-h264 1280x720 15"},
        {RAW_SLOW JPEG, {0}, "image/jpeg 1280x720 15"},
        {RAW JPEG, {0}, "video/x-raw 640x480 15"},
        {RAW_SLOW, {0}, "video/x-raw 1280x720 10"},
        {RAW RAW_SLOW JPEG, {.width = 1280, .height = 720, .fps = 5}, "video/x-raw 1280x720 5"},
        {RAW JPEG H264,
         {.format = KVG_V4L2_MJPEG, .width = 1920, .height = 1080, .fps = 30},
         "image/jpeg 1920x1080 30"},
        {RAW JPEG H264, {.format = KVG_V4L2_RAW, .fps = 30}, "video/x-raw 640x480 30"},
        {JPEG, {.format = KVG_V4L2_H264}, NULL},
        {"audio/x-raw;", {0}, NULL},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        g_autoptr(GstCaps) offered = gst_caps_from_string(table[i].offered);
        g_autoptr(GError) error = NULL;
        g_autoptr(GstCaps) chosen = kvg_v4l2_choose(offered, &table[i].wanted, &error);
        if (table[i].chosen == NULL) {
            g_assert_error(error, KVG_ERROR, KVG_ERROR_UNSUPPORTED);
            g_assert_nonnull(strstr(error->message, i == 7 ? "image/jpeg" : "audio/x-raw"));
            continue;
        }
        g_assert_no_error(error);
        const GstStructure *one = gst_caps_get_structure(chosen, 0);
        int width = 0, height = 0, numerator = 0, denominator = 1;
        g_assert_true(gst_structure_get_int(one, "width", &width));
        g_assert_true(gst_structure_get_int(one, "height", &height));
        g_assert_true(gst_structure_get_fraction(one, "framerate", &numerator, &denominator));
        g_autofree char *said = g_strdup_printf("%s %dx%d %d", gst_structure_get_name(one), width,
                                                height, numerator / denominator);
        g_assert_cmpstr(said, ==, table[i].chosen);
    }
}

/* ---- failures ---- */

static void
test_failures(void)
{
    static const struct {
        const char *source;
        bool is_stream;
        int code;
        const char *debug, *said;
        KvgPipelineEnd how;
    } table[] = {
        {"rtsp://h/x", false, GST_RESOURCE_ERROR_NOT_AUTHORIZED, NULL, "correct username",
         KVG_PIPELINE_FAILED},
        {"rtsp://h/x", false, GST_RESOURCE_ERROR_OPEN_READ, "Unauthorized (401)", "refuses user",
         KVG_PIPELINE_FAILED},
        {"rtsp://h/x", false, GST_RESOURCE_ERROR_NOT_FOUND, NULL, "no such path",
         KVG_PIPELINE_FAILED},
        {"rtsp://h/x", false, GST_RESOURCE_ERROR_OPEN_READ_WRITE, "Connection refused",
         "refuses the connection", KVG_PIPELINE_FAILED},
        {"rtsps://h/x", false, GST_RESOURCE_ERROR_OPEN_READ_WRITE, "Unacceptable TLS certificate",
         "rtsp.ca_bundle", KVG_PIPELINE_FAILED},
        {"rtsp://h/x", false, GST_RESOURCE_ERROR_OPEN_READ, NULL, "cannot be reached",
         KVG_PIPELINE_FAILED},
        {"rtsp://h/x", true, GST_STREAM_ERROR_CODEC_NOT_FOUND, NULL, "no installed decoder",
         KVG_PIPELINE_NEEDS_HELP},
        {"v4l2:/dev/video0", false, GST_RESOURCE_ERROR_BUSY, NULL, "in use by another program",
         KVG_PIPELINE_NEEDS_HELP},
        {"v4l2:/dev/video0", false, GST_RESOURCE_ERROR_NOT_FOUND, NULL, "plugged in",
         KVG_PIPELINE_NEEDS_HELP},
        {"file:/x.mp4", true, GST_STREAM_ERROR_TYPE_NOT_FOUND, NULL, "not a video file",
         KVG_PIPELINE_NEEDS_HELP},
        {"shm:/x", false, GST_RESOURCE_ERROR_READ, NULL, "no program writes frames",
         KVG_PIPELINE_NEEDS_HELP},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        g_autoptr(GError) error = g_error_new_literal(
            table[i].is_stream ? GST_STREAM_ERROR : GST_RESOURCE_ERROR, table[i].code, "it failed");
        KvgPipelineEnd how = KVG_PIPELINE_FINISHED;
        g_autofree char *said = kvg_failure_to_words(table[i].source, error, table[i].debug, &how);
        g_assert_nonnull(strstr(said, table[i].said));
        g_assert_true(g_str_has_prefix(said, table[i].source));
        g_assert_cmpint(how, ==, table[i].how);
    }
}

/* ---- the state machine ---- */

static void
go_live(KvgCamera *camera, int64_t at_ms)
{
    kvg_camera_init(camera, true, at_ms);
    g_assert_cmpint(kvg_camera_tick(camera, at_ms), ==, KVG_CAMERA_DO_START);
    kvg_camera_on_frame(camera, at_ms);
    g_assert_cmpint(camera->state, ==, KVG_CAMERA_LIVE);
}

static void
test_change(void)
{
    KvgCamera camera;
    go_live(&camera, 1000);
    kvg_camera_on_change(&camera, "H.265 now", 2000);
    g_assert_cmpint(kvg_camera_tick(&camera, 2000), ==, KVG_CAMERA_DO_START);
    /* Again at once would be for ever. */
    kvg_camera_on_change(&camera, "H.264 now", 2100);
    g_assert_cmpint(kvg_camera_tick(&camera, 2100), ==, KVG_CAMERA_DO_NOTHING);
    g_assert_cmpint(kvg_camera_tick(&camera, 40000), ==, KVG_CAMERA_DO_START);
    kvg_camera_clear(&camera);
}

static void
test_finish(void)
{
    KvgCamera camera;
    go_live(&camera, 1000);
    kvg_camera_on_finish(&camera, "the whole file was played", 2000);
    g_assert_cmpstr(kvg_camera_state_to_string(camera.state), ==, "ended");
    g_assert_cmpint(kvg_camera_tick(&camera, 1000000), ==, KVG_CAMERA_DO_NOTHING);
    kvg_camera_switch(&camera, false, "switched off", 1000000);
    kvg_camera_switch(&camera, true, "switched on", 1000001);
    g_assert_cmpint(kvg_camera_tick(&camera, 1000001), ==, KVG_CAMERA_DO_START);
    kvg_camera_clear(&camera);
}

static void
test_watchdog(void)
{
    KvgCamera camera;
    go_live(&camera, 1000);
    camera.watch_frames_ms = 3000;
    kvg_camera_tick(&camera, 3999);
    g_assert_cmpint(camera.state, ==, KVG_CAMERA_LIVE);
    kvg_camera_remark(&camera, "nothing was acknowledged");
    g_assert_cmpint(camera.state, ==, KVG_CAMERA_LIVE);
    g_assert_cmpstr(camera.reason, ==, "nothing was acknowledged");
    kvg_camera_remark(&camera, NULL);
    g_assert_null(camera.reason);
    kvg_camera_tick(&camera, 4000);
    g_assert_cmpint(camera.state, ==, KVG_CAMERA_STALLED);
    kvg_camera_remark(&camera, "not of a camera that is not live");
    g_assert_cmpstr(camera.reason, ==, "the camera sends no frames");
    kvg_camera_clear(&camera);
}

/* What has worked for long is there again at once; what has not waits. */
static void
test_steady(void)
{
    KvgCamera camera;
    go_live(&camera, 1000);
    kvg_camera_on_frame(&camera, 40000);
    kvg_camera_on_failure(&camera, "it ended the stream", false, 40000);
    g_assert_cmpint(kvg_camera_tick(&camera, 40000), ==, KVG_CAMERA_DO_START);
    kvg_camera_on_failure(&camera, "it refuses", false, 40001);
    g_assert_cmpint(kvg_camera_tick(&camera, 40001), ==, KVG_CAMERA_DO_NOTHING);
    kvg_camera_clear(&camera);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    gst_init(NULL, NULL);
    g_test_add_func("/media/decision/passthrough", test_passthrough);
    g_test_add_func("/media/decision/encoded", test_encoded);
    g_test_add_func("/media/decision/profiles", test_profiles);
    g_test_add_func("/media/v4l2", test_v4l2);
    g_test_add_func("/media/failures", test_failures);
    g_test_add_func("/media/camera/change", test_change);
    g_test_add_func("/media/camera/finish", test_finish);
    g_test_add_func("/media/camera/watchdog", test_watchdog);
    g_test_add_func("/media/camera/steady", test_steady);
    return g_test_run();
}
