/* One PutMedia transfer: its body is read from the spool, its answer is the acknowledgements. */
#include "base/clock.h"
#include "base/json.h"
#include "os/log.h"
#include "putmedia/private.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

/* curl's upload buffer per stream, and so the most one stream sends before the next has its turn.
 */
#define UPLOAD_BUFFER_BYTES (64 * 1024)
/* What the kernel may hold that is not sent yet: what curl has taken is then really on its way, so
 * that a slow line is not mistaken for a dead one, and what is newest does not wait behind
 * megabytes.
 */
#define UNSENT_BYTES (128 * 1024)
#define MAX_ERROR_BODY 4096
/* The least that is worth a write when the bandwidth is limited. */
#define SLICE_BYTES 8192

void
kvg_put_drop(KvgPut *put)
{
    if (put->easy != NULL)
        kvg_loop_remove(put->upload->uploader->loop, put->easy);
    g_clear_pointer(&put->easy, curl_easy_cleanup);
    g_clear_pointer(&put->headers, kvg_putmedia_headers_free);
    g_clear_pointer(&put->body, kvg_body_free);
    g_clear_pointer(&put->acks, kvg_ack_parser_free);
    g_clear_pointer(&put->error_type, g_free);
    g_clear_pointer(&put->request_id, g_free);
    g_clear_error(&put->body_error);
    if (put->error_body != NULL)
        g_string_free(g_steal_pointer(&put->error_body), TRUE);
    put->is_dead = put->is_open = put->is_paused = put->is_blocked = false;
    put->send_at_us = put->date_wall_ms = 0;
}

/* ---- the body ---- */

static KvgSessionAdmit
step_put(KvgPut *put, KvgSessionEvent *event)
{
    event->call = put->index;
    return kvg_upload_step(put->upload, event);
}

static KvgSessionAdmit
on_body_event(KvgSessionEvent *event, void *user_data)
{
    KvgPut *put = user_data;
    return put->is_dead ? KVG_ADMIT_STOP : step_put(put, event);
}

static bool
is_live(const KvgPut *put)
{
    return kvg_session_lane(put->upload->mine.session, put->index) == KVG_LANE_LIVE;
}

/* What the camera has delivered since this call began, and the backlog may use as well: the limit
 * is for what goes up on top of it, so that a low one never lets the backlog grow. */
static size_t
granted(KvgPut *put)
{
    const uint64_t total = atomic_load(&put->upload->n_put_bytes);
    return is_live(put) && total > put->put_mark ? (size_t)(total - put->put_mark) : 0;
}

/* How much may be sent now; only the backlog is limited. */
static size_t
room_for(KvgPut *put, int64_t now_us)
{
    KvgUpload *upload = put->upload;
    const bool is_backlog = !is_live(put) || kvg_session_is_behind(upload->mine.session);
    if (!is_backlog)
        put->put_mark = atomic_load(&upload->n_put_bytes);
    const size_t room = MIN(kvg_bucket_room(&upload->mine.bucket, now_us),
                            kvg_bucket_room(&upload->uploader->mine.bucket, now_us));
    if (!is_backlog || room == SIZE_MAX)
        return SIZE_MAX;
    return room + granted(put);
}

static void
take_room(KvgPut *put, size_t bytes)
{
    const size_t free_bytes = MIN(granted(put), bytes);
    put->put_mark += free_bytes;
    kvg_bucket_take(&put->upload->mine.bucket, bytes - free_bytes);
    kvg_bucket_take(&put->upload->uploader->mine.bucket, bytes - free_bytes);
}

/* Frames that come close together share a write: after one, wakes are held back until the next
 * multiple of gather_us, when all streams look into their spools together. One that finds nothing
 * there is served at once by its next wake. */
static void
pause_put(KvgPut *put, int64_t now_us)
{
    KvgUpload *upload = put->upload;
    put->is_paused = true;
    put->is_blocked = !kvg_session_may_send(upload->mine.session, put->index);
    kvg_session_note_sent(upload->mine.session, put->index, put->last_sent_us, !put->is_blocked);
    if (put->is_blocked || !is_live(put))
        return;
    const int64_t gather_us = MAX(upload->gather_us, 1);
    const int64_t next_us = (put->last_sent_us / gather_us + 1) * gather_us;
    if (next_us <= now_us)
        return;
    put->send_at_us = next_us;
    atomic_store(&upload->is_woken, true);
}

static size_t
pause_for_bandwidth(KvgPut *put)
{
    const KvgUpload *upload = put->upload;
    put->is_paused = put->is_blocked = true;
    put->send_at_us = MAX(kvg_bucket_ready_us(&upload->mine.bucket, SLICE_BYTES),
                          kvg_bucket_ready_us(&upload->uploader->mine.bucket, SLICE_BYTES));
    return CURL_READFUNC_PAUSE;
}

static size_t
on_put_read(char *buffer, size_t size, size_t n, void *user_data)
{
    KvgPut *put = user_data;
    KvgUpload *upload = put->upload;
    const int64_t now_us = kvg_clock_mono_us();
    kvg_upload_touch(upload);
    if (put->is_dead)
        return CURL_READFUNC_ABORT;
    /* Before reading: what is put into the spool from here on wakes us again. */
    if (is_live(put) && kvg_session_may_send(upload->mine.session, put->index))
        atomic_store(&upload->is_woken, false);
    put->send_at_us = 0;
    const size_t room = MIN(room_for(put, now_us), size * n);
    if (room < MIN(SLICE_BYTES, size * n) / 2)
        return pause_for_bandwidth(put);
    size_t len = 0;
    switch (kvg_body_read(put->body, buffer, room, &len, &put->body_error)) {
    case KVG_BODY_DATA:
        put->last_sent_us = now_us;
        kvg_session_note_sent(upload->mine.session, put->index, now_us, false);
        upload->mine.bytes_sent += len;
        take_room(put, len);
        return len;
    case KVG_BODY_STARVED:
        pause_put(put, now_us);
        return CURL_READFUNC_PAUSE;
    case KVG_BODY_END:
        /* A request without any block would be refused as invalid media. */
        return kvg_body_is_empty(put->body) ? CURL_READFUNC_ABORT : 0;
    case KVG_BODY_FAILED:
        break;
    }
    return CURL_READFUNC_ABORT;
}

void
kvg_put_unpause(KvgPut *put)
{
    put->send_at_us = 0;
    if (put->easy == NULL || !put->is_paused)
        return;
    put->is_paused = false;
    put->is_blocked = false;
    curl_easy_pause(put->easy, CURLPAUSE_CONT);
}

/* ---- the answer ---- */

static void
take_ack(KvgPut *put, const KvgAck *ack)
{
    const KvgUpload *upload = put->upload;
    KvgSessionEvent event = {.kind = KVG_SESSION_ON_ACK, .ack = ack};
    if (ack->type == KVG_ACK_ERROR)
        KVG_LOG_WARNING(KVG_UPLOADER_DOMAIN, "STREAM", upload->name,
                        "stream '%s': service error %d %s for fragment %s at %" G_GINT64_FORMAT,
                        upload->name, ack->error_id, ack->error_code, ack->fragment_number,
                        ack->timecode_ms);
    if (upload->on_ack != NULL)
        upload->on_ack(ack, upload->user_data);
    step_put(put, &event);
}

static void
fail_put(KvgPut *put, KvgStreamEnd end, const char *text)
{
    KvgSessionEvent event = {
        .kind = KVG_SESSION_ON_PUT_FAILED, .code = KVG_ERROR_RETRY, .end = end, .text = text};
    step_put(put, &event);
}

static void
take_acks(KvgPut *put, const char *data, size_t len)
{
    g_autoptr(GError) error = NULL;
    KvgAck ack;
    KvgAckStep result = KVG_ACK_STEP_FAILED;
    if (kvg_ack_parser_put(put->acks, data, len, &error)) {
        while (!put->is_dead &&
               (result = kvg_ack_parser_step(put->acks, &ack, &error)) == KVG_ACK_STEP_ACK)
            take_ack(put, &ack);
    }
    if (put->is_blocked && put->send_at_us == 0 &&
        kvg_session_may_send(put->upload->mine.session, put->index))
        put->send_at_us = kvg_clock_mono_us();
    if (!put->is_dead && result == KVG_ACK_STEP_FAILED)
        fail_put(put, KVG_STREAM_END_LOST, error->message);
}

static size_t
on_put_write(char *data, size_t size, size_t n, void *user_data)
{
    KvgPut *put = user_data;
    const size_t len = size * n;
    if (put->is_open) {
        take_acks(put, data, len);
        return len;
    }
    if (put->error_body == NULL)
        put->error_body = g_string_new(NULL);
    GString *body = put->error_body;
    g_string_append_len(body, data,
                        (gssize)MIN(len, MAX_ERROR_BODY - MIN(body->len, MAX_ERROR_BODY)));
    return len;
}

/* The value of header @name in the line, or NULL (g_free). */
static char *
header_value(const char *line, size_t len, const char *name)
{
    const size_t name_len = strlen(name);
    if (len <= name_len || line[name_len] != ':' || g_ascii_strncasecmp(line, name, name_len) != 0)
        return NULL;
    const size_t room = MIN(len - name_len - 1, 256);
    return g_strstrip(g_strndup(line + name_len + 1, room));
}

static void
keep_header(char **kept, char *value)
{
    if (value == NULL)
        return;
    g_free(*kept);
    *kept = value;
}

static void
take_header(KvgPut *put, const char *data, size_t len)
{
    keep_header(&put->error_type, header_value(data, len, "x-amzn-errortype"));
    if (put->error_type != NULL)
        put->error_type[strcspn(put->error_type, ":")] = '\0';
    keep_header(&put->request_id, header_value(data, len, "x-amzn-requestid"));
    g_autofree char *date = header_value(data, len, "date");
    const time_t seconds = date != NULL ? curl_getdate(date, NULL) : -1;
    if (seconds > 0)
        put->date_wall_ms = (int64_t)seconds * 1000;
}

static size_t
on_put_header(char *data, size_t size, size_t n, void *user_data)
{
    KvgPut *put = user_data;
    const size_t len = size * n;
    take_header(put, data, len);
    long status = 0;
    curl_easy_getinfo(put->easy, CURLINFO_RESPONSE_CODE, &status);
    const bool is_blank = len <= 2 && (data[0] == '\r' || data[0] == '\n');
    if (is_blank && status == 200 && !put->is_open && !put->is_dead) {
        KvgSessionEvent event = {.kind = KVG_SESSION_ON_OPEN};
        put->is_open = true;
        step_put(put, &event);
    }
    /* curl ends a refused transfer only when it is not paused. */
    if (is_blank && status >= 300 && put->is_paused) {
        put->send_at_us = kvg_clock_mono_us();
        kvg_upload_touch(put->upload);
    }
    return len;
}

/* ---- the end ---- */

/* The service's own words, or NULL. */
static char *
refusal_text(const KvgPut *put)
{
    const GString *body = put->error_body;
    g_autoptr(json_t) reply =
        body != NULL ? kvg_json_parse_object(body->str, body->len, NULL) : NULL;
    const char *message = reply != NULL ? kvg_json_get_string(reply, "Message") : NULL;
    if (message == NULL && reply != NULL)
        message = kvg_json_get_string(reply, "message");
    return g_strdup(message);
}

/* "PutMedia: HTTP 403 InvalidSignatureException: ... (request 8c1...)" */
static char *
describe_refusal(const KvgPut *put, long status, const char *message)
{
    GString *text = g_string_new("PutMedia: ");
    g_string_append_printf(text, "HTTP %ld", status);
    if (put->error_type != NULL)
        g_string_append_printf(text, " %s", put->error_type);
    if (message != NULL)
        g_string_append_printf(text, ": %s", message);
    if (put->request_id != NULL)
        g_string_append_printf(text, " (request %s)", put->request_id);
    return g_string_free(text, FALSE);
}

static void
on_refused(KvgPut *put, long status)
{
    g_autofree char *message = refusal_text(put);
    g_autofree char *text = describe_refusal(put, status, message);
    g_autofree char *type = g_steal_pointer(&put->error_type);
    KvgSessionEvent event = {
        .kind = KVG_SESSION_ON_PUT_FAILED,
        .code = kvg_verdict_of_status(status, type),
        .error_type = type,
        .text = text,
        .end = KVG_STREAM_END_REFUSED,
        .is_skew = kvg_uploader_judge_skew(put->upload->uploader, put->clock_offset_ms,
                                           put->date_wall_ms, status, type, message)};
    kvg_put_drop(put);
    step_put(put, &event);
}

static void
on_put_done(void *owner, CURLcode result)
{
    KvgPut *put = owner;
    long status = 0;
    curl_easy_getinfo(put->easy, CURLINFO_RESPONSE_CODE, &status);
    kvg_upload_learn_connect(put->upload, put->easy, result);
    const bool was_dead = put->is_dead;
    if (!was_dead && status >= 300) {
        on_refused(put, status);
        return;
    }
    const bool was_empty = kvg_body_is_empty(put->body);
    g_autoptr(GError) body_error = g_steal_pointer(&put->body_error);
    g_autofree char *fault = kvg_aws_transport_text(put->easy, result, put->curl_error);
    g_autofree char *text = g_strconcat("PutMedia: ", fault, NULL);
    kvg_put_drop(put);
    kvg_upload_touch(put->upload);
    if (was_dead)
        return;
    KvgSessionEvent event = {.kind = KVG_SESSION_ON_END};
    if (body_error != NULL)
        fail_put(put, KVG_STREAM_END_LOST, body_error->message);
    else if (result == CURLE_OK || (result == CURLE_ABORTED_BY_CALLBACK && was_empty))
        step_put(put, &event);
    else
        fail_put(put, KVG_STREAM_END_LOST, text);
}

/* ---- the beginning ---- */

static int
on_socket_made(void *user_data, curl_socket_t fd, curlsocktype purpose)
{
    const int bytes = UNSENT_BYTES;
    setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof bytes);
    return CURL_SOCKOPT_OK;
}

static CURL *
make_easy(KvgPut *put, const char *url)
{
    const KvgUploader *uploader = put->upload->uploader;
    CURL *easy = curl_easy_init();
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, put->curl_error);
    curl_easy_setopt(easy, CURLOPT_POST, 1L);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, put->headers);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "https,http");
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 20L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 5L);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)kvg_upload_connect_ms(put->upload));
    curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, on_socket_made);
    /* A session is a connection: an old one may die under the first fragment. */
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
    curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, (long)UPLOAD_BUFFER_BYTES);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 4096L);
    kvg_curl_trust(easy, uploader->ca_path);
    curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_put_read);
    curl_easy_setopt(easy, CURLOPT_READDATA, put);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_put_write);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, put);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_put_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, put);
    return easy;
}

void
kvg_put_begin(KvgPut *put)
{
    KvgUpload *upload = put->upload;
    KvgUploader *uploader = upload->uploader;
    kvg_put_drop(put);
    g_auto(KvgKeys) keys = {0};
    if (!kvg_credentials_peek(upload->credentials, &keys)) {
        KvgSessionEvent event = {.kind = KVG_SESSION_ON_PUT_FAILED,
                                 .code = KVG_ERROR_AUTH,
                                 .end = KVG_STREAM_END_REFUSED,
                                 .text = "the credentials have expired"};
        step_put(put, &event);
        return;
    }
    g_autofree char *host = kvg_putmedia_host(upload->mine.endpoint, NULL);
    g_autofree char *url = g_strconcat(upload->mine.endpoint, "/putMedia", NULL);
    put->clock_offset_ms = uploader->mine.clock_offset_ms;
    put->headers = kvg_putmedia_headers(host, uploader->region, upload->name, uploader->user_agent,
                                        &keys, kvg_clock_wall_ms() + put->clock_offset_ms);
    put->body = kvg_body_new(upload->spool, upload->mine.session, put->index, on_body_event, put);
    put->acks = kvg_ack_parser_new();
    put->curl_error[0] = '\0';
    put->last_sent_us = kvg_clock_mono_us();
    put->put_mark = atomic_load(&upload->n_put_bytes);
    put->easy = make_easy(put, url);
    kvg_loop_share(uploader->loop, put->easy);
    kvg_uploader_add_transfer(uploader, put->easy, &put->transfer);
}

void
kvg_put_init(KvgPut *put, KvgUpload *upload, unsigned index)
{
    put->upload = upload;
    put->index = index;
    put->transfer = (KvgTransfer){on_put_done, put};
}
