/* AES-256-GCM in one call each way, over one or two pieces of data. No I/O but the system's
 * randomness. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KVG_GCM_KEY_BYTES 32
#define KVG_GCM_NONCE_BYTES 12
#define KVG_GCM_TAG_BYTES 16

typedef struct {
    const void *data;
    size_t len; /* at most INT_MAX */
} KvgGcmPiece;

/* Fills @nonce with fresh randomness, @out with as many bytes as @pieces have together, and @tag.
 * @aad: bound to it, not part of it; NUL-terminated text. */
bool kvg_gcm_seal(const uint8_t key[KVG_GCM_KEY_BYTES],
                  const char *aad,
                  const KvgGcmPiece *pieces,
                  size_t n_pieces,
                  uint8_t nonce[KVG_GCM_NONCE_BYTES],
                  uint8_t *out,
                  uint8_t tag[KVG_GCM_TAG_BYTES]) G_GNUC_WARN_UNUSED_RESULT;
/* @out may be @in. False: not what was sealed with this key and @aad; @out is worthless then. */
bool kvg_gcm_unseal(const uint8_t key[KVG_GCM_KEY_BYTES],
                    const char *aad,
                    const uint8_t nonce[KVG_GCM_NONCE_BYTES],
                    const uint8_t tag[KVG_GCM_TAG_BYTES],
                    const uint8_t *in,
                    size_t len,
                    uint8_t *out) G_GNUC_WARN_UNUSED_RESULT;
