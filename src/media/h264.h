/* H.264: SPS and avcC. No I/O. Source: ITU-T H.264, ISO/IEC 14496-15. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint32_t id;
    uint8_t profile, constraints, level;
    uint32_t width, height; /* after cropping */
    bool has_timing;
    uint32_t num_units_in_tick, time_scale;
    uint8_t max_num_reorder_frames; /* 255: not given */
} KvgH264Sps;

/* @nal: one SPS NAL unit, header byte included, without start code. KVG_ERROR_CORRUPT. */
bool kvg_h264_parse_sps(const uint8_t *nal, size_t len, KvgH264Sps *sps, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/* avcC from one SPS and one PPS (AWS C producer's layout: 4-byte lengths, one of each). */
GBytes *kvg_h264_build_avcc(const uint8_t *sps, size_t sps_len, const uint8_t *pps, size_t pps_len);
/* The same from lists of GBytes, in their order; NULL if one is empty or too long. */
GBytes *kvg_h264_build_avcc_of(const GPtrArray *sps, const GPtrArray *pps);
typedef struct {
    uint8_t nal_length_size;
    const uint8_t *sps; /* first; points into the input */
    size_t sps_len;
    const uint8_t *pps;
    size_t pps_len;
} KvgAvcc;
bool kvg_h264_parse_avcc(const uint8_t *data, size_t len, KvgAvcc *avcc, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
