/* What is different between two configurations, for those who run by the old one. */
#pragma once

#include "config/config.h"
#include "config/keys.h"

typedef struct {
    bool scopes[KVG_CONFIG_N_SCOPES];     /* the site's keys of this scope have changed */
    GPtrArray *added, *removed, *changed; /* names of cameras, owned */
} KvgConfigDiff;

KvgConfigDiff *kvg_config_diff(const KvgConfig *before, const KvgConfig *after);
void kvg_config_diff_free(KvgConfigDiff *diff); /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgConfigDiff, kvg_config_diff_free)
bool kvg_config_diff_is_empty(const KvgConfigDiff *diff);
/* "added gate; changed dock, lobby" (g_free); "nothing has changed" if it is empty. */
char *kvg_config_diff_to_text(const KvgConfigDiff *diff);
