/* kvg provision: role, policies, role alias, and for each camera thing, key, certificate and
 * stream. Each step looks first at what is there, so it can be run again at any time, also after a
 * kill; what it made stands in identity.directory/provision.json. */
#include "base/backoff.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/command.h"
#include "cli/key.h"
#include "cli/target.h"
#include "os/file.h"
#include <kvg/error.h>
#include <stdio.h>
#include <string.h>

#define PATIENCE_MS 60000 /* new roles and policies take a while to be known everywhere */
#define MAX_STATE_BYTES (4u * 1024 * 1024)
#define CREDENTIAL_SECONDS 3600
#define ROLE_POLICY_NAME "kvg-camera"

typedef struct {
    KvgTarget target;
    char *state_path;
    json_t *state;
    char *account, *role_arn;
    unsigned n_done;
} Provision;

static void
provision_clear(Provision *provision)
{
    kvg_target_clear(&provision->target);
    json_decref(provision->state);
    g_free(provision->state_path);
    g_free(provision->account);
    g_free(provision->role_arn);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Provision, provision_clear)

static void G_GNUC_PRINTF(1, 2) say(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

/* ---- calls ---- */

typedef struct {
    const char *service, *method, *path, *query, *content_type, *body;
    const char *principal; /* x-amzn-principal */
    const char *accepts;   /* an error type that is as good as success; NULL */
} Call;

/* Retries what may yet succeed. *@accepted: the error of `accepts` was met. */
static bool
call(Provision *p, const Call *what, KvgAwsReply *reply, bool *accepted, GError **error)
{
    g_autofree char *url = kvg_target_url(&p->target, what->service);
    g_autofree char *principal =
        what->principal != NULL ? g_strdup_printf("x-amzn-principal: %s", what->principal) : NULL;
    const char *const headers[] = {principal, NULL};
    const bool is_global = strcmp(what->service, "iam") == 0;
    const KvgAwsRequest request = {.service = what->service,
                                   .region =
                                       is_global ? "us-east-1" : kvg_target_region(&p->target),
                                   .base_url = url,
                                   .method = what->method,
                                   .path = what->path,
                                   .query = what->query,
                                   .content_type = what->content_type,
                                   .body = what->body,
                                   .extra_headers = headers,
                                   .ca_path = kvg_target_ca(&p->target)};
    KvgBackoff backoff = {.base_ms = 500, .cap_ms = 8000};
    const int64_t end_us = kvg_clock_mono_us() + PATIENCE_MS * 1000;
    for (;;) {
        g_autoptr(GError) cause = NULL;
        if (kvg_aws_call(&request, p->target.credentials, reply, &cause))
            return true;
        if (what->accepts != NULL && reply->error_type != NULL &&
            strstr(reply->error_type, what->accepts) != NULL) {
            *accepted = true;
            return true;
        }
        if (!kvg_error_is_retryable(cause) || kvg_clock_mono_us() >= end_us) {
            g_propagate_error(error, g_steal_pointer(&cause));
            return false;
        }
        kvg_aws_reply_clear(reply);
        g_usleep((gulong)kvg_backoff_next_ms(&backoff) * 1000);
    }
}

/* A call with JSON in and out; @accepted may be NULL. The answer, {} if it is empty; NULL on
 * failure. */
static json_t *
call_json(Provision *p, Call what, json_t *body, bool *accepted, GError **error)
{
    G_GNUC_UNUSED g_autoptr(json_t) owned = body;
    g_autofree char *text = body != NULL ? kvg_json_to_text(body) : NULL;
    g_auto(KvgAwsReply) reply = {0};
    bool ignored = false;
    what.body = text;
    if (!call(p, &what, &reply, accepted != NULL ? accepted : &ignored, error))
        return NULL;
    json_t *answer = kvg_json_parse_object(reply.body->str, reply.body->len, NULL);
    return answer != NULL ? answer : json_object();
}

/* A query-API call (IAM, STS); returns the text of element @element ("" if there is none). */
static char *
call_query(Provision *p,
           const char *service,
           const char *body,
           const char *element,
           const char *accepts,
           bool *accepted,
           GError **error)
{
    g_auto(KvgAwsReply) reply = {0};
    bool ignored = false;
    const Call what = {.service = service,
                       .method = "POST",
                       .path = "/",
                       .content_type = "application/x-www-form-urlencoded; charset=utf-8",
                       .body = body,
                       .accepts = accepts};
    if (!call(p, &what, &reply, accepted != NULL ? accepted : &ignored, error))
        return NULL;
    g_autofree char *open = g_strdup_printf("<%s>", element);
    const char *start = strstr(reply.body->str, open);
    if (start == NULL)
        return g_strdup("");
    start += strlen(open);
    return g_strndup(start, strcspn(start, "<"));
}

/* ---- state file ---- */

static bool
load_state(Provision *p, GError **error)
{
    const KvgConfig *config = p->target.config;
    if (!kvg_dir_make(config->identity_directory, 0700, error))
        return false;
    p->state_path = g_build_filename(config->identity_directory, "provision.json", NULL);
    if (g_file_test(p->state_path, G_FILE_TEST_EXISTS)) {
        size_t len;
        g_autofree char *text = kvg_file_read(p->state_path, MAX_STATE_BYTES, &len, error);
        p->state = text != NULL ? kvg_json_parse_object(text, len, error) : NULL;
        if (p->state == NULL)
            g_prefix_error(error, "%s: ", p->state_path);
        return p->state != NULL;
    }
    p->state = json_pack("{s:{}}", "cameras");
    return true;
}

static bool
save_state(Provision *p, GError **error)
{
    g_autofree char *text = kvg_json_to_text(p->state);
    return kvg_file_replace(p->state_path, text, strlen(text), 0600, error);
}

/* The member object of one camera, made if absent; borrowed. */
static json_t *
camera_state(Provision *p, const char *name)
{
    json_t *cameras = json_object_get(p->state, "cameras");
    if (!json_is_object(cameras)) {
        cameras = json_object();
        json_object_set_new(p->state, "cameras", cameras);
    }
    if (!json_is_object(json_object_get(cameras, name)))
        json_object_set_new(cameras, name, json_pack("{s:s}", "thing", name));
    return json_object_get(cameras, name);
}

/* ---- what all cameras share ---- */

static bool
find_account(Provision *p, GError **error)
{
    p->account = call_query(p, "sts", "Action=GetCallerIdentity&Version=2011-06-15", "Account",
                            NULL, NULL, error);
    if (p->account == NULL)
        return false;
    say("account %s, region %s", p->account, kvg_target_region(&p->target));
    return true;
}

static char *
form(const char *action,
     const char *first_name,
     const char *first,
     const char *name,
     const char *value,
     const char *extra)
{
    g_autofree char *a = kvg_uri_escape(first, false);
    g_autofree char *b = value != NULL ? kvg_uri_escape(value, false) : NULL;
    return g_strdup_printf("Action=%s&Version=2010-05-08&%s=%s%s%s%s%s%s", action, first_name, a,
                           name != NULL ? "&" : "", name != NULL ? name : "",
                           name != NULL ? "=" : "", b != NULL ? b : "", extra);
}

static bool
ensure_role(Provision *p, GError **error)
{
    static const char trust[] =
        "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":{"
        "\"Service\":"
        "\"credentials.iot.amazonaws.com\"},\"Action\":\"sts:AssumeRole\"}]}";
    const char *role = p->target.config->iam_role;
    g_autofree char *create =
        form("CreateRole", "RoleName", role, "AssumeRolePolicyDocument", trust, "");
    bool exists = false;
    p->role_arn = call_query(p, "iam", create, "Arn", "AlreadyExists", &exists, error);
    if (p->role_arn == NULL)
        return false;
    if (exists) {
        g_autofree char *get = form("GetRole", "RoleName", role, NULL, NULL, "");
        g_free(p->role_arn);
        p->role_arn = call_query(p, "iam", get, "Arn", NULL, NULL, error);
        if (p->role_arn == NULL)
            return false;
    }
    say("IAM role %s %s", role, exists ? "is there" : "created");
    return true;
}

/* A camera may do this with the stream of its own name, and nothing else. */
static bool
put_role_policy(Provision *p, GError **error)
{
    g_autofree char *document = g_strdup_printf(
        "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":["
        "\"kinesisvideo:CreateStream\",\"kinesisvideo:DescribeStream\","
        "\"kinesisvideo:GetDataEndpoint\",\"kinesisvideo:PutMedia\","
        "\"kinesisvideo:GetHLSStreamingSessionURL\",\"kinesisvideo:GetDASHStreamingSessionURL\","
        "\"kinesisvideo:GetMedia\",\"kinesisvideo:GetMediaForFragmentList\","
        "\"kinesisvideo:ListFragments\",\"kinesisvideo:GetClip\",\"kinesisvideo:GetImages\"],"
        "\"Resource\":\"arn:aws:kinesisvideo:%s:%s:stream/${credentials-iot:ThingName}/*\"}]}",
        kvg_target_region(&p->target), p->account);
    g_autofree char *extra = g_strdup_printf("&PolicyName=%s", ROLE_POLICY_NAME);
    g_autofree char *body = form("PutRolePolicy", "RoleName", p->target.config->iam_role,
                                 "PolicyDocument", document, extra);
    g_autofree char *answer = call_query(p, "iam", body, "RequestId", NULL, NULL, error);
    return answer != NULL;
}

static bool
ensure_role_alias(Provision *p, GError **error)
{
    const char *alias = p->target.config->role_alias;
    g_autofree char *name = kvg_uri_escape(alias, false);
    g_autofree char *path = g_strdup_printf("/role-aliases/%s", name);
    bool exists = false;
    g_autoptr(json_t) created = call_json(
        p, (Call){.service = "iot", .method = "POST", .path = path, .accepts = "AlreadyExists"},
        json_pack("{s:s, s:i}", "roleArn", p->role_arn, "credentialDurationSeconds",
                  CREDENTIAL_SECONDS),
        &exists, error);
    if (created == NULL)
        return false;
    say("role alias %s %s", alias, exists ? "is there" : "created");
    if (!exists)
        return true;
    g_autoptr(json_t) found =
        call_json(p, (Call){.service = "iot", .method = "GET", .path = path}, NULL, NULL, error);
    if (found == NULL)
        return false;
    const json_t *description = json_object_get(found, "roleAliasDescription");
    if (g_strcmp0(kvg_json_get_string(description, "roleArn"), p->role_arn) == 0)
        return true;
    say("role alias %s points to another role: corrected", alias);
    g_autoptr(json_t) updated =
        call_json(p, (Call){.service = "iot", .method = "PUT", .path = path},
                  json_pack("{s:s}", "roleArn", p->role_arn), NULL, error);
    return updated != NULL;
}

static char *
iot_policy_document(const Provision *p)
{
    g_autofree char *prefix =
        g_strdup_printf("arn:aws:iot:%s:%s", kvg_target_region(&p->target), p->account);
    return g_strdup_printf(
        "{\"Version\":\"2012-10-17\",\"Statement\":["
        "{\"Effect\":\"Allow\",\"Action\":\"iot:AssumeRoleWithCertificate\","
        "\"Resource\":\"%s:rolealias/%s\"},"
        "{\"Effect\":\"Allow\",\"Action\":\"iot:Connect\","
        "\"Resource\":\"%s:client/${iot:Connection.Thing.ThingName}\"},"
        "{\"Effect\":\"Allow\",\"Action\":[\"iot:Publish\",\"iot:Receive\"],"
        "\"Resource\":\"%s:topic/$aws/things/${iot:Connection.Thing.ThingName}/shadow/*\"},"
        "{\"Effect\":\"Allow\",\"Action\":\"iot:Subscribe\","
        "\"Resource\":\"%s:topicfilter/$aws/things/${iot:Connection.Thing.ThingName}/shadow/*\"}]}",
        prefix, p->target.config->role_alias, prefix, prefix, prefix);
}

static bool
ensure_iot_policy(Provision *p, GError **error)
{
    const char *policy = p->target.config->iot_policy;
    g_autofree char *name = kvg_uri_escape(policy, false);
    g_autofree char *path = g_strdup_printf("/policies/%s", name);
    g_autofree char *document = iot_policy_document(p);
    bool exists = false;
    g_autoptr(json_t) created = call_json(
        p, (Call){.service = "iot", .method = "POST", .path = path, .accepts = "AlreadyExists"},
        json_pack("{s:s}", "policyDocument", document), &exists, error);
    if (created == NULL)
        return false;
    say("IoT policy %s %s", policy, exists ? "is there" : "created");
    if (!exists)
        return true;
    g_autoptr(json_t) found =
        call_json(p, (Call){.service = "iot", .method = "GET", .path = path}, NULL, NULL, error);
    if (found == NULL)
        return false;
    if (g_strcmp0(kvg_json_get_string(found, "policyDocument"), document) == 0)
        return true;
    say("IoT policy %s is out of date: new version", policy);
    g_autofree char *version = g_strdup_printf("%s/version", path);
    g_autoptr(json_t) updated = call_json(
        p,
        (Call){.service = "iot", .method = "POST", .path = version, .query = "setAsDefault=true"},
        json_pack("{s:s}", "policyDocument", document), NULL, error);
    return updated != NULL;
}

static bool
find_endpoint(Provision *p, const char *type, const char *key, GError **error)
{
    g_autofree char *query = g_strdup_printf("endpointType=iot%%3A%s", type);
    g_autoptr(json_t) found =
        call_json(p, (Call){.service = "iot", .method = "GET", .path = "/endpoint", .query = query},
                  NULL, NULL, error);
    const char *endpoint = found != NULL ? kvg_json_get_string(found, "endpointAddress") : NULL;
    if (endpoint == NULL) {
        if (found != NULL)
            g_set_error(error, KVG_ERROR, KVG_ERROR_RETRY, "IoT names no endpoint iot:%s", type);
        return false;
    }
    json_object_set_new(p->state, key, json_string(endpoint));
    return true;
}

static bool
find_endpoints(Provision *p, GError **error)
{
    if (!find_endpoint(p, "CredentialProvider", "credentials_endpoint", error) ||
        !find_endpoint(p, "Data-ATS", "mqtt_endpoint", error))
        return false;
    json_object_set_new(p->state, "region", json_string(kvg_target_region(&p->target)));
    json_object_set_new(p->state, "account", json_string(p->account));
    json_object_set_new(p->state, "role_alias", json_string(p->target.config->role_alias));
    return save_state(p, error);
}

/* ---- one camera ---- */

static bool
ensure_thing(Provision *p, const char *name, GError **error)
{
    g_autofree char *path = g_strdup_printf("/things/%s", name);
    g_autoptr(json_t) answer = call_json(
        p, (Call){.service = "iot", .method = "POST", .path = path, .accepts = "AlreadyExists"},
        json_object(), NULL, error);
    return answer != NULL;
}

/* Whether the certificate on disk is the registered, active one. */
static bool
has_certificate(Provision *p, const KvgConfigCamera *camera, bool *has, GError **error)
{
    const char *id = kvg_json_get_string(camera_state(p, camera->name), "certificate_id");
    *has = false;
    if (id == NULL || !kvg_key_matches(camera->key_path, camera->certificate_path))
        return true;
    g_autofree char *path = g_strdup_printf("/certificates/%s", id);
    bool missing = false;
    g_autoptr(json_t) found =
        call_json(p, (Call){.service = "iot", .method = "GET", .path = path, .accepts = "NotFound"},
                  NULL, &missing, error);
    if (found == NULL)
        return false;
    const json_t *description = json_object_get(found, "certificateDescription");
    *has = !missing && g_strcmp0(kvg_json_get_string(description, "status"), "ACTIVE") == 0;
    return true;
}

static bool
make_certificate(Provision *p, const KvgConfigCamera *camera, GError **error)
{
    if (!kvg_key_ensure(camera->key_path, error))
        return false;
    g_autofree char *request = kvg_key_request(camera->key_path, camera->name, error);
    if (request == NULL)
        return false;
    g_autoptr(json_t) made =
        call_json(p,
                  (Call){.service = "iot",
                         .method = "POST",
                         .path = "/certificates",
                         .query = "setAsActive=true"},
                  json_pack("{s:s}", "certificateSigningRequest", request), NULL, error);
    if (made == NULL)
        return false;
    const char *id = kvg_json_get_string(made, "certificateId");
    const char *arn = kvg_json_get_string(made, "certificateArn");
    const char *pem = kvg_json_get_string(made, "certificatePem");
    if (id == NULL || arn == NULL || pem == NULL) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_RETRY, "IoT made a certificate without its text");
        return false;
    }
    /* Remembered first: what is known can be cleaned up. */
    json_object_set_new(camera_state(p, camera->name), "certificate_id", json_string(id));
    json_object_set_new(camera_state(p, camera->name), "certificate_arn", json_string(arn));
    return save_state(p, error) &&
           kvg_file_replace(camera->certificate_path, pem, strlen(pem), 0644, error);
}

static bool
attach(Provision *p, const char *name, GError **error)
{
    const char *arn = kvg_json_get_string(camera_state(p, name), "certificate_arn");
    g_autofree char *policy = kvg_uri_escape(p->target.config->iot_policy, false);
    g_autofree char *policy_path = g_strdup_printf("/target-policies/%s", policy);
    g_autofree char *thing_path = g_strdup_printf("/things/%s/principals", name);
    g_autoptr(json_t) to_policy =
        call_json(p, (Call){.service = "iot", .method = "PUT", .path = policy_path},
                  json_pack("{s:s}", "target", arn), NULL, error);
    if (to_policy == NULL)
        return false;
    g_autoptr(json_t) to_thing = call_json(
        p, (Call){.service = "iot", .method = "PUT", .path = thing_path, .principal = arn}, NULL,
        NULL, error);
    return to_thing != NULL;
}

static bool
adjust_retention(Provision *p, const KvgConfigCamera *camera, GError **error)
{
    g_autoptr(json_t) found =
        call_json(p, (Call){.service = "kinesisvideo", .method = "POST", .path = "/describeStream"},
                  json_pack("{s:s}", "StreamName", camera->name), NULL, error);
    if (found == NULL)
        return false;
    const json_t *info = json_object_get(found, "StreamInfo");
    const int64_t now = kvg_json_get_int(info, "DataRetentionInHours", 0);
    const char *version = kvg_json_get_string(info, "Version");
    if (now == camera->retention_hours || version == NULL)
        return true;
    say("%s: retention from %d to %d hours", camera->name, (int)now, (int)camera->retention_hours);
    const bool grows = camera->retention_hours > now;
    g_autoptr(json_t) updated = call_json(
        p, (Call){.service = "kinesisvideo", .method = "POST", .path = "/updateDataRetention"},
        json_pack(
            "{s:s, s:s, s:s, s:I}", "StreamName", camera->name, "CurrentVersion", version,
            "Operation", grows ? "INCREASE_DATA_RETENTION" : "DECREASE_DATA_RETENTION",
            "DataRetentionChangeInHours",
            (json_int_t)(grows ? camera->retention_hours - now : now - camera->retention_hours)),
        NULL, error);
    return updated != NULL;
}

static bool
ensure_stream(Provision *p, const KvgConfigCamera *camera, GError **error)
{
    bool exists = false;
    g_autoptr(json_t) created =
        call_json(p,
                  (Call){.service = "kinesisvideo",
                         .method = "POST",
                         .path = "/createStream",
                         .accepts = "ResourceInUse"},
                  json_pack("{s:s, s:I, s:s}", "StreamName", camera->name, "DataRetentionInHours",
                            (json_int_t)camera->retention_hours, "MediaType", "video/h264"),
                  &exists, error);
    return created != NULL && (!exists || adjust_retention(p, camera, error));
}

static bool
provision_camera(Provision *p, const KvgConfigCamera *camera, GError **error)
{
    bool has = false;
    if (!ensure_thing(p, camera->name, error) || !has_certificate(p, camera, &has, error) ||
        (!has && !make_certificate(p, camera, error)) || !attach(p, camera->name, error) ||
        !ensure_stream(p, camera, error))
        return false;
    say("[%u/%u] %s: thing, certificate%s and stream are ready", ++p->n_done,
        p->target.config->cameras->len, camera->name, has ? "" : " (new)");
    return true;
}

/* ---- the command ---- */

static bool
run(Provision *p, GError **error)
{
    if (!kvg_target_open(&p->target, error) || !load_state(p, error) || !find_account(p, error) ||
        !ensure_role(p, error) || !put_role_policy(p, error) || !ensure_role_alias(p, error) ||
        !ensure_iot_policy(p, error) || !find_endpoints(p, error))
        return false;
    const GPtrArray *cameras = p->target.config->cameras;
    for (guint i = 0; i < cameras->len; i++) {
        const KvgConfigCamera *camera = g_ptr_array_index(cameras, i);
        if (!provision_camera(p, camera, error)) {
            g_prefix_error(error, "camera %s: ", camera->name);
            return false;
        }
    }
    return true;
}

int
kvg_cmd_provision(int argc, char **argv)
{
    g_auto(Provision) p = {0};
    g_autofree char *output = NULL;
    const GOptionEntry entries[] = {
        KVG_TARGET_OPTIONS(p.target),
        {"output", 0, 0, G_OPTION_ARG_STRING, &output, "'json': what was made, as one object",
         "FORMAT"},
        G_OPTION_ENTRY_NULL,
    };
    g_autoptr(GOptionContext) context =
        g_option_context_new("- make what the cameras of the configuration need");
    g_autoptr(GError) error = NULL;
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error) || argc > 1) {
        fprintf(stderr, "kvg provision: %s\n",
                error != NULL ? error->message : "unexpected argument");
        return 2;
    }
    if (!run(&p, &error)) {
        fprintf(stderr, "kvg provision: %s\n", error->message);
        return 1;
    }
    g_autofree char *text = kvg_json_to_text(p.state);
    if (output != NULL)
        printf("%s\n", text);
    else
        printf("%u cameras provisioned; identities in %s\n", p.n_done,
               p.target.config->identity_directory);
    return 0;
}
