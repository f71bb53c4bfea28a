/* kvg.yaml: what is read, that every problem is told with its place, and that nothing crashes. */
#include "config/config.h"
#include "os/file.h"
#include <glib/gstdio.h>
#include <kvg/error.h>
#include <string.h>

static char *folder;

static KvgConfig *
load(const char *text, GError **error)
{
    g_autofree char *path = g_build_filename(folder, "kvg.yaml", NULL);
    g_assert_true(g_file_set_contents(path, text, -1, NULL));
    return kvg_config_load(path, error);
}

static const char whole[] =
    "region: us-east-1\n"
    "workers: per-camera\n"
    "endpoint: https://127.0.0.1:9443\n"
    "ca_bundle: ca.pem\n"
    "identity: { directory: ids, role_alias: Alias, credentials_endpoint: 'h:9444',\n"
    "  thing_group: Site, tags: { owner: me, 'cost centre': 4711/a } }\n"
    "spool: { path: /var/spool/kvg, limit: 3GiB, tier: disk, max_age: 2h, memory_path: /run/kvg }\n"
    "upload: { catch_up: live-first, bandwidth: 8M }\n"
    "api: { address: 127.0.0.1, port: 0 }\n"
    "defaults: { retention: 48h }\n"
    "cameras:\n"
    "  gate: { source: 'rtsp://10.0.0.11/s1', username: kvg, password_file: secret }\n"
    "  dock: { source: 'rtsp://a%40b:c%3Ad@10.0.0.12/ch0', retention: 2h,\n"
    "          video: { width: 640, height: 360, fps: 15, bitrate: 1500k } }\n"
    "  lobby: { source: 'test:pattern=ball,fps=5', streaming: off }\n";

/* What the mappings of the kinds of sources come to; a camera's own go over the defaults. */
static void
test_sources(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(KvgConfig) config = load(
        "region: us-east-1\n"
        "defaults: { audio: off, rtsp: { latency: 1s, ca_bundle: cas.pem }, encoder: x264enc }\n"
        "cameras:\n"
        "  a: { source: 'rtsps://h/', rtsp: { transport: auto }, audio: on, video: auto,\n"
        "       watchdog: { frames: 30s, persisted: off } }\n"
        "  b: { source: 'file:a.mp4', file: { pace: fast, time: '2026-01-02T03:04:05Z' } }\n"
        "  c: { source: 'shm:sock', shm: { format: BGR, width: 64, height: 32 }, encoder: auto }\n"
        "  d: { source: 'v4l2:/dev/video1', v4l2: { format: mjpeg, width: 640, height: 480,\n"
        "       fps: 30 } }\n",
        &error);
    g_assert_no_error(error);
    const KvgConfigCamera *a = kvg_config_find_camera(config, "a");
    g_autofree char *cas = g_build_filename(folder, "cas.pem", NULL);
    g_assert_cmpint(a->rtsp.transport, ==, KVG_RTSP_AUTO);
    g_assert_cmpuint(a->rtsp.latency_ms, ==, 1000);
    g_assert_cmpstr(a->rtsp.ca_bundle, ==, cas);
    g_assert_null(a->rtsp.certificate);
    g_assert_true(a->audio && a->video_auto && a->passthrough);
    g_assert_cmpint(a->watch_frames_ms, ==, 30000);
    g_assert_cmpint(a->watch_persisted_ms, ==, 0);
    const KvgConfigCamera *b = kvg_config_find_camera(config, "b");
    g_autofree char *file = g_strdup_printf("file:%s/a.mp4", folder);
    g_assert_cmpstr(b->source, ==, file);
    g_assert_true(b->file.fast && !b->file.loop && !b->audio);
    g_assert_cmpstr(b->file.time, ==, "2026-01-02T03:04:05Z");
    g_assert_cmpstr(b->encoder, ==, "x264enc");
    const KvgConfigCamera *c = kvg_config_find_camera(config, "c");
    g_assert_cmpstr(kvg_config_shm_format(&c->shm), ==, "BGR");
    g_assert_cmpuint(c->shm.height, ==, 32);
    g_assert_null(c->encoder);
    const KvgConfigCamera *d = kvg_config_find_camera(config, "d");
    g_assert_cmpint(d->v4l2.format, ==, KVG_V4L2_MJPEG);
    g_assert_cmpuint(d->v4l2.fps, ==, 30);
}

static void
test_whole(void)
{
    g_autofree char *secret = g_build_filename(folder, "secret", NULL);
    g_autofree char *ca = g_build_filename(folder, "ca.pem", NULL);
    g_autoptr(GError) error = NULL;
    g_assert_true(kvg_file_replace(secret, "pa$s\nmore\n", 10, 0600, NULL));
    g_assert_true(g_file_set_contents(ca, "x", -1, NULL));
    g_autoptr(KvgConfig) config = load(whole, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(config->region, ==, "us-east-1");
    g_assert_cmpstr(config->endpoint, ==, "https://127.0.0.1:9443");
    g_assert_cmpstr(config->ca_bundle, ==, ca);
    g_assert_true(g_str_has_prefix(config->identity_directory, folder));
    g_assert_cmpstr(config->role_alias, ==, "Alias");
    g_assert_cmpstr(config->credentials_endpoint, ==, "h:9444");
    g_assert_cmpstr(config->thing_group, ==, "Site");
    g_assert_cmpuint(config->tags->len, ==, 4);
    g_assert_cmpstr(g_ptr_array_index(config->tags, 2), ==, "cost centre");
    g_assert_cmpstr(g_ptr_array_index(config->tags, 3), ==, "4711/a");
    g_assert_cmpstr(config->spool_path, ==, "/var/spool/kvg");
    g_assert_cmpuint(config->spool_limit_bytes, ==, 3ull << 30);
    g_assert_cmpint(config->spool_tier, ==, KVG_SPOOL_TIER_DISK);
    g_assert_cmpint(config->spool_max_age_ms, ==, 7200000);
    g_assert_cmpstr(config->spool_memory_path, ==, "/run/kvg");
    g_assert_true(config->live_first);
    g_assert_cmpuint(config->backlog_bps, ==, 8000000);
    g_assert_cmpuint(config->workers, ==, KVG_CONFIG_WORKERS_PER_CAMERA);
    g_assert_cmpuint(config->cameras->len, ==, 3);
    const KvgConfigCamera *gate = kvg_config_find_camera(config, "gate");
    g_assert_cmpstr(gate->password, ==, "pa$s");
    g_assert_true(gate->passthrough);
    g_assert_true(gate->streaming);
    g_assert_cmpint(gate->retention_hours, ==, 48);
    g_assert_true(g_str_has_suffix(gate->key_path, "/ids/gate.private.key"));
    const KvgConfigCamera *dock = kvg_config_find_camera(config, "dock");
    g_assert_cmpstr(dock->source, ==, "rtsp://10.0.0.12/ch0");
    g_assert_cmpstr(dock->username, ==, "a@b");
    g_assert_cmpstr(dock->password, ==, "c:d");
    g_assert_false(dock->passthrough);
    g_assert_cmpuint(dock->width, ==, 640);
    g_assert_cmpuint(dock->bitrate_bps, ==, 1500000);
    g_assert_cmpint(dock->retention_hours, ==, 2);
    g_assert_false(kvg_config_find_camera(config, "lobby")->streaming);
    g_assert_null(kvg_config_find_camera(config, "nobody"));
}

static void
test_defaults(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(KvgConfig) config =
        load("region: eu-central-1\ncameras: { a: { source: 'test:' } }\n", &error);
    g_assert_no_error(error);
    g_assert_null(config->endpoint);
    g_assert_null(config->ca_bundle);
    g_assert_null(config->credentials_endpoint);
    g_assert_cmpstr(config->role_alias, ==, "KvgCamera");
    g_assert_cmpstr(config->iam_role, ==, "KvgCameraRole");
    g_assert_cmpstr(config->iot_policy, ==, "KvgCameraPolicy");
    g_assert_null(config->thing_group);
    g_assert_cmpuint(config->tags->len, ==, 0);
    g_assert_cmpstr(config->api_address, ==, "127.0.0.1");
    g_assert_cmpuint(config->api_port, ==, 8080);
    g_assert_cmpuint(config->spool_limit_bytes, ==, 20ull << 30);
    g_assert_cmpint(config->spool_tier, ==, KVG_SPOOL_TIER_AUTO);
    g_assert_cmpint(config->spool_max_age_ms, ==, 0);
    g_assert_null(config->spool_memory_path);
    g_assert_false(config->live_first);
    g_assert_cmpuint(config->workers, ==, KVG_CONFIG_WORKERS_AUTO);
    g_assert_cmpuint(config->backlog_bps, ==, 0);
    g_autofree char *spool = g_build_filename(folder, "spool", NULL);
    g_assert_cmpstr(config->spool_path, ==, spool);
    const KvgConfigCamera *camera = kvg_config_find_camera(config, "a");
    g_assert_cmpuint(camera->width, ==, 1280);
    g_assert_cmpuint(camera->height, ==, 720);
    g_assert_cmpint(camera->retention_hours, ==, 24);
}

static void
test_modes(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(KvgConfig) config =
        load("region: eu-central-1\n"
             "defaults: { schedule: ['mon-fri 08:00-18:00', '* 22:00-06:00'], keep: 90s }\n"
             "cameras:\n"
             "  a: { source: 'test:' }\n"
             "  b: { source: 'test:', mode: schedule }\n"
             "  c: { source: 'test:', mode: schedule, schedule: ['sat 10:00-11:00'],\n"
             "       timezone: Europe/Berlin }\n"
             "  d: { source: 'test:', mode: event, event: { pre_roll: 20s, post_roll: 2m } }\n"
             "  e: { source: 'test:', mode: on-demand, keep: 7d }\n",
             &error);
    g_assert_no_error(error);
    const KvgConfigMode *mode = &kvg_config_find_camera(config, "a")->mode;
    g_assert_cmpint(mode->kind, ==, KVG_MODE_ALWAYS);
    mode = &kvg_config_find_camera(config, "b")->mode;
    g_assert_cmpint(mode->kind, ==, KVG_MODE_SCHEDULE);
    g_assert_cmpuint(mode->schedule.n_windows, ==, 2);
    g_assert_cmpuint(mode->schedule.windows[0].days, ==, 0x1f);
    g_assert_cmpstr(mode->schedule.zone, ==, "");
    mode = &kvg_config_find_camera(config, "c")->mode;
    g_assert_cmpuint(mode->schedule.n_windows, ==, 1);
    g_assert_cmpuint(mode->schedule.windows[0].from_s, ==, 36000);
    g_assert_cmpstr(mode->schedule.zone, ==, "Europe/Berlin");
    mode = &kvg_config_find_camera(config, "d")->mode;
    g_assert_cmpint(mode->kind, ==, KVG_MODE_EVENT);
    g_assert_cmpint(mode->pre_roll_ms, ==, 20000);
    g_assert_cmpint(mode->post_roll_ms, ==, 120000);
    g_assert_cmpint(mode->keep_ms, ==, 90000);
    mode = &kvg_config_find_camera(config, "e")->mode;
    g_assert_cmpint(mode->kind, ==, KVG_MODE_ON_DEMAND);
    g_assert_cmpint(mode->keep_ms, ==, INT64_C(7) * 24 * 3600 * 1000);

    g_autoptr(KvgConfig) bare =
        load("region: eu-central-1\ncameras:\n  d: { source: 'test:', mode: event }\n"
             "  e: { source: 'test:', mode: on-demand }\n",
             &error);
    g_assert_no_error(error);
    mode = &kvg_config_find_camera(bare, "d")->mode;
    g_assert_cmpint(mode->pre_roll_ms, ==, 10000);
    g_assert_cmpint(mode->post_roll_ms, ==, 30000);
    g_assert_cmpint(mode->keep_ms, ==, 40000);
    g_assert_cmpint(kvg_config_find_camera(bare, "e")->mode.keep_ms, ==, INT64_C(24) * 3600000);
}

static void
test_environment(void)
{
    g_setenv("KVG_TEST_HOST", "10.1.2.3", TRUE);
    g_unsetenv("KVG_TEST_UNSET");
    g_autoptr(GError) error = NULL;
    g_autoptr(KvgConfig) config = load("region: us-east-1\ncameras: { a: { source: "
                                       "'rtsp://${KVG_TEST_HOST}/x', username: 'a$$b' } }\n",
                                       &error);
    g_assert_no_error(error);
    const KvgConfigCamera *camera = kvg_config_find_camera(config, "a");
    g_assert_cmpstr(camera->source, ==, "rtsp://10.1.2.3/x");
    g_assert_cmpstr(camera->username, ==, "a$b");
    g_assert_null(load(
        "region: us-east-1\ncameras: { a: { source: 'rtsp://${KVG_TEST_UNSET}/x' } }\n", &error));
    g_assert_error(error, KVG_ERROR, KVG_ERROR_INVALID);
    g_assert_nonnull(strstr(error->message, "KVG_TEST_UNSET"));
}

/* A file with one thing wrong, and what must be said of it. */
static void
test_problems(void)
{
#define CAMERA "region: us-east-1\ncameras:\n  a: "
    static const struct {
        const char *text, *said;
    } table[] = {
        {"", "cameras"},
        {"cameras: { a: { source: 'test:' } }\n", "region"},
        {"region: us-east-1\n", "cameras"},
        {"regoin: us-east-1\ncameras: { a: { source: 'test:' } }\n", ":1:1: regoin"},
        {"regoin: us-east-1\ncameras: { a: { source: 'test:' } }\n", "region"},
        {CAMERA "{ sorce: 'test:' }\n", ":3:8: cameras.a.sorce"},
        {CAMERA "{ sorce: 'test:' }\n", "did you mean 'source'"},
        {CAMERA "{ source: 'test:', source: 'test:' }\n", "source"},
        {CAMERA "{ source: 'test:' }\n  a: { source: 'test:' }\n", ":4:3: cameras.a"},
        {"region: us-east-1\ncameras:\n  'a b': { source: 'test:' }\n", ":3:3:"},
        {CAMERA "{ source: 'ftp://x' }\n", "rtsp://"},
        {CAMERA "{ source: 'v4l2:video0' }\n", "write v4l2:/dev/videoN"},
        {CAMERA "{ source: 'file:' }\n", "a path is missing behind file:"},
        {CAMERA "{ source: 'test:sound=loud' }\n", "bad value 'loud' of sound"},
        {CAMERA "{ source: 'shm:/tmp/x' }\n", "shm.width or shm.height is missing"},
        {CAMERA "{ source: 'shm:/tmp/x', shm: { format: RGB565 } }\n", "write I420, NV12"},
        {CAMERA "{ source: 'shm:/tmp/x', shm: { width: 8, height: 8 } }\n", "16"},
        {CAMERA "{ source: 'shm:/tmp/x', shm: { width: 16, height: 16, fps: 0 } }\n", "1 to 120"},
        {CAMERA "{ source: 'file:a', file: { play: twice } }\n", "write once or loop"},
        {CAMERA "{ source: 'file:a', file: { pace: slow } }\n", "write real-time or fast"},
        {CAMERA "{ source: 'file:a', file: { time: noon } }\n", "write now, own, or a time like"},
        {CAMERA "{ source: 'file:a', file: { play: loop, pace: fast } }\n", "would never stop"},
        {CAMERA "{ source: 'file:a', file: { play: loop, time: own } }\n", "times would repeat"},
        {CAMERA "{ source: 'rtsp://h/', rtsp: { transport: http } }\n", "write tcp, udp or auto"},
        {CAMERA "{ source: 'rtsp://h/', rtsp: { latency: 1m } }\n", "up to 10s"},
        {CAMERA "{ source: 'rtsps://h/', rtsp: { certificate: none } }\n", "insecure"},
        {CAMERA "{ source: 'v4l2:/dev/video0', v4l2: { format: yuv } }\n", "auto, h264, raw"},
        {CAMERA "{ source: 'v4l2:/dev/video0', v4l2: { fps: 0 } }\n", "1 to 120"},
        {CAMERA "{ source: 'v4l2:/dev/video0', v4l2: { width: 1 } }\n", "16 to 7680"},
        {CAMERA "{ source: 'rtsp://h/', audio: loud }\n", "write on or off"},
        {CAMERA "{ source: 'rtsp://h/', encoder: 'x 264' }\n", "name of a GStreamer element"},
        {CAMERA "{ source: 'rtsp://h/', watchdog: { frames: 1s } }\n", "from 2s to 1h"},
        {CAMERA "{ source: 'rtsp://h/', watchdog: { persisted: 5s } }\n", "from 10s to 1d"},
        {CAMERA "{ source: 'rtsp://h/', video: best }\n", "write passthrough, auto"},
        {CAMERA "{ source: 'test:colour=red' }\n", "test:"},
        {CAMERA "{ source: 'test:', retention: 90m }\n", "hours"},
        {CAMERA "{ source: 'test:', retention: 24 }\n", "retention"},
        {CAMERA "{ source: 'test:', streaming: maybe }\n", "streaming"},
        {CAMERA "{ source: 'test:', video: { width: 0 } }\n", "width"},
        {CAMERA "{ source: 'test:', video: mpeg }\n", "video"},
        {CAMERA "{ source: 'test:', password_file: missing }\n", "missing"},
        {CAMERA "{ source: 'test:', mode: never }\n",
         "cameras.a.mode: 'never' is not valid; write always, schedule, on-demand or event"},
        {CAMERA "{ source: 'test:', mode: schedule }\n", "add schedule: [\"mon-fri 08:00-18:00\"]"},
        {CAMERA "{ source: 'test:', schedule: ['mon 08:00-09:00'] }\n",
         "cameras.a.schedule: means nothing without mode: schedule"},
        {CAMERA "{ source: 'test:', timezone: UTC }\n",
         "cameras.a.timezone: means nothing without mode: schedule"},
        {CAMERA "{ source: 'test:', mode: schedule, schedule: 'mon 08:00-09:00' }\n",
         "write a list"},
        {CAMERA "{ source: 'test:', mode: schedule, schedule: ['* 00:00-24:00', 'may 1'] }\n",
         "cameras.a.schedule[1]: 'may 1': days are mon"},
        {CAMERA "{ source: 'test:', mode: schedule, schedule: ['* 00:00-24:00'], timezone: X/Y }\n",
         "no such time zone"},
        {CAMERA "{ source: 'test:', event: { pre_roll: 1s } }\n",
         "cameras.a.event: means nothing without mode: event"},
        {CAMERA "{ source: 'test:', mode: event, event: { pre_roll: 2h } }\n", "up to 1h"},
        {CAMERA "{ source: 'test:', mode: event, event: { post_roll: 0s } }\n", "from 1s to 1h"},
        {CAMERA "{ source: 'test:', mode: event, event: { before: 1s } }\n",
         "known here: pre_roll, post_roll"},
        {CAMERA "{ source: 'test:', mode: event, event: { pre_roll: 1m }, keep: 30s }\n",
         "pre_roll is longer than keep"},
        {CAMERA "{ source: 'test:', keep: 1h }\n",
         "cameras.a.keep: means nothing without mode: event or mode: on-demand"},
        {CAMERA "{ source: 'test:', mode: on-demand, keep: 1s }\n", "at least 10s"},
        {CAMERA "{}\n", "source"},
        {CAMERA "[1, 2]\n", "cameras.a"},
        {"region: us-east-1\nspool: { limit: lots }\ncameras: { a: { source: 'test:' } }\n",
         ":2:17:"},
        {"region: us-east-1\nspool: { tier: tape }\ncameras: { a: { source: 'test:' } }\n",
         "write auto, disk or memory"},
        {"region: us-east-1\nspool: { max_age: 1s }\ncameras: { a: { source: 'test:' } }\n",
         "too short"},
        {"region: us-east-1\nupload: { catch_up: newest }\ncameras: { a: { source: 'test:' } }\n",
         ":2:21: upload.catch_up: 'newest' is not valid; write oldest-first or live-first"},
        {"region: us-east-1\nupload: { bandwidth: 1k }\ncameras: { a: { source: 'test:' } }\n",
         "at least 16k"},
        {"region: us-east-1\napi: { port: 70000 }\ncameras: { a: { source: 'test:' } }\n", "port"},
        {"region: us-east-1\nworkers: 0\ncameras: { a: { source: 'test:' } }\n",
         ":2:10: workers: write auto, per-camera or a number"},
        {"region: us-east-1\napi: { address: 0.0.0.0 }\ncameras: { a: { source: 'test:' } }\n",
         "token_file"},
        {"region: us-east-1\napi: { token_file: gone }\ncameras: { a: { source: 'test:' } }\n",
         "token_file"},
        {"region: us-east-1\napi: { certificate: gone }\ncameras: { a: { source: 'test:' } }\n",
         "cannot read"},
        {"region: us-east-1\napi: { private_key: gone }\ncameras: { a: { source: 'test:' } }\n",
         "cannot read"},
        {"region: us-east-1\nendpoint: 'ftp://x'\ncameras: { a: { source: 'test:' } }\n",
         "endpoint"},
        {"region: us-east-1\ncameras: &x { a: *x }\n", ":2:"},
        {"region: [\n", ":"},
        {"region: \"us-east-1\n", ":"},
        {"- a\n", ":1:1:"},
    };
#undef CAMERA
    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(KvgConfig) config = load(table[i].text, &error);
        g_assert_null(config);
        g_assert_error(error, KVG_ERROR, KVG_ERROR_INVALID);
        if (strstr(error->message, table[i].said) == NULL)
            g_error("'%s' not said of:\n%s\nbut: %s", table[i].said, table[i].text, error->message);
        g_assert_nonnull(strstr(error->message, "kvg.yaml"));
    }
}

static void
test_all_at_once(void)
{
    g_autoptr(GError) error = NULL;
    g_assert_null(load("regoin: x\nspol: {}\ncameras:\n  a: { sorce: x, retention: 1 }\n", &error));
    g_auto(GStrv) lines = g_strsplit(error->message, "\n", -1);
    g_assert_cmpuint(g_strv_length(lines), >=, 4);
}

static void
test_secret_file_mode(void)
{
    g_autofree char *path = g_build_filename(folder, "wide", NULL);
    g_assert_true(kvg_file_replace(path, "hush", 4, 0644, NULL));
    g_autoptr(GError) error = NULL;
    g_assert_null(load("region: us-east-1\ncameras: { a: { source: 'rtsp://h/1', username: u, "
                       "password_file: wide } }\n",
                       &error));
    g_assert_nonnull(strstr(error->message, "chmod 600"));
    g_assert_null(strstr(error->message, "hush"));
}

static void
test_mutations(void)
{
    g_autoptr(GRand) random = g_rand_new_with_seed(4);
    for (unsigned round = 0; round < 3000; round++) {
        g_autofree char *text = g_strdup(whole);
        const unsigned n = (unsigned)g_rand_int_range(random, 1, 6);
        for (unsigned i = 0; i < n; i++)
            text[g_rand_int_range(random, 0, (int)strlen(whole))] =
                (char)g_rand_int_range(random, 1, 256);
        g_autoptr(GError) error = NULL;
        g_autoptr(KvgConfig) config = load(text, &error);
        g_assert_true((config == NULL) == (error != NULL));
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    folder = g_dir_make_tmp("kvg-config-XXXXXX", NULL);
    g_test_add_func("/config/whole", test_whole);
    g_test_add_func("/config/sources", test_sources);
    g_test_add_func("/config/defaults", test_defaults);
    g_test_add_func("/config/modes", test_modes);
    g_test_add_func("/config/environment", test_environment);
    g_test_add_func("/config/problems", test_problems);
    g_test_add_func("/config/all-at-once", test_all_at_once);
    g_test_add_func("/config/secret-file-mode", test_secret_file_mode);
    g_test_add_func("/config/mutations", test_mutations);
    const int status = g_test_run();
    g_assert_true(kvg_dir_remove(folder, NULL));
    g_free(folder);
    return status;
}
