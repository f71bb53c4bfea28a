/* The keys of one camera, and the defaults that all have. */
#pragma once

#include "config/config.h"
#include "config/keys.h"

extern const KvgConfigKey kvg_config_camera_keys[];
/* Those without `source`, which comes first. */
#define KVG_CONFIG_DEFAULT_KEYS (kvg_config_camera_keys + 1)

/* For kvg_config_visit_camera(). */
typedef struct {
    KvgConfig *config;
    KvgConfigCamera *defaults;
    yaml_node_t *defaults_node; /* NULL: there are none in the file */
} KvgConfigCameras;

/* @node NULL: there are none in the file. */
KvgConfigCamera *kvg_config_read_defaults(KvgConfigLoader *loader, yaml_node_t *node);
/* A KvgConfigVisit: adds the camera @name. @data: KvgConfigCameras */
void kvg_config_visit_camera(KvgConfigLoader *loader,
                             const char *key,
                             const char *name,
                             yaml_node_t *node,
                             const yaml_mark_t *mark,
                             void *data);
KvgConfigCamera *kvg_config_camera_copy(const KvgConfigCamera *camera);
void kvg_config_camera_free(void *camera); /* NULL is fine */
