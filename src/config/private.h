/* Shared by the files of this folder. */
#pragma once

#include "config/config.h"

/* Path to content (GBytes). */
GHashTable *kvg_config_files_new(void);
/* @files: what the files that @text names contain; NULL: read them. */
KvgConfig *kvg_config_parse(const char *path, GBytes *text, GHashTable *files, GError **error);
