/* Renewal of credentials: in good time, one at a time for all streams with the same identity. */
#include "base/clock.h"
#include "os/log.h"
#include "putmedia/private.h"

/* How often to look whether credentials want to be renewed in good time. */
#define CHECK_US (5 * G_USEC_PER_SEC)

struct _KvgRefresh {
    KvgUploader *uploader;
    KvgCredentials *credentials;
    GPtrArray *users;   /* KvgUpload */
    GPtrArray *waiting; /* those of them that have no keys */
    KvgTransfer transfer;
    KvgRenewal *renewal; /* NULL: none in progress */
    KvgBackoff backoff;  /* of renewals that nobody is waiting for yet */
    int64_t not_before_us;
    KvgDue due;
    char *last_error; /* said in the log; not said again */
};

static void
fail_waiting(KvgUpload *upload, const GError *error)
{
    kvg_upload_step_failed(upload, error != NULL ? error->code : KVG_ERROR_AUTH,
                           error != NULL ? error->message : "the credentials expire too soon");
}

/* Tells the streams what came of it: those that wait for keys, and those that use them. */
static void
end_refresh(KvgRefresh *refresh, const GError *error)
{
    g_auto(KvgKeys) keys = {0};
    const bool has_keys = kvg_credentials_peek(refresh->credentials, &keys);
    g_autoptr(GPtrArray) waiting = g_steal_pointer(&refresh->waiting);
    refresh->waiting = g_ptr_array_new();
    for (guint i = 0; i < refresh->users->len; i++) {
        KvgUpload *upload = g_ptr_array_index(refresh->users, i);
        const bool waits = g_ptr_array_find(waiting, upload, NULL);
        if (has_keys && (waits || error == NULL))
            kvg_upload_step_keys(upload, &keys);
        else if (waits)
            fail_waiting(upload, error);
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
    KVG_LOG_WARNING(KVG_UPLOADER_DOMAIN, "REASON", error->message, "credentials: %s",
                    error->message);
}

/* @result: of the renewal's last request. */
static void
step_refresh(KvgRefresh *refresh, CURLcode result)
{
    g_autoptr(GError) error = NULL;
    if (kvg_renewal_step(refresh->renewal, result, &error) == KVG_RENEWAL_REQUEST) {
        kvg_uploader_add_transfer(refresh->uploader, kvg_renewal_easy(refresh->renewal),
                                  &refresh->transfer);
        return;
    }
    g_clear_pointer(&refresh->renewal, kvg_renewal_free);
    end_refresh(refresh, error);
}

static void
on_refresh_done(void *owner, CURLcode result)
{
    KvgRefresh *refresh = owner;
    kvg_loop_remove(refresh->uploader->loop, kvg_renewal_easy(refresh->renewal));
    step_refresh(refresh, result);
}

static void
begin_refresh(KvgRefresh *refresh)
{
    if (refresh->renewal != NULL)
        return;
    refresh->renewal = kvg_renewal_new(refresh->credentials);
    step_refresh(refresh, CURLE_OK);
}

static void
on_check(KvgDue *due, int64_t now_us)
{
    KvgRefresh *refresh = (KvgRefresh *)((char *)due - offsetof(KvgRefresh, due));
    if (refresh->renewal == NULL && now_us >= refresh->not_before_us &&
        kvg_credentials_wants_refresh(refresh->credentials))
        begin_refresh(refresh);
    kvg_due_set(&refresh->uploader->mine.due, due, now_us + CHECK_US);
}

static KvgRefresh *
new_refresh(KvgUploader *uploader, KvgCredentials *credentials)
{
    KvgRefresh *refresh = g_new0(KvgRefresh, 1);
    refresh->uploader = uploader;
    refresh->credentials = credentials;
    refresh->users = g_ptr_array_new();
    refresh->waiting = g_ptr_array_new();
    refresh->transfer = (KvgTransfer){on_refresh_done, refresh};
    refresh->backoff = (KvgBackoff){.base_ms = 2000, .cap_ms = 60000};
    refresh->due.serve = on_check;
    if (kvg_credentials_can_refresh(credentials))
        kvg_due_set(&uploader->mine.due, &refresh->due, kvg_clock_mono_us() + CHECK_US);
    g_hash_table_insert(uploader->mine.refreshes, credentials, refresh);
    return refresh;
}

KvgRefresh *
kvg_refresh_join(KvgUpload *upload)
{
    KvgUploader *uploader = upload->uploader;
    KvgRefresh *refresh = g_hash_table_lookup(uploader->mine.refreshes, upload->credentials);
    if (refresh == NULL)
        refresh = new_refresh(uploader, upload->credentials);
    g_ptr_array_add(refresh->users, upload);
    return refresh;
}

static void
free_refresh(KvgRefresh *refresh)
{
    KvgUploader *uploader = refresh->uploader;
    g_hash_table_remove(uploader->mine.refreshes, refresh->credentials);
    kvg_due_set(&uploader->mine.due, &refresh->due, INT64_MAX);
    if (refresh->renewal != NULL)
        kvg_loop_remove(uploader->loop, kvg_renewal_easy(refresh->renewal));
    kvg_renewal_free(refresh->renewal);
    g_ptr_array_unref(refresh->users);
    g_ptr_array_unref(refresh->waiting);
    g_free(refresh->last_error);
    g_free(refresh);
}

void
kvg_refresh_leave(KvgRefresh *refresh, KvgUpload *upload)
{
    g_ptr_array_remove_fast(refresh->waiting, upload);
    g_ptr_array_remove_fast(refresh->users, upload);
    if (refresh->users->len == 0)
        free_refresh(refresh);
}

void
kvg_refresh_fetch(KvgRefresh *refresh, KvgUpload *upload, bool renew)
{
    const bool can_refresh = kvg_credentials_can_refresh(refresh->credentials);
    g_auto(KvgKeys) keys = {0};
    const bool has_keys = kvg_credentials_peek(refresh->credentials, &keys);
    if (has_keys && !(renew && can_refresh)) {
        kvg_upload_step_keys(upload, &keys);
        return;
    }
    if (!can_refresh) {
        kvg_upload_step_failed(upload, KVG_ERROR_AUTH, "the credentials have expired");
        return;
    }
    g_ptr_array_add(refresh->waiting, upload);
    begin_refresh(refresh);
}
