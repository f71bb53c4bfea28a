#include "os/file.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <kvg/error.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>

void
kvg_fd_clear(KvgFd *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = KVG_FD_NONE;
}

int
kvg_fd_steal(KvgFd *fd)
{
    int taken = *fd;
    *fd = KVG_FD_NONE;
    return taken;
}

static bool
fail_errno(GError **error, const char *path, const char *what)
{
    int saved = errno;
    g_set_error(error, KVG_ERROR, saved == ENOSPC ? KVG_ERROR_NO_SPACE
                                  : saved == ENOENT ? KVG_ERROR_NOT_FOUND : KVG_ERROR_FAILED,
                "%s: cannot %s: %s", path, what, g_strerror(saved));
    return false;
}

bool
kvg_fd_write_all(int fd, const void *data, size_t len, GError **error)
{
    const char *at = data;
    while (len > 0) {
        ssize_t n = write(fd, at, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            int saved = errno;
            g_set_error(error, KVG_ERROR, saved == ENOSPC ? KVG_ERROR_NO_SPACE : KVG_ERROR_FAILED,
                        "write failed: %s", g_strerror(saved));
            return false;
        }
        at += n;
        len -= (size_t)n;
    }
    return true;
}

bool
kvg_dir_sync(const char *path, GError **error)
{
    g_auto(KvgFd) fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return fail_errno(error, path, "sync folder");
    return true;
}

bool
kvg_file_replace(const char *path, const void *data, size_t len, unsigned mode, GError **error)
{
    g_autofree char *temporary = g_strdup_printf("%s.XXXXXX", path);
    g_auto(KvgFd) fd = g_mkstemp_full(temporary, O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail_errno(error, path, "create");
    bool ok = kvg_fd_write_all(fd, data, len, error);
    if (!ok)
        g_prefix_error(error, "%s: ", path);
    if (ok && (fchmod(fd, mode) < 0 || fsync(fd) < 0))
        ok = fail_errno(error, path, "sync");
    if (ok && rename(temporary, path) < 0)
        ok = fail_errno(error, path, "replace");
    if (!ok) {
        unlink(temporary);
        return false;
    }
    g_autofree char *folder = g_path_get_dirname(path);
    return kvg_dir_sync(folder, error);
}

char *
kvg_file_read(const char *path, size_t max, size_t *len, GError **error)
{
    g_auto(KvgFd) fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        fail_errno(error, path, "open");
        return NULL;
    }
    g_autoptr(GByteArray) content = g_byte_array_new();
    for (;;) {
        uint8_t piece[16384];
        ssize_t n = read(fd, piece, sizeof piece);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            fail_errno(error, path, "read");
            return NULL;
        }
        if (n == 0)
            break;
        if (content->len + (size_t)n > max) {
            g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "%s: larger than %zu bytes", path, max);
            return NULL;
        }
        g_byte_array_append(content, piece, (guint)n);
    }
    if (len)
        *len = content->len;
    g_byte_array_append(content, (const uint8_t *)"", 1);
    return (char *)g_byte_array_free(g_steal_pointer(&content), FALSE);
}

bool
kvg_dir_make(const char *path, unsigned mode, GError **error)
{
    if (mkdir(path, mode) == 0)
        return chmod(path, mode) == 0 || fail_errno(error, path, "set the mode of");
    if (errno == EEXIST && g_file_test(path, G_FILE_TEST_IS_DIR))
        return true;
    if (errno != ENOENT)
        return fail_errno(error, path, "create folder");
    g_autofree char *parent = g_path_get_dirname(path);
    if (!kvg_dir_make(parent, 0755, error))
        return false;
    if (mkdir(path, mode) < 0 && errno != EEXIST)
        return fail_errno(error, path, "create folder");
    return chmod(path, mode) == 0 || fail_errno(error, path, "set the mode of");
}

static int
remove_one(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    return remove(path);
}

bool
kvg_dir_remove(const char *path, GError **error)
{
    if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) < 0 && errno != ENOENT)
        return fail_errno(error, path, "remove");
    return true;
}
