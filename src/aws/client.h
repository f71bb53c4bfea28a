/* Signed calls to AWS APIs over libcurl: KVS control plane, IoT, IAM, STS. Used blocking by the
 * command line and as easy handles inside the uploader's curl_multi by libkvg. */
#pragma once

#include <curl/curl.h>
#include <glib.h>
#include <kvg/credentials.h>
#include <stdbool.h>
#include <stddef.h>

G_DEFINE_AUTOPTR_CLEANUP_FUNC(CURL, curl_easy_cleanup)

/* Whom @easy trusts: a file (PEM) or a folder of them as c_rehash leaves it; NULL: the system's. */
void kvg_curl_trust(CURL *easy, const char *ca_path);

/* Keys in force now. Filled copies belong to the holder; cleared on free. */
typedef struct {
    char *access_key, *secret_key, *session_token; /* token NULL if none */
    int64_t expires_wall_ms;                       /* 0: never */
} KvgKeys;
void kvg_keys_clear(KvgKeys *keys);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(KvgKeys, kvg_keys_clear)

/* Copies the keys in force, if they are good for another 30 s; false: a renewal is due. The expiry
 * is given by this machine's clock, whatever that is worth. Thread: any. */
bool kvg_credentials_peek(KvgCredentials *credentials, KvgKeys *keys);
/* Whether a renewal should begin now although the keys are still good: early and jittered, or
 * because the file they came from has changed. */
bool kvg_credentials_wants_refresh(KvgCredentials *credentials);
/* False for fixed keys, which never change. */
bool kvg_credentials_can_refresh(const KvgCredentials *credentials);

/* One renewal: as many requests as the source needs, one after the other, for a curl_multi or
 * blocking. Step (the result of the first step is ignored) until it says something else than
 * REQUEST. */
typedef struct _KvgRenewal KvgRenewal;
typedef enum {
    KVG_RENEWAL_FAILED,  /* the error names the broken link; the old keys stay until they expire */
    KVG_RENEWAL_REQUEST, /* perform kvg_renewal_easy(), then step with its result */
    KVG_RENEWAL_DONE,    /* new keys are in force */
} KvgRenewalStep;
KvgRenewal *kvg_renewal_new(KvgCredentials *credentials);
KvgRenewalStep kvg_renewal_step(KvgRenewal *renewal, CURLcode result, GError **error);
/* The request to perform. Valid until the next step; take it out of a multi before. */
CURL *kvg_renewal_easy(const KvgRenewal *renewal);
void kvg_renewal_free(KvgRenewal *renewal);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgRenewal, kvg_renewal_free)

/* Peeks, renewing first if necessary; threads that ask at the same time share one renewal. Blocks.
 */
bool kvg_credentials_get(KvgCredentials *credentials,
                         KvgKeys *keys,
                         GError **error) G_GNUC_WARN_UNUSED_RESULT;

typedef struct {
    const char *service; /* "kinesisvideo", "iot", "iam", "sts" */
    const char *region;
    const char *base_url;     /* "https://127.0.0.1:9443"; no trailing slash */
    const char *method;       /* "POST" */
    const char *path;         /* already percent-encoded: "/describeStream" */
    const char *query;        /* encoded, without '?'; NULL */
    const char *content_type; /* NULL: "application/json" when there is a body */
    const char *body;         /* NULL: none */
    const char *const
        *extra_headers;     /* "x-amzn-principal: ..." NULL-terminated; NULL; signed too */
    const char *ca_path;    /* NULL: system's store */
    const char *user_agent; /* NULL: "kvg/VERSION" */
    unsigned connect_timeout_ms, total_timeout_ms; /* 0: 4000, 10000 */
    int64_t clock_offset_ms; /* added to this machine's clock when signing */
} KvgAwsRequest;

typedef struct {
    long status;
    GString *body;
    char *error_type;     /* x-amzn-ErrorType up to ':', or XML <Code>; NULL on success */
    char *error_text;     /* the service's message; NULL */
    char *request_id;     /* x-amzn-RequestId; NULL */
    int64_t date_wall_ms; /* the Date header; 0 if absent */
} KvgAwsReply;
void kvg_aws_reply_clear(KvgAwsReply *reply);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(KvgAwsReply, kvg_aws_reply_clear)

/* A signed easy handle (unsigned when @keys is NULL) ready for curl_multi; results go into @reply,
 * which must outlive it and was zeroed by the caller. Headers live as long as the handle (freed by
 * kvg_aws_request_free). */
typedef struct _KvgAwsTransfer KvgAwsTransfer;
KvgAwsTransfer *
kvg_aws_transfer_new(const KvgAwsRequest *request, const KvgKeys *keys, KvgAwsReply *reply);
CURL *kvg_aws_transfer_easy(KvgAwsTransfer *transfer);
void kvg_aws_transfer_free(KvgAwsTransfer *transfer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgAwsTransfer, kvg_aws_transfer_free)
/* Judges a finished transfer: true for 2xx; else an error whose code says what to do and whose text
 * names service, operation, HTTP status, type, message and request id. */
bool kvg_aws_transfer_end(KvgAwsTransfer *transfer,
                          CURLcode result,
                          GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The same, blocking. */
bool kvg_aws_call(const KvgAwsRequest *request,
                  KvgCredentials *credentials,
                  KvgAwsReply *reply,
                  GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* "TCP: Connection refused; check the network...": the broken link, curl's words (@curl_error, its
 * error buffer, may be empty) and the remedy, for a request that got no answer (g_free). */
char *kvg_aws_transport_text(CURL *easy, CURLcode result, const char *curl_error);

/* "https://kinesisvideo.us-east-1.amazonaws.com" and so on; @override (config, environment) wins.
 */
char *kvg_aws_base_url(const char *service, const char *region, const char *override);
