/* The pads of kvssink: what comes through them goes to the writer, under the element's lock. A
 * source that must wait (no room offline, far ahead of the other track) waits here, and only here.
 */
#include "plugin/private.h"

#include "plugin/buffer_time.h"

#define GST_CAT_DEFAULT kvs_sink_debug

/* How often a source that is held back looks again. */
#define LOOK_US (50 * G_TIME_SPAN_MILLISECOND)

#define VIDEO_CAPS                                                                                 \
    "video/x-h264, stream-format=(string)avc, alignment=(string)au, "                              \
    "width=(int)[16,MAX], height=(int)[16,MAX]; "                                                  \
    "video/x-h264, stream-format=(string){avc3,byte-stream}, alignment=(string)au, "               \
    "width=(int)[16,MAX], height=(int)[16,MAX]; "                                                  \
    "video/x-h265, alignment=(string)au, width=(int)[16,MAX], height=(int)[16,MAX]"
#define AUDIO_CAPS                                                                                 \
    "audio/mpeg, mpegversion=(int){2,4}, stream-format=(string)raw, channels=(int)[1,MAX], "       \
    "rate=(int)[1,MAX]; "                                                                          \
    "audio/mpeg, mpegversion=(int){2,4}, stream-format=(string)adts, framed=(boolean)true, "       \
    "channels=(int)[1,MAX], rate=(int)[1,MAX]; "                                                   \
    "audio/x-alaw, channels=(int){1,2}, rate=(int)[8000,192000]; "                                 \
    "audio/x-mulaw, channels=(int){1,2}, rate=(int)[8000,192000]"

static GstStaticPadTemplate video_template =
    GST_STATIC_PAD_TEMPLATE("video_%u", GST_PAD_SINK, GST_PAD_REQUEST, GST_STATIC_CAPS(VIDEO_CAPS));
static GstStaticPadTemplate audio_template =
    GST_STATIC_PAD_TEMPLATE("audio_%u", GST_PAD_SINK, GST_PAD_REQUEST, GST_STATIC_CAPS(AUDIO_CAPS));

static KvgWriterTrack
track_of(GstPad *pad)
{
    return (KvgWriterTrack)GPOINTER_TO_UINT(gst_pad_get_element_private(pad));
}

/* ---- frames ---- */

/* What counts as now: the wall clock, or for a file the time it is said to begin at. */
static int64_t
arrival_us(GstKvsSink *self)
{
    if (!self->flow.is_offline || self->flow.is_live)
        return g_get_real_time();
    if (self->flow.begin_us != 0)
        return self->flow.begin_us;
    GST_OBJECT_LOCK(self);
    const uint64_t begin_s = g_value_get_uint64(&self->settings.values[KVG_SINK_FILE_START_TIME]);
    GST_OBJECT_UNLOCK(self);
    return begin_s > 0 && begin_s < UINT32_MAX ? (int64_t)begin_s * G_USEC_PER_SEC
                                               : g_get_real_time();
}

static void
learn_live(GstKvsSink *self, GstPad *pad)
{
    pthread_mutex_lock(&self->lock);
    const bool is_known = self->flow.knows_live;
    pthread_mutex_unlock(&self->lock);
    if (is_known)
        return;

    const bool is_live = kvg_buffer_time_is_live(pad);
    G_GNUC_UNUSED g_auto(KvgLocker) locker = kvg_locker_lock(&self->lock);
    if (self->flow.writer == NULL)
        return;
    self->flow.knows_live = true;
    self->flow.is_live = is_live;
    for (unsigned i = 0; i < N_TRACKS; i++) {
        if (self->flow.pads[i].pad != NULL)
            kvg_writer_open(self->flow.writer, i, is_live);
    }
}

/* Offline, nothing may be dropped: waits until the spool has room. */
static bool
has_room(GstKvsSink *self)
{
    if (!self->flow.is_offline || self->flow.limit_bytes == 0)
        return true;
    KvgStreamStats stats = {0};
    GST_OBJECT_LOCK(self);
    KvgHubStream *stream = self->stream != NULL ? kvg_hub_stream_hold(self->stream) : NULL;
    GST_OBJECT_UNLOCK(self);
    if (stream != NULL)
        kvg_hub_stream_get_stats(stream, &stats);
    kvg_hub_stream_release(stream, 0, NULL);
    return stats.spool_bytes < self->flow.limit_bytes / 4 * 3;
}

/* Waits, with the lock let go, while @self must not go on and may. False: flushing or stopped. */
static bool
wait_while(GstKvsSink *self, SinkPad *sink, bool (*must_wait)(GstKvsSink *, SinkPad *))
{
    while (self->flow.writer != NULL && !sink->is_flushing && must_wait(self, sink)) {
        kvg_cond_wait_us(&self->wake, &self->lock, LOOK_US);
        /* The other track may have run out of patience meanwhile. */
        g_autoptr(GError) error = NULL;
        if (self->flow.writer != NULL &&
            !kvg_writer_drain(self->flow.writer, g_get_monotonic_time(), false, &error))
            GST_WARNING_OBJECT(self, "%s", error->message);
    }
    return self->flow.writer != NULL && !sink->is_flushing;
}

static bool
lacks_room(GstKvsSink *self, SinkPad *sink)
{
    return !has_room(self);
}

static bool
is_ahead(GstKvsSink *self, SinkPad *sink)
{
    const KvgWriterTrack track =
        sink == &self->flow.pads[KVG_WRITER_VIDEO] ? KVG_WRITER_VIDEO : KVG_WRITER_AUDIO;
    return !self->flow.is_live && kvg_writer_is_ahead(self->flow.writer, track);
}

/* What is to be said once the lock is let go. */
typedef struct {
    GError *error;
    bool ask_key;
    bool tell_metric;
    int64_t pts_us;
} Aftermath;

static void
put_buffer(GstKvsSink *self, GstPad *pad, GstBuffer *buffer, Aftermath *after)
{
    const KvgWriterTrack track = track_of(pad);
    SinkPad *sink = &self->flow.pads[track];
    const bool key =
        track == KVG_WRITER_AUDIO || !GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_DELTA_UNIT);
    g_autoptr(GBytes) data = kvg_input_take(sink->input, buffer, key, &after->error);
    if (data == NULL) {
        kvg_writer_leave_out(self->flow.writer);
        return;
    }

    KvgTrackInfo *info = kvg_input_info(sink->input);
    KvgTimelineInput input = {.now_us = arrival_us(self),
                              .live = self->flow.is_live,
                              .may_reorder = info != NULL && info->may_reorder};
    kvg_buffer_time_read(pad, buffer, &input);
    if (self->flow.uses_dts_only && input.dts_us != KVG_TIMELINE_NONE)
        input.pts_us = input.dts_us;
    KvgFrame frame = {.key = key, .data = data};
    if (GST_BUFFER_DURATION_IS_VALID(buffer))
        frame.duration_us = (int64_t)(GST_BUFFER_DURATION(buffer) / 1000);
    if (kvg_writer_put(self->flow.writer, track, info, &frame, &input, g_get_monotonic_time(),
                       &after->error))
        sink->refused = 0;
    after->ask_key = kvg_writer_take_wants_key(self->flow.writer);
    after->tell_metric = self->flow.wants_metrics && key && track == KVG_WRITER_VIDEO;
    after->pts_us = input.now_us;
}

/* Asks whoever encodes; a camera's stream as it is takes no notice. */
static void
ask_for_key(GstKvsSink *self)
{
    pthread_mutex_lock(&self->lock);
    GstPad *pad = self->flow.pads[KVG_WRITER_VIDEO].pad;
    if (pad != NULL)
        gst_object_ref(pad);
    const unsigned count = self->flow.n_asked_keys++;
    pthread_mutex_unlock(&self->lock);
    if (pad == NULL)
        return;

    GST_DEBUG_OBJECT(self, "asking for a key frame");
    gst_pad_push_event(pad,
                       gst_event_new_custom(
                           GST_EVENT_CUSTOM_UPSTREAM,
                           gst_structure_new("GstForceKeyUnit", "running-time", GST_TYPE_CLOCK_TIME,
                                             GST_CLOCK_TIME_NONE, "all-headers", G_TYPE_BOOLEAN,
                                             TRUE, "count", G_TYPE_UINT, count, NULL)));
    gst_object_unref(pad);
}

static void
tell(GstKvsSink *self, SinkPad *sink, Aftermath *after)
{
    /* The pipeline goes on, and says once for a run of frames why they are not kept. */
    if (after->error != NULL && sink->refused++ == 0)
        GST_ELEMENT_WARNING(self, RESOURCE, WRITE, ("%s", after->error->message), (NULL));
    g_clear_error(&after->error);
    if (after->ask_key)
        ask_for_key(self);
    if (!after->tell_metric)
        return;
    KvgStreamStats stats;
    kvg_hub_stream_get_stats(self->stream, &stats);
    kvg_report_metric(G_OBJECT(self), &self->flow.metric, &stats, g_get_monotonic_time(),
                      after->pts_us);
}

static GstFlowReturn
chain(GstPad *pad, GstObject *parent, GstBuffer *taken)
{
    g_autoptr(GstBuffer) buffer = taken;
    GstKvsSink *self = GST_KVS_SINK(parent);
    SinkPad *sink = &self->flow.pads[track_of(pad)];
    Aftermath after = {0};

    learn_live(self, pad);
    pthread_mutex_lock(&self->lock);
    if (self->flow.writer != NULL && !kvg_input_has_caps(sink->input)) {
        pthread_mutex_unlock(&self->lock);
        return GST_FLOW_NOT_NEGOTIATED;
    }
    bool goes_on = wait_while(self, sink, lacks_room);
    if (goes_on) {
        put_buffer(self, pad, buffer, &after);
        pthread_cond_broadcast(&self->wake);
        goes_on = wait_while(self, sink, is_ahead);
    }
    pthread_mutex_unlock(&self->lock);
    tell(self, sink, &after);
    return goes_on ? GST_FLOW_OK : GST_FLOW_FLUSHING;
}

/* ---- events ---- */

static bool
set_caps(GstKvsSink *self, GstPad *pad, GstCaps *caps)
{
    SinkPad *sink = &self->flow.pads[track_of(pad)];
    g_autoptr(GError) error = NULL;

    GST_INFO_OBJECT(pad, "caps %" GST_PTR_FORMAT, (void *)caps);
    pthread_mutex_lock(&self->lock);
    const bool taken = kvg_input_set_caps(sink->input, caps, &error);
    const KvgTrackInfo *info = kvg_input_info(sink->input);
    const char *codec_id = info != NULL ? info->codec_id : NULL;
    const bool leads =
        track_of(pad) == KVG_WRITER_VIDEO || self->flow.pads[KVG_WRITER_VIDEO].pad == NULL;
    pthread_mutex_unlock(&self->lock);
    if (!taken)
        GST_ELEMENT_ERROR(self, STREAM, FORMAT, ("%s", error->message),
                          ("%" GST_PTR_FORMAT, (void *)caps));
    if (taken && leads && codec_id != NULL) {
        GST_OBJECT_LOCK(self);
        kvg_sink_settings_propose(&self->settings, KVG_SINK_CODEC_ID, codec_id);
        GST_OBJECT_UNLOCK(self);
    }
    return taken;
}

/* A pad that nothing is linked to will never end, and is not waited for. */
static bool
have_all_ended(GstKvsSink *self)
{
    bool has_ended = false;
    for (unsigned i = 0; i < N_TRACKS; i++) {
        const SinkPad *sink = &self->flow.pads[i];
        if (sink->pad != NULL && !sink->has_ended && gst_pad_is_linked(sink->pad))
            return false;
        has_ended |= sink->pad != NULL && sink->has_ended;
    }
    return has_ended;
}

/* Writes what may go now that a track has ended or gone, and posts EOS if it was the last. */
static void
settle(GstKvsSink *self)
{
    g_autoptr(GError) error = NULL;
    bool posts = false;

    pthread_mutex_lock(&self->lock);
    if (self->flow.writer != NULL) {
        const bool all = have_all_ended(self);
        if (!kvg_writer_drain(self->flow.writer, g_get_monotonic_time(), all, &error))
            GST_WARNING_OBJECT(self, "%s", error->message);
        posts = all && !self->flow.eos_posted;
        self->flow.eos_posted |= all;
    }
    pthread_cond_broadcast(&self->wake);
    pthread_mutex_unlock(&self->lock);
    /* The bin passes it on to the application when it is playing. */
    if (posts)
        gst_element_post_message(GST_ELEMENT(self), gst_message_new_eos(GST_OBJECT(self)));
}

static void
end_pad(GstKvsSink *self, GstPad *pad)
{
    pthread_mutex_lock(&self->lock);
    self->flow.pads[track_of(pad)].has_ended = true;
    if (self->flow.writer != NULL)
        kvg_writer_set_ended(self->flow.writer, track_of(pad), true);
    pthread_mutex_unlock(&self->lock);
    settle(self);
}

static void
set_flushing(GstKvsSink *self, GstPad *pad, bool is_flushing)
{
    G_GNUC_UNUSED g_auto(KvgLocker) locker = kvg_locker_lock(&self->lock);
    self->flow.pads[track_of(pad)].is_flushing = is_flushing;
    pthread_cond_broadcast(&self->wake);
}

static void
flush_stop(GstKvsSink *self, GstPad *pad, GstEvent *event)
{
    gboolean resets_time = TRUE;
    gst_event_parse_flush_stop(event, &resets_time);
    set_flushing(self, pad, false);

    G_GNUC_UNUSED g_auto(KvgLocker) locker = kvg_locker_lock(&self->lock);
    self->flow.pads[track_of(pad)].has_ended = self->flow.eos_posted = false;
    if (self->flow.writer == NULL)
        return;
    kvg_writer_set_ended(self->flow.writer, track_of(pad), false);
    if (resets_time)
        kvg_writer_restart(self->flow.writer, track_of(pad));
}

static void
take_gap(GstKvsSink *self, GstPad *pad, GstEvent *event)
{
    GstClockTime at = GST_CLOCK_TIME_NONE, duration = GST_CLOCK_TIME_NONE;
    gst_event_parse_gap(event, &at, &duration);
    if (GST_CLOCK_TIME_IS_VALID(at) && GST_CLOCK_TIME_IS_VALID(duration))
        at += duration;
    const int64_t running_us = kvg_buffer_time_running(pad, at);

    G_GNUC_UNUSED g_auto(KvgLocker) locker = kvg_locker_lock(&self->lock);
    if (self->flow.writer != NULL)
        kvg_writer_gap(self->flow.writer, track_of(pad), running_us);
}

bool
kvg_sink_take_metadata(GstKvsSink *self, GstEvent *event, bool *ok)
{
    const GstStructure *structure = gst_event_get_structure(event);
    if (structure == NULL || !gst_structure_has_name(structure, "kvs-add-metadata"))
        return false;

    g_autoptr(GError) error = NULL;
    gboolean persistent = FALSE;
    const char *name = gst_structure_get_string(structure, "name");
    const char *value = gst_structure_get_string(structure, "value");
    gst_structure_get_boolean(structure, "persist", &persistent);
    *ok = false;
    pthread_mutex_lock(&self->lock);
    if (name == NULL || value == NULL)
        g_set_error_literal(&error, KVG_ERROR, KVG_ERROR_INVALID,
                            "the event has no string 'name' or no string 'value'");
    else if (self->flow.writer == NULL)
        g_set_error_literal(&error, KVG_ERROR, KVG_ERROR_INVALID,
                            "the element is not running; send it in PAUSED or PLAYING");
    else
        *ok = kvg_hub_stream_put_metadata(self->stream, name, value, persistent != FALSE, &error);
    pthread_mutex_unlock(&self->lock);
    if (!*ok)
        GST_ELEMENT_WARNING(self, STREAM, FAILED, ("kvs-add-metadata: %s", error->message), (NULL));
    return true;
}

static gboolean
sink_event(GstPad *pad, GstObject *parent, GstEvent *event)
{
    GstKvsSink *self = GST_KVS_SINK(parent);
    gboolean result = TRUE;
    bool ok = false;

    switch ((int)GST_EVENT_TYPE(event)) { /* the default is the rule here */
    case GST_EVENT_CAPS: {
        GstCaps *caps = NULL;
        gst_event_parse_caps(event, &caps);
        result = set_caps(self, pad, caps);
        gst_event_unref(event);
        return result;
    }
    case GST_EVENT_EOS:
        end_pad(self, pad);
        gst_event_unref(event);
        return TRUE;
    case GST_EVENT_GAP:
        take_gap(self, pad, event);
        break;
    case GST_EVENT_FLUSH_START:
        set_flushing(self, pad, true);
        break;
    case GST_EVENT_FLUSH_STOP:
        flush_stop(self, pad, event);
        break;
    case GST_EVENT_CUSTOM_DOWNSTREAM:
    case GST_EVENT_CUSTOM_DOWNSTREAM_OOB:
    case GST_EVENT_CUSTOM_BOTH:
        if (kvg_sink_take_metadata(self, event, &ok)) {
            gst_event_unref(event);
            return ok;
        }
        break;
    default:
        break;
    }
    return gst_pad_event_default(pad, parent, event);
}

static gboolean
sink_activate_mode(GstPad *pad, GstObject *parent, GstPadMode mode, gboolean active)
{
    if (mode != GST_PAD_MODE_PUSH)
        return FALSE;
    /* A pad requested of a running element is activated before it is the element's. */
    if (parent != NULL)
        set_flushing(GST_KVS_SINK(parent), pad, !active);
    return TRUE;
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
    const KvgWriterTrack track = is_video ? KVG_WRITER_VIDEO : KVG_WRITER_AUDIO;
    SinkPad *sink = &self->flow.pads[track];

    pthread_mutex_lock(&self->lock);
    const bool is_taken = sink->pad != NULL;
    pthread_mutex_unlock(&self->lock);
    if (is_taken) {
        GST_WARNING_OBJECT(self, "there is one %s pad already", is_video ? "video" : "audio");
        return NULL;
    }

    GstPad *pad = gst_pad_new_from_template(template, name != NULL ? name
                                                      : is_video   ? "video_0"
                                                                   : "audio_0");
    gst_pad_set_element_private(pad, GUINT_TO_POINTER(track));
    gst_pad_set_chain_function(pad, chain);
    gst_pad_set_event_function(pad, sink_event);
    gst_pad_set_activatemode_function(pad, sink_activate_mode);
    /* A depayloader does not know the size of the picture; its caps are no subset, but will do. */
    GST_PAD_SET_ACCEPT_INTERSECT(pad);
    pthread_mutex_lock(&self->lock);
    sink->pad = pad;
    sink->input = kvg_input_new(is_video ? KVG_TRACK_VIDEO : KVG_TRACK_AUDIO);
    sink->is_flushing = sink->has_ended = false;
    if (self->flow.writer != NULL)
        kvg_writer_open(self->flow.writer, track, !self->flow.knows_live || self->flow.is_live);
    pthread_mutex_unlock(&self->lock);
    if (GST_STATE(element) >= GST_STATE_PAUSED)
        gst_pad_set_active(pad, TRUE);
    gst_element_add_pad(element, pad);
    return pad;
}

static void
release_pad(GstElement *element, GstPad *pad)
{
    GstKvsSink *self = GST_KVS_SINK(element);
    SinkPad *sink = &self->flow.pads[track_of(pad)];

    gst_pad_set_active(pad, FALSE);
    pthread_mutex_lock(&self->lock);
    sink->pad = NULL;
    g_clear_pointer(&sink->input, kvg_input_free);
    if (self->flow.writer != NULL)
        kvg_writer_close(self->flow.writer, track_of(pad));
    pthread_mutex_unlock(&self->lock);
    settle(self);
    gst_element_remove_pad(element, pad);
}

void
kvg_sink_pads_install(GstElementClass *element_class)
{
    element_class->request_new_pad = request_new_pad;
    element_class->release_pad = release_pad;
    gst_element_class_add_static_pad_template(element_class, &audio_template);
    gst_element_class_add_static_pad_template(element_class, &video_template);
}
