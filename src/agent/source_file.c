/* A recording: MP4, Matroska, MPEG-TS, or bare H.264 or H.265. Nothing of it is dropped: it waits
 * where a camera would not. */
#include "agent/pipeline_private.h"
#include "plugin/kvssink.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* Matroska of this product has times since 1970 in it; a camera's begins near zero. */
#define YEAR_2000_US (INT64_C(946684800) * G_USEC_PER_SEC)

/* ---- the time of its first picture ---- */

typedef struct {
    KvgPipeline *pipeline;
    int64_t tag_us; /* of the container; 0: none */
    bool is_known;
} Beginning;

static void
read_tags(Beginning *beginning, GstEvent *event)
{
    GstTagList *tags = NULL;
    GstDateTime *when = NULL;
    gst_event_parse_tag(event, &tags);
    if (!gst_tag_list_get_date_time(tags, GST_TAG_DATE_TIME, &when))
        return;
    g_autoptr(GDateTime) date =
        gst_date_time_has_second(when) ? gst_date_time_to_g_date_time(when) : NULL;
    gst_date_time_unref(when);
    if (date != NULL)
        beginning->tag_us = g_date_time_to_unix(date) * G_USEC_PER_SEC;
}

static int64_t
own_time(const Beginning *beginning, GstBuffer *buffer)
{
    const int64_t pts_us =
        GST_BUFFER_PTS_IS_VALID(buffer) ? (int64_t)(GST_BUFFER_PTS(buffer) / 1000) : 0;
    return pts_us > YEAR_2000_US ? pts_us : beginning->tag_us;
}

static void
set_beginning(Beginning *beginning, int64_t begin_us)
{
    KvgPipeline *pipeline = beginning->pipeline;
    if (begin_us == 0)
        kvg_pipeline_end(pipeline, KVG_PIPELINE_NEEDS_HELP,
                         "%s does not say when it was recorded; write file: { time: DATE } or now",
                         pipeline->shown_source);
    else if (pipeline->sink != NULL)
        kvg_sink_set_begin(pipeline->sink, begin_us);
}

static GstPadProbeReturn
on_begin(GstPad *pad, GstPadProbeInfo *info, void *user_data)
{
    Beginning *beginning = user_data;
    if (GST_PAD_PROBE_INFO_TYPE(info) & GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM) {
        if (GST_EVENT_TYPE(GST_PAD_PROBE_INFO_EVENT(info)) == GST_EVENT_TAG)
            read_tags(beginning, GST_PAD_PROBE_INFO_EVENT(info));
        return GST_PAD_PROBE_OK;
    }
    set_beginning(beginning, own_time(beginning, GST_PAD_PROBE_INFO_BUFFER(info)));
    return GST_PAD_PROBE_REMOVE;
}

static void
watch_beginning(KvgPipeline *pipeline, GstPad *pad)
{
    const char *time = pipeline->camera->file.time;
    if (time == NULL)
        return;
    Beginning *beginning = g_new0(Beginning, 1);
    beginning->pipeline = pipeline;
    if (strcmp(time, "own") == 0) {
        gst_pad_add_probe(pad, GST_PAD_PROBE_TYPE_BUFFER | GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM,
                          on_begin, beginning, g_free);
        return;
    }
    g_autoptr(GTimeZone) utc = g_time_zone_new_utc();
    g_autoptr(GDateTime) date = g_date_time_new_from_iso8601(time, utc);
    if (date != NULL)
        set_beginning(beginning, g_date_time_to_unix(date) * G_USEC_PER_SEC +
                                     g_date_time_get_microsecond(date));
    g_free(beginning);
}

/* ---- source ---- */

static void
on_pad(GstElement *parser, GstPad *pad, void *user_data)
{
    KvgPipeline *pipeline = user_data;
    g_autoptr(GstCaps) caps = gst_pad_get_current_caps(pad);
    if (caps == NULL)
        caps = gst_pad_query_caps(pad, NULL);
    if (gst_caps_is_empty(caps) || gst_caps_is_any(caps))
        return;
    const char *type = gst_structure_get_name(gst_caps_get_structure(caps, 0));
    if (!pipeline->has_video && !g_str_has_prefix(type, "audio/"))
        watch_beginning(pipeline, pad);
    kvg_intake(pipeline, pad, caps);
}

static bool
can_be_read(KvgPipeline *pipeline, const char *path)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        kvg_pipeline_end(pipeline, KVG_PIPELINE_NEEDS_HELP, "%s cannot be read: %s",
                         pipeline->shown_source, g_strerror(errno));
        return false;
    }
    close(fd);
    return true;
}

static void
add_file(KvgPipeline *pipeline)
{
    const char *path = kvg_source_rest(pipeline->camera->source);
    if (!can_be_read(pipeline, path))
        return;
    if (pipeline->sink != NULL)
        kvg_sink_set_offline(pipeline->sink, pipeline->spool_limit_bytes);
    GstElement *const chain[] = {kvg_pipeline_add(pipeline, "filesrc"),
                                 kvg_pipeline_add(pipeline, "parsebin")};
    if (chain[0] == NULL || chain[1] == NULL)
        return;
    g_object_set(chain[0], "location", path, NULL);
    g_signal_connect(chain[1], "pad-added", G_CALLBACK(on_pad), pipeline);
    (void)kvg_pipeline_link(NULL, chain, G_N_ELEMENTS(chain));
}

const KvgSource kvg_source_file = {
    .prefix = "file:", .is_lossless = true, .can_end = true, .add = add_file};
