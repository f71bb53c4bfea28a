/* A playback session is its token: what the caller asked for, sealed with a key that only the
 * server has. Nothing need be remembered, so players go on after the server was restarted. No I/O.
 */
#pragma once

#include "server/playback/seal.h"
#include "server/store/store.h"
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum { KVG_PLAYBACK_HLS, KVG_PLAYBACK_DASH } KvgPlaybackProtocol;
typedef enum {
    KVG_PLAYBACK_LIVE,
    KVG_PLAYBACK_LIVE_REPLAY,
    KVG_PLAYBACK_ON_DEMAND
} KvgPlaybackMode;
typedef enum {
    KVG_DISCONTINUITY_ALWAYS,
    KVG_DISCONTINUITY_NEVER,
    KVG_DISCONTINUITY_ON_CHANGE, /* gap or overlap of more than 50 ms */
} KvgDiscontinuityMode;

typedef struct {
    uint8_t id[16]; /* random */
    KvgPlaybackProtocol protocol;
    KvgPlaybackMode mode;
    KvgStoreOrder order;
    KvgDiscontinuityMode discontinuity;
    bool is_ts; /* HLS: MPEG-TS, not fragmented MP4 */
    bool shows_timestamps;
    bool shows_numbers; /* DASH */
    uint32_t max_results;
    int64_t created_ms, expires_ms;
    int64_t from_ms, to_ms; /* in @order's time; LIVE: server time of the first fragment */
    int64_t origin_ms;      /* producer time that is (nearly) zero on the media timeline */
    char stream_arn[1025];
} KvgPlaybackSession;

/* URL-safe text (g_free); NULL if the system has no randomness. */
char *kvg_playback_session_seal(const KvgPlaybackSession *session,
                                const uint8_t key[KVG_GCM_KEY_BYTES]);
/* False for anything that was not sealed with @key. Does not look at expires_ms. */
bool kvg_playback_session_open(const char *token,
                               const uint8_t key[KVG_GCM_KEY_BYTES],
                               KvgPlaybackSession *session) G_GNUC_WARN_UNUSED_RESULT;
