/* Layout and checks of the spool's segments and records. Everything is big-endian. */
#include "spool/record.h"
#include "base/bytes.h"
#include <string.h>

#define SEGMENT_MAGIC "KVGS"
#define MAGIC "KVGR"
#define FLAG_KEY 1u
#define FLAG_HELD 2u
#define MAX_TRACKS 8

static void
put_u32(uint8_t *out, uint32_t value)
{
    const uint32_t wire = GUINT32_TO_BE(value);
    memcpy(out, &wire, sizeof wire);
}

static void
put_u64(uint8_t *out, uint64_t value)
{
    const uint64_t wire = GUINT64_TO_BE(value);
    memcpy(out, &wire, sizeof wire);
}

/* magic 0, version 4, zero 6, salt 8, checksum of these 12 */
void
kvg_segment_write_head(unsigned version, uint32_t salt, uint8_t head[KVG_SEGMENT_HEAD_BYTES])
{
    memset(head, 0, KVG_SEGMENT_HEAD_BYTES);
    memcpy(head, SEGMENT_MAGIC, 4);
    head[5] = (uint8_t)version;
    put_u32(head + 8, salt);
    put_u32(head + 12, kvg_crc32c(0, head, 12));
}

bool
kvg_segment_read_head(const uint8_t head[KVG_SEGMENT_HEAD_BYTES], unsigned *version, uint32_t *salt)
{
    KvgReader reader = kvg_reader_init(head, KVG_SEGMENT_HEAD_BYTES);
    const bool is_ours = memcmp(kvg_reader_take(&reader, 4), SEGMENT_MAGIC, 4) == 0;
    *version = kvg_reader_u16(&reader);
    kvg_reader_u16(&reader);
    *salt = kvg_reader_u32(&reader);
    return is_ours && *version > 0 && kvg_reader_u32(&reader) == kvg_crc32c(0, head, 12);
}

/* magic 0, checksum of the rest 4, payload's checksum 8, its length 12, kind 16, track 17, flags
 * 18, zero 19, salt 20, fragment 24, times 32, 40, 48 */
void
kvg_record_write_head(const KvgRecord *record, uint8_t head[KVG_RECORD_HEAD_BYTES])
{
    memset(head, 0, KVG_RECORD_HEAD_BYTES);
    memcpy(head, MAGIC, 4);
    put_u32(head + 8, record->payload_crc);
    put_u32(head + 12, record->payload_len);
    head[16] = (uint8_t)record->kind;
    head[17] = record->track;
    head[18] = (uint8_t)((record->key ? FLAG_KEY : 0) | (record->held ? FLAG_HELD : 0));
    put_u32(head + 20, record->salt);
    put_u64(head + 24, record->fragment);
    for (size_t i = 0; i < 3; i++)
        put_u64(head + 32 + 8 * i, (uint64_t)record->time[i]);
    put_u32(head + 4, kvg_crc32c(0, head + 8, KVG_RECORD_HEAD_BYTES - 8));
}

bool
kvg_record_read_head(const uint8_t head[KVG_RECORD_HEAD_BYTES], KvgRecord *record)
{
    KvgReader reader = kvg_reader_init(head, KVG_RECORD_HEAD_BYTES);
    if (memcmp(kvg_reader_take(&reader, 4), MAGIC, 4) != 0 ||
        kvg_reader_u32(&reader) != kvg_crc32c(0, head + 8, KVG_RECORD_HEAD_BYTES - 8))
        return false;
    record->payload_crc = kvg_reader_u32(&reader);
    record->payload_len = kvg_reader_u32(&reader);
    const uint8_t kind = kvg_reader_u8(&reader);
    record->kind = (KvgRecordKind)kind;
    record->track = kvg_reader_u8(&reader);
    const uint8_t flags = kvg_reader_u8(&reader);
    record->key = (flags & FLAG_KEY) != 0;
    record->held = (flags & FLAG_HELD) != 0;
    kvg_reader_u8(&reader);
    record->salt = kvg_reader_u32(&reader);
    record->fragment = kvg_reader_u64(&reader);
    for (size_t i = 0; i < 3; i++)
        record->time[i] = (int64_t)kvg_reader_u64(&reader);
    return kind >= KVG_RECORD_TRACKS && kind <= KVG_RECORD_TAG &&
           record->payload_len <= KVG_RECORD_MAX_PAYLOAD;
}

size_t
kvg_record_find_magic(const uint8_t *data, size_t len, size_t from)
{
    if (from >= len)
        return len;
    const uint8_t *found = memmem(data + from, len - from, MAGIC, 4);
    return found != NULL ? (size_t)(found - data) : len;
}

static void
put_text(GByteArray *out, const char *text)
{
    const size_t len = text != NULL ? MIN(strlen(text), 255) : 0;
    kvg_bytes_put_u8(out, (uint8_t)len);
    kvg_bytes_put(out, text, len);
}

GBytes *
kvg_record_pack_tracks(const KvgTrack *tracks, size_t n)
{
    GByteArray *out = g_byte_array_new();
    kvg_bytes_put_u8(out, (uint8_t)n);
    for (size_t i = 0; i < n; i++) {
        const KvgTrack *track = &tracks[i];
        size_t len = 0;
        const void *private =
            track->codec_private != NULL ? g_bytes_get_data(track->codec_private, &len) : NULL;
        uint64_t rate;
        memcpy(&rate, &track->sample_rate_hz, sizeof rate);
        kvg_bytes_put_u8(out, track->number);
        kvg_bytes_put_u8(out, (uint8_t)track->type);
        put_text(out, track->codec_id);
        put_text(out, track->name);
        kvg_bytes_put_u32(out, track->width);
        kvg_bytes_put_u32(out, track->height);
        kvg_bytes_put_u64(out, rate);
        kvg_bytes_put_u8(out, track->channels);
        kvg_bytes_put_u8(out, track->bit_depth);
        kvg_bytes_put_u8(out, track->codec_private != NULL);
        kvg_bytes_put_u32(out, (uint32_t)len);
        kvg_bytes_put(out, private, len);
    }
    return g_byte_array_free_to_bytes(out);
}

/* NULL if empty. */
static char *
read_text(KvgReader *reader)
{
    const uint8_t len = kvg_reader_u8(reader);
    const uint8_t *text = kvg_reader_take(reader, len);
    return text != NULL && len > 0 ? g_strndup((const char *)text, len) : NULL;
}

static void
read_track(KvgReader *reader, KvgTrack *track)
{
    track->number = kvg_reader_u8(reader);
    track->type = kvg_reader_u8(reader) == KVG_TRACK_AUDIO ? KVG_TRACK_AUDIO : KVG_TRACK_VIDEO;
    track->codec_id = read_text(reader);
    track->name = read_text(reader);
    track->width = kvg_reader_u32(reader);
    track->height = kvg_reader_u32(reader);
    const uint64_t rate = kvg_reader_u64(reader);
    memcpy(&track->sample_rate_hz, &rate, sizeof rate);
    track->channels = kvg_reader_u8(reader);
    track->bit_depth = kvg_reader_u8(reader);
    const bool has_private = kvg_reader_u8(reader) != 0;
    const uint32_t len = kvg_reader_u32(reader);
    const uint8_t *private = kvg_reader_take(reader, len);
    if (has_private && !reader->failed)
        track->codec_private = g_bytes_new(private, len);
}

KvgTrack *
kvg_record_unpack_tracks(GBytes *payload, size_t *n)
{
    size_t len;
    const void *data = g_bytes_get_data(payload, &len);
    KvgReader reader = kvg_reader_init(data, len);
    *n = kvg_reader_u8(&reader);
    if (*n == 0 || *n > MAX_TRACKS)
        return NULL;
    KvgTrack *tracks = g_new0(KvgTrack, *n);
    bool ok = true;
    for (size_t i = 0; i < *n; i++) {
        read_track(&reader, &tracks[i]);
        ok = ok && tracks[i].codec_id != NULL;
    }
    if (ok && !reader.failed)
        return tracks;
    kvg_record_free_tracks(tracks, *n);
    return NULL;
}

void
kvg_record_free_tracks(KvgTrack *tracks, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        g_free((char *)(uintptr_t)tracks[i].codec_id);
        g_free((char *)(uintptr_t)tracks[i].name);
        g_clear_pointer(&tracks[i].codec_private, g_bytes_unref);
    }
    g_free(tracks);
}

GBytes *
kvg_record_pack_tag(const char *name, const char *value)
{
    const char *const texts[2] = {name, value};
    GByteArray *out = g_byte_array_new();
    for (size_t i = 0; i < 2; i++) {
        const size_t len = strlen(texts[i]);
        if (len > UINT16_MAX) {
            g_byte_array_unref(out);
            return NULL;
        }
        kvg_bytes_put_u16(out, (uint16_t)len);
        kvg_bytes_put(out, texts[i], len);
    }
    return g_byte_array_free_to_bytes(out);
}

bool
kvg_record_unpack_tag(const void *payload, size_t len, char **name, char **value)
{
    KvgReader reader = kvg_reader_init(payload, len);
    const uint16_t name_len = kvg_reader_u16(&reader);
    const uint8_t *name_at = kvg_reader_take(&reader, name_len);
    const uint16_t value_len = kvg_reader_u16(&reader);
    const uint8_t *value_at = kvg_reader_take(&reader, value_len);
    if (reader.failed)
        return false;
    *name = g_strndup((const char *)name_at, name_len);
    *value = g_strndup((const char *)value_at, value_len);
    return true;
}
