#include "traffic.h"

#include <string.h>

#define NOISE_BYTES (4u << 20)
#define KEY_WEIGHT 5
/* Frames of real cameras do not lie in the processor's nearest cache. */
#define N_VARIANTS 128

static const uint8_t *
noise(void)
{
    static uint8_t *bytes = NULL;
    if (bytes == NULL) {
        uint64_t state = 88172645463325252u;
        bytes = g_malloc(NOISE_BYTES);
        for (size_t i = 0; i < NOISE_BYTES; i++) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes[i] = (uint8_t)state;
        }
    }
    return bytes;
}

bool
kvg_traffic_is_key(const KvgTraffic *traffic, uint64_t frame, unsigned stream)
{
    return frame == 0 || (frame + stream) % traffic->gop_frames == 0;
}

static GBytes *
make_payload(size_t len, bool key)
{
    uint8_t *unit = g_malloc(len);
    memcpy(unit, noise(), len);
    const uint32_t nal_len = GUINT32_TO_BE((uint32_t)len - 4);
    memcpy(unit, &nal_len, 4);
    unit[4] = key ? 0x65 : 0x41;
    return g_bytes_new_take(unit, len);
}

GBytes *
kvg_traffic_payload(const KvgTraffic *traffic, uint64_t frame, unsigned stream)
{
    static GBytes *keys[N_VARIANTS], *others[N_VARIANTS];
    if (keys[0] == NULL) {
        const size_t gop_bytes = (size_t)traffic->kbps * 125 * traffic->gop_frames / traffic->fps;
        const size_t share = gop_bytes / (traffic->gop_frames - 1 + KEY_WEIGHT);
        for (size_t i = 0; i < N_VARIANTS; i++) {
            keys[i] = make_payload(CLAMP(share * KEY_WEIGHT, 16, NOISE_BYTES), true);
            others[i] = make_payload(CLAMP(share, 16, NOISE_BYTES), false);
        }
    }
    const size_t variant = (frame * 7 + stream) % N_VARIANTS;
    return kvg_traffic_is_key(traffic, frame, stream) ? keys[variant] : others[variant];
}

int64_t
kvg_traffic_due_us(const KvgTraffic *traffic, uint64_t frame, unsigned stream)
{
    return (int64_t)((frame * traffic->streams + stream) * G_USEC_PER_SEC /
                     ((uint64_t)traffic->fps * traffic->streams));
}

const KvgTrack *
kvg_traffic_track(void)
{
    static const uint8_t avcc[] = {0x01, 0x42, 0xc0, 0x1e, 0xff, 0xe1, 0x00, 0x0a, 0x67,
                                   0x42, 0xc0, 0x1e, 0xda, 0x02, 0x80, 0xf6, 0x84, 0x00,
                                   0x01, 0x00, 0x04, 0x68, 0xce, 0x3c, 0x80};
    static KvgTrack track = {.number = 1,
                             .type = KVG_TRACK_VIDEO,
                             .codec_id = "V_MPEG4/ISO/AVC",
                             .name = "video",
                             .width = 640,
                             .height = 480};
    if (track.codec_private == NULL)
        track.codec_private = g_bytes_new_static(avcc, sizeof avcc);
    return &track;
}
