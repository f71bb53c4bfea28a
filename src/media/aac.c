#include "media/aac.h"

#include "media/bits.h"
#include <kvg/error.h>

#define AAC_LC 2u

static const uint32_t rates_hz[] = {96000, 88200, 64000, 48000, 44100, 32000, 24000,
                                    22050, 16000, 12000, 11025, 8000,  7350};

GBytes *
kvg_aac_build_config(const KvgAacConfig *config)
{
    unsigned index = 0;
    while (index < G_N_ELEMENTS(rates_hz) && rates_hz[index] != config->rate_hz)
        index++;
    if (index == G_N_ELEMENTS(rates_hz) || config->channels > 7 || config->object_type > 30)
        return NULL;
    const unsigned bits =
        (unsigned)config->object_type << 11 | index << 7 | (unsigned)config->channels << 3;
    const uint8_t bytes[] = {(uint8_t)(bits >> 8), (uint8_t)bits};
    return g_bytes_new(bytes, sizeof bytes);
}

bool
kvg_aac_parse_config(const uint8_t *data, size_t len, KvgAacConfig *config, GError **error)
{
    KvgBits bits = kvg_bits_init(data, len);
    uint32_t type = kvg_bits_read(&bits, 5);
    if (type == 31)
        type = 32 + kvg_bits_read(&bits, 6);
    const uint32_t index = kvg_bits_read(&bits, 4);
    const uint32_t rate_hz = index == 15                      ? kvg_bits_read(&bits, 24)
                             : index < G_N_ELEMENTS(rates_hz) ? rates_hz[index]
                                                              : 0;
    const uint32_t channels = kvg_bits_read(&bits, 4);
    if (bits.failed || type == 0 || rate_hz == 0) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_CORRUPT,
                    "AAC: damaged AudioSpecificConfig (%zu bytes)", len);
        return false;
    }
    /* Configuration 7 means eight channels. */
    *config = (KvgAacConfig){(uint8_t)type, rate_hz, (uint8_t)(channels == 7 ? 8 : channels)};
    return true;
}

bool
kvg_adts_parse(const uint8_t *data,
               size_t len,
               KvgAacConfig *config,
               size_t *payload_at,
               size_t *payload_len,
               GError **error)
{
    KvgBits bits = kvg_bits_init(data, len);
    const uint32_t sync = kvg_bits_read(&bits, 12);
    kvg_bits_skip(&bits, 3); /* ID, layer */
    const size_t head_len = kvg_bits_read(&bits, 1) ? 7 : 9;
    const uint32_t profile = kvg_bits_read(&bits, 2);
    const uint32_t index = kvg_bits_read(&bits, 4);
    kvg_bits_skip(&bits, 1);
    const uint32_t channels = kvg_bits_read(&bits, 3);
    kvg_bits_skip(&bits, 4);
    const size_t frame_len = kvg_bits_read(&bits, 13);
    kvg_bits_skip(&bits, 11);
    const uint32_t more_blocks = kvg_bits_read(&bits, 2);
    if (bits.failed || sync != 0xfff || index >= G_N_ELEMENTS(rates_hz) || frame_len <= head_len ||
        frame_len > len) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_CORRUPT, "AAC: no whole ADTS frame in %zu bytes",
                    len);
        return false;
    }
    if (more_blocks != 0) {
        g_set_error_literal(error, KVG_ERROR, KVG_ERROR_UNSUPPORTED,
                            "AAC: an ADTS frame with several raw data blocks; put aacparse before");
        return false;
    }
    *config = (KvgAacConfig){(uint8_t)(profile + 1), rates_hz[index], (uint8_t)channels};
    *payload_at = head_len;
    *payload_len = frame_len - head_len;
    return true;
}

/* By hand from the syntax of raw_data_block(): one channel element, or a pair with a common window,
 * with no scale factor band at all (max_sfb 0), then the end element. */
GBytes *
kvg_aac_silence(const KvgAacConfig *config)
{
    static const uint8_t mono[] = {0x00, 0x00, 0x00, 0x07};
    static const uint8_t stereo[] = {0x21, 0x00, 0x00, 0x00, 0x00, 0x1c};
    if (config->object_type != AAC_LC || config->channels < 1 || config->channels > 2)
        return NULL;
    return config->channels == 1 ? g_bytes_new_static(mono, sizeof mono)
                                 : g_bytes_new_static(stereo, sizeof stereo);
}
