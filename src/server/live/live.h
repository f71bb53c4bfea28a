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

/* Something of the stream changed: a fragment was stored, or is not to be had after all. */
void kvg_live_notify(KvgLive *live, const char *stream_arn);

KvgLiveWatch *kvg_live_watch(KvgLive *live, const char *stream_arn);
void kvg_live_unwatch(KvgLiveWatch *watch);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgLiveWatch, kvg_live_unwatch)
/* Counts the changes. Look at it, look at the store, then wait for another value: nothing is
 * missed. */
uint64_t kvg_live_version(KvgLiveWatch *watch);
/* Until the version is not @version any more, at most @timeout_ms. */
void kvg_live_wait(KvgLiveWatch *watch, uint64_t version, unsigned timeout_ms);

/* ---- fragments that are still arriving, for players of low latency ---- */

#define KVG_LIVE_MAX_FRAGMENTS 6 /* kept of a stream: the open ones, and the last complete ones */

typedef struct {
    char number[64];
    int64_t server_ms, producer_ms;
    int64_t length_ms; /* once complete */
    bool is_complete;
    GBytes *header;
    GBytes *media; /* Cluster and what follows, so far */
} KvgLiveFragment;

/* Somebody wants to see the open fragments of the stream in the next seconds. */
void kvg_live_want_open(KvgLive *live, const char *stream_arn, int64_t now_us);
/* Whether ingest should tell of them. */
bool kvg_live_wants_open(KvgLive *live, const char *stream_arn, int64_t now_us);
/* @fragment: what there is of it so far, without its media; @data: all of its bytes so far. Copies
 * what is new. */
void kvg_live_put_open(KvgLive *live,
                       const char *stream_arn,
                       const KvgLiveFragment *fragment,
                       const void *data,
                       size_t len);
/* The fragment is complete (@media, @length_ms), or, if it is not yet, will never be (@media NULL).
 */
void kvg_live_end_open(
    KvgLive *live, const char *stream_arn, const char *number, GBytes *media, int64_t length_ms);
/* Copies of what is known (KvgLiveFragment *), oldest first. */
GPtrArray *kvg_live_list_open(KvgLiveWatch *watch);
