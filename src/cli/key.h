/* A camera's private key and certificate on disk. */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* Makes a key at @path, mode 0600, unless a usable one is there. @type: "ec" (P-256) or "rsa" (2048
 * bits). */
bool kvg_key_ensure(const char *path, const char *type, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* A certificate signing request (PEM, g_free) for the key at @path with CN=@name. */
char *kvg_key_request(const char *path, const char *name, GError **error);
/* Whether the certificate at @certificate_path belongs to the key at @key_path. */
bool kvg_key_matches(const char *key_path, const char *certificate_path);
/* Whether the certificate @pem (text) belongs to the key at @key_path. */
bool kvg_key_fits(const char *key_path, const char *pem);
/* AWS's id of the certificate at @path: SHA-256 of its DER form in lower-case hex (g_free); NULL if
 * there is none. */
char *kvg_key_certificate_id(const char *path);
