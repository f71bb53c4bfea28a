/* What the parts of kvg-server share. */
#pragma once

#include "base/json.h"
#include "http/server.h"
#include "server/control/expiry_clock.h"
#include "server/live/buffer.h"
#include "server/live/live.h"
#include "server/metrics/metrics.h"
#include "server/store/store.h"
#include <glib.h>
#include <sqlite3.h>

/* The service's state that is not video: streams, things, certificates, policies, roles, keys. One
 * SQLite database, DIR/state.db (WAL, synchronous=FULL), one connection under one lock. */
typedef struct _KvgState KvgState;
KvgState *kvg_state_open(const char *path, GError **error);
void kvg_state_close(KvgState *state);
/* The one connection, locked: prepare, step, finalize (or a transaction), then unlock soon. No
 * network, no video I/O while it is held. */
sqlite3 *kvg_state_lock(KvgState *state);
void kvg_state_unlock(KvgState *state);

/* Our certificate authority, server/iot/ca.h. */
typedef struct _KvgCa KvgCa;

/* How many calls and streams there may be, server/control/quotas.h. */
typedef struct _KvgQuotas KvgQuotas;

typedef struct {
    const char *data_path; /* DIR */
    const char *region;
    const char *account; /* 12 digits */
    KvgState *state;
    KvgStore *store;
    KvgLive *live;
    KvgBuffer *buffer; /* of streams that keep nothing */
    KvgCa *ca;
    uint16_t https_port, mtls_port, http_port;
    uint16_t mqtt_port; /* 0: no broker */
    const char *listen_address;
    KvgQuotas *quotas;
    KvgMetrics *metrics;
    int64_t change_ms;    /* how long a stream is CREATING, UPDATING or DELETING */
    unsigned max_readers; /* requests for video at a time; 0: no bound */
} KvgServer;

/* Who calls, after authentication. */
typedef struct {
    char *principal_arn; /* user or assumed-role session */
    char *user_id;
    char *user_name;      /* of users (the administrator may do everything); NULL for roles */
    char *role_name;      /* of sessions of a role; NULL for users */
    char *role_arn;       /* ditto */
    char *session_policy; /* what AssumeRole was given to restrict the session; NULL */
    int64_t issued_ms;    /* of a session's token; 0 */
    char *thing_name;     /* ${credentials-iot:ThingName}; NULL */
    char *certificate_id; /* ${credentials-iot:AwsCertificateId}; NULL */
    char *source_ip;      /* aws:SourceIp */
    bool is_secure;       /* aws:SecureTransport */
    bool is_administrator;
} KvgCaller;
void kvg_caller_clear(KvgCaller *caller);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(KvgCaller, kvg_caller_clear)

/* ---- server/auth ---- */
/* Makes what a first start needs: the administrator's access key and the key that seals session
 * tokens. Called once at start, before any request. */
bool kvg_auth_open(KvgServer *server, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Verifies SigV4 of the request (headers or presigned). @body NULL: streaming request, empty
 * payload hash. On failure answers by itself (403 ... per protocol) and returns false.
 * @service_out: the scope's service, for dispatch. */
bool kvg_auth_verify(KvgServer *server, KvgHttpExchange *x, GBytes *body, KvgCaller *caller)
    G_GNUC_WARN_UNUSED_RESULT;
/* "kinesisvideo", "iot", "iam", "sts" as the Authorization header claims, before verification;
 * NULL. */
char *kvg_auth_claimed_service(KvgHttpExchange *x);
/* IAM evaluation of @action ("kinesisvideo:PutMedia") on @resource_arn for @caller. */
bool kvg_auth_allows(KvgServer *server,
                     const KvgCaller *caller,
                     const char *action,
                     const char *resource_arn);
/* As above; answers 403 {"Message":"User: ... is not authorized to perform: ... on resource: ..."}
 * and returns false if not. */
bool kvg_auth_require(KvgServer *server,
                      KvgHttpExchange *x,
                      const KvgCaller *caller,
                      const char *action,
                      const char *resource_arn) G_GNUC_WARN_UNUSED_RESULT;
/* As kvg_auth_allows() for a request that brings tags: @tags is a map (aws:RequestTag/KEY,
 * aws:TagKeys), or NULL. */
bool kvg_auth_allows_tags(KvgServer *server,
                          const KvgCaller *caller,
                          const char *action,
                          const char *resource_arn,
                          const json_t *tags);
/* The answer of kvg_auth_require() when it refuses. */
void kvg_auth_refuse(KvgHttpExchange *x,
                     const KvgCaller *caller,
                     const char *action,
                     const char *resource);

/* ---- service-model errors ---- */
/* x-amzn-ErrorType: @type, {"Message": text} (kinesisvideo form). */
void kvg_respond_error(KvgHttpExchange *x, int status, const char *type, const char *format, ...)
    G_GNUC_PRINTF(4, 5);

/* ---- server/control: streams ---- */
/* Makes its table if absent; called once at start, before any request. */
bool kvg_control_open(KvgServer *server, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Deletes what is older than each stream's retention (0: at once), and the fragments of deleted
 * streams. Called by the maintenance thread. */
void kvg_control_expire(KvgServer *server, KvgExpiryClock *clock);
/* "CreateStream" for "/createStream"; NULL. */
const char *kvg_control_operation_name(const char *path);
typedef struct {
    char *name, *arn, *version, *media_type, *device_name, *kms_key_id;
    char *status;       /* "CREATING", "ACTIVE", "UPDATING", "DELETING" */
    char *storage_tier; /* "HOT", "WARM" */
    int64_t created_ms;
    int64_t retention_hours;
} KvgStreamInfo;
void kvg_stream_info_clear(KvgStreamInfo *info);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(KvgStreamInfo, kvg_stream_info_clear)
/* By name or ARN (either may be NULL). False: no such stream, or one that is not yet or no longer
 * in use. */
bool
kvg_control_find_stream(KvgServer *server, const char *name, const char *arn, KvgStreamInfo *info);
/* "http(s)://host:port" of the listener this request came to: what GetDataEndpoint and session URLs
 * answer. (g_free) */
char *kvg_control_own_url(KvgHttpExchange *x);

/* ---- routes; each authenticates and answers the whole exchange ---- */
void kvg_control_handle(KvgServer *server, KvgHttpExchange *x);     /* KVS control plane */
void kvg_iot_handle(KvgServer *server, KvgHttpExchange *x);         /* IoT control plane */
void kvg_iam_handle(KvgServer *server, KvgHttpExchange *x);         /* IAM and STS query APIs */
void kvg_credentials_handle(KvgServer *server, KvgHttpExchange *x); /* mutual-TLS port */

/* ingest: POST /putMedia */
typedef struct _KvgIngest KvgIngest;
KvgIngest *kvg_ingest_new(KvgServer *server);
void kvg_ingest_free(KvgIngest *ingest); /* after the HTTP servers have stopped */
void kvg_ingest_handle(KvgIngest *ingest, KvgHttpExchange *x);

/* playback: the reading operations, and GET of what session URLs lead to */
typedef struct _KvgPlayback KvgPlayback;
KvgPlayback *kvg_playback_new(KvgServer *server);
void kvg_playback_free(KvgPlayback *playback);
/* True if the path is playback's (and the exchange was answered). */
bool kvg_playback_handle(KvgPlayback *playback, KvgHttpExchange *x);
