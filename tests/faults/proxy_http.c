/* The service's part: requests that are answered here, answers that are withheld, acknowledgements
 * that are not what the server sent. */
#include "proxy_private.h"

#include "wire/sigv4.h"
#include <string.h>
#include <time.h>

#define MAX_HEAD 65536
#define SKEW_LIMIT_S 300
#define AMZ_DATE "%Y%m%dT%H%M%SZ"
#define HTTP_DATE "%a, %d %b %Y %H:%M:%S GMT"

/* ---- heads ---- */

/* Bytes of the head with its blank line; 0: not complete. */
static size_t
head_length(const GByteArray *held)
{
    const uint8_t *end = held->len > 0 ? memmem(held->data, held->len, "\r\n\r\n", 4) : NULL;
    return end != NULL ? (size_t)(end - held->data) + 4 : 0;
}

/* The value of a header (g_free), or NULL. @lines: the head, split at its line ends. */
static char *
get_header(char **lines, const char *name)
{
    const size_t len = strlen(name);
    for (char **line = lines + 1; lines[0] != NULL && *line != NULL; line++) {
        if (g_ascii_strncasecmp(*line, name, len) == 0 && (*line)[len] == ':')
            return g_strstrip(g_strdup(*line + len + 1));
    }
    return NULL;
}

static void
set_header(char **lines, const char *name, const char *value)
{
    const size_t len = strlen(name);
    for (char **line = lines + 1; lines[0] != NULL && *line != NULL; line++) {
        if (g_ascii_strncasecmp(*line, name, len) != 0 || (*line)[len] != ':')
            continue;
        g_free(*line);
        *line = g_strdup_printf("%s: %s", name, value);
    }
}

static char **
split_head(const GByteArray *held, size_t len)
{
    g_autofree char *text = g_strndup((const char *)held->data, len - 4);
    return g_strsplit(text, "\r\n", -1);
}

static void
push_head(ProxyLane *lane, char **lines, int64_t delay_us)
{
    g_autofree char *joined = g_strjoinv("\r\n", lines);
    g_autofree char *head = g_strconcat(joined, "\r\n\r\n", NULL);
    proxy_lane_push(lane, head, strlen(head), delay_us);
}

static char *
format_time(const char *format, time_t when)
{
    g_autoptr(GDateTime) utc = g_date_time_new_from_unix_utc(when);
    return g_date_time_format(utc, format);
}

static time_t
server_time(const KvgProxy *proxy)
{
    return time(NULL) + proxy->faults.skew_s;
}

/* ---- answers of our own ---- */

static void
answer(ProxyConnection *c, int status, const char *type, const char *body)
{
    g_autofree char *date = format_time(HTTP_DATE, server_time(c->proxy));
    g_autofree char *error =
        type != NULL ? g_strdup_printf("x-amzn-ErrorType: %s\r\n", type) : g_strdup("");
    g_autofree char *text =
        g_strdup_printf("HTTP/1.1 %d Fault\r\nDate: %s\r\n%sContent-Type: application/json\r\n"
                        "Content-Length: %zu\r\nConnection: close\r\n\r\n%s",
                        status, date, error, strlen(body), body);
    proxy_lane_push(&c->down, text, strlen(text), 0);
    proxy_connection_end(c);
}

static void
answer_fault(ProxyConnection *c)
{
    const KvgFaults *f = &c->proxy->faults;
    answer(c, f->status, f->type,
           f->body != NULL ? f->body : "{\"message\":\"injected by the test\"}");
}

static bool
is_expired(const KvgProxy *proxy)
{
    for (guint i = 0; i < proxy->expired->len; i++) {
        if (g_strcmp0(g_ptr_array_index(proxy->expired, i), proxy->last_key) == 0)
            return true;
    }
    return false;
}

/* ---- a server whose clock is wrong ---- */

static bool
is_in_time(const KvgProxy *proxy, const char *amz_date)
{
    struct tm utc = {0};
    if (amz_date == NULL || strptime(amz_date, AMZ_DATE, &utc) == NULL)
        return false;
    return ABS(timegm(&utc) - server_time(proxy)) <= SKEW_LIMIT_S;
}

/* The real server's clock is right: what was signed for the wrong one is signed again. */
static void
sign_again(KvgProxy *proxy, char **lines, const char *body, size_t len)
{
    g_autofree char *old = get_header(lines, "authorization");
    g_autofree char *date = format_time(AMZ_DATE, time(NULL));
    g_auto(KvgSigv4Auth) auth = {0};
    if (old == NULL || !kvg_sigv4_parse_authorization(old, &auth, NULL))
        return;
    set_header(lines, "x-amz-date", date);
    g_autoptr(GArray) headers = g_array_new(FALSE, FALSE, sizeof(KvgHeader));
    g_autoptr(GPtrArray) values = g_ptr_array_new_with_free_func(g_free);
    for (char **name = auth.signed_headers; *name != NULL; name++) {
        char *value = get_header(lines, *name);
        g_ptr_array_add(values, value);
        const KvgHeader header = {*name, value != NULL ? value : ""};
        g_array_append_val(headers, header);
    }
    g_auto(GStrv) words = g_strsplit(lines[0], " ", 3);
    g_autofree char *hash = kvg_sigv4_sha256_hex(body, len);
    const KvgSigv4Request request = {.method = words[0],
                                     .path = words[1],
                                     .headers = (const KvgHeader *)(const void *)headers->data,
                                     .n_headers = headers->len,
                                     .payload_sha256 = hash,
                                     .amz_date = date,
                                     .region = auth.region,
                                     .service = auth.service};
    g_autofree char *fresh =
        kvg_sigv4_authorization(&request, proxy->access_key, proxy->secret_key);
    set_header(lines, "authorization", fresh);
}

/* ---- requests ---- */

static void
remember_key(KvgProxy *proxy, char **lines)
{
    g_autofree char *authorization = get_header(lines, "authorization");
    const char *key = authorization != NULL ? strstr(authorization, "Credential=") : NULL;
    if (key == NULL)
        return;
    key += strlen("Credential=");
    g_free(proxy->last_key);
    proxy->last_key = g_strndup(key, strcspn(key, "/"));
}

/* True: the request is not for the server, or not yet. */
static bool
intercept(ProxyConnection *c, char **lines, const char *path)
{
    KvgProxy *proxy = c->proxy;
    const KvgFaults *f = &proxy->faults;
    if (is_expired(proxy)) {
        proxy->counts.struck++;
        answer(c, 403, "ExpiredTokenException",
               "{\"message\":\"The security token included in the request is expired\"}");
        return true;
    }
    const bool is_meant = f->status != 0 &&
                          strcmp(path, f->path != NULL ? f->path : "/putMedia") == 0 &&
                          proxy_strikes(proxy);
    c->is_withheld =
        is_meant && (f->status == KVG_FAULT_SILENCE || (c->is_put && f->after_bytes > 0));
    if (is_meant && !c->is_withheld) {
        answer_fault(c);
        return true;
    }
    g_autofree char *date = get_header(lines, "x-amz-date");
    if (f->skew_s == 0 || is_in_time(proxy, date))
        return false;
    g_autofree char *now = format_time(AMZ_DATE, server_time(proxy));
    g_autofree char *text = g_strdup_printf("{\"message\":\"Signature %s: %s is now %s than %s\"}",
                                            f->skew_s > 0 ? "expired" : "not yet current", date,
                                            f->skew_s > 0 ? "earlier" : "later", now);
    answer(c, 403, "InvalidSignatureException", text);
    return true;
}

/* False: not enough of it is there. */
static bool
take_request(ProxyConnection *c, ProxyLane *lane, int64_t delay_us)
{
    KvgProxy *proxy = c->proxy;
    const size_t head = head_length(lane->held);
    if (head == 0)
        return false;
    g_auto(GStrv) lines = split_head(lane->held, head);
    g_autofree char *length = get_header(lines, "content-length");
    const int64_t body = length != NULL ? g_ascii_strtoll(length, NULL, 10) : 0;
    const char *target = strchr(lines[0], ' ');
    g_autofree char *path =
        target != NULL ? g_strndup(target + 1, strcspn(target + 1, " ?")) : g_strdup("");
    c->is_put = strcmp(path, "/putMedia") == 0;
    if (proxy->faults.skew_s != 0 && (int64_t)lane->held->len < (int64_t)head + body)
        return false; /* all of it will be signed */
    proxy->counts.requests++;
    proxy->counts.puts += c->is_put;
    c->n_body = 0;
    c->n_fragments = 0;
    remember_key(proxy, lines);
    if (intercept(c, lines, path))
        return false;
    if (proxy->faults.skew_s != 0)
        sign_again(proxy, lines, (const char *)lane->held->data + head,
                   c->is_put ? 0 : (size_t)body);
    push_head(lane, lines, delay_us);
    g_byte_array_remove_range(lane->held, 0, (guint)head);
    lane->body_left = c->is_put ? -1 : body;
    lane->in_body = c->is_put || body > 0;
    return true;
}

/* ---- bodies ---- */

static bool
pass_body(ProxyConnection *c, ProxyLane *lane, int64_t delay_us)
{
    const guint held = lane->held->len;
    const guint n = lane->body_left < 0 ? held : (guint)MIN(lane->body_left, (int64_t)held);
    if (n == 0)
        return false;
    proxy_lane_push(lane, lane->held->data, n, delay_us);
    g_byte_array_remove_range(lane->held, 0, n);
    if (lane->body_left >= 0) {
        lane->body_left -= n;
        lane->in_body = lane->body_left > 0;
    }
    if (lane != &c->up || !c->is_put)
        return true;
    c->n_body += n;
    const KvgFaults *f = &c->proxy->faults;
    if (!c->is_withheld || f->status == KVG_FAULT_SILENCE || c->n_body < f->after_bytes)
        return true;
    answer_fault(c);
    return false;
}

/* ---- acknowledgements ---- */

static void
push_chunk(ProxyLane *lane, const char *data, size_t len, int64_t delay_us)
{
    g_autoptr(GString) chunk = g_string_new(NULL);
    g_string_append_printf(chunk, "%zx\r\n", len);
    g_string_append_len(chunk, data, (gssize)len);
    g_string_append(chunk, "\r\n");
    proxy_lane_push(lane, chunk->str, chunk->len, delay_us);
}

static void
push_ack(ProxyConnection *c, const char *ack, size_t len, int64_t delay_us)
{
    const KvgFaults *f = &c->proxy->faults;
    delay_us += f->ack_delay_ms * INT64_C(1000);
    for (unsigned n = 0; n <= f->ack_twice; n++) {
        if (!f->ack_split)
            push_chunk(&c->down, ack, len, delay_us);
        for (size_t i = 0; f->ack_split && i < len; i++)
            push_chunk(&c->down, ack + i, 1, delay_us + (int64_t)(i / 16) * 1000);
    }
}

static bool
is_buffering(const char *text, size_t len, KvgAck *ack)
{
    g_autoptr(KvgAckParser) parser = kvg_ack_parser_new();
    return kvg_ack_parser_put(parser, text, len, NULL) &&
           kvg_ack_parser_step(parser, ack, NULL) == KVG_ACK_STEP_ACK &&
           ack->type == KVG_ACK_BUFFERING;
}

/* True: the session is over. */
static bool
take_ack(ProxyConnection *c, const char *text, size_t len, int64_t delay_us)
{
    const KvgFaults *f = &c->proxy->faults;
    KvgAck ack;
    const bool is_begin = is_buffering(text, len, &ack);
    const bool is_meant = (f->error_id != 0 || f->end_response || f->ack_garbage) && is_begin &&
                          c->n_fragments >= f->at_fragment;
    c->n_fragments += is_begin;
    if (!is_meant || !proxy_strikes(c->proxy)) {
        push_ack(c, text, len, delay_us);
        return false;
    }
    if (f->ack_garbage) {
        static const char garbage[] = "{\"EventType\":\"BUFF}}}]\n";
        push_ack(c, garbage, sizeof garbage - 1, delay_us);
        return false;
    }
    if (f->error_id != 0) {
        ack.type = KVG_ACK_ERROR;
        ack.error_id = f->error_id;
        g_strlcpy(ack.error_code, kvg_ack_error_code(f->error_id), sizeof ack.error_code);
        g_autofree char *error = kvg_ack_to_text(&ack);
        push_ack(c, error, strlen(error), delay_us);
    }
    proxy_lane_push(&c->down, "0\r\n\r\n", 5, delay_us);
    proxy_connection_end(c);
    return true;
}

static bool
take_chunk(ProxyConnection *c, ProxyLane *lane, int64_t delay_us)
{
    const uint8_t *line =
        lane->held->len > 0 ? memmem(lane->held->data, lane->held->len, "\r\n", 2) : NULL;
    if (line == NULL)
        return false;
    const size_t start = (size_t)(line - lane->held->data) + 2;
    const size_t size = g_ascii_strtoull((const char *)lane->held->data, NULL, 16);
    if (lane->held->len < start + size + 2)
        return false;
    g_autofree char *text = g_strndup((const char *)lane->held->data + start, size);
    g_byte_array_remove_range(lane->held, 0, (guint)(start + size + 2));
    if (size > 0)
        return !take_ack(c, text, size, delay_us);
    proxy_lane_push(lane, "0\r\n\r\n", 5, delay_us);
    lane->in_acks = false;
    return true;
}

/* ---- responses ---- */

static bool
take_response(ProxyConnection *c, ProxyLane *lane, int64_t delay_us)
{
    const size_t head = head_length(lane->held);
    if (head == 0)
        return false;
    g_auto(GStrv) lines = split_head(lane->held, head);
    const char *status = strchr(lines[0], ' ');
    g_autofree char *length = get_header(lines, "content-length");
    if (c->proxy->faults.skew_s != 0) {
        g_autofree char *date = format_time(HTTP_DATE, server_time(c->proxy));
        set_header(lines, "Date", date);
    }
    push_head(lane, lines, delay_us);
    g_byte_array_remove_range(lane->held, 0, (guint)head);
    lane->in_acks = c->is_put && status != NULL && g_str_has_prefix(status, " 200");
    lane->body_left = length != NULL ? g_ascii_strtoll(length, NULL, 10) : 0;
    lane->in_body = lane->body_left > 0;
    return true;
}

void
proxy_http_take(ProxyConnection *c, ProxyLane *lane, const void *data, size_t len, int64_t delay_us)
{
    if (lane->held == NULL)
        lane->held = g_byte_array_new();
    g_byte_array_append(lane->held, data, (guint)len);
    bool goes_on = true;
    while (goes_on && c->linger_until_us == 0) {
        if (lane->in_body)
            goes_on = pass_body(c, lane, delay_us);
        else if (lane == &c->up)
            goes_on = take_request(c, lane, delay_us);
        else if (c->is_withheld)
            goes_on = false;
        else
            goes_on =
                lane->in_acks ? take_chunk(c, lane, delay_us) : take_response(c, lane, delay_us);
    }
    if (lane->held->len > MAX_HEAD && !lane->in_body)
        g_byte_array_set_size(lane->held, 0);
}

void
proxy_http_clear(ProxyConnection *c)
{
    g_clear_pointer(&c->up.held, g_byte_array_unref);
    g_clear_pointer(&c->down.held, g_byte_array_unref);
}
