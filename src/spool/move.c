/* Tier auto: segments go from memory to disk when what is in them is not persisted in time. A
 * segment is copied under another name, synced, renamed, and only then deleted in memory: whatever
 * happens, it is whole in one of the two. Readers that have it open do not notice. */
#include "os/log.h"
#include "spool/private.h"
#include <errno.h>
#include <fcntl.h>

#define COPY_BYTES (256u * 1024)

static bool
is_due(const KvgSpool *spool, const KvgSpoolSegment *segment, int64_t now_us)
{
    /* What nobody has asked for may never be: it costs the disk nothing while memory has room. */
    const bool may_wait = spool->has_queue && segment->n_wanted == 0;
    return (!may_wait && now_us - segment->opened_us >= spool->move_after_us) ||
           spool->shared.bytes_in[KVG_SPOOL_IN_MEMORY] > spool->memory_limit_bytes / 2;
}

/* The oldest segment to be moved. */
static bool
choose(KvgSpool *spool, bool all, KvgSpoolSegment *chosen)
{
    const int64_t now_us = spool->system->mono_us();
    bool found = false;
    pthread_mutex_lock(&spool->lock);
    for (guint i = 0; i < spool->shared.segments->len && !found; i++) {
        *chosen = g_array_index(spool->shared.segments, KvgSpoolSegment, i);
        found = chosen->place == KVG_SPOOL_IN_MEMORY && !chosen->is_open && !chosen->is_unmovable &&
                (all || is_due(spool, chosen, now_us));
    }
    pthread_mutex_unlock(&spool->lock);
    return found;
}

/* 0, or errno of the disk; -1: the memory's file cannot be read. */
static int
copy_bytes(KvgSpool *spool, int from, int to, uint64_t size)
{
    g_autofree uint8_t *piece = g_malloc(COPY_BYTES);
    for (uint64_t at = 0; at < size;) {
        const ssize_t n = pread(from, piece, (size_t)MIN(COPY_BYTES, size - at), (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        struct iovec part = {.iov_base = piece, .iov_len = (size_t)n};
        const int code = kvg_spool_write_at(spool, to, &part, 1, at);
        if (code != 0)
            return code;
        at += (uint64_t)n;
    }
    return 0;
}

/* As copy_bytes(); the copy is synced. */
static int
copy_segment(KvgSpool *spool, const KvgSpoolSegment *segment, const char *to_path)
{
    g_autofree char *from_path =
        kvg_spool_segment_path(spool, KVG_SPOOL_IN_MEMORY, segment->sequence);
    g_auto(KvgFd) from = open(from_path, O_RDONLY | O_CLOEXEC);
    if (from < 0)
        return -1;
    const int flags = O_WRONLY | O_CREAT | O_TRUNC;
    g_auto(KvgFd) to = spool->system->open(to_path, flags, 0600);
    if (to < 0 && errno == ENOENT && kvg_dir_make(spool->paths[KVG_SPOOL_ON_DISK], 0700, NULL))
        to = spool->system->open(to_path, flags, 0600);
    if (to < 0)
        return errno;
    const int code = copy_bytes(spool, from, to, segment->size);
    return code != 0 ? code : spool->system->fdatasync(to) == 0 ? 0 : errno;
}

/* The index follows. The fragments may all be gone by now, then nothing needs the copy. */
static void
relocate(KvgSpool *spool, const KvgSpoolSegment *moved)
{
    pthread_mutex_lock(&spool->lock);
    KvgSpoolSegment *segment = kvg_spool_segment(spool, moved->sequence);
    const KvgSpoolDoomed doomed = {moved->sequence,
                                   segment != NULL ? KVG_SPOOL_IN_MEMORY : KVG_SPOOL_ON_DISK, 0};
    if (segment != NULL) {
        segment->place = KVG_SPOOL_ON_DISK;
        spool->shared.bytes_in[KVG_SPOOL_IN_MEMORY] -= segment->size;
        spool->shared.bytes_in[KVG_SPOOL_ON_DISK] += segment->size;
        spool->shared.is_cursor_dirty = true; /* the disk's was not written while it was empty */
    }
    g_array_append_val(spool->shared.doomed, doomed);
    pthread_mutex_unlock(&spool->lock);
    kvg_spool_delete_doomed(spool);
}

static void
give_up_on(KvgSpool *spool, const KvgSpoolSegment *unreadable)
{
    pthread_mutex_lock(&spool->lock);
    KvgSpoolSegment *segment = kvg_spool_segment(spool, unreadable->sequence);
    if (segment != NULL)
        segment->is_unmovable = true;
    pthread_mutex_unlock(&spool->lock);
    if (segment != NULL)
        kvg_spool_note_trouble(spool, KVG_SPOOL_IN_MEMORY, KVG_SPOOL_VANISHED, ENOENT);
}

/* The disk is full: the oldest on it makes room for what is newer. */
static bool
evict_on_disk(KvgSpool *spool)
{
    pthread_mutex_lock(&spool->lock);
    const uint64_t before = spool->shared.evicted_fragments;
    const bool freed = kvg_spool_evict(spool, KVG_SPOOL_ON_DISK);
    const uint64_t n = spool->shared.evicted_fragments - before;
    pthread_mutex_unlock(&spool->lock);
    kvg_spool_say_evicted(spool, n, "the disk is full");
    kvg_spool_delete_doomed(spool);
    return freed;
}

static bool
fail_move(KvgSpool *spool, int code)
{
    kvg_spool_note_trouble(spool, KVG_SPOOL_ON_DISK, kvg_spool_judge(code), code);
    spool->keeper.move_at_us =
        spool->system->mono_us() + kvg_backoff_next_ms(&spool->keeper.move_backoff) * 1000;
    return false;
}

bool
kvg_spool_move_one(KvgSpool *spool, bool all)
{
    KvgSpoolSegment segment;
    if (spool->tier != KVG_SPOOL_TIER_AUTO || spool->paths[KVG_SPOOL_ON_DISK] == NULL ||
        (!all && spool->system->mono_us() < spool->keeper.move_at_us) ||
        !choose(spool, all, &segment))
        return false;
    g_autofree char *unfinished = kvg_spool_unfinished_path(spool, segment.sequence);
    g_autofree char *path = kvg_spool_segment_path(spool, KVG_SPOOL_ON_DISK, segment.sequence);
    int code = copy_segment(spool, &segment, unfinished);
    if (code == 0 && spool->system->rename(unfinished, path) < 0)
        code = errno;
    if (code == 0 && spool->system->sync_folder(spool->paths[KVG_SPOOL_ON_DISK]) < 0) {
        code = errno;
        spool->system->unlink(path);
    }
    if (code == 0) {
        relocate(spool, &segment);
        kvg_spool_clear_trouble(spool, KVG_SPOOL_ON_DISK, true);
        kvg_backoff_reset(&spool->keeper.move_backoff);
        spool->keeper.move_at_us = 0;
        return true;
    }
    spool->system->unlink(unfinished);
    if (code < 0) {
        give_up_on(spool, &segment);
        return true;
    }
    if (kvg_spool_judge(code) == KVG_SPOOL_FULL && evict_on_disk(spool))
        return true;
    return fail_move(spool, code);
}
