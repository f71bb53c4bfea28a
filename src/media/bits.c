#include "media/bits.h"

KvgBits
kvg_bits_init(const void *data, size_t len)
{
    return (KvgBits){.data = data, .n_bits = len * 8};
}

uint32_t
kvg_bits_read(KvgBits *bits, unsigned n)
{
    if (bits->failed || n > 32 || n > bits->n_bits - bits->at) {
        bits->failed = true;
        return 0;
    }
    uint32_t value = 0;
    for (unsigned i = 0; i < n; i++, bits->at++)
        value = value << 1 | (bits->data[bits->at / 8] >> (7 - bits->at % 8) & 1u);
    return value;
}

void
kvg_bits_skip(KvgBits *bits, size_t n)
{
    if (bits->failed || n > bits->n_bits - bits->at)
        bits->failed = true;
    else
        bits->at += n;
}

uint32_t
kvg_bits_ue(KvgBits *bits)
{
    unsigned zeros = 0;
    while (!bits->failed && kvg_bits_read(bits, 1) == 0)
        zeros++;
    if (bits->failed || zeros > 31) {
        bits->failed = true;
        return 0;
    }
    return (uint32_t)((1ull << zeros) - 1 + kvg_bits_read(bits, zeros));
}

int32_t
kvg_bits_se(KvgBits *bits)
{
    const uint32_t code = kvg_bits_ue(bits);
    return code & 1 ? (int32_t)(code / 2 + 1) : -(int32_t)(code / 2);
}

size_t
kvg_bits_unescape(const uint8_t *in, size_t len, uint8_t *out)
{
    size_t n = 0;
    unsigned zeros = 0;
    for (size_t i = 0; i < len; i++) {
        if (zeros >= 2 && in[i] == 3) {
            zeros = 0;
            continue;
        }
        zeros = in[i] == 0 ? zeros + 1 : 0;
        out[n++] = in[i];
    }
    return n;
}
