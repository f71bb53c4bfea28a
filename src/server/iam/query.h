/* One call of the IAM or STS query API, without HTTP: what came in, and helpers for the operations.
 * They run with state.db locked, in a transaction that a failure undoes, unless their row says
 * otherwise. */
#pragma once

#include "server/auth/policy.h"
#include "server/server.h"
#include "server/state/sql.h"

typedef struct {
    KvgServer *server;
    const KvgCaller *caller;
    KvgHttpExchange *x;
    GHashTable *params;
    sqlite3 *db;
    int64_t now_ms;
    GString *result;  /* inside <OpResult>; empty: the operation has none */
    int status;       /* of the error */
    const char *code; /* NULL: no error */
    char *message;
} KvgQuery;

typedef struct {
    const char *name;
    void (*handle)(KvgQuery *q);
    const char *resource; /* "role", "user": its ARN is asked for; NULL: "*" */
    bool is_free;         /* needs no permission */
    bool is_unlocked;
} KvgQueryOperation;

/* Each ends with a row without a name. */
extern const KvgQueryOperation kvg_iam_roles[], kvg_iam_users[], kvg_sts_operations[];

void kvg_query_fail(KvgQuery *q, int status, const char *code, const char *format, ...)
    G_GNUC_PRINTF(4, 5);
void kvg_query_broken(KvgQuery *q); /* the database refused */
const char *kvg_query_param(const KvgQuery *q, const char *name);
/* A parameter that is @required, up to @max characters of names: else the call fails. */
bool kvg_query_need_name(KvgQuery *q, const char *parameter, size_t max);
/* Whole number within bounds; @fallback if absent. */
bool kvg_query_number(
    KvgQuery *q, const char *parameter, int64_t min, int64_t max, int64_t fallback, int64_t *value);
/* "/" or "/.../", the default "/". NULL: the call failed. */
const char *kvg_query_path(KvgQuery *q);
/* A policy document of @kind: else MalformedPolicyDocument. */
bool kvg_query_need_policy(KvgQuery *q, const char *parameter, KvgPolicyKind kind);
/* Characters that count for quotas: all but white space. */
size_t kvg_query_dense_length(const char *text);

/* Appends <element>text</element>, escaped. */
void kvg_query_put(KvgQuery *q, const char *element, const char *text);
/* The same for a policy document, which travels percent-encoded. */
void kvg_query_put_document(KvgQuery *q, const char *element, const char *document);
void kvg_query_put_date(KvgQuery *q, const char *element, int64_t wall_ms);

/* Marker and MaxItems. False: the call failed. */
bool kvg_query_page(KvgQuery *q, char **after, int64_t *max);
/* <element><member>...</member></element>, IsTruncated and Marker; @rows: the name first, one more
 * than
 * @max if there is one. */
void kvg_query_list(KvgQuery *q,
                    KvgStatement rows,
                    int64_t max,
                    const char *element,
                    void (*put)(KvgQuery *q, KvgStatement row));

/* arn:aws:iam::ACCOUNT:KIND/PATH/NAME (g_free) */
char *kvg_iam_arn(const KvgServer *server, const char *kind, const char *path, const char *name);
