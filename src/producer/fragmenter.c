#include "producer/fragmenter.h"

#include "media/aac.h"
#include "media/g711.h"
#include <string.h>

#define MS_US INT64_C(1000)
/* A step back up to this is jitter and is squeezed; a longer one is a clock that was set. */
#define JITTER_US (1000 * MS_US)
/* Frame interval assumed where none was seen yet. */
#define STEP_US (33 * MS_US)
/* Timestamps beyond this (year 2255) cannot be meant; within it, sums do not overflow. */
#define MAX_US (INT64_C(1) << 53)
/* Beyond the longest fragment, a cut between B-frames is still put off up to this. */
#define HARD_MAX_MS (KVG_FRAGMENT_MAX_MS + 900)
/* Key frames come a little early at times; a fragment of 1.99 s is as good as one of 2 s. */
#define EARLY_MS 20

void
kvg_fragmenter_init(KvgFragmenter *fragmenter, bool by_time, uint32_t duration_ms, int64_t after_ms)
{
    *fragmenter = (KvgFragmenter){.by_time = by_time,
                                  .duration_ms = duration_ms != 0 ? duration_ms : 2000,
                                  .wants_key = true,
                                  .latest_ms = after_ms > 0 ? after_ms : -1,
                                  .floor_ms = after_ms > 0 ? after_ms : -1};
}

void
kvg_fragmenter_clear(KvgFragmenter *fragmenter)
{
    for (size_t i = 0; i < fragmenter->n_tracks; i++)
        g_clear_pointer(&fragmenter->tracks[i].stand_in, g_bytes_unref);
    fragmenter->n_tracks = 0;
}

static KvgFragmenterTrack *
find_track(KvgFragmenter *fragmenter, uint8_t number)
{
    for (size_t i = 0; i < fragmenter->n_tracks; i++) {
        if (fragmenter->tracks[i].number == number)
            return &fragmenter->tracks[i];
    }
    return NULL;
}

bool
kvg_fragmenter_has_track(const KvgFragmenter *fragmenter, uint8_t number)
{
    for (size_t i = 0; i < fragmenter->n_tracks; i++) {
        if (fragmenter->tracks[i].number == number)
            return true;
    }
    return false;
}

/* Notes what the fragment lacks that ends now. */
static void
end_fragment(KvgFragmenter *fragmenter)
{
    if (!fragmenter->is_open)
        return;
    fragmenter->is_open = false;
    fragmenter->stand_in_ms = fragmenter->latest_ms;
    fragmenter->floor_ms = fragmenter->latest_ms;
    for (size_t i = 0; i < fragmenter->n_tracks; i++) {
        KvgFragmenterTrack *track = &fragmenter->tracks[i];
        track->is_lacking = !track->in_fragment && track->stand_in != NULL;
        track->in_fragment = false;
    }
}

bool
kvg_fragmenter_take_stand_in(KvgFragmenter *fragmenter, KvgFrame *frame)
{
    for (size_t i = 0; i < fragmenter->n_tracks; i++) {
        KvgFragmenterTrack *track = &fragmenter->tracks[i];
        if (!track->is_lacking)
            continue;
        track->is_lacking = false;
        fragmenter->stand_ins++;
        *frame = (KvgFrame){.track = track->number,
                            .key = true,
                            .pts_us = fragmenter->stand_in_ms * MS_US,
                            .dts_us = fragmenter->stand_in_ms * MS_US,
                            .data = track->stand_in};
        return true;
    }
    return false;
}

void
kvg_fragmenter_break(KvgFragmenter *fragmenter)
{
    end_fragment(fragmenter);
    fragmenter->wants_key = true;
}

/* One silent frame of @track; NULL if none is known. */
static GBytes *
make_silence(const KvgTrack *track)
{
    gsize len = 0;
    const uint8_t *data =
        track->codec_private != NULL ? g_bytes_get_data(track->codec_private, &len) : NULL;
    KvgAacConfig aac;
    if (g_strcmp0(track->codec_id, "A_AAC") == 0 && data != NULL &&
        kvg_aac_parse_config(data, len, &aac, NULL))
        return kvg_aac_silence(&aac);
    if (g_strcmp0(track->codec_id, "A_MS/ACM") != 0 || len < 4 ||
        (data[0] != KVG_G711_ALAW && data[0] != KVG_G711_MULAW))
        return NULL;
    const size_t n = MAX(track->channels, 1);
    uint8_t *sample = g_malloc(n);
    memset(sample, kvg_g711_silence(data[0]), n);
    return g_bytes_new_take(sample, n);
}

bool
kvg_fragmenter_set_tracks(KvgFragmenter *fragmenter, const KvgTrack *tracks, size_t n)
{
    if (n == 0 || n > KVG_FRAGMENTER_TRACKS)
        return false;
    kvg_fragmenter_break(fragmenter);
    KvgFragmenterTrack kept[KVG_FRAGMENTER_TRACKS] = {0};
    uint8_t leader = tracks[0].number;
    for (size_t i = 0; i < n; i++) {
        /* The timeline of a track goes on through a change of its parameters. */
        const KvgFragmenterTrack *old = find_track(fragmenter, tracks[i].number);
        kept[i] = old != NULL ? *old : (KvgFragmenterTrack){.number = tracks[i].number};
        kept[i].is_sound = tracks[i].type == KVG_TRACK_AUDIO;
        kept[i].stand_in = kept[i].is_sound ? make_silence(&tracks[i]) : NULL;
        kept[i].is_lacking = false;
        if (tracks[i].type == KVG_TRACK_VIDEO)
            leader = tracks[i].number;
    }
    kvg_fragmenter_clear(fragmenter);
    memcpy(fragmenter->tracks, kept, sizeof kept);
    fragmenter->n_tracks = n;
    fragmenter->leader = leader;
    return true;
}

/* Makes the decoding time follow the track's last one, and moves the presentation time with it. */
static void
repair_times(KvgFragmenter *fragmenter, KvgFragmenterTrack *track, KvgFrame *frame)
{
    const int64_t step_us = track->step_us > 0 ? track->step_us : STEP_US;
    int64_t dts_us = frame->dts_us;
    bool is_changed = false;
    if (dts_us < 0 || dts_us > MAX_US) { /* missing */
        dts_us = frame->pts_us;
        is_changed = true;
    }
    if (dts_us < 0 || dts_us > MAX_US)
        dts_us = track->has_dts ? track->last_dts_us + step_us - fragmenter->shift_us : 0;
    int64_t pts_us = frame->pts_us;
    if (pts_us < 0 || pts_us > MAX_US) {
        pts_us = dts_us;
        is_changed = true;
    }
    /* The camera's clock has caught up with what we made of it. */
    if (fragmenter->shift_us > 0 && track->has_dts && dts_us > track->last_dts_us)
        fragmenter->shift_us = 0;
    int64_t shift_us = fragmenter->shift_us;
    if (track->has_dts && dts_us + shift_us <= track->last_dts_us) {
        const int64_t back_us = track->last_dts_us - dts_us - shift_us;
        if (back_us > JITTER_US) {
            fragmenter->shift_us += back_us + step_us;
            shift_us = fragmenter->shift_us;
        } else {
            shift_us += back_us + MS_US;
        }
    }
    frame->dts_us = dts_us + shift_us;
    frame->pts_us = pts_us + shift_us;
    if (is_changed || shift_us != 0)
        fragmenter->repaired++;
    if (track->has_dts)
        track->step_us = CLAMP(frame->dts_us - track->last_dts_us, MS_US, JITTER_US);
    track->last_dts_us = frame->dts_us;
    track->has_dts = true;
}

/* Frames of sound can all be decoded alone, so only time can tell where its fragments begin. */
static int64_t
least_ms(const KvgFragmenter *fragmenter, bool is_sound)
{
    if (!fragmenter->by_time && !is_sound)
        return KVG_FRAGMENT_MIN_MS;
    return MAX((int64_t)fragmenter->duration_ms - EARLY_MS, KVG_FRAGMENT_MIN_MS);
}

static KvgFragmenterVerdict
judge(KvgFragmenter *fragmenter, const KvgFragmenterTrack *track, const KvgFrame *frame)
{
    const bool is_leading_key = frame->key && frame->track == fragmenter->leader;
    if (fragmenter->wants_key)
        return is_leading_key ? KVG_FRAGMENTER_BEGIN : KVG_FRAGMENTER_LEAVE_OUT;
    if (!fragmenter->is_open)
        return KVG_FRAGMENTER_BEGIN;
    const int64_t pts_ms = frame->pts_us / MS_US;
    const int64_t age_ms = pts_ms - fragmenter->timecode_ms;
    if (is_leading_key && age_ms >= least_ms(fragmenter, track->is_sound))
        return KVG_FRAGMENTER_BEGIN;
    /* Leading pictures may lie a little before the fragment; further back is a broken timeline. A
     * fragment that began at a B-frame would reach back into the one before. */
    const bool is_cut = pts_ms > fragmenter->latest_ms || age_ms >= HARD_MAX_MS;
    const bool is_too_long =
        (age_ms >= KVG_FRAGMENT_MAX_MS && is_cut) || age_ms < -KVG_FRAGMENT_MAX_MS;
    const bool is_too_big =
        fragmenter->bytes + g_bytes_get_size(frame->data) > KVG_FRAGMENT_MAX_BYTES;
    if (!is_too_long && !is_too_big)
        return KVG_FRAGMENTER_CONTINUE;
    if (!is_leading_key)
        fragmenter->forced++;
    return KVG_FRAGMENTER_BEGIN;
}

/* The service compares every frame with the latest one of the fragment before. */
static void
raise_time(KvgFragmenter *fragmenter, KvgFrame *frame, int64_t least)
{
    if (frame->pts_us / MS_US >= least)
        return;
    frame->pts_us = least * MS_US;
    fragmenter->repaired++;
}

KvgFragmenterVerdict
kvg_fragmenter_put(KvgFragmenter *fragmenter, KvgFrame *frame)
{
    KvgFragmenterTrack *track = find_track(fragmenter, frame->track);
    g_return_val_if_fail(track != NULL, KVG_FRAGMENTER_LEAVE_OUT);
    repair_times(fragmenter, track, frame);
    const KvgFragmenterVerdict verdict = judge(fragmenter, track, frame);
    if (verdict == KVG_FRAGMENTER_LEAVE_OUT)
        return verdict;
    if (verdict == KVG_FRAGMENTER_BEGIN) {
        /* Sound of the fragment before may reach beyond the picture that begins this one. */
        end_fragment(fragmenter);
        raise_time(fragmenter, frame, fragmenter->latest_ms + 1);
        fragmenter->timecode_ms = frame->pts_us / MS_US;
        fragmenter->is_open = true;
        fragmenter->wants_key = false;
        fragmenter->bytes = 0;
    } else {
        raise_time(fragmenter, frame,
                   track->is_sound ? fragmenter->timecode_ms : fragmenter->floor_ms + 1);
    }
    track->in_fragment = true;
    if (track->is_sound && (track->stand_in == NULL || track->has_own_stand_in)) {
        g_clear_pointer(&track->stand_in, g_bytes_unref);
        track->stand_in = g_bytes_ref(frame->data);
        track->has_own_stand_in = true;
    }
    fragmenter->bytes += g_bytes_get_size(frame->data);
    fragmenter->latest_ms = MAX(fragmenter->latest_ms, frame->pts_us / MS_US);
    return verdict;
}
