/* The calls of the operating system that can fail under a spool, as a table that tests replace to
 * make them fail, to delay them, and to record them. */
#pragma once

#include <glib.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

typedef struct {
    int (*open)(const char *path, int flags, mode_t mode);
    ssize_t (*pwritev)(int fd, const struct iovec *parts, int n, off_t offset);
    int (*fdatasync)(int fd);
    int (*sync_folder)(const char *path);
    int (*rename)(const char *from, const char *to);
    int (*unlink)(const char *path);
    int64_t (*mono_us)(void);
    int64_t (*wall_ms)(void);
} KvgSpoolSystem;

extern const KvgSpoolSystem kvg_spool_system;
