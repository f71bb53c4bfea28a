#include "frames/slot.h"
#include "os/file.h"
#include <errno.h>
#include <fcntl.h>
#include <kvg/error.h>
#include <linux/memfd.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#ifndef F_SEAL_FUTURE_WRITE /* Linux 5.1; older headers */
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

static _Atomic uint32_t last_id, last_pool;

uint32_t
kvg_frames_pool_id(void)
{
    return atomic_fetch_add(&last_pool, 1) + 1;
}

static KvgFramesSlot *
fail(size_t size, GError **error)
{
    g_set_error(error, KVG_ERROR, KVG_ERROR_NO_SPACE,
                "no shared memory for a picture of %zu bytes: %s", size, g_strerror(errno));
    return NULL;
}

KvgFramesSlot *
kvg_frames_slot_new(size_t size, GError **error)
{
    g_auto(KvgFd) fd = memfd_create("kvg-frame", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, (off_t)size) != 0)
        return fail(size, error);
    /* The same memory once more, to read only. */
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);
    g_auto(KvgFd) reader = open(path, O_RDONLY | O_CLOEXEC);
    if (reader < 0)
        return fail(size, error);
    void *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED)
        return fail(size, error);
    /* Without FUTURE_WRITE (a kernel older than 5.1) a consumer of this very user could open it
     * anew. */
    const int seals = F_SEAL_SHRINK | F_SEAL_GROW;
    if (fcntl(fd, F_ADD_SEALS, seals | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) != 0 &&
        fcntl(fd, F_ADD_SEALS, seals | F_SEAL_SEAL) != 0) {
        munmap(data, size);
        return fail(size, error);
    }
    KvgFramesSlot *slot = g_new(KvgFramesSlot, 1);
    *slot = (KvgFramesSlot){.id = atomic_fetch_add(&last_id, 1) + 1,
                            .fd = kvg_fd_steal(&reader),
                            .size = size,
                            .data = data};
    return slot;
}

void
kvg_frames_slot_free(KvgFramesSlot *slot)
{
    if (slot == NULL)
        return;
    munmap(slot->data, slot->size);
    close(slot->fd);
    g_free(slot);
}
