/* Decides where fragments begin and repairs timestamps, so that what reaches the spool obeys the
 * service's rules whatever the camera does. No I/O.
 *
 * Rules (PutMedia): a fragment begins with a key frame; at most five fragments a second, so key
 * frames within 200 ms share one; at most 20 s and 50 MB; timecodes strictly grow. Where a GOP is
 * longer than a fragment may be, the next fragment begins without a key frame: the service takes
 * it, and a player that comes from the fragment before can decode it. Without video, fragments
 * begin by time. A described audio track that falls silent gets one silent frame per fragment,
 * because the service refuses a fragment that lacks a track. */
#pragma once

#include <kvg/frame.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KVG_FRAGMENT_MAX_MS 19000
#define KVG_FRAGMENT_MAX_BYTES 48000000u
#define KVG_FRAGMENT_MIN_MS 200
#define KVG_FRAGMENTER_TRACKS 3

typedef struct {
    uint8_t number;
    bool has_dts;
    int64_t last_dts_us;
    int64_t step_us; /* between the last two frames */
    bool is_sound;
    bool in_fragment; /* the open fragment has a frame of it */
    GBytes *stand_in; /* silence, or where there is none the last frame; NULL for video */
    bool has_own_stand_in;
    bool is_lacking; /* the fragment that has just ended needs its stand_in */
} KvgFragmenterTrack;

typedef struct {
    /* settings */
    bool by_time;
    uint32_t duration_ms;
    /* tracks */
    KvgFragmenterTrack tracks[KVG_FRAGMENTER_TRACKS];
    size_t n_tracks;
    uint8_t leader; /* track whose key frames begin fragments: video if there is one */
    /* the open fragment */
    bool is_open;
    bool wants_key; /* nothing before the next key frame can be decoded */
    int64_t timecode_ms;
    uint64_t bytes;
    int64_t floor_ms; /* latest of the fragments before: what is not later would be refused */
    int64_t stand_in_ms;
    /* timeline */
    int64_t latest_ms; /* latest timestamp so far; the next timecode must be later */
    int64_t shift_us;  /* added to the camera's times after they jumped back */
    /* counters */
    uint64_t repaired; /* frames whose timestamps were changed */
    uint64_t forced;   /* fragments that had to begin without a key frame */
    uint64_t stand_ins;
} KvgFragmenter;

/* @after_ms: the latest timestamp an earlier process put into the spool; 0 if unknown. */
void kvg_fragmenter_init(KvgFragmenter *fragmenter,
                         bool by_time,
                         uint32_t duration_ms,
                         int64_t after_ms);
void kvg_fragmenter_clear(KvgFragmenter *fragmenter);
/* Ends the open fragment; the next begins with a key frame. At most three tracks. */
bool kvg_fragmenter_set_tracks(KvgFragmenter *fragmenter, const KvgTrack *tracks, size_t n);
bool kvg_fragmenter_has_track(const KvgFragmenter *fragmenter, uint8_t number);
/* Ends the open fragment and waits for a key frame: a frame was lost. */
void kvg_fragmenter_break(KvgFragmenter *fragmenter);

typedef enum {
    KVG_FRAGMENTER_LEAVE_OUT, /* no key frame yet */
    KVG_FRAGMENTER_BEGIN,     /* ends the open fragment, if any; timecode_ms is the new one's */
    KVG_FRAGMENTER_CONTINUE,
} KvgFragmenterVerdict;
/* Times of @frame are repaired in place; the track must be known. */
KvgFragmenterVerdict kvg_fragmenter_put(KvgFragmenter *fragmenter, KvgFrame *frame);
/* To be called when a fragment has ended (BEGIN, or after kvg_fragmenter_break()) and before that
 * is written: the frames it still needs. False: no more. The data of @frame stays the fragmenter's.
 */
bool kvg_fragmenter_take_stand_in(KvgFragmenter *fragmenter, KvgFrame *frame);
