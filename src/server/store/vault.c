#include "server/store/vault.h"

#include "os/file.h"
#include "server/state/gcm.h"
#include <kvg/error.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <string.h>

#define NONCE KVG_GCM_NONCE_BYTES
#define KEY KVG_GCM_KEY_BYTES
#define TAG KVG_GCM_TAG_BYTES
#define WRAPPED (NONCE + KEY + TAG)
G_STATIC_ASSERT(WRAPPED + NONCE + TAG == KVG_VAULT_BLOCK_BYTES);

typedef struct {
    uint8_t key[KEY];
    uint8_t wrapped[WRAPPED];
} StreamKey;

struct _KvgVault {
    uint8_t master[KEY];
    GHashTable *streams; /* ARN -> StreamKey; of the sealing thread */
};

static void
stream_key_free(void *data)
{
    OPENSSL_cleanse(data, sizeof(StreamKey));
    g_free(data);
}

static bool
make_master_key(const char *path, GError **error)
{
    uint8_t key[KEY];
    if (RAND_bytes(key, sizeof key) != 1) {
        g_set_error_literal(error, KVG_ERROR, KVG_ERROR_FAILED, "the system has no randomness");
        return false;
    }
    const bool ok = kvg_file_replace(path, key, sizeof key, 0600, error);
    OPENSSL_cleanse(key, sizeof key);
    return ok;
}

KvgVault *
kvg_vault_open(const char *path, bool may_create, GError **error)
{
    if (!g_file_test(path, G_FILE_TEST_EXISTS)) {
        if (!may_create) {
            g_set_error(error, KVG_ERROR, KVG_ERROR_AUTH,
                        "%s is missing: the key of the video stored here; put it back from your "
                        "backup (without it the video cannot be read)",
                        path);
            return NULL;
        }
        if (!make_master_key(path, error))
            return NULL;
    }
    size_t len;
    char *key = kvg_file_read(path, KEY + 1, &len, error);
    if (key == NULL)
        return NULL;
    KvgVault *vault = NULL;
    if (len == KEY) {
        vault = g_new0(KvgVault, 1);
        memcpy(vault->master, key, KEY);
        vault->streams = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, stream_key_free);
    } else {
        g_set_error(error, KVG_ERROR, KVG_ERROR_AUTH, "%s is not a key of %d bytes", path, KEY);
    }
    OPENSSL_cleanse(key, len);
    g_free(key);
    return vault;
}

void
kvg_vault_close(KvgVault *vault)
{
    if (vault == NULL)
        return;
    g_hash_table_unref(vault->streams);
    OPENSSL_cleanse(vault->master, sizeof vault->master);
    g_free(vault);
}

static StreamKey *
stream_key(KvgVault *vault, const char *arn)
{
    StreamKey *stream = g_hash_table_lookup(vault->streams, arn);
    if (stream != NULL)
        return stream;
    stream = g_new0(StreamKey, 1);
    const KvgGcmPiece piece = {stream->key, KEY};
    if (RAND_bytes(stream->key, KEY) == 1 &&
        kvg_gcm_seal(vault->master, arn, &piece, 1, stream->wrapped, stream->wrapped + NONCE,
                     stream->wrapped + NONCE + KEY)) {
        g_hash_table_insert(vault->streams, g_strdup(arn), stream);
        return stream;
    }
    stream_key_free(stream);
    return NULL;
}

/* Bound to its stream and number: a fragment put in another's place does not open. */
static char *
make_aad(const char *arn, const char *number)
{
    return g_strconcat(arn, "\n", number, NULL);
}

static KvgGcmPiece
piece_of(GBytes *bytes)
{
    KvgGcmPiece piece;
    piece.data = g_bytes_get_data(bytes, &piece.len);
    return piece;
}

GBytes *
kvg_vault_seal(KvgVault *vault,
               const char *stream_arn,
               const char *number,
               GBytes *header,
               GBytes *media,
               GError **error)
{
    const KvgGcmPiece pieces[] = {piece_of(header), piece_of(media)};
    const size_t len = KVG_VAULT_BLOCK_BYTES + pieces[0].len + pieces[1].len;
    g_autofree char *aad = make_aad(stream_arn, number);
    g_autofree uint8_t *out = g_malloc(len);
    const StreamKey *stream = stream_key(vault, stream_arn);
    if (stream == NULL ||
        !kvg_gcm_seal(stream->key, aad, pieces, G_N_ELEMENTS(pieces), out + WRAPPED,
                      out + KVG_VAULT_BLOCK_BYTES, out + WRAPPED + NONCE)) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_FAILED, "fragment %s cannot be encrypted", number);
        return NULL;
    }
    memcpy(out, stream->wrapped, WRAPPED);
    return g_bytes_new_take(g_steal_pointer(&out), len);
}

bool
kvg_vault_unseal(const KvgVault *vault,
                 const char *stream_arn,
                 const char *number,
                 uint8_t *data,
                 size_t len,
                 GError **error)
{
    uint8_t key[KEY];
    g_autofree char *aad = make_aad(stream_arn, number);
    const bool ok = len >= KVG_VAULT_BLOCK_BYTES &&
                    kvg_gcm_unseal(vault->master, stream_arn, data, data + NONCE + KEY,
                                   data + NONCE, KEY, key) &&
                    kvg_gcm_unseal(key, aad, data + WRAPPED, data + WRAPPED + NONCE,
                                   data + KVG_VAULT_BLOCK_BYTES, len - KVG_VAULT_BLOCK_BYTES,
                                   data + KVG_VAULT_BLOCK_BYTES);
    OPENSSL_cleanse(key, sizeof key);
    if (!ok)
        g_set_error(error, KVG_ERROR, KVG_ERROR_CORRUPT,
                    "fragment %s cannot be decrypted: it is damaged, or the master key is not the "
                    "one it was stored under",
                    number);
    return ok;
}
