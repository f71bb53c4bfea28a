/* A place keys come from (fixed, a file, IoT, a container's agent, instance metadata, STS) as a
 * small machine of requests, and what the sources share: building a request, judging its transport,
 * taking keys out of an answer, and saying which link is broken. A source is constant after it was
 * made, so any number of attempts may step through it at once; what an attempt learns stays in the
 * attempt. */
#pragma once

#include "aws/private.h"

#define KVG_KEYS_USABLE_MS 30000 /* keys that expire sooner are of no use to a request */
#define KVG_FILE_MAX (1024u * 1024)

typedef struct _KvgSource KvgSource;
typedef struct _KvgAttempt KvgAttempt;

typedef struct {
    /* The next request (left in attempt->easy), or the end: keys, or an error. attempt->n_requests
     * tells how many were made; the last one's answer is in the attempt. */
    KvgRenewalStep (*step)(const KvgSource *source, KvgAttempt *attempt, GError **error);
    /* A number that changes when the files behind the keys do; NULL: no files. */
    uint64_t (*stamp)(const KvgSource *source);
    void (*free)(KvgSource *source);
} KvgSourceClass;

struct _KvgSource {
    const KvgSourceClass *class;
};
void kvg_source_free(KvgSource *source);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgSource, kvg_source_free)

struct _KvgAttempt {
    unsigned n_requests;
    CURL *easy; /* the request in progress; NULL: none */
    CURLcode result;
    long status; /* of HTTP; 0: no answer */
    GString *body;
    char curl_error[CURL_ERROR_SIZE];
    struct curl_slist *headers;
    char *token, *role;       /* instance metadata: what the earlier requests gave */
    KvgSource *chosen;        /* the default chain: who has the keys */
    KvgAttempt *base;         /* a role: the attempt to get the keys that may assume it */
    KvgAwsTransfer *transfer; /* a role: the call of STS, owner of its easy */
    KvgAwsReply reply;
    KvgKeys keys; /* what came of it; expiry by this machine's clock */
};
KvgAttempt *kvg_attempt_new(void);
void kvg_attempt_free(KvgAttempt *attempt);
/* Notes @result of the last request and lets @source go on. */
KvgRenewalStep
kvg_attempt_step(KvgAttempt *attempt, const KvgSource *source, CURLcode result, GError **error);
/* The handle to perform: this attempt's own or that of the attempt it waits for. */
CURL *kvg_attempt_easy(const KvgAttempt *attempt);

/* Prepares attempt->easy for a GET of @url: no redirects, no netrc, answers of at most 64 KiB. */
void kvg_attempt_request(KvgAttempt *attempt, const char *url, long connect_ms, long total_ms);
/* Adds a header line; wiped when the attempt is freed. */
void kvg_attempt_header(KvgAttempt *attempt, const char *name, const char *value);

/* ---- links ---- */

/* Sets "@who: @link: cause; remedy". Always returns KVG_RENEWAL_FAILED. */
KvgRenewalStep kvg_fault(GError **error,
                         KvgError code,
                         const char *who,
                         const char *link,
                         const char *remedy,
                         const char *format,
                         ...) G_GNUC_PRINTF(6, 7);
/* The fault of a request that got no proper answer. */
KvgRenewalStep kvg_attempt_no_answer(const KvgAttempt *attempt, const char *who, GError **error);

/* ---- keys ---- */

/* Keeps the keys in the attempt. @expiration: ISO 8601, NULL for keys without end. How long they
 * live is measured against the answer's Date header where there is one, so that a wrong clock here
 * does not matter. FAILED for anything that could not go into a header, and for keys that have
 * expired. */
KvgRenewalStep kvg_attempt_take(KvgAttempt *attempt,
                                const char *who,
                                const char *access_key,
                                const char *secret_key,
                                const char *session_token,
                                const char *expiration,
                                GError **error);
/* Whether they could be sent in a header. */
bool kvg_keys_are_plain(const char *access_key, const char *secret_key, const char *session_token);
void kvg_secret_free(char *text); /* wipes; NULL is fine */

/* ---- the sources; each constructor copies what it is given ---- */

KvgSource *kvg_source_static(const char *access_key, const char *secret_key, const char *token);
KvgSource *kvg_source_iot(const KvgIotIdentity *identity);
/* kvssink's file: "CREDENTIALS key [expiration] secret [token]". */
KvgSource *kvg_source_key_file(const char *path);
/* @token_file wins over @token; both NULL for none. NULL and why @url must not be asked. */
KvgSource *
kvg_source_container(const char *url, const char *token, const char *token_file, GError **error);
/* @endpoint: NULL: http://169.254.169.254. @timeout_s: of a request, as text; NULL: 2. @looked:
 * what was tried before, for the error; NULL. */
KvgSource *kvg_source_instance(const char *endpoint, const char *timeout_s, const char *looked);
typedef struct {
    const char *arn;
    const char *session_name; /* NULL: "kvg" */
    const char *external_id;  /* NULL */
    const char *token_file;   /* web identity: the token; then there is no base */
    const char *region;       /* NULL: us-east-1 */
    const char *endpoint;     /* NULL: AWS */
    const char *ca_path;      /* NULL: the system's */
    const char *duration;     /* seconds as text; NULL: the service's default */
} KvgRole;
/* Takes @base, whose keys may assume the role; NULL with a token file. */
KvgSource *kvg_source_role(KvgSource *base, const KvgRole *role);
/* Environment, profiles, container, instance metadata, as it is now. @profile NULL: AWS_PROFILE or
 * "default". */
KvgSource *kvg_source_chain(const char *profile);
/* What the chain comes to now, with no request made: a source, or NULL and why. */
KvgSource *kvg_source_chain_resolve(const KvgSource *chain, GError **error);
/* A text that is equal for chains that would give the same keys (g_free). Not secret. */
char *kvg_source_chain_identity(const KvgSource *chain);
/* stat() of @path as a number; 0 when it is not there. */
uint64_t kvg_file_stamp(const char *path);
