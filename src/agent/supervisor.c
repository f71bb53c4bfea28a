/* kvg agent: reads the configuration, again when it changes, serves the API, and has a fleet of
 * worker processes run the cameras. No media code runs here, so nothing a camera sends can bring it
 * down. */
#include "agent/api.h"
#include "agent/board.h"
#include "agent/control.h"
#include "agent/encoder.h"
#include "agent/fleet.h"
#include "agent/lock.h"
#include "agent/proxy.h"
#include "agent/reload.h"
#include "agent/watch.h"
#include "agent/worker.h"
#include "aws/certificate.h"
#include "base/clock.h"
#include "cli/command.h"
#include "config/diff.h"
#include "config/snapshot.h"
#include "os/file.h"
#include "os/log.h"
#include "os/notify.h"
#include <gio/gio.h>
#include <glib-unix.h>
#include <stdio.h>
#include <string.h>

#define CERTIFICATES_S 30 /* the camera's certificates are looked at so often */
#define LOG_DOMAIN "agent"
#define LOCK_WAIT_MS 5000 /* for the workers of an agent that has just died */
/* Cameras that were provisioned since are looked for so often. */
#define CONTROL_CONNECT_S 5
/* A configuration that was refused is read again so often: what it named may be there now. */
#define RETRY_TICKS 10

typedef struct {
    GMainLoop *loop;
    KvgConfig *config;
    KvgBoard *board;
    KvgProxy *proxy;
    KvgControl *control;
    KvgErrands *errands;
    KvgApi *api;
    KvgFleet *fleet;
    KvgReload *reload;
    KvgWatch *watch;
    char *refused; /* why the configuration was not taken; NULL: it was */
    char *status;  /* as it was told to the service manager */
    unsigned n_ticks;
    bool is_stopping;
} Supervisor;

/* ---- the configuration, again ---- */

static json_t *
names_to_json(const GPtrArray *names)
{
    json_t *array = json_array();
    for (guint i = 0; i < names->len; i++)
        json_array_append_new(array, json_string(g_ptr_array_index(names, i)));
    return array;
}

/* Everybody gets it, or nobody. */
static bool
take_config(Supervisor *supervisor, KvgConfig *config, const KvgConfigDiff *diff, GError **error)
{
    const bool site = diff->scopes[KVG_CONFIG_SCOPE_CAMERAS];
    g_auto(KvgFd) lock_fd = KVG_FD_NONE;
    if (strcmp(config->spool_path, supervisor->config->spool_path) != 0) {
        lock_fd = kvg_agent_lock(config->spool_path, 0, error);
        if (lock_fd < 0)
            return false;
    }
    const int snapshot_fd = kvg_config_to_fd(config, error);
    if (snapshot_fd < 0)
        return false;
    kvg_board_reload(supervisor->board, config);
    kvg_control_reload(supervisor->control, config, site || diff->scopes[KVG_CONFIG_SCOPE_CONTROL]);
    kvg_proxy_reload(supervisor->proxy, config);
    kvg_api_reload(supervisor->api, config);
    kvg_fleet_apply(supervisor->fleet, config, diff, snapshot_fd, kvg_fd_steal(&lock_fd));
    kvg_config_unref(supervisor->config);
    supervisor->config = kvg_config_ref(config);
    kvg_watch_set(supervisor->watch, config);
    return true;
}

/* {"ok", "message", "at_ms", "added", "removed", "changed"}; @message in words either way. */
static json_t *
make_result(bool ok, const char *message, const KvgConfigDiff *diff)
{
    g_autofree char *valid = g_utf8_make_valid(message, -1);
    json_t *result = json_pack("{s:b, s:s, s:I}", "ok", ok, "message", valid, "at_ms",
                               (json_int_t)kvg_clock_wall_ms());
    json_object_set_new(result, "added", diff != NULL ? names_to_json(diff->added) : json_array());
    json_object_set_new(result, "removed",
                        diff != NULL ? names_to_json(diff->removed) : json_array());
    json_object_set_new(result, "changed",
                        diff != NULL ? names_to_json(diff->changed) : json_array());
    return result;
}

/* A configuration that is not right changes nothing. The same complaint is logged once. */
static json_t *
refuse(Supervisor *supervisor, const GError *error)
{
    if (g_strcmp0(supervisor->refused, error->message) != 0)
        KVG_LOG_WARNING(LOG_DOMAIN, "REASON", error->message,
                        "the configuration is not taken, the cameras go on as before:\n%s",
                        error->message);
    g_free(supervisor->refused);
    supervisor->refused = g_strdup(error->message);
    return make_result(false, error->message, NULL);
}

/* For kvg_reload_new(). */
static json_t *
reload(void *user_data)
{
    Supervisor *supervisor = user_data;
    g_autoptr(GError) error = NULL;
    g_autofree char *reloading =
        g_strdup_printf("RELOADING=1\nMONOTONIC_USEC=%" G_GINT64_FORMAT, kvg_clock_mono_us());
    kvg_notify(reloading);
    g_autoptr(KvgConfig) config = kvg_config_load(supervisor->config->path, &error);
    g_autoptr(KvgConfigDiff) diff =
        config != NULL ? kvg_config_diff(supervisor->config, config) : NULL;
    g_autoptr(json_t) result = NULL;
    if (diff == NULL || !take_config(supervisor, config, diff, &error)) {
        result = refuse(supervisor, error);
    } else {
        g_autofree char *text = kvg_config_diff_to_text(diff);
        KVG_LOG_MESSAGE(LOG_DOMAIN, "PATH", config->path, "configuration read: %s", text);
        result = make_result(true, text, diff);
        g_clear_pointer(&supervisor->refused, g_free);
    }
    kvg_board_set_reload(supervisor->board, result);
    kvg_notify("READY=1");
    return g_steal_pointer(&result);
}

static gboolean
on_hangup(void *user_data)
{
    json_decref(reload(user_data));
    return G_SOURCE_CONTINUE;
}

/* ---- every second ---- */

static void
tell_status(Supervisor *supervisor)
{
    g_autofree char *missing = kvg_board_not_ready(supervisor->board);
    g_autofree char *status = g_strdup_printf(
        "STATUS=%u cameras%s%s%s", supervisor->config->cameras->len,
        missing != NULL ? "; not live: " : ", all live", missing != NULL ? missing : "",
        supervisor->refused != NULL ? "; the configuration has an error" : "");
    if (g_strcmp0(status, supervisor->status) == 0)
        return;
    kvg_notify(status);
    g_free(supervisor->status);
    supervisor->status = g_steal_pointer(&status);
}

/* kvg provision may renew them while the cameras run. */
static void
look_at_certificates(Supervisor *supervisor)
{
    for (guint i = 0; i < supervisor->config->cameras->len; i++) {
        const KvgConfigCamera *camera = g_ptr_array_index(supervisor->config->cameras, i);
        g_autoptr(json_t) report =
            json_pack("{s:s, s:I}", "name", camera->name, "certificate_expires_ms",
                      (json_int_t)kvg_certificate_end_ms(camera->certificate_path));
        kvg_board_update(supervisor->board, report);
    }
}

static gboolean
on_tick(void *user_data)
{
    Supervisor *supervisor = user_data;
    const unsigned n = ++supervisor->n_ticks;
    if (n % CERTIFICATES_S == 1)
        look_at_certificates(supervisor);
    if (kvg_watch_tick(supervisor->watch) || (supervisor->refused != NULL && n % RETRY_TICKS == 0))
        json_decref(reload(supervisor));
    if (n % CONTROL_CONNECT_S == 0)
        kvg_control_connect(supervisor->control);
    tell_status(supervisor);
    return G_SOURCE_CONTINUE;
}

static gboolean
on_watchdog(void *user_data)
{
    kvg_notify("WATCHDOG=1");
    return G_SOURCE_CONTINUE;
}

/* ---- the cameras ---- */

/* The settings of a camera have changed. */
static void
on_settings(const char *camera, void *user_data)
{
    kvg_fleet_set(((Supervisor *)user_data)->fleet, camera);
}

static bool
send_errand(const char *camera, const json_t *packet, void *user_data)
{
    return kvg_fleet_send(((Supervisor *)user_data)->fleet, camera, packet);
}

static void
on_stopped(void *user_data)
{
    g_main_loop_quit(((Supervisor *)user_data)->loop);
}

static gboolean
on_signal(void *user_data)
{
    Supervisor *supervisor = user_data;
    if (supervisor->is_stopping)
        return G_SOURCE_CONTINUE;
    supervisor->is_stopping = true;
    kvg_notify("STOPPING=1");
    kvg_fleet_stop(supervisor->fleet);
    return G_SOURCE_CONTINUE;
}

/* ---- the command ---- */

static void
say_ready(const Supervisor *supervisor)
{
    printf("{\"ready\":true,\"api_port\":%u}\n", kvg_api_port(supervisor->api));
    fflush(stdout);
    kvg_notify("READY=1");
}

/* Until a signal ends it. */
static void
run_loop(Supervisor *supervisor)
{
    const int64_t watchdog_us = kvg_notify_watchdog_us();
    GArray *sources = g_array_new(FALSE, FALSE, sizeof(guint));
    guint ids[] = {g_unix_signal_add(SIGTERM, on_signal, supervisor),
                   g_unix_signal_add(SIGINT, on_signal, supervisor),
                   g_unix_signal_add(SIGHUP, on_hangup, supervisor),
                   g_timeout_add_seconds(1, on_tick, supervisor)};
    g_array_append_vals(sources, ids, G_N_ELEMENTS(ids));
    if (watchdog_us != 0) {
        ids[0] = g_timeout_add((guint)MAX(watchdog_us / 2000, 1), on_watchdog, supervisor);
        g_array_append_val(sources, ids[0]);
    }
    g_main_loop_run(supervisor->loop);
    for (guint i = 0; i < sources->len; i++)
        g_source_remove(g_array_index(sources, guint, i));
    g_array_unref(sources);
}

/* Takes both descriptors. */
static bool
run(Supervisor *supervisor, int lock_fd, int snapshot_fd, GError **error)
{
    supervisor->board = kvg_board_new(supervisor->config);
    supervisor->proxy = kvg_proxy_new(supervisor->config);
    supervisor->control = kvg_control_new(supervisor->config, on_settings, supervisor);
    supervisor->reload = kvg_reload_new(reload, supervisor);
    supervisor->errands = kvg_errands_new(send_errand, supervisor);
    supervisor->watch = kvg_watch_new();
    kvg_watch_set(supervisor->watch, supervisor->config);
    const KvgApiOptions api = {.config = supervisor->config,
                               .board = supervisor->board,
                               .control = supervisor->control,
                               .proxy = supervisor->proxy,
                               .reload = supervisor->reload,
                               .errands = supervisor->errands};
    supervisor->api = kvg_api_start(&api, error);
    if (supervisor->api != NULL) {
        const KvgFleetOptions options = {.config = supervisor->config,
                                         .board = supervisor->board,
                                         .control = supervisor->control,
                                         .errands = supervisor->errands,
                                         .snapshot_fd = snapshot_fd,
                                         .lock_fd = lock_fd,
                                         .stopped = on_stopped,
                                         .user_data = supervisor};
        supervisor->fleet = kvg_fleet_start(&options);
        kvg_control_connect(supervisor->control);
        say_ready(supervisor);
        run_loop(supervisor);
    } else {
        close(lock_fd);
        close(snapshot_fd);
    }
    kvg_reload_close(supervisor->reload);
    kvg_errands_stop(supervisor->errands);
    kvg_api_stop(supervisor->api);
    kvg_control_free(supervisor->control);
    kvg_fleet_free(supervisor->fleet);
    kvg_errands_free(supervisor->errands);
    kvg_proxy_free(supervisor->proxy);
    kvg_board_free(supervisor->board);
    kvg_watch_free(supervisor->watch);
    kvg_reload_free(supervisor->reload);
    return supervisor->api != NULL;
}

static bool
supervise(const char *config_path, GError **error)
{
    g_autoptr(KvgConfig) config = kvg_config_load(config_path, error);
    if (config == NULL)
        return false;
    g_auto(KvgFd) lock_fd = kvg_agent_lock(config->spool_path, LOCK_WAIT_MS, error);
    if (lock_fd < 0)
        return false;
    const int snapshot_fd = kvg_config_to_fd(config, error);
    if (snapshot_fd < 0)
        return false;
    Supervisor supervisor = {.loop = g_main_loop_new(NULL, FALSE),
                             .config = g_steal_pointer(&config)};
    const bool done = run(&supervisor, kvg_fd_steal(&lock_fd), snapshot_fd, error);
    g_free(supervisor.refused);
    g_free(supervisor.status);
    kvg_config_unref(supervisor.config);
    g_main_loop_unref(supervisor.loop);
    return done;
}

int
kvg_cmd_agent(int argc, char **argv)
{
    g_autofree char *config_path = NULL;
    g_autofree char *encoder = NULL;
    gboolean is_worker = FALSE;
    const GOptionEntry entries[] = {
        {"config", 'c', 0, G_OPTION_ARG_FILENAME, &config_path, "configuration (kvg.yaml)", "FILE"},
        {"probe-encoder", 0, G_OPTION_FLAG_HIDDEN, G_OPTION_ARG_STRING, &encoder, NULL, NULL},
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
    if (encoder != NULL)
        return kvg_encoder_probe_main(encoder);
    if (is_worker)
        return kvg_worker_run();
    if (supervise(config_path != NULL ? config_path : "kvg.yaml", &error))
        return 0;
    fprintf(stderr, "kvg agent: %s\n", error->message);
    return 1;
}
