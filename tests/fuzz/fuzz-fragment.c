/* A stored fragment, as a camera sent it, through everything that plays it: fragmented MP4, plain
 * MP4, MPEG-TS, parts, codec strings, and the document of GetMedia. */
#include "fuzz.h"

#include "media/mp4.h"
#include "media/ts.h"
#include "server/playback/document.h"
#include "server/playback/fragment.h"
#include "server/playback/parts.h"

#define LENGTH_MS 1000

static void
play_track(const KvgFragmentReader *reader, const KvgTrack *track, KvgMp4 *mp4)
{
    g_autofree char *codec = kvg_fmp4_codec_string(track);
    g_autoptr(GBytes) init = kvg_fmp4_write_init(track, NULL);
    g_assert((codec != NULL) == (init != NULL));
    g_autoptr(GBytes) segment =
        kvg_fragment_reader_write(reader, track->number, 1, 10000, LENGTH_MS, NULL);
    g_assert(segment == NULL || init != NULL);
    g_autoptr(GArray) samples = kvg_fragment_reader_samples(reader, track->number);
    const KvgMp4Sample *data = (const KvgMp4Sample *)(void *)samples->data;
    g_autoptr(GArray) parts = kvg_parts_cut(samples, track->type == KVG_TRACK_AUDIO, LENGTH_MS);
    guint n = 0;
    for (guint i = 0; i < parts->len; i++) {
        const KvgPart *part = &g_array_index(parts, KvgPart, i);
        g_assert(part->first == n && part->n > 0);
        n += part->n;
    }
    g_assert(n == samples->len);
    for (unsigned i = 0; i < 2 && samples->len > 0; i++) {
        if (!kvg_mp4_add(mp4, track, i * LENGTH_MS, LENGTH_MS, data, samples->len, NULL))
            break;
    }
    KvgTsTrack ts = {.samples = data, .n = samples->len};
    if (samples->len == 0 || !kvg_mp4_track_init(&ts.track, track, NULL))
        return;
    g_autoptr(GBytes) stream = kvg_ts_write(&ts, 1, 10000, LENGTH_MS, NULL);
    g_assert(stream == NULL || g_bytes_get_size(stream) % 188 == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autoptr(GBytes) none = g_bytes_new_static("", 0);
    g_autoptr(GBytes) media = g_bytes_new(data, size);
    g_autoptr(GByteArray) document = g_byte_array_new();
    kvg_document_put_header(document, media, false);
    g_assert(document->len <= size);
    g_autoptr(KvgFragmentReader) reader = kvg_fragment_reader_new(none, media, true, NULL);
    if (reader == NULL)
        return 0;
    size_t n;
    const KvgTrack *tracks = kvg_fragment_reader_tracks(reader, &n);
    g_autoptr(KvgMp4) mp4 = kvg_mp4_new();
    for (size_t i = 0; i < n; i++)
        play_track(reader, &tracks[i], mp4);
    g_autoptr(GBytes) head = kvg_mp4_write_head(mp4);
    g_assert(g_bytes_get_size(head) > 0);
    return 0;
}
