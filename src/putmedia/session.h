/* One stream's dealings with the service as a pure machine: (state, event, now) -> (state,
 * actions). No I/O, no clock; the only thing not determined by its input is the jitter of delays.
 * The uploader performs the actions and reports what came of them.
 *
 * What must be known is fetched first, one thing after the other, and again whenever a failure
 * proves it wrong:
 *
 *     credentials -> description (or CreateStream) -> data endpoint -> ready
 *
 * Then each lane that has something to send gets a PutMedia call, at most two at a time:
 *
 *     FREE -> OPENING -> OPEN -> ENDING -> FREE      and from anywhere, on failure: FREE
 *
 * The live lane sends what the camera delivers; before its call is too old a second one is opened
 * beside it, and takes over at the next fragment once it has been answered (no gap, and a refusal
 * costs nothing). The backlog lane sends what was left behind: by `live_first`, or in a call that
 * failed while its successor went on.
 *
 * A stream that holds its frames needs nothing until some are asked for, and its call ends when all
 * of them are sent and no more are expected.
 *
 * A fragment is known by its cluster timecode. What is not PERSISTED is sent again, so the service
 * may see a fragment twice, which it allows (it keeps the newer one).
 * Source: PutMedia API; docs/internals/putmedia.md has the table of errors. */
#pragma once

#include "base/backoff.h"
#include "putmedia/call.h"
#include "putmedia/verdict.h"
#include "wire/ack.h"
#include <glib.h>
#include <kvg/error.h>
#include <kvg/producer.h>
#include <stdbool.h>
#include <stdint.h>

#define KVG_SESSION_CALLS 2
#define KVG_SESSION_STRIKES 3
#define KVG_SESSION_STALE_US (30 * INT64_C(1000000))
#define KVG_SESSION_PAUSE_US (3 * INT64_C(1000000))

/* What a person sees; derived from what is known and from the calls. */
typedef enum {
    KVG_SESSION_IDLE,
    KVG_SESSION_KEYS,
    KVG_SESSION_DESCRIBE,
    KVG_SESSION_CREATE,
    KVG_SESSION_ENDPOINT,
    KVG_SESSION_READY,     /* nothing to send; holding: nothing is asked for */
    KVG_SESSION_CONNECT,   /* PutMedia begun, no answer yet */
    KVG_SESSION_STREAMING, /* answered 200 */
    KVG_SESSION_DRAINING,  /* body ended; the last acknowledgements are awaited */
    KVG_SESSION_WAITING,   /* back-off after a failure */
    KVG_SESSION_CLOSED,    /* everything persisted after CLOSE */
} KvgSessionState;
const char *kvg_session_state_to_string(KvgSessionState state);

typedef enum {
    KVG_SESSION_ON_START,
    KVG_SESSION_ON_DATA,   /* the spool has something new, and no call reads it */
    KVG_SESSION_ON_TICK,   /* kvg_session_deadline_us() has come */
    KVG_SESSION_ON_CLOSE,  /* send what there is, then CLOSED */
    KVG_SESSION_ON_KEYS,   /* lifetime_ms; fetched, or renewed by somebody else */
    KVG_SESSION_ON_STREAM, /* DescribeStream's answer: is_active, retention_hours */
    KVG_SESSION_ON_CREATED,
    KVG_SESSION_ON_ENDPOINT,
    KVG_SESSION_ON_FAILED, /* what was being fetched: code, error_type, text, is_skew */
    /* the rest: of PutMedia call `call` */
    KVG_SESSION_ON_OPEN,       /* answered 200 */
    KVG_SESSION_ON_PUT_FAILED, /* as ON_FAILED, and end: REFUSED or LOST */
    KVG_SESSION_ON_BEGIN,      /* may `fragment` be sent? timecode_ms, new_tracks; answer: admit */
    KVG_SESSION_ON_PIECE,      /* a fragment ended on the wire goes on: fragment, timecode_ms */
    KVG_SESSION_ON_FRAGMENT,   /* a piece was handed over: fragment, is_last, n_frames, media_ms,
                                  latest_ms */
    KVG_SESSION_ON_GAP,        /* fragment..gap_end are not in the spool any more */
    KVG_SESSION_ON_EMPTY,      /* read to the end, between fragments; answer: admit */
    KVG_SESSION_ON_ACK,        /* ack */
    KVG_SESSION_ON_END,        /* the response ended properly with status 200 */
} KvgSessionEventKind;

typedef struct {
    KvgSessionEventKind kind;
    int64_t now_us;          /* monotonic; every event */
    uint64_t oldest, newest; /* fragments in the spool, not persisted; 0: none; every event */
    bool expects_more;       /* of a spool that holds: more will be asked for; every event */
    unsigned call;
    int64_t lifetime_ms; /* 0: for ever */
    bool is_active;
    int64_t retention_hours;
    int code;               /* KvgError */
    const char *error_type; /* of the service; NULL */
    const char *text;
    bool is_skew; /* this machine's clock was wrong; it has been corrected for signatures */
    KvgStreamEnd end;
    uint64_t fragment, gap_end;
    bool new_tracks, is_last;
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
    KVG_SESSION_DO_PERSIST = 1 << 5,  /* everything up to `persisted` is done */
    KVG_SESSION_DO_NOTIFY = 1 << 6,   /* state or reason changed */
    KVG_SESSION_DO_COMPLAIN = 1 << 7, /* something failed: kvg_session_trouble() */
} KvgSessionDo;

typedef enum {
    KVG_ADMIT_SEND,      /* to ON_EMPTY: wait for more */
    KVG_ADMIT_READ_OVER, /* refused for good: read it, for counting, and send nothing */
    KVG_ADMIT_PASS,      /* it needs nothing: go to the next one */
    KVG_ADMIT_STOP,      /* end the body here */
} KvgSessionAdmit;

/* Bit i of a mask: call i. To be done in this order; an abort undoes what was to be done before. */
typedef struct {
    unsigned todo; /* KvgSessionDo */
    uint64_t persisted;
    unsigned abort;        /* drop the connection */
    unsigned put;          /* open PutMedia, reading from kvg_session_start() */
    unsigned end_fragment; /* AWS_KINESISVIDEO_END_OF_FRAGMENT */
    unsigned end_body;     /* zero chunk */
    unsigned resume;       /* it may read now */
    KvgSessionAdmit admit;
} KvgSessionActions;

typedef struct {
    uint64_t sessions;
    uint64_t ends[KVG_STREAM_N_ENDS];
    uint64_t fragments_persisted, frames_persisted, media_ms_persisted;
    uint64_t fragments_refused, frames_refused; /* the service will never take them */
    uint64_t fragments_resent;
    uint64_t acks[KVG_ACK_UNKNOWN + 1]; /* by KvgAckType */
    int last_error_id;
    uint64_t throttled, failures, clock_corrections;
    int64_t connect_ms, buffering_ms, received_ms; /* latest */
} KvgSessionCounts;

typedef struct {
    bool create;
    bool live_first;
    bool holds;       /* nothing goes up but what is asked for; then fragments are places */
    int64_t stale_us; /* 0: KVG_SESSION_STALE_US */
    int64_t pause_us; /* 0: KVG_SESSION_PAUSE_US */
} KvgSessionOptions;

typedef struct _KvgSession KvgSession;

KvgSession *kvg_session_new(const KvgSessionOptions *options);
void kvg_session_free(KvgSession *session);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgSession, kvg_session_free)

void
kvg_session_step(KvgSession *session, const KvgSessionEvent *event, KvgSessionActions *actions);

KvgSessionState kvg_session_state(const KvgSession *session);
/* In words, for people. Valid until the next step. */
const char *kvg_session_reason(const KvgSession *session);
/* The last thing that failed, in words. Valid until the next step. */
const char *kvg_session_trouble(const KvgSession *session);
const KvgSessionCounts *kvg_session_counts(const KvgSession *session);
/* When to step with TICK; INT64_MAX for never. */
int64_t kvg_session_deadline_us(const KvgSession *session);

/* ---- asked while a body is being made ---- */

/* False: too many fragments are unacknowledged, or it is not this call's turn. */
bool kvg_session_may_send(const KvgSession *session, unsigned call);
/* The first fragment of @call. */
uint64_t kvg_session_start(const KvgSession *session, unsigned call);
KvgLane kvg_session_lane(const KvgSession *session, unsigned call);
/* The call that reads what the camera delivers; -1: none. */
int kvg_session_live_call(const KvgSession *session);
/* True while the live lane sends what was recorded some time ago. */
bool kvg_session_is_behind(const KvgSession *session);
/* Bytes went to the connection; @starved: and there is nothing more to send. */
void kvg_session_note_sent(KvgSession *session, unsigned call, int64_t now_us, bool starved);
