/* nonce, ciphertext, tag. */
#include "server/playback/seal.h"

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <string.h>

#define NONCE_BYTES 12
#define TAG_BYTES 16
#define MAX_TEXT 4096

G_DEFINE_AUTOPTR_CLEANUP_FUNC(EVP_CIPHER_CTX, EVP_CIPHER_CTX_free)

static bool
encrypt(
    const uint8_t *key, const uint8_t *nonce, const GByteArray *plain, uint8_t *out, uint8_t *tag)
{
    g_autoptr(EVP_CIPHER_CTX) cipher = EVP_CIPHER_CTX_new();
    int n = 0;
    return cipher != NULL && EVP_EncryptInit_ex(cipher, EVP_aes_256_gcm(), NULL, key, nonce) == 1 &&
           EVP_EncryptUpdate(cipher, out, &n, plain->data, (int)plain->len) == 1 &&
           EVP_EncryptFinal_ex(cipher, out + n, &n) == 1 &&
           EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_GCM_GET_TAG, TAG_BYTES, tag) == 1;
}

static bool
decrypt(const uint8_t *key,
        const uint8_t *nonce,
        const uint8_t *in,
        int len,
        uint8_t *tag,
        uint8_t *out)
{
    g_autoptr(EVP_CIPHER_CTX) cipher = EVP_CIPHER_CTX_new();
    int n = 0;
    return cipher != NULL && EVP_DecryptInit_ex(cipher, EVP_aes_256_gcm(), NULL, key, nonce) == 1 &&
           EVP_DecryptUpdate(cipher, out, &n, in, len) == 1 &&
           EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_GCM_SET_TAG, TAG_BYTES, tag) == 1 &&
           EVP_DecryptFinal_ex(cipher, out + n, &n) == 1;
}

char *
kvg_seal(const GByteArray *plain, const uint8_t key[KVG_SEAL_KEY_BYTES])
{
    const size_t len = NONCE_BYTES + plain->len + TAG_BYTES;
    g_autofree uint8_t *sealed = g_malloc(len);
    if (RAND_bytes(sealed, NONCE_BYTES) != 1 ||
        !encrypt(key, sealed, plain, sealed + NONCE_BYTES, sealed + len - TAG_BYTES))
        return NULL;
    return g_base64_encode(sealed, len);
}

GBytes *
kvg_unseal(const char *text, const uint8_t key[KVG_SEAL_KEY_BYTES])
{
    if (strlen(text) > MAX_TEXT)
        return NULL;
    gsize len = 0;
    g_autofree uint8_t *sealed = g_base64_decode(text, &len);
    if (len <= NONCE_BYTES + TAG_BYTES)
        return NULL;
    const size_t plain_len = len - NONCE_BYTES - TAG_BYTES;
    g_autofree uint8_t *plain = g_malloc(plain_len + TAG_BYTES);
    if (!decrypt(key, sealed, sealed + NONCE_BYTES, (int)plain_len, sealed + len - TAG_BYTES,
                 plain))
        return NULL;
    return g_bytes_new_take(g_steal_pointer(&plain), plain_len);
}
