#include "server/shadow/shadow.h"

#include "base/json.h"
#include "server/shadow/document.h"
#include "server/state/sql.h"
#include <kvg/error.h>
#include <string.h>

#define PREFIX "$aws/things/"
/* The version goes on counting if a deleted shadow comes back within this time. */
#define REMEMBER_MS (48 * INT64_C(3600) * 1000)

static const char *const verbs[] = {"get", "update", "delete"};

const char *
kvg_shadow_verb_to_string(KvgShadowVerb verb)
{
    return verbs[verb];
}

/* ---- names and topics ---- */

void
kvg_shadow_id_clear(KvgShadowId *id)
{
    g_free(id->thing);
    g_free(id->name);
    memset(id, 0, sizeof *id);
}

static bool
name_fits(const char *name, size_t max, const char *more)
{
    const size_t len = strlen(name);
    if (len == 0 || len > max)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!g_ascii_isalnum(name[i]) && strchr(more, name[i]) == NULL)
            return false;
    }
    return true;
}

bool
kvg_shadow_id_is_valid(const KvgShadowId *id)
{
    return name_fits(id->thing, 128, ":_-") &&
           (id->name == NULL || name_fits(id->name, 64, "$:_-"));
}

bool
kvg_shadow_parse_topic(const char *topic, KvgShadowId *id, KvgShadowVerb *verb)
{
    if (!g_str_has_prefix(topic, PREFIX))
        return false;
    g_auto(GStrv) parts = g_strsplit(topic + strlen(PREFIX), "/", 6);
    const guint n = g_strv_length(parts);
    const bool is_classic = n == 3 && strcmp(parts[1], "shadow") == 0;
    const bool is_named =
        n == 5 && strcmp(parts[1], "shadow") == 0 && strcmp(parts[2], "name") == 0;
    if (!is_classic && !is_named)
        return false;
    size_t i = 0;
    while (i < G_N_ELEMENTS(verbs) && strcmp(parts[n - 1], verbs[i]) != 0)
        i++;
    if (i == G_N_ELEMENTS(verbs))
        return false;
    *verb = (KvgShadowVerb)i;
    id->thing = g_strdup(parts[0]);
    id->name = is_named ? g_strdup(parts[3]) : NULL;
    if (kvg_shadow_id_is_valid(id))
        return true;
    kvg_shadow_id_clear(id);
    return false;
}

char *
kvg_shadow_topic(const KvgShadowId *id, KvgShadowVerb verb, const char *suffix)
{
    return g_strdup_printf(PREFIX "%s/shadow%s%s/%s/%s", id->thing,
                           id->name != NULL ? "/name/" : "", id->name != NULL ? id->name : "",
                           verbs[verb], suffix);
}

/* ---- replies ---- */

static void
message_free(void *data)
{
    KvgShadowMessage *message = data;
    g_free(message->topic);
    json_decref(message->payload);
    g_free(message);
}

void
kvg_shadow_reply_clear(KvgShadowReply *reply)
{
    json_decref(reply->answer);
    g_clear_pointer(&reply->others, g_ptr_array_unref);
    memset(reply, 0, sizeof *reply);
}

static void
tell(KvgShadowReply *reply, const KvgShadowId *id, const char *suffix, json_t *payload)
{
    if (payload == NULL)
        return;
    KvgShadowMessage *message = g_new0(KvgShadowMessage, 1);
    message->topic = kvg_shadow_topic(id, KVG_SHADOW_UPDATE, suffix);
    message->payload = json_incref(payload);
    g_ptr_array_add(reply->others, message);
}

static void
reject(KvgShadowReply *reply, int code, const char *text, const char *token, int64_t now_ms)
{
    json_decref(reply->answer);
    reply->code = code;
    reply->answer = json_pack("{s:i, s:s, s:I}", "code", code, "message", text, "timestamp",
                              (json_int_t)(now_ms / 1000));
    if (token != NULL)
        json_object_set_new(reply->answer, "clientToken", json_string(token));
    reply->message = kvg_json_get_string(reply->answer, "message");
}

static void
reject_missing(KvgShadowReply *reply, const KvgShadowId *id, const char *token, int64_t now_ms)
{
    g_autofree char *text =
        g_strdup_printf("No shadow exists with name: '%s%s%s'", id->thing,
                        id->name != NULL ? "~" : "", id->name != NULL ? id->name : "");
    reject(reply, 404, text, token, now_ms);
}

/* ---- storage ---- */

static const char *
key_name(const KvgShadowId *id)
{
    return id->name != NULL ? id->name : "";
}

/* The stored document, or NULL; @version: where its count stands. */
static json_t *
load(sqlite3 *db, const KvgShadowId *id, int64_t now_ms, int64_t *version)
{
    *version = 0;
    g_auto(KvgStatement) row = kvg_sql_query(db,
                                             "SELECT document, version, modified_ms FROM shadow"
                                             " WHERE thing = ?1 AND name = ?2",
                                             "tt", id->thing, key_name(id));
    if (!kvg_sql_step(row))
        return NULL;
    const char *text = kvg_sql_column(row, 0);
    if (*text == '\0' && now_ms - sqlite3_column_int64(row, 2) > REMEMBER_MS)
        return NULL;
    *version = sqlite3_column_int64(row, 1);
    return *text != '\0' ? kvg_json_parse_object(text, strlen(text), NULL) : NULL;
}

/* @document NULL: deleted, its version remembered. */
static bool
save(sqlite3 *db, const KvgShadowId *id, const json_t *document, int64_t version, int64_t now_ms)
{
    g_autofree char *text = document != NULL ? kvg_json_to_text(document) : NULL;
    return kvg_sql_run(db, "INSERT OR REPLACE INTO shadow VALUES (?1, ?2, ?3, ?4, ?5)", "tttii",
                       id->thing, key_name(id), text, version, now_ms) == 1;
}

bool
kvg_shadow_open(KvgServer *server, GError **error)
{
    sqlite3 *db = kvg_state_lock(server->state);
    const bool ok =
        kvg_sql_run(db,
                    "CREATE TABLE IF NOT EXISTS shadow (thing TEXT NOT NULL, name TEXT NOT NULL,"
                    " document TEXT, version INTEGER NOT NULL, modified_ms INTEGER NOT NULL,"
                    " PRIMARY KEY (thing, name)) WITHOUT ROWID",
                    "") >= 0;
    kvg_state_unlock(server->state);
    if (!ok)
        g_set_error_literal(error, KVG_ERROR, KVG_ERROR_FAILED, "state.db: no table of shadows");
    return ok;
}

/* ---- operations; state.db is locked ---- */

static void
get(sqlite3 *db, const KvgShadowId *id, const char *token, int64_t now_ms, KvgShadowReply *reply)
{
    int64_t version;
    g_autoptr(json_t) document = load(db, id, now_ms, &version);
    if (document == NULL) {
        reject_missing(reply, id, token, now_ms);
        return;
    }
    reply->answer = kvg_shadow_get(document, now_ms / 1000);
    if (token != NULL)
        json_object_set_new(reply->answer, "clientToken", json_string(token));
}

static void delete (
    sqlite3 *db, const KvgShadowId *id, const char *token, int64_t now_ms, KvgShadowReply *reply)
{
    int64_t version;
    g_autoptr(json_t) document = load(db, id, now_ms, &version);
    if (document == NULL) {
        reject_missing(reply, id, token, now_ms);
        return;
    }
    if (!save(db, id, NULL, version, now_ms)) {
        reject(reply, 500, "Internal service failure", token, now_ms);
        return;
    }
    reply->answer = json_pack("{s:I, s:I}", "version", (json_int_t)version, "timestamp",
                              (json_int_t)(now_ms / 1000));
    if (token != NULL)
        json_object_set_new(reply->answer, "clientToken", json_string(token));
}

static void
update(sqlite3 *db,
       const KvgShadowId *id,
       const void *payload,
       size_t len,
       int64_t now_ms,
       KvgShadowReply *reply)
{
    int64_t version;
    g_autoptr(json_t) current = load(db, id, now_ms, &version);
    g_auto(KvgShadowUpdate) result = {0};
    kvg_shadow_update(current, version, payload, len, now_ms / 1000, &result);
    if (result.code == 200 && !save(db, id, result.document, version + 1, now_ms)) {
        result.code = 500;
        result.message = "Internal service failure";
    }
    if (result.code != 200) {
        reject(reply, result.code, result.message, result.client_token, now_ms);
        return;
    }
    reply->answer = json_incref(result.accepted);
    tell(reply, id, "delta", result.delta);
    tell(reply, id, "documents", result.documents);
}

void
kvg_shadow_perform(KvgServer *server,
                   const KvgShadowId *id,
                   KvgShadowVerb verb,
                   const void *payload,
                   size_t len,
                   int64_t now_ms,
                   KvgShadowReply *reply)
{
    g_autofree char *token = NULL;
    const char *problem = NULL;
    reply->code = 200;
    reply->others = g_ptr_array_new_with_free_func(message_free);
    if (verb != KVG_SHADOW_UPDATE &&
        !kvg_shadow_read_token(payload, len, &token, &reply->code, &problem)) {
        reject(reply, reply->code, problem, token, now_ms);
        return;
    }
    sqlite3 *db = kvg_state_lock(server->state);
    switch (verb) {
    case KVG_SHADOW_GET:
        get(db, id, token, now_ms, reply);
        break;
    case KVG_SHADOW_DELETE:
        delete (db, id, token, now_ms, reply);
        break;
    case KVG_SHADOW_UPDATE:
        update(db, id, payload, len, now_ms, reply);
        break;
    }
    kvg_state_unlock(server->state);
}

json_t *
kvg_shadow_list(KvgServer *server, const char *thing, const char *after, int64_t limit)
{
    json_t *names = json_array();
    sqlite3 *db = kvg_state_lock(server->state);
    {
        g_auto(KvgStatement) rows = kvg_sql_query(
            db,
            "SELECT name FROM shadow WHERE thing = ?1 AND name > ?2 AND document IS NOT NULL"
            " ORDER BY name LIMIT ?3",
            "tti", thing, after, limit + 1);
        while (kvg_sql_step(rows))
            json_array_append_new(names, json_string(kvg_sql_column(rows, 0)));
    }
    kvg_state_unlock(server->state);
    return names;
}
