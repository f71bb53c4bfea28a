/* A program with eight kvssinks ends, 25 times, under faults and in each way a program can end: end
 * of stream, state NULL, or straight out of main(). It must exit with 0, and soon. */
#include "proxy.h"
#include "site.h"

#include "os/file.h"
#include <fcntl.h>
#include <gst/app/gstappsrc.h>
#include <gst/gst.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define RUNS 25
#define SINKS 8
#define FRAMES 30
#define GOP 10
#define FRAME_MS 40
/* GStreamer stops one sink after the other, and each may take its time-out of a second; the rest is
 * what a loaded machine adds. */
#define EXIT_LIMIT_US (40 * G_USEC_PER_SEC)

static const char *program;

static const KvgFaults faults[] = {
    {0},
    {.refuse = true},
    {.black_hole = true},
    {.status = 500},
    {.status = KVG_FAULT_SILENCE},
    {.reset_up_at = 3000},
    {.error_id = 4008},
    {.bytes_per_s = 3000},
};

/* ---- the program: how it ends, endpoint, CA file, spool ---- */

static void
push_frame(GstElement *source, unsigned number)
{
    uint8_t data[600];
    memset(data, (int)(number | 1), sizeof data);
    const uint8_t head[] = {0, 0, (sizeof data - 4) >> 8, (sizeof data - 4) & 0xff,
                            number % GOP == 0 ? 0x65 : 0x41};
    memcpy(data, head, sizeof head);
    GstBuffer *buffer = gst_buffer_new_memdup(data, sizeof data);
    GST_BUFFER_PTS(buffer) = GST_BUFFER_DTS(buffer) = number * FRAME_MS * GST_MSECOND;
    GST_BUFFER_DURATION(buffer) = FRAME_MS * GST_MSECOND;
    if (number % GOP != 0)
        GST_BUFFER_FLAG_SET(buffer, GST_BUFFER_FLAG_DELTA_UNIT);
    gst_app_src_push_buffer(GST_APP_SRC(source), buffer);
}

/* By its file: no registry is written. */
static void
load_plugin(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path =
        g_build_filename(g_getenv("KVG_BUILD"), "src", "plugin", "libgstkvg.so", NULL);
    g_autoptr(GstPlugin) plugin = gst_plugin_load_file(path, &error);
    g_assert_no_error(error);
    g_assert_nonnull(plugin);
}

static GstElement *
make_pipeline(char **argv)
{
    g_autoptr(GString) text = g_string_new(NULL);
    for (unsigned i = 0; i < SINKS; i++)
        g_string_append_printf(
            text,
            "appsrc name=source%u is-live=true format=time ! video/x-h264,stream-format=avc,"
            "alignment=au,width=640,height=360,codec_data=(buffer)"
            "014d401fffe1001c674d401fda014016ec05a808080a0000030002000003003d1e30654001000468ef3c80"
            " "
            "! kvssink stream-name=exit-%s-%u aws-region=us-east-1 endpoint=%s ca-path=%s "
            "spool-path=%s stop-stream-timeout=1 ",
            i, argv[3], i, argv[4], argv[5], argv[6]);
    g_autoptr(GError) error = NULL;
    GstElement *pipeline = gst_parse_launch(text->str, &error);
    g_assert_no_error(error);
    return pipeline;
}

static int
run_program(int argc, char **argv)
{
    const unsigned way = (unsigned)g_ascii_strtoull(argv[2], NULL, 10);
    gst_init(&argc, &argv);
    load_plugin();
    GstElement *pipeline = make_pipeline(argv);
    gst_element_set_state(pipeline, GST_STATE_PLAYING);
    GstElement *sources[SINKS];
    for (unsigned i = 0; i < SINKS; i++) {
        g_autofree char *name = g_strdup_printf("source%u", i);
        sources[i] = gst_bin_get_by_name(GST_BIN(pipeline), name);
    }
    for (unsigned n = 0; n < FRAMES; n++) {
        for (unsigned i = 0; i < SINKS; i++)
            push_frame(sources[i], n);
        g_usleep(FRAME_MS * 1000);
    }
    if (way == 0) {
        for (unsigned i = 0; i < SINKS; i++)
            gst_app_src_end_of_stream(GST_APP_SRC(sources[i]));
        g_autoptr(GstBus) bus = gst_element_get_bus(pipeline);
        gst_message_unref(gst_bus_timed_pop_filtered(bus, GST_CLOCK_TIME_NONE,
                                                     GST_MESSAGE_EOS | GST_MESSAGE_ERROR));
    }
    if (way == 2)
        return EXIT_SUCCESS;
    gst_element_set_state(pipeline, GST_STATE_NULL);
    for (unsigned i = 0; i < SINKS; i++)
        gst_object_unref(sources[i]);
    gst_object_unref(pipeline);
    return EXIT_SUCCESS;
}

/* ---- the test ---- */

/* What the programs say goes to the file @user_data. */
static void
prepare_child(void *user_data)
{
    const int fd = open(user_data, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (fd >= 0)
        dup2(fd, STDERR_FILENO);
}

static char *
log_path(const KvgSite *site)
{
    return g_build_filename(site->folder, "programs.log", NULL);
}

static GPid
start_program(KvgSite *site, KvgProxy *proxy, unsigned run)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *way = g_strdup_printf("%u", run % 3);
    g_autofree char *number = g_strdup_printf("%u", run);
    g_autofree char *endpoint = g_strdup_printf("https://127.0.0.1:%u", kvg_proxy_port(proxy));
    g_autofree char *spool = g_build_filename(site->folder, "spool", number, NULL);
    const char *arguments[] = {program,  "--program",   way,   number,
                               endpoint, site->ca_path, spool, NULL};
    g_auto(GStrv) environment = g_get_environ();
    environment = g_environ_setenv(environment, "AWS_ACCESS_KEY_ID", site->access_key, TRUE);
    environment = g_environ_setenv(environment, "AWS_SECRET_ACCESS_KEY", site->secret_key, TRUE);
    environment = g_environ_unsetenv(environment, "AWS_SESSION_TOKEN");
    environment = g_environ_setenv(environment, "G_MESSAGES_DEBUG", "all", TRUE);
    if (run == RUNS - 1) /* one says all there is to say */
        environment = g_environ_setenv(environment, "GST_DEBUG", "9", TRUE);
    g_autofree char *log = log_path(site);
    GPid pid = 0;
    g_spawn_async(NULL, (char **)(uintptr_t)arguments, environment,
                  G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_STDOUT_TO_DEV_NULL, prepare_child, log, &pid,
                  &error);
    g_assert_no_error(error);
    return pid;
}

static void
expect_exit(GPid pid, unsigned run)
{
    const int64_t limit_us = g_get_monotonic_time() + EXIT_LIMIT_US;
    int status = 0;
    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (g_get_monotonic_time() > limit_us)
            g_error("run %u (way %u, fault %zu) hangs", run, run % 3, run % G_N_ELEMENTS(faults));
        g_usleep(10000);
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        g_error("run %u (way %u, fault %zu) ended with status 0x%x", run, run % 3,
                run % G_N_ELEMENTS(faults), (unsigned)status);
}

static void
expect_no_secret(const KvgSite *site)
{
    size_t len = 0;
    g_autofree char *path = log_path(site);
    g_autofree char *log = kvg_file_read(path, 512u << 20, &len, NULL);
    g_assert_cmpuint(len, >, 100000);
    g_assert_null(memmem(log, len, site->secret_key, strlen(site->secret_key)));
    g_assert_null(memmem(log, len, "Signature=", strlen("Signature=")));
}

static void
test_exits(void)
{
    KvgSite *site = kvg_site_start();
    KvgProxy *proxies[G_N_ELEMENTS(faults)];
    GPid pids[RUNS];
    for (size_t i = 0; i < G_N_ELEMENTS(faults); i++) {
        const KvgProxyOptions options = {.to_port = site->https_port,
                                         .is_http = true,
                                         .tls = site->tls,
                                         .upstream_tls = site->upstream_tls};
        proxies[i] = kvg_proxy_start(&options, NULL);
        g_assert_nonnull(proxies[i]);
        kvg_proxy_set(proxies[i], &faults[i]);
    }
    for (unsigned run = 0; run < RUNS; run++)
        pids[run] = start_program(site, proxies[run % G_N_ELEMENTS(faults)], run);
    for (unsigned run = 0; run < RUNS; run++)
        expect_exit(pids[run], run);
    expect_no_secret(site);
    const int64_t now_ms = g_get_real_time() / 1000;
    for (unsigned i = 0; i < SINKS; i++) { /* run 24: a good network, to the end of the stream */
        g_autofree char *stream = g_strdup_printf("exit-24-%u", i);
        g_autoptr(GArray) stored = kvg_site_read(site, stream, now_ms - 600000, now_ms + 600000);
        g_assert_cmpuint(stored->len, ==, FRAMES / GOP);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(faults); i++)
        kvg_proxy_stop(proxies[i]);
    kvg_site_stop(site);
}

int
main(int argc, char **argv)
{
    program = argv[0];
    if (argc == 7 && strcmp(argv[1], "--program") == 0)
        return run_program(argc, argv);
    g_test_init(&argc, &argv, NULL);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    g_test_add_func("/faults/25-exits-with-eight-sinks", test_exits);
    return g_test_run();
}
