/* One call of a reading operation, after the common part: the caller may do it, and the stream
 * exists. Between the files of playback/ only. */
#pragma once

#include "server/playback/session.h"
#include "server/playback/timelines.h"
#include "server/server.h"

struct _KvgPlayback {
    KvgServer *server;
    uint8_t key[KVG_GCM_KEY_BYTES];
    KvgTimelines *timelines;
    gint n_readers;          /* atomic; requests that are being answered */
    GMutex lock;             /* protects connections */
    GHashTable *connections; /* operation and stream ARN -> how many calls are being answered */
};

typedef struct {
    KvgPlayback *playback;
    KvgServer *server;
    KvgHttpExchange *x;
    const json_t *input;
    KvgStreamInfo stream;
    int64_t now_ms;
} KvgReadCall;

/* 400 InvalidArgumentException with the error's own words. */
void kvg_read_refuse(KvgReadCall *call, const GError *error);
/* 500, and the cause in the log. */
void kvg_read_fail(KvgReadCall *call, const GError *error);
/* Fragments that retention has left, though not yet removed, are not there: server times before
 * this. */
int64_t kvg_read_oldest_ms(const KvgReadCall *call);

/* The operations; each answers the whole exchange. */
void kvg_read_list_fragments(KvgReadCall *call);
void kvg_read_get_media(KvgReadCall *call);
void kvg_read_get_fragment_list(KvgReadCall *call);
void kvg_read_get_clip(KvgReadCall *call);
void kvg_read_get_images(KvgReadCall *call);
void kvg_read_get_hls_url(KvgReadCall *call);
void kvg_read_get_dash_url(KvgReadCall *call);

/* GET of what a session URL leads to. */
void kvg_playback_serve(KvgPlayback *playback, KvgHttpExchange *x);
