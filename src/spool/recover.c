/* Opening what an earlier process left: the cursor, then the record heads of every segment. Damage
 * ends a fragment at its last whole frame; the search goes on at the next BEGIN. */
#include "base/bytes.h"
#include "spool/private.h"
#include <errno.h>
#include <fcntl.h>
#include <kvg/error.h>
#include <string.h>
#include <sys/stat.h>

#define CURSOR_SLOT_BYTES 32u
#define SEARCH_BYTES 65536u

/* ---- cursor: two slots of checksum, sequence, persisted, next fragment; the newer whole one
 * counts. Not synced: after a loss of power a few fragments may go up twice. ---- */

static bool
fail_errno(GError **error, const char *path, const char *what)
{
    const int code = errno;
    g_set_error(error, KVG_ERROR,
                code == ENOSPC || code == EDQUOT ? KVG_ERROR_NO_SPACE : KVG_ERROR_FAILED,
                "cannot %s %s: %s", what, path, g_strerror(code));
    return false;
}

bool
kvg_spool_read_cursor(KvgSpool *spool, GError **error)
{
    g_autofree char *path = g_build_filename(spool->path, "cursor", NULL);
    spool->cursor_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (spool->cursor_fd < 0)
        return fail_errno(error, path, "open");
    uint8_t slots[2 * CURSOR_SLOT_BYTES] = {0};
    if (pread(spool->cursor_fd, slots, sizeof slots, 0) < 0)
        return fail_errno(error, path, "read");
    for (size_t i = 0; i < 2; i++) {
        const uint8_t *slot = slots + i * CURSOR_SLOT_BYTES;
        KvgReader reader = kvg_reader_init(slot, CURSOR_SLOT_BYTES);
        const uint32_t crc = kvg_reader_u32(&reader);
        kvg_reader_u32(&reader);
        const uint64_t sequence = kvg_reader_u64(&reader);
        if (crc != kvg_crc32c(0, slot + 4, CURSOR_SLOT_BYTES - 4) ||
            sequence <= spool->shared.cursor_sequence)
            continue;
        spool->shared.cursor_sequence = sequence;
        spool->shared.persisted = kvg_reader_u64(&reader);
        spool->shared.next_fragment = kvg_reader_u64(&reader);
    }
    spool->shared.next_fragment = MAX(spool->shared.next_fragment, spool->shared.persisted + 1);
    return true;
}

bool
kvg_spool_write_cursor(KvgSpool *spool, GError **error)
{
    const uint64_t sequence = ++spool->shared.cursor_sequence;
    g_autoptr(GByteArray) slot = g_byte_array_sized_new(CURSOR_SLOT_BYTES);
    kvg_bytes_put_u64(slot, 0);
    kvg_bytes_put_u64(slot, sequence);
    kvg_bytes_put_u64(slot, spool->shared.persisted);
    kvg_bytes_put_u64(slot, spool->shared.next_fragment);
    kvg_bytes_set_u32(slot, 0, kvg_crc32c(0, slot->data + 4, CURSOR_SLOT_BYTES - 4));
    const off_t at = (off_t)(sequence % 2) * CURSOR_SLOT_BYTES;
    if (pwrite(spool->cursor_fd, slot->data, slot->len, at) != (ssize_t)slot->len)
        return fail_errno(error, spool->path, "write the cursor of");
    return true;
}

/* ---- segments ---- */

typedef struct {
    KvgSpool *spool;
    int fd;
    uint64_t size;
    bool is_last; /* payloads are checked too */
    GBytes *tracks;
    KvgSpoolFragment open; /* number 0: none */
} Scan;

static bool
read_exactly(int fd, void *buffer, size_t len, uint64_t offset)
{
    return pread(fd, buffer, len, (off_t)offset) == (ssize_t)len;
}

static GBytes *
read_payload(const Scan *scan, const KvgRecord *record, uint64_t offset)
{
    g_autofree uint8_t *payload = g_malloc(MAX(record->payload_len, 1));
    if (!read_exactly(scan->fd, payload, record->payload_len, offset) ||
        kvg_crc32c(0, payload, record->payload_len) != record->payload_crc)
        return NULL;
    return g_bytes_new_take(g_steal_pointer(&payload), record->payload_len);
}

/* Keeps the fragment that ends here if it has a frame that still has to go up. */
static void
close_fragment(Scan *scan)
{
    KvgSpoolFragment *open = &scan->open;
    if (open->number > scan->spool->shared.persisted && open->n_frames > 0) {
        open->complete = true;
        kvg_spool_add(scan->spool, open);
    } else {
        g_clear_pointer(&open->tracks, g_bytes_unref);
        scan->spool->shared.next_fragment =
            MAX(scan->spool->shared.next_fragment, open->number + 1);
    }
    *open = (KvgSpoolFragment){0};
}

static bool
take_tracks(Scan *scan, const KvgRecord *record, uint64_t payload_at)
{
    g_autoptr(GBytes) payload = read_payload(scan, record, payload_at);
    size_t n;
    KvgTrack *tracks = payload != NULL ? kvg_record_unpack_tracks(payload, &n) : NULL;
    if (tracks == NULL)
        return false;
    kvg_record_free_tracks(tracks, n);
    g_clear_pointer(&scan->tracks, g_bytes_unref);
    scan->tracks = g_steal_pointer(&payload);
    return true;
}

/* Judges the record at @offset; false: damaged, or not in its place. */
static bool
take_record(Scan *scan, uint64_t sequence, uint64_t offset, const KvgRecord *record)
{
    const uint64_t payload_at = offset + KVG_RECORD_HEAD_BYTES;
    const uint64_t end = payload_at + record->payload_len;
    switch (record->kind) {
    case KVG_RECORD_TRACKS:
        return take_tracks(scan, record, payload_at);
    case KVG_RECORD_BEGIN: {
        const uint64_t last = scan->open.number;
        close_fragment(scan);
        const guint n = kvg_spool_count(scan->spool);
        const uint64_t newest = n > 0 ? kvg_spool_at(scan->spool, n - 1)->number : 0;
        if (scan->tracks == NULL || record->fragment <= MAX(newest, last))
            return false;
        scan->open = (KvgSpoolFragment){.number = record->fragment,
                                        .segment = sequence,
                                        .start = end,
                                        .end = end,
                                        .timecode_ms = record->time[0],
                                        .tracks = g_bytes_ref(scan->tracks)};
        return true;
    }
    case KVG_RECORD_FRAME:
    case KVG_RECORD_TAG:
        break;
    }
    if (record->fragment != scan->open.number)
        return false;
    if (scan->is_last) {
        g_autoptr(GBytes) payload = read_payload(scan, record, payload_at);
        if (payload == NULL)
            return false;
    }
    scan->open.end = end;
    scan->open.n_frames += record->kind == KVG_RECORD_FRAME;
    return true;
}

/* The offset of the next whole BEGIN or TRACKS head after damage; the size if there is none. */
static uint64_t
resync(const Scan *scan, uint64_t from)
{
    g_autofree uint8_t *piece = g_malloc(SEARCH_BYTES);
    while (from + KVG_RECORD_HEAD_BYTES <= scan->size) {
        const size_t len = (size_t)MIN(SEARCH_BYTES, scan->size - from);
        if (!read_exactly(scan->fd, piece, len, from))
            return scan->size;
        for (size_t at = kvg_record_find_magic(piece, len, 0); at + KVG_RECORD_HEAD_BYTES <= len;
             at = kvg_record_find_magic(piece, len, at + 1)) {
            KvgRecord record;
            if (kvg_record_read_head(piece + at, &record) &&
                (record.kind == KVG_RECORD_TRACKS || record.kind == KVG_RECORD_BEGIN))
                return from + at;
        }
        if (len < SEARCH_BYTES)
            return scan->size;
        from += len - (KVG_RECORD_HEAD_BYTES - 1);
    }
    return scan->size;
}

/* Walks one segment; returns where its whole records end. */
static uint64_t
scan_segment(Scan *scan, uint64_t sequence)
{
    uint64_t offset = KVG_SEGMENT_HEAD_BYTES;
    uint64_t good = offset;
    while (offset < scan->size) {
        uint8_t head[KVG_RECORD_HEAD_BYTES];
        KvgRecord record;
        const bool whole = offset + sizeof head <= scan->size &&
                           read_exactly(scan->fd, head, sizeof head, offset) &&
                           kvg_record_read_head(head, &record) &&
                           offset + sizeof head + record.payload_len <= scan->size;
        if (whole && take_record(scan, sequence, offset, &record)) {
            offset += sizeof head + record.payload_len;
            good = offset;
            continue;
        }
        scan->spool->shared.torn_records++;
        if (scan->open.number != 0)
            close_fragment(scan);
        offset = resync(scan, offset + 1);
    }
    if (scan->open.number != 0)
        close_fragment(scan);
    return good;
}

static bool
recover_segment(KvgSpool *spool, uint64_t sequence, bool is_last, GError **error)
{
    g_autofree char *path = kvg_spool_segment_path(spool, sequence);
    g_auto(KvgFd) fd = open(path, (is_last ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) < 0)
        return fail_errno(error, path, "open");
    const KvgSpoolSegment segment = {.sequence = sequence, .size = (uint64_t)info.st_size};
    g_array_append_val(spool->shared.segments, segment);
    spool->shared.bytes_on_disk += segment.size;
    spool->shared.next_segment = MAX(spool->shared.next_segment, sequence + 1);
    Scan scan = {.spool = spool, .fd = fd, .size = segment.size, .is_last = is_last};
    const uint64_t good = scan_segment(&scan, sequence);
    g_clear_pointer(&scan.tracks, g_bytes_unref);
    if (!is_last || good >= segment.size)
        return true;
    if (ftruncate(fd, (off_t)good) < 0)
        return fail_errno(error, path, "cut the torn end of");
    spool->shared.bytes_on_disk -= segment.size - good;
    kvg_spool_segment(spool, sequence)->size = good;
    return true;
}

static int
compare_sequences(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a;
    const uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static GArray *
list_segments(const KvgSpool *spool, GError **error)
{
    g_autoptr(GDir) folder = g_dir_open(spool->path, 0, error);
    if (folder == NULL)
        return NULL;
    GArray *sequences = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    const char *name;
    while ((name = g_dir_read_name(folder)) != NULL) {
        char *end;
        const uint64_t sequence = g_ascii_strtoull(name, &end, 16);
        if (end == name + 16 && g_str_equal(end, ".seg"))
            g_array_append_val(sequences, sequence);
    }
    g_array_sort(sequences, compare_sequences);
    return sequences;
}

bool
kvg_spool_recover(KvgSpool *spool, GError **error)
{
    g_autoptr(GArray) sequences = list_segments(spool, error);
    if (sequences == NULL)
        return false;
    for (guint i = 0; i < sequences->len; i++) {
        if (!recover_segment(spool, g_array_index(sequences, uint64_t, i), i + 1 == sequences->len,
                             error))
            return false;
    }
    kvg_spool_sweep(spool, true);
    return true;
}
