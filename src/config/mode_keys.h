/* Reading the keys of mode.h. */
#pragma once

#include "config/keys.h"
#include "config/mode.h"

#define KVG_MODE_WORDS "always|schedule|on-demand|event"
#define KVG_WINDOW_PATTERN                                                                         \
    "^(\\*|[A-Za-z]{3}([,-][A-Za-z]{3})*) "                                                        \
    "[0-2][0-9]:[0-5][0-9](:[0-5][0-9])?-[0-2][0-9]:[0-5][0-9](:[0-5][0-9])?$"

extern const KvgConfigKey kvg_config_event_keys[]; /* target: KvgConfigMode */
void kvg_config_read_schedule(KvgConfigLoader *loader,
                              const char *key,
                              yaml_node_t *node,
                              KvgSchedule *schedule);
void kvg_config_read_zone(KvgConfigLoader *loader,
                          const char *key,
                          yaml_node_t *node,
                          KvgSchedule *schedule);
/* What nobody has said, and what does not go together. @node: the camera's own mapping; what it has
 * from the defaults may be of no use to it. */
void kvg_config_settle_mode(KvgConfigLoader *loader,
                            const char *key,
                            const yaml_mark_t *mark,
                            const yaml_node_t *node,
                            KvgConfigMode *mode);
