/* The spool of one stream: every frame goes through it, outage or not. Append-only segment files of
 * checksummed records in tmpfs, on disk, or in both (the tier), and a cursor file with what is
 * PERSISTED. One writer thread (the camera's) and any number of readers (the uploader's) may use a
 * spool at the same time; a reader may follow the open fragment. A thread of the process, the
 * keeper, syncs, moves and deletes; the writer and the readers never wait for it. Hides: file
 * format, recovery of torn tails, tiers, quota, failing disks. Format: docs/internals/spool.md. */
#pragma once

#include "spool/system.h"
#include <glib.h>
#include <kvg/frame.h>
#include <kvg/spool.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct _KvgSpool KvgSpool;

typedef enum { KVG_SPOOL_IN_MEMORY, KVG_SPOOL_ON_DISK, KVG_SPOOL_N_PLACES } KvgSpoolPlace;

typedef struct {
    const char *path;        /* folder of this stream on disk; NULL only in tier memory */
    const char *memory_path; /* folder of this stream in tmpfs; NULL: everything is on disk */
    KvgSpoolTier tier;
    bool read_only;       /* to look at one that may be in use: no lock, no change, no writer */
    uint64_t limit_bytes; /* 0: 1 GiB, in tier memory 64 MiB */
    uint64_t memory_limit_bytes; /* tier auto: most bytes in tmpfs; 0: 32 MiB or half the limit */
    uint32_t segment_bytes;      /* 0: a sixteenth of the limit, at most 16 MiB */
    int64_t max_age_ms;    /* older fragments are evicted; 0: kept until the limit is reached */
    bool hold;             /* fragments wait to be asked for: kvg_spool_release() */
    int64_t keep_ms;       /* hold: those not asked for are evicted so long after they were begun;
                              0: when the limit is reached */
    int64_t move_after_ms; /* tier auto: 0: 5000 */
    /* Called with no lock held, on the writer's thread, after each record that a reader may want.
     */
    void (*on_data)(void *user_data);
    void *user_data;
    const KvgSpoolSystem *system; /* NULL: the real one */
} KvgSpoolOptions;

/* The folder in tmpfs that belongs to stream @name of the spool folder @spool_path (NULL: none).
 * @root: what is configured; NULL: kvg-UID in /dev/shm (g_free). */
char *kvg_spool_memory_folder(const char *root, const char *spool_path, const char *name);

/* Opens or creates; makes the folders, mode 0700, and locks them (KVG_ERROR_INVALID if another
 * process holds them); drops what the cursor says is persisted. An interrupted last fragment is
 * closed at its last whole frame. KVG_ERROR_UNSUPPORTED, and nothing changed, if a newer version
 * wrote it. */
KvgSpool *kvg_spool_open(const KvgSpoolOptions *options, GError **error);
/* Readers must be freed before. Tier auto: what is still in memory moves to disk. */
void kvg_spool_close(KvgSpool *spool);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgSpool, kvg_spool_close)

/* ---- writer ---- */

/* Fragments are numbered from 1, growing as long as anything is left of the ones before. */

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
/* Ends the open fragment, if any; on disk the keeper syncs it soon. */
bool kvg_spool_end_fragment(KvgSpool *spool, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* ---- holding ---- */

/* A spool with @hold keeps each fragment until it is asked for, or evicts it. What was recorded
 * without is asked for from the beginning. While such fragments are there, readers do not go by the
 * numbers of fragments but by *places*, which count what is asked for in the order in which that
 * happened; where this header says fragment of a reader's event, of kvg_spool_seek() and of
 * kvg_spool_persisted(), it is the place then. */

/* Asks for all fragments that have a part in @range, those to come included. A range with the same
 * @id that is not done yet grows. KVG_ERROR_INVALID, or KVG_ERROR_NO_SPACE if there are too many.
 * The keeper stores it at once. Thread: any. */
bool kvg_spool_release(KvgSpool *spool, const char *id, const KvgTimeRange *range, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
/* What was asked for, oldest first; some of those that are done are remembered (g_free). */
KvgRelease *kvg_spool_list_releases(KvgSpool *spool, size_t *n);
/* The times of what is in the spool, ascending (g_free). */
KvgTimeRange *kvg_spool_list_held(KvgSpool *spool, size_t *n);

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

/* Everything up to and including @fragment is PERSISTED; the keeper writes the cursor and frees the
 * space. Thread: any. */
void kvg_spool_persisted(KvgSpool *spool, uint64_t fragment);

/* ---- what is in it ---- */

/* What is wrong with a place, as far as the spool has noticed. */
typedef enum {
    KVG_SPOOL_FINE,
    KVG_SPOOL_FULL,
    KVG_SPOOL_READ_ONLY,
    KVG_SPOOL_VANISHED,
    KVG_SPOOL_WRITE_FAILED,
    KVG_SPOOL_SYNC_FAILED,
    KVG_SPOOL_N_TROUBLES
} KvgSpoolTrouble;
const char *kvg_spool_trouble_to_string(KvgSpoolTrouble trouble);

typedef struct {
    uint64_t bytes;                        /* not yet persisted */
    uint64_t bytes_in[KVG_SPOOL_N_PLACES]; /* of the files */
    uint64_t oldest_fragment;              /* first not persisted; 0: none */
    uint64_t newest_fragment;              /* newest begun; 0: none */
    bool fragment_open;
    uint64_t n_fragments;
    uint64_t first_wanted, last_wanted;         /* places to go up; without places: as above */
    bool is_releasing;                          /* more may be asked for by what is recorded next */
    uint64_t held_fragments, held_bytes;        /* not asked for */
    uint64_t unasked_fragments, unasked_frames; /* evicted without having been asked for */
    uint64_t evicted_fragments, evicted_frames; /* that should have gone up */
    uint64_t torn_records;                      /* places that are damaged */
    uint64_t
        cut_records; /* last records of segments that are not all there, as a crash leaves them */
    KvgSpoolTrouble trouble[KVG_SPOOL_N_PLACES]; /* now */
    uint64_t failures[KVG_SPOOL_N_TROUBLES];     /* since it was opened */
    uint64_t n_failures;                         /* their sum */
} KvgSpoolStats;
/* Thread: any. */
void kvg_spool_get_stats(KvgSpool *spool, KvgSpoolStats *stats);

/* Static text, like "disk: full"; NULL if nothing is wrong. */
const char *kvg_spool_describe_trouble(const KvgSpoolStats *stats);

typedef struct {
    uint64_t number;
    int64_t timecode_ms;
    uint64_t bytes;
    uint32_t n_frames;
    KvgSpoolPlace place;
} KvgSpoolFragmentInfo;
/* The first fragment with at least this number; false if there is none. Thread: any. */
bool kvg_spool_peek(KvgSpool *spool, uint64_t number, KvgSpoolFragmentInfo *info);

/* Returns when the keeper has done everything that is due now. For tests and orderly ends. */
void kvg_spool_settle(KvgSpool *spool);
