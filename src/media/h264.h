/* H.264 parameter sets, avcC, and the two framings of NAL units. No I/O. Source: ITU-T H.264,
 * ISO/IEC 14496-15. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
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
typedef struct {
    uint8_t nal_length_size;
    const uint8_t *sps; /* first; points into the input */
    size_t sps_len;
    const uint8_t *pps;
    size_t pps_len;
} KvgAvcc;
bool kvg_h264_parse_avcc(const uint8_t *data, size_t len, KvgAvcc *avcc, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/* Finds the next Annex-B NAL unit at or after *at: false at the end. */
bool
kvg_annexb_next(const uint8_t *data, size_t len, size_t *at, const uint8_t **nal, size_t *nal_len);
/* Start codes to 4-byte lengths. NULL if there is no start code. */
GBytes *kvg_annexb_to_lengths(const uint8_t *data, size_t len);
/* avcC out of in-band SPS and PPS of one Annex-B access unit; NULL if it has not both. */
GBytes *kvg_annexb_build_avcc(const uint8_t *data, size_t len);
