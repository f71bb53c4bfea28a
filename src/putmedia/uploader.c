#include "putmedia/uploader.h"

#include "aws/client.h"
#include "base/clock.h"
#include "base/json.h"
#include "os/log.h"
#include "putmedia/putmedia.h"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#define LOG_DOMAIN "kvg-putmedia"
/* curl's upload buffer per stream, and so the most one stream sends before the next has its turn.
 */
#define UPLOAD_BUFFER_BYTES (64 * 1024)
#define CONNECT_TIMEOUT_MS 4000L /* a dead link has a name within 5 s */
#define MAX_ERROR_BODY 4096
#define MAX_ENDPOINT 1024
/* How often streams look whether their credentials want to be renewed in good time. */
#define REFRESH_CHECK_US (5 * G_USEC_PER_SEC)
#define MAX_POLL_MS 1000

/* What an easy handle in the multi belongs to; CURLOPT_PRIVATE points here. */
typedef enum { TRANSFER_PUT, TRANSFER_CALL, TRANSFER_REFRESH } TransferKind;
typedef struct {
    TransferKind kind;
    void *owner;
} Transfer;

/* One renewal at a time for credentials shared by many streams. Lives as long as anyone uses them.
 */
typedef struct {
    KvgUploader *uploader;
    KvgCredentials *credentials;
    unsigned n_users;
    Transfer transfer;
    KvgRenewal *renewal; /* NULL: none in progress */
    KvgBackoff backoff; /* of renewals that nobody is waiting for yet */
    int64_t not_before_us;
    char *last_error; /* said in the log; not said again */
} Refresh;

typedef enum { CALL_DESCRIBE, CALL_CREATE, CALL_ENDPOINT } CallKind;

struct _KvgUpload {
    KvgUploader *uploader;
    /* constant */
    char *name;
    KvgCredentials *credentials;
    KvgSpool *spool;
    uint32_t retention_hours;
    char *media_type;
    uint32_t gather_us;
    void (*on_state)(KvgSessionState state, const char *reason, void *user_data);
    void (*on_persisted)(uint64_t fragment, void *user_data);
    void (*on_ack)(const KvgAck *ack, void *user_data);
    void *user_data;

    _Atomic bool is_woken;    /* in the inbox, or about to be served */
    _Atomic uint64_t n_wakes; /* grows with each record in the spool */

    struct { /* the uploader's thread */
        KvgSession *session;
        unsigned todo; /* KvgSessionDo not yet done */
        Refresh *refresh;
        int64_t refresh_check_us;
        char *endpoint;

        CURL *put; /* NULL: no PutMedia */
        struct curl_slist *put_headers;
        Transfer put_transfer;
        KvgBody *body;
        KvgAckParser *acks;
        GString *error_body;
        char *error_type;
        char *request_id;
        char curl_error[CURL_ERROR_SIZE];
        GError *body_error;
        bool is_paused;
        bool is_blocked;    /* paused because too much is unacknowledged */
        bool is_open;       /* 200 seen */
        int64_t send_at_us; /* paused: when to look again; 0: when woken */
        int64_t last_sent_us;
        uint64_t parked_wakes; /* n_wakes when the session was ended for want of frames */

        KvgAwsTransfer *call; /* NULL: none */
        CallKind call_kind;
        Transfer call_transfer;
        KvgAwsReply reply;
    } mine;

    struct { /* under uploader->lock */
        KvgUploadStats stats;
        bool is_removed;
    } shared;
};

struct _KvgUploader {
    char *region, *base_url, *ca_path, *user_agent;
    CURLM *multi;
    pthread_t thread;
    struct { /* the uploader's thread */
        GPtrArray *uploads;
        GHashTable *refreshes; /* KvgCredentials -> Refresh */
    } mine;
    pthread_mutex_t lock; /* `shared` here and in the uploads; nothing is called with it held */
    pthread_cond_t changed;
    struct {
        GPtrArray *woken; /* uploads with is_woken */
        GPtrArray *added;
        GPtrArray *closing;  /* to be flushed */
        KvgUpload *removing; /* one at a time; NULL: none */
        bool stop;
    } shared;
};

/* ---- events into the session ---- */

/* A fragment the camera left unfinished is worth one session, not one every few seconds. */
static bool
has_data(KvgUpload *upload)
{
    KvgSpoolStats spool;
    kvg_spool_get_stats(upload->spool, &spool);
    if (spool.oldest_fragment == 0)
        return false;
    const bool only_open = spool.fragment_open && spool.oldest_fragment == spool.newest_fragment;
    return !only_open || atomic_load(&upload->n_wakes) != upload->mine.parked_wakes;
}

static void
publish(KvgUpload *upload)
{
    KvgUploader *uploader = upload->uploader;
    pthread_mutex_lock(&uploader->lock);
    KvgUploadStats *stats = &upload->shared.stats;
    const KvgSessionCounts *counts = kvg_session_counts(upload->mine.session);
    if (counts->fragments_persisted > stats->counts.fragments_persisted) {
        stats->last_persisted_mono_us = kvg_clock_mono_us();
        if (stats->first_persisted_mono_us == 0)
            stats->first_persisted_mono_us = stats->last_persisted_mono_us;
    }
    stats->counts = *counts;
    stats->state = kvg_session_state(upload->mine.session);
    g_strlcpy(stats->reason, kvg_session_reason(upload->mine.session), sizeof stats->reason);
    if (stats->state == KVG_SESSION_CLOSED)
        pthread_cond_broadcast(&uploader->changed);
    pthread_mutex_unlock(&uploader->lock);
}

static void
move_cursor(KvgUpload *upload, uint64_t fragment)
{
    kvg_spool_persisted(upload->spool, fragment);
    if (upload->on_persisted != NULL)
        upload->on_persisted(fragment, upload->user_data);
}

/* Steps the session. May be called within curl's callbacks: what touches handles waits in `todo`.
 */
static void
step(KvgUpload *upload, KvgSessionEvent *event)
{
    event->now_us = kvg_clock_mono_us();
    event->has_data = has_data(upload);
    KvgSessionActions actions;
    kvg_session_step(upload->mine.session, event, &actions);
    if (actions.todo & KVG_SESSION_DO_PERSIST)
        move_cursor(upload, actions.persisted);
    upload->mine.todo |= actions.todo & ~(unsigned)KVG_SESSION_DO_PERSIST;
    if (actions.todo & (KVG_SESSION_DO_NOTIFY | KVG_SESSION_DO_PERSIST))
        publish(upload);
}

static void
step_kind(KvgUpload *upload, KvgSessionEventKind kind)
{
    KvgSessionEvent event = {.kind = kind};
    step(upload, &event);
}

static void
step_failed(KvgUpload *upload, int code, const char *error_type, const char *text)
{
    KvgSessionEvent event = {
        .kind = KVG_SESSION_ON_FAILED, .code = code, .error_type = error_type, .text = text};
    step(upload, &event);
}

static void
step_keys(KvgUpload *upload, const KvgKeys *keys)
{
    KvgSessionEvent event = {.kind = KVG_SESSION_ON_KEYS};
    if (keys->expires_wall_ms != 0)
        event.lifetime_ms = MAX(keys->expires_wall_ms - kvg_clock_wall_ms(), 1);
    pthread_mutex_lock(&upload->uploader->lock);
    upload->shared.stats.credentials_expire_wall_ms = keys->expires_wall_ms;
    pthread_mutex_unlock(&upload->uploader->lock);
    step(upload, &event);
}

/* ---- credentials ---- */

static Refresh *
use_refresh(KvgUploader *uploader, KvgCredentials *credentials)
{
    Refresh *refresh = g_hash_table_lookup(uploader->mine.refreshes, credentials);
    if (refresh == NULL) {
        refresh = g_new0(Refresh, 1);
        refresh->uploader = uploader;
        refresh->credentials = credentials;
        refresh->transfer = (Transfer){TRANSFER_REFRESH, refresh};
        refresh->backoff = (KvgBackoff){.base_ms = 2000, .cap_ms = 60000};
        g_hash_table_insert(uploader->mine.refreshes, credentials, refresh);
    }
    refresh->n_users++;
    return refresh;
}

static void
drop_refresh(Refresh *refresh)
{
    if (--refresh->n_users > 0)
        return;
    g_hash_table_remove(refresh->uploader->mine.refreshes, refresh->credentials);
    if (refresh->renewal != NULL)
        curl_multi_remove_handle(refresh->uploader->multi, kvg_renewal_easy(refresh->renewal));
    kvg_renewal_free(refresh->renewal);
    g_free(refresh->last_error);
    g_free(refresh);
}

/* Tells the streams what came of it: those that wait for keys, and those that use them. */
static void
end_refresh(Refresh *refresh, const GError *error)
{
    KvgUploader *uploader = refresh->uploader;
    g_auto(KvgKeys) keys = {0};
    const bool has_keys = kvg_credentials_peek(refresh->credentials, &keys);
    for (guint i = 0; i < uploader->mine.uploads->len; i++) {
        KvgUpload *upload = g_ptr_array_index(uploader->mine.uploads, i);
        if (upload->mine.refresh != refresh)
            continue;
        const bool waits = kvg_session_state(upload->mine.session) == KVG_SESSION_KEYS;
        if (has_keys && (waits || error == NULL))
            step_keys(upload, &keys);
        else if (waits)
            step_failed(upload, error != NULL ? error->code : KVG_ERROR_AUTH, NULL,
                        error != NULL ? error->message : "the credentials expire too soon");
    }
    if (error == NULL) {
        kvg_backoff_reset(&refresh->backoff);
        refresh->not_before_us = 0;
        g_clear_pointer(&refresh->last_error, g_free);
        return;
    }
    refresh->not_before_us = kvg_clock_mono_us() + kvg_backoff_next_ms(&refresh->backoff) * 1000;
    if (g_strcmp0(refresh->last_error, error->message) == 0)
        return;
    g_free(refresh->last_error);
    refresh->last_error = g_strdup(error->message);
    KVG_LOG_WARNING(LOG_DOMAIN, "REASON", error->message, "credentials: %s", error->message);
}

/* @result: of the renewal's last request. */
static void
step_refresh(Refresh *refresh, CURLcode result)
{
    g_autoptr(GError) error = NULL;
    if (kvg_renewal_step(refresh->renewal, result, &error) == KVG_RENEWAL_REQUEST) {
        CURL *easy = kvg_renewal_easy(refresh->renewal);
        curl_easy_setopt(easy, CURLOPT_PRIVATE, &refresh->transfer);
        curl_multi_add_handle(refresh->uploader->multi, easy);
        return;
    }
    g_clear_pointer(&refresh->renewal, kvg_renewal_free);
    end_refresh(refresh, error);
}

static void
begin_refresh(Refresh *refresh)
{
    if (refresh->renewal != NULL)
        return;
    refresh->renewal = kvg_renewal_new(refresh->credentials);
    step_refresh(refresh, CURLE_OK);
}

static void
on_refresh_done(Refresh *refresh, CURLcode result)
{
    curl_multi_remove_handle(refresh->uploader->multi, kvg_renewal_easy(refresh->renewal));
    step_refresh(refresh, result);
}

static void
fetch_keys(KvgUpload *upload, bool renew)
{
    KvgCredentials *credentials = upload->mine.refresh->credentials;
    const bool can_refresh = kvg_credentials_can_refresh(credentials);
    g_auto(KvgKeys) keys = {0};
    const bool has_keys = kvg_credentials_peek(credentials, &keys);
    if (has_keys && !(renew && can_refresh)) {
        step_keys(upload, &keys);
        return;
    }
    if (can_refresh)
        begin_refresh(upload->mine.refresh);
    else
        step_failed(upload, KVG_ERROR_AUTH, NULL, "the credentials have expired");
}

/* ---- control plane ---- */

static char *
call_body(KvgUpload *upload, CallKind kind)
{
    g_autoptr(json_t) body = json_pack("{s:s}", "StreamName", upload->name);
    if (kind == CALL_ENDPOINT)
        json_object_set_new(body, "APIName", json_string("PUT_MEDIA"));
    if (kind == CALL_CREATE) {
        json_object_set_new(body, "DataRetentionInHours", json_integer(upload->retention_hours));
        json_object_set_new(body, "MediaType", json_string(upload->media_type));
    }
    return kvg_json_to_text(body);
}

static void
drop_call(KvgUpload *upload)
{
    if (upload->mine.call == NULL)
        return;
    curl_multi_remove_handle(upload->uploader->multi, kvg_aws_transfer_easy(upload->mine.call));
    g_clear_pointer(&upload->mine.call, kvg_aws_transfer_free);
    kvg_aws_reply_clear(&upload->mine.reply);
    upload->mine.reply = (KvgAwsReply){0};
}

static void
begin_call(KvgUpload *upload, CallKind kind)
{
    static const char *const paths[] = {
        [CALL_DESCRIBE] = "/describeStream",
        [CALL_CREATE] = "/createStream",
        [CALL_ENDPOINT] = "/getDataEndpoint",
    };
    KvgUploader *uploader = upload->uploader;
    drop_call(upload);
    g_auto(KvgKeys) keys = {0};
    if (!kvg_credentials_peek(upload->mine.refresh->credentials, &keys)) {
        step_failed(upload, KVG_ERROR_AUTH, NULL, "the credentials have expired");
        return;
    }
    g_autofree char *body = call_body(upload, kind);
    const KvgAwsRequest request = {.service = "kinesisvideo",
                                   .region = uploader->region,
                                   .base_url = uploader->base_url,
                                   .method = "POST",
                                   .path = paths[kind],
                                   .body = body,
                                   .ca_path = uploader->ca_path,
                                   .user_agent = uploader->user_agent};
    upload->mine.call_kind = kind;
    upload->mine.call = kvg_aws_transfer_new(&request, &keys, &upload->mine.reply);
    CURL *easy = kvg_aws_transfer_easy(upload->mine.call);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, &upload->mine.call_transfer);
    curl_multi_add_handle(uploader->multi, easy);
}

static bool
judge_description(const json_t *reply, KvgSessionEvent *event)
{
    const json_t *info = json_object_get(reply, "StreamInfo");
    const char *status = kvg_json_get_string(info, "Status");
    if (status == NULL)
        return false;
    event->kind = KVG_SESSION_ON_STREAM;
    /* UPDATING streams take media, too. */
    event->is_active = strcmp(status, "ACTIVE") == 0 || strcmp(status, "UPDATING") == 0;
    event->retention_hours = kvg_json_get_int(info, "DataRetentionInHours", 1);
    return true;
}

static bool
judge_endpoint(KvgUpload *upload, const json_t *reply, KvgSessionEvent *event)
{
    const char *endpoint = kvg_json_get_string(reply, "DataEndpoint");
    if (endpoint == NULL || strlen(endpoint) > MAX_ENDPOINT)
        return false;
    g_autofree char *trimmed = g_strdup(endpoint);
    if (g_str_has_suffix(trimmed, "/"))
        trimmed[strlen(trimmed) - 1] = '\0';
    g_autofree char *host = kvg_putmedia_host(trimmed, NULL);
    if (host == NULL)
        return false;
    g_free(upload->mine.endpoint);
    upload->mine.endpoint = g_steal_pointer(&trimmed);
    event->kind = KVG_SESSION_ON_ENDPOINT;
    return true;
}

static void
judge_call(KvgUpload *upload)
{
    const GString *body = upload->mine.reply.body;
    g_autoptr(json_t) reply =
        body != NULL ? kvg_json_parse_object(body->str, body->len, NULL) : NULL;
    KvgSessionEvent event = {.kind = KVG_SESSION_ON_CREATED};
    bool ok = true;
    if (upload->mine.call_kind == CALL_DESCRIBE)
        ok = judge_description(reply, &event);
    else if (upload->mine.call_kind == CALL_ENDPOINT)
        ok = judge_endpoint(upload, reply, &event);
    drop_call(upload);
    if (ok)
        step(upload, &event);
    else
        step_failed(upload, KVG_ERROR_RETRY, NULL, "the service's answer could not be understood");
}

static void
on_call_done(KvgUpload *upload, CURLcode result)
{
    g_autoptr(GError) error = NULL;
    if (kvg_aws_transfer_end(upload->mine.call, result, &error)) {
        judge_call(upload);
        return;
    }
    g_autofree char *type = g_strdup(upload->mine.reply.error_type);
    drop_call(upload);
    step_failed(upload, error->code, type, error->message);
}

/* ---- PutMedia ---- */

static void
on_body_event(KvgSessionEvent *event, void *user_data)
{
    step(user_data, event);
}

static void
count_sent(KvgUpload *upload, size_t len)
{
    pthread_mutex_lock(&upload->uploader->lock);
    upload->shared.stats.bytes_sent += len;
    pthread_mutex_unlock(&upload->uploader->lock);
}

/* Frames that come close together share a write: after one, wakes are held back until the next
 * multiple of gather_us, when all streams look into their spools together. One that finds nothing
 * there is served at once by its next wake. */
static void
pause_put(KvgUpload *upload, int64_t now_us)
{
    upload->mine.is_paused = true;
    upload->mine.is_blocked = !kvg_session_may_send(upload->mine.session);
    kvg_session_note_sent(upload->mine.session, upload->mine.last_sent_us,
                          !upload->mine.is_blocked);
    const int64_t gather_us = MAX(upload->gather_us, 1);
    const int64_t next_us = (upload->mine.last_sent_us / gather_us + 1) * gather_us;
    if (next_us <= now_us || upload->mine.is_blocked)
        return;
    upload->mine.send_at_us = next_us;
    atomic_store(&upload->is_woken, true);
}

static size_t
on_put_read(char *buffer, size_t size, size_t n, void *user_data)
{
    KvgUpload *upload = user_data;
    const int64_t now_us = kvg_clock_mono_us();
    size_t len = 0;
    /* Before reading: what is put into the spool from here on wakes us again. */
    atomic_store(&upload->is_woken, false);
    upload->mine.send_at_us = 0;
    switch (kvg_body_read(upload->mine.body, buffer, size * n, &len, now_us,
                          &upload->mine.body_error)) {
    case KVG_BODY_DATA:
        upload->mine.last_sent_us = now_us;
        kvg_session_note_sent(upload->mine.session, now_us, false);
        count_sent(upload, len);
        return len;
    case KVG_BODY_STARVED:
        pause_put(upload, now_us);
        return CURL_READFUNC_PAUSE;
    case KVG_BODY_END:
        /* A request without any block would be refused as invalid media. */
        return kvg_body_is_empty(upload->mine.body) ? CURL_READFUNC_ABORT : 0;
    case KVG_BODY_FAILED:
        break;
    }
    return CURL_READFUNC_ABORT;
}

static void
take_acks(KvgUpload *upload, const char *data, size_t len)
{
    g_autoptr(GError) error = NULL;
    KvgAck ack;
    KvgAckStep result = KVG_ACK_STEP_FAILED;
    if (kvg_ack_parser_put(upload->mine.acks, data, len, &error)) {
        while ((result = kvg_ack_parser_step(upload->mine.acks, &ack, &error)) ==
               KVG_ACK_STEP_ACK) {
            KvgSessionEvent event = {.kind = KVG_SESSION_ON_ACK, .ack = &ack};
            if (ack.type == KVG_ACK_ERROR)
                KVG_LOG_WARNING(
                    LOG_DOMAIN, "STREAM", upload->name,
                    "stream '%s': service error %d %s for fragment %s at %" G_GINT64_FORMAT,
                    upload->name, ack.error_id, ack.error_code, ack.fragment_number,
                    ack.timecode_ms);
            if (upload->on_ack != NULL)
                upload->on_ack(&ack, upload->user_data);
            step(upload, &event);
        }
    }
    if (upload->mine.is_blocked && kvg_session_may_send(upload->mine.session))
        upload->mine.send_at_us = kvg_clock_mono_us();
    if (result == KVG_ACK_STEP_FAILED)
        step_failed(upload, KVG_ERROR_RETRY, NULL, error->message);
}

static size_t
on_put_write(char *data, size_t size, size_t n, void *user_data)
{
    KvgUpload *upload = user_data;
    const size_t len = size * n;
    if (upload->mine.is_open) {
        take_acks(upload, data, len);
        return len;
    }
    GString *body = upload->mine.error_body;
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

static size_t
on_put_header(char *data, size_t size, size_t n, void *user_data)
{
    KvgUpload *upload = user_data;
    const size_t len = size * n;
    char *value = header_value(data, len, "x-amzn-errortype");
    if (value != NULL) {
        g_free(upload->mine.error_type);
        upload->mine.error_type = value;
        value[strcspn(value, ":")] = '\0';
        return len;
    }
    value = header_value(data, len, "x-amzn-requestid");
    if (value != NULL) {
        g_free(upload->mine.request_id);
        upload->mine.request_id = value;
        return len;
    }
    long status = 0;
    curl_easy_getinfo(upload->mine.put, CURLINFO_RESPONSE_CODE, &status);
    const bool is_blank = len <= 2 && (data[0] == '\r' || data[0] == '\n');
    if (is_blank && status == 200 && !upload->mine.is_open) {
        upload->mine.is_open = true;
        step_kind(upload, KVG_SESSION_ON_OPEN);
    }
    /* curl ends a refused transfer only when it is not paused. */
    if (is_blank && status >= 300 && upload->mine.is_paused)
        upload->mine.send_at_us = kvg_clock_mono_us();
    return len;
}

static void
drop_put(KvgUpload *upload)
{
    if (upload->mine.put != NULL)
        curl_multi_remove_handle(upload->uploader->multi, upload->mine.put);
    g_clear_pointer(&upload->mine.put, curl_easy_cleanup);
    g_clear_pointer(&upload->mine.put_headers, curl_slist_free_all);
    g_clear_pointer(&upload->mine.body, kvg_body_free);
    g_clear_pointer(&upload->mine.acks, kvg_ack_parser_free);
    g_clear_pointer(&upload->mine.error_type, g_free);
    g_clear_pointer(&upload->mine.request_id, g_free);
    g_clear_error(&upload->mine.body_error);
    g_string_truncate(upload->mine.error_body, 0);
    upload->mine.is_open = false;
    upload->mine.is_paused = false;
    upload->mine.is_blocked = false;
    upload->mine.send_at_us = 0;
    atomic_store(&upload->is_woken,
                 false); /* nobody reads the spool now: wakes must reach the inbox */
}

static CURL *
make_put_easy(KvgUpload *upload, const char *url)
{
    CURL *easy = curl_easy_init();
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, &upload->mine.put_transfer);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, upload->mine.curl_error);
    curl_easy_setopt(easy, CURLOPT_POST, 1L);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, upload->mine.put_headers);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "https,http");
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 20L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 5L);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
    /* A session is a connection: an old one may die under the first fragment. */
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
    curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, (long)UPLOAD_BUFFER_BYTES);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 4096L);
    if (upload->uploader->ca_path != NULL)
        curl_easy_setopt(easy, CURLOPT_CAINFO, upload->uploader->ca_path);
    curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_put_read);
    curl_easy_setopt(easy, CURLOPT_READDATA, upload);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_put_write);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, upload);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_put_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, upload);
    return easy;
}

static void
begin_put(KvgUpload *upload)
{
    KvgUploader *uploader = upload->uploader;
    drop_put(upload);
    g_auto(KvgKeys) keys = {0};
    if (!kvg_credentials_peek(upload->mine.refresh->credentials, &keys)) {
        step_failed(upload, KVG_ERROR_AUTH, NULL, "the credentials have expired");
        return;
    }
    g_autofree char *host = kvg_putmedia_host(upload->mine.endpoint, NULL);
    g_autofree char *url = g_strconcat(upload->mine.endpoint, "/putMedia", NULL);
    upload->mine.put_headers = kvg_putmedia_headers(
        host, uploader->region, upload->name, uploader->user_agent, &keys, kvg_clock_wall_ms());
    upload->mine.body = kvg_body_new(upload->spool, upload->mine.session, on_body_event, upload);
    upload->mine.acks = kvg_ack_parser_new();
    upload->mine.curl_error[0] = '\0';
    upload->mine.last_sent_us = kvg_clock_mono_us();
    upload->mine.put = make_put_easy(upload, url);
    curl_multi_add_handle(uploader->multi, upload->mine.put);
}

/* "PutMedia: HTTP 403 InvalidSignatureException: ... (request 8c1...)" */
static char *
describe_refusal(KvgUpload *upload, long status)
{
    GString *text = g_string_new("PutMedia: ");
    g_string_append_printf(text, "HTTP %ld", status);
    if (upload->mine.error_type != NULL)
        g_string_append_printf(text, " %s", upload->mine.error_type);
    const GString *body = upload->mine.error_body;
    g_autoptr(json_t) reply = kvg_json_parse_object(body->str, body->len, NULL);
    const char *message = reply != NULL ? kvg_json_get_string(reply, "Message") : NULL;
    if (message == NULL && reply != NULL)
        message = kvg_json_get_string(reply, "message");
    if (message != NULL)
        g_string_append_printf(text, ": %s", message);
    if (upload->mine.request_id != NULL)
        g_string_append_printf(text, " (request %s)", upload->mine.request_id);
    return g_string_free(text, FALSE);
}

static void
on_put_done(KvgUpload *upload, CURLcode result)
{
    long status = 0;
    curl_easy_getinfo(upload->mine.put, CURLINFO_RESPONSE_CODE, &status);
    const bool was_empty = kvg_body_is_empty(upload->mine.body);
    g_autoptr(GError) body_error = g_steal_pointer(&upload->mine.body_error);
    if (status >= 300) {
        g_autofree char *text = describe_refusal(upload, status);
        g_autofree char *type = g_steal_pointer(&upload->mine.error_type);
        drop_put(upload);
        step_failed(upload, kvg_session_judge_status(status, type), type, text);
        return;
    }
    g_autofree char *fault =
        kvg_aws_transport_text(upload->mine.put, result, upload->mine.curl_error);
    g_autofree char *text = g_strconcat("PutMedia: ", fault, NULL);
    drop_put(upload);
    if (body_error != NULL)
        step_failed(upload, KVG_ERROR_RETRY, NULL, body_error->message);
    else if (result == CURLE_OK || (result == CURLE_ABORTED_BY_CALLBACK && was_empty))
        step_kind(upload, KVG_SESSION_ON_END);
    else
        step_failed(upload, KVG_ERROR_RETRY, NULL, text);
}

static void
unpause(KvgUpload *upload)
{
    upload->mine.send_at_us = 0;
    if (!upload->mine.is_paused)
        return;
    upload->mine.is_paused = false;
    upload->mine.is_blocked = false;
    curl_easy_pause(upload->mine.put, CURLPAUSE_CONT);
}

/* ---- actions ---- */

static void
notify(KvgUpload *upload)
{
    const KvgSessionState state = kvg_session_state(upload->mine.session);
    const char *reason = kvg_session_reason(upload->mine.session);
    KVG_LOG_INFO(LOG_DOMAIN, "STREAM", upload->name, "stream '%s': %s: %s", upload->name,
                 kvg_session_state_to_string(state), reason);
    if (upload->on_state != NULL)
        upload->on_state(state, reason, upload->user_data);
}

static void
run_todo(KvgUpload *upload)
{
    while (upload->mine.todo != 0) {
        const unsigned todo = upload->mine.todo;
        upload->mine.todo = 0;
        if (todo & KVG_SESSION_DO_NOTIFY)
            notify(upload);
        if (todo & KVG_SESSION_DO_ABORT)
            drop_put(upload);
        if ((todo & KVG_SESSION_DO_END_BODY) && upload->mine.body != NULL) {
            upload->mine.parked_wakes = atomic_load(&upload->n_wakes);
            kvg_body_end(upload->mine.body);
            unpause(upload);
        }
        if (todo & KVG_SESSION_DO_FETCH_KEYS)
            fetch_keys(upload, (todo & KVG_SESSION_DO_RENEW_KEYS) != 0);
        if (todo & KVG_SESSION_DO_DESCRIBE)
            begin_call(upload, CALL_DESCRIBE);
        if (todo & KVG_SESSION_DO_CREATE)
            begin_call(upload, CALL_CREATE);
        if (todo & KVG_SESSION_DO_ENDPOINT)
            begin_call(upload, CALL_ENDPOINT);
        if (todo & KVG_SESSION_DO_PUT)
            begin_put(upload);
    }
}

/* ---- the thread ---- */

static void
serve_wake(KvgUpload *upload, int64_t now_us)
{
    if (upload->mine.put == NULL) {
        atomic_store(&upload->is_woken, false);
        step_kind(upload, KVG_SESSION_ON_DATA);
    } else if (upload->mine.is_paused && upload->mine.send_at_us == 0) {
        upload->mine.send_at_us = now_us;
    }
}

static void
destroy_upload(KvgUpload *upload)
{
    KvgUploader *uploader = upload->uploader;
    drop_call(upload);
    drop_put(upload);
    drop_refresh(upload->mine.refresh);
    kvg_session_free(upload->mine.session);
    g_string_free(upload->mine.error_body, TRUE);
    g_free(upload->mine.endpoint);
    g_ptr_array_remove_fast(uploader->mine.uploads, upload);
}

typedef struct {
    GPtrArray *woken, *added, *closing;
    KvgUpload *removing;
    bool stop;
} Inbox;

static Inbox
take_inbox(KvgUploader *uploader)
{
    pthread_mutex_lock(&uploader->lock);
    const Inbox inbox = {.woken = uploader->shared.woken,
                         .added = uploader->shared.added,
                         .closing = uploader->shared.closing,
                         .removing = uploader->shared.removing,
                         .stop = uploader->shared.stop};
    uploader->shared.woken = g_ptr_array_new();
    uploader->shared.added = g_ptr_array_new();
    uploader->shared.closing = g_ptr_array_new();
    pthread_mutex_unlock(&uploader->lock);
    return inbox;
}

static void
start_upload(KvgUpload *upload)
{
    upload->mine.refresh = use_refresh(upload->uploader, upload->credentials);
    g_ptr_array_add(upload->uploader->mine.uploads, upload);
    step_kind(upload, KVG_SESSION_ON_START);
}

/* False when the thread shall end. */
static bool
serve_inbox(KvgUploader *uploader)
{
    const Inbox inbox = take_inbox(uploader);
    g_autoptr(GPtrArray) woken = inbox.woken;
    g_autoptr(GPtrArray) added = inbox.added;
    g_autoptr(GPtrArray) closing = inbox.closing;
    const int64_t now_us = kvg_clock_mono_us();
    for (guint i = 0; i < added->len; i++)
        start_upload(g_ptr_array_index(added, i));
    for (guint i = 0; i < woken->len; i++)
        serve_wake(g_ptr_array_index(woken, i), now_us);
    for (guint i = 0; i < closing->len; i++) {
        KvgUpload *upload = g_ptr_array_index(closing, i);
        step_kind(upload, KVG_SESSION_ON_CLOSE);
        if (upload->mine.put != NULL)
            unpause(upload);
    }
    if (inbox.removing != NULL) {
        destroy_upload(inbox.removing);
        pthread_mutex_lock(&uploader->lock);
        inbox.removing->shared.is_removed = true;
        uploader->shared.removing = NULL;
        pthread_cond_broadcast(&uploader->changed);
        pthread_mutex_unlock(&uploader->lock);
    }
    return !inbox.stop;
}

static void
renew_in_time(KvgUpload *upload, int64_t now_us)
{
    Refresh *refresh = upload->mine.refresh;
    if (now_us < upload->mine.refresh_check_us)
        return;
    upload->mine.refresh_check_us = now_us + REFRESH_CHECK_US;
    if (refresh->renewal == NULL && now_us >= refresh->not_before_us &&
        kvg_credentials_can_refresh(refresh->credentials) &&
        kvg_credentials_wants_refresh(refresh->credentials))
        begin_refresh(refresh);
}

/* Serves timers; returns the next one. */
static int64_t
serve_timers(KvgUploader *uploader)
{
    int64_t next_us = INT64_MAX;
    for (guint i = 0; i < uploader->mine.uploads->len; i++) {
        KvgUpload *upload = g_ptr_array_index(uploader->mine.uploads, i);
        const int64_t now_us = kvg_clock_mono_us();
        renew_in_time(upload, now_us);
        if (kvg_session_deadline_us(upload->mine.session) <= now_us)
            step_kind(upload, KVG_SESSION_ON_TICK);
        if (upload->mine.send_at_us != 0 && upload->mine.send_at_us <= now_us)
            unpause(upload);
        run_todo(upload);
        next_us = MIN(next_us, kvg_session_deadline_us(upload->mine.session));
        if (upload->mine.send_at_us != 0)
            next_us = MIN(next_us, upload->mine.send_at_us);
    }
    return next_us;
}

static void
serve_done(KvgUploader *uploader)
{
    int left = 0;
    const CURLMsg *message = NULL;
    while ((message = curl_multi_info_read(uploader->multi, &left)) != NULL) {
        if (message->msg != CURLMSG_DONE)
            continue;
        const CURLcode result = message->data.result;
        Transfer *transfer = NULL;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&transfer);
        switch (transfer->kind) {
        case TRANSFER_PUT:
            on_put_done(transfer->owner, result);
            break;
        case TRANSFER_CALL:
            on_call_done(transfer->owner, result);
            break;
        case TRANSFER_REFRESH:
            on_refresh_done(transfer->owner, result);
            break;
        }
    }
}

static void *
uploader_thread(void *data)
{
    KvgUploader *uploader = data;
    /* Signals belong to the program's threads; SIGPIPE of a lost connection to nobody. */
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    while (serve_inbox(uploader)) {
        int running = 0;
        curl_multi_perform(uploader->multi, &running);
        serve_done(uploader);
        const int64_t next_us = serve_timers(uploader);
        const int64_t wait_us = CLAMP(next_us - kvg_clock_mono_us(), 0, MAX_POLL_MS * 1000);
        curl_multi_poll(uploader->multi, NULL, 0, (int)((wait_us + 999) / 1000), NULL);
    }
    return NULL;
}

/* ---- public ---- */

static void
init_curl(void)
{
    static gsize once = 0;
    if (g_once_init_enter(&once)) {
        curl_global_init(CURL_GLOBAL_DEFAULT);
        g_once_init_leave(&once, 1);
    }
}

static void
free_uploader(KvgUploader *uploader)
{
    g_ptr_array_unref(uploader->shared.woken);
    g_ptr_array_unref(uploader->shared.added);
    g_ptr_array_unref(uploader->shared.closing);
    g_ptr_array_unref(uploader->mine.uploads);
    g_hash_table_unref(uploader->mine.refreshes);
    curl_multi_cleanup(uploader->multi);
    pthread_cond_destroy(&uploader->changed);
    pthread_mutex_destroy(&uploader->lock);
    g_free(uploader->region);
    g_free(uploader->base_url);
    g_free(uploader->ca_path);
    g_free(uploader->user_agent);
    g_free(uploader);
}

static void
init_condition(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
}

KvgUploader *
kvg_uploader_start(const KvgUploaderOptions *options, GError **error)
{
    init_curl();
    KvgUploader *uploader = g_new0(KvgUploader, 1);
    uploader->region = g_strdup(options->region);
    uploader->base_url = g_strdup(options->base_url);
    uploader->ca_path = g_strdup(options->ca_path);
    uploader->user_agent = g_strdup(options->user_agent);
    uploader->multi = curl_multi_init();
    uploader->mine.uploads = g_ptr_array_new();
    uploader->mine.refreshes = g_hash_table_new(NULL, NULL);
    uploader->shared.woken = g_ptr_array_new();
    uploader->shared.added = g_ptr_array_new();
    uploader->shared.closing = g_ptr_array_new();
    pthread_mutex_init(&uploader->lock, NULL);
    init_condition(&uploader->changed);
    const int failed = pthread_create(&uploader->thread, NULL, uploader_thread, uploader);
    if (failed == 0) {
        pthread_setname_np(uploader->thread, "kvg-uploader");
        return uploader;
    }
    g_set_error(error, KVG_ERROR, KVG_ERROR_FAILED, "uploader thread: %s", g_strerror(failed));
    free_uploader(uploader);
    return NULL;
}

void
kvg_uploader_stop(KvgUploader *uploader)
{
    if (uploader == NULL)
        return;
    pthread_mutex_lock(&uploader->lock);
    uploader->shared.stop = true;
    pthread_mutex_unlock(&uploader->lock);
    curl_multi_wakeup(uploader->multi);
    pthread_join(uploader->thread, NULL);
    free_uploader(uploader);
}

KvgUpload *
kvg_uploader_add(KvgUploader *uploader, const KvgUploadOptions *options)
{
    KvgUpload *upload = g_new0(KvgUpload, 1);
    upload->uploader = uploader;
    upload->name = g_strdup(options->name);
    upload->credentials = kvg_credentials_ref(options->credentials);
    upload->spool = options->spool;
    upload->retention_hours = options->retention_hours;
    upload->media_type = g_strdup(options->media_type);
    upload->gather_us = options->gather_us;
    upload->on_state = options->on_state;
    upload->on_persisted = options->on_persisted;
    upload->on_ack = options->on_ack;
    upload->user_data = options->user_data;
    atomic_init(&upload->n_wakes, 1);
    upload->mine.session = kvg_session_new(options->create);
    upload->mine.error_body = g_string_new(NULL);
    upload->mine.put_transfer = (Transfer){TRANSFER_PUT, upload};
    upload->mine.call_transfer = (Transfer){TRANSFER_CALL, upload};
    pthread_mutex_lock(&uploader->lock);
    g_ptr_array_add(uploader->shared.added, upload);
    pthread_mutex_unlock(&uploader->lock);
    curl_multi_wakeup(uploader->multi);
    return upload;
}

void
kvg_upload_wake(KvgUpload *upload)
{
    KvgUploader *uploader = upload->uploader;
    atomic_fetch_add(&upload->n_wakes, 1);
    if (atomic_exchange(&upload->is_woken, true))
        return;
    pthread_mutex_lock(&uploader->lock);
    const bool is_first = uploader->shared.woken->len == 0;
    g_ptr_array_add(uploader->shared.woken, upload);
    pthread_mutex_unlock(&uploader->lock);
    if (is_first)
        curl_multi_wakeup(uploader->multi);
}

bool
kvg_upload_flush(KvgUpload *upload, int64_t timeout_ms)
{
    KvgUploader *uploader = upload->uploader;
    const int64_t until_us = kvg_clock_mono_us() + timeout_ms * 1000;
    const struct timespec until = {.tv_sec = until_us / G_USEC_PER_SEC,
                                   .tv_nsec = (until_us % G_USEC_PER_SEC) * 1000};
    pthread_mutex_lock(&uploader->lock);
    g_ptr_array_add(uploader->shared.closing, upload);
    curl_multi_wakeup(uploader->multi);
    int timed_out = 0;
    while (upload->shared.stats.state != KVG_SESSION_CLOSED && timed_out == 0)
        timed_out = pthread_cond_timedwait(&uploader->changed, &uploader->lock, &until);
    const bool is_closed = upload->shared.stats.state == KVG_SESSION_CLOSED;
    pthread_mutex_unlock(&uploader->lock);
    return is_closed;
}

void
kvg_upload_remove(KvgUpload *upload)
{
    if (upload == NULL)
        return;
    KvgUploader *uploader = upload->uploader;
    pthread_mutex_lock(&uploader->lock);
    while (uploader->shared.removing != NULL)
        pthread_cond_wait(&uploader->changed, &uploader->lock);
    uploader->shared.removing = upload;
    curl_multi_wakeup(uploader->multi);
    while (!upload->shared.is_removed)
        pthread_cond_wait(&uploader->changed, &uploader->lock);
    pthread_mutex_unlock(&uploader->lock);
    kvg_credentials_unref(upload->credentials);
    g_free(upload->name);
    g_free(upload->media_type);
    g_free(upload);
}

void
kvg_upload_get_stats(KvgUpload *upload, KvgUploadStats *stats)
{
    pthread_mutex_lock(&upload->uploader->lock);
    *stats = upload->shared.stats;
    pthread_mutex_unlock(&upload->uploader->lock);
}
