/* The arithmetic of device shadows: a stored document and a request make a new document and the
 * messages about it. No I/O, no clock. Source: Device Shadow service documents. */
#pragma once

#include "base/json.h"

#define KVG_SHADOW_MAX_BYTES 8192 /* of a request, and of the state after it */
#define KVG_SHADOW_MAX_LEVELS 6   /* of names under desired and reported */
#define KVG_SHADOW_MAX_TOKEN 64

/* A document as it is stored: {"state": {...}, "metadata": {...}, "version": N}, with "desired" and
 * "reported" where they are not empty. */

/* What an update comes to. */
typedef struct {
    int code;            /* 200, or 400 ... as in a rejected message */
    const char *message; /* static; set unless 200 */
    char *client_token;  /* of the request, as far as it could be read; NULL */
    json_t *document;    /* the new document */
    json_t *accepted;    /* the answer */
    json_t *delta;       /* NULL: desired and reported agree */
    json_t *documents;   /* before and after */
} KvgShadowUpdate;
void kvg_shadow_update_clear(KvgShadowUpdate *update);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(KvgShadowUpdate, kvg_shadow_update_clear)

/**
 * kvg_shadow_update:
 * @current: the stored document; NULL if there is none
 * @version: of @current, or where the count goes on from after a deletion
 * @now_s: seconds since 1970, for metadata and timestamps
 */
void kvg_shadow_update(const json_t *current,
                       int64_t version,
                       const void *payload,
                       size_t len,
                       int64_t now_s,
                       KvgShadowUpdate *update);

/* The answer to get: state with delta, metadata, version, timestamp (a new reference). */
json_t *kvg_shadow_get(const json_t *document, int64_t now_s);

/* The clientToken of a get or delete request, whose payload may be empty (g_free). False: the
 * request is not acceptable, see @message. */
bool kvg_shadow_read_token(
    const void *payload, size_t len, char **token, int *code, const char **message);
