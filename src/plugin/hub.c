#include "plugin/hub.h"

#include "plugin/lock.h"
#include <string.h>

#define MAX_TRACKS 2

typedef struct {
    char *key;
    KvgProducer *producer;
    unsigned n_streams;
} SharedProducer;

struct _KvgHubStream {
    char *name;
    SharedProducer *shared;
    KvgStream *stream;
    unsigned holds;    /* under hub_lock */
    bool keeps_frames; /* opened with `hold` */

    struct {
        pthread_mutex_t lock;
        GWeakRef writer;
        void *writer_id; /* compared only: the object may be gone */
        const KvgHubListener *listener;
    } attached;

    struct { /* the writer's thread; handed over under attached.lock */
        int64_t last_dts_us;
        KvgTrack tracks[MAX_TRACKS]; /* codec_id and codec_private owned; no name */
        size_t n_tracks;
    } mine;
};

/* Protects the two lists and `holds`. Held while a stream opens or closes without waiting, so that
 * nobody meets a half-open one; closing with a time-out happens outside of it. */
static pthread_mutex_t hub_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t hub_closed = PTHREAD_COND_INITIALIZER; /* a stream has left `closing` */
static GPtrArray *producers;
static GPtrArray *streams;
static GPtrArray *closing; /* being closed with a time-out: the spool folder is still locked */

static void
ensure_lists(void)
{
    if (producers != NULL)
        return;
    producers = g_ptr_array_new();
    streams = g_ptr_array_new();
    closing = g_ptr_array_new();
}

/* ---- producers ---- */

static char *
producer_key(const KvgProducerOptions *options)
{
    return g_strjoin("\n", options->region, options->endpoint != NULL ? options->endpoint : "",
                     options->ca_path != NULL ? options->ca_path : "", options->spool_path, NULL);
}

static SharedProducer *
find_producer(const char *key)
{
    for (unsigned i = 0; i < producers->len; i++) {
        SharedProducer *shared = g_ptr_array_index(producers, i);
        if (g_str_equal(shared->key, key))
            return shared;
    }
    return NULL;
}

static SharedProducer *
take_producer(const KvgProducerOptions *options, const char *key, GError **error)
{
    SharedProducer *shared = find_producer(key);
    if (shared != NULL) {
        shared->n_streams++;
        return shared;
    }

    KvgProducer *producer = kvg_producer_new(options, error);
    if (producer == NULL)
        return NULL;
    shared = g_new0(SharedProducer, 1);
    shared->key = g_strdup(key);
    shared->producer = producer;
    shared->n_streams = 1;
    g_ptr_array_add(producers, shared);
    return shared;
}

static void
give_producer_back(SharedProducer *shared)
{
    if (--shared->n_streams > 0)
        return;
    g_ptr_array_remove(producers, shared);
    kvg_producer_free(shared->producer);
    g_free(shared->key);
    g_free(shared);
}

/* ---- streams ---- */

static KvgHubStream *
find_stream(GPtrArray *list, const char *key, const char *name)
{
    for (unsigned i = 0; i < list->len; i++) {
        KvgHubStream *stream = g_ptr_array_index(list, i);
        if (g_str_equal(stream->shared->key, key) && g_str_equal(stream->name, name))
            return stream;
    }
    return NULL;
}

/* The writer, held; NULL if there is none now. */
static GObject *
hold_writer(KvgHubStream *stream, const KvgHubListener **listener)
{
    G_GNUC_UNUSED g_auto(KvgLocker) locker = kvg_locker_lock(&stream->attached.lock);

    *listener = stream->attached.listener;
    return *listener != NULL ? g_weak_ref_get(&stream->attached.writer) : NULL;
}

static void
on_stream_state(KvgStream *kvg_stream, KvgStreamState state, const char *reason, void *user_data)
{
    const KvgHubListener *listener;
    g_autoptr(GObject) object = hold_writer(user_data, &listener);

    if (object != NULL)
        listener->state(object, state, reason);
}

static void
on_stream_ack(KvgStream *kvg_stream, const KvgStreamAck *ack, void *user_data)
{
    const KvgHubListener *listener;
    g_autoptr(GObject) object = hold_writer(user_data, &listener);

    if (object != NULL)
        listener->ack(object, ack);
}

static void
clear_tracks(KvgHubStream *stream)
{
    for (size_t i = 0; i < stream->mine.n_tracks; i++) {
        g_clear_pointer(&stream->mine.tracks[i].codec_private, g_bytes_unref);
        g_free((char *)(uintptr_t)stream->mine.tracks[i].codec_id);
    }
    stream->mine.n_tracks = 0;
}

static void
stream_free(KvgHubStream *stream)
{
    g_weak_ref_clear(&stream->attached.writer);
    pthread_mutex_destroy(&stream->attached.lock);
    clear_tracks(stream);
    g_free(stream->name);
    g_free(stream);
}

static KvgHubStream *
stream_new(SharedProducer *shared, const KvgStreamOptions *options, GError **error)
{
    KvgHubStream *stream = g_new0(KvgHubStream, 1);
    stream->name = g_strdup(options->name);
    stream->shared = shared;
    stream->holds = 1;
    stream->keeps_frames = options->hold;
    stream->mine.last_dts_us = INT64_MIN;
    pthread_mutex_init(&stream->attached.lock, NULL);
    g_weak_ref_init(&stream->attached.writer, NULL);

    KvgStreamOptions ours = *options;
    ours.notify = on_stream_state;
    ours.ack_notify = on_stream_ack;
    ours.user_data = stream;
    stream->stream = kvg_producer_open_stream(shared->producer, &ours, error);
    if (stream->stream != NULL)
        return stream;
    stream_free(stream);
    return NULL;
}

static KvgHubStream *
open_locked(const KvgProducerOptions *producer_options,
            const KvgStreamOptions *stream_options,
            GError **error)
{
    g_autofree char *key = producer_key(producer_options);

    while (find_stream(closing, key, stream_options->name) != NULL)
        pthread_cond_wait(&hub_closed, &hub_lock);
    KvgHubStream *stream = find_stream(streams, key, stream_options->name);
    if (stream != NULL && stream->keeps_frames != stream_options->hold) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_RETRY,
                    "stream '%s' is still open as it was before its mode was changed",
                    stream_options->name);
        return NULL;
    }
    if (stream != NULL) {
        stream->holds++;
        return stream;
    }

    SharedProducer *shared = take_producer(producer_options, key, error);
    if (shared == NULL)
        return NULL;
    stream = stream_new(shared, stream_options, error);
    if (stream == NULL) {
        give_producer_back(shared);
        return NULL;
    }
    g_ptr_array_add(streams, stream);
    return stream;
}

KvgHubStream *
kvg_hub_open_stream(const KvgProducerOptions *producer_options,
                    const KvgStreamOptions *stream_options,
                    GError **error)
{
    g_return_val_if_fail(producer_options->region != NULL, NULL);
    g_return_val_if_fail(producer_options->spool_path != NULL, NULL);
    g_return_val_if_fail(stream_options->name != NULL, NULL);

    G_GNUC_UNUSED g_auto(KvgLocker) locker = kvg_locker_lock(&hub_lock);
    ensure_lists();
    return open_locked(producer_options, stream_options, error);
}

KvgHubStream *
kvg_hub_stream_hold(KvgHubStream *stream)
{
    G_GNUC_UNUSED g_auto(KvgLocker) locker = kvg_locker_lock(&hub_lock);
    stream->holds++;
    return stream;
}

/* ---- the writer ---- */

bool
kvg_hub_stream_attach(KvgHubStream *stream, GObject *object, const KvgHubListener *listener)
{
    G_GNUC_UNUSED g_auto(KvgLocker) locker = kvg_locker_lock(&stream->attached.lock);

    g_autoptr(GObject) writer = g_weak_ref_get(&stream->attached.writer);
    if (writer != NULL)
        return false;
    g_weak_ref_set(&stream->attached.writer, object);
    stream->attached.writer_id = object;
    stream->attached.listener = listener;
    return true;
}

void
kvg_hub_stream_detach(KvgHubStream *stream, GObject *object)
{
    G_GNUC_UNUSED g_auto(KvgLocker) locker = kvg_locker_lock(&stream->attached.lock);

    if (stream->attached.writer_id != object)
        return;
    /* The writer's thread has stopped, so this one may stand in for it. */
    g_autoptr(GError) error = NULL;
    if (!kvg_stream_end_fragment(stream->stream, &error))
        g_info("%s", error->message);
    g_weak_ref_set(&stream->attached.writer, NULL);
    stream->attached.writer_id = NULL;
    stream->attached.listener = NULL;
}

bool
kvg_hub_stream_leave(KvgHubStream *stream, GObject *object, int64_t timeout_ms, GError **error)
{
    pthread_mutex_lock(&hub_lock);
    if (--stream->holds > 0) {
        if (object != NULL)
            kvg_hub_stream_detach(stream, object);
        pthread_mutex_unlock(&hub_lock);
        return true;
    }
    g_ptr_array_remove(streams, stream);
    g_ptr_array_add(closing, stream);
    pthread_mutex_unlock(&hub_lock);

    const bool persisted = kvg_stream_close(stream->stream, timeout_ms, error);

    pthread_mutex_lock(&hub_lock);
    g_ptr_array_remove(closing, stream);
    give_producer_back(stream->shared);
    pthread_cond_broadcast(&hub_closed);
    pthread_mutex_unlock(&hub_lock);
    stream_free(stream);
    return persisted;
}

bool
kvg_hub_stream_release(KvgHubStream *stream, int64_t timeout_ms, GError **error)
{
    return stream == NULL || kvg_hub_stream_leave(stream, NULL, timeout_ms, error);
}

void
kvg_hub_stream_get_stats(KvgHubStream *stream, KvgStreamStats *stats)
{
    kvg_stream_get_stats(stream->stream, stats);
}

KvgStream *
kvg_hub_stream_get(KvgHubStream *stream)
{
    return stream->stream;
}

static bool
is_same_track(const KvgTrack *a, const KvgTrack *b)
{
    return a->number == b->number && g_strcmp0(a->codec_id, b->codec_id) == 0 &&
           g_bytes_equal(a->codec_private, b->codec_private) && a->width == b->width &&
           a->height == b->height && a->channels == b->channels &&
           (int64_t)a->sample_rate_hz == (int64_t)b->sample_rate_hz;
}

static bool
are_current_tracks(const KvgHubStream *stream, const KvgTrack *tracks, size_t n_tracks)
{
    if (n_tracks != stream->mine.n_tracks)
        return false;
    for (size_t i = 0; i < n_tracks; i++) {
        if (!is_same_track(&tracks[i], &stream->mine.tracks[i]))
            return false;
    }
    return true;
}

bool
kvg_hub_stream_set_tracks(KvgHubStream *stream,
                          const KvgTrack *tracks,
                          size_t n_tracks,
                          GError **error)
{
    g_return_val_if_fail(n_tracks <= MAX_TRACKS, false);

    if (are_current_tracks(stream, tracks, n_tracks))
        return true;
    if (!kvg_stream_set_tracks(stream->stream, tracks, n_tracks, error))
        return false;
    clear_tracks(stream);
    for (size_t i = 0; i < n_tracks; i++) {
        stream->mine.tracks[i] = tracks[i];
        stream->mine.tracks[i].name = NULL;
        stream->mine.tracks[i].codec_id = g_strdup(tracks[i].codec_id);
        stream->mine.tracks[i].codec_private = g_bytes_ref(tracks[i].codec_private);
    }
    stream->mine.n_tracks = n_tracks;
    return true;
}

bool
kvg_hub_stream_put_metadata(
    KvgHubStream *stream, const char *name, const char *value, bool persistent, GError **error)
{
    return kvg_stream_put_metadata(stream->stream, name, value, persistent, error);
}

bool
kvg_hub_stream_put(KvgHubStream *stream, const KvgFrame *frame, GError **error)
{
    if (!kvg_stream_put_frame(stream->stream, frame, error))
        return false;
    stream->mine.last_dts_us = frame->dts_us;
    return true;
}

int64_t
kvg_hub_stream_last_dts_us(const KvgHubStream *stream)
{
    return stream->mine.last_dts_us;
}
