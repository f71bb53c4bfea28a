/* What the supervisor knows of each camera, for the API's threads. Thread: any. */
#pragma once

#include "base/json.h"
#include "config/config.h"

typedef struct _KvgBoard KvgBoard;

KvgBoard *kvg_board_new(const KvgConfig *config);
void kvg_board_free(KvgBoard *board);
/* The cameras are those of @config from now on; what is known of one that stays is kept. */
void kvg_board_reload(KvgBoard *board, const KvgConfig *config);
/* How the configuration was read the last time, for GET /api/site: {"ok", "message", "at_ms",
 * "added", "removed", "changed"}. */
void kvg_board_set_reload(KvgBoard *board, const json_t *result);
json_t *kvg_board_get_reload(KvgBoard *board); /* owned */
/* Merges a report (its "name" says about which camera). */
void kvg_board_update(KvgBoard *board, const json_t *report);
json_t *kvg_board_all(KvgBoard *board);                   /* {"cameras": [...]}; owned */
json_t *kvg_board_get(KvgBoard *board, const char *name); /* one; NULL: unknown; owned */
/* The camera's last 100 changes of state or reason, oldest first: [{"at_ms", "state", "reason"}];
 * also over the life of its workers. NULL: unknown; owned. */
json_t *kvg_board_history(KvgBoard *board, const char *name);
/* NULL: every camera that is switched on is live; else the names of those that are not (g_free). */
char *kvg_board_not_ready(KvgBoard *board);
