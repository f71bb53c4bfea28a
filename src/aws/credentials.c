/* Keys that never change, and keys from the AWS IoT credentials provider. Hides where keys come
 * from, when they are due for renewal, and what each refusal of the provider means. */
#include "aws/private.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "os/file.h"
#include <errno.h>
#include <kvg/error.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#define USABLE_MS 30000 /* keys that expire sooner are of no use to a request */
#define MAX_FILE_BYTES (1024u * 1024)
#define MAX_REPLY_BYTES (64u * 1024)
#define MAX_KEY_LENGTH 4096
#define CONNECT_TIMEOUT_MS 5000
#define TOTAL_TIMEOUT_MS 10000

typedef enum { SOURCE_STATIC, SOURCE_IOT } Source;

struct _KvgCredentials {
    gatomicrefcount n_refs;
    /* constant */
    Source source;
    char *endpoint, *role_alias, *thing_name, *certificate_path, *key_path, *ca_path;
    unsigned connect_timeout_ms, total_timeout_ms;
    struct curl_slist *headers;

    pthread_mutex_t lock;
    struct {
        KvgKeys keys; /* access_key NULL: none yet */
        int64_t renew_wall_ms;
    } shared;
};

static void
free_secret(char **text)
{
    if (*text == NULL)
        return;
    explicit_bzero(*text, strlen(*text));
    g_clear_pointer(text, g_free);
}

void
kvg_keys_clear(KvgKeys *keys)
{
    g_clear_pointer(&keys->access_key, g_free);
    free_secret(&keys->secret_key);
    free_secret(&keys->session_token);
    keys->expires_wall_ms = 0;
}

static KvgCredentials *
credentials_new(Source source)
{
    KvgCredentials *credentials = g_new0(KvgCredentials, 1);
    g_atomic_ref_count_init(&credentials->n_refs);
    credentials->source = source;
    pthread_mutex_init(&credentials->lock, NULL);
    return credentials;
}

KvgCredentials *
kvg_credentials_new_static(const char *access_key,
                           const char *secret_key,
                           const char *session_token)
{
    g_return_val_if_fail(access_key != NULL && secret_key != NULL, NULL);
    KvgCredentials *credentials = credentials_new(SOURCE_STATIC);
    credentials->shared.keys = (KvgKeys){.access_key = g_strdup(access_key),
                                         .secret_key = g_strdup(secret_key),
                                         .session_token = g_strdup(session_token)};
    return credentials;
}

/* ---- environment and shared file ---- */

static const char *
get_environment(const char *name)
{
    const char *value = g_getenv(name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

static char *
file_value(GKeyFile *file, const char *profile, const char *key)
{
    g_autofree char *value = g_key_file_get_string(file, profile, key, NULL);
    return value != NULL && g_strstrip(value)[0] != '\0' ? g_steal_pointer(&value) : NULL;
}

static KvgCredentials *
read_shared_file(const char *path, const char *profile, GError **error)
{
    size_t len;
    char *text = kvg_file_read(path, MAX_FILE_BYTES, &len, error);
    if (text == NULL)
        return NULL;
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autoptr(GError) cause = NULL;
    const bool ok = g_key_file_load_from_data(file, text, len, G_KEY_FILE_NONE, &cause);
    free_secret(&text);
    if (!ok) {
        /* GLib's text may quote a line, and lines here hold secrets. */
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "%s: not an AWS credentials file", path);
        return NULL;
    }
    g_autofree char *access_key = file_value(file, profile, "aws_access_key_id");
    char *secret_key = file_value(file, profile, "aws_secret_access_key");
    char *token = file_value(file, profile, "aws_session_token");
    KvgCredentials *credentials = NULL;
    if (access_key != NULL && secret_key != NULL)
        credentials = kvg_credentials_new_static(access_key, secret_key, token);
    else
        g_set_error(error, KVG_ERROR, KVG_ERROR_AUTH,
                    "%s: profile '%s' has no aws_access_key_id and aws_secret_access_key", path,
                    profile);
    free_secret(&secret_key);
    free_secret(&token);
    return credentials;
}

KvgCredentials *
kvg_credentials_new_default(const char *profile, GError **error)
{
    const char *access_key = get_environment("AWS_ACCESS_KEY_ID");
    const char *secret_key = get_environment("AWS_SECRET_ACCESS_KEY");
    if (profile == NULL && access_key != NULL && secret_key != NULL)
        return kvg_credentials_new_static(access_key, secret_key,
                                          get_environment("AWS_SESSION_TOKEN"));
    if (profile == NULL)
        profile = get_environment("AWS_PROFILE");
    if (profile == NULL)
        profile = "default";
    const char *given = get_environment("AWS_SHARED_CREDENTIALS_FILE");
    g_autofree char *path = given != NULL
                                ? g_strdup(given)
                                : g_build_filename(g_get_home_dir(), ".aws", "credentials", NULL);
    g_autoptr(GError) cause = NULL;
    KvgCredentials *credentials = read_shared_file(path, profile, &cause);
    if (credentials == NULL)
        g_set_error(error, KVG_ERROR, KVG_ERROR_AUTH,
                    "no AWS credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set, "
                    "and %s",
                    cause->message);
    return credentials;
}

/* ---- IoT ---- */

KvgCredentials *
kvg_credentials_new_iot(const KvgIotIdentity *identity)
{
    g_return_val_if_fail(identity != NULL && identity->endpoint != NULL, NULL);
    g_return_val_if_fail(identity->role_alias != NULL && identity->thing_name != NULL, NULL);
    g_return_val_if_fail(identity->certificate_path != NULL && identity->key_path != NULL, NULL);
    kvg_aws_init();
    KvgCredentials *credentials = credentials_new(SOURCE_IOT);
    credentials->endpoint = g_strdup(identity->endpoint);
    credentials->role_alias = g_strdup(identity->role_alias);
    credentials->thing_name = g_strdup(identity->thing_name);
    credentials->certificate_path = g_strdup(identity->certificate_path);
    credentials->key_path = g_strdup(identity->key_path);
    credentials->ca_path = g_strdup(identity->ca_path);
    credentials->connect_timeout_ms =
        identity->connect_timeout_ms != 0 ? identity->connect_timeout_ms : CONNECT_TIMEOUT_MS;
    credentials->total_timeout_ms =
        identity->total_timeout_ms != 0 ? identity->total_timeout_ms : TOTAL_TIMEOUT_MS;
    g_autofree char *thing = g_strdup_printf("x-amzn-iot-thingname: %s", identity->thing_name);
    credentials->headers = curl_slist_append(NULL, thing);
    return credentials;
}

KvgCredentials *
kvg_credentials_ref(KvgCredentials *credentials)
{
    g_atomic_ref_count_inc(&credentials->n_refs);
    return credentials;
}

void
kvg_credentials_unref(KvgCredentials *credentials)
{
    if (credentials == NULL || !g_atomic_ref_count_dec(&credentials->n_refs))
        return;
    kvg_keys_clear(&credentials->shared.keys);
    pthread_mutex_destroy(&credentials->lock);
    curl_slist_free_all(credentials->headers);
    g_free(credentials->endpoint);
    g_free(credentials->role_alias);
    g_free(credentials->thing_name);
    g_free(credentials->certificate_path);
    g_free(credentials->key_path);
    g_free(credentials->ca_path);
    g_free(credentials);
}

bool
kvg_credentials_peek(KvgCredentials *credentials, KvgKeys *keys)
{
    pthread_mutex_lock(&credentials->lock);
    const KvgKeys *now = &credentials->shared.keys;
    const bool usable =
        now->access_key != NULL &&
        (now->expires_wall_ms == 0 || now->expires_wall_ms > kvg_clock_wall_ms() + USABLE_MS);
    if (usable)
        *keys = (KvgKeys){.access_key = g_strdup(now->access_key),
                          .secret_key = g_strdup(now->secret_key),
                          .session_token = g_strdup(now->session_token),
                          .expires_wall_ms = now->expires_wall_ms};
    pthread_mutex_unlock(&credentials->lock);
    return usable;
}

bool
kvg_credentials_wants_refresh(KvgCredentials *credentials)
{
    pthread_mutex_lock(&credentials->lock);
    const bool wants = credentials->source == SOURCE_IOT &&
                       kvg_clock_wall_ms() >= credentials->shared.renew_wall_ms;
    pthread_mutex_unlock(&credentials->lock);
    return wants;
}

bool
kvg_credentials_can_refresh(const KvgCredentials *credentials)
{
    return credentials->source == SOURCE_IOT;
}

static bool
check_readable(const char *what, const char *path, GError **error)
{
    if (access(path, R_OK) == 0)
        return true;
    g_set_error(error, KVG_ERROR, KVG_ERROR_AUTH, "%s %s: %s; run kvg provision", what, path,
                g_strerror(errno));
    return false;
}

static size_t
on_reply(char *data, size_t size, size_t n, void *user_data)
{
    GString *body = user_data;
    if (body->len + n > MAX_REPLY_BYTES)
        return 0;
    g_string_append_len(body, data, (gssize)n);
    return n;
}

CURL *
kvg_credentials_refresh_begin(KvgCredentials *credentials, GString *body, GError **error)
{
    if (credentials->source != SOURCE_IOT) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_AUTH, "fixed keys cannot be renewed");
        return NULL;
    }
    if (!check_readable("certificate", credentials->certificate_path, error) ||
        !check_readable("private key", credentials->key_path, error) ||
        (credentials->ca_path != NULL && !check_readable("CA file", credentials->ca_path, error)))
        return NULL;
    g_autofree char *alias = kvg_uri_escape(credentials->role_alias, false);
    g_autofree char *url =
        g_strdup_printf("https://%s/role-aliases/%s/credentials", credentials->endpoint, alias);
    CURL *easy = curl_easy_init();
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "https");
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, credentials->headers);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "kvg/" KVG_VERSION);
    curl_easy_setopt(easy, CURLOPT_SSLCERT, credentials->certificate_path);
    curl_easy_setopt(easy, CURLOPT_SSLKEY, credentials->key_path);
    if (credentials->ca_path != NULL)
        curl_easy_setopt(easy, CURLOPT_CAINFO, credentials->ca_path);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)credentials->connect_timeout_ms);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)credentials->total_timeout_ms);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_reply);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, body);
    /* A camera's certificate may have been replaced: no connection of an older one is reused. */
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
    return easy;
}

static bool
judge_transport(const KvgCredentials *credentials, CURLcode result, GError **error)
{
    const char *remedy = "";
    KvgError code = KVG_ERROR_RETRY;
    if (result == CURLE_SSL_CERTPROBLEM) {
        code = KVG_ERROR_AUTH;
        remedy = "; the certificate and its private key must be PEM files that belong together";
    } else if (result == CURLE_PEER_FAILED_VERIFICATION || result == CURLE_SSL_CACERT_BADFILE) {
        remedy = "; check the CA file (ca_bundle) and this machine's clock";
    } else if (result == CURLE_COULDNT_RESOLVE_HOST) {
        remedy = "; check credentials_endpoint and the network";
    }
    g_set_error(error, KVG_ERROR, code, "credentials endpoint %s, thing '%s': %s%s",
                credentials->endpoint, credentials->thing_name, curl_easy_strerror(result), remedy);
    return false;
}

/* The provider's refusals, by the link that is broken. */
static bool
judge_refusal(const KvgCredentials *credentials, long status, const GString *body, GError **error)
{
    static const struct {
        const char *message, *link, *remedy;
    } table[] = {
        {"Certificate is invalid", "certificate",
         "it is unknown there or not ACTIVE; run kvg provision"},
        {"Invalid thing name", "thing",
         "it does not exist or the certificate is not attached to it; run kvg provision"},
        {"Access Denied", "policy",
         "no IoT policy allows iot:AssumeRoleWithCertificate on the role alias; run kvg provision"},
        {"Role alias does not exist", "role alias", "run kvg provision"},
        {"Unable to assume the role", "role",
         "it is missing or does not trust credentials.iot.amazonaws.com; run kvg provision"},
        {"CredentialDurationSeconds", "role", "its MaxSessionDuration is shorter than the alias'"},
    };
    g_autoptr(json_t) reply = kvg_json_parse_object(body->str, body->len, NULL);
    const char *message = reply != NULL ? kvg_json_get_string(reply, "message") : NULL;
    if (status >= 500 || status == 429) {
        g_set_error(error, KVG_ERROR, status == 429 ? KVG_ERROR_THROTTLED : KVG_ERROR_RETRY,
                    "credentials endpoint %s: HTTP %ld", credentials->endpoint, status);
        return false;
    }
    for (size_t i = 0; message != NULL && i < G_N_ELEMENTS(table); i++) {
        if (strstr(message, table[i].message) == NULL)
            continue;
        g_set_error(error, KVG_ERROR, KVG_ERROR_AUTH,
                    "thing '%s', certificate %s, role alias '%s': the %s was refused (%s): %s",
                    credentials->thing_name, credentials->certificate_path, credentials->role_alias,
                    table[i].link, message, table[i].remedy);
        return false;
    }
    g_set_error(error, KVG_ERROR, KVG_ERROR_AUTH,
                "credentials endpoint %s, thing '%s': HTTP %ld%s%.200s", credentials->endpoint,
                credentials->thing_name, status, message != NULL ? ": " : "",
                message != NULL ? message : "");
    return false;
}

static bool
parse_keys(const GString *body, KvgKeys *keys)
{
    g_autoptr(json_t) reply = kvg_json_parse_object(body->str, body->len, NULL);
    const json_t *found = reply != NULL ? json_object_get(reply, "credentials") : NULL;
    const char *access_key = kvg_json_get_string(found, "accessKeyId");
    const char *secret_key = kvg_json_get_string(found, "secretAccessKey");
    const char *token = kvg_json_get_string(found, "sessionToken");
    const char *expiration = kvg_json_get_string(found, "expiration");
    if (access_key == NULL || secret_key == NULL || token == NULL || expiration == NULL ||
        strlen(access_key) > MAX_KEY_LENGTH || strlen(secret_key) > MAX_KEY_LENGTH)
        return false;
    g_autoptr(GDateTime) expires = g_date_time_new_from_iso8601(expiration, NULL);
    if (expires == NULL)
        return false;
    *keys = (KvgKeys){.access_key = g_strdup(access_key),
                      .secret_key = g_strdup(secret_key),
                      .session_token = g_strdup(token),
                      .expires_wall_ms = g_date_time_to_unix(expires) * 1000};
    return true;
}

/* Renewal is due after 70 to 85 % of the life, so that many cameras do not come at once. */
static void
store_keys(KvgCredentials *credentials, KvgKeys *keys, int64_t now_ms)
{
    const int64_t life_ms = keys->expires_wall_ms - now_ms;
    const int64_t renew_ms = now_ms + life_ms * g_random_int_range(70, 86) / 100;
    pthread_mutex_lock(&credentials->lock);
    KvgKeys old = credentials->shared.keys;
    credentials->shared.keys = *keys;
    credentials->shared.renew_wall_ms = renew_ms;
    pthread_mutex_unlock(&credentials->lock);
    *keys = (KvgKeys){0};
    kvg_keys_clear(&old);
}

bool
kvg_credentials_refresh_end(
    KvgCredentials *credentials, CURL *easy, CURLcode result, const GString *body, GError **error)
{
    if (result != CURLE_OK)
        return judge_transport(credentials, result, error);
    long status = 0;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200)
        return judge_refusal(credentials, status, body, error);
    g_auto(KvgKeys) keys = {0};
    const bool ok = parse_keys(body, &keys);
    explicit_bzero(body->str, body->len);
    if (!ok) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_RETRY,
                    "credentials endpoint %s: the answer could not be understood",
                    credentials->endpoint);
        return false;
    }
    const int64_t now_ms = kvg_clock_wall_ms();
    if (keys.expires_wall_ms <= now_ms + USABLE_MS) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_AUTH,
                    "credentials endpoint %s: the credentials for thing '%s' have expired already; "
                    "is this machine's clock right?",
                    credentials->endpoint, credentials->thing_name);
        return false;
    }
    store_keys(credentials, &keys, now_ms);
    return true;
}

bool
kvg_credentials_get(KvgCredentials *credentials, KvgKeys *keys, GError **error)
{
    if (kvg_credentials_peek(credentials, keys))
        return true;
    g_autoptr(GString) body = g_string_new(NULL);
    g_autoptr(CURL) easy = kvg_credentials_refresh_begin(credentials, body, error);
    if (easy == NULL)
        return false;
    const CURLcode result = curl_easy_perform(easy);
    if (!kvg_credentials_refresh_end(credentials, easy, result, body, error))
        return false;
    if (kvg_credentials_peek(credentials, keys))
        return true;
    g_set_error(error, KVG_ERROR, KVG_ERROR_AUTH, "the credentials expire too soon");
    return false;
}
