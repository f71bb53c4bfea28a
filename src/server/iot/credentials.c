/* Credentials provider: certificate, thing, policy, alias, role, duration, in this order, each with
 * its own refusal. The order is visible to clients: without a policy nobody learns which aliases
 * exist. */
#include "server/iot/credentials.h"

#include "base/text.h"
#include "os/log.h"
#include "server/auth/policy.h"
#include "server/auth/session.h"
#include "server/iot/ca.h"
#include "server/iot/grant.h"
#include <string.h>

#define LOG_DOMAIN "server-iot"

typedef struct {
    KvgServer *server;
    char *certificate_id;
    const char *thing_name;
    const char *alias;
    int64_t now_ms;
    /* found on the way */
    KvgIotGrant *grant;
    char *role_name, *role_id, *role_arn, *trust;
    int64_t duration_s, max_session_s;
} Decision;

static void
decision_clear(Decision *d)
{
    kvg_iot_grant_free(d->grant);
    g_free(d->certificate_id);
    g_free(d->role_name);
    g_free(d->role_id);
    g_free(d->role_arn);
    g_free(d->trust);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Decision, decision_clear)

static bool
refuse(KvgIotReply *reply, int status, const char *type, const char *message)
{
    reply->status = status;
    reply->type = type;
    reply->message = g_strdup(message);
    return false;
}

/* Known by the digest of its whole DER form, so a foreign certificate with our names is unknown. */
static bool
check_certificate(Decision *d, X509 *certificate, sqlite3 *db, KvgIotReply *reply)
{
    d->grant = kvg_iot_grant_new(db, certificate, NULL, NULL, d->now_ms);
    return d->grant != NULL ||
           refuse(reply, 403, "AccessDeniedException", "Certificate is invalid on this endpoint");
}

static bool
check_thing(const Decision *d, sqlite3 *db, KvgIotReply *reply)
{
    if (d->thing_name == NULL ||
        kvg_sql_int(db, 0, "SELECT 1 FROM thing_certificate WHERE thing = ?1 AND certificate = ?2",
                    "tt", d->thing_name, d->certificate_id) == 1)
        return true;
    return refuse(reply, 403, "AccessDeniedException", "Invalid thing name passed");
}

static bool
check_policy(const Decision *d, KvgIotReply *reply)
{
    g_autofree char *resource = kvg_iot_arn(d->server, "rolealias", d->alias);
    return kvg_iot_grant_allows(d->grant, "iot:AssumeRoleWithCertificate", resource) ||
           refuse(reply, 403, "AccessDeniedException", "Access Denied");
}

static bool
find_role(Decision *d, sqlite3 *db, KvgIotReply *reply)
{
    d->role_arn =
        kvg_sql_text(db, "SELECT role_arn FROM role_alias WHERE name = ?1", "t", d->alias);
    if (d->role_arn == NULL)
        return refuse(reply, 404, "ResourceNotFoundException", "Role alias does not exist");
    d->duration_s =
        kvg_sql_int(db, 0, "SELECT duration_s FROM role_alias WHERE name = ?1", "t", d->alias);
    g_auto(KvgStatement) row =
        kvg_sql_query(db,
                      "SELECT name, role_id, trust, max_session_s FROM role"
                      " WHERE 'arn:aws:iam::' || ?2 || ':role' || path || name = ?1",
                      "tt", d->role_arn, d->server->account);
    if (!kvg_sql_step(row))
        return refuse(reply, 400, "InvalidRequestException",
                      "Unable to assume the role, or the role to assume does not exist");
    d->role_name = g_strdup(kvg_sql_column(row, 0));
    d->role_id = g_strdup(kvg_sql_column(row, 1));
    d->trust = g_strdup(kvg_sql_column(row, 2));
    d->max_session_s = sqlite3_column_int64(row, 3);
    return true;
}

static bool
check_trust(const Decision *d, KvgIotReply *reply)
{
    const KvgPolicyRequest request = {.action = "sts:AssumeRole",
                                      .resource = "*",
                                      .service_principal = "credentials.iot.amazonaws.com",
                                      .account = d->server->account};
    g_autoptr(KvgPolicy) trust = kvg_policy_parse(d->trust, KVG_POLICY_TRUST, NULL);
    if (trust == NULL || kvg_policy_evaluate(trust, &request) != KVG_POLICY_ALLOW)
        return refuse(reply, 400, "InvalidRequestException",
                      "Unable to assume the role, or the role to assume does not exist");
    if (d->duration_s > d->max_session_s)
        return refuse(reply, 400, "InvalidRequestException",
                      "The requested CredentialDurationSeconds exceeds the MaxSessionDuration set "
                      "for the role");
    return true;
}

static bool
issue(const Decision *d, KvgIotReply *reply)
{
    const KvgSessionSpec spec = {.role_name = d->role_name,
                                 .role_id = d->role_id,
                                 .role_arn = d->role_arn,
                                 .session_name = d->certificate_id,
                                 .thing_name = d->thing_name,
                                 .certificate_id = d->certificate_id,
                                 .expires_ms = d->now_ms + d->duration_s * 1000};
    g_auto(KvgSessionKeys) keys = {0};
    g_autoptr(GError) error = NULL;
    if (!kvg_session_issue(d->server, &spec, &keys, &error))
        return refuse(reply, 500, "InternalFailureException", "Internal failure");
    g_autofree char *expiration = kvg_format_iso8601(keys.expires_ms, false);
    reply->status = 200;
    reply->json = json_pack("{s:{s:s, s:s, s:s, s:s}}", "credentials", "accessKeyId",
                            keys.access_key, "secretAccessKey", keys.secret, "sessionToken",
                            keys.token, "expiration", expiration);
    return true;
}

void
kvg_credentials_decide(KvgServer *server,
                       X509 *certificate,
                       const char *thing_name,
                       const char *alias,
                       int64_t now_ms,
                       KvgIotReply *reply)
{
    g_auto(Decision) d = {
        .server = server, .thing_name = thing_name, .alias = alias, .now_ms = now_ms};
    d.certificate_id = certificate != NULL ? kvg_ca_certificate_id(certificate) : NULL;
    sqlite3 *db = kvg_state_lock(server->state);
    const bool found = check_certificate(&d, certificate, db, reply) &&
                       check_thing(&d, db, reply) && check_policy(&d, reply) &&
                       find_role(&d, db, reply);
    kvg_state_unlock(server->state);
    if (!found || !check_trust(&d, reply) || !issue(&d, reply))
        KVG_LOG_WARNING(LOG_DOMAIN, "CAMERA", thing_name != NULL ? thing_name : "-",
                        "no credentials for %.128s: %s", thing_name != NULL ? thing_name : "-",
                        reply->message);
}
