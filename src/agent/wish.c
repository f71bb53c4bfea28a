#include "agent/wish.h"
#include "agent/request.h"
#include <string.h>

#define MAX_TODO 50
#define MAX_TEXT 256
/* The service says when in whole seconds; what comes at once is now. */
#define AT_ONCE_S 3

static void
set(json_t **field, json_t *value)
{
    json_decref(*field);
    *field = value;
}

static void
set_problem(KvgWishes *wishes, const char *problem)
{
    char *copy = g_strdup(problem);
    g_free(wishes->problem);
    wishes->problem = copy;
}

void
kvg_wishes_clear(KvgWishes *wishes)
{
    json_decref(wishes->event);
    json_decref(wishes->upload);
    json_decref(wishes->done_event);
    json_decref(wishes->done_upload);
    json_decref(wishes->todo);
    g_free(wishes->problem);
    *wishes = (KvgWishes){0};
}

/* ---- seeing ---- */

/* How long ago a member was set, in seconds. An object's stamps are those of its members. */
static int64_t
age_of(const json_t *document, const char *name)
{
    const json_t *stamps =
        json_object_get(json_object_get(json_object_get(document, "metadata"), "desired"), name);
    int64_t set_s = kvg_json_get_int(stamps, "timestamp", 0);
    const char *key;
    json_t *inner;
    json_object_foreach((json_t *)(uintptr_t)stamps, key, inner) set_s =
        MAX(set_s, kvg_json_get_int(inner, "timestamp", 0));
    const int64_t now_s = kvg_json_get_int(document, "timestamp", 0);
    return set_s > 0 && now_s > set_s ? now_s - set_s : 0;
}

static void
add_todo(KvgWishes *wishes, json_t *request)
{
    if (wishes->todo == NULL)
        wishes->todo = json_array();
    if (json_array_size(wishes->todo) == MAX_TODO) {
        json_array_remove(wishes->todo, 0);
        set_problem(wishes, "too many requests wait; the oldest was forgotten");
    }
    json_array_append_new(wishes->todo, request);
}

/* The same wish has the same id, also after a restart. */
static char *
id_of(const char *what, const json_t *value, int64_t stamp)
{
    g_autofree char *text = json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
    g_autofree char *digest = g_compute_checksum_for_string(G_CHECKSUM_SHA256, text, -1);
    digest[12] = '\0';
    return g_strdup_printf("%s-shadow-%" G_GINT64_FORMAT "-%s", what, stamp, digest);
}

static void
see_event(KvgWishes *wishes, const json_t *document, const json_t *value, int64_t now_ms)
{
    if (!json_is_number(value) &&
        !(json_is_string(value) && json_string_length(value) <= MAX_TEXT)) {
        set_problem(wishes, "event must be a text of up to 256 bytes, or a number");
        return;
    }
    const int64_t age_s = age_of(document, "event");
    const int64_t at_ms = age_s <= AT_ONCE_S ? now_ms : now_ms - age_s * 1000;
    g_autofree char *id = id_of("event", value, at_ms);
    add_todo(wishes, json_pack("{s:s, s:s, s:I, s:O}", "op", "event", "id", id, "at_ms",
                               (json_int_t)MAX(at_ms, 0), "value", value));
}

static void
see_upload(KvgWishes *wishes, const json_t *document, const json_t *value, int64_t now_ms)
{
    static const KvgConfigMode any;
    g_autofree char *id = id_of("upload", value, now_ms);
    g_autoptr(json_t) request = json_is_object(value) ? json_deep_copy(value) : json_object();
    json_object_set_new(request, "op", json_string("upload"));
    json_object_set_new(request, "id", json_string(id));
    json_object_set(request, "value", (json_t *)(uintptr_t)value);
    KvgRequest parsed;
    g_autoptr(GError) error = NULL;
    if (kvg_request_parse(request, &any, &parsed, &error)) {
        add_todo(wishes, json_incref(request));
        return;
    }
    g_autofree char *problem = g_strconcat("upload: ", error->message, NULL);
    set_problem(wishes, problem);
}

typedef void (*See)(KvgWishes *wishes, const json_t *document, const json_t *value, int64_t now_ms);

static bool
see_member(KvgWishes *wishes,
           const json_t *document,
           json_t *desired,
           const char *name,
           json_t **seen,
           See see,
           int64_t now_ms)
{
    g_autoptr(json_t) value = json_incref(json_object_get(desired, name));
    json_object_del(desired, name);
    if (json_is_null(value))
        set(&value, NULL);
    if (value == *seen || (value != NULL && *seen != NULL && json_equal(value, *seen)))
        return false;
    set(seen, json_incref(value));
    if (value == NULL)
        return true;
    set_problem(wishes, NULL);
    see(wishes, document, value, now_ms);
    return true;
}

bool
kvg_wishes_see(KvgWishes *wishes, const json_t *document, int64_t now_ms, json_t **desired)
{
    const json_t *given = json_object_get(json_object_get(document, "state"), "desired");
    *desired = given != NULL ? json_copy((json_t *)(uintptr_t)given) : json_object();
    const bool has_event =
        see_member(wishes, document, *desired, "event", &wishes->event, see_event, now_ms);
    const bool has_upload =
        see_member(wishes, document, *desired, "upload", &wishes->upload, see_upload, now_ms);
    return has_event || has_upload;
}

/* ---- what becomes of them ---- */

bool
kvg_wishes_confirm(KvgWishes *wishes, const char *id, const char *problem)
{
    size_t i;
    json_t *request;
    json_array_foreach(wishes->todo, i, request)
    {
        if (g_strcmp0(kvg_json_get_string(request, "id"), id) != 0)
            continue;
        const bool is_event = g_strcmp0(kvg_json_get_string(request, "op"), "event") == 0;
        set(is_event ? &wishes->done_event : &wishes->done_upload,
            json_incref(json_object_get(request, "value")));
        set_problem(wishes, problem);
        json_array_remove(wishes->todo, i);
        return true;
    }
    return false;
}

static json_t *
value_or_null(json_t *value)
{
    return value != NULL ? json_incref(value) : json_null();
}

/* Of what is not wanted any more nothing is reported. */
void
kvg_wishes_report(const KvgWishes *wishes, json_t *reported)
{
    json_object_set_new(reported, "event",
                        value_or_null(wishes->event != NULL ? wishes->done_event : NULL));
    json_object_set_new(reported, "upload",
                        value_or_null(wishes->upload != NULL ? wishes->done_upload : NULL));
}

/* ---- the file ---- */

json_t *
kvg_wishes_to_json(const KvgWishes *wishes)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o}", "event", value_or_null(wishes->event), "upload",
                     value_or_null(wishes->upload), "done_event", value_or_null(wishes->done_event),
                     "done_upload", value_or_null(wishes->done_upload), "todo",
                     value_or_null(wishes->todo));
}

static json_t *
take(const json_t *json, const char *key)
{
    json_t *value = json_object_get(json, key);
    return value != NULL && !json_is_null(value) ? json_incref(value) : NULL;
}

void
kvg_wishes_from_json(KvgWishes *wishes, const json_t *json)
{
    set(&wishes->event, take(json, "event"));
    set(&wishes->upload, take(json, "upload"));
    set(&wishes->done_event, take(json, "done_event"));
    set(&wishes->done_upload, take(json, "done_upload"));
    g_autoptr(json_t) todo = take(json, "todo");
    set(&wishes->todo, json_is_array(todo) ? json_incref(todo) : NULL);
}
