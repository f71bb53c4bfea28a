/* A camera's coded video through the tap: decoded once, into shared memory, while somebody looks.
 */
#include "frames/address.h"
#include "frames/client.h"
#include "frames/tap.h"
#include "os/file.h"
#include <gst/app/app.h>
#include <poll.h>
#include <string.h>

#define WIDTH 64
#define HEIGHT 48
#define PATIENCE_MS 20000
#define BEGIN_US G_GINT64_CONSTANT(1700000000000000)

typedef struct {
    char *folder, *path;
    KvgFramesTap *tap;
    GPtrArray *coded; /* GstSample: two GOPs of five, grey that grows lighter */
    size_t at;
} Camera;

static void
unref_sample(void *sample)
{
    gst_sample_unref(sample);
}

/* H.264 as kvssink gets it. */
static GPtrArray *
encode(const char *size)
{
    g_autofree char *text = g_strdup_printf(
        "videotestsrc pattern=red num-buffers=10 ! video/x-raw,format=I420,%s,framerate=10/1 ! "
        "x264enc tune=zerolatency key-int-max=5 ! h264parse ! "
        "video/x-h264,stream-format=avc,alignment=au ! appsink name=out sync=false",
        size);
    g_autoptr(GstElement) pipeline = gst_parse_launch(text, NULL);
    g_assert_nonnull(pipeline);
    g_autoptr(GstElement) out = gst_bin_get_by_name(GST_BIN(pipeline), "out");
    gst_element_set_state(pipeline, GST_STATE_PLAYING);
    GPtrArray *coded = g_ptr_array_new_with_free_func(unref_sample);
    GstSample *sample;
    while ((sample = gst_app_sink_pull_sample(GST_APP_SINK(out))) != NULL)
        g_ptr_array_add(coded, sample);
    gst_element_set_state(pipeline, GST_STATE_NULL);
    g_assert_cmpuint(coded->len, ==, 10);
    return coded;
}

static void
set_up(Camera *camera, const void *data)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *base = g_dir_make_tmp("kvg-tap-XXXXXX", NULL);
    camera->folder = g_build_filename(base, "frames", NULL);
    camera->path = kvg_frames_socket_path(camera->folder, "gate");
    camera->tap = kvg_frames_tap_open(camera->folder, "gate", &error);
    g_assert_no_error(error);
    camera->coded = encode("width=64,height=48");
}

static void
tear_down(Camera *camera, const void *data)
{
    kvg_frames_tap_close(camera->tap);
    g_ptr_array_unref(camera->coded);
    g_autofree char *base = g_path_get_dirname(camera->folder);
    g_assert_true(kvg_dir_remove(base, NULL));
    g_free(camera->folder);
    g_free(camera->path);
}

/* As the probe of a pipeline does. */
static void
put_one(Camera *camera)
{
    GstSample *sample = g_ptr_array_index(camera->coded, camera->at % camera->coded->len);
    if (kvg_frames_tap_is_wanted(camera->tap))
        kvg_frames_tap_put(camera->tap, gst_sample_get_caps(sample), gst_sample_get_buffer(sample),
                           BEGIN_US + (int64_t)camera->at);
    camera->at++;
}

static KvgFramesTapStats
stats_of(Camera *camera)
{
    KvgFramesTapStats stats;
    kvg_frames_tap_get_stats(camera->tap, &stats);
    return stats;
}

/* Puts pictures until the consumer has one. */
static const KvgFramesLease *
next(Camera *camera, KvgFramesClient *client)
{
    g_autoptr(GError) error = NULL;
    const KvgFramesLease *lease = NULL;
    const int64_t end = g_get_monotonic_time() + PATIENCE_MS * 1000;
    g_assert_true(kvg_frames_client_ask(client));
    while (kvg_frames_client_read(client, &lease, &error) == KVG_FRAMES_NOTHING_YET) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        put_one(camera);
        g_usleep(20000);
    }
    g_assert_no_error(error);
    return lease;
}

static KvgFramesClient *
join(Camera *camera)
{
    g_autoptr(GError) error = NULL;
    KvgFramesClient *client = kvg_frames_client_open(camera->path, &error);
    g_assert_no_error(error);
    return client;
}

static void
wait_decoding(Camera *camera, bool wanted)
{
    const int64_t end = g_get_monotonic_time() + PATIENCE_MS * 1000;
    while (stats_of(camera).is_decoding != wanted) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(5000);
    }
}

static void
assert_red(const KvgFramesLease *lease, uint32_t width, uint32_t height)
{
    g_assert_cmpuint(lease->width, ==, width);
    g_assert_cmpuint(lease->height, ==, height);
    const uint8_t *middle = lease->data + lease->stride * (height / 2) + width / 2 * 3;
    g_assert_cmpuint(middle[0], <, 40);
    g_assert_cmpuint(middle[1], <, 40);
    g_assert_cmpuint(middle[2], >, 200);
}

/* Pixels, times, no copy; two consumers, one decoder; none, none. */
static void
test_decode(Camera *camera, const void *data)
{
    for (int i = 0; i < 10; i++)
        put_one(camera);
    g_assert_false(stats_of(camera).is_decoding);
    KvgFramesClient *client = join(camera), *other = join(camera);
    for (int i = 0; i < 8; i++) {
        const KvgFramesLease *lease = next(camera, client), *same = next(camera, other);
        assert_red(lease, WIDTH, HEIGHT);
        assert_red(same, WIDTH, HEIGHT);
        g_assert_cmpint(lease->wall_us, >=, BEGIN_US);
        g_assert_cmpint(lease->wall_us, <=, BEGIN_US + (int64_t)camera->at);
        kvg_frames_lease_release(lease);
        kvg_frames_lease_release(same);
    }
    const KvgFramesTapStats stats = stats_of(camera);
    g_assert_true(stats.is_decoding);
    g_assert_cmpuint(stats.copies, ==, 0);
    g_assert_cmpuint(stats.server.delivered, >=, 16);
    g_assert_cmpuint(stats.server.published, <=, camera->at); /* not once for each consumer */
    kvg_frames_client_close(client);
    kvg_frames_client_close(other);
    wait_decoding(camera, false);
    client = join(camera); /* and again */
    kvg_frames_lease_release(next(camera, client));
    kvg_frames_client_close(client);
}

/* The camera changes its size: so do the frames, and what is held stays. */
static void
test_change(Camera *camera, const void *data)
{
    KvgFramesClient *client = join(camera);
    const KvgFramesLease *held = next(camera, client);
    g_ptr_array_unref(camera->coded);
    camera->coded = encode("width=98,height=50"); /* rows are not a multiple of four bytes */
    camera->at = 0;
    const KvgFramesLease *lease = next(camera, client);
    while (lease->width == WIDTH) {
        kvg_frames_lease_release(lease);
        lease = next(camera, client);
    }
    assert_red(lease, 98, 50);
    g_assert_cmpuint(lease->stride, >=, 98 * 3);
    assert_red(held, WIDTH, HEIGHT);
    kvg_frames_lease_release(lease);
    kvg_frames_lease_release(held);
    kvg_frames_client_close(client);
}

/* Rubbish goes in: nothing comes out, nothing ends, and after it there are pictures again. */
static void
test_rubbish(Camera *camera, const void *data)
{
    KvgFramesClient *client = join(camera);
    kvg_frames_lease_release(next(camera, client));
    GstSample *sample = g_ptr_array_index(camera->coded, 0);
    for (int i = 0; i < 20; i++) {
        g_autoptr(GstBuffer) rubbish = gst_buffer_new_allocate(NULL, 300, NULL);
        gst_buffer_memset(rubbish, 0, (guint8)(i * 31), 300);
        kvg_frames_tap_put(camera->tap, gst_sample_get_caps(sample), rubbish, BEGIN_US);
    }
    for (int i = 0; i < 20; i++)
        kvg_frames_lease_release(next(camera, client));
    kvg_frames_client_close(client);
}

/* A pipeline that hangs while it is taken down keeps its reference and may go on putting. */
static void
test_closed(Camera *camera, const void *data)
{
    KvgFramesClient *client = join(camera);
    const KvgFramesLease *held = next(camera, client);
    KvgFramesTap *tap = kvg_frames_tap_ref(camera->tap);
    kvg_frames_tap_close(g_steal_pointer(&camera->tap));
    GstSample *sample = g_ptr_array_index(camera->coded, 0);
    g_assert_false(kvg_frames_tap_is_wanted(tap));
    kvg_frames_tap_put(tap, gst_sample_get_caps(sample), gst_sample_get_buffer(sample), BEGIN_US);
    kvg_frames_tap_unref(tap);
    assert_red(held, WIDTH, HEIGHT);
    kvg_frames_lease_release(held);
    kvg_frames_client_close(client);
}

int
main(int argc, char **argv)
{
    static const struct {
        const char *path;
        void (*run)(Camera *camera, const void *data);
    } tests[] = {{"/frames/tap/decode", test_decode},
                 {"/frames/tap/change", test_change},
                 {"/frames/tap/rubbish", test_rubbish},
                 {"/frames/tap/closed", test_closed}};
    g_test_init(&argc, &argv, NULL);
    gst_init(NULL, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].path, Camera, NULL, set_up, tests[i].run, tear_down);
    return g_test_run();
}
