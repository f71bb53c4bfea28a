/* Token buckets: a second of calls may be made at once; see quotas.h. */
#include "server/control/quotas.h"

#include <pthread.h>

/* Buckets that are full again say nothing; they are dropped when there are so many. */
#define MAX_BUCKETS 65536

typedef struct {
    double left; /* calls that may still be made; below 0: owed */
    unsigned rate;
    int64_t filled_us;
} Bucket;

struct _KvgQuotas {
    unsigned max_streams;
    bool has_rates;
    pthread_mutex_t lock;
    GHashTable *buckets; /* "operation" or "operation stream" -> Bucket */
};

KvgQuotas *
kvg_quotas_new(unsigned max_streams, bool has_rates)
{
    KvgQuotas *quotas = g_new0(KvgQuotas, 1);
    quotas->max_streams = max_streams;
    quotas->has_rates = has_rates;
    pthread_mutex_init(&quotas->lock, NULL);
    quotas->buckets = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    return quotas;
}

void
kvg_quotas_free(KvgQuotas *quotas)
{
    if (quotas == NULL)
        return;
    g_hash_table_unref(quotas->buckets);
    pthread_mutex_destroy(&quotas->lock);
    g_free(quotas);
}

unsigned
kvg_quotas_max_streams(const KvgQuotas *quotas)
{
    return quotas != NULL ? quotas->max_streams : KVG_QUOTA_STREAMS;
}

static void
fill(Bucket *bucket, int64_t now_us)
{
    const double seconds = (double)MAX(now_us - bucket->filled_us, 0) / G_USEC_PER_SEC;
    bucket->left = MIN(bucket->left + seconds * bucket->rate, bucket->rate);
    bucket->filled_us = now_us;
}

static gboolean
is_full(void *key, void *value, void *now_us)
{
    Bucket *bucket = value;
    fill(bucket, *(int64_t *)now_us);
    return bucket->left >= bucket->rate;
}

/* Takes @key. */
static Bucket *
find_bucket(KvgQuotas *quotas, char *key, unsigned rate, int64_t now_us)
{
    Bucket *bucket = g_hash_table_lookup(quotas->buckets, key);
    if (bucket != NULL) {
        g_free(key);
        fill(bucket, now_us);
        return bucket;
    }
    bucket = g_new(Bucket, 1);
    *bucket = (Bucket){.left = rate, .rate = rate, .filled_us = now_us};
    g_hash_table_insert(quotas->buckets, key, bucket);
    return bucket;
}

static void
lock(KvgQuotas *quotas, int64_t now_us)
{
    pthread_mutex_lock(&quotas->lock);
    if (g_hash_table_size(quotas->buckets) >= MAX_BUCKETS)
        g_hash_table_foreach_remove(quotas->buckets, is_full, &now_us);
}

bool
kvg_quotas_take(KvgQuotas *quotas,
                const char *operation,
                unsigned per_account,
                const char *stream,
                unsigned per_stream,
                int64_t now_us)
{
    if (quotas == NULL || !quotas->has_rates)
        return true;
    lock(quotas, now_us);
    Bucket *account =
        per_account > 0 ? find_bucket(quotas, g_strdup(operation), per_account, now_us) : NULL;
    Bucket *one =
        stream != NULL && per_stream > 0
            ? find_bucket(quotas, g_strdup_printf("%s %s", operation, stream), per_stream, now_us)
            : NULL;
    const bool may = (account == NULL || account->left >= 1) && (one == NULL || one->left >= 1);
    if (may && account != NULL)
        account->left -= 1;
    if (may && one != NULL)
        one->left -= 1;
    pthread_mutex_unlock(&quotas->lock);
    return may;
}

int64_t
kvg_quotas_charge(KvgQuotas *quotas,
                  const char *what,
                  const char *stream,
                  unsigned per_second,
                  double amount,
                  int64_t now_us)
{
    if (quotas == NULL || !quotas->has_rates)
        return 0;
    lock(quotas, now_us);
    Bucket *bucket =
        find_bucket(quotas, g_strdup_printf("%s %s", what, stream), per_second, now_us);
    bucket->left -= amount;
    const double owed = MAX(-bucket->left, 0);
    pthread_mutex_unlock(&quotas->lock);
    return (int64_t)(owed / per_second * G_USEC_PER_SEC);
}
