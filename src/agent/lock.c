#include "agent/lock.h"

#include "os/file.h"

#include <errno.h>
#include <fcntl.h>
#include <kvg/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>

#define NAME ".agent.lock"
#define POLL_MS 20

static bool
try_lock(int fd, int64_t wait_ms)
{
    const int64_t end = g_get_monotonic_time() + wait_ms * 1000;
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (g_get_monotonic_time() >= end)
            return false;
        g_usleep(POLL_MS * 1000);
    }
    return true;
}

int
kvg_agent_lock(const char *spool_path, int64_t wait_ms, GError **error)
{
    if (!kvg_dir_make(spool_path, 0700, error))
        return -1;
    g_autofree char *path = g_build_filename(spool_path, NAME, NULL);
    g_auto(KvgFd) fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_FAILED, "cannot open %s: %s", path,
                    g_strerror(errno));
        return -1;
    }
    char text[32] = {0};
    if (!try_lock(fd, wait_ms)) {
        const ssize_t n = pread(fd, text, sizeof text - 1, 0);
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID,
                    "another kvg agent (process %d) uses the spool %s; stop that one, or give "
                    "this one a spool.path of its own",
                    n > 0 ? atoi(text) : 0, spool_path);
        return -1;
    }
    const int len = snprintf(text, sizeof text, "%d\n", (int)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)len, 0) != len) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_FAILED, "cannot write %s: %s", path,
                    g_strerror(errno));
        return -1;
    }
    return kvg_fd_steal(&fd);
}
