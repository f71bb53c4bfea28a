#include "agent/pipeline_private.h"
#include "agent/source.h"
#include <string.h>

#define TIMEOUT_US 5000000
#define LATENCY_MS 200

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
    g_autofree char *codec = g_ascii_strdown(encoding, -1);
    kvg_pipeline_set_codec(pipeline, codec);
    if (!kvg_intake_rtp_video(pipeline, pad, encoding))
        kvg_pipeline_fail(pipeline, "the camera's video cannot be handled");
}

static bool
add_rtsp(KvgPipeline *pipeline, const KvgConfigCamera *camera)
{
    GstElement *source = kvg_pipeline_add(pipeline, "rtspsrc");
    if (source == NULL)
        return false;
    g_object_set(source, "location", camera->source, "latency", LATENCY_MS, "tcp-timeout",
                 (guint64)TIMEOUT_US, "timeout", (guint64)TIMEOUT_US, "user-id", camera->username,
                 "user-pw", camera->password, NULL);
    gst_util_set_object_arg(G_OBJECT(source), "protocols", "tcp");
    g_signal_connect(source, "select-stream", G_CALLBACK(on_select_stream), pipeline);
    g_signal_connect(source, "pad-added", G_CALLBACK(on_rtsp_pad), pipeline);
    return true;
}

const KvgSource kvg_source_rtsp = {"rtsp:", add_rtsp};
const KvgSource kvg_source_rtsps = {"rtsps:", add_rtsp};
