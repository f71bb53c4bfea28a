/* A list per stream, oldest first. */
#include "server/live/buffer.h"

#include <kvg/error.h>
#include <pthread.h>
#include <string.h>

#define MAX_AGE_US (5 * 60 * G_USEC_PER_SEC)
#define MAX_STREAM_BYTES (200u * 1000 * 1000)
#define MAX_ALL_BYTES (512u * 1024 * 1024) /* beyond it new fragments are not kept */

typedef struct {
    KvgFragmentInfo info;
    GBytes *header, *media;
    int64_t put_us;
} Kept;

typedef struct {
    GPtrArray *kept; /* Kept */
    uint64_t n_bytes;
} Stream;

struct _KvgBuffer {
    pthread_mutex_t lock; /* protects all that follows */
    GHashTable *streams;  /* ARN -> Stream */
    uint64_t n_bytes;
};

static void
kept_free(void *data)
{
    Kept *kept = data;
    g_bytes_unref(kept->header);
    g_bytes_unref(kept->media);
    g_free(kept);
}

static void
stream_free(void *data)
{
    Stream *stream = data;
    g_ptr_array_unref(stream->kept);
    g_free(stream);
}

KvgBuffer *
kvg_buffer_new(void)
{
    KvgBuffer *buffer = g_new0(KvgBuffer, 1);
    pthread_mutex_init(&buffer->lock, NULL);
    buffer->streams = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, stream_free);
    return buffer;
}

void
kvg_buffer_free(KvgBuffer *buffer)
{
    if (buffer == NULL)
        return;
    g_hash_table_unref(buffer->streams);
    pthread_mutex_destroy(&buffer->lock);
    g_free(buffer);
}

static const Kept *
kept_at(const Stream *stream, guint i)
{
    return g_ptr_array_index(stream->kept, i);
}

/* What is too old, and what is too much with @more bytes to come. */
static void
trim(KvgBuffer *buffer, Stream *stream, uint64_t more, int64_t now_us)
{
    guint n = 0;
    while (n < stream->kept->len && (now_us - kept_at(stream, n)->put_us > MAX_AGE_US ||
                                     stream->n_bytes + more > MAX_STREAM_BYTES)) {
        stream->n_bytes -= kept_at(stream, n)->info.size_bytes;
        buffer->n_bytes -= kept_at(stream, n)->info.size_bytes;
        n++;
    }
    g_ptr_array_remove_range(stream->kept, 0, n);
}

void
kvg_buffer_expire(KvgBuffer *buffer, int64_t now_us)
{
    GHashTableIter iter;
    void *value;
    pthread_mutex_lock(&buffer->lock);
    g_hash_table_iter_init(&iter, buffer->streams);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        Stream *stream = value;
        trim(buffer, stream, 0, now_us);
        if (stream->kept->len == 0)
            g_hash_table_iter_remove(&iter);
    }
    pthread_mutex_unlock(&buffer->lock);
}

static Stream *
get_stream(KvgBuffer *buffer, const char *arn)
{
    Stream *stream = g_hash_table_lookup(buffer->streams, arn);
    if (stream != NULL)
        return stream;
    stream = g_new0(Stream, 1);
    stream->kept = g_ptr_array_new_with_free_func(kept_free);
    g_hash_table_insert(buffer->streams, g_strdup(arn), stream);
    return stream;
}

void
kvg_buffer_put(KvgBuffer *buffer, const KvgFragment *fragment, int64_t now_us)
{
    const uint64_t size = fragment->info.size_bytes;
    pthread_mutex_lock(&buffer->lock);
    Stream *stream = get_stream(buffer, fragment->stream_arn);
    trim(buffer, stream, size, now_us);
    if (size <= MAX_STREAM_BYTES && buffer->n_bytes + size <= MAX_ALL_BYTES) {
        Kept *kept = g_new0(Kept, 1);
        *kept = (Kept){.info = fragment->info,
                       .header = g_bytes_ref(fragment->header),
                       .media = g_bytes_ref(fragment->media),
                       .put_us = now_us};
        g_ptr_array_add(stream->kept, kept);
        stream->n_bytes += size;
        buffer->n_bytes += size;
    }
    pthread_mutex_unlock(&buffer->lock);
}

GArray *
kvg_buffer_list_after(KvgBuffer *buffer, const char *stream_arn, const char *after, int64_t now_us)
{
    GArray *infos = g_array_new(FALSE, FALSE, sizeof(KvgFragmentInfo));
    pthread_mutex_lock(&buffer->lock);
    Stream *stream = g_hash_table_lookup(buffer->streams, stream_arn);
    if (stream != NULL)
        trim(buffer, stream, 0, now_us);
    for (guint i = 0; stream != NULL && i < stream->kept->len; i++) {
        const KvgFragmentInfo *info = &kept_at(stream, i)->info;
        if (strlen(after) < strlen(info->number) || strcmp(info->number, after) > 0)
            g_array_append_val(infos, *info);
    }
    pthread_mutex_unlock(&buffer->lock);
    return infos;
}

bool
kvg_buffer_read(KvgBuffer *buffer,
                const char *stream_arn,
                const char *number,
                GBytes **header,
                GBytes **media,
                GError **error)
{
    bool found = false;
    pthread_mutex_lock(&buffer->lock);
    const Stream *stream = g_hash_table_lookup(buffer->streams, stream_arn);
    for (guint i = 0; stream != NULL && i < stream->kept->len && !found; i++) {
        const Kept *kept = kept_at(stream, i);
        found = strcmp(kept->info.number, number) == 0;
        if (found) {
            *header = g_bytes_ref(kept->header);
            *media = g_bytes_ref(kept->media);
        }
    }
    pthread_mutex_unlock(&buffer->lock);
    if (!found)
        g_set_error(error, KVG_ERROR, KVG_ERROR_NOT_FOUND, "no fragment %s in %s", number,
                    stream_arn);
    return found;
}
