#include "server/iot/fleet.h"

#include "server/iot/ca.h"
#include "server/iot/call.h"
#include "server/iot/template.h"
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <string.h>

#define TOKEN_LIFE_MS (60 * 60 * INT64_C(1000))
#define MAX_PAYLOAD_BYTES (64u * 1024)
#define MAX_CSR_CHARS 4096
#define RSA_BITS 2048
#define CREATE "$aws/certificates/create/json"
#define CREATE_FROM_CSR "$aws/certificates/create-from-csr/json"
#define TEMPLATE_PREFIX "$aws/provisioning-templates/"
#define TEMPLATE_SUFFIX "/provision/json"

G_DEFINE_AUTOPTR_CLEANUP_FUNC(X509, X509_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(EVP_PKEY, EVP_PKEY_free)

typedef struct {
    KvgServer *server;
    sqlite3 *db;
    int64_t now_ms;
    json_t *input;
    bool accepted;
} Ask;

static json_t *
reject(Ask *ask, int status, const char *code, const char *message)
{
    ask->accepted = false;
    return json_pack("{s:i, s:s, s:s}", "statusCode", status, "errorCode", code, "errorMessage",
                     message);
}

/* What nobody has claimed in time. */
static void
forget_expired(const Ask *ask)
{
    kvg_sql_run(ask->db,
                "DELETE FROM certificate WHERE status = 'PENDING_ACTIVATION' AND created_ms < ?1",
                "i", ask->now_ms - TOKEN_LIFE_MS);
    kvg_sql_run(ask->db, "DELETE FROM fleet_token WHERE expires_ms < ?1", "i", ask->now_ms);
}

/* ---- a certificate, and the token that proves whose it is ---- */

static char *
make_token(const Ask *ask, const char *certificate_id)
{
    uint8_t random[32];
    if (RAND_bytes(random, sizeof random) != 1)
        return NULL;
    g_autofree char *token = g_base64_encode(random, sizeof random);
    g_autofree char *digest = g_compute_checksum_for_string(G_CHECKSUM_SHA256, token, -1);
    if (kvg_sql_run(ask->db, "INSERT INTO fleet_token VALUES (?1, ?2, ?3)", "tti", digest,
                    certificate_id, ask->now_ms + TOKEN_LIFE_MS) != 1)
        return NULL;
    return g_steal_pointer(&token);
}

static json_t *
answer_certificate(Ask *ask, X509 *certificate, const char *private_key)
{
    g_autofree char *id = kvg_ca_certificate_id(certificate);
    g_autofree char *pem = kvg_ca_certificate_pem(certificate);
    const bool stored = kvg_iot_store_certificate(ask->db, id, certificate, "PENDING_ACTIVATION",
                                                  "DEFAULT", ask->now_ms) == 1;
    g_autofree char *token = stored ? make_token(ask, id) : NULL;
    if (token == NULL)
        return reject(ask, 500, "InternalError", "Internal failure");
    json_t *answer = json_pack("{s:s, s:s, s:s}", "certificateOwnershipToken", token,
                               "certificateId", id, "certificatePem", pem);
    if (private_key != NULL)
        json_object_set_new(answer, "privateKey", json_string(private_key));
    return answer;
}

static json_t *
create_from_csr(Ask *ask)
{
    const char *csr = kvg_json_get_string(ask->input, "certificateSigningRequest");
    g_autoptr(X509) certificate = csr != NULL && strlen(csr) <= MAX_CSR_CHARS
                                      ? kvg_ca_sign_request(ask->server->ca, csr, NULL)
                                      : NULL;
    if (certificate == NULL)
        return reject(ask, 400, "InvalidCSR", "The certificate signing request is invalid");
    return answer_certificate(ask, certificate, NULL);
}

static json_t *
create_keys(Ask *ask)
{
    g_autoptr(EVP_PKEY) key = EVP_RSA_gen(RSA_BITS);
    g_autoptr(X509) certificate = key != NULL ? kvg_ca_sign_key(ask->server->ca, key, NULL) : NULL;
    if (certificate == NULL)
        return reject(ask, 500, "InternalError", "Internal failure");
    g_autofree char *pem = kvg_ca_private_pem(key);
    json_t *answer = answer_certificate(ask, certificate, pem);
    OPENSSL_cleanse(pem, strlen(pem));
    return answer;
}

/* ---- the template ---- */

static json_t *
register_thing(Ask *ask, const char *template_name)
{
    const char *token = kvg_json_get_string(ask->input, "certificateOwnershipToken");
    g_autofree char *digest =
        g_compute_checksum_for_string(G_CHECKSUM_SHA256, token != NULL ? token : "", -1);
    g_autofree char *id = kvg_sql_text(
        ask->db, "SELECT certificate FROM fleet_token WHERE token_digest = ?1 AND expires_ms >= ?2",
        "ti", digest, ask->now_ms);
    g_autofree char *body =
        kvg_sql_text(ask->db, "SELECT body FROM fleet_template WHERE name = ?1 AND is_enabled", "t",
                     template_name);
    if (id == NULL)
        return reject(ask, 400, "InvalidCertificateOwnershipToken",
                      "The certificate ownership token is invalid or has expired");
    if (body == NULL)
        return reject(ask, 400, "InvalidTemplate", "There is no such template, or it is disabled");
    g_autoptr(GError) error = NULL;
    json_t *answer =
        kvg_template_apply(ask->server, ask->db, body, json_object_get(ask->input, "parameters"),
                           id, ask->now_ms, &error);
    if (answer == NULL)
        return reject(ask, 400, "InvalidParameters", error->message);
    if (kvg_sql_run(ask->db, "DELETE FROM fleet_token WHERE token_digest = ?1", "t", digest) != 1) {
        json_decref(answer);
        return reject(ask, 500, "InternalError", "Internal failure");
    }
    return answer;
}

/* The template's name in the topic (g_free), or NULL. */
static char *
template_of(const char *topic)
{
    if (!g_str_has_prefix(topic, TEMPLATE_PREFIX) || !g_str_has_suffix(topic, TEMPLATE_SUFFIX))
        return NULL;
    const char *start = topic + strlen(TEMPLATE_PREFIX);
    const size_t len = strlen(start);
    if (len <= strlen(TEMPLATE_SUFFIX))
        return NULL;
    g_autofree char *name = g_strndup(start, len - strlen(TEMPLATE_SUFFIX));
    return strchr(name, '/') == NULL ? g_steal_pointer(&name) : NULL;
}

bool
kvg_fleet_is_request(const char *topic)
{
    g_autofree char *name = template_of(topic);
    return name != NULL || strcmp(topic, CREATE) == 0 || strcmp(topic, CREATE_FROM_CSR) == 0;
}

static json_t *
dispatch(Ask *ask, const char *topic)
{
    if (strcmp(topic, CREATE) == 0)
        return create_keys(ask);
    if (ask->input == NULL)
        return reject(ask, 400, "InvalidPayload", "The payload is not a JSON object");
    if (strcmp(topic, CREATE_FROM_CSR) == 0)
        return create_from_csr(ask);
    g_autofree char *name = template_of(topic);
    return register_thing(ask, name);
}

json_t *
kvg_fleet_perform(KvgServer *server,
                  const char *topic,
                  const void *payload,
                  size_t len,
                  int64_t now_ms,
                  bool *accepted)
{
    g_autoptr(json_t) input =
        len > 0 && len <= MAX_PAYLOAD_BYTES ? kvg_json_parse_object(payload, len, NULL) : NULL;
    Ask ask = {.server = server, .now_ms = now_ms, .input = input, .accepted = true};
    ask.db = kvg_state_lock(server->state);
    kvg_sql_run(ask.db, "BEGIN IMMEDIATE", "");
    forget_expired(&ask);
    json_t *answer = dispatch(&ask, topic);
    if (kvg_sql_run(ask.db, ask.accepted ? "COMMIT" : "ROLLBACK", "") < 0) {
        kvg_sql_run(ask.db, "ROLLBACK", "");
        json_decref(answer);
        answer = reject(&ask, 500, "InternalError", "Internal failure");
    }
    kvg_state_unlock(server->state);
    *accepted = ask.accepted;
    return answer;
}
