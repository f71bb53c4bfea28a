#include "putmedia/session_private.h"

#include <string.h>

/* Endpoints stay valid for long; any failure of PutMedia asks again anyway. */
#define ENDPOINT_MAX_US (12 * 3600 * SECOND_US)
/* Acknowledged in part but never PERSISTED. */
#define UNPERSISTED_US (90 * SECOND_US)
/* The service ends a session after 30 s without data. */
#define PARK_US (15 * SECOND_US)
/* For the end of a response when everything is acknowledged. */
#define FAREWELL_US (5 * SECOND_US)
/* So long nobody needs to know that an answer is awaited. */
#define SILENCE_US (3 * SECOND_US)
#define BACKOFF_BASE_MS 500
#define BACKOFF_CAP_MS 20000

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
    session->was_ready = options->holds; /* nothing is fetched before it is needed */
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
    if (now_us >= session->exclusive_until_us)
        session->is_exclusive = false;
    int64_t at_us = INT64_MAX;
    const bool opens = kvg_session_may_open(session, KVG_LANE_LIVE, now_us, &at_us) ||
                       kvg_session_may_open(session, KVG_LANE_BACKLOG, now_us, &at_us);
    /* Everything is fetched at the start, so that trouble shows early; later only when needed. */
    if ((!opens && session->was_ready) || !kvg_session_prepare(session, now_us, actions))
        return;
    session->was_ready = true;
    kvg_backoff_reset(&session->fetch_backoff);
    for (int lane = KVG_LANE_LIVE; lane <= KVG_LANE_BACKLOG; lane++) {
        if (kvg_session_may_open(session, (KvgLane)lane, now_us, &at_us))
            kvg_session_open_call(session, (KvgLane)lane, now_us, actions);
    }
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
        kvg_session_lose(session, call, KVG_STREAM_END_STALE, event, text, actions);
    } else if (call->stage == KVG_CALL_ENDING) {
        actions->abort |= kvg_session_bit_of(session, call);
        kvg_session_finish_call(session, call, now_us);
    } else if (wants_end_of_fragment(call)) {
        call->is_paused = true;
        actions->end_fragment |= kvg_session_bit_of(session, call);
    } else {
        kvg_session_park(session, call, now_us, actions);
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
    const KvgCall *live = kvg_session_reader_of(session, KVG_LANE_LIVE);
    if (session->fetching == FETCH_NOTHING)
        consider(&wake_us, session->fetch_retry_us, now_us);
    consider(&wake_us, silence_us(session), now_us);
    for (int lane = KVG_LANE_LIVE; lane <= KVG_LANE_BACKLOG; lane++)
        kvg_session_may_open(session, (KvgLane)lane, now_us, &wake_us);
    for (size_t i = 0; i < KVG_SESSION_CALLS; i++)
        wake_us = MIN(wake_us, call_deadline(session, &session->calls[i]));
    if (live != NULL) {
        consider(&wake_us, live->age_us, now_us);
        if (session->keys_until_us > live->keys_until_us)
            consider(&wake_us, live->keys_us, now_us);
    }
    session->wake_us = wake_us;
}

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
        kvg_session_on_open(session, call, event->now_us);
        return;
    case KVG_SESSION_ON_PUT_FAILED:
        kvg_session_lose(session, call, event->end, event,
                         event->text != NULL ? event->text : "failed", actions);
        return;
    case KVG_SESSION_ON_BEGIN:
        kvg_session_on_begin(session, call, event, actions);
        return;
    case KVG_SESSION_ON_PIECE:
        kvg_session_begin_piece(session, call, event);
        return;
    case KVG_SESSION_ON_FRAGMENT:
        kvg_session_on_fragment(session, call, event);
        return;
    case KVG_SESSION_ON_GAP:
        kvg_session_finish_fragments(session, event->fragment, event->gap_end);
        call->next = MAX(call->next, event->gap_end + 1);
        return;
    case KVG_SESSION_ON_EMPTY:
        kvg_session_on_empty(session, call, event, actions);
        return;
    case KVG_SESSION_ON_ACK:
        kvg_session_on_ack(session, call, event, actions);
        return;
    case KVG_SESSION_ON_END:
        kvg_session_on_end(session, call, event, actions);
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
        kvg_session_on_keys(session, event);
        return;
    case KVG_SESSION_ON_STREAM:
        kvg_session_on_stream(session, event, actions);
        return;
    case KVG_SESSION_ON_CREATED:
        if (session->fetching == FETCH_CREATE)
            session->fetching = FETCH_NOTHING;
        return;
    case KVG_SESSION_ON_ENDPOINT:
        kvg_session_on_endpoint(session, event->now_us + ENDPOINT_MAX_US);
        return;
    case KVG_SESSION_ON_FAILED:
        kvg_session_on_failed(session, event, actions);
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
    const bool wants = !session->was_ready || kvg_session_live_start(session) != 0;
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
        return session->options.holds ? "holding; nothing is asked for"
                                      : "ready; waiting for frames";
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
    kvg_session_follow_spool(session, event);
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
