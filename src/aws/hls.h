/* Playback sessions: GetDataEndpoint, then GetHLSStreamingSessionURL there. Blocking. */
#pragma once

#include "aws/client.h"

typedef struct {
    const char *region;
    const char *endpoint; /* NULL: AWS */
    const char *ca_path;  /* NULL: system's store */
    const char *stream;
    bool on_demand; /* the last hour as a whole; otherwise LIVE */
    int expires_s;  /* 300..43200; 0: 43200 */
} KvgHlsRequest;

/* The session's master playlist URL (g_free); it holds a session token, so it is a secret.
 * KVG_ERROR_NOT_FOUND: no such stream, or no video in it yet. */
char *kvg_aws_hls_url(const KvgHlsRequest *request, KvgCredentials *credentials, GError **error);
