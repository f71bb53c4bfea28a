#include "agent/board.h"
#include "base/clock.h"
#include "base/text.h"
#include <pthread.h>
#include <string.h>

#define MAX_CHANGES 100 /* of a camera; the oldest go */

struct _KvgBoard {
    pthread_mutex_t lock;
    GPtrArray *cameras; /* json_t, in the file's order; under lock */
    json_t *reload;     /* NULL: never; under lock */
    json_t *changes;    /* name -> array, oldest first; under lock */
};

static void
unref_json(void *data)
{
    json_decref(data);
}

/* Under lock. */
static void
note_change(KvgBoard *board, const json_t *camera)
{
    const char *name = kvg_json_get_string(camera, "name");
    const char *state = kvg_json_get_string(camera, "state");
    const char *reason = kvg_json_get_string(camera, "reason");
    json_t *changes = json_object_get(board->changes, name);
    if (changes == NULL) {
        changes = json_array();
        json_object_set_new(board->changes, name, changes);
    }
    const json_t *last = json_array_get(changes, json_array_size(changes) - 1);
    if (last != NULL && g_strcmp0(kvg_json_get_string(last, "state"), state) == 0 &&
        g_strcmp0(kvg_json_get_string(last, "reason"), reason) == 0)
        return;
    if (json_array_size(changes) == MAX_CHANGES)
        json_array_remove(changes, 0);
    json_array_append_new(changes,
                          json_pack("{s:I, s:s?, s:s?}", "at_ms", (json_int_t)kvg_clock_wall_ms(),
                                    "state", state, "reason", reason));
}

static json_t *
find(const KvgBoard *board, const char *name)
{
    for (guint i = 0; i < board->cameras->len; i++) {
        json_t *camera = g_ptr_array_index(board->cameras, i);
        if (g_strcmp0(kvg_json_get_string(camera, "name"), name) == 0)
            return camera;
    }
    return NULL;
}

KvgBoard *
kvg_board_new(const KvgConfig *config)
{
    KvgBoard *board = g_new0(KvgBoard, 1);
    board->changes = json_object();
    pthread_mutex_init(&board->lock, NULL);
    board->cameras = g_ptr_array_new_with_free_func(unref_json);
    kvg_board_reload(board, config);
    return board;
}

void
kvg_board_free(KvgBoard *board)
{
    if (board == NULL)
        return;
    g_ptr_array_unref(board->cameras);
    json_decref(board->reload);
    json_decref(board->changes);
    pthread_mutex_destroy(&board->lock);
    g_free(board);
}

void
kvg_board_reload(KvgBoard *board, const KvgConfig *config)
{
    GPtrArray *cameras = g_ptr_array_new_with_free_func(unref_json);
    pthread_mutex_lock(&board->lock);
    for (guint i = 0; i < config->cameras->len; i++) {
        const KvgConfigCamera *camera = g_ptr_array_index(config->cameras, i);
        g_autofree char *source = kvg_uri_redact(camera->source);
        json_t *known = json_incref(find(board, camera->name));
        if (known == NULL)
            known = json_pack("{s:s, s:s, s:s, s:b}", "name", camera->name, "state",
                              camera->streaming ? "connecting" : "off", "reason", "starting",
                              "streaming", camera->streaming);
        json_object_set_new(known, "source", json_string(source));
        json_object_set_new(known, "retention_hours", json_integer(camera->retention_hours));
        g_ptr_array_add(cameras, known);
    }
    GPtrArray *before = board->cameras;
    board->cameras = cameras;
    pthread_mutex_unlock(&board->lock);
    g_ptr_array_unref(before);
}

void
kvg_board_set_reload(KvgBoard *board, const json_t *result)
{
    pthread_mutex_lock(&board->lock);
    json_decref(board->reload);
    board->reload = json_deep_copy(result);
    pthread_mutex_unlock(&board->lock);
}

json_t *
kvg_board_get_reload(KvgBoard *board)
{
    pthread_mutex_lock(&board->lock);
    json_t *reload = board->reload != NULL ? json_deep_copy(board->reload) : json_null();
    pthread_mutex_unlock(&board->lock);
    return reload;
}

void
kvg_board_update(KvgBoard *board, const json_t *report)
{
    pthread_mutex_lock(&board->lock);
    json_t *camera = find(board, kvg_json_get_string(report, "name"));
    if (camera != NULL) {
        json_object_update(camera, (json_t *)(uintptr_t)report);
        note_change(board, camera);
    }
    pthread_mutex_unlock(&board->lock);
}

json_t *
kvg_board_all(KvgBoard *board)
{
    json_t *cameras = json_array();
    pthread_mutex_lock(&board->lock);
    for (guint i = 0; i < board->cameras->len; i++)
        json_array_append_new(cameras, json_copy(g_ptr_array_index(board->cameras, i)));
    pthread_mutex_unlock(&board->lock);
    return json_pack("{s:o}", "cameras", cameras);
}

json_t *
kvg_board_get(KvgBoard *board, const char *name)
{
    pthread_mutex_lock(&board->lock);
    json_t *camera = json_copy(find(board, name));
    pthread_mutex_unlock(&board->lock);
    return camera;
}

json_t *
kvg_board_history(KvgBoard *board, const char *name)
{
    pthread_mutex_lock(&board->lock);
    const json_t *changes = json_object_get(board->changes, name);
    json_t *copy = find(board, name) == NULL ? NULL
                   : changes == NULL         ? json_array()
                                             : json_copy((json_t *)(uintptr_t)changes);
    pthread_mutex_unlock(&board->lock);
    return copy;
}

char *
kvg_board_not_ready(KvgBoard *board)
{
    g_autoptr(GString) names = g_string_new(NULL);
    pthread_mutex_lock(&board->lock);
    for (guint i = 0; i < board->cameras->len; i++) {
        const json_t *camera = g_ptr_array_index(board->cameras, i);
        const char *state = kvg_json_get_string(camera, "state");
        if (kvg_json_get_bool(camera, "streaming", true) && g_strcmp0(state, "live") != 0 &&
            g_strcmp0(state, "ended") != 0)
            g_string_append_printf(names, "%s%s", names->len > 0 ? ", " : "",
                                   kvg_json_get_string(camera, "name"));
    }
    pthread_mutex_unlock(&board->lock);
    return names->len > 0 ? g_string_free(g_steal_pointer(&names), FALSE) : NULL;
}
