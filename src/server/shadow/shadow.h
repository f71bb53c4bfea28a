/* Device shadows, classic and named, in state.db: one operation in, the answer and the messages
 * about it out. Who may do it is decided before; who is told, after. Hides where documents lie. */
#pragma once

#include "server/server.h"

typedef enum {
    KVG_SHADOW_GET,
    KVG_SHADOW_UPDATE,
    KVG_SHADOW_DELETE,
} KvgShadowVerb;
/* "get", "update", "delete" */
const char *kvg_shadow_verb_to_string(KvgShadowVerb verb);

/* Whose shadow. @name NULL: the classic one. Names are checked by kvg_shadow_parse_topic() and
 * kvg_shadow_id_is_valid(). */
typedef struct {
    char *thing, *name;
} KvgShadowId;
void kvg_shadow_id_clear(KvgShadowId *id);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(KvgShadowId, kvg_shadow_id_clear)
bool kvg_shadow_id_is_valid(const KvgShadowId *id);

/* "$aws/things/T/shadow[/name/N]/get" and the like. False: not a request about a shadow. */
bool kvg_shadow_parse_topic(const char *topic, KvgShadowId *id, KvgShadowVerb *verb);
/* "$aws/things/T/shadow[/name/N]/VERB/SUFFIX" (g_free) */
char *kvg_shadow_topic(const KvgShadowId *id, KvgShadowVerb verb, const char *suffix);

typedef struct {
    char *topic;
    json_t *payload;
} KvgShadowMessage;

typedef struct {
    int code;            /* 200, or as in a rejected message */
    json_t *answer;      /* accepted, or {code, message, timestamp, clientToken} */
    const char *message; /* why not; points into @answer; NULL */
    GPtrArray *others;   /* KvgShadowMessage: delta, documents */
} KvgShadowReply;
void kvg_shadow_reply_clear(KvgShadowReply *reply);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(KvgShadowReply, kvg_shadow_reply_clear)

/* Makes its table if absent; called once at start. */
bool kvg_shadow_open(KvgServer *server, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Does it. Thread: any. */
void kvg_shadow_perform(KvgServer *server,
                        const KvgShadowId *id,
                        KvgShadowVerb verb,
                        const void *payload,
                        size_t len,
                        int64_t now_ms,
                        KvgShadowReply *reply);
/* Names of a thing's named shadows behind @after, at most @limit and one more (JSON array). */
json_t *kvg_shadow_list(KvgServer *server, const char *thing, const char *after, int64_t limit);
