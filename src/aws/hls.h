/* Playback sessions: GetHLSStreamingSessionURL. Blocking. */
#pragma once

#include "aws/archive.h"

typedef struct {
    int64_t from_ms, to_ms; /* by the producer's clock, at most 24 h; both 0: live */
    int expires_s;          /* 300..43200; 0: 43200 */
} KvgHlsRequest;

/* The session's master playlist URL (g_free); it holds a session token, so it is a secret.
 * KVG_ERROR_NOT_FOUND: no such stream, or no video in it. */
char *kvg_archive_hls_url(KvgArchive *archive, const KvgHlsRequest *request, GError **error);
/* The last hour as a whole. */
KvgHlsRequest kvg_hls_last_hour(void);
