/* nonce, ciphertext, tag. */
#include "server/playback/seal.h"

#include <string.h>

#define OVERHEAD (KVG_GCM_NONCE_BYTES + KVG_GCM_TAG_BYTES)
#define MAX_TEXT 4096

char *
kvg_seal(const GByteArray *plain, const uint8_t key[KVG_GCM_KEY_BYTES])
{
    const KvgGcmPiece piece = {plain->data, plain->len};
    g_autofree uint8_t *sealed = g_malloc(OVERHEAD + piece.len);
    uint8_t *body = sealed + KVG_GCM_NONCE_BYTES;
    if (!kvg_gcm_seal(key, "", &piece, 1, sealed, body, body + piece.len))
        return NULL;
    return g_base64_encode(sealed, OVERHEAD + piece.len);
}

GBytes *
kvg_unseal(const char *text, const uint8_t key[KVG_GCM_KEY_BYTES])
{
    if (strlen(text) > MAX_TEXT)
        return NULL;
    gsize len = 0;
    g_autofree uint8_t *sealed = g_base64_decode(text, &len);
    if (len <= OVERHEAD)
        return NULL;
    const size_t plain_len = len - OVERHEAD;
    const uint8_t *body = sealed + KVG_GCM_NONCE_BYTES;
    g_autofree uint8_t *plain = g_malloc(plain_len);
    if (!kvg_gcm_unseal(key, "", sealed, body + plain_len, body, plain_len, plain))
        return NULL;
    return g_bytes_new_take(g_steal_pointer(&plain), plain_len);
}
