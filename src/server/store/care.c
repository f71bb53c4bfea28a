#include "server/store/care.h"

#include "os/file.h"
#include "server/store/index.h"
#include "server/store/log.h"
#include <errno.h>
#include <fcntl.h>
#include <kvg/error.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define COPY_BYTES (1024u * 1024)
/* A segment of which less than this part is alive is worth writing anew. */
#define COMPACT_PERCENT 50

typedef struct {
    char *folder, *log_path;
    KvgFd lock;
    KvgVault *vault;
    KvgStoreIndex *index;
    bool has_index; /* false: it is yet to be made from the log, so nothing can be amiss with it */
    GArray *segments;
    KvgStoreSay say;
    void *user_data;
} Care;

static void
care_clear(Care *care)
{
    kvg_store_index_close(care->index);
    kvg_vault_close(care->vault);
    kvg_fd_clear(&care->lock);
    g_clear_pointer(&care->segments, g_array_unref);
    g_free(care->log_path);
    g_free(care->folder);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Care, care_clear)

static bool
fail_errno(GError **error, const char *path, const char *what)
{
    g_set_error(error, KVG_ERROR, errno == ENOSPC ? KVG_ERROR_NO_SPACE : KVG_ERROR_FAILED,
                "video store: cannot %s %s: %s", what, path, g_strerror(errno));
    return false;
}

G_GNUC_PRINTF(2, 3)
static void
say(const Care *care, const char *format, ...)
{
    if (care->say == NULL)
        return;
    va_list args;
    va_start(args, format);
    g_autofree char *line = g_strdup_vprintf(format, args);
    va_end(args);
    care->say(line, care->user_data);
}

static char *
key_path_of(const KvgStoreOptions *options)
{
    return options->master_key_path != NULL ? g_strdup(options->master_key_path)
                                            : g_build_filename(options->path, "master.key", NULL);
}

static bool
care_open(Care *care, const KvgStoreOptions *options, GError **error)
{
    g_autofree char *lock = g_build_filename(options->path, "lock", NULL);
    g_autofree char *index = g_build_filename(options->path, "index.db", NULL);
    g_autofree char *key = key_path_of(options);
    care->folder = g_strdup(options->path);
    care->log_path = g_build_filename(options->path, "log", NULL);
    care->lock = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (care->lock < 0)
        return fail_errno(error, lock, "open");
    if (flock(care->lock, LOCK_EX | LOCK_NB) < 0) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID,
                    "%s is in use; stop the server first (--backup works beside it)",
                    options->path);
        return false;
    }
    care->has_index = g_file_test(index, G_FILE_TEST_EXISTS);
    care->vault = kvg_vault_open(key, false, error);
    care->index = care->vault != NULL ? kvg_store_index_open(index, error) : NULL;
    care->segments = care->index != NULL ? kvg_log_list(care->log_path, error) : NULL;
    return care->segments != NULL;
}

static bool
open_segment(
    const Care *care, uint64_t segment, int flags, KvgFd *fd, uint64_t *size, GError **error)
{
    g_autofree char *path = kvg_log_path(care->log_path, segment);
    struct stat info;
    *fd = open(path, flags | O_CLOEXEC);
    if (*fd < 0 || fstat(*fd, &info) < 0)
        return fail_errno(error, path, "open");
    *size = (uint64_t)info.st_size;
    return true;
}

/* ---- check ---- */

static bool
is_listed_here(const Care *care, const KvgLogRecord *record)
{
    g_auto(KvgLogRecord) found = {0};
    return kvg_store_index_find(care->index, record->stream_arn, record->info.number, &found) &&
           found.at.segment == record->at.segment && found.at.offset == record->at.offset;
}

static void
check_record(const Care *care, int fd, const KvgLogRecord *record, KvgStoreCheck *result)
{
    g_autoptr(GBytes) header = NULL;
    g_autoptr(GBytes) media = NULL;
    g_autoptr(GError) problem = NULL;
    result->fragments++;
    result->bytes += record->info.size_bytes;
    if (!kvg_log_read_payload(fd, care->vault, record, &header, &media, &problem)) {
        result->damaged++;
        say(care, "%s: %s", record->stream_arn, problem->message);
    } else if (care->has_index && !is_listed_here(care, record)) {
        result->not_listed++;
        say(care, "%s: fragment %s is not in the index", record->stream_arn, record->info.number);
    }
}

static bool
check_segment(const Care *care, uint64_t segment, KvgStoreCheck *result, GError **error)
{
    g_auto(KvgFd) fd = KVG_FD_NONE;
    uint64_t size;
    if (!open_segment(care, segment, O_RDONLY, &fd, &size, error))
        return false;
    for (uint64_t offset = 0; offset < size;) {
        g_auto(KvgLogRecord) record = {0};
        if (!kvg_log_read_head(fd, offset, size, &record)) {
            const uint64_t next = kvg_log_resync(fd, offset + 1, size);
            result->damaged++;
            say(care,
                "segment %016" G_GINT64_MODIFIER "x: bytes %" G_GUINT64_FORMAT
                " to %" G_GUINT64_FORMAT " are no fragment",
                segment, offset, next);
            offset = next;
            continue;
        }
        record.at.segment = segment;
        offset = kvg_log_record_end(&record);
        if (!record.is_dead)
            check_record(care, fd, &record, result);
    }
    result->segments++;
    return true;
}

bool
kvg_store_check(const KvgStoreOptions *options,
                KvgStoreCheck *result,
                KvgStoreSay say_line,
                void *user_data,
                GError **error)
{
    g_auto(Care) care = {.lock = KVG_FD_NONE, .say = say_line, .user_data = user_data};
    *result = (KvgStoreCheck){0};
    if (!care_open(&care, options, error))
        return false;
    for (guint i = 0; i < care.segments->len; i++) {
        if (!check_segment(&care, g_array_index(care.segments, uint64_t, i), result, error))
            return false;
    }
    /* What is damaged may be listed or not; what is whole and listed was counted. */
    const uint64_t listed = kvg_store_index_count(care.index);
    const uint64_t whole_and_listed = result->fragments - result->damaged - result->not_listed;
    result->not_there = listed > result->fragments - result->not_listed
                            ? listed - (result->fragments - result->not_listed)
                            : 0;
    say(&care,
        "%" G_GUINT64_FORMAT " segments, %" G_GUINT64_FORMAT " fragments, %" G_GUINT64_FORMAT
        " bytes; whole and listed %" G_GUINT64_FORMAT ", damaged %" G_GUINT64_FORMAT
        ", not in the index %" G_GUINT64_FORMAT ", in the index only %" G_GUINT64_FORMAT,
        result->segments, result->fragments, result->bytes, whole_and_listed, result->damaged,
        result->not_listed, result->not_there);
    return true;
}

bool
kvg_store_repair(const KvgStoreOptions *options, GError **error)
{
    KvgStoreOptions anew = *options;
    anew.is_suspicious = true;
    g_autoptr(KvgStore) store = kvg_store_open(&anew, error);
    return store != NULL;
}

/* ---- compact ---- */

/* Copies the bytes of @record, still encrypted, to @at of @to. */
static bool
copy_record(int from, const KvgLogRecord *record, int to, uint64_t at, GError **error)
{
    g_autofree uint8_t *piece = g_malloc(COPY_BYTES);
    const uint64_t end = kvg_log_record_end(record);
    for (uint64_t offset = record->at.offset; offset < end;) {
        const size_t len = (size_t)MIN(COPY_BYTES, end - offset);
        const ssize_t n = pread(from, piece, len, (off_t)offset);
        if (n <= 0 || pwrite(to, piece, (size_t)n, (off_t)at) != n)
            return fail_errno(error, record->info.number, "copy fragment");
        offset += (uint64_t)n;
        at += (uint64_t)n;
    }
    return true;
}

/* The live records of a segment; damaged ones make it one to leave alone. */
static bool
list_live(
    const Care *care, int fd, uint64_t segment, uint64_t size, GArray *live, uint64_t *live_bytes)
{
    *live_bytes = 0;
    for (uint64_t offset = 0; offset < size;) {
        KvgLogRecord record = {0};
        if (!kvg_log_read_head(fd, offset, size, &record))
            return false;
        record.at.segment = segment;
        offset = kvg_log_record_end(&record);
        const bool is_alive = !record.is_dead && is_listed_here(care, &record);
        if (is_alive && !kvg_log_payload_is_whole(fd, &record)) {
            kvg_log_record_clear(&record);
            return false;
        }
        if (!is_alive) {
            kvg_log_record_clear(&record);
            continue;
        }
        *live_bytes += kvg_log_record_end(&record) - record.at.offset;
        g_array_append_val(live, record);
    }
    return true;
}

static bool
move_records(Care *care, int from, GArray *live, uint64_t target, GError **error)
{
    g_autofree char *path = kvg_log_path(care->log_path, target);
    g_auto(KvgFd) to = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    uint64_t at = 0;
    if (to < 0)
        return fail_errno(error, path, "create");
    for (guint i = 0; i < live->len; i++) {
        KvgLogRecord *record = &g_array_index(live, KvgLogRecord, i);
        const uint64_t len = kvg_log_record_end(record) - record->at.offset;
        if (!copy_record(from, record, to, at, error))
            return false;
        record->at = (KvgLogPosition){.segment = target, .offset = at};
        at += len;
    }
    if (fdatasync(to) < 0)
        return fail_errno(error, path, "sync");
    const KvgLogPosition end = {.segment = target, .offset = at};
    return kvg_dir_sync(care->log_path, error) &&
           kvg_store_index_add(care->index, live, end, error);
}

static bool
compact_segment(Care *care, uint64_t segment, uint64_t *next, uint64_t *freed_bytes, GError **error)
{
    g_auto(KvgFd) fd = KVG_FD_NONE;
    uint64_t size, live_bytes;
    g_autoptr(GArray) live = g_array_new(FALSE, FALSE, sizeof(KvgLogRecord));
    g_array_set_clear_func(live, kvg_log_record_destroy);
    if (!open_segment(care, segment, O_RDONLY, &fd, &size, error))
        return false;
    if (!list_live(care, fd, segment, size, live, &live_bytes)) {
        say(care, "segment %016" G_GINT64_MODIFIER "x is damaged and left alone", segment);
        return true;
    }
    if (live_bytes * 100 >= size * COMPACT_PERCENT)
        return true;
    if (live->len > 0 && !move_records(care, fd, live, (*next)++, error))
        return false;
    g_autofree char *path = kvg_log_path(care->log_path, segment);
    if (unlink(path) < 0)
        return fail_errno(error, path, "delete");
    *freed_bytes += size - live_bytes;
    say(care,
        "segment %016" G_GINT64_MODIFIER "x: %u fragments kept, %" G_GUINT64_FORMAT " bytes freed",
        segment, live->len, size - live_bytes);
    return true;
}

bool
kvg_store_compact(const KvgStoreOptions *options,
                  uint64_t *freed_bytes,
                  KvgStoreSay say_line,
                  void *user_data,
                  GError **error)
{
    *freed_bytes = 0;
    {
        /* The index must be complete, or what it lacks would look dead. */
        g_autoptr(KvgStore) store = kvg_store_open(options, error);
        if (store == NULL)
            return false;
    }
    g_auto(Care) care = {.lock = KVG_FD_NONE, .say = say_line, .user_data = user_data};
    if (!care_open(&care, options, error))
        return false;
    const guint n = care.segments->len;
    uint64_t next = n > 0 ? g_array_index(care.segments, uint64_t, n - 1) + 1 : 1;
    for (guint i = 0; i < n; i++) {
        if (!compact_segment(&care, g_array_index(care.segments, uint64_t, i), &next, freed_bytes,
                             error))
            return false;
    }
    return true;
}

/* ---- backup ---- */

static bool
copy_range(int from, int to, off_t start, off_t end, const char *path, GError **error)
{
    while (start < end) {
        off_t in = start, out = start;
        const ssize_t n = copy_file_range(from, &in, to, &out, (size_t)(end - start), 0);
        if (n < 0)
            return fail_errno(error, path, "copy");
        if (n == 0)
            break;
        start += n;
    }
    return true;
}

/* Data where there is data, holes where there are holes. */
static bool
copy_segment(const char *from_path, const char *to_path, GError **error)
{
    g_auto(KvgFd) from = open(from_path, O_RDONLY | O_CLOEXEC);
    struct stat info;
    if (from < 0 && errno == ENOENT)
        return true; /* expired since it was listed */
    if (from < 0 || fstat(from, &info) < 0)
        return fail_errno(error, from_path, "open");
    g_auto(KvgFd) to = open(to_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (to < 0 || ftruncate(to, info.st_size) < 0)
        return fail_errno(error, to_path, "create");
    off_t start = 0;
    while (start < info.st_size && (start = lseek(from, start, SEEK_DATA)) >= 0) {
        const off_t hole = lseek(from, start, SEEK_HOLE);
        const off_t end = hole < 0 ? info.st_size : MIN(hole, info.st_size);
        if (!copy_range(from, to, start, end, to_path, error))
            return false;
        start = end;
    }
    return fsync(to) == 0 || fail_errno(error, to_path, "sync");
}

static bool
copy_small(const char *from, const char *to, GError **error)
{
    size_t len;
    g_autofree char *content = kvg_file_read(from, 4096, &len, error);
    return content != NULL && kvg_file_replace(to, content, len, 0600, error);
}

bool
kvg_store_backup(const KvgStoreOptions *options, const char *to, GError **error)
{
    g_autofree char *from_log = g_build_filename(options->path, "log", NULL);
    g_autofree char *to_log = g_build_filename(to, "log", NULL);
    g_autofree char *from_key = key_path_of(options);
    g_autofree char *to_key = g_build_filename(to, "master.key", NULL);
    g_autofree char *from_format = g_build_filename(options->path, "format", NULL);
    g_autofree char *to_format = g_build_filename(to, "format", NULL);
    g_autoptr(GArray) segments = kvg_log_list(from_log, error);
    if (segments == NULL || !kvg_dir_make(to, 0700, error) || !kvg_dir_make(to_log, 0700, error) ||
        !copy_small(from_key, to_key, error) || !copy_small(from_format, to_format, error))
        return false;
    for (guint i = 0; i < segments->len; i++) {
        const uint64_t segment = g_array_index(segments, uint64_t, i);
        g_autofree char *from_path = kvg_log_path(from_log, segment);
        g_autofree char *to_path = kvg_log_path(to_log, segment);
        if (!copy_segment(from_path, to_path, error))
            return false;
    }
    return kvg_dir_sync(to_log, error) && kvg_dir_sync(to, error);
}
