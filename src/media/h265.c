/* H.265: a walk over the bits of an SPS up to the reordering of frames, and the layout of hvcC. */
#include "media/h265.h"

#include "base/bytes.h"
#include "media/bits.h"
#include <kvg/error.h>
#include <string.h>

/* hvcC gives a parameter set 16 bits of length. */
#define MAX_PARAMETER_SET 65535u
/* Level 6.2 allows 8444 luma samples on a side; some encoders exceed their level. */
#define MAX_PIXELS 65535u
#define GENERAL_BYTES 12u
#define GENERAL_PROFILE_BITS 88u

static void
skip_sub_layers(KvgBits *bits, unsigned n)
{
    bool has_profile[8] = {false};
    bool has_level[8] = {false};
    for (unsigned i = 0; i < n; i++) {
        has_profile[i] = kvg_bits_read(bits, 1);
        has_level[i] = kvg_bits_read(bits, 1);
    }
    if (n > 0)
        kvg_bits_skip(bits, 2 * (8 - n));
    for (unsigned i = 0; i < n; i++)
        kvg_bits_skip(bits, (has_profile[i] ? GENERAL_PROFILE_BITS : 0) + (has_level[i] ? 8u : 0u));
}

static bool
read_size(KvgBits *bits, bool separate_planes, KvgH265Sps *sps)
{
    uint64_t width = kvg_bits_ue(bits);
    uint64_t height = kvg_bits_ue(bits);
    if (kvg_bits_read(bits, 1)) {
        const bool subsampled = !separate_planes;
        const unsigned unit_x =
            subsampled && (sps->chroma_format == 1 || sps->chroma_format == 2) ? 2 : 1;
        const unsigned unit_y = subsampled && sps->chroma_format == 1 ? 2 : 1;
        const uint64_t left = kvg_bits_ue(bits);
        const uint64_t right = kvg_bits_ue(bits);
        const uint64_t top = kvg_bits_ue(bits);
        const uint64_t bottom = kvg_bits_ue(bits);
        if ((left + right) * unit_x >= width || (top + bottom) * unit_y >= height)
            return false;
        width -= (left + right) * unit_x;
        height -= (top + bottom) * unit_y;
    }
    if (bits->failed || width == 0 || height == 0 || width > MAX_PIXELS || height > MAX_PIXELS)
        return false;
    sps->width = (uint32_t)width;
    sps->height = (uint32_t)height;
    return true;
}

static bool
read_depth(KvgBits *bits, uint8_t *depth)
{
    const uint32_t above_8 = kvg_bits_ue(bits);
    *depth = (uint8_t)(8 + MIN(above_8, 8u));
    return !bits->failed && above_8 <= 8;
}

/* Only advice for times: damage there leaves "as many as there can be". */
static uint8_t
read_reordering(KvgBits *bits, unsigned n_sub_layers)
{
    uint32_t reorder = 0;
    const bool for_all = kvg_bits_read(bits, 1);
    for (unsigned i = for_all ? 0 : n_sub_layers; i <= n_sub_layers; i++) {
        kvg_bits_ue(bits); /* max_dec_pic_buffering_minus1 */
        reorder = kvg_bits_ue(bits);
        kvg_bits_ue(bits); /* max_latency_increase_plus1 */
    }
    return bits->failed || reorder > 16 ? 16 : (uint8_t)reorder;
}

static bool
read_sps(KvgBits *bits, KvgH265Sps *sps)
{
    kvg_bits_read(bits, 4); /* sps_video_parameter_set_id */
    const unsigned n_sub_layers = kvg_bits_read(bits, 3);
    sps->n_temporal_layers = (uint8_t)(n_sub_layers + 1);
    sps->temporal_id_nested = kvg_bits_read(bits, 1);
    for (unsigned i = 0; i < GENERAL_BYTES; i++)
        sps->profile_tier_level[i] = (uint8_t)kvg_bits_read(bits, 8);
    skip_sub_layers(bits, n_sub_layers);
    sps->id = kvg_bits_ue(bits);
    const uint32_t chroma = kvg_bits_ue(bits);
    if (bits->failed || n_sub_layers > 6 || sps->id > 15 || chroma > 3)
        return false;
    sps->chroma_format = (uint8_t)chroma;
    const bool separate_planes = chroma == 3 && kvg_bits_read(bits, 1);
    if (!read_size(bits, separate_planes, sps) || !read_depth(bits, &sps->bit_depth_luma) ||
        !read_depth(bits, &sps->bit_depth_chroma))
        return false;
    kvg_bits_ue(bits); /* log2_max_pic_order_cnt_lsb_minus4 */
    sps->max_num_reorder_frames = read_reordering(bits, n_sub_layers);
    return true;
}

bool
kvg_h265_parse_sps(const uint8_t *nal, size_t len, KvgH265Sps *sps, GError **error)
{
    memset(sps, 0, sizeof *sps);
    if (len < 2 || len > MAX_PARAMETER_SET || kvg_h265_nal_type(nal) != KVG_H265_SPS) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_CORRUPT, "H.265: not an SPS (%zu bytes)", len);
        return false;
    }
    g_autofree uint8_t *rbsp = g_malloc(len);
    KvgBits bits = kvg_bits_init(rbsp, kvg_bits_unescape(nal + 2, len - 2, rbsp));
    if (read_sps(&bits, sps))
        return true;
    g_set_error(error, KVG_ERROR, KVG_ERROR_CORRUPT, "H.265: damaged SPS (%zu bytes)", len);
    return false;
}

/* ---- hvcC ---- */

static bool
put_array(GByteArray *out, KvgH265NalType type, const GPtrArray *sets)
{
    if (sets->len < 1 || sets->len > 255)
        return false;
    kvg_bytes_put_u8(out, (uint8_t)type);
    kvg_bytes_put_u16(out, (uint16_t)sets->len);
    for (guint i = 0; i < sets->len; i++) {
        gsize len = 0;
        const uint8_t *data = g_bytes_get_data(g_ptr_array_index(sets, i), &len);
        if (len < 2 || len > MAX_PARAMETER_SET)
            return false;
        kvg_bytes_put_u16(out, (uint16_t)len);
        kvg_bytes_put(out, data, len);
    }
    return true;
}

GBytes *
kvg_h265_build_hvcc(const GPtrArray *vps, const GPtrArray *sps, const GPtrArray *pps)
{
    if (sps->len < 1)
        return NULL;
    gsize len = 0;
    const uint8_t *first = g_bytes_get_data(g_ptr_array_index(sps, 0), &len);
    KvgH265Sps parsed;
    if (!kvg_h265_parse_sps(first, len, &parsed, NULL))
        return NULL;

    g_autoptr(GByteArray) out = g_byte_array_new();
    kvg_bytes_put_u8(out, 1);
    kvg_bytes_put(out, parsed.profile_tier_level, GENERAL_BYTES);
    kvg_bytes_put_u16(out, 0xf000); /* min_spatial_segmentation_idc: unknown */
    kvg_bytes_put_u8(out, 0xfc);    /* parallelismType: unknown */
    kvg_bytes_put_u8(out, (uint8_t)(0xfc | parsed.chroma_format));
    kvg_bytes_put_u8(out, (uint8_t)(0xf8 | (parsed.bit_depth_luma - 8)));
    kvg_bytes_put_u8(out, (uint8_t)(0xf8 | (parsed.bit_depth_chroma - 8)));
    kvg_bytes_put_u16(out, 0); /* avgFrameRate: not given */
    kvg_bytes_put_u8(out, (uint8_t)(parsed.n_temporal_layers << 3 |
                                    (parsed.temporal_id_nested ? 1 << 2 : 0) | 3));
    kvg_bytes_put_u8(out, 3);
    if (!put_array(out, KVG_H265_VPS, vps) || !put_array(out, KVG_H265_SPS, sps) ||
        !put_array(out, KVG_H265_PPS, pps))
        return NULL;
    return g_byte_array_free_to_bytes(g_steal_pointer(&out));
}

/* Also the walk that checks the bounds: @each may be NULL. */
static bool
walk_arrays(const KvgHvcc *hvcc,
            void (*each)(const uint8_t *nal, size_t len, void *user_data),
            void *user_data)
{
    KvgReader reader = kvg_reader_init(hvcc->arrays, hvcc->arrays_len);
    for (unsigned i = 0; i < hvcc->n_arrays && !reader.failed; i++) {
        kvg_reader_u8(&reader);
        const unsigned n = kvg_reader_u16(&reader);
        for (unsigned j = 0; j < n && !reader.failed; j++) {
            const size_t len = kvg_reader_u16(&reader);
            const uint8_t *nal = kvg_reader_take(&reader, len);
            if (nal != NULL && len >= 2 && each != NULL)
                each(nal, len, user_data);
        }
    }
    return !reader.failed;
}

bool
kvg_h265_parse_hvcc(const uint8_t *data, size_t len, KvgHvcc *hvcc, GError **error)
{
    memset(hvcc, 0, sizeof *hvcc);
    KvgReader reader = kvg_reader_init(data, len);
    /* Early drafts, still written by some muxers, say version 0. */
    const bool known = kvg_reader_u8(&reader) <= 1;
    kvg_reader_take(&reader, 20);
    hvcc->nal_length_size = (uint8_t)((kvg_reader_u8(&reader) & 3) + 1);
    hvcc->n_arrays = kvg_reader_u8(&reader);
    hvcc->arrays = reader.at;
    hvcc->arrays_len = kvg_reader_left(&reader);
    if (!reader.failed && known && hvcc->nal_length_size != 3 && walk_arrays(hvcc, NULL, NULL))
        return true;
    g_set_error(error, KVG_ERROR, KVG_ERROR_CORRUPT, "H.265: damaged hvcC (%zu bytes)", len);
    return false;
}

void
kvg_hvcc_foreach(const KvgHvcc *hvcc,
                 void (*each)(const uint8_t *nal, size_t len, void *user_data),
                 void *user_data)
{
    walk_arrays(hvcc, each, user_data);
}
