/* What becomes of what a source delivers: H.264 and H.265 go on as they are, other video through a
 * decoder, sound to audio.c, the rest to nowhere. */
#include "agent/pipeline_private.h"
#include <string.h>

static void
set_codec(KvgPipeline *pipeline, const char *codec)
{
    g_mutex_lock(&pipeline->lock);
    g_strlcpy(pipeline->media.codec, codec, sizeof pipeline->media.codec);
    g_mutex_unlock(&pipeline->lock);
}

static void
throw_away(KvgPipeline *pipeline, GstPad *pad)
{
    GstElement *nowhere = kvg_pipeline_add(pipeline, "fakesink");
    if (nowhere == NULL)
        return;
    g_object_set(nowhere, "async", FALSE, "sync", FALSE, NULL);
    (void)kvg_pipeline_link(pad, &nowhere, 1);
}

/* ---- through a decoder ---- */

static void
on_decoded_pad(GstElement *decoder, GstPad *pad, void *user_data)
{
    KvgPipeline *pipeline = user_data;
    g_autoptr(GstCaps) caps = gst_pad_get_current_caps(pad);
    if (caps == NULL)
        caps = gst_pad_query_caps(pad, NULL);
    if (gst_caps_is_empty(caps) || gst_caps_is_any(caps) ||
        !g_str_has_prefix(gst_structure_get_name(gst_caps_get_structure(caps, 0)), "video/"))
        throw_away(pipeline, pad);
    else
        kvg_encode(pipeline, pad, caps);
}

void
kvg_intake_decode(KvgPipeline *pipeline, GstPad *pad, const char *codec)
{
    set_codec(pipeline, codec);
    g_mutex_lock(&pipeline->lock);
    pipeline->media.encoded = true;
    if (pipeline->media.encode_reason == NULL) {
        g_autofree char *name = kvg_codec_to_name(codec);
        pipeline->media.encode_reason =
            g_strdup_printf("the camera sends %s, which KVS cannot play", name);
    }
    g_mutex_unlock(&pipeline->lock);
    GstElement *decoder = kvg_pipeline_add(pipeline, "decodebin");
    if (decoder == NULL)
        return;
    g_signal_connect(decoder, "pad-added", G_CALLBACK(on_decoded_pad), pipeline);
    if (!kvg_pipeline_link(pad, &decoder, 1))
        kvg_pipeline_end(pipeline, KVG_PIPELINE_FAILED, "the video of %s cannot be handled",
                         pipeline->shown_source);
}

/* ---- as it is ---- */

static GstElement *
add_parser(KvgPipeline *pipeline, bool is_h265)
{
    GstElement *parser = kvg_pipeline_add(pipeline, is_h265 ? "h265parse" : "h264parse");
    if (parser != NULL)
        g_object_set(parser, "config-interval", -1, NULL);
    return parser;
}

static void
pass_through(KvgPipeline *pipeline, GstPad *pad, const char *codec)
{
    const bool is_h265 = strcmp(codec, "h265") == 0;
    set_codec(pipeline, codec);
    g_autoptr(GstPad) sink = kvg_pipeline_request_sink(pipeline, "video");
    const bool has_pace = pipeline->source->can_end && !pipeline->camera->file.fast;
    GstElement *const chain[] = {
        add_parser(pipeline, is_h265),
        kvg_pipeline_add_caps(
            pipeline, gst_caps_new_simple(is_h265 ? "video/x-h265" : "video/x-h264",
                                          "stream-format", G_TYPE_STRING, is_h265 ? "hvc1" : "avc",
                                          "alignment", G_TYPE_STRING, "au", NULL)),
        kvg_guard_add(pipeline, true), has_pace ? kvg_pace_add(pipeline) : NULL};
    const size_t n = G_N_ELEMENTS(chain) - (has_pace ? 0 : 1);
    g_autoptr(GstPad) last =
        chain[n - 1] != NULL ? gst_element_get_static_pad(chain[n - 1], "src") : NULL;
    if (last == NULL || sink == NULL || gst_pad_link(last, sink) != GST_PAD_LINK_OK ||
        !kvg_pipeline_link(pad, chain, n))
        kvg_pipeline_end(pipeline, KVG_PIPELINE_FAILED, "the video of %s cannot be handled",
                         pipeline->shown_source);
}

static void
take_coded(KvgPipeline *pipeline, GstPad *pad, const char *codec)
{
    g_mutex_lock(&pipeline->lock);
    const bool must_encode = pipeline->media.encode_reason != NULL;
    g_mutex_unlock(&pipeline->lock);
    if (must_encode)
        kvg_intake_decode(pipeline, pad, codec);
    else
        pass_through(pipeline, pad, codec);
}

/* ---- what comes ---- */

/* "video/x-vp8" is "vp8", "image/jpeg" is "jpeg". */
static const char *
short_name(const char *media_type)
{
    const char *name = strchr(media_type, '/');
    name = name != NULL ? name + 1 : media_type;
    return g_str_has_prefix(name, "x-") ? name + 2 : name;
}

void
kvg_intake(KvgPipeline *pipeline, GstPad *pad, GstCaps *caps)
{
    const char *type = gst_structure_get_name(gst_caps_get_structure(caps, 0));
    const bool is_video = g_str_has_prefix(type, "video/") || g_str_has_prefix(type, "image/");
    if (g_str_has_prefix(type, "audio/") && pipeline->camera->audio && !pipeline->has_audio) {
        kvg_audio_take(pipeline, pad, caps);
    } else if (!is_video || pipeline->has_video) {
        throw_away(pipeline, pad);
    } else if (strcmp(type, "video/x-h264") == 0 || strcmp(type, "video/x-h265") == 0) {
        pipeline->has_video = true;
        take_coded(pipeline, pad, short_name(type));
    } else if (strcmp(type, "video/x-raw") == 0) {
        pipeline->has_video = true;
        set_codec(pipeline, "raw");
        kvg_encode(pipeline, pad, caps);
    } else {
        pipeline->has_video = true;
        kvg_intake_decode(pipeline, pad, short_name(type));
    }
}
