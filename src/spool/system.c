#include "spool/system.h"
#include "base/clock.h"
#include "os/file.h"
#include <fcntl.h>
#include <stdio.h>

static int
open_file(const char *path, int flags, mode_t mode)
{
    return open(path, flags | O_CLOEXEC, mode);
}

static ssize_t
write_at(int fd, const struct iovec *parts, int n, off_t offset)
{
    return pwritev(fd, parts, n, offset);
}

static int
sync_folder(const char *path)
{
    g_auto(KvgFd) fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -1 : fsync(fd);
}

const KvgSpoolSystem kvg_spool_system = {.open = open_file,
                                         .pwritev = write_at,
                                         .fdatasync = fdatasync,
                                         .sync_folder = sync_folder,
                                         .rename = rename,
                                         .unlink = unlink,
                                         .mono_us = kvg_clock_mono_us,
                                         .wall_ms = kvg_clock_wall_ms};
