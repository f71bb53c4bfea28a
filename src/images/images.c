/* kvg-images: decodes frames that came from a camera and encodes one of them as JPEG or PNG. A
 * process of its own, so that a hostile bitstream meets a decoder that has nothing but two pipes;
 * the server kills it when it takes too long. Speaks images/job.h on stdin and stdout. */
#include "images/job.h"

#include "base/bytes.h"
#include "os/file.h"
#include <gst/app/gstappsink.h>
#include <gst/app/gstappsrc.h>
#include <gst/gst.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#define MAX_CPU_S 120
#define POLL_NS (50 * GST_MSECOND)
#define FRAME_NS (GST_SECOND / 1000) /* frames are told apart by these made-up times */

typedef struct {
    uint32_t codec, format, quality, width, height, n_frames, wanted;
    GBytes *codec_private;
    GPtrArray *frames; /* GBytes */
} Job;

static void
job_clear(Job *job)
{
    g_clear_pointer(&job->codec_private, g_bytes_unref);
    g_clear_pointer(&job->frames, g_ptr_array_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Job, job_clear)

static void
bytes_unref(void *data)
{
    g_bytes_unref(data);
}

static GBytes *
read_bytes(uint32_t len)
{
    if (len > KVG_IMAGES_MAX_BYTES)
        return NULL;
    g_autofree uint8_t *data = g_malloc(MAX(len, 1));
    if (fread(data, 1, len, stdin) != len)
        return NULL;
    return g_bytes_new_take(g_steal_pointer(&data), len);
}

static bool
read_word(uint32_t *word)
{
    uint8_t data[4];
    if (fread(data, 1, sizeof data, stdin) != sizeof data)
        return false;
    KvgReader reader = kvg_reader_init(data, sizeof data);
    *word = kvg_reader_u32(&reader);
    return true;
}

/* False at the end of the input, or if it is no job. */
static bool
read_job(Job *job)
{
    uint32_t magic;
    uint32_t private_len;
    uint32_t *const words[KVG_IMAGES_HEAD_WORDS] = {&magic,         &job->codec,  &job->format,
                                                    &job->quality,  &job->width,  &job->height,
                                                    &job->n_frames, &private_len, &job->wanted};
    for (size_t i = 0; i < G_N_ELEMENTS(words); i++) {
        if (!read_word(words[i]))
            return false;
    }
    if (magic != KVG_IMAGES_MAGIC || job->n_frames > KVG_IMAGES_MAX_FRAMES)
        return false;
    job->codec_private = read_bytes(private_len);
    job->frames = g_ptr_array_new_with_free_func(bytes_unref);
    for (uint32_t i = 0; i < job->n_frames; i++) {
        uint32_t len;
        GBytes *frame = read_word(&len) ? read_bytes(len) : NULL;
        if (frame == NULL)
            return false;
        g_ptr_array_add(job->frames, frame);
    }
    return job->codec_private != NULL;
}

static void
object_unref(void *object)
{
    gst_element_set_state(object, GST_STATE_NULL);
    gst_object_unref(object);
}
typedef GstElement Pipeline;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Pipeline, object_unref)

/* Elements "in" and "out" are an appsrc and an appsink. */
static Pipeline *
start(const char *description, GstCaps *caps, GstElement **in, GstElement **out)
{
    Pipeline *pipeline = gst_parse_launch(description, NULL);
    if (pipeline == NULL)
        return NULL;
    gst_object_ref_sink(pipeline);
    *in = gst_bin_get_by_name(GST_BIN(pipeline), "in");
    *out = gst_bin_get_by_name(GST_BIN(pipeline), "out");
    g_object_set(*in, "caps", caps, "format", GST_FORMAT_TIME, "block", TRUE, NULL);
    gst_element_set_state(pipeline, GST_STATE_PLAYING);
    /* The pipeline keeps them. */
    gst_object_unref(*in);
    gst_object_unref(*out);
    return pipeline;
}

/* The next sample; NULL at the end, or when an element gave up. */
static GstSample *
pull(Pipeline *pipeline, GstElement *out)
{
    g_autoptr(GstBus) bus = gst_element_get_bus(pipeline);
    for (;;) {
        GstSample *sample = gst_app_sink_try_pull_sample(GST_APP_SINK(out), POLL_NS);
        if (sample != NULL || gst_app_sink_is_eos(GST_APP_SINK(out)))
            return sample;
        g_autoptr(GstMessage) message = gst_bus_pop_filtered(bus, GST_MESSAGE_ERROR);
        if (message != NULL)
            return NULL;
    }
}

static GstCaps *
caps_of(const Job *job)
{
    gsize len;
    const void *data = g_bytes_get_data(job->codec_private, &len);
    GstBuffer *config = gst_buffer_new_memdup(data, len);
    const bool is_h264 = job->codec == KVG_IMAGES_H264;
    GstCaps *caps =
        gst_caps_new_simple(is_h264 ? "video/x-h264" : "video/x-h265", "stream-format",
                            G_TYPE_STRING, is_h264 ? "avc" : "hvc1", "alignment", G_TYPE_STRING,
                            "au", "codec_data", GST_TYPE_BUFFER, config, NULL);
    gst_buffer_unref(config);
    return caps;
}

static void
push_frames(const Job *job, GstElement *in)
{
    for (guint i = 0; i < job->frames->len; i++) {
        gsize len;
        const void *data = g_bytes_get_data(g_ptr_array_index(job->frames, i), &len);
        GstBuffer *buffer = gst_buffer_new_memdup(data, len);
        GST_BUFFER_PTS(buffer) = i * FRAME_NS;
        if (gst_app_src_push_buffer(GST_APP_SRC(in), buffer) != GST_FLOW_OK)
            return;
    }
    gst_app_src_end_of_stream(GST_APP_SRC(in));
}

static void *
run_push(void *data)
{
    void **arguments = data;
    push_frames(arguments[0], arguments[1]);
    return NULL;
}

/* The picture wanted; where the decoder lost its time, the last one. */
static GstSample *
decode(const Job *job)
{
    GstElement *in = NULL;
    GstElement *out = NULL;
    g_autoptr(GstCaps) caps = caps_of(job);
    g_autoptr(Pipeline) pipeline = start(
        job->codec == KVG_IMAGES_H264
            ? "appsrc name=in ! h264parse ! avdec_h264 max-threads=1 ! appsink name=out sync=false"
            : "appsrc name=in ! h265parse ! avdec_h265 max-threads=1 ! appsink name=out sync=false",
        caps, &in, &out);
    if (pipeline == NULL)
        return NULL;
    const void *arguments[] = {job, in};
    GThread *thread = g_thread_new("push", run_push, arguments);
    GstSample *found = NULL;
    bool is_exact = false;
    GstSample *sample;
    while ((sample = pull(pipeline, out)) != NULL) {
        const GstClockTime pts = GST_BUFFER_PTS(gst_sample_get_buffer(sample));
        const bool is_wanted = pts == job->wanted * FRAME_NS;
        if (is_wanted || !is_exact) {
            g_clear_pointer(&found, gst_sample_unref);
            found = gst_sample_ref(sample);
        }
        is_exact = is_exact || is_wanted;
        gst_sample_unref(sample);
    }
    gst_element_set_state(pipeline, GST_STATE_NULL);
    g_thread_join(thread);
    return found;
}

static GstSample *
encode(const Job *job, GstSample *picture)
{
    GString *text = g_string_new("appsrc name=in ! videoconvert ! videoscale ! ");
    if (job->width > 0)
        g_string_append_printf(text,
                               "video/x-raw,width=%u,height=%u,pixel-aspect-ratio=(fraction)1/1 ! ",
                               job->width, job->height);
    if (job->format == KVG_IMAGES_JPEG)
        g_string_append_printf(text, "jpegenc quality=%u snapshot=true", job->quality);
    else
        g_string_append(text, "pngenc snapshot=true");
    g_string_append(text, " ! appsink name=out sync=false");
    g_autofree char *description = g_string_free(text, FALSE);
    GstElement *in = NULL;
    GstElement *out = NULL;
    g_autoptr(Pipeline) pipeline = start(description, gst_sample_get_caps(picture), &in, &out);
    if (pipeline == NULL)
        return NULL;
    gst_app_src_push_sample(GST_APP_SRC(in), picture);
    gst_app_src_end_of_stream(GST_APP_SRC(in));
    return pull(pipeline, out);
}

static bool
answer(GstSample *image)
{
    GstMapInfo map = {0};
    GstBuffer *buffer = image != NULL ? gst_sample_get_buffer(image) : NULL;
    const bool is_mapped = buffer != NULL && gst_buffer_map(buffer, &map, GST_MAP_READ);
    const size_t len = is_mapped && map.size <= KVG_IMAGES_MAX_IMAGE ? map.size : 0;
    g_autoptr(GByteArray) out = g_byte_array_new();
    kvg_bytes_put_u32(out, (uint32_t)len);
    kvg_bytes_put(out, map.data, len);
    if (is_mapped)
        gst_buffer_unmap(buffer, &map);
    return kvg_fd_write_all(STDOUT_FILENO, out->data, out->len, NULL);
}

/* Of the machine's means, what a picture may take; and an end with the server's. */
static void
confine(void)
{
    const struct rlimit cpu = {MAX_CPU_S, MAX_CPU_S};
    const struct rlimit none = {0, 0};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    setrlimit(RLIMIT_CPU, &cpu);
    setrlimit(RLIMIT_CORE, &none);
#ifndef KVG_SANITIZED /* its shadow alone is larger */
    const struct rlimit memory = {UINT64_C(2) << 30, UINT64_C(2) << 30};
    setrlimit(RLIMIT_AS, &memory);
#endif
}

int
main(int argc, char **argv)
{
    confine();
    gst_init(&argc, &argv);
    for (;;) {
        g_auto(Job) job = {0};
        if (!read_job(&job))
            return feof(stdin) ? 0 : 1;
        g_autoptr(GstSample) picture = decode(&job);
        g_autoptr(GstSample) image = picture != NULL ? encode(&job, picture) : NULL;
        if (!answer(image))
            return 1;
    }
}
