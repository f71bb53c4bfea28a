/* Device certificates: issued by our CA, their states, their end. */
#include "server/iot/ca.h"
#include "server/iot/call.h"

#include <kvg/error.h>
#include <openssl/crypto.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <string.h>

#define MAX_CSR_CHARS 4096
#define MAX_PEM_CHARS 65536
#define RSA_BITS 2048

static const char *const statuses[] = {"ACTIVE", "INACTIVE", "REVOKED", NULL};

G_DEFINE_AUTOPTR_CLEANUP_FUNC(X509, X509_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BIO, BIO_free_all)

int
kvg_iot_store_certificate(sqlite3 *db,
                          const char *id,
                          X509 *certificate,
                          const char *status,
                          const char *mode,
                          int64_t now_ms)
{
    g_autofree char *pem = kvg_ca_certificate_pem(certificate);
    return kvg_sql_run(db,
                       "INSERT OR IGNORE INTO certificate (id, pem, status, created_ms,"
                       " modified_ms, not_before, not_after, mode)"
                       " VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?6, ?7)",
                       "tttiiit", id, pem, status, now_ms,
                       kvg_ca_time(X509_get0_notBefore(certificate)),
                       kvg_ca_time(X509_get0_notAfter(certificate)), mode);
}

/* Stores @certificate and answers with it; takes @keys (NULL: none). */
static void
answer_certificate(KvgIotContext *c, X509 *certificate, json_t *keys)
{
    g_autofree char *id = kvg_ca_certificate_id(certificate);
    g_autofree char *pem = kvg_ca_certificate_pem(certificate);
    g_autofree char *arn = kvg_iot_arn(c->server, "cert", id);
    g_autofree char *active = kvg_iot_param(c, "setAsActive");
    sqlite3 *db = kvg_state_lock(c->server->state);
    const int made = kvg_iot_store_certificate(
        db, id, certificate, g_strcmp0(active, "true") == 0 ? "ACTIVE" : "INACTIVE", "DEFAULT",
        c->now_ms);
    kvg_state_unlock(c->server->state);
    if (made != 1) {
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

static int
no_passphrase(char *buffer, int size, int writing, void *user_data)
{
    return -1;
}

/* A certificate of another authority, or of none: it is known by its digest, like every other. */
static void
register_without_ca(KvgIotContext *c)
{
    const char *pem = kvg_json_get_string(c->input, "certificatePem");
    const char *status = kvg_json_get_string(c->input, "status");
    if (status == NULL)
        status = "INACTIVE";
    if (pem == NULL || !g_strv_contains(statuses, status)) {
        kvg_iot_fail(c, 400, "InvalidRequestException", "Invalid certificatePem or status");
        return;
    }
    g_autoptr(BIO) bio = BIO_new_mem_buf(pem, -1);
    g_autoptr(X509) certificate =
        strlen(pem) <= MAX_PEM_CHARS ? PEM_read_bio_X509(bio, NULL, no_passphrase, NULL) : NULL;
    if (certificate == NULL || !kvg_ca_is_strong(X509_get0_pubkey(certificate))) {
        kvg_iot_fail(c, 400, "CertificateValidationException",
                     "The certificate is invalid, or its key is too weak");
        return;
    }
    g_autofree char *id = kvg_ca_certificate_id(certificate);
    g_autofree char *arn = kvg_iot_arn(c->server, "cert", id);
    const int made =
        kvg_iot_store_certificate(c->db, id, certificate, status, "SNI_ONLY", c->now_ms);
    if (made < 0)
        kvg_iot_broken(c);
    else if (made == 0)
        kvg_iot_fail(c, 409, "ResourceAlreadyExistsException",
                     "The certificate is already registered. Id: %s", id);
    else
        kvg_iot_succeed(c, json_pack("{s:s, s:s}", "certificateArn", arn, "certificateId", id));
}

static json_t *
certificate_item(const KvgIotContext *c, KvgStatement row)
{
    const char *id = kvg_sql_column(row, 0);
    g_autofree char *arn = kvg_iot_arn(c->server, "cert", id);
    return json_pack("{s:s, s:s, s:s, s:o, s:s}", "certificateArn", arn, "certificateId", id,
                     "status", kvg_sql_column(row, 1), "creationDate",
                     kvg_iot_seconds(sqlite3_column_int64(row, 2)), "certificateMode",
                     kvg_sql_column(row, 3));
}

static void
describe_certificate(KvgIotContext *c)
{
    g_auto(KvgStatement) row =
        kvg_sql_query(c->db,
                      "SELECT id, status, created_ms, mode, modified_ms, pem, not_before,"
                      " not_after, version FROM certificate WHERE id = ?1",
                      "t", c->name);
    if (!kvg_sql_step(row)) {
        kvg_iot_not_found(c, "Certificate", c->name);
        return;
    }
    json_t *about = certificate_item(c, row);
    json_object_set_new(about, "lastModifiedDate", kvg_iot_seconds(sqlite3_column_int64(row, 4)));
    json_object_set_new(about, "certificatePem", json_string(kvg_sql_column(row, 5)));
    json_object_set_new(about, "ownedBy", json_string(c->server->account));
    json_object_set_new(about, "customerVersion", json_integer(sqlite3_column_int64(row, 8)));
    g_autofree char *generation = g_strndup(c->name, 32);
    json_object_set_new(about, "generationId", json_string(generation));
    json_object_set_new(about, "validity",
                        json_pack("{s:I, s:I}", "notBefore",
                                  (json_int_t)sqlite3_column_int64(row, 6), "notAfter",
                                  (json_int_t)sqlite3_column_int64(row, 7)));
    kvg_iot_succeed(c, json_pack("{s:o}", "certificateDescription", about));
}

static void
list_certificates(KvgIotContext *c)
{
    g_auto(KvgIotPage) page = {0};
    if (!kvg_iot_page(c, "pageSize", "marker", &page))
        return;
    g_auto(KvgStatement) rows = kvg_sql_query(
        c->db, "SELECT id, status, created_ms, mode FROM certificate WHERE" KVG_IOT_PAGE_SQL("id"),
        "tii", page.after, page.limit + 1, page.descends);
    kvg_iot_list(c, rows, "certificates", "nextMarker", page.limit, certificate_item);
}

static void
update_certificate(KvgIotContext *c)
{
    g_autofree char *status = kvg_iot_param(c, "newStatus");
    if (status == NULL || !g_strv_contains(statuses, status)) {
        kvg_iot_fail(c, 400, "InvalidRequestException", "Invalid newStatus");
        return;
    }
    const int changed =
        kvg_sql_run(c->db,
                    "UPDATE certificate SET status = ?2, modified_ms = ?3, version = version + 1"
                    " WHERE id = ?1",
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
    {"POST", "/certificate/register-no-ca", "iot:RegisterCertificateWithoutCA", NULL,
     register_without_ca, false},
    {"POST", "/keys-and-certificate", "iot:CreateKeysAndCertificate", NULL, create_keys, true},
    {"GET", "/certificates", "iot:ListCertificates", NULL, list_certificates, false},
    {"GET", "/certificates/{}", "iot:DescribeCertificate", "cert", describe_certificate, false},
    {"PUT", "/certificates/{}", "iot:UpdateCertificate", "cert", update_certificate, false},
    {"DELETE", "/certificates/{}", "iot:DeleteCertificate", "cert", delete_certificate, false},
    {0},
};
