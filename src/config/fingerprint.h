/* A digest of what some keys say, with variables, defaults and the content of secret files put in:
 * equal if and only if nothing that matters has changed. It is made of secrets; never show it. */
#pragma once

#include "config/keys.h"

/* Of the keys of a camera: what @camera, a mapping, says, else what @defaults (may be NULL) says.
 * (g_free) */
char *
kvg_config_camera_fingerprint(KvgConfigLoader *loader, yaml_node_t *camera, yaml_node_t *defaults);
/* Of the site's keys of @scope. @root: the whole file, a mapping. (g_free) */
char *kvg_config_site_fingerprint(KvgConfigLoader *loader, yaml_node_t *root, KvgConfigScope scope);
