/* One call of the IoT control plane, without HTTP: what came in and what goes out. Handlers run
 * with state.db locked, unless their row says otherwise. */
#pragma once

#include "base/json.h"
#include "server/server.h"
#include "server/state/sql.h"
#include <openssl/x509.h>

typedef struct {
    const char *method;
    const char *path;      /* as on the wire */
    const char *query;     /* or NULL */
    const char *principal; /* x-amzn-principal, or NULL */
    const char *host;      /* Host header, or NULL */
    const void *body;
    size_t len;
} KvgIotRequest;

typedef struct {
    int status;
    const char *type; /* of the error; NULL on success */
    char *message;
    json_t *json; /* NULL: empty body */
} KvgIotReply;
void kvg_iot_reply_clear(KvgIotReply *reply);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(KvgIotReply, kvg_iot_reply_clear)

void kvg_iot_call(KvgServer *server,
                  const KvgCaller *caller,
                  const KvgIotRequest *request,
                  KvgIotReply *reply);

/* ---- for the handlers ---- */
typedef struct {
    KvgServer *server;
    const KvgCaller *caller;
    const KvgIotRequest *request;
    sqlite3 *db;
    const char *name;   /* the path's parameter, decoded; NULL */
    const char *second; /* its second one */
    json_t *input;      /* body; an empty object if there was none */
    int64_t now_ms;
    KvgIotReply *reply;
} KvgIotContext;
typedef void (*KvgIotHandler)(KvgIotContext *c);

typedef struct {
    const char *method;
    const char *path;     /* "/things/{}/principals" */
    const char *action;   /* "iot:CreateThing" */
    const char *resource; /* "thing/%s"; NULL: "*" */
    KvgIotHandler handle;
    bool unlocked; /* takes the lock by itself */
} KvgIotOperation;
extern const KvgIotOperation kvg_iot_things[];
extern const KvgIotOperation kvg_iot_certificates[];
extern const KvgIotOperation kvg_iot_policies[];
extern const KvgIotOperation kvg_iot_targets[];
extern const KvgIotOperation kvg_iot_aliases[];
extern const KvgIotOperation kvg_iot_groups[];
extern const KvgIotOperation kvg_iot_tags[];
extern const KvgIotOperation kvg_iot_templates[];

void kvg_iot_fail(KvgIotContext *c, int status, const char *type, const char *format, ...)
    G_GNUC_PRINTF(4, 5);
void kvg_iot_not_found(KvgIotContext *c, const char *what, const char *name);
void kvg_iot_broken(KvgIotContext *c); /* 500: the database refused */
/* Takes @json. */
void kvg_iot_succeed(KvgIotContext *c, json_t *json);
/* arn:aws:iot:REGION:ACCOUNT:KIND/NAME (g_free) */
char *kvg_iot_arn(const KvgServer *server, const char *kind, const char *name);
/* The certificate id in an ARN of ours (g_free), or NULL. */
char *kvg_iot_certificate_of_arn(const KvgServer *server, const char *arn);
bool kvg_iot_exists(KvgIotContext *c, const char *sql, const char *name);
/* Decoded query parameter (g_free) or NULL. */
char *kvg_iot_param(const KvgIotContext *c, const char *name);
/* {1..max}[allowed] */
bool kvg_iot_name_fits(const char *name, size_t max, const char *allowed);
json_t *kvg_iot_seconds(int64_t ms);

/* {"attributes": {...}} as compact sorted text, "{}" if absent; NULL: not acceptable, or more than
 * @max (g_free). */
char *kvg_iot_attributes(const json_t *payload, size_t max);
json_t *kvg_iot_json(const char *text);
/* 1: stored; 0: it was there; -1: failure. */
int kvg_iot_store_certificate(sqlite3 *db,
                              const char *id,
                              X509 *certificate,
                              const char *status,
                              const char *mode,
                              int64_t now_ms);
/* Keeps `tags` of the body for @arn; false and an answer if they are not acceptable. */
bool kvg_iot_put_tags(KvgIotContext *c, const char *arn, const json_t *tags);
bool kvg_iot_forget_tags(KvgIotContext *c, const char *kind);

/* Pages of a listing sorted by name. */
typedef struct {
    char *after;
    int64_t limit;
    int64_t descends; /* isAscendingOrder=false */
} KvgIotPage;
void kvg_iot_page_clear(KvgIotPage *page);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(KvgIotPage, kvg_iot_page_clear)
bool
kvg_iot_page(KvgIotContext *c, const char *size_name, const char *marker_name, KvgIotPage *page);
/* The SQL behind a page of names in column @name: ?1 after, ?2 limit + 1, ?3 descends. */
#define KVG_IOT_PAGE_SQL(name)                                                                     \
    " (?1 = '' OR CASE WHEN ?3 THEN " name " < ?1 ELSE " name " > ?1 END) ORDER BY CASE WHEN ?3"   \
    " THEN " name " END DESC, " name " LIMIT ?2"
/* The row's first column as a string. */
json_t *kvg_iot_name_item(const KvgIotContext *c, KvgStatement row);
json_t *kvg_iot_certificate_arn_item(const KvgIotContext *c, KvgStatement row);
/* Rows (name first) become members of an array under @key; one row too many becomes @marker_name.
 */
void kvg_iot_list(KvgIotContext *c,
                  KvgStatement rows,
                  const char *key,
                  const char *marker_name,
                  int64_t limit,
                  json_t *(*item)(const KvgIotContext *c, KvgStatement row));
