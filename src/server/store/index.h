/* The index of the log: SQLite, not synced per batch, for it can be made again from the log. Knows
 * up to which position of the log it is complete. Thread: any; one connection writes, one reads. */
#pragma once

#include "server/store/log.h"

typedef struct _KvgStoreIndex KvgStoreIndex;

/* Opens or creates; one that is damaged or of another version is moved aside, and a new one begun.
 */
KvgStoreIndex *kvg_store_index_open(const char *path, GError **error);
void kvg_store_index_close(KvgStoreIndex *index);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgStoreIndex, kvg_store_index_close)
/* Everything before this position is in the index. Segment 0: nothing is. */
KvgLogPosition kvg_store_index_position(KvgStoreIndex *index);
void kvg_store_index_forget(KvgStoreIndex *index); /* all of it */

/* All records (KvgLogRecord) and the new position, or nothing. */
bool kvg_store_index_add(KvgStoreIndex *index,
                         const GArray *records,
                         KvgLogPosition position,
                         GError **error) G_GNUC_WARN_UNUSED_RESULT;
GArray *kvg_store_index_list(KvgStoreIndex *index,
                             const char *stream_arn,
                             KvgStoreOrder order,
                             int64_t from_ms,
                             int64_t to_ms,
                             size_t max,
                             bool newest,
                             GError **error);
GArray *kvg_store_index_list_after(KvgStoreIndex *index,
                                   const char *stream_arn,
                                   KvgStoreOrder order,
                                   int64_t from_ms,
                                   int64_t to_ms,
                                   const char *after,
                                   size_t max,
                                   GError **error);
bool kvg_store_index_find(KvgStoreIndex *index,
                          const char *stream_arn,
                          const char *number,
                          KvgLogRecord *record);
/* Takes up to @max fragments that start before @before_ms out of the index; array of KvgLogRecord.
 */
GArray *kvg_store_index_take_expired(
    KvgStoreIndex *index, const char *stream_arn, int64_t before_ms, size_t max, GError **error);
uint64_t kvg_store_index_count(KvgStoreIndex *index);
bool kvg_store_index_uses(KvgStoreIndex *index, uint64_t segment);
