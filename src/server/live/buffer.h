/* The last fragments of streams that keep nothing: what GetMedia reads of them, in memory only, for
 * five minutes and 200 MB of a stream, as the service has it. Thread: any. */
#pragma once

#include "server/store/store.h"

typedef struct _KvgBuffer KvgBuffer;

KvgBuffer *kvg_buffer_new(void);
void kvg_buffer_free(KvgBuffer *buffer);
/* References header and media. */
void kvg_buffer_put(KvgBuffer *buffer, const KvgFragment *fragment, int64_t now_us);
/* Drops what is too old. Called by the maintenance thread; reading and putting do it as well. */
void kvg_buffer_expire(KvgBuffer *buffer, int64_t now_us);
/* As kvg_store_list_after() without a range: array of KvgFragmentInfo. */
GArray *
kvg_buffer_list_after(KvgBuffer *buffer, const char *stream_arn, const char *after, int64_t now_us);
/* KVG_ERROR_NOT_FOUND. */
bool kvg_buffer_read(KvgBuffer *buffer,
                     const char *stream_arn,
                     const char *number,
                     GBytes **header,
                     GBytes **media,
                     GError **error) G_GNUC_WARN_UNUSED_RESULT;
