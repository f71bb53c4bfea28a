#include "agent/errand.h"
#include "base/clock.h"
#include <kvg/error.h>
#include <pthread.h>

#define PATIENCE_US (10 * G_USEC_PER_SEC)

struct _KvgErrands {
    KvgErrandSend send;
    void *user_data;
    GMutex lock; /* all that follows */
    GCond changed;
    GHashTable *waiting; /* number -> json_t, NULL until it is answered */
    int64_t newest;
    bool is_stopped;
};

KvgErrands *
kvg_errands_new(KvgErrandSend send, void *user_data)
{
    KvgErrands *errands = g_new0(KvgErrands, 1);
    errands->send = send;
    errands->user_data = user_data;
    errands->waiting = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    g_mutex_init(&errands->lock);
    g_cond_init(&errands->changed);
    return errands;
}

void
kvg_errands_stop(KvgErrands *errands)
{
    g_mutex_lock(&errands->lock);
    errands->is_stopped = true;
    g_cond_broadcast(&errands->changed);
    g_mutex_unlock(&errands->lock);
}

void
kvg_errands_free(KvgErrands *errands)
{
    if (errands == NULL)
        return;
    g_hash_table_unref(errands->waiting);
    g_mutex_clear(&errands->lock);
    g_cond_clear(&errands->changed);
    g_free(errands);
}

/* ---- sending ---- */

typedef struct {
    KvgErrands *errands;
    char *camera;
    json_t *packet;
} Dispatch;

static void
dispatch_free(void *data)
{
    Dispatch *dispatch = data;
    g_free(dispatch->camera);
    json_decref(dispatch->packet);
    g_free(dispatch);
}

static gboolean
on_dispatch(void *data)
{
    const Dispatch *dispatch = data;
    KvgErrands *errands = dispatch->errands;
    if (errands->send(dispatch->camera, dispatch->packet, errands->user_data))
        return G_SOURCE_REMOVE;
    g_autoptr(GError) error =
        g_error_new(KVG_ERROR, KVG_ERROR_RETRY,
                    "the process of camera '%s' is not there now; try again", dispatch->camera);
    g_autoptr(json_t) answer = kvg_errand_answer(dispatch->packet, NULL, error);
    kvg_errands_take(errands, answer);
    return G_SOURCE_REMOVE;
}

/* With the lock; false: nobody has answered in time. */
static bool
wait_for_answer(KvgErrands *errands, int64_t number, json_t **answer)
{
    const int64_t until_us = g_get_monotonic_time() + PATIENCE_US;
    do {
        *answer = g_hash_table_lookup(errands->waiting, &number);
        if (*answer != NULL)
            return true;
    } while (!errands->is_stopped &&
             g_cond_wait_until(&errands->changed, &errands->lock, until_us));
    *answer = g_hash_table_lookup(errands->waiting, &number);
    return *answer != NULL;
}

json_t *
kvg_errands_run(KvgErrands *errands, const char *camera, json_t *packet, GError **error)
{
    json_t *found = NULL;
    g_mutex_lock(&errands->lock);
    int64_t number = ++errands->newest;
    json_object_set_new(packet, "errand", json_integer(number));
    json_object_set_new(packet, "camera", json_string(camera));
    g_hash_table_insert(errands->waiting, g_memdup2(&number, sizeof number), NULL);
    if (!errands->is_stopped) {
        Dispatch *dispatch = g_new0(Dispatch, 1);
        *dispatch = (Dispatch){errands, g_strdup(camera), json_incref(packet)};
        g_idle_add_full(G_PRIORITY_DEFAULT, on_dispatch, dispatch, dispatch_free);
        wait_for_answer(errands, number, &found);
    }
    g_hash_table_remove(errands->waiting, &number);
    g_mutex_unlock(&errands->lock);
    g_autoptr(json_t) answer = found;
    if (answer == NULL) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_RETRY,
                    "the process of camera '%s' does not answer; try again", camera);
        return NULL;
    }
    const char *problem = kvg_json_get_string(answer, "problem");
    if (problem == NULL)
        return g_steal_pointer(&answer);
    g_set_error_literal(error, KVG_ERROR, (int)kvg_json_get_int(answer, "code", KVG_ERROR_FAILED),
                        problem);
    return NULL;
}

bool
kvg_errands_take(KvgErrands *errands, const json_t *packet)
{
    const int64_t number = kvg_json_get_int(packet, "errand", 0);
    if (number == 0)
        return false;
    g_mutex_lock(&errands->lock);
    if (g_hash_table_contains(errands->waiting, &number) &&
        g_hash_table_lookup(errands->waiting, &number) == NULL) {
        g_hash_table_replace(errands->waiting, g_memdup2(&number, sizeof number),
                             json_deep_copy(packet));
        g_cond_broadcast(&errands->changed);
    } /* else nobody waits for it any more */
    g_mutex_unlock(&errands->lock);
    return true;
}

json_t *
kvg_errand_answer(const json_t *packet, json_t *answer, const GError *error)
{
    json_t *out = answer != NULL ? answer : json_object();
    json_object_set_new(out, "errand", json_integer(kvg_json_get_int(packet, "errand", 0)));
    if (error == NULL)
        return out;
    g_autofree char *valid = g_utf8_make_valid(error->message, -1);
    json_object_set_new(out, "problem", json_string(valid));
    json_object_set_new(out, "code",
                        json_integer(error->domain == KVG_ERROR ? error->code : KVG_ERROR_FAILED));
    return out;
}
