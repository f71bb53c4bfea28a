/* kvg agent: reads the configuration, serves the API, and keeps worker processes alive that run the
 * cameras. No media code runs here, so nothing a camera sends can bring it down. */
#include "agent/api.h"
#include "agent/board.h"
#include "agent/control.h"
#include "agent/packet.h"
#include "agent/proxy.h"
#include "agent/worker.h"
#include "base/backoff.h"
#include "base/clock.h"
#include "cli/command.h"
#include "config/config.h"
#include "os/log.h"
#include <errno.h>
#include <gio/gio.h>
#include <glib-unix.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOG_DOMAIN "agent"
#define CAMERAS_PER_WORKER 8
#define WORKER_FD 3
#define STOP_GRACE_S 20
/* A worker that dies so often within a minute is split: one process a camera. */
#define MAX_DEATHS 3
#define DEATH_WINDOW_MS 60000

typedef struct {
    struct Supervisor *supervisor;
    GPtrArray *names;
    GSubprocess *process; /* NULL: waiting to be started again */
    int fd;
    guint watch, restart;
    KvgBackoff backoff;
    int64_t started_ms, first_death_ms;
    unsigned n_deaths;
} Worker;

typedef struct Supervisor {
    GMainLoop *loop;
    KvgConfig *config;
    KvgBoard *board;
    KvgControl *control;
    GPtrArray *workers;
    char *self;
    bool stopping;
    guint kill_timer;
} Supervisor;

/* Cameras that were provisioned since are looked for so often. */
#define CONTROL_CONNECT_S 5

static void start_worker(Worker *worker);

static int64_t
now_ms(void)
{
    return kvg_clock_mono_us() / 1000;
}

static Worker *
worker_new(Supervisor *supervisor)
{
    Worker *worker = g_new0(Worker, 1);
    worker->supervisor = supervisor;
    worker->names = g_ptr_array_new_with_free_func(g_free);
    worker->fd = -1;
    worker->backoff = (KvgBackoff){.base_ms = 500, .cap_ms = 30000};
    return worker;
}

static void
worker_free(void *data)
{
    Worker *worker = data;
    if (worker->watch != 0)
        g_source_remove(worker->watch);
    if (worker->restart != 0)
        g_source_remove(worker->restart);
    if (worker->fd >= 0)
        close(worker->fd);
    g_clear_object(&worker->process);
    g_ptr_array_unref(worker->names);
    g_free(worker);
}

/* ---- deaths ---- */

static bool
all_gone(const Supervisor *supervisor)
{
    for (guint i = 0; i < supervisor->workers->len; i++) {
        const Worker *worker = g_ptr_array_index(supervisor->workers, i);
        if (worker->process != NULL)
            return false;
    }
    return true;
}

static void
note_death(Worker *worker)
{
    if (worker->n_deaths == 0 || now_ms() - worker->first_death_ms > DEATH_WINDOW_MS) {
        worker->n_deaths = 0;
        worker->first_death_ms = now_ms();
        kvg_backoff_reset(&worker->backoff);
    }
    worker->n_deaths++;
}

/* All but the first camera get workers of their own, so that the one that kills is alone. */
static void
isolate(Worker *worker)
{
    Supervisor *supervisor = worker->supervisor;
    KVG_LOG_WARNING(LOG_DOMAIN, "CAMERA", (char *)g_ptr_array_index(worker->names, 0),
                    "a worker with %u cameras died %u times: one process a camera from now on",
                    worker->names->len, worker->n_deaths);
    while (worker->names->len > 1) {
        Worker *own = worker_new(supervisor);
        g_ptr_array_add(own->names, g_ptr_array_steal_index(worker->names, worker->names->len - 1));
        g_ptr_array_add(supervisor->workers, own);
        start_worker(own);
    }
}

static gboolean
on_restart(void *user_data)
{
    Worker *worker = user_data;
    worker->restart = 0;
    start_worker(worker);
    return G_SOURCE_REMOVE;
}

static char *
describe_end(GSubprocess *process)
{
    if (g_subprocess_get_if_signaled(process))
        return g_strdup_printf("its process was ended by signal %d (%s); starting again",
                               g_subprocess_get_term_sig(process),
                               g_strsignal(g_subprocess_get_term_sig(process)));
    return g_strdup_printf("its process ended with code %d; starting again",
                           g_subprocess_get_exit_status(process));
}

static void
on_worker_ended(GObject *source, GAsyncResult *result, void *user_data)
{
    if (!g_subprocess_wait_finish(G_SUBPROCESS(source), result, NULL))
        return;
    Worker *worker = user_data;
    Supervisor *supervisor = worker->supervisor;
    g_autofree char *reason = describe_end(worker->process);
    g_clear_object(&worker->process);
    if (supervisor->stopping) {
        if (all_gone(supervisor))
            g_main_loop_quit(supervisor->loop);
        return;
    }
    for (guint i = 0; i < worker->names->len; i++) {
        const char *name = g_ptr_array_index(worker->names, i);
        KVG_LOG_WARNING(LOG_DOMAIN, "CAMERA", name, "camera %s: %s", name, reason);
        kvg_board_set_state(supervisor->board, name, "backoff", reason);
        kvg_control_report(supervisor->control, name, "backoff", reason);
    }
    note_death(worker);
    if (worker->n_deaths >= MAX_DEATHS && worker->names->len > 1)
        isolate(worker);
    worker->restart =
        g_timeout_add((guint)kvg_backoff_next_ms(&worker->backoff), on_restart, worker);
}

/* ---- starting ---- */

static gboolean
on_report(int fd, GIOCondition condition, void *user_data)
{
    Worker *worker = user_data;
    g_autoptr(json_t) report = NULL;
    const KvgPacketRead got = kvg_packet_read(fd, &report);
    if (got == KVG_PACKET_GOT) {
        kvg_board_update(worker->supervisor->board, report);
        kvg_control_report(worker->supervisor->control, kvg_json_get_string(report, "name"),
                           kvg_json_get_string(report, "state"),
                           kvg_json_get_string(report, "reason"));
    }
    if (got != KVG_PACKET_CLOSED)
        return G_SOURCE_CONTINUE;
    worker->watch = 0;
    return G_SOURCE_REMOVE;
}

/* Between fork and exec: Ctrl-C is the supervisor's to handle; a worker never outlives it. */
static void
prepare_worker(void *user_data)
{
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
}

static bool
spawn(Worker *worker, GError **error)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "%s", g_strerror(errno));
        return false;
    }
    g_autoptr(GSubprocessLauncher) launcher =
        g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_STDOUT_SILENCE);
    g_subprocess_launcher_take_fd(launcher, pair[1], WORKER_FD);
    g_subprocess_launcher_set_child_setup(launcher, prepare_worker, NULL, NULL);
    const char *const argv[] = {worker->supervisor->self, "agent", "--worker", NULL};
    worker->process = g_subprocess_launcher_spawnv(launcher, argv, error);
    if (worker->process == NULL) {
        close(pair[0]);
        return false;
    }
    if (worker->watch != 0)
        g_source_remove(worker->watch);
    if (worker->fd >= 0)
        close(worker->fd);
    worker->fd = pair[0];
    worker->watch = g_unix_fd_add(worker->fd, G_IO_IN | G_IO_HUP, on_report, worker);
    return true;
}

static json_t *
settings_of(const Supervisor *supervisor, const char *name)
{
    KvgSettings settings;
    kvg_control_get(supervisor->control, name, &settings);
    return kvg_settings_to_json(&settings);
}

/* The settings of a camera have changed. A worker that is being started gets them with its start.
 */
static void
on_settings(const char *camera, void *user_data)
{
    Supervisor *supervisor = user_data;
    g_autoptr(json_t) packet = json_pack("{s:s, s:s, s:o}", "op", "set", "camera", camera,
                                         "settings", settings_of(supervisor, camera));
    for (guint i = 0; i < supervisor->workers->len; i++) {
        const Worker *worker = g_ptr_array_index(supervisor->workers, i);
        if (worker->process != NULL &&
            g_ptr_array_find_with_equal_func(worker->names, camera, g_str_equal, NULL) &&
            !kvg_packet_write(worker->fd, packet))
            g_subprocess_send_signal(worker->process, SIGTERM); /* its next start brings them */
    }
}

static gboolean
on_connect_control(void *user_data)
{
    Supervisor *supervisor = user_data;
    kvg_control_connect(supervisor->control);
    return G_SOURCE_CONTINUE;
}

static void
start_worker(Worker *worker)
{
    g_autoptr(GError) error = NULL;
    if (!spawn(worker, &error)) {
        KVG_LOG_WARNING(LOG_DOMAIN, "REASON", error->message, "cannot start a worker: %s",
                        error->message);
        worker->restart =
            g_timeout_add((guint)kvg_backoff_next_ms(&worker->backoff), on_restart, worker);
        return;
    }
    worker->started_ms = now_ms();
    g_subprocess_wait_async(worker->process, NULL, on_worker_ended, worker);
    g_autoptr(json_t) names = json_array();
    g_autoptr(json_t) settings = json_object();
    for (guint i = 0; i < worker->names->len; i++) {
        const char *name = g_ptr_array_index(worker->names, i);
        json_array_append_new(names, json_string(name));
        json_object_set_new(settings, name, settings_of(worker->supervisor, name));
    }
    g_autoptr(json_t) packet =
        json_pack("{s:s, s:s, s:O, s:O}", "op", "start", "config", worker->supervisor->config->path,
                  "cameras", names, "settings", settings);
    kvg_packet_write(worker->fd, packet);
}

static void
start_all(Supervisor *supervisor)
{
    Worker *worker = NULL;
    for (guint i = 0; i < supervisor->config->cameras->len; i++) {
        const KvgConfigCamera *camera = g_ptr_array_index(supervisor->config->cameras, i);
        if (worker == NULL || worker->names->len == CAMERAS_PER_WORKER) {
            worker = worker_new(supervisor);
            g_ptr_array_add(supervisor->workers, worker);
        }
        g_ptr_array_add(worker->names, g_strdup(camera->name));
    }
    for (guint i = 0; i < supervisor->workers->len; i++)
        start_worker(g_ptr_array_index(supervisor->workers, i));
}

/* ---- ending ---- */

static gboolean
on_kill(void *user_data)
{
    Supervisor *supervisor = user_data;
    for (guint i = 0; i < supervisor->workers->len; i++) {
        Worker *worker = g_ptr_array_index(supervisor->workers, i);
        if (worker->process != NULL)
            g_subprocess_force_exit(worker->process);
    }
    supervisor->kill_timer = 0;
    return G_SOURCE_REMOVE;
}

static gboolean
on_signal(void *user_data)
{
    Supervisor *supervisor = user_data;
    if (supervisor->stopping)
        return G_SOURCE_CONTINUE;
    supervisor->stopping = true;
    g_autoptr(json_t) packet = json_pack("{s:s}", "op", "stop");
    for (guint i = 0; i < supervisor->workers->len; i++) {
        Worker *worker = g_ptr_array_index(supervisor->workers, i);
        if (worker->restart != 0)
            g_source_remove(worker->restart);
        worker->restart = 0;
        if (worker->process != NULL && !kvg_packet_write(worker->fd, packet))
            g_subprocess_send_signal(worker->process, SIGTERM);
    }
    if (all_gone(supervisor))
        g_main_loop_quit(supervisor->loop);
    else
        supervisor->kill_timer = g_timeout_add_seconds(STOP_GRACE_S, on_kill, supervisor);
    return G_SOURCE_CONTINUE;
}

/* ---- the command ---- */

static int
run(Supervisor *supervisor)
{
    g_autoptr(GError) error = NULL;
    supervisor->board = kvg_board_new(supervisor->config);
    KvgProxy *proxy = kvg_proxy_new(supervisor->config);
    supervisor->control = kvg_control_new(supervisor->config, on_settings, supervisor);
    KvgApi *api =
        kvg_api_start(supervisor->config, supervisor->board, supervisor->control, proxy, &error);
    int status = 1;
    guint connect_timer = 0;
    if (api != NULL) {
        printf("{\"ready\":true,\"api_port\":%u}\n", kvg_api_port(api));
        fflush(stdout);
        kvg_control_connect(supervisor->control);
        connect_timer = g_timeout_add_seconds(CONTROL_CONNECT_S, on_connect_control, supervisor);
        start_all(supervisor);
        g_main_loop_run(supervisor->loop);
        status = 0;
    } else {
        fprintf(stderr, "kvg agent: %s\n", error->message);
    }
    if (supervisor->kill_timer != 0)
        g_source_remove(supervisor->kill_timer);
    if (connect_timer != 0)
        g_source_remove(connect_timer);
    kvg_api_stop(api);
    kvg_control_free(supervisor->control);
    kvg_proxy_free(proxy);
    kvg_board_free(supervisor->board);
    return status;
}

static int
supervise(const char *config_path)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(KvgConfig) config = kvg_config_load(config_path, &error);
    if (config == NULL) {
        fprintf(stderr, "%s\n", error->message);
        return 1;
    }
    g_autofree char *self = g_file_read_link("/proc/self/exe", &error);
    if (self == NULL) {
        fprintf(stderr, "kvg agent: %s\n", error->message);
        return 1;
    }
    Supervisor supervisor = {.loop = g_main_loop_new(NULL, FALSE),
                             .config = config,
                             .workers = g_ptr_array_new_with_free_func(worker_free),
                             .self = self};
    const guint signals[] = {g_unix_signal_add(SIGTERM, on_signal, &supervisor),
                             g_unix_signal_add(SIGINT, on_signal, &supervisor)};
    const int status = run(&supervisor);
    for (size_t i = 0; i < G_N_ELEMENTS(signals); i++)
        g_source_remove(signals[i]);
    g_ptr_array_unref(supervisor.workers);
    g_main_loop_unref(supervisor.loop);
    return status;
}

int
kvg_cmd_agent(int argc, char **argv)
{
    g_autofree char *config_path = NULL;
    gboolean is_worker = FALSE;
    const GOptionEntry entries[] = {
        {"config", 'c', 0, G_OPTION_ARG_FILENAME, &config_path, "configuration (kvg.yaml)", "FILE"},
        {"worker", 0, G_OPTION_FLAG_HIDDEN, G_OPTION_ARG_NONE, &is_worker, NULL, NULL},
        G_OPTION_ENTRY_NULL,
    };
    g_autoptr(GOptionContext) context = g_option_context_new("- stream the cameras");
    g_autoptr(GError) error = NULL;
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error) || argc > 1) {
        fprintf(stderr, "kvg agent: %s\n", error != NULL ? error->message : "unexpected argument");
        return 2;
    }
    if (is_worker)
        return kvg_worker_run();
    return supervise(config_path != NULL ? config_path : "kvg.yaml");
}
