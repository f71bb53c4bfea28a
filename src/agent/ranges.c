#include "agent/ranges.h"
#include "base/clock.h"
#include <kvg/error.h>
#include <pthread.h>

#define HOUR_MS (3600 * 1000ll)
#define SLACK_MS 1000
/* A fragment that began before the hour reaches into it. */
#define REACH_MS 20000
/* An hour in which something may still arrive is looked at again, from shortly before its end;
 * any other one now and then, because late uploads fill gaps and retention makes some. */
#define FRESH_MS 2000
#define SETTLED_MS (5 * 60 * 1000)
#define MAX_HOURS 100
/* Five fragments a second, which is all the service takes, are 18 pages. */
#define MAX_PAGES 40
#define MAX_TRIES 4
/* Of GetClip. */
#define CLIP_FRAGMENTS 200u
#define CLIP_BYTES (100u * 1000 * 1000)

typedef struct {
    int64_t hour;       /* of the time since 1970 */
    int64_t full_ms;    /* listed as a whole; monotonic */
    int64_t listed_ms;  /* listed at all; monotonic */
    int64_t covered_ms; /* listed up to here; by the wall clock */
    int64_t used_ms;
    GArray *ranges; /* KvgRange */
} Hour;

struct _KvgRecordings {
    pthread_mutex_t lock; /* held over calls: others wait for what they would ask for, too */
    GPtrArray *hours;
};

static int64_t
now_ms(void)
{
    return kvg_clock_mono_us() / 1000;
}

/* ---- ranges ---- */

static int
compare(const void *a, const void *b)
{
    const KvgRange *left = a, *right = b;
    return (left->start_ms > right->start_ms) - (left->start_ms < right->start_ms);
}

void
kvg_ranges_merge(GArray *ranges, int64_t slack_ms)
{
    g_array_sort(ranges, compare);
    guint n = 0;
    for (guint i = 0; i < ranges->len; i++) {
        const KvgRange range = g_array_index(ranges, KvgRange, i);
        KvgRange *last = n > 0 ? &g_array_index(ranges, KvgRange, n - 1) : NULL;
        if (last != NULL && range.start_ms - last->end_ms <= slack_ms)
            last->end_ms = MAX(last->end_ms, range.end_ms);
        else
            g_array_index(ranges, KvgRange, n++) = range;
    }
    g_array_set_size(ranges, n);
}

void
kvg_ranges_clip(GArray *ranges, int64_t from_ms, int64_t to_ms)
{
    guint n = 0;
    for (guint i = 0; i < ranges->len; i++) {
        KvgRange range = g_array_index(ranges, KvgRange, i);
        range.start_ms = MAX(range.start_ms, from_ms);
        range.end_ms = MIN(range.end_ms, to_ms);
        if (range.start_ms < range.end_ms)
            g_array_index(ranges, KvgRange, n++) = range;
    }
    g_array_set_size(ranges, n);
}

/* ---- listing ---- */

/* A page; waits a moment and asks again when the service is asked too often. */
static json_t *
list_page(KvgArchive *archive, int64_t from_ms, int64_t to_ms, const char *token, GError **error)
{
    for (int i = 1;; i++) {
        g_autoptr(GError) cause = NULL;
        g_autoptr(json_t) arguments = json_pack("{s:i}", "MaxResults", 1000);
        if (token != NULL)
            json_object_set_new(arguments, "NextToken", json_string(token));
        else
            json_object_set_new(arguments, "FragmentSelector",
                                kvg_archive_selector(from_ms, to_ms));
        json_t *page =
            kvg_archive_call(archive, "LIST_FRAGMENTS", "/listFragments", arguments, &cause);
        if (page != NULL)
            return page;
        if (i == MAX_TRIES || !g_error_matches(cause, KVG_ERROR, KVG_ERROR_THROTTLED)) {
            g_propagate_error(error, g_steal_pointer(&cause));
            return NULL;
        }
        g_usleep((gulong)(250 * G_TIME_SPAN_MILLISECOND) << i);
    }
}

static void
take_fragments(const json_t *page, GArray *ranges)
{
    size_t i;
    json_t *fragment;
    json_array_foreach(json_object_get(page, "Fragments"), i, fragment)
    {
        const double start_s = json_number_value(json_object_get(fragment, "ProducerTimestamp"));
        const int64_t length_ms = kvg_json_get_int(fragment, "FragmentLengthInMilliseconds", 0);
        /* What no clock of ours could show is left out. */
        if (!(start_s > 0 && start_s < 1e11) || length_ms < 0 || length_ms > HOUR_MS)
            continue;
        const int64_t start_ms = (int64_t)(start_s * 1000 + 0.5);
        const KvgRange range = {start_ms, start_ms + length_ms};
        g_array_append_val(ranges, range);
    }
}

/* Adds what begins between the two times. No such stream: nothing is recorded. */
static bool
list(KvgArchive *archive, int64_t from_ms, int64_t to_ms, GArray *ranges, GError **error)
{
    g_autofree char *token = NULL;
    for (int i = 0; i < MAX_PAGES; i++) {
        g_autoptr(GError) cause = NULL;
        g_autoptr(json_t) page = list_page(archive, from_ms, to_ms, token, &cause);
        if (page == NULL && g_error_matches(cause, KVG_ERROR, KVG_ERROR_NOT_FOUND))
            return true;
        if (page == NULL) {
            g_propagate_error(error, g_steal_pointer(&cause));
            return false;
        }
        take_fragments(page, ranges);
        kvg_ranges_merge(ranges, SLACK_MS);
        g_free(token);
        token = g_strdup(kvg_json_get_string(page, "NextToken"));
        if (token == NULL)
            return true;
    }
    g_set_error(error, KVG_ERROR, KVG_ERROR_RETRY,
                "an hour has more than %d pages of fragments; ask for less", MAX_PAGES);
    return false;
}

/* ---- hours ---- */

static void
hour_free(void *data)
{
    Hour *hour = data;
    g_array_unref(hour->ranges);
    g_free(hour);
}

KvgRecordings *
kvg_recordings_new(void)
{
    KvgRecordings *recordings = g_new0(KvgRecordings, 1);
    pthread_mutex_init(&recordings->lock, NULL);
    recordings->hours = g_ptr_array_new_with_free_func(hour_free);
    return recordings;
}

void
kvg_recordings_free(KvgRecordings *recordings)
{
    if (recordings == NULL)
        return;
    g_ptr_array_unref(recordings->hours);
    pthread_mutex_destroy(&recordings->lock);
    g_free(recordings);
}

static void
drop_oldest(KvgRecordings *recordings)
{
    guint oldest = 0;
    for (guint i = 1; i < recordings->hours->len; i++) {
        const Hour *hour = g_ptr_array_index(recordings->hours, i);
        if (hour->used_ms < ((Hour *)g_ptr_array_index(recordings->hours, oldest))->used_ms)
            oldest = i;
    }
    g_ptr_array_remove_index_fast(recordings->hours, oldest);
}

static Hour *
find_hour(KvgRecordings *recordings, int64_t number)
{
    for (guint i = 0; i < recordings->hours->len; i++) {
        Hour *hour = g_ptr_array_index(recordings->hours, i);
        if (hour->hour == number)
            return hour;
    }
    if (recordings->hours->len >= MAX_HOURS)
        drop_oldest(recordings);
    Hour *hour = g_new0(Hour, 1);
    hour->hour = number;
    hour->ranges = g_array_new(FALSE, FALSE, sizeof(KvgRange));
    g_ptr_array_add(recordings->hours, hour);
    return hour;
}

/* Lists what is not known of @hour, or not any more. */
static bool
refresh(Hour *hour, KvgArchive *archive, GError **error)
{
    const int64_t start_ms = hour->hour * HOUR_MS, end_ms = start_ms + HOUR_MS;
    const int64_t mono_ms = now_ms(), wall_ms = kvg_clock_wall_ms();
    hour->used_ms = mono_ms;
    const bool is_known = hour->full_ms != 0 && mono_ms - hour->full_ms < SETTLED_MS;
    const bool grows = wall_ms < end_ms + SETTLED_MS;
    if (is_known && (!grows || mono_ms - hour->listed_ms < FRESH_MS))
        return true;
    const int64_t from_ms = is_known ? MAX(hour->covered_ms - 60000, start_ms) : start_ms;
    g_autoptr(GArray) found = g_array_new(FALSE, FALSE, sizeof(KvgRange));
    if (!list(archive, from_ms - REACH_MS, end_ms, found, error))
        return false;
    if (!is_known) {
        g_array_set_size(hour->ranges, 0);
        hour->full_ms = mono_ms;
    }
    g_array_append_vals(hour->ranges, found->data, found->len);
    kvg_ranges_merge(hour->ranges, SLACK_MS);
    hour->listed_ms = mono_ms;
    hour->covered_ms = wall_ms;
    return true;
}

GArray *
kvg_recordings_list(
    KvgRecordings *recordings, KvgArchive *archive, int64_t from_ms, int64_t to_ms, GError **error)
{
    g_autoptr(GArray) out = g_array_new(FALSE, FALSE, sizeof(KvgRange));
    pthread_mutex_lock(&recordings->lock);
    bool ok = true;
    for (int64_t i = from_ms / HOUR_MS; ok && i * HOUR_MS < to_ms; i++) {
        Hour *hour = find_hour(recordings, i);
        ok = refresh(hour, archive, error);
        if (ok)
            g_array_append_vals(out, hour->ranges->data, hour->ranges->len);
    }
    pthread_mutex_unlock(&recordings->lock);
    if (!ok)
        return NULL;
    kvg_ranges_merge(out, SLACK_MS);
    kvg_ranges_clip(out, from_ms, to_ms);
    return g_steal_pointer(&out);
}

/* ---- clips ---- */

typedef struct {
    double start_s;
    int64_t length_ms, bytes;
} Piece;

static int
compare_pieces(const void *a, const void *b)
{
    const Piece *left = a, *right = b;
    return (left->start_s > right->start_s) - (left->start_s < right->start_s);
}

bool
kvg_recordings_measure(
    KvgArchive *archive, int64_t from_ms, int64_t to_ms, KvgClipSize *size, GError **error)
{
    *size = (KvgClipSize){.fits_to_ms = to_ms, .fits = true};
    g_autoptr(json_t) page = list_page(archive, from_ms, to_ms, NULL, error);
    if (page == NULL)
        return false;
    g_autoptr(GArray) pieces = g_array_new(FALSE, FALSE, sizeof(Piece));
    size_t i;
    json_t *fragment;
    json_array_foreach(json_object_get(page, "Fragments"), i, fragment)
    {
        const Piece piece = {json_number_value(json_object_get(fragment, "ProducerTimestamp")),
                             kvg_json_get_int(fragment, "FragmentLengthInMilliseconds", 0),
                             kvg_json_get_int(fragment, "FragmentSizeInBytes", 0)};
        g_array_append_val(pieces, piece);
    }
    g_array_sort(pieces, compare_pieces);
    for (guint n = 0; n < pieces->len; n++) {
        const Piece *piece = &g_array_index(pieces, Piece, n);
        size->fragments++;
        size->bytes += (uint64_t)MAX(piece->bytes, 0);
        if (!size->fits || (size->fragments <= CLIP_FRAGMENTS && size->bytes <= CLIP_BYTES))
            continue;
        size->fits = false;
        /* The end is compared with the beginning of fragments. */
        size->fits_to_ms = (int64_t)(piece->start_s * 1000) - 1;
    }
    return true;
}
