#include "putmedia/bucket.h"

#define BURST_SECONDS 0.25

static double
capacity(const KvgBucket *bucket)
{
    return MAX(bucket->bytes_per_second * BURST_SECONDS, 1.0);
}

void
kvg_bucket_init(KvgBucket *bucket, uint64_t bits_per_second, int64_t now_us)
{
    *bucket = (KvgBucket){.bytes_per_second = (double)bits_per_second / 8, .at_us = now_us};
    bucket->tokens = capacity(bucket);
}

size_t
kvg_bucket_room(KvgBucket *bucket, int64_t now_us)
{
    if (bucket->bytes_per_second <= 0)
        return SIZE_MAX;
    const double seconds = (double)(now_us - bucket->at_us) / G_USEC_PER_SEC;
    bucket->tokens = MIN(bucket->tokens + seconds * bucket->bytes_per_second, capacity(bucket));
    bucket->at_us = now_us;
    return bucket->tokens >= 1 ? (size_t)bucket->tokens : 0;
}

void
kvg_bucket_take(KvgBucket *bucket, size_t bytes)
{
    if (bucket->bytes_per_second > 0)
        bucket->tokens -= (double)bytes;
}

int64_t
kvg_bucket_ready_us(const KvgBucket *bucket, size_t bytes)
{
    if (bucket->bytes_per_second <= 0)
        return bucket->at_us;
    const double lacking = MIN((double)bytes, capacity(bucket)) - bucket->tokens;
    return bucket->at_us +
           (lacking > 0 ? (int64_t)(lacking / bucket->bytes_per_second * G_USEC_PER_SEC) + 1 : 0);
}
