/* kvg-testcam: N RTSP cameras on one port for demonstrations and tests. Each shows a moving picture
 * with its name and a running clock; the last of several sends MJPEG, so that something needs
 * transcoding. Ready when it prints one JSON line. The password comes from a file and never appears
 * in argv or output.
 *
 *   kvg-testcam --cameras N [--port P] [--username U --password-file F]
 *               [--width W --height H --fps F] */
#include "base/json.h"
#include "os/file.h"
#include "os/log.h"
#include <glib-unix.h>
#include <gst/gst.h>
#include <gst/rtsp-server/rtsp-server.h>
#include <kvg/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOG "testcam"

typedef struct {
    int cameras, port, width, height, fps;
    char *address, *username, *password_file;
    gboolean no_mjpeg;
} Options;

static const char *const NAMES[] = {"gate",   "dock",   "lobby", "yard",
                                    "stairs", "garage", "roof",  "shop"};
/* All of them move: "ball" and "pinwheel" by themselves, the others by being shifted. */
static const char *const PATTERNS[] = {"ball", "smpte horizontal-speed=2",
                                       "circular horizontal-speed=2", "pinwheel",
                                       "spokes horizontal-speed=2"};
static const char *const BACKGROUNDS[] = {"24506b", "3d3d5c", "27563f", "5c3a4a"};

static char *
camera_name(int index)
{
    return index < (int)G_N_ELEMENTS(NAMES) ? g_strdup(NAMES[index])
                                            : g_strdup_printf("cam%d", index + 1);
}

static bool
is_mjpeg(const Options *options, int index)
{
    return !options->no_mjpeg && options->cameras > 1 && index == options->cameras - 1;
}

/* A key frame each second. */
static char *
launch_line(const Options *options, int index, const char *name)
{
    g_autofree char *source =
        g_strdup_printf("videotestsrc is-live=true pattern=%s background-color=0xff%s "
                        "foreground-color=0xfff2c14e ! "
                        "video/x-raw,format=I420,width=%d,height=%d,framerate=%d/1"
                        " ! textoverlay text=%s halignment=left valignment=top font-desc=\"Sans "
                        "Bold 28\" shaded-background=true"
                        " ! timeoverlay time-mode=running-time halignment=right valignment=top "
                        "font-desc=\"Sans 20\" shaded-background=true"
                        " ! clockoverlay time-format=\"%%Y-%%m-%%d %%H:%%M:%%S\" halignment=left "
                        "valignment=bottom font-desc=\"Sans 22\""
                        " shaded-background=true",
                        PATTERNS[index % (int)G_N_ELEMENTS(PATTERNS)],
                        BACKGROUNDS[index % (int)G_N_ELEMENTS(BACKGROUNDS)], options->width,
                        options->height, options->fps, name);
    if (is_mjpeg(options, index))
        return g_strdup_printf("( %s ! jpegenc quality=80 ! rtpjpegpay name=pay0 pt=26 )", source);
    return g_strdup_printf(
        "( %s ! x264enc tune=zerolatency speed-preset=superfast bitrate=1500 key-int-max=%d"
        " bframes=0 threads=1 ! video/x-h264,profile=main"
        " ! rtph264pay name=pay0 pt=96 config-interval=-1 )",
        source, options->fps);
}

static GstRTSPAuth *
make_auth(const char *username, const char *password)
{
    GstRTSPAuth *auth = gst_rtsp_auth_new();
    gst_rtsp_auth_set_supported_methods(auth, GST_RTSP_AUTH_DIGEST);
    g_autoptr(GstRTSPToken) token =
        gst_rtsp_token_new(GST_RTSP_TOKEN_MEDIA_FACTORY_ROLE, G_TYPE_STRING, "viewer", NULL);
    gst_rtsp_auth_add_digest(auth, username, password, token);
    return auth;
}

static void
add_camera(GstRTSPMountPoints *mounts, const Options *options, int index, bool with_auth)
{
    g_autofree char *name = camera_name(index);
    g_autofree char *path = g_strconcat("/", name, NULL);
    g_autofree char *launch = launch_line(options, index, name);
    GstRTSPMediaFactory *factory = gst_rtsp_media_factory_new();
    gst_rtsp_media_factory_set_launch(factory, launch);
    /* One encoder for all viewers, as in a real camera. */
    gst_rtsp_media_factory_set_shared(factory, TRUE);
    if (with_auth)
        gst_rtsp_media_factory_add_role(factory, "viewer", GST_RTSP_PERM_MEDIA_FACTORY_ACCESS,
                                        G_TYPE_BOOLEAN, TRUE, GST_RTSP_PERM_MEDIA_FACTORY_CONSTRUCT,
                                        G_TYPE_BOOLEAN, TRUE, NULL);
    gst_rtsp_mount_points_add_factory(mounts, path, factory);
}

static void
print_ready(const Options *options, int port)
{
    g_autoptr(json_t) cameras = json_array();
    for (int i = 0; i < options->cameras; i++) {
        g_autofree char *name = camera_name(i);
        g_autofree char *url = g_strdup_printf("rtsp://%s:%d/%s", options->address, port, name);
        json_array_append_new(cameras, json_pack("{s:s, s:s, s:s}", "name", name, "url", url,
                                                 "codec", is_mjpeg(options, i) ? "mjpeg" : "h264"));
    }
    g_autoptr(json_t) ready =
        json_pack("{s:b, s:i, s:O}", "ready", 1, "port", port, "cameras", cameras);
    g_autofree char *text = kvg_json_to_text(ready);
    printf("%s\n", text);
    fflush(stdout);
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
    if (options->port < 0 || options->port > 65535)
        return refuse(error, "--port: %d is not within 0 and 65535", options->port);
    if (options->width < 64 || options->width > 4096 || options->height < 64 ||
        options->height > 4096)
        return refuse(error, "--width and --height must be within 64 and 4096");
    if (options->fps < 1 || options->fps > 60)
        return refuse(error, "--fps: %d is not within 1 and 60", options->fps);
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
        {"port", 'p', 0, G_OPTION_ARG_INT, &options->port, "RTSP port (8554); 0: any free one",
         "PORT"},
        {"username", 0, 0, G_OPTION_ARG_STRING, &options->username, "ask for this user", "NAME"},
        {"password-file", 0, 0, G_OPTION_ARG_FILENAME, &options->password_file,
         "its first line is the password", "FILE"},
        {"width", 0, 0, G_OPTION_ARG_INT, &options->width, "pixels (1280)", "W"},
        {"height", 0, 0, G_OPTION_ARG_INT, &options->height, "pixels (720)", "H"},
        {"fps", 0, 0, G_OPTION_ARG_INT, &options->fps, "frames per second (15)", "F"},
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

/* gst-rtsp-server keeps a session for a minute after its client vanished. */
static gboolean
clean_sessions(void *user_data)
{
    g_autoptr(GstRTSPSessionPool) pool = gst_rtsp_server_get_session_pool(user_data);
    gst_rtsp_session_pool_cleanup(pool);
    return G_SOURCE_CONTINUE;
}

static gboolean
quit(void *user_data)
{
    g_main_loop_quit(user_data);
    return G_SOURCE_REMOVE;
}

static bool
start(GstRTSPServer *server, const Options *options, GError **error)
{
    g_autofree char *service = g_strdup_printf("%d", options->port);
    gst_rtsp_server_set_address(server, options->address);
    gst_rtsp_server_set_service(server, service);
    if (options->username) {
        g_autofree char *password = read_password(options->password_file, error);
        if (!password)
            return false;
        g_autoptr(GstRTSPAuth) auth = make_auth(options->username, password);
        memset(password, 0, strlen(password));
        gst_rtsp_server_set_auth(server, auth);
    }
    g_autoptr(GstRTSPMountPoints) mounts = gst_rtsp_server_get_mount_points(server);
    for (int i = 0; i < options->cameras; i++)
        add_camera(mounts, options, i, options->username != NULL);
    if (gst_rtsp_server_attach(server, NULL) == 0)
        return refuse(error,
                      "cannot listen on %s port %d; is it in use? --port 0 takes any free one",
                      options->address, options->port);
    return true;
}

int
main(int argc, char **argv)
{
    kvg_log_init();
    Options options = {.cameras = 1, .port = 8554, .width = 1280, .height = 720, .fps = 15};
    g_autoptr(GError) error = NULL;
    if (!parse_options(&argc, &argv, &options, &error)) {
        fprintf(stderr, "kvg-testcam: %s\n", error->message);
        return 2;
    }
    gst_init(NULL, NULL);
    g_autoptr(GstRTSPServer) server = gst_rtsp_server_new();
    if (!start(server, &options, &error)) {
        fprintf(stderr, "kvg-testcam: %s\n", error->message);
        return 1;
    }
    print_ready(&options, gst_rtsp_server_get_bound_port(server));
    g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);
    g_timeout_add_seconds(10, clean_sessions, server);
    g_unix_signal_add(SIGTERM, quit, loop);
    g_unix_signal_add(SIGINT, quit, loop);
    g_main_loop_run(loop);
    KVG_LOG_INFO(LOG, "CAMERAS", "", "ends");
    g_free(options.address);
    g_free(options.username);
    g_free(options.password_file);
    return 0;
}
