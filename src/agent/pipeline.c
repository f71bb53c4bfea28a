#include "agent/pipeline.h"
#include "base/text.h"
#include "os/log.h"
#include "plugin/kvssink.h"
#include <gst/gst.h>
#include <kvg/error.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define LOG_DOMAIN "agent"
#define DEFAULT_FPS 15
#define RTSP_TIMEOUT_US 5000000
#define RTSP_LATENCY_MS 200

struct _KvgPipeline {
    char *name;
    char *shown_source; /* without password */
    bool passthrough;
    uint32_t width, height, fps, bitrate_bps, fragment_ms;
    GstElement *pipeline, *sink;
    guint bus_watch;
    KvgPipelineFailed failed;
    void *user_data;
    bool has_video; /* one source pad is linked; streaming thread of the source */
    _Atomic uint64_t frames;
    GMutex lock;
    KvgPipelineInfo info; /* under lock */
};

/* ---- taking down ---- */

static GMutex stopping_lock;
static GCond stopping_changed;
static unsigned n_stopping;

static void
pipeline_free(KvgPipeline *pipeline)
{
    if (pipeline->pipeline != NULL)
        gst_element_set_state(pipeline->pipeline, GST_STATE_NULL);
    gst_clear_object(&pipeline->pipeline);
    g_mutex_clear(&pipeline->lock);
    g_free(pipeline->name);
    g_free(pipeline->shown_source);
    g_free(pipeline);
}

static void *
run_stop(void *data)
{
    pipeline_free(data);
    g_mutex_lock(&stopping_lock);
    n_stopping--;
    g_cond_broadcast(&stopping_changed);
    g_mutex_unlock(&stopping_lock);
    return NULL;
}

void
kvg_pipeline_stop(KvgPipeline *pipeline)
{
    if (pipeline == NULL)
        return;
    g_source_remove(pipeline->bus_watch);
    g_mutex_lock(&stopping_lock);
    n_stopping++;
    g_mutex_unlock(&stopping_lock);
    g_thread_unref(g_thread_new("kvg-stop", run_stop, pipeline));
}

bool
kvg_pipeline_wait_all(int64_t timeout_ms)
{
    const int64_t end = g_get_monotonic_time() + timeout_ms * 1000;
    g_mutex_lock(&stopping_lock);
    while (n_stopping > 0 && g_cond_wait_until(&stopping_changed, &stopping_lock, end))
        ;
    const bool done = n_stopping == 0;
    g_mutex_unlock(&stopping_lock);
    return done;
}

/* ---- failures in words ---- */

static char *
explain(const KvgPipeline *pipeline, const GError *error, const char *debug)
{
    const char *text = debug != NULL ? debug : "";
    const char *said = error->message;
    if (strstr(text, "Unauthorized") != NULL || strstr(said, "Unauthorized") != NULL ||
        g_error_matches(error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_NOT_AUTHORIZED))
        return g_strdup_printf("%s refuses user and password; correct username and password_file",
                               pipeline->shown_source);
    if (g_error_matches(error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_NOT_FOUND))
        return g_strdup_printf("%s: the camera knows no such path; correct the URL",
                               pipeline->shown_source);
    if (strstr(text, "refused") != NULL)
        return g_strdup_printf("%s refuses the connection; is the camera on, is the port right?",
                               pipeline->shown_source);
    if (g_error_matches(error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_OPEN_READ) ||
        g_error_matches(error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_OPEN_READ_WRITE))
        return g_strdup_printf("%s cannot be reached; check the address, the network, the camera",
                               pipeline->shown_source);
    if (g_error_matches(error, GST_STREAM_ERROR, GST_STREAM_ERROR_CODEC_NOT_FOUND))
        return g_strdup_printf("%s sends video that no installed decoder takes",
                               pipeline->shown_source);
    /* GStreamer's own sentence holds no URL. */
    return g_strdup_printf("%s: %s", pipeline->shown_source, said);
}

static gboolean
on_bus(GstBus *bus, GstMessage *message, void *user_data)
{
    KvgPipeline *pipeline = user_data;
    if (GST_MESSAGE_TYPE(message) == GST_MESSAGE_ERROR) {
        g_autoptr(GError) error = NULL;
        g_autofree char *debug = NULL;
        gst_message_parse_error(message, &error, &debug);
        g_autofree char *reason = explain(pipeline, error, debug);
        pipeline->failed(reason, pipeline->user_data); /* may stop the pipeline */
    } else if (GST_MESSAGE_TYPE(message) == GST_MESSAGE_EOS) {
        g_autofree char *reason = g_strdup_printf("%s ended the stream", pipeline->shown_source);
        pipeline->failed(reason, pipeline->user_data);
    }
    return G_SOURCE_CONTINUE;
}

/* ---- building blocks ---- */

static GstElement *
add(KvgPipeline *pipeline, const char *factory)
{
    GstElement *element = gst_element_factory_make(factory, NULL);
    if (element == NULL) {
        KVG_LOG_WARNING(LOG_DOMAIN, "CAMERA", pipeline->name,
                        "camera %s: GStreamer has no '%s'; install its plugin package",
                        pipeline->name, factory);
        return NULL;
    }
    gst_bin_add(GST_BIN(pipeline->pipeline), element);
    return element;
}

static GstElement *
add_caps(KvgPipeline *pipeline, GstCaps *caps)
{
    GstElement *filter = add(pipeline, "capsfilter");
    g_object_set(filter, "caps", caps, NULL);
    gst_caps_unref(caps);
    return filter;
}

/* Links @elements (NULL-terminated, NULL elements mean one is missing) behind @pad and starts them.
 */
static bool
link_chain(GstPad *pad, GstElement *const *elements, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (elements[i] == NULL || (i > 0 && !gst_element_link(elements[i - 1], elements[i])))
            return false;
    }
    for (size_t i = n; i-- > 0;)
        gst_element_sync_state_with_parent(elements[i]);
    if (pad == NULL)
        return true;
    g_autoptr(GstPad) sink = gst_element_get_static_pad(elements[0], "sink");
    return gst_pad_link(pad, sink) == GST_PAD_LINK_OK;
}

static void
fail_element(KvgPipeline *pipeline, const char *text)
{
    GST_ELEMENT_ERROR(pipeline->pipeline, STREAM, FAILED, ("%s", text), (NULL));
}

static GstElement *
add_parser(KvgPipeline *pipeline)
{
    GstElement *parser = add(pipeline, "h264parse");
    if (parser != NULL)
        g_object_set(parser, "config-interval", -1, NULL);
    return parser;
}

static GstElement *
add_avc_filter(KvgPipeline *pipeline)
{
    return add_caps(pipeline, gst_caps_new_simple("video/x-h264", "stream-format", G_TYPE_STRING,
                                                  "avc", "alignment", G_TYPE_STRING, "au", NULL));
}

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
    const int source = numerator > 0 ? (int)lround((double)numerator / denominator) : DEFAULT_FPS;
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
    GstElement *encoder = add(pipeline, "x264enc");
    if (encoder == NULL)
        return NULL;
    gst_util_set_object_arg(G_OBJECT(encoder), "tune", "zerolatency");
    gst_util_set_object_arg(G_OBJECT(encoder), "speed-preset", "superfast");
    g_object_set(encoder, "bitrate", pipeline->bitrate_bps / 1000, "key-int-max",
                 key_distance(pipeline, fps), "bframes", 0, "threads", 1, NULL);
    return encoder;
}

/* Raw video from @pad: scale, encode, store. Overload drops raw frames before the encoder. */
static bool
encode(KvgPipeline *pipeline, GstPad *pad, GstCaps *caps)
{
    const GstStructure *structure = gst_caps_get_structure(caps, 0);
    int width = 0, height = 0;
    if (!gst_structure_get_int(structure, "width", &width) ||
        !gst_structure_get_int(structure, "height", &height) || width < 1 || height < 1)
        return false;
    fit(pipeline, &width, &height);
    const int fps = frame_rate(pipeline, structure);
    GstElement *queue = add(pipeline, "queue");
    GstElement *rate = add(pipeline, "videorate");
    g_object_set(queue, "max-size-buffers", 5, "max-size-bytes", 0, "max-size-time", (guint64)0,
                 NULL);
    gst_util_set_object_arg(G_OBJECT(queue), "leaky", "downstream");
    g_object_set(rate, "skip-to-first", TRUE, NULL);
    GstElement *const chain[] = {
        queue,
        rate,
        add(pipeline, "videoscale"),
        add(pipeline, "videoconvert"),
        add_caps(pipeline,
                 gst_caps_new_simple("video/x-raw", "format", G_TYPE_STRING, "I420", "width",
                                     G_TYPE_INT, width, "height", G_TYPE_INT, height, "framerate",
                                     GST_TYPE_FRACTION, fps, 1, NULL)),
        add_encoder(pipeline, fps),
        add_caps(pipeline,
                 gst_caps_new_simple("video/x-h264", "profile", G_TYPE_STRING, "main", NULL)),
        add_parser(pipeline),
        add_avc_filter(pipeline),
        pipeline->sink,
    };
    g_mutex_lock(&pipeline->lock);
    pipeline->info.encoded = true;
    g_mutex_unlock(&pipeline->lock);
    return link_chain(pad, chain, G_N_ELEMENTS(chain));
}

/* ---- decoding what cannot pass ---- */

static void
on_decoded_pad(GstElement *decoder, GstPad *pad, void *user_data)
{
    KvgPipeline *pipeline = user_data;
    g_autoptr(GstCaps) caps = gst_pad_get_current_caps(pad);
    if (caps == NULL)
        caps = gst_pad_query_caps(pad, NULL);
    if (gst_caps_is_empty(caps) || gst_caps_is_any(caps) ||
        !g_str_has_prefix(gst_structure_get_name(gst_caps_get_structure(caps, 0)), "video/"))
        return;
    if (!encode(pipeline, pad, caps))
        fail_element(pipeline, "the decoded video cannot be encoded");
}

static bool
decode(KvgPipeline *pipeline, GstPad *pad)
{
    GstElement *decoder = add(pipeline, "decodebin");
    if (decoder == NULL)
        return false;
    g_signal_connect(decoder, "pad-added", G_CALLBACK(on_decoded_pad), pipeline);
    return link_chain(pad, &decoder, 1);
}

/* ---- sources ---- */

/* Audio is not set up at all. */
static gboolean
on_select_stream(GstElement *source, guint number, GstCaps *caps, void *user_data)
{
    const GstStructure *structure = gst_caps_get_structure(caps, 0);
    return g_strcmp0(gst_structure_get_string(structure, "media"), "video") == 0;
}

static void
on_rtsp_pad(GstElement *source, GstPad *pad, void *user_data)
{
    KvgPipeline *pipeline = user_data;
    g_autoptr(GstCaps) caps = gst_pad_query_caps(pad, NULL);
    if (pipeline->has_video || gst_caps_get_size(caps) == 0)
        return;
    const GstStructure *structure = gst_caps_get_structure(caps, 0);
    const char *encoding = gst_structure_get_string(structure, "encoding-name");
    if (g_strcmp0(gst_structure_get_string(structure, "media"), "video") != 0 || encoding == NULL)
        return;
    pipeline->has_video = true;
    g_mutex_lock(&pipeline->lock);
    g_autofree char *codec = g_ascii_strdown(encoding, -1);
    g_strlcpy(pipeline->info.codec, codec, sizeof pipeline->info.codec);
    g_mutex_unlock(&pipeline->lock);
    bool ok;
    if (strcmp(encoding, "H264") == 0 && pipeline->passthrough) {
        GstElement *const chain[] = {add(pipeline, "rtph264depay"), add_parser(pipeline),
                                     add_avc_filter(pipeline), pipeline->sink};
        ok = link_chain(pad, chain, G_N_ELEMENTS(chain));
    } else {
        ok = decode(pipeline, pad);
    }
    if (!ok)
        fail_element(pipeline, "the camera's video cannot be handled");
}

static bool
add_rtsp(KvgPipeline *pipeline, const KvgConfigCamera *camera)
{
    GstElement *source = add(pipeline, "rtspsrc");
    if (source == NULL)
        return false;
    g_object_set(source, "location", camera->source, "latency", RTSP_LATENCY_MS, "tcp-timeout",
                 (guint64)RTSP_TIMEOUT_US, "timeout", (guint64)RTSP_TIMEOUT_US, "user-id",
                 camera->username, "user-pw", camera->password, NULL);
    gst_util_set_object_arg(G_OBJECT(source), "protocols", "tcp");
    g_signal_connect(source, "select-stream", G_CALLBACK(on_select_stream), pipeline);
    g_signal_connect(source, "pad-added", G_CALLBACK(on_rtsp_pad), pipeline);
    return true;
}

/* "test:pattern=ball,width=640,..."; checked by the configuration. */
static void
parse_test(const char *source, char **pattern, int *width, int *height, int *fps)
{
    g_auto(GStrv) pairs = g_strsplit(strchr(source, ':') + 1, ",", -1);
    for (char **pair = pairs; *pair != NULL; pair++) {
        char *value = strchr(*pair, '=');
        if (value == NULL)
            continue;
        *value++ = '\0';
        const int number = (int)g_ascii_strtoll(value, NULL, 10);
        if (strcmp(*pair, "pattern") == 0) {
            g_free(*pattern);
            *pattern = g_strdup(value);
        } else if (strcmp(*pair, "width") == 0) {
            *width = number;
        } else if (strcmp(*pair, "height") == 0) {
            *height = number;
        } else if (strcmp(*pair, "fps") == 0) {
            *fps = number;
        }
    }
}

static bool
add_test(KvgPipeline *pipeline, const KvgConfigCamera *camera)
{
    g_autofree char *pattern = g_strdup("ball");
    int width = 1280, height = 720, fps = DEFAULT_FPS;
    parse_test(camera->source, &pattern, &width, &height, &fps);
    GstElement *const chain[] = {
        add(pipeline, "videotestsrc"),
        add_caps(pipeline, gst_caps_new_simple("video/x-raw", "width", G_TYPE_INT, width, "height",
                                               G_TYPE_INT, height, "framerate", GST_TYPE_FRACTION,
                                               fps, 1, NULL)),
        add(pipeline, "clockoverlay"), add(pipeline, "textoverlay")};
    for (size_t i = 0; i < G_N_ELEMENTS(chain); i++) {
        if (chain[i] == NULL)
            return false;
    }
    g_object_set(chain[0], "is-live", TRUE, NULL);
    gst_util_set_object_arg(G_OBJECT(chain[0]), "pattern", pattern);
    gst_util_set_object_arg(G_OBJECT(chain[3]), "valignment", "bottom");
    g_object_set(chain[3], "text", pipeline->name, NULL);
    g_strlcpy(pipeline->info.codec, "raw", sizeof pipeline->info.codec);
    g_autoptr(GstPad) pad = gst_element_get_static_pad(chain[3], "src");
    g_autoptr(GstCaps) caps =
        gst_caps_new_simple("video/x-raw", "width", G_TYPE_INT, width, "height", G_TYPE_INT, height,
                            "framerate", GST_TYPE_FRACTION, fps, 1, NULL);
    return encode(pipeline, pad, caps) && link_chain(NULL, chain, G_N_ELEMENTS(chain));
}

/* ---- start ---- */

static GstPadProbeReturn
on_sink_data(GstPad *pad, GstPadProbeInfo *info, void *user_data)
{
    KvgPipeline *pipeline = user_data;
    if (GST_PAD_PROBE_INFO_TYPE(info) & GST_PAD_PROBE_TYPE_BUFFER) {
        atomic_fetch_add(&pipeline->frames, 1);
        return GST_PAD_PROBE_OK;
    }
    GstEvent *event = GST_PAD_PROBE_INFO_EVENT(info);
    if (GST_EVENT_TYPE(event) != GST_EVENT_CAPS)
        return GST_PAD_PROBE_OK;
    GstCaps *caps;
    gst_event_parse_caps(event, &caps);
    int width = 0, height = 0;
    gst_structure_get_int(gst_caps_get_structure(caps, 0), "width", &width);
    gst_structure_get_int(gst_caps_get_structure(caps, 0), "height", &height);
    g_mutex_lock(&pipeline->lock);
    pipeline->info.width = (uint32_t)MAX(width, 0);
    pipeline->info.height = (uint32_t)MAX(height, 0);
    g_mutex_unlock(&pipeline->lock);
    return GST_PAD_PROBE_OK;
}

static bool
add_sink(KvgPipeline *pipeline, KvgHubStream *stream)
{
    pipeline->sink = add(pipeline, "kvssink");
    if (pipeline->sink == NULL)
        return false;
    kvg_sink_use_stream(pipeline->sink, stream);
    g_autoptr(GstPad) pad = gst_element_request_pad_simple(pipeline->sink, "video_%u");
    gst_pad_add_probe(pad, GST_PAD_PROBE_TYPE_BUFFER | GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM,
                      on_sink_data, pipeline, NULL);
    return true;
}

KvgPipeline *
kvg_pipeline_start(const KvgConfigCamera *camera,
                   KvgHubStream *stream,
                   KvgPipelineFailed failed,
                   void *user_data,
                   GError **error)
{
    KvgPipeline *pipeline = g_new0(KvgPipeline, 1);
    g_mutex_init(&pipeline->lock);
    pipeline->name = g_strdup(camera->name);
    pipeline->shown_source = kvg_uri_redact(camera->source);
    pipeline->passthrough = camera->passthrough;
    pipeline->width = camera->width;
    pipeline->height = camera->height;
    pipeline->fps = camera->fps;
    pipeline->bitrate_bps = camera->bitrate_bps;
    pipeline->fragment_ms = camera->fragment_ms;
    pipeline->failed = failed;
    pipeline->user_data = user_data;
    pipeline->pipeline = gst_object_ref_sink(gst_pipeline_new(camera->name));
    const bool is_test = g_str_has_prefix(camera->source, "test:");
    if (!add_sink(pipeline, stream) ||
        !(is_test ? add_test(pipeline, camera) : add_rtsp(pipeline, camera))) {
        g_set_error(
            error, KVG_ERROR, KVG_ERROR_UNSUPPORTED,
            "camera %s: a GStreamer plugin is missing; scripts/bootstrap names the packages",
            camera->name);
        pipeline_free(pipeline);
        return NULL;
    }
    g_autoptr(GstBus) bus = gst_pipeline_get_bus(GST_PIPELINE(pipeline->pipeline));
    pipeline->bus_watch = gst_bus_add_watch(bus, on_bus, pipeline);
    /* A failure comes over the bus, too. */
    gst_element_set_state(pipeline->pipeline, GST_STATE_PLAYING);
    return pipeline;
}

void
kvg_pipeline_get_info(KvgPipeline *pipeline, KvgPipelineInfo *info)
{
    g_mutex_lock(&pipeline->lock);
    *info = pipeline->info;
    g_mutex_unlock(&pipeline->lock);
    info->frames = atomic_load(&pipeline->frames);
}
