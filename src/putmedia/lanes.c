/* The PutMedia calls of a session: when one is opened, follows another, is lost, or ends. */
#include "putmedia/session_private.h"

/* A turn of catching up beside the live call: kvg-server (and, it seems, the service) ends the
 * older of two calls after some 15 s, and by then the live one has followed. */
#define TURN_US (8 * SECOND_US)
/* PutMedia may be called five times a second for a stream. */
#define PUT_INTERVAL_US (SECOND_US / 4)

static unsigned
index_of(const KvgSession *session, const KvgCall *call)
{
    return (unsigned)(call - session->calls);
}

unsigned
kvg_session_bit_of(const KvgSession *session, const KvgCall *call)
{
    return 1u << index_of(session, call);
}

KvgCall *
kvg_session_reader_of(KvgSession *session, KvgLane lane)
{
    const int reader = session->lanes[lane].reader;
    return reader >= 0 ? &session->calls[reader] : NULL;
}

KvgCall *
kvg_session_find_successor(KvgSession *session)
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

uint64_t
kvg_session_live_start(const KvgSession *session)
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

uint64_t
kvg_session_backlog_start(const KvgSession *session)
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

void
kvg_session_open_call(KvgSession *session, KvgLane lane, int64_t now_us, KvgSessionActions *actions)
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
        call->start = call->next = lane == KVG_LANE_LIVE ? kvg_session_live_start(session)
                                                         : kvg_session_backlog_start(session);
        session->lanes[lane].reader = (int)index_of(session, call);
        if (lane == KVG_LANE_LIVE)
            session->live_next = call->start;
    }
    session->put_at_us = now_us + PUT_INTERVAL_US;
    session->counts.sessions++;
    actions->put |= kvg_session_bit_of(session, call);
}

bool
kvg_session_wants_rotation(const KvgSession *session, const KvgCall *live, int64_t now_us)
{
    return now_us >= live->age_us ||
           (now_us >= live->keys_us && session->keys_until_us > live->keys_until_us);
}

/* Whether @lane lacks a call. */
static bool
lacks_call(KvgSession *session, KvgLane lane, int64_t now_us)
{
    const KvgCall *reader = kvg_session_reader_of(session, lane);
    if (lane == KVG_LANE_BACKLOG) {
        const bool is_turn = session->is_exclusive ? session->turn == KVG_LANE_BACKLOG
                                                   : session->lanes[KVG_LANE_LIVE].reader >= 0;
        return reader == NULL && is_turn && kvg_session_backlog_start(session) != 0;
    }
    if (reader == NULL) {
        const bool waits = session->is_exclusive && session->turn == KVG_LANE_BACKLOG &&
                           kvg_session_backlog_start(session) != 0;
        return !waits && kvg_session_live_start(session) != 0;
    }
    return !session->is_exclusive && reader->has_begun &&
           kvg_session_find_successor(session) == NULL &&
           kvg_session_wants_rotation(session, reader, now_us);
}

bool
kvg_session_may_open(KvgSession *session, KvgLane lane, int64_t now_us, int64_t *at_us)
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
    actions->resume |= kvg_session_bit_of(session, successor);
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
    KvgCall *live = kvg_session_reader_of(session, KVG_LANE_LIVE);
    kvg_done_rewind(&session->done);
    if (call->stage != KVG_CALL_ENDING || call->pieces->len == 0 || live == NULL)
        return;
    actions->abort |= kvg_session_bit_of(session, live);
    drop_call(session, live, end);
}

void
kvg_session_lose(KvgSession *session,
                 KvgCall *call,
                 KvgStreamEnd end,
                 const KvgSessionEvent *event,
                 const char *text,
                 KvgSessionActions *actions)
{
    const bool is_limit = g_strcmp0(event->error_type, "ConnectionLimitExceededException") == 0 &&
                          count_calls(session) > 1;
    const bool at_once = kvg_session_forget(session, event);
    if (!session->options.live_first)
        roll_back(session, call, end, actions);
    Lane *lane = &session->lanes[heir_of(session, call)];
    kvg_session_complain(session, actions, "%s", text);
    actions->abort |= kvg_session_bit_of(session, call);
    drop_call(session, call, end);
    session->is_parked = false;
    if (is_limit) {
        session->is_exclusive = true;
        session->exclusive_until_us = event->now_us + EXCLUSIVE_US;
    }
    if (session->is_exclusive)
        session->turn = KVG_LANE_LIVE;
    /* An endpoint that has answered in words is the right one, unless it says otherwise. */
    if (!at_once && end != KVG_STREAM_END_ERROR && event->code != KVG_ERROR_THROTTLED)
        session->endpoint_until_us = INT64_MIN;
    lane->retry_us = at_once ? event->now_us : kvg_session_retry_time(&lane->backoff, event);
    KvgCall *successor = kvg_session_find_successor(session);
    const uint64_t start = kvg_session_live_start(session);
    if (session->lanes[KVG_LANE_LIVE].reader < 0 && successor != NULL && start != 0)
        promote(session, successor, start, actions);
}

void
kvg_session_stop_call(KvgSession *session,
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
    KvgCall *successor = kvg_session_find_successor(session);
    if (successor != NULL && next != 0)
        promote(session, successor, next, actions);
}

void
kvg_session_on_open(KvgSession *session, KvgCall *call, int64_t now_us)
{
    session->skew_tried = false;
    session->counts.connect_ms = (now_us - call->opened_us) / 1000;
    if (call->stage == KVG_CALL_OPENING)
        call->stage = KVG_CALL_OPEN;
}

void
kvg_session_finish_call(KvgSession *session, KvgCall *call, int64_t now_us)
{
    KvgCall *live = kvg_session_reader_of(session, KVG_LANE_LIVE);
    if (call->lane == KVG_LANE_BACKLOG) {
        session->turn = KVG_LANE_LIVE;
        /* The live call is the older one for the service now; a new one may stay. */
        if (live != NULL && !session->is_exclusive && call->has_begun)
            live->age_us = MIN(live->age_us, now_us);
    }
    drop_call(session, call, call->end);
}

void
kvg_session_on_end(KvgSession *session,
                   KvgCall *call,
                   const KvgSessionEvent *event,
                   KvgSessionActions *actions)
{
    if (call->stage == KVG_CALL_ENDING && !kvg_call_owes(call)) {
        kvg_session_finish_call(session, call, event->now_us);
    } else if (call->stage == KVG_CALL_ENDING) {
        kvg_session_lose(session, call, KVG_STREAM_END_SERVICE, event,
                         "the service ended the session without acknowledging all", actions);
    } else if (!call->reads) { /* it has waited too long for its turn */
        session->lanes[call->lane].retry_us = event->now_us + 10 * SECOND_US;
        drop_call(session, call, KVG_STREAM_END_IDLE);
    } else {
        kvg_session_lose(session, call, KVG_STREAM_END_SERVICE, event,
                         "the service ended the session", actions);
    }
}

void
kvg_session_drop_successor(KvgSession *session, KvgSessionActions *actions)
{
    KvgCall *successor = kvg_session_find_successor(session);
    if (successor == NULL)
        return;
    actions->abort |= kvg_session_bit_of(session, successor);
    drop_call(session, successor, KVG_STREAM_END_IDLE);
}

void
kvg_session_park(KvgSession *session, KvgCall *call, int64_t now_us, KvgSessionActions *actions)
{
    kvg_session_drop_successor(session, actions);
    session->is_parked = true;
    actions->end_body |= kvg_session_bit_of(session, call);
    kvg_session_stop_call(session, call, KVG_STREAM_END_IDLE, call->next, now_us, actions);
}
