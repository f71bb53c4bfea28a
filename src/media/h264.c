/* H.264 parameter sets and framing: a bounded bit reader over the unescaped SPS, avcC, and the
 * search for Annex-B start codes. Hides Exp-Golomb codes and emulation prevention. */
#include "media/h264.h"

#include "base/bytes.h"
#include <kvg/error.h>
#include <string.h>

/* An SPS of 64 KiB is far beyond anything legal: avcC itself gives it 16 bits of length. */
#define MAX_PARAMETER_SET 65535u
/* Level 6.2 allows 1055 macroblocks on a side. */
#define MAX_MACROBLOCKS 2048u

typedef struct {
    const uint8_t *data;
    size_t n_bits;
    size_t at;
    bool failed;
} BitReader;

static uint32_t
read_bits(BitReader *bits, unsigned n)
{
    if (bits->failed || n > bits->n_bits - bits->at) {
        bits->failed = true;
        return 0;
    }
    uint32_t value = 0;
    for (unsigned i = 0; i < n; i++, bits->at++)
        value = value << 1 | (bits->data[bits->at / 8] >> (7 - bits->at % 8) & 1u);
    return value;
}

static uint32_t
read_ue(BitReader *bits)
{
    unsigned zeros = 0;
    while (!bits->failed && read_bits(bits, 1) == 0)
        zeros++;
    if (bits->failed || zeros > 31) {
        bits->failed = true;
        return 0;
    }
    return (uint32_t)((1ull << zeros) - 1 + read_bits(bits, zeros));
}

static int32_t
read_se(BitReader *bits)
{
    const uint32_t code = read_ue(bits);
    return code & 1 ? (int32_t)(code / 2 + 1) : -(int32_t)(code / 2);
}

/* Drops the 03 of each 00 00 03. */
static size_t
unescape(const uint8_t *in, size_t len, uint8_t *out)
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

static void
skip_scaling_list(BitReader *bits, unsigned size)
{
    int last = 8;
    int next = 8;
    for (unsigned i = 0; i < size && !bits->failed; i++) {
        if (next != 0)
            next = (last + (read_se(bits) % 256) + 256) % 256;
        last = next == 0 ? last : next;
    }
}

static void
skip_hrd(BitReader *bits)
{
    const uint32_t n = read_ue(bits);
    if (n > 31) {
        bits->failed = true;
        return;
    }
    read_bits(bits, 8);
    for (uint32_t i = 0; i <= n; i++) {
        read_ue(bits);
        read_ue(bits);
        read_bits(bits, 1);
    }
    read_bits(bits, 20);
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
read_chroma(BitReader *bits, bool *separate_planes)
{
    const uint32_t chroma = read_ue(bits);
    if (chroma > 3) {
        bits->failed = true;
        return 0;
    }
    if (chroma == 3)
        *separate_planes = read_bits(bits, 1);
    read_ue(bits); /* bit_depth_luma_minus8 */
    read_ue(bits); /* bit_depth_chroma_minus8 */
    read_bits(bits, 1);
    if (!read_bits(bits, 1))
        return chroma;
    for (unsigned i = 0; i < (chroma == 3 ? 12u : 8u); i++) {
        if (read_bits(bits, 1))
            skip_scaling_list(bits, i < 6 ? 16 : 64);
    }
    return chroma;
}

static void
skip_picture_order(BitReader *bits)
{
    const uint32_t type = read_ue(bits);
    if (type == 0) {
        read_ue(bits);
    } else if (type == 1) {
        read_bits(bits, 1);
        read_se(bits);
        read_se(bits);
        const uint32_t n = read_ue(bits);
        if (n > 255)
            bits->failed = true;
        for (uint32_t i = 0; i < n && !bits->failed; i++)
            read_se(bits);
    } else if (type > 2) {
        bits->failed = true;
    }
}

static void
read_vui(BitReader *bits, KvgH264Sps *sps)
{
    if (read_bits(bits, 1) && read_bits(bits, 8) == 255) /* aspect_ratio_idc: Extended_SAR */
        read_bits(bits, 32);
    if (read_bits(bits, 1)) /* overscan */
        read_bits(bits, 1);
    if (read_bits(bits, 1)) { /* video_signal_type */
        read_bits(bits, 4);
        if (read_bits(bits, 1))
            read_bits(bits, 24);
    }
    if (read_bits(bits, 1)) { /* chroma_loc_info */
        read_ue(bits);
        read_ue(bits);
    }
    if (read_bits(bits, 1)) {
        sps->num_units_in_tick = read_bits(bits, 32);
        sps->time_scale = read_bits(bits, 32);
        read_bits(bits, 1);
        sps->has_timing = !bits->failed && sps->num_units_in_tick != 0 && sps->time_scale != 0;
    }
    const bool nal_hrd = read_bits(bits, 1);
    if (nal_hrd)
        skip_hrd(bits);
    const bool vcl_hrd = read_bits(bits, 1);
    if (vcl_hrd)
        skip_hrd(bits);
    if (nal_hrd || vcl_hrd)
        read_bits(bits, 1);
    read_bits(bits, 1); /* pic_struct_present */
    if (!read_bits(bits, 1))
        return;
    read_bits(bits, 1);
    for (unsigned i = 0; i < 4; i++)
        read_ue(bits);
    const uint32_t reorder = read_ue(bits);
    if (!bits->failed && reorder <= 16)
        sps->max_num_reorder_frames = (uint8_t)reorder;
}

/* Macroblocks and cropping to pixels; false if they make no picture. */
static bool
read_size(BitReader *bits, uint32_t chroma, bool separate_planes, KvgH264Sps *sps)
{
    const uint64_t width_mbs = (uint64_t)read_ue(bits) + 1;
    const uint64_t height_units = (uint64_t)read_ue(bits) + 1;
    const bool frame_mbs_only = read_bits(bits, 1);
    if (!frame_mbs_only)
        read_bits(bits, 1);
    read_bits(bits, 1); /* direct_8x8_inference */
    if (bits->failed || width_mbs > MAX_MACROBLOCKS || height_units > MAX_MACROBLOCKS)
        return false;
    uint64_t width = width_mbs * 16;
    uint64_t height = height_units * 16 * (frame_mbs_only ? 1 : 2);
    if (read_bits(bits, 1)) {
        const bool mono = chroma == 0 || separate_planes;
        const uint64_t unit_x = !mono && chroma < 3 ? 2 : 1;
        const uint64_t unit_y = (!mono && chroma == 1 ? 2u : 1u) * (frame_mbs_only ? 1u : 2u);
        const uint64_t left = read_ue(bits);
        const uint64_t right = read_ue(bits);
        const uint64_t top = read_ue(bits);
        const uint64_t bottom = read_ue(bits);
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
    const size_t n = unescape(nal + 1, len - 1, rbsp);
    BitReader bits = {.data = rbsp, .n_bits = n * 8};
    sps->profile = (uint8_t)read_bits(&bits, 8);
    sps->constraints = (uint8_t)read_bits(&bits, 8);
    sps->level = (uint8_t)read_bits(&bits, 8);
    read_ue(&bits); /* seq_parameter_set_id */
    bool separate_planes = false;
    uint32_t chroma = 1;
    if (profile_has_chroma(sps->profile))
        chroma = read_chroma(&bits, &separate_planes);
    read_ue(&bits); /* log2_max_frame_num_minus4 */
    skip_picture_order(&bits);
    read_ue(&bits); /* max_num_ref_frames */
    read_bits(&bits, 1);
    if (!read_size(&bits, chroma, separate_planes, sps)) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_CORRUPT, "H.264: damaged SPS (%zu bytes)", len);
        return false;
    }
    /* The VUI is only advice: a damaged one leaves its fields as not given. */
    if (read_bits(&bits, 1))
        read_vui(&bits, sps);
    return true;
}

GBytes *
kvg_h264_build_avcc(const uint8_t *sps, size_t sps_len, const uint8_t *pps, size_t pps_len)
{
    if (sps_len < 4 || sps_len > MAX_PARAMETER_SET || pps_len < 1 || pps_len > MAX_PARAMETER_SET)
        return NULL;
    GByteArray *out = g_byte_array_new();
    kvg_bytes_put_u8(out, 1);
    kvg_bytes_put(out, sps + 1, 3);
    kvg_bytes_put_u8(out, 0xff);
    kvg_bytes_put_u8(out, 0xe1);
    kvg_bytes_put_u16(out, (uint16_t)sps_len);
    kvg_bytes_put(out, sps, sps_len);
    kvg_bytes_put_u8(out, 1);
    kvg_bytes_put_u16(out, (uint16_t)pps_len);
    kvg_bytes_put(out, pps, pps_len);
    return g_byte_array_free_to_bytes(out);
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

/* Offset of the next 00 00 01 at or after @from; @len if there is none. */
static size_t
find_start_code(const uint8_t *data, size_t len, size_t from)
{
    size_t i = from;
    while (i + 3 <= len) {
        if (data[i + 2] > 1)
            i += 3;
        else if (data[i] == 0 && data[i + 1] == 0 && data[i + 2] == 1)
            return i;
        else
            i++;
    }
    return len;
}

bool
kvg_annexb_next(const uint8_t *data, size_t len, size_t *at, const uint8_t **nal, size_t *nal_len)
{
    while (*at < len) {
        const size_t code = find_start_code(data, len, *at);
        if (code == len)
            break;
        const size_t start = code + 3;
        const size_t next = find_start_code(data, len, start);
        *at = next;
        /* Trailing zeros belong to the next start code or are trailing_zero_8bits. */
        size_t end = next;
        while (end > start && data[end - 1] == 0)
            end--;
        if (end == start)
            continue;
        *nal = data + start;
        *nal_len = end - start;
        return true;
    }
    *at = len;
    return false;
}

GBytes *
kvg_annexb_to_lengths(const uint8_t *data, size_t len)
{
    if (find_start_code(data, len, 0) == len)
        return NULL;
    GByteArray *out = g_byte_array_sized_new((guint)MIN(len + 64, G_MAXUINT));
    size_t at = 0;
    const uint8_t *nal;
    size_t nal_len;
    while (kvg_annexb_next(data, len, &at, &nal, &nal_len)) {
        kvg_bytes_put_u32(out, (uint32_t)nal_len);
        kvg_bytes_put(out, nal, nal_len);
    }
    return g_byte_array_free_to_bytes(out);
}

GBytes *
kvg_annexb_build_avcc(const uint8_t *data, size_t len)
{
    const uint8_t *sps = NULL;
    const uint8_t *pps = NULL;
    size_t sps_len = 0;
    size_t pps_len = 0;
    size_t at = 0;
    const uint8_t *nal;
    size_t nal_len;
    while (kvg_annexb_next(data, len, &at, &nal, &nal_len)) {
        const unsigned type = nal[0] & 0x1f;
        if (type == 7 && sps == NULL) {
            sps = nal;
            sps_len = nal_len;
        } else if (type == 8 && pps == NULL) {
            pps = nal;
            pps_len = nal_len;
        }
    }
    if (sps == NULL || pps == NULL)
        return NULL;
    return kvg_h264_build_avcc(sps, sps_len, pps, pps_len);
}
