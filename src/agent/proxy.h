/* Playback for the browser: playlists, segments, ranges, clips and pictures of a camera's stream,
 * fetched from the service with the camera's own credentials, so that the page has one origin and
 * never sees a session token. The same against AWS; low latency only where it is offered. */
#pragma once

#include "config/config.h"
#include "http/server.h"

typedef struct _KvgProxy KvgProxy;

KvgProxy *kvg_proxy_new(KvgConfig *config); /* keeps a reference */
void kvg_proxy_free(KvgProxy *proxy);
/* Goes over to @config. Cameras that are read as before keep their sessions. Thread: any. */
void kvg_proxy_reload(KvgProxy *proxy, KvgConfig *config);

/* Handlers; thread: the connection's. */

/* GET /play/NAME/FILE; @rest is what follows "/play/". FILE is live.m3u8, low.m3u8,
 * recorded.m3u8?from=MS&to=MS, or what their playlists name. */
void kvg_proxy_handle(KvgProxy *proxy, KvgHttpExchange *x, const char *rest);
/* GET /api/cameras/NAME/ranges?from=MS&to=MS */
void kvg_proxy_ranges(KvgProxy *proxy, KvgHttpExchange *x, const char *camera);
/* GET /api/cameras/NAME/clip.mp4?from=MS&to=MS */
void kvg_proxy_clip(KvgProxy *proxy, KvgHttpExchange *x, const char *camera);
/* GET /api/cameras/NAME/image.jpg?at=MS */
void kvg_proxy_image(KvgProxy *proxy, KvgHttpExchange *x, const char *camera);
