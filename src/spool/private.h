/* What the files of the spool share. Lock order: the keeper's lock, then a spool's; a spool's lock
 * is held for the index only, never over a call of the file system. */
#pragma once

#include "base/backoff.h"
#include "os/file.h"
#include "spool/recent.h"
#include "spool/record.h"
#include "spool/release.h"
#include "spool/spool.h"
#include <pthread.h>
#include <stdatomic.h>

#define KVG_SPOOL_LOG "spool"

/* An open segment file, closed with the last reference. */
typedef struct {
    _Atomic unsigned n_refs;
    KvgFd fd;
} KvgSpoolFile;
KvgSpoolFile *kvg_spool_file_new(int fd);
KvgSpoolFile *kvg_spool_file_ref(KvgSpoolFile *file);
void kvg_spool_file_unref(KvgSpoolFile *file); /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgSpoolFile, kvg_spool_file_unref)

/* A fragment lies in one segment. Its frames are the records in [start, end), behind its BEGIN. */
typedef struct {
    uint64_t number;
    uint64_t segment;
    uint64_t start, end;
    int64_t timecode_ms;
    int64_t end_ms;   /* of its last frame */
    int64_t begun_us; /* our monotonic clock; of recovered ones: reckoned, may be negative */
    uint32_t n_frames;
    bool complete;
    bool is_held;   /* goes up only when it is asked for */
    uint64_t place; /* in the queue; 0: none, it is not asked for, or nothing is held here */
    GBytes *tracks; /* payload of the TRACKS record in force */
} KvgSpoolFragment;

typedef struct {
    uint64_t sequence; /* its name */
    uint64_t size;
    uint32_t n_fragments; /* in the index */
    uint32_t n_wanted;    /* of them, in the queue */
    uint32_t salt;
    KvgSpoolPlace place;
    bool is_open;       /* the writer's */
    bool is_in_folder;  /* its name is synced */
    bool is_unmovable;  /* it could not be read back: left where it is */
    int64_t opened_us;  /* as begun_us */
    uint64_t sync_to;   /* on disk: where the last complete fragment ends */
    uint64_t synced;    /* on disk: done, or given up */
    KvgSpoolFile *file; /* while it is written or has to be synced; else NULL */
} KvgSpoolSegment;

/* A file to delete. */
typedef struct {
    uint64_t sequence;
    KvgSpoolPlace place;
    uint64_t reusable_bytes; /* size of one that was used up; 0: to be deleted in any case */
} KvgSpoolDoomed;

/* The emptied segment that the next one may be written over; BUSY: somebody is at its file. */
typedef enum { KVG_SPOOL_SPARE_NONE, KVG_SPOOL_SPARE_BUSY, KVG_SPOOL_SPARE_READY } KvgSpoolSpare;

struct _KvgSpool {
    char *paths[KVG_SPOOL_N_PLACES]; /* NULL: not used */
    char *name;                      /* for people: the path of the first of them */
    KvgSpoolTier tier;
    bool is_read_only;
    uint64_t limit_bytes, memory_limit_bytes, segment_bytes;
    int64_t max_age_us, move_after_us; /* max_age_us 0: none */
    bool holds;
    bool has_queue;       /* it holds, or held fragments were found; readers go by places */
    int64_t keep_us;      /* of held fragments; 0: no limit */
    int64_t held_open_us; /* greatest age of a segment in use that has nothing to go up */
    const KvgSpoolSystem *system;
    void (*on_data)(void *user_data);
    void *user_data;
    KvgFd lock_fd;

    /* Only the writer's thread touches these. */
    struct {
        KvgSpoolFile *file; /* NULL: the next fragment makes a new segment */
        uint64_t segment;
        KvgSpoolPlace place;
        uint32_t salt;
        uint64_t offset;
        bool is_reused;         /* the file holds older records behind the offset */
        GBytes *tracks;         /* in force; NULL: none put yet */
        GBytes *written_tracks; /* the last ones in this segment */
    } writer;

    /* Only the keeper's thread touches these. */
    struct {
        int64_t move_at_us; /* after a failed move: not before */
        KvgBackoff move_backoff;
        bool has_synced_parents;
    } keeper;
    struct {
        int64_t stored_us;   /* when the releases were written last */
        bool is_also_memory; /* they are, or were, in memory though there is a disk */
    } releases_file;         /* the keeper's */
    unsigned keeper_state;   /* under the keeper's lock */

    pthread_mutex_t lock;
    struct {
        GArray *fragments; /* KvgSpoolFragment, oldest first; those before `first` are gone */
        guint first;
        GArray *segments; /* KvgSpoolSegment, oldest first */
        GArray *doomed;   /* KvgSpoolDoomed: in no index any more, still to be deleted */
        KvgSpoolRecent recent;
        uint64_t persisted; /* up to here everything is persisted, or given up */
        uint64_t next_fragment;
        uint64_t next_segment;
        uint64_t bytes_in[KVG_SPOOL_N_PLACES];
        uint64_t bytes_live; /* of the fragments in the index */
        uint64_t evicted_fragments, evicted_frames, torn_records, cut_records;
        uint64_t evicted_unsaid; /* not in the log yet */
        int64_t silent_until_us; /* about evictions */
        uint64_t cursor_sequence;
        bool is_cursor_dirty;
        GArray *queue; /* uint64_t: numbers of fragments asked for; 0: gone. From queue_first on */
        guint queue_first;
        uint64_t queue_place;  /* of that one */
        guint n_wanted;        /* in the queue and not gone */
        uint64_t bytes_wanted; /* theirs */
        int64_t newest_end_ms; /* of the newest fragment */
        uint64_t unasked_fragments, unasked_frames;
        KvgReleases releases;
        uint64_t releases_sequence;
        bool is_new_release;    /* not stored: at once */
        bool is_progress;       /* not stored: soon */
        bool wants_new_segment; /* the one in use failed to sync */
        KvgSpoolSpare spare;
        KvgSpoolTrouble trouble[KVG_SPOOL_N_PLACES];
        uint64_t failures[KVG_SPOOL_N_TROUBLES];
    } shared;
};

char *kvg_spool_segment_path(const KvgSpool *spool, KvgSpoolPlace place, uint64_t sequence);
char *kvg_spool_unfinished_path(const KvgSpool *spool, uint64_t sequence); /* of a move, on disk */
bool kvg_spool_fail(GError **error, int code, const char *path, const char *what); /* false */

/* ---- index.c: all with the lock held ---- */
KvgSpoolFragment *kvg_spool_at(KvgSpool *spool, guint i); /* from the oldest */
guint kvg_spool_count(const KvgSpool *spool);
/* The first fragment with at least this number; NULL. */
KvgSpoolFragment *kvg_spool_lookup(KvgSpool *spool, uint64_t number);
KvgSpoolFragment *kvg_spool_open_fragment(KvgSpool *spool); /* NULL: none is open */
KvgSpoolSegment *kvg_spool_segment(KvgSpool *spool, uint64_t sequence);
void kvg_spool_add(KvgSpool *spool, const KvgSpoolFragment *fragment); /* takes its tracks */
void kvg_spool_pop(KvgSpool *spool); /* forgets the oldest fragment */
void kvg_spool_forget_newest(KvgSpool *spool);
/* Forgets a complete fragment wherever it stands, counted as evicted. */
void kvg_spool_remove(KvgSpool *spool, uint64_t number);
/* Dooms the segments that hold nothing any more and are not the writer's. */
void kvg_spool_sweep(KvgSpool *spool);
/* From the index; its file is doomed. @is_used_up: it may be written over. */
void kvg_spool_drop_segment(KvgSpool *spool, guint i, bool is_used_up);
/* Evicts the oldest segment in @place (KVG_SPOOL_N_PLACES: in any) with all its fragments; false if
 * there is none but the writer's and that of the open fragment. */
bool kvg_spool_evict(KvgSpool *spool, KvgSpoolPlace place);
/* Evicts the complete fragments that are too old at @now_us; returns how many are a loss. */
uint64_t kvg_spool_evict_older(KvgSpool *spool, int64_t now_us);
/* Takes the complete fragment out that has gone up. */
void kvg_spool_take_out(KvgSpool *spool, const KvgSpoolFragment *fragment);

/* ---- hold.c: with the lock held ---- */
/* Where a fragment ends that ended at @end_ms before it got this frame. */
int64_t kvg_spool_end_ms(int64_t end_ms, int64_t pts_us, int64_t duration_us);
/* The fragment goes up: puts it into the queue. */
void kvg_spool_want(KvgSpool *spool, KvgSpoolFragment *fragment);
/* It is forgotten. */
void kvg_spool_unqueue(KvgSpool *spool, const KvgSpoolFragment *fragment);
/* The open fragment has grown; true: readers want what is in it. */
bool kvg_spool_judge_open(KvgSpool *spool, KvgSpoolFragment *fragment);
/* The first one at @place or behind it; NULL: none. */
const KvgSpoolFragment *kvg_spool_next_wanted(KvgSpool *spool, uint64_t place, uint64_t *found);
/* Everything up to @place has gone up. */
void kvg_spool_queue_persisted(KvgSpool *spool, uint64_t place);
void kvg_spool_queue_stats(KvgSpool *spool, KvgSpoolStats *stats);
/* ---- hold.c: takes the lock; the keeper's thread ---- */
void kvg_spool_keep_releases(KvgSpool *spool);
/* ---- hold.c: before any thread uses the spool, when the fragments are known ---- */
bool kvg_spool_recover_releases(KvgSpool *spool, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* ---- trouble.c: takes the lock ---- */
KvgSpoolTrouble kvg_spool_judge(int code);
void
kvg_spool_note_trouble(KvgSpool *spool, KvgSpoolPlace place, KvgSpoolTrouble trouble, int code);
/* The place works again; @is_sync: syncing does, too. */
void kvg_spool_clear_trouble(KvgSpool *spool, KvgSpoolPlace place, bool is_sync);
void kvg_spool_say_evicted(KvgSpool *spool, uint64_t n, const char *why);

/* ---- segment.c: the writer's thread ---- */
/* Writes all of @parts (which it changes) at @offset, through short writes; 0 or errno. */
int kvg_spool_write_at(KvgSpool *spool, int fd, struct iovec *parts, int n_parts, uint64_t offset);
/* One record into the segment in use, making room; goes over to a new segment if this one fails. */
bool kvg_spool_append(KvgSpool *spool, KvgRecord *record, const void *payload, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
/* Sees to it that there is a segment that a fragment may begin in. */
bool kvg_spool_prepare_segment(KvgSpool *spool, GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool kvg_spool_write_tracks(KvgSpool *spool, GError **error) G_GNUC_WARN_UNUSED_RESULT;
void kvg_spool_leave_segment(KvgSpool *spool);

/* ---- any thread ---- */
void kvg_spool_delete_doomed(KvgSpool *spool);

/* ---- spare.c: takes the lock ---- */
/* False: delete it. */
bool kvg_spool_keep_spare(KvgSpool *spool, const KvgSpoolDoomed *doomed);
bool kvg_spool_drop_spare(KvgSpool *spool); /* false: there was none */
/* The spare file under the name @path, with @head and nothing behind it; -1: there is none. */
int kvg_spool_reuse_spare(KvgSpool *spool,
                          const uint8_t head[KVG_SEGMENT_HEAD_BYTES],
                          const char *path);

/* ---- move.c: the keeper's thread, or the closing one ---- */
/* Moves the oldest segment from memory to disk if it is due (@all: in any case); false: none was,
 * or it failed. */
bool kvg_spool_move_one(KvgSpool *spool, bool all);

/* ---- keeper.c ---- */
bool kvg_keeper_add(KvgSpool *spool, GError **error) G_GNUC_WARN_UNUSED_RESULT;
void kvg_keeper_remove(KvgSpool *spool); /* it is not touched any more when this returns */
void kvg_keeper_wake(KvgSpool *spool);
/* What the keeper does for a spool each time. */
void kvg_spool_begin_sync(KvgSpool *spool);
bool kvg_spool_keep(KvgSpool *spool); /* true: there is more to do at once */

/* ---- recover.c, cursor.c: before any thread uses the spool ---- */
bool kvg_spool_recover(KvgSpool *spool, GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool kvg_spool_read_cursor(KvgSpool *spool, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* The keeper's thread, or the closing one. */
void kvg_spool_write_cursor(KvgSpool *spool);
