/* The proxy itself: each fault, seen from plain sockets. */
#include "http/server.h"
#include "proxy.h"
#include "wire/ack.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define WAIT_MS 20000

/* ---- the server: echoes on a plain port, or speaks HTTP ---- */

typedef struct {
    KvgProxy *proxy;
    int listen_fd; /* echo; -1: HTTP */
    GThread *echo;
    KvgHttpServer *http;
} Fixture;

static void *
echo_thread(void *data)
{
    const Fixture *x = data;
    int fd;
    while ((fd = accept(x->listen_fd, NULL, NULL)) >= 0) {
        char buffer[4096];
        ssize_t n;
        while ((n = recv(fd, buffer, sizeof buffer, 0)) > 0)
            g_assert_cmpint(send(fd, buffer, (size_t)n, MSG_NOSIGNAL), !=, 0);
        close(fd);
    }
    return NULL;
}

static void
send_ack(KvgHttpExchange *x, KvgAckType type, int64_t timecode_ms)
{
    const KvgAck ack = {.type = type, .timecode_ms = timecode_ms, .fragment_number = "123"};
    g_autofree char *text = kvg_ack_to_text(&ack);
    kvg_http_write_chunk(x, text, strlen(text));
}

/* PutMedia in which each byte of the body is a fragment. */
static void
handle(KvgHttpExchange *x, void *user_data)
{
    char byte;
    size_t len;
    int64_t timecode = 0;
    if (strcmp(kvg_http_path(x), "/putMedia") != 0) {
        g_bytes_unref(kvg_http_read_all(x, 1000, NULL));
        kvg_http_respond_json(x, 200, "{\"real\":true}");
        return;
    }
    kvg_http_begin_stream(x, 200, NULL, 0);
    while (kvg_http_read(x, &byte, 1, &len, WAIT_MS, NULL) == KVG_HTTP_READ_DATA) {
        send_ack(x, KVG_ACK_BUFFERING, ++timecode);
        send_ack(x, KVG_ACK_PERSISTED, timecode);
    }
    kvg_http_end_stream(x);
}

static void
set_up_tcp(Fixture *x, gconstpointer unused)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    x->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(bind(x->listen_fd, (struct sockaddr *)&address, len), ==, 0);
    g_assert_cmpint(listen(x->listen_fd, 8), ==, 0);
    g_assert_cmpint(getsockname(x->listen_fd, (struct sockaddr *)&address, &len), ==, 0);
    x->echo = g_thread_new("echo", echo_thread, x);
    x->proxy = kvg_proxy_start(&(KvgProxyOptions){.to_port = ntohs(address.sin_port)}, NULL);
    g_assert_nonnull(x->proxy);
}

static void
set_up_http(Fixture *x, gconstpointer unused)
{
    x->listen_fd = -1;
    x->http = kvg_http_server_start(&(KvgHttpServerOptions){.handler = handle}, NULL);
    g_assert_nonnull(x->http);
    const KvgProxyOptions options = {.to_port = kvg_http_server_port(x->http), .is_http = true};
    x->proxy = kvg_proxy_start(&options, NULL);
    g_assert_nonnull(x->proxy);
}

static void
tear_down(Fixture *x, gconstpointer unused)
{
    kvg_proxy_stop(x->proxy);
    if (x->http != NULL)
        kvg_http_server_stop(x->http, 0);
    if (x->listen_fd < 0)
        return;
    shutdown(x->listen_fd, SHUT_RDWR);
    g_thread_join(x->echo);
    close(x->listen_fd);
}

/* ---- the client ---- */

static int
try_connect(const Fixture *x)
{
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_port = htons(kvg_proxy_port(x->proxy)),
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    close(fd);
    return -1;
}

static void
put(int fd, const char *text)
{
    g_assert_cmpint(send(fd, text, strlen(text), MSG_NOSIGNAL), ==, strlen(text));
}

/* All that comes until the end, a reset (*error) or @most bytes. */
static char *
take(int fd, size_t most, int *error)
{
    GString *all = g_string_new(NULL);
    *error = 0;
    while (all->len < most) {
        struct pollfd item = {.fd = fd, .events = POLLIN};
        g_assert_cmpint(poll(&item, 1, WAIT_MS), ==, 1);
        char buffer[4096];
        const ssize_t n = recv(fd, buffer, MIN(sizeof buffer, most - all->len), 0);
        *error = n < 0 ? errno : 0;
        if (n <= 0)
            break;
        g_string_append_len(all, buffer, n);
    }
    return g_string_free(all, FALSE);
}

static void
expect(int fd, size_t most, const char *text, int error)
{
    int got_error;
    g_autofree char *got = take(fd, most, &got_error);
    g_assert_cmpstr(got, ==, text);
    g_assert_cmpint(got_error, ==, error);
}

static bool
is_silent(int fd, int ms)
{
    struct pollfd item = {.fd = fd, .events = POLLIN};
    return poll(&item, 1, ms) == 0;
}

/* ---- TCP ---- */

static void
test_passes(Fixture *x, gconstpointer unused)
{
    const int fd = try_connect(x);
    put(fd, "hello");
    expect(fd, 5, "hello", 0);
    shutdown(fd, SHUT_WR);
    expect(fd, 5, "", 0);
    close(fd);
    KvgProxyCounts counts;
    kvg_proxy_get_counts(x->proxy, &counts);
    g_assert_cmpuint(counts.connections, ==, 1);
    g_assert_cmpuint(counts.bytes_up, ==, 5);
    g_assert_cmpuint(counts.struck, ==, 0);
}

static void
test_slow(Fixture *x, gconstpointer unused)
{
    g_autofree char *text = g_strnfill(20000, 'x');
    kvg_proxy_set(x->proxy, &(KvgFaults){.latency_ms = 100});
    int fd = try_connect(x);
    const int64_t start_us = g_get_monotonic_time();
    put(fd, "hello");
    expect(fd, 5, "hello", 0);
    g_assert_cmpint(g_get_monotonic_time() - start_us, >=, 200000);
    close(fd);
    kvg_proxy_set(x->proxy, &(KvgFaults){.bytes_per_s = 40000});
    fd = try_connect(x);
    const int64_t throttled_us = g_get_monotonic_time();
    put(fd, text);
    expect(fd, 20000, text, 0);
    g_assert_cmpint(g_get_monotonic_time() - throttled_us, >=, 400000);
    close(fd);
}

static void
test_black_hole(Fixture *x, gconstpointer unused)
{
    const int before = try_connect(x);
    put(before, "a");
    expect(before, 1, "a", 0);
    kvg_proxy_set(x->proxy, &(KvgFaults){.black_hole = true});
    const int during = try_connect(x);
    put(before, "b");
    put(during, "c");
    g_assert_true(is_silent(before, 100));
    g_assert_true(is_silent(during, 1));
    kvg_proxy_set(x->proxy, NULL);
    expect(before, 1, "b", 0);
    close(before); /* the echo serves one at a time */
    expect(during, 1, "c", 0);
    close(during);
}

static void
test_refuse(Fixture *x, gconstpointer unused)
{
    const int before = try_connect(x);
    put(before, "a");
    expect(before, 1, "a", 0);
    kvg_proxy_set(x->proxy, &(KvgFaults){.refuse = true});
    expect(before, 1, "", ECONNRESET);
    close(before);
    g_assert_cmpint(try_connect(x), ==, -1);
    g_assert_cmpint(errno, ==, ECONNREFUSED);
    kvg_proxy_set(x->proxy, NULL);
    int after = -1;
    while ((after = try_connect(x)) < 0)
        g_usleep(1000);
    put(after, "b");
    expect(after, 1, "b", 0);
    close(after);
}

/* A reset at any byte, in either direction, and never again once it has struck. */
static void
test_reset(Fixture *x, gconstpointer unused)
{
    static const char text[] = "0123456789";
    for (int64_t at = 1; at <= 10; at++) {
        for (int is_up = 0; is_up < 2; is_up++) {
            const KvgFaults faults = {
                .times = 1, .reset_up_at = is_up ? at : 0, .reset_down_at = is_up ? 0 : at};
            kvg_proxy_set(x->proxy, &faults);
            int fd = try_connect(x);
            put(fd, text);
            int error = 0;
            g_autofree char *got = take(fd, 100, &error);
            g_assert_cmpint(error, ==, ECONNRESET);
            if (!is_up)
                g_assert_cmpuint(strlen(got), ==, at);
            close(fd);
            fd = try_connect(x);
            put(fd, text);
            expect(fd, 10, text, 0);
            close(fd);
        }
    }
}

static void
test_half_close(Fixture *x, gconstpointer unused)
{
    kvg_proxy_set(x->proxy, &(KvgFaults){.times = 1, .half_close_up_at = 3});
    int fd = try_connect(x);
    put(fd, "0123456789");
    expect(fd, 100, "012", 0); /* the echo saw the end and closed */
    close(fd);
    kvg_proxy_set(x->proxy, &(KvgFaults){.times = 1, .half_close_down_at = 3});
    fd = try_connect(x);
    put(fd, "0123456789");
    expect(fd, 100, "012", 0);
    put(fd, "still open the other way");
    close(fd);
}

static void
test_garbage(Fixture *x, gconstpointer unused)
{
    kvg_proxy_set(x->proxy, &(KvgFaults){.times = 1, .garbage = true});
    int fd = try_connect(x);
    put(fd, "hello");
    int error;
    g_autofree char *got = take(fd, 1000, &error);
    g_assert_true(g_str_has_prefix(got, "SSH-2.0"));
    close(fd);
    fd = try_connect(x);
    put(fd, "hello");
    expect(fd, 5, "hello", 0);
    close(fd);
    kvg_proxy_set(x->proxy, &(KvgFaults){.times = 1, .tls_refused = true});
    fd = try_connect(x);
    put(fd, "hello");
    expect(fd, 3, "\x15\x03\x03", 0);
    close(fd);
}

static void
test_cut(Fixture *x, gconstpointer unused)
{
    const int fd = try_connect(x);
    put(fd, "a");
    expect(fd, 1, "a", 0);
    kvg_proxy_cut(x->proxy);
    expect(fd, 1, "", ECONNRESET);
    close(fd);
}

/* ---- HTTP ---- */

#define PUT_HEAD                                                                                   \
    "POST /putMedia HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"                         \
    "Authorization: AWS4-HMAC-SHA256 Credential=KEY1/20240101/r/s/aws4_request, "                  \
    "SignedHeaders=host, Signature=00\r\n\r\n"
#define FRAGMENT "1\r\nF\r\n"
#define LAST "0\r\n\r\n"

/* The whole answer to a request. */
static char *
call(Fixture *x, const char *request)
{
    const int fd = try_connect(x);
    put(fd, request);
    shutdown(fd, SHUT_WR);
    int error;
    char *got = take(fd, 1000000, &error);
    close(fd);
    return got;
}

static unsigned
count(const char *text, const char *what)
{
    unsigned n = 0;
    for (const char *at = text; (at = strstr(at, what)) != NULL; at++)
        n++;
    return n;
}

static void
test_http_passes(Fixture *x, gconstpointer unused)
{
    g_autofree char *got = call(x, PUT_HEAD FRAGMENT FRAGMENT FRAGMENT LAST);
    g_assert_true(g_str_has_prefix(got, "HTTP/1.1 200 "));
    g_assert_cmpuint(count(got, "PERSISTED"), ==, 3);
    g_assert_true(g_str_has_suffix(got, "\r\n0\r\n\r\n"));
    g_autofree char *other = call(x, "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
                                     "POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    g_assert_cmpuint(count(other, "{\"real\":true}"), ==, 2);
    KvgProxyCounts counts;
    kvg_proxy_get_counts(x->proxy, &counts);
    g_assert_cmpuint(counts.requests, ==, 3);
    g_assert_cmpuint(counts.puts, ==, 1);
}

static void
test_http_status(Fixture *x, gconstpointer unused)
{
    kvg_proxy_set(x->proxy, &(KvgFaults){.times = 1, .status = 503, .type = "Busy", .path = "/a"});
    static const char request[] = "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
    g_autofree char *first = call(x, request);
    g_assert_true(g_str_has_prefix(first, "HTTP/1.1 503 "));
    g_assert_nonnull(strstr(first, "\r\nx-amzn-ErrorType: Busy\r\n"));
    g_autofree char *second = call(x, request);
    g_assert_true(g_str_has_prefix(second, "HTTP/1.1 200 "));

    kvg_proxy_set(x->proxy, &(KvgFaults){.status = 403, .after_bytes = 2 * strlen(FRAGMENT)});
    g_autofree char *late = call(x, PUT_HEAD FRAGMENT FRAGMENT FRAGMENT LAST);
    g_assert_true(g_str_has_prefix(late, "HTTP/1.1 403 "));
    g_assert_cmpuint(count(late, "BUFFERING"), ==, 0);
}

static void
test_http_acks(Fixture *x, gconstpointer unused)
{
    static const char request[] = PUT_HEAD FRAGMENT FRAGMENT FRAGMENT LAST;
    kvg_proxy_set(x->proxy, &(KvgFaults){.ack_twice = true, .ack_delay_ms = 50});
    const int64_t start_us = g_get_monotonic_time();
    g_autofree char *twice = call(x, request);
    g_assert_cmpint(g_get_monotonic_time() - start_us, >=, 50000);
    g_assert_cmpuint(count(twice, "PERSISTED"), ==, 6);
    kvg_proxy_set(x->proxy, &(KvgFaults){.ack_split = true});
    g_autofree char *split = call(x, request);
    g_assert_cmpuint(count(split, "PERSISTED"), ==, 0);
    g_assert_cmpuint(count(split, "1\r\nP\r\n1\r\nE\r\n"), ==, 3);
    kvg_proxy_set(x->proxy, &(KvgFaults){.times = 1, .error_id = 4006, .at_fragment = 1});
    g_autofree char *refused = call(x, request);
    g_assert_cmpuint(count(refused, "BUFFERING"), ==, 1);
    g_assert_cmpuint(count(refused, "\"ErrorId\":4006"), ==, 1);
    g_assert_nonnull(strstr(refused, "\"FragmentTimecode\":2,"));
    g_assert_true(g_str_has_suffix(refused, "\r\n0\r\n\r\n"));
    g_autofree char *again = call(x, request);
    g_assert_cmpuint(count(again, "PERSISTED"), ==, 3);
    kvg_proxy_set(x->proxy, &(KvgFaults){.times = 1, .end_response = true, .at_fragment = 1});
    g_autofree char *ended = call(x, request);
    g_assert_cmpuint(count(ended, "PERSISTED"), ==, 1);
    g_assert_true(g_str_has_suffix(ended, "\r\n0\r\n\r\n"));
}

static void
test_http_expired(Fixture *x, gconstpointer unused)
{
    g_autofree char *before = call(x, PUT_HEAD LAST);
    g_assert_true(g_str_has_prefix(before, "HTTP/1.1 200 "));
    kvg_proxy_expire_key(x->proxy);
    g_autofree char *after = call(x, PUT_HEAD LAST);
    g_assert_true(g_str_has_prefix(after, "HTTP/1.1 403 "));
    g_assert_nonnull(strstr(after, "ExpiredTokenException"));
}

#define ADD(path, setup, function)                                                                 \
    g_test_add("/faults/proxy/" path, Fixture, NULL, setup, function, tear_down)

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("passes", set_up_tcp, test_passes);
    ADD("slow", set_up_tcp, test_slow);
    ADD("black-hole", set_up_tcp, test_black_hole);
    ADD("refuse", set_up_tcp, test_refuse);
    ADD("reset", set_up_tcp, test_reset);
    ADD("half-close", set_up_tcp, test_half_close);
    ADD("garbage", set_up_tcp, test_garbage);
    ADD("cut", set_up_tcp, test_cut);
    ADD("http/passes", set_up_http, test_http_passes);
    ADD("http/status", set_up_http, test_http_status);
    ADD("http/acks", set_up_http, test_http_acks);
    ADD("http/expired", set_up_http, test_http_expired);
    return g_test_run();
}
