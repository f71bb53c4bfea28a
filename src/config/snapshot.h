/* A configuration as it was accepted: the text of the file and the secrets it names. Workers get
 * this, never the file, which may have been changed or broken since. */
#pragma once

#include "config/config.h"

/* A sealed file in memory (close it). -1 and @error. */
int kvg_config_to_fd(const KvgConfig *config, GError **error);
/* Reads nothing else: no file that the configuration names. @fd stays open; its position does not
 * matter. NULL and @error. */
KvgConfig *kvg_config_from_fd(int fd, GError **error);
