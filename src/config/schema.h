/* The JSON schema of kvg.yaml, made of the tables of keys. */
#pragma once

#include "base/json.h"

/* Draft 2020-12 (a new reference). */
json_t *kvg_config_schema(void);
