#include "agent/pipeline_private.h"
#include "agent/source.h"
#include <string.h>

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
    int width = 1280, height = 720, fps = KVG_PIPELINE_DEFAULT_FPS;
    parse_test(camera->source, &pattern, &width, &height, &fps);
    GstElement *const chain[] = {
        kvg_pipeline_add(pipeline, "videotestsrc"),
        kvg_pipeline_add_caps(pipeline,
                              gst_caps_new_simple("video/x-raw", "width", G_TYPE_INT, width,
                                                  "height", G_TYPE_INT, height, "framerate",
                                                  GST_TYPE_FRACTION, fps, 1, NULL)),
        kvg_pipeline_add(pipeline, "clockoverlay"), kvg_pipeline_add(pipeline, "textoverlay")};
    for (size_t i = 0; i < G_N_ELEMENTS(chain); i++) {
        if (chain[i] == NULL)
            return false;
    }
    g_object_set(chain[0], "is-live", TRUE, NULL);
    gst_util_set_object_arg(G_OBJECT(chain[0]), "pattern", pattern);
    gst_util_set_object_arg(G_OBJECT(chain[3]), "valignment", "bottom");
    g_object_set(chain[3], "text", pipeline->name, NULL);
    kvg_pipeline_set_codec(pipeline, "raw");
    g_autoptr(GstPad) pad = gst_element_get_static_pad(chain[3], "src");
    g_autoptr(GstCaps) caps =
        gst_caps_new_simple("video/x-raw", "width", G_TYPE_INT, width, "height", G_TYPE_INT, height,
                            "framerate", GST_TYPE_FRACTION, fps, 1, NULL);
    return kvg_encode(pipeline, pad, caps) && kvg_pipeline_link(NULL, chain, G_N_ELEMENTS(chain));
}

const KvgSource kvg_source_test = {"test:", add_test};
