#include "server/iot/grant.h"

#include "base/json.h"
#include "server/auth/policy.h"
#include "server/iot/ca.h"
#include "server/state/sql.h"
#include <string.h>

struct _KvgIotGrant {
    char *certificate_id, *client_id;
    GPtrArray *variables; /* name, value, name, value ...; of the certificate first */
    guint n_fixed;        /* of them, those that never change */
    GPtrArray *policies;  /* KvgPolicy */
    bool is_broken;       /* a policy cannot be read: nothing is allowed */
};

static void
add_variable(KvgIotGrant *grant, char *name, const char *value)
{
    g_ptr_array_add(grant->variables, name);
    g_ptr_array_add(grant->variables, g_strdup(value));
}

/* ${iot:Certificate.Subject.CommonName} and so on. */
static void
add_name_variables(KvgIotGrant *grant, const char *what, X509_NAME *name)
{
    static const struct {
        int nid;
        const char *field;
    } fields[] = {
        {NID_commonName, "CommonName"},         {NID_countryName, "Country"},
        {NID_organizationName, "Organization"}, {NID_organizationalUnitName, "OrganizationalUnit"},
        {NID_stateOrProvinceName, "State"},     {NID_localityName, "Locality"},
        {NID_serialNumber, "SerialNumber"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(fields); i++) {
        char text[256];
        if (X509_NAME_get_text_by_NID(name, fields[i].nid, text, sizeof text) <= 0 ||
            !g_utf8_validate(text, -1, NULL))
            continue;
        add_variable(grant, g_strdup_printf("iot:Certificate.%s.%s", what, fields[i].field), text);
    }
}

static void
add_thing_variables(KvgIotGrant *grant, sqlite3 *db)
{
    g_auto(KvgStatement) row =
        kvg_sql_query(db,
                      "SELECT coalesce(type_name, ''), attributes FROM thing JOIN"
                      " thing_certificate ON thing = name WHERE name = ?1 AND certificate = ?2",
                      "tt", grant->client_id, grant->certificate_id);
    const bool is_attached = kvg_sql_step(row);
    add_variable(grant, g_strdup("iot:Connection.Thing.IsAttached"),
                 is_attached ? "true" : "false");
    if (!is_attached)
        return;
    add_variable(grant, g_strdup("iot:Connection.Thing.ThingName"), grant->client_id);
    if (*kvg_sql_column(row, 0) != '\0')
        add_variable(grant, g_strdup("iot:Connection.Thing.ThingTypeName"), kvg_sql_column(row, 0));
    const char *text = kvg_sql_column(row, 1);
    g_autoptr(json_t) attributes = kvg_json_parse_object(text, strlen(text), NULL);
    const char *key;
    json_t *value;
    json_object_foreach(attributes, key, value)
        add_variable(grant, g_strdup_printf("iot:Connection.Thing.Attributes[%s]", key),
                     json_string_value(value));
}

static void
load_policies(KvgIotGrant *grant, sqlite3 *db)
{
    /* Of the certificate, and of the groups its things are in, up to the root. */
    static const char sql[] =
        "WITH RECURSIVE up(name) AS (SELECT thing_group FROM thing_certificate t JOIN"
        " thing_group_member m ON m.thing = t.thing WHERE certificate = ?1"
        " UNION SELECT parent FROM thing_group g JOIN up ON g.name = up.name WHERE parent IS NOT"
        " NULL), attached(policy) AS (SELECT policy FROM policy_certificate WHERE certificate = ?1"
        " UNION SELECT policy FROM policy_group JOIN up ON thing_group = up.name)"
        " SELECT document FROM attached JOIN iot_policy p ON p.name = attached.policy JOIN"
        " policy_version v ON v.policy = p.name AND v.version = p.default_version";
    g_ptr_array_set_size(grant->policies, 0);
    grant->is_broken = false;
    g_auto(KvgStatement) rows = kvg_sql_query(db, sql, "t", grant->certificate_id);
    while (kvg_sql_step(rows)) {
        KvgPolicy *policy = kvg_policy_parse(kvg_sql_column(rows, 0), KVG_POLICY_IOT, NULL);
        grant->is_broken |= policy == NULL;
        if (policy != NULL)
            g_ptr_array_add(grant->policies, policy);
    }
}

bool
kvg_iot_grant_reload(KvgIotGrant *grant, sqlite3 *db, int64_t now_ms)
{
    if (kvg_sql_int(db, 0,
                    "SELECT 1 FROM certificate WHERE id = ?1 AND status = 'ACTIVE'"
                    " AND not_before <= ?2 AND not_after >= ?2",
                    "ti", grant->certificate_id, now_ms / 1000) != 1)
        return false;
    g_ptr_array_set_size(grant->variables, (gint)grant->n_fixed);
    if (grant->client_id != NULL)
        add_thing_variables(grant, db);
    load_policies(grant, db);
    return true;
}

static void
policy_free(void *policy)
{
    kvg_policy_free(policy);
}

KvgIotGrant *
kvg_iot_grant_new(
    sqlite3 *db, X509 *certificate, const char *client_id, const char *source_ip, int64_t now_ms)
{
    if (certificate == NULL)
        return NULL;
    g_autoptr(KvgIotGrant) grant = g_new0(KvgIotGrant, 1);
    grant->certificate_id = kvg_ca_certificate_id(certificate);
    grant->client_id = g_strdup(client_id);
    grant->variables = g_ptr_array_new_with_free_func(g_free);
    grant->policies = g_ptr_array_new_with_free_func(policy_free);
    if (client_id != NULL)
        add_variable(grant, g_strdup("iot:ClientId"), client_id);
    if (source_ip != NULL)
        add_variable(grant, g_strdup("aws:SourceIp"), source_ip);
    add_name_variables(grant, "Subject", X509_get_subject_name(certificate));
    add_name_variables(grant, "Issuer", X509_get_issuer_name(certificate));
    grant->n_fixed = grant->variables->len;
    if (!kvg_iot_grant_reload(grant, db, now_ms))
        return NULL;
    return g_steal_pointer(&grant);
}

void
kvg_iot_grant_free(KvgIotGrant *grant)
{
    if (grant == NULL)
        return;
    g_ptr_array_unref(grant->policies);
    g_ptr_array_unref(grant->variables);
    g_free(grant->certificate_id);
    g_free(grant->client_id);
    g_free(grant);
}

bool
kvg_iot_grant_allows(const KvgIotGrant *grant, const char *action, const char *resource)
{
    g_autofree KvgPolicyVariable *variables =
        g_new0(KvgPolicyVariable, grant->variables->len / 2 + 1);
    for (guint i = 0; i < grant->variables->len; i += 2)
        variables[i / 2] = (KvgPolicyVariable){.key = g_ptr_array_index(grant->variables, i),
                                               .value = g_ptr_array_index(grant->variables, i + 1)};
    const KvgPolicyRequest request = {.action = action,
                                      .resource = resource,
                                      .variables = variables,
                                      .n_variables = grant->variables->len / 2};
    KvgPolicyDecision decision = grant->is_broken ? KVG_POLICY_DENY : KVG_POLICY_NO_MATCH;
    for (guint i = 0; i < grant->policies->len; i++)
        decision = kvg_policy_combine(
            decision, kvg_policy_evaluate(g_ptr_array_index(grant->policies, i), &request));
    return decision == KVG_POLICY_ALLOW;
}
