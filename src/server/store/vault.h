/* The keys of stored video: a master key in a file, and for each stream a key of its own that wraps
 * every fragment and is itself wrapped by the master key. What is needed to open a fragment, but
 * for the master key, stands beside it, so the log and that one file are all there is to keep.
 *
 * A stream's key is made anew by each process; it is never written but wrapped. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct _KvgVault KvgVault;

/* What is stored before the ciphertext: wrapped key (nonce, key, tag), nonce, tag. */
#define KVG_VAULT_BLOCK_BYTES 88

/* Reads the master key; makes it (0600) if it is absent and @may_create. KVG_ERROR_AUTH: absent or
 * not a key, and with it all video that was stored under it. */
KvgVault *kvg_vault_open(const char *path, bool may_create, GError **error);
void kvg_vault_close(KvgVault *vault);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgVault, kvg_vault_close)

/* Block and ciphertext of @header and @media, one after the other. Thread: one at a time. */
GBytes *kvg_vault_seal(KvgVault *vault,
                       const char *stream_arn,
                       const char *number,
                       GBytes *header,
                       GBytes *media,
                       GError **error);
/* Opens what stands behind the block in @data in place. False: KVG_ERROR_CORRUPT. Thread: any. */
bool kvg_vault_unseal(const KvgVault *vault,
                      const char *stream_arn,
                      const char *number,
                      uint8_t *data,
                      size_t len,
                      GError **error) G_GNUC_WARN_UNUSED_RESULT;
