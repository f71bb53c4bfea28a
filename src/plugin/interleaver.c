#include "plugin/interleaver.h"

#include <string.h>

/* Beyond these the other track is taken for silent, whatever the clock says. */
#define MAX_BYTES (32u * 1024 * 1024)
#define MAX_FRAMES 5000u
/* A source that can be held back is, when it is this much ahead. */
#define AHEAD_US (2 * G_TIME_SPAN_SECOND)

void
kvg_interleaved_clear(KvgInterleaved *item)
{
    g_clear_pointer(&item->frame.data, g_bytes_unref);
    g_clear_pointer(&item->info, kvg_track_info_unref);
}

void
kvg_interleaver_init(KvgInterleaver *interleaver)
{
    memset(interleaver, 0, sizeof *interleaver);
    for (unsigned i = 0; i < KVG_INTERLEAVER_TRACKS; i++) {
        g_queue_init(&interleaver->tracks[i].waiting);
        interleaver->tracks[i].reached_us = INT64_MIN;
    }
}

static void
free_item(gpointer data)
{
    kvg_interleaved_clear(data);
    g_free(data);
}

void
kvg_interleaver_clear(KvgInterleaver *interleaver)
{
    for (unsigned i = 0; i < KVG_INTERLEAVER_TRACKS; i++)
        g_queue_clear_full(&interleaver->tracks[i].waiting, free_item);
    interleaver->waiting_bytes = 0;
}

void
kvg_interleaver_open(KvgInterleaver *interleaver, unsigned track, int64_t patience_us)
{
    KvgInterleaverTrack *opened = &interleaver->tracks[track];
    opened->is_open = true;
    opened->is_ended = opened->is_silent = false;
    opened->patience_us = patience_us;
}

void
kvg_interleaver_close(KvgInterleaver *interleaver, unsigned track)
{
    interleaver->tracks[track].is_open = false;
}

void
kvg_interleaver_set_ended(KvgInterleaver *interleaver, unsigned track, bool ended)
{
    interleaver->tracks[track].is_ended = ended;
}

void
kvg_interleaver_put(KvgInterleaver *interleaver, unsigned track, KvgInterleaved *item)
{
    KvgInterleaverTrack *to = &interleaver->tracks[track];
    to->is_silent = false;
    to->reached_us = MAX(to->reached_us, item->place_us);
    interleaver->waiting_bytes += g_bytes_get_size(item->frame.data);
    g_queue_push_tail(&to->waiting, g_memdup2(item, sizeof *item));
    memset(item, 0, sizeof *item);
}

void
kvg_interleaver_advance(KvgInterleaver *interleaver, unsigned track, int64_t place_us)
{
    KvgInterleaverTrack *to = &interleaver->tracks[track];
    to->is_silent = false;
    to->reached_us = MAX(to->reached_us, place_us);
}

static const KvgInterleaved *
head(const KvgInterleaverTrack *track)
{
    return track->waiting.head != NULL ? track->waiting.head->data : NULL;
}

/* The earlier of the heads; picture before sound where they are equal. */
static int
first_track(const KvgInterleaver *interleaver)
{
    const KvgInterleaved *picture = head(&interleaver->tracks[0]);
    const KvgInterleaved *sound = head(&interleaver->tracks[1]);
    if (picture == NULL || sound == NULL)
        return picture != NULL ? 0 : sound != NULL ? 1 : -1;
    return picture->place_us <= sound->place_us ? 0 : 1;
}

static bool
must_wait_for(const KvgInterleaverTrack *other, const KvgInterleaved *item)
{
    if (!other->is_open || other->is_ended || other->is_silent || head(other) != NULL)
        return false;
    return other->reached_us < item->place_us;
}

bool
kvg_interleaver_take(
    KvgInterleaver *interleaver, int64_t now_us, bool all, unsigned *track, KvgInterleaved *item)
{
    const int first = first_track(interleaver);
    if (first < 0)
        return false;
    KvgInterleaverTrack *from = &interleaver->tracks[first];
    KvgInterleaverTrack *other = &interleaver->tracks[1 - first];
    if (!all && must_wait_for(other, head(from))) {
        if (now_us - head(from)->arrived_us < other->patience_us &&
            interleaver->waiting_bytes < MAX_BYTES && from->waiting.length < MAX_FRAMES)
            return false;
        other->is_silent = true;
    }
    g_autofree KvgInterleaved *taken = g_queue_pop_head(&from->waiting);
    interleaver->waiting_bytes -= g_bytes_get_size(taken->frame.data);
    *track = (unsigned)first;
    *item = *taken;
    return true;
}

bool
kvg_interleaver_is_ahead(const KvgInterleaver *interleaver, unsigned track)
{
    const KvgInterleaverTrack *from = &interleaver->tracks[track];
    return head(from) != NULL && from->reached_us - head(from)->place_us > AHEAD_US &&
           must_wait_for(&interleaver->tracks[1 - track], head(from));
}
