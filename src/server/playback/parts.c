/* A part ends before the first frame that begins at or behind the next multiple of KVG_PART_MS. */
#include "server/playback/parts.h"

static const KvgMp4Sample *
sample_at(const GArray *samples, guint i)
{
    return &g_array_index(samples, KvgMp4Sample, i);
}

static void
add_part(
    GArray *parts, const GArray *samples, guint first, guint end, int64_t end_ms, bool is_audio)
{
    const int64_t start_ms = sample_at(samples, first)->pts_ms;
    const KvgPart part = {.first = first,
                          .n = end - first,
                          .start_ms = start_ms,
                          .length_ms = MAX(end_ms - start_ms, 1),
                          .is_independent = is_audio || sample_at(samples, first)->key};
    g_array_append_val(parts, part);
}

GArray *
kvg_parts_cut(const GArray *samples, bool is_audio, int64_t length_ms)
{
    GArray *parts = g_array_new(FALSE, FALSE, sizeof(KvgPart));
    guint first = 0;
    int64_t boundary_ms = KVG_PART_MS;
    for (guint i = 0; i < samples->len; i++) {
        const int64_t pts_ms = sample_at(samples, i)->pts_ms;
        if (pts_ms < boundary_ms)
            continue;
        if (i > first)
            add_part(parts, samples, first, i, pts_ms, is_audio);
        first = i;
        boundary_ms = (pts_ms / KVG_PART_MS + 1) * KVG_PART_MS;
    }
    if (length_ms >= 0 && first < samples->len)
        add_part(parts, samples, first, samples->len, length_ms, is_audio);
    return parts;
}
