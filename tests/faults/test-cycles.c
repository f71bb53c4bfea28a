/* 200 times a camera is started and stopped while something is wrong, at any moment of its life;
 * each stop must be short, and in the end all frames must have arrived. */
#include "camera.h"
#include "proxy.h"

#define CYCLES 200 /* or as many as the environment's KVG_CYCLES says */
#define LINES 8    /* that many cameras at once */
#define STEP_MS 20
#define GOP 10
#define DRAIN_MS 60000
/* A stop may take its time-out, and what a loaded machine adds. */
#define STOP_LIMIT_US (10 * G_USEC_PER_SEC)

static const KvgFaults faults[] = {
    {0},
    {.refuse = true},
    {.black_hole = true},
    {.latency_ms = 150},
    {.bytes_per_s = 5000},
    {.garbage = true},
    {.reset_up_at = 700},
    {.reset_up_at = 4000},
    {.reset_down_at = 2500},
    {.half_close_down_at = 2500},
    {.status = 403, .type = "ExpiredTokenException"},
    {.status = 500},
    {.status = 503, .path = "/describeStream"},
    {.status = KVG_FAULT_SILENCE},
    {.status = KVG_FAULT_SILENCE, .path = "/getDataEndpoint"},
    {.error_id = 5000},
    {.error_id = 4008, .at_fragment = 1},
    {.end_response = true, .at_fragment = 1},
    {.ack_garbage = true},
    {.ack_split = true, .ack_twice = true, .ack_delay_ms = 100},
};

typedef struct {
    KvgSite *site;
    char *name, *spool;
    KvgProxy *proxy;
    KvgCamera camera;
    GRand *chance;
    int64_t longest_stop_us;
    unsigned drained;
    bool arrived;
} Line;

static unsigned
cycles_of_a_line(void)
{
    const char *asked = g_getenv("KVG_CYCLES");
    return (asked != NULL ? (unsigned)g_ascii_strtoull(asked, NULL, 10) : CYCLES) / LINES;
}

static void
open_camera(Line *line)
{
    g_autofree char *endpoint =
        g_strdup_printf("https://127.0.0.1:%u", kvg_proxy_port(line->proxy));
    g_autoptr(KvgCredentials) keys =
        kvg_credentials_new_static(line->site->access_key, line->site->secret_key, NULL);
    const KvgProducerOptions producer = {.region = "us-east-1",
                                         .endpoint = endpoint,
                                         .ca_path = line->site->ca_path,
                                         .spool_path = line->spool};
    const KvgStreamOptions stream = {.credentials = keys, .create = true, .retention_hours = 24};
    kvg_camera_open(&line->camera, &producer, &stream);
}

static void
run_cycle(Line *line)
{
    const KvgFaults *now = &faults[g_rand_int_range(line->chance, 0, G_N_ELEMENTS(faults))];
    /* At times it is the network that breaks down under the camera, not the camera that starts in
     * it. */
    const bool breaks_later = g_rand_boolean(line->chance);
    const unsigned frames = (unsigned)g_rand_int_range(line->chance, 0, 60);
    const int64_t timeout_ms = g_rand_int_range(line->chance, 0, 3) * 200;
    kvg_proxy_set(line->proxy, breaks_later ? NULL : now);
    open_camera(line);
    for (unsigned i = 0; i < frames; i++) {
        g_assert_true(kvg_camera_put(&line->camera, NULL));
        g_usleep(STEP_MS * 1000 / 2);
        if (breaks_later && i == frames / 2)
            kvg_proxy_set(line->proxy, now);
    }
    const int64_t start_us = g_get_monotonic_time();
    line->drained += kvg_camera_close(&line->camera, timeout_ms, NULL);
    const int64_t took_us = g_get_monotonic_time() - start_us;
    line->longest_stop_us = MAX(line->longest_stop_us, took_us - timeout_ms * 1000);
    /* A new camera starts with a key frame. */
    line->camera.n_put += (GOP - line->camera.n_put % GOP) % GOP;
}

static void *
line_thread(void *data)
{
    Line *line = data;
    for (unsigned i = 0; i < cycles_of_a_line(); i++)
        run_cycle(line);
    kvg_proxy_set(line->proxy, NULL);
    open_camera(line);
    line->arrived = kvg_camera_close(&line->camera, DRAIN_MS, NULL);
    return NULL;
}

static void
test_cycles(void)
{
    KvgSite *site = kvg_site_start();
    Line lines[LINES] = {0};
    GThread *threads[LINES];
    for (guint32 i = 0; i < LINES; i++) {
        Line *line = &lines[i];
        line->site = site;
        line->name = g_strdup_printf("cycle-%u", i);
        line->spool = g_build_filename(site->folder, "spool", line->name, NULL);
        line->chance = g_rand_new_with_seed(i);
        const KvgProxyOptions options = {.to_port = site->https_port,
                                         .is_http = true,
                                         .tls = site->tls,
                                         .upstream_tls = site->upstream_tls};
        line->proxy = kvg_proxy_start(&options, NULL);
        g_assert_nonnull(line->proxy);
        const KvgCameraSpec spec = {
            .stream = line->name, .step_ms = STEP_MS, .gop = GOP, .frame_bytes = 1500};
        kvg_camera_init(&line->camera, &spec, g_get_real_time() / 1000 - 600000);
        threads[i] = g_thread_new(line->name, line_thread, line);
    }
    for (unsigned i = 0; i < LINES; i++) {
        Line *line = &lines[i];
        g_thread_join(threads[i]);
        const KvgVerdict verdict = kvg_camera_verify(&line->camera, site);
        g_test_message("%s: %" G_GUINT64_FORMAT " frames, %u stored, %u of %u stops drained, the "
                       "longest took %.3f s more than allowed",
                       line->name, line->camera.accepted, verdict.stored, line->drained,
                       cycles_of_a_line(), (double)line->longest_stop_us / 1e6);
        g_assert_cmpstr(verdict.problem, ==, NULL);
        g_assert_true(line->arrived);
        g_assert_cmpuint(verdict.stored, ==, line->camera.accepted);
        g_assert_cmpint(line->longest_stop_us, <, STOP_LIMIT_US);
        kvg_proxy_stop(line->proxy);
        kvg_camera_clear(&line->camera);
        g_rand_free(line->chance);
        g_free(line->name);
        g_free(line->spool);
    }
    kvg_site_stop(site);
}

/* What is provoked is not news. */
static GLogWriterOutput
write_log(GLogLevelFlags level, const GLogField *fields, gsize n, gpointer unused)
{
    if (level & (G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL))
        return g_log_writer_standard_streams(level, fields, n, unused);
    return G_LOG_WRITER_HANDLED;
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_ERROR);
    g_log_set_writer_func(write_log, NULL, NULL);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    g_test_add_func("/faults/200-starts-and-stops", test_cycles);
    return g_test_run();
}
