/* The bounded place where pictures wait if what comes behind is slow. It lets a blocked disk or a
 * busy processor cost pictures, whole groups of them, in place of memory without end. */
#include "agent/pipeline_private.h"
#include "os/log.h"

/* Coded: some seconds of any camera. Raw pictures are large, and old ones nobody wants. */
#define CODED_BYTES (16u * 1024 * 1024)
#define CODED_US (8 * G_TIME_SPAN_SECOND)
#define RAW_PICTURES 4

static bool
is_full(GstElement *queue, bool is_coded)
{
    guint buffers = 0, bytes = 0;
    guint64 time = 0;
    if (!is_coded) {
        g_object_get(queue, "current-level-buffers", &buffers, NULL);
        return buffers >= RAW_PICTURES;
    }
    g_object_get(queue, "current-level-bytes", &bytes, "current-level-time", &time, NULL);
    return bytes >= CODED_BYTES || time / 1000 >= CODED_US;
}

static void
drop(KvgPipeline *pipeline, bool begins)
{
    atomic_fetch_add(&pipeline->dropped, 1);
    if (begins)
        KVG_LOG_WARNING(KVG_PIPELINE_LOG, "CAMERA", pipeline->camera->name,
                        "camera %s: this machine cannot keep up; pictures are left out",
                        pipeline->camera->name);
}

static GstPadProbeReturn
on_coded(GstPad *pad, GstPadProbeInfo *info, void *user_data)
{
    KvgPipeline *pipeline = user_data;
    g_autoptr(GstElement) queue = gst_pad_get_parent_element(pad);
    const bool is_key =
        !GST_BUFFER_FLAG_IS_SET(GST_PAD_PROBE_INFO_BUFFER(info), GST_BUFFER_FLAG_DELTA_UNIT);
    if (queue == NULL || ((!pipeline->is_dropping || is_key) && !is_full(queue, true))) {
        pipeline->is_dropping = false;
        return GST_PAD_PROBE_OK;
    }
    drop(pipeline, !pipeline->is_dropping);
    pipeline->is_dropping = true;
    return GST_PAD_PROBE_DROP;
}

static GstPadProbeReturn
on_raw(GstPad *pad, GstPadProbeInfo *info, void *user_data)
{
    KvgPipeline *pipeline = user_data;
    g_autoptr(GstElement) queue = gst_pad_get_parent_element(pad);
    const bool drops =
        queue != NULL && !kvg_pipeline_is_lossless(pipeline) && is_full(queue, false);
    if (drops) {
        drop(pipeline, !pipeline->is_dropping);
    } else {
        atomic_fetch_add(&pipeline->taken, 1);
    }
    pipeline->is_dropping = drops;
    return drops ? GST_PAD_PROBE_DROP : GST_PAD_PROBE_OK;
}

GstElement *
kvg_guard_add(KvgPipeline *pipeline, bool is_coded)
{
    GstElement *queue = kvg_pipeline_add(pipeline, "queue");
    if (queue == NULL)
        return NULL;
    const bool waits = kvg_pipeline_is_lossless(pipeline);
    /* The probe keeps below these, unless the source is one that waits. */
    g_object_set(queue, "silent", TRUE, "max-size-time", (guint64)0, "max-size-buffers",
                 is_coded ? 0 : 2 * RAW_PICTURES, "max-size-bytes",
                 !is_coded ? 0
                 : waits   ? CODED_BYTES / 4
                           : 2 * CODED_BYTES,
                 NULL);
    g_autoptr(GstPad) pad = gst_element_get_static_pad(queue, "sink");
    if (!is_coded)
        gst_pad_add_probe(pad, GST_PAD_PROBE_TYPE_BUFFER, on_raw, pipeline, NULL);
    else if (!waits)
        gst_pad_add_probe(pad, GST_PAD_PROBE_TYPE_BUFFER, on_coded, pipeline, NULL);
    return queue;
}

GstElement *
kvg_pace_add(KvgPipeline *pipeline)
{
    GstElement *pace = kvg_pipeline_add(pipeline, "identity");
    if (pace != NULL)
        g_object_set(pace, "sync", TRUE, NULL);
    return pace;
}
