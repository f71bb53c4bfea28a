/**
 * SECTION:element-kvssink
 * @title: kvssink
 *
 * Sends H.264 or H.265 video, with AAC or G.711 audio, to Amazon Kinesis Video Streams, or to a
 * server that speaks its protocol. Every frame goes into a spool first, so an outage of the network
 * loses nothing. Pads, properties, signals and variables are those of the element of the AWS
 * producer; docs/kvssink.md says what each does here.
 *
 * ## Example pipelines
 * |[
 * gst-launch-1.0 videotestsrc is-live=true ! x264enc tune=zerolatency key-int-max=30 ! h264parse !
 *     video/x-h264,stream-format=avc,alignment=au ! kvssink stream-name=gate aws-region=us-east-1
 * ]| A test picture, with keys from the environment.
 * |[
 * gst-launch-1.0 rtspsrc location=rtsp://10.0.0.11/main protocols=tcp ! rtph264depay ! h264parse !
 *     kvssink stream-name=gate
 * iot-certificate="iot-certificate,endpoint=HOST,cert-path=gate.cert.pem,
 *     key-path=gate.private.key,ca-path=ca.pem,role-aliases=KvgCamera"
 * ]| A camera as it is, with its own certificate.
 * |[
 * gst-launch-1.0 filesrc location=a.mp4 ! qtdemux name=d  d. ! queue ! h264parse ! kvssink name=k
 *     stream-name=gate streaming-type=offline  d. ! queue ! aacparse ! k.
 * ]| A file with sound, as fast as it goes.
 */
#include "plugin/buffer_time.h"
#include "plugin/private.h"

#include <string.h>

GST_DEBUG_CATEGORY(kvs_sink_debug);
#define GST_CAT_DEFAULT kvs_sink_debug

/* The former element could hold a pipeline for two minutes at its end. The spool keeps what is not
 * acknowledged, so a camera gains nothing by waiting longer than this; a file may want to. */
#define CLOSE_MS (10 * 1000)
#define RANK (GST_RANK_PRIMARY + 10)

G_DEFINE_TYPE(GstKvsSink, gst_kvs_sink, GST_TYPE_ELEMENT)

/* ---- the stream ---- */

static const KvgHubListener listener = {kvg_report_state, kvg_report_ack};

/* What the peers will send, as far as it can be told before their caps come:
 * "video/h264,audio/aac". */
static char *
guess_content_type(GstKvsSink *self)
{
    static const struct {
        const char *caps, *media;
    } names[] = {{"video/x-h264", "video/h264"},
                 {"video/x-h265", "video/h265"},
                 {"audio/mpeg", "audio/aac"},
                 {"audio/x-alaw", "audio/alaw"},
                 {"audio/x-mulaw", "audio/mulaw"}};
    GString *type = g_string_new(NULL);

    for (unsigned i = 0; i < N_TRACKS; i++) {
        GstPad *pad = self->flow.pads[i].pad;
        g_autoptr(GstCaps) caps = pad != NULL ? gst_pad_get_allowed_caps(pad) : NULL;
        if (caps == NULL || gst_caps_is_empty(caps) || gst_caps_is_any(caps))
            continue;
        const GstStructure *first = gst_caps_get_structure(caps, 0);
        for (unsigned j = 0; j < G_N_ELEMENTS(names); j++) {
            if (gst_structure_has_name(first, names[j].caps))
                g_string_append_printf(type, "%s%s", type->len > 0 ? "," : "", names[j].media);
        }
    }
    return g_string_free(type, FALSE);
}

/* Settings are copied into a plan under the lock; opening, which touches the disk, is outside. */
static KvgHubStream *
open_stream(GstKvsSink *self, GError **error)
{
    if (self->given != NULL) {
        self->flow.limit_bytes = self->given_limit_bytes;
        return kvg_hub_stream_hold(self->given);
    }

    g_auto(KvgSinkPlan) plan = {0};
    g_autofree char *content_type = guess_content_type(self);
    GST_OBJECT_LOCK(self);
    kvg_sink_settings_propose(&self->settings, KVG_SINK_CONTENT_TYPE, content_type);
    const bool planned = kvg_sink_settings_plan(&self->settings, &plan, error);
    GST_OBJECT_UNLOCK(self);
    if (!planned)
        return NULL;
    self->flow.limit_bytes = plan.stream.spool_limit_bytes;
    return kvg_hub_open_stream(&plan.producer, &plan.stream, error);
}

static void
start_flow(GstKvsSink *self, KvgHubStream *stream)
{
    GST_OBJECT_LOCK(self);
    const KvgSinkSettings *settings = &self->settings;
    self->flow.is_offline = self->given_offline || kvg_sink_settings_is_offline(settings);
    self->flow.uses_dts_only = kvg_sink_settings_bool(settings, KVG_SINK_USE_ORIGINAL_PTS);
    self->flow.wants_metrics = kvg_sink_settings_bool(settings, KVG_SINK_GET_KVS_METRICS);
    g_autofree char *name = g_strdup(kvg_sink_settings_string(settings, KVG_SINK_TRACK_NAME));
    GST_OBJECT_UNLOCK(self);

    const KvgWriterOptions options = {
        .stream = stream,
        .video_name = name != NULL && strlen(name) <= 32 ? name : NULL,
        .last_dts_us =
            self->flow.is_offline ? KVG_TIMELINE_NONE : kvg_hub_stream_last_dts_us(stream)};
    pthread_mutex_lock(&self->lock);
    self->flow.writer = kvg_writer_new(&options);
    self->flow.eos_posted = self->flow.knows_live = false;
    self->flow.n_asked_keys = 0;
    self->flow.metric = (KvgReportMetric){0};
    for (unsigned i = 0; i < N_TRACKS; i++) {
        self->flow.pads[i].has_ended = false;
        self->flow.pads[i].refused = 0;
        if (self->flow.pads[i].pad != NULL)
            kvg_writer_open(self->flow.writer, i, true);
    }
    pthread_mutex_unlock(&self->lock);
}

/* A connection that is being made is given a moment to turn out. */
static bool
can_be_reached(KvgHubStream *stream)
{
    for (unsigned i = 0;; i++) {
        KvgStreamStats stats;
        kvg_hub_stream_get_stats(stream, &stats);
        if (stats.state != KVG_STREAM_CONNECTING || stats.spool_fragments == 0 || i == 100)
            return stats.state != KVG_STREAM_WAITING;
        g_usleep(10 * 1000);
    }
}

/* How long the end may take. A file is there to be stored, so its user is believed; a camera's
 * pictures are safe in the spool. */
static int64_t
close_timeout_ms(GstKvsSink *self, KvgHubStream *stream)
{
    GST_OBJECT_LOCK(self);
    const int64_t wanted_ms =
        (int64_t)kvg_sink_settings_uint(&self->settings, KVG_SINK_STOP_STREAM_TIMEOUT) * 1000;
    const bool is_wish = self->settings.is_set[KVG_SINK_STOP_STREAM_TIMEOUT];
    GST_OBJECT_UNLOCK(self);
    if (wanted_ms == 0)
        return 0;
    const bool is_reachable = can_be_reached(stream);
    if (self->flow.is_offline)
        return is_reachable ? wanted_ms : MIN(wanted_ms, CLOSE_MS);
    if (!is_reachable)
        return 0;
    return is_wish ? wanted_ms : MIN(wanted_ms, CLOSE_MS);
}

/* With the lock. What waits is written; what comes is refused from now on. */
static void
end_flow(GstKvsSink *self)
{
    g_autoptr(GError) error = NULL;
    if (self->flow.writer != NULL &&
        !kvg_writer_drain(self->flow.writer, g_get_monotonic_time(), true, &error))
        GST_WARNING_OBJECT(self, "%s", error->message);
    g_clear_pointer(&self->flow.writer, kvg_writer_free);
    pthread_cond_broadcast(&self->wake);
}

/* The pads are inactive: nobody else is in `flow`. */
static void
stop_stream(GstKvsSink *self)
{
    GST_OBJECT_LOCK(self);
    KvgHubStream *stream = g_steal_pointer(&self->stream);
    GST_OBJECT_UNLOCK(self);
    if (stream == NULL)
        return;

    pthread_mutex_lock(&self->lock);
    end_flow(self);
    for (unsigned i = 0; i < N_TRACKS; i++) {
        g_clear_pointer(&self->flow.pads[i].input, kvg_input_free);
        if (self->flow.pads[i].pad != NULL)
            self->flow.pads[i].input =
                kvg_input_new(i == KVG_WRITER_VIDEO ? KVG_TRACK_VIDEO : KVG_TRACK_AUDIO);
    }
    pthread_mutex_unlock(&self->lock);

    g_autoptr(GError) error = NULL;
    const int64_t timeout_ms = close_timeout_ms(self, stream);
    if (!kvg_hub_stream_leave(stream, G_OBJECT(self), timeout_ms, &error))
        GST_INFO_OBJECT(self, "%s", error != NULL ? error->message : "left in the spool");
}

static bool
start_stream(GstKvsSink *self)
{
    g_autoptr(GError) error = NULL;
    KvgHubStream *stream = open_stream(self, &error);
    if (stream == NULL) {
        GST_ELEMENT_ERROR(self, RESOURCE, OPEN_WRITE, ("%s", error->message), (NULL));
        return false;
    }
    if (!kvg_hub_stream_attach(stream, G_OBJECT(self), &listener)) {
        kvg_hub_stream_release(stream, 0, NULL);
        GST_ELEMENT_ERROR(self, RESOURCE, BUSY,
                          ("another kvssink of this program writes into the stream"), (NULL));
        return false;
    }
    start_flow(self, stream);
    GST_OBJECT_LOCK(self);
    self->stream = stream;
    const bool is_gone = self->is_gone;
    GST_OBJECT_UNLOCK(self);
    if (is_gone)
        stop_stream(self);
    return !is_gone;
}

/* ---- element ---- */

/* Programs send the metadata event to the element as well as into the stream. */
static gboolean
send_event(GstElement *element, GstEvent *event)
{
    bool ok = false;
    if (!kvg_sink_take_metadata(GST_KVS_SINK(element), event, &ok))
        return GST_ELEMENT_CLASS(gst_kvs_sink_parent_class)->send_event(element, event);
    gst_event_unref(event);
    return ok;
}

static GstStateChangeReturn
change_state(GstElement *element, GstStateChange transition)
{
    GstKvsSink *self = GST_KVS_SINK(element);

    if (transition == GST_STATE_CHANGE_READY_TO_PAUSED && !start_stream(self))
        return GST_STATE_CHANGE_FAILURE;
    const GstStateChangeReturn result =
        GST_ELEMENT_CLASS(gst_kvs_sink_parent_class)->change_state(element, transition);
    /* The parent has deactivated the pads, so no frame is under way any more. */
    if (transition == GST_STATE_CHANGE_PAUSED_TO_READY ||
        (transition == GST_STATE_CHANGE_READY_TO_PAUSED && result == GST_STATE_CHANGE_FAILURE))
        stop_stream(self);
    return result;
}

static GstStructure *
get_stats(GstKvsSink *self)
{
    GST_OBJECT_LOCK(self);
    KvgHubStream *stream = self->stream != NULL ? kvg_hub_stream_hold(self->stream) : NULL;
    GST_OBJECT_UNLOCK(self);
    if (stream == NULL)
        return kvg_report_stats(NULL, NULL);

    KvgStreamStats stats;
    KvgWriterStats writer = {0};
    kvg_hub_stream_get_stats(stream, &stats);
    pthread_mutex_lock(&self->lock);
    if (self->flow.writer != NULL)
        writer = kvg_writer_stats(self->flow.writer);
    pthread_mutex_unlock(&self->lock);
    kvg_hub_stream_release(stream, 0, NULL);
    return kvg_report_stats(&stats, &writer);
}

static void
set_property(GObject *object, guint id, const GValue *value, GParamSpec *spec)
{
    GstKvsSink *self = GST_KVS_SINK(object);

    GST_OBJECT_LOCK(self);
    kvg_sink_settings_set(&self->settings, id, value);
    GST_OBJECT_UNLOCK(self);
    const char *note = kvg_sink_settings_note(id);
    if (note != NULL)
        GST_INFO_OBJECT(self, "%s has no effect: %s", spec->name, note);
}

static void
get_property(GObject *object, guint id, GValue *value, GParamSpec *spec)
{
    GstKvsSink *self = GST_KVS_SINK(object);

    if (id == KVG_SINK_STATS) {
        g_value_take_boxed(value, get_stats(self));
        return;
    }
    GST_OBJECT_LOCK(self);
    kvg_sink_settings_get(&self->settings, id, value);
    GST_OBJECT_UNLOCK(self);
}

static void
finalize(GObject *object)
{
    GstKvsSink *self = GST_KVS_SINK(object);

    kvg_hub_stream_release(g_steal_pointer(&self->given), 0, NULL);
    for (unsigned i = 0; i < N_TRACKS; i++)
        g_clear_pointer(&self->flow.pads[i].input, kvg_input_free);
    kvg_sink_settings_clear(&self->settings);
    pthread_cond_destroy(&self->wake);
    pthread_mutex_destroy(&self->lock);
    G_OBJECT_CLASS(gst_kvs_sink_parent_class)->finalize(object);
}

static void
gst_kvs_sink_class_init(GstKvsSinkClass *klass)
{
    GObjectClass *object_class = G_OBJECT_CLASS(klass);
    GstElementClass *element_class = GST_ELEMENT_CLASS(klass);
    static const char *const api_types[] = {"GstKvsSinkStreamingType", "GstKvsSinkCatchUp",
                                            "GstKvsSinkSpoolTier"};

    GST_DEBUG_CATEGORY_INIT(kvs_sink_debug, "kvssink", 0, "Kinesis Video Streams sink");
    object_class->set_property = set_property;
    object_class->get_property = get_property;
    object_class->finalize = finalize;
    kvg_sink_pads_install(element_class);
    element_class->change_state = change_state;
    element_class->send_event = send_event;

    kvg_sink_settings_install(object_class);
    kvg_report_install_signals(G_TYPE_FROM_CLASS(klass));
    gst_element_class_set_static_metadata(
        element_class, "KVS Sink", "Sink/Video/Network",
        "Sends video and audio to Kinesis Video Streams through a spool", "kvg");
    for (unsigned i = 0; i < G_N_ELEMENTS(api_types); i++)
        gst_type_mark_as_plugin_api(g_type_from_name(api_types[i]), 0);
}

static void
gst_kvs_sink_init(GstKvsSink *self)
{
    pthread_mutex_init(&self->lock, NULL);
    kvg_cond_init(&self->wake);
    kvg_sink_settings_init(&self->settings, G_OBJECT_GET_CLASS(self));
    GST_OBJECT_FLAG_SET(self, GST_ELEMENT_FLAG_SINK);
}

void
kvg_sink_use_stream(GstElement *element, KvgHubStream *stream)
{
    GstKvsSink *self = GST_KVS_SINK(element);
    g_return_if_fail(self->stream == NULL);

    kvg_hub_stream_release(g_steal_pointer(&self->given), 0, NULL);
    self->given = kvg_hub_stream_hold(stream);
}

void
kvg_sink_let_go(GstElement *element)
{
    GstKvsSink *self = GST_KVS_SINK(element);

    pthread_mutex_lock(&self->lock);
    end_flow(self);
    GST_OBJECT_LOCK(self);
    KvgHubStream *stream = g_steal_pointer(&self->stream);
    self->is_gone = true;
    GST_OBJECT_UNLOCK(self);
    pthread_mutex_unlock(&self->lock);
    if (stream != NULL)
        kvg_hub_stream_leave(stream, G_OBJECT(self), 0, NULL);
}

void
kvg_sink_set_offline(GstElement *element, uint64_t limit_bytes)
{
    GstKvsSink *self = GST_KVS_SINK(element);
    self->given_offline = true;
    self->given_limit_bytes = limit_bytes;
}

void
kvg_sink_set_begin(GstElement *element, int64_t wall_us)
{
    GstKvsSink *self = GST_KVS_SINK(element);
    G_GNUC_UNUSED g_auto(KvgLocker) locker = kvg_locker_lock(&self->lock);
    self->flow.begin_us = wall_us;
}

int64_t
kvg_sink_captured_us(GstBuffer *buffer)
{
    return kvg_buffer_time_captured(buffer);
}

bool
kvg_plugin_register_static(void)
{
    return gst_element_register(NULL, "kvssink", RANK, GST_TYPE_KVS_SINK) != FALSE;
}
