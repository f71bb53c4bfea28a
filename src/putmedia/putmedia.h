/* The PutMedia request as bytes: signed headers for curl, and the MKV body made from the spool.
 * Used by the uploader's thread only. */
#pragma once

#include "aws/client.h"
#include "putmedia/session.h"
#include "spool/spool.h"

/* "https://host[:port]" split as it will stand in the Host header; NULL and KVG_ERROR_INVALID. */
char *kvg_putmedia_host(const char *endpoint, GError **error);

/* Header lines of a PutMedia call, signed over the empty payload. @wall_ms: now. Free with
 * kvg_putmedia_headers_free(). */
struct curl_slist *kvg_putmedia_headers(const char *host,
                                        const char *region,
                                        const char *stream_name,
                                        const char *user_agent,
                                        const KvgKeys *keys,
                                        int64_t wall_ms);
void kvg_putmedia_headers_free(struct curl_slist *headers);

/* The body of one session: spool events in, Matroska bytes out, in pieces of any size. */
typedef struct _KvgBody KvgBody;

typedef enum {
    KVG_BODY_DATA,    /* bytes were written */
    KVG_BODY_STARVED, /* nothing to send now */
    KVG_BODY_END,     /* the body is complete */
    KVG_BODY_FAILED,  /* the spool cannot be read; @error */
} KvgBodyStep;

#define KVG_END_OF_FRAGMENT "AWS_KINESISVIDEO_END_OF_FRAGMENT"

/* The body of call @call of @session. Reports what it reads by @on_event, which adds call and time,
 * steps the session and returns its answer. */
KvgBody *kvg_body_new(KvgSpool *spool,
                      KvgSession *session,
                      unsigned call,
                      KvgSessionAdmit (*on_event)(KvgSessionEvent *event, void *user_data),
                      void *user_data);
void kvg_body_free(KvgBody *body);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgBody, kvg_body_free)
KvgBodyStep kvg_body_read(KvgBody *body, void *buffer, size_t size, size_t *len, GError **error);
/* Ends what is open on the wire, so that it is persisted without waiting for the next Cluster. */
void kvg_body_end_fragment(KvgBody *body);
/* No byte more than what is already begun. */
void kvg_body_end(KvgBody *body);
bool kvg_body_is_empty(const KvgBody *body); /* no block was sent in this session */
