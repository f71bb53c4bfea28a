#include "agent/fleet.h"

#include "agent/process.h"
#include "agent/quarantine.h"
#include "base/backoff.h"
#include "base/clock.h"
#include "os/log.h"

#include <string.h>
#include <unistd.h>

#define LOG_DOMAIN "agent"
#define CAMERAS_PER_WORKER 8
#define MOST_CAMERAS_PER_WORKER 100 /* their names and settings must fit into a packet */
/* A worker of several cameras that ends twice within this is split: one process a camera. */
#define SPLIT_WINDOW_MS 60000
#define STOP_MS 8000    /* for what is still to be acknowledged */
#define REBUILD_MS 2000 /* the same, when the cameras start again right after */

typedef struct {
    KvgFleet *fleet;
    GPtrArray *names;
    KvgProcess *process; /* NULL: waits to be started, or is in quarantine */
    guint restart;
    KvgBackoff backoff;
    int64_t started_ms;
    int64_t last_end_ms;      /* of a worker of several cameras; 0: none */
    bool is_apart;            /* its camera was set apart: no other is put beside it */
    bool is_ending;           /* not started again */
    KvgQuarantine quarantine; /* of a worker of one camera */
    int64_t quarantined_ms;
    char *last_how; /* its last process ended; NULL */
} Worker;

struct _KvgFleet {
    KvgConfig *config;
    KvgBoard *board;
    KvgControl *control;
    KvgErrands *errands;
    int lock_fd, snapshot_fd;
    GPtrArray *workers;
    GHashTable *n_ends; /* of processes, by camera */
    guint tick;
    bool is_stopping;
    bool is_rebuilding; /* all end; when they are gone all start by `config` */
    void (*stopped)(void *user_data);
    void *user_data;
};

static void start_worker(Worker *worker);

static int64_t
now_ms(void)
{
    return kvg_clock_mono_us() / 1000;
}

static Worker *
add_worker(KvgFleet *fleet)
{
    Worker *worker = g_new0(Worker, 1);
    worker->fleet = fleet;
    worker->names = g_ptr_array_new_with_free_func(g_free);
    worker->backoff = (KvgBackoff){.base_ms = 500, .cap_ms = 30000};
    g_ptr_array_add(fleet->workers, worker);
    return worker;
}

static void
worker_free(void *data)
{
    Worker *worker = data;
    if (worker->restart != 0)
        g_source_remove(worker->restart);
    kvg_process_free(worker->process);
    g_ptr_array_unref(worker->names);
    g_free(worker->last_how);
    g_free(worker);
}

static Worker *
find_worker(const KvgFleet *fleet, const char *camera, guint *index)
{
    for (guint i = 0; i < fleet->workers->len; i++) {
        Worker *worker = g_ptr_array_index(fleet->workers, i);
        if (!worker->is_ending &&
            g_ptr_array_find_with_equal_func(worker->names, camera, g_str_equal, index))
            return worker;
    }
    return NULL;
}

/* ---- what is said of cameras without a process ---- */

static void
say(const Worker *worker, const char *state, const char *reason, int64_t since_ms)
{
    const KvgFleet *fleet = worker->fleet;
    for (guint i = 0; i < worker->names->len; i++) {
        const char *name = g_ptr_array_index(worker->names, i);
        const guint n_ends = GPOINTER_TO_UINT(g_hash_table_lookup(fleet->n_ends, name));
        g_autoptr(json_t) report =
            json_pack("{s:s, s:s, s:s, s:I, s:i, s:i, s:i, s:n}", "name", name, "state", state,
                      "reason", reason, "since_ms", (json_int_t)since_ms, "fps", 0, "bitrate_bps",
                      0, "process_ends", (int)n_ends, "process");
        kvg_board_update(fleet->board, report);
        kvg_control_report(fleet->control, name, state, reason);
    }
}

static void
say_quarantine(const Worker *worker)
{
    g_autofree char *reason = kvg_quarantine_reason(&worker->quarantine, worker->last_how);
    say(worker, "failed", reason, now_ms() - worker->quarantined_ms);
}

static void
say_process(const Worker *worker)
{
    for (guint i = 0; i < worker->names->len; i++) {
        g_autoptr(json_t) report =
            json_pack("{s:s, s:i}", "name", (char *)g_ptr_array_index(worker->names, i), "process",
                      kvg_process_pid(worker->process));
        kvg_board_update(worker->fleet->board, report);
    }
}

static void
log_end(const Worker *worker, const char *reason)
{
    for (guint i = 0; i < worker->names->len; i++) {
        const char *name = g_ptr_array_index(worker->names, i);
        KVG_LOG_WARNING(LOG_DOMAIN, "CAMERA", name, "camera %s: %s", name, reason);
    }
}

/* ---- packets ---- */

static json_t *
settings_of(const KvgFleet *fleet, const char *name)
{
    return kvg_control_brief(fleet->control, name);
}

/* "start" or "apply"; @changed: those of its cameras that start again by the latter; NULL. */
static bool
send_cameras(const Worker *worker, const char *op, const GPtrArray *changed)
{
    const KvgFleet *fleet = worker->fleet;
    json_t *names = json_array();
    json_t *settings = json_object();
    json_t *again = json_array();
    for (guint i = 0; i < worker->names->len; i++) {
        const char *name = g_ptr_array_index(worker->names, i);
        json_array_append_new(names, json_string(name));
        json_object_set_new(settings, name, settings_of(fleet, name));
    }
    for (guint i = 0; changed != NULL && i < changed->len; i++)
        json_array_append_new(again, json_string(g_ptr_array_index(changed, i)));
    g_autoptr(json_t) packet = json_pack("{s:s, s:o, s:o, s:o}", "op", op, "cameras", names,
                                         "settings", settings, "changed", again);
    say_process(worker);
    return kvg_process_send(worker->process, packet, fleet->snapshot_fd);
}

/* ---- ends ---- */

static gboolean
on_restart(void *user_data)
{
    Worker *worker = user_data;
    worker->restart = 0;
    start_worker(worker);
    return G_SOURCE_REMOVE;
}

static void
restart_after(Worker *worker, int64_t delay_ms)
{
    if (worker->restart != 0)
        g_source_remove(worker->restart);
    worker->restart = g_timeout_add((guint)delay_ms, on_restart, worker);
}

/* The one that takes the others down is not known, so each gets a process of its own. */
static void
split(Worker *worker)
{
    KvgFleet *fleet = worker->fleet;
    worker->is_apart = true;
    while (worker->names->len > 1) {
        Worker *own = add_worker(fleet);
        own->is_apart = true;
        g_ptr_array_add(own->names, g_ptr_array_steal_index(worker->names, worker->names->len - 1));
        start_worker(own);
    }
}

static void
several_ended(Worker *worker)
{
    const bool again = worker->last_end_ms != 0 && now_ms() - worker->last_end_ms < SPLIT_WINDOW_MS;
    worker->last_end_ms = now_ms();
    if (again) {
        KVG_LOG_WARNING(LOG_DOMAIN, "CAMERA", (char *)g_ptr_array_index(worker->names, 0),
                        "a process of %u cameras ended twice within a minute: each of them gets "
                        "one of its own",
                        worker->names->len);
        split(worker);
    }
    restart_after(worker, 0);
}

static void
one_ended(Worker *worker, int64_t lived_ms)
{
    if (kvg_quarantine_on_end(&worker->quarantine, lived_ms, now_ms())) {
        worker->quarantined_ms = now_ms();
        say_quarantine(worker);
        g_autofree char *reason = kvg_quarantine_reason(&worker->quarantine, worker->last_how);
        log_end(worker, reason);
        return;
    }
    if (worker->quarantine.n_ends == 1)
        kvg_backoff_reset(&worker->backoff);
    restart_after(worker,
                  worker->quarantine.n_ends == 1 ? 0 : kvg_backoff_next_ms(&worker->backoff));
}

static void start_all(KvgFleet *fleet);

/* A worker that was told to end has. */
static void
forget_worker(Worker *worker)
{
    KvgFleet *fleet = worker->fleet;
    g_ptr_array_remove(fleet->workers, worker);
    if (fleet->workers->len > 0)
        return;
    if (fleet->is_stopping)
        fleet->stopped(fleet->user_data);
    else if (fleet->is_rebuilding)
        start_all(fleet);
}

static void
on_ended(const char *how, void *user_data)
{
    Worker *worker = user_data;
    const int64_t lived_ms = now_ms() - worker->started_ms;
    g_free(worker->last_how);
    worker->last_how = g_strdup(how);
    g_clear_pointer(&worker->process, kvg_process_free);
    if (worker->is_ending) {
        forget_worker(worker);
        return;
    }
    for (guint i = 0; i < worker->names->len; i++) {
        const char *name = g_ptr_array_index(worker->names, i);
        GHashTable *n_ends = worker->fleet->n_ends;
        const guint n = GPOINTER_TO_UINT(g_hash_table_lookup(n_ends, name));
        g_hash_table_replace(n_ends, g_strdup(name), GUINT_TO_POINTER(n + 1));
    }
    g_autofree char *reason = g_strdup_printf("its process %s; starting again", worker->last_how);
    log_end(worker, reason);
    say(worker, "backoff", reason, 0);
    if (worker->names->len > 1)
        several_ended(worker);
    else
        one_ended(worker, lived_ms);
}

/* ---- starting ---- */

static void
on_report(const json_t *report, void *user_data)
{
    const Worker *worker = user_data;
    if (kvg_errands_take(worker->fleet->errands, report) ||
        kvg_control_confirm(worker->fleet->control, report))
        return;
    kvg_board_update(worker->fleet->board, report);
    kvg_control_report(worker->fleet->control, kvg_json_get_string(report, "name"),
                       kvg_json_get_string(report, "state"), kvg_json_get_string(report, "reason"));
}

static void
start_worker(Worker *worker)
{
    const KvgFleet *fleet = worker->fleet;
    const KvgProcessEvents events = {on_report, on_ended, worker};
    g_autoptr(GError) error = NULL;
    if (worker->restart != 0)
        g_source_remove(worker->restart);
    worker->restart = 0;
    worker->process = kvg_process_start(fleet->lock_fd, &events, &error);
    if (worker->process == NULL) {
        g_autofree char *reason = g_strdup_printf("no process can be started: %s", error->message);
        log_end(worker, reason);
        say(worker, "backoff", reason, 0);
        restart_after(worker, kvg_backoff_next_ms(&worker->backoff));
        return;
    }
    worker->started_ms = now_ms();
    send_cameras(worker, "start", NULL);
}

static guint
wanted_workers(const KvgConfig *config)
{
    const guint n = config->cameras->len;
    const guint least = (n + MOST_CAMERAS_PER_WORKER - 1) / MOST_CAMERAS_PER_WORKER;
    if (config->workers == KVG_CONFIG_WORKERS_AUTO)
        return (n + CAMERAS_PER_WORKER - 1) / CAMERAS_PER_WORKER;
    return MAX(MIN(config->workers, n), least);
}

/* Spreads the cameras evenly, neighbours together. */
static void
start_all(KvgFleet *fleet)
{
    const guint n = fleet->config->cameras->len;
    const guint n_workers = wanted_workers(fleet->config);
    fleet->is_rebuilding = false;
    for (guint w = 0; w < n_workers; w++) {
        Worker *worker = add_worker(fleet);
        for (guint i = w * n / n_workers; i < (w + 1) * n / n_workers; i++) {
            const KvgConfigCamera *camera = g_ptr_array_index(fleet->config->cameras, i);
            g_ptr_array_add(worker->names, g_strdup(camera->name));
        }
        start_worker(worker);
    }
}

static gboolean
on_tick(void *user_data)
{
    KvgFleet *fleet = user_data;
    for (guint i = 0; i < fleet->workers->len; i++) {
        Worker *worker = g_ptr_array_index(fleet->workers, i);
        if (worker->process != NULL) {
            kvg_process_tick(worker->process);
        } else if (kvg_quarantine_is_over(&worker->quarantine, now_ms())) {
            kvg_quarantine_try(&worker->quarantine);
            start_worker(worker);
        } else if (worker->quarantine.until_ms != 0) {
            say_quarantine(worker);
        }
    }
    return G_SOURCE_CONTINUE;
}

/* ---- changes ---- */

/* Whatever was held against it is forgotten. */
static void
pardon(Worker *worker)
{
    worker->quarantine = (KvgQuarantine){0};
    worker->last_end_ms = 0;
    kvg_backoff_reset(&worker->backoff);
    if (worker->process == NULL)
        start_worker(worker);
}

void
kvg_fleet_set(KvgFleet *fleet, const char *camera)
{
    Worker *worker = find_worker(fleet, camera, NULL);
    if (worker == NULL)
        return;
    /* Whoever changes a camera in quarantine, or switches it off and on so fast that only the
     * latter is seen here, gives it a new chance. */
    const bool has_process = worker->process != NULL;
    if (worker->quarantine.until_ms != 0)
        pardon(worker);
    if (has_process) {
        g_autoptr(json_t) packet = json_pack("{s:s, s:s, s:o}", "op", "set", "camera", camera,
                                             "settings", settings_of(fleet, camera));
        if (!kvg_process_send(worker->process, packet, -1))
            kvg_process_kill(worker->process, "could not be told of new settings and was killed");
    }
}

bool
kvg_fleet_send(KvgFleet *fleet, const char *camera, const json_t *packet)
{
    const Worker *worker = find_worker(fleet, camera, NULL);
    return worker != NULL && worker->process != NULL &&
           kvg_process_send(worker->process, packet, -1);
}

static void
end_worker(Worker *worker, int64_t wait_ms)
{
    worker->is_ending = true;
    if (worker->restart != 0)
        g_source_remove(worker->restart);
    worker->restart = 0;
    if (worker->process != NULL)
        kvg_process_stop(worker->process, wait_ms);
    else
        forget_worker(worker);
}

/* From the back: those without a process leave the list at once. */
static void
end_all(KvgFleet *fleet, int64_t wait_ms)
{
    for (guint i = fleet->workers->len; i-- > 0;)
        end_worker(g_ptr_array_index(fleet->workers, i), wait_ms);
}

/* The worker with the fewest cameras, if it may take one more, or a new one. */
static Worker *
choose_worker(KvgFleet *fleet)
{
    const guint wanted = fleet->config->workers;
    const guint most = wanted == KVG_CONFIG_WORKERS_AUTO         ? CAMERAS_PER_WORKER
                       : wanted == KVG_CONFIG_WORKERS_PER_CAMERA ? 1
                                                                 : MOST_CAMERAS_PER_WORKER;
    Worker *least = NULL;
    guint n = 0;
    for (guint i = 0; i < fleet->workers->len; i++) {
        Worker *worker = g_ptr_array_index(fleet->workers, i);
        if (worker->is_ending || worker->is_apart || worker->quarantine.n_ends > 0)
            continue;
        n++;
        if (least == NULL || worker->names->len < least->names->len)
            least = worker;
    }
    const bool is_full = least == NULL || least->names->len >= most;
    const bool may_be_more = wanted != KVG_CONFIG_WORKERS_AUTO && n < wanted;
    return is_full || may_be_more ? add_worker(fleet) : least;
}

static void
remove_cameras(KvgFleet *fleet, const GPtrArray *names)
{
    for (guint i = 0; i < names->len; i++) {
        const char *name = g_ptr_array_index(names, i);
        guint at;
        Worker *worker = find_worker(fleet, name, &at);
        if (worker == NULL)
            continue;
        g_ptr_array_remove_index(worker->names, at);
        g_hash_table_remove(fleet->n_ends, name);
        if (worker->names->len == 0)
            end_worker(worker, STOP_MS);
    }
}

static void
tell_workers(KvgFleet *fleet, const KvgConfigDiff *diff)
{
    for (guint i = 0; i < fleet->workers->len; i++) {
        Worker *worker = g_ptr_array_index(fleet->workers, i);
        if (worker->is_ending)
            continue;
        if (worker->process == NULL && worker->restart == 0 && worker->quarantine.until_ms == 0)
            start_worker(worker); /* a new one */
        else if (worker->process != NULL && !send_cameras(worker, "apply", diff->changed))
            kvg_process_kill(worker->process,
                             "could not be told of the new configuration and was killed");
    }
}

void
kvg_fleet_apply(
    KvgFleet *fleet, KvgConfig *config, const KvgConfigDiff *diff, int snapshot_fd, int lock_fd)
{
    close(fleet->snapshot_fd);
    fleet->snapshot_fd = snapshot_fd;
    if (lock_fd >= 0) {
        close(fleet->lock_fd); /* the old spool is free when the old workers are gone */
        fleet->lock_fd = lock_fd;
    }
    kvg_config_unref(fleet->config);
    fleet->config = kvg_config_ref(config);
    if (fleet->is_stopping || fleet->is_rebuilding)
        return;
    if (diff->scopes[KVG_CONFIG_SCOPE_CAMERAS] || diff->scopes[KVG_CONFIG_SCOPE_WORKERS]) {
        fleet->is_rebuilding = true;
        end_all(fleet, REBUILD_MS);
        return;
    }
    for (guint i = 0; i < diff->changed->len; i++) {
        Worker *worker = find_worker(fleet, g_ptr_array_index(diff->changed, i), NULL);
        if (worker != NULL)
            pardon(worker);
    }
    remove_cameras(fleet, diff->removed);
    for (guint i = 0; i < diff->added->len; i++)
        g_ptr_array_add(choose_worker(fleet)->names, g_strdup(g_ptr_array_index(diff->added, i)));
    tell_workers(fleet, diff);
}

/* ---- the whole ---- */

KvgFleet *
kvg_fleet_start(const KvgFleetOptions *options)
{
    KvgFleet *fleet = g_new0(KvgFleet, 1);
    fleet->config = kvg_config_ref(options->config);
    fleet->board = options->board;
    fleet->control = options->control;
    fleet->errands = options->errands;
    fleet->lock_fd = options->lock_fd;
    fleet->snapshot_fd = options->snapshot_fd;
    fleet->stopped = options->stopped;
    fleet->user_data = options->user_data;
    fleet->workers = g_ptr_array_new_with_free_func(worker_free);
    fleet->n_ends = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    fleet->tick = g_timeout_add_seconds(1, on_tick, fleet);
    start_all(fleet);
    return fleet;
}

void
kvg_fleet_free(KvgFleet *fleet)
{
    if (fleet == NULL)
        return;
    g_source_remove(fleet->tick);
    g_ptr_array_unref(fleet->workers);
    g_hash_table_unref(fleet->n_ends);
    close(fleet->lock_fd);
    close(fleet->snapshot_fd);
    kvg_config_unref(fleet->config);
    g_free(fleet);
}

void
kvg_fleet_stop(KvgFleet *fleet)
{
    fleet->is_stopping = true;
    if (fleet->workers->len == 0)
        fleet->stopped(fleet->user_data);
    else
        end_all(fleet, STOP_MS);
}
