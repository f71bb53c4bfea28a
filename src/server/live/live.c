/* A table of the streams that are watched. */
#include "server/live/live.h"

#include <pthread.h>
#include <time.h>

struct _KvgLive {
    pthread_mutex_t lock; /* protects all that follows, and all streams */
    GHashTable *streams;  /* ARN -> Stream */
};

typedef struct {
    char *arn;
    unsigned n_watches;
    uint64_t version;
    pthread_cond_t changed;
} Stream;

struct _KvgLiveWatch {
    KvgLive *live;
    Stream *stream;
};

static void
stream_free(void *data)
{
    Stream *stream = data;
    pthread_cond_destroy(&stream->changed);
    g_free(stream->arn);
    g_free(stream);
}

static Stream *
stream_new(const char *arn)
{
    Stream *stream = g_new0(Stream, 1);
    stream->arn = g_strdup(arn);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&stream->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    return stream;
}

KvgLive *
kvg_live_new(void)
{
    KvgLive *live = g_new0(KvgLive, 1);
    pthread_mutex_init(&live->lock, NULL);
    live->streams = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, stream_free);
    return live;
}

void
kvg_live_free(KvgLive *live)
{
    if (live == NULL)
        return;
    g_hash_table_unref(live->streams);
    pthread_mutex_destroy(&live->lock);
    g_free(live);
}

void
kvg_live_notify(KvgLive *live, const char *stream_arn)
{
    pthread_mutex_lock(&live->lock);
    Stream *stream = g_hash_table_lookup(live->streams, stream_arn);
    if (stream != NULL) {
        stream->version++;
        pthread_cond_broadcast(&stream->changed);
    }
    pthread_mutex_unlock(&live->lock);
}

KvgLiveWatch *
kvg_live_watch(KvgLive *live, const char *stream_arn)
{
    KvgLiveWatch *watch = g_new0(KvgLiveWatch, 1);
    watch->live = live;
    pthread_mutex_lock(&live->lock);
    watch->stream = g_hash_table_lookup(live->streams, stream_arn);
    if (watch->stream == NULL) {
        watch->stream = stream_new(stream_arn);
        g_hash_table_insert(live->streams, watch->stream->arn, watch->stream);
    }
    watch->stream->n_watches++;
    pthread_mutex_unlock(&live->lock);
    return watch;
}

void
kvg_live_unwatch(KvgLiveWatch *watch)
{
    if (watch == NULL)
        return;
    KvgLive *live = watch->live;
    pthread_mutex_lock(&live->lock);
    if (--watch->stream->n_watches == 0)
        g_hash_table_remove(live->streams, watch->stream->arn);
    pthread_mutex_unlock(&live->lock);
    g_free(watch);
}

uint64_t
kvg_live_version(KvgLiveWatch *watch)
{
    pthread_mutex_lock(&watch->live->lock);
    const uint64_t version = watch->stream->version;
    pthread_mutex_unlock(&watch->live->lock);
    return version;
}

void
kvg_live_wait(KvgLiveWatch *watch, uint64_t version, unsigned timeout_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    const int64_t ns = until.tv_nsec + (int64_t)timeout_ms * 1000000;
    until.tv_sec += ns / 1000000000;
    until.tv_nsec = ns % 1000000000;
    pthread_mutex_lock(&watch->live->lock);
    int status = 0;
    while (watch->stream->version == version && status == 0)
        status = pthread_cond_timedwait(&watch->stream->changed, &watch->live->lock, &until);
    pthread_mutex_unlock(&watch->live->lock);
}
