/* Fragmented MP4 by hand: one memcpy of the samples and a few hundred bytes of boxes. */
#include "media/fmp4.h"

#include "base/bytes.h"
#include "media/mp4_box.h"
#include <kvg/error.h>

#define MAX_FRAGMENT_BYTES (256u * 1024 * 1024)
/* The year 3237; times 192 kHz it still fits 63 bits. */
#define MAX_TIME_MS INT64_C(40000000000000)

#define SAMPLE_IS_SYNC 0x02000000u
#define SAMPLE_IS_DELTA 0x01010000u

static bool
corrupt(GError **error, const char *what)
{
    g_set_error(error, KVG_ERROR, KVG_ERROR_CORRUPT, "MP4: %s", what);
    return false;
}

static void
put_empty_table(GByteArray *out, const char type[4], unsigned n_words)
{
    const guint box = kvg_mp4_begin_full(out, type, 0, 0);
    kvg_mp4_put_zeros(out, 4 * n_words);
    kvg_mp4_end(out, box);
}

static void
put_stbl(GByteArray *out, const KvgMp4Track *track)
{
    const guint stbl = kvg_mp4_begin(out, "stbl");
    const guint stsd = kvg_mp4_begin_full(out, "stsd", 0, 0);
    kvg_bytes_put_u32(out, 1);
    kvg_mp4_put_sample_entry(out, track);
    kvg_mp4_end(out, stsd);
    put_empty_table(out, "stts", 1);
    put_empty_table(out, "stsc", 1);
    put_empty_table(out, "stsz", 2);
    put_empty_table(out, "stco", 1);
    kvg_mp4_end(out, stbl);
}

static void
put_trak(GByteArray *out, const KvgMp4Track *track)
{
    const guint trak = kvg_mp4_begin(out, "trak");
    kvg_mp4_put_tkhd(out, track, 0);
    const guint mdia = kvg_mp4_begin(out, "mdia");
    kvg_mp4_put_mdhd(out, track, 0);
    kvg_mp4_put_hdlr(out, track);
    const guint minf = kvg_mp4_begin(out, "minf");
    kvg_mp4_put_media_header(out, track);
    put_stbl(out, track);
    kvg_mp4_end(out, minf);
    kvg_mp4_end(out, mdia);
    kvg_mp4_end(out, trak);
}

GBytes *
kvg_fmp4_write_init(const KvgTrack *track, GError **error)
{
    KvgMp4Track description;
    if (!kvg_mp4_track_init(&description, track, error))
        return NULL;
    GByteArray *out = g_byte_array_new();
    const guint ftyp = kvg_mp4_begin(out, "ftyp");
    kvg_bytes_put(out, "iso6", 4);
    kvg_bytes_put_u32(out, 1);
    kvg_bytes_put(out, "iso6mp41", 8);
    kvg_mp4_end(out, ftyp);
    const guint moov = kvg_mp4_begin(out, "moov");
    kvg_mp4_put_mvhd(out, 0, track->number + 1u);
    put_trak(out, &description);
    const guint mvex = kvg_mp4_begin(out, "mvex");
    const guint trex = kvg_mp4_begin_full(out, "trex", 0, 0);
    kvg_bytes_put_u32(out, track->number);
    kvg_bytes_put_u32(out, 1);
    kvg_mp4_put_zeros(out, 12);
    kvg_mp4_end(out, trex);
    kvg_mp4_end(out, mvex);
    kvg_mp4_end(out, moov);
    return g_byte_array_free_to_bytes(out);
}

static void
put_trun(GByteArray *out,
         const KvgMp4Track *description,
         const KvgMp4Timing *timing,
         const KvgMp4Sample *samples,
         size_t n,
         guint *data_offset)
{
    const guint trun = kvg_mp4_begin_full(out, "trun", 1, 0x000f01);
    kvg_bytes_put_u32(out, (uint32_t)n);
    *data_offset = out->len;
    kvg_bytes_put_u32(out, 0);
    for (size_t i = 0; i < n; i++) {
        kvg_bytes_put_u32(out, timing[i].duration);
        kvg_bytes_put_u32(out, (uint32_t)samples[i].len);
        kvg_bytes_put_u32(out, description->is_audio || samples[i].key ? SAMPLE_IS_SYNC
                                                                       : SAMPLE_IS_DELTA);
        kvg_bytes_put_u32(out, (uint32_t)(int32_t)(timing[i].pts - timing[i].dts));
    }
    kvg_mp4_end(out, trun);
}

static void
put_moof(GByteArray *out,
         uint8_t track,
         uint32_t sequence,
         uint64_t tfdt,
         const KvgMp4Track *description,
         const KvgMp4Timing *timing,
         const KvgMp4Sample *samples,
         size_t n)
{
    const guint moof = kvg_mp4_begin(out, "moof");
    const guint mfhd = kvg_mp4_begin_full(out, "mfhd", 0, 0);
    kvg_bytes_put_u32(out, sequence);
    kvg_mp4_end(out, mfhd);
    const guint traf = kvg_mp4_begin(out, "traf");
    const guint tfhd = kvg_mp4_begin_full(out, "tfhd", 0, 0x020000); /* default-base-is-moof */
    kvg_bytes_put_u32(out, track);
    kvg_mp4_end(out, tfhd);
    const guint time = kvg_mp4_begin_full(out, "tfdt", 1, 0);
    kvg_bytes_put_u64(out, tfdt);
    kvg_mp4_end(out, time);
    guint data_offset;
    put_trun(out, description, timing, samples, n, &data_offset);
    kvg_mp4_end(out, traf);
    kvg_mp4_end(out, moof);
    kvg_bytes_set_u32(out, data_offset, out->len - moof + 8);
}

static bool
sum_sizes(const KvgMp4Sample *samples, size_t n, size_t *total, GError **error)
{
    *total = 0;
    for (size_t i = 0; i < n; i++) {
        if (samples[i].len > MAX_FRAGMENT_BYTES - *total)
            return corrupt(error, "fragment too large");
        *total += samples[i].len;
    }
    return true;
}

GBytes *
kvg_fmp4_write_fragment(const KvgTrack *track,
                        uint32_t sequence,
                        int64_t base_ms,
                        int64_t length_ms,
                        const KvgMp4Sample *samples,
                        size_t n_samples,
                        GError **error)
{
    KvgMp4Track description;
    size_t total;
    if (!kvg_mp4_track_init(&description, track, error) ||
        !sum_sizes(samples, n_samples, &total, error))
        return NULL;
    if (base_ms < 0 || base_ms > MAX_TIME_MS) {
        corrupt(error, "fragment time out of range");
        return NULL;
    }
    g_autofree KvgMp4Timing *timing = g_new0(KvgMp4Timing, n_samples);
    if (!kvg_mp4_time_samples(&description, samples, n_samples, length_ms, timing, error))
        return NULL;
    const int64_t start = kvg_mp4_to_units(base_ms, description.timescale) + timing[0].dts;

    GByteArray *out = g_byte_array_sized_new((guint)(total + n_samples * 16 + 256));
    const guint styp = kvg_mp4_begin(out, "styp");
    kvg_bytes_put(out, "msdh\0\0\0\0msdhiso6", 16);
    kvg_mp4_end(out, styp);
    put_moof(out, track->number, sequence, (uint64_t)MAX(start, 0), &description, timing, samples,
             n_samples);
    const guint mdat = kvg_mp4_begin(out, "mdat");
    for (size_t i = 0; i < n_samples; i++)
        kvg_bytes_put(out, samples[i].data, samples[i].len);
    kvg_mp4_end(out, mdat);
    return g_byte_array_free_to_bytes(out);
}

char *
kvg_fmp4_codec_string(const KvgTrack *track)
{
    KvgMp4Track description;
    return kvg_mp4_track_init(&description, track, NULL) ? kvg_mp4_track_codec_string(&description)
                                                         : NULL;
}
