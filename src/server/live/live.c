/* A table of the streams that are watched. */
#include "server/live/live.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

/* How long after the last request of a player open fragments are kept. */
#define WANT_US (10 * G_USEC_PER_SEC)
/* Of all streams; beyond it open fragments are not kept, and players see whole ones only. */
#define MAX_BYTES (256u * 1024 * 1024)

struct _KvgLive {
    pthread_mutex_t lock; /* protects all that follows, and all streams */
    GHashTable *streams;  /* ARN -> Stream */
    size_t n_bytes;       /* of open fragments */
};

typedef struct {
    KvgLiveFragment info; /* media unused until it is complete */
    GByteArray *data;     /* before that */
} Open;

typedef struct {
    char *arn;
    unsigned n_watches;
    uint64_t version;
    pthread_cond_t changed;
    KvgLive *live;
    int64_t wanted_until_us;
    GPtrArray *fragments; /* Open, oldest first */
} Stream;

struct _KvgLiveWatch {
    KvgLive *live;
    Stream *stream;
};

static size_t
open_bytes(const Open *open)
{
    return open->data->len + (open->info.media != NULL ? g_bytes_get_size(open->info.media) : 0);
}

static void
open_free(void *data)
{
    Open *open = data;
    g_byte_array_unref(open->data);
    g_clear_pointer(&open->info.header, g_bytes_unref);
    g_clear_pointer(&open->info.media, g_bytes_unref);
    g_free(open);
}

static void
remove_open(Stream *stream, guint i)
{
    stream->live->n_bytes -= open_bytes(g_ptr_array_index(stream->fragments, i));
    g_ptr_array_remove_index(stream->fragments, i);
}

static void
stream_free(void *data)
{
    Stream *stream = data;
    while (stream->fragments->len > 0)
        remove_open(stream, 0);
    g_ptr_array_unref(stream->fragments);
    pthread_cond_destroy(&stream->changed);
    g_free(stream->arn);
    g_free(stream);
}

static Stream *
stream_new(KvgLive *live, const char *arn)
{
    Stream *stream = g_new0(Stream, 1);
    stream->live = live;
    stream->fragments = g_ptr_array_new_with_free_func(open_free);
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

static void
announce(Stream *stream)
{
    stream->version++;
    pthread_cond_broadcast(&stream->changed);
}

void
kvg_live_notify(KvgLive *live, const char *stream_arn)
{
    pthread_mutex_lock(&live->lock);
    Stream *stream = g_hash_table_lookup(live->streams, stream_arn);
    if (stream != NULL)
        announce(stream);
    pthread_mutex_unlock(&live->lock);
}

static Stream *
get_stream(KvgLive *live, const char *stream_arn)
{
    Stream *stream = g_hash_table_lookup(live->streams, stream_arn);
    if (stream != NULL)
        return stream;
    stream = stream_new(live, stream_arn);
    g_hash_table_insert(live->streams, stream->arn, stream);
    return stream;
}

static void
drop_if_unused(Stream *stream)
{
    if (stream->n_watches == 0 && stream->wanted_until_us == 0)
        g_hash_table_remove(stream->live->streams, stream->arn);
}

KvgLiveWatch *
kvg_live_watch(KvgLive *live, const char *stream_arn)
{
    KvgLiveWatch *watch = g_new0(KvgLiveWatch, 1);
    watch->live = live;
    pthread_mutex_lock(&live->lock);
    watch->stream = get_stream(live, stream_arn);
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
    watch->stream->n_watches--;
    drop_if_unused(watch->stream);
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

/* ---- open fragments ---- */

void
kvg_live_want_open(KvgLive *live, const char *stream_arn, int64_t now_us)
{
    pthread_mutex_lock(&live->lock);
    get_stream(live, stream_arn)->wanted_until_us = now_us + WANT_US;
    pthread_mutex_unlock(&live->lock);
}

bool
kvg_live_wants_open(KvgLive *live, const char *stream_arn, int64_t now_us)
{
    pthread_mutex_lock(&live->lock);
    Stream *stream = g_hash_table_lookup(live->streams, stream_arn);
    const bool is_wanted = stream != NULL && stream->wanted_until_us > now_us;
    if (stream != NULL && !is_wanted && stream->wanted_until_us != 0) {
        stream->wanted_until_us = 0;
        while (stream->fragments->len > 0)
            remove_open(stream, 0);
        drop_if_unused(stream);
    }
    pthread_mutex_unlock(&live->lock);
    return is_wanted;
}

/* Its place in @stream, or the number of fragments there. */
static guint
find_open(const Stream *stream, const char *number)
{
    guint i = 0;
    while (i < stream->fragments->len &&
           strcmp(((Open *)g_ptr_array_index(stream->fragments, i))->info.number, number) != 0)
        i++;
    return i;
}

static Open *
add_open(Stream *stream, const KvgLiveFragment *fragment)
{
    Open *open = g_new0(Open, 1);
    open->info = *fragment;
    open->info.header = g_bytes_ref(fragment->header);
    open->info.media = NULL;
    open->data = g_byte_array_new();
    g_ptr_array_add(stream->fragments, open);
    if (stream->fragments->len > KVG_LIVE_MAX_FRAGMENTS)
        remove_open(stream, 0);
    return open;
}

void
kvg_live_put_open(KvgLive *live,
                  const char *stream_arn,
                  const KvgLiveFragment *fragment,
                  const void *data,
                  size_t len)
{
    pthread_mutex_lock(&live->lock);
    Stream *stream = g_hash_table_lookup(live->streams, stream_arn);
    if (stream != NULL) {
        const guint i = find_open(stream, fragment->number);
        Open *open = i < stream->fragments->len ? g_ptr_array_index(stream->fragments, i)
                                                : add_open(stream, fragment);
        const size_t known = open->data->len;
        if (!open->info.is_complete && len > known && live->n_bytes + len - known <= MAX_BYTES) {
            g_byte_array_append(open->data, (const uint8_t *)data + known, (guint)(len - known));
            live->n_bytes += len - known;
            announce(stream);
        }
    }
    pthread_mutex_unlock(&live->lock);
}

static void
complete_open(Stream *stream, Open *open, GBytes *media, int64_t length_ms)
{
    stream->live->n_bytes -= open_bytes(open);
    g_byte_array_set_size(open->data, 0);
    open->info.media = g_bytes_ref(media);
    open->info.length_ms = length_ms;
    open->info.is_complete = true;
    stream->live->n_bytes += open_bytes(open);
}

void
kvg_live_end_open(
    KvgLive *live, const char *stream_arn, const char *number, GBytes *media, int64_t length_ms)
{
    pthread_mutex_lock(&live->lock);
    Stream *stream = g_hash_table_lookup(live->streams, stream_arn);
    const guint i = stream != NULL ? find_open(stream, number) : 0;
    if (stream != NULL && i < stream->fragments->len) {
        Open *open = g_ptr_array_index(stream->fragments, i);
        if (media != NULL)
            complete_open(stream, open, media, length_ms);
        else if (!open->info.is_complete)
            remove_open(stream, i);
        announce(stream);
    }
    pthread_mutex_unlock(&live->lock);
}

static void
fragment_free(void *data)
{
    KvgLiveFragment *fragment = data;
    g_bytes_unref(fragment->header);
    g_bytes_unref(fragment->media);
    g_free(fragment);
}

GPtrArray *
kvg_live_list_open(KvgLiveWatch *watch)
{
    GPtrArray *list = g_ptr_array_new_with_free_func(fragment_free);
    pthread_mutex_lock(&watch->live->lock);
    for (guint i = 0; i < watch->stream->fragments->len; i++) {
        const Open *open = g_ptr_array_index(watch->stream->fragments, i);
        KvgLiveFragment *copy = g_memdup2(&open->info, sizeof open->info);
        copy->header = g_bytes_ref(open->info.header);
        copy->media = open->info.is_complete ? g_bytes_ref(open->info.media)
                                             : g_bytes_new(open->data->data, open->data->len);
        g_ptr_array_add(list, copy);
    }
    pthread_mutex_unlock(&watch->live->lock);
    return list;
}
