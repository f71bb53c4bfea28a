/* What is sent in the calls of a session, and what the acknowledgements make of it. */
#include "putmedia/session_private.h"

#define MAX_SKIPS 256

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

void
kvg_session_finish_fragments(KvgSession *session, uint64_t from, uint64_t to)
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
    kvg_session_finish_fragments(session, fragment, fragment);
}

void
kvg_session_follow_spool(KvgSession *session, const KvgSessionEvent *event)
{
    session->oldest = event->oldest;
    session->newest = event->newest;
    if (event->oldest <= session->done.front)
        return;
    kvg_session_finish_fragments(session, session->done.front, event->oldest - 1);
    session->told = session->done.front;
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
    const KvgCall *successor = kvg_session_find_successor(session);
    if (successor != NULL && successor->stage == KVG_CALL_OPEN)
        return KVG_STREAM_END_ROTATED;
    if (!session->is_exclusive)
        return -1;
    return kvg_session_wants_rotation(session, call, event->now_us) ? KVG_STREAM_END_ROTATED : -1;
}

/* With one call at a time: whether the backlog should have its turn before @fragment. */
static bool
yields(KvgSession *session, const KvgCall *call, int64_t now_us)
{
    return session->is_exclusive && call->lane == KVG_LANE_LIVE && call->has_begun &&
           now_us >= call->opened_us + SHORT_TURN_US && kvg_session_backlog_start(session) != 0;
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

void
kvg_session_begin_piece(KvgSession *session, KvgCall *call, const KvgSessionEvent *event)
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

void
kvg_session_on_begin(KvgSession *session,
                     KvgCall *call,
                     const KvgSessionEvent *event,
                     KvgSessionActions *actions)
{
    const uint64_t fragment = event->fragment;
    if (call->next < fragment) /* what lies between is not in the spool */
        kvg_session_finish_fragments(session, call->next, fragment - 1);
    call->next = fragment + 1;
    actions->admit = KVG_ADMIT_PASS;
    if (kvg_done_next(&session->done, fragment) != fragment || is_under_way(session, fragment))
        return;
    const bool does_yield = yields(session, call, event->now_us);
    const int stop = does_yield ? (int)KVG_STREAM_END_BACKLOG : why_stop(session, call, event);
    if (stop >= 0) {
        session->turn = does_yield ? KVG_LANE_BACKLOG : KVG_LANE_LIVE;
        kvg_session_stop_call(session, call, (KvgStreamEnd)stop, fragment, event->now_us, actions);
        return;
    }
    kvg_session_begin_piece(session, call, event);
    actions->admit = find_skip(session, fragment) != NULL ? KVG_ADMIT_READ_OVER : KVG_ADMIT_SEND;
}

void
kvg_session_on_fragment(KvgSession *session, KvgCall *call, const KvgSessionEvent *event)
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
    kvg_session_finish_fragments(session, event->fragment, event->fragment);
}

void
kvg_session_on_empty(KvgSession *session,
                     KvgCall *call,
                     const KvgSessionEvent *event,
                     KvgSessionActions *actions)
{
    const bool is_idle = session->options.holds && !event->expects_more;
    if (call->lane == KVG_LANE_BACKLOG) {
        kvg_session_stop_call(session, call, KVG_STREAM_END_BACKLOG, call->next, event->now_us,
                              actions);
    } else if (session->is_closing || is_idle) {
        kvg_session_drop_successor(session, actions);
        kvg_session_stop_call(session, call,
                              session->is_closing ? KVG_STREAM_END_CLOSED : KVG_STREAM_END_IDLE,
                              call->next, event->now_us, actions);
    }
}

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
    kvg_session_lose(session, call, KVG_STREAM_END_ERROR, event, text, actions);
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

void
kvg_session_on_ack(KvgSession *session,
                   KvgCall *call,
                   const KvgSessionEvent *event,
                   KvgSessionActions *actions)
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
