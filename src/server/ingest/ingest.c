/* POST /putMedia: reads the stream and writes acknowledgements on one connection at the same time.
 * The handler runs on the connection's thread; the store's writer only leaves an acknowledgement in
 * the connection's queue and wakes it. */
#include "base/clock.h"
#include "os/log.h"
#include "server/control/quotas.h"
#include "server/ingest/assembler.h"
#include "server/ingest/number.h"
#include "server/server.h"
#include "wire/ack.h"
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define LOG_DOMAIN "server-ingest"
#define ACTION "kinesisvideo:PutMedia"
#define READ_BYTES 65536u
#define POLL_MS 1000
#define CALLS_PER_SECOND 5 /* to one stream, where rates are enforced */
/* Faster than this a stream is read slowly, where rates are enforced. */
#define FRAGMENTS_PER_SECOND 5
#define BYTES_PER_SECOND 12500000
#define PAUSE_US 20000 /* between two looks at what else there is to do */
#define IDLE_PERIOD_MS 5000
#define IDLE_LIMIT_MS 30000
#define SESSION_LIMIT_MS (45 * 60 * 1000ll)
#define OVERLAP_MS                                                                                 \
    15000 /* an older call of the same stream may go on so long beside a newer one                 \
           */
#define MAX_CALLS_PER_STREAM 3
#define FINISH_LIMIT_S 60
#define MAX_HELD_BYTES (1024ull * 1024 * 1024)
enum {
    ERROR_SESSION_TOO_LONG = 4003,
    ERROR_STREAM_NOT_ACTIVE = 4008,
    ERROR_INTERNAL = 5000,
    ERROR_ARCHIVAL = 5001,
};

/* One call. Lives until its handler and all its fragments in the store are done with it. */
typedef struct {
    _Atomic unsigned n_refs;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct {
        KvgHttpExchange *x; /* NULL: the handler has ended */
        GQueue acks;        /* char *, to be written */
        unsigned n_pending; /* fragments in the store's hands */
        bool has_failed;    /* one of them could not be stored */
        int64_t end_at_ms;  /* superseded: to be ended then; 0: not */
    } shared;
} Call;

struct _KvgIngest {
    KvgServer *server;
    KvgNumbers *numbers;
    pthread_mutex_t lock;
    GHashTable *calls; /* stream ARN -> GPtrArray of Call, oldest first */
    uint64_t held_bytes;
};

/* What the handler knows of its call. */
typedef struct {
    KvgIngest *ingest;
    KvgHttpExchange *x;
    Call *call;
    KvgStreamInfo stream;
    bool wants_acks;
    bool is_relative;
    int64_t start_ms; /* RELATIVE: the producer's start */
    KvgAssembler *assembler;
    size_t held_bytes; /* as counted in ingest */
    int64_t began_ms, last_data_ms, last_idle_ms, fragment_began_ms;
    int64_t paused_until_us; /* its stream came faster than the quotas allow */
    char number[64];         /* of the fragment that has begun */
    int64_t server_ms, producer_ms;
} Session;

static int64_t
now_ms(void)
{
    return kvg_clock_mono_us() / 1000;
}

/* ---- calls ---- */

static Call *
call_ref(Call *call)
{
    atomic_fetch_add(&call->n_refs, 1);
    return call;
}

static void
call_unref(void *data)
{
    Call *call = data;
    if (atomic_fetch_sub(&call->n_refs, 1) > 1)
        return;
    g_queue_clear_full(&call->shared.acks, g_free);
    pthread_cond_destroy(&call->changed);
    pthread_mutex_destroy(&call->lock);
    g_free(call);
}

/* With the call's lock held. */
static void
end_call_at(Call *call, int64_t at_ms)
{
    if (call->shared.end_at_ms == 0 || at_ms < call->shared.end_at_ms)
        call->shared.end_at_ms = at_ms;
    if (call->shared.x != NULL)
        kvg_http_wake(call->shared.x);
}

/* The newest call of a stream wins; the one before it may finish what it is at. */
static Call *
begin_call(KvgIngest *ingest, const char *arn, KvgHttpExchange *x)
{
    Call *call = g_new0(Call, 1);
    atomic_init(&call->n_refs, 1);
    pthread_mutex_init(&call->lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&call->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    call->shared.x = x;
    pthread_mutex_lock(&ingest->lock);
    GPtrArray *calls = g_hash_table_lookup(ingest->calls, arn);
    if (calls == NULL) {
        calls = g_ptr_array_new_with_free_func(call_unref);
        g_hash_table_insert(ingest->calls, g_strdup(arn), calls);
    }
    for (guint i = 0; i < calls->len; i++) {
        Call *older = g_ptr_array_index(calls, i);
        const bool is_surplus = calls->len - i >= MAX_CALLS_PER_STREAM;
        pthread_mutex_lock(&older->lock);
        end_call_at(older, is_surplus ? now_ms() : now_ms() + OVERLAP_MS);
        pthread_mutex_unlock(&older->lock);
    }
    g_ptr_array_add(calls, call_ref(call));
    pthread_mutex_unlock(&ingest->lock);
    return call;
}

static void
end_call(KvgIngest *ingest, const char *arn, Call *call)
{
    pthread_mutex_lock(&call->lock);
    call->shared.x = NULL;
    pthread_mutex_unlock(&call->lock);
    pthread_mutex_lock(&ingest->lock);
    GPtrArray *calls = g_hash_table_lookup(ingest->calls, arn);
    g_ptr_array_remove(calls, call);
    if (calls->len == 0)
        g_hash_table_remove(ingest->calls, arn);
    pthread_mutex_unlock(&ingest->lock);
    call_unref(call);
}

/* ---- acknowledgements ---- */

/* With the call's lock held. */
static void
queue_ack(Call *call, KvgAckType type, uint64_t timecode, const char *number, int error_id)
{
    KvgAck ack = {.type = type, .timecode_ms = (int64_t)timecode, .error_id = error_id};
    if (number != NULL)
        g_strlcpy(ack.fragment_number, number, sizeof ack.fragment_number);
    if (error_id != 0)
        g_strlcpy(ack.error_code, kvg_ack_error_code(error_id), sizeof ack.error_code);
    g_queue_push_tail(&call->shared.acks, kvg_ack_to_text(&ack));
}

static void
ack(Session *s, KvgAckType type, uint64_t timecode, const char *number, int error_id)
{
    pthread_mutex_lock(&s->call->lock);
    queue_ack(s->call, type, timecode, number, error_id);
    pthread_mutex_unlock(&s->call->lock);
}

/* Writes what waits, each in a chunk of its own. False: the connection is gone. */
static bool
flush_acks(Session *s)
{
    for (;;) {
        pthread_mutex_lock(&s->call->lock);
        g_autofree char *text = g_queue_pop_head(&s->call->shared.acks);
        pthread_mutex_unlock(&s->call->lock);
        if (text == NULL)
            return true;
        if (s->wants_acks && !kvg_http_write_chunk(s->x, text, strlen(text)))
            return false;
    }
}

/* ---- storing ---- */

typedef struct {
    Call *call;
    const KvgServer *server;
    char *stream_arn, *stream_name;
    int64_t received_ms;
    uint64_t timecode;
    char number[64];
} Stored;

static void
count_stored(const Stored *stored, bool is_persisted)
{
    if (is_persisted)
        kvg_metrics_add(stored->server->metrics, KVG_METRIC_PUT_PERSIST_MS, stored->stream_name,
                        (double)(now_ms() - stored->received_ms));
    kvg_metrics_add(stored->server->metrics,
                    is_persisted ? KVG_METRIC_PUT_SUCCESS : KVG_METRIC_PUT_ERROR_ACKS,
                    stored->stream_name, 1);
}

static void
on_stored(const GError *error, void *user_data)
{
    Stored *stored = user_data;
    Call *call = stored->call;
    pthread_mutex_lock(&call->lock);
    call->shared.n_pending--;
    if (error == NULL)
        queue_ack(call, KVG_ACK_PERSISTED, stored->timecode, stored->number, 0);
    else
        queue_ack(call, KVG_ACK_ERROR, stored->timecode, stored->number, ERROR_ARCHIVAL);
    call->shared.has_failed = call->shared.has_failed || error != NULL;
    if (call->shared.x != NULL)
        kvg_http_wake(call->shared.x);
    pthread_cond_broadcast(&call->changed);
    pthread_mutex_unlock(&call->lock);
    if (error == NULL)
        kvg_live_notify(stored->server->live, stored->stream_arn);
    count_stored(stored, error == NULL);
    call_unref(call);
    g_free(stored->stream_arn);
    g_free(stored->stream_name);
    g_free(stored);
}

static KvgFragment
describe(const Session *s, const KvgAssemblerEvent *event)
{
    KvgFragment fragment = {
        .stream_arn = s->stream.arn,
        .header = event->header,
        .media = event->media,
        .info = {.server_ms = s->server_ms,
                 .producer_ms = s->producer_ms,
                 .length_ms = event->length_ms,
                 .size_bytes = g_bytes_get_size(event->header) + g_bytes_get_size(event->media)}};
    g_strlcpy(fragment.info.number, s->number, sizeof fragment.info.number);
    return fragment;
}

/* A stream without retention: for those who read now, and nobody else. */
static void
buffer(Session *s, const KvgAssemblerEvent *event)
{
    const KvgServer *server = s->ingest->server;
    const KvgFragment fragment = describe(s, event);
    kvg_buffer_put(server->buffer, &fragment, kvg_clock_mono_us());
    kvg_live_notify(server->live, s->stream.arn);
}

static void
store(Session *s, const KvgAssemblerEvent *event)
{
    Stored *stored = g_new0(Stored, 1);
    stored->call = call_ref(s->call);
    stored->server = s->ingest->server;
    stored->stream_name = g_strdup(s->stream.name);
    stored->received_ms = now_ms();
    stored->stream_arn = g_strdup(s->stream.arn);
    stored->timecode = event->timecode;
    g_strlcpy(stored->number, s->number, sizeof stored->number);
    const KvgFragment fragment = describe(s, event);
    pthread_mutex_lock(&s->call->lock);
    s->call->shared.n_pending++;
    pthread_mutex_unlock(&s->call->lock);
    kvg_store_append(s->ingest->server->store, &fragment, on_stored, stored);
}

/* ---- fragments ---- */

static void
measure(Session *s, KvgMetric metric, double value)
{
    kvg_metrics_add(s->ingest->server->metrics, metric, s->stream.name, value);
}

/* For players of low latency, if there are any. */
static void
show_open(Session *s)
{
    KvgLive *live = s->ingest->server->live;
    GBytes *header;
    const uint8_t *data;
    size_t len;
    if (!kvg_live_wants_open(live, s->stream.arn, kvg_clock_mono_us()) ||
        !kvg_assembler_peek(s->assembler, &header, &data, &len))
        return;
    KvgLiveFragment fragment = {
        .server_ms = s->server_ms, .producer_ms = s->producer_ms, .header = header};
    g_strlcpy(fragment.number, s->number, sizeof fragment.number);
    kvg_live_put_open(live, s->stream.arn, &fragment, data, len);
}

/* The error to end the session with; 0: go on. */
static int
on_fragment(Session *s, const KvgAssemblerEvent *event)
{
    g_auto(KvgStreamInfo) now = {0};
    if (!kvg_control_find_stream(s->ingest->server, NULL, s->stream.arn, &now))
        return ERROR_STREAM_NOT_ACTIVE;
    ack(s, KVG_ACK_RECEIVED, event->timecode, s->number, 0);
    measure(s, KVG_METRIC_PUT_FRAGMENTS, 1);
    measure(s, KVG_METRIC_PUT_BYTES,
            (double)(g_bytes_get_size(event->header) + g_bytes_get_size(event->media)));
    measure(s, KVG_METRIC_PUT_INGESTION_MS, (double)(now_ms() - s->fragment_began_ms));
    kvg_live_end_open(s->ingest->server->live, s->stream.arn, s->number, event->media,
                      event->length_ms);
    if (now.retention_hours > 0)
        store(s, event);
    else
        buffer(s, event); /* nothing is kept, and RECEIVED is the last word */
    return 0;
}

static void
charge(Session *s, const char *what, unsigned per_second, double amount)
{
    const int64_t now_us = kvg_clock_mono_us();
    const int64_t pause_us = kvg_quotas_charge(s->ingest->server->quotas, what, s->stream.arn,
                                               per_second, amount, now_us);
    s->paused_until_us = MAX(s->paused_until_us, now_us + pause_us);
}

static void
on_begin(Session *s, const KvgAssemblerEvent *event)
{
    s->fragment_began_ms = now_ms();
    s->server_ms = kvg_clock_wall_ms();
    s->producer_ms = event->start_ms + (s->is_relative ? s->start_ms : 0);
    kvg_numbers_next(s->ingest->numbers, s->stream.arn, s->server_ms, s->number);
    ack(s, KVG_ACK_BUFFERING, event->timecode, s->number, 0);
    charge(s, "PutMedia fragments", FRAGMENTS_PER_SECOND, 1);
}

static void
report_failure(Session *s, const KvgAssemblerEvent *event, int error_id, const char *reason)
{
    measure(s, KVG_METRIC_PUT_ERROR_ACKS, 1);
    ack(s, KVG_ACK_ERROR, event->has_fragment ? event->timecode : 0,
        event->has_fragment && s->number[0] != '\0' ? s->number : NULL, error_id);
    KVG_LOG_MESSAGE(LOG_DOMAIN, "STREAM", s->stream.name, "stream %s: upload ended: %s (%d)%s%s",
                    s->stream.name, kvg_ack_error_code(error_id), error_id,
                    reason != NULL ? ": " : "", reason != NULL ? reason : "");
}

/* Takes what the assembler has. False: the session is over. */
static bool
take_events(Session *s)
{
    g_auto(KvgAssemblerEvent) event = {0};
    for (;;) {
        int error_id = 0;
        switch (kvg_assembler_step(s->assembler, &event)) {
        case KVG_ASSEMBLER_NEED_MORE:
            return true;
        case KVG_ASSEMBLER_BEGIN:
            on_begin(s, &event);
            break;
        case KVG_ASSEMBLER_FRAGMENT:
            error_id = on_fragment(s, &event);
            break;
        case KVG_ASSEMBLER_FAILED:
            error_id = event.error_id;
            break;
        }
        if (error_id != 0) {
            report_failure(s, &event, error_id, event.reason);
            return false;
        }
    }
}

/* All sessions together keep no more than a bound. */
static bool
count_held(Session *s, size_t held)
{
    pthread_mutex_lock(&s->ingest->lock);
    s->ingest->held_bytes += held - s->held_bytes;
    s->held_bytes = held;
    const bool ok = s->ingest->held_bytes <= MAX_HELD_BYTES;
    pthread_mutex_unlock(&s->ingest->lock);
    return ok;
}

static bool
take_data(Session *s, const void *data, size_t len)
{
    const KvgAssemblerEvent none = {0};
    s->last_data_ms = s->last_idle_ms = now_ms();
    charge(s, "PutMedia bytes", BYTES_PER_SECOND, (double)len);
    kvg_assembler_put(s->assembler, data, len);
    if (!take_events(s))
        return false;
    show_open(s);
    if (count_held(s, kvg_assembler_held_bytes(s->assembler)))
        return true;
    report_failure(s, &none, ERROR_INTERNAL, "too much unfinished video in memory");
    return false;
}

/* ---- the session ---- */

/* Whether anything but the stream itself ends the session now. */
static bool
is_over(Session *s)
{
    const int64_t now = now_ms();
    const KvgAssemblerEvent none = {0};
    pthread_mutex_lock(&s->call->lock);
    const bool is_superseded = s->call->shared.end_at_ms != 0 && now >= s->call->shared.end_at_ms;
    const bool has_failed = s->call->shared.has_failed;
    pthread_mutex_unlock(&s->call->lock);
    if (is_superseded || has_failed || kvg_http_is_stopping(s->x))
        return true;
    if (now - s->began_ms >= SESSION_LIMIT_MS) {
        report_failure(s, &none, ERROR_SESSION_TOO_LONG, NULL);
        return true;
    }
    if (now - s->last_data_ms >= IDLE_LIMIT_MS)
        return true;
    if (now - s->last_idle_ms >= IDLE_PERIOD_MS) {
        s->last_idle_ms = now;
        ack(s, KVG_ACK_IDLE, 0, NULL, 0);
    }
    return false;
}

/* Reads until the stream or the session ends. False: the connection is gone. */
static bool
read_stream(Session *s)
{
    g_autofree uint8_t *buffer = g_malloc(READ_BYTES);
    for (;;) {
        if (is_over(s))
            return flush_acks(s);
        if (!flush_acks(s))
            return false;
        if (kvg_clock_mono_us() < s->paused_until_us) {
            g_usleep(PAUSE_US);
            continue;
        }
        size_t len = 0;
        g_autoptr(GError) error = NULL;
        switch (kvg_http_read(s->x, buffer, READ_BYTES, &len, POLL_MS, &error)) {
        case KVG_HTTP_READ_DATA:
            if (!take_data(s, buffer, len))
                return flush_acks(s);
            break;
        case KVG_HTTP_READ_END:
            kvg_assembler_finish(s->assembler);
            take_events(s);
            return flush_acks(s);
        case KVG_HTTP_READ_WOKEN:
        case KVG_HTTP_READ_TIMEOUT:
            break;
        case KVG_HTTP_READ_FAILED:
            return false; /* the unfinished fragment is not stored; its producer sends it again */
        }
    }
}

/* Everything received is stored, and said so, before the response ends. */
static bool
finish_pending(Session *s)
{
    const int64_t end_us = kvg_clock_mono_us() + FINISH_LIMIT_S * G_USEC_PER_SEC;
    for (;;) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += 1;
        pthread_mutex_lock(&s->call->lock);
        if (s->call->shared.n_pending > 0 && g_queue_is_empty(&s->call->shared.acks))
            pthread_cond_timedwait(&s->call->changed, &s->call->lock, &until);
        const bool is_done = s->call->shared.n_pending == 0;
        pthread_mutex_unlock(&s->call->lock);
        if (!flush_acks(s))
            return false;
        if (is_done || kvg_clock_mono_us() >= end_us)
            return flush_acks(s);
    }
}

static void
run_session(Session *s)
{
    static const KvgHeader headers[] = {{"Content-Type", "application/json"}};
    kvg_http_close_after(s->x);
    if (!kvg_http_begin_stream(s->x, 200, headers, G_N_ELEMENTS(headers)))
        return;
    s->call = begin_call(s->ingest, s->stream.arn, s->x);
    s->assembler = kvg_assembler_new();
    s->began_ms = s->last_data_ms = s->last_idle_ms = now_ms();
    measure(s, KVG_METRIC_PUT_REQUESTS, 1);
    measure(s, KVG_METRIC_PUT_CONNECTIONS, 1);
    if (read_stream(s) && finish_pending(s))
        kvg_http_end_stream(s->x);
    else
        measure(s, KVG_METRIC_PUT_CONNECTION_ERRORS, 1);
    measure(s, KVG_METRIC_PUT_CONNECTIONS, -1);
    kvg_live_end_open(s->ingest->server->live, s->stream.arn, s->number, NULL, 0);
    count_held(s, 0);
    kvg_assembler_free(s->assembler);
    end_call(s->ingest, s->stream.arn, s->call);
}

/* ---- the request ---- */

static bool
refuse(KvgHttpExchange *x, const char *text)
{
    kvg_respond_error(x, 400, "InvalidArgumentException", "%s", text);
    return false;
}

static bool
parse_start(Session *s, const char *text)
{
    char *end = NULL;
    const double seconds = text != NULL ? g_ascii_strtod(text, &end) : NAN;
    if (!isfinite(seconds) || end == text || *end != '\0' || seconds < 0 || seconds > 1e11)
        return false;
    s->start_ms = (int64_t)llround(seconds * 1000);
    return true;
}

static bool
check_headers(Session *s)
{
    const char *name = kvg_http_header(s->x, "x-amzn-stream-name");
    const char *arn = kvg_http_header(s->x, "x-amzn-stream-arn");
    const char *type = kvg_http_header(s->x, "x-amzn-fragment-timecode-type");
    const char *start = kvg_http_header(s->x, "x-amzn-producer-start-timestamp");
    const char *acks = kvg_http_header(s->x, "x-amzn-fragment-acknowledgment-required");
    if ((name == NULL) == (arn == NULL))
        return refuse(s->x, "Specify either the stream name or the stream ARN.");
    if (type == NULL || (strcmp(type, "ABSOLUTE") != 0 && strcmp(type, "RELATIVE") != 0))
        return refuse(s->x, "x-amzn-fragment-timecode-type must be ABSOLUTE or RELATIVE.");
    s->is_relative = strcmp(type, "RELATIVE") == 0;
    if (s->is_relative && !parse_start(s, start))
        return refuse(s->x, "x-amzn-producer-start-timestamp must be a number of seconds.");
    s->wants_acks = acks == NULL || strcmp(acks, "0") != 0;
    if (kvg_control_find_stream(s->ingest->server, name, arn, &s->stream))
        return true;
    kvg_respond_error(s->x, 404, "ResourceNotFoundException",
                      "The requested stream is not found or not active.");
    return false;
}

static bool
check_rate(Session *s)
{
    if (kvg_quotas_take(s->ingest->server->quotas, "PutMedia", 0, s->stream.arn, CALLS_PER_SECOND,
                        kvg_clock_mono_us()))
        return true;
    kvg_respond_error(s->x, 400, "ClientLimitExceededException",
                      "Limit exceeded on number of requests for PutMedia API for resource '%s'",
                      s->stream.name);
    return false;
}

void
kvg_ingest_handle(KvgIngest *ingest, KvgHttpExchange *x)
{
    g_auto(KvgCaller) caller = {0};
    Session session = {.ingest = ingest, .x = x};
    kvg_http_close_after(x);
    if (kvg_auth_verify(ingest->server, x, NULL, &caller) && check_headers(&session) &&
        kvg_auth_require(ingest->server, x, &caller, ACTION, session.stream.arn) &&
        check_rate(&session))
        run_session(&session);
    kvg_stream_info_clear(&session.stream);
}

static void
unref_calls(void *data)
{
    g_ptr_array_unref(data);
}

KvgIngest *
kvg_ingest_new(KvgServer *server)
{
    KvgIngest *ingest = g_new0(KvgIngest, 1);
    ingest->server = server;
    ingest->numbers = kvg_numbers_new(server->store);
    pthread_mutex_init(&ingest->lock, NULL);
    ingest->calls = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, unref_calls);
    return ingest;
}

void
kvg_ingest_free(KvgIngest *ingest)
{
    if (ingest == NULL)
        return;
    g_hash_table_unref(ingest->calls);
    kvg_numbers_free(ingest->numbers);
    pthread_mutex_destroy(&ingest->lock);
    g_free(ingest);
}
