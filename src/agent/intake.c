#include "agent/pipeline_private.h"
#include <string.h>

GstElement *
kvg_intake_add_parser(KvgPipeline *pipeline)
{
    GstElement *parser = kvg_pipeline_add(pipeline, "h264parse");
    if (parser != NULL)
        g_object_set(parser, "config-interval", -1, NULL);
    return parser;
}

GstElement *
kvg_intake_add_avc_filter(KvgPipeline *pipeline)
{
    return kvg_pipeline_add_caps(pipeline, gst_caps_new_simple("video/x-h264", "stream-format",
                                                               G_TYPE_STRING, "avc", "alignment",
                                                               G_TYPE_STRING, "au", NULL));
}

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
    if (!kvg_encode(pipeline, pad, caps))
        kvg_pipeline_fail(pipeline, "the decoded video cannot be encoded");
}

static bool
decode(KvgPipeline *pipeline, GstPad *pad)
{
    GstElement *decoder = kvg_pipeline_add(pipeline, "decodebin");
    if (decoder == NULL)
        return false;
    g_signal_connect(decoder, "pad-added", G_CALLBACK(on_decoded_pad), pipeline);
    return kvg_pipeline_link(pad, &decoder, 1);
}

bool
kvg_intake_rtp_video(KvgPipeline *pipeline, GstPad *pad, const char *encoding)
{
    if (strcmp(encoding, "H264") != 0 || !pipeline->passthrough)
        return decode(pipeline, pad);
    GstElement *const chain[] = {kvg_pipeline_add(pipeline, "rtph264depay"),
                                 kvg_intake_add_parser(pipeline),
                                 kvg_intake_add_avc_filter(pipeline), pipeline->sink};
    return kvg_pipeline_link(pad, chain, G_N_ELEMENTS(chain));
}
