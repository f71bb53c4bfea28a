/* The shadow service: a client of our own broker that answers shadow requests and publishes what
 * happens to shadows by HTTPS. One thread, libmosquitto's. */
#pragma once

#include "server/shadow/shadow.h"

typedef struct _KvgMqtt KvgMqtt;

/* Starts broker and service. Where MQTT cannot be had, see kvg_broker_start(). */
KvgMqtt *kvg_mqtt_start(KvgServer *server, uint16_t port, GError **error);
void kvg_mqtt_stop(KvgMqtt *mqtt); /* NULL is fine */
uint16_t kvg_mqtt_port(const KvgMqtt *mqtt);

/* Thread: any. False: the broker is not there now. @mqtt NULL: true, nobody could listen. */
bool kvg_mqtt_publish(
    KvgMqtt *mqtt, const char *topic, const void *data, size_t len, int qos, bool retain);
/* Publishes accepted, delta and documents of something that was done, or rejected. */
void kvg_mqtt_tell(KvgMqtt *mqtt,
                   const KvgShadowId *id,
                   KvgShadowVerb verb,
                   const KvgShadowReply *reply);
