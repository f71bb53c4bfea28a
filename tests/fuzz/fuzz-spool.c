/* Recovery of a segment: the input is its file, as it is and with all checksums put right, walked
 * alone and then opened and read as a spool. */
#include "fuzz.h"

#include "base/bytes.h"
#include "spool/scan.h"
#include <fcntl.h>
#include <kvg/error.h>
#include <stdlib.h>
#include <sys/mman.h>

static void
put_u32(uint8_t *at, uint32_t value)
{
    const uint32_t wire = GUINT32_TO_BE(value);
    memcpy(at, &wire, sizeof wire);
}

/* Puts magics, salts and checksums right, so that what is behind them is reached. */
static void
seal(uint8_t *data, size_t size)
{
    if (size < KVG_SEGMENT_HEAD_BYTES)
        return;
    kvg_segment_write_head(KVG_SEGMENT_VERSION, 1, data);
    for (size_t at = KVG_SEGMENT_HEAD_BYTES; size - at >= KVG_RECORD_HEAD_BYTES;) {
        uint8_t *head = data + at;
        at += KVG_RECORD_HEAD_BYTES;
        const uint32_t len = ((uint32_t)head[14] << 8 | head[15]) & 0xfff;
        put_u32(head + 12, len);
        put_u32(head + 8, kvg_crc32c(0, data + at, MIN(len, size - at)));
        put_u32(head + 20, 1);
        memcpy(head, "KVGR", 4);
        put_u32(head + 4, kvg_crc32c(0, head + 8, KVG_RECORD_HEAD_BYTES - 8));
        at += MIN(len, size - at);
    }
}

static void
walk(const uint8_t *data, size_t size)
{
    g_autoptr(KvgSpoolFile) file = kvg_spool_file_new(memfd_create("segment", MFD_CLOEXEC));
    g_assert(kvg_fd_write_all(file->fd, data, size, NULL));
    g_auto(KvgSpoolScan) scan = {.fd = file->fd, .checks_payloads = true};
    g_assert(kvg_spool_scan(&scan));
    uint64_t end = 0, newest = 0;
    for (guint i = 0; i < scan.fragments->len; i++) {
        const KvgSpoolFragment *fragment = &g_array_index(scan.fragments, KvgSpoolFragment, i);
        g_assert(fragment->number > newest && fragment->complete && fragment->n_frames > 0);
        g_assert(fragment->start >= end && fragment->end > fragment->start &&
                 fragment->end <= size);
        end = fragment->end;
        newest = fragment->number;
    }
}

static char *folder;

static void
open_and_read(const uint8_t *data, size_t size)
{
    g_autofree char *path = g_build_filename(folder, "0000000000000001.seg", NULL);
    {
        g_auto(KvgFd) fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        g_assert(kvg_fd_write_all(fd, data, size, NULL));
    }
    const KvgSpoolOptions options = {.path = folder, .read_only = true};
    g_autoptr(GError) error = NULL;
    g_autoptr(KvgSpool) spool = kvg_spool_open(&options, &error);
    if (spool == NULL) {
        g_assert(g_error_matches(error, KVG_ERROR, KVG_ERROR_UNSUPPORTED));
        return;
    }
    g_autoptr(KvgSpoolReader) reader = kvg_spool_reader_new(spool);
    for (size_t n = 0;; n++) {
        g_auto(KvgSpoolEvent) event = {0};
        g_assert(kvg_spool_read(reader, &event, NULL));
        if (event.kind == KVG_SPOOL_NONE)
            return;
        g_assert(n <= size); /* it comes to an end */
    }
}

static void
remove_folder(void)
{
    if (!kvg_dir_remove(folder, NULL))
        abort();
}

static GLogWriterOutput
say_nothing(GLogLevelFlags level, const GLogField *fields, gsize n, gpointer data)
{
    return G_LOG_WRITER_HANDLED;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (folder == NULL) {
        folder = g_dir_make_tmp("kvg-fuzz-XXXXXX", NULL);
        g_assert(folder != NULL);
        g_log_set_writer_func(say_nothing, NULL, NULL);
        atexit(remove_folder);
    }
    walk(data, size);
    open_and_read(data, size);
    g_autofree uint8_t *sealed = g_memdup2(data, size);
    seal(sealed, size);
    walk(sealed, size);
    open_and_read(sealed, size);
    return 0;
}
