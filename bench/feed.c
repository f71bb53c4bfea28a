/* Cameras into libkvg: one thread puts the frames of all streams when they are due. One JSON line
 * about the time from "measuring" on: CPU of the process, bytes sent, memory, threads, how long
 * kvg_stream_put_frame() took. What the thread needs itself, waiting for its clock, is said apart.
 */
#include "measure.h"
#include "traffic.h"
#include <kvg/kvg.h>
#include <stdio.h>

#define CLOSE_MS 20000
#define START_PATIENCE_US (60 * G_USEC_PER_SEC)
#define DEFAULT_SECONDS 10

static KvgTraffic traffic = KVG_TRAFFIC_DEFAULTS;
static char *endpoint, *ca_path, *spool_path, *memory_path;
static const char *prefix = "camera";
static double put_cpu_s;
static int seconds = DEFAULT_SECONDS, backlog_s, spool_mib;

typedef struct {
    KvgStream *stream;
    uint64_t next; /* number of the frame that comes next */
} Camera;

static Camera *cameras;
static KvgLatencies latencies;
static int64_t start_us, start_wall_us;
static uint64_t n_failed;

static void
put(Camera *camera, unsigned index)
{
    const uint64_t number = camera->next++;
    const int64_t due_us = kvg_traffic_due_us(&traffic, number, index);
    GBytes *payload = kvg_traffic_payload(&traffic, number, index);
    const int64_t time_us = start_wall_us + due_us;
    const KvgFrame frame = {.track = 1,
                            .key = kvg_traffic_is_key(&traffic, number, index),
                            .pts_us = time_us,
                            .dts_us = time_us,
                            .data = payload};
    g_autoptr(GError) error = NULL;
    /* The thread's own clock costs a system call: every 16th call stands for the others. */
    static unsigned n_calls = 0;
    const bool is_sample = n_calls++ % 16 == 0;
    const double before_s = is_sample ? kvg_measure_thread_cpu_s() : 0;
    const int64_t before_ns = kvg_measure_now_ns();
    if (!kvg_stream_put_frame(camera->stream, &frame, &error) && n_failed++ == 0)
        fprintf(stderr, "put_frame: %s\n", error->message);
    kvg_latencies_add(&latencies, kvg_measure_now_ns() - before_ns);
    if (is_sample)
        put_cpu_s += 16 * (kvg_measure_thread_cpu_s() - before_s);
}

/* Puts every frame that is due before @end_us (monotonic), each when it is due. */
static void
feed_until(int64_t end_us, bool (*is_enough)(void))
{
    static unsigned index = 0;
    for (;;) {
        const int64_t due_us = start_us + kvg_traffic_due_us(&traffic, cameras[index].next, index);
        if (due_us >= end_us)
            return;
        if (due_us > g_get_monotonic_time())
            kvg_measure_sleep_until(due_us);
        put(&cameras[index], index);
        index = (index + 1) % traffic.streams;
        if (index == 0 && is_enough != NULL && is_enough())
            return;
    }
}

static KvgStreamStats
stats_of(unsigned i)
{
    KvgStreamStats stats = {0};
    if (cameras[i].stream != NULL)
        kvg_stream_get_stats(cameras[i].stream, &stats);
    return stats;
}

static bool
all_persisted(void)
{
    static unsigned n = 0;
    while (n < traffic.streams && stats_of(n).first_persisted_mono_us != 0)
        n++;
    return n == traffic.streams;
}

static bool
all_caught_up(void)
{
    for (unsigned i = 0; i < traffic.streams; i++) {
        const KvgStreamStats stats = stats_of(i);
        if (stats.fragments_persisted + 2 < stats.fragments_put)
            return false;
    }
    return true;
}

static uint64_t
sent_bytes(void)
{
    uint64_t bytes = 0;
    for (unsigned i = 0; i < traffic.streams; i++)
        bytes += stats_of(i).bytes_sent;
    return bytes;
}

static uint64_t
put_bytes(const uint64_t *from)
{
    uint64_t bytes = 0;
    for (unsigned i = 0; i < traffic.streams; i++)
        for (uint64_t n = from[i]; n < cameras[i].next; n++)
            bytes += g_bytes_get_size(kvg_traffic_payload(&traffic, n, i));
    return bytes;
}

static bool
open_streams(KvgProducer *producer, KvgCredentials *credentials, GError **error)
{
    for (unsigned i = 0; i < traffic.streams; i++) {
        g_autofree char *name = g_strdup_printf("%s%u", prefix, i);
        const KvgStreamOptions options = {.name = name,
                                          .credentials = credentials,
                                          .create = true,
                                          .retention_hours = 1,
                                          .spool_limit_bytes = (uint64_t)spool_mib << 20};
        cameras[i].stream = kvg_producer_open_stream(producer, &options, error);
        if (cameras[i].stream == NULL ||
            !kvg_stream_set_tracks(cameras[i].stream, kvg_traffic_track(), 1, error))
            return false;
    }
    return true;
}

static void
close_streams(void)
{
    for (unsigned i = 0; i < traffic.streams; i++)
        kvg_stream_close(cameras[i].stream, traffic.streams > 100 ? 0 : CLOSE_MS, NULL);
}

/* First acknowledgement of each stream after the start, in ms. */
static char *
first_acks(void)
{
    KvgLatencies acks;
    kvg_latencies_init(&acks);
    for (unsigned i = 0; i < traffic.streams; i++)
        kvg_latencies_add(&acks, (stats_of(i).first_persisted_mono_us - start_us) * 1000);
    return kvg_latencies_to_json(&acks);
}

static void
say(const char *what)
{
    printf("{\"state\":\"%s\"}\n", what);
    fflush(stdout);
}

/* The frames of the last @backlog_s seconds, at once. */
static void
put_backlog(void)
{
    for (unsigned i = 0; i < traffic.streams; i++) {
        Camera *camera = &cameras[i];
        while (start_us + kvg_traffic_due_us(&traffic, camera->next, i) < g_get_monotonic_time())
            put(camera, i);
    }
}

static void
catch_up(void)
{
    put_backlog();
    const uint64_t before = sent_bytes();
    say("backlog");
    getchar(); /* the network is back */
    const int64_t begin_us = g_get_monotonic_time();
    const double cpu_s = kvg_measure_cpu_s();
    feed_until(begin_us + 600 * G_USEC_PER_SEC, all_caught_up);
    const double took_s = (double)(g_get_monotonic_time() - begin_us) / G_USEC_PER_SEC;
    uint64_t dropped = 0;
    for (unsigned i = 0; i < traffic.streams; i++)
        dropped += stats_of(i).frames_dropped;
    const double sent = (double)(sent_bytes() - before);
    printf("{\"backlog_s\":%d,\"took_s\":%.2f,\"mb_per_s\":%.1f,\"cpu_per_gb\":%.2f,"
           "\"dropped\":%" G_GUINT64_FORMAT ",\"caught_up\":%s}\n",
           backlog_s, took_s, sent / took_s / 1e6, (kvg_measure_cpu_s() - cpu_s) / (sent / 1e9),
           dropped, all_caught_up() ? "true" : "false");
}

static void
measure(void)
{
    g_autofree uint64_t *from = g_new(uint64_t, traffic.streams);
    for (unsigned i = 0; i < traffic.streams; i++)
        from[i] = cameras[i].next;
    const uint64_t bytes_before = sent_bytes();
    g_array_set_size(latencies.values, 0);
    say("measuring");
    const double cpu_before = kvg_measure_cpu_s();
    const double thread_before = kvg_measure_thread_cpu_s(), put_before = put_cpu_s;
    feed_until(g_get_monotonic_time() + seconds * G_USEC_PER_SEC, NULL);
    const double cpu_s = kvg_measure_cpu_s() - cpu_before;
    const double feeder_s = kvg_measure_thread_cpu_s() - thread_before - (put_cpu_s - put_before);
    const int64_t rss_kib = kvg_measure_status("VmRSS"), threads = kvg_measure_status("Threads");
    uint64_t dropped = n_failed, sessions = 0;
    for (unsigned i = 0; i < traffic.streams; i++) {
        dropped += stats_of(i).frames_dropped;
        sessions += stats_of(i).sessions;
    }
    g_autofree char *put_us = kvg_latencies_to_json(&latencies);
    g_autofree char *first = first_acks();
    printf("{\"cpu_s\":%.4f,\"feeder_cpu_s\":%.4f,\"put_bytes\":%" G_GUINT64_FORMAT
           ",\"sent_bytes\":%" G_GUINT64_FORMAT ",\"rss_kib\":%" G_GINT64_FORMAT
           ",\"threads\":%" G_GINT64_FORMAT ",\"dropped\":%" G_GUINT64_FORMAT
           ",\"sessions\":%" G_GUINT64_FORMAT ",\"put_us\":%s,\"first_persisted_us\":%s}\n",
           cpu_s, feeder_s, put_bytes(from), sent_bytes() - bytes_before, rss_kib, threads, dropped,
           sessions, put_us, first);
    fflush(stdout);
}

static bool
run(GError **error)
{
    const KvgProducerOptions options = {
        .region = "us-east-1", .endpoint = endpoint, .ca_path = ca_path, .spool_path = spool_path};
    cameras = g_new0(Camera, traffic.streams);
    kvg_latencies_init(&latencies);
    kvg_traffic_payload(&traffic, 0, 0);
    start_us = g_get_monotonic_time() - backlog_s * G_USEC_PER_SEC;
    start_wall_us = g_get_real_time() - backlog_s * G_USEC_PER_SEC;
    g_autoptr(KvgProducer) producer = kvg_producer_new(&options, error);
    g_autoptr(KvgCredentials) credentials =
        producer != NULL ? kvg_credentials_new_default(NULL, error) : NULL;
    if (credentials == NULL || !open_streams(producer, credentials, error))
        return false;
    if (backlog_s > 0) {
        catch_up();
    } else {
        feed_until(start_us + START_PATIENCE_US, all_persisted);
        measure();
    }
    close_streams();
    return true;
}

int
main(int argc, char **argv)
{
    const GOptionEntry entries[] = {
        KVG_TRAFFIC_OPTIONS(traffic),
        {"endpoint", 0, 0, G_OPTION_ARG_STRING, &endpoint, "Of the service", "URL"},
        {"ca", 0, 0, G_OPTION_ARG_STRING, &ca_path, "Its CA", "FILE"},
        {"spool", 0, 0, G_OPTION_ARG_STRING, &spool_path, "Folder", "DIR"},
        {"memory", 0, 0, G_OPTION_ARG_STRING, &memory_path, "Folder in tmpfs", "DIR"},
        {"spool-mib", 0, 0, G_OPTION_ARG_INT, &spool_mib, "Limit of each stream", "N"},
        {"prefix", 0, 0, G_OPTION_ARG_STRING, &prefix, "Of the streams' names", "NAME"},
        {"seconds", 0, 0, G_OPTION_ARG_INT, &seconds, "Of the measurement", "N"},
        {"backlog", 0, 0, G_OPTION_ARG_INT, &backlog_s, "Seconds of video that wait", "N"},
        {0},
    };
    g_autoptr(GError) error = NULL;
    g_autoptr(GOptionContext) context = g_option_context_new("- cameras into libkvg");
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error)) {
        fprintf(stderr, "bench-feed: %s\n", error->message);
        return 2;
    }
    if (run(&error))
        return 0;
    fprintf(stderr, "bench-feed: %s\n", error->message);
    return 1;
}
