/* Reading and building big-endian wire bytes. KvgReader never reads past its end: a short read sets
 * `failed` for good and returns zero, so a parser checks once at the end. Builders append to a
 * GByteArray. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    const uint8_t *at;
    const uint8_t *end;
    bool failed;
} KvgReader;

KvgReader kvg_reader_init(const void *data, size_t len);
size_t kvg_reader_left(const KvgReader *reader);
uint8_t kvg_reader_u8(KvgReader *reader);
uint16_t kvg_reader_u16(KvgReader *reader);
uint32_t kvg_reader_u24(KvgReader *reader);
uint32_t kvg_reader_u32(KvgReader *reader);
uint64_t kvg_reader_u64(KvgReader *reader);
/* The next @len bytes in place (NULL and `failed` if there are fewer). */
const uint8_t *kvg_reader_take(KvgReader *reader, size_t len);

void kvg_bytes_put_u8(GByteArray *out, uint8_t value);
void kvg_bytes_put_u16(GByteArray *out, uint16_t value);
void kvg_bytes_put_u24(GByteArray *out, uint32_t value);
void kvg_bytes_put_u32(GByteArray *out, uint32_t value);
void kvg_bytes_put_u64(GByteArray *out, uint64_t value);
void kvg_bytes_put(GByteArray *out, const void *data, size_t len);

/* Overwrites four bytes at @offset; for sizes known only afterwards. */
void kvg_bytes_set_u32(GByteArray *out, size_t offset, uint32_t value);

/* CRC-32C (Castagnoli) of @len bytes, continuing from @crc (0 to start). */
uint32_t kvg_crc32c(uint32_t crc, const void *data, size_t len);
