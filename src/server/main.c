/* kvg-server: opens what is in --data, starts three listeners, waits for SIGTERM or SIGINT, and
 * closes everything in reverse order. Requests are routed here and nowhere else. */
#include "base/clock.h"
#include "os/file.h"
#include "os/log.h"
#include "os/notify.h"
#include "server/auth/session.h"
#include "server/control/quotas.h"
#include "server/iot/ca.h"
#include "server/maintain.h"
#include "server/mqtt/broker.h"
#include "server/mqtt/rest.h"
#include "server/options.h"
#include "server/requests.h"
#include "server/server.h"
#include <errno.h>
#include <fcntl.h>
#include <kvg/error.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>

#define LOG_DOMAIN "server"
#define MAINTENANCE_US (30 * G_USEC_PER_SEC)
#define STOP_GRACE_MS 5000
#define EXIT_USAGE 2
/* One place in so many is not for those who read video. */
#define RESERVE_PART 8

typedef struct {
    KvgServer server;
    char *data_path;
    unsigned max_connections;
    KvgFd lock;
    KvgIngest *ingest;
    KvgPlayback *playback;
    KvgHttpServer *https, *mtls, *http;
    KvgMqtt *mqtt; /* NULL: there is no broker here */
    bool mqtt_port_is_free;
    GThread *maintenance;
    struct {
        GMutex lock;
        GCond changed;
        bool stopping;
    } shared;
} Program;

static unsigned
open_connections(const Program *program)
{
    KvgHttpServer *const listeners[] = {program->https, program->mtls, program->http};
    unsigned n = 0;
    for (size_t i = 0; i < G_N_ELEMENTS(listeners); i++)
        if (listeners[i] != NULL)
            n += kvg_http_server_connections(listeners[i]);
    return n;
}

/* What needs no signature. Figures tell of everybody's streams, so they stay on this machine. */
static bool
handle_probe(Program *program, KvgHttpExchange *x)
{
    if (strcmp(kvg_http_method(x), "GET") != 0)
        return false;
    if (strcmp(kvg_http_path(x), "/healthz") == 0) {
        kvg_http_respond_json(x, 200, "{\"status\":\"ok\"}");
        return true;
    }
    if (strcmp(kvg_http_path(x), "/metrics") != 0 || kvg_http_is_tls(x))
        return false;
    kvg_request_metrics(&program->server, x, open_connections(program));
    return true;
}

static void
route(Program *program, KvgHttpExchange *x)
{
    KvgServer *server = &program->server;
    const char *method = kvg_http_method(x), *path = kvg_http_path(x);
    g_autofree char *service = kvg_auth_claimed_service(x);
    if (g_strcmp0(service, "iot") == 0)
        kvg_iot_handle(server, x);
    else if (g_strcmp0(service, "iotdata") == 0)
        kvg_iot_data_handle(server, program->mqtt, x);
    else if (g_strcmp0(service, "iam") == 0 || g_strcmp0(service, "sts") == 0)
        kvg_iam_handle(server, x);
    else if (strcmp(path, "/putMedia") == 0 && strcmp(method, "POST") == 0)
        kvg_ingest_handle(program->ingest, x);
    else if (!kvg_playback_handle(program->playback, x))
        kvg_control_handle(server, x);
}

static void
handle_request(KvgHttpExchange *x, void *user_data)
{
    Program *program = user_data;
    const int64_t began_us = kvg_clock_mono_us();
    if (handle_probe(program, x))
        return;
    route(program, x);
    kvg_request_finished(&program->server, x, began_us);
}

static void
handle_device(KvgHttpExchange *x, void *user_data)
{
    Program *program = user_data;
    const int64_t began_us = kvg_clock_mono_us();
    if (kvg_iot_data_is_path(kvg_http_path(x)))
        kvg_iot_data_handle_device(&program->server, program->mqtt, x);
    else
        kvg_credentials_handle(&program->server, x);
    kvg_request_finished(&program->server, x, began_us);
}

static void
checkpoint(KvgServer *server)
{
    sqlite3 *db = kvg_state_lock(server->state);
    sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    kvg_state_unlock(server->state);
}

static void *
maintain(void *user_data)
{
    Program *program = user_data;
    KvgExpiryClock clock = {0};
    kvg_control_expire(&program->server, &clock); /* the clock as it is now is the one to go by */
    g_mutex_lock(&program->shared.lock);
    while (!program->shared.stopping) {
        const int64_t until = g_get_monotonic_time() + MAINTENANCE_US;
        if (g_cond_wait_until(&program->shared.changed, &program->shared.lock, until))
            continue;
        g_mutex_unlock(&program->shared.lock);
        kvg_control_expire(&program->server, &clock);
        kvg_buffer_expire(program->server.buffer, kvg_clock_mono_us());
        checkpoint(&program->server);
        malloc_trim(0); /* what a burst of connections or fragments has left behind */
        g_mutex_lock(&program->shared.lock);
    }
    g_mutex_unlock(&program->shared.lock);
    return NULL;
}

static void
stop_maintenance(Program *program)
{
    if (program->maintenance == NULL)
        return;
    g_mutex_lock(&program->shared.lock);
    program->shared.stopping = true;
    g_cond_signal(&program->shared.changed);
    g_mutex_unlock(&program->shared.lock);
    g_thread_join(program->maintenance);
}

/* Two servers on one folder would corrupt it. The lock goes with the process, however it ends. */
static bool
lock_folder(Program *program, GError **error)
{
    g_autofree char *path = g_build_filename(program->data_path, "lock", NULL);
    program->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (program->lock >= 0 && flock(program->lock, LOCK_EX | LOCK_NB) == 0)
        return true;
    if (errno == EWOULDBLOCK)
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "%s: another kvg-server uses this folder",
                    program->data_path);
    else
        g_set_error(error, KVG_ERROR, KVG_ERROR_FAILED, "%s: %s", path, g_strerror(errno));
    return false;
}

static bool
open_data(Program *program, GError **error)
{
    KvgServer *server = &program->server;
    g_autofree char *state_path = g_build_filename(program->data_path, "state.db", NULL);
    g_autofree char *store_path = g_build_filename(program->data_path, "store", NULL);
    g_autofree char *keys_path = g_build_filename(program->data_path, "credentials", NULL);
    if (!kvg_dir_make(program->data_path, 0700, error) || !lock_folder(program, error))
        return false;
    server->state = kvg_state_open(state_path, error);
    if (server->state == NULL || !kvg_auth_open(server, error) ||
        !kvg_auth_write_credentials(server, keys_path, error))
        return false;
    server->ca = kvg_ca_open(program->data_path, error);
    if (server->ca == NULL)
        return false;
    server->store = kvg_store_open(&(KvgStoreOptions){.path = store_path}, error);
    if (server->store == NULL || !kvg_control_open(server, error) ||
        !kvg_shadow_open(server, error))
        return false;
    server->live = kvg_live_new();
    server->buffer = kvg_buffer_new();
    program->ingest = kvg_ingest_new(server);
    program->playback = kvg_playback_new(server);
    return true;
}

/* @client_ca_path: ask for client certificates; NULL: do not. */
static SSL_CTX *
make_tls(Program *program, const char *client_ca_path, GError **error)
{
    g_autofree char *certificate = g_build_filename(program->data_path, "server.pem", NULL);
    g_autofree char *key = g_build_filename(program->data_path, "server.key", NULL);
    return kvg_http_tls_context_new(certificate, key, client_ca_path, error);
}

static bool
start_listener(Program *program,
               KvgHttpServer **listener,
               const KvgHttpServerOptions *options,
               uint16_t *port,
               GError **error)
{
    *listener = kvg_http_server_start(options, error);
    if (*listener == NULL) {
        g_prefix_error(error, "%s port %u: ", options->address, options->port);
        return false;
    }
    *port = kvg_http_server_port(*listener);
    return true;
}

/* Everything but MQTT works without it, so a box without mosquitto is told and served; who asks for
 * a port gets it or an error. */
static bool
start_mqtt(Program *program, GError **error)
{
    g_autoptr(GError) failure = NULL;
    KvgServer *server = &program->server;
    const uint16_t port =
        program->mqtt_port_is_free && !kvg_broker_can_listen(server) ? 0 : server->mqtt_port;
    program->mqtt = kvg_mqtt_start(server, port, &failure);
    server->mqtt_port = program->mqtt != NULL ? kvg_mqtt_port(program->mqtt) : 0;
    if (program->mqtt != NULL)
        return true;
    if (!program->mqtt_port_is_free &&
        !g_error_matches(failure, KVG_ERROR, KVG_ERROR_UNSUPPORTED)) {
        g_propagate_prefixed_error(error, g_steal_pointer(&failure), "MQTT: ");
        return false;
    }
    KVG_LOG_WARNING(LOG_DOMAIN, "DATA", server->data_path,
                    "no MQTT and no remote control of cameras: %s", failure->message);
    return true;
}

static bool
start_tls_listeners(Program *program, GError **error)
{
    KvgServer *server = &program->server;
    g_autofree char *ca_path = g_build_filename(program->data_path, "ca.pem", NULL);
    g_autofree char *certificate = g_build_filename(program->data_path, "server.pem", NULL);
    g_autofree char *key = g_build_filename(program->data_path, "server.key", NULL);
    if (!kvg_ca_write_server(server->ca, server->listen_address, certificate, key, error))
        return false;
    if (!start_mqtt(program, error))
        return false;
    SSL_CTX *plain = make_tls(program, NULL, error);
    SSL_CTX *mutual = plain != NULL ? make_tls(program, ca_path, error) : NULL;
    KvgHttpServerOptions devices = {.address = server->listen_address,
                                    .port = server->mtls_port,
                                    .tls = mutual,
                                    .max_connections = program->max_connections,
                                    .handler = handle_device,
                                    .user_data = program};
    KvgHttpServerOptions all = devices;
    all.port = server->https_port;
    all.tls = plain;
    all.handler = handle_request;
    /* Devices first: their port is part of what the APIs answer. */
    const bool ok = mutual != NULL &&
                    start_listener(program, &program->mtls, &devices, &server->mtls_port, error) &&
                    start_listener(program, &program->https, &all, &server->https_port, error);
    SSL_CTX_free(plain);
    SSL_CTX_free(mutual);
    return ok;
}

static bool
is_loopback(const char *address)
{
    return g_str_has_prefix(address, "127.") || strcmp(address, "::1") == 0;
}

static bool
start_listeners(Program *program, GError **error)
{
    KvgServer *server = &program->server;
    /* Without TLS nobody but this machine may listen in. */
    const KvgHttpServerOptions local = {
        .address = is_loopback(server->listen_address) ? server->listen_address : "127.0.0.1",
        .port = server->http_port,
        .max_connections = program->max_connections,
        .handler = handle_request,
        .user_data = program};
    return start_tls_listeners(program, error) &&
           start_listener(program, &program->http, &local, &server->http_port, error);
}

static void
stop_listener(KvgHttpServer *listener)
{
    if (listener != NULL)
        kvg_http_server_stop(listener, STOP_GRACE_MS);
}

static void
shut_down(Program *program)
{
    stop_listener(program->http);
    stop_listener(program->https);
    stop_listener(program->mtls);
    kvg_mqtt_stop(program->mqtt);
    stop_maintenance(program);
    if (program->playback != NULL)
        kvg_playback_free(program->playback);
    if (program->ingest != NULL)
        kvg_ingest_free(program->ingest);
    if (program->server.store != NULL)
        kvg_store_close(program->server.store);
    kvg_live_free(program->server.live);
    kvg_buffer_free(program->server.buffer);
    kvg_ca_close(program->server.ca);
    kvg_state_close(program->server.state);
    kvg_quotas_free(program->server.quotas);
    kvg_metrics_free(program->server.metrics);
    kvg_fd_clear(&program->lock);
    g_free(program->data_path);
    g_cond_clear(&program->shared.changed);
    g_mutex_clear(&program->shared.lock);
}

static void
raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* Blocked before the first thread is made, so that only sigwait() in main sees them. */
static void
block_signals(sigset_t *signals)
{
    sigemptyset(signals);
    sigaddset(signals, SIGTERM);
    sigaddset(signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, signals, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static void
announce(const KvgServer *server)
{
    printf("{\"ready\":true,\"https_port\":%u,\"mtls_port\":%u,\"http_port\":%u,"
           "\"mqtt_port\":%u}\n",
           server->https_port, server->mtls_port, server->http_port, server->mqtt_port);
    fflush(stdout);
    kvg_notify("READY=1");
    KVG_LOG_MESSAGE(LOG_DOMAIN, "DATA", server->data_path, "ready on %s port %u",
                    server->listen_address, server->https_port);
}

static bool
run(Program *program, const sigset_t *signals, GError **error)
{
    if (!open_data(program, error) || !start_listeners(program, error))
        return false;
    program->maintenance = g_thread_new("maintenance", maintain, program);
    announce(&program->server);
    int number = 0;
    sigwait(signals, &number);
    kvg_notify("STOPPING=1");
    KVG_LOG_MESSAGE(LOG_DOMAIN, "DATA", program->data_path, "stopping: %s", strsignal(number));
    return true;
}

int
main(int argc, char **argv)
{
    kvg_log_init();
    g_auto(KvgServerArguments) arguments = {0};
    g_autoptr(GError) error = NULL;
    if (!kvg_server_arguments_parse(&arguments, argv, &error)) {
        fprintf(stderr, "kvg-server: %s\nTry 'kvg-server --help'.\n", error->message);
        return EXIT_USAGE;
    }
    if (arguments.show_version) {
        printf("kvg-server %s\n", KVG_VERSION);
        return EXIT_SUCCESS;
    }
    if (kvg_server_maintains(&arguments))
        return kvg_server_maintain(&arguments);
    sigset_t signals;
    block_signals(&signals);
    raise_file_limit();

    Program program = {
        .server = {.region = arguments.region,
                   .account = arguments.account,
                   .listen_address = arguments.listen_address,
                   .https_port = arguments.https_port,
                   .mtls_port = arguments.mtls_port,
                   .http_port = arguments.http_port,
                   .mqtt_port = arguments.mqtt_port,
                   .change_ms = arguments.change_ms,
                   .max_readers = arguments.max_connections -
                                  (arguments.max_connections + RESERVE_PART - 1) / RESERVE_PART,
                   .metrics = kvg_metrics_new(),
                   .quotas = kvg_quotas_new(arguments.max_streams, arguments.has_call_rates)},
        .max_connections = arguments.max_connections,
        .mqtt_port_is_free = arguments.mqtt_port_is_free,
        .data_path = g_canonicalize_filename(arguments.data_path, NULL),
        .lock = KVG_FD_NONE,
    };
    program.server.data_path = program.data_path;
    g_mutex_init(&program.shared.lock);
    g_cond_init(&program.shared.changed);
    const bool ok = run(&program, &signals, &error);
    if (!ok)
        fprintf(stderr, "kvg-server: %s\n", error->message);
    shut_down(&program);
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
