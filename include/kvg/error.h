/* The one error domain of kvg. A code answers "what should the caller do?"; the text names the
 * thing, the cause and, where there is one, the remedy. */
#pragma once

#include <glib.h>
#include <stdbool.h>

G_BEGIN_DECLS

#define KVG_ERROR (kvg_error_quark())

/**
 * KvgError:
 * @KVG_ERROR_INVALID: fix the call or the configuration
 * @KVG_ERROR_AUTH: credentials were refused; renew them or correct the policy
 * @KVG_ERROR_RETRY: try the same request again later
 * @KVG_ERROR_THROTTLED: as RETRY, but more slowly
 * @KVG_ERROR_NOT_FOUND: the named thing does not exist
 * @KVG_ERROR_CORRUPT: the data is damaged; skip it
 * @KVG_ERROR_NO_SPACE: disk, spool or quota is full
 * @KVG_ERROR_UNSUPPORTED: valid, but not something kvg can do
 * @KVG_ERROR_CANCELLED: given up because somebody asked for it
 * @KVG_ERROR_FAILED: anything else
 */
typedef enum {
    KVG_ERROR_INVALID,
    KVG_ERROR_AUTH,
    KVG_ERROR_RETRY,
    KVG_ERROR_THROTTLED,
    KVG_ERROR_NOT_FOUND,
    KVG_ERROR_CORRUPT,
    KVG_ERROR_NO_SPACE,
    KVG_ERROR_UNSUPPORTED,
    KVG_ERROR_CANCELLED,
    KVG_ERROR_FAILED,
} KvgError;

/**
 * kvg_error_quark:
 *
 * The domain of every error of kvg, for KVG_ERROR. Thread: any.
 */
GQuark kvg_error_quark(void);

/**
 * kvg_error_is_retryable:
 *
 * Whether the same request may succeed later without anybody changing anything. The only place
 * that decides this.
 *
 * Thread: any.
 */
bool kvg_error_is_retryable(const GError *error);

G_END_DECLS
