/* When the samples of a fragment are decoded and shown. Hides how decoding times are rebuilt:
 * Matroska gives presentation times only. No I/O. */
#pragma once

#include "media/mp4_track.h"

typedef struct {
    int64_t pts_ms;      /* relative to the fragment's start */
    int64_t duration_ms; /* -1: derive */
    bool key;
    const uint8_t *data;
    size_t len;
} KvgMp4Sample;

typedef struct {
    int64_t dts; /* in the track's time scale, from the fragment's start */
    int64_t pts;
    uint32_t duration;
} KvgMp4Timing;

int64_t kvg_mp4_to_units(int64_t ms, uint32_t timescale);
/* Samples in decode order. @length_ms: duration of the whole fragment, so that the last sample ends
 * where the next fragment starts; 0: the last sample lasts as long as the one before. */
bool kvg_mp4_time_samples(const KvgMp4Track *track,
                          const KvgMp4Sample *samples,
                          size_t n,
                          int64_t length_ms,
                          KvgMp4Timing *timing,
                          GError **error) G_GNUC_WARN_UNUSED_RESULT;
