/* A seeded random walk over the faults: cameras stream for a given time while the network and the
 * service under them change from one fault to the next; then all must arrive, and nothing may have
 * grown.
 *
 *   fault-walk --seconds 60 --streams 4 --seed 2026 --kill-server 20
 *
 * With --period one JSON line each: resident memory, descriptors and threads of this process
 * (libkvg and the proxies) and of kvg-server. They are measured when the walk rests: the network is
 * good and every stream is streaming. */
#include "camera.h"
#include "proxy.h"

#include <curl/curl.h>
#include <glib/gstdio.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STEP_MS 40
#define GOP 25
#define N_PROXIES 5
#define REST_US (60 * G_USEC_PER_SEC)
#define DRAIN_MS 180000

static int seconds = 60, streams = 4, seed = 2026, period = 0, frame_bytes = 6000, kill_server = 0;

/* ---- the faults ---- */

typedef struct {
    KvgProxy *proxy[2]; /* TCP, HTTP */
    int64_t next_us;
    unsigned n_taken;
} Network;

typedef struct {
    const char *name;
    bool is_http;
    unsigned most_ms; /* how long it lasts */
    KvgFaults faults; /* numbers are the most that is drawn */
} Kind;

static const Kind kinds[] = {
    {"good", false, 6000, {.times = 0}},
    {"latency", false, 6000, {.latency_ms = 800}},
    {"throttle", false, 6000, {.bytes_per_s = 200000}},
    {"black hole", false, 12000, {.black_hole = true}},
    {"refuse", false, 8000, {.refuse = true}},
    {"garbage", false, 3000, {.garbage = true, .times = 3}},
    {"tls refused", false, 3000, {.tls_refused = true, .times = 3}},
    {"reset up", false, 3000, {.reset_up_at = 300000, .times = 2}},
    {"reset down", false, 3000, {.reset_down_at = 6000, .times = 2}},
    {"half-close up", false, 3000, {.half_close_up_at = 300000, .times = 2}},
    {"half-close down", false, 3000, {.half_close_down_at = 6000, .times = 2}},
    {"400", true, 5000, {.status = 400, .type = "ConnectionLimitExceededException"}},
    {"403", true, 5000, {.status = 403, .type = "ExpiredTokenException", .times = 3}},
    {"404", true, 5000, {.status = 404, .type = "ResourceNotFoundException", .times = 3}},
    {"429", true, 5000, {.status = 429, .times = 3}},
    {"500", true, 5000, {.status = 500}},
    {"503 late", true, 5000, {.status = 503, .times = 3, .after_bytes = 100000}},
    {"describe 503", true, 5000, {.status = 503, .path = "/describeStream"}},
    {"endpoint 503", true, 5000, {.status = 503, .path = "/getDataEndpoint"}},
    {"silence", true, 5000, {.status = KVG_FAULT_SILENCE, .times = 2}},
    {"error 4000", true, 4000, {.error_id = 4000, .at_fragment = 4, .times = 2}},
    {"error 4003", true, 4000, {.error_id = 4003, .at_fragment = 4, .times = 2}},
    {"error 4008", true, 4000, {.error_id = 4008, .at_fragment = 4, .times = 2}},
    {"error 4500", true, 4000, {.error_id = 4500, .at_fragment = 4, .times = 2}},
    {"error 4002", true, 4000, {.error_id = 4002, .at_fragment = 4, .times = 1}},
    {"error 5000", true, 4000, {.error_id = 5000, .at_fragment = 4, .times = 2}},
    {"end", true, 4000, {.end_response = true, .at_fragment = 4, .times = 2}},
    {"garbled ack", true, 4000, {.ack_garbage = true, .at_fragment = 4, .times = 2}},
    {"split acks", true, 5000, {.ack_split = true, .ack_twice = true}},
    {"late acks", true, 5000, {.ack_delay_ms = 3000}},
};

/* At least 1, so that the fault stays one. */
static int64_t
draw(GRand *chance, int64_t most)
{
    return most > 0 ? g_rand_int_range(chance, 0, (gint32)most) + 1 : 0;
}

static void
take_fault(Network *network, GRand *chance)
{
    const Kind *kind = &kinds[g_rand_int_range(chance, 0, G_N_ELEMENTS(kinds))];
    KvgFaults faults = kind->faults;
    faults.latency_ms = (unsigned)draw(chance, faults.latency_ms);
    faults.bytes_per_s = (unsigned)draw(chance, faults.bytes_per_s);
    faults.reset_up_at = draw(chance, faults.reset_up_at);
    faults.reset_down_at = draw(chance, faults.reset_down_at);
    faults.half_close_up_at = draw(chance, faults.half_close_up_at);
    faults.half_close_down_at = draw(chance, faults.half_close_down_at);
    faults.after_bytes = draw(chance, faults.after_bytes);
    kvg_proxy_set(network->proxy[0], kind->is_http ? NULL : &faults);
    kvg_proxy_set(network->proxy[1], kind->is_http ? &faults : NULL);
    if (g_rand_int_range(chance, 0, 4) == 0)
        kvg_proxy_cut(network->proxy[1]);
    network->next_us = g_get_monotonic_time() + 500000 + draw(chance, kind->most_ms) * 1000;
    network->n_taken++;
}

/* Two in a row: what happens to bytes, and behind it what happens to requests. */
static void
start_network(Network *network, KvgSite *site)
{
    g_autoptr(GError) error = NULL;
    const KvgProxyOptions http = {.to_port = site->https_port,
                                  .is_http = true,
                                  .tls = site->tls,
                                  .upstream_tls = site->upstream_tls};
    network->proxy[1] = kvg_proxy_start(&http, &error);
    g_assert_no_error(error);
    const KvgProxyOptions tcp = {.to_port = kvg_proxy_port(network->proxy[1])};
    network->proxy[0] = kvg_proxy_start(&tcp, &error);
    g_assert_no_error(error);
}

/* ---- what is measured ---- */

typedef struct {
    uint64_t rss_kib;
    unsigned descriptors, threads;
} Size;

static unsigned
count_entries(pid_t pid, const char *folder)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/%s", (int)pid, folder);
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    unsigned n = 0;
    while (dir != NULL && g_dir_read_name(dir) != NULL)
        n++;
    return n;
}

static Size
measure(pid_t pid)
{
    Size size = {.descriptors = count_entries(pid, "fd"), .threads = count_entries(pid, "task")};
    g_autofree char *path = g_strdup_printf("/proc/%d/status", (int)pid);
    g_autofree char *text = NULL;
    if (g_file_get_contents(path, &text, NULL, NULL)) {
        const char *line = strstr(text, "VmRSS:");
        size.rss_kib = line != NULL ? g_ascii_strtoull(line + 6, NULL, 10) : 0;
    }
    return size;
}

/* ---- the walk ---- */

typedef struct {
    KvgSite *site;
    KvgProducer *producers[N_PROXIES];
    Network networks[N_PROXIES];
    KvgCamera *cameras;
    char **names;
    GRand *chance;
    int64_t start_us;
    GArray *sizes[2]; /* of Size: ours, the server's; at each rest */
} Walk;

static void
open_cameras(Walk *walk)
{
    const int64_t now_ms = g_get_real_time() / 1000;
    g_autofree char *spool = g_build_filename(walk->site->folder, "spool", NULL);
    g_autoptr(KvgCredentials) keys =
        kvg_credentials_new_static(walk->site->access_key, walk->site->secret_key, NULL);
    for (int i = 0; i < MIN(streams, N_PROXIES); i++) {
        g_autoptr(GError) error = NULL;
        start_network(&walk->networks[i], walk->site);
        g_autofree char *endpoint =
            g_strdup_printf("https://127.0.0.1:%u", kvg_proxy_port(walk->networks[i].proxy[0]));
        const KvgProducerOptions producer = {.region = "us-east-1",
                                             .endpoint = endpoint,
                                             .ca_path = walk->site->ca_path,
                                             .spool_path = spool};
        walk->producers[i] = kvg_producer_new(&producer, &error);
        g_assert_no_error(error);
    }
    walk->cameras = g_new0(KvgCamera, streams);
    walk->names = g_new0(char *, streams + 1);
    for (int i = 0; i < streams; i++) {
        walk->names[i] = g_strdup_printf("walk-%d", i);
        const KvgCameraSpec spec = {.stream = walk->names[i],
                                    .step_ms = STEP_MS,
                                    .gop = GOP,
                                    .frame_bytes = (unsigned)frame_bytes,
                                    .is_quiet = true};
        const KvgStreamOptions stream = {.credentials = keys,
                                         .create = true,
                                         .retention_hours = 24,
                                         .catch_up = i % 2 != 0 ? KVG_CATCH_UP_LIVE_FIRST
                                                                : KVG_CATCH_UP_OLDEST_FIRST};
        kvg_camera_init(&walk->cameras[i], &spec, now_ms);
        kvg_camera_open_in(&walk->cameras[i], walk->producers[i % N_PROXIES], &stream);
    }
}

static void
set_good(Walk *walk)
{
    for (int i = 0; i < MIN(streams, N_PROXIES); i++) {
        kvg_proxy_set(walk->networks[i].proxy[0], NULL);
        kvg_proxy_set(walk->networks[i].proxy[1], NULL);
        walk->networks[i].next_us = INT64_MAX;
    }
}

static bool
all_stream(Walk *walk)
{
    for (int i = 0; i < streams; i++) {
        KvgStreamStats stats;
        kvg_stream_get_stats(walk->cameras[i].stream, &stats);
        if (stats.state != KVG_STREAM_STREAMING ||
            stats.spool_bytes > (uint64_t)(10 * GOP * frame_bytes))
            return false;
    }
    return true;
}

static void
note_sizes(Walk *walk)
{
    uint64_t sessions = 0, dropped = 0, persisted = 0;
    for (int i = 0; i < streams; i++) {
        KvgStreamStats stats;
        kvg_stream_get_stats(walk->cameras[i].stream, &stats);
        sessions += stats.sessions;
        dropped += stats.frames_dropped;
        persisted += stats.frames_persisted;
    }
    malloc_trim(0); /* what is not in use is not growth */
    const Size ours = measure(getpid()), server = measure(walk->site->pid);
    g_array_append_val(walk->sizes[0], ours);
    g_array_append_val(walk->sizes[1], server);
    printf("{\"seconds\":%d,\"sessions\":%" G_GUINT64_FORMAT
           ",\"frames_persisted\":%" G_GUINT64_FORMAT ",\"frames_dropped\":%" G_GUINT64_FORMAT
           ",\"rss_kib\":%" G_GUINT64_FORMAT
           ",\"fds\":%u,\"threads\":%u,\"server_rss_kib\":%" G_GUINT64_FORMAT
           ",\"server_fds\":%u,\"server_threads\":%u}\n",
           (int)((g_get_monotonic_time() - walk->start_us) / G_USEC_PER_SEC), sessions, persisted,
           dropped, ours.rss_kib, ours.descriptors, ours.threads, server.rss_kib,
           server.descriptors, server.threads);
    fflush(stdout);
}

/* Puts each camera's next frame, and gives the networks what is due to them. */
static void
run_frame(Walk *walk, unsigned frame)
{
    const int64_t due_us = walk->start_us + (int64_t)frame * STEP_MS * 1000;
    const int64_t now_us = g_get_monotonic_time();
    if (due_us > now_us)
        g_usleep((gulong)(due_us - now_us));
    for (int i = 0; i < streams; i++)
        kvg_camera_put(&walk->cameras[i], NULL);
    for (int i = 0; i < MIN(streams, N_PROXIES); i++) {
        if (walk->networks[i].next_us <= now_us)
            take_fault(&walk->networks[i], walk->chance);
    }
}

/* What it had acknowledged as persisted it must still have. */
static void
kill_the_server(Walk *walk, unsigned frame)
{
    if (kill_server == 0 || frame == 0 || frame % ((unsigned)kill_server * 1000 / STEP_MS) != 0)
        return;
    kvg_site_stop_server(walk->site, SIGKILL);
    kvg_site_start_server(walk->site);
}

static void
run(Walk *walk)
{
    const unsigned n = (unsigned)seconds * 1000 / STEP_MS;
    const int64_t period_us = period * G_USEC_PER_SEC;
    int64_t rest_at_us = period > 0 ? period_us : INT64_MAX, rest_until_us = 0;
    walk->start_us = g_get_monotonic_time();
    for (unsigned frame = 0; frame < n; frame++) {
        run_frame(walk, frame);
        kill_the_server(walk, frame);
        const int64_t at_us = g_get_monotonic_time() - walk->start_us;
        if (rest_until_us == 0 && at_us >= rest_at_us) {
            set_good(walk);
            rest_until_us = at_us + REST_US;
        } else if (rest_until_us != 0 && (all_stream(walk) || at_us >= rest_until_us)) {
            note_sizes(walk);
            rest_until_us = 0;
            rest_at_us = at_us + period_us;
            for (int i = 0; i < MIN(streams, N_PROXIES); i++)
                walk->networks[i].next_us = 0;
        }
    }
    set_good(walk);
}

/* ---- judgement ---- */

static int
compare(const void *a, const void *b)
{
    const uint64_t *left = a, *right = b;
    return *left < *right ? -1 : *left > *right;
}

static uint64_t
median(uint64_t *values, guint n)
{
    qsort(values, n, sizeof *values, compare);
    return values[n / 2];
}

/* The middle of what was measured from @from on. */
static Size
middle(const GArray *sizes, guint from, guint n)
{
    g_autofree uint64_t *rss = g_new(uint64_t, n), *fds = g_new(uint64_t, n),
                        *threads = g_new(uint64_t, n);
    for (guint i = 0; i < n; i++) {
        const Size *size = &g_array_index(sizes, Size, from + i);
        rss[i] = size->rss_kib;
        fds[i] = size->descriptors;
        threads[i] = size->threads;
    }
    return (Size){.rss_kib = median(rss, n),
                  .descriptors = (unsigned)median(fds, n),
                  .threads = (unsigned)median(threads, n)};
}

/* The last third against the second: the first may still be warming up. At rest some streams have a
 * second call, or a segment more in their spools, so descriptors (and the server's threads) waver
 * by a few for every ten streams; what leaks once a fault has passed that long before an hour is
 * over. */
static bool
check_growth(const char *who, const GArray *sizes)
{
    const guint third = sizes->len / 3;
    if (third < 2)
        return true;
    const Size before = middle(sizes, third, third);
    const Size after = middle(sizes, sizes->len - third, third);
    const uint64_t allowed_kib = before.rss_kib / 20 + 2048;
    const bool ok = after.rss_kib <= before.rss_kib + allowed_kib &&
                    after.descriptors <= before.descriptors + 8 + (unsigned)streams &&
                    after.threads <= before.threads + 4 + (unsigned)streams / 5;
    printf("%s: %" G_GUINT64_FORMAT " -> %" G_GUINT64_FORMAT
           " KiB, %u -> %u descriptors, %u -> %u threads: %s\n",
           who, before.rss_kib, after.rss_kib, before.descriptors, after.descriptors,
           before.threads, after.threads, ok ? "no growth" : "GROWTH");
    return ok;
}

static bool
check_camera(Walk *walk, KvgCamera *camera)
{
    g_autoptr(GError) error = NULL;
    const bool is_drained = kvg_camera_close(camera, DRAIN_MS, &error);
    const KvgVerdict verdict = kvg_camera_verify(camera, walk->site);
    g_autofree char *problem = verdict.problem;
    const bool ok = is_drained && problem == NULL && verdict.missing <= camera->dropped;
    printf("%s: %u put, %u stored, %" G_GUINT64_FORMAT " dropped, %" G_GUINT64_FORMAT
           " sessions: %s%s%s\n",
           camera->spec.stream, camera->n_put, verdict.stored, camera->dropped, camera->sessions,
           ok ? "ok" : "FAILED ", problem != NULL ? problem : "",
           error != NULL ? error->message : "");
    return ok;
}

static bool
finish(Walk *walk)
{
    bool ok = true;
    for (int i = 0; i < streams; i++)
        ok = check_camera(walk, &walk->cameras[i]) && ok;
    for (int i = 0; i < MIN(streams, N_PROXIES); i++) {
        kvg_producer_free(walk->producers[i]);
        printf("network %d: %u faults\n", i, walk->networks[i].n_taken);
        kvg_proxy_stop(walk->networks[i].proxy[0]);
        kvg_proxy_stop(walk->networks[i].proxy[1]);
    }
    ok = check_growth("libkvg", walk->sizes[0]) && ok;
    return check_growth("kvg-server", walk->sizes[1]) && ok;
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
    const GOptionEntry entries[] = {
        {"seconds", 0, 0, G_OPTION_ARG_INT, &seconds, "How long (60)", "N"},
        {"streams", 0, 0, G_OPTION_ARG_INT, &streams, "How many cameras (4)", "N"},
        {"seed", 0, 0, G_OPTION_ARG_INT, &seed, "Which walk (2026)", "N"},
        {"frame-bytes", 0, 0, G_OPTION_ARG_INT, &frame_bytes, "Of a key frame (6000)", "N"},
        {"kill-server", 0, 0, G_OPTION_ARG_INT, &kill_server,
         "Seconds between two kill -9 of kvg-server (0: none)", "N"},
        {"period", 0, 0, G_OPTION_ARG_INT, &period, "Seconds between measurements (0: none)", "N"},
        {0},
    };
    g_autoptr(GError) error = NULL;
    g_autoptr(GOptionContext) context = g_option_context_new("- a walk over faults");
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error) || seconds < 1 || streams < 1 ||
        frame_bytes < 100) {
        fprintf(stderr, "fault-walk: %s\n", error != NULL ? error->message : "bad numbers");
        return 2;
    }
    g_log_set_writer_func(write_log, NULL, NULL);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    mallopt(M_ARENA_MAX, 2);
    printf("seed %d, %d seconds, %d streams\n", seed, seconds, streams);
    Walk walk = {.site = kvg_site_start(), .chance = g_rand_new_with_seed((guint32)seed)};
    for (size_t i = 0; i < G_N_ELEMENTS(walk.sizes); i++)
        walk.sizes[i] = g_array_new(FALSE, FALSE, sizeof(Size));
    open_cameras(&walk);
    run(&walk);
    const bool ok = finish(&walk);
    for (int i = 0; i < streams; i++)
        kvg_camera_clear(&walk.cameras[i]);
    g_free(walk.cameras);
    g_strfreev(walk.names);
    g_array_unref(walk.sizes[0]);
    g_array_unref(walk.sizes[1]);
    g_rand_free(walk.chance);
    kvg_site_stop(walk.site);
    printf("%s\n", ok ? "ok" : "FAILED");
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
