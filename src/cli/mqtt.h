/* A short talk with AWS IoT's broker: TLS with a certificate, port, ALPN. */
#pragma once

#include <glib.h>
#include <mosquitto.h>

typedef struct {
    const char *endpoint; /* HOST[:PORT]; port 8883, or 443 with ALPN */
    const char *ca_path;  /* NULL: the system's */
    const char *certificate_path, *key_path;
} KvgMqttPeer;

/* Connects; what is answered comes to the callbacks of @client in mosquitto_loop(). A MOSQ_ERR. */
int kvg_mqtt_connect(struct mosquitto *client, const KvgMqttPeer *peer);
