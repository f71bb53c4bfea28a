/* Raw frames that another program puts into shared memory with GStreamer's shmsink. The memory
 * holds bytes only, so their shape comes from the configuration. */
#include "agent/pipeline_private.h"
#include <gst/video/video.h>

static GstPadProbeReturn
on_frame(GstPad *pad, GstPadProbeInfo *info, void *user_data)
{
    KvgPipeline *pipeline = user_data;
    const KvgConfigShm *shm = &pipeline->camera->shm;
    GstVideoInfo video;
    gst_video_info_set_format(&video, gst_video_format_from_string(kvg_config_shm_format(shm)),
                              shm->width, shm->height);
    const gsize size = gst_buffer_get_size(GST_PAD_PROBE_INFO_BUFFER(info));
    if (size == GST_VIDEO_INFO_SIZE(&video))
        return GST_PAD_PROBE_OK;
    kvg_pipeline_end(pipeline, KVG_PIPELINE_NEEDS_HELP,
                     "%s: its frames have %" G_GSIZE_FORMAT
                     " bytes, but %s of %ux%u has %" G_GSIZE_FORMAT
                     "; correct shm: format, width, height",
                     pipeline->shown_source, size, kvg_config_shm_format(shm), shm->width,
                     shm->height, (gsize)GST_VIDEO_INFO_SIZE(&video));
    return GST_PAD_PROBE_DROP;
}

static void
add_shm(KvgPipeline *pipeline)
{
    const KvgConfigShm *shm = &pipeline->camera->shm;
    const char *path = kvg_source_rest(pipeline->camera->source);
    if (!g_file_test(path, G_FILE_TEST_EXISTS)) {
        kvg_pipeline_end(pipeline, KVG_PIPELINE_NEEDS_HELP,
                         "%s: no program writes frames there; it is looked for again",
                         pipeline->shown_source);
        return;
    }
    g_autoptr(GstCaps) caps = gst_caps_new_simple(
        "video/x-raw", "format", G_TYPE_STRING, kvg_config_shm_format(shm), "width", G_TYPE_INT,
        (int)shm->width, "height", G_TYPE_INT, (int)shm->height, "framerate", GST_TYPE_FRACTION,
        shm->fps != 0 ? (int)shm->fps : KVG_PIPELINE_DEFAULT_FPS, 1, NULL);
    GstElement *const chain[] = {kvg_pipeline_add(pipeline, "shmsrc"),
                                 kvg_pipeline_add_caps(pipeline, gst_caps_ref(caps))};
    if (!kvg_pipeline_link(NULL, chain, G_N_ELEMENTS(chain)))
        return;
    g_object_set(chain[0], "socket-path", path, "is-live", TRUE, "do-timestamp", TRUE, NULL);
    g_autoptr(GstPad) raw = gst_element_get_static_pad(chain[0], "src");
    gst_pad_add_probe(raw, GST_PAD_PROBE_TYPE_BUFFER, on_frame, pipeline, NULL);
    g_autoptr(GstPad) pad = gst_element_get_static_pad(chain[1], "src");
    kvg_intake(pipeline, pad, caps);
}

const KvgSource kvg_source_shm = {.prefix = "shm:", .add = add_shm};
