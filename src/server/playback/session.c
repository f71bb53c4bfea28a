/* Sealing and opening of session tokens: AES-256-GCM over a fixed layout, base64url, and the
 * trailing
 * "~" of the real service's tokens. */
#include "server/playback/session.h"

#include "base/bytes.h"
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <string.h>

#define LAYOUT 1
#define NONCE_BYTES 12
#define TAG_BYTES 16
#define MAX_TOKEN 4096

G_DEFINE_AUTOPTR_CLEANUP_FUNC(EVP_CIPHER_CTX, EVP_CIPHER_CTX_free)

static GByteArray *
write_layout(const KvgPlaybackSession *session)
{
    GByteArray *out = g_byte_array_new();
    kvg_bytes_put_u8(out, LAYOUT);
    kvg_bytes_put(out, session->id, sizeof session->id);
    kvg_bytes_put_u8(out, (uint8_t)session->mode);
    kvg_bytes_put_u8(out, (uint8_t)session->order);
    kvg_bytes_put_u8(out, (uint8_t)session->discontinuity);
    kvg_bytes_put_u8(out, session->shows_timestamps);
    kvg_bytes_put_u32(out, session->max_results);
    const int64_t times[] = {session->created_ms, session->expires_ms, session->from_ms,
                             session->to_ms, session->origin_ms};
    for (size_t i = 0; i < G_N_ELEMENTS(times); i++)
        kvg_bytes_put_u64(out, (uint64_t)times[i]);
    kvg_bytes_put(out, session->stream_arn, strlen(session->stream_arn));
    return out;
}

static bool
read_layout(const uint8_t *data, size_t len, KvgPlaybackSession *session)
{
    memset(session, 0, sizeof *session);
    KvgReader reader = kvg_reader_init(data, len);
    const uint8_t layout = kvg_reader_u8(&reader);
    const uint8_t *id = kvg_reader_take(&reader, sizeof session->id);
    session->mode = (KvgPlaybackMode)kvg_reader_u8(&reader);
    session->order = (KvgStoreOrder)kvg_reader_u8(&reader);
    session->discontinuity = (KvgDiscontinuityMode)kvg_reader_u8(&reader);
    session->shows_timestamps = kvg_reader_u8(&reader) != 0;
    session->max_results = kvg_reader_u32(&reader);
    int64_t *const times[] = {&session->created_ms, &session->expires_ms, &session->from_ms,
                              &session->to_ms, &session->origin_ms};
    for (size_t i = 0; i < G_N_ELEMENTS(times); i++)
        *times[i] = (int64_t)kvg_reader_u64(&reader);
    const size_t arn_len = kvg_reader_left(&reader);
    if (reader.failed || layout != LAYOUT || arn_len >= sizeof session->stream_arn)
        return false;
    memcpy(session->id, id, sizeof session->id);
    if (arn_len > 0)
        memcpy(session->stream_arn, kvg_reader_take(&reader, arn_len), arn_len);
    return true;
}

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

static void
swap_alphabet(char *text, const char *from, const char *to)
{
    for (; *text != '\0'; text++) {
        if (*text == from[0])
            *text = to[0];
        else if (*text == from[1])
            *text = to[1];
    }
}

char *
kvg_playback_session_seal(const KvgPlaybackSession *session,
                          const uint8_t key[KVG_PLAYBACK_KEY_BYTES])
{
    g_autoptr(GByteArray) plain = write_layout(session);
    const size_t len = NONCE_BYTES + plain->len + TAG_BYTES;
    g_autofree uint8_t *sealed = g_malloc(len);
    if (RAND_bytes(sealed, NONCE_BYTES) != 1 ||
        !encrypt(key, sealed, plain, sealed + NONCE_BYTES, sealed + len - TAG_BYTES))
        return NULL;
    g_autofree char *text = g_base64_encode(sealed, len);
    swap_alphabet(text, "+/", "-_");
    char *padding = strchr(text, '=');
    if (padding != NULL)
        *padding = '\0';
    return g_strconcat(text, "~", NULL);
}

bool
kvg_playback_session_open(const char *token,
                          const uint8_t key[KVG_PLAYBACK_KEY_BYTES],
                          KvgPlaybackSession *session)
{
    const size_t token_len = strlen(token);
    if (token_len < 2 || token_len > MAX_TOKEN || token[token_len - 1] != '~')
        return false;
    g_autofree char *body = g_strndup(token, token_len - 1);
    swap_alphabet(body, "-_", "+/");
    static const char *const paddings[] = {"", "===", "==", "="};
    g_autofree char *text = g_strconcat(body, paddings[(token_len - 1) % 4], NULL);
    gsize len = 0;
    g_autofree uint8_t *sealed = g_base64_decode(text, &len);
    if (len <= NONCE_BYTES + TAG_BYTES)
        return false;
    const size_t plain_len = len - NONCE_BYTES - TAG_BYTES;
    g_autofree uint8_t *plain = g_malloc(plain_len + TAG_BYTES);
    if (!decrypt(key, sealed, sealed + NONCE_BYTES, (int)plain_len, sealed + len - TAG_BYTES,
                 plain))
        return false;
    return read_layout(plain, plain_len, session);
}
