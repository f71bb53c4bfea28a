#include "putmedia/private.h"

#include "base/clock.h"
#include "os/log.h"
#include "os/thread.h"

/* A clock that is less wrong than this is left alone; the service allows five minutes. */
#define SKEW_MS 60000
#define ABANDON_S 2

bool
kvg_uploader_judge_skew(KvgUploader *uploader,
                        int64_t offset_ms,
                        int64_t date_wall_ms,
                        long status,
                        const char *error_type,
                        const char *text)
{
    if (date_wall_ms == 0 || !kvg_verdict_is_skew(status, error_type, text))
        return false;
    const int64_t true_offset_ms = date_wall_ms - kvg_clock_wall_ms();
    if (ABS(true_offset_ms - offset_ms) < SKEW_MS)
        return false;
    if (ABS(true_offset_ms - uploader->mine.clock_offset_ms) >= SKEW_MS)
        KVG_LOG_WARNING(
            KVG_UPLOADER_DOMAIN, "OFFSET", "clock",
            "this machine's clock is %" G_GINT64_FORMAT
            " s %s that of the service; signatures go by the service's, but set the clock",
            ABS(true_offset_ms) / 1000, true_offset_ms > 0 ? "behind" : "ahead of");
    uploader->mine.clock_offset_ms = true_offset_ms;
    return true;
}

void
kvg_uploader_add_transfer(KvgUploader *uploader, CURL *easy, KvgTransfer *transfer)
{
    curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
    kvg_loop_add(uploader->loop, easy);
}

static void
on_transfer_done(CURL *easy, CURLcode result, void *user_data)
{
    KvgTransfer *transfer = NULL;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&transfer);
    transfer->on_done(transfer->owner, result);
}

/* ---- the thread ---- */

typedef struct {
    GPtrArray *woken, *added, *closing, *removing;
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
    uploader->shared.removing = g_ptr_array_new();
    pthread_mutex_unlock(&uploader->lock);
    return inbox;
}

static void
remove_uploads(KvgUploader *uploader, const GPtrArray *uploads)
{
    for (guint i = 0; i < uploads->len; i++)
        kvg_upload_destroy(g_ptr_array_index(uploads, i));
    if (uploads->len == 0)
        return;
    pthread_mutex_lock(&uploader->lock);
    for (guint i = 0; i < uploads->len; i++)
        ((KvgUpload *)g_ptr_array_index(uploads, i))->shared.is_removed = true;
    pthread_cond_broadcast(&uploader->changed);
    pthread_mutex_unlock(&uploader->lock);
}

/* False when the thread shall end. */
static bool
serve_inbox(KvgUploader *uploader)
{
    const Inbox inbox = take_inbox(uploader);
    g_autoptr(GPtrArray) woken = inbox.woken;
    g_autoptr(GPtrArray) added = inbox.added;
    g_autoptr(GPtrArray) closing = inbox.closing;
    g_autoptr(GPtrArray) removing = inbox.removing;
    for (guint i = 0; i < added->len; i++)
        kvg_upload_start(g_ptr_array_index(added, i));
    for (guint i = 0; i < woken->len; i++)
        kvg_upload_serve_wake(g_ptr_array_index(woken, i));
    for (guint i = 0; i < closing->len; i++)
        kvg_upload_serve_close(g_ptr_array_index(closing, i));
    remove_uploads(uploader, removing);
    return !inbox.stop;
}

/* Those to which something happened; settling one may touch others. */
static void
settle_touched(KvgUploader *uploader)
{
    GPtrArray *touched = uploader->mine.touched;
    for (guint i = 0; i < touched->len; i++) {
        KvgUpload *upload = g_ptr_array_index(touched, i);
        upload->mine.is_touched = false;
        kvg_upload_settle(upload);
    }
    g_ptr_array_set_size(touched, 0);
}

static void *
uploader_thread(void *data)
{
    KvgUploader *uploader = data;
    while (serve_inbox(uploader)) {
        settle_touched(uploader);
        kvg_due_serve(&uploader->mine.due, kvg_clock_mono_us());
        settle_touched(uploader);
        const int64_t until_us = kvg_due_next(&uploader->mine.due);
        kvg_loop_turn(uploader->loop, until_us, on_transfer_done, NULL);
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
    g_ptr_array_unref(uploader->shared.removing);
    g_ptr_array_unref(uploader->mine.touched);
    g_hash_table_unref(uploader->mine.refreshes);
    kvg_due_heap_clear(&uploader->mine.due);
    kvg_loop_free(uploader->loop);
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
    KvgLoop *loop = kvg_loop_new(error);
    if (loop == NULL)
        return NULL;
    KvgUploader *uploader = g_new0(KvgUploader, 1);
    uploader->region = g_strdup(options->region);
    uploader->base_url = g_strdup(options->base_url);
    uploader->ca_path = g_strdup(options->ca_path);
    uploader->user_agent = g_strdup(options->user_agent);
    uploader->loop = loop;
    uploader->mine.touched = g_ptr_array_new();
    kvg_due_heap_init(&uploader->mine.due);
    kvg_bucket_init(&uploader->mine.bucket, options->backlog_bps, kvg_clock_mono_us());
    uploader->mine.refreshes = g_hash_table_new(NULL, NULL);
    uploader->shared.woken = g_ptr_array_new();
    uploader->shared.added = g_ptr_array_new();
    uploader->shared.closing = g_ptr_array_new();
    uploader->shared.removing = g_ptr_array_new();
    pthread_mutex_init(&uploader->lock, NULL);
    init_condition(&uploader->changed);
    /* Without signals: SIGPIPE of a lost connection is nobody's. */
    const int failed =
        kvg_thread_create(&uploader->thread, "kvg-uploader", uploader_thread, uploader);
    if (failed == 0) {
        kvg_exit_watch(uploader);
        return uploader;
    }
    g_set_error(error, KVG_ERROR, KVG_ERROR_FAILED, "uploader thread: %s", g_strerror(failed));
    free_uploader(uploader);
    return NULL;
}

/* True: it was abandoned. */
static bool
tell_to_stop(KvgUploader *uploader)
{
    pthread_mutex_lock(&uploader->lock);
    uploader->shared.stop = true;
    const bool is_abandoned = uploader->shared.is_abandoned;
    pthread_mutex_unlock(&uploader->lock);
    kvg_loop_wake(uploader->loop);
    return is_abandoned;
}

void
kvg_uploader_stop(KvgUploader *uploader)
{
    if (uploader == NULL)
        return;
    kvg_exit_forget(uploader);
    if (tell_to_stop(uploader))
        return;
    pthread_join(uploader->thread, NULL);
    free_uploader(uploader);
}

void
kvg_uploader_abandon(KvgUploader *uploader)
{
    if (pthread_equal(pthread_self(), uploader->thread)) /* exit() in a callback */
        return;
    tell_to_stop(uploader);
    /* A callback that waits for the thread that exits must not hold it up. */
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += ABANDON_S;
    pthread_timedjoin_np(uploader->thread, NULL, &until);
    pthread_mutex_lock(&uploader->lock);
    uploader->shared.is_abandoned = true;
    pthread_cond_broadcast(&uploader->changed);
    pthread_mutex_unlock(&uploader->lock);
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
    const KvgSessionOptions session = {.create = options->create,
                                       .live_first = options->live_first && !options->holds,
                                       .holds = options->holds,
                                       .stale_us = options->stale_us,
                                       .pause_us = options->pause_us};
    upload->mine.session = kvg_session_new(&session);
    kvg_bucket_init(&upload->mine.bucket, options->backlog_bps, kvg_clock_mono_us());
    pthread_mutex_lock(&uploader->lock);
    g_ptr_array_add(uploader->shared.added, upload);
    pthread_mutex_unlock(&uploader->lock);
    kvg_loop_wake(uploader->loop);
    return upload;
}

void
kvg_upload_wake(KvgUpload *upload)
{
    KvgUploader *uploader = upload->uploader;
    if (atomic_exchange(&upload->is_woken, true))
        return;
    pthread_mutex_lock(&uploader->lock);
    const bool is_first = uploader->shared.woken->len == 0;
    g_ptr_array_add(uploader->shared.woken, upload);
    pthread_mutex_unlock(&uploader->lock);
    if (is_first)
        kvg_loop_wake(uploader->loop);
}

void
kvg_upload_note_put(KvgUpload *upload, size_t bytes)
{
    atomic_fetch_add_explicit(&upload->n_put_bytes, bytes, memory_order_relaxed);
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
    kvg_loop_wake(uploader->loop);
    int timed_out = 0;
    while (upload->shared.stats.state != KVG_SESSION_CLOSED && timed_out == 0 &&
           !uploader->shared.is_abandoned)
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
    g_ptr_array_add(uploader->shared.removing, upload);
    kvg_loop_wake(uploader->loop);
    while (!upload->shared.is_removed && !uploader->shared.is_abandoned)
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
