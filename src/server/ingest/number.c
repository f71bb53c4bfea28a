/* The counter follows the clock (eight a second, more than the service admits fragments), so that
 * it grows over restarts without being stored; should the clock go back, it still counts on from
 * the newest stored fragment. */
#include "server/ingest/number.h"
#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdlib.h>

#define MS_PER_COUNT 125
#define COUNTER_SHIFT 92
#define TIME_SHIFT 28
#define BASE_BIT 156

G_DEFINE_AUTOPTR_CLEANUP_FUNC(BIGNUM, BN_free)

struct _KvgNumbers {
    KvgStore *store;
    pthread_mutex_t lock;
    GHashTable *last; /* stream ARN -> uint64_t: counter of the newest number */
};

KvgNumbers *
kvg_numbers_new(KvgStore *store)
{
    KvgNumbers *numbers = g_new0(KvgNumbers, 1);
    numbers->store = store;
    pthread_mutex_init(&numbers->lock, NULL);
    numbers->last = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    return numbers;
}

void
kvg_numbers_free(KvgNumbers *numbers)
{
    if (numbers == NULL)
        return;
    g_hash_table_unref(numbers->last);
    pthread_mutex_destroy(&numbers->lock);
    g_free(numbers);
}

static uint64_t
counter_of(const char *number)
{
    BIGNUM *parsed = NULL;
    BN_dec2bn(&parsed, number);
    g_autoptr(BIGNUM) value = parsed;
    if (value == NULL || BN_clear_bit(value, BASE_BIT) != 1 ||
        BN_rshift(value, value, COUNTER_SHIFT) != 1)
        return 0;
    return BN_get_word(value);
}

static uint64_t
stored_counter(KvgNumbers *numbers, const char *stream_arn)
{
    g_autoptr(GArray) newest = kvg_store_list(numbers->store, stream_arn, KVG_STORE_BY_SERVER_TIME,
                                              INT64_MIN, INT64_MAX, 1, true, NULL);
    return newest != NULL && newest->len > 0
               ? counter_of(g_array_index(newest, KvgFragmentInfo, 0).number)
               : 0;
}

static uint64_t
next_counter(KvgNumbers *numbers, const char *stream_arn, int64_t server_ms)
{
    uint64_t *last = g_hash_table_lookup(numbers->last, stream_arn);
    if (last == NULL) {
        last = g_new(uint64_t, 1);
        *last = stored_counter(numbers, stream_arn);
        g_hash_table_insert(numbers->last, g_strdup(stream_arn), last);
    }
    *last = MAX(*last + 1, (uint64_t)MAX(server_ms, 0) / MS_PER_COUNT);
    return *last;
}

void
kvg_numbers_next(KvgNumbers *numbers, const char *stream_arn, int64_t server_ms, char number[64])
{
    pthread_mutex_lock(&numbers->lock);
    const uint64_t counter = next_counter(numbers, stream_arn, server_ms);
    pthread_mutex_unlock(&numbers->lock);
    g_autoptr(BIGNUM) value = BN_new();
    g_autoptr(BIGNUM) part = BN_new();
    BN_set_word(value, counter);
    BN_lshift(value, value, COUNTER_SHIFT);
    BN_set_word(part, (uint64_t)MAX(server_ms, 0));
    BN_lshift(part, part, TIME_SHIFT);
    BN_add(value, value, part);
    BN_add_word(value, g_random_int() >> (32 - TIME_SHIFT));
    BN_set_bit(value, BASE_BIT);
    char *text = BN_bn2dec(value);
    g_strlcpy(number, text, 64);
    OPENSSL_free(text);
}
