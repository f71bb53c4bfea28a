/* The video that all benchmarks send: constant frame rate, key frames five times the size of the
 * others, bytes that do not compress. One definition, so that candidates send the same. */
#pragma once

#include <glib.h>
#include <kvg/frame.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    unsigned streams;
    unsigned kbps; /* of each stream, payload */
    unsigned fps;
    unsigned gop_frames;
} KvgTraffic;

/* The options of the command line that every program here takes. */
#define KVG_TRAFFIC_DEFAULTS                                                                       \
    {                                                                                              \
        .streams = 1, .kbps = 4000, .fps = 30, .gop_frames = 60                                    \
    }
#define KVG_TRAFFIC_OPTIONS(traffic)                                                               \
    {"streams", 0, 0, G_OPTION_ARG_INT, &(traffic).streams, "How many", "N"},                      \
        {"kbps", 0, 0, G_OPTION_ARG_INT, &(traffic).kbps, "Of each stream", "N"},                  \
        {"fps", 0, 0, G_OPTION_ARG_INT, &(traffic).fps, "Frames a second", "N"},                   \
    {                                                                                              \
        "gop", 0, 0, G_OPTION_ARG_INT, &(traffic).gop_frames, "Frames of a fragment", "N"          \
    }

/* The first frame, and then one of each gop_frames; not the same for all streams. */
bool kvg_traffic_is_key(const KvgTraffic *traffic, uint64_t frame, unsigned stream);
/* The access unit of frame number @frame: an AVC slice in form, noise inside; static. */
GBytes *kvg_traffic_payload(const KvgTraffic *traffic, uint64_t frame, unsigned stream);
/* When frame @frame of @stream is due, after the start; streams are out of phase with each other.
 */
int64_t kvg_traffic_due_us(const KvgTraffic *traffic, uint64_t frame, unsigned stream);
/* H.264, 640x480; static. */
const KvgTrack *kvg_traffic_track(void);
