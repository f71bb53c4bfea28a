/* Keys: the administrator's, kept in state.db, and temporary ones, kept nowhere: their session
 * token holds secret, role and expiry, sealed by AES-256-GCM under a key of state.db. So they
 * survive a restart and cost no memory, however many are issued. */
#pragma once

#include "server/server.h"

typedef struct {
    const char *role_name;      /* required */
    const char *role_id;        /* required */
    const char *session_name;   /* required */
    const char *thing_name;     /* or NULL */
    const char *certificate_id; /* or NULL */
    const char *role_arn;       /* or NULL */
    const char *policy;         /* that restricts the session, or NULL */
    int64_t expires_ms;
} KvgSessionSpec;

typedef struct {
    char *access_key, *secret, *token;
    int64_t expires_ms;
} KvgSessionKeys;
void kvg_session_keys_clear(KvgSessionKeys *keys);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(KvgSessionKeys, kvg_session_keys_clear)

bool kvg_session_issue(KvgServer *server,
                       const KvgSessionSpec *spec,
                       KvgSessionKeys *keys,
                       GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Opens @token of @access_key: fills @caller, @secret (g_free) and @expires_ms. False: not ours. */
bool kvg_session_open(KvgServer *server,
                      const char *access_key,
                      const char *token,
                      KvgCaller *caller,
                      char **secret,
                      int64_t *expires_ms);
/* "AKIA"/"ASIA"/"AROA"... and @n random base-32 characters (g_free). */
char *kvg_random_id(const char *prefix, size_t n);
/* 40 characters (g_free) */
char *kvg_random_secret(void);
/* The first user's key, as an AWS credentials file (0600). */
bool kvg_auth_write_credentials(KvgServer *server,
                                const char *path,
                                GError **error) G_GNUC_WARN_UNUSED_RESULT;
