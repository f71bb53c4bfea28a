#include "service.h"

#include "base/json.h"
#include "media/mkv_parser.h"
#include "wire/ack.h"
#include <string.h>

void
frame_free(void *data)
{
    Frame *frame = data;
    g_bytes_unref(frame->data);
    g_free(frame);
}

static void
frames_free(void *data)
{
    g_ptr_array_unref(data);
}

static void
tags_free(void *data)
{
    g_string_free(data, TRUE);
}

static void
bytes_free(void *data)
{
    g_bytes_unref(data);
}

static bool
take(Service *service, unsigned *counter)
{
    pthread_mutex_lock(&service->lock);
    const bool had = *counter > 0;
    if (had)
        (*counter)--;
    pthread_mutex_unlock(&service->lock);
    return had;
}

static bool
send_ack(KvgHttpExchange *x, KvgAckType type, int64_t timecode_ms, int error_id)
{
    KvgAck ack = {.type = type, .timecode_ms = timecode_ms, .error_id = error_id};
    g_strlcpy(ack.fragment_number, "91343852333181447247962534042408424052728840414",
              sizeof ack.fragment_number);
    if (error_id != 0)
        g_strlcpy(ack.error_code, kvg_ack_error_code(error_id), sizeof ack.error_code);
    g_autofree char *text = kvg_ack_to_text(&ack);
    return kvg_http_write_chunk(x, text, strlen(text));
}

typedef struct {
    Service *service;
    KvgHttpExchange *x;
    KvgMkvParser *parser;
    GBytes *header;
    GPtrArray *frames; /* of the open fragment; NULL: none */
    GString *tags;
    int64_t timecode_ms;
    unsigned n_blocks, reset_after;
    bool is_over; /* error ack sent, or cut */
} Ingest;

static void
finish_fragment(Ingest *in)
{
    if (in->frames == NULL)
        return;
    Service *service = in->service;
    pthread_mutex_lock(&service->lock);
    const int error_id = service->error_timecode == in->timecode_ms ? service->error_id : 0;
    if (error_id != 0) {
        service->error_timecode = error_id == 4002 ? in->timecode_ms : 0; /* 4002 for ever */
        g_clear_pointer(&in->frames, g_ptr_array_unref);
    } else {
        int64_t *key = g_new(int64_t, 2);
        key[0] = key[1] = in->timecode_ms;
        g_hash_table_replace(service->headers, g_memdup2(key, sizeof *key),
                             g_bytes_ref(in->header));
        g_hash_table_replace(service->tags, g_memdup2(key, sizeof *key),
                             g_string_new(in->tags->str));
        g_hash_table_replace(service->fragments, key, g_steal_pointer(&in->frames));
    }
    pthread_mutex_unlock(&service->lock);
    if (error_id != 0) {
        send_ack(in->x, KVG_ACK_ERROR, in->timecode_ms, error_id);
        in->is_over = true;
        return;
    }
    send_ack(in->x, KVG_ACK_RECEIVED, in->timecode_ms, 0);
    send_ack(in->x, KVG_ACK_PERSISTED, in->timecode_ms, 0);
}

static void
take_event(Ingest *in, const KvgMkvEvent *event)
{
    if (event->kind == KVG_MKV_HEADER) {
        g_assert_null(in->header);
        in->header = kvg_mkv_parser_header(in->parser);
        g_bytes_ref(in->header);
    } else if (event->kind == KVG_MKV_CLUSTER) {
        finish_fragment(in);
        if (in->is_over)
            return;
        in->timecode_ms = (int64_t)event->timecode;
        g_string_truncate(in->tags, 0);
        pthread_mutex_lock(&in->service->lock);
        g_array_append_val(in->service->order, in->timecode_ms);
        pthread_mutex_unlock(&in->service->lock);
        in->frames = g_ptr_array_new_with_free_func(frame_free);
        send_ack(in->x, KVG_ACK_BUFFERING, in->timecode_ms, 0);
    } else if (event->kind == KVG_MKV_BLOCK) {
        Frame *frame = g_new0(Frame, 1);
        frame->pts_ms = in->timecode_ms + event->relative;
        frame->key = event->key;
        frame->data = g_bytes_new(event->data, event->len);
        g_ptr_array_add(in->frames, frame);
        in->n_blocks++;
        in->is_over = in->reset_after != 0 && in->n_blocks >= in->reset_after;
    } else if (event->kind == KVG_MKV_TAG) {
        g_string_append_printf(in->tags, "%s=%s;", event->name, event->value);
        if (strcmp(event->name, "AWS_KINESISVIDEO_END_OF_FRAGMENT") == 0)
            finish_fragment(in);
    }
}

static void
take_body(Ingest *in)
{
    static const size_t room = 16384;
    g_autofree uint8_t *buffer = g_malloc(room);
    while (!in->is_over) {
        size_t len = 0;
        g_autoptr(GError) error = NULL;
        const KvgHttpRead result = kvg_http_read(in->x, buffer, room, &len, WAIT_MS, &error);
        if (result == KVG_HTTP_READ_END) {
            finish_fragment(in);
            kvg_http_end_stream(in->x);
            return;
        }
        if (result == KVG_HTTP_READ_WOKEN && !kvg_http_is_stopping(in->x))
            continue;
        if (result != KVG_HTTP_READ_DATA)
            return;
        kvg_mkv_parser_put(in->parser, buffer, len);
        KvgMkvEvent event;
        KvgMkvEventKind kind = KVG_MKV_NEED_MORE;
        while (!in->is_over &&
               (kind = kvg_mkv_parser_step(in->parser, &event, &error)) > KVG_MKV_NEED_MORE &&
               kind != KVG_MKV_FAILED)
            take_event(in, &event);
        g_assert_no_error(error);
    }
    if (in->reset_after == 0)
        kvg_http_end_stream(in->x); /* after an ERROR ack */
}

static void
serve_put(Service *service, KvgHttpExchange *x)
{
    kvg_http_close_after(x);
    g_assert_cmpstr(kvg_http_header(x, "x-amzn-stream-name"), ==, "gate");
    g_assert_cmpstr(kvg_http_header(x, "x-amzn-fragment-timecode-type"), ==, "ABSOLUTE");
    g_assert_nonnull(kvg_http_header(x, "authorization"));
    if (take(service, &service->refuse)) {
        kvg_http_respond_json(x, 403, "{\"message\":\"The security token is expired\"}");
        return;
    }
    pthread_mutex_lock(&service->lock);
    if (service->max_calls != 0 && service->n_open >= service->max_calls) {
        static const KvgHeader type[] = {{"x-amzn-ErrorType", "ConnectionLimitExceededException"}};
        pthread_mutex_unlock(&service->lock);
        kvg_http_respond(x, 400, type, 1, "{}", 2);
        return;
    }
    service->n_put++;
    service->n_open++;
    service->max_open = MAX(service->max_open, service->n_open);
    Ingest in = {.service = service,
                 .x = x,
                 .parser = kvg_mkv_parser_new(),
                 .tags = g_string_new(NULL),
                 .reset_after = service->reset_after};
    service->reset_after = 0;
    pthread_mutex_unlock(&service->lock);
    kvg_http_begin_stream(x, 200, NULL, 0);
    take_body(&in);
    g_clear_pointer(&in.frames, g_ptr_array_unref);
    g_clear_pointer(&in.header, g_bytes_unref);
    g_string_free(in.tags, TRUE);
    kvg_mkv_parser_free(in.parser);
    pthread_mutex_lock(&service->lock);
    service->n_open--;
    pthread_mutex_unlock(&service->lock);
}

/* As the service: a signature is good for five minutes of its own clock. */
static bool
check_date(Service *service, KvgHttpExchange *x)
{
    const char *date = kvg_http_header(x, "x-amz-date");
    g_assert_nonnull(date);
    g_autofree char *iso = g_strdup_printf("%.4s-%.2s-%.2sT%.2s:%.2s:%.2sZ", date, date + 4,
                                           date + 6, date + 9, date + 11, date + 13);
    g_autoptr(GDateTime) signed_at = g_date_time_new_from_iso8601(iso, NULL);
    const int64_t now_s = (g_get_real_time() / 1000 + service->clock_ms) / 1000;
    if (ABS(g_date_time_to_unix(signed_at) - now_s) < 300)
        return true;
    g_autoptr(GDateTime) now = g_date_time_new_from_unix_utc(now_s);
    g_autofree char *text = g_date_time_format(now, "%a, %d %b %Y %H:%M:%S GMT");
    const KvgHeader headers[] = {{"Date", text}, {"x-amzn-ErrorType", "InvalidSignatureException"}};
    static const char body[] = "{\"message\":\"Signature expired: 1 is now earlier than 2\"}";
    pthread_mutex_lock(&service->lock);
    service->n_skewed++;
    pthread_mutex_unlock(&service->lock);
    kvg_http_close_after(x);
    kvg_http_respond(x, 403, headers, 2, body, strlen(body));
    return false;
}

static void
serve(KvgHttpExchange *x, void *user_data)
{
    Service *service = user_data;
    const char *path = kvg_http_path(x);
    if (!check_date(service, x))
        return;
    if (strcmp(path, "/putMedia") == 0) {
        serve_put(service, x);
        return;
    }
    g_bytes_unref(kvg_http_read_all(x, 65536, NULL));
    pthread_mutex_lock(&service->lock);
    service->n_describe += strcmp(path, "/describeStream") == 0;
    service->n_endpoint += strcmp(path, "/getDataEndpoint") == 0;
    service->n_create += strcmp(path, "/createStream") == 0;
    if (strcmp(path, "/createStream") == 0)
        service->missing = 0;
    const bool is_missing = service->missing > 0;
    pthread_mutex_unlock(&service->lock);
    if (strcmp(path, "/describeStream") == 0 && is_missing) {
        static const KvgHeader type[] = {{"x-amzn-ErrorType", "ResourceNotFoundException"}};
        static const char text[] = "{\"Message\":\"The requested stream is not found.\"}";
        kvg_http_respond(x, 404, type, 1, text, strlen(text));
    } else if (strcmp(path, "/describeStream") == 0) {
        kvg_http_respond_json(x, 200,
                              "{\"StreamInfo\":{\"StreamName\":\"gate\",\"Status\":\"ACTIVE\","
                              "\"DataRetentionInHours\":24,\"CreationTime\":1.7E9}}");
    } else if (strcmp(path, "/createStream") == 0) {
        kvg_http_respond_json(x, 200, "{\"StreamARN\":\"arn\"}");
    } else {
        g_autofree char *text =
            g_strdup_printf("{\"DataEndpoint\":\"http://127.0.0.1:%u\"}", service->port);
        kvg_http_respond_json(x, 200, text);
    }
}

void
service_start(Service *service)
{
    g_autoptr(GError) error = NULL;
    const KvgHttpServerOptions options = {
        .port = service->port, .handler = serve, .user_data = service};
    service->server = kvg_http_server_start(&options, &error);
    g_assert_no_error(error);
    service->port = kvg_http_server_port(service->server);
}

void
service_stop(Service *service)
{
    if (service->server != NULL)
        kvg_http_server_stop(service->server, 100);
    service->server = NULL;
}

void
service_init(Service *service)
{
    pthread_mutex_init(&service->lock, NULL);
    service->fragments = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, frames_free);
    service->headers = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, bytes_free);
    service->tags = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, tags_free);
    service->order = g_array_new(FALSE, FALSE, sizeof(int64_t));
}

void
service_clear(Service *service)
{
    g_hash_table_unref(service->fragments);
    g_hash_table_unref(service->headers);
    g_hash_table_unref(service->tags);
    g_array_unref(service->order);
    pthread_mutex_destroy(&service->lock);
}
