/* Sound on its way to the sink, in a bin of its own. Whatever goes wrong in there costs the sound
 * only: its flow returns end at the bin's door, its errors in kvg_audio_give_up(). */
#include "agent/pipeline_private.h"
#include "base/clock.h"
#include "os/log.h"
#include <string.h>

#define QUEUE_US (5 * G_TIME_SPAN_SECOND)
#define BIT_RATE 64000

static void G_GNUC_PRINTF(2, 3) set_words(KvgPipeline *pipeline, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_mutex_lock(&pipeline->lock);
    g_free(pipeline->audio_words);
    pipeline->audio_words = text;
    g_mutex_unlock(&pipeline->lock);
}

/* ---- the door ---- */

/* What the bin says of a buffer stays here: the source must not stop its video for it. */
static GstFlowReturn
enter(GstPad *pad, GstObject *parent, GstBuffer *buffer)
{
    KvgPipeline *pipeline = g_object_get_data(G_OBJECT(pad), "kvg-pipeline");
    if (atomic_load(&pipeline->audio_state) != KVG_AUDIO_ON) {
        gst_buffer_unref(buffer);
        return GST_FLOW_OK;
    }
    const GstFlowReturn result = gst_proxy_pad_chain_default(pad, parent, buffer);
    return result == GST_FLOW_FLUSHING || result == GST_FLOW_EOS ? result : GST_FLOW_OK;
}

static GstPadProbeReturn
on_sound(GstPad *pad, GstPadProbeInfo *info, void *user_data)
{
    KvgPipeline *pipeline = user_data;
    atomic_store(&pipeline->audio_us, kvg_clock_mono_us());
    return GST_PAD_PROBE_OK;
}

void
kvg_audio_give_up(KvgPipeline *pipeline, const char *why)
{
    int on = KVG_AUDIO_ON;
    if (!atomic_compare_exchange_strong(&pipeline->audio_state, &on, KVG_AUDIO_GIVEN_UP))
        return;
    set_words(pipeline, "left out: %s", why);
    KVG_LOG_WARNING(KVG_PIPELINE_LOG, "CAMERA", pipeline->camera->name,
                    "camera %s: its sound is left out: %s", pipeline->camera->name, why);
    /* Released, so that no picture waits for a sound. */
    if (pipeline->audio_sink != NULL && pipeline->sink != NULL)
        gst_element_release_request_pad(pipeline->sink, pipeline->audio_sink);
    gst_clear_object(&pipeline->audio_sink);
}

/* ---- inside ---- */

static void G_GNUC_PRINTF(2, 3) post(KvgPipeline *pipeline, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    /* Comes back over the bus as a trouble of the bin. */
    GST_ELEMENT_ERROR(pipeline->audio_bin, STREAM, FAILED, ("%s", text), (NULL));
}

static GstElement *
add(KvgPipeline *pipeline, const char *factory)
{
    GstElement *element = gst_element_factory_make(factory, NULL);
    if (element == NULL)
        post(pipeline, "GStreamer has no '%s'", factory);
    else
        gst_bin_add(GST_BIN(pipeline->audio_bin), element);
    return element;
}

static GstElement *
add_filter(KvgPipeline *pipeline, const char *caps_text)
{
    GstElement *filter = add(pipeline, "capsfilter");
    g_autoptr(GstCaps) caps = gst_caps_from_string(caps_text);
    if (filter != NULL)
        g_object_set(filter, "caps", caps, NULL);
    return filter;
}

static GstElement *
add_queue(KvgPipeline *pipeline)
{
    GstElement *queue = add(pipeline, "queue");
    if (queue == NULL)
        return NULL;
    g_object_set(queue, "max-size-buffers", 0, "max-size-bytes", 4u << 20, "max-size-time",
                 (guint64)QUEUE_US * 1000, "silent", TRUE, NULL);
    if (!kvg_pipeline_is_lossless(pipeline))
        gst_util_set_object_arg(G_OBJECT(queue), "leaky", "downstream");
    return queue;
}

/* From @pad, inside the bin, through @elements to the sink. */
static void
finish(KvgPipeline *pipeline, GstPad *pad, GstElement *const *elements, size_t n)
{
    GstElement *last = elements[n - 1];
    g_autoptr(GstPad) out = last != NULL ? gst_element_get_static_pad(last, "src") : NULL;
    if (out == NULL)
        return;
    GstPad *door = gst_ghost_pad_new("src", out);
    gst_pad_set_active(door, TRUE);
    gst_element_add_pad(pipeline->audio_bin, door);
    gst_pad_add_probe(door, GST_PAD_PROBE_TYPE_BUFFER, on_sound, pipeline, NULL);
    pipeline->audio_sink = kvg_pipeline_request_sink(pipeline, "audio");
    if (pipeline->audio_sink == NULL ||
        gst_pad_link(door, pipeline->audio_sink) != GST_PAD_LINK_OK ||
        !kvg_pipeline_link(pad, elements, n))
        post(pipeline, "it cannot be handled");
}

static const char *
find_aac_encoder(void)
{
    static const char *const names[] = {"fdkaacenc", "voaacenc", "avenc_aac"};
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        if (kvg_pipeline_has_factory(names[i]))
            return names[i];
    }
    return NULL;
}

static void
on_raw(GstElement *decoder, GstPad *pad, void *user_data)
{
    KvgPipeline *pipeline = user_data;
    const char *name = find_aac_encoder();
    if (name == NULL) {
        post(pipeline, "no AAC encoder is installed; install gstreamer1.0-plugins-bad (voaacenc)");
        return;
    }
    GstElement *encoder = add(pipeline, name);
    g_object_set(encoder, "bitrate", BIT_RATE, NULL);
    GstElement *const chain[] = {
        add(pipeline, "audioconvert"),
        add(pipeline, "audioresample"),
        add_filter(pipeline, "audio/x-raw,channels=(int)[1,2],"
                             "rate=(int){8000,16000,22050,24000,32000,44100,48000}"),
        encoder,
        add(pipeline, "aacparse"),
        add_filter(pipeline, "audio/mpeg,mpegversion=(int)4,stream-format=(string)raw"),
    };
    finish(pipeline, pad, chain, G_N_ELEMENTS(chain));
}

/* ---- what comes ---- */

static bool
is_aac(const GstStructure *structure)
{
    int version = 0;
    return gst_structure_has_name(structure, "audio/mpeg") &&
           gst_structure_get_int(structure, "mpegversion", &version) &&
           (version == 2 || version == 4);
}

/* "PCMU" of RTP, "x-opus" of a file. */
static char *
name_of(const GstStructure *structure)
{
    const char *encoding = gst_structure_get_string(structure, "encoding-name");
    const char *type = gst_structure_get_name(structure);
    if (encoding != NULL && g_str_has_prefix(encoding, "PCM"))
        return g_strdup("G.711");
    if (encoding != NULL)
        return g_strdup(encoding);
    if (strstr(type, "law") != NULL)
        return g_strdup("G.711");
    type = strchr(type, '/') != NULL ? strchr(type, '/') + 1 : type;
    return g_strdup(g_str_has_prefix(type, "x-") ? type + 2 : type);
}

static GstPad *
make_bin(KvgPipeline *pipeline, GstElement **queue)
{
    pipeline->audio_bin = gst_bin_new("audio");
    gst_bin_add(GST_BIN(pipeline->pipeline), pipeline->audio_bin);
    *queue = add_queue(pipeline);
    if (*queue == NULL)
        return NULL;
    g_autoptr(GstPad) in = gst_element_get_static_pad(*queue, "sink");
    GstPad *door = gst_ghost_pad_new("sink", in);
    g_object_set_data(G_OBJECT(door), "kvg-pipeline", pipeline);
    gst_pad_set_chain_function(door, enter);
    gst_pad_set_active(door, TRUE);
    gst_element_add_pad(pipeline->audio_bin, door);
    return door;
}

void
kvg_audio_take(KvgPipeline *pipeline, GstPad *pad, GstCaps *caps)
{
    const GstStructure *structure = gst_caps_get_structure(caps, 0);
    if (pipeline->has_audio)
        return;
    pipeline->has_audio = true;
    atomic_store(&pipeline->audio_state, KVG_AUDIO_ON);
    GstElement *queue = NULL;
    GstPad *door = make_bin(pipeline, &queue);
    if (door == NULL || gst_pad_link(pad, door) != GST_PAD_LINK_OK) {
        post(pipeline, "it cannot be handled");
        return;
    }
    g_autoptr(GstPad) out = gst_element_get_static_pad(queue, "src");
    if (is_aac(structure)) {
        set_words(pipeline, "AAC as it comes");
        GstElement *const chain[] = {
            add(pipeline, "aacparse"),
            add_filter(pipeline, "audio/mpeg,mpegversion=(int)4,stream-format=(string)raw")};
        finish(pipeline, out, chain, G_N_ELEMENTS(chain));
    } else {
        g_autofree char *name = name_of(structure);
        set_words(pipeline, "%s, made AAC", name);
        GstElement *decoder = add(pipeline, "decodebin");
        if (decoder == NULL)
            return;
        g_signal_connect(decoder, "pad-added", G_CALLBACK(on_raw), pipeline);
        if (!kvg_pipeline_link(out, &decoder, 1))
            post(pipeline, "it cannot be handled");
    }
    gst_element_sync_state_with_parent(pipeline->audio_bin);
}
