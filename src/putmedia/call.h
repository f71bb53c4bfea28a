/* One PutMedia call as the session sees it: what was sent in it and how it was acknowledged. Pure.
 *
 * A piece is what stands in one Cluster on the wire and is acknowledged by its timecode. Nearly
 * always it is a whole fragment of the spool; a fragment whose camera pauses in the middle is ended
 * on the wire, and goes on in a further piece. A fragment is done when all its pieces are. */
#pragma once

#include "wire/ack.h"
#include <glib.h>
#include <kvg/producer.h>
#include <stdbool.h>
#include <stdint.h>

/* Unacknowledged pieces of a call; bounds memory while a backlog goes up. */
#define KVG_CALL_WINDOW 512

typedef enum {
    KVG_LANE_LIVE,    /* what the camera delivers now */
    KVG_LANE_BACKLOG, /* what was left behind */
} KvgLane;

typedef enum {
    KVG_CALL_FREE,
    KVG_CALL_OPENING, /* begun, no answer yet; the body may flow already */
    KVG_CALL_OPEN,    /* answered 200 */
    KVG_CALL_ENDING,  /* body ended; the last acknowledgements are awaited */
} KvgCallStage;

typedef struct {
    uint64_t fragment;
    int64_t timecode_ms, media_ms;
    int64_t begun_us, sent_us;
    uint32_t n_frames;
    bool is_complete; /* all of it was handed to the connection */
    bool is_last;     /* with it the fragment is complete */
    bool is_persisted;
} KvgPiece;

typedef struct {
    KvgCallStage stage;
    KvgLane lane;
    bool reads;     /* it sends what its lane reads; false: it waits to follow another */
    bool has_begun; /* something was sent in it */
    uint64_t start; /* first fragment to read */
    uint64_t next;  /* the one expected next */
    KvgStreamEnd end;
    int64_t opened_us;
    int64_t age_us;  /* when it shall make way for its age */
    int64_t keys_us; /* ... for its credentials, if there are newer ones */
    int64_t turn_us; /* backlog: when its turn is over */
    int64_t keys_until_us;
    int64_t last_ack_us, last_sent_us;
    bool is_starved;   /* nothing more to send at last_sent_us */
    bool is_paused;    /* its last piece was ended on the wire */
    int64_t latest_ms; /* latest timestamp sent; INT64_MIN: none */
    GArray *pieces;    /* KvgPiece, in the order sent */
} KvgCall;

void kvg_call_init(KvgCall *call);
void kvg_call_clear(KvgCall *call);
/* Ready for a new PutMedia. */
void kvg_call_begin(KvgCall *call, KvgLane lane, int64_t now_us);
/* No pieces any more, FREE. */
void kvg_call_end(KvgCall *call);

/* Whether the call has begun @fragment and not finished it (or one before and one after it). */
bool kvg_call_covers(const KvgCall *call, uint64_t fragment);
KvgPiece *kvg_call_find_timecode(const KvgCall *call, int64_t timecode_ms);
/* The last piece, if it is of @fragment and still being sent; else NULL. */
KvgPiece *kvg_call_open_piece(const KvgCall *call, uint64_t fragment);
void kvg_call_add_piece(KvgCall *call, uint64_t fragment, int64_t timecode_ms, int64_t now_us);
/* Every piece of @fragment is persisted and the fragment complete: true, and what was in it. */
bool kvg_call_is_done(const KvgCall *call, uint64_t fragment, KvgPiece *sum);
/* Forgets the pieces of [from, to]. */
void kvg_call_forget(KvgCall *call, uint64_t from, uint64_t to);
/* Something complete is not persisted. */
bool kvg_call_owes(const KvgCall *call);
/* When the silence of the service has lasted too long; INT64_MAX for never. */
int64_t kvg_call_stale_us(const KvgCall *call, int64_t limit_us, int64_t unpersisted_us);
