/* Matroska fragment to MP4 segments. The parser holds the only copy of the media; samples point
 * into it. */
#include "server/playback/fragment.h"

#include "base/bytes.h"
#include "media/mkv_parser.h"
#include <kvg/error.h>
#include <string.h>

#define MAX_FRAMES 200000u
/* Enough of a Cluster for the parser to see that the header is over. */
#define CLUSTER_HEAD 16u

typedef struct {
    unsigned track;
    KvgMp4Sample sample;
} Block;

struct _KvgFragmentReader {
    KvgMkvParser *parser;
    const KvgTrack *tracks;
    size_t n_tracks;
    GArray *blocks;
};

void
kvg_fragment_reader_free(KvgFragmentReader *reader)
{
    if (reader == NULL)
        return;
    kvg_mkv_parser_free(reader->parser);
    g_array_unref(reader->blocks);
    g_free(reader);
}

/* Timecode-scale units to milliseconds, rounded; far-off values stay far off without overflow. */
static int64_t
to_ms(int64_t units, uint64_t scale_ns)
{
    if (scale_ns == 1000000)
        return units;
    const double ms = (double)units * (double)scale_ns / 1e6;
    return (int64_t)CLAMP(ms + (ms < 0 ? -0.5 : 0.5), -1e15, 1e15);
}

static bool
read_events(KvgFragmentReader *reader, GError **error)
{
    bool has_first = false;
    uint64_t first = 0;
    uint64_t timecode = 0;
    for (;;) {
        KvgMkvEvent event;
        switch (kvg_mkv_parser_step(reader->parser, &event, error)) {
        case KVG_MKV_NEED_MORE:
            return true;
        case KVG_MKV_FAILED:
            return false;
        case KVG_MKV_HEADER:
            if (reader->tracks != NULL) {
                g_set_error(error, KVG_ERROR, KVG_ERROR_CORRUPT, "a fragment with two headers");
                return false;
            }
            reader->tracks = kvg_mkv_parser_tracks(reader->parser, &reader->n_tracks);
            break;
        case KVG_MKV_CLUSTER:
            timecode = event.timecode;
            first = has_first ? first : timecode;
            has_first = true;
            break;
        case KVG_MKV_BLOCK: {
            if (reader->blocks->len == MAX_FRAMES) {
                g_set_error(error, KVG_ERROR, KVG_ERROR_CORRUPT, "too many frames");
                return false;
            }
            const uint64_t scale = kvg_mkv_parser_timecode_scale_ns(reader->parser);
            const int64_t units = (int64_t)(timecode - first) + event.relative;
            const Block block = {
                .track = event.track,
                .sample = {.pts_ms = to_ms(units, scale),
                           .duration_ms = event.duration < 0 ? -1 : to_ms(event.duration, scale),
                           .key = event.key,
                           .data = event.data,
                           .len = event.len}};
            g_array_append_val(reader->blocks, block);
            break;
        }
        case KVG_MKV_DOCUMENT:
        case KVG_MKV_TAG:
            break;
        }
    }
}

KvgFragmentReader *
kvg_fragment_reader_new(GBytes *header, GBytes *media, bool with_samples, GError **error)
{
    g_autoptr(KvgFragmentReader) reader = g_new0(KvgFragmentReader, 1);
    reader->parser = kvg_mkv_parser_new();
    reader->blocks = g_array_new(FALSE, FALSE, sizeof(Block));
    gsize len;
    const void *data = g_bytes_get_data(header, &len);
    kvg_mkv_parser_put(reader->parser, data, len);
    data = g_bytes_get_data(media, &len);
    kvg_mkv_parser_put(reader->parser, data, with_samples ? len : MIN(len, CLUSTER_HEAD));
    if (!read_events(reader, error))
        return NULL;
    if (reader->tracks == NULL) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_CORRUPT, "a fragment without a Cluster");
        return NULL;
    }
    return g_steal_pointer(&reader);
}

KvgFragmentReader *
kvg_fragment_read(
    KvgStore *store, const char *stream_arn, const char *number, bool with_samples, GError **error)
{
    g_autoptr(GBytes) header = NULL;
    g_autoptr(GBytes) media = NULL;
    if (!kvg_store_read(store, stream_arn, number, &header, &media, error))
        return NULL;
    return kvg_fragment_reader_new(header, media, with_samples, error);
}

const KvgTrack *
kvg_fragment_reader_track(const KvgFragmentReader *reader, unsigned number)
{
    for (size_t i = 0; i < reader->n_tracks; i++) {
        if (reader->tracks[i].number == number)
            return &reader->tracks[i];
    }
    return NULL;
}

const KvgTrack *
kvg_fragment_reader_playable(const KvgFragmentReader *reader, KvgTrackType type)
{
    for (size_t i = 0; i < reader->n_tracks; i++) {
        g_autofree char *codec = kvg_fmp4_codec_string(&reader->tracks[i]);
        if (reader->tracks[i].type == type && codec != NULL)
            return &reader->tracks[i];
    }
    return NULL;
}

const KvgTrack *
kvg_fragment_reader_tracks(const KvgFragmentReader *reader, size_t *n)
{
    *n = reader->n_tracks;
    return reader->tracks;
}

uint32_t
kvg_fragment_reader_init_id(const KvgFragmentReader *reader)
{
    uint32_t crc = 0;
    for (size_t i = 0; i < reader->n_tracks; i++) {
        const KvgTrack *track = &reader->tracks[i];
        const uint32_t numbers[] = {track->number, (uint32_t)track->type, track->width,
                                    track->height, track->channels};
        crc = kvg_crc32c(crc, numbers, sizeof numbers);
        crc = kvg_crc32c(crc, track->codec_id, strlen(track->codec_id));
        gsize len = 0;
        const void *data =
            track->codec_private != NULL ? g_bytes_get_data(track->codec_private, &len) : NULL;
        if (len > 0)
            crc = kvg_crc32c(crc, data, len);
    }
    return crc;
}

GArray *
kvg_fragment_reader_samples(const KvgFragmentReader *reader, unsigned number)
{
    GArray *samples = g_array_new(FALSE, FALSE, sizeof(KvgMp4Sample));
    for (guint i = 0; i < reader->blocks->len; i++) {
        const Block *block = &g_array_index(reader->blocks, Block, i);
        if (block->track == number)
            g_array_append_val(samples, block->sample);
    }
    return samples;
}

size_t
kvg_fragment_reader_n_samples(const KvgFragmentReader *reader, unsigned number)
{
    g_autoptr(GArray) samples = kvg_fragment_reader_samples(reader, number);
    return samples->len;
}

GBytes *
kvg_fragment_reader_write(const KvgFragmentReader *reader,
                          unsigned number,
                          uint32_t sequence,
                          int64_t base_ms,
                          int64_t length_ms,
                          GError **error)
{
    const KvgTrack *track = kvg_fragment_reader_track(reader, number);
    if (track == NULL) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_NOT_FOUND, "the fragment has no track %u", number);
        return NULL;
    }
    g_autoptr(GArray) samples = kvg_fragment_reader_samples(reader, number);
    if (samples->len == 0) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_NOT_FOUND, "the fragment has no frame of track %u",
                    number);
        return NULL;
    }
    return kvg_fmp4_write_fragment(track, sequence, base_ms, length_ms,
                                   (const KvgMp4Sample *)(void *)samples->data, samples->len,
                                   error);
}
