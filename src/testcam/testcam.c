/* kvg-testcam: N RTSP cameras, each on a port of its own, for demonstrations and tests. Each shows
 * a moving picture with its name and a running clock, or with --loop a clip encoded once, which
 * costs next to nothing; the last of several sends MJPEG, so that something needs transcoding.
 * Ready when it prints one JSON line. The password comes from a file and never appears in argv or
 * output. With
 * --control it does what the lines on its standard input say (control.h).
 *
 *   kvg-testcam --cameras N [--port P] [--username U --password-file F]
 *               [--width W --height H --fps F] [--loop] [--control] */
#include "base/json.h"
#include "os/file.h"
#include "os/log.h"
#include "testcam/camera.h"
#include "testcam/control.h"
#include <gio/gio.h>
#include <gio/gunixinputstream.h>
#include <glib-unix.h>
#include <kvg/error.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LOG "testcam"

typedef struct {
    int cameras, port, width, height, fps, kbps;
    char *address, *username, *password_file, *codec, *launch, *certificate;
    gboolean no_mjpeg, loop, control, basic;
} Options;

static const char *const NAMES[] = {"gate",   "dock",   "lobby", "yard",
                                    "stairs", "garage", "roof",  "shop"};

static char *
camera_name(int index)
{
    return index < (int)G_N_ELEMENTS(NAMES) ? g_strdup(NAMES[index])
                                            : g_strdup_printf("cam%d", index + 1);
}

static TestcamCodec
codec_of(const Options *options, int index)
{
    if (!options->no_mjpeg && options->cameras > 1 && index == options->cameras - 1)
        return TESTCAM_MJPEG;
    return testcam_codec_from_string(options->codec);
}

static void
print_line(const char *text)
{
    printf("%s\n", text);
    fflush(stdout);
}

static void
print_ready(GPtrArray *all)
{
    g_autoptr(json_t) cameras = json_array();
    int port = 0;
    for (guint i = 0; i < all->len; i++) {
        const TestcamCameraOptions *camera = testcam_camera_options(g_ptr_array_index(all, i));
        g_autofree char *url =
            g_strdup_printf("%s://%s:%d/%s", camera->certificate != NULL ? "rtsps" : "rtsp",
                            camera->address, camera->port, camera->name);
        json_array_append_new(cameras,
                              json_pack("{s:s, s:s, s:s}", "name", camera->name, "url", url,
                                        "codec", testcam_codec_to_string(camera->codec)));
        port = i == 0 ? camera->port : port;
    }
    g_autoptr(json_t) ready =
        json_pack("{s:b, s:i, s:O}", "ready", 1, "port", port, "cameras", cameras);
    g_autofree char *text = kvg_json_to_text(ready);
    print_line(text);
}

static bool G_GNUC_PRINTF(2, 3) refuse(GError **error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_set_error_literal(error, KVG_ERROR, KVG_ERROR_INVALID, text);
    return false;
}

static bool
check_options(const Options *options, GError **error)
{
    if (options->cameras < 1 || options->cameras > 64)
        return refuse(error, "--cameras: %d is not within 1 and 64", options->cameras);
    if (options->port < 0 || options->port + options->cameras > 65536)
        return refuse(error, "--port: %d and the following are not within 0 and 65535",
                      options->port);
    if (options->width < 64 || options->width > 4096 || options->height < 64 ||
        options->height > 4096)
        return refuse(error, "--width and --height must be within 64 and 4096");
    if (options->fps < 1 || options->fps > 60)
        return refuse(error, "--fps: %d is not within 1 and 60", options->fps);
    if (options->kbps < 50 || options->kbps > 50000)
        return refuse(error, "--bitrate: %d is not within 50 and 50000", options->kbps);
    if (testcam_codec_from_string(options->codec) == TESTCAM_N_CODECS)
        return refuse(error, "--codec: '%s' is not h264, h265 or mjpeg", options->codec);
    if (!options->username != !options->password_file)
        return refuse(error, "--username and --password-file belong together");
    return true;
}

static bool
parse_options(int *argc, char ***argv, Options *options, GError **error)
{
    GOptionEntry entries[] = {
        {"cameras", 'n', 0, G_OPTION_ARG_INT, &options->cameras, "number of cameras (1)", "N"},
        {"address", 0, 0, G_OPTION_ARG_STRING, &options->address,
         "address to listen on (127.0.0.1)", "ADDR"},
        {"port", 'p', 0, G_OPTION_ARG_INT, &options->port,
         "RTSP port of the first camera (8554), the others follow; 0: any free ones", "PORT"},
        {"username", 0, 0, G_OPTION_ARG_STRING, &options->username, "ask for this user", "NAME"},
        {"password-file", 0, 0, G_OPTION_ARG_FILENAME, &options->password_file,
         "its first line is the password", "FILE"},
        {"width", 0, 0, G_OPTION_ARG_INT, &options->width, "pixels (1280)", "W"},
        {"height", 0, 0, G_OPTION_ARG_INT, &options->height, "pixels (720)", "H"},
        {"fps", 0, 0, G_OPTION_ARG_INT, &options->fps, "frames per second (15)", "F"},
        {"bitrate", 0, 0, G_OPTION_ARG_INT, &options->kbps, "kbit/s (1500)", "K"},
        {"codec", 0, 0, G_OPTION_ARG_STRING, &options->codec, "h264 (default), h265 or mjpeg",
         "CODEC"},
        {"basic", 0, 0, G_OPTION_ARG_NONE, &options->basic,
         "ask for basic instead of digest authentication", NULL},
        {"certificate", 0, 0, G_OPTION_ARG_FILENAME, &options->certificate,
         "speak rtsps with the certificate and key of this PEM file", "FILE"},
        {"launch", 0, 0, G_OPTION_ARG_STRING, &options->launch,
         "send this instead: \"( videotestsrc ! ... ! rtph264pay name=pay0 )\"", "ELEMENTS"},
        {"loop", 0, 0, G_OPTION_ARG_NONE, &options->loop,
         "send a clip encoded once, without name and clock", NULL},
        {"control", 0, 0, G_OPTION_ARG_NONE, &options->control,
         "take commands from standard input, one JSON object a line", NULL},
        {"no-mjpeg", 0, 0, G_OPTION_ARG_NONE, &options->no_mjpeg,
         "let the last camera send H.264 too", NULL},
        G_OPTION_ENTRY_NULL,
    };
    g_autoptr(GOptionContext) context = g_option_context_new("- RTSP test cameras");
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, argc, argv, error))
        return false;
    if (*argc > 1)
        return refuse(error, "unexpected argument '%s'", (*argv)[1]);
    if (!options->address)
        options->address = g_strdup("127.0.0.1");
    if (!options->codec)
        options->codec = g_strdup("h264");
    return check_options(options, error);
}

static char *
read_password(const char *path, GError **error)
{
    size_t len;
    char *text = kvg_file_read(path, 4096, &len, error);
    if (text)
        text[strcspn(text, "\r\n")] = '\0';
    return text;
}

/* ---- the cameras ---- */

static bool
start_cameras(GPtrArray *cameras, const Options *options, const char *password, GError **error)
{
    GTlsCertificate *certificate = NULL; /* kept to the end */
    if (options->certificate != NULL) {
        certificate = g_tls_certificate_new_from_file(options->certificate, error);
        if (certificate == NULL)
            return false;
    }
    for (int i = 0; i < options->cameras; i++) {
        const TestcamCameraOptions camera = {
            .name = camera_name(i), /* kept to the end, as the cameras are */
            .address = options->address,
            .username = options->username,
            .password = password,
            .basic = options->basic,
            .certificate = certificate,
            .launch = options->launch,
            .codec = codec_of(options, i),
            .index = i,
            .port = options->port > 0 ? options->port + i : 0,
            .width = options->width,
            .height = options->height,
            .fps = options->fps,
            .kbps = options->kbps,
            .loop = options->loop};
        TestcamCamera *started = testcam_camera_start(&camera, error);
        if (started == NULL)
            return false;
        g_ptr_array_add(cameras, started);
    }
    return true;
}

typedef struct {
    GPtrArray *cameras;
    int fps;
    _Atomic bool ends;
} Feeder;

/* The frame of each camera when it is due, evenly spread over the time of a frame. */
static void *
run_feeder(void *user_data)
{
    Feeder *feeder = user_data;
    const int64_t step_us = G_USEC_PER_SEC / (feeder->fps * (int)feeder->cameras->len);
    int64_t due_us = g_get_monotonic_time();
    for (guint i = 0; !feeder->ends; i = (i + 1) % feeder->cameras->len) {
        testcam_camera_feed(g_ptr_array_index(feeder->cameras, i));
        due_us += step_us;
        const int64_t left_us = due_us - g_get_monotonic_time();
        if (left_us > 0)
            g_usleep((gulong)left_us);
    }
    return NULL;
}

/* ---- commands ---- */

static void
on_command(GObject *source, GAsyncResult *result, void *user_data)
{
    GDataInputStream *input = G_DATA_INPUT_STREAM(source);
    g_autofree char *line = g_data_input_stream_read_line_finish(input, result, NULL, NULL);
    if (line == NULL)
        return;
    g_autofree char *answer = testcam_control(user_data, line);
    print_line(answer);
    g_data_input_stream_read_line_async(input, G_PRIORITY_DEFAULT, NULL, on_command, user_data);
}

static GDataInputStream *
listen_to_commands(GPtrArray *cameras)
{
    g_autoptr(GInputStream) raw = g_unix_input_stream_new(STDIN_FILENO, FALSE);
    GDataInputStream *input = g_data_input_stream_new(raw);
    g_data_input_stream_read_line_async(input, G_PRIORITY_DEFAULT, NULL, on_command, cameras);
    return input;
}

static gboolean
quit(void *user_data)
{
    g_main_loop_quit(user_data);
    return G_SOURCE_REMOVE;
}

static void
run(GPtrArray *cameras, const Options *options)
{
    Feeder feeder = {cameras, options->fps, false};
    GThread *thread = options->loop ? g_thread_new("feeder", run_feeder, &feeder) : NULL;
    G_GNUC_UNUSED g_autoptr(GDataInputStream) input =
        options->control ? listen_to_commands(cameras) : NULL;
    print_ready(cameras);
    g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);
    g_unix_signal_add(SIGTERM, quit, loop);
    g_unix_signal_add(SIGINT, quit, loop);
    g_main_loop_run(loop);
    KVG_LOG_INFO(LOG, "CAMERAS", "", "ends");
    feeder.ends = true;
    if (thread != NULL)
        g_thread_join(thread);
}

int
main(int argc, char **argv)
{
    kvg_log_init();
    Options options = {
        .cameras = 1, .port = 8554, .width = 1280, .height = 720, .fps = 15, .kbps = 1500};
    g_autoptr(GError) error = NULL;
    if (!parse_options(&argc, &argv, &options, &error)) {
        fprintf(stderr, "kvg-testcam: %s\n", error->message);
        return 2;
    }
    gst_init(NULL, NULL);
    char *password = options.username ? read_password(options.password_file, &error) : NULL;
    g_autoptr(GPtrArray) cameras =
        g_ptr_array_new_with_free_func((GDestroyNotify)testcam_camera_stop);
    const bool started = error == NULL && start_cameras(cameras, &options, password, &error);
    if (started)
        run(cameras, &options);
    else
        fprintf(stderr, "kvg-testcam: %s\n", error->message);
    return started ? 0 : 1;
}
