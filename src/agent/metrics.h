/* What the cameras do, as text for Prometheus. No I/O. */
#pragma once

#include "base/json.h"

/* @cameras: as kvg_board_all() gives them. @site: as kvg_api_make_site() does (g_free). */
char *kvg_metrics_text(const json_t *cameras, const json_t *site);
