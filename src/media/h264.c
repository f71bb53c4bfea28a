/* H.264: a walk over the bits of an SPS, and the layout of avcC. */
#include "media/h264.h"

#include "base/bytes.h"
#include "media/bits.h"
#include <kvg/error.h>
#include <string.h>

/* An SPS of 64 KiB is far beyond anything legal: avcC itself gives it 16 bits of length. */
#define MAX_PARAMETER_SET 65535u
/* Level 6.2 allows 1055 macroblocks on a side. */
#define MAX_MACROBLOCKS 2048u

static void
skip_scaling_list(KvgBits *bits, unsigned size)
{
    int last = 8;
    int next = 8;
    for (unsigned i = 0; i < size && !bits->failed; i++) {
        if (next != 0)
            next = (last + (kvg_bits_se(bits) % 256) + 256) % 256;
        last = next == 0 ? last : next;
    }
}

static void
skip_hrd(KvgBits *bits)
{
    const uint32_t n = kvg_bits_ue(bits);
    if (n > 31) {
        bits->failed = true;
        return;
    }
    kvg_bits_read(bits, 8);
    for (uint32_t i = 0; i <= n; i++) {
        kvg_bits_ue(bits);
        kvg_bits_ue(bits);
        kvg_bits_read(bits, 1);
    }
    kvg_bits_read(bits, 20);
}

static bool
profile_has_chroma(uint8_t profile)
{
    static const uint8_t profiles[] = {100, 110, 122, 244, 44,  83, 86,
                                       118, 128, 138, 139, 134, 135};
    return memchr(profiles, profile, sizeof profiles) != NULL;
}

/* Returns chroma_format_idc. */
static uint32_t
read_chroma(KvgBits *bits, bool *separate_planes)
{
    const uint32_t chroma = kvg_bits_ue(bits);
    if (chroma > 3) {
        bits->failed = true;
        return 0;
    }
    if (chroma == 3)
        *separate_planes = kvg_bits_read(bits, 1);
    kvg_bits_ue(bits); /* bit_depth_luma_minus8 */
    kvg_bits_ue(bits); /* bit_depth_chroma_minus8 */
    kvg_bits_read(bits, 1);
    if (!kvg_bits_read(bits, 1))
        return chroma;
    for (unsigned i = 0; i < (chroma == 3 ? 12u : 8u); i++) {
        if (kvg_bits_read(bits, 1))
            skip_scaling_list(bits, i < 6 ? 16 : 64);
    }
    return chroma;
}

static void
skip_picture_order(KvgBits *bits)
{
    const uint32_t type = kvg_bits_ue(bits);
    if (type == 0) {
        kvg_bits_ue(bits);
    } else if (type == 1) {
        kvg_bits_read(bits, 1);
        kvg_bits_se(bits);
        kvg_bits_se(bits);
        const uint32_t n = kvg_bits_ue(bits);
        if (n > 255)
            bits->failed = true;
        for (uint32_t i = 0; i < n && !bits->failed; i++)
            kvg_bits_se(bits);
    } else if (type > 2) {
        bits->failed = true;
    }
}

static void
read_vui(KvgBits *bits, KvgH264Sps *sps)
{
    if (kvg_bits_read(bits, 1) &&
        kvg_bits_read(bits, 8) == 255) /* aspect_ratio_idc: Extended_SAR */
        kvg_bits_read(bits, 32);
    if (kvg_bits_read(bits, 1)) /* overscan */
        kvg_bits_read(bits, 1);
    if (kvg_bits_read(bits, 1)) { /* video_signal_type */
        kvg_bits_read(bits, 4);
        if (kvg_bits_read(bits, 1))
            kvg_bits_read(bits, 24);
    }
    if (kvg_bits_read(bits, 1)) { /* chroma_loc_info */
        kvg_bits_ue(bits);
        kvg_bits_ue(bits);
    }
    if (kvg_bits_read(bits, 1)) {
        sps->num_units_in_tick = kvg_bits_read(bits, 32);
        sps->time_scale = kvg_bits_read(bits, 32);
        kvg_bits_read(bits, 1);
        sps->has_timing = !bits->failed && sps->num_units_in_tick != 0 && sps->time_scale != 0;
    }
    const bool nal_hrd = kvg_bits_read(bits, 1);
    if (nal_hrd)
        skip_hrd(bits);
    const bool vcl_hrd = kvg_bits_read(bits, 1);
    if (vcl_hrd)
        skip_hrd(bits);
    if (nal_hrd || vcl_hrd)
        kvg_bits_read(bits, 1);
    kvg_bits_read(bits, 1); /* pic_struct_present */
    if (!kvg_bits_read(bits, 1))
        return;
    kvg_bits_read(bits, 1);
    for (unsigned i = 0; i < 4; i++)
        kvg_bits_ue(bits);
    const uint32_t reorder = kvg_bits_ue(bits);
    if (!bits->failed && reorder <= 16)
        sps->max_num_reorder_frames = (uint8_t)reorder;
}

/* Macroblocks and cropping to pixels; false if they make no picture. */
static bool
read_size(KvgBits *bits, uint32_t chroma, bool separate_planes, KvgH264Sps *sps)
{
    const uint64_t width_mbs = (uint64_t)kvg_bits_ue(bits) + 1;
    const uint64_t height_units = (uint64_t)kvg_bits_ue(bits) + 1;
    const bool frame_mbs_only = kvg_bits_read(bits, 1);
    if (!frame_mbs_only)
        kvg_bits_read(bits, 1);
    kvg_bits_read(bits, 1); /* direct_8x8_inference */
    if (bits->failed || width_mbs > MAX_MACROBLOCKS || height_units > MAX_MACROBLOCKS)
        return false;
    uint64_t width = width_mbs * 16;
    uint64_t height = height_units * 16 * (frame_mbs_only ? 1 : 2);
    if (kvg_bits_read(bits, 1)) {
        const bool mono = chroma == 0 || separate_planes;
        const uint64_t unit_x = !mono && chroma < 3 ? 2 : 1;
        const uint64_t unit_y = (!mono && chroma == 1 ? 2u : 1u) * (frame_mbs_only ? 1u : 2u);
        const uint64_t left = kvg_bits_ue(bits);
        const uint64_t right = kvg_bits_ue(bits);
        const uint64_t top = kvg_bits_ue(bits);
        const uint64_t bottom = kvg_bits_ue(bits);
        if ((left + right) * unit_x >= width || (top + bottom) * unit_y >= height)
            return false;
        width -= (left + right) * unit_x;
        height -= (top + bottom) * unit_y;
    }
    sps->width = (uint32_t)width;
    sps->height = (uint32_t)height;
    return !bits->failed;
}

bool
kvg_h264_parse_sps(const uint8_t *nal, size_t len, KvgH264Sps *sps, GError **error)
{
    memset(sps, 0, sizeof *sps);
    sps->max_num_reorder_frames = 255;
    if (len < 5 || len > MAX_PARAMETER_SET || (nal[0] & 0x1f) != 7) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_CORRUPT, "H.264: not an SPS (%zu bytes)", len);
        return false;
    }
    g_autofree uint8_t *rbsp = g_malloc(len);
    const size_t n = kvg_bits_unescape(nal + 1, len - 1, rbsp);
    KvgBits bits = kvg_bits_init(rbsp, n);
    sps->profile = (uint8_t)kvg_bits_read(&bits, 8);
    sps->constraints = (uint8_t)kvg_bits_read(&bits, 8);
    sps->level = (uint8_t)kvg_bits_read(&bits, 8);
    sps->id = kvg_bits_ue(&bits);
    bool separate_planes = false;
    uint32_t chroma = 1;
    if (profile_has_chroma(sps->profile))
        chroma = read_chroma(&bits, &separate_planes);
    kvg_bits_ue(&bits); /* log2_max_frame_num_minus4 */
    skip_picture_order(&bits);
    kvg_bits_ue(&bits); /* max_num_ref_frames */
    kvg_bits_read(&bits, 1);
    if (!read_size(&bits, chroma, separate_planes, sps)) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_CORRUPT, "H.264: damaged SPS (%zu bytes)", len);
        return false;
    }
    /* The VUI is only advice: a damaged one leaves its fields as not given. */
    if (kvg_bits_read(&bits, 1))
        read_vui(&bits, sps);
    return true;
}

static bool
put_sets(GByteArray *out, const GPtrArray *sets)
{
    for (guint i = 0; i < sets->len; i++) {
        gsize len = 0;
        const uint8_t *data = g_bytes_get_data(g_ptr_array_index(sets, i), &len);
        if (len < 1 || len > MAX_PARAMETER_SET)
            return false;
        kvg_bytes_put_u16(out, (uint16_t)len);
        kvg_bytes_put(out, data, len);
    }
    return true;
}

GBytes *
kvg_h264_build_avcc_of(const GPtrArray *sps, const GPtrArray *pps)
{
    if (sps->len < 1 || sps->len > 31 || pps->len < 1 || pps->len > 255)
        return NULL;
    gsize first_len = 0;
    const uint8_t *first = g_bytes_get_data(g_ptr_array_index(sps, 0), &first_len);
    if (first_len < 4)
        return NULL;
    g_autoptr(GByteArray) out = g_byte_array_new();
    kvg_bytes_put_u8(out, 1);
    kvg_bytes_put(out, first + 1, 3);
    kvg_bytes_put_u8(out, 0xff);
    kvg_bytes_put_u8(out, (uint8_t)(0xe0 | sps->len));
    if (!put_sets(out, sps))
        return NULL;
    kvg_bytes_put_u8(out, (uint8_t)pps->len);
    if (!put_sets(out, pps))
        return NULL;
    return g_byte_array_free_to_bytes(g_steal_pointer(&out));
}

GBytes *
kvg_h264_build_avcc(const uint8_t *sps, size_t sps_len, const uint8_t *pps, size_t pps_len)
{
    g_autoptr(GPtrArray) sps_list = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
    g_autoptr(GPtrArray) pps_list = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
    g_ptr_array_add(sps_list, g_bytes_new(sps, sps_len));
    g_ptr_array_add(pps_list, g_bytes_new(pps, pps_len));
    return kvg_h264_build_avcc_of(sps_list, pps_list);
}

/* Reads @n length-prefixed parameter sets; gives the first. */
static void
read_parameter_sets(KvgReader *reader, unsigned n, const uint8_t **first, size_t *first_len)
{
    for (unsigned i = 0; i < n; i++) {
        const size_t len = kvg_reader_u16(reader);
        const uint8_t *nal = kvg_reader_take(reader, len);
        if (i == 0 && nal != NULL) {
            *first = nal;
            *first_len = len;
        }
    }
}

bool
kvg_h264_parse_avcc(const uint8_t *data, size_t len, KvgAvcc *avcc, GError **error)
{
    memset(avcc, 0, sizeof *avcc);
    KvgReader reader = kvg_reader_init(data, len);
    const uint8_t version = kvg_reader_u8(&reader);
    kvg_reader_take(&reader, 3);
    avcc->nal_length_size = (uint8_t)((kvg_reader_u8(&reader) & 3) + 1);
    read_parameter_sets(&reader, kvg_reader_u8(&reader) & 31u, &avcc->sps, &avcc->sps_len);
    read_parameter_sets(&reader, kvg_reader_u8(&reader), &avcc->pps, &avcc->pps_len);
    if (reader.failed || version != 1 || avcc->nal_length_size == 3 || avcc->sps_len == 0 ||
        avcc->pps_len == 0) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_CORRUPT, "H.264: damaged avcC (%zu bytes)", len);
        return false;
    }
    return true;
}
