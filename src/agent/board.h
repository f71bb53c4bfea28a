/* What the supervisor knows of each camera, for the API's threads. Thread: any. */
#pragma once

#include "base/json.h"
#include "config/config.h"

typedef struct _KvgBoard KvgBoard;

KvgBoard *kvg_board_new(const KvgConfig *config);
void kvg_board_free(KvgBoard *board);
/* Merges a worker's report (its "name" says whose). */
void kvg_board_update(KvgBoard *board, const json_t *report);
/* The worker of @name is gone. */
void kvg_board_set_state(KvgBoard *board, const char *name, const char *state, const char *reason);
json_t *kvg_board_all(KvgBoard *board);                   /* {"cameras": [...]}; owned */
json_t *kvg_board_get(KvgBoard *board, const char *name); /* one; NULL: unknown; owned */
/* NULL: every camera that is switched on is live; else the names of those that are not (g_free). */
char *kvg_board_not_ready(KvgBoard *board);
