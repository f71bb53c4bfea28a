/* Shared memory for one picture: written here, read by others, who can neither write nor shrink it.
 */
#pragma once

#include <glib.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint32_t id; /* of this process, never used twice */
    int fd;      /* to give away: read only */
    size_t size;
    uint8_t *data; /* writable here */
} KvgFramesSlot;

KvgFramesSlot *kvg_frames_slot_new(size_t size, GError **error);
void kvg_frames_slot_free(KvgFramesSlot *slot); /* NULL is fine */
/* A number that no other set of slots of this process has. */
uint32_t kvg_frames_pool_id(void);
