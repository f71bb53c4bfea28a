/* A reader of a spool: events from a position of its own. It finds its way by the index, under the
 * lock, and reads the bytes of records without it. */
#include "base/bytes.h"
#include "os/log.h"
#include "spool/scan.h"
#include <errno.h>
#include <fcntl.h>
#include <kvg/error.h>
#include <string.h>

#define READ_AHEAD_BYTES (64u * 1024)

struct _KvgSpoolReader {
    KvgSpool *spool;
    uint64_t reading; /* the fragment it is in, or wants next: its number, or place in the queue */
    bool begun;
    uint64_t offset;    /* of the next record, from the fragment's start, when begun */
    GBytes *tracks;     /* last given */
    KvgSpoolFile *file; /* NULL: none, or its file is gone */
    uint64_t segment;   /* of file */
    uint32_t salt;      /* of file */
    GByteArray *buffer;
    uint64_t buffer_offset; /* of buffer's first byte in the segment */
};

/* Where the next record is; a copy that the lock is not needed for. */
typedef struct {
    uint64_t fragment, segment, start, end;
    KvgSpoolPlace place;
    uint32_t salt;
    KvgSpoolFile *file; /* a reference, if the writer still has it open */
} Spot;

KvgSpoolReader *
kvg_spool_reader_new(KvgSpool *spool)
{
    KvgSpoolReader *reader = g_new0(KvgSpoolReader, 1);
    reader->spool = spool;
    reader->buffer = g_byte_array_new();
    kvg_spool_seek(reader, 0);
    return reader;
}

void
kvg_spool_reader_free(KvgSpoolReader *reader)
{
    if (reader == NULL)
        return;
    kvg_spool_file_unref(reader->file);
    g_clear_pointer(&reader->tracks, g_bytes_unref);
    g_byte_array_unref(reader->buffer);
    g_free(reader);
}

void
kvg_spool_event_clear(KvgSpoolEvent *event)
{
    kvg_record_free_tracks(event->tracks, event->n_tracks);
    g_clear_pointer(&event->frame.data, g_bytes_unref);
    g_free(event->tag_name);
    g_free(event->tag_value);
    *event = (KvgSpoolEvent){0};
}

static void
forget_buffer(KvgSpoolReader *reader)
{
    if (reader->buffer->len == 0)
        return;
    g_byte_array_unref(reader->buffer);
    reader->buffer = g_byte_array_new();
}

void
kvg_spool_seek(KvgSpoolReader *reader, uint64_t fragment)
{
    if (fragment == 0) {
        pthread_mutex_lock(&reader->spool->lock);
        fragment = reader->spool->has_queue ? reader->spool->shared.queue_place
                                            : reader->spool->shared.persisted + 1;
        pthread_mutex_unlock(&reader->spool->lock);
    }
    reader->reading = fragment;
    reader->begun = false;
    g_clear_pointer(&reader->tracks, g_bytes_unref);
    g_clear_pointer(&reader->file, kvg_spool_file_unref);
    forget_buffer(reader);
}

/* Makes the bytes [offset, offset + len) of the reader's segment available; NULL if they cannot be
 * read. Reads ahead within @end. */
static const uint8_t *
fetch(KvgSpoolReader *reader, uint64_t offset, size_t len, uint64_t end)
{
    GByteArray *buffer = reader->buffer;
    if (offset >= reader->buffer_offset && offset + len <= reader->buffer_offset + buffer->len)
        return buffer->data + (offset - reader->buffer_offset);
    if (offset + len > end)
        return NULL;
    const size_t want = (size_t)MIN(end - offset, MAX(len, READ_AHEAD_BYTES));
    g_byte_array_set_size(buffer, (guint)want);
    reader->buffer_offset = offset;
    size_t got = 0;
    while (got < want) {
        const ssize_t n =
            pread(reader->file->fd, buffer->data + got, want - got, (off_t)(offset + got));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        got += (size_t)n;
    }
    g_byte_array_set_size(buffer, (guint)got);
    return got >= len ? buffer->data : NULL;
}

/* Who only looks on does not learn of a move: a segment may also be in the other place. */
static bool
open_for_reading(KvgSpoolReader *reader, Spot *spot, GError **error)
{
    if (reader->file != NULL && reader->segment == spot->segment)
        return true;
    g_clear_pointer(&reader->file, kvg_spool_file_unref);
    forget_buffer(reader);
    reader->segment = spot->segment;
    reader->salt = spot->salt;
    reader->file = g_steal_pointer(&spot->file);
    if (reader->file != NULL)
        return true;
    for (guint i = 0; i < KVG_SPOOL_N_PLACES; i++) {
        const KvgSpoolPlace place = (spot->place + i) % KVG_SPOOL_N_PLACES;
        if (reader->spool->paths[place] == NULL)
            continue;
        g_autofree char *path = kvg_spool_segment_path(reader->spool, place, spot->segment);
        const int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0)
            reader->file = kvg_spool_file_new(fd);
        if (fd >= 0 || (errno != ENOENT && errno != ENOTDIR))
            return fd >= 0 || kvg_spool_fail(error, errno, path, "open");
    }
    return true; /* it is gone */
}

static bool
take_payload(const KvgRecord *record, const uint8_t *payload, KvgSpoolEvent *event)
{
    if (record->kind == KVG_RECORD_TAG) {
        event->kind = KVG_SPOOL_TAG;
        return kvg_record_unpack_tag(payload, record->payload_len, &event->tag_name,
                                     &event->tag_value);
    }
    event->kind = KVG_SPOOL_FRAME;
    event->frame = (KvgFrame){.track = record->track,
                              .key = record->key,
                              .pts_us = record->time[0],
                              .dts_us = record->time[1],
                              .duration_us = record->time[2],
                              .data = g_bytes_new(payload, record->payload_len)};
    return true;
}

/* One record of the fragment: a frame or a tag; false: it cannot be read back. */
static bool
read_record(KvgSpoolReader *reader, const Spot *spot, KvgSpoolEvent *event)
{
    if (reader->file == NULL)
        return false;
    const uint64_t offset = spot->start + reader->offset;
    const uint8_t *head = fetch(reader, offset, KVG_RECORD_HEAD_BYTES, spot->end);
    KvgRecord record;
    if (head == NULL || !kvg_record_read_head(head, &record) || record.salt != reader->salt ||
        record.fragment != spot->fragment ||
        (record.kind != KVG_RECORD_FRAME && record.kind != KVG_RECORD_TAG))
        return false;
    const uint8_t *payload =
        fetch(reader, offset + KVG_RECORD_HEAD_BYTES, record.payload_len, spot->end);
    if (payload == NULL || kvg_crc32c(0, payload, record.payload_len) != record.payload_crc)
        return false;
    reader->offset += KVG_RECORD_HEAD_BYTES + record.payload_len;
    return take_payload(&record, payload, event);
}

/* A fragment that cannot be read back is a gap, and gone unless the writer is still in it. */
static void
skip_damaged(KvgSpoolReader *reader, uint64_t number, KvgSpoolEvent *event)
{
    KvgSpool *spool = reader->spool;
    const bool is_gone =
        reader->file == NULL || !kvg_spool_scan_is_still(reader->file->fd, reader->salt);
    pthread_mutex_lock(&spool->lock);
    spool->shared.torn_records += !is_gone;
    kvg_spool_remove(spool, number);
    kvg_spool_sweep(spool);
    pthread_mutex_unlock(&spool->lock);
    kvg_spool_event_clear(event);
    event->kind = KVG_SPOOL_GAP;
    event->fragment = event->gap_end = reader->reading;
    reader->reading++;
    reader->begun = false;
    KVG_LOG_WARNING(KVG_SPOOL_LOG, "SPOOL", spool->name,
                    "spool %s: fragment %" G_GUINT64_FORMAT " is %s and left out", spool->name,
                    number, is_gone ? "gone" : "damaged");
}

static void
begin_next(KvgSpoolReader *reader, const KvgSpoolFragment *next, KvgSpoolEvent *event)
{
    if (reader->tracks == NULL || !g_bytes_equal(reader->tracks, next->tracks)) {
        event->kind = KVG_SPOOL_TRACKS;
        g_clear_pointer(&reader->tracks, g_bytes_unref);
        reader->tracks = g_bytes_ref(next->tracks);
        return;
    }
    event->kind = KVG_SPOOL_BEGIN;
    reader->begun = true;
    reader->offset = 0;
}

static void
take_spot(KvgSpoolReader *reader, const KvgSpoolFragment *fragment, Spot *spot)
{
    const KvgSpoolSegment *segment = kvg_spool_segment(reader->spool, fragment->segment);
    *spot = (Spot){.fragment = fragment->number,
                   .segment = fragment->segment,
                   .start = fragment->start,
                   .end = fragment->end,
                   .place = segment->place,
                   .salt = segment->salt};
    const bool has_it = reader->file != NULL && reader->segment == spot->segment;
    if (!has_it && segment->file != NULL)
        spot->file = kvg_spool_file_ref(segment->file);
}

static bool
take_recent(KvgSpoolReader *reader, uint64_t fragment, KvgSpoolEvent *event)
{
    if (!kvg_spool_recent_take(&reader->spool->shared.recent, fragment, reader->offset,
                               &event->frame))
        return false;
    event->kind = KVG_SPOOL_FRAME;
    reader->offset += KVG_RECORD_HEAD_BYTES + g_bytes_get_size(event->frame.data);
    return true;
}

static const KvgSpoolFragment *
find_next(const KvgSpoolReader *reader, uint64_t *at)
{
    if (reader->spool->has_queue)
        return kvg_spool_next_wanted(reader->spool, reader->reading, at);
    const KvgSpoolFragment *next = kvg_spool_lookup(reader->spool, reader->reading);
    *at = next != NULL ? next->number : 0;
    return next;
}

/* What comes next, by the index alone; with the lock held. True: @event is complete; false: a
 * record is to be read at @spot. */
static bool
next_by_index(KvgSpoolReader *reader, KvgSpoolEvent *event, Spot *spot)
{
    uint64_t at = 0;
    const KvgSpoolFragment *next = find_next(reader, &at);
    if (next == NULL)
        return true;
    event->fragment = at;
    event->timecode_ms = next->timecode_ms;
    if (at != reader->reading) {
        event->kind = KVG_SPOOL_GAP;
        event->fragment = reader->reading;
        event->gap_end = at - 1;
        reader->reading = at;
        reader->begun = false;
        return true;
    }
    if (!reader->begun) {
        begin_next(reader, next, event);
        return true;
    }
    if (reader->offset < next->end - next->start) {
        if (take_recent(reader, next->number, event))
            return true;
        take_spot(reader, next, spot);
        return false;
    }
    if (next->complete) {
        event->kind = KVG_SPOOL_END;
        reader->reading++;
        reader->begun = false;
    }
    return true;
}

/* A segment that moves may be deleted between our look into the index and opening it. */
static bool
read_spot(
    KvgSpoolReader *reader, Spot *spot, bool is_last_try, KvgSpoolEvent *event, GError **error)
{
    const bool ok = open_for_reading(reader, spot, error);
    g_clear_pointer(&spot->file, kvg_spool_file_unref);
    if (!ok)
        return false;
    if (reader->file == NULL && !is_last_try)
        return true;
    if (!read_record(reader, spot, event))
        skip_damaged(reader, spot->fragment, event);
    return true;
}

bool
kvg_spool_read(KvgSpoolReader *reader, KvgSpoolEvent *event, GError **error)
{
    bool done = false;
    *event = (KvgSpoolEvent){.kind = KVG_SPOOL_NONE};
    for (unsigned tries = 0; !done && event->kind == KVG_SPOOL_NONE; tries++) {
        Spot spot = {0};
        pthread_mutex_lock(&reader->spool->lock);
        done = next_by_index(reader, event, &spot);
        if (done && event->kind == KVG_SPOOL_NONE)
            kvg_spool_recent_at_end(&reader->spool->shared.recent);
        pthread_mutex_unlock(&reader->spool->lock);
        if (!done && !read_spot(reader, &spot, tries > 0, event, error))
            return false;
    }
    if (event->kind == KVG_SPOOL_NONE)
        forget_buffer(reader);
    if (event->kind == KVG_SPOOL_TRACKS) /* whole: packed here, or checked when recovered */
        event->tracks = kvg_record_unpack_tracks(reader->tracks, &event->n_tracks);
    return true;
}
