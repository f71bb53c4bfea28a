/* The segment in use: where it is made, how a record gets into it, and what happens when that
 * fails. A fragment whose segment fails under it is carried over to a new one and goes on there. */
#include "base/bytes.h"
#include "os/log.h"
#include "spool/private.h"
#include <errno.h>
#include <fcntl.h>
#include <kvg/error.h>
#include <sys/file.h>
#include <sys/stat.h>

#define COPY_BYTES (256u * 1024)
/* Files waiting for a keeper that waits for a disk. */
#define MAX_DOOMED 16
/* A new segment may fail like the one before it. */
#define MAX_TRIES 3

KvgSpoolFile *
kvg_spool_file_new(int fd)
{
    KvgSpoolFile *file = g_new0(KvgSpoolFile, 1);
    atomic_init(&file->n_refs, 1);
    file->fd = fd;
    return file;
}

KvgSpoolFile *
kvg_spool_file_ref(KvgSpoolFile *file)
{
    atomic_fetch_add(&file->n_refs, 1);
    return file;
}

void
kvg_spool_file_unref(KvgSpoolFile *file)
{
    if (file == NULL || atomic_fetch_sub(&file->n_refs, 1) > 1)
        return;
    kvg_fd_clear(&file->fd);
    g_free(file);
}

int
kvg_spool_write_at(KvgSpool *spool, int fd, struct iovec *parts, int n_parts, uint64_t offset)
{
    while (n_parts > 0) {
        const ssize_t n = spool->system->pwritev(fd, parts, n_parts, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? errno : ENOSPC;
        offset += (uint64_t)n;
        size_t left = (size_t)n;
        for (; n_parts > 0 && left >= parts->iov_len; parts++, n_parts--)
            left -= parts->iov_len;
        if (n_parts > 0) {
            parts->iov_base = (uint8_t *)parts->iov_base + left;
            parts->iov_len -= left;
        }
    }
    return 0;
}

/* In their order, so that a crash meanwhile leaves no hole. */
void
kvg_spool_delete_doomed(KvgSpool *spool)
{
    for (;;) {
        pthread_mutex_lock(&spool->lock);
        GArray *doomed = spool->shared.doomed;
        const bool is_empty = doomed->len == 0;
        KvgSpoolDoomed next = {0};
        if (!is_empty) {
            next = g_array_index(doomed, KvgSpoolDoomed, 0);
            g_array_remove_index(doomed, 0);
        }
        pthread_mutex_unlock(&spool->lock);
        if (is_empty)
            return;
        g_autofree char *path = kvg_spool_segment_path(spool, next.place, next.sequence);
        if (!kvg_spool_keep_spare(spool, &next))
            spool->system->unlink(path); /* already gone, or found again at the next open */
    }
}

/* ---- a new segment ---- */

void
kvg_spool_leave_segment(KvgSpool *spool)
{
    if (spool->writer.file == NULL)
        return;
    pthread_mutex_lock(&spool->lock);
    KvgSpoolSegment *segment = kvg_spool_segment(spool, spool->writer.segment);
    segment->is_open = false;
    if (segment->place == KVG_SPOOL_ON_DISK)
        segment->sync_to = segment->size;
    if (segment->synced >= segment->sync_to)
        g_clear_pointer(&segment->file, kvg_spool_file_unref);
    kvg_spool_sweep(spool);
    pthread_mutex_unlock(&spool->lock);
    g_clear_pointer(&spool->writer.file, kvg_spool_file_unref);
    g_clear_pointer(&spool->writer.written_tracks, g_bytes_unref);
    kvg_keeper_wake(spool);
}

/* Our lock went with a folder that somebody removed. */
static int
lock_again(KvgSpool *spool, KvgSpoolPlace place)
{
    struct stat info;
    if (fstat(spool->lock_fd, &info) < 0 || info.st_nlink > 0)
        return 0;
    g_autofree char *path = g_build_filename(spool->paths[place], "lock", NULL);
    g_auto(KvgFd) fd = spool->system->open(path, O_RDWR | O_CREAT, 0600);
    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
        return errno;
    kvg_fd_clear(&spool->lock_fd);
    spool->lock_fd = kvg_fd_steal(&fd);
    return 0;
}

static int
open_new(KvgSpool *spool, KvgSpoolPlace place, const char *path)
{
    const int flags = O_RDWR | O_CREAT | O_EXCL;
    const int fd = spool->system->open(path, flags, 0600);
    if (fd >= 0 || errno != ENOENT)
        return fd;
    if (!kvg_dir_make(spool->paths[place], 0700, NULL)) {
        errno = ENOENT;
        return -1;
    }
    const int code = lock_again(spool, place);
    if (code != 0) {
        errno = code;
        return -1;
    }
    return spool->system->open(path, flags, 0600);
}

/* A file that holds nothing but the head; -1 and errno. */
static int
open_empty(KvgSpool *spool, KvgSpoolPlace place, const char *path, uint32_t salt)
{
    uint8_t head[KVG_SEGMENT_HEAD_BYTES];
    kvg_segment_write_head(spool->holds ? KVG_SEGMENT_VERSION : KVG_SEGMENT_VERSION_PLAIN, salt,
                           head);
    /* A fragment that is carried over brings its salt with it: not into a file that may know it. */
    const bool may_reuse = place == KVG_SPOOL_IN_MEMORY && salt != spool->writer.salt;
    int fd = may_reuse ? kvg_spool_reuse_spare(spool, head, path) : -1;
    spool->writer.is_reused = fd >= 0;
    if (fd >= 0)
        return fd;
    fd = open_new(spool, place, path);
    if (fd < 0)
        return -1;
    struct iovec part = {.iov_base = head, .iov_len = sizeof head};
    const int code = kvg_spool_write_at(spool, fd, &part, 1, 0);
    if (code == 0)
        return fd;
    close(fd);
    spool->system->unlink(path);
    errno = code;
    return -1;
}

/* 0 or errno. */
static int
create_segment(KvgSpool *spool, KvgSpoolPlace place, uint32_t salt)
{
    pthread_mutex_lock(&spool->lock);
    const uint64_t sequence = spool->shared.next_segment++;
    pthread_mutex_unlock(&spool->lock);
    g_autofree char *path = kvg_spool_segment_path(spool, place, sequence);
    const int fd = open_empty(spool, place, path, salt);
    if (fd < 0)
        return errno;
    g_autoptr(KvgSpoolFile) file = kvg_spool_file_new(fd);
    const KvgSpoolSegment segment = {.sequence = sequence,
                                     .size = KVG_SEGMENT_HEAD_BYTES,
                                     .salt = salt,
                                     .place = place,
                                     .is_open = true,
                                     .opened_us = spool->system->mono_us(),
                                     .file = kvg_spool_file_ref(file)};
    pthread_mutex_lock(&spool->lock);
    spool->shared.bytes_in[place] += KVG_SEGMENT_HEAD_BYTES;
    spool->shared.wants_new_segment = false;
    g_array_append_val(spool->shared.segments, segment);
    pthread_mutex_unlock(&spool->lock);
    spool->writer.file = g_steal_pointer(&file);
    spool->writer.segment = sequence;
    spool->writer.place = place;
    spool->writer.salt = salt;
    spool->writer.offset = KVG_SEGMENT_HEAD_BYTES;
    return 0;
}

/* Evicts in @place and deletes at once; false: nothing to evict. */
static bool
free_space(KvgSpool *spool, KvgSpoolPlace place)
{
    if (place == KVG_SPOOL_IN_MEMORY && kvg_spool_drop_spare(spool))
        return true;
    pthread_mutex_lock(&spool->lock);
    const uint64_t before = spool->shared.evicted_fragments;
    const bool freed = kvg_spool_evict(spool, place);
    const uint64_t n = spool->shared.evicted_fragments - before;
    pthread_mutex_unlock(&spool->lock);
    kvg_spool_say_evicted(spool, n, "no space left");
    kvg_spool_delete_doomed(spool);
    return freed;
}

static bool
is_over_memory_limit(KvgSpool *spool, uint64_t len)
{
    if (spool->tier != KVG_SPOOL_TIER_AUTO)
        return false;
    pthread_mutex_lock(&spool->lock);
    const uint64_t bytes = spool->shared.bytes_in[KVG_SPOOL_IN_MEMORY];
    pthread_mutex_unlock(&spool->lock);
    return bytes + len > spool->memory_limit_bytes;
}

/* Where a new segment may be made, best first; @failed is the last resort. Returns how many. */
static guint
list_places(KvgSpool *spool, KvgSpoolPlace failed, KvgSpoolPlace places[KVG_SPOOL_N_PLACES])
{
    const bool takes[KVG_SPOOL_N_PLACES] = {
        [KVG_SPOOL_IN_MEMORY] = spool->tier != KVG_SPOOL_TIER_DISK,
        [KVG_SPOOL_ON_DISK] = spool->tier != KVG_SPOOL_TIER_MEMORY};
    guint n = 0;
    for (KvgSpoolPlace place = 0; place < KVG_SPOOL_N_PLACES; place++) {
        if (takes[place] && spool->paths[place] != NULL)
            places[n++] = place;
    }
    if (n == 2 && failed == places[0]) {
        places[0] = places[1];
        places[1] = failed;
    }
    return n;
}

static bool
start_segment(KvgSpool *spool, KvgSpoolPlace failed, uint32_t salt, GError **error)
{
    KvgSpoolPlace places[KVG_SPOOL_N_PLACES];
    int codes[KVG_SPOOL_N_PLACES] = {0};
    const guint n = list_places(spool, failed, places);
    for (guint i = 0; i < n; i++) {
        codes[i] = create_segment(spool, places[i], salt);
        if (codes[i] == 0)
            return true;
        kvg_spool_note_trouble(spool, places[i], kvg_spool_judge(codes[i]), codes[i]);
    }
    /* Video is given up only where there is nowhere else to go. */
    for (guint i = 0; i < n; i++) {
        while (kvg_spool_judge(codes[i]) == KVG_SPOOL_FULL && free_space(spool, places[i])) {
            codes[i] = create_segment(spool, places[i], salt);
            if (codes[i] == 0)
                return true;
        }
    }
    return kvg_spool_fail(error, n > 0 ? codes[n - 1] : ENOENT, spool->name,
                          "begin a segment of spool");
}

static bool
has_vanished(KvgSpool *spool)
{
    struct stat by_name, by_fd;
    g_autofree char *path =
        kvg_spool_segment_path(spool, spool->writer.place, spool->writer.segment);
    const bool is_there = stat(path, &by_name) == 0 && fstat(spool->writer.file->fd, &by_fd) == 0 &&
                          by_name.st_ino == by_fd.st_ino && by_name.st_dev == by_fd.st_dev;
    if (!is_there)
        kvg_spool_note_trouble(spool, spool->writer.place, KVG_SPOOL_VANISHED, ENOENT);
    return !is_there;
}

/* Whether the segment in use cannot take another fragment. */
static bool
needs_new_segment(KvgSpool *spool)
{
    if (spool->writer.file == NULL || spool->writer.offset >= spool->segment_bytes)
        return true;
    const int64_t now_us = spool->system->mono_us();
    pthread_mutex_lock(&spool->lock);
    const KvgSpoolSegment *segment = kvg_spool_segment(spool, spool->writer.segment);
    /* In memory a segment is soon needed no more, or moved: it must not grow old. */
    const int64_t most_us =
        spool->has_queue && segment->n_wanted == 0 ? spool->held_open_us : spool->move_after_us / 2;
    const bool is_old =
        spool->tier != KVG_SPOOL_TIER_DISK && now_us - segment->opened_us >= most_us;
    const bool is_wanted = spool->shared.wants_new_segment;
    pthread_mutex_unlock(&spool->lock);
    return is_old || is_wanted || has_vanished(spool);
}

bool
kvg_spool_prepare_segment(KvgSpool *spool, GError **error)
{
    if (!needs_new_segment(spool))
        return true;
    kvg_spool_leave_segment(spool);
    return start_segment(spool, KVG_SPOOL_N_PLACES, g_random_int(), error);
}

/* ---- carrying the open fragment over to a new segment ---- */

/* Copies what the fragment has so far, BEGIN included, behind the writer's end. */
static bool
copy_fragment(KvgSpool *spool, const KvgSpoolFragment *fragment, int from)
{
    const uint64_t start = fragment->start - KVG_RECORD_HEAD_BYTES;
    g_autofree uint8_t *piece = g_malloc(COPY_BYTES);
    for (uint64_t at = start; at < fragment->end;) {
        const size_t want = (size_t)MIN(COPY_BYTES, fragment->end - at);
        const ssize_t n = pread(from, piece, want, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        struct iovec part = {.iov_base = piece, .iov_len = (size_t)n};
        if (kvg_spool_write_at(spool, spool->writer.file->fd, &part, 1,
                               spool->writer.offset + (at - start)) != 0)
            return false;
        at += (uint64_t)n;
    }
    return true;
}

/* The index follows: the fragment now lies at the writer's end. */
static void
relocate_fragment(KvgSpool *spool, const KvgSpoolFragment *before)
{
    const uint64_t len = KVG_RECORD_HEAD_BYTES + before->end - before->start;
    pthread_mutex_lock(&spool->lock);
    KvgSpoolFragment *fragment = kvg_spool_open_fragment(spool);
    KvgSpoolSegment *old = kvg_spool_segment(spool, fragment->segment);
    KvgSpoolSegment *new = kvg_spool_segment(spool, spool->writer.segment);
    old->n_fragments--;
    new->n_fragments++;
    old->n_wanted -= fragment->place != 0;
    new->n_wanted += fragment->place != 0;
    new->size += len;
    spool->shared.bytes_in[new->place] += len;
    fragment->segment = new->sequence;
    fragment->start = spool->writer.offset + KVG_RECORD_HEAD_BYTES;
    fragment->end = spool->writer.offset + len;
    kvg_spool_sweep(spool);
    pthread_mutex_unlock(&spool->lock);
    spool->writer.offset += len;
}

/* The segment in use cannot take a record of @kind: what that needs before it goes into a new
 * segment. On failure the fragment stays as long as it is, and takes no more. */
static bool
carry_over(KvgSpool *spool, KvgRecordKind kind, GError **error)
{
    g_autoptr(KvgSpoolFile) old = kvg_spool_file_ref(spool->writer.file);
    const KvgSpoolPlace failed = spool->writer.place;
    kvg_spool_leave_segment(spool);
    if (!start_segment(spool, failed, spool->writer.salt, error))
        return false;
    if (kind == KVG_RECORD_TRACKS)
        return true;
    if (!kvg_spool_write_tracks(spool, error))
        return false;
    if (kind == KVG_RECORD_BEGIN)
        return true;
    pthread_mutex_lock(&spool->lock);
    const KvgSpoolFragment fragment = *kvg_spool_open_fragment(spool);
    pthread_mutex_unlock(&spool->lock);
    if (!copy_fragment(spool, &fragment, old->fd)) {
        kvg_spool_leave_segment(spool);
        g_set_error(error, KVG_ERROR, KVG_ERROR_FAILED,
                    "spool %s: the fragment cannot be carried over to another segment",
                    spool->name);
        return false;
    }
    relocate_fragment(spool, &fragment);
    return true;
}

/* ---- records ---- */

/* Room for @len bytes within the limit: the oldest go. */
static bool
make_room(KvgSpool *spool, size_t len, GError **error)
{
    pthread_mutex_lock(&spool->lock);
    const uint64_t before = spool->shared.evicted_fragments;
    const uint64_t *bytes_in = spool->shared.bytes_in;
    bool fits = true;
    while (fits &&
           bytes_in[KVG_SPOOL_IN_MEMORY] + bytes_in[KVG_SPOOL_ON_DISK] + len > spool->limit_bytes)
        fits = kvg_spool_evict(spool, KVG_SPOOL_N_PLACES);
    const uint64_t n = spool->shared.evicted_fragments - before;
    const bool is_late = spool->shared.doomed->len > MAX_DOOMED;
    spool->shared.failures[KVG_SPOOL_FULL] += !fits;
    pthread_mutex_unlock(&spool->lock);
    kvg_spool_say_evicted(spool, n, "its limit is reached");
    if (is_late)
        kvg_spool_delete_doomed(spool);
    else if (n > 0)
        kvg_keeper_wake(spool);
    if (!fits)
        g_set_error(error, KVG_ERROR, KVG_ERROR_NO_SPACE,
                    "spool %s: no room within its limit of %" G_GUINT64_FORMAT
                    " bytes; raise the limit",
                    spool->name, spool->limit_bytes);
    return fits;
}

/* Tier auto: the keeper has not moved enough out of memory. The disk takes the fragment, or what is
 * oldest in memory goes. */
static bool
leave_memory(KvgSpool *spool, KvgRecordKind kind, size_t len, GError **error)
{
    kvg_keeper_wake(spool);
    pthread_mutex_lock(&spool->lock);
    const bool is_disk_fine = spool->paths[KVG_SPOOL_ON_DISK] != NULL &&
                              spool->shared.trouble[KVG_SPOOL_ON_DISK] == KVG_SPOOL_FINE;
    pthread_mutex_unlock(&spool->lock);
    if (is_disk_fine)
        return carry_over(spool, kind, error);
    while (is_over_memory_limit(spool, len) && free_space(spool, KVG_SPOOL_IN_MEMORY))
        continue;
    return !is_over_memory_limit(spool, len) || carry_over(spool, kind, error);
}

/* 0 or errno; nothing is left behind the writer's end. */
static int
write_record(KvgSpool *spool, KvgRecord *record, const void *payload)
{
    uint8_t head[KVG_RECORD_HEAD_BYTES];
    record->salt = spool->writer.salt;
    kvg_record_write_head(record, head);
    static const uint8_t end[KVG_SEGMENT_END_BYTES];
    struct iovec parts[3] = {
        {.iov_base = head, .iov_len = sizeof head},
        {.iov_base = (void *)(uintptr_t)payload, .iov_len = record->payload_len},
        {.iov_base = (void *)(uintptr_t)end, .iov_len = sizeof end}};
    const int fd = spool->writer.file->fd;
    const int n_parts = spool->writer.is_reused ? 3 : 2;
    const int code = kvg_spool_write_at(spool, fd, parts, n_parts, spool->writer.offset);
    if (code == 0)
        return 0;
    if (ftruncate(fd, (off_t)spool->writer.offset) < 0)
        KVG_LOG_DEBUG(KVG_SPOOL_LOG, "SPOOL", spool->name, "spool %s: cannot cut: %s", spool->name,
                      g_strerror(errno));
    return code;
}

/* After a failed write: sees to it that another try makes sense. @tries counts new segments. */
static bool
go_on_after(KvgSpool *spool, KvgRecordKind kind, int code, unsigned *tries, GError **error)
{
    const KvgSpoolPlace place = spool->writer.place;
    const KvgSpoolTrouble trouble = kvg_spool_judge(code);
    kvg_spool_note_trouble(spool, place, trouble, code);
    const bool has_disk =
        spool->tier == KVG_SPOOL_TIER_AUTO && spool->paths[KVG_SPOOL_ON_DISK] != NULL;
    if (trouble == KVG_SPOOL_FULL && (place == KVG_SPOOL_ON_DISK || !has_disk)) {
        if (free_space(spool, place))
            return true;
        if (spool->tier != KVG_SPOOL_TIER_AUTO)
            return kvg_spool_fail(error, code, spool->name, "write to spool");
    }
    if (++*tries == MAX_TRIES)
        return kvg_spool_fail(error, code, spool->name, "write to spool");
    return carry_over(spool, kind, error);
}

bool
kvg_spool_append(KvgSpool *spool, KvgRecord *record, const void *payload, GError **error)
{
    const size_t len = KVG_RECORD_HEAD_BYTES + record->payload_len;
    record->payload_crc = kvg_crc32c(0, payload, record->payload_len);
    if (spool->writer.file == NULL) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_FAILED,
                    "spool %s: the fragment was broken off by a failed write", spool->name);
        return false;
    }
    if (!make_room(spool, len, error))
        return false;
    if (spool->writer.place == KVG_SPOOL_IN_MEMORY && is_over_memory_limit(spool, len) &&
        !leave_memory(spool, record->kind, len, error))
        return false;
    unsigned tries = 0;
    int code;
    while ((code = write_record(spool, record, payload)) != 0) {
        if (!go_on_after(spool, record->kind, code, &tries, error))
            return false;
    }
    spool->writer.offset += len;
    const KvgSpoolPlace place = spool->writer.place;
    pthread_mutex_lock(&spool->lock);
    spool->shared.bytes_in[place] += len;
    kvg_spool_segment(spool, spool->writer.segment)->size += len;
    const bool was_in_trouble = spool->shared.trouble[place] != KVG_SPOOL_FINE;
    pthread_mutex_unlock(&spool->lock);
    if (was_in_trouble)
        kvg_spool_clear_trouble(spool, place, false);
    return true;
}

bool
kvg_spool_write_tracks(KvgSpool *spool, GError **error)
{
    if (spool->writer.written_tracks != NULL &&
        g_bytes_equal(spool->writer.tracks, spool->writer.written_tracks))
        return true;
    size_t len;
    const void *payload = g_bytes_get_data(spool->writer.tracks, &len);
    KvgRecord record = {.kind = KVG_RECORD_TRACKS, .payload_len = (uint32_t)len};
    if (!kvg_spool_append(spool, &record, payload, error))
        return false;
    g_clear_pointer(&spool->writer.written_tracks, g_bytes_unref);
    spool->writer.written_tracks = g_bytes_ref(spool->writer.tracks);
    return true;
}
