/* A small PutMedia service on loopback that can be told to misbehave. */
#pragma once

#include "http/server.h"
#include <glib.h>
#include <pthread.h>

#define WAIT_MS 30000

typedef struct {
    int64_t pts_ms;
    bool key;
    GBytes *data;
} Frame;

typedef struct {
    KvgHttpServer *server;
    uint16_t port;
    pthread_mutex_t lock;
    GHashTable *fragments; /* timecode -> GPtrArray of Frame: what is persisted */
    GHashTable *headers;   /* timecode -> GBytes: the MKV header it came with */
    GHashTable *tags;      /* timecode -> GString "name=value;..." */
    GArray *order;         /* int64_t: timecodes as they arrived */
    unsigned n_put, n_create, n_describe, n_endpoint;
    unsigned n_open, max_open; /* PutMedia calls at a time */
    unsigned n_skewed;         /* refused for their date */
    int64_t clock_ms;          /* added to the clock of this machine */
    unsigned max_calls;        /* refuses more at a time; 0: any number */
    /* misbehaviour, each used up by one session or call */
    unsigned missing;       /* DescribeStream: not found until created */
    unsigned refuse;        /* PutMedia: 403 */
    unsigned reset_after;   /* the next session is cut after so many blocks */
    int64_t error_timecode; /* ERROR ack for this fragment... */
    int error_id;           /* ...with this id; 0: none */
    unsigned not_active;
} Service;

void frame_free(void *data);
void service_init(Service *service);
void service_clear(Service *service);
/* On the port it had before, if any. */
void service_start(Service *service);
void service_stop(Service *service);
