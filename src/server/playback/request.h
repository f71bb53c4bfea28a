/* What POST /getHLSStreamingSessionURL and /getDASHStreamingSessionURL ask for. No I/O. */
#pragma once

#include "base/json.h"
#include "server/playback/session.h"

/* Fills in @session but for its id, stream and origin. KVG_ERROR_INVALID says what is wrong, in the
 * words for the caller. */
bool kvg_playback_request_parse(const json_t *json,
                                KvgPlaybackProtocol protocol,
                                int64_t now_ms,
                                KvgPlaybackSession *session,
                                GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* The range of a selector that needs both ends: LIVE_REPLAY and ON_DEMAND, clips. */
bool kvg_playback_check_range(KvgStoreOrder order,
                              int64_t from_ms,
                              int64_t to_ms,
                              int64_t now_ms,
                              GError **error) G_GNUC_WARN_UNUSED_RESULT;
