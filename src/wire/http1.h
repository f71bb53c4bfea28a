/* HTTP/1.1 requests, server side: bytes in, head and body out. No I/O. Body bytes are handed out in
 * place; nothing but the head is copied. A request with both Content-Length and Transfer-Encoding,
 * an unknown transfer coding, a folded header or a bad Host count is refused: two readers must
 * never see two different requests in the same bytes. */
#pragma once

#include "wire/sigv4.h"
#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All of it valid until kvg_http1_reset() or free. */
typedef struct {
    const char *method;
    const char *target; /* as on the wire */
    const char *path;   /* target without the query */
    const char *query;  /* without '?'; NULL if there is none */
    const KvgHeader *headers;
    size_t n_headers;
    unsigned minor;        /* HTTP/1.minor */
    bool keep_alive;       /* by version and Connection */
    bool expects_continue; /* Expect: 100-continue */
    bool has_body;         /* chunked, or Content-Length > 0 */
    bool is_chunked;
    uint64_t content_length;
} KvgHttp1Head;

typedef struct {
    size_t max_head_bytes; /* 0: 32768; request line and headers */
    unsigned max_headers;  /* 0: 100 */
} KvgHttp1Options;

typedef struct _KvgHttp1 KvgHttp1;
KvgHttp1 *kvg_http1_new(const KvgHttp1Options *options); /* NULL: defaults */
void kvg_http1_free(KvgHttp1 *http);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgHttp1, kvg_http1_free)
/* For the next request on the connection, after END. */
void kvg_http1_reset(KvgHttp1 *http);

typedef enum {
    KVG_HTTP1_NEED_MORE, /* everything was consumed */
    KVG_HTTP1_HEAD,      /* head is complete: kvg_http1_head() */
    KVG_HTTP1_BODY,      /* *body, *body_len lie in @data */
    KVG_HTTP1_END,       /* the request is complete; the rest of @data is the next one */
    KVG_HTTP1_FAILED,    /* for good */
} KvgHttp1Event;
/* Goes through @data up to the next event; *used bytes were consumed. Once per request HEAD, then
 * any number of BODY, then END. After HEAD call again even with no data left: a request without a
 * body ends at once. KVG_ERROR_NO_SPACE: head too large; KVG_ERROR_UNSUPPORTED: transfer coding or
 * version; KVG_ERROR_INVALID: anything else. */
KvgHttp1Event kvg_http1_step(KvgHttp1 *http,
                             const void *data,
                             size_t len,
                             size_t *used,
                             const uint8_t **body,
                             size_t *body_len,
                             GError **error);
const KvgHttp1Head *kvg_http1_head(const KvgHttp1 *http);
