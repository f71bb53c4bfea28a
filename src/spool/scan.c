#include "spool/scan.h"
#include "base/bytes.h"
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define SEARCH_BYTES 65536u
#define MAX_FRAGMENT_NUMBER (UINT64_MAX / 2)

typedef struct {
    KvgSpoolScan *out;
    GBytes *tracks;
    KvgSpoolFragment open; /* number 0: none */
    uint64_t newest;
} Walk;

static bool
read_exactly(int fd, void *buffer, size_t len, uint64_t offset)
{
    for (size_t got = 0; got < len;) {
        const ssize_t n = pread(fd, (uint8_t *)buffer + got, len - got, (off_t)(offset + got));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        got += (size_t)n;
    }
    return true;
}

static GBytes *
read_payload(int fd, const KvgRecord *record, uint64_t offset)
{
    g_autofree uint8_t *payload = g_malloc(MAX(record->payload_len, 1));
    if (!read_exactly(fd, payload, record->payload_len, offset) ||
        kvg_crc32c(0, payload, record->payload_len) != record->payload_crc)
        return NULL;
    return g_bytes_new_take(g_steal_pointer(&payload), record->payload_len);
}

/* A fragment without a frame is none. */
static void
close_fragment(Walk *walk)
{
    if (walk->open.n_frames > 0) {
        walk->open.complete = true;
        g_array_append_val(walk->out->fragments, walk->open);
    } else {
        g_clear_pointer(&walk->open.tracks, g_bytes_unref);
    }
    walk->open = (KvgSpoolFragment){0};
}

static bool
take_tracks(Walk *walk, const KvgRecord *record, uint64_t payload_at)
{
    g_autoptr(GBytes) payload = read_payload(walk->out->fd, record, payload_at);
    size_t n;
    KvgTrack *tracks = payload != NULL ? kvg_record_unpack_tracks(payload, &n) : NULL;
    if (tracks == NULL)
        return false;
    kvg_record_free_tracks(tracks, n);
    g_clear_pointer(&walk->tracks, g_bytes_unref);
    walk->tracks = g_steal_pointer(&payload);
    return true;
}

static bool
take_begin(Walk *walk, const KvgRecord *record, uint64_t end)
{
    close_fragment(walk);
    if (walk->tracks == NULL || record->fragment <= walk->newest ||
        record->fragment > MAX_FRAGMENT_NUMBER)
        return false;
    walk->newest = record->fragment;
    walk->open = (KvgSpoolFragment){.number = record->fragment,
                                    .segment = walk->out->sequence,
                                    .start = end,
                                    .end = end,
                                    .timecode_ms = record->time[0],
                                    .end_ms = record->time[0],
                                    .is_held = record->held,
                                    .begun_us = CLAMP(record->time[1], 0, INT64_MAX / 1000) * 1000,
                                    .tracks = g_bytes_ref(walk->tracks)};
    return true;
}

/* Judges the record at @offset; false: damaged, or not in its place. */
static bool
take_record(Walk *walk, uint64_t offset, const KvgRecord *record)
{
    const uint64_t payload_at = offset + KVG_RECORD_HEAD_BYTES;
    const uint64_t end = payload_at + record->payload_len;
    switch (record->kind) {
    case KVG_RECORD_TRACKS:
        return take_tracks(walk, record, payload_at);
    case KVG_RECORD_BEGIN:
        return take_begin(walk, record, end);
    case KVG_RECORD_FRAME:
    case KVG_RECORD_TAG:
        break;
    }
    if (walk->open.number == 0 || record->fragment != walk->open.number)
        return false;
    if (walk->out->checks_payloads) {
        g_autoptr(GBytes) payload = read_payload(walk->out->fd, record, payload_at);
        if (payload == NULL)
            return false;
    }
    walk->open.end = end;
    if (record->kind == KVG_RECORD_FRAME) {
        walk->open.n_frames++;
        walk->open.end_ms = kvg_spool_end_ms(walk->open.end_ms, record->time[0], record->time[2]);
    }
    return true;
}

/* The offset of the next whole BEGIN or TRACKS head after damage; the size if there is none. */
static uint64_t
find_next(const KvgSpoolScan *scan, uint64_t from)
{
    g_autofree uint8_t *piece = g_malloc(SEARCH_BYTES);
    while (from + KVG_RECORD_HEAD_BYTES <= scan->size) {
        const size_t len = (size_t)MIN(SEARCH_BYTES, scan->size - from);
        if (!read_exactly(scan->fd, piece, len, from))
            return scan->size;
        for (size_t at = kvg_record_find_magic(piece, len, 0); at + KVG_RECORD_HEAD_BYTES <= len;
             at = kvg_record_find_magic(piece, len, at + 1)) {
            KvgRecord record;
            if (kvg_record_read_head(piece + at, &record) && record.salt == scan->salt &&
                (record.kind == KVG_RECORD_TRACKS || record.kind == KVG_RECORD_BEGIN))
                return from + at;
        }
        if (len < SEARCH_BYTES)
            return scan->size;
        from += len - (KVG_RECORD_HEAD_BYTES - 1);
    }
    return scan->size;
}

typedef enum { FOUND_WHOLE, FOUND_END, FOUND_CUT, FOUND_DAMAGE } Found;

static Found
read_head(const KvgSpoolScan *scan, uint64_t offset, KvgRecord *record)
{
    static const uint8_t end[KVG_SEGMENT_END_BYTES];
    uint8_t head[KVG_RECORD_HEAD_BYTES];
    if (scan->in_memory && offset + sizeof end <= scan->size &&
        read_exactly(scan->fd, head, sizeof end, offset) && memcmp(head, end, sizeof end) == 0)
        return FOUND_END;
    if (offset + sizeof head > scan->size)
        return FOUND_CUT;
    if (!read_exactly(scan->fd, head, sizeof head, offset) || !kvg_record_read_head(head, record) ||
        record->salt != scan->salt)
        return FOUND_DAMAGE;
    return offset + sizeof head + record->payload_len <= scan->size ? FOUND_WHOLE : FOUND_CUT;
}

static void
walk_records(Walk *walk)
{
    KvgSpoolScan *scan = walk->out;
    for (uint64_t offset = KVG_SEGMENT_HEAD_BYTES; offset < scan->size;) {
        KvgRecord record;
        const Found found = read_head(scan, offset, &record);
        if (found == FOUND_WHOLE && take_record(walk, offset, &record)) {
            offset += KVG_RECORD_HEAD_BYTES + record.payload_len;
            continue;
        }
        close_fragment(walk);
        if (found == FOUND_END) {
            scan->size = offset;
            break;
        }
        const uint64_t end = offset;
        offset = find_next(scan, offset + 1);
        scan->is_torn = offset == scan->size && (found == FOUND_CUT || scan->in_memory);
        scan->n_damaged += !scan->is_torn;
        if (scan->is_torn && scan->in_memory)
            scan->size = end;
    }
    close_fragment(walk);
    g_clear_pointer(&walk->tracks, g_bytes_unref);
}

unsigned
kvg_spool_scan_version(int fd)
{
    uint8_t head[KVG_SEGMENT_HEAD_BYTES];
    unsigned version;
    uint32_t salt;
    if (!read_exactly(fd, head, sizeof head, 0) || !kvg_segment_read_head(head, &version, &salt))
        return 0;
    return version;
}

bool
kvg_spool_scan_is_still(int fd, uint32_t salt)
{
    uint8_t head[KVG_SEGMENT_HEAD_BYTES];
    unsigned version;
    uint32_t now;
    return !read_exactly(fd, head, sizeof head, 0) ||
           !kvg_segment_read_head(head, &version, &now) || now == salt;
}

/* The salt; should the head be damaged, that of the first record. */
static bool
read_salt(KvgSpoolScan *scan)
{
    uint8_t head[KVG_SEGMENT_HEAD_BYTES];
    if (read_exactly(scan->fd, head, sizeof head, 0) &&
        kvg_segment_read_head(head, &scan->version, &scan->salt))
        return true;
    scan->n_damaged++;
    uint8_t first[KVG_RECORD_HEAD_BYTES];
    KvgRecord record;
    if (!read_exactly(scan->fd, first, sizeof first, sizeof head) ||
        !kvg_record_read_head(first, &record))
        return false;
    scan->version = KVG_SEGMENT_VERSION;
    scan->salt = record.salt;
    return true;
}

bool
kvg_spool_scan(KvgSpoolScan *scan)
{
    struct stat info;
    if (fstat(scan->fd, &info) < 0)
        return false;
    scan->fragments = g_array_new(FALSE, FALSE, sizeof(KvgSpoolFragment));
    scan->size = (uint64_t)info.st_size;
    scan->n_damaged = 0;
    scan->is_torn = scan->size < KVG_SEGMENT_HEAD_BYTES;
    if (scan->is_torn || !read_salt(scan))
        return true;
    Walk walk = {.out = scan, .newest = scan->newest};
    walk_records(&walk);
    return true;
}

void
kvg_spool_scan_clear(KvgSpoolScan *scan)
{
    if (scan->fragments == NULL)
        return;
    for (guint i = 0; i < scan->fragments->len; i++)
        g_bytes_unref(g_array_index(scan->fragments, KvgSpoolFragment, i).tracks);
    g_array_unref(scan->fragments);
    *scan = (KvgSpoolScan){0};
}
