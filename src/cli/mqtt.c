#include "cli/mqtt.h"
#include <stdbool.h>
#include <string.h>

#define DEFAULT_PORT 8883
#define ALPN_PORT 443
#define KEEPALIVE_S 30

/* HOST[:PORT] into host (g_free) and port. */
static char *
split_endpoint(const char *endpoint, int *port)
{
    const char *colon = strrchr(endpoint, ':');
    guint64 number = 0;
    *port = DEFAULT_PORT;
    if (colon == NULL || strchr(colon, ']') != NULL ||
        !g_ascii_string_to_unsigned(colon + 1, 10, 1, 65535, &number, NULL))
        return g_strdup(endpoint);
    *port = (int)number;
    return g_strndup(endpoint, (size_t)(colon - endpoint));
}

int
kvg_mqtt_connect(struct mosquitto *client, const KvgMqttPeer *peer)
{
    int port;
    g_autofree char *host = split_endpoint(peer->endpoint, &port);
    int status =
        mosquitto_tls_set(client, peer->ca_path, peer->ca_path == NULL ? "/etc/ssl/certs" : NULL,
                          peer->certificate_path, peer->key_path, NULL);
    if (status == MOSQ_ERR_SUCCESS && port == ALPN_PORT)
        status = mosquitto_string_option(client, MOSQ_OPT_TLS_ALPN, "x-amzn-mqtt-ca");
    return status == MOSQ_ERR_SUCCESS ? mosquitto_connect(client, host, port, KEEPALIVE_S) : status;
}
