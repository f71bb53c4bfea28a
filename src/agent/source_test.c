#include "agent/pipeline_private.h"
#include <string.h>

typedef struct {
    char *pattern;
    int width, height, fps;
    bool has_sound;
} Picture;

/* "test:pattern=ball,width=640,..."; checked by the configuration. */
static Picture
parse(const char *source)
{
    Picture picture = {g_strdup("ball"), 1280, 720, KVG_PIPELINE_DEFAULT_FPS, false};
    g_auto(GStrv) pairs = g_strsplit(kvg_source_rest(source), ",", -1);
    for (char **pair = pairs; *pair != NULL; pair++) {
        char *value = strchr(*pair, '=');
        if (value == NULL)
            continue;
        *value++ = '\0';
        const int number = (int)g_ascii_strtoll(value, NULL, 10);
        if (strcmp(*pair, "pattern") == 0) {
            g_free(picture.pattern);
            picture.pattern = g_strdup(value);
        } else if (strcmp(*pair, "width") == 0) {
            picture.width = number;
        } else if (strcmp(*pair, "height") == 0) {
            picture.height = number;
        } else if (strcmp(*pair, "fps") == 0) {
            picture.fps = number;
        } else if (strcmp(*pair, "sound") == 0) {
            picture.has_sound = strcmp(value, "on") == 0;
        }
    }
    return picture;
}

static void
add_sound(KvgPipeline *pipeline)
{
    GstElement *source = kvg_pipeline_add(pipeline, "audiotestsrc");
    if (source == NULL)
        return;
    g_object_set(source, "is-live", TRUE, NULL);
    gst_util_set_object_arg(G_OBJECT(source), "wave", "ticks");
    g_autoptr(GstPad) pad = gst_element_get_static_pad(source, "src");
    g_autoptr(GstCaps) caps = gst_caps_new_empty_simple("audio/x-raw");
    kvg_intake(pipeline, pad, caps);
}

static void
add_picture(KvgPipeline *pipeline, const Picture *picture)
{
    g_autoptr(GstCaps) caps = gst_caps_new_simple(
        "video/x-raw", "width", G_TYPE_INT, picture->width, "height", G_TYPE_INT, picture->height,
        "framerate", GST_TYPE_FRACTION, picture->fps, 1, NULL);
    GstElement *const chain[] = {kvg_pipeline_add(pipeline, "videotestsrc"),
                                 kvg_pipeline_add_caps(pipeline, gst_caps_ref(caps)),
                                 kvg_pipeline_add(pipeline, "clockoverlay"),
                                 kvg_pipeline_add(pipeline, "textoverlay")};
    if (!kvg_pipeline_link(NULL, chain, G_N_ELEMENTS(chain)))
        return;
    g_object_set(chain[0], "is-live", TRUE, NULL);
    gst_util_set_object_arg(G_OBJECT(chain[0]), "pattern", picture->pattern);
    gst_util_set_object_arg(G_OBJECT(chain[3]), "valignment", "bottom");
    g_object_set(chain[3], "text", pipeline->camera->name, NULL);
    g_autoptr(GstPad) pad = gst_element_get_static_pad(chain[3], "src");
    kvg_intake(pipeline, pad, caps);
}

static void
add_test(KvgPipeline *pipeline)
{
    Picture picture = parse(pipeline->camera->source);
    add_picture(pipeline, &picture);
    if (picture.has_sound)
        add_sound(pipeline);
    g_free(picture.pattern);
}

const KvgSource kvg_source_test = {.prefix = "test:", .add = add_test};
