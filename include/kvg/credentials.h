/* Where AWS credentials come from. A provider is shared by any number of streams and refreshed
 * by whoever uses it. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

G_BEGIN_DECLS

typedef struct _KvgCredentials KvgCredentials;

/**
 * kvg_credentials_new_static:
 * @access_key: access key id
 * @secret_key: secret access key
 * @session_token: (nullable): for temporary keys
 *
 * Keys that never change. Never NULL; free with kvg_credentials_unref().
 *
 * Thread: any.
 */
KvgCredentials *kvg_credentials_new_static(const char *access_key,
                                           const char *secret_key,
                                           const char *session_token);

/**
 * kvg_credentials_new_default:
 * @profile: (nullable): a profile of the shared files, which then wins over keys in the
 * environment; NULL: AWS_PROFILE, or "default"
 * @error: KVG_ERROR_AUTH, KVG_ERROR_INVALID or KVG_ERROR_UNSUPPORTED naming what was looked at and
 *   what is wrong with it; only for what can be told without a request
 *
 * The default chain of the AWS SDKs: AWS_ACCESS_KEY_ID and its like; AWS_WEB_IDENTITY_TOKEN_FILE;
 * the profile (a role by source_profile or credential_source, or keys) of
 * AWS_SHARED_CREDENTIALS_FILE and AWS_CONFIG_FILE; the container's endpoint; EC2 instance metadata
 * (IMDSv2). The environment is read here; the files are read again whenever they change or their
 * keys are refused. Temporary keys are renewed in time. Those that were made with equal settings
 * are one object.
 *
 * Thread: any. Source: AWS SDKs and Tools Reference Guide, "Credential provider chain".
 */
KvgCredentials *kvg_credentials_new_default(const char *profile, GError **error);

/**
 * kvg_credentials_new_file:
 * @path: file with "CREDENTIALS key [expiration] secret [token]", as AWS's kvssink takes it
 *
 * Keys that another program writes and rotates: the file is read when they are needed and again
 * when it changes. Never NULL; a file that is missing or wrong is the stream's state, not an error
 * here.
 *
 * Thread: any.
 */
KvgCredentials *kvg_credentials_new_file(const char *path);

/**
 * KvgIotIdentity: a camera's own X.509 identity (all strings copied).
 * @endpoint: credentials endpoint, HOST or HOST:PORT
 * @role_alias: the alias of the role to assume
 * @thing_name: sent as x-amzn-iot-thingname
 * @certificate_path: its certificate (PEM)
 * @key_path: the certificate's private key (PEM, no passphrase), readable by its owner only
 * @ca_path: CA file (PEM) that signed the endpoint's certificate; NULL for the system's store
 */
typedef struct {
    const char *endpoint;
    const char *role_alias;
    const char *thing_name;
    const char *certificate_path;
    const char *key_path;
    const char *ca_path;
    unsigned connect_timeout_ms; /* both 0: 4000, and more after each time-out */
    unsigned total_timeout_ms;   /* 0: 10000 */
} KvgIotIdentity;

/**
 * kvg_credentials_new_iot:
 * @identity: all strings but @ca_path required
 *
 * Keys from the AWS IoT credentials provider (mutual TLS). The files are read at each renewal, so a
 * certificate may be replaced while cameras run; what is wrong with them is the stream's state,
 * with the broken link named: file, certificate, clock, CA, endpoint, DNS, TCP, TLS, thing, policy,
 * alias, role. Never NULL. Those of an equal identity are one object with one renewal.
 *
 * Thread: any. Source: AWS IoT Core, "Authorizing direct calls to AWS services".
 */
KvgCredentials *kvg_credentials_new_iot(const KvgIotIdentity *identity);

/**
 * kvg_credentials_ref:
 *
 * Another reference, for kvg_credentials_unref(). Thread: any.
 */
KvgCredentials *kvg_credentials_ref(KvgCredentials *credentials);

/**
 * kvg_credentials_unref:
 * @credentials: (nullable):
 *
 * Gives a reference back; the last one wipes the keys. Thread: any.
 */
void kvg_credentials_unref(KvgCredentials *credentials);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgCredentials, kvg_credentials_unref)

G_END_DECLS
