/* The consumer's end of a camera's frames: asks for the newest, gets it as a lease on shared memory
 * that is mapped read-only, without a copy. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct _KvgFramesClient KvgFramesClient;

/* A frame held: BGR, 3 bytes a pixel; stays as it is until released. */
typedef struct {
    const uint8_t *data;
    uint32_t width, height, stride;
    uint64_t sequence;
    int64_t wall_us;
} KvgFramesLease;

typedef enum { KVG_FRAMES_GOT, KVG_FRAMES_NOTHING_YET, KVG_FRAMES_CLOSED } KvgFramesRead;

/* KVG_ERROR_NOT_FOUND: nobody serves this camera now; try again later. */
KvgFramesClient *kvg_frames_client_open(const char *path, GError **error);
/* Leases live on; the last one frees it. NULL is fine. */
void kvg_frames_client_close(KvgFramesClient *client);
int kvg_frames_client_fd(const KvgFramesClient *client); /* to poll for POLLIN */
/* Frames held now. At KVG_FRAMES_MAX_LEASES nothing more comes until one is released. Thread: any.
 */
unsigned kvg_frames_client_held(const KvgFramesClient *client);

/* Asks for the newest frame after the last one read; asking twice is asking once. False: closed. */
bool kvg_frames_client_ask(KvgFramesClient *client);
/* Without waiting. On CLOSED @error says why, and nothing comes any more: open it anew. */
KvgFramesRead
kvg_frames_client_read(KvgFramesClient *client, const KvgFramesLease **lease, GError **error);
/* Thread: any. NULL is fine. */
void kvg_frames_lease_release(const KvgFramesLease *lease);
