/* What the tests of aws/ share: a service on loopback whose answers a test sets, certificates made
 * for the occasion, and a folder that goes away. */
#pragma once

#include "aws/client.h"
#include "http/server.h"
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <pthread.h>

typedef struct {
    char *folder;
    KvgHttpServer *server;
    uint16_t port;
    pthread_mutex_t lock;
    GString *log; /* "GET /path auth=... thing=...\n" for each request */
    unsigned n_requests;
    /* What it answers: the first whose path begins so. */
    struct {
        const char *path;
        int status;
        char *body;
        const char *location; /* header Location; NULL */
        unsigned delay_ms;
    } answers[8];
    unsigned n_answers;
} Lab;

Lab *lab_new(void);
void lab_free(Lab *lab);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Lab, lab_free)
/* Plain HTTP, or HTTPS with @tls (certificate, key, client CA: stems of files in the folder). */
void lab_serve(Lab *lab, const char *identity, const char *client_ca);
/* @body is formatted; the newest answer for a path wins. */
void lab_answer(Lab *lab, const char *path, int status, const char *format, ...)
    G_GNUC_PRINTF(4, 5);
void lab_forget(Lab *lab); /* answers and log */
char *lab_path(const Lab *lab, const char *name);
/* Writes a file of the folder and returns its path. */
char *lab_write(const Lab *lab, const char *name, const char *text);
/* Sets an environment variable that is unset again by lab_free(). */
void lab_setenv(const char *name, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* "2024-05-20T12:34:56Z", so many seconds from now. */
char *lab_time(int seconds);
char *lab_url(const Lab *lab, const char *path);

/* Whether a warning with @part was logged since the last call, and forgets all of them. */
bool lab_warned(const char *part);

/* STEM.pem and STEM.key, signed by @issuer's (NULL: itself), valid from/until so many s from now.
 */
void lab_certificate(
    const Lab *lab, const char *stem, const char *issuer, const char *host, long from, long until);
