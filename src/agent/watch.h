/* Notices that the configuration file, or a secret that it names, has changed. Looks at them once a
 * second: that also sees what a notification would miss (symbolic links that were turned, folders
 * renamed, network file systems), and costs nothing worth a second mechanism. Thread: main. */
#pragma once

#include "config/config.h"

typedef struct _KvgWatch KvgWatch;

KvgWatch *kvg_watch_new(void);
void kvg_watch_free(KvgWatch *watch);
/* The files of @config as they are now are known. */
void kvg_watch_set(KvgWatch *watch, const KvgConfig *config);
/* Call once a second. True once after a change, when nothing has changed for a second more: the
 * editor is done. */
bool kvg_watch_tick(KvgWatch *watch);
