/* Call rates and the number of streams. Rates are token buckets, one per operation and one per
 * operation and stream, in memory only. Off by default: who develops against a local server does
 * not want the account's quotas. Thread-safe. */
#pragma once

#include "server/server.h"

#define KVG_QUOTA_STREAMS 10000

/* @max_streams of the account; @has_rates: as many calls a second as AWS allows, and no more. */
KvgQuotas *kvg_quotas_new(unsigned max_streams, bool has_rates);
void kvg_quotas_free(KvgQuotas *quotas);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgQuotas, kvg_quotas_free)
/* @quotas may be NULL here and below: the defaults. */
unsigned kvg_quotas_max_streams(const KvgQuotas *quotas);
/* Whether @operation may be called once more now. @per_account and @per_stream are calls a second,
 * 0 without bound; @stream NULL: the call names none. */
bool kvg_quotas_take(KvgQuotas *quotas,
                     const char *operation,
                     unsigned per_account,
                     const char *stream,
                     unsigned per_stream,
                     int64_t now_us);
/* For what is slowed down rather than refused: takes @amount of @what (@per_second for one @stream,
 * and a second's worth at once). How long to take no more, in microseconds; 0: go on. */
int64_t kvg_quotas_charge(KvgQuotas *quotas,
                          const char *what,
                          const char *stream,
                          unsigned per_second,
                          double amount,
                          int64_t now_us) G_GNUC_WARN_UNUSED_RESULT;
