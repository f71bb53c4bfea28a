/* Fragments that are held: they lie in the spool until they are asked for, and then go up in the
 * order in which that happened. The queue is what readers go by instead of the numbers of
 * fragments: an element is a fragment, its place counts from 1 since the spool was opened. */
#include "os/log.h"
#include "spool/private.h"
#include <errno.h>
#include <fcntl.h>
#include <kvg/error.h>
#include <string.h>

/* A camera that delivers nothing any more does not keep a release open. */
#define LATE_MS 30000
/* Progress of an upload is written now and then only: what it loses goes up twice. */
#define PROGRESS_US (5 * G_USEC_PER_SEC)

/* ---- the queue ---- */

int64_t
kvg_spool_end_ms(int64_t end_ms, int64_t pts_us, int64_t duration_us)
{
    return MAX(end_ms, pts_us / 1000 + CLAMP(duration_us, 0, G_USEC_PER_SEC) / 1000);
}

static guint
queue_len(const KvgSpool *spool)
{
    return spool->shared.queue->len - spool->shared.queue_first;
}

static uint64_t *
queue_at(KvgSpool *spool, guint i)
{
    return &g_array_index(spool->shared.queue, uint64_t, spool->shared.queue_first + i);
}

void
kvg_spool_want(KvgSpool *spool, KvgSpoolFragment *fragment)
{
    fragment->place = spool->shared.queue_place + queue_len(spool);
    g_array_append_val(spool->shared.queue, fragment->number);
    spool->shared.n_wanted++;
    spool->shared.bytes_wanted += fragment->end - fragment->start;
    kvg_spool_segment(spool, fragment->segment)->n_wanted++;
}

/* What is gone in front needs no place. */
static void
trim_queue(KvgSpool *spool)
{
    while (queue_len(spool) > 0 && *queue_at(spool, 0) == 0) {
        spool->shared.queue_first++;
        spool->shared.queue_place++;
    }
    if (spool->shared.queue_first > 64 && spool->shared.queue_first > queue_len(spool)) {
        g_array_remove_range(spool->shared.queue, 0, spool->shared.queue_first);
        spool->shared.queue_first = 0;
    }
}

void
kvg_spool_unqueue(KvgSpool *spool, const KvgSpoolFragment *fragment)
{
    KvgSpoolSegment *segment = kvg_spool_segment(spool, fragment->segment);
    if (segment != NULL)
        segment->n_wanted--;
    spool->shared.n_wanted--;
    spool->shared.bytes_wanted -= fragment->end - fragment->start;
    *queue_at(spool, (guint)(fragment->place - spool->shared.queue_place)) = 0;
    trim_queue(spool);
}

bool
kvg_spool_judge_open(KvgSpool *spool, KvgSpoolFragment *fragment)
{
    if (fragment->place == 0 &&
        (!fragment->is_held ||
         kvg_releases_take(&spool->shared.releases, fragment->timecode_ms, fragment->end_ms)))
        kvg_spool_want(spool, fragment);
    return fragment->place != 0;
}

const KvgSpoolFragment *
kvg_spool_next_wanted(KvgSpool *spool, uint64_t place, uint64_t *found)
{
    guint i = (guint)(MAX(place, spool->shared.queue_place) - spool->shared.queue_place);
    while (i < queue_len(spool) && *queue_at(spool, i) == 0)
        i++;
    if (i >= queue_len(spool))
        return NULL;
    *found = spool->shared.queue_place + i;
    return kvg_spool_lookup(spool, *queue_at(spool, i));
}

void
kvg_spool_queue_persisted(KvgSpool *spool, uint64_t place)
{
    while (queue_len(spool) > 0 && spool->shared.queue_place <= place) {
        const KvgSpoolFragment *fragment = kvg_spool_lookup(spool, *queue_at(spool, 0));
        if (!fragment->complete)
            break;
        kvg_releases_note_gone(&spool->shared.releases, fragment->number, fragment->timecode_ms,
                               fragment->end_ms, fragment->end - fragment->start);
        kvg_spool_take_out(spool, fragment); /* and out of the queue */
        spool->shared.is_progress = true;
    }
    kvg_spool_sweep(spool);
}

/* ---- releases ---- */

static KvgRelease *
release_at(KvgSpool *spool, guint i)
{
    return &g_array_index(spool->shared.releases.releases, KvgRelease, i);
}

/* Marks those that nothing more can come into; true: there are others. */
static bool
judge_over(KvgSpool *spool)
{
    bool is_releasing = false;
    const int64_t now_ms = spool->system->wall_ms();
    for (guint i = 0; i < spool->shared.releases.releases->len; i++) {
        KvgRelease *release = release_at(spool, i);
        const int64_t to_ms = release->range.to_wall_ms;
        if (spool->shared.newest_end_ms >= to_ms || now_ms > to_ms + LATE_MS)
            release->is_over = true;
        is_releasing = is_releasing || !release->is_over;
    }
    return is_releasing;
}

void
kvg_spool_queue_stats(KvgSpool *spool, KvgSpoolStats *stats)
{
    if (!spool->has_queue && !spool->is_read_only)
        return;
    stats->held_fragments = kvg_spool_count(spool) - spool->shared.n_wanted;
    stats->held_bytes = spool->shared.bytes_live - spool->shared.bytes_wanted;
    guint n = queue_len(spool);
    while (n > 0 && *queue_at(spool, n - 1) == 0)
        n--;
    const uint64_t place = spool->shared.queue_place;
    stats->first_wanted = n > 0 ? place : 0;
    stats->last_wanted = n > 0 ? place + n - 1 : 0;
    stats->is_releasing = !spool->holds || (spool->shared.releases.n_open > 0 && judge_over(spool));
}

static void
want_all(KvgSpool *spool)
{
    for (guint i = 0; i < kvg_spool_count(spool); i++)
        kvg_spool_judge_open(spool, kvg_spool_at(spool, i));
}

bool
kvg_spool_release(KvgSpool *spool, const char *id, const KvgTimeRange *range, GError **error)
{
    if (!spool->has_queue) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID,
                    "spool %s: nothing is held here: all of it goes up", spool->name);
        return false;
    }
    pthread_mutex_lock(&spool->lock);
    const bool ok = kvg_releases_add(&spool->shared.releases, id, range, spool->system->wall_ms(),
                                     error) != NULL;
    if (ok) {
        want_all(spool);
        spool->shared.is_new_release = true;
    }
    pthread_mutex_unlock(&spool->lock);
    if (ok)
        kvg_keeper_wake(spool);
    return ok;
}

/* Times of what is in the spool (@wanted: and is to go up), and of what has gone up (@gone). */
static GArray *
list_times(KvgSpool *spool, bool wanted, bool gone)
{
    GArray *times = g_array_new(FALSE, FALSE, sizeof(KvgTimeRange));
    for (guint i = 0; gone && i < spool->shared.releases.gone->len; i++) {
        const KvgGone *one = &g_array_index(spool->shared.releases.gone, KvgGone, i);
        kvg_ranges_add(times, one->range.from_wall_ms, one->range.to_wall_ms);
    }
    for (guint i = 0; i < kvg_spool_count(spool); i++) {
        const KvgSpoolFragment *fragment = kvg_spool_at(spool, i);
        if (!wanted || fragment->place != 0)
            kvg_ranges_add(times, fragment->timecode_ms, fragment->end_ms);
    }
    return times;
}

static bool
is_waiting(const GArray *wanted, const KvgTimeRange *range)
{
    for (guint i = 0; i < wanted->len; i++) {
        const KvgTimeRange *one = &g_array_index(wanted, KvgTimeRange, i);
        if (kvg_range_takes(range, one->from_wall_ms, one->to_wall_ms))
            return true;
    }
    return false;
}

/* Those of which everything has gone up are done. */
static void
finish_releases(KvgSpool *spool)
{
    KvgReleases *releases = &spool->shared.releases;
    if (releases->n_open == 0)
        return;
    judge_over(spool);
    g_autoptr(GArray) wanted = list_times(spool, true, false);
    g_autoptr(GArray) there = NULL;
    for (guint i = 0; i < releases->releases->len; i++) {
        KvgRelease *release = release_at(spool, i);
        if (release->is_done || !release->is_over || is_waiting(wanted, &release->range))
            continue;
        if (there == NULL)
            there = list_times(spool, false, true);
        kvg_releases_finish(releases, release, there);
        spool->shared.is_new_release = true;
    }
}

/* ---- the file ---- */

static char *
releases_path(const KvgSpool *spool, KvgSpoolPlace place, bool is_unfinished)
{
    return g_build_filename(spool->paths[place], is_unfinished ? "releases.tmp" : "releases", NULL);
}

/* 0 or errno. */
static int
replace_file(KvgSpool *spool, KvgSpoolPlace place, const GByteArray *content)
{
    g_autofree char *unfinished = releases_path(spool, place, true);
    g_autofree char *path = releases_path(spool, place, false);
    g_auto(KvgFd) fd = spool->system->open(unfinished, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0)
        return errno;
    struct iovec part = {.iov_base = content->data, .iov_len = content->len};
    const int code = kvg_spool_write_at(spool, fd, &part, 1, 0);
    if (code != 0)
        return code;
    const bool ok = spool->system->fdatasync(fd) == 0 &&
                    spool->system->rename(unfinished, path) == 0 &&
                    spool->system->sync_folder(spool->paths[place]) == 0;
    return ok ? 0 : errno;
}

/* On disk, if there is one: that is what a loss of power leaves. */
static bool
store_content(KvgSpool *spool, const GByteArray *content)
{
    const KvgSpoolPlace last =
        spool->tier == KVG_SPOOL_TIER_MEMORY ? KVG_SPOOL_IN_MEMORY : KVG_SPOOL_ON_DISK;
    for (int place = (int)last; place >= KVG_SPOOL_IN_MEMORY; place--) {
        if (spool->paths[place] == NULL)
            continue;
        const int code = replace_file(spool, (KvgSpoolPlace)place, content);
        if (code != 0) {
            kvg_spool_note_trouble(spool, (KvgSpoolPlace)place, kvg_spool_judge(code), code);
            continue;
        }
        if (place == KVG_SPOOL_ON_DISK && spool->releases_file.is_also_memory) {
            g_autofree char *older = releases_path(spool, KVG_SPOOL_IN_MEMORY, false);
            spool->system->unlink(older);
        }
        spool->releases_file.is_also_memory = place == KVG_SPOOL_IN_MEMORY;
        return true;
    }
    return false;
}

static void
note_stored(KvgSpool *spool, bool ok)
{
    pthread_mutex_lock(&spool->lock);
    if (!ok)
        spool->shared.is_new_release = true; /* tried again */
    /* Unless one came meanwhile. */
    for (guint i = 0;
         ok && !spool->shared.is_new_release && i < spool->shared.releases.releases->len; i++)
        release_at(spool, i)->is_stored = true;
    pthread_mutex_unlock(&spool->lock);
}

void
kvg_spool_keep_releases(KvgSpool *spool)
{
    if (!spool->has_queue)
        return;
    const int64_t now_us = spool->system->mono_us();
    pthread_mutex_lock(&spool->lock);
    finish_releases(spool);
    const bool is_due =
        spool->shared.is_new_release ||
        (spool->shared.is_progress && now_us - spool->releases_file.stored_us >= PROGRESS_US);
    g_autoptr(GByteArray) content = NULL;
    if (is_due) {
        spool->shared.is_new_release = spool->shared.is_progress = false;
        const uint64_t sequence = ++spool->shared.releases_sequence;
        content = kvg_releases_pack(&spool->shared.releases, sequence);
    }
    pthread_mutex_unlock(&spool->lock);
    if (content == NULL)
        return;
    spool->releases_file.stored_us = now_us;
    note_stored(spool, store_content(spool, content));
}

static bool
read_place(KvgSpool *spool, KvgSpoolPlace place, GError **error)
{
    g_autofree char *path = releases_path(spool, place, false);
    g_autoptr(GError) failed = NULL;
    size_t len = 0;
    g_autofree char *content = kvg_file_read(path, KVG_RELEASES_MAX_BYTES, &len, &failed);
    if (content == NULL) {
        if (!g_file_test(path, G_FILE_TEST_EXISTS))
            return true;
        g_propagate_error(error, g_steal_pointer(&failed));
        return false;
    }
    KvgReleases found;
    uint64_t sequence = 0;
    kvg_releases_init(&found);
    if (!kvg_releases_unpack(&found, content, len, &sequence))
        KVG_LOG_WARNING(KVG_SPOOL_LOG, "SPOOL", spool->name,
                        "%s is damaged: what was asked for and is not uploaded is forgotten", path);
    if (sequence <= spool->shared.releases_sequence) {
        kvg_releases_clear(&found);
        return true;
    }
    kvg_releases_clear(&spool->shared.releases);
    spool->shared.releases = found;
    spool->shared.releases_sequence = sequence;
    spool->releases_file.is_also_memory = place == KVG_SPOOL_IN_MEMORY;
    return true;
}

bool
kvg_spool_recover_releases(KvgSpool *spool, GError **error)
{
    for (KvgSpoolPlace place = 0; place < KVG_SPOOL_N_PLACES; place++) {
        if (spool->paths[place] != NULL && !read_place(spool, place, error))
            return false;
    }
    bool has_held = spool->holds;
    for (guint i = 0; i < kvg_spool_count(spool);) {
        const KvgSpoolFragment *fragment = kvg_spool_at(spool, i);
        has_held = has_held || fragment->is_held;
        if (kvg_releases_is_gone(&spool->shared.releases, fragment->number, fragment->timecode_ms))
            kvg_spool_take_out(spool, fragment);
        else
            i++;
    }
    spool->shared.next_fragment =
        MAX(spool->shared.next_fragment, kvg_releases_newest_gone(&spool->shared.releases) + 1);
    if (!has_held && !spool->is_read_only)
        return true;
    spool->has_queue = !spool->is_read_only;
    want_all(spool);
    return true;
}

/* ---- any thread ---- */

/* Of a fragment that waits, what counting needs. */
typedef struct {
    int64_t from_ms, to_ms;
    uint64_t bytes;
} Waiting;

static GArray *
copy_queue(KvgSpool *spool)
{
    GArray *waiting = g_array_new(FALSE, FALSE, sizeof(Waiting));
    for (guint i = 0; i < queue_len(spool); i++) {
        if (*queue_at(spool, i) == 0)
            continue;
        const KvgSpoolFragment *fragment = kvg_spool_lookup(spool, *queue_at(spool, i));
        const Waiting one = {fragment->timecode_ms, fragment->end_ms,
                             fragment->end - fragment->start};
        g_array_append_val(waiting, one);
    }
    return waiting;
}

static void
count_waiting(KvgRelease *release, const GArray *waiting)
{
    for (guint i = 0; i < waiting->len; i++) {
        const Waiting *one = &g_array_index(waiting, Waiting, i);
        if (!kvg_range_takes(&release->range, one->from_ms, one->to_ms))
            continue;
        release->fragments_waiting++;
        release->bytes_waiting += one->bytes;
    }
}

KvgRelease *
kvg_spool_list_releases(KvgSpool *spool, size_t *n)
{
    pthread_mutex_lock(&spool->lock);
    judge_over(spool);
    const GArray *releases = spool->shared.releases.releases;
    const bool has_open = spool->shared.releases.n_open > 0;
    KvgRelease *list = g_memdup2(releases->data, releases->len * sizeof(KvgRelease));
    *n = releases->len;
    g_autoptr(GArray) waiting = has_open ? copy_queue(spool) : NULL;
    g_autoptr(GArray) there = has_open ? list_times(spool, false, true) : NULL;
    const int64_t newest_ms = spool->shared.newest_end_ms;
    pthread_mutex_unlock(&spool->lock);
    for (size_t i = 0; i < *n; i++) {
        if (list[i].is_done)
            continue;
        count_waiting(&list[i], waiting);
        kvg_release_judge(&list[i], there, list[i].is_over ? INT64_MAX : newest_ms);
    }
    return list;
}

KvgTimeRange *
kvg_spool_list_held(KvgSpool *spool, size_t *n)
{
    pthread_mutex_lock(&spool->lock);
    GArray *times = list_times(spool, false, false);
    pthread_mutex_unlock(&spool->lock);
    *n = times->len;
    return (KvgTimeRange *)(void *)g_array_free(times, times->len == 0);
}
