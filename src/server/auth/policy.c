/* Policy documents: grammar checks at parse time, so that evaluation only meets known forms.
 * Statements keep their JSON; patterns are expanded per request because variables differ. */
#include "server/auth/policy.h"

#include "base/json.h"
#include "server/auth/condition.h"
#include "server/auth/pattern.h"
#include <kvg/error.h>
#include <string.h>

struct _KvgPolicy {
    json_t *document;
    json_t *statements; /* borrowed from document: object or array */
    KvgPolicyKind kind;
    bool variables; /* version 2012-10-17 */
};

static bool
malformed(GError **error, const char *what)
{
    g_set_error_literal(error, KVG_ERROR, KVG_ERROR_INVALID, what);
    return false;
}

static bool
is_text_list(const json_t *value)
{
    if (json_is_string(value))
        return true;
    for (size_t i = 0; i < json_array_size(value); i++) {
        if (!json_is_string(json_array_get(value, i)))
            return false;
    }
    return json_is_array(value) && json_array_size(value) > 0;
}

static size_t
list_size(const json_t *value)
{
    return json_is_array(value) ? json_array_size(value) : 1;
}

static const char *
list_at(const json_t *value, size_t i)
{
    return json_string_value(json_is_array(value) ? json_array_get(value, i) : value);
}

static bool
has_only(const json_t *object, const char *const *names)
{
    const char *key;
    json_t *value;
    json_t *iterated = (json_t *)(uintptr_t)object;
    json_object_foreach(iterated, key, value)
    {
        if (!g_strv_contains(names, key))
            return false;
    }
    return true;
}

/* Exactly one of @name and @not_name, as a list of strings. */
static bool
check_either(const json_t *statement, const char *name, const char *not_name)
{
    const json_t *a = json_object_get(statement, name);
    const json_t *b = json_object_get(statement, not_name);
    return (a == NULL) != (b == NULL) && is_text_list(a != NULL ? a : b);
}

static bool
check_actions(const json_t *statement, GError **error)
{
    if (!check_either(statement, "Action", "NotAction"))
        return malformed(error, "Policy statement must contain actions.");
    const json_t *list = json_object_get(statement, "Action");
    if (list == NULL)
        list = json_object_get(statement, "NotAction");
    for (size_t i = 0; i < list_size(list); i++) {
        const char *action = list_at(list, i);
        if (strcmp(action, "*") != 0 && strchr(action, ':') == NULL)
            return malformed(error, "Actions/Conditions must be prefaced by a vendor, e.g., iam, "
                                    "sdb, ec2, etc.");
    }
    return true;
}

static bool
check_resources(const json_t *statement, GError **error)
{
    if (!check_either(statement, "Resource", "NotResource"))
        return malformed(error, "Policy statement must contain resources.");
    const json_t *list = json_object_get(statement, "Resource");
    if (list == NULL)
        list = json_object_get(statement, "NotResource");
    for (size_t i = 0; i < list_size(list); i++) {
        const char *resource = list_at(list, i);
        if (strcmp(resource, "*") != 0 && !g_str_has_prefix(resource, "arn:"))
            return malformed(error, "Resource must be in ARN format or \"*\".");
    }
    return true;
}

static bool
check_principal(const json_t *statement, GError **error)
{
    const json_t *principal = json_object_get(statement, "Principal");
    if (json_is_string(principal) && strcmp(json_string_value(principal), "*") == 0)
        return true;
    static const char *const types[] = {"AWS", "Service", "Federated", "CanonicalUser", NULL};
    if (!json_is_object(principal) || json_object_size(principal) == 0 ||
        !has_only(principal, types))
        return malformed(error, "Invalid principal in policy.");
    for (size_t i = 0; types[i] != NULL; i++) {
        const json_t *list = json_object_get(principal, types[i]);
        if (list != NULL && !is_text_list(list))
            return malformed(error, "Invalid principal in policy.");
    }
    return true;
}

static bool
check_statement(const json_t *statement, KvgPolicyKind kind, GError **error)
{
    static const char *const identity[] = {"Sid",      "Effect",      "Action",    "NotAction",
                                           "Resource", "NotResource", "Condition", NULL};
    static const char *const trust[] = {"Sid",       "Effect",    "Action", "NotAction",
                                        "Principal", "Condition", NULL};
    const bool is_trust = kind == KVG_POLICY_TRUST;
    if (!json_is_object(statement) || !has_only(statement, is_trust ? trust : identity))
        return malformed(error, "Syntax errors in policy.");

    const json_t *sid = json_object_get(statement, "Sid");
    if (sid != NULL && !json_is_string(sid))
        return malformed(error, "Syntax errors in policy.");
    const char *effect = kvg_json_get_string(statement, "Effect");
    if (g_strcmp0(effect, "Allow") != 0 && g_strcmp0(effect, "Deny") != 0)
        return malformed(error, "Effect must be Allow or Deny.");
    if (!check_actions(statement, error))
        return false;
    if (is_trust ? !check_principal(statement, error) : !check_resources(statement, error))
        return false;
    const json_t *condition = json_object_get(statement, "Condition");
    return condition == NULL || kvg_condition_check(condition, error);
}

static bool
check_statements(const json_t *statements, KvgPolicyKind kind, GError **error)
{
    if (json_is_object(statements))
        return check_statement(statements, kind, error);
    if (!json_is_array(statements) || json_array_size(statements) == 0)
        return malformed(error, "Syntax errors in policy.");
    for (size_t i = 0; i < json_array_size(statements); i++) {
        if (!check_statement(json_array_get(statements, i), kind, error))
            return false;
    }
    return true;
}

KvgPolicy *
kvg_policy_parse(const char *text, KvgPolicyKind kind, GError **error)
{
    static const char *const names[] = {"Version", "Id", "Statement", NULL};
    if (strlen(text) > KVG_POLICY_MAX_BYTES) {
        malformed(error, "Policy document is too long.");
        return NULL;
    }
    g_autoptr(json_t) document = kvg_json_parse_object(text, strlen(text), NULL);
    if (document == NULL || !has_only(document, names)) {
        malformed(error, "Syntax errors in policy.");
        return NULL;
    }
    const json_t *version = json_object_get(document, "Version");
    const char *number = json_string_value(version);
    if (version != NULL && g_strcmp0(number, "2012-10-17") != 0 &&
        g_strcmp0(number, "2008-10-17") != 0) {
        malformed(error, "The policy must contain a valid version string.");
        return NULL;
    }
    json_t *statements = json_object_get(document, "Statement");
    if (!check_statements(statements, kind, error))
        return NULL;

    KvgPolicy *policy = g_new0(KvgPolicy, 1);
    policy->statements = statements;
    policy->document = g_steal_pointer(&document);
    policy->kind = kind;
    policy->variables = g_strcmp0(number, "2012-10-17") == 0;
    return policy;
}

void
kvg_policy_free(KvgPolicy *policy)
{
    if (policy == NULL)
        return;
    json_decref(policy->document);
    g_free(policy);
}

static bool
action_listed(const json_t *list, const KvgPolicyRequest *request)
{
    bool found = false;
    for (size_t i = 0; i < list_size(list) && !found; i++) {
        KvgPattern *pattern = kvg_pattern_new(list_at(list, i), request, false);
        found = kvg_pattern_matches(pattern, request->action, true);
        kvg_pattern_free(pattern);
    }
    return found;
}

static bool
action_applies(const json_t *statement, const KvgPolicyRequest *request)
{
    const json_t *list = json_object_get(statement, "Action");
    return list != NULL ? action_listed(list, request)
                        : !action_listed(json_object_get(statement, "NotAction"), request);
}

/* @unresolved: some entry uses a variable the request does not have. */
static bool
resource_listed(const json_t *list,
                const KvgPolicyRequest *request,
                bool variables,
                bool *unresolved)
{
    bool found = false;
    for (size_t i = 0; i < list_size(list) && !found; i++) {
        KvgPattern *pattern = kvg_pattern_new(list_at(list, i), request, variables);
        if (pattern == NULL) {
            *unresolved = true;
            continue;
        }
        /* An action without a resource is granted by "*" only. */
        found = strcmp(request->resource, "*") == 0
                    ? kvg_pattern_equals(pattern, "*", false)
                    : kvg_pattern_matches_arn(pattern, request->resource);
        kvg_pattern_free(pattern);
    }
    return found;
}

/* A NotResource that names an unknown variable would cover nothing and so permit everything: an
 * Allow does not apply then, a Deny does. */
static bool
resource_applies(const json_t *statement,
                 const KvgPolicyRequest *request,
                 bool variables,
                 bool is_deny)
{
    bool unresolved = false;
    const json_t *list = json_object_get(statement, "Resource");
    if (list != NULL)
        return resource_listed(list, request, variables, &unresolved);
    list = json_object_get(statement, "NotResource");
    if (resource_listed(list, request, variables, &unresolved))
        return false;
    return !unresolved || is_deny;
}

static bool
list_has(const json_t *list, const char *text)
{
    if (list == NULL || text == NULL)
        return false;
    for (size_t i = 0; i < list_size(list); i++) {
        if (strcmp(list_at(list, i), text) == 0)
            return true;
    }
    return false;
}

static bool
principal_applies(const json_t *statement, const KvgPolicyRequest *request)
{
    const json_t *principal = json_object_get(statement, "Principal");
    if (json_is_string(principal))
        return request->aws_principal != NULL;
    if (list_has(json_object_get(principal, "Service"), request->service_principal))
        return true;
    const json_t *aws = json_object_get(principal, "AWS");
    if (aws == NULL || request->aws_principal == NULL)
        return false;
    if (list_has(aws, "*") || list_has(aws, request->aws_principal) ||
        list_has(aws, request->aws_role))
        return true;
    if (request->account == NULL)
        return false;
    g_autofree char *root = g_strdup_printf("arn:aws:iam::%s:root", request->account);
    return list_has(aws, request->account) || list_has(aws, root);
}

static KvgPolicyDecision
evaluate_statement(const KvgPolicy *policy,
                   const json_t *statement,
                   const KvgPolicyRequest *request)
{
    const bool is_deny = strcmp(kvg_json_get_string(statement, "Effect"), "Deny") == 0;
    if (!action_applies(statement, request))
        return KVG_POLICY_NO_MATCH;
    if (policy->kind == KVG_POLICY_TRUST
            ? !principal_applies(statement, request)
            : !resource_applies(statement, request, policy->variables, is_deny))
        return KVG_POLICY_NO_MATCH;
    if (!kvg_condition_holds(json_object_get(statement, "Condition"), request, policy->variables))
        return KVG_POLICY_NO_MATCH;
    return is_deny ? KVG_POLICY_DENY : KVG_POLICY_ALLOW;
}

KvgPolicyDecision
kvg_policy_combine(KvgPolicyDecision a, KvgPolicyDecision b)
{
    return MAX(a, b);
}

KvgPolicyDecision
kvg_policy_evaluate(const KvgPolicy *policy, const KvgPolicyRequest *request)
{
    if (json_is_object(policy->statements))
        return evaluate_statement(policy, policy->statements, request);
    KvgPolicyDecision decision = KVG_POLICY_NO_MATCH;
    for (size_t i = 0; i < json_array_size(policy->statements); i++) {
        const json_t *statement = json_array_get(policy->statements, i);
        decision = kvg_policy_combine(decision, evaluate_statement(policy, statement, request));
    }
    return decision;
}
