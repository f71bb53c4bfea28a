/* IoT policies and their versions, one of which is in force. */
#include "server/auth/policy.h"
#include "server/iot/call.h"

#include <string.h>

#define MAX_NAME 128
#define POLICY_CHARS "_+=,.@-"
#define MAX_POLICY_CHARS 2048 /* white space not counted */
#define MAX_VERSIONS 5

static size_t
dense_length(const char *text)
{
    size_t n = 0;
    for (; *text != '\0'; text++)
        n += !g_ascii_isspace(*text);
    return n;
}

/* policyDocument of the body, if it is one; NULL and an answer. */
static const char *
document_of(KvgIotContext *c)
{
    const char *document = kvg_json_get_string(c->input, "policyDocument");
    if (document == NULL) {
        kvg_iot_fail(c, 400, "InvalidRequestException", "policyDocument is missing");
        return NULL;
    }
    g_autoptr(GError) error = NULL;
    g_autoptr(KvgPolicy) policy = kvg_policy_parse(document, KVG_POLICY_IOT, &error);
    if (policy != NULL && dense_length(document) <= MAX_POLICY_CHARS)
        return document;
    kvg_iot_fail(c, 400, "MalformedPolicyException", "Policy document is Malformed: %s",
                 error != NULL ? error->message : "too long");
    return NULL;
}

static bool
add_version(KvgIotContext *c, int64_t version, const char *document)
{
    return kvg_sql_run(c->db, "INSERT INTO policy_version VALUES (?1, ?2, ?3, ?4)", "titi", c->name,
                       version, document, c->now_ms) == 1;
}

static void
create_policy(KvgIotContext *c)
{
    if (!kvg_iot_name_fits(c->name, MAX_NAME, POLICY_CHARS)) {
        kvg_iot_fail(c, 400, "InvalidRequestException", "Invalid policy name");
        return;
    }
    const char *document = document_of(c);
    if (document == NULL)
        return;
    if (kvg_sql_run(c->db,
                    "INSERT OR IGNORE INTO iot_policy (name, created_ms, modified_ms)"
                    " VALUES (?1, ?2, ?2)",
                    "ti", c->name, c->now_ms) <= 0) {
        kvg_iot_fail(c, 409, "ResourceAlreadyExistsException",
                     "Policy cannot be created - name already exists (name=%s)", c->name);
        return;
    }
    g_autofree char *arn = kvg_iot_arn(c->server, "policy", c->name);
    if (!kvg_iot_put_tags(c, arn, json_object_get(c->input, "tags")))
        return;
    if (!add_version(c, 1, document))
        kvg_iot_broken(c);
    else
        kvg_iot_succeed(c, json_pack("{s:s, s:s, s:s, s:s}", "policyName", c->name, "policyArn",
                                     arn, "policyDocument", document, "policyVersionId", "1"));
}

/* "3" of a path; 0 if it is no version id. */
static int64_t
version_of(const KvgIotContext *c)
{
    guint64 version = 0;
    g_ascii_string_to_unsigned(c->second, 10, 1, G_MAXINT32, &version, NULL);
    return (int64_t)version;
}

/* generationId: one for each state of a policy; made of what determines it. */
static char *
generation(const char *name, int64_t version, int64_t modified_ms)
{
    g_autofree char *text =
        g_strdup_printf("%s %" G_GINT64_FORMAT " %" G_GINT64_FORMAT, name, version, modified_ms);
    return g_compute_checksum_for_string(G_CHECKSUM_SHA256, text, -1);
}

/* GetPolicy and GetPolicyVersion; @version 0: the one in force. */
static void
answer_policy(KvgIotContext *c, int64_t version, const char *id_key)
{
    g_auto(KvgStatement) row = kvg_sql_query(
        c->db,
        "SELECT document, v.created_ms, modified_ms, v.version, default_version, p.created_ms"
        " FROM iot_policy p JOIN policy_version v ON v.policy = name WHERE name = ?1 AND"
        " v.version = CASE WHEN ?2 = 0 THEN default_version ELSE ?2 END",
        "ti", c->name, version);
    if (!kvg_sql_step(row)) {
        kvg_iot_not_found(c, version == 0 ? "Policy" : "Policy version of", c->name);
        return;
    }
    const int64_t found = sqlite3_column_int64(row, 3);
    const int64_t modified_ms = sqlite3_column_int64(row, version == 0 ? 2 : 1);
    g_autofree char *arn = kvg_iot_arn(c->server, "policy", c->name);
    g_autofree char *id = g_strdup_printf("%" G_GINT64_FORMAT, found);
    g_autofree char *generation_id = generation(c->name, found, modified_ms);
    json_t *about =
        json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:s}", "policyName", c->name, "policyArn", arn,
                  "policyDocument", kvg_sql_column(row, 0), id_key, id, "creationDate",
                  kvg_iot_seconds(sqlite3_column_int64(row, version == 0 ? 5 : 1)),
                  "lastModifiedDate", kvg_iot_seconds(modified_ms), "generationId", generation_id);
    if (version != 0)
        json_object_set_new(about, "isDefaultVersion",
                            json_boolean(found == sqlite3_column_int64(row, 4)));
    kvg_iot_succeed(c, about);
}

static void
get_policy(KvgIotContext *c)
{
    answer_policy(c, 0, "defaultVersionId");
}

static json_t *
policy_item(const KvgIotContext *c, KvgStatement row)
{
    const char *name = kvg_sql_column(row, 0);
    g_autofree char *arn = kvg_iot_arn(c->server, "policy", name);
    return json_pack("{s:s, s:s}", "policyName", name, "policyArn", arn);
}

static void
list_policies(KvgIotContext *c)
{
    g_auto(KvgIotPage) page = {0};
    if (!kvg_iot_page(c, "pageSize", "marker", &page))
        return;
    g_auto(KvgStatement) rows =
        kvg_sql_query(c->db, "SELECT name FROM iot_policy WHERE" KVG_IOT_PAGE_SQL("name"), "tii",
                      page.after, page.limit + 1, page.descends);
    kvg_iot_list(c, rows, "policies", "nextMarker", page.limit, policy_item);
}

static bool
is_attached(KvgIotContext *c)
{
    return kvg_iot_exists(c, "SELECT 1 FROM policy_certificate WHERE policy = ?1", c->name) ||
           kvg_iot_exists(c, "SELECT 1 FROM policy_group WHERE policy = ?1", c->name);
}

static int64_t
count_versions(const KvgIotContext *c)
{
    return kvg_sql_int(c->db, 0, "SELECT count(*) FROM policy_version WHERE policy = ?1", "t",
                       c->name);
}

static void
delete_policy(KvgIotContext *c)
{
    if (is_attached(c)) {
        kvg_iot_fail(c, 409, "DeleteConflictException",
                     "The policy cannot be deleted as the policy is attached to one or more "
                     "principals (name=%s)",
                     c->name);
        return;
    }
    if (count_versions(c) > 1) {
        /* "than than" is the service's own. */
        kvg_iot_fail(c, 409, "DeleteConflictException",
                     "The policy cannot be deleted as versions other than than default version "
                     "exist (name=%s)",
                     c->name);
        return;
    }
    const int gone = kvg_sql_run(c->db, "DELETE FROM iot_policy WHERE name = ?1", "t", c->name);
    if (gone < 0 || !kvg_iot_forget_tags(c, "policy"))
        kvg_iot_broken(c);
    else if (gone == 0)
        kvg_iot_not_found(c, "Policy", c->name);
    else
        kvg_iot_succeed(c, NULL);
}

/* ---- versions ---- */

static bool
make_default(KvgIotContext *c, int64_t version)
{
    return kvg_sql_run(
               c->db,
               "UPDATE iot_policy SET default_version = ?2, modified_ms = ?3 WHERE name = ?1",
               "tii", c->name, version, c->now_ms) == 1;
}

static void
create_version(KvgIotContext *c)
{
    const int64_t last =
        kvg_sql_int(c->db, 0, "SELECT last_version FROM iot_policy WHERE name = ?1", "t", c->name);
    if (last == 0) {
        kvg_iot_not_found(c, "Policy", c->name);
        return;
    }
    const char *document = document_of(c);
    if (document == NULL)
        return;
    if (count_versions(c) >= MAX_VERSIONS) {
        kvg_iot_fail(c, 409, "VersionsLimitExceededException",
                     "The policy already has the maximum number of versions (%d) (name=%s)",
                     MAX_VERSIONS, c->name);
        return;
    }
    g_autofree char *as_default = kvg_iot_param(c, "setAsDefault");
    const bool is_default = g_strcmp0(as_default, "true") == 0;
    /* Numbers are not used twice. */
    if (kvg_sql_run(c->db, "UPDATE iot_policy SET last_version = ?2 WHERE name = ?1", "ti", c->name,
                    last + 1) != 1 ||
        !add_version(c, last + 1, document) || (is_default && !make_default(c, last + 1))) {
        kvg_iot_broken(c);
        return;
    }
    g_autofree char *arn = kvg_iot_arn(c->server, "policy", c->name);
    g_autofree char *id = g_strdup_printf("%" G_GINT64_FORMAT, last + 1);
    kvg_iot_succeed(c, json_pack("{s:s, s:s, s:s, s:b}", "policyArn", arn, "policyDocument",
                                 document, "policyVersionId", id, "isDefaultVersion", is_default));
}

static void
list_versions(KvgIotContext *c)
{
    g_auto(KvgStatement) rows = kvg_sql_query(
        c->db,
        "SELECT version, version = default_version, v.created_ms FROM policy_version v JOIN"
        " iot_policy ON name = policy WHERE policy = ?1 ORDER BY version DESC",
        "t", c->name);
    json_t *list = json_array();
    while (kvg_sql_step(rows))
        json_array_append_new(list, json_pack("{s:s, s:b, s:o}", "versionId",
                                              kvg_sql_column(rows, 0), "isDefaultVersion",
                                              sqlite3_column_int(rows, 1), "createDate",
                                              kvg_iot_seconds(sqlite3_column_int64(rows, 2))));
    const bool is_known = json_array_size(list) > 0;
    kvg_iot_succeed(c, json_pack("{s:o}", "policyVersions", list));
    if (!is_known)
        kvg_iot_not_found(c, "Policy", c->name);
}

/* The path's version and whether it is the default; 0 and an answer if it does not exist. */
static int64_t
find_version(KvgIotContext *c, bool *is_default)
{
    g_auto(KvgStatement) row = kvg_sql_query(
        c->db,
        "SELECT version = default_version FROM policy_version JOIN iot_policy ON name = policy"
        " WHERE policy = ?1 AND version = ?2",
        "ti", c->name, version_of(c));
    if (!kvg_sql_step(row)) {
        kvg_iot_not_found(c, "Policy version of", c->name);
        return 0;
    }
    *is_default = sqlite3_column_int(row, 0) != 0;
    return version_of(c);
}

static void
get_version(KvgIotContext *c)
{
    bool is_default;
    const int64_t version = find_version(c, &is_default);
    if (version != 0)
        answer_policy(c, version, "policyVersionId");
}

static void
set_default_version(KvgIotContext *c)
{
    bool is_default;
    const int64_t version = find_version(c, &is_default);
    if (version == 0)
        return;
    if (make_default(c, version))
        kvg_iot_succeed(c, NULL);
    else
        kvg_iot_broken(c);
}

static void
delete_version(KvgIotContext *c)
{
    bool is_default;
    const int64_t version = find_version(c, &is_default);
    if (version == 0)
        return;
    if (is_default)
        kvg_iot_fail(c, 409, "DeleteConflictException",
                     "Cannot delete the default version of a policy (name=%s)", c->name);
    else if (kvg_sql_run(c->db, "DELETE FROM policy_version WHERE policy = ?1 AND version = ?2",
                         "ti", c->name, version) != 1)
        kvg_iot_broken(c);
    else
        kvg_iot_succeed(c, NULL);
}

const KvgIotOperation kvg_iot_policies[] = {
    {"GET", "/policies", "iot:ListPolicies", NULL, list_policies, false},
    {"POST", "/policies/{}", "iot:CreatePolicy", "policy", create_policy, false},
    {"GET", "/policies/{}", "iot:GetPolicy", "policy", get_policy, false},
    {"DELETE", "/policies/{}", "iot:DeletePolicy", "policy", delete_policy, false},
    {"POST", "/policies/{}/version", "iot:CreatePolicyVersion", "policy", create_version, false},
    {"GET", "/policies/{}/version", "iot:ListPolicyVersions", "policy", list_versions, false},
    {"GET", "/policies/{}/version/{}", "iot:GetPolicyVersion", "policy", get_version, false},
    {"PATCH", "/policies/{}/version/{}", "iot:SetDefaultPolicyVersion", "policy",
     set_default_version, false},
    {"DELETE", "/policies/{}/version/{}", "iot:DeletePolicyVersion", "policy", delete_version,
     false},
    {0},
};
