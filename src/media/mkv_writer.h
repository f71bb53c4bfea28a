/* Matroska as PutMedia takes it: EBML header, Segment of unknown size, Info, Tracks, then one
 * Cluster of unknown size per fragment with SimpleBlocks. Byte layout in docs/internals/media.md.
 * No I/O. */
#pragma once

#include <glib.h>
#include <kvg/frame.h>
#include <stdbool.h>
#include <stdint.h>

/* Everything before the first Cluster. @segment_uid: 16 bytes. Timecode scale is 1 ms. */
GBytes *kvg_mkv_write_header(const KvgTrack *tracks,
                             size_t n_tracks,
                             const uint8_t segment_uid[16],
                             const char *writing_app);
/* Appends the head of a Cluster. @timecode_ms: absolute or relative, as the session says. */
void kvg_mkv_write_cluster(GByteArray *out, uint64_t timecode_ms);
/* Appends only the head of a SimpleBlock (size, track, relative time, flags); the payload of
 * @payload_len bytes must follow. @relative_ms: -32768..32767. */
void kvg_mkv_write_block_head(
    GByteArray *out, uint8_t track, int16_t relative_ms, bool key, size_t payload_len);
/* Appends Tags with one SimpleTag; e.g. AWS_KINESISVIDEO_END_OF_FRAGMENT with "". */
void kvg_mkv_write_tag(GByteArray *out, const char *name, const char *value);
