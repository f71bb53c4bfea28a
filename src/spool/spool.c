/* The writer of a spool: it appends a record and then moves the open fragment's end under the lock.
 * A reader (reader.c) never reads behind that end, so it needs no lock for the bytes. */
#include "spool/spool.h"
#include "base/bytes.h"
#include "os/log.h"
#include "spool/private.h"
#include <errno.h>
#include <fcntl.h>
#include <kvg/error.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>

#define LOG_DOMAIN "spool"
#define SEGMENT_MAGIC "KVGSPL1\n"
#define DEFAULT_LIMIT_BYTES (1024ull * 1024 * 1024)
#define DEFAULT_SEGMENT_BYTES (16ull * 1024 * 1024)
#define MIN_SEGMENT_BYTES (64ull * 1024)
#define MAX_SYNCS_QUEUED 64

static bool
fail_errno(GError **error, const char *path, const char *what)
{
    const int code = errno;
    const bool is_full = code == ENOSPC || code == EDQUOT;
    g_set_error(error, KVG_ERROR, is_full ? KVG_ERROR_NO_SPACE : KVG_ERROR_FAILED,
                "cannot %s %s: %s", what, path, g_strerror(code));
    return false;
}

/* ---- syncing in the background: a slow disk must not hold a camera's thread ---- */

typedef struct {
    KvgFd fd;
    KvgSpoolSync *sync;
} SyncJob;

static void
run_sync(void *data, void *user_data)
{
    SyncJob *job = data;
    if (fdatasync(job->fd) < 0)
        g_atomic_int_set(&job->sync->failed, errno);
    kvg_fd_clear(&job->fd);
    g_atomic_rc_box_release(job->sync);
    g_free(job);
}

static void *
make_sync_pool(void *data)
{
    return g_thread_pool_new(run_sync, NULL, 1, FALSE, NULL);
}

static void
sync_soon(KvgSpool *spool)
{
    static GOnce once = G_ONCE_INIT;
    GThreadPool *pool = g_once(&once, make_sync_pool, NULL);
    /* Behind a slow disk one sync serves for those that were left out. */
    if (g_thread_pool_unprocessed(pool) >= MAX_SYNCS_QUEUED)
        return;
    const int fd = fcntl(spool->writer.fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return;
    SyncJob *job = g_new(SyncJob, 1);
    *job = (SyncJob){.fd = fd, .sync = g_atomic_rc_box_acquire(spool->sync)};
    g_thread_pool_push(pool, job, NULL);
}

/* ---- open and close ---- */

static bool
lock_folder(KvgSpool *spool, GError **error)
{
    g_autofree char *path = g_build_filename(spool->path, "lock", NULL);
    spool->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (spool->lock_fd < 0)
        return fail_errno(error, path, "open");
    if (flock(spool->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return true;
    g_set_error(
        error, KVG_ERROR, KVG_ERROR_INVALID,
        "spool %s is in use by another process; stop it or give this one a spool of its own",
        spool->path);
    return false;
}

static KvgSpool *
spool_new(const KvgSpoolOptions *options)
{
    KvgSpool *spool = g_new0(KvgSpool, 1);
    spool->path = g_strdup(options->path);
    spool->limit_bytes = options->limit_bytes != 0 ? options->limit_bytes : DEFAULT_LIMIT_BYTES;
    spool->segment_bytes =
        options->segment_bytes != 0
            ? options->segment_bytes
            : CLAMP(spool->limit_bytes / 16, MIN_SEGMENT_BYTES, DEFAULT_SEGMENT_BYTES);
    spool->on_data = options->on_data;
    spool->user_data = options->user_data;
    spool->lock_fd = spool->cursor_fd = spool->writer.fd = KVG_FD_NONE;
    spool->sync = g_atomic_rc_box_new0(KvgSpoolSync);
    spool->shared.fragments = g_array_new(FALSE, FALSE, sizeof(KvgSpoolFragment));
    spool->shared.segments = g_array_new(FALSE, FALSE, sizeof(KvgSpoolSegment));
    spool->shared.next_fragment = 1;
    pthread_mutex_init(&spool->lock, NULL);
    return spool;
}

KvgSpool *
kvg_spool_open(const KvgSpoolOptions *options, GError **error)
{
    g_return_val_if_fail(options != NULL && options->path != NULL, NULL);
    g_autoptr(KvgSpool) spool = spool_new(options);
    if (!kvg_dir_make(spool->path, 0700, error) || !lock_folder(spool, error) ||
        !kvg_spool_read_cursor(spool, error) || !kvg_spool_recover(spool, error))
        return NULL;
    if (spool->shared.torn_records > 0)
        KVG_LOG_WARNING(LOG_DOMAIN, "SPOOL", spool->path,
                        "spool %s: %" G_GUINT64_FORMAT " damaged records left out", spool->path,
                        spool->shared.torn_records);
    return g_steal_pointer(&spool);
}

void
kvg_spool_close(KvgSpool *spool)
{
    if (spool == NULL)
        return;
    if (spool->writer.fd >= 0 && fdatasync(spool->writer.fd) < 0)
        KVG_LOG_WARNING(LOG_DOMAIN, "SPOOL", spool->path, "spool %s: cannot sync: %s", spool->path,
                        g_strerror(errno));
    kvg_fd_clear(&spool->writer.fd);
    kvg_fd_clear(&spool->cursor_fd);
    for (guint i = 0; i < kvg_spool_count(spool); i++)
        g_clear_pointer(&kvg_spool_at(spool, i)->tracks, g_bytes_unref);
    g_clear_pointer(&spool->writer.tracks, g_bytes_unref);
    g_clear_pointer(&spool->writer.written_tracks, g_bytes_unref);
    g_array_unref(spool->shared.fragments);
    g_array_unref(spool->shared.segments);
    g_atomic_rc_box_release(spool->sync);
    pthread_mutex_destroy(&spool->lock);
    kvg_fd_clear(&spool->lock_fd); /* last: now another process may open the folder */
    g_free(spool->path);
    g_free(spool);
}

/* ---- writer ---- */

static void
tell_reader(KvgSpool *spool)
{
    if (spool->on_data != NULL)
        spool->on_data(spool->user_data);
}

/* Makes room for @len bytes by evicting whole segments, oldest first. */
static bool
make_room(KvgSpool *spool, size_t len, GError **error)
{
    pthread_mutex_lock(&spool->lock);
    const uint64_t before = spool->shared.evicted_fragments;
    bool fits = true;
    while (spool->shared.bytes_on_disk + len > spool->limit_bytes && fits)
        fits = kvg_spool_evict(spool);
    const uint64_t evicted = spool->shared.evicted_fragments - before;
    pthread_mutex_unlock(&spool->lock);
    if (evicted > 0)
        KVG_LOG_WARNING(LOG_DOMAIN, "SPOOL", spool->path,
                        "spool %s is full: the oldest %" G_GUINT64_FORMAT " fragments are lost",
                        spool->path, evicted);
    if (!fits)
        g_set_error(error, KVG_ERROR, KVG_ERROR_NO_SPACE,
                    "spool %s: no room within its limit of %" G_GUINT64_FORMAT
                    " bytes; raise the limit",
                    spool->path, spool->limit_bytes);
    return fits;
}

/* Appends at the writer's offset; a failed or short write leaves nothing behind it. */
static bool
write_record(KvgSpool *spool, KvgRecord *record, const void *payload, GError **error)
{
    const size_t len = KVG_RECORD_HEAD_BYTES + record->payload_len;
    if (!make_room(spool, len, error))
        return false;
    uint8_t head[KVG_RECORD_HEAD_BYTES];
    record->payload_crc = kvg_crc32c(0, payload, record->payload_len);
    kvg_record_write_head(record, head);
    const struct iovec parts[2] = {
        {.iov_base = head, .iov_len = sizeof head},
        {.iov_base = (void *)(uintptr_t)payload, .iov_len = record->payload_len}};
    for (;;) {
        const ssize_t n = pwritev(spool->writer.fd, parts, 2, (off_t)spool->writer.offset);
        if (n == (ssize_t)len)
            break;
        if (n < 0 && errno == EINTR)
            continue;
        if (n >= 0)
            errno = ENOSPC;
        const int code = errno;
        pthread_mutex_lock(&spool->lock);
        const bool retry = (code == ENOSPC || code == EDQUOT) && kvg_spool_evict(spool);
        pthread_mutex_unlock(&spool->lock);
        errno = code;
        if (!retry)
            return fail_errno(error, spool->path, "write to spool");
    }
    spool->writer.offset += len;
    pthread_mutex_lock(&spool->lock);
    spool->shared.bytes_on_disk += len;
    g_array_index(spool->shared.segments, KvgSpoolSegment, spool->shared.segments->len - 1).size +=
        len;
    pthread_mutex_unlock(&spool->lock);
    return true;
}

static bool
start_segment(KvgSpool *spool, GError **error)
{
    kvg_fd_clear(&spool->writer.fd);
    g_clear_pointer(&spool->writer.written_tracks, g_bytes_unref);
    if (!kvg_dir_make(spool->path, 0700, error)) /* somebody may have removed it */
        return false;
    const uint64_t sequence = spool->shared.next_segment;
    g_autofree char *path = kvg_spool_segment_path(spool, sequence);
    g_auto(KvgFd) fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail_errno(error, path, "create");
    uint8_t head[KVG_SEGMENT_HEAD_BYTES] = SEGMENT_MAGIC;
    if (!kvg_fd_write_all(fd, head, sizeof head, error)) {
        unlink(path);
        return false;
    }
    spool->writer.fd = kvg_fd_steal(&fd);
    spool->writer.offset = sizeof head;
    g_atomic_int_set(&spool->sync->failed, 0);
    const KvgSpoolSegment segment = {.sequence = sequence, .size = sizeof head};
    pthread_mutex_lock(&spool->lock);
    spool->shared.next_segment = sequence + 1;
    spool->shared.bytes_on_disk += sizeof head;
    g_array_append_val(spool->shared.segments, segment);
    kvg_spool_sweep(spool, false);
    pthread_mutex_unlock(&spool->lock);
    return true;
}

/* Whether the segment in use cannot take another fragment. */
static bool
wants_new_segment(KvgSpool *spool)
{
    if (spool->writer.fd < 0 || spool->writer.offset >= spool->segment_bytes)
        return true;
    const int failed = g_atomic_int_get(&spool->sync->failed);
    if (failed != 0) {
        KVG_LOG_WARNING(LOG_DOMAIN, "SPOOL", spool->path,
                        "spool %s: the disk failed to sync: %s; going on in a new segment",
                        spool->path, g_strerror(failed));
        return true;
    }
    struct stat info;
    return fstat(spool->writer.fd, &info) < 0 || info.st_nlink == 0;
}

bool
kvg_spool_put_tracks(KvgSpool *spool, const KvgTrack *tracks, size_t n, GError **error)
{
    if (!kvg_spool_end_fragment(spool, error))
        return false;
    g_clear_pointer(&spool->writer.tracks, g_bytes_unref);
    spool->writer.tracks = kvg_record_pack_tracks(tracks, n);
    return true;
}

/* The tracks stand in each segment before its first fragment and wherever they change. */
static bool
write_tracks(KvgSpool *spool, GError **error)
{
    if (spool->writer.written_tracks != NULL &&
        g_bytes_equal(spool->writer.tracks, spool->writer.written_tracks))
        return true;
    size_t len;
    const void *payload = g_bytes_get_data(spool->writer.tracks, &len);
    KvgRecord record = {.kind = KVG_RECORD_TRACKS, .payload_len = (uint32_t)len};
    if (!write_record(spool, &record, payload, error))
        return false;
    g_clear_pointer(&spool->writer.written_tracks, g_bytes_unref);
    spool->writer.written_tracks = g_bytes_ref(spool->writer.tracks);
    return true;
}

static KvgSpoolFragment *
open_fragment(KvgSpool *spool)
{
    const guint n = kvg_spool_count(spool);
    KvgSpoolFragment *newest = n > 0 ? kvg_spool_at(spool, n - 1) : NULL;
    return newest != NULL && !newest->complete ? newest : NULL;
}

bool
kvg_spool_begin_fragment(KvgSpool *spool, int64_t timecode_ms, GError **error)
{
    if (!kvg_spool_end_fragment(spool, error))
        return false;
    if (spool->writer.tracks == NULL) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "spool %s: no tracks for the fragment",
                    spool->path);
        return false;
    }
    if (wants_new_segment(spool) && !start_segment(spool, error))
        return false;
    if (!write_tracks(spool, error))
        return false;
    const uint64_t number = spool->shared.next_fragment; /* changed by this thread only */
    KvgRecord record = {.kind = KVG_RECORD_BEGIN, .fragment = number, .time = {timecode_ms}};
    if (!write_record(spool, &record, NULL, error))
        return false;
    pthread_mutex_lock(&spool->lock);
    const guint last = spool->shared.segments->len - 1;
    const KvgSpoolFragment fragment = {
        .number = number,
        .segment = g_array_index(spool->shared.segments, KvgSpoolSegment, last).sequence,
        .start = spool->writer.offset,
        .end = spool->writer.offset,
        .timecode_ms = timecode_ms,
        .tracks = g_bytes_ref(spool->writer.tracks)};
    kvg_spool_add(spool, &fragment);
    pthread_mutex_unlock(&spool->lock);
    tell_reader(spool);
    return true;
}

/* The number of the open fragment; 0: none. */
static uint64_t
open_number(KvgSpool *spool)
{
    pthread_mutex_lock(&spool->lock);
    const KvgSpoolFragment *open = open_fragment(spool);
    const uint64_t number = open != NULL ? open->number : 0;
    pthread_mutex_unlock(&spool->lock);
    return number;
}

/* The record just written belongs to the open fragment. */
static void
grow_fragment(KvgSpool *spool, uint32_t n_frames)
{
    pthread_mutex_lock(&spool->lock);
    KvgSpoolFragment *fragment = open_fragment(spool);
    if (fragment != NULL) {
        spool->shared.bytes_live += spool->writer.offset - fragment->end;
        fragment->end = spool->writer.offset;
        fragment->n_frames += n_frames;
    }
    pthread_mutex_unlock(&spool->lock);
    tell_reader(spool);
}

bool
kvg_spool_put_frame(KvgSpool *spool, const KvgFrame *frame, GError **error)
{
    const uint64_t number = open_number(spool);
    size_t len;
    const void *payload = g_bytes_get_data(frame->data, &len);
    if (number == 0 || len > KVG_RECORD_MAX_PAYLOAD) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "spool %s: %s", spool->path,
                    number == 0 ? "frame without a fragment" : "frame too large");
        return false;
    }
    KvgRecord record = {.kind = KVG_RECORD_FRAME,
                        .track = frame->track,
                        .key = frame->key,
                        .fragment = number,
                        .time = {frame->pts_us, frame->dts_us, frame->duration_us},
                        .payload_len = (uint32_t)len};
    if (!write_record(spool, &record, payload, error))
        return false;
    grow_fragment(spool, 1);
    return true;
}

bool
kvg_spool_put_tag(KvgSpool *spool, const char *name, const char *value, GError **error)
{
    const uint64_t number = open_number(spool);
    g_autoptr(GBytes) tag = kvg_record_pack_tag(name, value);
    if (number == 0 || tag == NULL) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "spool %s: %s", spool->path,
                    number == 0 ? "tag without a fragment" : "tag too long");
        return false;
    }
    size_t len;
    const void *payload = g_bytes_get_data(tag, &len);
    KvgRecord record = {.kind = KVG_RECORD_TAG, .fragment = number, .payload_len = (uint32_t)len};
    if (!write_record(spool, &record, payload, error))
        return false;
    grow_fragment(spool, 0);
    return true;
}

bool
kvg_spool_end_fragment(KvgSpool *spool, GError **error)
{
    pthread_mutex_lock(&spool->lock);
    KvgSpoolFragment *open = open_fragment(spool);
    if (open != NULL)
        open->complete = true;
    pthread_mutex_unlock(&spool->lock);
    if (open == NULL)
        return true;
    sync_soon(spool);
    tell_reader(spool);
    return true;
}

bool
kvg_spool_persisted(KvgSpool *spool, uint64_t fragment, GError **error)
{
    pthread_mutex_lock(&spool->lock);
    bool ok = true;
    if (fragment > spool->shared.persisted) {
        spool->shared.persisted = fragment;
        ok = kvg_spool_write_cursor(spool, error);
        while (kvg_spool_count(spool) > 0 && kvg_spool_at(spool, 0)->number <= fragment &&
               kvg_spool_at(spool, 0)->complete)
            kvg_spool_pop(spool);
        kvg_spool_sweep(spool, false);
    }
    pthread_mutex_unlock(&spool->lock);
    return ok;
}

void
kvg_spool_get_stats(KvgSpool *spool, KvgSpoolStats *stats)
{
    pthread_mutex_lock(&spool->lock);
    const guint n = kvg_spool_count(spool);
    *stats = (KvgSpoolStats){
        .bytes = spool->shared.bytes_live,
        .oldest_fragment = n > 0 ? kvg_spool_at(spool, 0)->number : 0,
        .newest_fragment = n > 0 ? kvg_spool_at(spool, n - 1)->number : 0,
        .fragment_open = open_fragment(spool) != NULL,
        .evicted_fragments = spool->shared.evicted_fragments,
        .evicted_frames = spool->shared.evicted_frames,
        .torn_records = spool->shared.torn_records,
    };
    pthread_mutex_unlock(&spool->lock);
}
