#include "agent/pipeline_private.h"
#include <math.h>

/* The size to encode: within the wanted one, never larger than the source, even, same aspect. */
static void
fit(const KvgPipeline *pipeline, int *width, int *height)
{
    const double scale =
        fmin(1, fmin((double)pipeline->width / *width, (double)pipeline->height / *height));
    *width = MAX((int)lround(*width * scale / 2) * 2, 16);
    *height = MAX((int)lround(*height * scale / 2) * 2, 16);
}

static int
frame_rate(const KvgPipeline *pipeline, const GstStructure *caps)
{
    int numerator = 0, denominator = 1;
    gst_structure_get_fraction(caps, "framerate", &numerator, &denominator);
    const int source =
        numerator > 0 ? (int)lround((double)numerator / denominator) : KVG_PIPELINE_DEFAULT_FPS;
    const int wanted = pipeline->fps != 0 ? (int)pipeline->fps : source;
    return CLAMP(wanted, 1, 60);
}

/* A key frame each second, or one for each fragment. */
static int
key_distance(const KvgPipeline *pipeline, int fps)
{
    return pipeline->fragment_ms != 0 ? (int)(pipeline->fragment_ms * (unsigned)fps / 1000) : fps;
}

static GstElement *
add_encoder(KvgPipeline *pipeline, int fps)
{
    GstElement *encoder = kvg_pipeline_add(pipeline, "x264enc");
    if (encoder == NULL)
        return NULL;
    gst_util_set_object_arg(G_OBJECT(encoder), "tune", "zerolatency");
    gst_util_set_object_arg(G_OBJECT(encoder), "speed-preset", "superfast");
    g_object_set(encoder, "bitrate", pipeline->bitrate_bps / 1000, "key-int-max",
                 key_distance(pipeline, fps), "bframes", 0, "threads", 1, NULL);
    return encoder;
}

bool
kvg_encode(KvgPipeline *pipeline, GstPad *pad, GstCaps *caps)
{
    const GstStructure *structure = gst_caps_get_structure(caps, 0);
    int width = 0, height = 0;
    if (!gst_structure_get_int(structure, "width", &width) ||
        !gst_structure_get_int(structure, "height", &height) || width < 1 || height < 1)
        return false;
    fit(pipeline, &width, &height);
    const int fps = frame_rate(pipeline, structure);
    GstElement *queue = kvg_pipeline_add(pipeline, "queue");
    GstElement *rate = kvg_pipeline_add(pipeline, "videorate");
    g_object_set(queue, "max-size-buffers", 5, "max-size-bytes", 0, "max-size-time", (guint64)0,
                 NULL);
    gst_util_set_object_arg(G_OBJECT(queue), "leaky", "downstream");
    g_object_set(rate, "skip-to-first", TRUE, NULL);
    GstElement *const chain[] = {
        queue,
        rate,
        kvg_pipeline_add(pipeline, "videoscale"),
        kvg_pipeline_add(pipeline, "videoconvert"),
        kvg_pipeline_add_caps(
            pipeline, gst_caps_new_simple("video/x-raw", "format", G_TYPE_STRING, "I420", "width",
                                          G_TYPE_INT, width, "height", G_TYPE_INT, height,
                                          "framerate", GST_TYPE_FRACTION, fps, 1, NULL)),
        add_encoder(pipeline, fps),
        kvg_pipeline_add_caps(
            pipeline, gst_caps_new_simple("video/x-h264", "profile", G_TYPE_STRING, "main", NULL)),
        kvg_intake_add_parser(pipeline),
        kvg_intake_add_avc_filter(pipeline),
        pipeline->sink,
    };
    g_mutex_lock(&pipeline->lock);
    pipeline->info.encoded = true;
    g_mutex_unlock(&pipeline->lock);
    return kvg_pipeline_link(pad, chain, G_N_ELEMENTS(chain));
}
