/* Between the files of http/ only. */
#pragma once

#include "http/server.h"
#include "wire/http1.h"
#include <pthread.h>

/* One read of the socket; also the longest run of body bytes handed out at once. */
#define KVG_HTTP_INPUT_BYTES 16384

typedef enum {
    KVG_HTTP_RESPONSE_NONE,
    KVG_HTTP_RESPONSE_STREAM,
    KVG_HTTP_RESPONSE_DONE
} KvgHttpResponse;

/* A connection and its present exchange: one at a time, so they share a struct. */
struct _KvgHttpExchange {
    KvgHttpServer *server;
    pthread_t thread;
    bool is_finished; /* server's lock; the thread may be joined */

    /* Any thread. */
    int wake_fd;        /* eventfd */
    gint woken;         /* atomic */
    gint waits_since_s; /* atomic; monotonic seconds + 1 since it waits for a request or its body;
                         * 0: a handler is at work. Who waits longest goes first when there are too
                         * many connections. */

    /* The connection's thread only; fd is also read by stop, under the server's lock. */
    int fd;
    SSL *ssl;
    X509 *peer_certificate;
    bool verify_failed;
    char *peer_address;
    uint16_t local_port;

    uint8_t *input; /* KVG_HTTP_INPUT_BYTES; unparsed bytes are [at, end) */
    size_t input_at, input_end;
    KvgHttp1 *parser;

    /* The present exchange. */
    const KvgHttp1Head *head;
    char *request_id;
    const uint8_t *body; /* parsed and not yet taken; lies in input */
    size_t body_len;
    bool body_ended;
    bool continue_sent;
    bool close_after;
    bool is_chunked; /* the response */
    bool is_gone;    /* the connection is of no use any more */
    KvgHttpResponse response;
    int status;          /* of the response */
    uint64_t read_bytes; /* of the body */
    uint64_t sent_bytes; /* of the response */
};

typedef enum {
    KVG_HTTP_IO_DATA,
    KVG_HTTP_IO_END,
    KVG_HTTP_IO_TIMEOUT,
    KVG_HTTP_IO_WOKEN,
    KVG_HTTP_IO_FAILED,
} KvgHttpIo;

/* server.c */
bool kvg_http_server_is_stopping(KvgHttpServer *server);
bool kvg_http_server_is_aborting(KvgHttpServer *server);
const KvgHttpServerOptions *kvg_http_server_options(const KvgHttpServer *server);

/* io.c: TLS or plain, non-blocking underneath, blocking with a deadline (monotonic microseconds, or
 * INT64_MAX) above. */
bool kvg_http_io_handshake(KvgHttpExchange *x, SSL_CTX *tls, int64_t deadline_us);
KvgHttpIo kvg_http_io_read(
    KvgHttpExchange *x, void *buffer, size_t size, size_t *len, bool wakeable, int64_t deadline_us);
/* Everything, or is_gone: a peer that takes nothing for 30 s is gone. */
bool kvg_http_io_write(KvgHttpExchange *x, const void *data, size_t len);
/* Says goodbye so that the peer still receives what was written. */
void kvg_http_io_close(KvgHttpExchange *x);

/* conn.c: the connection waits for its peer, and may have to make room; or no longer. */
void kvg_http_set_waiting(KvgHttpExchange *x, bool is_waiting);
/* conn.c: the thread of a connection, until it ends. */
void kvg_http_connection_run(KvgHttpExchange *x);
