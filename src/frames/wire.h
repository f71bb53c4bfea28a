/* What server and consumer of a camera's frames say to each other: a UNIX socket that keeps packets
 * apart, one struct a packet, both ends on one machine and of one version. The pictures themselves
 * lie in shared memory, whose descriptors travel with the first frame of each slot. */
#pragma once

#include <stdint.h>

#define KVG_FRAMES_MAGIC 0x6b766766u /* "kvgf" */
#define KVG_FRAMES_VERSION 1

/* Frames a consumer may hold at once. */
#define KVG_FRAMES_MAX_LEASES 4
#define KVG_FRAMES_MAX_CONSUMERS 8
#define KVG_FRAMES_MAX_SIDE 16384

/* consumer -> server */
typedef enum {
    KVG_FRAMES_TAKE = 1,    /* the newest frame after `sequence`, as soon as there is one */
    KVG_FRAMES_RELEASE = 2, /* `slot` is no longer looked at */
} KvgFramesRequestKind;

typedef struct {
    uint32_t kind, slot;
    uint64_t sequence;
} KvgFramesRequest;

/* server -> consumer */
typedef enum {
    KVG_FRAMES_HELLO = 1, /* once; `slot` is the version */
    KVG_FRAMES_FRAME = 2,
} KvgFramesReplyKind;

typedef struct {
    uint32_t magic, kind;
    uint32_t slot; /* never used again for other memory */
    uint32_t pool; /* another number: all slots of former ones are gone */
    uint32_t width, height, stride, reserved;
    uint64_t size;     /* of the slot, bytes */
    uint64_t sequence; /* grows; a step of more than one: frames this consumer did not see */
    int64_t wall_us;   /* when it was taken, since 1970 */
} KvgFramesReply;
