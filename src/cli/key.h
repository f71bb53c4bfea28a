/* A camera's private key and certificate on disk. */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* Makes a P-256 key at @path, mode 0600, unless a usable one is there. */
bool kvg_key_ensure(const char *path, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* A certificate signing request (PEM, g_free) for the key at @path with CN=@name. */
char *kvg_key_request(const char *path, const char *name, GError **error);
/* Whether the certificate at @certificate_path belongs to the key at @key_path. */
bool kvg_key_matches(const char *key_path, const char *certificate_path);
