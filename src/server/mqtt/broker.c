#include "server/mqtt/broker.h"

#include "base/backoff.h"
#include "base/clock.h"
#include "os/file.h"
#include "os/log.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <kvg/error.h>
#include <netinet/in.h>
#include <pwd.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define LOG_DOMAIN "server-mqtt"
#define PLUGIN_NAME "kvg-broker.so"
#define STOP_US (5 * G_USEC_PER_SEC)
/* A broker that ran this long was well; the next failure starts over with short waits. */
#define WELL_US (60 * G_USEC_PER_SEC)
#define START_US (10 * G_USEC_PER_SEC)
#define START_TRIES 5

struct _KvgBroker {
    char *program, *config_path, *socket_path, *log_path;
    uint16_t port;
    GThread *thread;
    struct {
        GMutex lock;
        GCond changed;
        bool stopping;
        pid_t pid; /* 0: not running */
    } shared;
};

uint16_t
kvg_broker_port(const KvgBroker *broker)
{
    return broker->port;
}

const char *
kvg_broker_socket(const KvgBroker *broker)
{
    return broker->socket_path;
}

/* ---- what it needs ---- */

static char *
find_program(GError **error)
{
    static const char *const places[] = {"/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"};
    char *found = g_find_program_in_path("mosquitto");
    for (size_t i = 0; found == NULL && i < G_N_ELEMENTS(places); i++) {
        if (g_file_test(places[i], G_FILE_TEST_IS_EXECUTABLE))
            found = g_strdup(places[i]);
    }
    if (found == NULL)
        g_set_error_literal(error, KVG_ERROR, KVG_ERROR_UNSUPPORTED,
                            "mosquitto is not installed (apt-get install mosquitto)");
    return found;
}

/* Beside the program in the build folder, in its library folder when installed. */
static char *
find_plugin(GError **error)
{
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *folder = self != NULL ? g_path_get_dirname(self) : g_strdup(".");
    g_autofree char *beside = g_build_filename(folder, PLUGIN_NAME, NULL);
    if (g_file_test(beside, G_FILE_TEST_EXISTS))
        return g_steal_pointer(&beside);
    if (g_file_test(KVG_PLUGIN_FOLDER "/" PLUGIN_NAME, G_FILE_TEST_EXISTS))
        return g_strdup(KVG_PLUGIN_FOLDER "/" PLUGIN_NAME);
    g_set_error(error, KVG_ERROR, KVG_ERROR_UNSUPPORTED, "%s is neither in %s nor in %s",
                PLUGIN_NAME, folder, KVG_PLUGIN_FOLDER);
    return NULL;
}

/* Binds *@port, or any free one if it is 0, and lets it go again. mosquitto does not say which port
 * it took, so one is looked for; should somebody be faster, the start fails and another is tried.
 */
static bool
find_port(const char *address, uint16_t *port, GError **error)
{
    const bool is_ip6 = strchr(address, ':') != NULL;
    struct sockaddr_storage place = {.ss_family = is_ip6 ? AF_INET6 : AF_INET};
    socklen_t len = is_ip6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    void *bytes = is_ip6 ? (void *)&((struct sockaddr_in6 *)&place)->sin6_addr
                         : (void *)&((struct sockaddr_in *)&place)->sin_addr;
    *(is_ip6 ? &((struct sockaddr_in6 *)&place)->sin6_port
             : &((struct sockaddr_in *)&place)->sin_port) = htons(*port);
    const int reuse = 1; /* as mosquitto does: what a former broker left behind is no reason */
    g_auto(KvgFd) fd = socket(place.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof reuse);
    if (fd < 0 || inet_pton(place.ss_family, address, bytes) != 1 ||
        bind(fd, (struct sockaddr *)&place, len) != 0 ||
        getsockname(fd, (struct sockaddr *)&place, &len) != 0) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_FAILED, "MQTT port %u on %s: %s", *port, address,
                    g_strerror(errno));
        return false;
    }
    *port = ntohs(is_ip6 ? ((struct sockaddr_in6 *)&place)->sin6_port
                         : ((struct sockaddr_in *)&place)->sin_port);
    return true;
}

bool
kvg_broker_can_listen(const KvgServer *server)
{
    uint16_t port = server->mqtt_port;
    return find_port(server->listen_address, &port, NULL);
}

/* Limits and defaults are those of AWS IoT Core where mosquitto has a word for them. */
static bool
write_config(const KvgBroker *broker, const KvgServer *server, const char *plugin, GError **error)
{
    const struct passwd *user = getpwuid(geteuid());
    g_autofree char *folder = g_path_get_dirname(broker->config_path);
    g_autofree char *text = g_strdup_printf(
        "# Written by kvg-server at each start.\n"
        "user %s\n"
        "per_listener_settings false\n"
        "allow_anonymous false\n"
        "persistence true\n"
        "persistence_location %s/\n"
        "autosave_interval 60\n"
        "persistent_client_expiration 1h\n"
        "max_inflight_messages 100\n"
        "max_queued_messages 1000\n"
        "message_size_limit 131072\n"
        "max_keepalive 1200\n"
        "log_dest stderr\n"
        "log_type error\nlog_type warning\nlog_type notice\n"
        "connection_messages false\n"
        "plugin %s\n"
        "plugin_opt_state %s/state.db\n"
        "plugin_opt_arn arn:aws:iot:%s:%s\n"
        "\n"
        "listener 0 %s\n"
        "\n"
        "listener %u %s\n"
        "max_qos 1\n"
        "cafile %s/ca.pem\n"
        "certfile %s/server.pem\n"
        "keyfile %s/server.key\n"
        "require_certificate true\n"
        "tls_version tlsv1.2\n",
        user != NULL ? user->pw_name : "root", folder, plugin, server->data_path, server->region,
        server->account, broker->socket_path, broker->port, server->listen_address,
        server->data_path, server->data_path, server->data_path);
    return kvg_file_replace(broker->config_path, text, strlen(text), 0600, error);
}

/* ---- the process ---- */

static void
prepare_child(void *log_fd)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setpgid(0, 0); /* Ctrl-C in a terminal is for us, who then end it in order */
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    dup2(GPOINTER_TO_INT(log_fd), STDOUT_FILENO);
    dup2(GPOINTER_TO_INT(log_fd), STDERR_FILENO);
}

static bool
spawn(KvgBroker *broker, pid_t *pid, GError **error)
{
    const char *const argv[] = {broker->program, "-c", broker->config_path, NULL};
    g_auto(KvgFd) log = open(broker->log_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (log < 0) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_FAILED, "%s: %s", broker->log_path,
                    g_strerror(errno));
        return false;
    }
    unlink(broker->socket_path);
    GPid started = 0;
    const GSpawnFlags flags = G_SPAWN_DO_NOT_REAP_CHILD;
    if (!g_spawn_async(NULL, (char **)(uintptr_t)argv, NULL, flags, prepare_child,
                       GINT_TO_POINTER(log), &started, error))
        return false;
    *pid = started;
    return true;
}

static bool
is_listening(const char *socket_path)
{
    struct stat info;
    return stat(socket_path, &info) == 0 && S_ISSOCK(info.st_mode);
}

/* Our socket appears when the configuration was good; the TLS listener follows at once or the
 * process ends. */
static bool
wait_started(KvgBroker *broker, pid_t pid, GError **error)
{
    const int64_t end_us = kvg_clock_mono_us() + START_US;
    int64_t seen_us = 0;
    while (kvg_clock_mono_us() < end_us) {
        if (waitpid(pid, NULL, WNOHANG) != 0) {
            g_autofree char *log = kvg_file_read(broker->log_path, 65536, NULL, NULL);
            g_set_error(error, KVG_ERROR, KVG_ERROR_FAILED, "mosquitto ended at once: %s",
                        log != NULL ? g_strstrip(log) : "");
            return false;
        }
        if (seen_us == 0 && is_listening(broker->socket_path))
            seen_us = kvg_clock_mono_us();
        if (seen_us != 0 && kvg_clock_mono_us() - seen_us > 100000)
            return true;
        g_usleep(10000);
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    g_set_error(error, KVG_ERROR, KVG_ERROR_FAILED, "mosquitto did not begin to listen");
    return false;
}

static void
end_process(pid_t pid)
{
    const int64_t end_us = kvg_clock_mono_us() + STOP_US;
    kill(pid, SIGTERM);
    while (waitpid(pid, NULL, WNOHANG) == 0) {
        if (kvg_clock_mono_us() > end_us)
            kill(pid, SIGKILL);
        g_usleep(10000);
    }
}

/* Watches the process and starts it again; ends it when asked to. */
static void *
supervise(void *data)
{
    KvgBroker *broker = data;
    KvgBackoff backoff = {.base_ms = 500, .cap_ms = 30000};
    int64_t started_us = kvg_clock_mono_us();
    g_mutex_lock(&broker->shared.lock);
    while (!broker->shared.stopping) {
        int64_t until_us = g_get_monotonic_time() + 200000;
        if (broker->shared.pid != 0 && waitpid(broker->shared.pid, NULL, WNOHANG) != 0) {
            broker->shared.pid = 0;
            if (kvg_clock_mono_us() - started_us > WELL_US)
                backoff.attempt = 0;
            until_us = g_get_monotonic_time() + kvg_backoff_next_ms(&backoff) * 1000;
            KVG_LOG_WARNING(LOG_DOMAIN, "FILE", broker->log_path,
                            "the MQTT broker has ended; it is started again, see %s",
                            broker->log_path);
        } else if (broker->shared.pid == 0) {
            g_autoptr(GError) error = NULL;
            started_us = kvg_clock_mono_us();
            if (!spawn(broker, &broker->shared.pid, &error))
                KVG_LOG_WARNING(LOG_DOMAIN, "FILE", broker->program, "%s", error->message);
        }
        g_cond_wait_until(&broker->shared.changed, &broker->shared.lock, until_us);
    }
    const pid_t pid = broker->shared.pid;
    g_mutex_unlock(&broker->shared.lock);
    if (pid != 0)
        end_process(pid);
    return NULL;
}

/* ---- public ---- */

static void
broker_free(KvgBroker *broker)
{
    g_mutex_clear(&broker->shared.lock);
    g_cond_clear(&broker->shared.changed);
    g_free(broker->program);
    g_free(broker->config_path);
    g_free(broker->socket_path);
    g_free(broker->log_path);
    g_free(broker);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgBroker, broker_free)

static bool
start_process(
    KvgBroker *broker, const KvgServer *server, const char *plugin, uint16_t port, GError **error)
{
    for (unsigned i = 0;; i++) {
        g_autoptr(GError) failure = NULL;
        broker->port = port;
        if ((port != 0 || find_port(server->listen_address, &broker->port, &failure)) &&
            write_config(broker, server, plugin, &failure) &&
            spawn(broker, &broker->shared.pid, &failure) &&
            wait_started(broker, broker->shared.pid, &failure))
            return true;
        broker->shared.pid = 0;
        if (port != 0 || i + 1 >= START_TRIES) {
            g_propagate_error(error, g_steal_pointer(&failure));
            return false;
        }
    }
}

KvgBroker *
kvg_broker_start(KvgServer *server, uint16_t port, GError **error)
{
    g_autofree char *folder = g_build_filename(server->data_path, "mqtt", NULL);
    g_autoptr(KvgBroker) broker = g_new0(KvgBroker, 1);
    g_mutex_init(&broker->shared.lock);
    g_cond_init(&broker->shared.changed);
    broker->config_path = g_build_filename(folder, "mosquitto.conf", NULL);
    broker->socket_path = g_build_filename(folder, "socket", NULL);
    broker->log_path = g_build_filename(folder, "mosquitto.log", NULL);
    broker->program = find_program(error);
    g_autofree char *plugin = broker->program != NULL ? find_plugin(error) : NULL;
    if (plugin == NULL || !kvg_dir_make(folder, 0700, error) ||
        !start_process(broker, server, plugin, port, error))
        return NULL;
    broker->thread = g_thread_new("broker", supervise, broker);
    return g_steal_pointer(&broker);
}

void
kvg_broker_stop(KvgBroker *broker)
{
    if (broker == NULL)
        return;
    g_mutex_lock(&broker->shared.lock);
    broker->shared.stopping = true;
    g_cond_signal(&broker->shared.changed);
    g_mutex_unlock(&broker->shared.lock);
    g_thread_join(broker->thread);
    broker_free(broker);
}
