/* The listener: one thread accepts, each connection has a thread of its own. Finished connections
 * are joined by the acceptor, or by stop, so that nothing outlives the server. */
#include "http/private.h"

#include "base/clock.h"
#include <errno.h>
#include <fcntl.h>
#include <kvg/error.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* Handlers keep buffers on the heap; OpenSSL needs some 30 KiB. */
#define STACK_BYTES (256 * 1024)
/* How long an evicted connection may take to end before another is looked for. */
#define ROOM_WAIT_MS 100

struct _KvgHttpServer {
    KvgHttpServerOptions options;
    char *address;
    int listen_fd;
    int notify_fd; /* eventfd: a connection finished, or stop */
    uint16_t port;
    pthread_t acceptor;
    gint is_stopping; /* atomic */
    gint is_aborting; /* atomic */

    /* Protects connections, and fd and is_finished of each. */
    pthread_mutex_t lock;
    pthread_cond_t finished; /* by CLOCK_MONOTONIC */
    GPtrArray *connections;
};

bool
kvg_http_server_is_stopping(KvgHttpServer *server)
{
    return g_atomic_int_get(&server->is_stopping) != 0;
}

bool
kvg_http_server_is_aborting(KvgHttpServer *server)
{
    return g_atomic_int_get(&server->is_aborting) != 0;
}

const KvgHttpServerOptions *
kvg_http_server_options(const KvgHttpServer *server)
{
    return &server->options;
}

uint16_t
kvg_http_server_port(const KvgHttpServer *server)
{
    return server->port;
}

unsigned
kvg_http_server_connections(KvgHttpServer *server)
{
    pthread_mutex_lock(&server->lock);
    const unsigned n = server->connections->len;
    pthread_mutex_unlock(&server->lock);
    return n;
}

static void
connection_free(KvgHttpExchange *x)
{
    close(x->wake_fd);
    kvg_http1_free(x->parser);
    g_free(x->request_id);
    g_free(x->peer_address);
    g_free(x->input);
    g_free(x);
}

static void *
connection_thread(void *data)
{
    KvgHttpExchange *x = data;
    KvgHttpServer *server = x->server;
    /* OpenSSL writes by write(); a peer that went away must not end the process. */
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);

    kvg_http_connection_run(x);

    pthread_mutex_lock(&server->lock);
    close(x->fd);
    x->fd = -1;
    x->is_finished = true;
    pthread_cond_signal(&server->finished);
    eventfd_write(server->notify_fd, 1);
    pthread_mutex_unlock(&server->lock);
    return NULL;
}

static char *
address_text(const struct sockaddr *address, socklen_t len)
{
    char host[NI_MAXHOST] = "";
    if (getnameinfo(address, len, host, sizeof host, NULL, 0, NI_NUMERICHOST) != 0)
        return g_strdup("unknown");
    return g_strdup(g_str_has_prefix(host, "::ffff:") ? host + strlen("::ffff:") : host);
}

static uint16_t
local_port(int fd)
{
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &len) < 0)
        return 0;
    return address.ss_family == AF_INET6
               ? ntohs(((struct sockaddr_in6 *)(void *)&address)->sin6_port)
               : ntohs(((struct sockaddr_in *)(void *)&address)->sin_port);
}

/* Takes @fd. */
static void
connection_start(KvgHttpServer *server, int fd, const struct sockaddr *peer, socklen_t peer_len)
{
    const int one = 1;
    const int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake_fd < 0) {
        close(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    KvgHttpExchange *x = g_new0(KvgHttpExchange, 1);
    x->server = server;
    x->fd = fd;
    x->wake_fd = wake_fd;
    x->peer_address = address_text(peer, peer_len);
    x->local_port = local_port(fd);
    x->input = g_malloc(KVG_HTTP_INPUT_BYTES);
    kvg_http_set_waiting(x, true);
    x->parser = kvg_http1_new(&(KvgHttp1Options){.max_head_bytes = server->options.max_head_bytes});

    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    pthread_mutex_lock(&server->lock);
    const int failure = pthread_create(&x->thread, &attributes, connection_thread, x);
    if (failure == 0)
        g_ptr_array_add(server->connections, x);
    pthread_mutex_unlock(&server->lock);
    pthread_attr_destroy(&attributes);
    if (failure == 0)
        return;
    g_warning("http: no thread for a connection: %s", g_strerror(failure));
    close(fd);
    connection_free(x);
}

static KvgHttpExchange *
take_finished(KvgHttpServer *server)
{
    for (guint i = 0; i < server->connections->len; i++) {
        KvgHttpExchange *x = server->connections->pdata[i];
        if (x->is_finished) {
            g_ptr_array_remove_index_fast(server->connections, i);
            return x;
        }
    }
    return NULL;
}

/* Joins what has ended; returns how many are left. */
static guint
reap(KvgHttpServer *server)
{
    for (;;) {
        pthread_mutex_lock(&server->lock);
        KvgHttpExchange *x = take_finished(server);
        const guint left = server->connections->len;
        pthread_mutex_unlock(&server->lock);
        if (!x)
            return left;
        pthread_join(x->thread, NULL);
        connection_free(x);
    }
}

/* Whoever has kept a place longest without asking for anything gives it up: idle connections,
 * however many, keep nobody out. False: all are at work. */
static bool
make_room(KvgHttpServer *server)
{
    KvgHttpExchange *longest = NULL;
    gint since_s = G_MAXINT;
    pthread_mutex_lock(&server->lock);
    for (guint i = 0; i < server->connections->len; i++) {
        KvgHttpExchange *x = server->connections->pdata[i];
        const gint one_s = g_atomic_int_get(&x->waits_since_s);
        if (one_s == 0 || one_s >= since_s || x->fd < 0)
            continue;
        longest = x;
        since_s = one_s;
    }
    if (longest != NULL) {
        g_atomic_int_set(&longest->waits_since_s, G_MAXINT); /* not a second time */
        shutdown(longest->fd, SHUT_RDWR);
    }
    pthread_mutex_unlock(&server->lock);
    return longest != NULL;
}

static void
accept_one(KvgHttpServer *server, bool is_full)
{
    struct sockaddr_storage peer = {0};
    socklen_t len = sizeof peer;
    const int fd =
        accept4(server->listen_fd, (struct sockaddr *)&peer, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        /* Out of descriptors the listener stays readable: do not spin. */
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            g_usleep(50 * 1000);
        return;
    }
    if (is_full)
        close(fd);
    else
        connection_start(server, fd, (struct sockaddr *)&peer, len);
}

static void *
acceptor_thread(void *data)
{
    KvgHttpServer *server = data;
    bool waits_for_room = false;
    while (!kvg_http_server_is_stopping(server)) {
        struct pollfd fds[] = {{.fd = waits_for_room ? -1 : server->listen_fd, .events = POLLIN},
                               {.fd = server->notify_fd, .events = POLLIN}};
        const int timeout_ms = waits_for_room ? ROOM_WAIT_MS : -1;
        if (poll(fds, G_N_ELEMENTS(fds), timeout_ms) < 0 && errno != EINTR)
            break;
        eventfd_t ignored;
        if (fds[1].revents & POLLIN)
            eventfd_read(server->notify_fd, &ignored);
        const bool is_full = reap(server) >= server->options.max_connections;
        waits_for_room = false;
        if (!(fds[0].revents & POLLIN))
            continue;
        /* The newcomer stays in the queue of the socket until there is a place. */
        waits_for_room = is_full && make_room(server);
        if (!waits_for_room)
            accept_one(server, is_full);
    }
    return NULL;
}

static int
listen_on(const char *address, uint16_t port, GError **error)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC,
                                   .ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE};
    char service[8];
    g_snprintf(service, sizeof service, "%u", port);
    struct addrinfo *info = NULL;
    const int failure = getaddrinfo(address, service, &hints, &info);
    if (failure != 0) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "listen address '%s': %s", address,
                    gai_strerror(failure));
        return -1;
    }
    const int one = 1;
    const int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd < 0 || bind(fd, info->ai_addr, info->ai_addrlen) < 0 || listen(fd, 256) < 0) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_FAILED, "listen on %s port %u: %s", address, port,
                    g_strerror(errno));
        freeaddrinfo(info);
        if (fd >= 0)
            close(fd);
        return -1;
    }
    freeaddrinfo(info);
    return fd;
}

static void
server_free(KvgHttpServer *server)
{
    close(server->listen_fd);
    close(server->notify_fd);
    g_clear_pointer(&server->options.tls, SSL_CTX_free);
    g_ptr_array_unref(server->connections);
    pthread_mutex_destroy(&server->lock);
    pthread_cond_destroy(&server->finished);
    g_free(server->address);
    g_free(server);
}

static void
apply_defaults(KvgHttpServerOptions *options)
{
    if (!options->max_connections)
        options->max_connections = 1024;
    if (!options->head_timeout_ms)
        options->head_timeout_ms = 10000;
    if (!options->idle_timeout_ms)
        options->idle_timeout_ms = 60000;
    if (!options->max_head_bytes)
        options->max_head_bytes = 32768;
}

static void
init_condition(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
}

KvgHttpServer *
kvg_http_server_start(const KvgHttpServerOptions *options, GError **error)
{
    g_return_val_if_fail(options->handler != NULL, NULL);
    const char *address = options->address ? options->address : "127.0.0.1";
    const int fd = listen_on(address, options->port, error);
    if (fd < 0)
        return NULL;
    KvgHttpServer *server = g_new0(KvgHttpServer, 1);
    server->options = *options;
    server->address = g_strdup(address);
    server->options.address = server->address;
    apply_defaults(&server->options);
    if (server->options.tls)
        SSL_CTX_up_ref(server->options.tls);
    server->listen_fd = fd;
    server->port = local_port(fd);
    server->connections = g_ptr_array_new();
    pthread_mutex_init(&server->lock, NULL);
    init_condition(&server->finished);
    server->notify_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    const int failure = server->notify_fd < 0
                            ? errno
                            : pthread_create(&server->acceptor, NULL, acceptor_thread, server);
    if (failure == 0)
        return server;
    g_set_error(error, KVG_ERROR, KVG_ERROR_FAILED, "start HTTP server: %s", g_strerror(failure));
    server_free(server);
    return NULL;
}

static bool
all_finished(const KvgHttpServer *server)
{
    for (guint i = 0; i < server->connections->len; i++)
        if (!((const KvgHttpExchange *)server->connections->pdata[i])->is_finished)
            return false;
    return true;
}

/* Wakes everyone, waits for the grace, then cuts the rest off. */
static void
end_connections(KvgHttpServer *server, unsigned grace_ms)
{
    const int64_t deadline_us = kvg_clock_mono_us() + (int64_t)grace_ms * 1000;
    const struct timespec deadline = {.tv_sec = deadline_us / G_USEC_PER_SEC,
                                      .tv_nsec = deadline_us % G_USEC_PER_SEC * 1000};
    pthread_mutex_lock(&server->lock);
    for (guint i = 0; i < server->connections->len; i++)
        kvg_http_wake(server->connections->pdata[i]);
    bool in_time = true;
    while (in_time && !all_finished(server))
        in_time = pthread_cond_timedwait(&server->finished, &server->lock, &deadline) == 0;
    g_atomic_int_set(&server->is_aborting, 1);
    for (guint i = 0; i < server->connections->len; i++) {
        KvgHttpExchange *x = server->connections->pdata[i];
        if (x->fd >= 0)
            shutdown(x->fd, SHUT_RDWR);
        kvg_http_wake(x);
    }
    while (!all_finished(server))
        pthread_cond_wait(&server->finished, &server->lock);
    pthread_mutex_unlock(&server->lock);
}

void
kvg_http_server_stop(KvgHttpServer *server, unsigned grace_ms)
{
    if (!server)
        return;
    g_atomic_int_set(&server->is_stopping, 1);
    eventfd_write(server->notify_fd, 1);
    pthread_join(server->acceptor, NULL);
    end_connections(server, grace_ms);
    reap(server);
    server_free(server);
}
