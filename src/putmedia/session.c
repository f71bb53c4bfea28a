#include "putmedia/session.h"

#include "base/text.h"
#include "putmedia/done.h"
#include <string.h>

#define SECOND_US INT64_C(1000000)
/* Sessions end by themselves before the service's limit of about 45 minutes. */
#define SESSION_MAX_US (40 * 60 * SECOND_US)
/* Endpoints stay valid for long; any failure of PutMedia asks again anyway. */
#define ENDPOINT_MAX_US (12 * 3600 * SECOND_US)
/* For an old endpoint where the control plane does not answer. */
#define ENDPOINT_AGAIN_US (5 * 60 * SECOND_US)
/* Acknowledged in part but never PERSISTED. */
#define UNPERSISTED_US (90 * SECOND_US)
/* The service ends a session after 30 s without data. */
#define PARK_US (15 * SECOND_US)
/* For the end of a response when everything is acknowledged. */
#define FAREWELL_US (5 * SECOND_US)
/* Keys must outlive the wait for the end of a fragment. */
#define KEYS_GRACE_US (30 * SECOND_US)
/* A turn of catching up beside the live call: kvg-server (and, it seems, the service) ends the
 * older of two calls after some 15 s, and by then the live one has followed. */
#define TURN_US (8 * SECOND_US)
/* Where only one call at a time is possible. */
#define SHORT_TURN_US (4 * SECOND_US)
/* PutMedia may be called five times a second for a stream. */
#define PUT_INTERVAL_US (SECOND_US / 4)
/* So long nobody needs to know that an answer is awaited. */
#define SILENCE_US (3 * SECOND_US)
#define BACKOFF_BASE_MS 500
#define BACKOFF_CAP_MS 20000
/* live-first leaves behind what is further back than this. */
#define BEHIND_FRAGMENTS 3
#define MAX_SKIPS 256

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
    int64_t put_at_us; /* no PutMedia earlier */
    bool is_exclusive; /* the service refused a second call */
    KvgLane turn;      /* then: whose it is */

    GArray *skips; /* Skip, ascending */
    uint64_t strike_fragment;
    unsigned strikes;
};

static const char *const state_names[] = {
    [KVG_SESSION_IDLE] = "idle",           [KVG_SESSION_KEYS] = "getting credentials",
    [KVG_SESSION_DESCRIBE] = "describing", [KVG_SESSION_CREATE] = "creating",
    [KVG_SESSION_ENDPOINT] = "finding",    [KVG_SESSION_READY] = "ready",
    [KVG_SESSION_CONNECT] = "connecting",  [KVG_SESSION_STREAMING] = "streaming",
    [KVG_SESSION_DRAINING] = "draining",   [KVG_SESSION_WAITING] = "waiting",
    [KVG_SESSION_CLOSED] = "closed",
};

const char *
kvg_session_state_to_string(KvgSessionState state)
{
    g_return_val_if_fail((size_t)state < G_N_ELEMENTS(state_names), "?");
    return state_names[state];
}

KvgSession *
kvg_session_new(const KvgSessionOptions *options)
{
    static const KvgBackoff backoff = {.base_ms = BACKOFF_BASE_MS, .cap_ms = BACKOFF_CAP_MS};
    KvgSession *session = g_new0(KvgSession, 1);
    session->options = *options;
    if (session->options.stale_us <= 0)
        session->options.stale_us = KVG_SESSION_STALE_US;
    if (session->options.pause_us <= 0)
        session->options.pause_us = KVG_SESSION_PAUSE_US;
    session->wake_us = INT64_MAX;
    session->fetch_backoff = backoff;
    kvg_done_init(&session->done);
    kvg_done_init(&session->counted);
    session->told = session->done.front;
    for (size_t i = 0; i < KVG_SESSION_CALLS; i++)
        kvg_call_init(&session->calls[i]);
    for (size_t i = 0; i < 2; i++)
        session->lanes[i] = (Lane){.backoff = backoff, .reader = -1};
    session->skips = g_array_new(FALSE, TRUE, sizeof(Skip));
    return session;
}

void
kvg_session_free(KvgSession *session)
{
    if (session == NULL)
        return;
    for (size_t i = 0; i < KVG_SESSION_CALLS; i++)
        kvg_call_clear(&session->calls[i]);
    kvg_done_clear(&session->done);
    kvg_done_clear(&session->counted);
    g_array_unref(session->skips);
    g_free(session);
}

/* ---- the calls ---- */

static unsigned
index_of(const KvgSession *session, const KvgCall *call)
{
    return (unsigned)(call - session->calls);
}

static unsigned
bit_of(const KvgSession *session, const KvgCall *call)
{
    return 1u << index_of(session, call);
}

static KvgCall *
reader_of(KvgSession *session, KvgLane lane)
{
    const int reader = session->lanes[lane].reader;
    return reader >= 0 ? &session->calls[reader] : NULL;
}

/* The call that waits to follow the live one; NULL. */
static KvgCall *
find_successor(KvgSession *session)
{
    for (size_t i = 0; i < KVG_SESSION_CALLS; i++) {
        KvgCall *call = &session->calls[i];
        if ((call->stage == KVG_CALL_OPENING || call->stage == KVG_CALL_OPEN) && !call->reads)
            return call;
    }
    return NULL;
}

static unsigned
count_calls(const KvgSession *session)
{
    unsigned n = 0;
    for (size_t i = 0; i < KVG_SESSION_CALLS; i++)
        n += session->calls[i].stage != KVG_CALL_FREE;
    return n;
}

/* The first fragment from @fragment on that is neither done nor under way. */
static uint64_t
next_unsent(const KvgSession *session, uint64_t fragment)
{
    for (;;) {
        const uint64_t before = fragment;
        fragment = kvg_done_next(&session->done, fragment);
        for (size_t i = 0; i < KVG_SESSION_CALLS; i++) {
            while (kvg_call_covers(&session->calls[i], fragment))
                fragment++;
        }
        if (fragment == before)
            return fragment;
    }
}

/* Where the live lane would begin; 0: nowhere. */
static uint64_t
live_start(const KvgSession *session)
{
    if (session->oldest == 0 || session->is_parked)
        return 0;
    const uint64_t first = next_unsent(session, session->oldest);
    if (first > session->newest)
        return 0;
    const bool jumps = session->options.live_first && !session->is_closing &&
                       session->newest - first >= BEHIND_FRAGMENTS &&
                       next_unsent(session, session->newest) == session->newest;
    return jumps ? session->newest : first;
}

/* The first fragment that the live lane has left behind; 0: none. */
static uint64_t
backlog_start(const KvgSession *session)
{
    if (session->oldest == 0)
        return 0;
    const uint64_t first = next_unsent(session, session->oldest);
    return first < session->live_next && first <= session->newest ? first : 0;
}

static int64_t
jitter_us(int64_t life_us)
{
    if (life_us <= 5 * 60 * SECOND_US)
        return 0;
    const int64_t most_ms = MIN(life_us / 10, 3 * 60 * SECOND_US) / 1000;
    return g_random_int_range(0, (gint32)most_ms) * INT64_C(1000);
}

static void
open_call(KvgSession *session, KvgLane lane, int64_t now_us, KvgSessionActions *actions)
{
    KvgCall *call = session->calls;
    while (call->stage != KVG_CALL_FREE)
        call++;
    kvg_call_begin(call, lane, now_us);
    call->age_us = now_us + SESSION_MAX_US - jitter_us(SESSION_MAX_US);
    call->keys_until_us = session->keys_until_us;
    const int64_t keys_life_us = session->keys_until_us - now_us - KEYS_GRACE_US;
    call->keys_us = now_us + MAX(keys_life_us - jitter_us(keys_life_us), 5 * SECOND_US);
    if (lane == KVG_LANE_BACKLOG && (session->options.live_first || session->is_exclusive))
        call->turn_us = now_us + (session->is_exclusive ? SHORT_TURN_US : TURN_US);
    if (session->lanes[lane].reader < 0) {
        call->reads = true;
        call->start = call->next =
            lane == KVG_LANE_LIVE ? live_start(session) : backlog_start(session);
        session->lanes[lane].reader = (int)index_of(session, call);
        if (lane == KVG_LANE_LIVE)
            session->live_next = call->start;
    }
    session->put_at_us = now_us + PUT_INTERVAL_US;
    session->counts.sessions++;
    actions->put |= bit_of(session, call);
}

/* Whether the live call has to make way for another. */
static bool
wants_rotation(const KvgSession *session, const KvgCall *live, int64_t now_us)
{
    return now_us >= live->age_us ||
           (now_us >= live->keys_us && session->keys_until_us > live->keys_until_us);
}

/* Whether @lane lacks a call. */
static bool
lacks_call(KvgSession *session, KvgLane lane, int64_t now_us)
{
    const KvgCall *reader = reader_of(session, lane);
    if (lane == KVG_LANE_BACKLOG) {
        const bool is_turn = session->is_exclusive ? session->turn == KVG_LANE_BACKLOG
                                                   : session->lanes[KVG_LANE_LIVE].reader >= 0;
        return reader == NULL && is_turn && backlog_start(session) != 0;
    }
    if (reader == NULL) {
        const bool waits = session->is_exclusive && session->turn == KVG_LANE_BACKLOG &&
                           backlog_start(session) != 0;
        return !waits && live_start(session) != 0;
    }
    return !session->is_exclusive && reader->has_begun && find_successor(session) == NULL &&
           wants_rotation(session, reader, now_us);
}

/* Whether @lane may open a call now; if it is only a matter of time, @at_us becomes when. */
static bool
may_open(KvgSession *session, KvgLane lane, int64_t now_us, int64_t *at_us)
{
    if (!lacks_call(session, lane, now_us) ||
        count_calls(session) >= (session->is_exclusive ? 1 : KVG_SESSION_CALLS))
        return false;
    const int64_t open_us = MAX(session->lanes[lane].retry_us, session->put_at_us);
    if (open_us <= now_us)
        return true;
    *at_us = MIN(*at_us, open_us);
    return false;
}

/* ---- what must be known first ---- */

static void
fetch(KvgSession *session, Fetch what, unsigned todo, int64_t now_us, KvgSessionActions *actions)
{
    session->fetching = what;
    session->fetch_us = now_us;
    actions->todo |= todo;
}

/* True when everything is known; else the next thing is being fetched, or waited for. */
static bool
prepare(KvgSession *session, int64_t now_us, KvgSessionActions *actions)
{
    if (session->fetching != FETCH_NOTHING || now_us < session->fetch_retry_us)
        return false;
    if (session->keys_until_us <= now_us + KEYS_GRACE_US)
        fetch(session, FETCH_KEYS,
              KVG_SESSION_DO_FETCH_KEYS | (session->keys_refused ? KVG_SESSION_DO_RENEW_KEYS : 0),
              now_us, actions);
    else if (!session->is_described)
        fetch(session, FETCH_STREAM, KVG_SESSION_DO_DESCRIBE, now_us, actions);
    else if (session->endpoint_until_us <= now_us)
        fetch(session, FETCH_ENDPOINT, KVG_SESSION_DO_ENDPOINT, now_us, actions);
    else
        return true;
    return false;
}

static void
close_session(KvgSession *session, KvgSessionActions *actions)
{
    for (size_t i = 0; i < KVG_SESSION_CALLS; i++) {
        if (session->calls[i].stage != KVG_CALL_FREE)
            actions->abort |= 1u << i;
        kvg_call_end(&session->calls[i]);
    }
    session->is_closed = true;
}

/* Nothing is left but calls that were never used, or have nothing to say any more. */
static bool
is_finished(const KvgSession *session)
{
    if (!session->is_closing || session->oldest != 0)
        return false;
    for (size_t i = 0; i < KVG_SESSION_CALLS; i++) {
        const KvgCall *call = &session->calls[i];
        if (call->stage != KVG_CALL_FREE && call->has_begun)
            return false;
    }
    return true;
}

/* Takes whatever steps are possible: fetches what is lacking, opens calls. */
static void
advance(KvgSession *session, int64_t now_us, KvgSessionActions *actions)
{
    if (is_finished(session)) {
        close_session(session, actions);
        return;
    }
    int64_t at_us = INT64_MAX;
    const bool opens = may_open(session, KVG_LANE_LIVE, now_us, &at_us) ||
                       may_open(session, KVG_LANE_BACKLOG, now_us, &at_us);
    /* Everything is fetched at the start, so that trouble shows early; later only when needed. */
    if ((!opens && session->was_ready) || !prepare(session, now_us, actions))
        return;
    session->was_ready = true;
    kvg_backoff_reset(&session->fetch_backoff);
    for (int lane = KVG_LANE_LIVE; lane <= KVG_LANE_BACKLOG; lane++) {
        if (may_open(session, (KvgLane)lane, now_us, &at_us))
            open_call(session, (KvgLane)lane, now_us, actions);
    }
}

/* ---- failures ---- */

G_GNUC_PRINTF(3, 4)
static void
complain(KvgSession *session, KvgSessionActions *actions, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_vsnprintf(session->trouble, sizeof session->trouble, format, args);
    va_end(args);
    kvg_text_hide_keys(session->trouble);
    session->counts.failures++;
    actions->todo |= KVG_SESSION_DO_COMPLAIN;
}

/* Forgets what the failure proves wrong. True: try again at once, for the cause is put right. */
static bool
forget(KvgSession *session, const KvgSessionEvent *event)
{
    if (event->is_skew && !session->skew_tried) {
        session->skew_tried = true;
        session->counts.clock_corrections++;
        return true;
    }
    if (event->code == KVG_ERROR_AUTH) {
        session->keys_refused = true;
        session->keys_until_us = INT64_MIN;
    }
    if (event->code == KVG_ERROR_NOT_FOUND)
        session->is_described = false;
    if (event->code == KVG_ERROR_THROTTLED)
        session->counts.throttled++;
    if (g_strcmp0(event->error_type, "InvalidEndpointException") == 0)
        session->has_endpoint = false;
    return false;
}

static int64_t
retry_time(KvgBackoff *backoff, const KvgSessionEvent *event)
{
    if (event->code == KVG_ERROR_THROTTLED)
        backoff->attempt = MAX(backoff->attempt, 2);
    return event->now_us + kvg_backoff_next_ms(backoff) * 1000;
}

/* Takes the call out; what it has not seen persisted will be sent again. */
static void
drop_call(KvgSession *session, KvgCall *call, KvgStreamEnd end)
{
    session->counts.ends[end]++;
    for (size_t i = 0; i < 2; i++) {
        if (session->lanes[i].reader == (int)index_of(session, call))
            session->lanes[i].reader = -1;
    }
    kvg_call_end(call);
}

/* The live lane has lost its reader: the one that waits takes over. */
static void
promote(KvgSession *session, KvgCall *successor, uint64_t start, KvgSessionActions *actions)
{
    successor->reads = true;
    successor->start = successor->next = start;
    session->live_next = start;
    session->lanes[KVG_LANE_LIVE].reader = (int)index_of(session, successor);
    actions->resume |= bit_of(session, successor);
}

/* The lane that sends again what @call has lost. */
static KvgLane
heir_of(const KvgSession *session, const KvgCall *call)
{
    if (call->stage != KVG_CALL_ENDING)
        return call->lane;
    return session->lanes[KVG_LANE_LIVE].reader >= 0 ? KVG_LANE_BACKLOG : KVG_LANE_LIVE;
}

/* Recorded order is kept on the wire: what comes after @call's first loss goes up again behind it,
 * even if it is persisted, or under way in the call that has followed. */
static void
roll_back(KvgSession *session, const KvgCall *call, KvgStreamEnd end, KvgSessionActions *actions)
{
    KvgCall *live = reader_of(session, KVG_LANE_LIVE);
    kvg_done_rewind(&session->done);
    if (call->stage != KVG_CALL_ENDING || call->pieces->len == 0 || live == NULL)
        return;
    actions->abort |= bit_of(session, live);
    drop_call(session, live, end);
}

/* The call is lost. @event has code and error_type; they are 0 and NULL for a mere loss. */
static void
lose(KvgSession *session,
     KvgCall *call,
     KvgStreamEnd end,
     const KvgSessionEvent *event,
     const char *text,
     KvgSessionActions *actions)
{
    const bool is_limit = g_strcmp0(event->error_type, "ConnectionLimitExceededException") == 0 &&
                          count_calls(session) > 1;
    const bool at_once = forget(session, event);
    if (!session->options.live_first)
        roll_back(session, call, end, actions);
    Lane *lane = &session->lanes[heir_of(session, call)];
    complain(session, actions, "%s", text);
    actions->abort |= bit_of(session, call);
    drop_call(session, call, end);
    session->is_parked = false;
    if (is_limit)
        session->is_exclusive = true;
    if (session->is_exclusive)
        session->turn = KVG_LANE_LIVE;
    /* An endpoint that has answered in words is the right one, unless it says otherwise. */
    if (!at_once && end != KVG_STREAM_END_ERROR && event->code != KVG_ERROR_THROTTLED)
        session->endpoint_until_us = INT64_MIN;
    lane->retry_us = at_once ? event->now_us : retry_time(&lane->backoff, event);
    KvgCall *successor = find_successor(session);
    const uint64_t start = live_start(session);
    if (session->lanes[KVG_LANE_LIVE].reader < 0 && successor != NULL && start != 0)
        promote(session, successor, start, actions);
}

/* ---- fragments ---- */

static Skip *
find_skip(const KvgSession *session, uint64_t fragment)
{
    for (guint i = 0; i < session->skips->len; i++) {
        Skip *skip = &g_array_index(session->skips, Skip, i);
        if (skip->fragment == fragment)
            return skip;
    }
    return NULL;
}

static void
add_skip(KvgSession *session, uint64_t fragment)
{
    if (find_skip(session, fragment) != NULL)
        return;
    if (session->skips->len == MAX_SKIPS)
        g_array_remove_index(session->skips, 0);
    const Skip skip = {.fragment = fragment};
    g_array_append_val(session->skips, skip);
    session->counts.fragments_refused++;
}

/* [from, to] need nothing more. */
static void
finish_fragments(KvgSession *session, uint64_t from, uint64_t to)
{
    kvg_done_add(&session->done, from, to);
    kvg_done_add(&session->counted, 1, session->done.front - 1);
    for (size_t i = 0; i < KVG_SESSION_CALLS; i++)
        kvg_call_forget(&session->calls[i], from, to);
    guint old = 0;
    while (old < session->skips->len &&
           g_array_index(session->skips, Skip, old).fragment < session->done.front &&
           g_array_index(session->skips, Skip, old).is_counted)
        old++;
    if (old > 0)
        g_array_remove_range(session->skips, 0, old);
}

static void
check_done(KvgSession *session, const KvgCall *call, uint64_t fragment)
{
    KvgPiece sum;
    if (!kvg_call_is_done(call, fragment, &sum))
        return;
    if (kvg_done_next(&session->counted, fragment) == fragment) {
        session->counts.fragments_persisted++;
        session->counts.frames_persisted += sum.n_frames;
        session->counts.media_ms_persisted += (uint64_t)MAX(sum.media_ms, 0);
        kvg_done_add(&session->counted, fragment, fragment);
    }
    finish_fragments(session, fragment, fragment);
}

/* What the spool has evicted needs nothing more, and is not ours to count. */
static void
follow_spool(KvgSession *session, const KvgSessionEvent *event)
{
    session->oldest = event->oldest;
    session->newest = event->newest;
    if (event->oldest <= session->done.front)
        return;
    finish_fragments(session, session->done.front, event->oldest - 1);
    session->told = session->done.front;
}

/* Ends the body at a fragment's boundary; @next begins in another call. */
static void
stop_call(KvgSession *session,
          KvgCall *call,
          KvgStreamEnd end,
          uint64_t next,
          int64_t now_us,
          KvgSessionActions *actions)
{
    call->stage = KVG_CALL_ENDING;
    call->end = end;
    call->last_ack_us = MAX(call->last_ack_us, now_us);
    session->lanes[call->lane].reader = -1;
    actions->admit = KVG_ADMIT_STOP;
    if (call->lane == KVG_LANE_BACKLOG)
        return;
    session->live_next = next;
    KvgCall *successor = find_successor(session);
    if (successor != NULL && next != 0)
        promote(session, successor, next, actions);
}

/* Why @call cannot carry the fragment that begins; -1: it can. */
static int
why_stop(KvgSession *session, const KvgCall *call, const KvgSessionEvent *event)
{
    if (call->lane == KVG_LANE_BACKLOG &&
        (event->fragment >= session->live_next || event->now_us >= call->turn_us))
        return KVG_STREAM_END_BACKLOG;
    if (!call->has_begun || call->latest_ms == INT64_MIN) /* nothing sent yet */
        return -1;
    if (event->new_tracks)
        return KVG_STREAM_END_TRACKS;
    if (event->timecode_ms <= call->latest_ms)
        return KVG_STREAM_END_TIMECODE;
    if (call->lane == KVG_LANE_BACKLOG)
        return -1;
    const KvgCall *successor = find_successor(session);
    if (successor != NULL && successor->stage == KVG_CALL_OPEN)
        return KVG_STREAM_END_ROTATED;
    if (!session->is_exclusive)
        return -1;
    return wants_rotation(session, call, event->now_us) ? KVG_STREAM_END_ROTATED : -1;
}

/* With one call at a time: whether the backlog should have its turn before @fragment. */
static bool
yields(KvgSession *session, const KvgCall *call, int64_t now_us)
{
    return session->is_exclusive && call->lane == KVG_LANE_LIVE && call->has_begun &&
           now_us >= call->opened_us + SHORT_TURN_US && backlog_start(session) != 0;
}

static bool
is_under_way(const KvgSession *session, uint64_t fragment)
{
    for (size_t i = 0; i < KVG_SESSION_CALLS; i++) {
        if (kvg_call_covers(&session->calls[i], fragment))
            return true;
    }
    return false;
}

static void
begin_piece(KvgSession *session, KvgCall *call, const KvgSessionEvent *event)
{
    const bool is_skipped = find_skip(session, event->fragment) != NULL;
    kvg_call_add_piece(call, event->fragment, event->timecode_ms, event->now_us);
    if (!is_skipped)
        call->latest_ms = MAX(call->latest_ms, event->timecode_ms);
    if (event->kind == KVG_SESSION_ON_PIECE)
        return;
    if (event->fragment <= session->highest)
        session->counts.fragments_resent++;
    session->highest = MAX(session->highest, event->fragment);
    if (call->lane != KVG_LANE_LIVE)
        return;
    session->live_next = event->fragment + 1;
    const uint64_t behind = session->newest - MIN(event->fragment, session->newest);
    session->is_behind = behind >= BEHIND_FRAGMENTS || (session->is_behind && behind > 1);
}

static void
on_begin(KvgSession *session,
         KvgCall *call,
         const KvgSessionEvent *event,
         KvgSessionActions *actions)
{
    const uint64_t fragment = event->fragment;
    if (call->next < fragment) /* what lies between is not in the spool */
        finish_fragments(session, call->next, fragment - 1);
    call->next = fragment + 1;
    actions->admit = KVG_ADMIT_PASS;
    if (kvg_done_next(&session->done, fragment) != fragment || is_under_way(session, fragment))
        return;
    const bool does_yield = yields(session, call, event->now_us);
    const int stop = does_yield ? (int)KVG_STREAM_END_BACKLOG : why_stop(session, call, event);
    if (stop >= 0) {
        session->turn = does_yield ? KVG_LANE_BACKLOG : KVG_LANE_LIVE;
        stop_call(session, call, (KvgStreamEnd)stop, fragment, event->now_us, actions);
        return;
    }
    begin_piece(session, call, event);
    actions->admit = find_skip(session, fragment) != NULL ? KVG_ADMIT_READ_OVER : KVG_ADMIT_SEND;
}

static void
on_fragment(KvgSession *session, KvgCall *call, const KvgSessionEvent *event)
{
    KvgPiece *piece = kvg_call_open_piece(call, event->fragment);
    const guint n = call->pieces->len;
    if (piece != NULL) {
        piece->is_complete = true;
        piece->n_frames = event->n_frames;
        piece->media_ms = event->media_ms;
        piece->sent_us = event->now_us;
    } else if (n > 0 && event->is_last) { /* ended on the wire before */
        piece = &g_array_index(call->pieces, KvgPiece, n - 1);
    }
    if (piece == NULL || piece->fragment != event->fragment) /* evicted meanwhile */
        return;
    piece->is_last = event->is_last;
    Skip *skip = find_skip(session, event->fragment);
    if (skip == NULL) {
        call->latest_ms = MAX(call->latest_ms, event->latest_ms);
        check_done(session, call, event->fragment);
        return;
    }
    if (!skip->is_counted)
        session->counts.frames_refused += event->n_frames;
    skip->is_counted = true;
    finish_fragments(session, event->fragment, event->fragment);
}

static void
on_empty(KvgSession *session,
         KvgCall *call,
         const KvgSessionEvent *event,
         KvgSessionActions *actions)
{
    const bool is_backlog = call->lane == KVG_LANE_BACKLOG;
    if (is_backlog || session->is_closing)
        stop_call(session, call, is_backlog ? KVG_STREAM_END_BACKLOG : KVG_STREAM_END_CLOSED,
                  call->next, event->now_us, actions);
}

/* ---- acknowledgements ---- */

/* True when @fragment has failed so often that it must be its own fault. */
static bool
strike(KvgSession *session, uint64_t fragment)
{
    if (session->strike_fragment != fragment)
        session->strikes = 0;
    session->strike_fragment = fragment;
    session->strikes++;
    return session->strikes >= KVG_SESSION_STRIKES;
}

static const char *
judge_error(KvgSession *session, const KvgCall *call, const KvgAck *ack)
{
    const KvgAckVerdict verdict = kvg_verdict_of_ack(ack->error_id);
    const KvgPiece *piece = kvg_call_find_timecode(call, ack->timecode_ms);
    if (verdict == KVG_ACK_WAIT_STREAM) {
        session->is_described = false;
        return "describing the stream again";
    }
    if (verdict == KVG_ACK_WAIT_KEY)
        return "keeping the media until the stream's KMS key works";
    if (verdict == KVG_ACK_SKIP && piece != NULL) {
        add_skip(session, piece->fragment);
        return "fragment left out";
    }
    /* Without a usable timecode the first unacknowledged fragment is the suspect. */
    if (piece == NULL && call->pieces->len > 0)
        piece = &g_array_index(call->pieces, KvgPiece, 0);
    if (verdict != KVG_ACK_RESEND && piece != NULL && strike(session, piece->fragment)) {
        add_skip(session, piece->fragment);
        return "fragment left out";
    }
    return "sending again";
}

static void
on_error_ack(KvgSession *session,
             KvgCall *call,
             const KvgSessionEvent *event,
             KvgSessionActions *actions)
{
    const KvgAck *ack = event->ack;
    const char *then = judge_error(session, call, ack);
    session->counts.last_error_id = ack->error_id;
    g_autofree char *text = g_strdup_printf(
        "service error %d %s for fragment at %" G_GINT64_FORMAT "; %s", ack->error_id,
        ack->error_code[0] != '\0' ? ack->error_code : kvg_ack_error_code(ack->error_id),
        ack->timecode_ms, then);
    lose(session, call, KVG_STREAM_END_ERROR, event, text, actions);
}

static void
finish_piece(KvgSession *session, const KvgCall *call, KvgPiece *piece)
{
    /* One cut off by the end of a call is persisted in part; it will be sent again. */
    if (piece == NULL || !piece->is_complete)
        return;
    piece->is_persisted = true;
    check_done(session, call, piece->fragment);
}

static void
on_ack(KvgSession *session, KvgCall *call, const KvgSessionEvent *event, KvgSessionActions *actions)
{
    const KvgAck *ack = event->ack;
    KvgPiece *piece = kvg_call_find_timecode(call, ack->timecode_ms);
    call->last_ack_us = event->now_us;
    session->counts.acks[ack->type]++;
    switch (ack->type) {
    case KVG_ACK_BUFFERING:
        if (piece != NULL)
            session->counts.buffering_ms = (event->now_us - piece->begun_us) / 1000;
        return;
    case KVG_ACK_RECEIVED:
        kvg_backoff_reset(&session->lanes[call->lane].backoff);
        if (piece != NULL && piece->is_complete)
            session->counts.received_ms = (event->now_us - piece->sent_us) / 1000;
        if (session->received_is_final)
            finish_piece(session, call, piece);
        return;
    case KVG_ACK_PERSISTED:
        kvg_backoff_reset(&session->lanes[call->lane].backoff);
        finish_piece(session, call, piece);
        return;
    case KVG_ACK_ERROR:
        on_error_ack(session, call, event, actions);
        return;
    case KVG_ACK_IDLE:
    case KVG_ACK_UNKNOWN:
        return;
    }
}

/* ---- the life of a call ---- */

static void
on_open(KvgSession *session, KvgCall *call, int64_t now_us)
{
    session->skew_tried = false;
    session->counts.connect_ms = (now_us - call->opened_us) / 1000;
    if (call->stage == KVG_CALL_OPENING)
        call->stage = KVG_CALL_OPEN;
}

/* The body was ended, and everything is acknowledged. */
static void
finish_call(KvgSession *session, KvgCall *call, int64_t now_us)
{
    KvgCall *live = reader_of(session, KVG_LANE_LIVE);
    if (call->lane == KVG_LANE_BACKLOG) {
        session->turn = KVG_LANE_LIVE;
        /* The live call is the older one for the service now; a new one may stay. */
        if (live != NULL && !session->is_exclusive && call->has_begun)
            live->age_us = MIN(live->age_us, now_us);
    }
    drop_call(session, call, call->end);
}

/* The response ended properly. */
static void
on_end(KvgSession *session, KvgCall *call, const KvgSessionEvent *event, KvgSessionActions *actions)
{
    if (call->stage == KVG_CALL_ENDING && !kvg_call_owes(call)) {
        finish_call(session, call, event->now_us);
    } else if (call->stage == KVG_CALL_ENDING) {
        lose(session, call, KVG_STREAM_END_SERVICE, event,
             "the service ended the session without acknowledging all", actions);
    } else if (!call->reads) { /* it has waited too long for its turn */
        session->lanes[call->lane].retry_us = event->now_us + 10 * SECOND_US;
        drop_call(session, call, KVG_STREAM_END_IDLE);
    } else {
        lose(session, call, KVG_STREAM_END_SERVICE, event, "the service ended the session",
             actions);
    }
}

/* ---- time ---- */

/* Nothing to send for long: the service would end the session. */
static void
park(KvgSession *session, KvgCall *call, int64_t now_us, KvgSessionActions *actions)
{
    KvgCall *successor = find_successor(session);
    if (successor != NULL) {
        actions->abort |= bit_of(session, successor);
        drop_call(session, successor, KVG_STREAM_END_IDLE);
    }
    session->is_parked = true;
    actions->end_body |= bit_of(session, call);
    stop_call(session, call, KVG_STREAM_END_IDLE, call->next, now_us, actions);
}

static bool
wants_end_of_fragment(const KvgCall *call)
{
    return call->has_begun && !call->is_paused && call->latest_ms != INT64_MIN;
}

/* When @call has to be looked at again, and nothing else happens. */
static int64_t
call_deadline(const KvgSession *session, const KvgCall *call)
{
    if (call->stage == KVG_CALL_FREE)
        return INT64_MAX;
    const int64_t stale_us = kvg_call_stale_us(call, session->options.stale_us, UNPERSISTED_US);
    if (call->stage == KVG_CALL_ENDING)
        return kvg_call_owes(call) ? stale_us : call->last_ack_us + FAREWELL_US;
    if (!call->reads || !call->is_starved)
        return stale_us;
    return MIN(stale_us, call->last_sent_us +
                             (wants_end_of_fragment(call) ? session->options.pause_us : PARK_US));
}

static void
on_call_deadline(KvgSession *session,
                 KvgCall *call,
                 const KvgSessionEvent *event,
                 KvgSessionActions *actions)
{
    const int64_t now_us = event->now_us;
    if (kvg_call_stale_us(call, session->options.stale_us, UNPERSISTED_US) <= now_us) {
        g_autofree char *text = g_strdup_printf("no acknowledgement for %" G_GINT64_FORMAT " s",
                                                session->options.stale_us / SECOND_US);
        lose(session, call, KVG_STREAM_END_STALE, event, text, actions);
    } else if (call->stage == KVG_CALL_ENDING) {
        actions->abort |= bit_of(session, call);
        finish_call(session, call, now_us);
    } else if (wants_end_of_fragment(call)) {
        call->is_paused = true;
        actions->end_fragment |= bit_of(session, call);
    } else {
        park(session, call, now_us, actions);
    }
}

static void
on_tick(KvgSession *session, const KvgSessionEvent *event, KvgSessionActions *actions)
{
    for (size_t i = 0; i < KVG_SESSION_CALLS; i++) {
        if (call_deadline(session, &session->calls[i]) <= event->now_us)
            on_call_deadline(session, &session->calls[i], event, actions);
    }
}

/* When an answer has been missing for so long that people should know; INT64_MAX: none is awaited.
 */
static int64_t
silence_us(const KvgSession *session)
{
    int64_t at_us = INT64_MAX;
    bool has_call = false;
    for (size_t i = 0; i < KVG_SESSION_CALLS; i++) {
        const KvgCall *call = &session->calls[i];
        if (!call->reads && call->stage != KVG_CALL_ENDING)
            continue; /* free, or it only waits to follow another */
        has_call = true;
        at_us = MIN(at_us, call->stage == KVG_CALL_OPENING
                               ? call->opened_us + SILENCE_US
                               : kvg_call_stale_us(call, SILENCE_US, UNPERSISTED_US));
    }
    if (!has_call && session->fetching != FETCH_NOTHING)
        at_us = session->fetch_us + SILENCE_US;
    return at_us;
}

static void
consider(int64_t *wake_us, int64_t at_us, int64_t now_us)
{
    if (at_us > now_us) /* else it waits for something that will step the machine anyway */
        *wake_us = MIN(*wake_us, at_us);
}

static void
plan_wake(KvgSession *session, int64_t now_us)
{
    int64_t wake_us = INT64_MAX;
    const KvgCall *live = reader_of(session, KVG_LANE_LIVE);
    if (session->fetching == FETCH_NOTHING)
        consider(&wake_us, session->fetch_retry_us, now_us);
    consider(&wake_us, silence_us(session), now_us);
    for (int lane = KVG_LANE_LIVE; lane <= KVG_LANE_BACKLOG; lane++)
        may_open(session, (KvgLane)lane, now_us, &wake_us);
    for (size_t i = 0; i < KVG_SESSION_CALLS; i++)
        wake_us = MIN(wake_us, call_deadline(session, &session->calls[i]));
    if (live != NULL) {
        consider(&wake_us, live->age_us, now_us);
        if (session->keys_until_us > live->keys_until_us)
            consider(&wake_us, live->keys_us, now_us);
    }
    session->wake_us = wake_us;
}

/* ---- what was fetched ---- */

static void
on_keys(KvgSession *session, const KvgSessionEvent *event)
{
    session->keys_refused = false;
    /* Keys that are about to expire are still better than none: use them for what they are good. */
    session->keys_until_us =
        event->lifetime_ms <= 0
            ? INT64_MAX - SESSION_MAX_US
            : event->now_us + MAX(event->lifetime_ms * 1000, KEYS_GRACE_US + SECOND_US);
    if (session->fetching == FETCH_KEYS)
        session->fetching = FETCH_NOTHING;
}

static void
on_stream(KvgSession *session, const KvgSessionEvent *event, KvgSessionActions *actions)
{
    if (session->fetching != FETCH_STREAM)
        return;
    session->fetching = FETCH_NOTHING;
    session->skew_tried = false;
    session->is_described = event->is_active;
    session->received_is_final = event->retention_hours == 0;
    if (event->is_active)
        return;
    complain(session, actions, "the stream is not active yet");
    session->fetch_retry_us = retry_time(&session->fetch_backoff, event);
}

static void
on_endpoint(KvgSession *session, int64_t until_us)
{
    if (session->fetching != FETCH_ENDPOINT)
        return;
    session->fetching = FETCH_NOTHING;
    session->skew_tried = false;
    session->has_endpoint = true;
    session->endpoint_until_us = until_us;
}

static void
on_failed(KvgSession *session, const KvgSessionEvent *event, KvgSessionActions *actions)
{
    const Fetch was = session->fetching;
    if (was == FETCH_NOTHING)
        return;
    session->fetching = FETCH_NOTHING;
    if (was == FETCH_STREAM && event->code == KVG_ERROR_NOT_FOUND && session->options.create) {
        fetch(session, FETCH_CREATE, KVG_SESSION_DO_CREATE, event->now_us, actions);
        return;
    }
    /* Another process was quicker. */
    if (was == FETCH_CREATE && g_strcmp0(event->error_type, "ResourceInUseException") == 0)
        return;
    complain(session, actions, "%s", event->text != NULL ? event->text : "failed");
    if (forget(session, event))
        return;
    /* The data plane may work where the control plane does not. */
    const bool is_passing = event->code == KVG_ERROR_RETRY || event->code == KVG_ERROR_THROTTLED;
    if (was == FETCH_ENDPOINT && session->has_endpoint && is_passing)
        session->endpoint_until_us = event->now_us + ENDPOINT_AGAIN_US;
    else
        session->fetch_retry_us = retry_time(&session->fetch_backoff, event);
}

/* ---- the machine ---- */

static void
on_call_event(KvgSession *session, const KvgSessionEvent *event, KvgSessionActions *actions)
{
    g_return_if_fail(event->call < KVG_SESSION_CALLS);
    KvgCall *call = &session->calls[event->call];
    if (call->stage == KVG_CALL_FREE) { /* late news */
        actions->admit = KVG_ADMIT_STOP;
        return;
    }
    switch (event->kind) {
    case KVG_SESSION_ON_OPEN:
        on_open(session, call, event->now_us);
        return;
    case KVG_SESSION_ON_PUT_FAILED:
        lose(session, call, event->end, event, event->text != NULL ? event->text : "failed",
             actions);
        return;
    case KVG_SESSION_ON_BEGIN:
        on_begin(session, call, event, actions);
        return;
    case KVG_SESSION_ON_PIECE:
        begin_piece(session, call, event);
        return;
    case KVG_SESSION_ON_FRAGMENT:
        on_fragment(session, call, event);
        return;
    case KVG_SESSION_ON_GAP:
        finish_fragments(session, event->fragment, event->gap_end);
        call->next = MAX(call->next, event->gap_end + 1);
        return;
    case KVG_SESSION_ON_EMPTY:
        on_empty(session, call, event, actions);
        return;
    case KVG_SESSION_ON_ACK:
        on_ack(session, call, event, actions);
        return;
    case KVG_SESSION_ON_END:
        on_end(session, call, event, actions);
        return;
    case KVG_SESSION_ON_START:
    case KVG_SESSION_ON_DATA:
    case KVG_SESSION_ON_TICK:
    case KVG_SESSION_ON_CLOSE:
    case KVG_SESSION_ON_KEYS:
    case KVG_SESSION_ON_STREAM:
    case KVG_SESSION_ON_CREATED:
    case KVG_SESSION_ON_ENDPOINT:
    case KVG_SESSION_ON_FAILED:
        break;
    }
}

static void
on_event(KvgSession *session, const KvgSessionEvent *event, KvgSessionActions *actions)
{
    switch (event->kind) {
    case KVG_SESSION_ON_START:
        session->is_started = true;
        return;
    case KVG_SESSION_ON_DATA:
        session->is_parked = false;
        return;
    case KVG_SESSION_ON_TICK:
        on_tick(session, event, actions);
        return;
    case KVG_SESSION_ON_CLOSE:
        session->is_closing = true;
        session->is_parked = false;
        return;
    case KVG_SESSION_ON_KEYS:
        on_keys(session, event);
        return;
    case KVG_SESSION_ON_STREAM:
        on_stream(session, event, actions);
        return;
    case KVG_SESSION_ON_CREATED:
        if (session->fetching == FETCH_CREATE)
            session->fetching = FETCH_NOTHING;
        return;
    case KVG_SESSION_ON_ENDPOINT:
        on_endpoint(session, event->now_us + ENDPOINT_MAX_US);
        return;
    case KVG_SESSION_ON_FAILED:
        on_failed(session, event, actions);
        return;
    case KVG_SESSION_ON_OPEN:
    case KVG_SESSION_ON_PUT_FAILED:
    case KVG_SESSION_ON_BEGIN:
    case KVG_SESSION_ON_PIECE:
    case KVG_SESSION_ON_FRAGMENT:
    case KVG_SESSION_ON_GAP:
    case KVG_SESSION_ON_EMPTY:
    case KVG_SESSION_ON_ACK:
    case KVG_SESSION_ON_END:
        break;
    }
    on_call_event(session, event, actions);
}

static KvgSessionState
state_now(KvgSession *session, int64_t now_us)
{
    static const KvgSessionState of_fetch[] = {[FETCH_KEYS] = KVG_SESSION_KEYS,
                                               [FETCH_STREAM] = KVG_SESSION_DESCRIBE,
                                               [FETCH_CREATE] = KVG_SESSION_CREATE,
                                               [FETCH_ENDPOINT] = KVG_SESSION_ENDPOINT};
    unsigned in_stage[KVG_CALL_ENDING + 1] = {0};
    for (size_t i = 0; i < KVG_SESSION_CALLS; i++)
        in_stage[session->calls[i].stage]++;
    if (session->is_closed)
        return KVG_SESSION_CLOSED;
    if (!session->is_started)
        return KVG_SESSION_IDLE;
    if (in_stage[KVG_CALL_OPEN] > 0)
        return KVG_SESSION_STREAMING;
    if (in_stage[KVG_CALL_OPENING] > 0)
        return KVG_SESSION_CONNECT;
    if (session->fetching != FETCH_NOTHING)
        return of_fetch[session->fetching];
    if (in_stage[KVG_CALL_ENDING] > 0)
        return KVG_SESSION_DRAINING;
    const bool wants = !session->was_ready || live_start(session) != 0;
    const bool waits =
        now_us < session->fetch_retry_us || now_us < session->lanes[KVG_LANE_LIVE].retry_us;
    return wants && waits ? KVG_SESSION_WAITING : KVG_SESSION_READY;
}

static const char *
reason_now(const KvgSession *session, KvgSessionState state)
{
    switch (state) {
    case KVG_SESSION_IDLE:
        return "";
    case KVG_SESSION_KEYS:
        return "getting credentials";
    case KVG_SESSION_DESCRIBE:
        return "looking for the stream";
    case KVG_SESSION_CREATE:
        return "creating the stream";
    case KVG_SESSION_ENDPOINT:
        return "asking for the data endpoint";
    case KVG_SESSION_READY:
        return "ready; waiting for frames";
    case KVG_SESSION_CONNECT:
        return "opening PutMedia";
    case KVG_SESSION_STREAMING:
        return session->is_behind ? "streaming; catching up" : "streaming";
    case KVG_SESSION_DRAINING:
        return "waiting for the last acknowledgements";
    case KVG_SESSION_WAITING:
        return session->trouble;
    case KVG_SESSION_CLOSED:
        return "closed";
    }
    return "";
}

void
kvg_session_step(KvgSession *session, const KvgSessionEvent *event, KvgSessionActions *actions)
{
    *actions = (KvgSessionActions){0};
    if (session->is_closed) {
        actions->admit = KVG_ADMIT_STOP;
        return;
    }
    follow_spool(session, event);
    on_event(session, event, actions);
    if (session->is_started)
        advance(session, event->now_us, actions);
    if (session->done.front > session->told) {
        session->told = session->done.front;
        actions->persisted = session->done.front - 1;
        actions->todo |= KVG_SESSION_DO_PERSIST;
    }
    const KvgSessionState state = state_now(session, event->now_us);
    const bool is_silent = silence_us(session) <= event->now_us;
    char reason[sizeof session->reason];
    g_snprintf(reason, sizeof reason, "%s%s", reason_now(session, state),
               is_silent ? "; no answer for 3 s: the network or the service may be down" : "");
    if (state != session->state || strcmp(reason, session->reason) != 0)
        actions->todo |= KVG_SESSION_DO_NOTIFY;
    session->state = state;
    g_strlcpy(session->reason, reason, sizeof session->reason);
    plan_wake(session, event->now_us);
}

/* ---- questions ---- */

KvgSessionState
kvg_session_state(const KvgSession *session)
{
    return session->state;
}

const char *
kvg_session_reason(const KvgSession *session)
{
    return session->reason;
}

const char *
kvg_session_trouble(const KvgSession *session)
{
    return session->trouble;
}

const KvgSessionCounts *
kvg_session_counts(const KvgSession *session)
{
    return &session->counts;
}

int64_t
kvg_session_deadline_us(const KvgSession *session)
{
    return session->is_closed ? INT64_MAX : session->wake_us;
}

bool
kvg_session_may_send(const KvgSession *session, unsigned call)
{
    return session->calls[call].reads && session->calls[call].pieces->len < KVG_CALL_WINDOW;
}

uint64_t
kvg_session_start(const KvgSession *session, unsigned call)
{
    return session->calls[call].start;
}

KvgLane
kvg_session_lane(const KvgSession *session, unsigned call)
{
    return session->calls[call].lane;
}

int
kvg_session_live_call(const KvgSession *session)
{
    return session->lanes[KVG_LANE_LIVE].reader;
}

bool
kvg_session_is_behind(const KvgSession *session)
{
    return session->is_behind;
}

void
kvg_session_note_sent(KvgSession *session, unsigned index, int64_t now_us, bool starved)
{
    KvgCall *call = &session->calls[index];
    call->last_sent_us = now_us;
    call->is_starved = starved;
    if (starved)
        session->wake_us = MIN(session->wake_us, call_deadline(session, call));
}
