/* The keeper: one thread per process, there as long as a spool is open. It does for all spools what
 * may wait for a disk: syncing finished fragments, moving segments from memory to disk, writing
 * cursors, deleting files; and it evicts by age. */
#include "base/clock.h"
#include "os/thread.h"
#include "spool/private.h"
#include <errno.h>
#include <fcntl.h>
#include <kvg/error.h>

#define TICK_US 500000
/* A closing spool waits for its batch. */
#define MAX_BATCH 64

/* In KvgSpool.keeper_state. */
enum { IS_DUE = 1, IS_BUSY = 2, IS_LEAVING = 4 };

static pthread_mutex_t life = PTHREAD_MUTEX_INITIALIZER; /* starting and stopping the thread */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* what follows, and keeper_state */
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static pthread_t thread;
static GPtrArray *spools; /* NULL: the thread does not run */
static GPtrArray *due;    /* with IS_DUE, in the order they came */
static bool is_stopping;

static void
make_due(KvgSpool *spool)
{
    if (spool->keeper_state & (IS_DUE | IS_LEAVING))
        return;
    spool->keeper_state |= IS_DUE;
    g_ptr_array_add(due, spool);
}

/* ---- one spool ---- */

typedef struct {
    KvgSpoolFile *file;
    uint64_t sequence, sync_to;
    bool is_in_folder;
} Sync;

/* The oldest segment with finished fragments that are not synced. */
static bool
next_sync(KvgSpool *spool, Sync *sync)
{
    bool found = false;
    pthread_mutex_lock(&spool->lock);
    for (guint i = 0; i < spool->shared.segments->len && !found; i++) {
        const KvgSpoolSegment *segment = &g_array_index(spool->shared.segments, KvgSpoolSegment, i);
        found = segment->file != NULL && segment->place == KVG_SPOOL_ON_DISK &&
                segment->synced < segment->sync_to;
        if (found)
            *sync = (Sync){kvg_spool_file_ref(segment->file), segment->sequence, segment->sync_to,
                           segment->is_in_folder};
    }
    pthread_mutex_unlock(&spool->lock);
    return found;
}

static void
end_sync(KvgSpool *spool, const Sync *sync, bool ok)
{
    pthread_mutex_lock(&spool->lock);
    KvgSpoolSegment *segment = kvg_spool_segment(spool, sync->sequence);
    if (segment != NULL) {
        segment->synced = sync->sync_to; /* done, or given up: asking again would lie */
        segment->is_in_folder = segment->is_in_folder || ok;
        if (!segment->is_open && segment->synced >= segment->sync_to)
            g_clear_pointer(&segment->file, kvg_spool_file_unref);
        if (!ok && segment->is_open)
            spool->shared.wants_new_segment = true;
    }
    pthread_mutex_unlock(&spool->lock);
}

/* The folder's own name, and that of the one around it. */
static void
sync_parents(KvgSpool *spool)
{
    if (spool->keeper.has_synced_parents)
        return;
    spool->keeper.has_synced_parents = true;
    g_autofree char *parent = g_path_get_dirname(spool->paths[KVG_SPOOL_ON_DISK]);
    g_autofree char *grandparent = g_path_get_dirname(parent);
    spool->system->sync_folder(parent);
    spool->system->sync_folder(grandparent);
}

static void
sync_segments(KvgSpool *spool)
{
    Sync sync;
    while (next_sync(spool, &sync)) {
        int code = spool->system->fdatasync(sync.file->fd) == 0 ? 0 : errno;
        if (code == 0 && !sync.is_in_folder &&
            spool->system->sync_folder(spool->paths[KVG_SPOOL_ON_DISK]) < 0)
            code = errno;
        sync_parents(spool);
        if (code != 0)
            kvg_spool_note_trouble(spool, KVG_SPOOL_ON_DISK, KVG_SPOOL_SYNC_FAILED, code);
        else
            kvg_spool_clear_trouble(spool, KVG_SPOOL_ON_DISK, true);
        end_sync(spool, &sync, code == 0);
        kvg_spool_file_unref(sync.file);
    }
}

/* Has the kernel begin to write, so that the syncs of many spools do not wait one after the other.
 */
void
kvg_spool_begin_sync(KvgSpool *spool)
{
    Sync sync;
    if (!next_sync(spool, &sync))
        return;
    sync_file_range(sync.file->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
    kvg_spool_file_unref(sync.file);
}

static void
evict_by_age(KvgSpool *spool)
{
    if (spool->max_age_us == 0 && (!spool->has_queue || spool->keep_us == 0))
        return;
    const int64_t now_us = spool->system->mono_us();
    pthread_mutex_lock(&spool->lock);
    const uint64_t n = kvg_spool_evict_older(spool, now_us);
    pthread_mutex_unlock(&spool->lock);
    kvg_spool_say_evicted(spool, n, "they are older than its greatest age");
}

bool
kvg_spool_keep(KvgSpool *spool)
{
    evict_by_age(spool);
    kvg_spool_keep_releases(spool);
    kvg_spool_write_cursor(spool);
    kvg_spool_delete_doomed(spool);
    sync_segments(spool);
    return kvg_spool_move_one(spool, false);
}

/* ---- the thread ---- */

/* Everybody's turn comes with each tick, whoever else has work meanwhile. */
static void
wait_for_work(int64_t *tick_us)
{
    const int64_t now_us = kvg_clock_mono_us();
    if (now_us < *tick_us && due->len == 0) {
        const struct timespec until = {.tv_sec = *tick_us / G_USEC_PER_SEC,
                                       .tv_nsec = *tick_us % G_USEC_PER_SEC * 1000};
        pthread_cond_clockwait(&changed, &lock, CLOCK_MONOTONIC, &until);
    }
    if (now_us < *tick_us)
        return;
    *tick_us = now_us + TICK_US;
    for (guint i = 0; i < spools->len; i++)
        make_due(g_ptr_array_index(spools, i));
}

/* With the lock, which is not held meanwhile. */
static void
serve(GPtrArray *batch)
{
    pthread_mutex_unlock(&lock);
    for (guint i = 0; i < batch->len; i++)
        kvg_spool_begin_sync(g_ptr_array_index(batch, i));
    for (guint i = 0; i < batch->len; i++) {
        KvgSpool *spool = g_ptr_array_index(batch, i);
        const bool has_more = kvg_spool_keep(spool);
        pthread_mutex_lock(&lock);
        spool->keeper_state &= ~(unsigned)IS_BUSY;
        if (has_more)
            make_due(spool);
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&lock);
    }
    pthread_mutex_lock(&lock);
}

static void *
run(void *data)
{
    g_autoptr(GPtrArray) batch = g_ptr_array_new();
    int64_t tick_us = 0;
    pthread_mutex_lock(&lock);
    while (!is_stopping) {
        wait_for_work(&tick_us);
        const guint n = MIN(due->len, MAX_BATCH);
        for (guint i = 0; i < n; i++) {
            KvgSpool *spool = g_ptr_array_index(due, i);
            spool->keeper_state = (spool->keeper_state & ~(unsigned)IS_DUE) | IS_BUSY;
            g_ptr_array_add(batch, spool);
        }
        if (n > 0)
            g_ptr_array_remove_range(due, 0, n);
        serve(batch);
        g_ptr_array_set_size(batch, 0);
    }
    pthread_mutex_unlock(&lock);
    return NULL;
}

static void
free_lists(void)
{
    g_clear_pointer(&spools, g_ptr_array_unref);
    g_clear_pointer(&due, g_ptr_array_unref);
}

bool
kvg_keeper_add(KvgSpool *spool, GError **error)
{
    int code = 0;
    pthread_mutex_lock(&life);
    pthread_mutex_lock(&lock);
    const bool starts = spools == NULL;
    if (starts) {
        spools = g_ptr_array_new();
        due = g_ptr_array_new();
        is_stopping = false;
        code = kvg_thread_create(&thread, "kvg-spool", run, NULL);
    }
    if (code == 0) {
        g_ptr_array_add(spools, spool);
        make_due(spool);
        pthread_cond_broadcast(&changed);
    } else {
        free_lists();
        g_set_error(error, KVG_ERROR, KVG_ERROR_RETRY, "spool %s: cannot start a thread: %s",
                    spool->name, g_strerror(code));
    }
    pthread_mutex_unlock(&lock);
    pthread_mutex_unlock(&life);
    return code == 0;
}

void
kvg_keeper_remove(KvgSpool *spool)
{
    pthread_mutex_lock(&lock);
    spool->keeper_state |= IS_LEAVING;
    g_ptr_array_remove(due, spool);
    while (spool->keeper_state & IS_BUSY)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);

    pthread_mutex_lock(&life);
    pthread_mutex_lock(&lock);
    g_ptr_array_remove(spools, spool);
    const bool stops = spools->len == 0;
    is_stopping = stops;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    if (stops) {
        pthread_join(thread, NULL);
        free_lists();
    }
    pthread_mutex_unlock(&life);
}

void
kvg_keeper_wake(KvgSpool *spool)
{
    pthread_mutex_lock(&lock);
    if (!(spool->keeper_state & IS_DUE)) {
        make_due(spool);
        pthread_cond_broadcast(&changed);
    }
    pthread_mutex_unlock(&lock);
}

void
kvg_spool_settle(KvgSpool *spool)
{
    pthread_mutex_lock(&lock);
    make_due(spool);
    pthread_cond_broadcast(&changed);
    while (spool->keeper_state != 0)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}
