#include "cli/key.h"
#include "os/file.h"
#include <errno.h>
#include <kvg/error.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>

#define RSA_BITS 2048

G_DEFINE_AUTOPTR_CLEANUP_FUNC(EVP_PKEY, EVP_PKEY_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(X509, X509_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(X509_REQ, X509_REQ_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BIO, BIO_free_all)

/* A key with a passphrase is no use to a box that starts alone: nothing asks for one. */
static int
no_passphrase(char *buffer, int size, int writing, void *user_data)
{
    return -1;
}

static EVP_PKEY *
read_key(const char *path)
{
    g_autoptr(BIO) file = BIO_new_file(path, "r");
    return file != NULL ? PEM_read_bio_PrivateKey(file, NULL, no_passphrase, NULL) : NULL;
}

static bool
fail(GError **error, const char *path, const char *what)
{
    g_set_error(error, KVG_ERROR, KVG_ERROR_FAILED, "%s: %s", path, what);
    return false;
}

bool
kvg_key_ensure(const char *path, const char *type, GError **error)
{
    if (g_file_test(path, G_FILE_TEST_EXISTS)) {
        g_autoptr(EVP_PKEY) old = read_key(path);
        return old != NULL ||
               fail(error, path, "not a private key (PEM, no passphrase); move it away");
    }
    g_autoptr(EVP_PKEY) key =
        strcmp(type, "rsa") == 0 ? EVP_RSA_gen(RSA_BITS) : EVP_EC_gen("P-256");
    g_autoptr(BIO) pem = BIO_new(BIO_s_secmem());
    if (key == NULL || pem == NULL ||
        PEM_write_bio_PrivateKey(pem, key, NULL, NULL, 0, NULL, NULL) != 1)
        return fail(error, path, "cannot make a private key");
    char *data;
    const long len = BIO_get_mem_data(pem, &data);
    return kvg_file_replace(path, data, (size_t)len, 0600, error);
}

char *
kvg_key_request(const char *path, const char *name, GError **error)
{
    g_autoptr(EVP_PKEY) key = read_key(path);
    g_autoptr(X509_REQ) request = X509_REQ_new();
    g_autoptr(BIO) pem = BIO_new(BIO_s_mem());
    X509_NAME *subject = X509_REQ_get_subject_name(request);
    /* A common name holds 64 characters; a thing's name may be longer. */
    g_autofree char *common_name = g_strndup(name, 64);
    if (key == NULL ||
        X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const uint8_t *)common_name, -1,
                                   -1, 0) != 1 ||
        X509_REQ_set_pubkey(request, key) != 1 || X509_REQ_sign(request, key, EVP_sha256()) == 0 ||
        PEM_write_bio_X509_REQ(pem, request) != 1) {
        fail(error, path, "cannot make a certificate signing request");
        return NULL;
    }
    char *data;
    const long len = BIO_get_mem_data(pem, &data);
    return g_strndup(data, (size_t)len);
}

static X509 *
read_certificate(const char *path)
{
    g_autoptr(BIO) file = BIO_new_file(path, "r");
    return file != NULL ? PEM_read_bio_X509(file, NULL, no_passphrase, NULL) : NULL;
}

bool
kvg_key_matches(const char *key_path, const char *certificate_path)
{
    g_autoptr(EVP_PKEY) key = read_key(key_path);
    g_autoptr(X509) certificate = read_certificate(certificate_path);
    return key != NULL && certificate != NULL && X509_check_private_key(certificate, key) == 1;
}

bool
kvg_key_fits(const char *key_path, const char *pem)
{
    g_autoptr(EVP_PKEY) key = read_key(key_path);
    g_autoptr(BIO) text = BIO_new_mem_buf(pem, -1);
    g_autoptr(X509) certificate = PEM_read_bio_X509(text, NULL, no_passphrase, NULL);
    return key != NULL && certificate != NULL && X509_check_private_key(certificate, key) == 1;
}

char *
kvg_key_certificate_id(const char *path)
{
    g_autoptr(X509) certificate = read_certificate(path);
    uint8_t *der = NULL;
    const int len = certificate != NULL ? i2d_X509(certificate, &der) : -1;
    if (len <= 0)
        return NULL;
    char *id = g_compute_checksum_for_data(G_CHECKSUM_SHA256, der, (gsize)len);
    OPENSSL_free(der);
    return id;
}
