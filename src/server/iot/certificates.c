/* Device certificates: issued by our CA, their states, their end. */
#include "server/iot/ca.h"
#include "server/iot/call.h"

#include <kvg/error.h>
#include <openssl/crypto.h>
#include <openssl/rsa.h>
#include <string.h>

#define MAX_CSR_CHARS 4096
#define RSA_BITS 2048

static bool
store_certificate(KvgIotContext *c, const char *id, const char *pem, X509 *certificate)
{
    g_autofree char *active = kvg_iot_param(c, "setAsActive");
    const char *status = g_strcmp0(active, "true") == 0 ? "ACTIVE" : "INACTIVE";
    sqlite3 *db = kvg_state_lock(c->server->state);
    const int made =
        kvg_sql_run(db, "INSERT INTO certificate VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?6)", "tttiii", id,
                    pem, status, c->now_ms, kvg_ca_time(X509_get0_notBefore(certificate)),
                    kvg_ca_time(X509_get0_notAfter(certificate)));
    kvg_state_unlock(c->server->state);
    return made == 1;
}

/* Stores @certificate and answers with it; takes @keys (NULL: none). */
static void
answer_certificate(KvgIotContext *c, X509 *certificate, json_t *keys)
{
    g_autofree char *id = kvg_ca_certificate_id(certificate);
    g_autofree char *pem = kvg_ca_certificate_pem(certificate);
    g_autofree char *arn = kvg_iot_arn(c->server, "cert", id);
    if (!store_certificate(c, id, pem, certificate)) {
        json_decref(keys);
        kvg_iot_broken(c);
        return;
    }
    json_t *reply = json_pack("{s:s, s:s, s:s}", "certificateArn", arn, "certificateId", id,
                              "certificatePem", pem);
    if (keys != NULL)
        json_object_set_new(reply, "keyPair", keys);
    kvg_iot_succeed(c, reply);
}

static void
create_from_csr(KvgIotContext *c)
{
    const char *csr = kvg_json_get_string(c->input, "certificateSigningRequest");
    if (csr == NULL || *csr == '\0' || strlen(csr) > MAX_CSR_CHARS) {
        kvg_iot_fail(c, 400, "InvalidRequestException", "Invalid certificateSigningRequest");
        return;
    }
    g_autoptr(GError) error = NULL;
    X509 *certificate = kvg_ca_sign_request(c->server->ca, csr, &error);
    if (certificate == NULL) {
        kvg_iot_fail(c, 400, "InvalidRequestException", "%s", error->message);
        return;
    }
    answer_certificate(c, certificate, NULL);
    X509_free(certificate);
}

static void
create_keys(KvgIotContext *c)
{
    EVP_PKEY *key = EVP_RSA_gen(RSA_BITS);
    X509 *certificate = key != NULL ? kvg_ca_sign_key(c->server->ca, key, NULL) : NULL;
    if (certificate == NULL) {
        EVP_PKEY_free(key);
        kvg_iot_broken(c);
        return;
    }
    g_autofree char *private_pem = kvg_ca_private_pem(key);
    g_autofree char *public_pem = kvg_ca_public_pem(key);
    answer_certificate(c, certificate,
                       json_pack("{s:s, s:s}", "PublicKey", public_pem, "PrivateKey", private_pem));
    OPENSSL_cleanse(private_pem, strlen(private_pem));
    X509_free(certificate);
    EVP_PKEY_free(key);
}

static json_t *
certificate_item(const KvgIotContext *c, KvgStatement row)
{
    const char *id = kvg_sql_column(row, 0);
    g_autofree char *arn = kvg_iot_arn(c->server, "cert", id);
    return json_pack("{s:s, s:s, s:s, s:s, s:o}", "certificateArn", arn, "certificateId", id,
                     "status", kvg_sql_column(row, 1), "certificateMode", "DEFAULT", "creationDate",
                     kvg_iot_seconds(sqlite3_column_int64(row, 2)));
}

static void
describe_certificate(KvgIotContext *c)
{
    g_auto(KvgStatement) row =
        kvg_sql_query(c->db,
                      "SELECT id, status, created_ms, modified_ms, pem, not_before, not_after"
                      " FROM certificate WHERE id = ?1",
                      "t", c->name);
    if (!kvg_sql_step(row)) {
        kvg_iot_not_found(c, "Certificate", c->name);
        return;
    }
    json_t *about = certificate_item(c, row);
    json_object_set_new(about, "lastModifiedDate", kvg_iot_seconds(sqlite3_column_int64(row, 3)));
    json_object_set_new(about, "certificatePem", json_string(kvg_sql_column(row, 4)));
    json_object_set_new(about, "ownedBy", json_string(c->server->account));
    json_object_set_new(about, "customerVersion", json_integer(1));
    json_object_set_new(about, "validity",
                        json_pack("{s:I, s:I}", "notBefore",
                                  (json_int_t)sqlite3_column_int64(row, 5), "notAfter",
                                  (json_int_t)sqlite3_column_int64(row, 6)));
    kvg_iot_succeed(c, json_pack("{s:o}", "certificateDescription", about));
}

static void
list_certificates(KvgIotContext *c)
{
    KvgIotPage page = {0};
    if (!kvg_iot_page(c, "pageSize", "marker", &page))
        return;
    g_autofree char *after = page.after;
    g_auto(KvgStatement) rows = kvg_sql_query(
        c->db, "SELECT id, status, created_ms FROM certificate WHERE id > ?1 ORDER BY id LIMIT ?2",
        "ti", after, page.limit + 1);
    kvg_iot_list(c, rows, "certificates", "nextMarker", page.limit, certificate_item);
}

static void
update_certificate(KvgIotContext *c)
{
    static const char *const statuses[] = {"ACTIVE", "INACTIVE", "REVOKED", NULL};
    g_autofree char *status = kvg_iot_param(c, "newStatus");
    if (status == NULL || !g_strv_contains(statuses, status)) {
        kvg_iot_fail(c, 400, "InvalidRequestException", "Invalid newStatus");
        return;
    }
    const int changed =
        kvg_sql_run(c->db, "UPDATE certificate SET status = ?2, modified_ms = ?3 WHERE id = ?1",
                    "tti", c->name, status, c->now_ms);
    if (changed < 0)
        kvg_iot_broken(c);
    else if (changed == 0)
        kvg_iot_not_found(c, "Certificate", c->name);
    else
        kvg_iot_succeed(c, NULL);
}

static void
delete_certificate(KvgIotContext *c)
{
    g_autofree char *status =
        kvg_sql_text(c->db, "SELECT status FROM certificate WHERE id = ?1", "t", c->name);
    g_autofree char *force = kvg_iot_param(c, "forceDelete");
    g_autofree char *arn = kvg_iot_arn(c->server, "cert", c->name);
    if (status == NULL) {
        kvg_iot_not_found(c, "Certificate", c->name);
        return;
    }
    if (strcmp(status, "ACTIVE") == 0) {
        kvg_iot_fail(c, 406, "CertificateStateException",
                     "Certificate must be deactivated (not ACTIVE) before deletion. Id: %s",
                     c->name);
        return;
    }
    if (kvg_iot_exists(c, "SELECT 1 FROM thing_certificate WHERE certificate = ?1", c->name)) {
        kvg_iot_fail(c, 409, "DeleteConflictException",
                     "Things must be detached before deletion (arn: %s)", arn);
        return;
    }
    if (g_strcmp0(force, "true") != 0 &&
        kvg_iot_exists(c, "SELECT 1 FROM policy_certificate WHERE certificate = ?1", c->name)) {
        kvg_iot_fail(c, 409, "DeleteConflictException",
                     "Certificate policies must be detached before deletion (arn: %s)", arn);
        return;
    }
    if (kvg_sql_run(c->db, "DELETE FROM policy_certificate WHERE certificate = ?1", "t", c->name) <
            0 ||
        kvg_sql_run(c->db, "DELETE FROM certificate WHERE id = ?1", "t", c->name) < 0)
        kvg_iot_broken(c);
    else
        kvg_iot_succeed(c, NULL);
}

const KvgIotOperation kvg_iot_certificates[] = {
    {"POST", "/certificates", "iot:CreateCertificateFromCsr", NULL, create_from_csr, true},
    {"POST", "/keys-and-certificate", "iot:CreateKeysAndCertificate", NULL, create_keys, true},
    {"GET", "/certificates", "iot:ListCertificates", NULL, list_certificates, false},
    {"GET", "/certificates/{}", "iot:DescribeCertificate", "cert", describe_certificate, false},
    {"PUT", "/certificates/{}", "iot:UpdateCertificate", "cert", update_certificate, false},
    {"DELETE", "/certificates/{}", "iot:DeleteCertificate", "cert", delete_certificate, false},
    {0},
};
