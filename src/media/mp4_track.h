/* What MP4 says of a track: codec, its configuration checked, time scale, size; and the sample
 * entry that tells a decoder. Hides the configurations of the codecs. No I/O. Source: ISO/IEC
 * 14496-12, 14496-14, 14496-15. */
#pragma once

#include <glib.h>
#include <kvg/frame.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum {
    KVG_CODEC_UNKNOWN,
    KVG_CODEC_H264,
    KVG_CODEC_H265,
    KVG_CODEC_AAC,
    KVG_CODEC_ALAW,
    KVG_CODEC_MULAW
} KvgCodec;

typedef struct {
    uint8_t number;
    KvgCodec codec;
    bool is_audio;
    const uint8_t *config; /* the track's codec_private, borrowed */
    size_t config_len;
    uint32_t timescale; /* video: 1000, as Matroska gives milliseconds; audio: sampling rate */
    uint32_t width, height;
    unsigned nal_length_bytes; /* video */
    unsigned channels;         /* audio */
    unsigned aac_object, aac_frame;
} KvgMp4Track;

/* KVG_ERROR_UNSUPPORTED for codecs that MP4 players cannot take; KVG_ERROR_CORRUPT for bad
 * codec_private. */
bool kvg_mp4_track_init(KvgMp4Track *description,
                        const KvgTrack *track,
                        GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* avc1, hvc1, mp4a, alaw, ulaw. */
void kvg_mp4_put_sample_entry(GByteArray *out, const KvgMp4Track *track);
/* For CODECS=, RFC 6381 (g_free). */
char *kvg_mp4_track_codec_string(const KvgMp4Track *track);
