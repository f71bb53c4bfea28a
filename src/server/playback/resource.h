/* GET of one resource of a session. Between the files of playback/ only. */
#pragma once

#include "server/playback/call.h"
#include "server/playback/fragment.h"

typedef struct {
    KvgPlayback *playback;
    KvgHttpExchange *x;
    const KvgPlaybackSession *session;
    const char *token;
    KvgTimeline *timeline;   /* locked; while choosing */
    KvgTimelineEntry chosen; /* the fragment to send */
    GArray *window;          /* KvgTimelineEntry; manifests */
    int64_t head_ms;         /* kvg_timeline_head_ms() */
} KvgResourceCall;

/* Picks what to send while the timeline is locked. False: the call was answered. */
typedef bool (*KvgResourceChoose)(KvgResourceCall *call);
/* Reads and answers; the timeline may change meanwhile. */
typedef void (*KvgResourceSend)(KvgResourceCall *call);

typedef struct {
    const char *path;
    KvgResourceChoose choose;
    KvgResourceSend send; /* NULL: choosing answers */
    unsigned per_second;  /* calls of a session */
} KvgResource;
extern const KvgResource kvg_resources[];

void kvg_resource_respond(KvgHttpExchange *x, const char *type, const char *text); /* not cached */
/* Segments never change while the session lives. */
void kvg_resource_respond_segment(KvgHttpExchange *x, const char *type, GBytes *segment);
void kvg_resource_refuse(KvgHttpExchange *x, int status, const char *type, const char *text);
