/* Keys for what runs inside AWS: the container's agent (ECS, EKS Pod Identity, Greengrass), one
 * GET, and EC2's instance metadata (IMDSv2 only), three requests. Neither goes through a proxy, and
 * a redirect is never followed. */
#include "aws/source.h"
#include "base/json.h"
#include "base/text.h"
#include "os/file.h"
#include <arpa/inet.h>
#include <string.h>

#define CONNECT_TIMEOUT_MS 1000L
#define TOTAL_TIMEOUT_MS 2000L
#define MAX_TIMEOUT_S 60
#define MAX_TOKEN_FILE (64 * 1024)
#define INSTANCE_ENDPOINT "http://169.254.169.254"
#define TOKEN_SECONDS "21600"
#define ROLE_PATH "/latest/meta-data/iam/security-credentials/"

static void
request(KvgAttempt *attempt, const char *url, long total_ms)
{
    kvg_attempt_request(attempt, url, CONNECT_TIMEOUT_MS, total_ms);
    curl_easy_setopt(attempt->easy, CURLOPT_PROXY, ""); /* it would learn the token */
}

/* Both answer {"AccessKeyId", "SecretAccessKey", "Token", "Expiration"}. */
static KvgRenewalStep
take_answer(KvgAttempt *attempt, const char *who, GError **error)
{
    g_autoptr(json_t) reply = kvg_json_parse_object(attempt->body->str, attempt->body->len, NULL);
    const char *token = kvg_json_get_string(reply, "Token");
    const char *expiration = kvg_json_get_string(reply, "Expiration");
    const bool is_whole = token != NULL && expiration != NULL;
    return kvg_attempt_take(
        attempt, who, is_whole ? kvg_json_get_string(reply, "AccessKeyId") : NULL,
        kvg_json_get_string(reply, "SecretAccessKey"), token, expiration, error);
}

/* ---- container ---- */

typedef struct {
    KvgSource base;
    char *url, *token, *token_file, *who;
} ContainerSource;

/* Over plain HTTP the keys may only come from this machine, or from the agents of ECS and EKS. */
static bool
is_near(const char *host)
{
    static const char *const agents[] = {"169.254.170.2", "169.254.170.23", "fd00:ec2::23", "::1"};
    struct in_addr address;
    if (strcmp(host, "localhost") == 0 || g_strv_contains(agents, host))
        return true;
    return inet_pton(AF_INET, host, &address) == 1 && (ntohl(address.s_addr) >> 24) == 127;
}

static bool
check_url(const char *url, GError **error)
{
    g_autoptr(GUri) uri = g_uri_parse(url, G_URI_FLAGS_NONE, NULL);
    const char *scheme = uri != NULL ? g_uri_get_scheme(uri) : "";
    const char *host = uri != NULL ? g_uri_get_host(uri) : NULL;
    if (host != NULL && host[0] != '\0' && g_uri_get_userinfo(uri) == NULL &&
        (strcmp(scheme, "https") == 0 || (strcmp(scheme, "http") == 0 && is_near(host))))
        return true;
    kvg_fault(error, KVG_ERROR_INVALID, "container credentials", "endpoint",
              "use https, or http to this machine, 169.254.170.2 or 169.254.170.23",
              "%s of AWS_CONTAINER_CREDENTIALS_FULL_URI is not asked for keys",
              host != NULL ? host : "the host");
    return false;
}

static bool
add_token(const ContainerSource *container, KvgAttempt *attempt, GError **error)
{
    size_t len = 0;
    g_autoptr(GError) cause = NULL;
    char *text = container->token_file == NULL
                     ? g_strdup(container->token)
                     : kvg_file_read(container->token_file, MAX_TOKEN_FILE, &len, &cause);
    if (cause != NULL) {
        kvg_fault(error, KVG_ERROR_AUTH, container->who, "file",
                  "check AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "%s", cause->message);
        return false;
    }
    if (text == NULL)
        return true;
    g_strchomp(text);
    const bool is_line = strpbrk(text, "\r\n") == NULL && g_utf8_validate(text, -1, NULL);
    if (is_line)
        kvg_attempt_header(attempt, "Authorization", text);
    else
        kvg_fault(error, KVG_ERROR_AUTH, container->who, "file", "correct it",
                  "the authorization token is not one line of text");
    kvg_secret_free(text);
    return is_line;
}

static KvgRenewalStep
container_step(const KvgSource *source, KvgAttempt *attempt, GError **error)
{
    const ContainerSource *container = (const ContainerSource *)source;
    if (attempt->n_requests == 0) {
        request(attempt, container->url, TOTAL_TIMEOUT_MS);
        return add_token(container, attempt, error) ? KVG_RENEWAL_REQUEST : KVG_RENEWAL_FAILED;
    }
    if (attempt->result != CURLE_OK)
        return kvg_attempt_no_answer(attempt, container->who, error);
    if (attempt->status == 200)
        return take_answer(attempt, container->who, error);
    const bool is_theirs = attempt->status >= 500 || attempt->status == 429;
    return kvg_fault(error, is_theirs ? KVG_ERROR_RETRY : KVG_ERROR_AUTH, container->who,
                     is_theirs ? "service" : "role",
                     is_theirs ? "it is tried again later"
                               : "check the role of the task or pod, and the authorization token",
                     "HTTP %ld", attempt->status);
}

static void
container_free(KvgSource *source)
{
    ContainerSource *container = (ContainerSource *)source;
    kvg_secret_free(container->token);
    g_free(container->url);
    g_free(container->token_file);
    g_free(container->who);
    g_free(container);
}

KvgSource *
kvg_source_container(const char *url, const char *token, const char *token_file, GError **error)
{
    static const KvgSourceClass class = {.step = container_step, .free = container_free};
    if (!check_url(url, error))
        return NULL;
    ContainerSource *container = g_new0(ContainerSource, 1);
    container->base.class = &class;
    container->url = g_strdup(url);
    container->token = g_strdup(token);
    container->token_file = g_strdup(token_file);
    g_autofree char *shown = kvg_uri_redact(url);
    container->who = g_strdup_printf("container credentials (%s)", shown);
    return &container->base;
}

/* ---- instance metadata ---- */

typedef struct {
    KvgSource base;
    char *endpoint, *who;
    long timeout_ms;
    char *looked; /* where keys were looked for before, NULL: nowhere */
} InstanceSource;

static KvgRenewalStep
get_with_token(const InstanceSource *instance, KvgAttempt *attempt)
{
    g_autofree char *role = attempt->role != NULL ? kvg_uri_escape(attempt->role, false) : NULL;
    g_autofree char *url =
        g_strconcat(instance->endpoint, ROLE_PATH, role != NULL ? role : "", NULL);
    request(attempt, url, instance->timeout_ms);
    kvg_attempt_header(attempt, "X-aws-ec2-metadata-token", attempt->token);
    return KVG_RENEWAL_REQUEST;
}

static KvgRenewalStep
ask_for_token(const InstanceSource *instance, KvgAttempt *attempt)
{
    g_autofree char *url = g_strconcat(instance->endpoint, "/latest/api/token", NULL);
    request(attempt, url, instance->timeout_ms);
    kvg_attempt_header(attempt, "X-aws-ec2-metadata-token-ttl-seconds", TOKEN_SECONDS);
    curl_easy_setopt(attempt->easy, CURLOPT_CUSTOMREQUEST, "PUT");
    curl_easy_setopt(attempt->easy, CURLOPT_POSTFIELDS, "");
    return KVG_RENEWAL_REQUEST;
}

/* The first line, when it is one that may go into a header or a path. */
static char *
first_line(const KvgAttempt *attempt)
{
    g_autofree char *line = g_strndup(attempt->body->str, strcspn(attempt->body->str, "\r\n"));
    const size_t len = strlen(line);
    bool is_plain = len > 0 && len <= 1024;
    for (size_t i = 0; i < len; i++)
        is_plain = is_plain && g_ascii_isgraph(line[i]);
    return is_plain ? g_steal_pointer(&line) : NULL;
}

static KvgRenewalStep
judge_instance(const InstanceSource *instance, const KvgAttempt *attempt, GError **error)
{
    if (attempt->result != CURLE_OK && attempt->n_requests == 1 && instance->looked != NULL)
        return kvg_fault(error, KVG_ERROR_AUTH, "no AWS credentials", "file",
                         "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
                         "%s, and this is no EC2 instance (%s)", instance->looked,
                         attempt->curl_error[0] != '\0' ? attempt->curl_error
                                                        : curl_easy_strerror(attempt->result));
    if (attempt->result == CURLE_OPERATION_TIMEDOUT && attempt->n_requests == 1)
        return kvg_fault(error, KVG_ERROR_RETRY, instance->who, "TCP",
                         "in a container the instance needs HttpPutResponseHopLimit 2",
                         "the token did not come in time");
    if (attempt->result != CURLE_OK)
        return kvg_attempt_no_answer(attempt, instance->who, error);
    if (attempt->status == 404 && attempt->n_requests > 1)
        return kvg_fault(error, KVG_ERROR_AUTH, instance->who, "role",
                         "attach an instance profile with a role to it",
                         "the instance has no role");
    if (attempt->status == 403)
        return kvg_fault(error, KVG_ERROR_AUTH, instance->who, "service",
                         "enable it (aws ec2 modify-instance-metadata-options --http-endpoint "
                         "enabled)",
                         "instance metadata is disabled");
    return kvg_fault(error, attempt->status >= 500 ? KVG_ERROR_RETRY : KVG_ERROR_AUTH,
                     instance->who, "service", "it is tried again later", "HTTP %ld",
                     attempt->status);
}

static KvgRenewalStep
instance_step(const KvgSource *source, KvgAttempt *attempt, GError **error)
{
    const InstanceSource *instance = (const InstanceSource *)source;
    if (attempt->n_requests == 0)
        return ask_for_token(instance, attempt);
    if (attempt->result != CURLE_OK || attempt->status != 200)
        return judge_instance(instance, attempt, error);
    if (attempt->n_requests == 3)
        return take_answer(attempt, instance->who, error);
    char **slot = attempt->n_requests == 1 ? &attempt->token : &attempt->role;
    *slot = first_line(attempt);
    if (*slot == NULL)
        return kvg_fault(error, KVG_ERROR_RETRY, instance->who, "answer",
                         "something else than EC2 seems to listen there",
                         "the %s could not be understood",
                         attempt->n_requests == 1 ? "token" : "role's name");
    return get_with_token(instance, attempt);
}

static void
instance_free(KvgSource *source)
{
    InstanceSource *instance = (InstanceSource *)source;
    g_free(instance->endpoint);
    g_free(instance->who);
    g_free(instance->looked);
    g_free(instance);
}

KvgSource *
kvg_source_instance(const char *endpoint, const char *timeout_s, const char *looked)
{
    static const KvgSourceClass class = {.step = instance_step, .free = instance_free};
    InstanceSource *instance = g_new0(InstanceSource, 1);
    instance->base.class = &class;
    instance->endpoint = kvg_aws_base_url("", "", endpoint != NULL ? endpoint : INSTANCE_ENDPOINT);
    instance->looked = g_strdup(looked);
    guint64 seconds = 0;
    instance->timeout_ms = timeout_s != NULL && g_ascii_string_to_unsigned(
                                                    timeout_s, 10, 1, MAX_TIMEOUT_S, &seconds, NULL)
                               ? (long)seconds * 1000
                               : TOTAL_TIMEOUT_MS;
    g_autofree char *shown = kvg_uri_redact(instance->endpoint);
    instance->who = g_strdup_printf("EC2 instance metadata (%s)", shown);
    return &instance->base;
}
