/* A camera whose every frame can be made again from its number, so that what was stored can be told
 * byte for byte: one stream of libkvg, through the public API only. */
#pragma once

#include "site.h"

typedef struct {
    const char *stream;
    unsigned step_ms;     /* between frames, on the frames' own clock */
    unsigned gop;         /* frames */
    unsigned frame_bytes; /* of a key frame; the others have half of it */
    bool is_quiet;        /* keeps no notes */
} KvgCameraSpec;

typedef struct {
    int64_t at_us; /* monotonic */
    KvgStreamState state;
    char *reason;
} KvgCameraNote;

typedef struct {
    KvgCameraSpec spec;
    int64_t start_ms; /* of frame 0 */
    unsigned n_put;   /* frames put so far, also those that were refused */
    KvgProducer *producer;
    KvgStream *stream;
    pthread_mutex_t lock;
    GArray *notes; /* of KvgCameraNote: each state and reason there was */
    /* of streams closed since */
    uint64_t dropped, evicted, refused, sessions, accepted;
} KvgCamera;

/* @start_ms: time of the first frame. */
void kvg_camera_init(KvgCamera *camera, const KvgCameraSpec *spec, int64_t start_ms);
void kvg_camera_clear(KvgCamera *camera);
/* Opens producer and stream; NULL error: fails the test. */
void kvg_camera_open(KvgCamera *camera,
                     const KvgProducerOptions *producer,
                     const KvgStreamOptions *stream);
/* In a producer that others share; it is the caller's. */
void kvg_camera_open_in(KvgCamera *camera, KvgProducer *producer, const KvgStreamOptions *stream);
/* Puts the next frame; the result of kvg_stream_put_frame(). */
bool kvg_camera_put(KvgCamera *camera, GError **error);
/* Closes stream and producer: the result of kvg_stream_close(). */
bool kvg_camera_close(KvgCamera *camera, int64_t timeout_ms, GError **error);
/* The note with @text in its reason that came first at or after @from_us; 0: none; else its time.
 */
int64_t kvg_camera_find_reason(KvgCamera *camera, const char *text, int64_t from_us);

typedef struct {
    unsigned stored, missing; /* frames of those put */
    unsigned first;           /* number of the first stored */
    char *problem; /* NULL: what is stored is what was put, in order; else what is wrong */
} KvgVerdict;
/* Compares what the server has with what was put. */
KvgVerdict kvg_camera_verify(KvgCamera *camera, KvgSite *site);
