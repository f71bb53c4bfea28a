/* The writer of a spool: it appends a record and then moves the open fragment's end under the lock.
 * A reader never reads behind that end, so the bytes themselves need no lock. */
#include "spool/private.h"
#include <kvg/error.h>

static void
tell_readers(KvgSpool *spool)
{
    if (spool->on_data != NULL)
        spool->on_data(spool->user_data);
}

bool
kvg_spool_put_tracks(KvgSpool *spool, const KvgTrack *tracks, size_t n, GError **error)
{
    g_return_val_if_fail(!spool->is_read_only, false);
    if (!kvg_spool_end_fragment(spool, error))
        return false;
    g_clear_pointer(&spool->writer.tracks, g_bytes_unref);
    spool->writer.tracks = kvg_record_pack_tracks(tracks, n);
    return true;
}

bool
kvg_spool_begin_fragment(KvgSpool *spool, int64_t timecode_ms, GError **error)
{
    if (!kvg_spool_end_fragment(spool, error))
        return false;
    if (spool->writer.tracks == NULL) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "spool %s: no tracks for the fragment",
                    spool->name);
        return false;
    }
    if (!kvg_spool_prepare_segment(spool, error) || !kvg_spool_write_tracks(spool, error))
        return false;
    pthread_mutex_lock(&spool->lock);
    const uint64_t number = spool->shared.next_fragment;
    pthread_mutex_unlock(&spool->lock);
    KvgRecord record = {.kind = KVG_RECORD_BEGIN,
                        .held = spool->holds,
                        .fragment = number,
                        .time = {timecode_ms, spool->system->wall_ms()}};
    if (!kvg_spool_append(spool, &record, NULL, error))
        return false;
    const KvgSpoolFragment fragment = {.number = number,
                                       .segment = spool->writer.segment,
                                       .start = spool->writer.offset,
                                       .end = spool->writer.offset,
                                       .timecode_ms = timecode_ms,
                                       .end_ms = timecode_ms,
                                       .is_held = spool->holds,
                                       .begun_us = spool->system->mono_us(),
                                       .tracks = g_bytes_ref(spool->writer.tracks)};
    pthread_mutex_lock(&spool->lock);
    kvg_spool_add(spool, &fragment);
    pthread_mutex_unlock(&spool->lock);
    tell_readers(spool);
    return true;
}

/* The number of the open fragment; 0: none. */
static uint64_t
open_number(KvgSpool *spool, bool *is_followed)
{
    pthread_mutex_lock(&spool->lock);
    const KvgSpoolFragment *open = kvg_spool_open_fragment(spool);
    const uint64_t number = open != NULL ? open->number : 0;
    *is_followed = spool->shared.recent.is_followed;
    pthread_mutex_unlock(&spool->lock);
    return number;
}

/* The record just written belongs to the open fragment. @frame: NULL for a tag; @copy: of its
 * payload for readers that keep up; NULL: there are none. */
static void
grow_fragment(KvgSpool *spool, const KvgFrame *frame, GBytes *copy)
{
    bool is_wanted = true;
    pthread_mutex_lock(&spool->lock);
    KvgSpoolFragment *fragment = kvg_spool_open_fragment(spool);
    if (fragment != NULL) {
        const uint64_t len = spool->writer.offset - fragment->end;
        if (copy != NULL)
            kvg_spool_recent_put(&spool->shared.recent, fragment->number,
                                 fragment->end - fragment->start, frame, g_bytes_ref(copy));
        spool->shared.bytes_live += len;
        fragment->end = spool->writer.offset;
        fragment->n_frames += frame != NULL;
        if (frame != NULL)
            fragment->end_ms =
                kvg_spool_end_ms(fragment->end_ms, frame->pts_us, frame->duration_us);
        spool->shared.newest_end_ms = fragment->end_ms;
        spool->shared.bytes_wanted += fragment->place != 0 ? len : 0;
        if (spool->has_queue)
            is_wanted = kvg_spool_judge_open(spool, fragment);
    }
    pthread_mutex_unlock(&spool->lock);
    if (is_wanted)
        tell_readers(spool);
}

bool
kvg_spool_put_frame(KvgSpool *spool, const KvgFrame *frame, GError **error)
{
    bool is_followed;
    const uint64_t number = open_number(spool, &is_followed);
    size_t len;
    const void *payload = g_bytes_get_data(frame->data, &len);
    if (number == 0 || len > KVG_RECORD_MAX_PAYLOAD) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "spool %s: %s", spool->name,
                    number == 0 ? "frame without a fragment" : "frame too large");
        return false;
    }
    KvgRecord record = {.kind = KVG_RECORD_FRAME,
                        .track = frame->track,
                        .key = frame->key,
                        .fragment = number,
                        .time = {frame->pts_us, frame->dts_us, frame->duration_us},
                        .payload_len = (uint32_t)len};
    if (!kvg_spool_append(spool, &record, payload, error))
        return false;
    g_autoptr(GBytes) copy = is_followed ? g_bytes_new(payload, len) : NULL;
    grow_fragment(spool, frame, copy);
    return true;
}

bool
kvg_spool_put_tag(KvgSpool *spool, const char *name, const char *value, GError **error)
{
    bool is_followed;
    const uint64_t number = open_number(spool, &is_followed);
    g_autoptr(GBytes) tag = kvg_record_pack_tag(name, value);
    if (number == 0 || tag == NULL) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "spool %s: %s", spool->name,
                    number == 0 ? "tag without a fragment" : "tag too long");
        return false;
    }
    size_t len;
    const void *payload = g_bytes_get_data(tag, &len);
    KvgRecord record = {.kind = KVG_RECORD_TAG, .fragment = number, .payload_len = (uint32_t)len};
    if (!kvg_spool_append(spool, &record, payload, error))
        return false;
    grow_fragment(spool, NULL, NULL);
    return true;
}

bool
kvg_spool_end_fragment(KvgSpool *spool, GError **error)
{
    bool has_ended = false, wants_sync = false;
    pthread_mutex_lock(&spool->lock);
    KvgSpoolFragment *open = kvg_spool_open_fragment(spool);
    if (open != NULL) {
        open->complete = has_ended = true;
        KvgSpoolSegment *segment = kvg_spool_segment(spool, open->segment);
        wants_sync = segment->place == KVG_SPOOL_ON_DISK && segment->file != NULL;
        if (wants_sync)
            segment->sync_to = open->end;
    }
    pthread_mutex_unlock(&spool->lock);
    if (wants_sync)
        kvg_keeper_wake(spool);
    if (has_ended)
        tell_readers(spool);
    return true;
}
