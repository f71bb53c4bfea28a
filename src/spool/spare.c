/* An emptied segment in memory is kept, and the next one written over it: the pages of a tmpfs cost
 * more to get and to give back than to fill. What was there before cannot be taken for records of
 * the new segment: its salt is another one, and an end mark follows the last record. One spare file
 * of a spool at most, none when memory is wanted back. */
#include "spool/private.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* Of some seconds of video: one that an outage made large is given back. */
#define MAX_SPARE_BYTES (4u * 1024 * 1024)

static char *
spare_path(const KvgSpool *spool)
{
    return g_build_filename(spool->paths[KVG_SPOOL_IN_MEMORY], "spare", NULL);
}

/* To be the only one at the file; false: it is not @expected. */
static bool
claim(KvgSpool *spool, KvgSpoolSpare expected)
{
    pthread_mutex_lock(&spool->lock);
    const bool is_ours = spool->shared.spare == expected;
    if (is_ours)
        spool->shared.spare = KVG_SPOOL_SPARE_BUSY;
    pthread_mutex_unlock(&spool->lock);
    return is_ours;
}

static void
release(KvgSpool *spool, KvgSpoolSpare spare)
{
    pthread_mutex_lock(&spool->lock);
    spool->shared.spare = spare;
    pthread_mutex_unlock(&spool->lock);
}

bool
kvg_spool_keep_spare(KvgSpool *spool, const KvgSpoolDoomed *doomed)
{
    if (doomed->place != KVG_SPOOL_IN_MEMORY || doomed->reusable_bytes == 0 ||
        doomed->reusable_bytes > MAX_SPARE_BYTES || !claim(spool, KVG_SPOOL_SPARE_NONE))
        return false;
    g_autofree char *from = kvg_spool_segment_path(spool, doomed->place, doomed->sequence);
    g_autofree char *to = spare_path(spool);
    const bool is_kept = spool->system->rename(from, to) == 0;
    release(spool, is_kept ? KVG_SPOOL_SPARE_READY : KVG_SPOOL_SPARE_NONE);
    return is_kept;
}

bool
kvg_spool_drop_spare(KvgSpool *spool)
{
    if (spool->paths[KVG_SPOOL_IN_MEMORY] == NULL || !claim(spool, KVG_SPOOL_SPARE_READY))
        return false;
    g_autofree char *path = spare_path(spool);
    const bool is_gone = spool->system->unlink(path) == 0;
    release(spool, KVG_SPOOL_SPARE_NONE);
    return is_gone;
}

/* First the new head, then the name: never a segment with the old records. */
static int
give_name(KvgSpool *spool, const uint8_t head[KVG_SEGMENT_HEAD_BYTES], const char *path)
{
    g_autofree char *from = spare_path(spool);
    g_auto(KvgFd) fd = spool->system->open(from, O_RDWR, 0600);
    uint8_t begin[KVG_SEGMENT_HEAD_BYTES + KVG_SEGMENT_END_BYTES] = {0};
    memcpy(begin, head, KVG_SEGMENT_HEAD_BYTES);
    struct iovec part = {.iov_base = begin, .iov_len = sizeof begin};
    if (fd >= 0 && kvg_spool_write_at(spool, fd, &part, 1, 0) == 0 &&
        spool->system->rename(from, path) == 0)
        return kvg_fd_steal(&fd);
    spool->system->unlink(from);
    return -1;
}

int
kvg_spool_reuse_spare(KvgSpool *spool, const uint8_t head[KVG_SEGMENT_HEAD_BYTES], const char *path)
{
    if (!claim(spool, KVG_SPOOL_SPARE_READY))
        return -1;
    const int fd = give_name(spool, head, path);
    release(spool, KVG_SPOOL_SPARE_NONE);
    return fd;
}
