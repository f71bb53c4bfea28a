/* Which times of a camera are recorded: fragments merged to ranges, and those kept by the hour so
 * that a timeline need not list a day again. */
#pragma once

#include "aws/archive.h"

typedef struct {
    int64_t start_ms, end_ms;
} KvgRange;

/* Sorts @ranges (KvgRange) and joins what is at most @slack_ms apart. */
void kvg_ranges_merge(GArray *ranges, int64_t slack_ms);
/* Leaves of @ranges what lies within @from_ms and @to_ms. */
void kvg_ranges_clip(GArray *ranges, int64_t from_ms, int64_t to_ms);

typedef struct _KvgRecordings KvgRecordings;

KvgRecordings *kvg_recordings_new(void);
void kvg_recordings_free(KvgRecordings *recordings); /* NULL is fine */
/* What is recorded between @from_ms and @to_ms (KvgRange, in order, apart from each other; owned),
 * with pauses of up to a second left out. Calls ListFragments of @archive for what is not known, or
 * not any more. Blocks, also for another thread's question about the same camera. Thread: any. */
GArray *kvg_recordings_list(
    KvgRecordings *recordings, KvgArchive *archive, int64_t from_ms, int64_t to_ms, GError **error);

/* What the service would put into a clip of this range. */
typedef struct {
    uint64_t fragments, bytes; /* all of the range, or the first thousand fragments listed */
    int64_t fits_to_ms;        /* the end of what fits into one clip */
    bool fits;
} KvgClipSize;
bool kvg_recordings_measure(KvgArchive *archive,
                            int64_t from_ms,
                            int64_t to_ms,
                            KvgClipSize *size,
                            GError **error) G_GNUC_WARN_UNUSED_RESULT;
