#include "testcam/camera.h"
#include <arpa/inet.h>
#include <gst/rtsp-server/rtsp-server.h>
#include <kvg/error.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

/* A second of frames; a viewer that takes none loses the oldest. */
#define MAX_WAITING_FRAMES 30

struct _TestcamCamera {
    TestcamCameraOptions options;
    char *path;
    /* Bound, never listening: keeps the port for the camera while it is "rebooting". */
    int reserve_fd;
    TestcamFault fault;
    GstRTSPServer *server;
    GstRTSPMediaFactory *factory;
    GMainContext *context;
    GMainLoop *loop;
    GThread *thread;
    GSource *listener; /* the camera's thread */
    GMutex lock;
    GCond changed;
    struct { /* under lock */
        bool hangs;
        const TestcamClip *clip;
        guint next; /* frame of the clip */
        GstElement *source;
        uint64_t n_fed; /* into this source */
        GstClockTime first_at;
    } shared;
};

/* All of them move: "ball" and "pinwheel" by themselves, the others by being shifted. */
static const char *const patterns[] = {"ball", "smpte horizontal-speed=2",
                                       "circular horizontal-speed=2", "pinwheel",
                                       "spokes horizontal-speed=2"};
static const char *const backgrounds[] = {"24506b", "3d3d5c", "27563f", "5c3a4a"};

/* ---- what it sends ---- */

static char *
live_source(const TestcamCameraOptions *options)
{
    const unsigned index = (unsigned)options->index;
    g_autofree char *encoder = testcam_codec_encoder(options->codec, options->fps, options->kbps);
    return g_strdup_printf(
        "videotestsrc is-live=true pattern=%s background-color=0xff%s foreground-color=0xfff2c14e"
        " ! video/x-raw,format=I420,width=%d,height=%d,framerate=%d/1"
        " ! textoverlay text=%s halignment=left valignment=top font-desc=\"Sans Bold 28\""
        " shaded-background=true"
        " ! timeoverlay time-mode=running-time halignment=right valignment=top"
        " font-desc=\"Sans 20\" shaded-background=true"
        " ! clockoverlay time-format=\"%%Y-%%m-%%d %%H:%%M:%%S\" halignment=left valignment=bottom"
        " font-desc=\"Sans 22\" shaded-background=true ! %s",
        patterns[index % G_N_ELEMENTS(patterns)], backgrounds[index % G_N_ELEMENTS(backgrounds)],
        options->width, options->height, options->fps, options->name, encoder);
}

static char *
loop_source(const TestcamCameraOptions *options)
{
    static const char *const caps[TESTCAM_N_CODECS] = {
        [TESTCAM_H264] = "video/x-h264,stream-format=byte-stream,alignment=au",
        [TESTCAM_H265] = "video/x-h265,stream-format=byte-stream,alignment=au",
        [TESTCAM_MJPEG] = "image/jpeg"};
    g_autofree char *size = NULL;
    if (options->codec == TESTCAM_MJPEG)
        size = g_strdup_printf(",width=%d,height=%d", options->width, options->height);
    return g_strdup_printf("appsrc name=source is-live=true format=time max-bytes=0 "
                           "max-buffers=%d leaky-type=downstream caps=\"%s%s,framerate=%d/1\"",
                           MAX_WAITING_FRAMES, caps[options->codec], size != NULL ? size : "",
                           options->fps);
}

static void
set_launch(TestcamCamera *camera)
{
    const TestcamCameraOptions *options = &camera->options;
    if (options->launch != NULL) {
        gst_rtsp_media_factory_set_launch(camera->factory, options->launch);
        return;
    }
    g_autofree char *source = options->loop ? loop_source(options) : live_source(options);
    g_autofree char *line =
        g_strdup_printf("( %s ! %s )", source, testcam_codec_payloader(options->codec));
    gst_rtsp_media_factory_set_launch(camera->factory, line);
}

static void
set_source(TestcamCamera *camera, GstElement *source)
{
    g_mutex_lock(&camera->lock);
    gst_object_replace((GstObject **)&camera->shared.source, GST_OBJECT_CAST(source));
    camera->shared.n_fed = 0;
    camera->shared.first_at = GST_CLOCK_TIME_NONE;
    g_mutex_unlock(&camera->lock);
}

static void
watch_reports(const GValue *item, void *user_data)
{
    g_autoptr(GstPad) pad =
        gst_element_get_static_pad(GST_ELEMENT(g_value_get_object(item)), "send_rtcp_src_0");
    if (pad != NULL)
        testcam_fault_watch_rtcp(user_data, pad);
}

static void
on_prepared(GstRTSPMedia *media, void *user_data)
{
    g_autoptr(GstElement) bin = gst_rtsp_media_get_element(media);
    g_autoptr(GstObject) pipeline = gst_object_get_parent(GST_OBJECT(bin));
    g_autoptr(GstIterator) sessions =
        gst_bin_iterate_all_by_element_factory_name(GST_BIN(pipeline), "rtpbin");
    while (gst_iterator_foreach(sessions, watch_reports, user_data) == GST_ITERATOR_RESYNC)
        gst_iterator_resync(sessions);
}

static void
on_unprepared(GstRTSPMedia *media, void *user_data)
{
    set_source(user_data, NULL);
}

static void
on_configure(GstRTSPMediaFactory *factory, GstRTSPMedia *media, void *user_data)
{
    TestcamCamera *camera = user_data;
    g_autoptr(GstElement) bin = gst_rtsp_media_get_element(media);
    g_autoptr(GstElement) payloader = gst_bin_get_by_name(GST_BIN(bin), "pay0");
    g_autoptr(GstElement) source = gst_bin_get_by_name(GST_BIN(bin), "source");
    g_autoptr(GstPad) pad = gst_element_get_static_pad(payloader, "src");
    testcam_fault_watch_rtp(&camera->fault, pad);
    g_signal_connect(media, "prepared", G_CALLBACK(on_prepared), &camera->fault);
    if (source == NULL)
        return;
    g_signal_connect(media, "unprepared", G_CALLBACK(on_unprepared), camera);
    set_source(camera, source);
}

void
testcam_camera_feed(TestcamCamera *camera)
{
    g_mutex_lock(&camera->lock);
    g_autoptr(GstElement) source =
        camera->shared.source != NULL ? gst_object_ref(camera->shared.source) : NULL;
    const TestcamClip *clip = camera->shared.clip;
    g_autoptr(GstClock) clock = source != NULL ? gst_element_get_clock(source) : NULL;
    GstBuffer *frame = NULL;
    if (clock != NULL) {
        if (camera->shared.n_fed++ == 0) {
            camera->shared.first_at = gst_clock_get_time(clock) - gst_element_get_base_time(source);
            camera->shared.next = 0; /* a viewer begins with a key frame */
        }
        frame = gst_buffer_copy(g_ptr_array_index(clip->frames, camera->shared.next));
        GST_BUFFER_PTS(frame) =
            camera->shared.first_at +
            gst_util_uint64_scale_int(camera->shared.n_fed - 1, GST_SECOND, clip->fps);
        camera->shared.next = (camera->shared.next + 1) % clip->frames->len;
    }
    g_mutex_unlock(&camera->lock);
    if (frame == NULL)
        return;
    GstFlowReturn flow;
    g_signal_emit_by_name(source, "push-buffer", frame, &flow);
    gst_buffer_unref(frame);
}

/* ---- the camera's thread ---- */

typedef struct {
    TestcamCamera *camera;
    void (*act)(TestcamCamera *camera, int value);
    int value;
} Call;

static gboolean
on_call(void *user_data)
{
    const Call *call = user_data;
    call->act(call->camera, call->value);
    return G_SOURCE_REMOVE;
}

static void
call_later(TestcamCamera *camera, void (*act)(TestcamCamera *, int), int value, unsigned after_s)
{
    const Call call = {camera, act, value};
    GSource *source = after_s > 0 ? g_timeout_source_new_seconds(after_s) : g_idle_source_new();
    g_source_set_callback(source, on_call, g_memdup2(&call, sizeof call), g_free);
    g_source_attach(source, camera->context);
    g_source_unref(source);
}

static GstRTSPFilterResult
remove_client(GstRTSPServer *server, GstRTSPClient *client, void *user_data)
{
    return GST_RTSP_FILTER_REMOVE;
}

static GstRTSPFilterResult
remove_session(GstRTSPSessionPool *pool, GstRTSPSession *session, void *user_data)
{
    return GST_RTSP_FILTER_REMOVE;
}

/* gst-rtsp-server keeps a session, and what it sends, for a minute after its connection is gone. */
static void
do_cut(TestcamCamera *camera, int value)
{
    g_autoptr(GstRTSPSessionPool) pool = gst_rtsp_server_get_session_pool(camera->server);
    g_list_free(gst_rtsp_server_client_filter(camera->server, remove_client, NULL));
    g_list_free(gst_rtsp_session_pool_filter(pool, remove_session, NULL));
}

static void
do_clean(TestcamCamera *camera, int every_s)
{
    g_autoptr(GstRTSPSessionPool) pool = gst_rtsp_server_get_session_pool(camera->server);
    gst_rtsp_session_pool_cleanup(pool);
    call_later(camera, do_clean, every_s, (unsigned)every_s);
}

static void
do_listen(TestcamCamera *camera, int value)
{
    g_autoptr(GError) error = NULL;
    if (camera->listener != NULL)
        return;
    camera->listener = gst_rtsp_server_create_source(camera->server, NULL, &error);
    if (camera->listener != NULL)
        g_source_attach(camera->listener, camera->context);
    else
        g_printerr("kvg-testcam: %s: %s\n", camera->options.name, error->message);
}

static void
stop_listening(TestcamCamera *camera)
{
    if (camera->listener == NULL)
        return;
    g_source_destroy(camera->listener);
    g_clear_pointer(&camera->listener, g_source_unref);
}

static void
do_reboot(TestcamCamera *camera, int seconds)
{
    stop_listening(camera);
    do_cut(camera, 0);
    call_later(camera, do_listen, 0, (unsigned)seconds);
}

static void
do_hang(TestcamCamera *camera, int value)
{
    g_mutex_lock(&camera->lock);
    while (camera->shared.hangs)
        g_cond_wait(&camera->changed, &camera->lock);
    g_mutex_unlock(&camera->lock);
}

static void
do_end(TestcamCamera *camera, int value)
{
    stop_listening(camera);
    do_cut(camera, 0);
    g_main_loop_quit(camera->loop);
}

static void *
run(void *user_data)
{
    TestcamCamera *camera = user_data;
    g_main_context_push_thread_default(camera->context);
    g_main_loop_run(camera->loop);
    g_main_context_pop_thread_default(camera->context);
    return NULL;
}

/* ---- setting up ---- */

static GstRTSPAuth *
make_auth(const char *username, const char *password, bool basic)
{
    GstRTSPAuth *auth = gst_rtsp_auth_new();
    gst_rtsp_auth_set_supported_methods(auth, basic ? GST_RTSP_AUTH_BASIC : GST_RTSP_AUTH_DIGEST);
    g_autoptr(GstRTSPToken) token =
        gst_rtsp_token_new(GST_RTSP_TOKEN_MEDIA_FACTORY_ROLE, G_TYPE_STRING, "viewer", NULL);
    g_autofree char *pair = gst_rtsp_auth_make_basic(username, password);
    if (basic)
        gst_rtsp_auth_add_basic(auth, pair, token);
    else
        gst_rtsp_auth_add_digest(auth, username, password, token);
    return auth;
}

static void
set_password(TestcamCamera *camera, const char *password)
{
    const TestcamCameraOptions *options = &camera->options;
    g_autoptr(GstRTSPAuth) auth = options->username != NULL
                                      ? make_auth(options->username, password, options->basic)
                                      : gst_rtsp_auth_new();
    if (options->certificate != NULL)
        gst_rtsp_auth_set_tls_certificate(auth, options->certificate);
    if (options->username == NULL) {
        g_autoptr(GstRTSPToken) anybody =
            gst_rtsp_token_new(GST_RTSP_TOKEN_MEDIA_FACTORY_ROLE, G_TYPE_STRING, "anonymous", NULL);
        gst_rtsp_auth_set_default_token(auth, anybody);
    }
    gst_rtsp_server_set_auth(camera->server, auth);
}

static void
add_factory(TestcamCamera *camera)
{
    camera->factory = gst_rtsp_media_factory_new();
    set_launch(camera);
    /* One encoder for all viewers, as in a real camera. */
    gst_rtsp_media_factory_set_shared(camera->factory, TRUE);
    if (camera->options.username != NULL)
        gst_rtsp_media_factory_add_role(
            camera->factory, "viewer", GST_RTSP_PERM_MEDIA_FACTORY_ACCESS, G_TYPE_BOOLEAN, TRUE,
            GST_RTSP_PERM_MEDIA_FACTORY_CONSTRUCT, G_TYPE_BOOLEAN, TRUE, NULL);
    else if (camera->options.certificate != NULL)
        gst_rtsp_media_factory_add_role(
            camera->factory, "anonymous", GST_RTSP_PERM_MEDIA_FACTORY_ACCESS, G_TYPE_BOOLEAN, TRUE,
            GST_RTSP_PERM_MEDIA_FACTORY_CONSTRUCT, G_TYPE_BOOLEAN, TRUE, NULL);
    g_signal_connect(camera->factory, "media-configure", G_CALLBACK(on_configure), camera);
    g_autoptr(GstRTSPMountPoints) mounts = gst_rtsp_server_get_mount_points(camera->server);
    gst_rtsp_mount_points_add_factory(mounts, camera->path, camera->factory);
}

static int
reserve_port(const char *address, int *port)
{
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int on = 1;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)*port)};
    socklen_t len = sizeof at;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (inet_pton(AF_INET, address, &at.sin_addr) != 1 ||
        bind(fd, (const struct sockaddr *)&at, sizeof at) < 0 ||
        getsockname(fd, (struct sockaddr *)&at, &len) < 0) {
        close(fd);
        return -1;
    }
    *port = ntohs(at.sin_port);
    return fd;
}

static void
set_up_server(TestcamCamera *camera)
{
    g_autofree char *service = g_strdup_printf("%d", camera->options.port);
    camera->server = gst_rtsp_server_new();
    gst_rtsp_server_set_address(camera->server, camera->options.address);
    gst_rtsp_server_set_service(camera->server, service);
    /* Clients are served by the camera's own thread. */
    g_autoptr(GstRTSPThreadPool) threads = gst_rtsp_thread_pool_new();
    gst_rtsp_thread_pool_set_max_threads(threads, 0);
    gst_rtsp_server_set_thread_pool(camera->server, threads);
    if (camera->options.username != NULL || camera->options.certificate != NULL)
        set_password(camera, camera->options.password);
    add_factory(camera);
}

static bool
find_clip(TestcamCamera *camera, TestcamCodec codec, int width, int height, GError **error)
{
    const TestcamClip *clip =
        testcam_clip_get(codec, width, height, camera->options.fps, camera->options.kbps, error);
    if (clip == NULL)
        return false;
    g_mutex_lock(&camera->lock);
    camera->shared.clip = clip;
    camera->shared.next = 0;
    g_mutex_unlock(&camera->lock);
    return true;
}

TestcamCamera *
testcam_camera_start(const TestcamCameraOptions *options, GError **error)
{
    TestcamCamera *camera = g_new0(TestcamCamera, 1);
    camera->options = *options;
    camera->path = g_strconcat("/", options->name, NULL);
    g_mutex_init(&camera->lock);
    g_cond_init(&camera->changed);
    camera->context = g_main_context_new();
    camera->loop = g_main_loop_new(camera->context, FALSE);
    camera->reserve_fd = reserve_port(options->address, &camera->options.port);
    if (camera->reserve_fd >= 0) {
        set_up_server(camera);
        do_listen(camera, 0);
    }
    camera->thread = g_thread_new(options->name, run, camera);
    const bool listens = camera->listener != NULL;
    if (listens && (!options->loop ||
                    find_clip(camera, options->codec, options->width, options->height, error))) {
        call_later(camera, do_clean, 10, 10);
        return camera;
    }
    if (!listens)
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID,
                    "cannot listen on %s port %d; is it in use? --port 0 takes any free one",
                    options->address, options->port);
    testcam_camera_stop(camera);
    return NULL;
}

void
testcam_camera_stop(TestcamCamera *camera)
{
    testcam_camera_hang(camera, false);
    if (camera->server != NULL)
        call_later(camera, do_end, 0, 0);
    else
        g_main_loop_quit(camera->loop);
    g_thread_join(camera->thread);
    set_source(camera, NULL);
    g_clear_object(&camera->server);
    if (camera->reserve_fd >= 0)
        close(camera->reserve_fd);
    g_main_loop_unref(camera->loop);
    g_main_context_unref(camera->context);
    g_cond_clear(&camera->changed);
    g_mutex_clear(&camera->lock);
    g_free(camera->path);
    g_free(camera);
}

const TestcamCameraOptions *
testcam_camera_options(const TestcamCamera *camera)
{
    return &camera->options;
}

/* ---- faults ---- */

TestcamFault *
testcam_camera_fault(TestcamCamera *camera)
{
    return &camera->fault;
}

void
testcam_camera_hang(TestcamCamera *camera, bool hangs)
{
    g_mutex_lock(&camera->lock);
    const bool was_hanging = camera->shared.hangs;
    camera->shared.hangs = hangs;
    g_cond_broadcast(&camera->changed);
    g_mutex_unlock(&camera->lock);
    if (hangs == was_hanging)
        return;
    atomic_store(&camera->fault.silent, hangs);
    if (hangs)
        call_later(camera, do_hang, 0, 0);
}

void
testcam_camera_lock(TestcamCamera *camera, bool locked)
{
    g_autofree char *other = g_strdup_printf("%08x%08x", g_random_int(), g_random_int());
    set_password(camera, locked ? other : camera->options.password);
}

void
testcam_camera_cut(TestcamCamera *camera)
{
    call_later(camera, do_cut, 0, 0);
}

void
testcam_camera_reboot(TestcamCamera *camera, int seconds)
{
    call_later(camera, do_reboot, seconds, 0);
}

bool
testcam_camera_resize(TestcamCamera *camera, int width, int height, GError **error)
{
    if (!camera->options.loop || camera->options.codec == TESTCAM_MJPEG) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_UNSUPPORTED,
                    "only H.264 and H.265 cameras with --loop change their size in mid-stream");
        return false;
    }
    if (!find_clip(camera, camera->options.codec, width, height, error))
        return false;
    camera->options.width = width;
    camera->options.height = height;
    return true;
}

bool
testcam_camera_recode(TestcamCamera *camera, TestcamCodec codec, GError **error)
{
    if (camera->options.loop &&
        !find_clip(camera, codec, camera->options.width, camera->options.height, error))
        return false;
    camera->options.codec = codec;
    set_launch(camera);
    testcam_camera_cut(camera);
    return true;
}
