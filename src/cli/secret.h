/* Secrets of cameras that no file holds: from the environment, or asked for on a terminal. */
#pragma once

/* The environment variable KVG_CAMERA_NAME_WHAT, else a question if somebody sits there; NULL
 * (g_free). @what: "URL", "USERNAME", "PASSWORD". For KvgPlanSecrets. */
char *kvg_secret_ask(const char *camera, const char *what, void *data);
