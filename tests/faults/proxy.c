/* The connections and the bytes; what HTTP means is in proxy_http.c. */
#include "proxy_private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <kvg/error.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_BYTES 16384
#define MAX_QUEUED (256 * 1024)
#define TICK_MS 20
#define BACKLOG 256
/* A side that was told the end gets so long to leave by itself. */
#define LINGER_US (500 * 1000)

/* ---- one end of a connection: a socket, with TLS or without ---- */

typedef enum { WIRE_OK, WIRE_AGAIN, WIRE_END, WIRE_FAILED } WireResult;

static WireResult
judge_tls(SSL *ssl, int result)
{
    const int reason = SSL_get_error(ssl, result);
    ERR_clear_error();
    if (reason == SSL_ERROR_WANT_READ || reason == SSL_ERROR_WANT_WRITE)
        return WIRE_AGAIN;
    return reason == SSL_ERROR_ZERO_RETURN ? WIRE_END : WIRE_FAILED;
}

static WireResult
wire_read(ProxyWire *wire, void *data, size_t size, size_t *len)
{
    ERR_clear_error();
    if (wire->ssl != NULL) {
        const int n = SSL_read(wire->ssl, data, (int)size);
        *len = n > 0 ? (size_t)n : 0;
        return n > 0 ? WIRE_OK : judge_tls(wire->ssl, n);
    }
    const ssize_t n = recv(wire->fd, data, size, 0);
    *len = n > 0 ? (size_t)n : 0;
    if (n > 0)
        return WIRE_OK;
    if (n == 0)
        return WIRE_END;
    return errno == EAGAIN || errno == EINTR || errno == ENOTCONN ? WIRE_AGAIN : WIRE_FAILED;
}

static WireResult
wire_write(ProxyWire *wire, const void *data, size_t size, size_t *len)
{
    ERR_clear_error();
    *len = 0;
    if (wire->ssl != NULL) {
        const int n = SSL_write(wire->ssl, data, (int)size);
        *len = n > 0 ? (size_t)n : 0;
        return n > 0 ? WIRE_OK : judge_tls(wire->ssl, n);
    }
    const ssize_t n = send(wire->fd, data, size, MSG_NOSIGNAL);
    if (n >= 0) {
        *len = (size_t)n;
        return WIRE_OK;
    }
    return errno == EAGAIN || errno == EINTR || errno == ENOTCONN ? WIRE_AGAIN : WIRE_FAILED;
}

static void
wire_end(ProxyWire *wire)
{
    if (wire->ssl != NULL)
        SSL_shutdown(wire->ssl);
    ERR_clear_error();
    shutdown(wire->fd, SHUT_WR);
}

static void
wire_close(ProxyWire *wire, bool with_reset)
{
    if (wire->fd < 0)
        return;
    const struct linger now = {.l_onoff = 1, .l_linger = 0};
    if (with_reset)
        setsockopt(wire->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    SSL_free(wire->ssl);
    close(wire->fd);
    wire->ssl = NULL;
    wire->fd = -1;
}

static void
wire_start(ProxyWire *wire, int fd, SSL_CTX *context, bool is_server)
{
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    wire->fd = fd;
    if (context == NULL)
        return;
    wire->ssl = SSL_new(context);
    SSL_set_mode(wire->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_set_fd(wire->ssl, fd);
    if (is_server)
        SSL_set_accept_state(wire->ssl);
    else
        SSL_set_connect_state(wire->ssl);
}

/* ---- lanes: what came from one end on its way to the other ---- */

typedef struct {
    int64_t due_us;
    GBytes *data;
    size_t done;
} Piece;

static void
piece_free(void *data)
{
    Piece *piece = data;
    g_bytes_unref(piece->data);
    g_free(piece);
}

void
proxy_lane_push(ProxyLane *lane, const void *data, size_t len, int64_t delay_us)
{
    if (len == 0)
        return;
    const Piece *last = g_queue_peek_tail(&lane->pieces);
    Piece *piece = g_new0(Piece, 1);
    piece->data = g_bytes_new(data, len);
    piece->due_us = g_get_monotonic_time() + delay_us;
    if (last != NULL) /* nothing overtakes */
        piece->due_us = MAX(piece->due_us, last->due_us);
    lane->n_queued += len;
    g_queue_push_tail(&lane->pieces, piece);
}

/* False: the lane's far end is lost. */
static bool
flush_lane(ProxyLane *lane, int64_t now_us)
{
    Piece *piece = NULL;
    while ((piece = g_queue_peek_head(&lane->pieces)) != NULL && piece->due_us <= now_us) {
        size_t size, len;
        const uint8_t *data = g_bytes_get_data(piece->data, &size);
        const WireResult result =
            wire_write(lane->to, data + piece->done, size - piece->done, &len);
        lane->is_full = result == WIRE_AGAIN;
        if (result == WIRE_AGAIN)
            return true;
        if (result != WIRE_OK)
            return false;
        piece->done += len;
        lane->n_queued -= len;
        if (piece->done == size)
            piece_free(g_queue_pop_head(&lane->pieces));
    }
    if (lane->has_ended && !lane->has_told_end && g_queue_is_empty(&lane->pieces)) {
        wire_end(lane->to);
        lane->has_told_end = true;
    }
    return true;
}

bool
proxy_strikes(KvgProxy *proxy)
{
    if (proxy->faults.times != 0 && proxy->n_struck >= proxy->faults.times)
        return false;
    proxy->n_struck++;
    if (proxy->counts.struck++ == 0)
        proxy->counts.struck_us = g_get_monotonic_time();
    return true;
}

/* Bytes up to the offset at which something happens to this lane; then it happens. */
static bool
take_bytes(ProxyConnection *c, ProxyLane *lane, const uint8_t *data, size_t len)
{
    const KvgFaults *f = &c->proxy->faults;
    const bool is_up = lane == &c->up;
    const int64_t reset_at = is_up ? f->reset_up_at : f->reset_down_at;
    const int64_t close_at = is_up ? f->half_close_up_at : f->half_close_down_at;
    const int64_t at = reset_at > 0 ? reset_at : close_at;
    const int64_t after = lane->n_passed + (int64_t)len;
    const bool hits = at > 0 && lane->n_passed < at && after >= at && proxy_strikes(c->proxy);
    if (hits)
        len = (size_t)(at - lane->n_passed);
    lane->n_passed += (int64_t)len;
    if (is_up)
        c->proxy->counts.bytes_up += len;
    const int64_t delay_us = f->latency_ms * INT64_C(1000);
    if (c->proxy->is_http)
        proxy_http_take(c, lane, data, len, delay_us);
    else
        proxy_lane_push(lane, data, len, delay_us);
    if (hits && reset_at > 0) {
        flush_lane(lane, INT64_MAX);
        return false;
    }
    lane->has_ended = lane->has_ended || hits;
    return true;
}

static bool
send_instead(ProxyConnection *c, const void *data, size_t len)
{
    proxy_lane_push(&c->down, data, len, 0);
    c->up.has_ended = c->down.has_ended = true;
    c->linger_until_us = g_get_monotonic_time() + LINGER_US;
    return true;
}

/* Instead of a ServerHello. */
static bool
spoil_handshake(ProxyConnection *c)
{
    static const char garbage[] = "SSH-2.0-OpenSSH_9.2p1 this is not TLS\r\n";
    static const uint8_t alert[] = {21, 3, 3, 0, 2, 2, 40}; /* fatal, handshake_failure */
    return c->proxy->faults.garbage ? send_instead(c, garbage, sizeof garbage - 1)
                                    : send_instead(c, alert, sizeof alert);
}

/* False: reset both ends. */
static bool
fill_lane(ProxyConnection *c, ProxyLane *lane, int64_t now_us)
{
    uint8_t buffer[READ_BYTES];
    const KvgFaults *f = &c->proxy->faults;
    const unsigned rate = lane == &c->up ? f->bytes_per_s : 0;
    while (!lane->has_ended && lane->n_queued < MAX_QUEUED && lane->next_read_us <= now_us) {
        const size_t room = rate != 0 ? CLAMP(rate / 20, 1, sizeof buffer) : sizeof buffer;
        size_t len = 0;
        const WireResult result = wire_read(lane->from, buffer, room, &len);
        if (result == WIRE_AGAIN)
            return true;
        if (result == WIRE_END)
            lane->has_ended = true;
        if (result == WIRE_FAILED)
            return false;
        if (result != WIRE_OK)
            break;
        if (rate != 0)
            lane->next_read_us = now_us + (int64_t)len * G_USEC_PER_SEC / rate;
        if ((f->garbage || f->tls_refused) && lane == &c->up && lane->n_passed == 0 &&
            proxy_strikes(c->proxy))
            return spoil_handshake(c);
        if (!take_bytes(c, lane, buffer, len))
            return false;
    }
    return true;
}

/* ---- connections ---- */

static void
close_connection(ProxyConnection *c, bool with_reset)
{
    wire_close(&c->client, with_reset);
    wire_close(&c->server, with_reset);
    g_queue_clear_full(&c->up.pieces, piece_free);
    g_queue_clear_full(&c->down.pieces, piece_free);
    proxy_http_clear(c);
    g_free(c);
}

void
proxy_connection_end(ProxyConnection *c)
{
    c->up.has_ended = c->down.has_ended = true;
    g_queue_clear_full(&c->up.pieces, piece_free);
    c->up.n_queued = 0;
    c->up.has_told_end = true;
    c->linger_until_us = g_get_monotonic_time() + LINGER_US;
    /* What the server has of an unfinished fragment it must not keep. */
    wire_close(&c->server, true);
}

typedef enum { KEEP, DONE, RESET } Verdict;

static Verdict
serve_connection(ProxyConnection *c, int64_t now_us)
{
    if (c->proxy->faults.black_hole)
        return KEEP;
    if (c->server.fd >= 0 && !fill_lane(c, &c->up, now_us) && c->linger_until_us == 0)
        return RESET;
    if (c->server.fd >= 0 && (!flush_lane(&c->up, now_us) || !fill_lane(c, &c->down, now_us)) &&
        c->linger_until_us == 0)
        return RESET;
    if (!flush_lane(&c->down, now_us))
        return RESET;
    if (c->linger_until_us != 0)
        return now_us >= c->linger_until_us ? DONE : KEEP;
    return c->up.has_told_end && c->down.has_told_end ? DONE : KEEP;
}

static int
connect_server(uint16_t port)
{
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) != 0 &&
        errno != EINPROGRESS) {
        close(fd);
        return -1;
    }
    return fd;
}

static void
accept_connections(KvgProxy *proxy)
{
    int fd;
    while (proxy->is_listening &&
           (fd = accept4(proxy->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        const int to = connect_server(proxy->to_port);
        if (to < 0) {
            close(fd);
            continue;
        }
        ProxyConnection *c = g_new0(ProxyConnection, 1);
        c->proxy = proxy;
        wire_start(&c->client, fd, proxy->tls, true);
        wire_start(&c->server, to, proxy->upstream_tls, false);
        c->up = (ProxyLane){.from = &c->client, .to = &c->server, .pieces = G_QUEUE_INIT};
        c->down = (ProxyLane){.from = &c->server, .to = &c->client, .pieces = G_QUEUE_INIT};
        proxy->counts.connections++;
        g_ptr_array_add(proxy->connections, c);
    }
}

static void
set_reuse(int fd, int on)
{
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
}

/* Bound, so that the port stays ours: it refuses until somebody listens. Sharing it is allowed only
 * for the moment in which connections of the past may be in the way. */
static int
bind_port(uint16_t *port)
{
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(*port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    set_reuse(fd, *port != 0);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) != 0) {
        close(fd);
        return -1;
    }
    set_reuse(fd, 0);
    *port = ntohs(address.sin_port);
    return fd;
}

static bool
listen_on(int fd)
{
    set_reuse(fd, 1);
    return listen(fd, BACKLOG) == 0;
}

static void
apply_refuse(KvgProxy *proxy)
{
    uint16_t port = proxy->port;
    if (proxy->faults.refuse && proxy->is_listening) {
        close(proxy->listen_fd);
        proxy->listen_fd = -1;
        proxy->is_listening = false;
    }
    if (proxy->listen_fd < 0)
        proxy->listen_fd = bind_port(&port);
    if (!proxy->faults.refuse && !proxy->is_listening)
        proxy->is_listening = listen_on(proxy->listen_fd);
}

static void
cut_connections(KvgProxy *proxy)
{
    for (guint i = 0; i < proxy->connections->len; i++)
        close_connection(g_ptr_array_index(proxy->connections, i), true);
    g_ptr_array_set_size(proxy->connections, 0);
    proxy->cut = false;
}

static void
serve(KvgProxy *proxy)
{
    apply_refuse(proxy);
    if (proxy->cut || proxy->faults.refuse)
        cut_connections(proxy);
    accept_connections(proxy);
    const int64_t now_us = g_get_monotonic_time();
    for (guint i = 0; i < proxy->connections->len;) {
        ProxyConnection *c = g_ptr_array_index(proxy->connections, i);
        const Verdict verdict = serve_connection(c, now_us);
        if (verdict == KEEP) {
            i++;
            continue;
        }
        close_connection(c, verdict == RESET);
        g_ptr_array_remove_index_fast(proxy->connections, i);
    }
}

/* ---- the thread ---- */

static void
want(GArray *fds, int fd, short events)
{
    const struct pollfd item = {.fd = fd, .events = events};
    if (fd >= 0)
        g_array_append_val(fds, item);
}

static void
collect_fds(KvgProxy *proxy, GArray *fds)
{
    g_array_set_size(fds, 0);
    want(fds, proxy->wake_fd, POLLIN);
    want(fds, proxy->is_listening ? proxy->listen_fd : -1, POLLIN);
    for (guint i = 0; !proxy->faults.black_hole && i < proxy->connections->len; i++) {
        const ProxyConnection *c = g_ptr_array_index(proxy->connections, i);
        const bool reads_up = !c->up.has_ended && c->up.n_queued < MAX_QUEUED &&
                              c->up.next_read_us <= g_get_monotonic_time();
        const bool reads_down = !c->down.has_ended && c->down.n_queued < MAX_QUEUED;
        want(fds, reads_up || c->down.is_full ? c->client.fd : -1,
             (short)((reads_up ? POLLIN : 0) | (c->down.is_full ? POLLOUT : 0)));
        want(fds, reads_down || c->up.is_full ? c->server.fd : -1,
             (short)((reads_down ? POLLIN : 0) | (c->up.is_full ? POLLOUT : 0)));
    }
}

static void *
proxy_thread(void *data)
{
    KvgProxy *proxy = data;
    sigset_t broken; /* OpenSSL writes into lost connections */
    sigemptyset(&broken);
    sigaddset(&broken, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &broken, NULL);
    g_autoptr(GArray) fds = g_array_new(FALSE, FALSE, sizeof(struct pollfd));
    for (;;) {
        pthread_mutex_lock(&proxy->lock);
        if (proxy->stop) {
            cut_connections(proxy);
            pthread_mutex_unlock(&proxy->lock);
            return NULL;
        }
        serve(proxy);
        collect_fds(proxy, fds);
        pthread_mutex_unlock(&proxy->lock);
        struct pollfd *first = (struct pollfd *)(void *)fds->data;
        poll(first, fds->len, TICK_MS);
        uint64_t count;
        if (first[0].revents != 0 && read(proxy->wake_fd, &count, sizeof count) < 0)
            continue;
    }
}

static void
wake(KvgProxy *proxy)
{
    const uint64_t one = 1;
    if (write(proxy->wake_fd, &one, sizeof one) < 0)
        g_assert_cmpint(errno, ==, EAGAIN);
}

/* ---- public ---- */

KvgProxy *
kvg_proxy_start(const KvgProxyOptions *options, GError **error)
{
    uint16_t port = 0;
    const int fd = bind_port(&port);
    if (fd < 0 || !listen_on(fd)) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_FAILED, "listen: %s", g_strerror(errno));
        return NULL;
    }
    KvgProxy *proxy = g_new0(KvgProxy, 1);
    pthread_mutex_init(&proxy->lock, NULL);
    proxy->port = port;
    proxy->listen_fd = fd;
    proxy->is_listening = true;
    proxy->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    proxy->to_port = options->to_port;
    proxy->is_http = options->is_http;
    proxy->tls = options->tls;
    proxy->upstream_tls = options->upstream_tls;
    if (proxy->tls != NULL)
        SSL_CTX_up_ref(proxy->tls);
    if (proxy->upstream_tls != NULL)
        SSL_CTX_up_ref(proxy->upstream_tls);
    proxy->access_key = g_strdup(options->access_key);
    proxy->secret_key = g_strdup(options->secret_key);
    proxy->connections = g_ptr_array_new();
    proxy->expired = g_ptr_array_new_with_free_func(g_free);
    pthread_create(&proxy->thread, NULL, proxy_thread, proxy);
    pthread_setname_np(proxy->thread, "fault-proxy");
    return proxy;
}

void
kvg_proxy_stop(KvgProxy *proxy)
{
    if (proxy == NULL)
        return;
    pthread_mutex_lock(&proxy->lock);
    proxy->stop = true;
    pthread_mutex_unlock(&proxy->lock);
    wake(proxy);
    pthread_join(proxy->thread, NULL);
    close(proxy->listen_fd);
    close(proxy->wake_fd);
    SSL_CTX_free(proxy->tls);
    SSL_CTX_free(proxy->upstream_tls);
    g_ptr_array_unref(proxy->connections);
    g_ptr_array_unref(proxy->expired);
    g_free(proxy->last_key);
    g_free(proxy->access_key);
    g_free(proxy->secret_key);
    pthread_mutex_destroy(&proxy->lock);
    g_free(proxy);
}

uint16_t
kvg_proxy_port(const KvgProxy *proxy)
{
    return proxy->port;
}

void
kvg_proxy_set(KvgProxy *proxy, const KvgFaults *faults)
{
    pthread_mutex_lock(&proxy->lock);
    proxy->faults = faults != NULL ? *faults : (KvgFaults){0};
    proxy->n_struck = 0;
    pthread_mutex_unlock(&proxy->lock);
    wake(proxy);
}

void
kvg_proxy_cut(KvgProxy *proxy)
{
    pthread_mutex_lock(&proxy->lock);
    proxy->cut = true;
    pthread_mutex_unlock(&proxy->lock);
    wake(proxy);
}

void
kvg_proxy_expire_key(KvgProxy *proxy)
{
    pthread_mutex_lock(&proxy->lock);
    if (proxy->last_key != NULL)
        g_ptr_array_add(proxy->expired, g_steal_pointer(&proxy->last_key));
    proxy->cut = true;
    pthread_mutex_unlock(&proxy->lock);
    wake(proxy);
}

void
kvg_proxy_get_counts(KvgProxy *proxy, KvgProxyCounts *counts)
{
    pthread_mutex_lock(&proxy->lock);
    *counts = proxy->counts;
    pthread_mutex_unlock(&proxy->lock);
}
