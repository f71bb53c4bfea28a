/* Group commit: the writer takes everything that waits, writes it, syncs once, enters it into the
 * index and calls back. Opening completes the index from the log's tail. */
#include "server/store/store.h"
#include "os/log.h"
#include "server/store/index.h"
#include "server/store/log.h"
#include <errno.h>
#include <fcntl.h>
#include <kvg/error.h>
#include <pthread.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define LOG_DOMAIN "server-store"
#define DEFAULT_SEGMENT_BYTES (256ull * 1024 * 1024)
#define DEFAULT_RESERVE_BYTES (256ull * 1024 * 1024)
#define MAX_QUEUED_BYTES (256ull * 1024 * 1024)
#define MAX_BATCH_BYTES (64ull * 1024 * 1024)
#define RECOVER_BATCH 1024
#define EXPIRE_BATCH 512
#define FORMAT "1\n"

/* A fragment that waits. */
typedef struct {
    KvgFragment fragment;
    char *stream_arn;
    KvgStoreDone done;
    void *user_data;
    GError *error; /* of this fragment alone */
} Item;

struct _KvgStore {
    char *log_path;
    uint64_t segment_bytes, reserve_bytes;
    KvgFd lock_fd;
    KvgStoreIndex *index;
    KvgVault *vault;
    pthread_t thread;
    bool has_thread;
    pthread_mutex_t expire_lock; /* one expiry at a time; taken before `lock` */

    struct {      /* the writer's thread */
        KvgFd fd; /* KVG_FD_NONE: the next batch begins a segment */
        KvgLogPosition at;
    } writer;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct {
        GQueue waiting; /* Item */
        uint64_t queued_bytes;
        uint64_t first_busy; /* no segment from here on may be deleted */
        bool stop;
    } shared;
};

static bool
fail_errno(GError **error, const char *path, const char *what)
{
    const int code = errno;
    g_set_error(error, KVG_ERROR,
                code == ENOSPC || code == EDQUOT ? KVG_ERROR_NO_SPACE : KVG_ERROR_FAILED,
                "video store: cannot %s %s: %s", what, path, g_strerror(code));
    return false;
}

/* ---- writing ---- */

static void
item_free(Item *item)
{
    g_bytes_unref(item->fragment.header);
    g_bytes_unref(item->fragment.media);
    g_clear_error(&item->error);
    g_free(item->stream_arn);
    g_free(item);
}

static uint64_t
item_bytes(const Item *item)
{
    return g_bytes_get_size(item->fragment.header) + g_bytes_get_size(item->fragment.media);
}

static bool
check_space(const KvgStore *store, GError **error)
{
    struct statvfs disk;
    if (statvfs(store->log_path, &disk) < 0)
        return fail_errno(error, store->log_path, "look at");
    const uint64_t free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
    if (free_bytes >= store->reserve_bytes)
        return true;
    g_set_error(error, KVG_ERROR, KVG_ERROR_NO_SPACE,
                "video store: the disk of %s has only %" G_GUINT64_FORMAT
                " MiB free; make room or shorten the retention",
                store->log_path, free_bytes >> 20);
    return false;
}

static bool
sync_segment(KvgStore *store, GError **error)
{
    if (fdatasync(store->writer.fd) == 0)
        return true;
    fail_errno(error, store->log_path, "sync");
    /* What the kernel still holds of this file cannot be trusted any more. */
    kvg_fd_clear(&store->writer.fd);
    return false;
}

static bool
start_segment(KvgStore *store, GError **error)
{
    if (store->writer.fd >= 0 && !sync_segment(store, error))
        return false;
    kvg_fd_clear(&store->writer.fd);
    const uint64_t sequence = store->writer.at.segment + 1;
    g_autofree char *path = kvg_log_path(store->log_path, sequence);
    g_auto(KvgFd) fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail_errno(error, path, "create");
    if (!kvg_dir_sync(store->log_path, error)) {
        unlink(path);
        return false;
    }
    store->writer.fd = kvg_fd_steal(&fd);
    store->writer.at = (KvgLogPosition){.segment = sequence};
    return true;
}

static bool
write_item(KvgStore *store, const Item *item, GArray *records, GError **error)
{
    if ((store->writer.fd < 0 || store->writer.at.offset >= store->segment_bytes) &&
        !start_segment(store, error))
        return false;
    g_auto(KvgLogRecord) record = {0};
    if (!kvg_log_write(store->writer.fd, store->vault, store->writer.at.offset, &item->fragment,
                       &record, error))
        return false;
    record.at.segment = store->writer.at.segment;
    store->writer.at.offset = kvg_log_record_end(&record);
    g_array_append_val(records, record);
    record = (KvgLogRecord){0};
    return true;
}

/* Takes back what was written since @mark, which nobody was told of. */
static void
roll_back(KvgStore *store, KvgLogPosition mark)
{
    if (store->writer.fd < 0 || store->writer.at.segment != mark.segment)
        return; /* other segments are left to the next open */
    store->writer.at = mark;
    if (ftruncate(store->writer.fd, (off_t)mark.offset) < 0)
        kvg_fd_clear(&store->writer.fd);
}

/* Writes, syncs and indexes a batch. False: none of it is stored. Items with an error of their own
 * are left out. */
static bool
store_batch(KvgStore *store, GQueue *batch, GError **error)
{
    g_autoptr(GArray) records = g_array_new(FALSE, FALSE, sizeof(KvgLogRecord));
    g_array_set_clear_func(records, kvg_log_record_destroy);
    const KvgLogPosition mark = store->writer.at;
    bool ok = check_space(store, error);
    for (GList *at = batch->head; ok && at != NULL; at = at->next) {
        Item *item = at->data;
        g_autoptr(GError) cause = NULL;
        if (write_item(store, item, records, &cause))
            continue;
        if (g_error_matches(cause, KVG_ERROR, KVG_ERROR_INVALID)) {
            item->error = g_steal_pointer(&cause);
            continue;
        }
        g_propagate_error(error, g_steal_pointer(&cause));
        ok = false;
    }
    ok = ok && (records->len == 0 ||
                (sync_segment(store, error) &&
                 kvg_store_index_add(store->index, records, store->writer.at, error)));
    if (!ok)
        roll_back(store, mark);
    return ok;
}

static void
finish_batch(GQueue *batch, const GError *error)
{
    Item *item;
    while ((item = g_queue_pop_head(batch)) != NULL) {
        if (item->done != NULL)
            item->done(item->error != NULL ? item->error : error, item->user_data);
        item_free(item);
    }
}

/* Waits; false when the store is closing and nothing is left. */
static bool
take_batch(KvgStore *store, GQueue *batch)
{
    pthread_mutex_lock(&store->lock);
    while (g_queue_is_empty(&store->shared.waiting) && !store->shared.stop)
        pthread_cond_wait(&store->changed, &store->lock);
    store->shared.first_busy = store->writer.at.segment;
    uint64_t bytes = 0;
    while (!g_queue_is_empty(&store->shared.waiting) && bytes < MAX_BATCH_BYTES) {
        Item *item = g_queue_pop_head(&store->shared.waiting);
        bytes += item_bytes(item);
        g_queue_push_tail(batch, item);
    }
    store->shared.queued_bytes -= bytes;
    pthread_cond_broadcast(&store->changed);
    pthread_mutex_unlock(&store->lock);
    return !g_queue_is_empty(batch);
}

static void *
run_writer(void *data)
{
    KvgStore *store = data;
    GQueue batch = G_QUEUE_INIT;
    bool was_bad = false;
    while (take_batch(store, &batch)) {
        g_autoptr(GError) error = NULL;
        const bool ok = store_batch(store, &batch, &error);
        if (!ok && !was_bad)
            KVG_LOG_WARNING(LOG_DOMAIN, "PATH", store->log_path, "%s; new video is refused",
                            error->message);
        if (ok && was_bad)
            KVG_LOG_MESSAGE(LOG_DOMAIN, "PATH", store->log_path, "video store: storing again");
        was_bad = !ok;
        finish_batch(&batch, error);
    }
    return NULL;
}

void
kvg_store_append(KvgStore *store, const KvgFragment *fragment, KvgStoreDone done, void *user_data)
{
    Item *item = g_new0(Item, 1);
    item->stream_arn = g_strdup(fragment->stream_arn);
    item->fragment = (KvgFragment){.stream_arn = item->stream_arn,
                                   .info = fragment->info,
                                   .header = g_bytes_ref(fragment->header),
                                   .media = g_bytes_ref(fragment->media)};
    item->done = done;
    item->user_data = user_data;
    pthread_mutex_lock(&store->lock);
    while (store->shared.queued_bytes >= MAX_QUEUED_BYTES)
        pthread_cond_wait(&store->changed, &store->lock);
    store->shared.queued_bytes += item_bytes(item);
    g_queue_push_tail(&store->shared.waiting, item);
    pthread_cond_broadcast(&store->changed);
    pthread_mutex_unlock(&store->lock);
}

/* ---- recovery ---- */

typedef struct {
    KvgStore *store;
    int fd;
    uint64_t segment, size;
    bool checks_payloads;
    GArray *found; /* KvgLogRecord, not yet in the index */
    unsigned n_damaged;
} Scan;

static bool
flush_found(Scan *scan, uint64_t offset, GError **error)
{
    const KvgLogPosition position = {.segment = scan->segment, .offset = offset};
    if (!kvg_store_index_add(scan->store->index, scan->found, position, error))
        return false;
    g_array_set_size(scan->found, 0);
    return true;
}

/* Enters every whole record from @offset on; *@end is where the last one ends. */
static bool
scan_segment(Scan *scan, uint64_t offset, uint64_t *end, GError **error)
{
    *end = offset;
    while (offset < scan->size) {
        KvgLogRecord record = {0};
        if (!kvg_log_read_head(scan->fd, offset, scan->size, &record)) {
            scan->n_damaged++;
            offset = kvg_log_resync(scan->fd, offset + 1, scan->size);
            continue;
        }
        record.at.segment = scan->segment;
        const bool is_whole =
            record.is_dead || !scan->checks_payloads || kvg_log_payload_is_whole(scan->fd, &record);
        offset = kvg_log_record_end(&record);
        if (is_whole)
            *end = offset;
        else
            scan->n_damaged++;
        if (is_whole && !record.is_dead)
            g_array_append_val(scan->found, record);
        else
            kvg_log_record_clear(&record);
        if (scan->found->len >= RECOVER_BATCH && !flush_found(scan, offset, error))
            return false;
    }
    return flush_found(scan, *end, error);
}

static bool
recover_segment(
    KvgStore *store, uint64_t segment, uint64_t offset, bool is_last, bool is_tail, GError **error)
{
    g_autofree char *path = kvg_log_path(store->log_path, segment);
    g_auto(KvgFd) fd = open(path, O_RDWR | O_CLOEXEC);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) < 0)
        return fail_errno(error, path, "open");
    g_autoptr(GArray) found = g_array_new(FALSE, FALSE, sizeof(KvgLogRecord));
    g_array_set_clear_func(found, kvg_log_record_destroy);
    Scan scan = {.store = store,
                 .fd = fd,
                 .segment = segment,
                 .size = (uint64_t)info.st_size,
                 .checks_payloads = is_tail,
                 .found = found};
    uint64_t end;
    if (!scan_segment(&scan, offset, &end, error))
        return false;
    if (scan.n_damaged > 0)
        KVG_LOG_WARNING(LOG_DOMAIN, "PATH", path, "%s: %u damaged records left out", path,
                        scan.n_damaged);
    if (!is_last)
        return true;
    if (end < scan.size && ftruncate(fd, (off_t)end) < 0)
        return fail_errno(error, path, "cut the torn end of");
    store->writer.fd = kvg_fd_steal(&fd);
    store->writer.at = (KvgLogPosition){.segment = segment, .offset = end};
    return true;
}

/* Whether the index can be completed from its own position; otherwise it is emptied. */
static KvgLogPosition
trusted_position(KvgStore *store, const GArray *segments)
{
    const KvgLogPosition position = kvg_store_index_position(store->index);
    for (guint i = 0; position.segment != 0 && i < segments->len; i++) {
        if (g_array_index(segments, uint64_t, i) != position.segment)
            continue;
        g_autofree char *path = kvg_log_path(store->log_path, position.segment);
        struct stat info;
        if (stat(path, &info) == 0 && (uint64_t)info.st_size >= position.offset)
            return position;
    }
    if (position.segment != 0)
        KVG_LOG_WARNING(LOG_DOMAIN, "PATH", store->log_path,
                        "%s: the index knows of video that is not there; made again from the log",
                        store->log_path);
    kvg_store_index_forget(store->index);
    return (KvgLogPosition){0};
}

static bool
recover(KvgStore *store, bool is_suspicious, GError **error)
{
    if (is_suspicious)
        kvg_store_index_forget(store->index);
    g_autoptr(GArray) segments = kvg_log_list(store->log_path, error);
    if (segments == NULL)
        return false;
    const KvgLogPosition from = trusted_position(store, segments);
    for (guint i = 0; i < segments->len; i++) {
        const uint64_t segment = g_array_index(segments, uint64_t, i);
        const bool is_last = i + 1 == segments->len;
        if (segment < from.segment)
            continue;
        /* Only what was written last can be torn; reading all video again would take hours. */
        const bool is_tail = is_suspicious || from.segment != 0 || i + 2 >= segments->len;
        const uint64_t offset = segment == from.segment ? from.offset : 0;
        if (!recover_segment(store, segment, offset, is_last, is_tail, error))
            return false;
    }
    return true;
}

/* ---- expiry ---- */

static void
delete_unused_segments(KvgStore *store)
{
    g_autoptr(GArray) segments = kvg_log_list(store->log_path, NULL);
    pthread_mutex_lock(&store->lock);
    const uint64_t first_busy = store->shared.first_busy;
    pthread_mutex_unlock(&store->lock);
    for (guint i = 0; segments != NULL && i < segments->len; i++) {
        const uint64_t segment = g_array_index(segments, uint64_t, i);
        if (segment >= first_busy || kvg_store_index_uses(store->index, segment))
            continue;
        g_autofree char *path = kvg_log_path(store->log_path, segment);
        unlink(path);
    }
}

static bool
kill_records(KvgStore *store, const GArray *records, GError **error)
{
    g_auto(KvgFd) fd = KVG_FD_NONE;
    uint64_t segment = 0;
    for (guint i = 0; i < records->len; i++) {
        const KvgLogRecord *record = &g_array_index(records, KvgLogRecord, i);
        if (fd < 0 || record->at.segment != segment) {
            kvg_fd_clear(&fd);
            segment = record->at.segment;
            g_autofree char *path = kvg_log_path(store->log_path, segment);
            fd = open(path, O_RDWR | O_CLOEXEC);
            if (fd < 0)
                return fail_errno(error, path, "open");
        }
        if (!kvg_log_kill(fd, record, error))
            return false;
    }
    return true;
}

bool
kvg_store_expire(KvgStore *store, const char *stream_arn, int64_t before_ms, GError **error)
{
    bool ok = true;
    bool has_more = true;
    bool has_any = false;
    pthread_mutex_lock(&store->expire_lock);
    while (ok && has_more) {
        g_autoptr(GArray) taken =
            kvg_store_index_take_expired(store->index, stream_arn, before_ms, EXPIRE_BATCH, error);
        ok = taken != NULL && kill_records(store, taken, error);
        has_more = taken != NULL && taken->len == EXPIRE_BATCH;
        has_any = has_any || (taken != NULL && taken->len > 0);
    }
    if (has_any)
        delete_unused_segments(store);
    pthread_mutex_unlock(&store->expire_lock);
    return ok;
}

/* ---- reading ---- */

GArray *
kvg_store_list(KvgStore *store,
               const char *stream_arn,
               KvgStoreOrder order,
               int64_t from_ms,
               int64_t to_ms,
               size_t max,
               bool newest,
               GError **error)
{
    return kvg_store_index_list(store->index, stream_arn, order, from_ms, to_ms, max, newest,
                                error);
}

GArray *
kvg_store_list_after(KvgStore *store,
                     const char *stream_arn,
                     KvgStoreOrder order,
                     int64_t from_ms,
                     int64_t to_ms,
                     const char *after,
                     size_t max,
                     GError **error)
{
    return kvg_store_index_list_after(store->index, stream_arn, order, from_ms, to_ms, after, max,
                                      error);
}

bool
kvg_store_find(KvgStore *store,
               const char *stream_arn,
               const char *number,
               KvgFragmentInfo *info,
               GError **error)
{
    g_auto(KvgLogRecord) record = {0};
    if (kvg_store_index_find(store->index, stream_arn, number, &record)) {
        *info = record.info;
        return true;
    }
    g_set_error(error, KVG_ERROR, KVG_ERROR_NOT_FOUND, "no fragment %s in %s", number, stream_arn);
    return false;
}

bool
kvg_store_read(KvgStore *store,
               const char *stream_arn,
               const char *number,
               GBytes **header,
               GBytes **media,
               GError **error)
{
    g_auto(KvgLogRecord) record = {0};
    g_auto(KvgFd) fd = KVG_FD_NONE;
    if (kvg_store_index_find(store->index, stream_arn, number, &record)) {
        g_autofree char *path = kvg_log_path(store->log_path, record.at.segment);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 && errno != ENOENT)
            return fail_errno(error, path, "open");
    }
    if (fd < 0) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_NOT_FOUND, "no fragment %s in %s", number,
                    stream_arn);
        return false;
    }
    return kvg_log_read_payload(fd, store->vault, &record, header, media, error);
}

/* ---- open and close ---- */

static bool
lock_folder(KvgStore *store, const char *folder, GError **error)
{
    g_autofree char *path = g_build_filename(folder, "lock", NULL);
    store->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (store->lock_fd < 0)
        return fail_errno(error, path, "open");
    if (flock(store->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return true;
    g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "%s is in use by another process", folder);
    return false;
}

/* PATH/format names the version of all that lies there; it is written after the master key was
 * made, so where it stands the key must be, too. */
static bool
open_vault(KvgStore *store, const KvgStoreOptions *options, GError **error)
{
    g_autofree char *format_path = g_build_filename(options->path, "format", NULL);
    g_autofree char *key_path = options->master_key_path != NULL
                                    ? g_strdup(options->master_key_path)
                                    : g_build_filename(options->path, "master.key", NULL);
    const bool is_new = !g_file_test(format_path, G_FILE_TEST_EXISTS);
    size_t len;
    g_autofree char *format = is_new ? NULL : kvg_file_read(format_path, 16, &len, error);
    if (!is_new && format == NULL)
        return false;
    if (!is_new && strcmp(format, FORMAT) != 0) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_UNSUPPORTED,
                    "%s: the video there is of format %s, this program knows format %d",
                    options->path, g_strstrip(format), atoi(FORMAT));
        return false;
    }
    store->vault = kvg_vault_open(key_path, is_new, error);
    return store->vault != NULL &&
           (!is_new || kvg_file_replace(format_path, FORMAT, strlen(FORMAT), 0600, error));
}

KvgStore *
kvg_store_open(const KvgStoreOptions *options, GError **error)
{
    g_return_val_if_fail(options != NULL && options->path != NULL, NULL);
    g_autoptr(KvgStore) store = g_new0(KvgStore, 1);
    store->lock_fd = store->writer.fd = KVG_FD_NONE;
    store->segment_bytes =
        options->segment_bytes != 0 ? options->segment_bytes : DEFAULT_SEGMENT_BYTES;
    store->reserve_bytes =
        options->reserve_bytes != 0 ? options->reserve_bytes : DEFAULT_RESERVE_BYTES;
    store->log_path = g_build_filename(options->path, "log", NULL);
    pthread_mutex_init(&store->lock, NULL);
    pthread_mutex_init(&store->expire_lock, NULL);
    pthread_cond_init(&store->changed, NULL);
    g_autofree char *index = g_build_filename(options->path, "index.db", NULL);
    if (!kvg_dir_make(options->path, 0700, error) || !kvg_dir_make(store->log_path, 0700, error) ||
        !lock_folder(store, options->path, error) || !open_vault(store, options, error) ||
        (store->index = kvg_store_index_open(index, error)) == NULL ||
        !recover(store, options->is_suspicious, error))
        return NULL;
    store->shared.first_busy = store->writer.at.segment;
    delete_unused_segments(store);
    const int status = pthread_create(&store->thread, NULL, run_writer, store);
    store->has_thread = status == 0;
    if (store->has_thread)
        return g_steal_pointer(&store);
    errno = status;
    fail_errno(error, options->path, "start the writer of");
    return NULL;
}

void
kvg_store_close(KvgStore *store)
{
    if (store == NULL)
        return;
    pthread_mutex_lock(&store->lock);
    store->shared.stop = true;
    pthread_cond_broadcast(&store->changed);
    pthread_mutex_unlock(&store->lock);
    if (store->has_thread)
        pthread_join(store->thread, NULL);
    kvg_store_index_close(store->index);
    kvg_vault_close(store->vault);
    kvg_fd_clear(&store->writer.fd);
    kvg_fd_clear(&store->lock_fd);
    pthread_cond_destroy(&store->changed);
    pthread_mutex_destroy(&store->lock);
    pthread_mutex_destroy(&store->expire_lock);
    g_free(store->log_path);
    g_free(store);
}
