/* What proxy.c and proxy_http.c share. Everything here belongs to the proxy's thread, or is used
 * with the proxy's lock held. */
#pragma once

#include "proxy.h"
#include "wire/ack.h"
#include <openssl/err.h>
#include <pthread.h>

typedef struct {
    int fd; /* -1: closed */
    SSL *ssl;
} ProxyWire;

typedef struct {
    ProxyWire *from, *to;
    GQueue pieces;    /* on their way */
    size_t n_queued;  /* bytes in them */
    int64_t n_passed; /* bytes read from `from` */
    int64_t next_read_us;
    bool has_ended;    /* nothing more comes */
    bool has_told_end; /* and the far end knows */
    bool is_full;      /* the far end takes nothing now */

    /* is_http */
    GByteArray *held;  /* a head or a chunk that is not complete yet */
    int64_t body_left; /* of a body of known length; -1: to the end of the connection */
    bool in_body;
    bool in_acks;
} ProxyLane;

typedef struct {
    KvgProxy *proxy;
    ProxyWire client, server;
    ProxyLane up, down;
    int64_t linger_until_us; /* 0: not ending */

    /* is_http: the request in progress */
    bool is_put;
    bool is_withheld; /* the real answer shall not be seen: ours comes after `after_bytes` */
    int64_t n_body;   /* PutMedia: bytes of the body */
    unsigned n_fragments;
} ProxyConnection;

struct _KvgProxy {
    uint16_t port, to_port;
    bool is_http;
    SSL_CTX *tls, *upstream_tls;
    char *access_key, *secret_key;
    pthread_t thread;
    int wake_fd;

    pthread_mutex_t lock; /* all below; the thread lets go of it only to sleep */
    int listen_fd;
    bool is_listening;
    GPtrArray *connections;
    KvgFaults faults;
    unsigned n_struck; /* since the faults were set */
    KvgProxyCounts counts;
    char *last_key;
    GPtrArray *expired; /* access keys */
    bool cut, stop;
};

void proxy_lane_push(ProxyLane *lane, const void *data, size_t len, int64_t delay_us);
/* Whether a fault that happens `times` times happens now. */
bool proxy_strikes(KvgProxy *proxy);
/* What is queued for the client still goes out; the server is reset. */
void proxy_connection_end(ProxyConnection *connection);
/* Bytes from one end: takes them, and pushes what shall go on. */
void proxy_http_take(
    ProxyConnection *connection, ProxyLane *lane, const void *data, size_t len, int64_t delay_us);
void proxy_http_clear(ProxyConnection *connection);
