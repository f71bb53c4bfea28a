/* What POST /getHLSStreamingSessionURL asks for. No I/O. */
#pragma once

#include "base/json.h"
#include "server/playback/session.h"

typedef struct {
    char *stream_name, *stream_arn; /* exactly one is set */
    int64_t expires_s;
    KvgPlaybackSession session; /* mode, order, range, what to show; not yet the stream */
} KvgPlaybackRequest;

void kvg_playback_request_clear(KvgPlaybackRequest *request);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(KvgPlaybackRequest, kvg_playback_request_clear)
/* KVG_ERROR_INVALID says what is wrong, in the words for the caller. */
bool kvg_playback_request_parse(const json_t *json,
                                int64_t now_ms,
                                KvgPlaybackRequest *request,
                                GError **error) G_GNUC_WARN_UNUSED_RESULT;
