/* One stream's dealings with the service as a pure machine: (state, event, now) -> (state,
 * actions). No I/O, no clock; the only thing not determined by its input is the jitter of delays.
 * The uploader performs the actions and reports what came of them.
 *
 *        START/DATA                        what is lacking next, in this order
 *   IDLE ----------> KEYS -> DESCRIBE -> ENDPOINT -> READY -> CONNECT -> STREAMING
 *                     ^       |    ^                 (no data) |            |
 *                     |   not |    | created                   |            | rotation, new tracks,
 *                     |  found v   |                           |            | nothing to send,
 * close |       CREATE                           |            v | |         DRAINING
 *                     +------ WAITING <---- any failure -------+------------+
 *                     |  (back-off)                                         |
 *                     +------------------ response ended, all persisted ----+----> CLOSED
 *
 * A fragment is known by its cluster timecode. Every session starts at the first fragment that is
 * not PERSISTED; so the service may see a fragment twice, which it allows (it keeps the newer one).
 * Source: PutMedia API; docs/internals/putmedia.md has the table of errors. */
#pragma once

#include "base/backoff.h"
#include "wire/ack.h"
#include <glib.h>
#include <kvg/error.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum {
    KVG_SESSION_IDLE,
    KVG_SESSION_KEYS,
    KVG_SESSION_DESCRIBE,
    KVG_SESSION_CREATE,
    KVG_SESSION_ENDPOINT,
    KVG_SESSION_READY,     /* nothing to send */
    KVG_SESSION_CONNECT,   /* PutMedia begun, no answer yet; the body already flows */
    KVG_SESSION_STREAMING, /* answered 200 */
    KVG_SESSION_DRAINING,  /* body ended; the last acknowledgements are awaited */
    KVG_SESSION_WAITING,   /* back-off after a failure */
    KVG_SESSION_CLOSED,    /* everything persisted after CLOSE */
} KvgSessionState;
const char *kvg_session_state_to_string(KvgSessionState state);

typedef enum {
    KVG_SESSION_ON_START,
    KVG_SESSION_ON_DATA,   /* the spool has something new */
    KVG_SESSION_ON_TICK,   /* kvg_session_deadline_us() has come */
    KVG_SESSION_ON_KEYS,   /* lifetime_ms */
    KVG_SESSION_ON_STREAM, /* DescribeStream's answer: is_active, retention_hours */
    KVG_SESSION_ON_CREATED,
    KVG_SESSION_ON_ENDPOINT,
    KVG_SESSION_ON_FAILED, /* keys, a control-plane call or PutMedia failed: code, error_type, text
                            */
    KVG_SESSION_ON_OPEN,   /* PutMedia answered 200 */
    KVG_SESSION_ON_BEGIN,  /* fragment read for sending: fragment, timecode_ms */
    KVG_SESSION_ON_FRAGMENT, /* ... and completely handed over: fragment, n_frames, media_ms,
                                latest_ms */
    KVG_SESSION_ON_ACK,      /* ack */
    KVG_SESSION_ON_BODY_END, /* the uploader ended the body itself (tracks, rotation, close) */
    KVG_SESSION_ON_END,      /* the response ended properly with status 200 */
    KVG_SESSION_ON_CLOSE,    /* send what there is, then CLOSED */
} KvgSessionEventKind;

typedef struct {
    KvgSessionEventKind kind;
    int64_t now_us;      /* monotonic; every event */
    bool has_data;       /* the spool holds something worth a session; every event */
    int64_t lifetime_ms; /* 0: for ever */
    bool is_active;
    int64_t retention_hours;
    int code;               /* KvgError */
    const char *error_type; /* of the service; NULL */
    const char *text;
    uint64_t fragment;
    int64_t timecode_ms, latest_ms, media_ms;
    uint32_t n_frames;
    const KvgAck *ack;
} KvgSessionEvent;

typedef enum {
    KVG_SESSION_DO_NOTHING = 0,
    KVG_SESSION_DO_FETCH_KEYS = 1 << 0,
    KVG_SESSION_DO_RENEW_KEYS = 1 << 1, /* with FETCH_KEYS: the ones at hand were refused */
    KVG_SESSION_DO_DESCRIBE = 1 << 2,
    KVG_SESSION_DO_CREATE = 1 << 3,
    KVG_SESSION_DO_ENDPOINT = 1 << 4,
    KVG_SESSION_DO_PUT = 1 << 5,      /* seek to the first not persisted fragment, open PutMedia */
    KVG_SESSION_DO_END_BODY = 1 << 6, /* zero chunk */
    KVG_SESSION_DO_ABORT = 1 << 7,    /* drop the PutMedia connection */
    KVG_SESSION_DO_PERSIST = 1 << 8,  /* everything up to `persisted` is done */
    KVG_SESSION_DO_NOTIFY = 1 << 9,   /* state or reason changed */
} KvgSessionDo;

typedef struct {
    unsigned todo; /* KvgSessionDo; ABORT comes first, then PERSIST */
    uint64_t persisted;
} KvgSessionActions;

typedef struct {
    uint64_t sessions;
    uint64_t fragments_persisted, frames_persisted, media_ms_persisted;
    uint64_t fragments_refused,
        frames_refused; /* skipped because the service will never take them */
} KvgSessionCounts;

typedef struct _KvgSession KvgSession;

KvgSession *kvg_session_new(bool create);
void kvg_session_free(KvgSession *session);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgSession, kvg_session_free)

void
kvg_session_step(KvgSession *session, const KvgSessionEvent *event, KvgSessionActions *actions);

KvgSessionState kvg_session_state(const KvgSession *session);
/* In words, for people. Valid until the next step. */
const char *kvg_session_reason(const KvgSession *session);
const KvgSessionCounts *kvg_session_counts(const KvgSession *session);
bool kvg_session_is_closing(const KvgSession *session);
/* When to step with TICK; INT64_MAX for never. */
int64_t kvg_session_deadline_us(const KvgSession *session);

/* ---- asked while the body is being made ---- */

/* False: too many fragments are unacknowledged; wait for an ack. */
bool kvg_session_may_send(const KvgSession *session);
/* True: end the body before the fragment that begins at @timecode_ms (time to rotate, or the
 * timecode does not follow the last one of this session). */
bool kvg_session_wants_new(const KvgSession *session, int64_t now_us, int64_t timecode_ms);
/* True: read over this fragment, the service has refused it. */
bool kvg_session_skips(const KvgSession *session, uint64_t fragment);
/* Bytes went to the connection; @starved: and there is nothing more to send. */
void kvg_session_note_sent(KvgSession *session, int64_t now_us, bool starved);

/* ---- the tables ---- */

typedef enum {
    KVG_ACK_RESEND,      /* the fragment again, in a new session */
    KVG_ACK_SKIP,        /* the service will never take this fragment */
    KVG_ACK_WAIT_STREAM, /* not the fragment's fault: keep it, describe the stream again */
    KVG_ACK_WAIT_KEY,    /* the stream's KMS key: keep the fragment, somebody must act */
    KVG_ACK_STRIKE,      /* unknown error: resend, but skip after KVG_SESSION_STRIKES */
} KvgAckVerdict;
#define KVG_SESSION_STRIKES 3
KvgAckVerdict kvg_session_judge_ack(int error_id);
/* What the caller should do about an HTTP status of PutMedia. @error_type: up to ':', or NULL. */
int kvg_session_judge_status(long status, const char *error_type);
