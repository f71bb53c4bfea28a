#include "spool/release.h"
#include "base/bytes.h"
#include <kvg/error.h>
#include <string.h>

#define VERSION 1u
/* Sums of times stay within their type; no clock gets there. */
#define MAX_TIME_MS (INT64_C(1) << 60)

void
kvg_releases_init(KvgReleases *releases)
{
    *releases = (KvgReleases){.releases = g_array_new(FALSE, FALSE, sizeof(KvgRelease)),
                              .gone = g_array_new(FALSE, FALSE, sizeof(KvgGone))};
}

void
kvg_releases_clear(KvgReleases *releases)
{
    g_array_unref(releases->releases);
    g_array_unref(releases->gone);
}

static KvgRelease *
at(const KvgReleases *releases, guint i)
{
    return &g_array_index(releases->releases, KvgRelease, i);
}

bool
kvg_range_takes(const KvgTimeRange *range, int64_t from_ms, int64_t to_ms)
{
    return (from_ms < range->to_wall_ms && to_ms > range->from_wall_ms) ||
           from_ms == range->from_wall_ms;
}

KvgRelease *
kvg_releases_find(KvgReleases *releases, const char *id)
{
    for (guint i = 0; i < releases->releases->len; i++) {
        if (strcmp(at(releases, i)->id, id) == 0)
            return at(releases, i);
    }
    return NULL;
}

/* Of those that are done the oldest makes room. */
static void
forget_done(KvgReleases *releases)
{
    guint n_done = releases->releases->len - releases->n_open;
    for (guint i = 0; i < releases->releases->len && n_done > KVG_RELEASES_KEPT;) {
        if (at(releases, i)->is_done) {
            g_array_remove_index(releases->releases, i);
            n_done--;
        } else {
            i++;
        }
    }
}

static bool
is_sane(const KvgTimeRange *range)
{
    return range->from_wall_ms >= 0 && range->to_wall_ms >= range->from_wall_ms &&
           range->to_wall_ms <= MAX_TIME_MS;
}

static bool
check(const KvgReleases *releases,
      const char *id,
      bool is_known,
      const KvgTimeRange *range,
      GError **error)
{
    const size_t len = strlen(id);
    const char *wrong = NULL;
    if (len == 0 || len > KVG_RELEASE_ID_BYTES || !g_utf8_validate(id, -1, NULL))
        wrong = "its id must have 1 to 64 bytes of UTF-8";
    else if (!is_sane(range))
        wrong = "it must not end before it begins, nor before 1970";
    if (wrong != NULL) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "range of time: %s", wrong);
        return false;
    }
    if (is_known || releases->n_open < KVG_RELEASES_MAX)
        return true;
    g_set_error(error, KVG_ERROR, KVG_ERROR_NO_SPACE,
                "%u ranges of time are not uploaded yet; wait until they are", releases->n_open);
    return false;
}

KvgRelease *
kvg_releases_add(KvgReleases *releases,
                 const char *id,
                 const KvgTimeRange *range,
                 int64_t now_wall_ms,
                 GError **error)
{
    KvgRelease *known = kvg_releases_find(releases, id);
    if (known != NULL && known->is_done) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID,
                    "range of time: id '%s' is that of one that is done", id);
        return NULL;
    }
    if (!check(releases, id, known != NULL, range, error))
        return NULL;
    if (known != NULL) {
        known->range.from_wall_ms = MIN(known->range.from_wall_ms, range->from_wall_ms);
        known->range.to_wall_ms = MAX(known->range.to_wall_ms, range->to_wall_ms);
        known->is_over = known->is_stored = false;
        return known;
    }
    forget_done(releases);
    KvgRelease release = {.range = *range, .asked_wall_ms = now_wall_ms};
    g_strlcpy(release.id, id, sizeof release.id);
    g_array_append_val(releases->releases, release);
    releases->n_open++;
    return at(releases, releases->releases->len - 1);
}

bool
kvg_releases_take(const KvgReleases *releases, int64_t from_ms, int64_t to_ms)
{
    for (guint i = 0; releases->n_open > 0 && i < releases->releases->len; i++) {
        if (!at(releases, i)->is_done && kvg_range_takes(&at(releases, i)->range, from_ms, to_ms))
            return true;
    }
    return false;
}

void
kvg_releases_note_gone(
    KvgReleases *releases, uint64_t number, int64_t from_ms, int64_t to_ms, uint64_t bytes)
{
    for (guint i = 0; i < releases->releases->len; i++) {
        KvgRelease *release = at(releases, i);
        if (release->is_done || !kvg_range_takes(&release->range, from_ms, to_ms))
            continue;
        release->fragments++;
        release->bytes += bytes;
    }
    from_ms = CLAMP(from_ms, 0, MAX_TIME_MS);
    to_ms = CLAMP(to_ms, from_ms, MAX_TIME_MS);
    GArray *gone = releases->gone;
    KvgGone *newest = gone->len > 0 ? &g_array_index(gone, KvgGone, gone->len - 1) : NULL;
    if (newest != NULL && newest->last + 1 == number &&
        ABS(from_ms - newest->range.to_wall_ms) <= KVG_RELEASE_GAP_MS) {
        newest->last = number;
        newest->range.to_wall_ms = MAX(newest->range.to_wall_ms, to_ms);
        return;
    }
    if (gone->len == KVG_RELEASES_MAX_GONE)
        g_array_remove_index(gone, 0);
    const KvgGone one = {number, number, {from_ms, to_ms}};
    g_array_append_val(gone, one);
}

bool
kvg_releases_is_gone(const KvgReleases *releases, uint64_t number, int64_t from_ms)
{
    for (guint i = releases->gone->len; i > 0; i--) {
        const KvgGone *gone = &g_array_index(releases->gone, KvgGone, i - 1);
        if (gone->first <= number && number <= gone->last && gone->range.from_wall_ms <= from_ms &&
            from_ms <= gone->range.to_wall_ms)
            return true;
    }
    return false;
}

uint64_t
kvg_releases_newest_gone(const KvgReleases *releases)
{
    uint64_t newest = 0;
    for (guint i = 0; i < releases->gone->len; i++)
        newest = MAX(newest, g_array_index(releases->gone, KvgGone, i).last);
    return newest;
}

void
kvg_releases_finish(KvgReleases *releases, KvgRelease *release, const GArray *there)
{
    kvg_release_judge(release, there, INT64_MAX);
    release->is_over = release->is_done = true;
    releases->n_open--;
}

/* ---- ranges ---- */

static KvgTimeRange *
range_at(const GArray *ranges, guint i)
{
    return &g_array_index(ranges, KvgTimeRange, i);
}

void
kvg_ranges_add(GArray *ranges, int64_t from_ms, int64_t to_ms)
{
    from_ms = CLAMP(from_ms, -MAX_TIME_MS, MAX_TIME_MS);
    to_ms = CLAMP(to_ms, -MAX_TIME_MS, MAX_TIME_MS);
    /* Nearly always it goes on with the last. */
    guint i = ranges->len;
    while (i > 0 && range_at(ranges, i - 1)->to_wall_ms + KVG_RELEASE_GAP_MS >= from_ms)
        i--;
    guint end = i;
    KvgTimeRange merged = {from_ms, MAX(from_ms, to_ms)};
    while (end < ranges->len &&
           range_at(ranges, end)->from_wall_ms <= merged.to_wall_ms + KVG_RELEASE_GAP_MS) {
        merged.from_wall_ms = MIN(merged.from_wall_ms, range_at(ranges, end)->from_wall_ms);
        merged.to_wall_ms = MAX(merged.to_wall_ms, range_at(ranges, end)->to_wall_ms);
        end++;
    }
    if (end == i) {
        g_array_insert_val(ranges, i, merged);
        return;
    }
    *range_at(ranges, i) = merged;
    if (end > i + 1)
        g_array_remove_range(ranges, i + 1, end - i - 1);
}

static void
add_missing(KvgRelease *release, int64_t from_ms, int64_t to_ms)
{
    if (release->n_missing < KVG_RELEASE_MISSING)
        release->missing[release->n_missing] = (KvgTimeRange){from_ms, to_ms};
    release->n_missing++;
}

void
kvg_release_judge(KvgRelease *release, const GArray *there, int64_t until_ms)
{
    const int64_t end_ms = MIN(release->range.to_wall_ms, until_ms);
    int64_t at_ms = release->range.from_wall_ms;
    release->n_missing = 0;
    for (guint i = 0; i < there->len && at_ms < end_ms; i++) {
        const KvgTimeRange *range = range_at(there, i);
        if (range->to_wall_ms <= at_ms)
            continue;
        if (range->from_wall_ms >= end_ms)
            break;
        if (range->from_wall_ms - at_ms > KVG_RELEASE_GAP_MS)
            add_missing(release, at_ms, range->from_wall_ms);
        at_ms = range->to_wall_ms;
    }
    const bool has_nothing = at_ms == release->range.from_wall_ms;
    if (end_ms - at_ms > (has_nothing ? 0 : KVG_RELEASE_GAP_MS))
        add_missing(release, at_ms, end_ms);
}

/* ---- the file: checksum, version, sequence, how many releases and how many that are gone ---- */

GByteArray *
kvg_releases_pack(const KvgReleases *releases, uint64_t sequence)
{
    GByteArray *out = g_byte_array_new();
    kvg_bytes_put_u32(out, 0);
    kvg_bytes_put_u32(out, VERSION);
    kvg_bytes_put_u64(out, sequence);
    kvg_bytes_put_u32(out, releases->releases->len);
    kvg_bytes_put_u32(out, releases->gone->len);
    for (guint i = 0; i < releases->releases->len; i++) {
        const KvgRelease *release = at(releases, i);
        const size_t len = strlen(release->id);
        const unsigned n = MIN(release->n_missing, KVG_RELEASE_MISSING);
        kvg_bytes_put_u8(out, (uint8_t)len);
        kvg_bytes_put(out, release->id, len);
        kvg_bytes_put_u8(out, release->is_done);
        kvg_bytes_put_u64(out, (uint64_t)release->range.from_wall_ms);
        kvg_bytes_put_u64(out, (uint64_t)release->range.to_wall_ms);
        kvg_bytes_put_u64(out, (uint64_t)release->asked_wall_ms);
        kvg_bytes_put_u64(out, release->fragments);
        kvg_bytes_put_u64(out, release->bytes);
        kvg_bytes_put_u32(out, release->n_missing);
        for (unsigned k = 0; k < n; k++) {
            kvg_bytes_put_u64(out, (uint64_t)release->missing[k].from_wall_ms);
            kvg_bytes_put_u64(out, (uint64_t)release->missing[k].to_wall_ms);
        }
    }
    for (guint i = 0; i < releases->gone->len; i++) {
        const KvgGone *gone = &g_array_index(releases->gone, KvgGone, i);
        kvg_bytes_put_u64(out, gone->first);
        kvg_bytes_put_u64(out, gone->last);
        kvg_bytes_put_u64(out, (uint64_t)gone->range.from_wall_ms);
        kvg_bytes_put_u64(out, (uint64_t)gone->range.to_wall_ms);
    }
    kvg_bytes_set_u32(out, 0, kvg_crc32c(0, out->data + 4, out->len - 4));
    return out;
}

static KvgTimeRange
take_range(KvgReader *reader)
{
    const int64_t from_ms = (int64_t)kvg_reader_u64(reader);
    return (KvgTimeRange){from_ms, (int64_t)kvg_reader_u64(reader)};
}

static bool
take_release(KvgReleases *releases, KvgReader *reader)
{
    KvgRelease release = {.is_stored = true};
    const uint8_t len = kvg_reader_u8(reader);
    const uint8_t *id = len <= KVG_RELEASE_ID_BYTES ? kvg_reader_take(reader, len) : NULL;
    if (id == NULL)
        return false;
    memcpy(release.id, id, len);
    release.is_done = release.is_over = kvg_reader_u8(reader) != 0;
    release.range = take_range(reader);
    release.asked_wall_ms = (int64_t)kvg_reader_u64(reader);
    release.fragments = kvg_reader_u64(reader);
    release.bytes = kvg_reader_u64(reader);
    release.n_missing = kvg_reader_u32(reader);
    for (unsigned k = 0; k < MIN(release.n_missing, KVG_RELEASE_MISSING); k++)
        release.missing[k] = take_range(reader);
    if (reader->failed || !is_sane(&release.range))
        return false;
    g_array_append_val(releases->releases, release);
    releases->n_open += !release.is_done;
    return true;
}

static bool
take_gone(KvgReleases *releases, KvgReader *reader)
{
    KvgGone gone = {.first = kvg_reader_u64(reader)};
    gone.last = kvg_reader_u64(reader);
    gone.range = take_range(reader);
    if (reader->failed || !is_sane(&gone.range))
        return false;
    g_array_append_val(releases->gone, gone);
    return true;
}

static bool
take_all(KvgReleases *releases, const void *data, size_t len, uint64_t *sequence)
{
    KvgReader reader = kvg_reader_init(data, len);
    if (len < 4 || kvg_reader_u32(&reader) != kvg_crc32c(0, (const uint8_t *)data + 4, len - 4) ||
        kvg_reader_u32(&reader) != VERSION)
        return false;
    *sequence = kvg_reader_u64(&reader);
    const uint32_t n_releases = kvg_reader_u32(&reader);
    const uint32_t n_gone = kvg_reader_u32(&reader);
    for (uint32_t i = 0; i < n_releases; i++) {
        if (!take_release(releases, &reader))
            return false;
    }
    for (uint32_t i = 0; i < n_gone; i++) {
        if (!take_gone(releases, &reader))
            return false;
    }
    return !reader.failed;
}

bool
kvg_releases_unpack(KvgReleases *releases, const void *data, size_t len, uint64_t *sequence)
{
    if (take_all(releases, data, len, sequence))
        return true;
    g_array_set_size(releases->releases, 0);
    g_array_set_size(releases->gone, 0);
    releases->n_open = 0;
    return false;
}
