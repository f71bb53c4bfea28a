/* What all cameras share: IAM role with its policy, role alias, IoT policy, thing group, endpoint.
 * Each step looks at what is there and changes what differs. */
#include "base/text.h"
#include "cli/provision.h"
#include <kvg/error.h>
#include <string.h>

#define CREDENTIAL_SECONDS 3600
#define MAX_POLICY_VERSIONS 5
#define IOT_SERVICE "credentials.iot.amazonaws.com"

static const char trust_document[] =
    "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":{\"Service\":"
    "\"" IOT_SERVICE "\"},\"Action\":\"sts:AssumeRole\"}]}";

/* Notes what is to be made, also in the ledger, before it is made. False with no @error: this run
 * only plans. */
static bool
begin_creation(KvgRun *run, const char *kind, const char *key, const char *name, GError **error)
{
    if (!kvg_run_change(run, KVG_CHANGE_CREATE, kind, name, NULL, NULL))
        return false;
    kvg_ledger_set(run->ledger, NULL, key, name);
    kvg_ledger_set_made(run->ledger, NULL, key, true);
    kvg_ledger_set(run->ledger, NULL, "account", run->account);
    kvg_ledger_set(run->ledger, NULL, "region", kvg_run_region(run));
    return kvg_ledger_save(run->ledger, error);
}

json_t *
kvg_provision_tags(const KvgRun *run)
{
    json_t *list = json_array();
    const GPtrArray *tags = run->target.config->tags;
    for (guint i = 0; i < tags->len; i += 2)
        json_array_append_new(list, json_pack("{s:s, s:s}", "Key", g_ptr_array_index(tags, i),
                                              "Value", g_ptr_array_index(tags, i + 1)));
    return list;
}

static json_t *
parse(const char *text)
{
    return text != NULL ? kvg_json_parse_object(text, strlen(text), NULL) : NULL;
}

static bool
is_equal_document(const char *a, const char *b)
{
    g_autoptr(json_t) left = parse(a);
    g_autoptr(json_t) right = parse(b);
    return left != NULL && right != NULL && json_equal(left, right);
}

/* A document as IAM returns it: percent-encoded (g_free); NULL if there is none. */
static char *
get_document(KvgRun *run, const char *const *form, const char *element, GError **error)
{
    bool missing = false;
    g_autofree char *encoded =
        kvg_call_query(run, "iam", form, element, "NoSuchEntity", &missing, error);
    if (encoded == NULL)
        return NULL;
    return missing ? g_strdup("") : kvg_uri_unescape(encoded, strlen(encoded), false);
}

/* ---- role ---- */

static bool
create_role(KvgRun *run, GError **error)
{
    const char *role = run->target.config->iam_role;
    const GPtrArray *tags = run->target.config->tags;
    g_autoptr(GPtrArray) form = g_ptr_array_new_with_free_func(g_free);
    const char *const first[] = {"CreateRole", "RoleName", role, "AssumeRolePolicyDocument",
                                 trust_document};
    for (size_t i = 0; i < G_N_ELEMENTS(first); i++)
        g_ptr_array_add(form, g_strdup(first[i]));
    for (guint i = 0; i < tags->len; i++) {
        g_ptr_array_add(
            form, g_strdup_printf("Tags.member.%u.%s", i / 2 + 1, i % 2 == 0 ? "Key" : "Value"));
        g_ptr_array_add(form, g_strdup(g_ptr_array_index(tags, i)));
    }
    g_ptr_array_add(form, NULL);
    if (!begin_creation(run, "IAM role", "iam_role", role, error))
        return run->plans;
    g_free(run->role_arn);
    run->role_arn =
        kvg_call_query(run, "iam", (const char *const *)form->pdata, "Arn", NULL, NULL, error);
    return run->role_arn != NULL;
}

/* Others may use a role that is not ours: it is taken as it is, or not at all. */
static bool
check_trust(KvgRun *run, GError **error)
{
    const char *role = run->target.config->iam_role;
    const char *const get[] = {"GetRole", "RoleName", role, NULL};
    g_autofree char *trust = get_document(run, get, "AssumeRolePolicyDocument", error);
    if (trust == NULL)
        return false;
    if (!kvg_ledger_is_made(run->ledger, NULL, "iam_role")) {
        if (strstr(trust, IOT_SERVICE) != NULL)
            return true;
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID,
                    "IAM role %s exists and does not trust " IOT_SERVICE
                    "; give another name as identity.iam_role, or let it trust that service",
                    role);
        return false;
    }
    if (is_equal_document(trust, trust_document) ||
        !kvg_run_change(run, KVG_CHANGE_UPDATE, "IAM role", role, NULL, "whom it trusts"))
        return true;
    const char *const update[] = {"UpdateAssumeRolePolicy", "RoleName",     role,
                                  "PolicyDocument",         trust_document, NULL};
    g_autofree char *answer = kvg_call_query(run, "iam", update, "RequestId", NULL, NULL, error);
    return answer != NULL;
}

static bool
ensure_role(KvgRun *run, GError **error)
{
    const char *role = run->target.config->iam_role;
    const char *const get[] = {"GetRole", "RoleName", role, NULL};
    bool missing = false;
    run->role_arn = kvg_call_query(run, "iam", get, "Arn", "NoSuchEntity", &missing, error);
    if (run->role_arn == NULL)
        return false;
    if (!missing)
        return check_trust(run, error);
    g_free(run->role_arn);
    run->role_arn = g_strdup_printf("arn:aws:iam::%s:role/%s", run->account, role);
    return create_role(run, error);
}

/* A camera may do this with the stream of its own name, and nothing else. */
static char *
role_policy_document(const KvgRun *run)
{
    return g_strdup_printf(
        "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":["
        "\"kinesisvideo:CreateStream\",\"kinesisvideo:DescribeStream\","
        "\"kinesisvideo:GetDataEndpoint\",\"kinesisvideo:PutMedia\","
        "\"kinesisvideo:GetHLSStreamingSessionURL\",\"kinesisvideo:GetDASHStreamingSessionURL\","
        "\"kinesisvideo:GetMedia\",\"kinesisvideo:GetMediaForFragmentList\","
        "\"kinesisvideo:ListFragments\",\"kinesisvideo:GetClip\",\"kinesisvideo:GetImages\"],"
        "\"Resource\":\"arn:aws:kinesisvideo:%s:%s:stream/${credentials-iot:ThingName}/*\"}]}",
        kvg_run_region(run), run->account);
}

static bool
ensure_role_policy(KvgRun *run, GError **error)
{
    const char *role = run->target.config->iam_role;
    const char *const get[] = {"GetRolePolicy", "RoleName",           role,
                               "PolicyName",    KVG_ROLE_POLICY_NAME, NULL};
    g_autofree char *wanted = role_policy_document(run);
    g_autofree char *found = get_document(run, get, "PolicyDocument", error);
    if (found == NULL)
        return false;
    if (is_equal_document(found, wanted))
        return true;
    if (*found != '\0') {
        if (!kvg_run_change(run, KVG_CHANGE_UPDATE, "IAM role policy", KVG_ROLE_POLICY_NAME, NULL,
                            "what cameras may do"))
            return true;
    } else if (!begin_creation(run, "IAM role policy", "role_policy", KVG_ROLE_POLICY_NAME,
                               error)) {
        return run->plans;
    }
    const char *const put[] = {"PutRolePolicy",      "RoleName",       role,   "PolicyName",
                               KVG_ROLE_POLICY_NAME, "PolicyDocument", wanted, NULL};
    g_autofree char *answer = kvg_call_query(run, "iam", put, "RequestId", NULL, NULL, error);
    return answer != NULL;
}

/* ---- role alias ---- */

static bool
create_alias(KvgRun *run, const char *path, GError **error)
{
    if (!begin_creation(run, "role alias", "role_alias", run->target.config->role_alias, error))
        return run->plans;
    /* A new role is not known to IoT at once. */
    g_autoptr(json_t) made = kvg_call_json(
        run,
        (KvgCall){.service = "iot",
                  .method = "POST",
                  .path = path,
                  .waits_for = {"does not exist", "cannot be assumed"}},
        json_pack("{s:s, s:i, s:o}", "roleArn", run->role_arn, "credentialDurationSeconds",
                  CREDENTIAL_SECONDS, "tags", kvg_provision_tags(run)),
        NULL, error);
    return made != NULL;
}

static bool
ensure_alias(KvgRun *run, GError **error)
{
    const char *alias = run->target.config->role_alias;
    g_autofree char *path = kvg_call_path("/role-aliases/%s", alias);
    bool missing = false;
    g_autoptr(json_t) found = kvg_call_json(
        run,
        (KvgCall){.service = "iot", .method = "GET", .path = path, .accepts = "ResourceNotFound"},
        NULL, &missing, error);
    if (found == NULL)
        return false;
    if (missing)
        return create_alias(run, path, error);
    const json_t *about = json_object_get(found, "roleAliasDescription");
    if (g_strcmp0(kvg_json_get_string(about, "roleArn"), run->role_arn) == 0 ||
        !kvg_run_change(run, KVG_CHANGE_UPDATE, "role alias", alias, NULL,
                        "it points to another role"))
        return true;
    g_autoptr(json_t) updated =
        kvg_call_json(run, (KvgCall){.service = "iot", .method = "PUT", .path = path},
                      json_pack("{s:s}", "roleArn", run->role_arn), NULL, error);
    return updated != NULL;
}

/* ---- IoT policy ---- */

static char *
iot_policy_document(const KvgRun *run)
{
    g_autofree char *prefix =
        g_strdup_printf("arn:aws:iot:%s:%s", kvg_run_region(run), run->account);
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
        prefix, run->target.config->role_alias, prefix, prefix, prefix);
}

/* Room for one more version: the oldest that is not in force goes. */
static bool
make_room(KvgRun *run, const char *path, GError **error)
{
    g_autofree char *versions_path = g_strconcat(path, "/version", NULL);
    g_autoptr(json_t) found =
        kvg_call_json(run, (KvgCall){.service = "iot", .method = "GET", .path = versions_path},
                      NULL, NULL, error);
    if (found == NULL)
        return false;
    const json_t *versions = json_object_get(found, "policyVersions");
    if (json_array_size(versions) < MAX_POLICY_VERSIONS)
        return true;
    const char *oldest = NULL;
    for (size_t i = 0; i < json_array_size(versions); i++) {
        const json_t *version = json_array_get(versions, i);
        const char *id = kvg_json_get_string(version, "versionId");
        if (id != NULL && !kvg_json_get_bool(version, "isDefaultVersion", false) &&
            (oldest == NULL || g_ascii_strtoull(id, NULL, 10) < g_ascii_strtoull(oldest, NULL, 10)))
            oldest = id;
    }
    g_autofree char *old_path = g_strdup_printf("%s/%s", versions_path, oldest);
    g_autoptr(json_t) gone = kvg_call_json(
        run, (KvgCall){.service = "iot", .method = "DELETE", .path = old_path}, NULL, NULL, error);
    return gone != NULL;
}

static bool
update_iot_policy(KvgRun *run, const char *path, const char *document, GError **error)
{
    if (!kvg_run_change(run, KVG_CHANGE_UPDATE, "IoT policy", run->target.config->iot_policy, NULL,
                        "a new version"))
        return true;
    if (!make_room(run, path, error))
        return false;
    g_autofree char *version_path = g_strconcat(path, "/version", NULL);
    g_autoptr(json_t) updated = kvg_call_json(
        run,
        (KvgCall){
            .service = "iot", .method = "POST", .path = version_path, .query = "setAsDefault=true"},
        json_pack("{s:s}", "policyDocument", document), NULL, error);
    return updated != NULL;
}

static bool
ensure_iot_policy(KvgRun *run, GError **error)
{
    const char *policy = run->target.config->iot_policy;
    g_autofree char *path = kvg_call_path("/policies/%s", policy);
    g_autofree char *document = iot_policy_document(run);
    bool missing = false;
    g_autoptr(json_t) found = kvg_call_json(
        run,
        (KvgCall){.service = "iot", .method = "GET", .path = path, .accepts = "ResourceNotFound"},
        NULL, &missing, error);
    if (found == NULL)
        return false;
    if (!missing)
        return is_equal_document(kvg_json_get_string(found, "policyDocument"), document) ||
               update_iot_policy(run, path, document, error);
    if (!begin_creation(run, "IoT policy", "iot_policy", policy, error))
        return run->plans;
    g_autoptr(json_t) made = kvg_call_json(
        run, (KvgCall){.service = "iot", .method = "POST", .path = path},
        json_pack("{s:s, s:o}", "policyDocument", document, "tags", kvg_provision_tags(run)), NULL,
        error);
    return made != NULL;
}

/* ---- the rest ---- */

static bool
ensure_group(KvgRun *run, GError **error)
{
    const char *group = run->target.config->thing_group;
    if (group == NULL)
        return true;
    g_autofree char *path = kvg_call_path("/thing-groups/%s", group);
    bool missing = false;
    g_autoptr(json_t) found = kvg_call_json(
        run,
        (KvgCall){.service = "iot", .method = "GET", .path = path, .accepts = "ResourceNotFound"},
        NULL, &missing, error);
    if (found == NULL || !missing)
        return found != NULL;
    if (!begin_creation(run, "thing group", "thing_group", group, error))
        return run->plans;
    g_autoptr(json_t) made =
        kvg_call_json(run, (KvgCall){.service = "iot", .method = "POST", .path = path},
                      json_pack("{s:o}", "tags", kvg_provision_tags(run)), NULL, error);
    return made != NULL;
}

static bool
note_endpoint(KvgRun *run, const char *type, const char *key, GError **error)
{
    g_autofree char *endpoint = kvg_call_endpoint(run, type, error);
    if (endpoint != NULL)
        kvg_ledger_set(run->ledger, NULL, key, endpoint);
    return endpoint != NULL;
}

/* The agent reads these. */
static bool
note_endpoints(KvgRun *run, GError **error)
{
    if (!note_endpoint(run, "iot:CredentialProvider", "credentials_endpoint", error) ||
        !note_endpoint(run, "iot:Data-ATS", "mqtt_endpoint", error))
        return false;
    kvg_ledger_set(run->ledger, NULL, "region", kvg_run_region(run));
    kvg_ledger_set(run->ledger, NULL, "account", run->account);
    kvg_ledger_set(run->ledger, NULL, "role_alias", run->target.config->role_alias);
    return kvg_ledger_save(run->ledger, error);
}

bool
kvg_provision_shared(KvgRun *run, GError **error)
{
    return ensure_role(run, error) && ensure_role_policy(run, error) && ensure_alias(run, error) &&
           ensure_iot_policy(run, error) && ensure_group(run, error) &&
           (run->plans || note_endpoints(run, error));
}
