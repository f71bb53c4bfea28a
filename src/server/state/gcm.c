#include "server/state/gcm.h"

#include <limits.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <string.h>

G_DEFINE_AUTOPTR_CLEANUP_FUNC(EVP_CIPHER_CTX, EVP_CIPHER_CTX_free)

static bool
seal_pieces(EVP_CIPHER_CTX *cipher, const KvgGcmPiece *pieces, size_t n_pieces, uint8_t *out)
{
    int n = 0;
    for (size_t i = 0; i < n_pieces; i++) {
        if (pieces[i].len > INT_MAX ||
            EVP_EncryptUpdate(cipher, out, &n, pieces[i].data, (int)pieces[i].len) != 1)
            return false;
        out += n;
    }
    return EVP_EncryptFinal_ex(cipher, out, &n) == 1;
}

bool
kvg_gcm_seal(const uint8_t key[KVG_GCM_KEY_BYTES],
             const char *aad,
             const KvgGcmPiece *pieces,
             size_t n_pieces,
             uint8_t nonce[KVG_GCM_NONCE_BYTES],
             uint8_t *out,
             uint8_t tag[KVG_GCM_TAG_BYTES])
{
    g_autoptr(EVP_CIPHER_CTX) cipher = EVP_CIPHER_CTX_new();
    int n = 0;
    return cipher != NULL && RAND_bytes(nonce, KVG_GCM_NONCE_BYTES) == 1 &&
           EVP_EncryptInit_ex(cipher, EVP_aes_256_gcm(), NULL, key, nonce) == 1 &&
           EVP_EncryptUpdate(cipher, NULL, &n, (const uint8_t *)aad, (int)strlen(aad)) == 1 &&
           seal_pieces(cipher, pieces, n_pieces, out) &&
           EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_GCM_GET_TAG, KVG_GCM_TAG_BYTES, tag) == 1;
}

bool
kvg_gcm_unseal(const uint8_t key[KVG_GCM_KEY_BYTES],
               const char *aad,
               const uint8_t nonce[KVG_GCM_NONCE_BYTES],
               const uint8_t tag[KVG_GCM_TAG_BYTES],
               const uint8_t *in,
               size_t len,
               uint8_t *out)
{
    g_autoptr(EVP_CIPHER_CTX) cipher = EVP_CIPHER_CTX_new();
    uint8_t expected[KVG_GCM_TAG_BYTES];
    int n = 0;
    memcpy(expected, tag, sizeof expected);
    return cipher != NULL && len <= INT_MAX &&
           EVP_DecryptInit_ex(cipher, EVP_aes_256_gcm(), NULL, key, nonce) == 1 &&
           EVP_DecryptUpdate(cipher, NULL, &n, (const uint8_t *)aad, (int)strlen(aad)) == 1 &&
           EVP_DecryptUpdate(cipher, out, &n, in, (int)len) == 1 &&
           EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_GCM_SET_TAG, sizeof expected, expected) == 1 &&
           EVP_DecryptFinal_ex(cipher, out + n, &n) == 1;
}
