/* Requests to read the configuration again, from any thread, done by the main one. */
#pragma once

#include "base/json.h"

typedef struct _KvgReload KvgReload;

/* @run: reads it again and says how that went (a new reference). Thread: main. */
KvgReload *kvg_reload_new(json_t *(*run)(void *user_data), void *user_data);
/* Who waits gets NULL; no request may come any more when it is freed. */
void kvg_reload_close(KvgReload *reload);
void kvg_reload_free(KvgReload *reload);
/* Waits for it. NULL: the agent is ending. Thread: any but main. */
json_t *kvg_reload_request(KvgReload *reload);
