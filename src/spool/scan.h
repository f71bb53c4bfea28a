/* What is in a segment file, found by walking its records. Damage ends a fragment at its last whole
 * frame; the search goes on at the next fragment. */
#pragma once

#include "spool/private.h"

typedef struct {
    /* in */
    int fd;
    uint64_t sequence;    /* of the segment, for the fragments found */
    uint64_t newest;      /* fragments with this number or less are damage */
    bool in_memory;       /* it may have been written over: behind its end are old bytes */
    bool checks_payloads; /* of frames; those of tracks always are */
    /* out */
    GArray *fragments; /* KvgSpoolFragment with frames, complete; begun_us is wall clock * 1000 */
    unsigned version;
    uint32_t salt;
    uint64_t size;      /* in memory without what is behind the last whole record */
    unsigned n_damaged; /* places where records are damaged */
    bool is_torn;       /* the last record is not all there, as a crash leaves it */
} KvgSpoolScan;

/* Only the version; 0 if the head is damaged or missing. */
unsigned kvg_spool_scan_version(int fd);
/* Whether the file still is the segment with @salt: one in memory may have been written over. */
bool kvg_spool_scan_is_still(int fd, uint32_t salt);
/* Fills what is marked "out". False and errno if the file cannot be read. */
bool kvg_spool_scan(KvgSpoolScan *scan) G_GNUC_WARN_UNUSED_RESULT;
void kvg_spool_scan_clear(KvgSpoolScan *scan);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(KvgSpoolScan, kvg_spool_scan_clear)
