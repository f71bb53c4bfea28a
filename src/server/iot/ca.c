/* X.509 by OpenSSL, kept in one place. The CA's key file is the root of trust of every camera, so
 * it is only ever read by the owner. */
#include "server/iot/ca.h"

#include "os/file.h"
#include <arpa/inet.h>
#include <kvg/error.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <time.h>

#define CA_DAYS 7300
#define SERVER_DAYS 820
#define DEVICE_DAYS 7300
/* Cameras' clocks may be slow, and ours may have been a day ahead when it signed. */
#define BACKDATE_S (2 * 86400)
#define MAX_PEM_BYTES 65536
#define MIN_RSA_BITS 2048

struct _KvgCa {
    X509 *certificate;
    EVP_PKEY *key;
};

G_DEFINE_AUTOPTR_CLEANUP_FUNC(X509, X509_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(X509_REQ, X509_REQ_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(EVP_PKEY, EVP_PKEY_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BIO, BIO_free_all)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(X509_EXTENSION, X509_EXTENSION_free)

static bool
tls_failed(GError **error, KvgError code, const char *what)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    ERR_clear_error();
    g_set_error(error, KVG_ERROR, code, "%s: %s", what, reason != NULL ? reason : "failed");
    return false;
}

static char *
bio_text(BIO *bio)
{
    char *data = NULL;
    const long len = BIO_get_mem_data(bio, &data);
    return g_strndup(data, (size_t)MAX(len, 0));
}

char *
kvg_ca_certificate_pem(X509 *certificate)
{
    g_autoptr(BIO) bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, certificate);
    return bio_text(bio);
}

char *
kvg_ca_private_pem(EVP_PKEY *key)
{
    g_autoptr(BIO) bio = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
    return bio_text(bio);
}

char *
kvg_ca_public_pem(EVP_PKEY *key)
{
    g_autoptr(BIO) bio = BIO_new(BIO_s_mem());
    PEM_write_bio_PUBKEY(bio, key);
    return bio_text(bio);
}

char *
kvg_ca_certificate_id(X509 *certificate)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    X509_digest(certificate, EVP_sha256(), digest, &len);
    GString *id = g_string_sized_new(64);
    for (unsigned i = 0; i < len; i++)
        g_string_append_printf(id, "%02x", digest[i]);
    return g_string_free(id, false);
}

int64_t
kvg_ca_time(const ASN1_TIME *asn1)
{
    struct tm parts;
    return ASN1_TIME_to_tm(asn1, &parts) == 1 ? (int64_t)timegm(&parts) : 0;
}

static bool
add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, certificate, NULL, NULL, 0);
    g_autoptr(X509_EXTENSION) extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    return extension != NULL && X509_add_ext(certificate, extension, -1) == 1;
}

static bool
set_random_serial(X509 *certificate)
{
    uint8_t bytes[16];
    if (RAND_bytes(bytes, sizeof bytes) != 1)
        return false;
    bytes[0] &= 0x7f;
    bytes[0] |= 0x40; /* positive, and always 16 bytes */
    BIGNUM *number = BN_bin2bn(bytes, sizeof bytes, NULL);
    const bool ok = BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != NULL;
    BN_free(number);
    return ok;
}

static void
set_name(X509_NAME *name, const char *common_name)
{
    X509_NAME_add_entry_by_txt(name, "O", MBSTRING_ASC, (const uint8_t *)"kvg", -1, -1, 0);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const uint8_t *)common_name, -1, -1, 0);
}

/* Everything but extensions and signature. */
static X509 *
draft(EVP_PKEY *key, const char *common_name, int days)
{
    X509 *certificate = X509_new();
    X509_set_version(certificate, 2);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -BACKDATE_S);
    X509_gmtime_adj(X509_getm_notAfter(certificate), (long)days * 86400);
    X509_set_pubkey(certificate, key);
    set_name(X509_get_subject_name(certificate), common_name);
    if (set_random_serial(certificate))
        return certificate;
    X509_free(certificate);
    return NULL;
}

static EVP_PKEY *
load_key(const char *path, GError **error)
{
    size_t len = 0;
    g_autofree char *text = kvg_file_read(path, MAX_PEM_BYTES, &len, error);
    if (text == NULL)
        return NULL;
    g_autoptr(BIO) bio = BIO_new_mem_buf(text, (int)len);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    OPENSSL_cleanse(text, len);
    if (key == NULL)
        tls_failed(error, KVG_ERROR_CORRUPT, path);
    return key;
}

static X509 *
load_certificate(const char *path, GError **error)
{
    size_t len = 0;
    g_autofree char *text = kvg_file_read(path, MAX_PEM_BYTES, &len, error);
    if (text == NULL)
        return NULL;
    g_autoptr(BIO) bio = BIO_new_mem_buf(text, (int)len);
    X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    if (certificate == NULL)
        tls_failed(error, KVG_ERROR_CORRUPT, path);
    return certificate;
}

static bool
save_key(EVP_PKEY *key, const char *path, GError **error)
{
    g_autofree char *pem = kvg_ca_private_pem(key);
    const bool ok = kvg_file_replace(path, pem, strlen(pem), 0600, error);
    OPENSSL_cleanse(pem, strlen(pem));
    return ok;
}

static bool
save_certificate(X509 *certificate, const char *path, GError **error)
{
    g_autofree char *pem = kvg_ca_certificate_pem(certificate);
    return kvg_file_replace(path, pem, strlen(pem), 0644, error);
}

static X509 *
make_ca_certificate(EVP_PKEY *key)
{
    g_autoptr(X509) certificate = draft(key, "kvg local certificate authority", CA_DAYS);
    if (certificate == NULL)
        return NULL;
    X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
    if (!add_extension(certificate, certificate, NID_basic_constraints, "critical,CA:TRUE") ||
        !add_extension(certificate, certificate, NID_key_usage, "critical,keyCertSign,cRLSign") ||
        !add_extension(certificate, certificate, NID_subject_key_identifier, "hash") ||
        X509_sign(certificate, key, EVP_sha256()) == 0)
        return NULL;
    return g_steal_pointer(&certificate);
}

/* The key is written first: a certificate without its key would be a CA that can sign nothing,
 * while a key alone is simply replaced. */
static bool
make_ca(const char *certificate_path, const char *key_path, GError **error)
{
    g_autoptr(EVP_PKEY) key = EVP_EC_gen("P-256");
    g_autoptr(X509) certificate = key != NULL ? make_ca_certificate(key) : NULL;
    if (certificate == NULL)
        return tls_failed(error, KVG_ERROR_FAILED, "certificate authority");
    return save_key(key, key_path, error) && save_certificate(certificate, certificate_path, error);
}

KvgCa *
kvg_ca_open(const char *data_path, GError **error)
{
    g_autofree char *certificate_path = g_build_filename(data_path, "ca.pem", NULL);
    g_autofree char *key_path = g_build_filename(data_path, "ca.key", NULL);
    if (!g_file_test(certificate_path, G_FILE_TEST_EXISTS) &&
        !make_ca(certificate_path, key_path, error))
        return NULL;

    g_autoptr(KvgCa) ca = g_new0(KvgCa, 1);
    ca->certificate = load_certificate(certificate_path, error);
    if (ca->certificate == NULL)
        return NULL;
    ca->key = load_key(key_path, error);
    if (ca->key == NULL)
        return NULL;
    if (X509_check_private_key(ca->certificate, ca->key) != 1) {
        tls_failed(error, KVG_ERROR_CORRUPT, key_path);
        return NULL;
    }
    return g_steal_pointer(&ca);
}

void
kvg_ca_close(KvgCa *ca)
{
    if (ca == NULL)
        return;
    X509_free(ca->certificate);
    EVP_PKEY_free(ca->key);
    g_free(ca);
}

static bool
sign(KvgCa *ca, X509 *certificate, const char *usage, const char *names)
{
    X509_set_issuer_name(certificate, X509_get_subject_name(ca->certificate));
    return add_extension(certificate, ca->certificate, NID_basic_constraints,
                         "critical,CA:FALSE") &&
           add_extension(certificate, ca->certificate, NID_key_usage,
                         "critical,digitalSignature") &&
           add_extension(certificate, ca->certificate, NID_ext_key_usage, usage) &&
           add_extension(certificate, ca->certificate, NID_subject_key_identifier, "hash") &&
           add_extension(certificate, ca->certificate, NID_authority_key_identifier, "keyid") &&
           (names == NULL ||
            add_extension(certificate, ca->certificate, NID_subject_alt_name, names)) &&
           X509_sign(certificate, ca->key, EVP_sha256()) != 0;
}

static bool
is_host_name(const char *text)
{
    return *text != '\0' && strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                         "0123456789.-") == strlen(text);
}

static char *
server_names(const char *listen_address)
{
    GString *names = g_string_new("DNS:localhost,IP:127.0.0.1,IP:::1");
    uint8_t bytes[16];
    if (listen_address != NULL && (inet_pton(AF_INET, listen_address, bytes) == 1 ||
                                   inet_pton(AF_INET6, listen_address, bytes) == 1))
        g_string_append_printf(names, ",IP:%s", listen_address);
    if (is_host_name(g_get_host_name()))
        g_string_append_printf(names, ",DNS:%s", g_get_host_name());
    return g_string_free(names, false);
}

bool
kvg_ca_write_server(KvgCa *ca,
                    const char *listen_address,
                    const char *certificate_path,
                    const char *key_path,
                    GError **error)
{
    g_autoptr(EVP_PKEY) key = EVP_EC_gen("P-256");
    g_autoptr(X509) certificate = key != NULL ? draft(key, "kvg-server", SERVER_DAYS) : NULL;
    g_autofree char *names = server_names(listen_address);
    if (certificate == NULL || !sign(ca, certificate, "serverAuth", names))
        return tls_failed(error, KVG_ERROR_FAILED, "server certificate");
    return save_key(key, key_path, error) && save_certificate(certificate, certificate_path, error);
}

bool
kvg_ca_is_strong(EVP_PKEY *key)
{
    if (key == NULL)
        return false;
    if (EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA)
        return EVP_PKEY_get_bits(key) >= MIN_RSA_BITS && EVP_PKEY_get_bits(key) <= 8192;
    if (EVP_PKEY_get_base_id(key) != EVP_PKEY_EC)
        return false;
    char group[32];
    size_t len = 0;
    return EVP_PKEY_get_group_name(key, group, sizeof group, &len) == 1 &&
           (strcmp(group, "prime256v1") == 0 || strcmp(group, "secp384r1") == 0 ||
            strcmp(group, "secp521r1") == 0);
}

X509 *
kvg_ca_sign_key(KvgCa *ca, EVP_PKEY *key, GError **error)
{
    g_autoptr(X509) certificate = draft(key, "AWS IoT Certificate", DEVICE_DAYS);
    if (certificate != NULL && sign(ca, certificate, "clientAuth", NULL))
        return g_steal_pointer(&certificate);
    tls_failed(error, KVG_ERROR_FAILED, "device certificate");
    return NULL;
}

/* The request's subject is not taken over, as in AWS: the certificate id identifies the device. */
X509 *
kvg_ca_sign_request(KvgCa *ca, const char *pem, GError **error)
{
    const size_t len = strlen(pem);
    g_autoptr(BIO) bio = BIO_new_mem_buf(pem, (int)MIN(len, MAX_PEM_BYTES));
    g_autoptr(X509_REQ) request = PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL);
    g_autoptr(EVP_PKEY) key = request != NULL ? X509_REQ_get_pubkey(request) : NULL;
    if (key == NULL || X509_REQ_verify(request, key) != 1) {
        tls_failed(error, KVG_ERROR_INVALID, "certificate signing request");
        return NULL;
    }
    if (!kvg_ca_is_strong(key)) {
        g_set_error_literal(error, KVG_ERROR, KVG_ERROR_INVALID,
                            "key must be RSA of at least 2048 bits or on a NIST curve");
        return NULL;
    }
    return kvg_ca_sign_key(ca, key, error);
}
