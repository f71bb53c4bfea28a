/* A light service for the benchmarks of the producer: one epoll thread, TLS, answers the calls of
 * the control plane, reads PutMedia and acknowledges each fragment as soon as the next one begins.
 * With --file it is the bare TLS reader: writes all bytes of all connections to one file and never
 * answers. Stopped by SIGTERM; one JSON line at the start. */
#include "media/mkv_parser.h"
#include "wire/ack.h"
#include "wire/http1.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_BYTES (64 * 1024)

typedef struct {
    int fd;
    SSL *ssl;
    KvgHttp1 *http;
    KvgMkvParser *mkv; /* NULL: not in PutMedia */
    GString *out;
    bool wants_acks;
    bool has_cluster;
    int64_t timecode;
    uint64_t n_fragments;
    bool is_lost;
} Conn;

static char *folder, *file_path;
static int file_fd = -1;
static uint16_t port;
static uint8_t input[READ_BYTES];

/* ---- TLS ---- */

static SSL_CTX *
make_context(const char *certificate_path)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_set_version(certificate, 2);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 24 * 3600);
    X509_set_pubkey(certificate, key);
    X509_NAME *name = X509_get_subject_name(certificate);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const uint8_t *)"127.0.0.1", -1, -1, 0);
    X509_set_issuer_name(certificate, name);
    X509_EXTENSION *names =
        X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "IP:127.0.0.1,DNS:localhost");
    X509_add_ext(certificate, names, -1);
    X509_EXTENSION_free(names);
    X509_sign(certificate, key, EVP_sha256());
    FILE *out = fopen(certificate_path, "w");
    PEM_write_X509(out, certificate);
    fclose(out);
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    SSL_CTX_use_certificate(context, certificate);
    SSL_CTX_use_PrivateKey(context, key);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_read_ahead(context, 1);
    SSL_CTX_set_default_read_buffer_len(context, READ_BYTES);
    X509_free(certificate);
    EVP_PKEY_free(key);
    return context;
}

/* ---- answers ---- */

static void
flush(Conn *conn)
{
    while (conn->out->len > 0) {
        size_t written = 0;
        if (SSL_write_ex(conn->ssl, conn->out->str, conn->out->len, &written) != 1)
            return; /* tried again with the next byte that comes */
        g_string_erase(conn->out, 0, (gssize)written);
    }
}

static void
acknowledge(Conn *conn, KvgAckType type)
{
    KvgAck ack = {.type = type, .timecode_ms = conn->timecode};
    g_snprintf(ack.fragment_number, sizeof ack.fragment_number,
               "9134385233318150%031" G_GUINT64_FORMAT, conn->n_fragments);
    g_autofree char *text = kvg_ack_to_text(&ack);
    g_string_append_printf(conn->out, "%zx\r\n%s\r\n", strlen(text), text);
}

static void
end_fragment(Conn *conn)
{
    if (!conn->has_cluster)
        return;
    conn->has_cluster = false;
    if (!conn->wants_acks)
        return;
    acknowledge(conn, KVG_ACK_RECEIVED);
    acknowledge(conn, KVG_ACK_PERSISTED);
}

static void
take_media(Conn *conn, const uint8_t *data, size_t len)
{
    kvg_mkv_parser_put(conn->mkv, data, len);
    KvgMkvEvent event;
    KvgMkvEventKind kind;
    while ((kind = kvg_mkv_parser_step(conn->mkv, &event, NULL)) != KVG_MKV_NEED_MORE) {
        if (kind == KVG_MKV_FAILED) {
            conn->is_lost = true;
            return;
        }
        if (kind != KVG_MKV_CLUSTER)
            continue;
        end_fragment(conn);
        conn->has_cluster = true;
        conn->timecode = (int64_t)event.timecode;
        conn->n_fragments++;
        if (conn->wants_acks)
            acknowledge(conn, KVG_ACK_BUFFERING);
    }
}

static void
take_head(Conn *conn)
{
    const KvgHttp1Head *head = kvg_http1_head(conn->http);
    if (strcmp(head->path, "/putMedia") != 0)
        return;
    conn->mkv = kvg_mkv_parser_new();
    conn->wants_acks = true;
    for (size_t i = 0; i < head->n_headers; i++)
        if (g_ascii_strcasecmp(head->headers[i].name, "x-amzn-fragment-acknowledgment-required") ==
            0)
            conn->wants_acks = strcmp(head->headers[i].value, "0") != 0;
    g_string_append(conn->out, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
}

static void
take_end(Conn *conn)
{
    if (conn->mkv != NULL) {
        end_fragment(conn);
        g_string_append(conn->out, "0\r\n\r\n");
        g_clear_pointer(&conn->mkv, kvg_mkv_parser_free);
    } else {
        const bool describes = strcmp(kvg_http1_head(conn->http)->path, "/describeStream") == 0;
        g_autofree char *body =
            describes ? g_strdup("{\"StreamInfo\":{\"Status\":\"ACTIVE\","
                                 "\"DataRetentionInHours\":1}}")
                      : g_strdup_printf("{\"DataEndpoint\":\"https://127.0.0.1:%u\"}", port);
        g_string_append_printf(conn->out,
                               "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                               "Content-Length: %zu\r\n\r\n%s",
                               strlen(body), body);
    }
    kvg_http1_reset(conn->http);
}

static void
take_http(Conn *conn, const uint8_t *data, size_t len)
{
    size_t at = 0;
    for (;;) {
        size_t used = 0, body_len = 0;
        const uint8_t *body = NULL;
        const KvgHttp1Event event =
            kvg_http1_step(conn->http, data + at, len - at, &used, &body, &body_len, NULL);
        at += used;
        switch (event) {
        case KVG_HTTP1_NEED_MORE:
            return;
        case KVG_HTTP1_HEAD:
            take_head(conn);
            break;
        case KVG_HTTP1_BODY:
            if (conn->mkv != NULL)
                take_media(conn, body, body_len);
            break;
        case KVG_HTTP1_END:
            take_end(conn);
            break;
        case KVG_HTTP1_FAILED:
            conn->is_lost = true;
            return;
        }
    }
}

/* ---- connections ---- */

static void
conn_free(Conn *conn)
{
    SSL_free(conn->ssl);
    close(conn->fd);
    kvg_http1_free(conn->http);
    kvg_mkv_parser_free(conn->mkv);
    g_string_free(conn->out, TRUE);
    g_free(conn);
}

static void
accept_one(int listen_fd, int poll_fd, SSL_CTX *context)
{
    const int one = 1;
    const int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    Conn *conn = g_new0(Conn, 1);
    conn->fd = fd;
    conn->ssl = SSL_new(context);
    SSL_set_fd(conn->ssl, fd);
    SSL_set_accept_state(conn->ssl);
    conn->http = kvg_http1_new(NULL);
    conn->out = g_string_new(NULL);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event);
}

static void
take_bytes(Conn *conn, size_t len)
{
    if (file_fd < 0)
        take_http(conn, input, len);
    else if (write(file_fd, input, len) != (ssize_t)len)
        conn->is_lost = true;
}

static void
serve(Conn *conn)
{
    size_t len = 0;
    int result = 1;
    while (!conn->is_lost && (result = SSL_read_ex(conn->ssl, input, sizeof input, &len)) == 1)
        take_bytes(conn, len);
    const int reason = SSL_get_error(conn->ssl, result);
    if (!conn->is_lost)
        flush(conn);
    if (conn->is_lost || (reason != SSL_ERROR_WANT_READ && reason != SSL_ERROR_WANT_WRITE))
        conn_free(conn);
}

static int
listen_on_loopback(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, len) < 0 || listen(fd, 1024) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) < 0)
        return -1;
    port = ntohs(address.sin_port);
    return fd;
}

static int
run(void)
{
    g_autofree char *certificate = g_build_filename(folder, "sink.pem", NULL);
    SSL_CTX *context = make_context(certificate);
    const int listen_fd = listen_on_loopback();
    const int poll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (listen_fd < 0 || poll_fd < 0)
        return 1;
    if (file_path != NULL)
        file_fd = open(file_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    struct epoll_event listening = {.events = EPOLLIN};
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, listen_fd, &listening);
    signal(SIGPIPE, SIG_IGN);
    printf("{\"ready\":true,\"https_port\":%u,\"ca\":\"%s\"}\n", port, certificate);
    fflush(stdout);
    for (;;) {
        struct epoll_event events[64];
        const int n = epoll_wait(poll_fd, events, G_N_ELEMENTS(events), -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == NULL)
                accept_one(listen_fd, poll_fd, context);
            else
                serve(events[i].data.ptr);
        }
    }
}

int
main(int argc, char **argv)
{
    const GOptionEntry entries[] = {
        {"folder", 0, 0, G_OPTION_ARG_STRING, &folder, "Where to put the certificate", "DIR"},
        {"file", 0, 0, G_OPTION_ARG_STRING, &file_path, "Only write what comes", "FILE"},
        {0},
    };
    g_autoptr(GError) error = NULL;
    g_autoptr(GOptionContext) context = g_option_context_new("- reads PutMedia");
    g_option_context_add_main_entries(context, entries, NULL);
    if (g_option_context_parse(context, &argc, &argv, &error) && folder != NULL)
        return run();
    fprintf(stderr, "bench-sink: %s\n", error != NULL ? error->message : "--folder is missing");
    return 2;
}
