/* A camera's own identity as kvg provision left it on disk. */
#pragma once

#include "config/config.h"
#include <kvg/credentials.h>

/* HOST[:PORT] of AWS IoT's MQTT endpoint (g_free); NULL: not known, not provisioned. */
char *kvg_agent_mqtt_endpoint(const KvgConfig *config);

/* Credentials by the camera's certificate. NULL and what is missing, with the remedy. */
KvgCredentials *
kvg_agent_credentials(const KvgConfig *config, const KvgConfigCamera *camera, GError **error);
