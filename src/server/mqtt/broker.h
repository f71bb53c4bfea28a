/* mosquitto as a part of kvg-server: its configuration, its process, its end. Started again with
 * back-off if it dies. Hides where things lie in DIR/mqtt. */
#pragma once

#include "server/server.h"

typedef struct _KvgBroker KvgBroker;

/* Writes DIR/mqtt and starts the broker on @port (0: any free one). NULL and KVG_ERROR_UNSUPPORTED
 * if mosquitto or our plugin for it is not installed. */
KvgBroker *kvg_broker_start(KvgServer *server, uint16_t port, GError **error);
/* SIGTERM, then SIGKILL; waits. NULL is fine. */
void kvg_broker_stop(KvgBroker *broker);
/* Whether server->mqtt_port is free at this moment. */
bool kvg_broker_can_listen(const KvgServer *server);
uint16_t kvg_broker_port(const KvgBroker *broker);
/* The socket on which kvg-server is let in without a certificate. */
const char *kvg_broker_socket(const KvgBroker *broker);
