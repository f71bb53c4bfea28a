/* Bits of a parameter set, most significant first. As KvgReader for bytes: a short read sets
 * `failed` for good and returns zero, so a parser checks once at the end. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    const uint8_t *data;
    size_t n_bits;
    size_t at;
    bool failed;
} KvgBits;

KvgBits kvg_bits_init(const void *data, size_t len);
/* Up to 32 bits. */
uint32_t kvg_bits_read(KvgBits *bits, unsigned n);
void kvg_bits_skip(KvgBits *bits, size_t n);
/* Exp-Golomb codes of H.264 and H.265: unsigned and signed. */
uint32_t kvg_bits_ue(KvgBits *bits);
int32_t kvg_bits_se(KvgBits *bits);

/* A NAL unit's payload without the 03 of each 00 00 03; @out has room for @len. Returns its length.
 */
size_t kvg_bits_unescape(const uint8_t *in, size_t len, uint8_t *out);
