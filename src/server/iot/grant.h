/* What a device certificate may do, by the IoT policies attached to it. Loaded once for a
 * connection or a request; hides policies and variables. Serves HTTPS with certificates and the
 * broker. */
#pragma once

#include <glib.h>
#include <openssl/x509.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct _KvgIotGrant KvgIotGrant;

/**
 * kvg_iot_grant_new:
 * @db: state.db; only read, not kept
 * @certificate: of the peer, as TLS has verified it
 * @client_id: of an MQTT connection; NULL: not MQTT, so nothing is known of a thing
 *
 * NULL: the certificate is unknown here, not ACTIVE, or out of its time.
 */
KvgIotGrant *kvg_iot_grant_new(
    sqlite3 *db, X509 *certificate, const char *client_id, const char *source_ip, int64_t now_ms);
void kvg_iot_grant_free(KvgIotGrant *grant);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgIotGrant, kvg_iot_grant_free)

/* Reads certificate, thing and policies anew. False: the certificate is no longer good. */
bool kvg_iot_grant_reload(KvgIotGrant *grant, sqlite3 *db, int64_t now_ms);
/* @action "iot:Publish"; @resource: ARN */
bool kvg_iot_grant_allows(const KvgIotGrant *grant, const char *action, const char *resource);
