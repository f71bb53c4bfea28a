/* Bytes of one connection, plain or TLS. The socket is non-blocking; waiting is poll() on socket
 * and wake descriptor with a deadline, so nothing here can block for ever. OpenSSL is always asked
 * before poll: it may hold decrypted bytes of which the socket knows nothing. */
#include "http/private.h"

#include "base/clock.h"
#include <errno.h>
#include <openssl/err.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define WRITE_TIMEOUT_US (30 * G_USEC_PER_SEC)
#define LINGER_US (1 * G_USEC_PER_SEC)
#define LINGER_BYTES 65536

typedef enum { WAIT_READY, WAIT_WOKEN, WAIT_TIMEOUT, WAIT_FAILED } Wait;

static Wait
wait_for(KvgHttpExchange *x, short events, bool wakeable, int64_t deadline_us)
{
    if (kvg_http_server_is_aborting(x->server))
        return WAIT_FAILED;
    const int64_t now_us = kvg_clock_mono_us();
    if (now_us >= deadline_us)
        return WAIT_TIMEOUT;
    /* One minute at most: a missed wake-up could then only cost that. */
    const int timeout_ms = (int)MIN((deadline_us - now_us + 999) / 1000, 60000);
    struct pollfd fds[] = {{.fd = x->fd, .events = events},
                           {.fd = wakeable ? x->wake_fd : -1, .events = POLLIN}};
    const int n = poll(fds, G_N_ELEMENTS(fds), timeout_ms);
    if (n < 0 && errno != EINTR)
        return WAIT_FAILED;
    if (n <= 0)
        return WAIT_READY; /* the caller tries and comes back to the deadline */
    if (!fds[1].revents)
        return WAIT_READY;
    eventfd_t ignored;
    if (eventfd_read(x->wake_fd, &ignored) < 0 && errno != EAGAIN)
        return WAIT_FAILED;
    return WAIT_WOKEN;
}

/* What to poll for after an SSL call that did not succeed; 0: give up. */
static short
ssl_wants(SSL *ssl, int result)
{
    switch (SSL_get_error(ssl, result)) {
    case SSL_ERROR_WANT_READ:
        return POLLIN;
    case SSL_ERROR_WANT_WRITE:
        return POLLOUT;
    default:
        return 0;
    }
}

static int
on_verify(int is_ok, X509_STORE_CTX *context)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(context, SSL_get_ex_data_X509_STORE_CTX_idx());
    KvgHttpExchange *x = ssl ? SSL_get_app_data(ssl) : NULL;
    if (!is_ok && x)
        x->verify_failed = true;
    return 1; /* the handler decides */
}

bool
kvg_http_io_handshake(KvgHttpExchange *x, SSL_CTX *tls, int64_t deadline_us)
{
    x->ssl = SSL_new(tls);
    if (!x->ssl || !SSL_set_fd(x->ssl, x->fd))
        return false;
    SSL_set_app_data(x->ssl, x);
    SSL_set_mode(x->ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                             SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (SSL_get_verify_mode(x->ssl) & SSL_VERIFY_PEER)
        SSL_set_verify(x->ssl, SSL_VERIFY_PEER | SSL_VERIFY_CLIENT_ONCE, on_verify);
    for (;;) {
        ERR_clear_error();
        const int result = SSL_accept(x->ssl);
        if (result == 1)
            break;
        const short events = ssl_wants(x->ssl, result);
        const bool wakeable = !kvg_http_server_is_stopping(x->server);
        const Wait waited = events ? wait_for(x, events, wakeable, deadline_us) : WAIT_FAILED;
        if (waited != WAIT_READY)
            return false;
    }
    x->peer_certificate = SSL_get1_peer_certificate(x->ssl);
    return true;
}

/* One attempt: bytes, end, failure, or what to wait for in *events. */
static KvgHttpIo
try_read(KvgHttpExchange *x, void *buffer, size_t size, size_t *len, short *events)
{
    *events = POLLIN;
    if (!x->ssl) {
        const ssize_t n = recv(x->fd, buffer, size, 0);
        *len = n > 0 ? (size_t)n : 0;
        if (n > 0)
            return KVG_HTTP_IO_DATA;
        if (n == 0)
            return KVG_HTTP_IO_END;
        return errno == EAGAIN || errno == EINTR ? KVG_HTTP_IO_TIMEOUT : KVG_HTTP_IO_FAILED;
    }
    ERR_clear_error();
    const int result = SSL_read_ex(x->ssl, buffer, size, len);
    if (result == 1)
        return KVG_HTTP_IO_DATA;
    *len = 0;
    if (SSL_get_error(x->ssl, result) == SSL_ERROR_ZERO_RETURN)
        return KVG_HTTP_IO_END;
    *events = ssl_wants(x->ssl, result);
    return *events ? KVG_HTTP_IO_TIMEOUT : KVG_HTTP_IO_FAILED;
}

KvgHttpIo
kvg_http_io_read(
    KvgHttpExchange *x, void *buffer, size_t size, size_t *len, bool wakeable, int64_t deadline_us)
{
    *len = 0;
    if (x->is_gone)
        return KVG_HTTP_IO_FAILED;
    for (;;) {
        if (wakeable && g_atomic_int_compare_and_exchange(&x->woken, 1, 0))
            return KVG_HTTP_IO_WOKEN;
        short events;
        const KvgHttpIo result = try_read(x, buffer, size, len, &events);
        if (result == KVG_HTTP_IO_FAILED)
            x->is_gone = true;
        if (result != KVG_HTTP_IO_TIMEOUT)
            return result;
        switch (wait_for(x, events, wakeable, deadline_us)) {
        case WAIT_TIMEOUT:
            return KVG_HTTP_IO_TIMEOUT;
        case WAIT_FAILED:
            x->is_gone = true;
            return KVG_HTTP_IO_FAILED;
        case WAIT_WOKEN:
        case WAIT_READY:
            break;
        }
    }
}

/* Bytes taken; 0: wait for *events; -1: gone. */
static ssize_t
try_write(KvgHttpExchange *x, const uint8_t *data, size_t len, short *events)
{
    *events = POLLOUT;
    if (!x->ssl) {
        const ssize_t n = send(x->fd, data, len, MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR ? 0 : -1;
        return n;
    }
    size_t written = 0;
    ERR_clear_error();
    const int result = SSL_write_ex(x->ssl, data, len, &written);
    if (result == 1)
        return (ssize_t)written;
    *events = ssl_wants(x->ssl, result);
    return *events ? 0 : -1;
}

bool
kvg_http_io_write(KvgHttpExchange *x, const void *data, size_t len)
{
    const uint8_t *at = data;
    int64_t deadline_us = kvg_clock_mono_us() + WRITE_TIMEOUT_US;
    while (len > 0 && !x->is_gone) {
        short events;
        const ssize_t n = try_write(x, at, len, &events);
        if (n > 0) {
            x->sent_bytes += (uint64_t)n;
            at += n;
            len -= (size_t)n;
            deadline_us = kvg_clock_mono_us() + WRITE_TIMEOUT_US;
            continue;
        }
        if (n < 0 || wait_for(x, events, false, deadline_us) != WAIT_READY)
            x->is_gone = true;
    }
    return !x->is_gone;
}

/* Closing with unread input makes the kernel reset the connection, which can take the response away
 * from the peer before it has read it. */
static void
linger(KvgHttpExchange *x)
{
    uint8_t waste[4096];
    size_t total = 0;
    const int64_t deadline_us = kvg_clock_mono_us() + LINGER_US;
    while (total < LINGER_BYTES && !kvg_http_server_is_stopping(x->server)) {
        const ssize_t n = recv(x->fd, waste, sizeof waste, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            return;
        if (n > 0)
            total += (size_t)n;
        else if (wait_for(x, POLLIN, false, deadline_us) != WAIT_READY)
            return;
    }
}

void
kvg_http_io_close(KvgHttpExchange *x)
{
    if (x->ssl && !x->is_gone) {
        ERR_clear_error();
        SSL_shutdown(x->ssl);
    }
    if (!x->is_gone && shutdown(x->fd, SHUT_WR) == 0)
        linger(x);
    g_clear_pointer(&x->peer_certificate, X509_free);
    g_clear_pointer(&x->ssl, SSL_free);
}

bool
kvg_http_peer_has_left(const KvgHttpExchange *x)
{
    struct pollfd fd = {.fd = x->fd, .events = POLLRDHUP};
    return x->is_gone || poll(&fd, 1, 0) != 0;
}
