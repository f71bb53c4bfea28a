/* The service's own certificate authority (P-256): signs device certificates and the server's own.
 */
#pragma once

#include "server/server.h"

/* Loads DIR/ca.pem and DIR/ca.key, or makes both (0644, 0600). */
KvgCa *kvg_ca_open(const char *data_path, GError **error);
void kvg_ca_close(KvgCa *ca);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgCa, kvg_ca_close)
/* Writes a fresh server certificate and key for localhost, the loopback addresses, this host's name
 * and
 * @listen_address. */
bool kvg_ca_write_server(KvgCa *ca,
                         const char *listen_address,
                         const char *certificate_path,
                         const char *key_path,
                         GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* A device certificate for the key of a PEM request. KVG_ERROR_INVALID: bad request or weak key. */
X509 *kvg_ca_sign_request(KvgCa *ca, const char *pem, GError **error);
X509 *kvg_ca_sign_key(KvgCa *ca, EVP_PKEY *key, GError **error);
/* RSA of 2048 bits or more, or a NIST curve; NULL is not. */
bool kvg_ca_is_strong(EVP_PKEY *key);
/* Lower-case hex SHA-256 of the DER form: AWS's certificate id (g_free). */
char *kvg_ca_certificate_id(X509 *certificate);
/* PEM texts (g_free) */
char *kvg_ca_certificate_pem(X509 *certificate);
char *kvg_ca_private_pem(EVP_PKEY *key);
char *kvg_ca_public_pem(EVP_PKEY *key);
/* Seconds since 1970. */
int64_t kvg_ca_time(const ASN1_TIME *time);
