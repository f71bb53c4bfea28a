#include "agent/pipeline.h"
#include "agent/failure.h"
#include "agent/pipeline_private.h"
#include "agent/source.h"
#include "base/text.h"
#include "os/log.h"
#include "plugin/kvssink.h"
#include <kvg/error.h>

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

/* ---- bus ---- */

static gboolean
on_bus(GstBus *bus, GstMessage *message, void *user_data)
{
    KvgPipeline *pipeline = user_data;
    if (GST_MESSAGE_TYPE(message) == GST_MESSAGE_ERROR) {
        g_autoptr(GError) error = NULL;
        g_autofree char *debug = NULL;
        gst_message_parse_error(message, &error, &debug);
        g_autofree char *reason = kvg_failure_to_words(pipeline->shown_source, error, debug);
        pipeline->failed(reason, pipeline->user_data); /* may stop the pipeline */
    } else if (GST_MESSAGE_TYPE(message) == GST_MESSAGE_EOS) {
        g_autofree char *reason = g_strdup_printf("%s ended the stream", pipeline->shown_source);
        pipeline->failed(reason, pipeline->user_data);
    }
    return G_SOURCE_CONTINUE;
}

/* ---- building blocks ---- */

GstElement *
kvg_pipeline_add(KvgPipeline *pipeline, const char *factory)
{
    GstElement *element = gst_element_factory_make(factory, NULL);
    if (element == NULL) {
        KVG_LOG_WARNING(KVG_PIPELINE_LOG, "CAMERA", pipeline->name,
                        "camera %s: GStreamer has no '%s'; install its plugin package",
                        pipeline->name, factory);
        return NULL;
    }
    gst_bin_add(GST_BIN(pipeline->pipeline), element);
    return element;
}

GstElement *
kvg_pipeline_add_caps(KvgPipeline *pipeline, GstCaps *caps)
{
    GstElement *filter = kvg_pipeline_add(pipeline, "capsfilter");
    g_object_set(filter, "caps", caps, NULL);
    gst_caps_unref(caps);
    return filter;
}

bool
kvg_pipeline_link(GstPad *pad, GstElement *const *elements, size_t n)
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

void
kvg_pipeline_fail(KvgPipeline *pipeline, const char *text)
{
    GST_ELEMENT_ERROR(pipeline->pipeline, STREAM, FAILED, ("%s", text), (NULL));
}

void
kvg_pipeline_set_codec(KvgPipeline *pipeline, const char *codec)
{
    g_mutex_lock(&pipeline->lock);
    g_strlcpy(pipeline->info.codec, codec, sizeof pipeline->info.codec);
    g_mutex_unlock(&pipeline->lock);
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
    pipeline->sink = kvg_pipeline_add(pipeline, "kvssink");
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
    const KvgSource *source = kvg_source_find(camera->source);
    if (source == NULL || !add_sink(pipeline, stream) || !source->add(pipeline, camera)) {
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
