/* One stream in the uploader's thread: steps its session, performs what it asks for, and keeps the
 * deadline. */
#include "base/clock.h"
#include "os/log.h"
#include "putmedia/private.h"
#include <string.h>

/* ---- stepping ---- */

void
kvg_upload_touch(KvgUpload *upload)
{
    if (upload->mine.is_touched)
        return;
    upload->mine.is_touched = true;
    g_ptr_array_add(upload->uploader->mine.touched, upload);
}

static void
move_cursor(KvgUpload *upload, uint64_t fragment)
{
    kvg_spool_persisted(upload->spool, fragment);
    if (upload->on_persisted != NULL)
        upload->on_persisted(fragment, upload->user_data);
}

/* Adds to what is to be done. A call that is given up takes with it what was to be done to it. */
static void
merge(KvgUpload *upload, const KvgSessionActions *actions)
{
    KvgSessionActions *pending = &upload->mine.pending;
    for (unsigned i = 0; i < KVG_SESSION_CALLS; i++) {
        if (actions->abort & (1u << i))
            upload->mine.puts[i].is_dead = true;
    }
    pending->todo |= actions->todo & ~(unsigned)KVG_SESSION_DO_PERSIST;
    pending->abort |= actions->abort;
    pending->put = (pending->put & ~actions->abort) | actions->put;
    pending->end_fragment = (pending->end_fragment & ~actions->abort) | actions->end_fragment;
    pending->end_body = (pending->end_body & ~actions->abort) | actions->end_body;
    pending->resume = (pending->resume & ~actions->abort) | actions->resume;
}

KvgSessionAdmit
kvg_upload_step(KvgUpload *upload, KvgSessionEvent *event)
{
    KvgSpoolStats spool;
    kvg_spool_get_stats(upload->spool, &spool);
    event->now_us = kvg_clock_mono_us();
    event->oldest = spool.first_wanted;
    event->newest = spool.last_wanted;
    event->expects_more = spool.is_releasing;
    KvgSessionActions actions;
    kvg_session_step(upload->mine.session, event, &actions);
    if (actions.todo & KVG_SESSION_DO_PERSIST)
        move_cursor(upload, actions.persisted);
    merge(upload, &actions);
    kvg_upload_touch(upload);
    return actions.admit;
}

void
kvg_upload_step_kind(KvgUpload *upload, KvgSessionEventKind kind)
{
    KvgSessionEvent event = {.kind = kind};
    kvg_upload_step(upload, &event);
}

void
kvg_upload_step_failed(KvgUpload *upload, int code, const char *text)
{
    KvgSessionEvent event = {.kind = KVG_SESSION_ON_FAILED, .code = code, .text = text};
    kvg_upload_step(upload, &event);
}

void
kvg_upload_step_keys(KvgUpload *upload, const KvgKeys *keys)
{
    KvgSessionEvent event = {.kind = KVG_SESSION_ON_KEYS};
    if (keys->expires_wall_ms != 0)
        event.lifetime_ms = MAX(keys->expires_wall_ms - kvg_clock_wall_ms(), 1);
    upload->mine.keys_expire_wall_ms = keys->expires_wall_ms;
    kvg_upload_step(upload, &event);
}

/* ---- time for a connection ---- */

unsigned
kvg_upload_connect_ms(const KvgUpload *upload)
{
    return MAX(upload->mine.connect_ms, KVG_CONNECT_MS);
}

void
kvg_upload_learn_connect(KvgUpload *upload, CURL *easy, CURLcode result)
{
    curl_off_t took_us = 0; /* to the end of the TLS handshake; 0: there was none */
    curl_easy_getinfo(easy, CURLINFO_APPCONNECT_TIME_T, &took_us);
    if (took_us > 0)
        upload->mine.connect_ms = (unsigned)MIN(took_us / 250, KVG_CONNECT_MAX_MS);
    else if (result == CURLE_OPERATION_TIMEDOUT)
        upload->mine.connect_ms = MIN(2 * kvg_upload_connect_ms(upload), KVG_CONNECT_MAX_MS);
}

/* ---- performing ---- */

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
    stats->bytes_sent = upload->mine.bytes_sent;
    stats->credentials_expire_wall_ms = upload->mine.keys_expire_wall_ms;
    stats->clock_offset_ms = uploader->mine.clock_offset_ms;
    stats->state = kvg_session_state(upload->mine.session);
    g_strlcpy(stats->reason, kvg_session_reason(upload->mine.session), sizeof stats->reason);
    if (stats->state == KVG_SESSION_CLOSED)
        pthread_cond_broadcast(&uploader->changed);
    pthread_mutex_unlock(&uploader->lock);
}

static void
notify(KvgUpload *upload)
{
    const KvgSessionState state = kvg_session_state(upload->mine.session);
    const char *reason = kvg_session_reason(upload->mine.session);
    KVG_LOG_INFO(KVG_UPLOADER_DOMAIN, "STREAM", upload->name, "stream '%s': %s: %s", upload->name,
                 kvg_session_state_to_string(state), reason);
    if (upload->on_state != NULL)
        upload->on_state(state, reason, upload->user_data);
    /* Frames that came while nobody could use them. */
    if (state == KVG_SESSION_READY && atomic_exchange(&upload->is_woken, false))
        kvg_upload_step_kind(upload, KVG_SESSION_ON_DATA);
}

/* The same failure again and again is one line in the log, and a count when it is over. */
static void
complain(KvgUpload *upload)
{
    const char *text = kvg_session_trouble(upload->mine.session);
    if (g_strcmp0(upload->mine.last_trouble, text) == 0) {
        upload->mine.n_trouble++;
        return;
    }
    if (upload->mine.n_trouble > 0)
        KVG_LOG_MESSAGE(KVG_UPLOADER_DOMAIN, "STREAM", upload->name,
                        "stream '%s': %u times more: %s", upload->name, upload->mine.n_trouble,
                        upload->mine.last_trouble);
    upload->mine.n_trouble = 0;
    g_free(upload->mine.last_trouble);
    upload->mine.last_trouble = g_strdup(text);
    KVG_LOG_WARNING(KVG_UPLOADER_DOMAIN, "STREAM", upload->name, "stream '%s': %s", upload->name,
                    text);
}

static void
run_fetches(KvgUpload *upload, unsigned todo)
{
    if (todo & KVG_SESSION_DO_FETCH_KEYS)
        kvg_refresh_fetch(upload->mine.refresh, upload, (todo & KVG_SESSION_DO_RENEW_KEYS) != 0);
    if (todo & KVG_SESSION_DO_DESCRIBE)
        kvg_control_begin(upload, KVG_CONTROL_DESCRIBE);
    if (todo & KVG_SESSION_DO_CREATE)
        kvg_control_begin(upload, KVG_CONTROL_CREATE);
    if (todo & KVG_SESSION_DO_ENDPOINT)
        kvg_control_begin(upload, KVG_CONTROL_ENDPOINT);
}

static void
run_put(KvgPut *put, const KvgSessionActions *actions)
{
    const unsigned bit = 1u << put->index;
    if (actions->put & bit)
        kvg_put_begin(put);
    if ((actions->end_fragment & bit) && put->body != NULL)
        kvg_body_end_fragment(put->body);
    if ((actions->end_body & bit) && put->body != NULL)
        kvg_body_end(put->body);
    if ((actions->end_fragment | actions->end_body | actions->resume) & bit)
        kvg_put_unpause(put);
}

static bool
is_nothing(const KvgSessionActions *actions)
{
    return (actions->todo | actions->abort | actions->put | actions->end_fragment |
            actions->end_body | actions->resume) == 0;
}

static void
run_pending(KvgUpload *upload)
{
    while (!is_nothing(&upload->mine.pending)) {
        const KvgSessionActions actions = upload->mine.pending;
        upload->mine.pending = (KvgSessionActions){0};
        if (actions.todo & KVG_SESSION_DO_COMPLAIN)
            complain(upload);
        if (actions.todo & KVG_SESSION_DO_NOTIFY)
            notify(upload);
        for (unsigned i = 0; i < KVG_SESSION_CALLS; i++) {
            if (actions.abort & (1u << i))
                kvg_put_drop(&upload->mine.puts[i]);
        }
        run_fetches(upload, actions.todo);
        for (unsigned i = 0; i < KVG_SESSION_CALLS; i++)
            run_put(&upload->mine.puts[i], &actions);
    }
}

void
kvg_upload_settle(KvgUpload *upload)
{
    run_pending(upload);
    publish(upload);
    int64_t at_us = kvg_session_deadline_us(upload->mine.session);
    for (unsigned i = 0; i < KVG_SESSION_CALLS; i++) {
        if (upload->mine.puts[i].send_at_us != 0)
            at_us = MIN(at_us, upload->mine.puts[i].send_at_us);
    }
    kvg_due_set(&upload->uploader->mine.due, &upload->mine.due, at_us);
}

static void
on_due(KvgDue *due, int64_t now_us)
{
    KvgUpload *upload = (KvgUpload *)((char *)due - offsetof(KvgUpload, mine.due));
    kvg_upload_touch(upload);
    if (kvg_session_deadline_us(upload->mine.session) <= now_us)
        kvg_upload_step_kind(upload, KVG_SESSION_ON_TICK);
    for (unsigned i = 0; i < KVG_SESSION_CALLS; i++) {
        KvgPut *put = &upload->mine.puts[i];
        if (put->send_at_us != 0 && put->send_at_us <= now_us && !put->is_dead)
            kvg_put_unpause(put);
    }
}

/* ---- what the outside asks for ---- */

void
kvg_upload_start(KvgUpload *upload)
{
    upload->mine.due.serve = on_due;
    upload->mine.refresh = kvg_refresh_join(upload);
    kvg_control_init(&upload->mine.control, upload);
    for (unsigned i = 0; i < KVG_SESSION_CALLS; i++)
        kvg_put_init(&upload->mine.puts[i], upload, i);
    kvg_upload_step_kind(upload, KVG_SESSION_ON_START);
}

/* Whether the session is busy with something that ends by itself, so that frames need not tell. */
static bool
is_occupied(KvgSessionState state)
{
    return state == KVG_SESSION_WAITING || state == KVG_SESSION_KEYS ||
           state == KVG_SESSION_DESCRIBE || state == KVG_SESSION_CREATE ||
           state == KVG_SESSION_ENDPOINT;
}

void
kvg_upload_serve_wake(KvgUpload *upload)
{
    const int live = kvg_session_live_call(upload->mine.session);
    if (live >= 0) {
        KvgPut *put = &upload->mine.puts[live];
        kvg_upload_touch(upload);
        if (put->is_paused && !put->is_blocked && put->send_at_us == 0)
            kvg_put_unpause(put);
        return;
    }
    if (is_occupied(kvg_session_state(upload->mine.session)))
        return;
    atomic_store(&upload->is_woken, false);
    kvg_upload_step_kind(upload, KVG_SESSION_ON_DATA);
}

void
kvg_upload_serve_close(KvgUpload *upload)
{
    kvg_upload_step_kind(upload, KVG_SESSION_ON_CLOSE);
    for (unsigned i = 0; i < KVG_SESSION_CALLS; i++)
        kvg_put_unpause(&upload->mine.puts[i]);
}

void
kvg_upload_destroy(KvgUpload *upload)
{
    KvgUploader *uploader = upload->uploader;
    kvg_control_drop(upload);
    for (unsigned i = 0; i < KVG_SESSION_CALLS; i++)
        kvg_put_drop(&upload->mine.puts[i]);
    kvg_refresh_leave(upload->mine.refresh, upload);
    kvg_due_set(&uploader->mine.due, &upload->mine.due, INT64_MAX);
    if (upload->mine.is_touched)
        g_ptr_array_remove_fast(uploader->mine.touched, upload);
    g_clear_pointer(&upload->mine.session, kvg_session_free);
    g_free(upload->mine.last_trouble);
    g_free(upload->mine.endpoint);
}
