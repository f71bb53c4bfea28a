#include "server/shadow/document.h"

#include <string.h>

static const char *const sections[] = {"desired", "reported"};

void
kvg_shadow_update_clear(KvgShadowUpdate *update)
{
    g_free(update->client_token);
    json_decref(update->document);
    json_decref(update->accepted);
    json_decref(update->delta);
    json_decref(update->documents);
    memset(update, 0, sizeof *update);
}

/* ---- checks ---- */

static bool
refuse(KvgShadowUpdate *update, int code, const char *message)
{
    update->code = code;
    update->message = message;
    return false;
}

static bool
fits_levels(const json_t *value, unsigned levels)
{
    if (!json_is_object(value) && !json_is_array(value))
        return true;
    if (levels == 0)
        return false;
    const char *key;
    size_t i;
    json_t *child;
    json_object_foreach((json_t *)(uintptr_t)value, key, child)
    {
        if (!fits_levels(child, levels - 1))
            return false;
    }
    json_array_foreach(value, i, child)
    {
        if (!fits_levels(child, levels - 1))
            return false;
    }
    return true;
}

/* Arrays are replaced whole, so a null in one could not mean "delete". */
static bool
has_null_in_array(const json_t *value, bool is_in_array)
{
    const char *key;
    size_t i;
    json_t *child;
    if (json_is_null(value))
        return is_in_array;
    json_object_foreach((json_t *)(uintptr_t)value, key, child)
    {
        if (has_null_in_array(child, is_in_array))
            return true;
    }
    json_array_foreach(value, i, child)
    {
        if (has_null_in_array(child, true))
            return true;
    }
    return false;
}

static bool
is_section_name(const char *name)
{
    return strcmp(name, sections[0]) == 0 || strcmp(name, sections[1]) == 0;
}

static bool
check_state(json_t *state, KvgShadowUpdate *update)
{
    if (state == NULL)
        return refuse(update, 400, "Missing required node: state");
    if (json_is_null(state))
        return true;
    if (!json_is_object(state))
        return refuse(update, 400, "State node must be an object");
    const char *name;
    json_t *section;
    json_object_foreach(state, name, section)
    {
        if (!is_section_name(name) || has_null_in_array(section, false))
            return refuse(update, 400, "State contains an invalid node");
        if (!json_is_object(section) && !json_is_null(section))
            return refuse(update, 400,
                          strcmp(name, "desired") == 0 ? "Desired node must be an object"
                                                       : "Reported node must be an object");
        if (!fits_levels(section, KVG_SHADOW_MAX_LEVELS))
            return refuse(update, 400, "JSON contains too many levels of nesting; maximum is 6");
    }
    return true;
}

/* The request as an object; NULL and a refusal. */
static json_t *
parse(const void *payload, size_t len, KvgShadowUpdate *update)
{
    if (len > KVG_SHADOW_MAX_BYTES) {
        refuse(update, 413, "The payload exceeds the maximum size allowed");
        return NULL;
    }
    if (!g_utf8_validate_len(payload, len, NULL)) {
        refuse(update, 415, "Unsupported documented encoding; supported encoding is UTF-8");
        return NULL;
    }
    g_autoptr(json_t) request = kvg_json_parse_object(payload, len, NULL);
    if (request == NULL) {
        refuse(update, 400, "Invalid JSON");
        return NULL;
    }
    const json_t *token = json_object_get(request, "clientToken");
    if (token != NULL && (!json_is_string(token) || json_string_length(token) == 0 ||
                          json_string_length(token) > KVG_SHADOW_MAX_TOKEN)) {
        refuse(update, 400, "Invalid clientToken");
        return NULL;
    }
    update->client_token = token != NULL ? g_strdup(json_string_value(token)) : NULL;
    return g_steal_pointer(&request);
}

bool
kvg_shadow_read_token(
    const void *payload, size_t len, char **token, int *code, const char **message)
{
    *token = NULL;
    if (len == 0)
        return true;
    g_auto(KvgShadowUpdate) update = {0};
    g_autoptr(json_t) request = parse(payload, len, &update);
    *token = g_steal_pointer(&update.client_token);
    if (request != NULL)
        return true;
    *code = update.code;
    *message = update.message;
    return false;
}

/* ---- merging ---- */

/* Metadata mirrors the state: every leaf becomes its time, an array one entry per element. */
static json_t *
stamp(const json_t *value, int64_t now_s)
{
    const char *key;
    size_t i;
    json_t *child, *made;
    if (json_is_object(value)) {
        made = json_object();
        json_object_foreach((json_t *)(uintptr_t)value, key, child)
        {
            if (!json_is_null(child))
                json_object_set_new(made, key, stamp(child, now_s));
        }
        return made;
    }
    if (json_is_array(value)) {
        made = json_array();
        json_array_foreach(value, i, child) json_array_append_new(made, stamp(child, now_s));
        return made;
    }
    return json_pack("{s:I}", "timestamp", (json_int_t)now_s);
}

/* A copy without the members that say "delete". */
static json_t *
without_nulls(const json_t *value)
{
    if (!json_is_object(value))
        return json_deep_copy(value);
    json_t *made = json_object();
    const char *key;
    json_t *child;
    json_object_foreach((json_t *)(uintptr_t)value, key, child)
    {
        if (!json_is_null(child))
            json_object_set_new(made, key, without_nulls(child));
    }
    return made;
}

/* Objects merge, all else replaces, null deletes; the metadata beside it goes the same way. */
static void
merge(json_t *state, json_t *metadata, const json_t *change, int64_t now_s)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)change, key, value)
    {
        json_t *old = json_object_get(state, key);
        json_t *old_stamps = json_object_get(metadata, key);
        if (json_is_null(value)) {
            json_object_del(state, key);
            json_object_del(metadata, key);
        } else if (json_is_object(value) && json_is_object(old) && json_is_object(old_stamps)) {
            merge(old, old_stamps, value, now_s);
        } else {
            json_object_set_new(state, key, without_nulls(value));
            json_object_set_new(metadata, key, stamp(value, now_s));
        }
    }
}

static void
merge_section(json_t *document, const char *name, const json_t *change, int64_t now_s)
{
    json_t *state = json_object_get(document, "state");
    json_t *metadata = json_object_get(document, "metadata");
    if (!json_is_null(change)) {
        if (json_object_get(state, name) == NULL) {
            json_object_set_new(state, name, json_object());
            json_object_set_new(metadata, name, json_object());
        }
        merge(json_object_get(state, name), json_object_get(metadata, name), change, now_s);
    }
    if (json_is_null(change) || json_object_size(json_object_get(state, name)) == 0) {
        json_object_del(state, name);
        json_object_del(metadata, name);
    }
}

static json_t *
merge_document(const json_t *current, const json_t *state, int64_t version, int64_t now_s)
{
    json_t *document =
        current != NULL ? json_deep_copy(current) : json_pack("{s:{}, s:{}}", "state", "metadata");
    json_object_set_new(document, "version", json_integer(version));
    json_t *const null = json_null();
    for (size_t i = 0; i < G_N_ELEMENTS(sections); i++) {
        const json_t *change = json_is_null(state) ? null : json_object_get(state, sections[i]);
        if (change != NULL)
            merge_section(document, sections[i], change, now_s);
    }
    return document;
}

/* ---- differences ---- */

/* Members of @desired that @reported lacks or has otherwise, with their metadata. */
static void
find_delta(const json_t *desired,
           const json_t *stamps,
           const json_t *reported,
           json_t *state,
           json_t *metadata)
{
    const char *key;
    json_t *wanted;
    json_object_foreach((json_t *)(uintptr_t)desired, key, wanted)
    {
        json_t *have = json_object_get(reported, key);
        json_t *stamp_of = json_object_get(stamps, key);
        if (have != NULL && json_equal(wanted, have))
            continue;
        if (!json_is_object(wanted) || !json_is_object(have)) {
            json_object_set(state, key, wanted);
            json_object_set(metadata, key, stamp_of);
            continue;
        }
        json_t *inner = json_object();
        json_t *inner_stamps = json_object();
        find_delta(wanted, stamp_of, have, inner, inner_stamps);
        if (json_object_size(inner) > 0) {
            json_object_set(state, key, inner);
            json_object_set(metadata, key, inner_stamps);
        }
        json_decref(inner);
        json_decref(inner_stamps);
    }
}

/* {"state", "metadata"} of what is yet to be done; NULL: nothing. */
static json_t *
delta_of(const json_t *document)
{
    const json_t *state = json_object_get(document, "state");
    const json_t *metadata = json_object_get(document, "metadata");
    g_autoptr(json_t) delta = json_pack("{s:{}, s:{}}", "state", "metadata");
    find_delta(json_object_get(state, "desired"), json_object_get(metadata, "desired"),
               json_object_get(state, "reported"), json_object_get(delta, "state"),
               json_object_get(delta, "metadata"));
    if (json_object_size(json_object_get(delta, "state")) == 0)
        return NULL;
    return g_steal_pointer(&delta);
}

/* ---- messages ---- */

static json_t *
finish(json_t *message, const KvgShadowUpdate *update, int64_t now_s)
{
    json_object_set_new(message, "timestamp", json_integer(now_s));
    if (update->client_token != NULL)
        json_object_set_new(message, "clientToken", json_string(update->client_token));
    return message;
}

/* Only what the request said, and when. */
static json_t *
make_accepted(const json_t *state, const KvgShadowUpdate *update, int64_t version, int64_t now_s)
{
    json_t *accepted = json_object();
    json_object_set(accepted, "state", (json_t *)(uintptr_t)state);
    json_object_set_new(accepted, "metadata",
                        json_is_object(state) ? stamp(state, now_s) : json_object());
    json_object_set_new(accepted, "version", json_integer(version));
    return finish(accepted, update, now_s);
}

static json_t *
make_documents(const json_t *before,
               const json_t *after,
               const KvgShadowUpdate *update,
               int64_t now_s)
{
    json_t *documents = json_object();
    if (before != NULL)
        json_object_set(documents, "previous", (json_t *)(uintptr_t)before);
    json_object_set(documents, "current", (json_t *)(uintptr_t)after);
    return finish(documents, update, now_s);
}

static bool
check_size(const json_t *document, KvgShadowUpdate *update)
{
    g_autofree char *text = kvg_json_to_text(json_object_get(document, "state"));
    return strlen(text) <= KVG_SHADOW_MAX_BYTES ||
           refuse(update, 413, "The payload exceeds the maximum size allowed");
}

static bool
check_version(const json_t *request, int64_t version, KvgShadowUpdate *update)
{
    const json_t *wanted = json_object_get(request, "version");
    if (wanted == NULL || json_is_null(wanted))
        return true;
    if (!json_is_integer(wanted) || json_integer_value(wanted) < 0)
        return refuse(update, 400, "Invalid version");
    return json_integer_value(wanted) == version || refuse(update, 409, "Version conflict");
}

void
kvg_shadow_update(const json_t *current,
                  int64_t version,
                  const void *payload,
                  size_t len,
                  int64_t now_s,
                  KvgShadowUpdate *update)
{
    g_autoptr(json_t) request = parse(payload, len, update);
    if (request == NULL)
        return;
    json_t *state = json_object_get(request, "state");
    if (!check_state(state, update) || !check_version(request, version, update))
        return;
    g_autoptr(json_t) document = merge_document(current, state, version + 1, now_s);
    if (!check_size(document, update))
        return;
    update->accepted = make_accepted(state, update, version + 1, now_s);
    update->documents = make_documents(current, document, update, now_s);
    update->delta = delta_of(document);
    if (update->delta != NULL) {
        json_object_set_new(update->delta, "version", json_integer(version + 1));
        finish(update->delta, update, now_s);
    }
    update->document = g_steal_pointer(&document);
    update->code = 200;
}

json_t *
kvg_shadow_get(const json_t *document, int64_t now_s)
{
    json_t *answer = json_deep_copy(document);
    g_autoptr(json_t) delta = delta_of(document);
    if (delta != NULL) {
        json_object_set(json_object_get(answer, "state"), "delta", json_object_get(delta, "state"));
        json_object_set(json_object_get(answer, "metadata"), "delta",
                        json_object_get(delta, "metadata"));
    }
    json_object_set_new(answer, "timestamp", json_integer(now_s));
    return answer;
}
