/* Bytes that only this server can have written, as text: AES-256-GCM. Session tokens and the tokens
 * of a next page are made with it, so nothing about them need be remembered. No I/O. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define KVG_SEAL_KEY_BYTES 32

/* Base64 (g_free); NULL if the system has no randomness. */
char *kvg_seal(const GByteArray *plain, const uint8_t key[KVG_SEAL_KEY_BYTES]);
/* NULL for anything that was not sealed with @key. */
GBytes *kvg_unseal(const char *text, const uint8_t key[KVG_SEAL_KEY_BYTES]);
