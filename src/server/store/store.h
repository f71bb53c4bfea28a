/* Durable store of fragments: one shared append-only segment log for all streams, one writer thread
 * with group commit (a batch is written, one fdatasync, then the callbacks run), and an index in
 * SQLite that is rebuilt from the log's tail after a crash. What was called back as stored is
 * readable, byte for byte, after any crash. Format: docs/internals/store.md. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct _KvgStore KvgStore;

typedef struct {
    const char *path;            /* required: folder; made if absent, 0700 */
    uint64_t segment_bytes;      /* 0: 256 MiB */
    const char *master_key_path; /* NULL: PATH/master.key, made at the first open */
    bool is_suspicious; /* make the index again and read all video on the way, which takes long */
    uint64_t reserve_bytes; /* 0: 256 MiB: refuse new fragments when the disk has less free */
} KvgStoreOptions;

KvgStore *kvg_store_open(const KvgStoreOptions *options, GError **error);
/* Finishes what is queued. */
void kvg_store_close(KvgStore *store);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgStore, kvg_store_close)

/* A stream is named by its ARN: a re-created stream of the same name has another one. */

/* What is known of a fragment without reading its bytes. */
typedef struct {
    char number[64];     /* decimal fragment number, 47 digits */
    int64_t server_ms;   /* server timestamp */
    int64_t producer_ms; /* producer timestamp (start) */
    int64_t length_ms;   /* span of the frames, last frame's duration included */
    uint64_t size_bytes; /* header + media */
    uint32_t header_id;  /* fragments of one id have equal headers; set by the store */
} KvgFragmentInfo;

typedef struct {
    const char *stream_arn;
    KvgFragmentInfo info;
    GBytes *header; /* EBML header + Segment + Info + Tracks (+ Tags before the first Cluster) */
    GBytes *media;  /* Cluster and the level-1 elements that follow it, verbatim */
} KvgFragment;

/* Called once on the writer thread: @error NULL: durable. Must not block. */
typedef void (*KvgStoreDone)(const GError *error, void *user_data);
/* Queues; references header and media. Blocks while more than 256 MiB are queued. Thread: any. */
void
kvg_store_append(KvgStore *store, const KvgFragment *fragment, KvgStoreDone done, void *user_data);

typedef enum { KVG_STORE_BY_SERVER_TIME, KVG_STORE_BY_PRODUCER_TIME } KvgStoreOrder;
/* Fragments whose start lies in [from_ms, to_ms], oldest first by fragment number, at most @max;
 * @newest: the newest @max of them instead (still oldest first). Array of KvgFragmentInfo. */
GArray *kvg_store_list(KvgStore *store,
                       const char *stream_arn,
                       KvgStoreOrder order,
                       int64_t from_ms,
                       int64_t to_ms,
                       size_t max,
                       bool newest,
                       GError **error);
/* As above, but only those behind fragment number @after (decimal; "": all). */
GArray *kvg_store_list_after(KvgStore *store,
                             const char *stream_arn,
                             KvgStoreOrder order,
                             int64_t from_ms,
                             int64_t to_ms,
                             const char *after,
                             size_t max,
                             GError **error);
/* What is known of one fragment. KVG_ERROR_NOT_FOUND. */
bool kvg_store_find(KvgStore *store,
                    const char *stream_arn,
                    const char *number,
                    KvgFragmentInfo *info,
                    GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Reads and verifies one fragment. KVG_ERROR_NOT_FOUND, KVG_ERROR_CORRUPT. Thread: any. */
bool kvg_store_read(KvgStore *store,
                    const char *stream_arn,
                    const char *number,
                    GBytes **header,
                    GBytes **media,
                    GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Deletes all fragments of a stream that start before @before_ms (server time; INT64_MAX: all) and
 * frees their space. */
bool kvg_store_expire(KvgStore *store, const char *stream_arn, int64_t before_ms, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
