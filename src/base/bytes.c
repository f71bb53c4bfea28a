#include "base/bytes.h"

#include <string.h>
#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

KvgReader
kvg_reader_init(const void *data, size_t len)
{
    const uint8_t *at = data;
    return (KvgReader){.at = at, .end = at ? at + len : at, .failed = false};
}

size_t
kvg_reader_left(const KvgReader *reader)
{
    return reader->at ? (size_t)(reader->end - reader->at) : 0;
}

const uint8_t *
kvg_reader_take(KvgReader *reader, size_t len)
{
    if (reader->failed || kvg_reader_left(reader) < len) {
        reader->failed = true;
        return NULL;
    }
    const uint8_t *taken = reader->at;
    reader->at += len;
    return taken;
}

static uint64_t
take_uint(KvgReader *reader, size_t len)
{
    const uint8_t *p = kvg_reader_take(reader, len);
    uint64_t value = 0;
    for (size_t i = 0; p && i < len; i++)
        value = value << 8 | p[i];
    return value;
}

uint8_t
kvg_reader_u8(KvgReader *reader)
{
    return (uint8_t)take_uint(reader, 1);
}

uint16_t
kvg_reader_u16(KvgReader *reader)
{
    return (uint16_t)take_uint(reader, 2);
}

uint32_t
kvg_reader_u24(KvgReader *reader)
{
    return (uint32_t)take_uint(reader, 3);
}

uint32_t
kvg_reader_u32(KvgReader *reader)
{
    return (uint32_t)take_uint(reader, 4);
}

uint64_t
kvg_reader_u64(KvgReader *reader)
{
    return take_uint(reader, 8);
}

void
kvg_bytes_put(GByteArray *out, const void *data, size_t len)
{
    g_byte_array_append(out, data, (guint)len);
}

static void
store_uint(uint8_t *p, uint64_t value, size_t len)
{
    for (size_t i = 0; i < len; i++)
        p[i] = (uint8_t)(value >> (8 * (len - 1 - i)));
}

static void
put_uint(GByteArray *out, uint64_t value, size_t len)
{
    uint8_t wire[8];
    store_uint(wire, value, len);
    g_byte_array_append(out, wire, (guint)len);
}

void
kvg_bytes_put_u8(GByteArray *out, uint8_t value)
{
    put_uint(out, value, 1);
}

void
kvg_bytes_put_u16(GByteArray *out, uint16_t value)
{
    put_uint(out, value, 2);
}

void
kvg_bytes_put_u24(GByteArray *out, uint32_t value)
{
    put_uint(out, value, 3);
}

void
kvg_bytes_put_u32(GByteArray *out, uint32_t value)
{
    put_uint(out, value, 4);
}

void
kvg_bytes_put_u64(GByteArray *out, uint64_t value)
{
    put_uint(out, value, 8);
}

void
kvg_bytes_set_u32(GByteArray *out, size_t offset, uint32_t value)
{
    g_return_if_fail(offset + 4 <= out->len);
    store_uint(out->data + offset, value, 4);
}

/* The table form serves every machine; x86-64 with SSE 4.2 computes the same eight bytes at a time,
 * which matters because every stored byte passes here. */
static uint32_t
crc32c_table(uint32_t crc, const uint8_t *p, size_t len)
{
    static uint32_t table[256];
    static gsize ready;
    if (g_once_init_enter(&ready)) {
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t c = i;
            for (int bit = 0; bit < 8; bit++)
                c = c & 1 ? c >> 1 ^ 0x82f63b78u : c >> 1;
            table[i] = c;
        }
        g_once_init_leave(&ready, 1);
    }
    for (size_t i = 0; i < len; i++)
        crc = table[(crc ^ p[i]) & 0xff] ^ crc >> 8;
    return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t
crc32c_sse42(uint32_t crc, const uint8_t *p, size_t len)
{
    uint64_t wide = crc;
    for (; len >= 8; p += 8, len -= 8) {
        uint64_t word;
        memcpy(&word, p, sizeof word);
        wide = _mm_crc32_u64(wide, word);
    }
    crc = (uint32_t)wide;
    for (; len > 0; p++, len--)
        crc = _mm_crc32_u8(crc, *p);
    return crc;
}
#endif

uint32_t
kvg_crc32c(uint32_t crc, const void *data, size_t len)
{
    crc = ~crc;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2"))
        return ~crc32c_sse42(crc, data, len);
#endif
    return ~crc32c_table(crc, data, len);
}
