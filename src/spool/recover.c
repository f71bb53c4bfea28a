/* Opening what an earlier process left: the segments of both places in the order of their numbers.
 * Nothing is rewritten: a torn end is read over, and new fragments go into a new segment. */
#include "os/log.h"
#include "spool/scan.h"
#include <errno.h>
#include <fcntl.h>
#include <kvg/error.h>
#include <sys/stat.h>

typedef struct {
    uint64_t sequence;
    KvgSpoolPlace place;
} Found;

static int
compare_found(const void *a, const void *b)
{
    const Found *x = a, *y = b;
    if (x->sequence != y->sequence)
        return x->sequence > y->sequence ? 1 : -1;
    return (int)x->place - (int)y->place;
}

/* The files in a folder whose names are a number and @suffix. */
static bool
list_files(KvgSpool *spool, KvgSpoolPlace place, const char *suffix, GArray *found, GError **error)
{
    g_autoptr(GError) failed = NULL;
    g_autoptr(GDir) folder = g_dir_open(spool->paths[place], 0, &failed);
    if (folder == NULL) {
        if (g_error_matches(failed, G_FILE_ERROR, G_FILE_ERROR_NOENT))
            return true;
        g_set_error_literal(error, KVG_ERROR, KVG_ERROR_FAILED, failed->message);
        return false;
    }
    const char *name;
    while ((name = g_dir_read_name(folder)) != NULL) {
        char *end;
        const Found one = {g_ascii_strtoull(name, &end, 16), place};
        if (end == name + 16 && g_str_equal(end, suffix))
            g_array_append_val(found, one);
    }
    return true;
}

/* What a move left unfinished. */
static void
delete_unfinished(KvgSpool *spool)
{
    g_autoptr(GArray) found = g_array_new(FALSE, FALSE, sizeof(Found));
    if (spool->paths[KVG_SPOOL_ON_DISK] == NULL ||
        !list_files(spool, KVG_SPOOL_ON_DISK, ".tmp", found, NULL))
        return;
    for (guint i = 0; i < found->len; i++) {
        g_autofree char *path =
            kvg_spool_unfinished_path(spool, g_array_index(found, Found, i).sequence);
        spool->system->unlink(path);
    }
}

/* A newer kvg may keep more in a segment than we know how to keep: leave all of it alone. */
static bool
check_versions(KvgSpool *spool, const GArray *found, GError **error)
{
    for (guint i = 0; i < found->len; i++) {
        const Found *one = &g_array_index(found, Found, i);
        g_autofree char *path = kvg_spool_segment_path(spool, one->place, one->sequence);
        g_auto(KvgFd) fd = open(path, O_RDONLY | O_CLOEXEC);
        const unsigned version = fd >= 0 ? kvg_spool_scan_version(fd) : 0;
        if (version <= KVG_SEGMENT_VERSION)
            continue;
        g_set_error(error, KVG_ERROR, KVG_ERROR_UNSUPPORTED,
                    "%s has format %u and this version of kvg knows up to %u; use a newer kvg, or "
                    "another spool folder. Nothing was changed",
                    path, version, KVG_SEGMENT_VERSION);
        return false;
    }
    return true;
}

/* A fragment that was carried over has its beginning in two segments: the longer one is whole. */
static bool
is_carried_over(KvgSpool *spool, const KvgSpoolFragment *fragment)
{
    const guint n = kvg_spool_count(spool);
    const KvgSpoolFragment *newest = n > 0 ? kvg_spool_at(spool, n - 1) : NULL;
    if (newest == NULL || newest->number != fragment->number)
        return false;
    if (newest->end - newest->start > fragment->end - fragment->start)
        return true;
    kvg_spool_forget_newest(spool);
    return false;
}

/* Takes what the scan found and has still to go up. */
static void
take_fragments(KvgSpool *spool, KvgSpoolScan *scan)
{
    const int64_t now_us = spool->system->mono_us();
    const int64_t wall_us = spool->system->wall_ms() * 1000;
    for (guint i = 0; i < scan->fragments->len; i++) {
        KvgSpoolFragment *fragment = &g_array_index(scan->fragments, KvgSpoolFragment, i);
        spool->shared.next_fragment = MAX(spool->shared.next_fragment, fragment->number + 1);
        if (fragment->number <= spool->shared.persisted || is_carried_over(spool, fragment))
            continue;
        KvgSpoolFragment kept = *fragment;
        kept.tracks = g_bytes_ref(fragment->tracks);
        kept.begun_us = now_us - MAX(wall_us - fragment->begun_us, 0);
        kvg_spool_add(spool, &kept);
    }
}

static bool
recover_segment(KvgSpool *spool, const Found *found, bool is_newest, GError **error)
{
    g_autofree char *path = kvg_spool_segment_path(spool, found->place, found->sequence);
    g_autoptr(KvgSpoolFile) file = kvg_spool_file_new(open(path, O_RDONLY | O_CLOEXEC));
    if (file->fd < 0)
        return (spool->is_read_only && errno == ENOENT) ||
               kvg_spool_fail(error, errno, path, "open");
    const guint n = kvg_spool_count(spool);
    g_auto(KvgSpoolScan) scan = {.fd = file->fd,
                                 .sequence = found->sequence,
                                 .newest = n > 0 ? kvg_spool_at(spool, n - 1)->number - 1 : 0,
                                 .in_memory = found->place == KVG_SPOOL_IN_MEMORY,
                                 .checks_payloads =
                                     is_newest || found->place == KVG_SPOOL_IN_MEMORY};
    if (!kvg_spool_scan(&scan))
        return kvg_spool_fail(error, errno, path, "read");
    if (spool->is_read_only && !kvg_spool_scan_is_still(file->fd, scan.salt))
        return true; /* its owner needed it no more, and began another one in it */
    const bool is_on_disk = found->place == KVG_SPOOL_ON_DISK && !spool->is_read_only;
    const KvgSpoolSegment segment = {.sequence = found->sequence,
                                     .size = scan.size,
                                     .salt = scan.salt,
                                     .place = found->place,
                                     .opened_us = INT64_MIN / 2,
                                     .sync_to = is_on_disk ? scan.size : 0,
                                     .file = NULL};
    g_array_append_val(spool->shared.segments, segment);
    spool->shared.bytes_in[found->place] += scan.size;
    spool->shared.next_segment = MAX(spool->shared.next_segment, found->sequence + 1);
    spool->shared.torn_records += scan.n_damaged;
    spool->shared.cut_records += scan.is_torn;
    take_fragments(spool, &scan);
    /* The process before may have ended before it synced its last segment. */
    if (is_newest && is_on_disk)
        kvg_spool_segment(spool, found->sequence)->file = g_steal_pointer(&file);
    return true;
}

/* A move was interrupted between the two: the disk's is whole, as it got its name last. */
static void
doom_copies(KvgSpool *spool, GArray *found)
{
    for (guint i = 0; i + 1 < found->len;) {
        const Found memory = g_array_index(found, Found, i);
        if (memory.sequence != g_array_index(found, Found, i + 1).sequence) {
            i++;
            continue;
        }
        const KvgSpoolDoomed doomed = {memory.sequence, memory.place, 0};
        g_array_append_val(spool->shared.doomed, doomed);
        g_array_remove_index(found, i);
    }
}

bool
kvg_spool_recover(KvgSpool *spool, GError **error)
{
    g_autoptr(GArray) found = g_array_new(FALSE, FALSE, sizeof(Found));
    for (KvgSpoolPlace place = 0; place < KVG_SPOOL_N_PLACES; place++) {
        if (spool->paths[place] != NULL && !list_files(spool, place, ".seg", found, error))
            return false;
    }
    g_array_sort(found, compare_found);
    if (!check_versions(spool, found, error))
        return false;
    if (!spool->is_read_only) {
        delete_unfinished(spool);
        spool->shared.spare = KVG_SPOOL_SPARE_READY; /* perhaps; nobody knows what is in it */
        kvg_spool_drop_spare(spool);
    }
    doom_copies(spool, found);
    for (guint i = 0; i < found->len; i++) {
        if (!recover_segment(spool, &g_array_index(found, Found, i), i + 1 == found->len, error))
            return false;
    }
    if (!kvg_spool_recover_releases(spool, error))
        return false;
    kvg_spool_sweep(spool);
    if (spool->shared.torn_records > 0 && !spool->is_read_only)
        KVG_LOG_WARNING(KVG_SPOOL_LOG, "SPOOL", spool->name,
                        "spool %s: %" G_GUINT64_FORMAT " damaged records left out", spool->name,
                        spool->shared.torn_records);
    return true;
}
