/* A token bucket: so many bytes a second, a quarter of a second of them at once. Pure. */
#pragma once

#include <glib.h>
#include <stdint.h>

typedef struct {
    double bytes_per_second; /* 0: no limit */
    double tokens;
    int64_t at_us; /* of tokens */
} KvgBucket;

void kvg_bucket_init(KvgBucket *bucket, uint64_t bits_per_second, int64_t now_us);
/* How many bytes may go now; SIZE_MAX without a limit. */
size_t kvg_bucket_room(KvgBucket *bucket, int64_t now_us);
/* @bytes have gone. */
void kvg_bucket_take(KvgBucket *bucket, size_t bytes);
/* When @bytes may go (or as many as it holds). */
int64_t kvg_bucket_ready_us(const KvgBucket *bucket, size_t bytes);
