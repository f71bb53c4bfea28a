/* Where AWS credentials come from. A provider is shared by any number of streams and refreshed
 * by whoever uses it. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

G_BEGIN_DECLS

typedef struct _KvgCredentials KvgCredentials;

/* Fixed keys. @session_token may be NULL. */
KvgCredentials *kvg_credentials_new_static(const char *access_key,
                                           const char *secret_key,
                                           const char *session_token);

/* AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN; else the shared credentials file
 * (AWS_SHARED_CREDENTIALS_FILE or ~/.aws/credentials), @profile or AWS_PROFILE or "default".
 * NULL and KVG_ERROR_AUTH naming the places looked at. */
KvgCredentials *kvg_credentials_new_default(const char *profile, GError **error);

/**
 * KvgIotIdentity: a camera's own X.509 identity (all strings copied).
 * @endpoint: credentials endpoint, HOST or HOST:PORT
 * @thing_name: sent as x-amzn-iot-thingname
 * @ca_path: CA file (PEM) that signed the endpoint's certificate; NULL for the system's store
 */
typedef struct {
    const char *endpoint;
    const char *role_alias;
    const char *thing_name;
    const char *certificate_path;
    const char *key_path;
    const char *ca_path;
    unsigned connect_timeout_ms; /* 0: 5000 */
    unsigned total_timeout_ms;   /* 0: 10000 */
} KvgIotIdentity;

/* Credentials by the AWS IoT credentials provider (mutual TLS). Reads no file yet. */
KvgCredentials *kvg_credentials_new_iot(const KvgIotIdentity *identity);

KvgCredentials *kvg_credentials_ref(KvgCredentials *credentials);
void kvg_credentials_unref(KvgCredentials *credentials);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgCredentials, kvg_credentials_unref)

G_END_DECLS
