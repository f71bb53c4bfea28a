/* The keys of the site: all but those of a camera. */
#pragma once

#include "config/keys.h"

/* Read into a KvgConfig. `defaults` and `cameras` are read afterwards, when the rest is known. */
extern const KvgConfigKey kvg_config_site_keys[];
