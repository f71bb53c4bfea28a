/* A plain MP4 file with its index in front ("fast start"): what GetClip sends. Takes the samples
 * fragment by fragment and keeps their times and sizes only; the caller then writes the head and
 * the bytes of the samples in the order they were added. No I/O. Source: ISO/IEC 14496-12. */
#pragma once

#include "media/mp4_timing.h"

typedef struct _KvgMp4 KvgMp4;

KvgMp4 *kvg_mp4_new(void);
void kvg_mp4_free(KvgMp4 *mp4);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgMp4, kvg_mp4_free)
/* Samples of one track and fragment, which will lie side by side. @base_ms: the fragment's start in
 * the file; where that is earlier than the track's end so far, the samples move behind it. A track
 * whose codec parameters change gets a further sample entry. KVG_ERROR_UNSUPPORTED (also: another
 * codec in the same track), KVG_ERROR_CORRUPT. On failure nothing was added. */
bool kvg_mp4_add(KvgMp4 *mp4,
                 const KvgTrack *track,
                 int64_t base_ms,
                 int64_t length_ms,
                 const KvgMp4Sample *samples,
                 size_t n,
                 GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* ftyp, moov, and the head of mdat. */
GBytes *kvg_mp4_write_head(const KvgMp4 *mp4);
