/* Packets of 188 bytes. Continuity counters begin at zero in each segment, which the first packet
 * of each PID announces by its discontinuity indicator: segments are made one by one, and nobody
 * knows what the one before counted to. */
#include "media/ts.h"

#include "base/bytes.h"
#include "media/annexb.h"
#include "media/h264.h"
#include "media/h265.h"
#include <kvg/error.h>
#include <string.h>

#define PACKET 188u
#define PID_PAT 0u
#define PID_PMT 0x1000u
#define PID_VIDEO 0x100u
#define PID_AUDIO 0x101u
#define CLOCK_HZ 90000
#define TIME_MASK ((INT64_C(1) << 33) - 1)
/* The decoder has this long to receive a picture: its bytes come that much earlier. */
#define PCR_LEAD (CLOCK_HZ / 10)
#define MAX_TRACKS 2u
#define MAX_BYTES (256u * 1024 * 1024)
/* One PES packet for several AAC frames: each would fill packets for itself. */
#define AUDIO_RUN 8u

enum { STREAM_AAC = 0x0f, STREAM_H264 = 0x1b, STREAM_H265 = 0x24 };

typedef struct {
    const KvgTsTrack *track;
    KvgMp4Timing *timing;
    int64_t delay; /* what decoding times move back so that none is behind its presentation */
    size_t next;   /* sample */
    unsigned pid;
    uint8_t counter;
    bool has_begun;
    bool has_pcr;
} Stream;

static bool
corrupt(GError **error, const char *what)
{
    g_set_error(error, KVG_ERROR, KVG_ERROR_CORRUPT, "MPEG-TS: %s", what);
    return false;
}

/* ---- packets ---- */

/* One packet with as much of the payload as fits; what it took. @pcr < 0: none. */
static size_t
put_packet(
    GByteArray *out, Stream *stream, bool is_start, int64_t pcr, const uint8_t *data, size_t len)
{
    uint8_t packet[PACKET];
    const bool is_first = !stream->has_begun;
    size_t field = pcr >= 0 ? 8 : is_first ? 2 : 0; /* adaptation field with its length byte */
    if (len < PACKET - 4 - field)
        field = PACKET - 4 - len;
    const size_t taken = PACKET - 4 - field;
    packet[0] = 0x47;
    packet[1] = (uint8_t)((is_start ? 0x40u : 0) | stream->pid >> 8);
    packet[2] = (uint8_t)stream->pid;
    packet[3] = (uint8_t)(0x10u | (field > 0 ? 0x20u : 0) | stream->counter);
    memset(packet + 4, 0xff, field);
    if (field > 0)
        packet[4] = (uint8_t)(field - 1);
    if (field > 1)
        packet[5] = (uint8_t)((is_first ? 0x80 : 0) | (pcr >= 0 ? 0x10 : 0));
    if (pcr >= 0) {
        const uint64_t base = (uint64_t)(pcr & TIME_MASK);
        for (unsigned i = 0; i < 4; i++)
            packet[6 + i] = (uint8_t)(base >> (25 - 8 * i));
        packet[10] = (uint8_t)((base & 1) << 7 | 0x7e);
        packet[11] = 0;
    }
    memcpy(packet + 4 + field, data, taken);
    kvg_bytes_put(out, packet, sizeof packet);
    stream->counter = (stream->counter + 1) & 15;
    stream->has_begun = true;
    return taken;
}

static void
put_payload(GByteArray *out, Stream *stream, int64_t pcr, const uint8_t *data, size_t len)
{
    bool is_start = true;
    for (size_t at = 0; at < len; is_start = false)
        at += put_packet(out, stream, is_start, is_start ? pcr : -1, data + at, len - at);
}

/* ---- tables ---- */

static uint32_t
crc32_mpeg(const uint8_t *data, size_t len)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < len; i++) {
        crc ^= (uint32_t)data[i] << 24;
        for (unsigned bit = 0; bit < 8; bit++)
            crc = crc << 1 ^ (crc & 0x80000000u ? 0x04c11db7u : 0);
    }
    return crc;
}

/* A section behind its pointer field. @body: what stands between the length and the CRC. */
static void
put_section(GByteArray *out, unsigned pid, uint8_t table, const GByteArray *body)
{
    g_autoptr(GByteArray) section = g_byte_array_new();
    Stream stream = {.pid = pid};
    kvg_bytes_put_u8(section, 0);
    kvg_bytes_put_u8(section, table);
    kvg_bytes_put_u16(section, (uint16_t)(0xb000 | (body->len + 4)));
    kvg_bytes_put(section, body->data, body->len);
    kvg_bytes_put_u32(section, crc32_mpeg(section->data + 1, section->len - 1));
    /* A section is filled up with 0xff behind its end, not with an adaptation field. */
    while (section->len < PACKET - 4 - 2)
        kvg_bytes_put_u8(section, 0xff);
    put_payload(out, &stream, -1, section->data, section->len);
}

static void
put_tables(GByteArray *out, const Stream *streams, size_t n)
{
    static const uint8_t head[] = {0, 1, 0xc1, 0, 0}; /* id 1, version 0, current, section 0 of 0 */
    g_autoptr(GByteArray) pat = g_byte_array_new();
    kvg_bytes_put(pat, head, sizeof head);
    kvg_bytes_put_u16(pat, 1);
    kvg_bytes_put_u16(pat, 0xe000 | PID_PMT);
    put_section(out, PID_PAT, 0, pat);
    g_autoptr(GByteArray) pmt = g_byte_array_new();
    kvg_bytes_put(pmt, head, sizeof head);
    kvg_bytes_put_u16(pmt, (uint16_t)(0xe000 | streams[0].pid)); /* PCR */
    kvg_bytes_put_u16(pmt, 0xf000);
    for (size_t i = 0; i < n; i++) {
        const KvgCodec codec = streams[i].track->track.codec;
        kvg_bytes_put_u8(pmt, codec == KVG_CODEC_AAC    ? STREAM_AAC
                              : codec == KVG_CODEC_H264 ? STREAM_H264
                                                        : STREAM_H265);
        kvg_bytes_put_u16(pmt, (uint16_t)(0xe000 | streams[i].pid));
        kvg_bytes_put_u16(pmt, 0xf000);
    }
    put_section(out, PID_PMT, 2, pmt);
}

/* ---- elementary streams ---- */

static void
put_time(GByteArray *out, uint8_t mark, int64_t time)
{
    const uint64_t t = (uint64_t)(time & TIME_MASK);
    kvg_bytes_put_u8(out, (uint8_t)(mark << 4 | (t >> 30 & 7) << 1 | 1));
    kvg_bytes_put_u16(out, (uint16_t)((t >> 15 & 0x7fff) << 1 | 1));
    kvg_bytes_put_u16(out, (uint16_t)((t & 0x7fff) << 1 | 1));
}

static void
put_pes_head(GByteArray *out, bool is_audio, int64_t pts, int64_t dts, size_t len)
{
    const bool has_dts = dts != pts;
    const size_t rest = 3 + (has_dts ? 10 : 5) + len;
    kvg_bytes_put_u24(out, 1);
    kvg_bytes_put_u8(out, is_audio ? 0xc0 : 0xe0);
    kvg_bytes_put_u16(out, is_audio && rest <= UINT16_MAX ? (uint16_t)rest : 0);
    kvg_bytes_put_u8(out, 0x84); /* data alignment: a frame begins here */
    kvg_bytes_put_u8(out, has_dts ? 0xc0 : 0x80);
    kvg_bytes_put_u8(out, has_dts ? 10 : 5);
    put_time(out, has_dts ? 3 : 2, pts);
    if (has_dts)
        put_time(out, 1, dts);
}

static void
put_nal(const uint8_t *nal, size_t len, void *user_data)
{
    GByteArray *out = user_data;
    kvg_bytes_put_u32(out, 1);
    kvg_bytes_put(out, nal, len);
}

typedef struct {
    unsigned sps, pps, delimiter; /* NAL unit types */
} NalTypes;

static unsigned
nal_type(KvgCodec codec, const uint8_t *nal)
{
    return codec == KVG_CODEC_H264 ? nal[0] & 31u : nal[0] >> 1 & 63u;
}

/* Parameter sets out of the track's configuration. */
static void
put_parameter_sets(GByteArray *out, const KvgMp4Track *track)
{
    KvgHvcc hvcc;
    if (track->codec == KVG_CODEC_H265) {
        if (kvg_h265_parse_hvcc(track->config, track->config_len, &hvcc, NULL))
            kvg_hvcc_foreach(&hvcc, put_nal, out);
        return;
    }
    KvgReader reader = kvg_reader_init(track->config, track->config_len);
    kvg_reader_take(&reader, 5);
    for (unsigned kind = 0; kind < 2; kind++) {
        const unsigned n = kvg_reader_u8(&reader) & (kind == 0 ? 31u : 255u);
        for (unsigned i = 0; i < n && !reader.failed; i++) {
            const uint16_t len = kvg_reader_u16(&reader);
            const uint8_t *nal = kvg_reader_take(&reader, len);
            if (nal != NULL)
                put_nal(nal, len, out);
        }
    }
}

/* Delimiter, parameter sets before a key frame that has none of its own, and the NAL units. */
static void
put_picture(GByteArray *out, const KvgMp4Track *track, const KvgMp4Sample *sample)
{
    static const uint8_t h264_delimiter[] = {9, 0xf0};
    static const uint8_t h265_delimiter[] = {0x46, 1, 0x50};
    const bool is_h264 = track->codec == KVG_CODEC_H264;
    const NalTypes types = is_h264 ? (NalTypes){7, 8, 9} : (NalTypes){33, 34, 35};
    bool has_sps = false;
    size_t at = 0;
    const uint8_t *nal;
    size_t len;
    while (kvg_lengths_next(sample->data, sample->len, track->nal_length_bytes, &at, &nal, &len))
        has_sps = has_sps || nal_type(track->codec, nal) == types.sps;
    if (is_h264)
        put_nal(h264_delimiter, sizeof h264_delimiter, out);
    else
        put_nal(h265_delimiter, sizeof h265_delimiter, out);
    if (sample->key && !has_sps)
        put_parameter_sets(out, track);
    at = 0;
    while (kvg_lengths_next(sample->data, sample->len, track->nal_length_bytes, &at, &nal, &len)) {
        if (nal_type(track->codec, nal) != types.delimiter)
            put_nal(nal, len, out);
    }
}

static bool
put_adts(GByteArray *out, const KvgMp4Track *track, const KvgMp4Sample *sample, GError **error)
{
    static const uint32_t rates[] = {96000, 88200, 64000, 48000, 44100, 32000, 24000,
                                     22050, 16000, 12000, 11025, 8000,  7350};
    unsigned index = 0;
    while (index < G_N_ELEMENTS(rates) && rates[index] != track->timescale)
        index++;
    const size_t len = sample->len + 7;
    if (index == G_N_ELEMENTS(rates) || track->channels > 7 || len >= 1u << 13)
        return corrupt(error, "an AAC frame that ADTS cannot carry");
    /* ADTS knows four object types; the extensions are implicit. */
    const unsigned object = track->aac_object <= 4 ? track->aac_object : 2;
    kvg_bytes_put_u16(out, 0xfff1);
    kvg_bytes_put_u8(out, (uint8_t)((object - 1) << 6 | index << 2 | track->channels >> 2));
    kvg_bytes_put_u32(out, (uint32_t)((track->channels & 3u) << 30 | (uint32_t)len << 13 | 0x1ffc));
    kvg_bytes_put(out, sample->data, sample->len);
    return true;
}

/* ---- interleaving ---- */

static int64_t
to_clock(const Stream *stream, int64_t units)
{
    return units * CLOCK_HZ / stream->track->track.timescale;
}

static int64_t
next_dts(const Stream *stream)
{
    if (stream->next == stream->track->n)
        return INT64_MAX;
    return to_clock(stream, stream->timing[stream->next].dts - stream->delay);
}

static bool
put_next(GByteArray *out, Stream *stream, int64_t base, GError **error)
{
    const KvgTsTrack *track = stream->track;
    const KvgMp4Timing *timing = &stream->timing[stream->next];
    const int64_t dts = base + next_dts(stream);
    const int64_t pts = base + to_clock(stream, timing->pts);
    g_autoptr(GByteArray) payload = g_byte_array_new();
    if (track->track.is_audio) {
        const size_t end = MIN(stream->next + AUDIO_RUN, track->n);
        for (; stream->next < end; stream->next++) {
            if (!put_adts(payload, &track->track, &track->samples[stream->next], error))
                return false;
        }
    } else {
        put_picture(payload, &track->track, &track->samples[stream->next++]);
    }
    g_autoptr(GByteArray) pes = g_byte_array_sized_new(payload->len + 32);
    put_pes_head(pes, track->track.is_audio, pts, dts, payload->len);
    kvg_bytes_put(pes, payload->data, payload->len);
    put_payload(out, stream, stream->has_pcr ? MAX(dts - PCR_LEAD, 0) : -1, pes->data, pes->len);
    return true;
}

static bool
begin_stream(
    Stream *stream, const KvgTsTrack *track, int64_t length_ms, bool has_pcr, GError **error)
{
    const KvgCodec codec = track->track.codec;
    if (codec != KVG_CODEC_H264 && codec != KVG_CODEC_H265 && codec != KVG_CODEC_AAC) {
        g_set_error_literal(error, KVG_ERROR, KVG_ERROR_UNSUPPORTED,
                            "MPEG-TS: this codec has no place in HLS");
        return false;
    }
    *stream = (Stream){.track = track,
                       .pid = track->track.is_audio ? PID_AUDIO : PID_VIDEO,
                       .has_pcr = has_pcr,
                       .timing = g_new0(KvgMp4Timing, MAX(track->n, 1))};
    if (!kvg_mp4_time_samples(&track->track, track->samples, track->n, length_ms, stream->timing,
                              error))
        return false;
    for (size_t i = 0; i < track->n; i++)
        stream->delay = MAX(stream->delay, stream->timing[i].dts - stream->timing[i].pts);
    return true;
}

static bool
write_all(GByteArray *out, Stream *streams, size_t n, int64_t base, GError **error)
{
    put_tables(out, streams, n);
    for (;;) {
        Stream *earliest = &streams[0];
        for (size_t i = 1; i < n; i++) {
            if (next_dts(&streams[i]) < next_dts(earliest))
                earliest = &streams[i];
        }
        if (next_dts(earliest) == INT64_MAX)
            return true;
        if (out->len > MAX_BYTES)
            return corrupt(error, "fragment too large");
        if (!put_next(out, earliest, base, error))
            return false;
    }
}

GBytes *
kvg_ts_write(const KvgTsTrack *tracks, size_t n, int64_t base_ms, int64_t length_ms, GError **error)
{
    g_return_val_if_fail(n >= 1 && n <= MAX_TRACKS, NULL);
    Stream streams[MAX_TRACKS] = {0};
    g_autoptr(GByteArray) out = g_byte_array_new();
    bool ok = true;
    for (size_t i = 0; i < n && ok; i++)
        ok = begin_stream(&streams[i], &tracks[i], length_ms, i == 0, error);
    ok = ok && write_all(out, streams, n, base_ms * (CLOCK_HZ / 1000), error);
    for (size_t i = 0; i < n; i++)
        g_free(streams[i].timing);
    return ok ? g_byte_array_free_to_bytes(g_steal_pointer(&out)) : NULL;
}
