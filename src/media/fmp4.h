/* Fragmented MP4 (CMAF-like): init segment and media segments for HLS. No I/O.
 * Source: ISO/IEC 14496-12, 14496-15. */
#pragma once

#include "media/mp4_timing.h"

/* ftyp + moov of one track; timescale 1000 for video (as MKV gives milliseconds) and the sample
 * rate for audio. KVG_ERROR_UNSUPPORTED for codecs that MP4 players cannot take; KVG_ERROR_CORRUPT
 * for bad codec_private. */
GBytes *kvg_fmp4_write_init(const KvgTrack *track, GError **error);

/* styp? + moof + mdat. Samples in decode order; DTS are rebuilt by sorting PTS. @base_ms: the
 * fragment's start on the media timeline (tfdt). @length_ms: duration of the whole fragment, so
 * that the last sample ends where the next fragment starts; 0: the last sample lasts as long as the
 * one before. */
GBytes *kvg_fmp4_write_fragment(const KvgTrack *track,
                                uint32_t sequence,
                                int64_t base_ms,
                                int64_t length_ms,
                                const KvgMp4Sample *samples,
                                size_t n_samples,
                                GError **error);
/* "avc1.4d4032", "mp4a.40.2", "hvc1..." for CODECS= (g_free); NULL if unknown. */
char *kvg_fmp4_codec_string(const KvgTrack *track);
