/* Gives the newest picture of one camera to other processes. A consumer asks, gets the newest frame
 * it has not seen as a lease on shared memory, and gives it back; one that is slow misses frames,
 * one that hangs keeps its few leases, one that dies gives them back. Nothing here ever waits for
 * one. One thread; publishing works on the caller's. */
#pragma once

#include "frames/slot.h"
#include <stdbool.h>

typedef struct _KvgFramesServer KvgFramesServer;

/* What lies in a slot. */
typedef struct {
    const KvgFramesSlot *slot;
    uint32_t pool;
    uint32_t width, height, stride; /* BGR, 3 bytes a pixel */
    int64_t wall_us;
} KvgFramesPicture;

typedef struct {
    unsigned consumers, leases;
    uint64_t published, delivered; /* frames in; frames out, over all consumers */
} KvgFramesStats;

/* On the server's thread: there is a consumer now, or none any more. */
typedef void (*KvgFramesDemand)(bool wanted, void *user_data);

/* Listens at @path. @demand may be NULL. */
KvgFramesServer *
kvg_frames_server_start(const char *path, KvgFramesDemand demand, void *user_data, GError **error);
/* Ends its thread, then gives every picture back. NULL is fine. */
void kvg_frames_server_stop(KvgFramesServer *server);
/* Takes @owner, which keeps the slot from being written; @give_back is called with it when nobody
 * looks at the picture any more, on any thread, with no lock held. */
void kvg_frames_server_publish(KvgFramesServer *server,
                               const KvgFramesPicture *picture,
                               void *owner,
                               GDestroyNotify give_back);
void kvg_frames_server_get_stats(KvgFramesServer *server, KvgFramesStats *stats);
