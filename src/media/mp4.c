/* Sample tables. Each kvg_mp4_add() is one chunk. */
#include "media/mp4.h"

#include "base/bytes.h"
#include "media/mp4_box.h"
#include <kvg/error.h>
#include <string.h>

#define MAX_TRACKS 8u
/* As often as the service lets parameters change in a session. */
#define MAX_ENTRIES 500u
#define MAX_BYTES (1024u * 1024 * 1024)
#define MAX_TIME_MS (INT64_C(30) * 24 * 3600 * 1000)

typedef struct {
    uint32_t size, duration;
    int32_t offset; /* presentation less decoding time */
    bool key;
} Sample;

typedef struct {
    uint32_t at; /* from the start of the media */
    uint32_t n_samples, entry;
} Chunk;

typedef struct {
    GBytes *config; /* keeps description.config alive */
    KvgMp4Track description;
} Entry;

typedef struct {
    uint8_t number;
    GArray *entries, *samples, *chunks;
    int64_t first_dts, end_dts; /* in the track's time scale */
} Track;

struct _KvgMp4 {
    GPtrArray *tracks;
    uint32_t n_bytes;
};

static void
entry_clear(void *data)
{
    Entry *entry = data;
    g_bytes_unref(entry->config);
}

static void
track_free(void *data)
{
    Track *track = data;
    g_array_unref(track->entries);
    g_array_unref(track->samples);
    g_array_unref(track->chunks);
    g_free(track);
}

KvgMp4 *
kvg_mp4_new(void)
{
    KvgMp4 *mp4 = g_new0(KvgMp4, 1);
    mp4->tracks = g_ptr_array_new_with_free_func(track_free);
    return mp4;
}

void
kvg_mp4_free(KvgMp4 *mp4)
{
    if (mp4 == NULL)
        return;
    g_ptr_array_unref(mp4->tracks);
    g_free(mp4);
}

static bool
corrupt(GError **error, const char *what)
{
    g_set_error(error, KVG_ERROR, KVG_ERROR_CORRUPT, "MP4: %s", what);
    return false;
}

static const KvgMp4Track *
description_of(const Track *track)
{
    return &g_array_index(track->entries, Entry, 0).description;
}

static Track *
find_track(const KvgMp4 *mp4, uint8_t number)
{
    for (guint i = 0; i < mp4->tracks->len; i++) {
        Track *track = g_ptr_array_index(mp4->tracks, i);
        if (track->number == number)
            return track;
    }
    return NULL;
}

static Track *
add_track(KvgMp4 *mp4, uint8_t number)
{
    Track *track = g_new0(Track, 1);
    track->number = number;
    track->entries = g_array_new(FALSE, FALSE, sizeof(Entry));
    g_array_set_clear_func(track->entries, entry_clear);
    track->samples = g_array_new(FALSE, FALSE, sizeof(Sample));
    track->chunks = g_array_new(FALSE, FALSE, sizeof(Chunk));
    track->first_dts = -1;
    g_ptr_array_add(mp4->tracks, track);
    return track;
}

/* Number of the sample entry, from 1; a new one where the parameters are new. */
static uint32_t
entry_of(Track *track, GBytes *config, const KvgMp4Track *description)
{
    for (guint i = track->entries->len; i-- > 0;) {
        if (g_bytes_equal(g_array_index(track->entries, Entry, i).config, config))
            return i + 1;
    }
    const Entry entry = {.config = g_bytes_ref(config), .description = *description};
    g_array_append_val(track->entries, entry);
    return track->entries->len;
}

static bool
check(const KvgMp4 *mp4,
      const Track *track,
      const KvgMp4Track *description,
      int64_t base_ms,
      const KvgMp4Sample *samples,
      size_t n,
      GError **error)
{
    if (track == NULL ? mp4->tracks->len == MAX_TRACKS : track->entries->len == MAX_ENTRIES)
        return corrupt(error, "too many tracks, or changes of codec parameters");
    if (track != NULL && (description_of(track)->codec != description->codec ||
                          description_of(track)->timescale != description->timescale)) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_UNSUPPORTED, "MP4: track %u changes its codec",
                    track->number);
        return false;
    }
    if (base_ms < 0 || base_ms > MAX_TIME_MS)
        return corrupt(error, "time out of range");
    size_t total = mp4->n_bytes;
    for (size_t i = 0; i < n; i++) {
        if (samples[i].len > MAX_BYTES - total)
            return corrupt(error, "too large");
        total += samples[i].len;
    }
    return true;
}

/* The sample before the new ones lasts until they begin. */
static void
close_gap(Track *track, int64_t start)
{
    if (track->samples->len == 0) {
        track->first_dts = start;
        return;
    }
    Sample *last = &g_array_index(track->samples, Sample, track->samples->len - 1);
    const int64_t duration = last->duration + (start - track->end_dts);
    last->duration = (uint32_t)CLAMP(duration, 1, G_MAXINT32);
}

static void
append(KvgMp4 *mp4,
       Track *track,
       uint32_t entry,
       int64_t start,
       const KvgMp4Timing *timing,
       const KvgMp4Sample *samples,
       size_t n)
{
    const Chunk chunk = {.at = mp4->n_bytes, .n_samples = (uint32_t)n, .entry = entry};
    g_array_append_val(track->chunks, chunk);
    close_gap(track, start);
    for (size_t i = 0; i < n; i++) {
        const Sample sample = {.size = (uint32_t)samples[i].len,
                               .duration = timing[i].duration,
                               .offset = (int32_t)(timing[i].pts - timing[i].dts),
                               .key = samples[i].key};
        g_array_append_val(track->samples, sample);
        mp4->n_bytes += sample.size;
    }
    track->end_dts = start + (timing[n - 1].dts - timing[0].dts) + timing[n - 1].duration;
}

bool
kvg_mp4_add(KvgMp4 *mp4,
            const KvgTrack *track,
            int64_t base_ms,
            int64_t length_ms,
            const KvgMp4Sample *samples,
            size_t n,
            GError **error)
{
    KvgMp4Track description;
    Track *own = find_track(mp4, track->number);
    if (!kvg_mp4_track_init(&description, track, error) ||
        !check(mp4, own, &description, base_ms, samples, n, error))
        return false;
    g_autofree KvgMp4Timing *timing = g_new0(KvgMp4Timing, MAX(n, 1));
    if (!kvg_mp4_time_samples(&description, samples, n, length_ms, timing, error))
        return false;
    if (own == NULL)
        own = add_track(mp4, track->number);
    const int64_t start = kvg_mp4_to_units(base_ms, description.timescale) + timing[0].dts;
    const uint32_t entry = entry_of(own, track->codec_private, &description);
    append(mp4, own, entry, MAX(start, own->end_dts), timing, samples, n);
    return true;
}

/* ---- writing ---- */

static const Sample *
sample_at(const Track *track, guint i)
{
    return &g_array_index(track->samples, Sample, i);
}

/* A table of runs: how many times, and which value. */
static void
put_runs(GByteArray *out, const Track *track, uint32_t (*value)(const Sample *sample))
{
    const guint count_at = out->len;
    uint32_t n_runs = 0;
    kvg_bytes_put_u32(out, 0);
    for (guint i = 0, n = 0; i < track->samples->len; i += n, n_runs++) {
        const uint32_t what = value(sample_at(track, i));
        for (n = 1; i + n < track->samples->len && value(sample_at(track, i + n)) == what;)
            n++;
        kvg_bytes_put_u32(out, n);
        kvg_bytes_put_u32(out, what);
    }
    kvg_bytes_set_u32(out, count_at, n_runs);
}

static uint32_t
duration_of(const Sample *sample)
{
    return sample->duration;
}

static uint32_t
offset_of(const Sample *sample)
{
    return (uint32_t)sample->offset;
}

static void
put_times(GByteArray *out, const Track *track)
{
    const guint stts = kvg_mp4_begin_full(out, "stts", 0, 0);
    put_runs(out, track, duration_of);
    kvg_mp4_end(out, stts);
    bool has_offsets = false;
    for (guint i = 0; i < track->samples->len && !has_offsets; i++)
        has_offsets = sample_at(track, i)->offset != 0;
    if (!has_offsets)
        return;
    const guint ctts = kvg_mp4_begin_full(out, "ctts", 1, 0);
    put_runs(out, track, offset_of);
    kvg_mp4_end(out, ctts);
}

static void
put_keys(GByteArray *out, const Track *track)
{
    if (description_of(track)->is_audio)
        return;
    const guint stss = kvg_mp4_begin_full(out, "stss", 0, 0);
    const guint count_at = out->len;
    kvg_bytes_put_u32(out, 0);
    for (guint i = 0; i < track->samples->len; i++) {
        if (sample_at(track, i)->key)
            kvg_bytes_put_u32(out, i + 1);
    }
    kvg_bytes_set_u32(out, count_at, (uint32_t)(out->len - count_at - 4) / 4);
    kvg_mp4_end(out, stss);
}

static void
put_chunks(GByteArray *out, const Track *track, uint32_t media_at)
{
    const guint stsc = kvg_mp4_begin_full(out, "stsc", 0, 0);
    kvg_bytes_put_u32(out, track->chunks->len);
    for (guint i = 0; i < track->chunks->len; i++) {
        const Chunk *chunk = &g_array_index(track->chunks, Chunk, i);
        kvg_bytes_put_u32(out, i + 1);
        kvg_bytes_put_u32(out, chunk->n_samples);
        kvg_bytes_put_u32(out, chunk->entry);
    }
    kvg_mp4_end(out, stsc);
    const guint stsz = kvg_mp4_begin_full(out, "stsz", 0, 0);
    kvg_bytes_put_u32(out, 0);
    kvg_bytes_put_u32(out, track->samples->len);
    for (guint i = 0; i < track->samples->len; i++)
        kvg_bytes_put_u32(out, sample_at(track, i)->size);
    kvg_mp4_end(out, stsz);
    const guint stco = kvg_mp4_begin_full(out, "stco", 0, 0);
    kvg_bytes_put_u32(out, track->chunks->len);
    for (guint i = 0; i < track->chunks->len; i++)
        kvg_bytes_put_u32(out, media_at + g_array_index(track->chunks, Chunk, i).at);
    kvg_mp4_end(out, stco);
}

static void
put_stbl(GByteArray *out, const Track *track, uint32_t media_at)
{
    const guint stbl = kvg_mp4_begin(out, "stbl");
    const guint stsd = kvg_mp4_begin_full(out, "stsd", 0, 0);
    kvg_bytes_put_u32(out, track->entries->len);
    for (guint i = 0; i < track->entries->len; i++)
        kvg_mp4_put_sample_entry(out, &g_array_index(track->entries, Entry, i).description);
    kvg_mp4_end(out, stsd);
    put_times(out, track);
    put_keys(out, track);
    put_chunks(out, track, media_at);
    kvg_mp4_end(out, stbl);
}

static uint32_t
to_ms(const Track *track, int64_t units)
{
    return (uint32_t)(units * 1000 / description_of(track)->timescale);
}

/* A track that begins later than the file waits. */
static void
put_edits(GByteArray *out, const Track *track)
{
    const uint32_t wait_ms = to_ms(track, track->first_dts);
    if (wait_ms == 0)
        return;
    const guint edts = kvg_mp4_begin(out, "edts");
    const guint elst = kvg_mp4_begin_full(out, "elst", 0, 0);
    kvg_bytes_put_u32(out, 2);
    kvg_bytes_put_u32(out, wait_ms);
    kvg_bytes_put_u32(out, UINT32_MAX); /* nothing */
    kvg_bytes_put_u32(out, 0x10000);
    kvg_bytes_put_u32(out, to_ms(track, track->end_dts - track->first_dts));
    kvg_bytes_put_u32(out, 0);
    kvg_bytes_put_u32(out, 0x10000);
    kvg_mp4_end(out, elst);
    kvg_mp4_end(out, edts);
}

static void
put_trak(GByteArray *out, const Track *track, uint32_t media_at)
{
    const KvgMp4Track *description = description_of(track);
    const guint trak = kvg_mp4_begin(out, "trak");
    kvg_mp4_put_tkhd(out, description, to_ms(track, track->end_dts));
    put_edits(out, track);
    const guint mdia = kvg_mp4_begin(out, "mdia");
    kvg_mp4_put_mdhd(out, description, (uint32_t)(track->end_dts - track->first_dts));
    kvg_mp4_put_hdlr(out, description);
    const guint minf = kvg_mp4_begin(out, "minf");
    kvg_mp4_put_media_header(out, description);
    put_stbl(out, track, media_at);
    kvg_mp4_end(out, minf);
    kvg_mp4_end(out, mdia);
    kvg_mp4_end(out, trak);
}

static GByteArray *
write_index(const KvgMp4 *mp4, uint32_t media_at)
{
    GByteArray *out = g_byte_array_new();
    const guint ftyp = kvg_mp4_begin(out, "ftyp");
    kvg_bytes_put(out, "isom\0\0\2\0isomiso4mp41", 20);
    kvg_mp4_end(out, ftyp);
    uint32_t duration_ms = 0;
    uint32_t next_track = 1;
    for (guint i = 0; i < mp4->tracks->len; i++) {
        const Track *track = g_ptr_array_index(mp4->tracks, i);
        duration_ms = MAX(duration_ms, to_ms(track, track->end_dts));
        next_track = MAX(next_track, track->number + 1u);
    }
    const guint moov = kvg_mp4_begin(out, "moov");
    kvg_mp4_put_mvhd(out, duration_ms, next_track);
    for (guint i = 0; i < mp4->tracks->len; i++)
        put_trak(out, g_ptr_array_index(mp4->tracks, i), media_at);
    kvg_mp4_end(out, moov);
    kvg_bytes_put_u32(out, 8 + mp4->n_bytes);
    kvg_bytes_put(out, "mdat", 4);
    return out;
}

/* Twice: the index's own length says where the media begins. */
GBytes *
kvg_mp4_write_head(const KvgMp4 *mp4)
{
    g_autoptr(GByteArray) first = write_index(mp4, 0);
    return g_byte_array_free_to_bytes(write_index(mp4, first->len));
}
