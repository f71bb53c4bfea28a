/* A camera's `source`, and the mappings that go with its kinds. */
#pragma once

#include "config/config.h"
#include "config/keys.h"

#define KVG_CONFIG_SOURCE_PATTERN "^(rtsps?://|v4l2:/|file:|shm:|test:)"
#define KVG_CONFIG_SOURCE_ABOUT                                                                    \
    "Where the pictures come from: rtsp://HOST/PATH, rtsps://HOST/PATH, v4l2:/dev/videoN, "        \
    "file:PATH, shm:SOCKET or test:"

/* Targets of these are KvgConfigCamera. */
extern const KvgConfigKey kvg_config_rtsp_keys[], kvg_config_v4l2_keys[], kvg_config_file_keys[],
    kvg_config_shm_keys[];

void kvg_config_read_source(KvgConfigLoader *loader,
                            const char *key,
                            yaml_node_t *node,
                            KvgConfigCamera *camera);
/* What only the whole of @camera can tell: keys that contradict each other, or lack. */
void kvg_config_check_source(KvgConfigLoader *loader,
                             const char *key,
                             const yaml_mark_t *mark,
                             const KvgConfigCamera *camera);
