/* Routes of the data endpoint of AWS IoT: device shadows and publishing by HTTPS. */
#pragma once

#include "server/mqtt/service.h"

bool kvg_iot_data_is_path(const char *path);
/* A call with a signature (service "iotdata"). @mqtt NULL: no broker, nobody is told. */
void kvg_iot_data_handle(KvgServer *server, KvgMqtt *mqtt, KvgHttpExchange *x);
/* A call with a client certificate. */
void kvg_iot_data_handle_device(KvgServer *server, KvgMqtt *mqtt, KvgHttpExchange *x);
