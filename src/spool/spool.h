/* The spool of one stream: every frame goes through it, outage or not. A folder of append-only
 * segment files of checksummed records, and a cursor file with what is PERSISTED. One writer thread
 * (the camera's) and any number of readers (the uploader's) may use a spool at the same time; a
 * reader may follow the open fragment. Hides: file format, recovery of torn tails, quota. Format:
 * docs/internals/spool.md. */
#pragma once

#include <glib.h>
#include <kvg/frame.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct _KvgSpool KvgSpool;

typedef struct {
    const char *path;       /* required: folder of this stream; made if absent, mode 0700 */
    uint64_t limit_bytes;   /* 0: 1 GiB */
    uint32_t segment_bytes; /* 0: 16 MiB */
    /* Called with no lock held, on the writer's thread, after each record that a reader may want.
     */
    void (*on_data)(void *user_data);
    void *user_data;
} KvgSpoolOptions;

/* Opens or creates; locks the folder (KVG_ERROR_INVALID if another process holds it); truncates a
 * torn record at the tail; drops what the cursor says is persisted. An interrupted last fragment is
 * closed at its last whole frame. */
KvgSpool *kvg_spool_open(const KvgSpoolOptions *options, GError **error);
void kvg_spool_close(KvgSpool *spool);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgSpool, kvg_spool_close)

/* ---- writer ---- */

/* Fragments are numbered from 1, strictly growing over the life of the folder. */

/* Tracks for the fragments begun from now on; written again at the head of each segment. */
bool kvg_spool_put_tracks(KvgSpool *spool, const KvgTrack *tracks, size_t n, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
/* Begins a fragment whose first frame is at @timecode_ms (the cluster timecode, wall clock). */
bool kvg_spool_begin_fragment(KvgSpool *spool,
                              int64_t timecode_ms,
                              GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool kvg_spool_put_frame(KvgSpool *spool,
                         const KvgFrame *frame,
                         GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Metadata of the open fragment. */
bool kvg_spool_put_tag(KvgSpool *spool, const char *name, const char *value, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
/* Ends the open fragment, if any; fsyncs it. */
bool kvg_spool_end_fragment(KvgSpool *spool, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* ---- readers: each with a position of its own; one thread per reader ---- */

typedef struct _KvgSpoolReader KvgSpoolReader;
/* Stands after the last persisted fragment. Must be freed before the spool is closed. */
KvgSpoolReader *kvg_spool_reader_new(KvgSpool *spool);
void kvg_spool_reader_free(KvgSpoolReader *reader);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgSpoolReader, kvg_spool_reader_free)

typedef enum {
    KVG_SPOOL_NONE,   /* nothing new yet */
    KVG_SPOOL_TRACKS, /* the tracks of the fragments that follow changed (or: first event) */
    KVG_SPOOL_BEGIN,  /* fragment, timecode_ms */
    KVG_SPOOL_FRAME,  /* fragment, frame */
    KVG_SPOOL_TAG,    /* fragment, tag_name, tag_value */
    KVG_SPOOL_END,    /* fragment complete */
    KVG_SPOOL_GAP,    /* fragments [fragment, gap_end] are not there: evicted or damaged */
} KvgSpoolEventKind;

/* Owned by the caller; clear after use. Pointers in `tracks` are owned by the event. */
typedef struct {
    KvgSpoolEventKind kind;
    uint64_t fragment;
    int64_t timecode_ms;
    uint64_t gap_end;
    KvgFrame frame;
    char *tag_name, *tag_value;
    KvgTrack *tracks;
    size_t n_tracks;
} KvgSpoolEvent;
void kvg_spool_event_clear(KvgSpoolEvent *event);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(KvgSpoolEvent, kvg_spool_event_clear)

/* The next event after the reader's position. False only for I/O errors. */
bool kvg_spool_read(KvgSpoolReader *reader,
                    KvgSpoolEvent *event,
                    GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Puts the reader at the beginning of @fragment (or the oldest one still here, if that is newer);
 * the next events are TRACKS, BEGIN. 0: after the last persisted fragment. */
void kvg_spool_seek(KvgSpoolReader *reader, uint64_t fragment);

/* Everything up to and including @fragment is PERSISTED: cursor written, space freed. */
bool
kvg_spool_persisted(KvgSpool *spool, uint64_t fragment, GError **error) G_GNUC_WARN_UNUSED_RESULT;

typedef struct {
    uint64_t bytes;           /* on disk, not yet persisted */
    uint64_t oldest_fragment; /* first not persisted; 0: none */
    uint64_t newest_fragment; /* newest begun; 0: none */
    bool fragment_open;
    uint64_t evicted_fragments, evicted_frames, torn_records;
} KvgSpoolStats;
/* Thread: any. */
void kvg_spool_get_stats(KvgSpool *spool, KvgSpoolStats *stats);
