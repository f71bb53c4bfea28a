#include "frames/address.h"
#include "frames/wire.h"
#include "os/file.h"
#include <errno.h>
#include <fcntl.h>
#include <kvg/error.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define MAX_STEM 64
#define CUT_STEM 40

char *
kvg_frames_socket_path(const char *directory, const char *name)
{
    g_autofree char *file = NULL;
    if (strlen(name) <= MAX_STEM) {
        file = g_strconcat(name, ".frames", NULL);
    } else {
        g_autofree char *hash = g_compute_checksum_for_string(G_CHECKSUM_SHA256, name, -1);
        file = g_strdup_printf("%.*s-%.16s.frames", CUT_STEM, name, hash);
    }
    return g_build_filename(directory, file, NULL);
}

/* An address holds 107 bytes, a path may have 4,096: the folder is named by a descriptor, which
 * stays open as long as @folder. */
static bool
make_address(const char *path, KvgFd *folder, struct sockaddr_un *address, GError **error)
{
    g_autofree char *directory = g_path_get_dirname(path);
    g_autofree char *file = g_path_get_basename(path);
    *folder = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (*folder < 0) {
        g_set_error(error, KVG_ERROR, errno == ENOENT ? KVG_ERROR_NOT_FOUND : KVG_ERROR_FAILED,
                    "%s: %s", directory, g_strerror(errno));
        return false;
    }
    address->sun_family = AF_UNIX;
    const int len =
        snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d/%s", *folder, file);
    if (len < (int)sizeof address->sun_path)
        return true;
    g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "%s: the name of the socket is too long",
                path);
    return false;
}

static int
fail(const char *path, GError **error)
{
    const int cause = errno;
    const bool nobody = cause == ENOENT || cause == ECONNREFUSED;
    g_set_error(error, KVG_ERROR, nobody ? KVG_ERROR_NOT_FOUND : KVG_ERROR_FAILED, "%s: %s", path,
                cause == ECONNREFUSED ? "nobody listens there any more" : g_strerror(cause));
    return -1;
}

int
kvg_frames_listen(const char *path, GError **error)
{
    g_auto(KvgFd) folder = KVG_FD_NONE;
    struct sockaddr_un address = {0};
    if (!make_address(path, &folder, &address, error))
        return -1;
    struct stat found;
    if (lstat(path, &found) == 0 && S_ISSOCK(found.st_mode))
        unlink(path); /* whoever listened there has lost it: a camera has one owner */
    g_auto(KvgFd) fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        chmod(path, 0600) != 0 || listen(fd, KVG_FRAMES_MAX_CONSUMERS) != 0)
        return fail(path, error);
    return kvg_fd_steal(&fd);
}

int
kvg_frames_connect(const char *path, GError **error)
{
    g_auto(KvgFd) folder = KVG_FD_NONE;
    struct sockaddr_un address = {0};
    if (!make_address(path, &folder, &address, error))
        return -1;
    g_auto(KvgFd) fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        return fail(path, error);
    return kvg_fd_steal(&fd);
}
