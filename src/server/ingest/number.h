/* Fragment numbers: 47 decimal digits, strictly growing within a stream, also over restarts.
 * 2^156 + counter * 2^92 + server time in ms * 2^28 + 28 random bits, as the real service's look.
 */
#pragma once

#include "server/store/store.h"

typedef struct _KvgNumbers KvgNumbers;

KvgNumbers *kvg_numbers_new(KvgStore *store);
void kvg_numbers_free(KvgNumbers *numbers);
/* Thread: any. */
void
kvg_numbers_next(KvgNumbers *numbers, const char *stream_arn, int64_t server_ms, char number[64]);
