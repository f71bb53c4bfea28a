/* /api/site and /api/reload: the agent as a whole. */
#include "agent/api_private.h"
#include "base/clock.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The contents of a file of /proc/PID (g_free) or NULL. */
static char *
read_proc(int64_t pid, const char *name)
{
    g_autofree char *path = g_strdup_printf("/proc/%" G_GINT64_FORMAT "/%s", pid, name);
    char *text = NULL;
    return g_file_get_contents(path, &text, NULL, NULL) ? text : NULL;
}

/* Resident memory; 0: not known. */
static int64_t
resident_bytes(int64_t pid)
{
    g_autofree char *text = read_proc(pid, "statm");
    unsigned long long total = 0, resident = 0;
    if (text == NULL || sscanf(text, "%llu %llu", &total, &resident) != 2)
        return 0;
    return (int64_t)resident * sysconf(_SC_PAGESIZE);
}

/* CPU time since the start; 0: not known. */
static int64_t
cpu_ms(int64_t pid)
{
    g_autofree char *text = read_proc(pid, "stat");
    /* The name, in brackets, may hold anything. */
    const char *rest = text != NULL ? strrchr(text, ')') : NULL;
    unsigned long long user = 0, system = 0;
    if (rest == NULL || sscanf(rest, ") %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu %llu",
                               &user, &system) != 2)
        return 0;
    return (int64_t)((user + system) * 1000 / (unsigned long long)sysconf(_SC_CLK_TCK));
}

/* [{"pid", "rss_bytes", "cpu_ms", "cameras": [...]}] */
static json_t *
make_workers(const json_t *cameras)
{
    g_autoptr(json_t) by_pid = json_object();
    json_t *workers = json_array();
    size_t i;
    json_t *camera;
    json_array_foreach(cameras, i, camera)
    {
        const int64_t pid = kvg_json_get_int(camera, "process", 0);
        g_autofree char *key = g_strdup_printf("%" G_GINT64_FORMAT, pid);
        json_t *worker = json_object_get(by_pid, key);
        if (pid == 0)
            continue;
        if (worker == NULL) {
            worker = json_pack("{s:I, s:I, s:I, s:[]}", "pid", (json_int_t)pid, "rss_bytes",
                               (json_int_t)resident_bytes(pid), "cpu_ms", (json_int_t)cpu_ms(pid),
                               "cameras");
            json_array_append(workers, worker);
            json_object_set_new(by_pid, key, worker);
        }
        json_array_append(json_object_get(worker, "cameras"), json_object_get(camera, "name"));
    }
    return workers;
}

typedef struct {
    int64_t spool_bytes, bitrate_bps, oldest_ms;
} Sums;

static json_t *
count_states(const json_t *cameras, Sums *sums)
{
    json_t *states = json_object();
    size_t i;
    json_t *camera;
    json_array_foreach(cameras, i, camera)
    {
        const char *state = kvg_json_get_string(camera, "state");
        json_object_set_new(states, state, json_integer(kvg_json_get_int(states, state, 0) + 1));
        sums->spool_bytes += kvg_json_get_int(camera, "spool_bytes", 0);
        sums->bitrate_bps += kvg_json_get_int(camera, "bitrate_bps", 0);
        if (strcmp(state, "live") == 0)
            sums->oldest_ms =
                MAX(sums->oldest_ms, kvg_json_get_int(camera, "last_persisted_age_ms", 0));
    }
    return states;
}

json_t *
kvg_api_make_site(KvgApi *api, const json_t *cameras)
{
    g_autoptr(KvgConfig) config = kvg_api_config(api);
    const int64_t pid = getpid();
    Sums sums = {0};
    json_t *states = count_states(cameras, &sums);
    return json_pack(
        "{s:s, s:s, s:s?, s:s, s:I, s:I, s:I, s:I, s:o, s:{s:I, s:I}, s:{s:I, s:I}, s:o, s:o}",
        "version", KVG_VERSION, "region", config->region, "endpoint", config->endpoint, "config",
        config->path, "pid", (json_int_t)pid, "rss_bytes", (json_int_t)resident_bytes(pid),
        "cpu_ms", (json_int_t)cpu_ms(pid), "uptime_ms",
        (json_int_t)((kvg_clock_mono_us() - api->started_us) / 1000), "states", states, "spool",
        "bytes", (json_int_t)sums.spool_bytes, "limit_bytes", (json_int_t)config->spool_limit_bytes,
        "upload", "bitrate_bps", (json_int_t)sums.bitrate_bps, "oldest_persisted_ms",
        (json_int_t)sums.oldest_ms, "workers", make_workers(cameras), "reload",
        kvg_board_get_reload(api->board));
}

void
kvg_api_get_site(KvgApi *api, const KvgApiRequest *request)
{
    g_autoptr(json_t) all = kvg_board_all(api->board);
    g_autoptr(json_t) site = kvg_api_make_site(api, json_object_get(all, "cameras"));
    kvg_api_respond(request->x, 200, site);
}

/* Waits until the main thread has done it. */
void
kvg_api_post_reload(KvgApi *api, const KvgApiRequest *request)
{
    g_autoptr(json_t) result = kvg_reload_request(api->reload);
    if (result == NULL)
        kvg_api_respond_message(request->x, 503, "the agent is ending");
    else
        kvg_api_respond(request->x, kvg_json_get_bool(result, "ok", false) ? 200 : 400, result);
}
