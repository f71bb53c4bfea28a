#include "agent/failure.h"
#include "agent/pipeline_private.h"
#include "base/clock.h"
#include "base/text.h"
#include "config/camera.h"
#include "os/log.h"
#include "plugin/kvssink.h"
#include <string.h>

/* The application message by which an end travels to the main thread. */
#define END_MESSAGE "kvg-end"
/* An encoder that was given pictures for so long and gave none is broken. */
#define ENCODER_SILENT_US (6 * G_TIME_SPAN_SECOND)

/* ---- life ---- */

KvgPipeline *
kvg_pipeline_ref(KvgPipeline *pipeline)
{
    g_atomic_int_inc(&pipeline->refs);
    return pipeline;
}

void
kvg_pipeline_unref(KvgPipeline *pipeline)
{
    if (!g_atomic_int_dec_and_test(&pipeline->refs))
        return;
    gst_clear_object(&pipeline->audio_sink);
    gst_clear_object(&pipeline->pipeline);
    kvg_frames_tap_unref(pipeline->tap);
    kvg_media_clear(&pipeline->media);
    g_mutex_clear(&pipeline->lock);
    g_mutex_clear(&pipeline->life);
    g_free(pipeline->audio_words);
    g_free(pipeline->shown_source);
    kvg_config_camera_free(pipeline->camera);
    g_free(pipeline);
}

/* Pipelines on their way down. A decoder or a device may never come back; then its thread is lost,
 * and so is what the pipeline holds, until the process ends. */
typedef struct {
    KvgPipeline *pipeline;
    int64_t since_us;
} Stopping;

static GMutex stopping_lock;
static GCond stopping_changed;
static GSList *stopping; /* Stopping */

static void *
run_stop(void *data)
{
    Stopping *entry = data;
    KvgPipeline *pipeline = entry->pipeline;
    g_mutex_lock(&pipeline->life);
    pipeline->is_stopped = true;
    gst_element_set_state(pipeline->pipeline, GST_STATE_NULL);
    g_mutex_unlock(&pipeline->life);

    g_mutex_lock(&stopping_lock);
    stopping = g_slist_remove(stopping, entry);
    g_cond_broadcast(&stopping_changed);
    g_mutex_unlock(&stopping_lock);
    kvg_pipeline_unref(pipeline);
    g_free(entry);
    return NULL;
}

void
kvg_pipeline_stop(KvgPipeline *pipeline)
{
    if (pipeline == NULL)
        return;
    atomic_store(&pipeline->has_ended, true);
    g_source_remove(pipeline->bus_watch);
    if (pipeline->sink != NULL)
        kvg_sink_let_go(pipeline->sink);
    Stopping *entry = g_new0(Stopping, 1);
    *entry = (Stopping){pipeline, kvg_clock_mono_us()};
    g_mutex_lock(&stopping_lock);
    stopping = g_slist_prepend(stopping, entry);
    g_mutex_unlock(&stopping_lock);
    g_thread_unref(g_thread_new("kvg-stop", run_stop, entry));
}

bool
kvg_pipeline_wait_all(int64_t timeout_ms)
{
    const int64_t end = g_get_monotonic_time() + timeout_ms * 1000;
    g_mutex_lock(&stopping_lock);
    while (stopping != NULL && g_cond_wait_until(&stopping_changed, &stopping_lock, end))
        ;
    const bool done = stopping == NULL;
    g_mutex_unlock(&stopping_lock);
    return done;
}

unsigned
kvg_pipeline_n_stuck(const char *camera, int64_t bound_ms)
{
    const int64_t before_us = kvg_clock_mono_us() - bound_ms * 1000;
    unsigned n = 0;
    g_mutex_lock(&stopping_lock);
    for (const GSList *at = stopping; at != NULL; at = at->next) {
        const Stopping *entry = at->data;
        n += entry->since_us < before_us &&
             (camera == NULL || strcmp(entry->pipeline->camera->name, camera) == 0);
    }
    g_mutex_unlock(&stopping_lock);
    return n;
}

/* ---- ends ---- */

void
kvg_pipeline_end(KvgPipeline *pipeline, KvgPipelineEnd how, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    GstStructure *structure = gst_structure_new(END_MESSAGE, "how", G_TYPE_INT, (int)how, "text",
                                                G_TYPE_STRING, text, NULL);
    gst_element_post_message(
        pipeline->pipeline, gst_message_new_application(GST_OBJECT(pipeline->pipeline), structure));
}

static void
end_now(KvgPipeline *pipeline, KvgPipelineEnd how, const char *reason)
{
    if (!atomic_exchange(&pipeline->has_ended, true))
        pipeline->ended(how, reason, pipeline->user_data); /* stops the pipeline */
}

static void
on_error(KvgPipeline *pipeline, GstMessage *message)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *debug = NULL;
    gst_message_parse_error(message, &error, &debug);
    GstObject *from = GST_MESSAGE_SRC(message);
    if (pipeline->audio_bin != NULL &&
        gst_object_has_as_ancestor(from, GST_OBJECT(pipeline->audio_bin))) {
        kvg_audio_give_up(pipeline, error->message);
        return;
    }
    if (pipeline->encoder != NULL && from == GST_OBJECT(pipeline->encoder)) {
        const char *name = pipeline->media.encoder;
        kvg_encoder_reject(name, error->message);
        g_autofree char *reason =
            g_strdup_printf("the encoder %s failed: %s", name, error->message);
        end_now(pipeline, KVG_PIPELINE_CHANGED, reason);
        return;
    }
    KvgPipelineEnd how = KVG_PIPELINE_FAILED;
    g_autofree char *reason = kvg_failure_to_words(pipeline->shown_source, error, debug, &how);
    end_now(pipeline, how, reason);
}

static void
on_eos(KvgPipeline *pipeline)
{
    g_autofree char *reason = NULL;
    if (!pipeline->source->can_end)
        reason = g_strdup_printf("%s ended the stream", pipeline->shown_source);
    else if (atomic_load(&pipeline->frames) == 0)
        reason = g_strdup_printf("%s holds no video that could be read", pipeline->shown_source);
    else
        reason = g_strdup("the whole file was played");
    const bool is_finished = pipeline->source->can_end && atomic_load(&pipeline->frames) > 0;
    end_now(pipeline,
            is_finished                 ? KVG_PIPELINE_FINISHED
            : pipeline->source->can_end ? KVG_PIPELINE_NEEDS_HELP
                                        : KVG_PIPELINE_FAILED,
            reason);
}

static gboolean
on_bus(GstBus *bus, GstMessage *message, void *user_data)
{
    KvgPipeline *pipeline = user_data;
    if (GST_MESSAGE_TYPE(message) == GST_MESSAGE_ERROR) {
        on_error(pipeline, message);
    } else if (GST_MESSAGE_TYPE(message) == GST_MESSAGE_EOS) {
        on_eos(pipeline);
    } else if (gst_message_has_name(message, END_MESSAGE)) {
        const GstStructure *structure = gst_message_get_structure(message);
        int how = KVG_PIPELINE_FAILED;
        gst_structure_get_int(structure, "how", &how);
        end_now(pipeline, (KvgPipelineEnd)how, gst_structure_get_string(structure, "text"));
    }
    return G_SOURCE_CONTINUE;
}

/* ---- building blocks ---- */

bool
kvg_pipeline_has_factory(const char *name)
{
    g_autoptr(GstElementFactory) factory = gst_element_factory_find(name);
    return factory != NULL;
}

GstElement *
kvg_pipeline_add(KvgPipeline *pipeline, const char *factory)
{
    GstElement *element = gst_element_factory_make(factory, NULL);
    if (element == NULL) {
        kvg_pipeline_end(pipeline, KVG_PIPELINE_NEEDS_HELP,
                         "GStreamer has no '%s'; scripts/bootstrap names the packages to install",
                         factory);
        return NULL;
    }
    gst_bin_add(GST_BIN(pipeline->pipeline), element);
    return element;
}

GstElement *
kvg_pipeline_add_caps(KvgPipeline *pipeline, GstCaps *caps)
{
    GstElement *filter = kvg_pipeline_add(pipeline, "capsfilter");
    if (filter != NULL)
        g_object_set(filter, "caps", caps, NULL);
    gst_caps_unref(caps);
    return filter;
}

bool
kvg_pipeline_link(GstPad *pad, GstElement *const *elements, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (elements[i] == NULL || (i > 0 && !gst_element_link(elements[i - 1], elements[i])))
            return false;
    }
    for (size_t i = n; i-- > 0;)
        gst_element_sync_state_with_parent(elements[i]);
    if (pad == NULL)
        return true;
    g_autoptr(GstPad) sink = gst_element_get_static_pad(elements[0], "sink");
    return gst_pad_link(pad, sink) == GST_PAD_LINK_OK;
}

bool
kvg_pipeline_is_lossless(const KvgPipeline *pipeline)
{
    return pipeline->source->is_lossless;
}

/* ---- what reaches the sink ---- */

static void
note_caps(KvgPipeline *pipeline, GstCaps *caps)
{
    const GstStructure *structure = gst_caps_get_structure(caps, 0);
    const char *profile = gst_structure_get_string(structure, "profile");
    int width = 0, height = 0, numerator = 0, denominator = 1;
    gst_structure_get_int(structure, "width", &width);
    gst_structure_get_int(structure, "height", &height);
    gst_structure_get_fraction(structure, "framerate", &numerator, &denominator);
    g_mutex_lock(&pipeline->lock);
    KvgMedia *media = &pipeline->media;
    const bool is_encoded = media->encoded;
    if (is_encoded) {
        media->out_width = (uint32_t)MAX(width, 0);
        media->out_height = (uint32_t)MAX(height, 0);
    } else {
        media->width = (uint32_t)MAX(width, 0);
        media->height = (uint32_t)MAX(height, 0);
        media->fps = numerator > 0 ? (double)numerator / denominator : 0;
        g_strlcpy(media->profile, profile != NULL ? profile : "", sizeof media->profile);
    }
    const char *unplayable = kvg_media_unplayable(media->codec, media->profile);
    g_mutex_unlock(&pipeline->lock);
    if (!is_encoded && unplayable != NULL)
        kvg_pipeline_end(pipeline, KVG_PIPELINE_MUST_ENCODE, "%s (%s)", unplayable, profile);
}

/* With `video: auto` what plays badly is encoded. */
static void
judge(KvgPipeline *pipeline)
{
    g_mutex_lock(&pipeline->lock);
    const bool is_h264 = strcmp(pipeline->media.codec, "h264") == 0;
    const char *unsuitable = kvg_media_unsuitable(&pipeline->media);
    const bool must_encode =
        unsuitable != NULL && is_h264 && pipeline->camera->video_auto && !pipeline->media.encoded;
    g_mutex_unlock(&pipeline->lock);
    if (must_encode && !atomic_load(&pipeline->has_ended))
        kvg_pipeline_end(pipeline, KVG_PIPELINE_MUST_ENCODE, "%s", unsuitable);
}

static void
set_gop(KvgPipeline *pipeline, int64_t gop_us)
{
    g_mutex_lock(&pipeline->lock);
    pipeline->media.gop_ms = gop_us / 1000;
    g_mutex_unlock(&pipeline->lock);
    judge(pipeline);
}

/* Key frame distance and B-frames of what the camera sends, as it passes. */
static void
note_frame(KvgPipeline *pipeline, GstBuffer *buffer)
{
    if (!GST_BUFFER_PTS_IS_VALID(buffer))
        return;
    const int64_t pts = (int64_t)(GST_BUFFER_PTS(buffer) / 1000);
    const bool key = !GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_DELTA_UNIT);
    if (key) {
        if (pipeline->last_key != 0 && pts > pipeline->last_key)
            set_gop(pipeline, pts - pipeline->last_key);
        if (pipeline->reordered >= 2) { /* one alone is a stray clock */
            g_mutex_lock(&pipeline->lock);
            pipeline->media.reorders = true;
            g_mutex_unlock(&pipeline->lock);
            judge(pipeline);
        }
        pipeline->last_key = pts;
        pipeline->reordered = 0;
    } else if (pts < pipeline->last_pts && pipeline->last_pts - pts < G_USEC_PER_SEC) {
        pipeline->reordered++;
    } else if (pipeline->last_key != 0 &&
               pts - pipeline->last_key > (KVG_LONG_GOP_MS + 500) * 1000) {
        pipeline->last_key += G_USEC_PER_SEC; /* looks again in a second */
        set_gop(pipeline, MAX(pts - pipeline->last_key, pipeline->media.gop_ms * 1000 + 1000));
    }
    pipeline->last_pts = pts;
}

/* How far the camera's own clock is from ours, if it says what it reads. */
static void
note_capture(KvgPipeline *pipeline, GstBuffer *buffer)
{
    const int64_t wall_us = kvg_sink_captured_us(buffer);
    if (wall_us == INT64_MIN)
        return;
    atomic_store(&pipeline->captured_off, wall_us - g_get_real_time());
    atomic_store(&pipeline->captured_at, kvg_clock_mono_us());
}

/* Applications look at what is stored. */
static void
show(KvgPipeline *pipeline, GstPad *pad, GstBuffer *buffer)
{
    if (pipeline->tap == NULL || !kvg_frames_tap_is_wanted(pipeline->tap))
        return;
    g_autoptr(GstCaps) caps = gst_pad_get_current_caps(pad);
    const int64_t captured_us = kvg_sink_captured_us(buffer);
    if (caps != NULL)
        kvg_frames_tap_put(pipeline->tap, caps, buffer,
                           captured_us != INT64_MIN ? captured_us : g_get_real_time());
}

static GstPadProbeReturn
on_video(GstPad *pad, GstPadProbeInfo *info, void *user_data)
{
    KvgPipeline *pipeline = user_data;
    if (GST_PAD_PROBE_INFO_TYPE(info) & GST_PAD_PROBE_TYPE_BUFFER) {
        GstBuffer *buffer = GST_PAD_PROBE_INFO_BUFFER(info);
        atomic_fetch_add(&pipeline->frames, 1);
        if (pipeline->encoder == NULL)
            note_frame(pipeline, buffer);
        if (!GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_DELTA_UNIT))
            note_capture(pipeline, buffer);
        show(pipeline, pad, buffer);
        return GST_PAD_PROBE_OK;
    }
    GstEvent *event = GST_PAD_PROBE_INFO_EVENT(info);
    if (GST_EVENT_TYPE(event) == GST_EVENT_CAPS) {
        GstCaps *caps;
        gst_event_parse_caps(event, &caps);
        note_caps(pipeline, caps);
    }
    return GST_PAD_PROBE_OK;
}

GstPad *
kvg_pipeline_request_sink(KvgPipeline *pipeline, const char *kind)
{
    const bool is_video = strcmp(kind, "video") == 0;
    GstPad *pad = NULL;
    if (pipeline->sink != NULL) {
        pad = gst_element_request_pad_simple(pipeline->sink, is_video ? "video_%u" : "audio_%u");
    } else {
        GstElement *nowhere = kvg_pipeline_add(pipeline, "fakesink");
        if (nowhere == NULL)
            return NULL;
        g_object_set(nowhere, "async", FALSE, "sync", FALSE, NULL);
        gst_element_sync_state_with_parent(nowhere);
        pad = gst_element_get_static_pad(nowhere, "sink");
    }
    if (pad != NULL && is_video)
        gst_pad_add_probe(pad, GST_PAD_PROBE_TYPE_BUFFER | GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM,
                          on_video, pipeline, NULL);
    return pad;
}

/* ---- start ---- */

static void
add_sink(KvgPipeline *pipeline, KvgHubStream *stream)
{
    if (stream == NULL)
        return;
    pipeline->sink = gst_element_factory_make("kvssink", NULL);
    gst_bin_add(GST_BIN(pipeline->pipeline), pipeline->sink);
    kvg_sink_use_stream(pipeline->sink, stream);
}

static void
run_start(GstElement *element, void *user_data)
{
    KvgPipeline *pipeline = user_data;
    g_mutex_lock(&pipeline->life);
    if (!pipeline->is_stopped && !atomic_load(&pipeline->has_ended)) {
        pipeline->source->add(pipeline);
        /* A failure comes over the bus, too. */
        gst_element_set_state(element, GST_STATE_PLAYING);
    }
    g_mutex_unlock(&pipeline->life);
}

static void
unref_pipeline(void *data)
{
    kvg_pipeline_unref(data);
}

KvgPipeline *
kvg_pipeline_start(const KvgPipelineOptions *options)
{
    const KvgConfigCamera *camera = options->camera;
    const KvgSource *source = kvg_source_find(camera->source);
    g_return_val_if_fail(source != NULL, NULL); /* the configuration knows the same kinds */
    KvgPipeline *pipeline = g_new0(KvgPipeline, 1);
    pipeline->refs = 1;
    g_mutex_init(&pipeline->lock);
    g_mutex_init(&pipeline->life);
    pipeline->camera = kvg_config_camera_copy(camera);
    pipeline->shown_source = kvg_uri_redact(camera->source);
    pipeline->source = source;
    pipeline->ended = options->ended;
    pipeline->user_data = options->user_data;
    pipeline->tap = kvg_frames_tap_ref(options->tap);
    pipeline->spool_limit_bytes = options->spool_limit_bytes;
    pipeline->media.bitrate_bps = camera->bitrate_bps;
    pipeline->media.encode_reason = g_strdup(options->encode_reason);
    if (options->encode_reason == NULL && !camera->passthrough)
        pipeline->media.encode_reason = g_strdup("the configuration or a setting says so");
    pipeline->pipeline = gst_object_ref_sink(gst_pipeline_new(camera->name));
    add_sink(pipeline, options->stream);
    g_autoptr(GstBus) bus = gst_pipeline_get_bus(GST_PIPELINE(pipeline->pipeline));
    pipeline->bus_watch = gst_bus_add_watch(bus, on_bus, pipeline);
    gst_element_call_async(pipeline->pipeline, run_start, kvg_pipeline_ref(pipeline),
                           unref_pipeline);
    return pipeline;
}

/* ---- what is known ---- */

void
kvg_pipeline_check(KvgPipeline *pipeline, int64_t mono_us)
{
    if (pipeline->last_check_us == 0)
        pipeline->last_check_us = mono_us;
    if (mono_us - pipeline->last_check_us < ENCODER_SILENT_US)
        return;
    pipeline->last_check_us = mono_us;
    const uint64_t taken = atomic_load(&pipeline->taken);
    const bool was_fed = taken - pipeline->checked_taken > 3 && pipeline->checked_taken > 0;
    pipeline->checked_taken = taken;
    g_mutex_lock(&pipeline->lock);
    const char *encoder = pipeline->media.encoder;
    g_mutex_unlock(&pipeline->lock);
    if (!was_fed || encoder == NULL || atomic_load(&pipeline->frames) > 0)
        return;
    kvg_encoder_reject(encoder, "it takes pictures and gives none");
    kvg_pipeline_end(pipeline, KVG_PIPELINE_CHANGED, "the encoder %s takes pictures and gives none",
                     encoder);
}

void
kvg_pipeline_get_info(KvgPipeline *pipeline, KvgPipelineInfo *info)
{
    g_mutex_lock(&pipeline->lock);
    const KvgMedia *media = &pipeline->media;
    *info = (KvgPipelineInfo){.encoded = media->encoded,
                              .width = media->encoded ? media->out_width : media->width,
                              .height = media->encoded ? media->out_height : media->height};
    memcpy(info->codec, media->codec, sizeof info->codec);
    g_mutex_unlock(&pipeline->lock);
    info->frames = atomic_load(&pipeline->frames);
    info->dropped_overload = atomic_load(&pipeline->dropped);
}

static char *
clock_words(KvgPipeline *pipeline)
{
    const int64_t at = atomic_load(&pipeline->captured_at);
    if (at == 0 || kvg_clock_mono_us() - at > 30 * G_TIME_SPAN_SECOND)
        return atomic_load(&pipeline->frames) > 0
                   ? g_strdup("arrival: the source does not say when it captured")
                   : NULL;
    const double off_s = (double)atomic_load(&pipeline->captured_off) / G_USEC_PER_SEC;
    if (off_s > 5 || off_s < -5)
        return g_strdup_printf("arrival: the camera's clock is %.0f s %s",
                               off_s > 0 ? off_s : -off_s, off_s > 0 ? "ahead" : "behind");
    return g_strdup("capture: the camera's clock");
}

void
kvg_pipeline_get_words(KvgPipeline *pipeline, KvgPipelineWords *words)
{
    const int64_t audio_us = atomic_load(&pipeline->audio_us);
    const int64_t silent_us = kvg_clock_mono_us() - audio_us;
    g_mutex_lock(&pipeline->lock);
    words->decision = kvg_media_decision(&pipeline->media);
    words->encoder = g_strdup(pipeline->media.encoder);
    words->audio = g_strdup(pipeline->audio_words);
    g_mutex_unlock(&pipeline->lock);
    if (words->audio != NULL && audio_us != 0 && silent_us > 5 * G_TIME_SPAN_SECOND &&
        atomic_load(&pipeline->audio_state) == KVG_AUDIO_ON) {
        char *text = g_strdup_printf("%s; nothing heard for %d s", words->audio,
                                     (int)(silent_us / G_USEC_PER_SEC));
        g_free(words->audio);
        words->audio = text;
    }
    words->clock = clock_words(pipeline);
}

void
kvg_pipeline_words_clear(KvgPipelineWords *words)
{
    g_clear_pointer(&words->decision, g_free);
    g_clear_pointer(&words->encoder, g_free);
    g_clear_pointer(&words->audio, g_free);
    g_clear_pointer(&words->clock, g_free);
}
