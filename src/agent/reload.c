#include "agent/reload.h"

struct _KvgReload {
    json_t *(*run)(void *user_data);
    void *user_data;
    GMutex lock;
    GCond changed;
    /* under lock */
    uint64_t n_asked, n_done;
    json_t *result; /* of the last one */
    bool is_closed;
    guint source; /* 0: none is waiting for the main thread */
};

static gboolean
on_main(void *user_data)
{
    KvgReload *reload = user_data;
    g_mutex_lock(&reload->lock);
    const uint64_t n = reload->n_asked;
    reload->source = 0;
    g_mutex_unlock(&reload->lock);
    json_t *result = reload->run(reload->user_data);
    g_mutex_lock(&reload->lock);
    json_decref(reload->result);
    reload->result = result;
    reload->n_done = n;
    g_cond_broadcast(&reload->changed);
    g_mutex_unlock(&reload->lock);
    return G_SOURCE_REMOVE;
}

KvgReload *
kvg_reload_new(json_t *(*run)(void *user_data), void *user_data)
{
    KvgReload *reload = g_new0(KvgReload, 1);
    reload->run = run;
    reload->user_data = user_data;
    g_mutex_init(&reload->lock);
    g_cond_init(&reload->changed);
    return reload;
}

void
kvg_reload_close(KvgReload *reload)
{
    g_mutex_lock(&reload->lock);
    reload->is_closed = true;
    if (reload->source != 0)
        g_source_remove(reload->source);
    reload->source = 0;
    g_cond_broadcast(&reload->changed);
    g_mutex_unlock(&reload->lock);
}

void
kvg_reload_free(KvgReload *reload)
{
    json_decref(reload->result);
    g_mutex_clear(&reload->lock);
    g_cond_clear(&reload->changed);
    g_free(reload);
}

json_t *
kvg_reload_request(KvgReload *reload)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&reload->lock);
    const uint64_t mine = ++reload->n_asked;
    if (reload->source == 0 && !reload->is_closed)
        reload->source = g_idle_add_full(G_PRIORITY_DEFAULT, on_main, reload, NULL);
    while (reload->n_done < mine && !reload->is_closed)
        g_cond_wait(&reload->changed, &reload->lock);
    return reload->is_closed ? NULL : json_deep_copy(reload->result);
}
