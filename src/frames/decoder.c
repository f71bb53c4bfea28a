#include "frames/decoder.h"
#include "frames/pool.h"
#include "plugin/lock.h"
#include <gst/app/app.h>
#include <kvg/error.h>
#include <stdatomic.h>
#include <string.h>

/* Coded pictures that may wait: two seconds at 15 a second. */
#define MAX_WAITING 30

struct _KvgFramesDecoder {
    gatomicrefcount refs;
    GstElement *pipeline;
    GstAppSrc *source;
    KvgFramesDecoded decoded;
    void *user_data;
    GDestroyNotify release;
    _Atomic uint64_t copies;
    struct { /* the putting thread's */
        bool needs_key;
    } mine;
    struct {
        pthread_mutex_t lock;
        char *failure;
    } shared;
};

/* ---- pictures out ---- */

static void
unref_buffer(void *buffer)
{
    gst_buffer_unref(buffer);
}

static void
free_slot(void *slot)
{
    kvg_frames_slot_free(slot);
}

/* The converter did not take our pool: the one copy there may be. */
static void
copy_out(KvgFramesDecoder *decoder, GstBuffer *buffer, KvgFramesPicture *picture)
{
    g_autoptr(GError) error = NULL;
    const size_t size = gst_buffer_get_size(buffer);
    KvgFramesSlot *slot = kvg_frames_slot_new(size, &error);
    if (slot == NULL)
        return; /* the frame is missed, as by one who was too slow */
    gst_buffer_extract(buffer, 0, slot->data, size);
    atomic_fetch_add(&decoder->copies, 1);
    picture->slot = slot;
    picture->pool = kvg_frames_pool_id(); /* so that nobody keeps it mapped */
    decoder->decoded(decoder, picture, slot, free_slot, decoder->user_data);
}

static GstFlowReturn
on_sample(GstAppSink *sink, void *user_data)
{
    KvgFramesDecoder *decoder = user_data;
    g_autoptr(GstSample) sample = gst_app_sink_pull_sample(sink);
    GstVideoInfo video;
    if (sample == NULL || !gst_video_info_from_caps(&video, gst_sample_get_caps(sample)))
        return GST_FLOW_OK;
    GstBuffer *buffer = gst_sample_get_buffer(sample);
    KvgFramesPicture picture = {.width = (uint32_t)GST_VIDEO_INFO_WIDTH(&video),
                                .height = (uint32_t)GST_VIDEO_INFO_HEIGHT(&video),
                                .stride = (uint32_t)GST_VIDEO_INFO_PLANE_STRIDE(&video, 0),
                                .wall_us = GST_BUFFER_PTS_IS_VALID(buffer)
                                               ? (int64_t)(GST_BUFFER_PTS(buffer) / 1000)
                                               : g_get_real_time()};
    picture.slot = kvg_frames_pool_slot(buffer, &picture.pool);
    if (picture.slot == NULL)
        copy_out(decoder, buffer, &picture);
    else
        decoder->decoded(decoder, &picture, gst_buffer_ref(buffer), unref_buffer,
                         decoder->user_data);
    return GST_FLOW_OK;
}

/* Offers the converter memory that others can see. */
static GstPadProbeReturn
on_query(GstPad *pad, GstPadProbeInfo *info, void *user_data)
{
    GstQuery *query = GST_PAD_PROBE_INFO_QUERY(info);
    if (GST_QUERY_TYPE(query) != GST_QUERY_ALLOCATION)
        return GST_PAD_PROBE_OK;
    GstCaps *caps = NULL;
    GstVideoInfo video;
    gst_query_parse_allocation(query, &caps, NULL);
    if (caps == NULL || !gst_video_info_from_caps(&video, caps))
        return GST_PAD_PROBE_OK;
    g_autoptr(GstBufferPool) pool = kvg_frames_pool_new();
    gst_query_add_allocation_pool(query, pool, (guint)GST_VIDEO_INFO_SIZE(&video), 0,
                                  KVG_FRAMES_POOL_MAX);
    return GST_PAD_PROBE_HANDLED;
}

/* ---- the pipeline ---- */

static GstBusSyncReply
on_message(GstBus *bus, GstMessage *message, void *user_data)
{
    KvgFramesDecoder *decoder = user_data;
    if (GST_MESSAGE_TYPE(message) == GST_MESSAGE_ERROR) {
        g_autoptr(GError) error = NULL;
        gst_message_parse_error(message, &error, NULL);
        G_GNUC_UNUSED g_auto(KvgLocker) locker = kvg_locker_lock(&decoder->shared.lock);
        if (decoder->shared.failure == NULL)
            decoder->shared.failure = g_strdup(error->message);
    }
    gst_message_unref(message);
    return GST_BUS_DROP;
}

/* The best decoder that is installed; one that would spread over all cores gets one: there are
 * other cameras, and threads cost frames of delay. */
static GstElement *
make_decoder(const GstCaps *caps)
{
    GList *all = gst_element_factory_list_get_elements(
        GST_ELEMENT_FACTORY_TYPE_DECODER | GST_ELEMENT_FACTORY_TYPE_MEDIA_VIDEO, GST_RANK_MARGINAL);
    GList *able = gst_element_factory_list_filter(all, caps, GST_PAD_SINK, FALSE);
    able = g_list_sort(able, gst_plugin_feature_rank_compare_func);
    GstElement *element = NULL;
    for (const GList *at = able; at != NULL && element == NULL; at = at->next)
        element = gst_element_factory_create(GST_ELEMENT_FACTORY(at->data), NULL);
    if (element != NULL &&
        g_object_class_find_property(G_OBJECT_GET_CLASS(element), "max-threads") != NULL)
        gst_util_set_object_arg(G_OBJECT(element), "max-threads", "1");
    gst_plugin_feature_list_free(able);
    gst_plugin_feature_list_free(all);
    return element;
}

static GstElement *
make_sink(KvgFramesDecoder *decoder)
{
    GstElement *sink = gst_element_factory_make("appsink", NULL);
    if (sink == NULL)
        return NULL;
    g_autoptr(GstCaps) caps =
        gst_caps_new_simple("video/x-raw", "format", G_TYPE_STRING, "BGR", NULL);
    g_object_set(sink, "caps", caps, "sync", FALSE, "max-buffers", 1, "drop", TRUE,
                 "enable-last-sample", FALSE, NULL);
    GstAppSinkCallbacks callbacks = {.new_sample = on_sample};
    gst_app_sink_set_callbacks(GST_APP_SINK(sink), &callbacks, decoder, NULL);
    g_autoptr(GstPad) pad = gst_element_get_static_pad(sink, "sink");
    gst_pad_add_probe(pad, GST_PAD_PROBE_TYPE_QUERY_DOWNSTREAM, on_query, NULL, NULL);
    return sink;
}

static bool
build(KvgFramesDecoder *decoder, const GstCaps *caps, GError **error)
{
    GstElement *source = gst_element_factory_make("appsrc", NULL);
    GstElement *const chain[] = {source, make_decoder(caps),
                                 gst_element_factory_make("videoconvert", NULL),
                                 make_sink(decoder)};
    bool is_whole = true;
    for (size_t i = 0; i < G_N_ELEMENTS(chain); i++) {
        if (chain[i] == NULL)
            is_whole = false;
        else
            gst_bin_add(GST_BIN(decoder->pipeline), chain[i]);
    }
    for (size_t i = 1; is_whole && i < G_N_ELEMENTS(chain); i++)
        is_whole = gst_element_link(chain[i - 1], chain[i]);
    if (!is_whole) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_UNSUPPORTED,
                    "no installed decoder takes %s; scripts/bootstrap names the packages",
                    gst_structure_get_name(gst_caps_get_structure(caps, 0)));
        return false;
    }
    g_object_set(source, "caps", caps, "format", GST_FORMAT_TIME, "max-bytes", (guint64)0,
                 "max-buffers", (guint64)0, "max-time", (guint64)0, NULL);
    decoder->source = GST_APP_SRC(source);
    return true;
}

KvgFramesDecoder *
kvg_frames_decoder_new(const GstCaps *caps,
                       KvgFramesDecoded decoded,
                       void *user_data,
                       GDestroyNotify release,
                       GError **error)
{
    KvgFramesDecoder *decoder = g_new0(KvgFramesDecoder, 1);
    g_atomic_ref_count_init(&decoder->refs);
    pthread_mutex_init(&decoder->shared.lock, NULL);
    decoder->mine.needs_key = true;
    decoder->decoded = decoded;
    decoder->user_data = user_data;
    decoder->release = release;
    decoder->pipeline = gst_object_ref_sink(gst_pipeline_new("frames"));
    g_autoptr(GstBus) bus = gst_pipeline_get_bus(GST_PIPELINE(decoder->pipeline));
    gst_bus_set_sync_handler(bus, on_message, decoder, NULL);
    if (build(decoder, caps, error)) {
        gst_element_set_state(decoder->pipeline, GST_STATE_PLAYING);
        return decoder;
    }
    gst_element_set_state(decoder->pipeline, GST_STATE_NULL);
    decoder->release = NULL; /* nothing was taken */
    kvg_frames_decoder_unref(decoder);
    return NULL;
}

KvgFramesDecoder *
kvg_frames_decoder_ref(KvgFramesDecoder *decoder)
{
    g_atomic_ref_count_inc(&decoder->refs);
    return decoder;
}

void
kvg_frames_decoder_unref(KvgFramesDecoder *decoder)
{
    if (!g_atomic_ref_count_dec(&decoder->refs))
        return;
    gst_clear_object(&decoder->pipeline);
    if (decoder->release != NULL)
        decoder->release(decoder->user_data);
    pthread_mutex_destroy(&decoder->shared.lock);
    g_free(decoder->shared.failure);
    g_free(decoder);
}

static void *
run_stop(void *data)
{
    KvgFramesDecoder *decoder = data;
    gst_element_set_state(decoder->pipeline, GST_STATE_NULL);
    kvg_frames_decoder_unref(decoder);
    return NULL;
}

void
kvg_frames_decoder_stop(KvgFramesDecoder *decoder)
{
    g_thread_unref(g_thread_new("kvg-decode-end", run_stop, decoder));
}

void
kvg_frames_decoder_put(KvgFramesDecoder *decoder, GstBuffer *buffer, int64_t wall_us)
{
    const bool is_key = !GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_DELTA_UNIT);
    if (gst_app_src_get_current_level_buffers(decoder->source) >= MAX_WAITING)
        decoder->mine.needs_key = true;
    else if (is_key)
        decoder->mine.needs_key = false;
    if (decoder->mine.needs_key)
        return;
    /* A head of its own over the same memory; its time comes out with the picture. */
    GstBuffer *own = gst_buffer_new();
    gst_buffer_copy_into(own, buffer, GST_BUFFER_COPY_FLAGS | GST_BUFFER_COPY_MEMORY, 0, -1);
    GST_BUFFER_PTS(own) = (GstClockTime)MAX(wall_us, 0) * 1000;
    gst_app_src_push_buffer(decoder->source, own);
}

char *
kvg_frames_decoder_failure(KvgFramesDecoder *decoder)
{
    G_GNUC_UNUSED g_auto(KvgLocker) locker = kvg_locker_lock(&decoder->shared.lock);
    return g_strdup(decoder->shared.failure);
}

uint64_t
kvg_frames_decoder_copies(const KvgFramesDecoder *decoder)
{
    return atomic_load(&((KvgFramesDecoder *)(uintptr_t)decoder)->copies);
}
