/* Puts the frames of two tracks in one order, each track's own order kept: a frame goes out once
 * nothing earlier can still come from the other track. No I/O; the clock is a parameter.
 *
 * A track that keeps the other waiting longer than its patience is taken for silent: the other goes
 * on alone, and the silent one is waited for again when it has delivered a frame. */
#pragma once

#include "plugin/input.h"

#define KVG_INTERLEAVER_TRACKS 2

typedef struct {
    KvgFrame frame; /* data owned */
    KvgTrackInfo *info;
    /* Its place: decoding time, but presentation time for key frames of video: what is heard before
     * that picture belongs to the fragment before. */
    int64_t place_us;
    int64_t arrived_us; /* monotonic */
} KvgInterleaved;
void kvg_interleaved_clear(KvgInterleaved *item);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(KvgInterleaved, kvg_interleaved_clear)

typedef struct {
    GQueue waiting; /* of KvgInterleaved, owned */
    bool is_open;   /* there is such a pad */
    bool is_ended;
    bool is_silent;
    int64_t reached_us; /* nothing earlier comes any more; INT64_MIN: nothing came yet */
    int64_t patience_us;
} KvgInterleaverTrack;

typedef struct {
    KvgInterleaverTrack tracks[KVG_INTERLEAVER_TRACKS];
    size_t waiting_bytes;
} KvgInterleaver;

void kvg_interleaver_init(KvgInterleaver *interleaver);
void kvg_interleaver_clear(KvgInterleaver *interleaver);
/* @patience_us: how long the other track's frames wait for this one's. */
void kvg_interleaver_open(KvgInterleaver *interleaver, unsigned track, int64_t patience_us);
void kvg_interleaver_close(KvgInterleaver *interleaver, unsigned track);
/* End of stream, or (false) its revocation by a flush. */
void kvg_interleaver_set_ended(KvgInterleaver *interleaver, unsigned track, bool ended);
/* Takes over what @item holds. */
void kvg_interleaver_put(KvgInterleaver *interleaver, unsigned track, KvgInterleaved *item);
/* The track has nothing before @place_us. */
void kvg_interleaver_advance(KvgInterleaver *interleaver, unsigned track, int64_t place_us);
/* The next frame; false: none may go yet. @all: without waiting for anything. */
bool kvg_interleaver_take(
    KvgInterleaver *interleaver, int64_t now_us, bool all, unsigned *track, KvgInterleaved *item);
/* True: so much waits of @track that its source should be held back. */
bool kvg_interleaver_is_ahead(const KvgInterleaver *interleaver, unsigned track);
