/* The agent's local HTTP API and the console. */
#pragma once

#include "agent/board.h"
#include "agent/control.h"
#include "agent/errand.h"
#include "agent/proxy.h"
#include "agent/reload.h"

typedef struct _KvgApi KvgApi;

/* All must outlive it, but the configuration, of which a reference is kept. */
typedef struct {
    KvgConfig *config;
    KvgBoard *board;
    KvgControl *control;
    KvgProxy *proxy;
    KvgReload *reload;   /* for POST /api/reload */
    KvgErrands *errands; /* for recording that is kept */
} KvgApiOptions;

KvgApi *kvg_api_start(const KvgApiOptions *options, GError **error);
/* Another configuration is in force. Address, port and certificate stay as they are. Thread: main.
 */
void kvg_api_reload(KvgApi *api, KvgConfig *config);
uint16_t kvg_api_port(const KvgApi *api);
void kvg_api_stop(KvgApi *api);
