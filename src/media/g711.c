#include "media/g711.h"

#include <stddef.h>

/* WAVEFORMATEX is little-endian, unlike everything else here. */
static void
put_le(GByteArray *out, uint32_t value, unsigned n_bytes)
{
    for (unsigned i = 0; i < n_bytes; i++) {
        const uint8_t byte = (uint8_t)(value >> (8 * i));
        g_byte_array_append(out, &byte, 1);
    }
}

GBytes *
kvg_g711_build_config(KvgG711Law law, uint8_t channels, uint32_t rate_hz)
{
    GByteArray *out = g_byte_array_sized_new(18);
    put_le(out, (uint32_t)law, 2);
    put_le(out, channels, 2);
    put_le(out, rate_hz, 4);
    put_le(out, rate_hz * channels, 4); /* bytes a second */
    put_le(out, channels, 2);           /* bytes of one sample of all channels */
    put_le(out, 8, 2);                  /* bits */
    put_le(out, 0, 2);                  /* nothing follows */
    return g_byte_array_free_to_bytes(out);
}

uint8_t
kvg_g711_silence(KvgG711Law law)
{
    return law == KVG_G711_ALAW ? 0xd5 : 0xff;
}
