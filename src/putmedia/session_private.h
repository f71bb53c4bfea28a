/* What the files of the session share. Each exports few functions to the others, all pure.
 *
 *     session.c    the machine: events, states, deadlines
 *     fetch.c      credentials, description, endpoint: fetched one after the other
 *     lanes.c      PutMedia calls: opened, followed, lost, ended
 *     fragments.c  what is sent in them, and what comes of it */
#pragma once

#include "putmedia/done.h"
#include "putmedia/session.h"

#define SECOND_US INT64_C(1000000)
/* Sessions end by themselves before the service's limit of about 45 minutes. */
#define SESSION_MAX_US (40 * 60 * SECOND_US)
/* Keys must outlive the wait for the end of a fragment. */
#define KEYS_GRACE_US (30 * SECOND_US)
/* Where only one call at a time is possible. */
#define SHORT_TURN_US (4 * SECOND_US)
/* Then a second call is tried again: the limit may have been raised, or have been another's call.
 */
#define EXCLUSIVE_US (30 * 60 * SECOND_US)
/* live-first leaves behind what is further back than this. */
#define BEHIND_FRAGMENTS 3

typedef enum { FETCH_NOTHING, FETCH_KEYS, FETCH_STREAM, FETCH_CREATE, FETCH_ENDPOINT } Fetch;

typedef struct {
    uint64_t fragment;
    bool is_counted;
} Skip;

typedef struct {
    KvgBackoff backoff;
    int64_t retry_us;
    int reader; /* the call that reads the spool for it; -1: none */
} Lane;

struct _KvgSession {
    KvgSessionOptions options;
    KvgSessionState state;
    char reason[512], trouble[512];
    bool is_started, is_closing, is_closed;
    KvgSessionCounts counts;
    int64_t wake_us;

    /* what is known; prepare() fetches what is lacking */
    Fetch fetching;
    KvgBackoff fetch_backoff;
    int64_t fetch_us; /* since when it is under way */
    int64_t fetch_retry_us;
    bool was_ready;
    bool is_described;
    bool received_is_final; /* retention 0: PERSISTED never comes */
    bool keys_refused;
    int64_t keys_until_us;
    int64_t endpoint_until_us;
    bool has_endpoint; /* one that was not called wrong */
    bool skew_tried;   /* since the last success: the clock has been corrected once */

    /* the spool */
    uint64_t oldest, newest;
    KvgDone done;
    KvgDone counted;    /* as persisted; those may be sent again to keep the order */
    uint64_t told;      /* all before it have been reported as persisted */
    uint64_t live_next; /* what the live lane sends next; the backlog lies before it */
    uint64_t highest;   /* sent so far */
    bool is_parked;     /* nothing but a fragment that the camera left unfinished */
    bool is_behind;

    KvgCall calls[KVG_SESSION_CALLS];
    Lane lanes[2];
    int64_t put_at_us;          /* no PutMedia earlier */
    bool is_exclusive;          /* the service refused a second call... */
    int64_t exclusive_until_us; /* ...which is believed until then */
    KvgLane turn;               /* then: whose it is */

    GArray *skips; /* Skip, ascending */
    uint64_t strike_fragment;
    unsigned strikes;
};

/* ---- fetch.c: what must be known ---- */

/* True when everything is known; else the next thing is being fetched, or waited for. */
bool kvg_session_prepare(KvgSession *session, int64_t now_us, KvgSessionActions *actions);
G_GNUC_PRINTF(3, 4)
void kvg_session_complain(KvgSession *session, KvgSessionActions *actions, const char *format, ...);
/* Forgets what the failure proves wrong. True: try again at once, for the cause is put right. */
bool kvg_session_forget(KvgSession *session, const KvgSessionEvent *event);
int64_t kvg_session_retry_time(KvgBackoff *backoff, const KvgSessionEvent *event);
void kvg_session_on_keys(KvgSession *session, const KvgSessionEvent *event);
void kvg_session_on_stream(KvgSession *session,
                           const KvgSessionEvent *event,
                           KvgSessionActions *actions);
void kvg_session_on_endpoint(KvgSession *session, int64_t until_us);
void kvg_session_on_failed(KvgSession *session,
                           const KvgSessionEvent *event,
                           KvgSessionActions *actions);

/* ---- lanes.c: calls and whose turn it is ---- */

unsigned kvg_session_bit_of(const KvgSession *session, const KvgCall *call);
KvgCall *kvg_session_reader_of(KvgSession *session, KvgLane lane);
/* The call that waits to follow the live one; NULL. */
KvgCall *kvg_session_find_successor(KvgSession *session);
/* Where the live lane would begin; 0: nowhere. */
uint64_t kvg_session_live_start(const KvgSession *session);
/* The first fragment that the live lane has left behind; 0: none. */
uint64_t kvg_session_backlog_start(const KvgSession *session);
void kvg_session_open_call(KvgSession *session,
                           KvgLane lane,
                           int64_t now_us,
                           KvgSessionActions *actions);
/* Whether the live call has to make way for another. */
bool kvg_session_wants_rotation(const KvgSession *session, const KvgCall *live, int64_t now_us);
/* Whether @lane may open a call now; if it is only a matter of time, @at_us becomes when. */
bool kvg_session_may_open(KvgSession *session, KvgLane lane, int64_t now_us, int64_t *at_us);
/* The call is lost. @event has code and error_type; they are 0 and NULL for a mere loss. */
void kvg_session_lose(KvgSession *session,
                      KvgCall *call,
                      KvgStreamEnd end,
                      const KvgSessionEvent *event,
                      const char *text,
                      KvgSessionActions *actions);
/* Ends the body at a fragment's boundary; @next begins in another call. */
void kvg_session_stop_call(KvgSession *session,
                           KvgCall *call,
                           KvgStreamEnd end,
                           uint64_t next,
                           int64_t now_us,
                           KvgSessionActions *actions);
void kvg_session_on_open(KvgSession *session, KvgCall *call, int64_t now_us);
/* The body was ended, and everything is acknowledged. */
void kvg_session_finish_call(KvgSession *session, KvgCall *call, int64_t now_us);
/* The response ended properly. */
void kvg_session_on_end(KvgSession *session,
                        KvgCall *call,
                        const KvgSessionEvent *event,
                        KvgSessionActions *actions);
/* The call that waits to follow is not needed. */
void kvg_session_drop_successor(KvgSession *session, KvgSessionActions *actions);
/* Nothing to send for long: the service would end the session. */
void
kvg_session_park(KvgSession *session, KvgCall *call, int64_t now_us, KvgSessionActions *actions);

/* ---- fragments.c: what is sent and acknowledged ---- */

/* [from, to] need nothing more. */
void kvg_session_finish_fragments(KvgSession *session, uint64_t from, uint64_t to);
/* What the spool has evicted needs nothing more, and is not ours to count. */
void kvg_session_follow_spool(KvgSession *session, const KvgSessionEvent *event);
void kvg_session_begin_piece(KvgSession *session, KvgCall *call, const KvgSessionEvent *event);
void kvg_session_on_begin(KvgSession *session,
                          KvgCall *call,
                          const KvgSessionEvent *event,
                          KvgSessionActions *actions);
void kvg_session_on_fragment(KvgSession *session, KvgCall *call, const KvgSessionEvent *event);
void kvg_session_on_empty(KvgSession *session,
                          KvgCall *call,
                          const KvgSessionEvent *event,
                          KvgSessionActions *actions);
void kvg_session_on_ack(KvgSession *session,
                        KvgCall *call,
                        const KvgSessionEvent *event,
                        KvgSessionActions *actions);
