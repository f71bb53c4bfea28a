/* The server over loopback: keep-alive, pipelining, full duplex, wake, 100-continue, TLS with and
 * without client certificate, hostile input, stop during a handler. */
#include "http/server.h"

#include <arpa/inet.h>
#include <glib/gstdio.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct {
    pthread_mutex_t lock; /* not GMutex: ThreadSanitizer does not see that one */
    pthread_cond_t changed;
    bool is_waiting;
    KvgHttpExchange *waiting;
    bool was_woken;
    bool saw_certificate, was_verified;
} Shared;

static void
handle_echo(KvgHttpExchange *x)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) body = kvg_http_read_all(x, 100000, &error);
    if (!body) {
        kvg_http_respond_json(x, 413, "{}");
        return;
    }
    const KvgHeader headers[] = {{"X-Path", kvg_http_path(x)}, {"X-Bad", "a\r\nInjected: 1"}};
    kvg_http_respond(x, 200, headers, G_N_ELEMENTS(headers), g_bytes_get_data(body, NULL),
                     g_bytes_get_size(body));
}

/* Answers every piece as it comes, while the request goes on. */
static void
handle_duplex(KvgHttpExchange *x)
{
    kvg_http_begin_stream(x, 200, NULL, 0);
    for (;;) {
        char buffer[64];
        size_t len;
        g_autoptr(GError) error = NULL;
        const KvgHttpRead result = kvg_http_read(x, buffer, sizeof buffer, &len, 5000, &error);
        if (result != KVG_HTTP_READ_DATA)
            break;
        kvg_http_write_chunk(x, buffer, len);
    }
    kvg_http_end_stream(x);
}

static void
handle_wait(KvgHttpExchange *x, Shared *shared)
{
    pthread_mutex_lock(&shared->lock);
    shared->is_waiting = true;
    shared->waiting = x;
    pthread_cond_signal(&shared->changed);
    pthread_mutex_unlock(&shared->lock);
    char buffer[8];
    size_t len;
    g_autoptr(GError) error = NULL;
    const KvgHttpRead result = kvg_http_read(x, buffer, sizeof buffer, &len, 20000, &error);
    shared->was_woken = result == KVG_HTTP_READ_WOKEN;
    kvg_http_respond_json(x, 200, shared->was_woken ? "{\"woken\":true}" : "{\"woken\":false}");
}

static void
handle(KvgHttpExchange *x, void *user_data)
{
    Shared *shared = user_data;
    const char *path = kvg_http_path(x);
    pthread_mutex_lock(&shared->lock);
    shared->saw_certificate = kvg_http_peer_certificate(x) != NULL;
    shared->was_verified = kvg_http_peer_verified(x);
    pthread_mutex_unlock(&shared->lock);
    if (strcmp(path, "/duplex") == 0)
        handle_duplex(x);
    else if (strcmp(path, "/wait") == 0)
        handle_wait(x, shared);
    else if (strcmp(path, "/ignore") == 0)
        kvg_http_respond_json(x, 200, "{}");
    else if (strcmp(path, "/silent") != 0)
        handle_echo(x);
}

static int
dial(uint16_t port)
{
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const struct timeval limit = {.tv_sec = 20};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    g_assert_cmpint(connect(fd, (struct sockaddr *)&address, sizeof address), ==, 0);
    return fd;
}

static void
say(int fd, const char *text)
{
    g_assert_cmpint(send(fd, text, strlen(text), MSG_NOSIGNAL), ==, (ssize_t)strlen(text));
}

/* Reads until @until appears, or the end (NULL). */
static char *
hear(int fd, const char *until)
{
    GString *out = g_string_new(NULL);
    char byte;
    while (recv(fd, &byte, 1, 0) == 1) {
        g_string_append_c(out, byte);
        if (until && g_str_has_suffix(out->str, until))
            break;
    }
    return g_string_free(out, FALSE);
}

static KvgHttpServer *
start_with(Shared *shared, SSL_CTX *tls, unsigned max_connections)
{
    g_autoptr(GError) error = NULL;
    memset(shared, 0, sizeof *shared);
    pthread_mutex_init(&shared->lock, NULL);
    pthread_cond_init(&shared->changed, NULL);
    const KvgHttpServerOptions options = {.handler = handle,
                                          .user_data = shared,
                                          .tls = tls,
                                          .max_connections = max_connections,
                                          .head_timeout_ms = 3000};
    KvgHttpServer *server = kvg_http_server_start(&options, &error);
    g_assert_no_error(error);
    return server;
}

static KvgHttpServer *
start(Shared *shared, SSL_CTX *tls)
{
    return start_with(shared, tls, 0);
}

static void
test_basic(void)
{
    static const struct {
        const char *request;
        const char *contains; /* in everything until the end of the connection */
    } cases[] = {
        {"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "X-Path: /a\r\n"},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi",
         "Content-Length: 2\r\n"},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhiGET /second HTTP/1.1\r\nHost: "
         "x\r\n"
         "Connection: close\r\n\r\n",
         "X-Path: /second\r\n"},
        {"POST /ignore HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhiGET /b HTTP/1.1\r\nHost: "
         "x\r\nConnection: close\r\n\r\n",
         "X-Path: /b\r\n"},
        {"GET /silent HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 500 "},
        {"GET / HTTP/1.0\r\n\r\n", "Connection: close\r\n"},
        {"POST /duplex HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
         "3\r\nabc\r\n0\r\n\r\n"},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999999\r\n\r\n", "HTTP/1.1 413 "},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
         "HTTP/1.1 400 "},
        {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", "HTTP/1.1 "},
        {"\x16\x03\x01\x02", "HTTP/1.1 400 "},
    };
    Shared shared;
    KvgHttpServer *server = start(&shared, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        const int fd = dial(kvg_http_server_port(server));
        say(fd, cases[i].request);
        g_autofree char *reply = hear(fd, NULL);
        g_test_message("%zu: %s", i, reply);
        g_assert_nonnull(strstr(reply, cases[i].contains));
        g_assert_null(strstr(reply, "Injected"));
        close(fd);
    }
    kvg_http_server_stop(server, 1000);
}

static void
test_head_too_large(void)
{
    Shared shared;
    KvgHttpServer *server = start(&shared, NULL);
    const int fd = dial(kvg_http_server_port(server));
    g_autoptr(GString) text = g_string_new("GET / HTTP/1.1\r\nHost: x\r\nBig: ");
    while (text->len < 33000)
        g_string_append_c(text, 'a');
    say(fd, text->str);
    g_autofree char *reply = hear(fd, NULL);
    g_assert_true(g_str_has_prefix(reply, "HTTP/1.1 431 "));
    close(fd);
    kvg_http_server_stop(server, 1000);
}

static void
test_continue(void)
{
    Shared shared;
    KvgHttpServer *server = start(&shared, NULL);
    const int fd = dial(kvg_http_server_port(server));
    say(fd, "POST /duplex HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nTransfer-Encoding: "
            "chunked\r\n\r\n");
    g_autofree char *first = hear(fd, "\r\n\r\n");
    g_assert_cmpstr(first, ==, "HTTP/1.1 100 Continue\r\n\r\n");
    g_autofree char *head = hear(fd, "\r\n\r\n");
    g_assert_true(g_str_has_prefix(head, "HTTP/1.1 200 OK\r\n"));
    for (unsigned i = 0; i < 3; i++) { /* the answer comes while the request is open */
        say(fd, "2\r\nab\r\n");
        g_autofree char *chunk = hear(fd, "ab\r\n");
        g_assert_cmpstr(chunk, ==, "2\r\nab\r\n");
    }
    say(fd, "0\r\n\r\n");
    g_autofree char *end = hear(fd, "0\r\n\r\n");
    g_assert_cmpstr(end, ==, "0\r\n\r\n");
    say(fd, "GET /again HTTP/1.1\r\nHost: x\r\n\r\n");
    g_autofree char *again = hear(fd, "\r\n\r\n");
    g_assert_nonnull(strstr(again, "X-Path: /again"));
    close(fd);
    kvg_http_server_stop(server, 1000);
}

static void
wait_for_handler(Shared *shared)
{
    pthread_mutex_lock(&shared->lock);
    while (!shared->is_waiting)
        pthread_cond_wait(&shared->changed, &shared->lock);
    pthread_mutex_unlock(&shared->lock);
}

static void
test_wake(void)
{
    Shared shared;
    KvgHttpServer *server = start(&shared, NULL);
    const int fd = dial(kvg_http_server_port(server));
    say(fd, "POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n");
    wait_for_handler(&shared);
    kvg_http_wake(shared.waiting);
    g_autofree char *reply = hear(fd, "}");
    g_assert_nonnull(strstr(reply, "{\"woken\":true}"));
    close(fd);
    kvg_http_server_stop(server, 1000);
}

/* Three places: one handler at work, two peers that only sit there. A newcomer is served, one of
 * the two has to go, and the handler is not disturbed. */
static void
test_makes_room(void)
{
    Shared shared;
    KvgHttpServer *server = start_with(&shared, NULL, 3);
    const uint16_t port = kvg_http_server_port(server);
    const int busy = dial(port);
    say(busy, "POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n");
    wait_for_handler(&shared);
    const int silent = dial(port);
    const int slow = dial(port);
    say(slow, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12");
    for (int i = 0; i < 5; i++) {
        const int fd = dial(port);
        say(fd, "GET /ignore HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        g_autofree char *reply = hear(fd, NULL);
        g_assert_nonnull(strstr(reply, "200 OK"));
        g_assert_cmpuint(kvg_http_server_connections(server), <=, 3);
        close(fd);
    }
    kvg_http_wake(shared.waiting);
    g_autofree char *reply = hear(busy, "}");
    g_assert_nonnull(strstr(reply, "{\"woken\":true}"));
    close(busy);
    close(silent);
    close(slow);
    kvg_http_server_stop(server, 1000);
}

static void
test_stop(void)
{
    Shared shared;
    KvgHttpServer *server = start(&shared, NULL);
    const int fd = dial(kvg_http_server_port(server));
    const int idle = dial(kvg_http_server_port(server));
    say(fd, "POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n");
    wait_for_handler(&shared);
    kvg_http_server_stop(server, 5000);
    g_assert_true(shared.was_woken);
    g_autofree char *reply = hear(fd, NULL);
    g_assert_nonnull(strstr(reply, "Connection: close"));
    close(fd);
    close(idle);
}

/* Writes a self-signed P-256 certificate and key as one PEM file. */
static void
write_identity(const char *path)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_set_pubkey(certificate, key);
    X509_NAME *name = X509_get_subject_name(certificate);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)path, -1, -1, 0);
    X509_set_issuer_name(certificate, name);
    X509_sign(certificate, key, EVP_sha256());
    FILE *file = g_fopen(path, "w");
    g_assert_nonnull(file);
    PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL);
    PEM_write_X509(file, certificate);
    fclose(file);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

static void
tls_request(uint16_t port, const char *identity)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (identity) {
        g_assert_cmpint(SSL_CTX_use_certificate_chain_file(context, identity), ==, 1);
        g_assert_cmpint(SSL_CTX_use_PrivateKey_file(context, identity, SSL_FILETYPE_PEM), ==, 1);
    }
    const int fd = dial(port);
    SSL *ssl = SSL_new(context);
    SSL_set_fd(ssl, fd);
    g_assert_cmpint(SSL_connect(ssl), ==, 1);
    /* More than one TLS record, and more than one read of the server. */
    g_autofree char *body = g_strnfill(50000, 'z');
    g_autofree char *text = g_strdup_printf(
        "POST /tls HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\nConnection: close\r\n\r\n%s",
        body);
    size_t done;
    g_assert_cmpint(SSL_write_ex(ssl, text, strlen(text), &done), ==, 1);
    g_autoptr(GString) reply = g_string_new(NULL);
    char buffer[4096];
    while (SSL_read_ex(ssl, buffer, sizeof buffer, &done) == 1)
        g_string_append_len(reply, buffer, (gssize)done);
    g_assert_nonnull(strstr(reply->str, "X-Path: /tls"));
    g_assert_true(g_str_has_suffix(reply->str, body));
    SSL_free(ssl);
    SSL_CTX_free(context);
    close(fd);
}

static void
test_tls(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *folder = g_dir_make_tmp("kvg-http-XXXXXX", &error);
    g_assert_no_error(error);
    g_autofree char *own = g_build_filename(folder, "server.pem", NULL);
    g_autofree char *known = g_build_filename(folder, "known.pem", NULL);
    g_autofree char *stranger = g_build_filename(folder, "stranger.pem", NULL);
    write_identity(own);
    write_identity(known);
    write_identity(stranger);
    SSL_CTX *context = kvg_http_tls_context_new(own, own, known, &error);
    g_assert_no_error(error);
    Shared shared;
    KvgHttpServer *server = start(&shared, context);
    SSL_CTX_free(context);
    const uint16_t port = kvg_http_server_port(server);
    tls_request(port, NULL);
    g_assert_false(shared.saw_certificate);
    tls_request(port, known);
    g_assert_true(shared.saw_certificate);
    g_assert_true(shared.was_verified);
    tls_request(port, stranger);
    g_assert_true(shared.saw_certificate);
    g_assert_false(shared.was_verified);
    const int fd = dial(port); /* plain HTTP at a TLS port: closed, and the server lives on */
    say(fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    g_autofree char *reply = hear(fd, NULL);
    g_assert_null(strstr(reply, "HTTP/1.1 200"));
    close(fd);
    kvg_http_server_stop(server, 1000);
    g_assert_null(kvg_http_tls_context_new("/nonexistent", own, NULL, &error));
    g_assert_nonnull(error);
    g_unlink(own);
    g_unlink(known);
    g_unlink(stranger);
    g_rmdir(folder);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/http/server/basic", test_basic);
    g_test_add_func("/http/server/head-too-large", test_head_too_large);
    g_test_add_func("/http/server/continue-full-duplex", test_continue);
    g_test_add_func("/http/server/wake", test_wake);
    g_test_add_func("/http/server/makes-room", test_makes_room);
    g_test_add_func("/http/server/stop", test_stop);
    g_test_add_func("/http/server/tls", test_tls);
    return g_test_run();
}
