/* AWS Signature Version 4, shared by our clients and our server. No I/O. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* SHA-256 of the empty string, the payload hash of PutMedia and of GET. */
#define KVG_SIGV4_EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

typedef struct {
    const char *name; /* any case */
    const char *value;
} KvgHeader;

typedef struct {
    const char *method;
    const char *path;  /* as on the wire; "" is "/" */
    const char *query; /* as on the wire without '?'; NULL for none */
    const KvgHeader *headers; /* exactly those to be signed, any order */
    size_t n_headers;
    const char *payload_sha256; /* lower-case hex */
    const char *amz_date;       /* yyyymmddThhmmssZ */
    const char *region;
    const char *service;
} KvgSigv4Request;

/* Lower-case hex SHA-256 of @data (g_free). */
char *kvg_sigv4_sha256_hex(const void *data, size_t len);
void kvg_sigv4_derive_key(
    const char *secret, const char *date8, const char *region, const char *service, uint8_t key[32]);
/* "host;x-amz-date" (g_free) */
char *kvg_sigv4_signed_headers(const KvgSigv4Request *request);
char *kvg_sigv4_canonical_request(const KvgSigv4Request *request);
char *kvg_sigv4_string_to_sign(const KvgSigv4Request *request);
/* 64 hex digits (g_free) */
char *kvg_sigv4_signature(const KvgSigv4Request *request, const char *secret);
/* The value of the Authorization header (g_free). */
char *kvg_sigv4_authorization(const KvgSigv4Request *request,
                              const char *access_key,
                              const char *secret);
/* The presigned query string, X-Amz-Signature last (g_free). request->query holds the operation's own
 * parameters; @token may be NULL. */
char *kvg_sigv4_presign_query(const KvgSigv4Request *request,
                              const char *access_key,
                              const char *secret,
                              const char *token,
                              unsigned expires_s);

/* A parsed Authorization header, or the X-Amz-* query parameters of a presigned request. */
typedef struct {
    char *access_key, *date8, *region, *service, *terminator;
    char **signed_headers; /* NULL-terminated, lower case */
    char *signature;
} KvgSigv4Auth;
void kvg_sigv4_auth_clear(KvgSigv4Auth *auth);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(KvgSigv4Auth, kvg_sigv4_auth_clear)
/* KVG_ERROR_INVALID with AWS's text ("Authorization header requires 'Signature' parameter. ..."). */
bool kvg_sigv4_parse_authorization(const char *header, KvgSigv4Auth *auth, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
