/* What a camera delivers: tracks, described once, and frames, one access unit each. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

G_BEGIN_DECLS

typedef enum { KVG_TRACK_VIDEO = 1, KVG_TRACK_AUDIO = 2 } KvgTrackType;

/**
 * KvgTrack: plain data, copied by whoever keeps it.
 * @number: 1-based, unique in the stream; video 1, audio 2
 * @codec_id: Matroska codec id, e.g. "V_MPEG4/ISO/AVC"
 * @codec_private: avcC, hvcC or AudioSpecificConfig; NULL if there is none
 * @name: track name, at most 32 bytes; NULL for none
 */
typedef struct {
    uint8_t number;
    KvgTrackType type;
    const char *codec_id;
    GBytes *codec_private;
    const char *name;
    uint32_t width, height;      /* video, pixels */
    double sample_rate_hz;       /* audio */
    uint8_t channels, bit_depth; /* audio; bit_depth 0 unless PCM */
} KvgTrack;

/**
 * KvgFrame: one access unit. Times are microseconds since 1970 (producer wall clock).
 * @pts_us: presentation time
 * @dts_us: decoding time, never backwards within a track
 * @duration_us: 0 if unknown
 * @key: a decoder can start here
 * @data: H.264/H.265 as NAL units with 4-byte lengths; AAC raw access unit
 */
typedef struct {
    uint8_t track;
    bool key;
    int64_t pts_us, dts_us, duration_us;
    GBytes *data;
} KvgFrame;

G_END_DECLS
