/* What the files of the uploader share. Everything but what is marked otherwise belongs to the
 * uploader's thread.
 *
 *     uploader.c  the thread: inbox, deadlines, what is public
 *     exit.c      its end when the process exits
 *     upload.c    one stream: steps its session and performs the actions
 *     put.c       a PutMedia transfer
 *     control.c   a control-plane call
 *     refresh.c   renewal of credentials, shared by the streams that use them */
#pragma once

#include "aws/client.h"
#include "putmedia/bucket.h"
#include "putmedia/due.h"
#include "putmedia/loop.h"
#include "putmedia/putmedia.h"
#include "putmedia/session.h"
#include "putmedia/uploader.h"
#include <pthread.h>
#include <stdatomic.h>

#define KVG_UPLOADER_DOMAIN "kvg-putmedia"

/* What an easy handle in the loop belongs to; CURLOPT_PRIVATE points here. */
typedef struct {
    void (*on_done)(void *owner, CURLcode result);
    void *owner;
} KvgTransfer;

/* ---- refresh.c ---- */

/* One renewal at a time. Lives as long as anyone uses it. */
typedef struct _KvgRefresh KvgRefresh;
KvgRefresh *kvg_refresh_join(KvgUpload *upload);
void kvg_refresh_leave(KvgRefresh *refresh, KvgUpload *upload);
/* Tells the session of @upload, now or later: ON_KEYS or ON_FAILED. @renew: the keys at hand were
 * refused. */
void kvg_refresh_fetch(KvgRefresh *refresh, KvgUpload *upload, bool renew);

/* ---- control.c ---- */

typedef enum { KVG_CONTROL_DESCRIBE, KVG_CONTROL_CREATE, KVG_CONTROL_ENDPOINT } KvgControlKind;
typedef struct {
    KvgTransfer transfer;
    KvgControlKind kind;
    KvgAwsTransfer *call; /* NULL: none */
    KvgAwsReply reply;
    int64_t clock_offset_ms; /* it was signed with */
} KvgControl;
void kvg_control_init(KvgControl *control, KvgUpload *upload);
void kvg_control_begin(KvgUpload *upload, KvgControlKind kind);
void kvg_control_drop(KvgUpload *upload);

/* ---- put.c ---- */

typedef struct {
    KvgUpload *upload;
    unsigned index; /* the session's call */
    KvgTransfer transfer;
    CURL *easy; /* NULL: none */
    struct curl_slist *headers;
    KvgBody *body;
    KvgAckParser *acks;
    GString *error_body; /* NULL: none yet */
    char *error_type, *request_id;
    char curl_error[CURL_ERROR_SIZE];
    GError *body_error;
    int64_t date_wall_ms;    /* of the answer; 0: none */
    int64_t clock_offset_ms; /* it was signed with */
    bool is_dead;            /* the session has given it up; it is dropped as soon as possible */
    bool is_open;            /* 200 seen */
    bool is_paused;
    bool is_blocked;    /* paused, but not for want of media: window, bandwidth, or its turn */
    int64_t send_at_us; /* paused: when to look again; 0: when woken */
    int64_t last_sent_us;
    uint64_t put_mark; /* n_put_bytes not to be held against the bandwidth of the backlog */
} KvgPut;
void kvg_put_init(KvgPut *put, KvgUpload *upload, unsigned index);
void kvg_put_begin(KvgPut *put);
void kvg_put_drop(KvgPut *put);
void kvg_put_unpause(KvgPut *put);

/* ---- upload.c ---- */

struct _KvgUpload {
    KvgUploader *uploader;
    /* constant */
    char *name;
    KvgCredentials *credentials;
    KvgSpool *spool;
    uint32_t retention_hours;
    char *media_type;
    uint32_t gather_us;
    void (*on_state)(KvgSessionState state, const char *reason, void *user_data);
    void (*on_persisted)(uint64_t fragment, void *user_data);
    void (*on_ack)(const KvgAck *ack, void *user_data);
    void *user_data;

    _Atomic bool is_woken;        /* in the inbox, or about to be served, or nobody needs it */
    _Atomic uint64_t n_put_bytes; /* put into the spool since it was opened */

    struct {
        KvgSession *session;
        KvgSessionActions pending; /* not yet performed */
        KvgDue due;
        bool is_touched;
        KvgRefresh *refresh;
        char *endpoint;
        KvgPut puts[KVG_SESSION_CALLS];
        KvgControl control;
        KvgBucket bucket; /* for the backlog */
        uint64_t bytes_sent;
        unsigned connect_ms; /* how long the next connection may take; 0: KVG_CONNECT_MS */
        int64_t keys_expire_wall_ms;
        char *last_trouble; /* in the log; NULL */
        unsigned n_trouble; /* times it came again */
    } mine;

    struct { /* under uploader->lock */
        KvgUploadStats stats;
        bool is_removed;
    } shared;
};

/* A dead link has a name within 5 s. */
#define KVG_CONNECT_MS 4000u
#define KVG_CONNECT_MAX_MS 20000u
unsigned kvg_upload_connect_ms(const KvgUpload *upload);
/* A slow line gets the time that it needs: twice as much after a time-out, and at all times four
 * times what the last connection took. */
void kvg_upload_learn_connect(KvgUpload *upload, CURL *easy, CURLcode result);

/* Steps the session. May be called within curl's callbacks: what touches handles waits until
 * kvg_upload_settle(). */
KvgSessionAdmit kvg_upload_step(KvgUpload *upload, KvgSessionEvent *event);
void kvg_upload_step_kind(KvgUpload *upload, KvgSessionEventKind kind);
void kvg_upload_step_failed(KvgUpload *upload, int code, const char *text);
void kvg_upload_step_keys(KvgUpload *upload, const KvgKeys *keys);
/* Something happened to it in this turn. */
void kvg_upload_touch(KvgUpload *upload);
/* Performs what the session has asked for and sets the next deadline. */
void kvg_upload_settle(KvgUpload *upload);
void kvg_upload_start(KvgUpload *upload);
void kvg_upload_serve_wake(KvgUpload *upload);
void kvg_upload_serve_close(KvgUpload *upload);
void kvg_upload_destroy(KvgUpload *upload);

/* ---- uploader.c ---- */

struct _KvgUploader {
    char *region, *base_url, *ca_path, *user_agent;
    KvgLoop *loop;
    pthread_t thread;
    struct {
        GPtrArray *touched; /* KvgUpload */
        KvgDueHeap due;
        GHashTable *refreshes;   /* KvgCredentials -> KvgRefresh */
        KvgBucket bucket;        /* for the backlog of all streams */
        int64_t clock_offset_ms; /* added to this machine's clock when signing */
    } mine;
    pthread_mutex_t lock; /* `shared` here and in the uploads; nothing is called with it held */
    pthread_cond_t changed;
    struct {
        GPtrArray *woken; /* uploads with is_woken */
        GPtrArray *added;
        GPtrArray *closing;  /* to be flushed */
        GPtrArray *removing; /* to be taken out */
        bool stop;
        bool is_abandoned; /* the process exits: nothing is done, or freed, any more */
    } shared;
};

/* Ends the thread and leaves everything as it lies. */
void kvg_uploader_abandon(KvgUploader *uploader);

void kvg_uploader_add_transfer(KvgUploader *uploader, CURL *easy, KvgTransfer *transfer);
/* Whether a refusal was due to this machine's clock; then it is corrected for what is signed next.
 * @offset_ms: what was added to the clock when it was signed; @date_wall_ms: of the answer. */
bool kvg_uploader_judge_skew(KvgUploader *uploader,
                             int64_t offset_ms,
                             int64_t date_wall_ms,
                             long status,
                             const char *error_type,
                             const char *text);

/* ---- exit.c; any thread ---- */

/* To be called when OpenSSL has been initialised. */
void kvg_exit_watch(KvgUploader *uploader);
void kvg_exit_forget(KvgUploader *uploader);
