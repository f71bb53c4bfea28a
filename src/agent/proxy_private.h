/* Shared by proxy.c and recorded.c. */
#pragma once

#include "agent/proxy.h"
#include "agent/viewer.h"

#define KVG_PROXY_MAX_RANGE_MS (24 * 3600 * 1000ll) /* the service's limit, too */

/* A reference; NULL: there is no such camera, and @x has been answered. */
KvgViewer *kvg_proxy_viewer(KvgProxy *proxy, KvgHttpExchange *x, const char *camera);
void kvg_proxy_respond_message(KvgHttpExchange *x, int status, const char *message);
void kvg_proxy_respond_error(KvgHttpExchange *x, const GError *error);
/* The parameters from and to; false: @x has been answered. */
bool kvg_proxy_read_window(KvgHttpExchange *x, KvgViewWindow *window);
/* A time in the query, in ms since 1970; false: @x has been answered. */
bool kvg_proxy_read_time(KvgHttpExchange *x, const char *name, int64_t *wall_ms);
