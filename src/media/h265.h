/* H.265: SPS and hvcC. No I/O. Source: ITU-T H.265 sections 7.3.2 and 7.3.3, ISO/IEC 14496-15
 * section 8.3.3. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum { KVG_H265_VPS = 32, KVG_H265_SPS = 33, KVG_H265_PPS = 34 } KvgH265NalType;
/* Of a NAL unit of at least two bytes. */
static inline unsigned
kvg_h265_nal_type(const uint8_t *nal)
{
    return nal[0] >> 1 & 0x3fu;
}

typedef struct {
    uint32_t id;
    uint8_t profile_tier_level[12]; /* general_*, as they stand in the SPS and in hvcC */
    uint8_t n_temporal_layers;
    bool temporal_id_nested;
    uint8_t chroma_format, bit_depth_luma, bit_depth_chroma;
    uint32_t width, height;         /* inside the conformance window */
    uint8_t max_num_reorder_frames; /* of the highest layer */
} KvgH265Sps;

/* @nal: one SPS NAL unit with its two header bytes, without start code. KVG_ERROR_CORRUPT. */
bool kvg_h265_parse_sps(const uint8_t *nal, size_t len, KvgH265Sps *sps, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/* hvcC from lists of GBytes (VPS, SPS, PPS; AWS C producer's layout: 4-byte lengths, arrays in this
 * order). NULL if a list is empty or too long, or the first SPS is damaged. */
GBytes *kvg_h265_build_hvcc(const GPtrArray *vps, const GPtrArray *sps, const GPtrArray *pps);

typedef struct {
    uint8_t nal_length_size;
    uint8_t n_arrays;
    const uint8_t *arrays; /* points into the input */
    size_t arrays_len;
} KvgHvcc;
/* Every array lies whole within @data if true; a record without arrays (as for hev1) is fine. */
bool kvg_h265_parse_hvcc(const uint8_t *data, size_t len, KvgHvcc *hvcc, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
/* Calls @each for each NAL unit of the arrays. */
void kvg_hvcc_foreach(const KvgHvcc *hvcc,
                      void (*each)(const uint8_t *nal, size_t len, void *user_data),
                      void *user_data);
