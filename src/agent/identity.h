/* A camera's own identity as kvg provision left it on disk. */
#pragma once

#include "config/config.h"
#include <kvg/credentials.h>

/* Credentials by the camera's certificate. NULL and what is missing, with the remedy. */
KvgCredentials *
kvg_agent_credentials(const KvgConfig *config, const KvgConfigCamera *camera, GError **error);
