/* Writes the Matroska subset of PutMedia, byte for byte in the layout of the AWS C producer: fixed
 * widths of sizes where it uses them, because strict readers have only ever seen those. */
#include "media/mkv_writer.h"

#include "base/bytes.h"
#include "media/ebml.h"
#include <string.h>

static void
put_id(GByteArray *out, uint32_t id)
{
    if (id > 0xffffff)
        kvg_bytes_put_u8(out, (uint8_t)(id >> 24));
    if (id > 0xffff)
        kvg_bytes_put_u8(out, (uint8_t)(id >> 16));
    if (id > 0xff)
        kvg_bytes_put_u8(out, (uint8_t)(id >> 8));
    kvg_bytes_put_u8(out, (uint8_t)id);
}

/* The shortest encoding; the all-ones values mean "unknown" and are avoided. */
static void
put_size(GByteArray *out, uint64_t size)
{
    unsigned width = 1;
    while (width < 8 && size >= (1ull << (7 * width)) - 1)
        width++;
    for (unsigned i = width; i-- > 0;) {
        uint8_t byte = (uint8_t)(size >> (8 * i));
        if (i == width - 1)
            byte = (uint8_t)(byte | 0x80u >> (width - 1));
        kvg_bytes_put_u8(out, byte);
    }
}

static void
put_size8(GByteArray *out, uint64_t size)
{
    kvg_bytes_put_u64(out, 0x0100000000000000ull | size);
}

static void
put_binary(GByteArray *out, uint32_t id, const void *data, size_t len)
{
    put_id(out, id);
    put_size(out, len);
    kvg_bytes_put(out, data, len);
}

static void
put_text(GByteArray *out, uint32_t id, const char *text)
{
    put_binary(out, id, text, strlen(text));
}

static void
put_u8(GByteArray *out, uint32_t id, uint8_t value)
{
    put_binary(out, id, &value, 1);
}

static void
put_u64(GByteArray *out, uint32_t id, uint64_t value)
{
    put_id(out, id);
    kvg_bytes_put_u8(out, 0x88);
    kvg_bytes_put_u64(out, value);
}

/* A master with a size of @width bytes, to be filled in by end_master(). */
static guint
begin_master(GByteArray *out, uint32_t id, unsigned width)
{
    static const uint8_t zeros[8];
    put_id(out, id);
    kvg_bytes_put(out, zeros, width);
    return out->len;
}

static void
end_master(GByteArray *out, guint start, unsigned width)
{
    const uint64_t size = out->len - start;
    for (unsigned i = 0; i < width; i++)
        out->data[start - 1 - i] = (uint8_t)(size >> (8 * i));
    out->data[start - width] = (uint8_t)(out->data[start - width] | 0x80u >> (width - 1));
}

static void
put_ebml_header(GByteArray *out)
{
    const guint start = begin_master(out, EBML_HEADER, 1);
    put_u8(out, EBML_VERSION, 1);
    put_u8(out, EBML_READ_VERSION, 1);
    put_u8(out, EBML_MAX_ID_LENGTH, 4);
    put_u8(out, EBML_MAX_SIZE_LENGTH, 8);
    put_text(out, EBML_DOC_TYPE, "matroska");
    put_u8(out, EBML_DOC_TYPE_VERSION, 2);
    put_u8(out, EBML_DOC_TYPE_READ_VERSION, 2);
    end_master(out, start, 1);
}

static void
put_pixels(GByteArray *out, uint32_t id, uint32_t value)
{
    put_id(out, id);
    if (value <= 0xffff) {
        kvg_bytes_put_u8(out, 0x82);
        kvg_bytes_put_u16(out, (uint16_t)value);
    } else {
        kvg_bytes_put_u8(out, 0x84);
        kvg_bytes_put_u32(out, value);
    }
}

static void
put_video(GByteArray *out, const KvgTrack *track)
{
    if (track->width == 0 || track->height == 0)
        return;
    const guint start = begin_master(out, MKV_VIDEO, 4);
    put_pixels(out, MKV_PIXEL_WIDTH, track->width);
    put_pixels(out, MKV_PIXEL_HEIGHT, track->height);
    end_master(out, start, 4);
}

static void
put_audio(GByteArray *out, const KvgTrack *track)
{
    if (track->sample_rate_hz <= 0)
        return;
    const guint start = begin_master(out, MKV_AUDIO, 4);
    uint64_t bits;
    memcpy(&bits, &track->sample_rate_hz, sizeof bits);
    put_u64(out, MKV_SAMPLING_FREQUENCY, bits);
    put_u8(out, MKV_CHANNELS, MAX(track->channels, 1));
    if (track->bit_depth != 0)
        put_u8(out, MKV_BIT_DEPTH, track->bit_depth);
    end_master(out, start, 4);
}

static void
put_track(GByteArray *out, const KvgTrack *track)
{
    const guint start = begin_master(out, MKV_TRACK_ENTRY, 4);
    put_u8(out, MKV_TRACK_NUMBER, track->number);
    put_u64(out, MKV_TRACK_UID, track->number);
    put_u8(out, MKV_TRACK_TYPE, (uint8_t)track->type);
    if (track->name != NULL)
        put_text(out, MKV_TRACK_NAME, track->name);
    put_text(out, MKV_CODEC_ID, track->codec_id);
    if (track->type == KVG_TRACK_VIDEO)
        put_video(out, track);
    else
        put_audio(out, track);
    if (track->codec_private != NULL) {
        gsize len;
        const void *data = g_bytes_get_data(track->codec_private, &len);
        put_binary(out, MKV_CODEC_PRIVATE, data, len);
    }
    end_master(out, start, 4);
}

GBytes *
kvg_mkv_write_header(const KvgTrack *tracks,
                     size_t n_tracks,
                     const uint8_t segment_uid[16],
                     const char *writing_app)
{
    GByteArray *out = g_byte_array_new();
    put_ebml_header(out);
    put_id(out, MKV_SEGMENT);
    kvg_bytes_put_u8(out, 0xff);
    const guint info = begin_master(out, MKV_INFO, 2);
    put_binary(out, MKV_SEGMENT_UID, segment_uid, 16);
    put_u64(out, MKV_TIMECODE_SCALE, 1000000);
    put_text(out, MKV_MUXING_APP, writing_app);
    put_text(out, MKV_WRITING_APP, writing_app);
    end_master(out, info, 2);
    const guint list = begin_master(out, MKV_TRACKS, 4);
    for (size_t i = 0; i < n_tracks; i++)
        put_track(out, &tracks[i]);
    end_master(out, list, 4);
    return g_byte_array_free_to_bytes(out);
}

void
kvg_mkv_write_cluster(GByteArray *out, uint64_t timecode_ms)
{
    put_id(out, MKV_CLUSTER);
    kvg_bytes_put_u8(out, 0xff);
    put_u64(out, MKV_TIMECODE, timecode_ms);
    put_u8(out, MKV_POSITION, 0);
}

void
kvg_mkv_write_block_head(
    GByteArray *out, uint8_t track, int16_t relative_ms, bool key, size_t payload_len)
{
    g_return_if_fail(track >= 1 && track <= 126);
    put_id(out, MKV_SIMPLE_BLOCK);
    put_size8(out, (uint64_t)payload_len + 4);
    kvg_bytes_put_u8(out, (uint8_t)(0x80u | track));
    kvg_bytes_put_u16(out, (uint16_t)relative_ms);
    kvg_bytes_put_u8(out, key ? 0x80 : 0);
}

static void
put_text8(GByteArray *out, uint32_t id, const char *text)
{
    const size_t len = strlen(text);
    put_id(out, id);
    put_size8(out, len);
    kvg_bytes_put(out, text, len);
}

void
kvg_mkv_write_tag(GByteArray *out, const char *name, const char *value)
{
    const guint tags = begin_master(out, MKV_TAGS, 8);
    const guint tag = begin_master(out, MKV_TAG, 8);
    const guint simple = begin_master(out, MKV_SIMPLE_TAG, 8);
    put_text8(out, MKV_TAG_NAME, name);
    put_text8(out, MKV_TAG_STRING, value);
    end_master(out, simple, 8);
    end_master(out, tag, 8);
    end_master(out, tags, 8);
}
