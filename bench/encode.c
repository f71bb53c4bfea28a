/* Raw pictures through a chain of elements as fast as it goes: what encoding costs, without waiting
 * for the clock of a camera.
 *
 *   bench-encode --input FILE.bgr --output FILE.h264 --chain "element ! element"
 *                [--width W --height H --fps F]
 *
 * One JSON line: CPU per second of video in percent of a core (user and system, all threads; the
 * pictures are in memory beforehand), frames, bit rate. */
#include "measure.h"
#include <gst/app/gstappsrc.h>
#include <gst/gst.h>
#include <stdbool.h>
#include <stdio.h>

typedef struct {
    char *input, *output, *chain;
    int width, height, fps;
} Options;

static GstElement *
build(const Options *options, GError **error)
{
    g_autofree char *line = g_strdup_printf(
        "appsrc name=source format=time block=true max-bytes=0 max-buffers=4 "
        "caps=video/x-raw,format=BGR,width=%d,height=%d,framerate=%d/1 ! %s ! "
        "h264parse config-interval=-1 ! video/x-h264,stream-format=byte-stream,alignment=au ! "
        "filesink location=\"%s\"",
        options->width, options->height, options->fps, options->chain, options->output);
    return gst_parse_launch(line, error);
}

static unsigned
push_all(GstAppSrc *source, const Options *options, const char *pictures, size_t len)
{
    const size_t size = (size_t)options->width * (size_t)options->height * 3;
    unsigned n = 0;
    for (; (n + 1) * size <= len; n++) {
        GstBuffer *buffer = gst_buffer_new_wrapped_full(GST_MEMORY_FLAG_READONLY,
                                                        (void *)(uintptr_t)(pictures + n * size),
                                                        size, 0, size, NULL, NULL);
        GST_BUFFER_PTS(buffer) = gst_util_uint64_scale_int(n, GST_SECOND, options->fps);
        GST_BUFFER_DURATION(buffer) = GST_SECOND / (guint)options->fps;
        if (gst_app_src_push_buffer(source, buffer) != GST_FLOW_OK)
            break;
    }
    gst_app_src_end_of_stream(source);
    return n;
}

/* Everything is done, or the reason why not. */
static bool
wait_for_end(GstElement *pipeline, GError **error)
{
    g_autoptr(GstBus) bus = gst_element_get_bus(pipeline);
    g_autoptr(GstMessage) message =
        gst_bus_timed_pop_filtered(bus, GST_CLOCK_TIME_NONE, GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
    if (GST_MESSAGE_TYPE(message) == GST_MESSAGE_ERROR)
        gst_message_parse_error(message, error, NULL);
    return GST_MESSAGE_TYPE(message) == GST_MESSAGE_EOS;
}

static bool
run(const Options *options, GError **error)
{
    g_autofree char *pictures = NULL;
    gsize len, coded_len;
    if (!g_file_get_contents(options->input, &pictures, &len, error))
        return false;
    g_autoptr(GstElement) pipeline = build(options, error);
    if (pipeline == NULL)
        return false;
    g_autoptr(GstElement) source = gst_bin_get_by_name(GST_BIN(pipeline), "source");
    gst_element_set_state(pipeline, GST_STATE_PLAYING);
    const double before_s = kvg_measure_cpu_s();
    const unsigned n = push_all(GST_APP_SRC(source), options, pictures, len);
    const bool done = wait_for_end(pipeline, error);
    const double cpu_s = kvg_measure_cpu_s() - before_s;
    gst_element_set_state(pipeline, GST_STATE_NULL);
    g_autofree char *coded = NULL;
    if (!done || !g_file_get_contents(options->output, &coded, &coded_len, error))
        return false;
    const double seconds = (double)n / options->fps;
    printf("{\"frames\":%u,\"cpu_percent\":%.2f,\"kbps\":%.0f}\n", n, 100 * cpu_s / seconds,
           (double)coded_len * 8 / 1000 / seconds);
    return true;
}

int
main(int argc, char **argv)
{
    Options options = {.width = 1280, .height = 720, .fps = 15};
    const GOptionEntry entries[] = {
        {"input", 0, 0, G_OPTION_ARG_FILENAME, &options.input, "raw BGR pictures", "FILE"},
        {"output", 0, 0, G_OPTION_ARG_FILENAME, &options.output, "what comes out", "FILE"},
        {"chain", 0, 0, G_OPTION_ARG_STRING, &options.chain, "from raw to H.264", "ELEMENTS"},
        {"width", 0, 0, G_OPTION_ARG_INT, &options.width, "pixels (1280)", "W"},
        {"height", 0, 0, G_OPTION_ARG_INT, &options.height, "pixels (720)", "H"},
        {"fps", 0, 0, G_OPTION_ARG_INT, &options.fps, "frames per second (15)", "F"},
        G_OPTION_ENTRY_NULL,
    };
    g_autoptr(GError) error = NULL;
    g_autoptr(GOptionContext) context = g_option_context_new("- the cost of encoding");
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error) || options.input == NULL ||
        options.output == NULL || options.chain == NULL) {
        fprintf(stderr, "bench-encode: %s\n",
                error != NULL ? error->message : "--input, --output and --chain are needed");
        return 2;
    }
    gst_init(NULL, NULL);
    if (!run(&options, &error)) {
        fprintf(stderr, "bench-encode: %s\n", error != NULL ? error->message : "failed");
        return 1;
    }
    return 0;
}
