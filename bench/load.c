/* The load generator: PutMedia of many streams from one epoll thread over bare OpenSSL, each frame
 * one chunk, one TLS record and one write, as producers commonly do it. Against bench-sink it is
 * the bare TLS writer that libkvg is compared with; against kvg-server it measures from the last
 * byte of a fragment to its PERSISTED. One JSON line at the end. */
#include "measure.h"
#include "traffic.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>

#include "aws/client.h"
#include "media/mkv_writer.h"
#include "putmedia/putmedia.h"
#include "wire/ack.h"

#define N_ENDS 64
#define FAREWELL_US (10 * G_USEC_PER_SEC)
#define MAX_LINE 4096
#define LAG_US 50000

static KvgTraffic traffic = KVG_TRAFFIC_DEFAULTS;
static int port, control_port, seconds = 10, warm_s = 3;
static char *ca_path;
static const char *prefix = "load";
static gboolean is_blind;

typedef struct {
    int fd;
    SSL *ssl;
    GByteArray *out;     /* not yet taken by TLS */
    uint64_t next;       /* frame */
    int64_t timecode_ms; /* of the open fragment; 0: none */
    GString *line;
    KvgAckParser *acks;
    struct {
        int64_t timecode_ms, end_ns;
    } ends[N_ENDS];
    unsigned n_sent, n_persisted, n_errors;
    bool is_ended, is_lost;
} Stream;

static Stream *streams;
static KvgLatencies latencies;
static bool is_measuring;
static int64_t start_us, start_wall_ms;
static uint64_t sent_bytes, lagging_frames;

/* ---- connecting ---- */

static SSL_CTX *
make_context(void)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    return SSL_CTX_load_verify_file(context, ca_path) == 1 ? context : NULL;
}

static bool
connect_stream(Stream *stream, SSL_CTX *context)
{
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_port = htons((uint16_t)port),
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int one = 1;
    stream->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (stream->fd < 0 ||
        connect(stream->fd, (const struct sockaddr *)&address, sizeof address) < 0)
        return false;
    setsockopt(stream->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    stream->ssl = SSL_new(context);
    SSL_set_fd(stream->ssl, stream->fd);
    if (SSL_connect(stream->ssl) != 1)
        return false;
    fcntl(stream->fd, F_SETFL, O_NONBLOCK);
    stream->out = g_byte_array_new();
    stream->line = g_string_new(NULL);
    stream->acks = kvg_ack_parser_new();
    return true;
}

static void
put_text(GByteArray *out, const char *text)
{
    g_byte_array_append(out, (const uint8_t *)text, (guint)strlen(text));
}

static void
put_chunk(GByteArray *out, const void *head, size_t head_len, GBytes *payload)
{
    size_t len = 0;
    const void *data = payload != NULL ? g_bytes_get_data(payload, &len) : NULL;
    char size[24];
    g_snprintf(size, sizeof size, "%zx\r\n", head_len + len);
    put_text(out, size);
    g_byte_array_append(out, head, (guint)head_len);
    g_byte_array_append(out, data, (guint)len);
    put_text(out, "\r\n");
}

static void
begin_call(Stream *stream, unsigned index, const KvgKeys *keys)
{
    g_autofree char *host = g_strdup_printf("127.0.0.1:%d", port);
    g_autofree char *name = g_strdup_printf("%s%u", prefix, index);
    struct curl_slist *lines =
        kvg_putmedia_headers(host, "us-east-1", name, "kvg-bench", keys, g_get_real_time() / 1000);
    put_text(stream->out, "POST /putMedia HTTP/1.1\r\n");
    bool has_host = false;
    for (struct curl_slist *line = lines; line != NULL; line = line->next) {
        if (g_str_has_suffix(line->data, ":")) /* curl's way to leave one out */
            continue;
        has_host = has_host || g_ascii_strncasecmp(line->data, "host:", 5) == 0;
        put_text(stream->out, line->data);
        put_text(stream->out, "\r\n");
    }
    if (!has_host) {
        g_autofree char *line = g_strdup_printf("Host: %s\r\n", host);
        put_text(stream->out, line);
    }
    put_text(stream->out, "\r\n");
    curl_slist_free_all(lines);
    const uint8_t uid[16] = {1};
    g_autoptr(GBytes) header = kvg_mkv_write_header(kvg_traffic_track(), 1, uid, "kvg-bench");
    size_t len;
    const void *data = g_bytes_get_data(header, &len);
    put_chunk(stream->out, data, len, NULL);
}

static bool
create_stream(unsigned index, KvgCredentials *credentials, GError **error)
{
    g_autofree char *base = g_strdup_printf("http://127.0.0.1:%d", control_port);
    g_autofree char *body = g_strdup_printf(
        "{\"StreamName\":\"%s%u\",\"DataRetentionInHours\":1,\"MediaType\":\"video/h264\"}", prefix,
        index);
    const KvgAwsRequest request = {.service = "kinesisvideo",
                                   .region = "us-east-1",
                                   .base_url = base,
                                   .method = "POST",
                                   .path = "/createStream",
                                   .body = body};
    g_auto(KvgAwsReply) reply = {0};
    g_autoptr(GError) failure = NULL;
    if (kvg_aws_call(&request, credentials, &reply, &failure) ||
        g_strcmp0(reply.error_type, "ResourceInUseException") == 0)
        return true;
    g_propagate_error(error, g_steal_pointer(&failure));
    return false;
}

/* ---- sending ---- */

static void
flush(Stream *stream)
{
    while (stream->out->len > 0 && !stream->is_lost) {
        size_t written = 0;
        const int result = SSL_write_ex(stream->ssl, stream->out->data, stream->out->len, &written);
        if (result != 1) {
            const int reason = SSL_get_error(stream->ssl, result);
            stream->is_lost = reason != SSL_ERROR_WANT_WRITE && reason != SSL_ERROR_WANT_READ;
            return;
        }
        sent_bytes += written;
        if (written == stream->out->len)
            g_byte_array_set_size(stream->out, 0);
        else
            g_byte_array_remove_range(stream->out, 0, (guint)written);
    }
}

static void
end_fragment(Stream *stream)
{
    if (stream->timecode_ms == 0)
        return;
    stream->ends[stream->n_sent % N_ENDS].timecode_ms = stream->timecode_ms;
    stream->ends[stream->n_sent % N_ENDS].end_ns = kvg_measure_now_ns();
    stream->n_sent++;
    stream->timecode_ms = 0;
}

static void
send_frame(Stream *stream, unsigned index)
{
    static GByteArray *head = NULL;
    if (head == NULL)
        head = g_byte_array_new();
    g_byte_array_set_size(head, 0);
    const uint64_t number = stream->next++;
    const bool key = kvg_traffic_is_key(&traffic, number, index);
    const int64_t time_ms = start_wall_ms + kvg_traffic_due_us(&traffic, number, index) / 1000;
    if (key) {
        end_fragment(stream);
        stream->timecode_ms = time_ms;
        kvg_mkv_write_cluster(head, (uint64_t)time_ms);
    }
    GBytes *payload = kvg_traffic_payload(&traffic, number, index);
    kvg_mkv_write_block_head(head, 1, (int16_t)(time_ms - stream->timecode_ms), key,
                             g_bytes_get_size(payload));
    put_chunk(stream->out, head->data, head->len, payload);
    flush(stream);
}

/* ---- acknowledgements ---- */

static void
take_ack(Stream *stream, const KvgAck *ack)
{
    if (ack->type == KVG_ACK_ERROR) {
        if (stream->n_errors++ == 0)
            fprintf(stderr, "stream error %d %s\n", ack->error_id, ack->error_code);
        return;
    }
    if (ack->type != KVG_ACK_PERSISTED)
        return;
    stream->n_persisted++;
    for (unsigned i = 0; i < N_ENDS && is_measuring; i++)
        if (stream->ends[i].timecode_ms == ack->timecode_ms)
            kvg_latencies_add(&latencies, kvg_measure_now_ns() - stream->ends[i].end_ns);
}

/* The response is lines: its head, chunk sizes, and one acknowledgement on each other line. */
static void
take_line(Stream *stream)
{
    if (stream->line->len > 0 && stream->line->str[0] == '{') {
        KvgAck ack;
        if (!kvg_ack_parser_put(stream->acks, stream->line->str, stream->line->len, NULL))
            stream->is_lost = true;
        else if (kvg_ack_parser_step(stream->acks, &ack, NULL) == KVG_ACK_STEP_ACK)
            take_ack(stream, &ack);
    } else if (g_str_has_prefix(stream->line->str, "HTTP/1.1 ") &&
               !g_str_has_prefix(stream->line->str, "HTTP/1.1 200") && stream->n_errors++ == 0) {
        fprintf(stderr, "refused: %s\n", stream->line->str);
    } else if (strcmp(stream->line->str, "0\r") == 0) {
        stream->is_ended = true;
    }
    g_string_truncate(stream->line, 0);
}

static void
receive(Stream *stream)
{
    char data[4096];
    size_t len = 0;
    int result;
    while ((result = SSL_read_ex(stream->ssl, data, sizeof data, &len)) == 1) {
        for (size_t i = 0; i < len; i++) {
            if (data[i] == '\n')
                take_line(stream);
            else if (stream->line->len < MAX_LINE)
                g_string_append_c(stream->line, data[i]);
        }
    }
    const int reason = SSL_get_error(stream->ssl, result);
    if (reason != SSL_ERROR_WANT_READ && reason != SSL_ERROR_WANT_WRITE)
        stream->is_lost = true;
}

static void
serve_until(int poll_fd, int64_t until_us)
{
    for (;;) {
        const int64_t left_us = until_us - g_get_monotonic_time();
        if (left_us <= 0)
            return;
        const struct timespec timeout = {.tv_sec = left_us / G_USEC_PER_SEC,
                                         .tv_nsec = left_us % G_USEC_PER_SEC * 1000};
        struct epoll_event events[64];
        const int n = epoll_pwait2(poll_fd, events, G_N_ELEMENTS(events), &timeout, NULL);
        for (int i = 0; i < n; i++) {
            Stream *stream = events[i].data.ptr;
            if (stream->is_lost || stream->is_ended) {
                epoll_ctl(poll_fd, EPOLL_CTL_DEL, stream->fd, NULL);
                continue;
            }
            if (events[i].events & EPOLLIN)
                receive(stream);
            if (stream->out->len > 0)
                flush(stream);
        }
    }
}

static void
send_until(int poll_fd, int64_t end_us)
{
    static unsigned index = 0;
    for (;;) {
        Stream *stream = &streams[index];
        const int64_t due_us = start_us + kvg_traffic_due_us(&traffic, stream->next, index);
        if (due_us >= end_us)
            return;
        serve_until(poll_fd, due_us);
        lagging_frames += g_get_monotonic_time() - due_us > LAG_US;
        if (!stream->is_lost)
            send_frame(stream, index);
        else
            stream->next++;
        index = (index + 1) % traffic.streams;
    }
}

/* Ends all calls and waits for what is not acknowledged yet. */
static void
say_goodbye(int poll_fd)
{
    for (unsigned i = 0; i < traffic.streams; i++) {
        end_fragment(&streams[i]);
        put_text(streams[i].out, "0\r\n\r\n");
        flush(&streams[i]);
    }
    const int64_t end_us = g_get_monotonic_time() + (is_blind ? 0 : FAREWELL_US);
    for (unsigned i = 0; i < traffic.streams; i++)
        while (!streams[i].is_lost && !streams[i].is_ended && g_get_monotonic_time() < end_us)
            serve_until(poll_fd, MIN(end_us, g_get_monotonic_time() + 20000));
}

/* ---- the program ---- */

static void
report(double cpu_s, uint64_t bytes)
{
    unsigned sent = 0, persisted = 0, errors = 0, lost = 0;
    for (unsigned i = 0; i < traffic.streams; i++) {
        sent += streams[i].n_sent;
        persisted += streams[i].n_persisted;
        errors += streams[i].n_errors;
        lost += streams[i].is_lost && !streams[i].is_ended;
    }
    g_autofree char *text = kvg_latencies_to_json(&latencies);
    printf("{\"cpu_s\":%.4f,\"bytes\":%" G_GUINT64_FORMAT ",\"fragments\":%u,\"persisted\":%u,"
           "\"errors\":%u,\"lost\":%u,\"lagging_frames\":%" G_GUINT64_FORMAT
           ",\"persisted_us\":%s}\n",
           cpu_s, bytes, sent, persisted, errors, lost, lagging_frames, text);
    fflush(stdout);
}

static void
say(const char *what)
{
    printf("{\"state\":\"%s\"}\n", what);
    fflush(stdout);
}

static bool
connect_all(int poll_fd, KvgCredentials *credentials, GError **error)
{
    SSL_CTX *context = make_context();
    g_auto(KvgKeys) keys = {0};
    if (context == NULL || !kvg_credentials_get(credentials, &keys, error))
        return false;
    for (unsigned i = 0; i < traffic.streams; i++) {
        if (control_port != 0 && !create_stream(i, credentials, error))
            return false;
        if (!connect_stream(&streams[i], context)) {
            g_set_error(error, KVG_ERROR, KVG_ERROR_FAILED, "stream %u cannot connect: %s", i,
                        g_strerror(errno));
            return false;
        }
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET,
                                    .data.ptr = &streams[i]};
        epoll_ctl(poll_fd, EPOLL_CTL_ADD, streams[i].fd, &event);
    }
    for (unsigned i = 0; i < traffic.streams; i++)
        begin_call(&streams[i], i, &keys);
    return true;
}

static bool
run(GError **error)
{
    g_autoptr(KvgCredentials) credentials = kvg_credentials_new_default(NULL, error);
    const int poll_fd = epoll_create1(EPOLL_CLOEXEC);
    streams = g_new0(Stream, traffic.streams);
    kvg_latencies_init(&latencies);
    if (credentials == NULL || !connect_all(poll_fd, credentials, error))
        return false;
    start_us = g_get_monotonic_time();
    start_wall_ms = g_get_real_time() / 1000;
    send_until(poll_fd, start_us + warm_s * G_USEC_PER_SEC);
    say("measuring");
    const uint64_t bytes_before = sent_bytes;
    const double cpu_before = kvg_measure_cpu_s();
    is_measuring = true;
    lagging_frames = 0;
    send_until(poll_fd, start_us + (warm_s + seconds) * G_USEC_PER_SEC);
    const double cpu_s = kvg_measure_cpu_s() - cpu_before;
    const uint64_t bytes = sent_bytes - bytes_before;
    say("measured");
    say_goodbye(poll_fd);
    report(cpu_s, bytes);
    return true;
}

int
main(int argc, char **argv)
{
    const GOptionEntry entries[] = {
        KVG_TRAFFIC_OPTIONS(traffic),
        {"port", 0, 0, G_OPTION_ARG_INT, &port, "Of the service on loopback", "N"},
        {"control-port", 0, 0, G_OPTION_ARG_INT, &control_port, "Plain HTTP: create the streams",
         "N"},
        {"ca", 0, 0, G_OPTION_ARG_STRING, &ca_path, "CA of the service", "FILE"},
        {"prefix", 0, 0, G_OPTION_ARG_STRING, &prefix, "Of the streams' names", "NAME"},
        {"seconds", 0, 0, G_OPTION_ARG_INT, &seconds, "Of the measurement", "N"},
        {"warm", 0, 0, G_OPTION_ARG_INT, &warm_s, "Seconds before it", "N"},
        {"blind", 0, 0, G_OPTION_ARG_NONE, &is_blind, "Expect no answer", NULL},
        {0},
    };
    g_autoptr(GError) error = NULL;
    g_autoptr(GOptionContext) context = g_option_context_new("- PutMedia of many streams");
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error)) {
        fprintf(stderr, "bench-load: %s\n", error->message);
        return 2;
    }
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    signal(SIGPIPE, SIG_IGN);
    if (run(&error))
        return 0;
    fprintf(stderr, "bench-load: %s\n", error != NULL ? error->message : "no CA");
    return 1;
}
