/* Parameter sets of a camera. The first byte says the codec and the framing; then a record and an
 * access unit, split in the middle. */
#include "fuzz.h"

#include "media/aac.h"
#include "media/annexb.h"
#include "media/parameter_sets.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    g_autoptr(KvgParameterSets) sets =
        kvg_parameter_sets_new(data[0] & 1 ? KVG_VIDEO_H265 : KVG_VIDEO_H264);
    const unsigned framing = data[0] >> 1 & 3;
    const unsigned length_size = framing == 3 ? 4 : framing;
    const size_t half = (size - 1) / 2;
    unsigned said = 0;
    if (kvg_parameter_sets_put_record(sets, data + 1, half, &said, NULL))
        g_assert(said == 1 || said == 2 || said == 4);
    kvg_parameter_sets_put_unit(sets, data + 1 + half, size - 1 - half, length_size);
    kvg_parameter_sets_put_unit(sets, data + 1, size - 1, length_size);
    g_autoptr(GBytes) built = kvg_parameter_sets_build(sets);
    g_assert(built == NULL || g_bytes_get_size(built) >= 11);
    const KvgPictureFormat format = kvg_parameter_sets_format(sets);
    g_assert(format.width <= 65535);

    g_autoptr(GBytes) wide = length_size == 0 ? kvg_annexb_to_lengths(data, size)
                                              : kvg_lengths_widen(data, size, length_size);
    g_assert(wide == NULL || g_bytes_get_size(wide) <= 4 * size);
    KvgAacConfig config;
    size_t at, len;
    if (kvg_adts_parse(data, size, &config, &at, &len, NULL))
        g_assert(at + len <= size);
    if (kvg_aac_parse_config(data, size, &config, NULL))
        g_assert(config.rate_hz > 0);
    return 0;
}
