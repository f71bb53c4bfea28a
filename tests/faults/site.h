/* A real kvg-server in a private folder on free ports, and what a test asks of it: signed calls,
 * identities for cameras, and what it has stored. */
#pragma once

#include "base/json.h"
#include <curl/curl.h>
#include <kvg/kvg.h>
#include <openssl/ssl.h>
#include <pthread.h>

typedef struct {
    char *folder, *log_path, *ca_path;
    GPid pid; /* 0: not running */
    int output_fd;
    uint16_t https_port, mtls_port, http_port;
    char *access_key, *secret_key;
    SSL_CTX *tls, *upstream_tls; /* for a proxy between libkvg and the server */
    pthread_mutex_t lock;        /* one request at a time... */
    CURL *easy;                  /* ...over one connection */
} KvgSite;

/* Fails the test when the server does not start. */
KvgSite *kvg_site_start(void);
/* SIGTERM, and the server must end well; then everything is deleted. */
void kvg_site_stop(KvgSite *site);
/* Ends the server (@signal_number) and starts it again on the same ports. */
void kvg_site_stop_server(KvgSite *site, int signal_number);
void kvg_site_start_server(KvgSite *site);

/* A call of the administrator; the answer, or NULL and *@status. */
json_t *kvg_site_call(KvgSite *site, const char *path, const json_t *arguments, long *status);
/* Things, certificates, policies and streams for these cameras, as kvg provision makes them. */
void kvg_site_provision(KvgSite *site, const char *const *names);
/* Of a provisioned camera: FOLDER/certs/NAME.SUFFIX (g_free). */
char *kvg_site_identity_path(KvgSite *site, const char *name, const char *suffix);

/* One stored fragment: what players get. */
typedef struct {
    int64_t start_ms;
    GBytes *media; /* its frames, one after the other */
} KvgStored;
/* Everything of a stream between the two times, oldest first; of a fragment that was sent again the
 * newer one. Empty array: nothing. Array of KvgStored. */
GArray *kvg_site_read(KvgSite *site, const char *stream, int64_t from_ms, int64_t to_ms);
