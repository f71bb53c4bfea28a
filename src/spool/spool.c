/* Opening and closing a spool, and what can be asked of it by any thread. */
#include "spool/spool.h"
#include "os/log.h"
#include "spool/private.h"
#include <errno.h>
#include <fcntl.h>
#include <kvg/error.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define DEFAULT_LIMIT_BYTES (1024ull * 1024 * 1024)
#define DEFAULT_LIMIT_IN_MEMORY (64ull * 1024 * 1024)
#define DEFAULT_MEMORY_LIMIT (32ull * 1024 * 1024)
#define DEFAULT_MOVE_AFTER_MS 5000
#define MAX_SEGMENT_BYTES (16ull * 1024 * 1024)
#define MIN_SEGMENT_BYTES (64ull * 1024)
#define DEFAULT_KEEP_US (INT64_C(24) * 3600 * G_USEC_PER_SEC)
/* Segments of what is held go as a whole; many small ones cost more. */
#define HELD_OPEN_MAX_US (60 * G_USEC_PER_SEC)
/* Of a configured path, one of its own for each spool folder. */
#define MEMORY_FOLDER_DIGITS 16

char *
kvg_spool_memory_folder(const char *root, const char *spool_path, const char *name)
{
    g_autofree char *own = g_strdup_printf("/dev/shm/kvg-%u", (unsigned)geteuid());
    g_autofree char *absolute =
        g_canonicalize_filename(spool_path != NULL ? spool_path : "/", NULL);
    g_autofree char *digest = g_compute_checksum_for_string(G_CHECKSUM_SHA256, absolute, -1);
    digest[MEMORY_FOLDER_DIGITS] = '\0';
    return g_build_filename(root != NULL ? root : own, digest, name, NULL);
}

/* ---- folders ---- */

/* Others may write to /dev/shm: what lies there under our name must be ours, and two levels up. */
static bool
is_own_folder(const char *path, GError **error)
{
    g_autofree char *at = g_strdup(path);
    for (unsigned level = 0; level < 3; level++) {
        struct stat info;
        if (lstat(at, &info) < 0)
            return kvg_spool_fail(error, errno, at, "look at");
        const bool is_ours = info.st_uid == geteuid() || info.st_uid == 0;
        const bool is_closed = (info.st_mode & 022) == 0 || (info.st_mode & S_ISVTX) != 0;
        if (!S_ISDIR(info.st_mode) || !is_ours || (level == 0 && info.st_uid != geteuid()) ||
            !is_closed) {
            g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID,
                        "%s must be a folder of this user that no other may write to", at);
            return false;
        }
        char *parent = g_path_get_dirname(at);
        g_free(at);
        at = parent;
    }
    return true;
}

static bool
make_folder(KvgSpool *spool, KvgSpoolPlace place, GError **error)
{
    if (!kvg_dir_make(spool->paths[place], 0700, error))
        return false;
    return place == KVG_SPOOL_ON_DISK || is_own_folder(spool->paths[place], error);
}

/* A place that cannot be used now, but is not needed at once: the spool does without. */
static void
say_unusable(KvgSpool *spool, KvgSpoolPlace place, const GError *error)
{
    spool->shared.trouble[place] = KVG_SPOOL_WRITE_FAILED;
    spool->shared.failures[KVG_SPOOL_WRITE_FAILED]++;
    KVG_LOG_WARNING(KVG_SPOOL_LOG, "SPOOL", spool->name, "spool %s: goes on without %s: %s",
                    spool->name, place == KVG_SPOOL_ON_DISK ? "disk" : "memory", error->message);
}

/* The tier's folders are made; the other one is used while an earlier run has left something in it.
 */
static bool
make_folders(KvgSpool *spool, GError **error)
{
    unsigned n_made = 0;
    g_autoptr(GError) failed = NULL;
    for (KvgSpoolPlace place = 0; place < KVG_SPOOL_N_PLACES; place++) {
        const KvgSpoolTier other =
            place == KVG_SPOOL_ON_DISK ? KVG_SPOOL_TIER_MEMORY : KVG_SPOOL_TIER_DISK;
        if (spool->paths[place] == NULL)
            continue;
        if (spool->tier == other || spool->is_read_only) {
            if (!g_file_test(spool->paths[place], G_FILE_TEST_IS_DIR) ||
                (place == KVG_SPOOL_IN_MEMORY && !is_own_folder(spool->paths[place], NULL)))
                g_clear_pointer(&spool->paths[place], g_free);
            continue;
        }
        g_clear_error(&failed);
        if (make_folder(spool, place, &failed)) {
            n_made++;
            continue;
        }
        if (spool->tier != KVG_SPOOL_TIER_AUTO) {
            g_propagate_error(error, g_steal_pointer(&failed));
            return false;
        }
        say_unusable(spool, place, failed);
        if (place == KVG_SPOOL_IN_MEMORY)
            g_clear_pointer(&spool->paths[place], g_free);
    }
    if (n_made > 0 || spool->is_read_only)
        return true;
    g_propagate_error(error, g_steal_pointer(&failed));
    return false;
}

/* One lock for both folders, on disk if that takes one. */
static bool
lock_folder(KvgSpool *spool, GError **error)
{
    int code = ENOENT;
    for (KvgSpoolPlace place = KVG_SPOOL_N_PLACES; place > 0; place--) {
        if (spool->paths[place - 1] == NULL)
            continue;
        g_autofree char *path = g_build_filename(spool->paths[place - 1], "lock", NULL);
        spool->lock_fd = spool->system->open(path, O_RDWR | O_CREAT, 0600);
        if (spool->lock_fd >= 0)
            break;
        code = errno;
    }
    if (spool->lock_fd < 0)
        return kvg_spool_fail(error, code, spool->name, "lock spool");
    if (flock(spool->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return true;
    g_set_error(
        error, KVG_ERROR, KVG_ERROR_INVALID,
        "spool %s is in use by another process; stop it or give this one a spool of its own",
        spool->name);
    return false;
}

/* ---- open and close ---- */

static uint64_t
choose_limit(const KvgSpoolOptions *options)
{
    if (options->limit_bytes != 0)
        return options->limit_bytes;
    return options->tier == KVG_SPOOL_TIER_MEMORY ? DEFAULT_LIMIT_IN_MEMORY : DEFAULT_LIMIT_BYTES;
}

static uint64_t
choose_segment_bytes(const KvgSpool *spool, const KvgSpoolOptions *options)
{
    if (options->segment_bytes != 0)
        return options->segment_bytes;
    const uint64_t limit =
        spool->tier == KVG_SPOOL_TIER_AUTO ? 4 * spool->memory_limit_bytes : spool->limit_bytes;
    return CLAMP(limit / 16, MIN_SEGMENT_BYTES, MAX_SEGMENT_BYTES);
}

static KvgSpool *
spool_new(const KvgSpoolOptions *options)
{
    KvgSpool *spool = g_new0(KvgSpool, 1);
    spool->paths[KVG_SPOOL_ON_DISK] = g_strdup(options->path);
    spool->paths[KVG_SPOOL_IN_MEMORY] = g_strdup(options->memory_path);
    spool->name = g_strdup(options->path != NULL ? options->path : options->memory_path);
    spool->tier = options->memory_path != NULL ? options->tier : KVG_SPOOL_TIER_DISK;
    spool->is_read_only = options->read_only;
    spool->holds = options->hold && !options->read_only;
    /* Without a limit of its own, what an earlier mode has left goes after a day. */
    spool->keep_us = options->keep_ms * 1000;
    if (spool->keep_us == 0 && !spool->holds)
        spool->keep_us = DEFAULT_KEEP_US;
    spool->limit_bytes = choose_limit(options);
    spool->memory_limit_bytes = options->memory_limit_bytes != 0
                                    ? options->memory_limit_bytes
                                    : MIN(DEFAULT_MEMORY_LIMIT, spool->limit_bytes / 2);
    spool->segment_bytes = choose_segment_bytes(spool, options);
    spool->max_age_us = options->max_age_ms * 1000;
    spool->move_after_us =
        (options->move_after_ms != 0 ? options->move_after_ms : DEFAULT_MOVE_AFTER_MS) * 1000;
    spool->held_open_us = CLAMP(spool->keep_us / 8, spool->move_after_us / 2, HELD_OPEN_MAX_US);
    if (spool->keep_us == 0)
        spool->held_open_us = HELD_OPEN_MAX_US;
    spool->system = options->system != NULL ? options->system : &kvg_spool_system;
    spool->on_data = options->on_data;
    spool->user_data = options->user_data;
    spool->lock_fd = KVG_FD_NONE;
    spool->keeper.move_backoff = (KvgBackoff){.base_ms = 1000, .cap_ms = 30000};
    spool->shared.fragments = g_array_new(FALSE, FALSE, sizeof(KvgSpoolFragment));
    spool->shared.segments = g_array_new(FALSE, FALSE, sizeof(KvgSpoolSegment));
    spool->shared.doomed = g_array_new(FALSE, FALSE, sizeof(KvgSpoolDoomed));
    spool->shared.queue = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    spool->shared.queue_place = 1;
    kvg_releases_init(&spool->shared.releases);
    spool->shared.next_fragment = 1;
    pthread_mutex_init(&spool->lock, NULL);
    return spool;
}

static void
spool_free(KvgSpool *spool)
{
    for (guint i = 0; i < kvg_spool_count(spool); i++)
        g_clear_pointer(&kvg_spool_at(spool, i)->tracks, g_bytes_unref);
    for (guint i = 0; i < spool->shared.segments->len; i++)
        kvg_spool_file_unref(g_array_index(spool->shared.segments, KvgSpoolSegment, i).file);
    g_clear_pointer(&spool->writer.file, kvg_spool_file_unref);
    g_clear_pointer(&spool->writer.tracks, g_bytes_unref);
    g_clear_pointer(&spool->writer.written_tracks, g_bytes_unref);
    kvg_spool_recent_clear(&spool->shared.recent);
    g_array_unref(spool->shared.fragments);
    g_array_unref(spool->shared.segments);
    g_array_unref(spool->shared.doomed);
    g_array_unref(spool->shared.queue);
    kvg_releases_clear(&spool->shared.releases);
    pthread_mutex_destroy(&spool->lock);
    kvg_fd_clear(&spool->lock_fd); /* last: now another process may open the folder */
    for (KvgSpoolPlace place = 0; place < KVG_SPOOL_N_PLACES; place++)
        g_free(spool->paths[place]);
    g_free(spool->name);
    g_free(spool);
}
/* Not yet with the keeper. */
typedef KvgSpool KvgSpoolDraft;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgSpoolDraft, spool_free)

KvgSpool *
kvg_spool_open(const KvgSpoolOptions *options, GError **error)
{
    g_return_val_if_fail(options != NULL, NULL);
    g_return_val_if_fail(options->path != NULL || options->memory_path != NULL, NULL);
    g_autoptr(KvgSpoolDraft) spool = spool_new(options);
    if (!make_folders(spool, error) || (!spool->is_read_only && !lock_folder(spool, error)) ||
        !kvg_spool_read_cursor(spool, error) || !kvg_spool_recover(spool, error) ||
        (!spool->is_read_only && !kvg_keeper_add(spool, error)))
        return NULL;
    return g_steal_pointer(&spool);
}

/* Leaves no folder in memory that nothing is in. */
static void
tidy_memory(KvgSpool *spool)
{
    const char *path = spool->paths[KVG_SPOOL_IN_MEMORY];
    kvg_spool_drop_spare(spool);
    if (path == NULL || spool->shared.bytes_in[KVG_SPOOL_IN_MEMORY] > 0)
        return;
    const bool is_on_disk = spool->paths[KVG_SPOOL_ON_DISK] != NULL;
    g_autofree char *cursor = g_build_filename(path, "cursor", NULL);
    g_autofree char *parent = g_path_get_dirname(path);
    g_autofree char *grandparent = g_path_get_dirname(parent);
    if (!is_on_disk)
        return;
    unlink(cursor);
    if (rmdir(path) == 0 && rmdir(parent) == 0)
        rmdir(grandparent);
}

void
kvg_spool_close(KvgSpool *spool)
{
    if (spool == NULL)
        return;
    if (!spool->is_read_only) {
        kvg_spool_leave_segment(spool);
        kvg_keeper_remove(spool);
        while (kvg_spool_move_one(spool, true))
            continue;
        kvg_spool_keep(spool);
        tidy_memory(spool);
    }
    spool_free(spool);
}

/* ---- any thread ---- */

void
kvg_spool_persisted(KvgSpool *spool, uint64_t fragment)
{
    pthread_mutex_lock(&spool->lock);
    if (spool->has_queue) {
        kvg_spool_queue_persisted(spool, fragment);
    } else if (fragment > spool->shared.persisted) {
        spool->shared.persisted = fragment;
        spool->shared.is_cursor_dirty = true;
        while (kvg_spool_count(spool) > 0 && kvg_spool_at(spool, 0)->number <= fragment &&
               kvg_spool_at(spool, 0)->complete)
            kvg_spool_pop(spool);
        kvg_spool_sweep(spool);
    }
    pthread_mutex_unlock(&spool->lock);
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
        .fragment_open = kvg_spool_open_fragment(spool) != NULL,
        .n_fragments = n,
        .evicted_fragments = spool->shared.evicted_fragments,
        .evicted_frames = spool->shared.evicted_frames,
        .torn_records = spool->shared.torn_records,
        .cut_records = spool->shared.cut_records,
        .unasked_fragments = spool->shared.unasked_fragments,
        .unasked_frames = spool->shared.unasked_frames,
    };
    stats->first_wanted = stats->oldest_fragment;
    stats->last_wanted = stats->newest_fragment;
    kvg_spool_queue_stats(spool, stats);
    memcpy(stats->bytes_in, spool->shared.bytes_in, sizeof stats->bytes_in);
    memcpy(stats->trouble, spool->shared.trouble, sizeof stats->trouble);
    memcpy(stats->failures, spool->shared.failures, sizeof stats->failures);
    for (guint i = 0; i < KVG_SPOOL_N_TROUBLES; i++)
        stats->n_failures += stats->failures[i];
    pthread_mutex_unlock(&spool->lock);
}

bool
kvg_spool_peek(KvgSpool *spool, uint64_t number, KvgSpoolFragmentInfo *info)
{
    pthread_mutex_lock(&spool->lock);
    const KvgSpoolFragment *found = kvg_spool_lookup(spool, number);
    if (found != NULL)
        *info = (KvgSpoolFragmentInfo){.number = found->number,
                                       .timecode_ms = found->timecode_ms,
                                       .bytes = found->end - found->start,
                                       .n_frames = found->n_frames,
                                       .place = kvg_spool_segment(spool, found->segment)->place};
    pthread_mutex_unlock(&spool->lock);
    return found != NULL;
}
