/* What happens to a stream now, for readers that wait for it: ingest tells, playback listens. Costs
 * nothing for streams that nobody watches. Thread: any. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct _KvgLive KvgLive;
typedef struct _KvgLiveWatch KvgLiveWatch;

KvgLive *kvg_live_new(void);
void kvg_live_free(KvgLive *live); /* after all watches have ended */

/* Something of the stream changed: a fragment was stored. */
void kvg_live_notify(KvgLive *live, const char *stream_arn);

KvgLiveWatch *kvg_live_watch(KvgLive *live, const char *stream_arn);
void kvg_live_unwatch(KvgLiveWatch *watch);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgLiveWatch, kvg_live_unwatch)
/* Counts the changes. Look at it, look at the store, then wait for another value: nothing is
 * missed. */
uint64_t kvg_live_version(KvgLiveWatch *watch);
/* Until the version is not @version any more, at most @timeout_ms. */
void kvg_live_wait(KvgLiveWatch *watch, uint64_t version, unsigned timeout_ms);
