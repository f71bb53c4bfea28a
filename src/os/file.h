/* Files, done the careful way once: atomic replacement, modes, scope-closed descriptors. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <unistd.h>

/* g_auto(KvgFd) fd = open(...); closed at the end of the scope; KVG_FD_NONE when empty. */
typedef int KvgFd;
#define KVG_FD_NONE (-1)
void kvg_fd_clear(KvgFd *fd);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(KvgFd, kvg_fd_clear)
/* Takes the descriptor out of the variable. */
int kvg_fd_steal(KvgFd *fd);

/* Writes all of @data, through short writes and EINTR. */
bool kvg_fd_write_all(int fd, const void *data, size_t len, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/* Replaces @path with @data: temporary file beside it with exactly @mode, fsync, rename, fsync of
 * the folder. A reader sees the old or the new content, never a part. */
bool kvg_file_replace(const char *path, const void *data, size_t len, unsigned mode, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/* Reads a file of at most @max bytes, NUL-terminated. */
char *kvg_file_read(const char *path, size_t max, size_t *len, GError **error);

/* mkdir -p; the last folder gets exactly @mode if it had to be made. */
bool kvg_dir_make(const char *path, unsigned mode, GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool kvg_dir_sync(const char *path, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* rm -r; absent is fine. Does not follow symbolic links. */
bool kvg_dir_remove(const char *path, GError **error) G_GNUC_WARN_UNUSED_RESULT;
