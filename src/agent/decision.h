/* What becomes of a camera's video and why, in words. No GStreamer, no I/O. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* More than this between key frames makes players wait and fragments begin without one. */
#define KVG_LONG_GOP_MS 10000

typedef struct {
    char codec[16];   /* as the camera says: "h264", "jpeg", "raw" */
    char profile[32]; /* "main"; "" until known */
    uint32_t width, height;
    double fps;          /* 0: unknown */
    int64_t gop_ms;      /* between the last two key frames; 0: unknown */
    bool reorders;       /* there are B-frames */
    bool encoded;        /* by us */
    char *encode_reason; /* why */
    const char *encoder; /* static; NULL */
    uint32_t out_width, out_height, out_fps, bitrate_bps;
} KvgMedia;

void kvg_media_clear(KvgMedia *media);
/* "H.264"; what is not known by a better name is returned in capitals. Owned. */
char *kvg_codec_to_name(const char *codec);
/* Why no usual player takes this @profile of @codec; NULL if they do. Static. */
const char *kvg_media_unplayable(const char *codec, const char *profile);
/* What plays badly but plays: B-frames, few key frames; NULL if nothing. Static. */
const char *kvg_media_unsuitable(const KvgMedia *media);
/* "passthrough: H.264 main 1280x720 at 15 frames/s, key frame each 1.0 s"; NULL until the codec is
 * known. Owned. */
char *kvg_media_decision(const KvgMedia *media);
