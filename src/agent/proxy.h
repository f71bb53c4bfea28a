/* HLS for the browser: playlists and segments of a camera's stream, fetched from the service with
 * the camera's own credentials, so that the page has one origin and never sees a session token. */
#pragma once

#include "config/config.h"
#include "http/server.h"

typedef struct _KvgProxy KvgProxy;

KvgProxy *kvg_proxy_new(KvgConfig *config);
/* Takes a new configuration; sessions go on, unless keys of the site have changed. */
void kvg_proxy_reload(KvgProxy *proxy, KvgConfig *config);
void kvg_proxy_free(KvgProxy *proxy);
/* Answers GET /play/NAME/FILE; @rest is what follows "/play/". Thread: the connection's. */
void kvg_proxy_handle(KvgProxy *proxy, KvgHttpExchange *x, const char *rest);

/* @playlist with every URI reduced to its file name and without SessionToken (g_free). */
char *kvg_proxy_rewrite(const char *playlist);
