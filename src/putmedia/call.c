#include "putmedia/call.h"

void
kvg_call_init(KvgCall *call)
{
    *call = (KvgCall){.pieces = g_array_new(FALSE, FALSE, sizeof(KvgPiece))};
}

void
kvg_call_clear(KvgCall *call)
{
    g_array_unref(call->pieces);
}

static KvgPiece *
at(const KvgCall *call, guint i)
{
    return &g_array_index(call->pieces, KvgPiece, i);
}

void
kvg_call_begin(KvgCall *call, KvgLane lane, int64_t now_us)
{
    GArray *pieces = call->pieces;
    g_array_set_size(pieces, 0);
    *call = (KvgCall){.stage = KVG_CALL_OPENING,
                      .lane = lane,
                      .opened_us = now_us,
                      .last_ack_us = now_us,
                      .last_sent_us = now_us,
                      .turn_us = INT64_MAX,
                      .latest_ms = INT64_MIN,
                      .pieces = pieces};
}

void
kvg_call_end(KvgCall *call)
{
    g_array_set_size(call->pieces, 0);
    call->stage = KVG_CALL_FREE;
    call->reads = false;
}

bool
kvg_call_covers(const KvgCall *call, uint64_t fragment)
{
    const guint n = call->pieces->len;
    return n > 0 && at(call, 0)->fragment <= fragment && fragment <= at(call, n - 1)->fragment;
}

KvgPiece *
kvg_call_find_timecode(const KvgCall *call, int64_t timecode_ms)
{
    for (guint i = 0; i < call->pieces->len; i++) {
        if (at(call, i)->timecode_ms == timecode_ms && !at(call, i)->is_persisted)
            return at(call, i);
    }
    return NULL;
}

KvgPiece *
kvg_call_open_piece(const KvgCall *call, uint64_t fragment)
{
    const guint n = call->pieces->len;
    KvgPiece *last = n > 0 ? at(call, n - 1) : NULL;
    return last != NULL && last->fragment == fragment && !last->is_complete ? last : NULL;
}

void
kvg_call_add_piece(KvgCall *call, uint64_t fragment, int64_t timecode_ms, int64_t now_us)
{
    const KvgPiece piece = {
        .fragment = fragment, .timecode_ms = timecode_ms, .begun_us = now_us, .sent_us = now_us};
    g_array_append_val(call->pieces, piece);
    call->has_begun = true;
    call->is_paused = false;
}

bool
kvg_call_is_done(const KvgCall *call, uint64_t fragment, KvgPiece *sum)
{
    *sum = (KvgPiece){0};
    bool is_complete = false;
    for (guint i = 0; i < call->pieces->len; i++) {
        const KvgPiece *piece = at(call, i);
        if (piece->fragment != fragment)
            continue;
        if (!piece->is_persisted)
            return false;
        sum->n_frames += piece->n_frames;
        sum->media_ms += piece->media_ms;
        is_complete = piece->is_last;
    }
    return is_complete;
}

void
kvg_call_forget(KvgCall *call, uint64_t from, uint64_t to)
{
    guint keep = 0;
    for (guint i = 0; i < call->pieces->len; i++) {
        if (at(call, i)->fragment < from || at(call, i)->fragment > to)
            *at(call, keep++) = *at(call, i);
    }
    g_array_set_size(call->pieces, keep);
}

bool
kvg_call_owes(const KvgCall *call)
{
    for (guint i = 0; i < call->pieces->len; i++) {
        if (at(call, i)->is_complete && !at(call, i)->is_persisted)
            return true;
    }
    return false;
}

/* The first piece that is not persisted yet; NULL. */
static const KvgPiece *
first_owed(const KvgCall *call)
{
    for (guint i = 0; i < call->pieces->len; i++) {
        if (!at(call, i)->is_persisted)
            return at(call, i);
    }
    return NULL;
}

int64_t
kvg_call_stale_us(const KvgCall *call, int64_t limit_us, int64_t unpersisted_us)
{
    const KvgPiece *oldest = first_owed(call);
    if (oldest == NULL)
        return call->stage == KVG_CALL_OPENING ? call->last_ack_us + limit_us : INT64_MAX;
    /* While bytes of it go, a line is only slow. */
    const int64_t sent_us = oldest->is_complete ? oldest->sent_us : call->last_sent_us;
    const int64_t silent_us = MAX(call->last_ack_us, sent_us) + limit_us;
    return oldest->is_complete ? MIN(silent_us, sent_us + unpersisted_us) : silent_us;
}
