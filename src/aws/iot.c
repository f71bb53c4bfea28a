/* Keys from the AWS IoT credentials provider: one GET with the camera's certificate. Hides what
 * each refusal of the provider means. */
#include "aws/certificate.h"
#include "aws/source.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "os/log.h"
#include <stdatomic.h>
#include <string.h>

#define LOG_DOMAIN "kvg-aws"
#define CONNECT_TIMEOUT_MS 4000 /* a dead link has a name within 5 s */
#define TOTAL_TIMEOUT_MS 10000
#define MAX_DOUBLINGS 2
/* This clock may be wrong while a fresh certificate is good: within a day the other side decides.
 */
#define DATE_SLACK_MS (24 * 60 * 60 * INT64_C(1000))

typedef struct {
    KvgSource base;
    char *who; /* "credentials of thing 'gate'" */
    char *endpoint, *role_alias, *thing_name, *certificate_path, *key_path, *ca_path;
    long connect_timeout_ms, total_timeout_ms;
    bool is_patient;         /* the time-outs are ours to choose */
    _Atomic unsigned n_slow; /* connections that took too long */
    _Atomic bool was_warned; /* of the key file's mode */
} IotSource;

/* A name that can only be wrong is told apart from one that does not answer. */
static bool
check_endpoint(const IotSource *iot, GError **error)
{
    const char *const remedy =
        "give HOST or HOST:PORT as 'aws iot describe-endpoint --endpoint-type "
        "iot:CredentialProvider' prints it";
    if (iot->endpoint[0] == '\0' || strpbrk(iot->endpoint, "/?#@ \r\n") != NULL) {
        kvg_fault(error, KVG_ERROR_INVALID, iot->who, "endpoint", remedy,
                  "'%.200s' is not a host name", iot->endpoint);
        return false;
    }
    if (strstr(iot->endpoint, ".amazonaws.com") != NULL &&
        strstr(iot->endpoint, ".credentials.iot.") == NULL) {
        kvg_fault(error, KVG_ERROR_INVALID, iot->who, "endpoint", remedy,
                  "%s is another endpoint of AWS, not that of the credentials provider",
                  iot->endpoint);
        return false;
    }
    return true;
}

static bool
check_files(const IotSource *iot, int64_t slack_ms, GError **error)
{
    return kvg_certificate_check(iot->who, iot->certificate_path, iot->key_path, iot->ca_path,
                                 kvg_clock_wall_ms(), slack_ms, error);
}

static void
warn_of_mode(IotSource *iot)
{
    if (kvg_file_is_open_to_others(iot->key_path) && !atomic_exchange(&iot->was_warned, true))
        KVG_LOG_WARNING(LOG_DOMAIN, "REASON", "file",
                        "%s: file: private key %s can be read by others; chmod 600 it", iot->who,
                        iot->key_path);
}

/* A slow line gets the time that it needs: twice as much after each time-out. */
static void
request(const IotSource *iot, KvgAttempt *attempt, const char *url)
{
    const unsigned n_slow = MIN(iot->is_patient ? atomic_load(&iot->n_slow) : 0, MAX_DOUBLINGS);
    const long more_ms = (iot->connect_timeout_ms << n_slow) - iot->connect_timeout_ms;
    kvg_attempt_request(attempt, url, iot->connect_timeout_ms + more_ms,
                        iot->total_timeout_ms + more_ms);
}

static KvgRenewalStep
begin(const IotSource *iot, KvgAttempt *attempt, GError **error)
{
    if (!check_endpoint(iot, error) || !check_files(iot, DATE_SLACK_MS, error))
        return KVG_RENEWAL_FAILED;
    g_autofree char *alias = kvg_uri_escape(iot->role_alias, false);
    g_autofree char *url =
        g_strdup_printf("https://%s/role-aliases/%s/credentials", iot->endpoint, alias);
    request(iot, attempt, url);
    kvg_attempt_header(attempt, "x-amzn-iot-thingname", iot->thing_name);
    curl_easy_setopt(attempt->easy, CURLOPT_PROTOCOLS_STR, "https");
    curl_easy_setopt(attempt->easy, CURLOPT_SSLCERT, iot->certificate_path);
    curl_easy_setopt(attempt->easy, CURLOPT_SSLKEY, iot->key_path);
    kvg_curl_trust(attempt->easy, iot->ca_path);
    return KVG_RENEWAL_REQUEST;
}

/* The provider checks thing, policy, alias and role in this order. */
static KvgRenewalStep
judge_refusal(const IotSource *iot, const KvgAttempt *attempt, GError **error)
{
    static const struct {
        const char *message, *link, *remedy;
    } table[] = {
        {"Certificate is invalid", "certificate",
         "it is unknown there or not ACTIVE; run kvg provision, or check the endpoint"},
        {"Invalid thing name", "thing",
         "it does not exist or the certificate is not attached to it; run kvg provision"},
        {"Access Denied", "policy",
         "no IoT policy of the certificate allows iot:AssumeRoleWithCertificate on the alias; run "
         "kvg provision"},
        {"Role alias does not exist", "alias", "run kvg provision, or correct role_alias"},
        {"Unable to assume the role", "role",
         "it is missing or does not trust credentials.iot.amazonaws.com; run kvg provision"},
        {"CredentialDurationSeconds", "role",
         "its MaxSessionDuration is shorter than the alias' credentialDurationSeconds"},
    };
    g_autoptr(json_t) reply = kvg_json_parse_object(attempt->body->str, attempt->body->len, NULL);
    const char *message = reply != NULL ? kvg_json_get_string(reply, "message") : NULL;
    if (attempt->status >= 500 || attempt->status == 429)
        return kvg_fault(error, attempt->status == 429 ? KVG_ERROR_THROTTLED : KVG_ERROR_RETRY,
                         iot->who, "service", "it is tried again later", "%s answered HTTP %ld",
                         iot->endpoint, attempt->status);
    for (size_t i = 0; message != NULL && i < G_N_ELEMENTS(table); i++) {
        if (strstr(message, table[i].message) != NULL)
            return kvg_fault(error, KVG_ERROR_AUTH, iot->who, table[i].link, table[i].remedy,
                             "%s refused it with \"%.200s\" (role alias '%s', certificate %s)",
                             iot->endpoint, message, iot->role_alias, iot->certificate_path);
    }
    return kvg_fault(error, KVG_ERROR_AUTH, iot->who, "endpoint",
                     "check that it is the credentials endpoint", "%s answered HTTP %ld%s%.200s",
                     iot->endpoint, attempt->status, message != NULL ? ": " : "",
                     message != NULL ? message : "");
}

/* What was let pass for the sake of a wrong clock explains a refusal better than its text. */
static KvgRenewalStep
judge_failure(const IotSource *iot, const KvgAttempt *attempt, GError **error)
{
    g_autoptr(GError) cause = NULL;
    if (attempt->result == CURLE_OK)
        judge_refusal(iot, attempt, &cause);
    else
        kvg_attempt_no_answer(attempt, iot->who, &cause);
    if (cause->code == KVG_ERROR_AUTH && !check_files(iot, 0, error))
        return KVG_RENEWAL_FAILED;
    g_propagate_error(error, g_steal_pointer(&cause));
    return KVG_RENEWAL_FAILED;
}

static KvgRenewalStep
iot_step(const KvgSource *source, KvgAttempt *attempt, GError **error)
{
    IotSource *iot = (IotSource *)(uintptr_t)source; /* what changes in it is atomic */
    if (attempt->n_requests == 0) {
        warn_of_mode(iot);
        return begin(iot, attempt, error);
    }
    if (attempt->result == CURLE_OPERATION_TIMEDOUT)
        atomic_fetch_add(&iot->n_slow, 1);
    if (attempt->result != CURLE_OK || attempt->status != 200)
        return judge_failure(iot, attempt, error);
    g_autoptr(json_t) reply = kvg_json_parse_object(attempt->body->str, attempt->body->len, NULL);
    const json_t *found = reply != NULL ? json_object_get(reply, "credentials") : NULL;
    const char *token = kvg_json_get_string(found, "sessionToken");
    const char *expiration = kvg_json_get_string(found, "expiration");
    const bool is_whole = token != NULL && expiration != NULL;
    return kvg_attempt_take(
        attempt, iot->who, is_whole ? kvg_json_get_string(found, "accessKeyId") : NULL,
        kvg_json_get_string(found, "secretAccessKey"), token, expiration, error);
}

static uint64_t
iot_stamp(const KvgSource *source)
{
    const IotSource *iot = (const IotSource *)source;
    return kvg_file_stamp(iot->certificate_path) * 31 + kvg_file_stamp(iot->key_path);
}

static void
iot_free(KvgSource *source)
{
    IotSource *iot = (IotSource *)source;
    g_free(iot->who);
    g_free(iot->endpoint);
    g_free(iot->role_alias);
    g_free(iot->thing_name);
    g_free(iot->certificate_path);
    g_free(iot->key_path);
    g_free(iot->ca_path);
    g_free(iot);
}

KvgSource *
kvg_source_iot(const KvgIotIdentity *identity)
{
    static const KvgSourceClass class = {.step = iot_step, .stamp = iot_stamp, .free = iot_free};
    IotSource *iot = g_new0(IotSource, 1);
    iot->base.class = &class;
    iot->who = g_strdup_printf("credentials of thing '%s'", identity->thing_name);
    iot->endpoint = g_strdup(identity->endpoint);
    iot->role_alias = g_strdup(identity->role_alias);
    iot->thing_name = g_strdup(identity->thing_name);
    iot->certificate_path = g_strdup(identity->certificate_path);
    iot->key_path = g_strdup(identity->key_path);
    iot->ca_path = g_strdup(identity->ca_path);
    iot->is_patient = identity->connect_timeout_ms == 0 && identity->total_timeout_ms == 0;
    iot->connect_timeout_ms =
        identity->connect_timeout_ms != 0 ? identity->connect_timeout_ms : CONNECT_TIMEOUT_MS;
    iot->total_timeout_ms =
        identity->total_timeout_ms != 0 ? identity->total_timeout_ms : TOTAL_TIMEOUT_MS;
    return &iot->base;
}
