/* kill -9 of a process that uses libkvg, with the network up and in the middle of an outage: what
 * kvg_stream_put_frame() had accepted arrives once another process opens the spool. */
#include "camera.h"
#include "proxy.h"

#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define STEP_MS 40
#define GOP 25
#define DRAIN_MS 60000

static const char *program;

typedef struct {
    const char *name;
    int64_t outage_at_ms; /* 0: none */
    int64_t kill_at_ms;
} Case;

static const Case cases[] = {
    {"network-up", 0, 3100},
    {"network-up-later", 0, 5790},
    {"in-an-outage", 2000, 8300},
    {"no-network-ever", 1, 4000},
};

static const KvgCameraSpec *
spec_of(const Case *the_case)
{
    static KvgCameraSpec spec = {.step_ms = STEP_MS, .gop = GOP, .frame_bytes = 20000};
    spec.stream = the_case->name;
    return &spec;
}

static void
open_camera(KvgCamera *camera, const char *endpoint, const char *ca_path, const char *spool)
{
    g_autoptr(KvgCredentials) keys = kvg_credentials_new_static(
        g_getenv("KVG_TEST_ACCESS_KEY"), g_getenv("KVG_TEST_SECRET_KEY"), NULL);
    const KvgProducerOptions producer = {
        .region = "us-east-1", .endpoint = endpoint, .ca_path = ca_path, .spool_path = spool};
    const KvgStreamOptions stream = {.credentials = keys, .create = true, .retention_hours = 24};
    kvg_camera_open(camera, &producer, &stream);
}

/* The process that will be killed: case, start, endpoint, CA file, spool. A byte for each frame
 * that was accepted. */
static int
run_camera(char **argv)
{
    const Case *the_case = &cases[g_ascii_strtoull(argv[2], NULL, 10)];
    KvgCamera camera;
    kvg_camera_init(&camera, spec_of(the_case), g_ascii_strtoll(argv[3], NULL, 10));
    open_camera(&camera, argv[4], argv[5], argv[6]);
    for (;;) {
        if (!kvg_camera_put(&camera, NULL) || write(STDOUT_FILENO, "f", 1) != 1)
            return EXIT_FAILURE;
        g_usleep(STEP_MS * 1000);
    }
}

static void
die_with_parent(void *unused)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static void
kill_at(pid_t pid, int64_t at_us)
{
    const int64_t left_us = at_us - g_get_monotonic_time();
    if (left_us > 0)
        g_usleep((gulong)left_us);
    int status = 0;
    g_assert_cmpint(kill(pid, SIGKILL), ==, 0);
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_true(WIFSIGNALED(status));
}

static unsigned
count_bytes(int fd)
{
    char buffer[4096];
    unsigned n = 0;
    ssize_t got;
    while ((got = read(fd, buffer, sizeof buffer)) > 0)
        n += (unsigned)got;
    close(fd);
    return n;
}

static void
test_case(gconstpointer data)
{
    const Case *the_case = data;
    g_autoptr(GError) error = NULL;
    KvgSite *site = kvg_site_start();
    const KvgProxyOptions options = {.to_port = site->https_port};
    KvgProxy *proxy = kvg_proxy_start(&options, NULL);
    g_assert_nonnull(proxy);
    const int64_t start_ms = g_get_real_time() / 1000;
    g_autofree char *number = g_strdup_printf("%d", (int)(the_case - cases));
    g_autofree char *start = g_strdup_printf("%" G_GINT64_FORMAT, start_ms);
    g_autofree char *endpoint = g_strdup_printf("https://127.0.0.1:%u", kvg_proxy_port(proxy));
    g_autofree char *spool = g_build_filename(site->folder, "spool", NULL);
    g_setenv("KVG_TEST_ACCESS_KEY", site->access_key, TRUE);
    g_setenv("KVG_TEST_SECRET_KEY", site->secret_key, TRUE);
    const char *arguments[] = {program,  "--camera",    number, start,
                               endpoint, site->ca_path, spool,  NULL};
    if (the_case->outage_at_ms == 1)
        kvg_proxy_set(proxy, &(KvgFaults){.refuse = true});
    GPid pid = 0;
    int output = -1;
    g_spawn_async_with_pipes(NULL, (char **)(uintptr_t)arguments, NULL, G_SPAWN_DO_NOT_REAP_CHILD,
                             die_with_parent, NULL, &pid, NULL, &output, NULL, &error);
    g_assert_no_error(error);
    const int64_t begin_us = g_get_monotonic_time();
    if (the_case->outage_at_ms > 1) {
        g_usleep((gulong)the_case->outage_at_ms * 1000);
        kvg_proxy_set(proxy, &(KvgFaults){.black_hole = true});
    }
    kill_at(pid, begin_us + the_case->kill_at_ms * 1000);
    const unsigned accepted = count_bytes(output);
    g_assert_cmpuint(accepted, >, 0);

    kvg_proxy_set(proxy, NULL);
    KvgCamera camera;
    kvg_camera_init(&camera, spec_of(the_case), start_ms);
    open_camera(&camera, endpoint, site->ca_path, spool);
    const bool is_drained = kvg_camera_close(&camera, DRAIN_MS, &error);
    g_assert_no_error(error);
    g_assert_true(is_drained);
    camera.n_put = accepted + 1; /* one may have been accepted without a chance to say so */
    const KvgVerdict verdict = kvg_camera_verify(&camera, site);
    g_test_message("%u frames accepted, %u stored", accepted, verdict.stored);
    g_assert_cmpstr(verdict.problem, ==, NULL);
    g_assert_cmpuint(verdict.stored, >=, accepted);
    kvg_camera_clear(&camera);
    kvg_proxy_stop(proxy);
    kvg_site_stop(site);
}

int
main(int argc, char **argv)
{
    program = argv[0];
    if (argc == 7 && strcmp(argv[1], "--camera") == 0)
        return run_camera(argv);
    g_test_init(&argc, &argv, NULL);
    g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_ERROR);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path = g_strconcat("/faults/kill/", cases[i].name, NULL);
        g_test_add_data_func(path, &cases[i], test_case);
    }
    return g_test_run();
}
