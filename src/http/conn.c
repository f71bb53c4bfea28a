/* One connection: reads a head, runs the handler, finishes what the handler left, and again. All
 * functions but kvg_http_wake() run on the connection's thread. */
#include "http/private.h"

#include "base/clock.h"
#include "base/text.h"
#include <kvg/error.h>
#include <string.h>
#include <sys/eventfd.h>

/* Unread body that is still worth reading to keep the connection. */
#define DRAIN_BYTES 65536
#define DRAIN_US (2 * G_USEC_PER_SEC)
#define READ_ALL_US (30 * G_USEC_PER_SEC)
/* A response body up to this size shares its write (and TLS record) with the head. */
#define JOIN_BYTES 16000

/* ---- the request ---- */

const char *
kvg_http_method(const KvgHttpExchange *x)
{
    return x->head->method;
}

const char *
kvg_http_path(const KvgHttpExchange *x)
{
    return x->head->path;
}

const char *
kvg_http_query(const KvgHttpExchange *x)
{
    return x->head->query;
}

char *
kvg_http_query_param(const KvgHttpExchange *x, const char *name)
{
    for (const char *at = x->head->query ? x->head->query : ""; *at;) {
        const size_t len = strcspn(at, "&");
        const char *equals = memchr(at, '=', len);
        const size_t name_len = equals ? (size_t)(equals - at) : len;
        g_autofree char *key = kvg_uri_unescape(at, name_len, true);
        if (key && strcmp(key, name) == 0)
            return equals ? kvg_uri_unescape(equals + 1, len - name_len - 1, true) : g_strdup("");
        at += len;
        if (*at == '&')
            at++;
    }
    return NULL;
}

const char *
kvg_http_header(const KvgHttpExchange *x, const char *name)
{
    for (size_t i = 0; i < x->head->n_headers; i++)
        if (g_ascii_strcasecmp(x->head->headers[i].name, name) == 0)
            return x->head->headers[i].value;
    return NULL;
}

const KvgHeader *
kvg_http_headers(const KvgHttpExchange *x, size_t *n)
{
    *n = x->head->n_headers;
    return x->head->headers;
}

const char *
kvg_http_request_id(const KvgHttpExchange *x)
{
    return x->request_id;
}

const char *
kvg_http_peer_address(const KvgHttpExchange *x)
{
    return x->peer_address;
}

bool
kvg_http_is_tls(const KvgHttpExchange *x)
{
    return x->ssl != NULL;
}

uint16_t
kvg_http_local_port(const KvgHttpExchange *x)
{
    return x->local_port;
}

X509 *
kvg_http_peer_certificate(const KvgHttpExchange *x)
{
    return x->peer_certificate;
}

bool
kvg_http_peer_verified(const KvgHttpExchange *x)
{
    return x->peer_certificate && !x->verify_failed && SSL_get_verify_result(x->ssl) == X509_V_OK;
}

bool
kvg_http_is_stopping(const KvgHttpExchange *x)
{
    return kvg_http_server_is_stopping(x->server);
}

int
kvg_http_status(const KvgHttpExchange *x)
{
    return x->status;
}

uint64_t
kvg_http_read_bytes(const KvgHttpExchange *x)
{
    return x->read_bytes;
}

uint64_t
kvg_http_sent_bytes(const KvgHttpExchange *x)
{
    return x->sent_bytes;
}

void
kvg_http_set_waiting(KvgHttpExchange *x, bool is_waiting)
{
    const gint now_s = (gint)(kvg_clock_mono_us() / G_USEC_PER_SEC) + 1;
    g_atomic_int_set(&x->waits_since_s, is_waiting ? now_s : 0);
}

/* ---- the body ---- */

static bool
send_continue(KvgHttpExchange *x)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    if (!x->head->expects_continue || x->continue_sent || x->head->minor == 0)
        return !x->is_gone;
    x->continue_sent = true;
    return kvg_http_io_write(x, text, sizeof text - 1);
}

/* One step of the parser; NEED_MORE also refills the input. */
static KvgHttpIo
fill(KvgHttpExchange *x, bool wakeable, int64_t deadline_us)
{
    size_t len;
    x->input_at = x->input_end = 0;
    const KvgHttpIo result =
        kvg_http_io_read(x, x->input, KVG_HTTP_INPUT_BYTES, &len, wakeable, deadline_us);
    x->input_end = len;
    return result;
}

static KvgHttp1Event
step(KvgHttpExchange *x, GError **error)
{
    size_t used;
    const KvgHttp1Event event =
        kvg_http1_step(x->parser, x->input + x->input_at, x->input_end - x->input_at, &used,
                       &x->body, &x->body_len, error);
    x->input_at += used;
    return event;
}

static KvgHttpRead
take_body(KvgHttpExchange *x, void *buffer, size_t size, size_t *len)
{
    *len = MIN(size, x->body_len);
    x->read_bytes += *len;
    memcpy(buffer, x->body, *len);
    x->body += *len;
    x->body_len -= *len;
    return KVG_HTTP_READ_DATA;
}

static KvgHttpRead
read_until(KvgHttpExchange *x,
           void *buffer,
           size_t size,
           size_t *len,
           bool wakeable,
           int64_t deadline_us,
           GError **error)
{
    *len = 0;
    for (;;) {
        if (x->body_len > 0) {
            /* A sender that is always ahead must not keep a wake-up waiting. */
            if (wakeable && g_atomic_int_compare_and_exchange(&x->woken, 1, 0))
                return KVG_HTTP_READ_WOKEN;
            return take_body(x, buffer, size, len);
        }
        if (x->body_ended)
            return KVG_HTTP_READ_END;
        const KvgHttp1Event event = step(x, error);
        if (event == KVG_HTTP1_FAILED) {
            x->close_after = true;
            return KVG_HTTP_READ_FAILED;
        }
        x->body_ended = event == KVG_HTTP1_END;
        if (event != KVG_HTTP1_NEED_MORE)
            continue;
        switch (fill(x, wakeable, deadline_us)) {
        case KVG_HTTP_IO_DATA:
            break;
        case KVG_HTTP_IO_WOKEN:
            return KVG_HTTP_READ_WOKEN;
        case KVG_HTTP_IO_TIMEOUT:
            return KVG_HTTP_READ_TIMEOUT;
        case KVG_HTTP_IO_END:
        case KVG_HTTP_IO_FAILED:
            x->close_after = true;
            g_set_error(error, KVG_ERROR, KVG_ERROR_RETRY,
                        "connection from %s ended within the request", x->peer_address);
            return KVG_HTTP_READ_FAILED;
        }
    }
}

KvgHttpRead
kvg_http_read(
    KvgHttpExchange *x, void *buffer, size_t size, size_t *len, int timeout_ms, GError **error)
{
    if (x->response == KVG_HTTP_RESPONSE_NONE)
        send_continue(x);
    const int64_t deadline_us =
        timeout_ms < 0 ? INT64_MAX : kvg_clock_mono_us() + (int64_t)timeout_ms * 1000;
    return read_until(x, buffer, size, len, true, deadline_us, error);
}

/* Who sends the body is not known yet: signatures cover it. */
static GBytes *
read_whole(KvgHttpExchange *x, size_t max, GError **error)
{
    const int64_t deadline_us = kvg_clock_mono_us() + READ_ALL_US;
    g_autoptr(GByteArray) all = g_byte_array_new();
    g_autofree uint8_t *buffer = g_malloc(KVG_HTTP_INPUT_BYTES);
    bool is_too_large = x->head->content_length > max;
    if (!is_too_large && x->response == KVG_HTTP_RESPONSE_NONE)
        send_continue(x);
    while (!is_too_large) {
        size_t len;
        const KvgHttpRead result =
            read_until(x, buffer, KVG_HTTP_INPUT_BYTES, &len, false, deadline_us, error);
        if (result == KVG_HTTP_READ_END)
            return g_byte_array_free_to_bytes(g_steal_pointer(&all));
        if (result == KVG_HTTP_READ_FAILED)
            return NULL;
        if (result != KVG_HTTP_READ_DATA || kvg_clock_mono_us() > deadline_us) {
            x->close_after = true;
            g_set_error(error, KVG_ERROR, KVG_ERROR_RETRY,
                        "request body of %s did not come in time", x->peer_address);
            return NULL;
        }
        is_too_large = len > max - all->len;
        if (!is_too_large)
            g_byte_array_append(all, buffer, (guint)len);
    }
    x->close_after = true;
    g_set_error(error, KVG_ERROR, KVG_ERROR_NO_SPACE, "request body is larger than %zu bytes", max);
    return NULL;
}

GBytes *
kvg_http_read_all(KvgHttpExchange *x, size_t max, GError **error)
{
    kvg_http_set_waiting(x, true);
    GBytes *body = read_whole(x, max, error);
    kvg_http_set_waiting(x, false);
    return body;
}

void
kvg_http_wake(KvgHttpExchange *x)
{
    g_atomic_int_set(&x->woken, 1);
    eventfd_write(x->wake_fd, 1);
}

/* ---- the response ---- */

static const char *
reason_of(int status)
{
    static const struct {
        int status;
        const char *reason;
    } reasons[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {206, "Partial Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {304, "Not Modified"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {413, "Content Too Large"},
        {415, "Unsupported Media Type"},
        {416, "Range Not Satisfiable"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(reasons); i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "Status";
}

static void
append_date(GString *out)
{
    static const char days[][4] = {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"};
    static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    g_autoptr(GDateTime) now = g_date_time_new_from_unix_utc(kvg_clock_wall_ms() / 1000);
    if (!now)
        return;
    g_string_append_printf(
        out, "Date: %s, %02d %s %04d %02d:%02d:%02d GMT\r\n",
        days[g_date_time_get_day_of_week(now) - 1], g_date_time_get_day_of_month(now),
        months[g_date_time_get_month(now) - 1], g_date_time_get_year(now),
        g_date_time_get_hour(now), g_date_time_get_minute(now), g_date_time_get_second(now));
}

/* Framing is ours, and nobody may smuggle a line through a value. */
static bool
may_send(const KvgHeader *header)
{
    static const char *const ours[] = {"content-length", "transfer-encoding", "connection",
                                       "x-amzn-requestid"};
    for (size_t i = 0; i < G_N_ELEMENTS(ours); i++)
        if (g_ascii_strcasecmp(header->name, ours[i]) == 0)
            return false;
    return header->value && !strpbrk(header->value, "\r\n") && !strpbrk(header->name, "\r\n: ");
}

static GString *
head_text(KvgHttpExchange *x, int status, const KvgHeader *headers, size_t n_headers)
{
    GString *out = g_string_sized_new(512);
    x->status = status;
    g_string_append_printf(out, "HTTP/1.1 %d %s\r\nx-amzn-RequestId: %s\r\n", status,
                           reason_of(status), x->request_id);
    bool has_date = false; /* a handler may play a service with another clock */
    for (size_t i = 0; i < n_headers; i++) {
        has_date = has_date || g_ascii_strcasecmp(headers[i].name, "date") == 0;
        if (may_send(&headers[i]))
            g_string_append_printf(out, "%s: %s\r\n", headers[i].name, headers[i].value);
    }
    if (!has_date)
        append_date(out);
    return out;
}

static void
append_connection(KvgHttpExchange *x, GString *out)
{
    if (kvg_http_is_stopping(x) || !x->head->keep_alive)
        x->close_after = true;
    /* A client that still waits for "100 Continue" may send the body or not: nobody can tell where
     * the next request begins. */
    if (x->head->expects_continue && !x->continue_sent && !x->body_ended)
        x->close_after = true;
    if (x->close_after)
        g_string_append(out, "Connection: close\r\n");
    else if (x->head->minor == 0)
        g_string_append(out, "Connection: keep-alive\r\n");
}

static bool
is_head_only(const KvgHttpExchange *x)
{
    return strcmp(x->head->method, "HEAD") == 0;
}

bool
kvg_http_respond(KvgHttpExchange *x,
                 int status,
                 const KvgHeader *headers,
                 size_t n_headers,
                 const void *body,
                 size_t len)
{
    g_return_val_if_fail(x->response == KVG_HTTP_RESPONSE_NONE, false);
    x->response = KVG_HTTP_RESPONSE_DONE;
    g_autoptr(GString) out = head_text(x, status, headers, n_headers);
    const bool has_no_body = status == 204 || status == 304;
    if (!has_no_body)
        g_string_append_printf(out, "Content-Length: %zu\r\n", len);
    append_connection(x, out);
    g_string_append(out, "\r\n");
    if (is_head_only(x) || has_no_body)
        len = 0;
    const size_t joined = MIN(len, JOIN_BYTES);
    if (joined > 0)
        g_string_append_len(out, body, (gssize)joined);
    if (!kvg_http_io_write(x, out->str, out->len))
        return false;
    return len == joined || kvg_http_io_write(x, (const uint8_t *)body + joined, len - joined);
}

bool
kvg_http_respond_json(KvgHttpExchange *x, int status, const char *json)
{
    static const KvgHeader header = {"Content-Type", "application/json"};
    return kvg_http_respond(x, status, &header, 1, json, strlen(json));
}

bool
kvg_http_begin_stream(KvgHttpExchange *x, int status, const KvgHeader *headers, size_t n_headers)
{
    g_return_val_if_fail(x->response == KVG_HTTP_RESPONSE_NONE, false);
    if (x->head->expects_continue && !x->continue_sent && !x->body_ended) {
        send_continue(x);
        /* One embedded producer throws away what it receives together with the 100. */
        g_usleep(3000);
    }
    x->response = KVG_HTTP_RESPONSE_STREAM;
    x->is_chunked = x->head->minor > 0;
    if (!x->is_chunked)
        x->close_after = true;
    g_autoptr(GString) out = head_text(x, status, headers, n_headers);
    if (x->is_chunked)
        g_string_append(out, "Transfer-Encoding: chunked\r\n");
    append_connection(x, out);
    g_string_append(out, "\r\n");
    return kvg_http_io_write(x, out->str, out->len);
}

bool
kvg_http_write_chunk(KvgHttpExchange *x, const void *data, size_t len)
{
    g_return_val_if_fail(x->response == KVG_HTTP_RESPONSE_STREAM, false);
    if (len == 0 || is_head_only(x))
        return !x->is_gone;
    if (!x->is_chunked)
        return kvg_http_io_write(x, data, len);
    /* Size, data and end in one write: readers exist that expect a chunk to arrive whole. */
    if (len <= JOIN_BYTES) {
        g_autoptr(GString) out = g_string_sized_new(len + 16);
        g_string_append_printf(out, "%zx\r\n", len);
        g_string_append_len(out, data, (gssize)len);
        g_string_append(out, "\r\n");
        return kvg_http_io_write(x, out->str, out->len);
    }
    char size[24];
    const int n = g_snprintf(size, sizeof size, "%zx\r\n", len);
    return kvg_http_io_write(x, size, (size_t)n) && kvg_http_io_write(x, data, len) &&
           kvg_http_io_write(x, "\r\n", 2);
}

bool
kvg_http_end_stream(KvgHttpExchange *x)
{
    g_return_val_if_fail(x->response == KVG_HTTP_RESPONSE_STREAM, false);
    x->response = KVG_HTTP_RESPONSE_DONE;
    if (!x->is_chunked || is_head_only(x))
        return !x->is_gone;
    return kvg_http_io_write(x, "0\r\n\r\n", 5);
}

void
kvg_http_close_after(KvgHttpExchange *x)
{
    x->close_after = true;
}

/* ---- the connection ---- */

/* A bad head: say why, in a form every client of the service understands, and hang up. */
static void
refuse(KvgHttpExchange *x, const GError *error)
{
    const bool is_large = g_error_matches(error, KVG_ERROR, KVG_ERROR_NO_SPACE);
    const bool is_unsupported = g_error_matches(error, KVG_ERROR, KVG_ERROR_UNSUPPORTED);
    const int status = is_large ? 431 : is_unsupported ? 501 : 400;
    static const char body[] = "{\"message\":\"The request could not be read.\"}";
    g_autofree char *text = g_strdup_printf("HTTP/1.1 %d %s\r\nContent-Type: application/json\r\n"
                                            "Content-Length: %zu\r\nConnection: close\r\n\r\n%s",
                                            status, reason_of(status), sizeof body - 1, body);
    kvg_http_io_write(x, text, strlen(text));
}

static bool
read_head(KvgHttpExchange *x)
{
    const KvgHttpServerOptions *options = kvg_http_server_options(x->server);
    const int64_t start_us = kvg_clock_mono_us();
    bool has_started = x->input_end > x->input_at;
    int64_t deadline_us = start_us + 1000 * (int64_t)(has_started ? options->head_timeout_ms
                                                                  : options->idle_timeout_ms);
    for (;;) {
        g_autoptr(GError) error = NULL;
        const KvgHttp1Event event = step(x, &error);
        if (event == KVG_HTTP1_HEAD)
            return true;
        if (event == KVG_HTTP1_FAILED) {
            refuse(x, error);
            return false;
        }
        if (kvg_http_is_stopping(x))
            return false;
        const KvgHttpIo result = fill(x, true, deadline_us);
        if (result == KVG_HTTP_IO_WOKEN)
            continue; /* left over from the last exchange, or stopping */
        if (result != KVG_HTTP_IO_DATA)
            return false;
        if (!has_started)
            deadline_us = kvg_clock_mono_us() + 1000 * (int64_t)options->head_timeout_ms;
        has_started = true;
        if (kvg_clock_mono_us() > deadline_us)
            return false;
    }
}

static void
begin_exchange(KvgHttpExchange *x)
{
    g_free(x->request_id);
    x->request_id = g_uuid_string_random();
    x->head = kvg_http1_head(x->parser);
    x->body = NULL;
    x->body_len = 0;
    x->body_ended = !x->head->has_body;
    x->continue_sent = x->close_after = x->is_chunked = false;
    x->response = KVG_HTTP_RESPONSE_NONE;
    x->status = 0;
    x->read_bytes = x->sent_bytes = 0;
    g_atomic_int_set(&x->woken, 0);
    if (kvg_http_is_stopping(x))
        kvg_http_wake(x);
}

/* Reads what the handler left of the body, within reason. */
static bool
drain(KvgHttpExchange *x)
{
    uint8_t waste[4096];
    size_t total = 0;
    const int64_t deadline_us = kvg_clock_mono_us() + DRAIN_US;
    while (total <= DRAIN_BYTES && kvg_clock_mono_us() < deadline_us) {
        size_t len;
        g_autoptr(GError) ignored = NULL;
        switch (read_until(x, waste, sizeof waste, &len, false, deadline_us, &ignored)) {
        case KVG_HTTP_READ_DATA:
            total += len;
            break;
        case KVG_HTTP_READ_END:
            return true;
        case KVG_HTTP_READ_WOKEN:
        case KVG_HTTP_READ_TIMEOUT:
        case KVG_HTTP_READ_FAILED:
            return false;
        }
    }
    return false;
}

/* True if the connection may serve another request. */
static bool
end_exchange(KvgHttpExchange *x)
{
    if (x->response == KVG_HTTP_RESPONSE_NONE)
        kvg_http_respond_json(x, 500, "{\"message\":\"The request was not answered.\"}");
    if (x->response ==
        KVG_HTTP_RESPONSE_STREAM) /* cut short: the client must not take it as whole */
        return false;
    if (x->is_gone || x->close_after || !x->head->keep_alive || kvg_http_is_stopping(x))
        return false;
    if (!drain(x))
        return false;
    /* A request without a body still owes the parser its END. */
    for (;;) {
        g_autoptr(GError) ignored = NULL;
        const KvgHttp1Event event = step(x, &ignored);
        if (event == KVG_HTTP1_END)
            break;
        if (event == KVG_HTTP1_FAILED || event == KVG_HTTP1_NEED_MORE)
            return false;
    }
    kvg_http1_reset(x->parser);
    return true;
}

void
kvg_http_connection_run(KvgHttpExchange *x)
{
    const KvgHttpServerOptions *options = kvg_http_server_options(x->server);
    const int64_t deadline_us = kvg_clock_mono_us() + 1000 * (int64_t)options->head_timeout_ms;
    if (options->tls && !kvg_http_io_handshake(x, options->tls, deadline_us))
        x->is_gone = true;
    bool goes_on = !x->is_gone;
    while (goes_on && read_head(x)) {
        kvg_http_set_waiting(x, false);
        begin_exchange(x);
        options->handler(x, options->user_data);
        goes_on = end_exchange(x);
        kvg_http_set_waiting(x, true);
    }
    kvg_http_io_close(x);
}
