#include "testcam/clip.h"
#include <kvg/error.h>
#include <string.h>

#define CLIP_S 4

static const struct {
    const char *name, *payloader, *parser;
} codecs[TESTCAM_N_CODECS] = {
    [TESTCAM_H264] = {"h264", "rtph264pay name=pay0 pt=96 config-interval=-1",
                      "h264parse config-interval=-1 ! "
                      "video/x-h264,stream-format=byte-stream,alignment=au"},
    [TESTCAM_H265] = {"h265", "rtph265pay name=pay0 pt=96 config-interval=-1",
                      "h265parse config-interval=-1 ! "
                      "video/x-h265,stream-format=byte-stream,alignment=au"},
    [TESTCAM_MJPEG] = {"mjpeg", "rtpjpegpay name=pay0 pt=26", "identity"},
};

const char *
testcam_codec_to_string(TestcamCodec codec)
{
    return codecs[codec].name;
}

TestcamCodec
testcam_codec_from_string(const char *text)
{
    int codec = 0;
    while (codec < TESTCAM_N_CODECS && g_strcmp0(text, codecs[codec].name) != 0)
        codec++;
    return (TestcamCodec)codec;
}

const char *
testcam_codec_payloader(TestcamCodec codec)
{
    return codecs[codec].payloader;
}

char *
testcam_codec_encoder(TestcamCodec codec, int fps, int kbps)
{
    if (codec == TESTCAM_MJPEG)
        return g_strdup("jpegenc quality=80");
    if (codec == TESTCAM_H265)
        return g_strdup_printf("x265enc tune=zerolatency speed-preset=ultrafast bitrate=%d "
                               "key-int-max=%d option-string=log-level=none:pools=none:bframes=0 "
                               "! video/x-h265,profile=main",
                               kbps, fps);
    return g_strdup_printf("x264enc tune=zerolatency speed-preset=superfast bitrate=%d "
                           "key-int-max=%d bframes=0 threads=1 ! video/x-h264,profile=main",
                           kbps, fps);
}

/* The moving rings are hard to encode, so that the bit rate asked for is reached. */
static GstElement *
build(const TestcamClip *clip, GError **error)
{
    g_autofree char *encoder = testcam_codec_encoder(clip->codec, clip->fps, clip->kbps);
    g_autofree char *line =
        g_strdup_printf("videotestsrc num-buffers=%d pattern=zone-plate kx2=20 ky2=20 kt=6 ! "
                        "video/x-raw,format=I420,width=%d,height=%d,framerate=%d/1 ! %s ! %s ! "
                        "appsink name=sink sync=false max-buffers=0",
                        clip->fps * CLIP_S, clip->width, clip->height, clip->fps, encoder,
                        codecs[clip->codec].parser);
    return gst_parse_launch(line, error);
}

static TestcamClip *
encode(TestcamCodec codec, int width, int height, int fps, int kbps, GError **error)
{
    TestcamClip clip = {codec, width, height, fps, kbps, NULL};
    g_autoptr(GstElement) pipeline = build(&clip, error);
    if (pipeline == NULL)
        return NULL;
    clip.frames = g_ptr_array_new_with_free_func((GDestroyNotify)gst_buffer_unref);
    g_autoptr(GstElement) sink = gst_bin_get_by_name(GST_BIN(pipeline), "sink");
    gst_element_set_state(pipeline, GST_STATE_PLAYING);
    while (true) {
        g_autoptr(GstSample) sample = NULL;
        g_signal_emit_by_name(sink, "pull-sample", &sample);
        if (sample == NULL)
            break;
        GstBuffer *frame = gst_buffer_copy(gst_sample_get_buffer(sample));
        GST_BUFFER_PTS(frame) = GST_BUFFER_DTS(frame) = GST_CLOCK_TIME_NONE;
        g_ptr_array_add(clip.frames, frame);
    }
    gst_element_set_state(pipeline, GST_STATE_NULL);
    if (clip.frames->len == 0) {
        g_ptr_array_unref(clip.frames);
        g_set_error(error, KVG_ERROR, KVG_ERROR_UNSUPPORTED, "cannot encode %s of %dx%d",
                    codecs[codec].name, width, height);
        return NULL;
    }
    return g_memdup2(&clip, sizeof clip);
}

const TestcamClip *
testcam_clip_get(TestcamCodec codec, int width, int height, int fps, int kbps, GError **error)
{
    static GMutex lock;
    static GPtrArray *clips; /* under lock */
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock);
    if (clips == NULL)
        clips = g_ptr_array_new();
    for (guint i = 0; i < clips->len; i++) {
        const TestcamClip *clip = g_ptr_array_index(clips, i);
        if (clip->codec == codec && clip->width == width && clip->height == height &&
            clip->fps == fps && clip->kbps == kbps)
            return clip;
    }
    TestcamClip *clip = encode(codec, width, height, fps, kbps, error);
    if (clip != NULL)
        g_ptr_array_add(clips, clip);
    return clip;
}
