/* Care for a store at rest: is everything there, can space be won, and a copy of it while it is in
 * use. */
#pragma once

#include "server/store/store.h"

/* One line for each thing found, without a newline. */
typedef void (*KvgStoreSay)(const char *line, void *user_data);

typedef struct {
    uint64_t segments, fragments, bytes;
    uint64_t damaged;    /* fragments that cannot be read, and places where none can be made out */
    uint64_t not_listed; /* whole, but unknown to the index */
    uint64_t not_there;  /* in the index, but not in the log */
} KvgStoreCheck;

/* Reads every fragment, decrypts it and compares the log with the index. Changes nothing. Locks the
 * folder: KVG_ERROR_INVALID while a server uses it. False: an error that kept it from looking at
 * everything. */
bool kvg_store_check(const KvgStoreOptions *options,
                     KvgStoreCheck *result,
                     KvgStoreSay say,
                     void *user_data,
                     GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Makes the index again from the log, leaving out what is damaged (which stays in the log). Locks
 * the folder. */
bool kvg_store_repair(const KvgStoreOptions *options, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Writes what is alive in segments that are mostly dead into new ones and deletes the old. Locks
 * the folder. A crash at any moment leaves each fragment at least once. @freed_bytes: of files. */
bool kvg_store_compact(const KvgStoreOptions *options,
                       uint64_t *freed_bytes,
                       KvgStoreSay say,
                       void *user_data,
                       GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Copies log, format and master key to @to, which must not exist, while a server may be writing:
 * what was PERSISTED before the call is in the copy. Holes stay holes. The index is made again when
 * the copy is opened. */
bool kvg_store_backup(const KvgStoreOptions *options,
                      const char *to,
                      GError **error) G_GNUC_WARN_UNUSED_RESULT;
