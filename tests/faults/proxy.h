/* A TCP proxy on loopback that does to a connection what networks and services do: delays, silence,
 * resets at a given byte, refusals, wrong answers. One thread per proxy. Opaque (TCP) it passes TLS
 * through untouched; with is_http it ends TLS on both sides and understands as much HTTP as is
 * needed to answer in the service's place and to meddle with the acknowledgements of PutMedia. */
#pragma once

#include <glib.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct _KvgProxy KvgProxy;

typedef struct {
    uint16_t to_port; /* required: where the real server listens on 127.0.0.1 */
    bool is_http;
    SSL_CTX *tls;          /* is_http: towards the client; NULL: plain; a reference is kept */
    SSL_CTX *upstream_tls; /* is_http: towards the server; NULL: plain; a reference is kept */
    /* is_http: to sign again what a skewed clock signed; NULL where skew_s is not used */
    const char *access_key, *secret_key;
} KvgProxyOptions;

/* For KvgFaults.status: the answer never comes. */
#define KVG_FAULT_SILENCE (-1)

/* Zero is a good network. Offsets count from the start of a connection; 0 means "never". */
typedef struct {
    unsigned times; /* how often what is marked (*) strikes; 0: always */

    bool refuse;          /* nobody listens */
    bool black_hole;      /* connections are taken, and then nothing passes either way */
    bool garbage;         /* (*) the answer to the first bytes is no TLS */
    bool tls_refused;     /* (*) ... or an alert: the handshake has failed */
    unsigned latency_ms;  /* each way */
    unsigned bytes_per_s; /* towards the server */
    int64_t reset_up_at, reset_down_at; /* (*) RST to both sides at this byte */
    int64_t half_close_up_at,
        half_close_down_at; /* (*) this direction ends in a proper FIN there */

    /* is_http */
    int status;           /* (*) the answer to a request... */
    const char *path;     /* ...for this path; NULL: PutMedia */
    const char *type;     /* x-amzn-ErrorType; NULL: none */
    const char *body;     /* NULL: {"message":"..."} */
    int64_t after_bytes;  /* PutMedia: only when so many bytes of the body have passed */
    int error_id;         /* (*) an ERROR ack instead of a BUFFERING... */
    unsigned at_fragment; /* ...of this fragment of a session (0: the first), then the end */
    bool end_response;    /* (*) the response ends properly at that fragment */
    bool ack_garbage;     /* (*) no JSON in place of that BUFFERING */
    bool ack_split;       /* each byte of an ack is a chunk */
    bool ack_twice;       /* each ack comes twice */
    unsigned ack_delay_ms;
    int skew_s; /* the server's clock is so far from ours */
} KvgFaults;

typedef struct {
    unsigned connections, requests, puts;
    unsigned struck;   /* how often a fault marked (*) did, and refusals of expired keys */
    int64_t struck_us; /* when for the first time; 0: never */
    uint64_t bytes_up;
} KvgProxyCounts;

KvgProxy *kvg_proxy_start(const KvgProxyOptions *options, GError **error);
void kvg_proxy_stop(KvgProxy *proxy); /* NULL is fine */
uint16_t kvg_proxy_port(const KvgProxy *proxy);
/* Replaces all faults; @faults NULL: a good network. Strings must outlive their use. Thread: any.
 */
void kvg_proxy_set(KvgProxy *proxy, const KvgFaults *faults);
/* RST to every connection there is. Thread: any. */
void kvg_proxy_cut(KvgProxy *proxy);
/* is_http: the access key seen last has expired: its connections are cut, and it gets 403 from now
 * on. */
void kvg_proxy_expire_key(KvgProxy *proxy);
void kvg_proxy_get_counts(KvgProxy *proxy, KvgProxyCounts *counts);
