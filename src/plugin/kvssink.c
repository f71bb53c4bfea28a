/**
 * SECTION:element-kvssink
 * @title: kvssink
 *
 * Sends H.264 or H.265 video to Amazon Kinesis Video Streams, or to a server that speaks its
 * protocol. Every frame goes into a spool on disk first, so an outage of the network loses nothing.
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
 */
#include "plugin/kvssink.h"
#include "media/annexb.h"
#include "media/h264.h"
#include "media/parameter_sets.h"
#include "plugin/settings.h"
#include "plugin/timeline.h"
#include <string.h>

GST_DEBUG_CATEGORY_STATIC(kvs_sink_debug);
#define GST_CAT_DEFAULT kvs_sink_debug

/* The former element could hold a pipeline for two minutes at its end. The spool keeps what is not
 * acknowledged, so waiting longer than this gains nothing. */
#define MAX_CLOSE_MS (10 * 1000)
#define RANK (GST_RANK_PRIMARY + 10)

typedef enum { FORMAT_NONE, FORMAT_AVC, FORMAT_ANNEXB, FORMAT_HEVC } VideoFormat;

struct _GstKvsSink {
    GstElement parent;

    KvgSinkSettings settings; /* under the object lock */
    KvgHubStream *given;      /* set before use by a program that owns the stream */
    KvgHubStream *stream;     /* from READY to PAUSED until back in READY; see take_stream() */

    GstPad *video, *audio; /* under the object lock; unowned, the element's pad list has them */
    bool video_ended, audio_ended; /* under the object lock */
    bool eos_posted;               /* under the object lock */

    struct { /* the video pad's streaming thread */
        VideoFormat format;
        GBytes *codec_data;
        uint32_t width, height;
        bool has_track;
        bool is_live, knows_live;
        KvgTimeline timeline;
        uint64_t refused; /* frames that the stream would not take */
        bool warned_audio;
    } flow;
};

enum { SIGNAL_STREAM_ERROR, SIGNAL_FRAGMENT_ACK, SIGNAL_STREAM_CLIENT_METRIC, N_SIGNALS };
static guint signals[N_SIGNALS];

#define VIDEO_CAPS                                                                                 \
    "video/x-h264, stream-format=(string)avc, alignment=(string)au, "                              \
    "width=(int)[16,MAX], height=(int)[16,MAX]; "                                                  \
    "video/x-h264, stream-format=(string)byte-stream, alignment=(string)au, "                      \
    "width=(int)[16,MAX], height=(int)[16,MAX]; "                                                  \
    "video/x-h265, stream-format=(string){hvc1,hev1}, alignment=(string)au, "                      \
    "width=(int)[16,MAX], height=(int)[16,MAX]"
#define AUDIO_CAPS                                                                                 \
    "audio/mpeg, mpegversion=(int){2,4}, stream-format=(string)raw, channels=(int)[1,MAX], "       \
    "rate=(int)[1,MAX]; "                                                                          \
    "audio/x-alaw, channels=(int){1,2}, rate=(int)[8000,192000]; "                                 \
    "audio/x-mulaw, channels=(int){1,2}, rate=(int)[8000,192000]"

static GstStaticPadTemplate video_template =
    GST_STATIC_PAD_TEMPLATE("video_%u", GST_PAD_SINK, GST_PAD_REQUEST, GST_STATIC_CAPS(VIDEO_CAPS));
static GstStaticPadTemplate audio_template =
    GST_STATIC_PAD_TEMPLATE("audio_%u", GST_PAD_SINK, GST_PAD_REQUEST, GST_STATIC_CAPS(AUDIO_CAPS));

G_DEFINE_TYPE(GstKvsSink, gst_kvs_sink, GST_TYPE_ELEMENT)

/* ---- the stream ---- */

static void
post_stream_state(GObject *object, KvgStreamState state, const char *reason)
{
    GstElement *element = GST_ELEMENT(object);
    const char *name = kvg_stream_state_to_string(state);

    GST_INFO_OBJECT(element, "stream is %s: %s", name, reason);
    gst_element_post_message(
        element, gst_message_new_element(
                     GST_OBJECT(element),
                     gst_structure_new("kvg-stream-state", "state", G_TYPE_STRING, name, "reason",
                                       G_TYPE_STRING, reason != NULL ? reason : "", NULL)));
}

/* Settings are copied into a plan under the lock; opening, which touches the disk, is outside. */
static KvgHubStream *
open_stream(GstKvsSink *self, GError **error)
{
    if (self->given != NULL)
        return kvg_hub_stream_hold(self->given);

    g_auto(KvgSinkPlan) plan = {0};
    GST_OBJECT_LOCK(self);
    const bool planned = kvg_sink_settings_plan(&self->settings, &plan, error);
    GST_OBJECT_UNLOCK(self);
    if (!planned)
        return NULL;
    return kvg_hub_open_stream(&plan.producer, &plan.stream, error);
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
    if (!kvg_hub_stream_attach(stream, G_OBJECT(self), post_stream_state)) {
        kvg_hub_stream_release(stream, 0, NULL);
        GST_ELEMENT_ERROR(self, RESOURCE, BUSY,
                          ("another kvssink of this program writes into the stream"), (NULL));
        return false;
    }

    kvg_timeline_init(&self->flow.timeline, kvg_hub_stream_last_dts_us(stream));
    self->flow.knows_live = self->flow.has_track = false;
    self->flow.refused = 0;
    GST_OBJECT_LOCK(self);
    self->stream = stream;
    self->video_ended = self->audio_ended = self->eos_posted = false;
    GST_OBJECT_UNLOCK(self);
    return true;
}

static KvgHubStream *
take_stream(GstKvsSink *self)
{
    GST_OBJECT_LOCK(self);
    KvgHubStream *stream = g_steal_pointer(&self->stream);
    GST_OBJECT_UNLOCK(self);
    return stream;
}

static int64_t
close_timeout_ms(GstKvsSink *self, KvgHubStream *stream)
{
    KvgStreamStats stats;
    kvg_hub_stream_get_stats(stream, &stats);
    if (stats.state == KVG_STREAM_WAITING)
        return 0; /* the service cannot be reached now: the spool has it all */

    GST_OBJECT_LOCK(self);
    const int64_t wanted_ms =
        (int64_t)kvg_sink_settings_uint(&self->settings, KVG_SINK_STOP_STREAM_TIMEOUT) * 1000;
    GST_OBJECT_UNLOCK(self);
    return MIN(wanted_ms, MAX_CLOSE_MS);
}

static void
stop_stream(GstKvsSink *self)
{
    KvgHubStream *stream = take_stream(self);
    if (stream == NULL)
        return;

    g_autoptr(GError) error = NULL;
    const int64_t timeout_ms = close_timeout_ms(self, stream);
    kvg_hub_stream_detach(stream, G_OBJECT(self));
    if (!kvg_hub_stream_release(stream, timeout_ms, &error))
        GST_INFO_OBJECT(self, "%s", error != NULL ? error->message : "left in the spool");
    g_clear_pointer(&self->flow.codec_data, g_bytes_unref);
    self->flow.format = FORMAT_NONE;
}

/* ---- caps ---- */

static GBytes *
codec_data_of(const GstStructure *structure)
{
    const GValue *value = gst_structure_get_value(structure, "codec_data");
    if (value == NULL || !G_VALUE_HOLDS(value, GST_TYPE_BUFFER))
        return NULL;

    GstBuffer *buffer = gst_value_get_buffer(value);
    gpointer data = NULL;
    gsize len = 0;
    gst_buffer_extract_dup(buffer, 0, gst_buffer_get_size(buffer), &data, &len);
    return g_bytes_new_take(data, len);
}

static VideoFormat
format_of(const GstStructure *structure)
{
    if (gst_structure_has_name(structure, "video/x-h265"))
        return FORMAT_HEVC;
    const char *stream_format = gst_structure_get_string(structure, "stream-format");
    return g_strcmp0(stream_format, "byte-stream") == 0 ? FORMAT_ANNEXB : FORMAT_AVC;
}

static bool
set_track(GstKvsSink *self, GBytes *codec_private)
{
    GST_OBJECT_LOCK(self);
    g_autofree char *track_name =
        g_strdup(kvg_sink_settings_string(&self->settings, KVG_SINK_TRACK_NAME));
    GST_OBJECT_UNLOCK(self);
    const KvgTrack track = {
        .number = 1,
        .type = KVG_TRACK_VIDEO,
        .codec_id = self->flow.format == FORMAT_HEVC ? "V_MPEGH/ISO/HEVC" : "V_MPEG4/ISO/AVC",
        .codec_private = codec_private,
        .name = track_name != NULL && strlen(track_name) <= 32 ? track_name : NULL,
        .width = self->flow.width,
        .height = self->flow.height,
    };

    g_autoptr(GError) error = NULL;
    self->flow.has_track = kvg_hub_stream_set_video(self->stream, &track, &error);
    if (!self->flow.has_track)
        GST_ELEMENT_WARNING(self, STREAM, FORMAT, ("%s", error->message), (NULL));
    return self->flow.has_track;
}

static bool
set_caps(GstKvsSink *self, GstCaps *caps)
{
    const GstStructure *structure = gst_caps_get_structure(caps, 0);
    gint width = 0, height = 0;
    gst_structure_get_int(structure, "width", &width);
    gst_structure_get_int(structure, "height", &height);

    self->flow.format = format_of(structure);
    self->flow.width = (uint32_t)MAX(width, 0);
    self->flow.height = (uint32_t)MAX(height, 0);
    self->flow.has_track = false;
    g_clear_pointer(&self->flow.codec_data, g_bytes_unref);
    self->flow.codec_data = codec_data_of(structure);
    GST_INFO_OBJECT(self, "caps %" GST_PTR_FORMAT, (void *)caps);

    if (self->flow.format == FORMAT_ANNEXB)
        return true; /* its parameter sets come in the stream */
    if (self->flow.codec_data == NULL) {
        GST_ELEMENT_ERROR(self, STREAM, FORMAT, ("the caps carry no codec_data"),
                          ("%" GST_PTR_FORMAT, (void *)caps));
        return false;
    }
    return set_track(self, self->flow.codec_data);
}

/* ---- frames ---- */

/* Lends the buffer's bytes to a GBytes; nothing is copied unless the buffer is in pieces. */
typedef struct {
    GstBuffer *buffer;
    GstMapInfo map;
} Loan;

static void
loan_end(gpointer data)
{
    Loan *loan = data;
    gst_buffer_unmap(loan->buffer, &loan->map);
    gst_buffer_unref(loan->buffer);
    g_free(loan);
}

static GBytes *
buffer_to_bytes(GstBuffer *buffer)
{
    Loan *loan = g_new0(Loan, 1);
    if (!gst_buffer_map(buffer, &loan->map, GST_MAP_READ)) {
        g_free(loan);
        return NULL;
    }
    loan->buffer = gst_buffer_ref(buffer);
    return g_bytes_new_with_free_func(loan->map.data, loan->map.size, loan_end, loan);
}

/* Annex B: the track follows the parameter sets of the key frames. */
static bool
follow_parameter_sets(GstKvsSink *self, GBytes *annexb)
{
    gsize len = 0;
    const uint8_t *data = g_bytes_get_data(annexb, &len);
    g_autoptr(KvgParameterSets) sets = kvg_parameter_sets_new(KVG_VIDEO_H264);
    kvg_parameter_sets_put_unit(sets, data, len, 0);
    g_autoptr(GBytes) avcc = kvg_parameter_sets_build(sets);
    if (avcc == NULL)
        return self->flow.has_track;
    if (self->flow.has_track && self->flow.codec_data != NULL &&
        g_bytes_equal(avcc, self->flow.codec_data))
        return true;

    g_clear_pointer(&self->flow.codec_data, g_bytes_unref);
    self->flow.codec_data = g_bytes_ref(avcc);
    gsize avcc_len = 0;
    const uint8_t *avcc_data = g_bytes_get_data(avcc, &avcc_len);
    KvgAvcc parsed;
    KvgH264Sps sps;
    if (kvg_h264_parse_avcc(avcc_data, avcc_len, &parsed, NULL) &&
        kvg_h264_parse_sps(parsed.sps, parsed.sps_len, &sps, NULL)) {
        self->flow.width = sps.width;
        self->flow.height = sps.height;
    }
    return set_track(self, avcc);
}

/* The access unit with 4-byte lengths; NULL if it has to be left out. */
static GBytes *
frame_bytes(GstKvsSink *self, GstBuffer *buffer)
{
    g_autoptr(GBytes) bytes = buffer_to_bytes(buffer);
    if (bytes == NULL || g_bytes_get_size(bytes) == 0)
        return NULL;
    if (self->flow.format != FORMAT_ANNEXB)
        return self->flow.has_track ? g_steal_pointer(&bytes) : NULL;

    const bool key = !GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_DELTA_UNIT);
    const bool known = key ? follow_parameter_sets(self, bytes) : self->flow.has_track;
    if (!known)
        return NULL;
    gsize len = 0;
    const uint8_t *data = g_bytes_get_data(bytes, &len);
    return kvg_annexb_to_lengths(data, len);
}

static int64_t
to_running_us(const GstSegment *segment, GstClockTime time)
{
    guint64 running = 0;
    if (!GST_CLOCK_TIME_IS_VALID(time) || segment->format != GST_FORMAT_TIME)
        return KVG_TIMELINE_NONE;
    const int sign = gst_segment_to_running_time_full(segment, GST_FORMAT_TIME, time, &running);
    return sign == 0 ? KVG_TIMELINE_NONE : sign * (int64_t)(running / 1000);
}

/* Capture time by the source, if a reference timestamp says so in Unix or NTP time. */
static int64_t
captured_us(GstBuffer *buffer)
{
    static GstStaticCaps unix_caps = GST_STATIC_CAPS("timestamp/x-unix");
    static GstStaticCaps ntp_caps = GST_STATIC_CAPS("timestamp/x-ntp");
    const uint64_t ntp_to_unix_us = UINT64_C(2208988800) * G_USEC_PER_SEC;

    g_autoptr(GstCaps) unix_reference = gst_static_caps_get(&unix_caps);
    GstReferenceTimestampMeta *meta =
        gst_buffer_get_reference_timestamp_meta(buffer, unix_reference);
    if (meta != NULL)
        return (int64_t)(meta->timestamp / 1000);
    g_autoptr(GstCaps) ntp_reference = gst_static_caps_get(&ntp_caps);
    meta = gst_buffer_get_reference_timestamp_meta(buffer, ntp_reference);
    if (meta != NULL && meta->timestamp / 1000 > ntp_to_unix_us)
        return (int64_t)(meta->timestamp / 1000 - ntp_to_unix_us);
    return KVG_TIMELINE_NONE;
}

static void
learn_live(GstKvsSink *self, GstPad *pad)
{
    g_autoptr(GstQuery) query = gst_query_new_latency();
    gboolean live = FALSE;
    if (gst_pad_peer_query(pad, query))
        gst_query_parse_latency(query, &live, NULL, NULL);
    self->flow.is_live = live != FALSE;
    self->flow.knows_live = true;
}

/* What counts as now: the wall clock, or for a file the time it is said to begin at. */
static int64_t
arrival_us(GstKvsSink *self)
{
    GST_OBJECT_LOCK(self);
    const bool offline = g_value_get_enum(&self->settings.values[KVG_SINK_STREAMING_TYPE]) == 2;
    const uint64_t begin_s = g_value_get_uint64(&self->settings.values[KVG_SINK_FILE_START_TIME]);
    GST_OBJECT_UNLOCK(self);

    if (offline && !self->flow.is_live && begin_s > 0 && begin_s < UINT32_MAX)
        return (int64_t)begin_s * G_USEC_PER_SEC;
    return g_get_real_time();
}

static void
set_times(GstKvsSink *self, GstPad *pad, GstBuffer *buffer, KvgFrame *frame)
{
    if (!self->flow.knows_live)
        learn_live(self, pad);

    const GstSegment *segment = NULL;
    g_autoptr(GstEvent) event = gst_pad_get_sticky_event(pad, GST_EVENT_SEGMENT, 0);
    if (event != NULL)
        gst_event_parse_segment(event, &segment);

    KvgTimelineInput input = {.pts_us = KVG_TIMELINE_NONE,
                              .dts_us = KVG_TIMELINE_NONE,
                              .now_us = arrival_us(self),
                              .captured_us = captured_us(buffer),
                              .live = self->flow.is_live};
    if (segment != NULL) {
        input.pts_us = to_running_us(segment, GST_BUFFER_PTS(buffer));
        input.dts_us = to_running_us(segment, GST_BUFFER_DTS(buffer));
    }
    GST_OBJECT_LOCK(self);
    if (kvg_sink_settings_bool(&self->settings, KVG_SINK_USE_ORIGINAL_PTS) &&
        input.dts_us != KVG_TIMELINE_NONE)
        input.pts_us = input.dts_us;
    GST_OBJECT_UNLOCK(self);

    const uint64_t repaired = self->flow.timeline.repaired;
    kvg_timeline_map(&self->flow.timeline, &input, &frame->pts_us, &frame->dts_us);
    if (self->flow.timeline.repaired != repaired)
        GST_INFO_OBJECT(self, "time repaired of %" GST_PTR_FORMAT, (void *)buffer);
}

static void
put_frame(GstKvsSink *self, const KvgFrame *frame)
{
    g_autoptr(GError) error = NULL;
    if (kvg_hub_stream_put(self->stream, frame, &error)) {
        self->flow.refused = 0;
        return;
    }
    /* A frame that cannot be kept is counted by the stream; the pipeline goes on, and says so once.
     */
    if (self->flow.refused++ == 0)
        GST_ELEMENT_WARNING(self, RESOURCE, WRITE, ("%s", error->message), (NULL));
}

static GstFlowReturn
video_chain(GstPad *pad, GstObject *parent, GstBuffer *taken)
{
    g_autoptr(GstBuffer) buffer = taken;
    GstKvsSink *self = GST_KVS_SINK(parent);

    if (self->stream == NULL)
        return GST_FLOW_FLUSHING;
    if (self->flow.format == FORMAT_NONE)
        return GST_FLOW_NOT_NEGOTIATED;

    g_autoptr(GBytes) data = frame_bytes(self, buffer);
    if (data == NULL) {
        GST_DEBUG_OBJECT(self, "left out: %" GST_PTR_FORMAT, (void *)buffer);
        return GST_FLOW_OK;
    }
    KvgFrame frame = {.track = 1,
                      .key = !GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_DELTA_UNIT),
                      .data = data};
    if (GST_BUFFER_DURATION_IS_VALID(buffer))
        frame.duration_us = (int64_t)(GST_BUFFER_DURATION(buffer) / 1000);
    set_times(self, pad, buffer, &frame);
    put_frame(self, &frame);
    return GST_FLOW_OK;
}

static GstFlowReturn
audio_chain(GstPad *pad, GstObject *parent, GstBuffer *buffer)
{
    GstKvsSink *self = GST_KVS_SINK(parent);

    gst_buffer_unref(buffer);
    if (!self->flow.warned_audio) {
        self->flow.warned_audio = true;
        GST_ELEMENT_WARNING(self, STREAM, NOT_IMPLEMENTED, ("audio is not sent; only the video is"),
                            (NULL));
    }
    return GST_FLOW_OK;
}

/* ---- events ---- */

static void
end_pad(GstKvsSink *self, GstPad *pad)
{
    GST_OBJECT_LOCK(self);
    if (pad == self->video)
        self->video_ended = true;
    if (pad == self->audio)
        self->audio_ended = true;
    const bool ended = (self->video == NULL || self->video_ended) &&
                       (self->audio == NULL || self->audio_ended) && !self->eos_posted;
    self->eos_posted |= ended;
    GST_OBJECT_UNLOCK(self);

    /* The bin passes it on to the application when it is playing. */
    if (ended)
        gst_element_post_message(GST_ELEMENT(self), gst_message_new_eos(GST_OBJECT(self)));
}

static gboolean
sink_event(GstPad *pad, GstObject *parent, GstEvent *event)
{
    GstKvsSink *self = GST_KVS_SINK(parent);

    switch ((int)GST_EVENT_TYPE(event)) { /* the default is the rule here */
    case GST_EVENT_CAPS: {
        GstCaps *caps = NULL;
        gst_event_parse_caps(event, &caps);
        const bool taken = pad == self->audio || (self->stream != NULL && set_caps(self, caps));
        gst_event_unref(event);
        return taken;
    }
    case GST_EVENT_EOS:
        end_pad(self, pad);
        gst_event_unref(event);
        return TRUE;
    case GST_EVENT_FLUSH_STOP:
        GST_OBJECT_LOCK(self);
        self->video_ended = self->audio_ended = self->eos_posted = false;
        GST_OBJECT_UNLOCK(self);
        break;
    default:
        break;
    }
    return gst_pad_event_default(pad, parent, event);
}

/* ---- pads ---- */

static GstPad *
request_new_pad(GstElement *element,
                GstPadTemplate *template,
                const gchar *name,
                const GstCaps *caps)
{
    GstKvsSink *self = GST_KVS_SINK(element);
    const bool is_video = g_str_has_prefix(GST_PAD_TEMPLATE_NAME_TEMPLATE(template), "video");
    GstPad **slot = is_video ? &self->video : &self->audio;

    GST_OBJECT_LOCK(self);
    const bool taken = *slot != NULL;
    GST_OBJECT_UNLOCK(self);
    if (taken) {
        GST_WARNING_OBJECT(self, "there is one %s pad already", is_video ? "video" : "audio");
        return NULL;
    }

    g_autofree char *default_name = g_strdup(is_video ? "video_0" : "audio_0");
    GstPad *pad = gst_pad_new_from_template(template, name != NULL ? name : default_name);
    gst_pad_set_chain_function(pad, is_video ? video_chain : audio_chain);
    gst_pad_set_event_function(pad, sink_event);
    GST_OBJECT_LOCK(self);
    *slot = pad;
    GST_OBJECT_UNLOCK(self);
    if (GST_STATE(element) >= GST_STATE_PAUSED)
        gst_pad_set_active(pad, TRUE);
    gst_element_add_pad(element, pad);
    return pad;
}

static void
release_pad(GstElement *element, GstPad *pad)
{
    GstKvsSink *self = GST_KVS_SINK(element);

    gst_pad_set_active(pad, FALSE);
    GST_OBJECT_LOCK(self);
    if (self->video == pad)
        self->video = NULL;
    if (self->audio == pad)
        self->audio = NULL;
    GST_OBJECT_UNLOCK(self);
    gst_element_remove_pad(element, pad);
}

/* ---- element ---- */

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
stats_to_structure(const KvgStreamStats *stats)
{
    return gst_structure_new(
        "kvg-stats", "state", G_TYPE_STRING, kvg_stream_state_to_string(stats->state), "reason",
        G_TYPE_STRING, stats->reason, "frames", G_TYPE_UINT64, stats->frames_put, "frames-dropped",
        G_TYPE_UINT64, stats->frames_dropped, "frames-before-key", G_TYPE_UINT64,
        stats->frames_before_key, "frames-persisted", G_TYPE_UINT64, stats->frames_persisted,
        "bytes", G_TYPE_UINT64, stats->bytes_put, "bytes-sent", G_TYPE_UINT64, stats->bytes_sent,
        "fragments", G_TYPE_UINT64, stats->fragments_put, "fragments-persisted", G_TYPE_UINT64,
        stats->fragments_persisted, "fragments-dropped", G_TYPE_UINT64, stats->fragments_dropped,
        "sessions", G_TYPE_UINT64, stats->sessions, "spool-bytes", G_TYPE_UINT64,
        stats->spool_bytes, "ack-latency-ms", G_TYPE_INT64, stats->last_ack_latency_ms, NULL);
}

static GstStructure *
get_stats(GstKvsSink *self)
{
    GST_OBJECT_LOCK(self);
    KvgHubStream *stream = self->stream != NULL ? kvg_hub_stream_hold(self->stream) : NULL;
    GST_OBJECT_UNLOCK(self);
    if (stream == NULL)
        return gst_structure_new("kvg-stats", "state", G_TYPE_STRING, "closed", NULL);

    KvgStreamStats stats;
    kvg_hub_stream_get_stats(stream, &stats);
    kvg_hub_stream_release(stream, 0, NULL);
    return stats_to_structure(&stats);
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
    g_clear_pointer(&self->flow.codec_data, g_bytes_unref);
    kvg_sink_settings_clear(&self->settings);
    G_OBJECT_CLASS(gst_kvs_sink_parent_class)->finalize(object);
}

static void
install_signals(GType type)
{
    signals[SIGNAL_STREAM_ERROR] = g_signal_new("stream-error", type, G_SIGNAL_RUN_LAST, 0, NULL,
                                                NULL, NULL, G_TYPE_NONE, 1, G_TYPE_UINT64);
    signals[SIGNAL_FRAGMENT_ACK] = g_signal_new("fragment-ack", type, G_SIGNAL_ACTION, 0, NULL,
                                                NULL, NULL, G_TYPE_NONE, 1, G_TYPE_POINTER);
    signals[SIGNAL_STREAM_CLIENT_METRIC] =
        g_signal_new("stream-client-metric", type, G_SIGNAL_ACTION, 0, NULL, NULL, NULL,
                     G_TYPE_NONE, 1, G_TYPE_POINTER);
}

static void
gst_kvs_sink_class_init(GstKvsSinkClass *klass)
{
    GObjectClass *object_class = G_OBJECT_CLASS(klass);
    GstElementClass *element_class = GST_ELEMENT_CLASS(klass);

    GST_DEBUG_CATEGORY_INIT(kvs_sink_debug, "kvssink", 0, "Kinesis Video Streams sink");
    object_class->set_property = set_property;
    object_class->get_property = get_property;
    object_class->finalize = finalize;
    element_class->request_new_pad = request_new_pad;
    element_class->release_pad = release_pad;
    element_class->change_state = change_state;

    kvg_sink_settings_install(object_class);
    install_signals(G_TYPE_FROM_CLASS(klass));
    gst_element_class_add_static_pad_template(element_class, &audio_template);
    gst_element_class_add_static_pad_template(element_class, &video_template);
    gst_element_class_set_static_metadata(element_class, "KVS Sink", "Sink/Video/Network",
                                          "Sends video to Kinesis Video Streams through a spool",
                                          "kvg");
    gst_type_mark_as_plugin_api(g_type_from_name("GstKvsSinkStreamingType"), 0);
}

static void
gst_kvs_sink_init(GstKvsSink *self)
{
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

bool
kvg_plugin_register_static(void)
{
    return gst_element_register(NULL, "kvssink", RANK, GST_TYPE_KVS_SINK) != FALSE;
}
