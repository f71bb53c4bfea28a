/* The keys `api` and `log` of kvg.yaml. */
#pragma once

#include "config/keys.h"

extern const KvgConfigKey kvg_config_api_keys[];

/* Reads `api` into a KvgConfig: what can be reached from the network needs a token and TLS. */
void kvg_config_read_api(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target);
