/* SigV4 verification without a connection: request in, caller or the reason of refusal out. */
#pragma once

#include "server/server.h"

typedef struct {
    const char *method, *path, *query;
    const KvgHeader *headers;
    size_t n_headers;
    const char *body_sha256; /* NULL: streaming body, signed as empty */
    const char *service;     /* the scope must name it */
    int64_t now_ms;
} KvgAuthRequest;

typedef enum {
    KVG_AUTH_OK,
    KVG_AUTH_MISSING,
    KVG_AUTH_INCOMPLETE,
    KVG_AUTH_UNKNOWN_KEY,
    KVG_AUTH_EXPIRED_TOKEN,
    KVG_AUTH_BAD_SIGNATURE,
} KvgAuthResult;

/* @message (g_free): why not. */
KvgAuthResult
kvg_auth_check(KvgServer *server, const KvgAuthRequest *request, KvgCaller *caller, char **message);
