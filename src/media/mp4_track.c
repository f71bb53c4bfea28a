/* One function per codec, found by the Matroska codec id. */
#include "media/mp4_track.h"

#include "base/bytes.h"
#include "media/h264.h"
#include "media/h265.h"
#include "media/mp4_box.h"
#include <kvg/error.h>
#include <string.h>

#define VIDEO_TIMESCALE 1000u
#define WAVE_ALAW 6u
#define WAVE_MULAW 7u

static bool
corrupt(GError **error, const char *what)
{
    g_set_error(error, KVG_ERROR, KVG_ERROR_CORRUPT, "MP4: %s", what);
    return false;
}

static bool
describe_h264(const KvgTrack *track, KvgMp4Track *description, GError **error)
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
    description->nal_length_bytes = avcc.nal_length_size;
    return true;
}

static void
take_size(const uint8_t *nal, size_t len, void *user_data)
{
    KvgMp4Track *description = user_data;
    KvgH265Sps sps;
    if (len < 2 || kvg_h265_nal_type(nal) != KVG_H265_SPS ||
        !kvg_h265_parse_sps(nal, len, &sps, NULL))
        return;
    description->width = sps.width;
    description->height = sps.height;
}

static bool
describe_h265(const KvgTrack *track, KvgMp4Track *description, GError **error)
{
    KvgHvcc hvcc;
    if (!kvg_h265_parse_hvcc(description->config, description->config_len, &hvcc, error))
        return false;
    description->width = track->width;
    description->height = track->height;
    kvg_hvcc_foreach(&hvcc, take_size, description);
    description->timescale = VIDEO_TIMESCALE;
    description->nal_length_bytes = hvcc.nal_length_size;
    return true;
}

/* AudioSpecificConfig: object type, sampling rate, channels, frame length. Source: ISO/IEC 14496-3.
 */
static bool
describe_aac(const KvgTrack *track, KvgMp4Track *description, GError **error)
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
    description->channels = (unsigned)(bits >> (60 - used) & 15);
    used += 4;
    if (description->channels == 0)
        description->channels = track->channels;
    if (rate < 1000 || rate > 192000 || description->aac_object == 0)
        return corrupt(error, "damaged AudioSpecificConfig");
    description->aac_frame = bits >> (63 - used) & 1 ? 960 : 1024;
    description->timescale = rate;
    return true;
}

static bool
unsupported(const KvgTrack *track, GError **error)
{
    g_set_error(error, KVG_ERROR, KVG_ERROR_UNSUPPORTED, "MP4: codec '%s' cannot be played",
                track->codec_id != NULL ? track->codec_id : "");
    return false;
}

/* WAVEFORMATEX, little-endian: format, channels, rate. */
static bool
describe_acm(const KvgTrack *track, KvgMp4Track *description, GError **error)
{
    const uint8_t *config = description->config;
    if (description->config_len < 16)
        return corrupt(error, "damaged WAVEFORMATEX");
    const unsigned format = config[0] | config[1] << 8;
    if (format != WAVE_ALAW && format != WAVE_MULAW)
        return unsupported(track, error);
    description->codec = format == WAVE_ALAW ? KVG_CODEC_ALAW : KVG_CODEC_MULAW;
    description->channels = config[2] | (unsigned)config[3] << 8;
    description->timescale = config[4] | (uint32_t)config[5] << 8 | (uint32_t)config[6] << 16 |
                             (uint32_t)config[7] << 24;
    if (description->channels < 1 || description->channels > 8 || description->timescale < 1000 ||
        description->timescale > 192000)
        return corrupt(error, "damaged WAVEFORMATEX");
    return true;
}

static const struct {
    const char *id;
    KvgCodec codec;
    bool (*describe)(const KvgTrack *track, KvgMp4Track *description, GError **error);
} codecs[] = {
    {"V_MPEG4/ISO/AVC", KVG_CODEC_H264, describe_h264},
    {"V_MPEG/ISO/AVC", KVG_CODEC_H264, describe_h264}, /* the service's own documents spell it so */
    {"V_MPEGH/ISO/HEVC", KVG_CODEC_H265, describe_h265},
    {"V_MPEG/ISO/HEVC", KVG_CODEC_H265, describe_h265},
    {"A_AAC", KVG_CODEC_AAC, describe_aac},
    {"A_MS/ACM", KVG_CODEC_MULAW, describe_acm},
};

bool
kvg_mp4_track_init(KvgMp4Track *description, const KvgTrack *track, GError **error)
{
    memset(description, 0, sizeof *description);
    size_t i = 0;
    while (i < G_N_ELEMENTS(codecs) && g_strcmp0(track->codec_id, codecs[i].id) != 0)
        i++;
    if (i == G_N_ELEMENTS(codecs))
        return unsupported(track, error);
    description->number = track->number;
    description->codec = codecs[i].codec;
    description->is_audio = codecs[i].id[0] == 'A';
    if (track->codec_private == NULL)
        return corrupt(error, "the track has no codec private data");
    gsize len;
    description->config = g_bytes_get_data(track->codec_private, &len);
    description->config_len = len;
    if (len > 65536)
        return corrupt(error, "codec private data too large");
    return codecs[i].describe(track, description, error);
}

static void
put_video_entry(GByteArray *out, const KvgMp4Track *description)
{
    const bool is_h264 = description->codec == KVG_CODEC_H264;
    const guint entry = kvg_mp4_begin(out, is_h264 ? "avc1" : "hvc1");
    kvg_mp4_put_zeros(out, 6);
    kvg_bytes_put_u16(out, 1);
    kvg_mp4_put_zeros(out, 16);
    kvg_bytes_put_u16(out, (uint16_t)description->width);
    kvg_bytes_put_u16(out, (uint16_t)description->height);
    kvg_bytes_put_u32(out, 0x480000);
    kvg_bytes_put_u32(out, 0x480000);
    kvg_mp4_put_zeros(out, 4);
    kvg_bytes_put_u16(out, 1);
    kvg_mp4_put_zeros(out, 32);
    kvg_bytes_put_u16(out, 24);
    kvg_bytes_put_u16(out, 0xffff);
    const guint config = kvg_mp4_begin(out, is_h264 ? "avcC" : "hvcC");
    kvg_bytes_put(out, description->config, description->config_len);
    kvg_mp4_end(out, config);
    kvg_mp4_end(out, entry);
}

/* Head of an MPEG-4 descriptor; all of ours are shorter than 128 bytes. */
static void
put_descriptor(GByteArray *out, uint8_t tag, size_t len)
{
    kvg_bytes_put_u8(out, tag);
    kvg_bytes_put_u8(out, (uint8_t)len);
}

static void
put_esds(GByteArray *out, const KvgMp4Track *description)
{
    const size_t config_len = description->config_len;
    const guint box = kvg_mp4_begin_full(out, "esds", 0, 0);
    put_descriptor(out, 3, 3 + 2 + 13 + 2 + config_len + 3);
    kvg_mp4_put_zeros(out, 3);
    put_descriptor(out, 4, 13 + 2 + config_len);
    kvg_bytes_put_u8(out, 0x40); /* MPEG-4 audio */
    kvg_bytes_put_u8(out, 0x15); /* audio stream */
    kvg_mp4_put_zeros(out, 11);
    put_descriptor(out, 5, config_len);
    kvg_bytes_put(out, description->config, config_len);
    put_descriptor(out, 6, 1);
    kvg_bytes_put_u8(out, 2);
    kvg_mp4_end(out, box);
}

static void
put_audio_entry(GByteArray *out, const KvgMp4Track *description)
{
    const KvgCodec codec = description->codec;
    const guint entry = kvg_mp4_begin(out, codec == KVG_CODEC_ALAW    ? "alaw"
                                           : codec == KVG_CODEC_MULAW ? "ulaw"
                                                                      : "mp4a");
    kvg_mp4_put_zeros(out, 6);
    kvg_bytes_put_u16(out, 1);
    kvg_mp4_put_zeros(out, 8);
    kvg_bytes_put_u16(out, (uint16_t)description->channels);
    kvg_bytes_put_u16(out, 16);
    kvg_mp4_put_zeros(out, 4);
    kvg_bytes_put_u32(out, description->timescale < 65536 ? description->timescale << 16 : 0);
    if (codec == KVG_CODEC_AAC)
        put_esds(out, description);
    kvg_mp4_end(out, entry);
}

void
kvg_mp4_put_sample_entry(GByteArray *out, const KvgMp4Track *track)
{
    if (track->is_audio)
        put_audio_entry(out, track);
    else
        put_video_entry(out, track);
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
kvg_mp4_track_codec_string(const KvgMp4Track *track)
{
    const uint8_t *config = track->config;
    switch (track->codec) {
    case KVG_CODEC_H264:
        return g_strdup_printf("avc1.%02x%02x%02x", config[1], config[2], config[3]);
    case KVG_CODEC_H265:
        return h265_string(config);
    case KVG_CODEC_AAC:
        return g_strdup_printf("mp4a.40.%u", track->aac_object);
    case KVG_CODEC_ALAW:
        return g_strdup("alaw");
    case KVG_CODEC_MULAW:
        return g_strdup("ulaw");
    case KVG_CODEC_UNKNOWN:
    default:
        return NULL;
    }
}
