/* What the files of the spool share. Lock order: `lock` only; never held over a read or write of
 * payloads. */
#pragma once

#include "os/file.h"
#include "spool/record.h"
#include "spool/spool.h"
#include <pthread.h>

#define KVG_SEGMENT_HEAD_BYTES 16u

/* A fragment lies in one segment. Its frames are the records in [start, end). */
typedef struct {
    uint64_t number;
    uint64_t segment;
    uint64_t start, end;
    int64_t timecode_ms;
    uint32_t n_frames;
    bool complete;
    GBytes *tracks; /* payload of the TRACKS record in force */
} KvgSpoolFragment;

typedef struct {
    uint64_t sequence; /* its name */
    uint64_t size;
    uint32_t n_fragments; /* in the index */
} KvgSpoolSegment;

/* Outlives the spool while a sync is under way. */
typedef struct {
    int failed; /* atomic: errno of the last failed sync of the segment in use; 0: none */
} KvgSpoolSync;

struct _KvgSpool {
    char *path;
    uint64_t limit_bytes, segment_bytes;
    void (*on_data)(void *user_data);
    void *user_data;
    KvgFd lock_fd, cursor_fd;
    KvgSpoolSync *sync;

    /* Only the writer's thread touches these. */
    struct {
        KvgFd fd; /* of the last segment; KVG_FD_NONE: the next fragment makes a new one */
        uint64_t offset;
        GBytes *tracks;         /* in force; NULL: none put yet */
        GBytes *written_tracks; /* the last ones in this segment */
    } writer;

    pthread_mutex_t lock;
    struct {
        GArray *fragments; /* KvgSpoolFragment, oldest first; those before `first` are gone */
        guint first;
        GArray *segments; /* KvgSpoolSegment, oldest first; the last one is the writer's */
        uint64_t persisted;
        uint64_t next_fragment;
        uint64_t next_segment;
        uint64_t bytes_on_disk;
        uint64_t bytes_live; /* of the fragments in the index */
        uint64_t evicted_fragments, evicted_frames, torn_records;
        uint64_t cursor_sequence;
    } shared;
};

char *kvg_spool_segment_path(const KvgSpool *spool, uint64_t sequence);

/* ---- index.c: all with the lock held ---- */
KvgSpoolFragment *kvg_spool_at(KvgSpool *spool, guint i); /* from the oldest */
guint kvg_spool_count(const KvgSpool *spool);
/* The first fragment with at least this number; NULL. */
KvgSpoolFragment *kvg_spool_lookup(KvgSpool *spool, uint64_t number);
KvgSpoolSegment *kvg_spool_segment(KvgSpool *spool, uint64_t sequence);
void kvg_spool_add(KvgSpool *spool, const KvgSpoolFragment *fragment); /* takes its tracks */
/* Forgets the oldest fragment and deletes its segment if nothing else is in it and the writer is
 * done with it. */
void kvg_spool_pop(KvgSpool *spool);
/* Forgets a complete fragment wherever it stands, counted as evicted. */
void kvg_spool_remove(KvgSpool *spool, uint64_t number);
/* Deletes the segments that hold nothing any more; @all: the last one too. */
void kvg_spool_sweep(KvgSpool *spool, bool all);
/* Evicts the oldest segment with all its fragments; false if only the writer's is left. */
bool kvg_spool_evict(KvgSpool *spool);

/* ---- recover.c: before any thread uses the spool ---- */
bool kvg_spool_recover(KvgSpool *spool, GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool kvg_spool_read_cursor(KvgSpool *spool, GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool kvg_spool_write_cursor(KvgSpool *spool, GError **error) G_GNUC_WARN_UNUSED_RESULT;
