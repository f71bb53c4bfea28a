/* HTTP/1.1 server: a thread per connection over blocking sockets, bounded, TLS by OpenSSL. Serves
 * kvg-server (HTTPS, mutual TLS, plain) and the agent's local API. A handler is straight-line code on
 * the connection's thread; it may read the body and write the response at the same time (full duplex
 * for PutMedia). Only that thread touches the socket; other threads may only wake it. */
#pragma once

#include "wire/sigv4.h"
#include <glib.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct _KvgHttpServer KvgHttpServer;
typedef struct _KvgHttpExchange KvgHttpExchange;

/* Runs on the connection's thread. Must respond exactly once (respond, or begin_stream..end_stream);
 * a handler that returns without a response makes a 500. */
typedef void (*KvgHttpHandler)(KvgHttpExchange *exchange, void *user_data);

typedef struct {
    const char *address;        /* "127.0.0.1", "::", ...; NULL: 127.0.0.1 */
    uint16_t port;              /* 0: any free port */
    SSL_CTX *tls;               /* NULL: plain HTTP; the server keeps a reference */
    KvgHttpHandler handler;     /* required */
    void *user_data;
    unsigned max_connections;   /* 0: 1024; a further one takes the place of the one that has waited
                                 * longest for a request, if any does */
    unsigned head_timeout_ms;   /* 0: 10000: from the first byte to the end of the head */
    unsigned idle_timeout_ms;   /* 0: 60000: keep-alive between requests */
    size_t max_head_bytes;      /* 0: 32768 */
} KvgHttpServerOptions;

/* Binds, listens and starts to accept. */
KvgHttpServer *kvg_http_server_start(const KvgHttpServerOptions *options, GError **error);
uint16_t kvg_http_server_port(const KvgHttpServer *server);
/* Connections that are open now. Thread: any. */
unsigned kvg_http_server_connections(KvgHttpServer *server);
/* Stops accepting, shuts idle connections down, wakes handlers (kvg_http_is_stopping() turns true),
 * waits up to @grace_ms, then shuts the rest down; returns when every thread is gone. */
void kvg_http_server_stop(KvgHttpServer *server, unsigned grace_ms);

/* TLS context for a server: TLS 1.2+, P-256 certificate. @client_ca_path: ask for client certificates
 * (optional: the handler decides by kvg_http_peer_certificate); NULL: do not ask. Certificates that do
 * not chain to @client_ca_path still connect; kvg_http_peer_verified() is false then. */
SSL_CTX *kvg_http_tls_context_new(const char *certificate_path,
                                  const char *key_path,
                                  const char *client_ca_path,
                                  GError **error);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SSL_CTX, SSL_CTX_free)

/* ---- the request; valid during the handler ---- */
const char *kvg_http_method(const KvgHttpExchange *x);
const char *kvg_http_path(const KvgHttpExchange *x);  /* as on the wire, without the query */
const char *kvg_http_query(const KvgHttpExchange *x); /* as on the wire, without '?'; NULL */
/* Decoded query parameter (g_free) or NULL. */
char *kvg_http_query_param(const KvgHttpExchange *x, const char *name);
/* First header of that name (any case) or NULL. */
const char *kvg_http_header(const KvgHttpExchange *x, const char *name);
const KvgHeader *kvg_http_headers(const KvgHttpExchange *x, size_t *n);
const char *kvg_http_request_id(const KvgHttpExchange *x); /* uuid, sent as x-amzn-RequestId */
const char *kvg_http_peer_address(const KvgHttpExchange *x);
bool kvg_http_is_tls(const KvgHttpExchange *x);
uint16_t kvg_http_local_port(const KvgHttpExchange *x);
X509 *kvg_http_peer_certificate(const KvgHttpExchange *x); /* borrowed; NULL if none */
bool kvg_http_peer_verified(const KvgHttpExchange *x);
bool kvg_http_is_stopping(const KvgHttpExchange *x);
/* The client has hung up. Only a response that waits for something needs to ask. */
bool kvg_http_peer_has_left(const KvgHttpExchange *x);

/* ---- what became of it, for logs and metrics ---- */
int kvg_http_status(const KvgHttpExchange *x); /* of the response; 0: none yet */
uint64_t kvg_http_read_bytes(const KvgHttpExchange *x);
uint64_t kvg_http_sent_bytes(const KvgHttpExchange *x);

/* ---- the body ---- */
typedef enum {
    KVG_HTTP_READ_DATA,
    KVG_HTTP_READ_END,     /* whole body read */
    KVG_HTTP_READ_WOKEN,   /* kvg_http_wake() was called, or the server is stopping */
    KVG_HTTP_READ_TIMEOUT, /* nothing within @timeout_ms */
    KVG_HTTP_READ_FAILED,  /* connection lost or bad framing; @error is set */
} KvgHttpRead;
/* Up to @size decoded body bytes. Sends "100 Continue" before the first read if the client waits for
 * it and no response was begun. @timeout_ms < 0: no limit. */
KvgHttpRead kvg_http_read(
    KvgHttpExchange *x, void *buffer, size_t size, size_t *len, int timeout_ms, GError **error);
/* The whole body, at most @max bytes, within 30 s (KVG_ERROR_NO_SPACE when larger). */
GBytes *kvg_http_read_all(KvgHttpExchange *x, size_t max, GError **error);
/* Makes a blocked kvg_http_read() of @x return WOKEN soon. Thread: any, while the handler runs. */
void kvg_http_wake(KvgHttpExchange *x);

/* ---- the response ---- */
/* A complete response in one write. x-amzn-RequestId, Date and Content-Length are added. @headers may
 * be NULL when @n_headers is 0. False: the connection is gone. */
bool kvg_http_respond(KvgHttpExchange *x,
                      int status,
                      const KvgHeader *headers,
                      size_t n_headers,
                      const void *body,
                      size_t len);
/* Convenience: application/json from text. */
bool kvg_http_respond_json(KvgHttpExchange *x, int status, const char *json);
/* Sends "100 Continue" if asked for, then the head of a chunked response in a write of its own. */
bool kvg_http_begin_stream(KvgHttpExchange *x,
                           int status,
                           const KvgHeader *headers,
                           size_t n_headers);
/* One HTTP chunk, flushed. */
bool kvg_http_write_chunk(KvgHttpExchange *x, const void *data, size_t len);
bool kvg_http_end_stream(KvgHttpExchange *x);
/* No further request on this connection. */
void kvg_http_close_after(KvgHttpExchange *x);
