#include "agent/pipeline_private.h"
#include <math.h>
#include <string.h>

/* A source that stands still or jumps ahead is not filled up with copies for longer than this. */
#define MAX_COPIES_NS GST_SECOND

/* The size to encode: within the wanted one, never larger than the source, even, same aspect. */
static void
fit(const KvgConfigCamera *camera, int *width, int *height)
{
    const double scale =
        fmin(1, fmin((double)camera->width / *width, (double)camera->height / *height));
    *width = MAX((int)lround(*width * scale / 2) * 2, 16);
    *height = MAX((int)lround(*height * scale / 2) * 2, 16);
}

static int
frame_rate(const KvgConfigCamera *camera, const GstStructure *caps)
{
    int numerator = 0, denominator = 1;
    gst_structure_get_fraction(caps, "framerate", &numerator, &denominator);
    const int source =
        numerator > 0 ? (int)lround((double)numerator / denominator) : KVG_PIPELINE_DEFAULT_FPS;
    const int wanted = camera->fps != 0 ? (int)camera->fps : source;
    return CLAMP(wanted, 1, 60);
}

/* A key frame each second, or one for each fragment. */
static unsigned
key_distance(const KvgConfigCamera *camera, int fps)
{
    return camera->fragment_ms != 0 ? camera->fragment_ms * (unsigned)fps / 1000 : (unsigned)fps;
}

static bool
read_size(const GstCaps *caps, int *width, int *height)
{
    const GstStructure *structure = gst_caps_get_structure(caps, 0);
    return gst_structure_get_int(structure, "width", width) &&
           gst_structure_get_int(structure, "height", height) && *width > 0 && *height > 0;
}

/* A format of the encoder's alone: left to itself, negotiation keeps 4:2:2 or RGB, for which an
 * encoder takes a profile that no browser plays. */
static GstCaps *
wanted_caps(const KvgPipeline *pipeline, const GstCaps *from, const KvgEncoder *encoder)
{
    int width = 0, height = 0;
    if (!read_size(from, &width, &height))
        return NULL;
    fit(pipeline->camera, &width, &height);
    const int fps = frame_rate(pipeline->camera, gst_caps_get_structure(from, 0));
    return gst_caps_new_simple("video/x-raw", "format", G_TYPE_STRING, kvg_encoder_format(encoder),
                               "width", G_TYPE_INT, width, "height", G_TYPE_INT, height,
                               "framerate", GST_TYPE_FRACTION, fps, 1, NULL);
}

static void
note(KvgPipeline *pipeline, const GstCaps *from, const GstCaps *to, const KvgEncoder *encoder)
{
    const GstStructure *in = gst_caps_get_structure(from, 0);
    int width = 0, height = 0, numerator = 0, denominator = 1;
    (void)read_size(from, &width, &height);
    gst_structure_get_fraction(in, "framerate", &numerator, &denominator);
    g_mutex_lock(&pipeline->lock);
    KvgMedia *media = &pipeline->media;
    media->encoded = true;
    if (media->encode_reason == NULL)
        media->encode_reason = g_strdup("the source delivers raw pictures");
    media->encoder = kvg_encoder_name(encoder);
    media->width = (uint32_t)width;
    media->height = (uint32_t)height;
    media->fps = numerator > 0 ? (double)numerator / denominator : 0;
    gst_structure_get_fraction(gst_caps_get_structure(to, 0), "framerate", &numerator,
                               &denominator);
    media->out_fps = (uint32_t)numerator;
    (void)read_size(to, &width, &height);
    media->out_width = (uint32_t)width;
    media->out_height = (uint32_t)height;
    g_mutex_unlock(&pipeline->lock);
}

typedef struct {
    KvgPipeline *pipeline; /* outlives its pads */
    const KvgEncoder *encoder;
    GstElement *filter; /* the same */
} Resize;

/* The source changes its size: what is encoded follows. */
static GstPadProbeReturn
on_event(GstPad *pad, GstPadProbeInfo *info, void *user_data)
{
    const Resize *resize = user_data;
    GstEvent *event = GST_PAD_PROBE_INFO_EVENT(info);
    if (GST_EVENT_TYPE(event) != GST_EVENT_CAPS)
        return GST_PAD_PROBE_OK;
    GstCaps *from;
    gst_event_parse_caps(event, &from);
    g_autoptr(GstCaps) to = wanted_caps(resize->pipeline, from, resize->encoder);
    if (to == NULL)
        return GST_PAD_PROBE_OK;
    note(resize->pipeline, from, to, resize->encoder);
    g_object_set(resize->filter, "caps", to, NULL);
    return GST_PAD_PROBE_OK;
}

static void
follow_size(KvgPipeline *pipeline, const KvgEncoder *encoder, GstElement *rate, GstElement *filter)
{
    Resize *resize = g_new0(Resize, 1);
    *resize = (Resize){pipeline, encoder, filter};
    g_autoptr(GstPad) pad = gst_element_get_static_pad(rate, "sink");
    gst_pad_add_probe(pad, GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM, on_event, resize, g_free);
}

static GstElement *
add_encoder(KvgPipeline *pipeline, const KvgEncoder *encoder, int fps)
{
    const KvgConfigCamera *camera = pipeline->camera;
    GstElement *element = kvg_encoder_make(encoder, camera->bitrate_bps, key_distance(camera, fps));
    if (element == NULL)
        return NULL;
    gst_bin_add(GST_BIN(pipeline->pipeline), element);
    pipeline->encoder = element;
    return element;
}

static GstElement *
add_rate(KvgPipeline *pipeline)
{
    GstElement *rate = kvg_pipeline_add(pipeline, "videorate");
    if (rate != NULL)
        g_object_set(rate, "skip-to-first", TRUE, "max-duplication-time", (guint64)MAX_COPIES_NS,
                     NULL);
    return rate;
}

static GstElement *
add_parser(KvgPipeline *pipeline)
{
    GstElement *parser = kvg_pipeline_add(pipeline, "h264parse");
    if (parser != NULL)
        g_object_set(parser, "config-interval", -1, NULL);
    return parser;
}

/* Everything from raw pictures to the sink; NULL elements are missing ones. */
static GPtrArray *
build(KvgPipeline *pipeline, const KvgEncoder *encoder, GstCaps *to)
{
    const char *feeder = kvg_encoder_feeder(encoder), *profile = kvg_encoder_profile(encoder);
    int fps = KVG_PIPELINE_DEFAULT_FPS, one = 1;
    gst_structure_get_fraction(gst_caps_get_structure(to, 0), "framerate", &fps, &one);
    const bool has_pace = pipeline->source->can_end && !pipeline->camera->file.fast;
    GPtrArray *chain = g_ptr_array_new();
    GstElement *rate = add_rate(pipeline);
    GstElement *filter = kvg_pipeline_add_caps(pipeline, gst_caps_ref(to));
    g_ptr_array_add(chain, kvg_guard_add(pipeline, false));
    if (has_pace)
        g_ptr_array_add(chain, kvg_pace_add(pipeline));
    g_ptr_array_add(chain, rate);
    g_ptr_array_add(chain, kvg_pipeline_add(pipeline, "videoscale"));
    g_ptr_array_add(chain, kvg_pipeline_add(pipeline, "videoconvert"));
    g_ptr_array_add(chain, filter);
    if (feeder != NULL)
        g_ptr_array_add(chain, kvg_pipeline_add(pipeline, feeder));
    g_ptr_array_add(chain, add_encoder(pipeline, encoder, fps));
    if (profile != NULL)
        g_ptr_array_add(chain, kvg_pipeline_add_caps(
                                   pipeline, gst_caps_new_simple("video/x-h264", "profile",
                                                                 G_TYPE_STRING, profile, NULL)));
    g_ptr_array_add(chain, add_parser(pipeline));
    g_ptr_array_add(
        chain, kvg_pipeline_add_caps(
                   pipeline, gst_caps_new_simple("video/x-h264", "stream-format", G_TYPE_STRING,
                                                 "avc", "alignment", G_TYPE_STRING, "au", NULL)));
    if (rate != NULL && filter != NULL)
        follow_size(pipeline, encoder, rate, filter);
    return chain;
}

void
kvg_encode(KvgPipeline *pipeline, GstPad *pad, GstCaps *from)
{
    g_autoptr(GError) error = NULL;
    const KvgEncoder *encoder = kvg_encoder_choose(pipeline->camera->encoder, &error);
    if (encoder == NULL) {
        kvg_pipeline_end(pipeline, KVG_PIPELINE_NEEDS_HELP, "%s", error->message);
        return;
    }
    g_autoptr(GstCaps) to = wanted_caps(pipeline, from, encoder);
    if (to == NULL) {
        kvg_pipeline_end(pipeline, KVG_PIPELINE_FAILED, "the pictures of %s have no size",
                         pipeline->shown_source);
        return;
    }
    note(pipeline, from, to, encoder);
    g_autoptr(GstPad) sink = kvg_pipeline_request_sink(pipeline, "video");
    g_autoptr(GPtrArray) chain = build(pipeline, encoder, to);
    GstElement *end = g_ptr_array_index(chain, chain->len - 1);
    g_autoptr(GstPad) last = end != NULL ? gst_element_get_static_pad(end, "src") : NULL;
    if (last == NULL || sink == NULL || gst_pad_link(last, sink) != GST_PAD_LINK_OK ||
        !kvg_pipeline_link(pad, (GstElement *const *)chain->pdata, chain->len))
        kvg_pipeline_end(pipeline, KVG_PIPELINE_FAILED, "the video of %s cannot be encoded",
                         pipeline->shown_source);
}
