#include "agent/source_v4l2.h"
#include "agent/pipeline_private.h"
#include <errno.h>
#include <fcntl.h>
#include <kvg/error.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_WIDTH 1280
#define DEFAULT_HEIGHT 720

/* ---- the choice ---- */

static const struct {
    KvgV4l2Format format;
    const char *caps;
} kinds[] = {
    {KVG_V4L2_H264, "video/x-h264"}, {KVG_V4L2_RAW, "video/x-raw"}, {KVG_V4L2_MJPEG, "image/jpeg"}};

/* Lists and ranges become the value nearest to what is wanted. */
static GstStructure *
settle(const GstStructure *offered, const KvgConfigV4l2 *wanted)
{
    GstStructure *one = gst_structure_copy(offered);
    gst_structure_fixate_field_nearest_int(one, "width",
                                           wanted->width != 0 ? (int)wanted->width : DEFAULT_WIDTH);
    gst_structure_fixate_field_nearest_int(
        one, "height", wanted->height != 0 ? (int)wanted->height : DEFAULT_HEIGHT);
    if (gst_structure_has_field(one, "framerate"))
        gst_structure_fixate_field_nearest_fraction(
            one, "framerate", wanted->fps != 0 ? (int)wanted->fps : KVG_PIPELINE_DEFAULT_FPS, 1);
    return one;
}

static double
rate_of(const GstStructure *one)
{
    int numerator = 0, denominator = 1;
    if (!gst_structure_get_fraction(one, "framerate", &numerator, &denominator))
        return KVG_PIPELINE_DEFAULT_FPS; /* it does not say: it is believed */
    return (double)numerator / denominator;
}

/* How far @one is from what is wanted: size first, then the rate. */
static double
distance(const GstStructure *one, const KvgConfigV4l2 *wanted)
{
    int width = 0, height = 0;
    gst_structure_get_int(one, "width", &width);
    gst_structure_get_int(one, "height", &height);
    const int want_width = wanted->width != 0 ? (int)wanted->width : DEFAULT_WIDTH;
    const int want_height = wanted->height != 0 ? (int)wanted->height : DEFAULT_HEIGHT;
    const double want_rate = wanted->fps != 0 ? wanted->fps : KVG_PIPELINE_DEFAULT_FPS;
    const double rate = rate_of(one);
    return abs(width - want_width) + abs(height - want_height) +
           (rate < want_rate ? (want_rate - rate) * 100 : rate - want_rate);
}

/* The nearest of one kind; NULL if there is none. */
static GstStructure *
nearest(const GstCaps *offered, const char *kind, const KvgConfigV4l2 *wanted)
{
    GstStructure *best = NULL;
    for (guint i = 0; i < gst_caps_get_size(offered); i++) {
        const GstStructure *structure = gst_caps_get_structure(offered, i);
        if (!gst_structure_has_name(structure, kind))
            continue;
        GstStructure *one = settle(structure, wanted);
        if (best == NULL || distance(one, wanted) < distance(best, wanted)) {
            g_clear_pointer(&best, gst_structure_free);
            best = g_steal_pointer(&one);
        }
        g_clear_pointer(&one, gst_structure_free);
    }
    return best;
}

/* Over USB, large raw pictures come a few times a second only. */
static bool
is_too_slow(const GstStructure *one, const KvgConfigV4l2 *wanted)
{
    const double want_rate = wanted->fps != 0 ? wanted->fps : KVG_PIPELINE_DEFAULT_FPS;
    return rate_of(one) + 0.01 < want_rate;
}

GstCaps *
kvg_v4l2_choose(const GstCaps *offered, const KvgConfigV4l2 *wanted, GError **error)
{
    GstStructure *chosen = NULL;
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        if (wanted->format != KVG_V4L2_AUTO && wanted->format != kinds[i].format)
            continue;
        GstStructure *one = nearest(offered, kinds[i].caps, wanted);
        const bool is_better = one != NULL && (chosen == NULL || is_too_slow(chosen, wanted));
        if (is_better) {
            g_clear_pointer(&chosen, gst_structure_free);
            chosen = g_steal_pointer(&one);
        }
        g_clear_pointer(&one, gst_structure_free);
        if (chosen != NULL && !is_too_slow(chosen, wanted))
            break;
    }
    if (chosen != NULL) {
        GstCaps *caps = gst_caps_new_full(chosen, NULL);
        return gst_caps_fixate(caps);
    }
    g_autoptr(GString) kinds_there = g_string_new(NULL);
    for (guint i = 0; i < gst_caps_get_size(offered); i++) {
        const char *name = gst_structure_get_name(gst_caps_get_structure(offered, i));
        if (strstr(kinds_there->str, name) == NULL)
            g_string_append_printf(kinds_there, "%s%s", kinds_there->len > 0 ? ", " : "", name);
    }
    g_set_error(error, KVG_ERROR, KVG_ERROR_UNSUPPORTED,
                "the device offers %s; write v4l2: { format: auto }",
                kinds_there->len > 0 ? kinds_there->str : "no video");
    return NULL;
}

/* ---- source ---- */

/* What a user can correct, in words that GStreamer does not have. */
static bool
can_be_opened(KvgPipeline *pipeline, const char *path)
{
    const int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0) {
        close(fd);
        return true;
    }
    if (errno == ENOENT || errno == ENXIO || errno == ENODEV)
        kvg_pipeline_end(pipeline, KVG_PIPELINE_NEEDS_HELP,
                         "there is no camera at %s; is it plugged in?", path);
    else if (errno == EACCES || errno == EPERM)
        kvg_pipeline_end(pipeline, KVG_PIPELINE_NEEDS_HELP,
                         "%s may not be opened; add the user that runs kvg to the group video",
                         path);
    else if (errno == EBUSY)
        kvg_pipeline_end(pipeline, KVG_PIPELINE_NEEDS_HELP,
                         "%s is in use by another program; end that one", path);
    else
        kvg_pipeline_end(pipeline, KVG_PIPELINE_NEEDS_HELP, "%s cannot be opened: %s", path,
                         g_strerror(errno));
    return false;
}

static void
add_v4l2(KvgPipeline *pipeline)
{
    const char *path = kvg_source_rest(pipeline->camera->source);
    if (!can_be_opened(pipeline, path))
        return;
    GstElement *source = kvg_pipeline_add(pipeline, "v4l2src");
    if (source == NULL)
        return;
    g_object_set(source, "device", path, NULL);
    /* READY opens the device, after which it says what it can do. */
    if (gst_element_set_state(source, GST_STATE_READY) == GST_STATE_CHANGE_FAILURE)
        return; /* it has said why */
    g_autoptr(GstPad) out = gst_element_get_static_pad(source, "src");
    g_autoptr(GstCaps) offered = gst_pad_query_caps(out, NULL);
    g_autoptr(GError) error = NULL;
    g_autoptr(GstCaps) caps = kvg_v4l2_choose(offered, &pipeline->camera->v4l2, &error);
    if (caps == NULL) {
        kvg_pipeline_end(pipeline, KVG_PIPELINE_NEEDS_HELP, "%s: %s", pipeline->shown_source,
                         error->message);
        return;
    }
    GstElement *const chain[] = {source, kvg_pipeline_add_caps(pipeline, gst_caps_ref(caps))};
    if (!kvg_pipeline_link(NULL, chain, G_N_ELEMENTS(chain)))
        return;
    g_autoptr(GstPad) pad = gst_element_get_static_pad(chain[1], "src");
    kvg_intake(pipeline, pad, caps);
}

const KvgSource kvg_source_v4l2 = {.prefix = "v4l2:", .add = add_v4l2};
