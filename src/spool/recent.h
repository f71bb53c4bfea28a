/* The newest frames of a spool once more, in memory: a reader that keeps up takes them from here
 * and spares reading back what was just written. Copies, so that no buffer of a camera is held;
 * nothing is kept unless a reader has come to the end, and all of it is let go when it falls
 * behind. Under the spool's lock. */
#pragma once

#include <glib.h>
#include <kvg/frame.h>
#include <stdbool.h>
#include <stdint.h>

/* What comes between two looks of the uploader: two frames at 50 ms, more after a slow write. */
#define KVG_SPOOL_RECENT_FRAMES 8
#define KVG_SPOOL_RECENT_BYTES (256u * 1024)

typedef struct {
    struct {
        uint64_t fragment;
        uint64_t offset; /* of the record, from the fragment's start */
        KvgFrame frame;
    } frames[KVG_SPOOL_RECENT_FRAMES];
    unsigned n;
    size_t bytes;
    bool is_followed; /* a reader has come to the end and kept up since */
} KvgSpoolRecent;

/* Keeps @data (taken) as the payload of @frame. */
void kvg_spool_recent_put(KvgSpoolRecent *recent,
                          uint64_t fragment,
                          uint64_t offset,
                          const KvgFrame *frame,
                          GBytes *data);
/* The frame whose record lies at @offset; false: not here. Owned by the caller. */
bool
kvg_spool_recent_take(KvgSpoolRecent *recent, uint64_t fragment, uint64_t offset, KvgFrame *frame);
/* A reader has read everything. */
void kvg_spool_recent_at_end(KvgSpoolRecent *recent);
void kvg_spool_recent_clear(KvgSpoolRecent *recent);
