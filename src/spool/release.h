/* What was asked for of a spool that holds its fragments, and what of them has gone up already. A
 * table with limits, and its form in a file; no I/O, no lock. */
#pragma once

#include <glib.h>
#include <kvg/spool.h>
#include <stdbool.h>
#include <stdint.h>

/* Not done yet: what an outage of days may leave. */
#define KVG_RELEASES_MAX 1000u
/* Done, for who asks what came of them. */
#define KVG_RELEASES_KEPT 64u
/* Of fragments that lie side by side. Forgetting one costs no more than an answer "missing". */
#define KVG_RELEASES_MAX_GONE 256u
/* Shorter gaps between fragments are none: a frame's time, or a camera's stutter. */
#define KVG_RELEASE_GAP_MS 1500
#define KVG_RELEASES_MAX_BYTES (512u * 1024)

/* Fragments first..last, with all between them, were uploaded. */
typedef struct {
    uint64_t first, last;
    KvgTimeRange range;
} KvgGone;

typedef struct {
    GArray *releases; /* KvgRelease, oldest first; of the fields on waiting and missing only what is
                         missing of those that are done is kept */
    GArray *gone;     /* KvgGone, in the order of upload */
    unsigned n_open;  /* not done */
} KvgReleases;

void kvg_releases_init(KvgReleases *releases);
void kvg_releases_clear(KvgReleases *releases);

/* Whether a fragment with frames in [from_ms, to_ms] has a part in @range. */
bool kvg_range_takes(const KvgTimeRange *range, int64_t from_ms, int64_t to_ms);

/* The one with @id; NULL. Valid until the next call that adds one. */
KvgRelease *kvg_releases_find(KvgReleases *releases, const char *id);
/* A new one; the range of one with the same @id that is not done grows to hold both. NULL and
 * KVG_ERROR_INVALID or KVG_ERROR_NO_SPACE. */
KvgRelease *kvg_releases_add(KvgReleases *releases,
                             const char *id,
                             const KvgTimeRange *range,
                             int64_t now_wall_ms,
                             GError **error);
/* Whether one that is not done takes a fragment. */
bool kvg_releases_take(const KvgReleases *releases, int64_t from_ms, int64_t to_ms);
/* Fragment @number has been uploaded. */
void kvg_releases_note_gone(
    KvgReleases *releases, uint64_t number, int64_t from_ms, int64_t to_ms, uint64_t bytes);
/* Both count: after a loss of power, numbers may come again. */
bool kvg_releases_is_gone(const KvgReleases *releases, uint64_t number, int64_t from_ms);
uint64_t kvg_releases_newest_gone(const KvgReleases *releases); /* its number; 0: none */
/* Nothing more comes of it; @there as for kvg_release_judge(). */
void kvg_releases_finish(KvgReleases *releases, KvgRelease *release, const GArray *there);

/* ---- ranges of time: GArray of KvgTimeRange, ascending and apart ---- */

/* Adds [from_ms, to_ms], joined with those that it touches. */
void kvg_ranges_add(GArray *ranges, int64_t from_ms, int64_t to_ms);
/* Fills in what of the release, up to @until_ms, is not in @there. */
void kvg_release_judge(KvgRelease *release, const GArray *there, int64_t until_ms);

/* ---- the file ---- */

GByteArray *kvg_releases_pack(const KvgReleases *releases, uint64_t sequence);
/* Into an empty table; false: damaged, and the table is empty. */
bool kvg_releases_unpack(KvgReleases *releases, const void *data, size_t len, uint64_t *sequence);
