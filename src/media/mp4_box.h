/* Boxes of ISO media files, and those that fragmented and plain MP4 have in common. Between the MP4
 * writers of this folder only. Source: ISO/IEC 14496-12. */
#pragma once

#include "media/mp4_track.h"

guint kvg_mp4_begin(GByteArray *out, const char type[4]);
guint kvg_mp4_begin_full(GByteArray *out, const char type[4], uint8_t version, uint32_t flags);
/* Sets the size of the box that began at @start. */
void kvg_mp4_end(GByteArray *out, guint start);
void kvg_mp4_put_zeros(GByteArray *out, unsigned n); /* at most 64 */

/* Durations are in milliseconds (mvhd, tkhd) or the track's own units (mdhd); fragments: 0. */
void kvg_mp4_put_mvhd(GByteArray *out, uint32_t duration, uint32_t next_track);
void kvg_mp4_put_tkhd(GByteArray *out, const KvgMp4Track *track, uint32_t duration);
void kvg_mp4_put_mdhd(GByteArray *out, const KvgMp4Track *track, uint32_t duration);
void kvg_mp4_put_hdlr(GByteArray *out, const KvgMp4Track *track);
/* What stands in minf before stbl. */
void kvg_mp4_put_media_header(GByteArray *out, const KvgMp4Track *track);
