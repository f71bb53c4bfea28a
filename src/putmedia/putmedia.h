/* The PutMedia request as bytes: signed headers for curl, and the MKV body made from the spool.
 * Used by the uploader's thread only. */
#pragma once

#include "aws/client.h"
#include "putmedia/session.h"
#include "spool/spool.h"

/* "https://host[:port]" split as it will stand in the Host header; NULL and KVG_ERROR_INVALID. */
char *kvg_putmedia_host(const char *endpoint, GError **error);

/* Header lines of a PutMedia call, signed over the empty payload. @wall_ms: now. */
struct curl_slist *kvg_putmedia_headers(const char *host,
                                        const char *region,
                                        const char *stream_name,
                                        const char *user_agent,
                                        const KvgKeys *keys,
                                        int64_t wall_ms);

/* The body of one session: spool events in, Matroska bytes out, in pieces of any size. */
typedef struct _KvgBody KvgBody;

typedef enum {
    KVG_BODY_DATA,    /* bytes were written */
    KVG_BODY_STARVED, /* nothing to send now */
    KVG_BODY_END,     /* the body is complete */
    KVG_BODY_FAILED,  /* the spool cannot be read; @error */
} KvgBodyStep;

/* Reports fragment events by @on_event (kind, fragment, timecode... are set; the callee adds the
 * rest and steps the session). */
KvgBody *kvg_body_new(KvgSpool *spool,
                      KvgSession *session,
                      void (*on_event)(KvgSessionEvent *event, void *user_data),
                      void *user_data);
void kvg_body_free(KvgBody *body);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgBody, kvg_body_free)
KvgBodyStep kvg_body_read(
    KvgBody *body, void *buffer, size_t size, size_t *len, int64_t now_us, GError **error);
/* No byte more than what is already begun. */
void kvg_body_end(KvgBody *body);
bool kvg_body_is_empty(const KvgBody *body); /* no block was sent in this session */
