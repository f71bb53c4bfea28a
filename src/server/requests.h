/* What is said of each request: a line in the log, and the figures of its operation. */
#pragma once

#include "server/server.h"

/* After the exchange was answered; @began_us is monotonic. */
void kvg_request_finished(KvgServer *server, KvgHttpExchange *x, int64_t began_us);
/* GET /metrics. @open: connections of all listeners. */
void kvg_request_metrics(KvgServer *server, KvgHttpExchange *x, unsigned open);
