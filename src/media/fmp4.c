/* Fragmented MP4 by hand: one memcpy of the samples and a few hundred bytes of boxes. Hides the box
 * layout, the decoder configurations of three codecs, and how decoding times are rebuilt (Matroska
 * gives presentation times only). */
#include "media/fmp4.h"

#include "base/bytes.h"
#include "media/h264.h"
#include <kvg/error.h>
#include <string.h>

/* 20 s at 1000 frames a second, and well below what trun can say. */
#define MAX_SAMPLES 200000u
#define MAX_FRAGMENT_BYTES (256u * 1024 * 1024)
/* The year 3237; times 192 kHz it still fits 63 bits. */
#define MAX_TIME_MS INT64_C(40000000000000)
#define VIDEO_TIMESCALE 1000u

#define SAMPLE_IS_SYNC 0x02000000u
#define SAMPLE_IS_DELTA 0x01010000u

typedef enum { CODEC_UNKNOWN, CODEC_H264, CODEC_H265, CODEC_AAC } Codec;

typedef struct {
    Codec codec;
    const uint8_t *config;
    size_t config_len;
    uint32_t timescale;
    uint32_t width, height;
    unsigned aac_object, aac_channels, aac_frame;
} Description;

static Codec
codec_of(const KvgTrack *track)
{
    static const struct {
        const char *id;
        Codec codec;
    } codecs[] = {
        {"V_MPEG4/ISO/AVC", CODEC_H264},
        {"V_MPEG/ISO/AVC", CODEC_H264},
        {"V_MPEGH/ISO/HEVC", CODEC_H265},
        {"V_MPEG/ISO/HEVC", CODEC_H265},
        {"A_AAC", CODEC_AAC},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(codecs); i++) {
        if (g_strcmp0(track->codec_id, codecs[i].id) == 0)
            return codecs[i].codec;
    }
    return CODEC_UNKNOWN;
}

static bool
corrupt(GError **error, const char *what)
{
    g_set_error(error, KVG_ERROR, KVG_ERROR_CORRUPT, "MP4: %s", what);
    return false;
}

static bool
describe_h264(const KvgTrack *track, Description *description, GError **error)
{
    KvgAvcc avcc;
    KvgH264Sps sps;
    if (!kvg_h264_parse_avcc(description->config, description->config_len, &avcc, error) ||
        !kvg_h264_parse_sps(avcc.sps, avcc.sps_len, &sps, error))
        return false;
    /* The SPS is what the decoder will obey; the container may be wrong. */
    description->width = sps.width;
    description->height = sps.height;
    description->timescale = VIDEO_TIMESCALE;
    return true;
}

static bool
describe_h265(const KvgTrack *track, Description *description, GError **error)
{
    if (description->config_len < 23 || description->config[0] != 1)
        return corrupt(error, "damaged hvcC");
    KvgReader reader = kvg_reader_init(description->config + 22, description->config_len - 22);
    const unsigned n_arrays = kvg_reader_u8(&reader);
    for (unsigned i = 0; i < n_arrays; i++) {
        kvg_reader_u8(&reader);
        const unsigned n = kvg_reader_u16(&reader);
        for (unsigned j = 0; j < n && !reader.failed; j++)
            kvg_reader_take(&reader, kvg_reader_u16(&reader));
    }
    if (reader.failed)
        return corrupt(error, "damaged hvcC");
    description->width = track->width;
    description->height = track->height;
    description->timescale = VIDEO_TIMESCALE;
    return true;
}

/* AudioSpecificConfig: object type, sampling rate, channels, frame length. Source: ISO/IEC 14496-3.
 */
static bool
describe_aac(const KvgTrack *track, Description *description, GError **error)
{
    static const uint32_t rates[] = {96000, 88200, 64000, 48000, 44100, 32000, 24000,
                                     22050, 16000, 12000, 11025, 8000,  7350};
    if (description->config_len < 2 || description->config_len > 64)
        return corrupt(error, "damaged AudioSpecificConfig");
    uint64_t bits = 0;
    for (size_t i = 0; i < 8; i++)
        bits = bits << 8 | (i < description->config_len ? description->config[i] : 0);
    unsigned used = 5;
    description->aac_object = (unsigned)(bits >> 59);
    if (description->aac_object == 31) {
        description->aac_object = 32 + (unsigned)(bits >> 53 & 63);
        used += 6;
    }
    const unsigned index = (unsigned)(bits >> (60 - used) & 15);
    used += 4;
    uint32_t rate = index < G_N_ELEMENTS(rates) ? rates[index] : 0;
    if (index == 15) {
        rate = (uint32_t)(bits >> (40 - used) & 0xffffff);
        used += 24;
    }
    description->aac_channels = (unsigned)(bits >> (60 - used) & 15);
    used += 4;
    if (description->aac_channels == 0)
        description->aac_channels = track->channels;
    if (rate < 1000 || rate > 192000 || description->aac_object == 0)
        return corrupt(error, "damaged AudioSpecificConfig");
    description->aac_frame = bits >> (63 - used) & 1 ? 960 : 1024;
    description->timescale = rate;
    return true;
}

static bool
describe(const KvgTrack *track, Description *description, GError **error)
{
    memset(description, 0, sizeof *description);
    description->codec = codec_of(track);
    if (description->codec == CODEC_UNKNOWN) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_UNSUPPORTED, "MP4: codec '%s' cannot be played",
                    track->codec_id != NULL ? track->codec_id : "");
        return false;
    }
    if (track->codec_private == NULL)
        return corrupt(error, "the track has no codec private data");
    gsize len;
    description->config = g_bytes_get_data(track->codec_private, &len);
    description->config_len = len;
    if (len > 65536)
        return corrupt(error, "codec private data too large");
    switch (description->codec) {
    case CODEC_H264:
        return describe_h264(track, description, error);
    case CODEC_H265:
        return describe_h265(track, description, error);
    case CODEC_AAC:
        return describe_aac(track, description, error);
    case CODEC_UNKNOWN:
    default:
        return false;
    }
}

static guint
begin_box(GByteArray *out, const char type[4])
{
    const guint start = out->len;
    kvg_bytes_put_u32(out, 0);
    kvg_bytes_put(out, type, 4);
    return start;
}

static guint
begin_full_box(GByteArray *out, const char type[4], uint8_t version, uint32_t flags)
{
    const guint start = begin_box(out, type);
    kvg_bytes_put_u32(out, (uint32_t)version << 24 | flags);
    return start;
}

static void
end_box(GByteArray *out, guint start)
{
    kvg_bytes_set_u32(out, start, out->len - start);
}

static void
put_zeros(GByteArray *out, unsigned n)
{
    static const uint8_t zeros[64];
    kvg_bytes_put(out, zeros, n);
}

static void
put_matrix(GByteArray *out)
{
    static const uint32_t matrix[] = {0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000};
    for (size_t i = 0; i < G_N_ELEMENTS(matrix); i++)
        kvg_bytes_put_u32(out, matrix[i]);
}

static void
put_mvhd(GByteArray *out, uint32_t next_track)
{
    const guint box = begin_full_box(out, "mvhd", 0, 0);
    put_zeros(out, 8);
    kvg_bytes_put_u32(out, 1000);
    kvg_bytes_put_u32(out, 0);
    kvg_bytes_put_u32(out, 0x10000);
    kvg_bytes_put_u16(out, 0x100);
    put_zeros(out, 10);
    put_matrix(out);
    put_zeros(out, 24);
    kvg_bytes_put_u32(out, next_track);
    end_box(out, box);
}

static void
put_tkhd(GByteArray *out, const KvgTrack *track, const Description *description)
{
    const guint box = begin_full_box(out, "tkhd", 0, 3);
    put_zeros(out, 8);
    kvg_bytes_put_u32(out, track->number);
    put_zeros(out, 16); /* reserved, duration, reserved */
    put_zeros(out, 2);  /* layer */
    kvg_bytes_put_u16(out, description->codec == CODEC_AAC ? 1 : 0);
    kvg_bytes_put_u16(out, description->codec == CODEC_AAC ? 0x100 : 0);
    put_zeros(out, 2);
    put_matrix(out);
    kvg_bytes_put_u32(out, description->width << 16);
    kvg_bytes_put_u32(out, description->height << 16);
    end_box(out, box);
}

static void
put_mdhd(GByteArray *out, const Description *description)
{
    const guint box = begin_full_box(out, "mdhd", 0, 0);
    put_zeros(out, 8);
    kvg_bytes_put_u32(out, description->timescale);
    kvg_bytes_put_u32(out, 0);
    kvg_bytes_put_u16(out, 0x55c4); /* language "und" */
    kvg_bytes_put_u16(out, 0);
    end_box(out, box);
}

static void
put_hdlr(GByteArray *out, bool is_audio)
{
    const guint box = begin_full_box(out, "hdlr", 0, 0);
    put_zeros(out, 4);
    kvg_bytes_put(out, is_audio ? "soun" : "vide", 4);
    put_zeros(out, 12);
    kvg_bytes_put(out, "kvg", 4);
    end_box(out, box);
}

static void
put_video_entry(GByteArray *out, const Description *description)
{
    const bool is_h264 = description->codec == CODEC_H264;
    const guint entry = begin_box(out, is_h264 ? "avc1" : "hvc1");
    put_zeros(out, 6);
    kvg_bytes_put_u16(out, 1);
    put_zeros(out, 16);
    kvg_bytes_put_u16(out, (uint16_t)description->width);
    kvg_bytes_put_u16(out, (uint16_t)description->height);
    kvg_bytes_put_u32(out, 0x480000);
    kvg_bytes_put_u32(out, 0x480000);
    put_zeros(out, 4);
    kvg_bytes_put_u16(out, 1);
    put_zeros(out, 32);
    kvg_bytes_put_u16(out, 24);
    kvg_bytes_put_u16(out, 0xffff);
    const guint config = begin_box(out, is_h264 ? "avcC" : "hvcC");
    kvg_bytes_put(out, description->config, description->config_len);
    end_box(out, config);
    end_box(out, entry);
}

/* Head of an MPEG-4 descriptor; all of ours are shorter than 128 bytes. */
static void
put_descriptor(GByteArray *out, uint8_t tag, size_t len)
{
    kvg_bytes_put_u8(out, tag);
    kvg_bytes_put_u8(out, (uint8_t)len);
}

static void
put_esds(GByteArray *out, const Description *description)
{
    const size_t config_len = description->config_len;
    const guint box = begin_full_box(out, "esds", 0, 0);
    put_descriptor(out, 3, 3 + 2 + 13 + 2 + config_len + 3);
    put_zeros(out, 3);
    put_descriptor(out, 4, 13 + 2 + config_len);
    kvg_bytes_put_u8(out, 0x40); /* MPEG-4 audio */
    kvg_bytes_put_u8(out, 0x15); /* audio stream */
    put_zeros(out, 11);
    put_descriptor(out, 5, config_len);
    kvg_bytes_put(out, description->config, config_len);
    put_descriptor(out, 6, 1);
    kvg_bytes_put_u8(out, 2);
    end_box(out, box);
}

static void
put_audio_entry(GByteArray *out, const Description *description)
{
    const guint entry = begin_box(out, "mp4a");
    put_zeros(out, 6);
    kvg_bytes_put_u16(out, 1);
    put_zeros(out, 8);
    kvg_bytes_put_u16(out, (uint16_t)description->aac_channels);
    kvg_bytes_put_u16(out, 16);
    put_zeros(out, 4);
    kvg_bytes_put_u32(out, description->timescale < 65536 ? description->timescale << 16 : 0);
    put_esds(out, description);
    end_box(out, entry);
}

static void
put_empty_table(GByteArray *out, const char type[4], unsigned n_words)
{
    const guint box = begin_full_box(out, type, 0, 0);
    put_zeros(out, 4 * n_words);
    end_box(out, box);
}

static void
put_stbl(GByteArray *out, const Description *description)
{
    const guint stbl = begin_box(out, "stbl");
    const guint stsd = begin_full_box(out, "stsd", 0, 0);
    kvg_bytes_put_u32(out, 1);
    if (description->codec == CODEC_AAC)
        put_audio_entry(out, description);
    else
        put_video_entry(out, description);
    end_box(out, stsd);
    put_empty_table(out, "stts", 1);
    put_empty_table(out, "stsc", 1);
    put_empty_table(out, "stsz", 2);
    put_empty_table(out, "stco", 1);
    end_box(out, stbl);
}

static void
put_minf(GByteArray *out, const Description *description)
{
    const guint minf = begin_box(out, "minf");
    if (description->codec == CODEC_AAC) {
        put_empty_table(out, "smhd", 1);
    } else {
        const guint vmhd = begin_full_box(out, "vmhd", 0, 1);
        put_zeros(out, 8);
        end_box(out, vmhd);
    }
    const guint dinf = begin_box(out, "dinf");
    const guint dref = begin_full_box(out, "dref", 0, 0);
    kvg_bytes_put_u32(out, 1);
    end_box(out, begin_full_box(out, "url ", 0, 1));
    end_box(out, dref);
    end_box(out, dinf);
    put_stbl(out, description);
    end_box(out, minf);
}

static void
put_trak(GByteArray *out, const KvgTrack *track, const Description *description)
{
    const guint trak = begin_box(out, "trak");
    put_tkhd(out, track, description);
    const guint mdia = begin_box(out, "mdia");
    put_mdhd(out, description);
    put_hdlr(out, description->codec == CODEC_AAC);
    put_minf(out, description);
    end_box(out, mdia);
    end_box(out, trak);
}

GBytes *
kvg_fmp4_write_init(const KvgTrack *track, GError **error)
{
    Description description;
    if (!describe(track, &description, error))
        return NULL;
    GByteArray *out = g_byte_array_new();
    const guint ftyp = begin_box(out, "ftyp");
    kvg_bytes_put(out, "iso6", 4);
    kvg_bytes_put_u32(out, 1);
    kvg_bytes_put(out, "iso6mp41", 8);
    end_box(out, ftyp);
    const guint moov = begin_box(out, "moov");
    put_mvhd(out, track->number + 1u);
    put_trak(out, track, &description);
    const guint mvex = begin_box(out, "mvex");
    const guint trex = begin_full_box(out, "trex", 0, 0);
    kvg_bytes_put_u32(out, track->number);
    kvg_bytes_put_u32(out, 1);
    put_zeros(out, 12);
    end_box(out, trex);
    end_box(out, mvex);
    end_box(out, moov);
    return g_byte_array_free_to_bytes(out);
}

/* What trun says of a sample. */
typedef struct {
    int64_t dts; /* timescale units from the fragment's start */
    int64_t pts;
    uint32_t duration;
} Timing;

static int
compare_dts(const void *a, const void *b)
{
    const int64_t left = ((const Timing *)a)->dts;
    const int64_t right = ((const Timing *)b)->dts;
    return (left > right) - (left < right);
}

static bool
is_sorted(const Timing *timing, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        if (timing[i].dts < timing[i - 1].dts)
            return false;
    }
    return true;
}

/* Sorted presentation times are valid decoding times (constant delay zero); the offset of each
 * sample is then its own presentation time less that, and may be negative. */
static void
rebuild_dts(Timing *timing, size_t n)
{
    if (!is_sorted(timing, n)) {
        g_autofree Timing *sorted = g_memdup2(timing, n * sizeof *timing);
        qsort(sorted, n, sizeof *sorted, compare_dts);
        for (size_t i = 0; i < n; i++)
            timing[i].dts = sorted[i].dts;
    }
    /* Equal times (two frames in one millisecond) would make a duration of zero. */
    for (size_t i = 1; i < n; i++)
        timing[i].dts = MAX(timing[i].dts, timing[i - 1].dts + 1);
}

static int64_t
to_units(int64_t ms, uint32_t timescale)
{
    const int64_t scaled = ms * (int64_t)timescale;
    return scaled >= 0 ? (scaled + 500) / 1000 : -((-scaled + 500) / 1000);
}

/* The last sample has no successor in this fragment. */
static int64_t
last_duration(const Description *description,
              const Timing *timing,
              const KvgFmp4Sample *samples,
              size_t n,
              int64_t length_ms)
{
    if (description->codec == CODEC_AAC)
        return description->aac_frame;
    const int64_t rest = to_units(length_ms, description->timescale) - timing[n - 1].dts;
    if (length_ms > 0 && rest > 0)
        return rest;
    if (samples[n - 1].duration_ms > 0)
        return to_units(samples[n - 1].duration_ms, description->timescale);
    return n > 1 ? timing[n - 2].duration : 1;
}

static bool
make_timing(const Description *description,
            const KvgFmp4Sample *samples,
            size_t n,
            int64_t length_ms,
            Timing *timing,
            GError **error)
{
    if (length_ms < 0 || length_ms > G_MAXINT32)
        return corrupt(error, "fragment length out of range");
    for (size_t i = 0; i < n; i++) {
        if (samples[i].pts_ms < -G_MAXINT32 || samples[i].pts_ms > G_MAXINT32 ||
            samples[i].duration_ms > G_MAXINT32)
            return corrupt(error, "sample time out of range");
        timing[i].pts = to_units(samples[i].pts_ms, description->timescale);
        timing[i].dts = timing[i].pts;
    }
    rebuild_dts(timing, n);
    for (size_t i = 0; i + 1 < n; i++) {
        const int64_t duration = timing[i + 1].dts - timing[i].dts;
        if (duration > G_MAXINT32)
            return corrupt(error, "sample duration out of range");
        timing[i].duration = (uint32_t)duration;
    }
    const int64_t last = last_duration(description, timing, samples, n, length_ms);
    timing[n - 1].duration = (uint32_t)CLAMP(last, 1, G_MAXINT32);
    for (size_t i = 0; i < n; i++) {
        if (ABS(timing[i].pts - timing[i].dts) > G_MAXINT32)
            return corrupt(error, "sample time out of range");
    }
    return true;
}

static void
put_trun(GByteArray *out,
         const Description *description,
         const Timing *timing,
         const KvgFmp4Sample *samples,
         size_t n,
         guint *data_offset)
{
    const guint trun = begin_full_box(out, "trun", 1, 0x000f01);
    kvg_bytes_put_u32(out, (uint32_t)n);
    *data_offset = out->len;
    kvg_bytes_put_u32(out, 0);
    const bool is_audio = description->codec == CODEC_AAC;
    for (size_t i = 0; i < n; i++) {
        kvg_bytes_put_u32(out, timing[i].duration);
        kvg_bytes_put_u32(out, (uint32_t)samples[i].len);
        kvg_bytes_put_u32(out, is_audio || samples[i].key ? SAMPLE_IS_SYNC : SAMPLE_IS_DELTA);
        kvg_bytes_put_u32(out, (uint32_t)(int32_t)(timing[i].pts - timing[i].dts));
    }
    end_box(out, trun);
}

static void
put_moof(GByteArray *out,
         uint8_t track,
         uint32_t sequence,
         uint64_t tfdt,
         const Description *description,
         const Timing *timing,
         const KvgFmp4Sample *samples,
         size_t n)
{
    const guint moof = begin_box(out, "moof");
    const guint mfhd = begin_full_box(out, "mfhd", 0, 0);
    kvg_bytes_put_u32(out, sequence);
    end_box(out, mfhd);
    const guint traf = begin_box(out, "traf");
    const guint tfhd = begin_full_box(out, "tfhd", 0, 0x020000); /* default-base-is-moof */
    kvg_bytes_put_u32(out, track);
    end_box(out, tfhd);
    const guint time = begin_full_box(out, "tfdt", 1, 0);
    kvg_bytes_put_u64(out, tfdt);
    end_box(out, time);
    guint data_offset;
    put_trun(out, description, timing, samples, n, &data_offset);
    end_box(out, traf);
    end_box(out, moof);
    kvg_bytes_set_u32(out, data_offset, out->len - moof + 8);
}

static bool
sum_sizes(const KvgFmp4Sample *samples, size_t n, size_t *total, GError **error)
{
    *total = 0;
    if (n == 0 || n > MAX_SAMPLES)
        return corrupt(error, n == 0 ? "no samples" : "too many samples");
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
                        const KvgFmp4Sample *samples,
                        size_t n_samples,
                        GError **error)
{
    Description description;
    size_t total;
    if (!describe(track, &description, error) || !sum_sizes(samples, n_samples, &total, error))
        return NULL;
    if (base_ms < 0 || base_ms > MAX_TIME_MS) {
        corrupt(error, "fragment time out of range");
        return NULL;
    }
    g_autofree Timing *timing = g_new0(Timing, n_samples);
    if (!make_timing(&description, samples, n_samples, length_ms, timing, error))
        return NULL;
    const int64_t start = to_units(base_ms, description.timescale) + timing[0].dts;

    GByteArray *out = g_byte_array_sized_new((guint)(total + n_samples * 16 + 256));
    const guint styp = begin_box(out, "styp");
    kvg_bytes_put(out, "msdh\0\0\0\0msdhiso6", 16);
    end_box(out, styp);
    put_moof(out, track->number, sequence, (uint64_t)MAX(start, 0), &description, timing, samples,
             n_samples);
    const guint mdat = begin_box(out, "mdat");
    for (size_t i = 0; i < n_samples; i++)
        kvg_bytes_put(out, samples[i].data, samples[i].len);
    end_box(out, mdat);
    return g_byte_array_free_to_bytes(out);
}

/* Profile, compatibility bits in reverse, tier and level, constraint bytes without trailing zeros.
 * Source: ISO/IEC 14496-15 annex E. */
static char *
h265_string(const uint8_t *config)
{
    static const char *const spaces[] = {"", "A", "B", "C"};
    uint32_t compatibility = 0;
    for (unsigned i = 0; i < 32; i++) {
        if (config[2 + i / 8] & 0x80u >> i % 8)
            compatibility |= 1u << i;
    }
    GString *text = g_string_new(NULL);
    g_string_append_printf(text, "hvc1.%s%u.%X.%c%u", spaces[config[1] >> 6], config[1] & 31u,
                           compatibility, config[1] & 0x20 ? 'H' : 'L', config[12]);
    unsigned n = 6;
    while (n > 0 && config[6 + n - 1] == 0)
        n--;
    for (unsigned i = 0; i < n; i++)
        g_string_append_printf(text, ".%X", config[6 + i]);
    return g_string_free(text, FALSE);
}

char *
kvg_fmp4_codec_string(const KvgTrack *track)
{
    Description description;
    if (!describe(track, &description, NULL))
        return NULL;
    const uint8_t *config = description.config;
    switch (description.codec) {
    case CODEC_H264:
        return g_strdup_printf("avc1.%02x%02x%02x", config[1], config[2], config[3]);
    case CODEC_H265:
        return h265_string(config);
    case CODEC_AAC:
        return g_strdup_printf("mp4a.40.%u", description.aac_object);
    case CODEC_UNKNOWN:
    default:
        return NULL;
    }
}
