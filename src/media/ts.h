/* MPEG-TS segments for HLS: a fragment with all its tracks, decodable by itself. Hides packets,
 * tables, PES, start codes and ADTS. No I/O. Source: ISO/IEC 13818-1, ISO/IEC 14496-3. */
#pragma once

#include "media/mp4_timing.h"

typedef struct {
    KvgMp4Track track; /* H.264, H.265 or AAC */
    const KvgMp4Sample *samples;
    size_t n;
} KvgTsTrack;

/* At most one video and one audio track, each with samples. @base_ms: the fragment's start on the
 * media timeline; some seconds above zero, for pictures are decoded before they are shown.
 * KVG_ERROR_CORRUPT, KVG_ERROR_UNSUPPORTED. */
GBytes *kvg_ts_write(
    const KvgTsTrack *tracks, size_t n, int64_t base_ms, int64_t length_ms, GError **error);
