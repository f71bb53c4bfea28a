/* Keys of a role by STS: AssumeRole with the keys of a base source, or AssumeRoleWithWebIdentity
 * with a token from a file (EKS), which is not signed. */
#include "aws/source.h"
#include "base/text.h"
#include "os/file.h"
#include <string.h>

#define MAX_TOKEN_FILE (64 * 1024)
#define MAX_XML_TEXT 16384

typedef struct {
    KvgSource base;
    KvgSource *base_keys; /* NULL: web identity */
    char *who, *arn, *session_name, *external_id, *token_file, *region, *endpoint, *ca_path,
        *duration;
} RoleSource;

static void
add_parameter(GString *form, const char *name, const char *value)
{
    if (value == NULL)
        return;
    g_autofree char *escaped = kvg_uri_escape(value, false);
    g_string_append_printf(form, "&%s=%s", name, escaped);
    explicit_bzero(escaped, strlen(escaped));
}

static char *
make_form(const RoleSource *role, const char *token)
{
    GString *form = g_string_new("Version=2011-06-15");
    add_parameter(form, "Action", token != NULL ? "AssumeRoleWithWebIdentity" : "AssumeRole");
    add_parameter(form, "RoleArn", role->arn);
    add_parameter(form, "RoleSessionName", role->session_name);
    add_parameter(form, "ExternalId", role->external_id);
    add_parameter(form, "DurationSeconds", role->duration);
    add_parameter(form, "WebIdentityToken", token);
    return g_string_free(form, FALSE);
}

/* @keys NULL: not signed. */
static KvgRenewalStep
call_sts(const RoleSource *role, KvgAttempt *attempt, const KvgKeys *keys, const char *token)
{
    char *form = make_form(role, token);
    g_autofree char *url = kvg_aws_base_url("sts", role->region, role->endpoint);
    const KvgAwsRequest request = {.service = "sts",
                                   .region = role->region,
                                   .base_url = url,
                                   .method = "POST",
                                   .path = "/",
                                   .content_type =
                                       "application/x-www-form-urlencoded; charset=utf-8",
                                   .body = form,
                                   .ca_path = role->ca_path};
    attempt->transfer = kvg_aws_transfer_new(&request, keys, &attempt->reply);
    attempt->easy = kvg_aws_transfer_easy(attempt->transfer);
    kvg_secret_free(form);
    return KVG_RENEWAL_REQUEST;
}

static KvgRenewalStep
begin_web_identity(const RoleSource *role, KvgAttempt *attempt, GError **error)
{
    g_autoptr(GError) cause = NULL;
    char *token = kvg_file_read(role->token_file, MAX_TOKEN_FILE, NULL, &cause);
    if (token == NULL)
        return kvg_fault(error, KVG_ERROR_AUTH, role->who, "file",
                         "check AWS_WEB_IDENTITY_TOKEN_FILE", "%s", cause->message);
    const KvgRenewalStep step = call_sts(role, attempt, NULL, g_strstrip(token));
    kvg_secret_free(token);
    return step;
}

/* Goes on with the base's keys, then asks STS with them. */
static KvgRenewalStep
begin_assume(const RoleSource *role, KvgAttempt *attempt, GError **error)
{
    const bool is_first = attempt->base == NULL;
    if (is_first)
        attempt->base = kvg_attempt_new();
    const KvgRenewalStep step = kvg_attempt_step(attempt->base, role->base_keys,
                                                 is_first ? CURLE_OK : attempt->result, error);
    if (step == KVG_RENEWAL_FAILED)
        g_prefix_error(error, "%s: ", role->who);
    return step == KVG_RENEWAL_DONE ? call_sts(role, attempt, &attempt->base->keys, NULL) : step;
}

static KvgRenewalStep
judge_answer(const RoleSource *role, KvgAttempt *attempt, GError **error)
{
    g_autoptr(GError) cause = NULL;
    if (kvg_aws_transfer_end(attempt->transfer, attempt->result, &cause)) {
        const char *xml = attempt->reply.body->str;
        char *key = kvg_aws_xml_text(xml, "AccessKeyId", MAX_XML_TEXT);
        char *secret = kvg_aws_xml_text(xml, "SecretAccessKey", MAX_XML_TEXT);
        char *token = kvg_aws_xml_text(xml, "SessionToken", MAX_XML_TEXT);
        char *expiration = kvg_aws_xml_text(xml, "Expiration", MAX_XML_TEXT);
        const bool is_whole = token != NULL && expiration != NULL;
        const KvgRenewalStep step = kvg_attempt_take(attempt, role->who, is_whole ? key : NULL,
                                                     secret, token, expiration, error);
        kvg_secret_free(secret);
        kvg_secret_free(token);
        g_free(key);
        g_free(expiration);
        return step;
    }
    if (cause->code == KVG_ERROR_AUTH)
        return kvg_fault(error, KVG_ERROR_AUTH, role->who, "role",
                         role->token_file != NULL
                             ? "the role must trust the token's issuer"
                             : "the role must trust the source profile's user, who must be allowed "
                               "sts:AssumeRole on it",
                         "%s", cause->message);
    g_propagate_prefixed_error(error, g_steal_pointer(&cause), "%s: ", role->who);
    return KVG_RENEWAL_FAILED;
}

static KvgRenewalStep
role_step(const KvgSource *source, KvgAttempt *attempt, GError **error)
{
    const RoleSource *role = (const RoleSource *)source;
    if (attempt->n_requests > 0)
        return judge_answer(role, attempt, error);
    return role->base_keys != NULL ? begin_assume(role, attempt, error)
                                   : begin_web_identity(role, attempt, error);
}

static void
role_free(KvgSource *source)
{
    RoleSource *role = (RoleSource *)source;
    kvg_source_free(role->base_keys);
    g_free(role->who);
    g_free(role->arn);
    g_free(role->session_name);
    g_free(role->external_id);
    g_free(role->token_file);
    g_free(role->region);
    g_free(role->endpoint);
    g_free(role->ca_path);
    g_free(role->duration);
    g_free(role);
}

KvgSource *
kvg_source_role(KvgSource *base, const KvgRole *options)
{
    static const KvgSourceClass class = {.step = role_step, .free = role_free};
    RoleSource *role = g_new0(RoleSource, 1);
    role->base.class = &class;
    role->base_keys = base;
    role->who = g_strdup_printf("role %.200s", options->arn);
    role->arn = g_strdup(options->arn);
    role->session_name = g_strdup(options->session_name != NULL ? options->session_name : "kvg");
    role->external_id = g_strdup(options->external_id);
    role->token_file = g_strdup(options->token_file);
    role->region = g_strdup(options->region != NULL ? options->region : "us-east-1");
    role->endpoint = g_strdup(options->endpoint);
    role->ca_path = g_strdup(options->ca_path);
    role->duration = g_strdup(options->duration);
    return &role->base;
}
