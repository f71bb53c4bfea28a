#include "agent/desk.h"
#include "agent/errand.h"
#include <kvg/error.h>
#include <string.h>

#define LOOK_MS 25
#define MAX_CASES 1000

typedef struct {
    json_t *packet;
    char *camera;
    char *id; /* of the upload; NULL: not asked for yet */
    bool is_wish;
} Case;

struct _KvgDesk {
    KvgDeskOptions options;
    GPtrArray *cases; /* Case */
    guint timer;      /* 0: there are none */
};

static void
case_free(void *data)
{
    Case *one = data;
    json_decref(one->packet);
    g_free(one->camera);
    g_free(one->id);
    g_free(one);
}

KvgDesk *
kvg_desk_new(const KvgDeskOptions *options)
{
    KvgDesk *desk = g_new0(KvgDesk, 1);
    desk->options = *options;
    desk->cases = g_ptr_array_new_with_free_func(case_free);
    return desk;
}

void
kvg_desk_free(KvgDesk *desk)
{
    if (desk == NULL)
        return;
    if (desk->timer != 0)
        g_source_remove(desk->timer);
    g_ptr_array_unref(desk->cases);
    g_free(desk);
}

/* ---- one case ---- */

static void
answer(const KvgDesk *desk, const Case *one, json_t *upload, const GError *error)
{
    g_autoptr(json_t) found = upload;
    g_autoptr(json_t) packet = NULL;
    if (one->is_wish) {
        g_autofree char *problem = error != NULL ? g_utf8_make_valid(error->message, -1) : NULL;
        packet = json_pack("{s:s, s:s, s:s?}", "wished", kvg_json_get_string(one->packet, "id"),
                           "camera", one->camera, "problem", problem);
    } else {
        packet = kvg_errand_answer(
            one->packet, found != NULL ? json_pack("{s:O}", "upload", found) : NULL, error);
    }
    desk->options.send(packet, desk->options.user_data);
}

/* True: it is answered. */
static bool
proceed(const KvgDesk *desk, Case *one)
{
    g_autoptr(GError) error = NULL;
    const KvgConfigCamera *config = NULL;
    KvgStream *stream = desk->options.stream(one->camera, &config, &error, desk->options.user_data);
    const bool is_asked =
        stream != NULL &&
        (one->id != NULL || kvg_hold_ask(stream, config, one->packet, &one->id, &error));
    if (!is_asked) {
        /* A wish waits until the cause is gone, unless it is the wish's own. */
        const bool is_final = !one->is_wish || g_error_matches(error, KVG_ERROR, KVG_ERROR_INVALID);
        if (is_final)
            answer(desk, one, NULL, error);
        return is_final;
    }
    json_t *stored = kvg_hold_find_stored(stream, one->id);
    if (stored != NULL)
        answer(desk, one, stored, NULL);
    return stored != NULL;
}

static gboolean
on_look(void *user_data)
{
    KvgDesk *desk = user_data;
    for (guint i = 0; i < desk->cases->len;) {
        if (proceed(desk, g_ptr_array_index(desk->cases, i)))
            g_ptr_array_remove_index(desk->cases, i);
        else
            i++;
    }
    if (desk->cases->len > 0)
        return G_SOURCE_CONTINUE;
    desk->timer = 0;
    return G_SOURCE_REMOVE;
}

static void
add_case(KvgDesk *desk, const char *camera, const json_t *packet, bool is_wish)
{
    Case *one = g_new0(Case, 1);
    *one = (Case){json_deep_copy(packet), g_strdup(camera), NULL, is_wish};
    if (desk->cases->len >= MAX_CASES || proceed(desk, one)) {
        case_free(one); /* a wish comes again, and an errand is given up by who waits */
        return;
    }
    g_ptr_array_add(desk->cases, one);
    if (desk->timer == 0)
        desk->timer = g_timeout_add(LOOK_MS, on_look, desk);
}

/* ---- in ---- */

static void
list_uploads(const KvgDesk *desk, const char *camera, const json_t *packet)
{
    g_autoptr(GError) error = NULL;
    const KvgConfigCamera *config = NULL;
    KvgStream *stream = desk->options.stream(camera, &config, &error, desk->options.user_data);
    g_autoptr(json_t) list =
        kvg_errand_answer(packet, stream != NULL ? kvg_hold_describe(stream) : NULL, error);
    desk->options.send(list, desk->options.user_data);
}

bool
kvg_desk_take(KvgDesk *desk, const json_t *packet)
{
    const char *op = kvg_json_get_string(packet, "op");
    const char *camera = kvg_json_get_string(packet, "camera");
    if (camera == NULL)
        return false;
    if (g_strcmp0(op, "uploads") == 0)
        list_uploads(desk, camera, packet);
    else if (g_strcmp0(op, "event") == 0 || g_strcmp0(op, "upload") == 0)
        add_case(desk, camera, packet, false);
    else
        return false;
    return true;
}

static bool
has_wish(const KvgDesk *desk, const char *camera, const char *id)
{
    for (guint i = 0; i < desk->cases->len; i++) {
        const Case *one = g_ptr_array_index(desk->cases, i);
        if (one->is_wish && strcmp(one->camera, camera) == 0 &&
            g_strcmp0(kvg_json_get_string(one->packet, "id"), id) == 0)
            return true;
    }
    return false;
}

void
kvg_desk_set_wishes(KvgDesk *desk, const char *camera, const json_t *wishes)
{
    size_t i;
    json_t *wish;
    json_array_foreach(wishes, i, wish)
    {
        const char *id = kvg_json_get_string(wish, "id");
        if (id != NULL && !has_wish(desk, camera, id))
            add_case(desk, camera, wish, true);
    }
}
