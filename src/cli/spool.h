/* Looking into a spool without disturbing whoever uses it. */
#pragma once

#include "spool/spool.h"

/* What was written by an export. */
typedef struct {
    GPtrArray *files; /* char *; one for each set of tracks */
    uint64_t n_fragments, n_frames, n_bytes;
    uint64_t
        next_fragment; /* to the standard output: where other tracks begin; 0: everything is done */
    int64_t first_ms, last_ms; /* timecodes of the first and the last fragment */
} KvgSpoolExport;
void kvg_spool_export_clear(KvgSpoolExport *export);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(KvgSpoolExport, kvg_spool_export_clear)

/* Writes the fragments from number @from on as Matroska that begins at time zero. @path NULL: to
 * the standard output. Fragments with other tracks go into files of their own: a.mkv, a-2.mkv, ...
 * On failure the file begun last is deleted. */
bool kvg_spool_export(KvgSpool *spool,
                      uint64_t from,
                      const char *path,
                      KvgSpoolExport *export,
                      GError **error) G_GNUC_WARN_UNUSED_RESULT;
