/* Bytes that only this server can have written, as text: AES-256-GCM. Session tokens and the tokens
 * of a next page are made with it, so nothing about them need be remembered. No I/O. */
#pragma once

#include "server/state/gcm.h"

/* Base64 (g_free); NULL if the system has no randomness. */
char *kvg_seal(const GByteArray *plain, const uint8_t key[KVG_GCM_KEY_BYTES]);
/* NULL for anything that was not sealed with @key. */
GBytes *kvg_unseal(const char *text, const uint8_t key[KVG_GCM_KEY_BYTES]);
