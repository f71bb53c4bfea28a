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
    int64_t longest_ms;      /* kvg_timeline_longest_ms() */
} KvgResourceCall;

/* Picks what to send while the timeline is locked. False: the call was answered. */
typedef bool (*KvgResourceChoose)(KvgResourceCall *call);
/* Reads and answers; the timeline may change meanwhile. */
typedef void (*KvgResourceSend)(KvgResourceCall *call);

typedef struct {
    const char *path;
    KvgResourceChoose choose; /* NULL: nothing of the timeline is needed */
    KvgResourceSend send;     /* NULL: choosing answers */
    unsigned per_second;      /* calls of a session */
} KvgResource;
extern const KvgResource kvg_resources[];

/* Copies what a playlist shows into @call. False: the call was answered. */
bool kvg_resource_choose_window(KvgResourceCall *call);
/* The same again, after the store may have got more. */
bool kvg_resource_refresh(KvgResourceCall *call);

void kvg_resource_respond(KvgHttpExchange *x, const char *type, const char *text); /* not cached */
/* Segments never change while the session lives. */
void kvg_resource_respond_segment(KvgHttpExchange *x, const char *type, GBytes *segment);
void kvg_resource_refuse(KvgHttpExchange *x, int status, const char *type, const char *text);
