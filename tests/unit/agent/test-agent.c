/* The agent without GStreamer and without processes: the camera's state machine with a clock of its
 * own, playlists, the Host check, packets, the board. */
#include "agent/api_private.h"
#include "agent/camera.h"
#include "agent/packet.h"
#include "agent/playlist.h"
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- camera ---- */

static void
test_camera_life(void)
{
    KvgCamera camera;
    kvg_camera_init(&camera, true, 1000);
    g_assert_cmpint(kvg_camera_tick(&camera, 1000), ==, KVG_CAMERA_DO_START);
    g_assert_cmpint(camera.state, ==, KVG_CAMERA_CONNECTING);
    g_assert_cmpint(kvg_camera_tick(&camera, 1250), ==, KVG_CAMERA_DO_NOTHING);
    kvg_camera_on_frame(&camera, 2000);
    g_assert_cmpint(camera.state, ==, KVG_CAMERA_LIVE);
    g_assert_null(camera.reason);
    /* frames stop: stalled, then restarted */
    g_assert_cmpint(kvg_camera_tick(&camera, 11999), ==, KVG_CAMERA_DO_NOTHING);
    g_assert_cmpint(camera.state, ==, KVG_CAMERA_LIVE);
    g_assert_cmpint(kvg_camera_tick(&camera, 12000), ==, KVG_CAMERA_DO_NOTHING);
    g_assert_cmpint(camera.state, ==, KVG_CAMERA_STALLED);
    g_assert_nonnull(camera.reason);
    g_assert_cmpint(kvg_camera_tick(&camera, 16999), ==, KVG_CAMERA_DO_NOTHING);
    g_assert_cmpint(kvg_camera_tick(&camera, 17000), ==, KVG_CAMERA_DO_STOP);
    g_assert_cmpint(camera.state, ==, KVG_CAMERA_BACKOFF);
    g_assert_cmpint(kvg_camera_tick(&camera, 17400), ==, KVG_CAMERA_DO_NOTHING);
    g_assert_cmpint(kvg_camera_tick(&camera, 18000), ==, KVG_CAMERA_DO_START);
    g_assert_cmpuint(camera.restarts, ==, 1);
    kvg_camera_clear(&camera);
}

static void
test_camera_recovers_by_itself(void)
{
    KvgCamera camera;
    kvg_camera_init(&camera, true, 0);
    kvg_camera_tick(&camera, 0);
    kvg_camera_on_frame(&camera, 100);
    kvg_camera_tick(&camera, 10100);
    g_assert_cmpint(camera.state, ==, KVG_CAMERA_STALLED);
    kvg_camera_on_frame(&camera, 11000);
    g_assert_cmpint(camera.state, ==, KVG_CAMERA_LIVE);
    g_assert_cmpuint(camera.restarts, ==, 0);
    kvg_camera_clear(&camera);
}

static void
test_camera_never_connects(void)
{
    KvgCamera camera;
    kvg_camera_init(&camera, true, 0);
    int64_t now = 0;
    unsigned starts = 0;
    int64_t longest = 0, since = 0;
    for (; now < 3600000; now += 250) {
        const KvgCameraAction action = kvg_camera_tick(&camera, now);
        if (action == KVG_CAMERA_DO_START) {
            starts++;
            longest = MAX(longest, now - since);
            kvg_camera_on_failure(&camera, "refused", false, now + 10);
            since = now;
        }
    }
    /* for ever, but not too often: between 15 and 30 s apart in the end */
    g_assert_cmpuint(starts, >, 3600 / 31);
    g_assert_cmpuint(starts, <, 3600 / 15 + 10);
    g_assert_cmpint(longest, <=, 30500);
    g_assert_cmpstr(camera.reason, ==, "refused");
    kvg_camera_clear(&camera);
}

static void
test_camera_edges(void)
{
    KvgCamera camera;
    kvg_camera_init(&camera, false, 0);
    for (int64_t now = 0; now < 100000; now += 1000)
        g_assert_cmpint(kvg_camera_tick(&camera, now), ==, KVG_CAMERA_DO_NOTHING);
    kvg_camera_on_failure(&camera, "late", false, 5);
    g_assert_cmpint(camera.state, ==, KVG_CAMERA_OFF);
    kvg_camera_clear(&camera);
    /* no frame within the time to connect */
    kvg_camera_init(&camera, true, 0);
    kvg_camera_tick(&camera, 0);
    g_assert_cmpint(kvg_camera_tick(&camera, 19999), ==, KVG_CAMERA_DO_NOTHING);
    g_assert_cmpint(kvg_camera_tick(&camera, 20000), ==, KVG_CAMERA_DO_STOP);
    kvg_camera_clear(&camera);
    /* a thing to correct on this machine is looked at again */
    kvg_camera_init(&camera, true, 0);
    kvg_camera_tick(&camera, 0);
    kvg_camera_on_failure(&camera, "not provisioned", true, 1);
    g_assert_cmpint(camera.state, ==, KVG_CAMERA_FAILED);
    g_assert_cmpint(kvg_camera_tick(&camera, 5000), ==, KVG_CAMERA_DO_NOTHING);
    g_assert_cmpint(kvg_camera_tick(&camera, 5001), ==, KVG_CAMERA_DO_START);
    kvg_camera_clear(&camera);
}

/* ---- playlists ---- */

static void
test_rewrite(void)
{
    g_autofree char *media = kvg_playlist_rewrite(
        "#EXTM3U\n#EXT-X-MAP:URI=\"init.mp4?SessionToken=SECRET&TrackNumber=1\",X=1\r\n"
        "#EXTINF:1.000,\nhttps://h:1/hls/v1/a.mp4?FragmentNumber=9&SessionToken=SECRET\n"
        "b.mp4?SessionToken=SECRET\n\n", "");
    g_assert_cmpstr(media, ==,
                    "#EXTM3U\n#EXT-X-MAP:URI=\"init.mp4?TrackNumber=1\",X=1\n"
                    "#EXTINF:1.000,\na.mp4?FragmentNumber=9\nb.mp4\n\n");
    static const char *const odd[] = {"", "\n", "#EXT-X-MAP:URI=\"", "?", "SessionToken=", "///"};
    for (size_t i = 0; i < G_N_ELEMENTS(odd); i++) {
        g_autofree char *out = kvg_playlist_rewrite(odd[i], "low-");
        g_assert_nonnull(out);
    }
}

static void
test_host(void)
{
    static const char *const good[] = {"127.0.0.1", "127.0.0.1:8080", "localhost", "LocalHost:1",
                                       "[::1]:8080"};
    static const char *const bad[] = {
        "",     "evil.example", "127.0.0.1.evil.example", "localhost.evil:80", "127.0.0.1:80x",
        "[::2]"};
    for (size_t i = 0; i < G_N_ELEMENTS(good); i++)
        g_assert_true(kvg_access_is_local_host(good[i]));
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
        g_assert_false(kvg_access_is_local_host(bad[i]));
    g_assert_false(kvg_access_is_local_host(NULL));
}

/* ---- packets ---- */

static void
test_packets(void)
{
    int pair[2];
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), ==, 0);
    g_autoptr(json_t) sent = json_pack("{s:s, s:i}", "name", "gate", "frames", 7);
    json_t *got = NULL;
    g_assert_cmpint(kvg_packet_read(pair[1], &got, NULL), ==, KVG_PACKET_NONE);
    g_assert_true(kvg_packet_write(pair[0], sent, -1));
    g_assert_cmpint(kvg_packet_read(pair[1], &got, NULL), ==, KVG_PACKET_GOT);
    g_assert_true(json_equal(got, sent));
    json_decref(got);
    /* rubbish is left out */
    g_assert_cmpint(send(pair[0], "{\"a\":", 5, 0), ==, 5);
    g_assert_cmpint(kvg_packet_read(pair[1], &got, NULL), ==, KVG_PACKET_NONE);
    /* a reader that does not keep up, or a packet that is too large, never blocks the writer */
    g_autofree char *text = g_strnfill(KVG_PACKET_MAX, 'x');
    g_autoptr(json_t) large = json_pack("{s:s}", "a", text);
    g_assert_false(kvg_packet_write(pair[0], large, -1));
    unsigned n = 0;
    while (kvg_packet_write(pair[0], sent, -1) && n < 1000000)
        n++;
    g_assert_cmpuint(n, <, 1000000);
    close(pair[0]);
    while (kvg_packet_read(pair[1], &got, NULL) == KVG_PACKET_GOT)
        json_decref(got);
    g_assert_cmpint(kvg_packet_read(pair[1], &got, NULL), ==, KVG_PACKET_CLOSED);
    close(pair[1]);
    g_assert_false(kvg_packet_write(pair[0], sent, -1));
}

/* ---- board ---- */

static void
test_board(void)
{
    static char gate_name[] = "gate", gate_source[] = "rtsp://u:secret@h/1";
    static char dock_name[] = "dock", dock_source[] = "test:";
    KvgConfigCamera gate = {.name = gate_name, .source = gate_source, .streaming = true};
    KvgConfigCamera dock = {.name = dock_name, .source = dock_source, .streaming = false};
    g_autoptr(GPtrArray) cameras = g_ptr_array_new();
    g_ptr_array_add(cameras, &gate);
    g_ptr_array_add(cameras, &dock);
    const KvgConfig config = {.cameras = cameras};
    KvgBoard *board = kvg_board_new(&config);
    g_autoptr(json_t) all = kvg_board_all(board);
    g_autofree char *text = kvg_json_to_text(all);
    g_assert_null(strstr(text, "secret"));
    g_autofree char *waiting = kvg_board_not_ready(board);
    g_assert_cmpstr(waiting, ==, "gate"); /* dock is switched off */
    g_autoptr(json_t) report =
        json_pack("{s:s, s:s, s:i}", "name", "gate", "state", "live", "frames", 12);
    kvg_board_update(board, report);
    g_autoptr(json_t) stranger = json_pack("{s:s}", "name", "nobody");
    kvg_board_update(board, stranger);
    g_assert_null(kvg_board_not_ready(board));
    g_autoptr(json_t) now = kvg_board_get(board, "gate");
    g_assert_cmpint(kvg_json_get_int(now, "frames", 0), ==, 12);
    g_assert_null(kvg_board_get(board, "nobody"));
    g_autoptr(json_t) end = json_pack("{s:s, s:s}", "name", "gate", "state", "backoff");
    kvg_board_update(board, end);
    g_autofree char *missing = kvg_board_not_ready(board);
    g_assert_cmpstr(missing, ==, "gate");
    kvg_board_free(board);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_log_set_writer_func(g_log_writer_standard_streams, NULL, NULL);
    g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_FATAL_MASK);
    g_test_add_func("/agent/camera/life", test_camera_life);
    g_test_add_func("/agent/camera/recovers", test_camera_recovers_by_itself);
    g_test_add_func("/agent/camera/never-connects", test_camera_never_connects);
    g_test_add_func("/agent/camera/edges", test_camera_edges);
    g_test_add_func("/agent/rewrite", test_rewrite);
    g_test_add_func("/agent/host", test_host);
    g_test_add_func("/agent/packets", test_packets);
    g_test_add_func("/agent/board", test_board);
    return g_test_run();
}
