/* Presentation times sorted are valid decoding times. */
#include "media/mp4_timing.h"

#include <kvg/error.h>
#include <stdlib.h>

/* 20 s at 1000 frames a second, and well below what trun can say. */
#define MAX_SAMPLES 200000u

static bool
corrupt(GError **error, const char *what)
{
    g_set_error(error, KVG_ERROR, KVG_ERROR_CORRUPT, "MP4: %s", what);
    return false;
}

static int
compare_dts(const void *a, const void *b)
{
    const int64_t left = ((const KvgMp4Timing *)a)->dts;
    const int64_t right = ((const KvgMp4Timing *)b)->dts;
    return (left > right) - (left < right);
}

static bool
is_sorted(const KvgMp4Timing *timing, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        if (timing[i].dts < timing[i - 1].dts)
            return false;
    }
    return true;
}

/* Sorted presentation times are valid decoding times (constant delay zero); the offset of each
 * sample is then its own presentation time less that, and may be negative. */
static void
rebuild_dts(KvgMp4Timing *timing, size_t n)
{
    if (!is_sorted(timing, n)) {
        g_autofree KvgMp4Timing *sorted = g_memdup2(timing, n * sizeof *timing);
        qsort(sorted, n, sizeof *sorted, compare_dts);
        for (size_t i = 0; i < n; i++)
            timing[i].dts = sorted[i].dts;
    }
    /* Equal times (two frames in one millisecond) would make a duration of zero. */
    for (size_t i = 1; i < n; i++)
        timing[i].dts = MAX(timing[i].dts, timing[i - 1].dts + 1);
}

int64_t
kvg_mp4_to_units(int64_t ms, uint32_t timescale)
{
    const int64_t scaled = ms * (int64_t)timescale;
    return scaled >= 0 ? (scaled + 500) / 1000 : -((-scaled + 500) / 1000);
}

/* The last sample has no successor in this fragment. */
static int64_t
last_duration(const KvgMp4Track *track,
              const KvgMp4Timing *timing,
              const KvgMp4Sample *samples,
              size_t n,
              int64_t length_ms)
{
    if (track->codec == KVG_CODEC_AAC)
        return track->aac_frame;
    const int64_t rest = kvg_mp4_to_units(length_ms, track->timescale) - timing[n - 1].dts;
    if (length_ms > 0 && rest > 0)
        return rest;
    if (samples[n - 1].duration_ms > 0)
        return kvg_mp4_to_units(samples[n - 1].duration_ms, track->timescale);
    return n > 1 ? timing[n - 2].duration : 1;
}

bool
kvg_mp4_time_samples(const KvgMp4Track *track,
                     const KvgMp4Sample *samples,
                     size_t n,
                     int64_t length_ms,
                     KvgMp4Timing *timing,
                     GError **error)
{
    if (n == 0 || n > MAX_SAMPLES)
        return corrupt(error, n == 0 ? "no samples" : "too many samples");
    if (length_ms < 0 || length_ms > G_MAXINT32)
        return corrupt(error, "fragment length out of range");
    for (size_t i = 0; i < n; i++) {
        if (samples[i].pts_ms < -G_MAXINT32 || samples[i].pts_ms > G_MAXINT32 ||
            samples[i].duration_ms > G_MAXINT32)
            return corrupt(error, "sample time out of range");
        timing[i].pts = kvg_mp4_to_units(samples[i].pts_ms, track->timescale);
        timing[i].dts = timing[i].pts;
    }
    rebuild_dts(timing, n);
    for (size_t i = 0; i + 1 < n; i++) {
        const int64_t duration = timing[i + 1].dts - timing[i].dts;
        if (duration > G_MAXINT32)
            return corrupt(error, "sample duration out of range");
        timing[i].duration = (uint32_t)duration;
    }
    const int64_t last = last_duration(track, timing, samples, n, length_ms);
    timing[n - 1].duration = (uint32_t)CLAMP(last, 1, G_MAXINT32);
    for (size_t i = 0; i < n; i++) {
        if (ABS(timing[i].pts - timing[i].dts) > G_MAXINT32)
            return corrupt(error, "sample time out of range");
    }
    return true;
}
