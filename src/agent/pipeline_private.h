/* The innards of a pipeline, for the files that build it: pipeline.c (life, bus), source*.c (what a
 * camera is read from), intake.c (what becomes of its video), guard.c, encode.c, audio.c. */
#pragma once

#include "agent/decision.h"
#include "agent/encoder.h"
#include "agent/pipeline.h"
#include "agent/source.h"
#include <gst/gst.h>
#include <stdatomic.h>

#define KVG_PIPELINE_LOG "agent"
#define KVG_PIPELINE_DEFAULT_FPS 15

typedef enum { KVG_AUDIO_NONE, KVG_AUDIO_ON, KVG_AUDIO_GIVEN_UP } KvgAudioState;

struct _KvgPipeline {
    gint refs;
    KvgConfigCamera *camera; /* a copy */
    char *shown_source;      /* without password */
    const KvgSource *source;
    KvgPipelineEnded ended;
    void *user_data;
    guint bus_watch; /* main thread */

    GstElement *pipeline, *sink; /* no sink: nothing is stored */
    GstElement *encoder;         /* ours; NULL: passthrough */
    KvgFramesTap *tap;        /* NULL: nobody may look */
    GstElement *audio_bin;
    GstPad *audio_sink; /* of kvssink; NULL */
    bool has_video;     /* one source pad is linked; streaming thread of the source */
    bool has_audio;     /* the same */
    unsigned video_stream, audio_stream; /* of an SDP, counted from 1; 0: not chosen yet */
    uint64_t spool_limit_bytes;
    int64_t last_check_us;  /* main thread */
    uint64_t checked_taken; /* of `taken` at that time */

    _Atomic bool has_ended; /* said once; what follows is noise of the end */
    _Atomic uint64_t frames, dropped;
    _Atomic uint64_t taken;       /* raw pictures given to the encoder */
    _Atomic int audio_state;      /* KvgAudioState */
    _Atomic int64_t audio_us;     /* monotonic, of the last sound */
    _Atomic int64_t captured_at;  /* monotonic, of the last frame with a time of the camera's */
    _Atomic int64_t captured_off; /* that time less ours */

    /* starting and stopping exclude each other */
    GMutex life;
    bool is_stopped; /* under life */

    GMutex lock;
    KvgMedia media;     /* under lock */
    char *audio_words;  /* under lock */
    int64_t last_pts;   /* streaming thread of the sink, in us */
    int64_t last_key;   /* the same */
    unsigned reordered; /* since the last key frame */
    bool is_dropping;   /* streaming thread of the guard */
};

/* ---- building blocks; thread: any ---- */

KvgPipeline *kvg_pipeline_ref(KvgPipeline *pipeline);
void kvg_pipeline_unref(KvgPipeline *pipeline);
/* Adds a new element; NULL and an end if GStreamer has no such thing. */
GstElement *kvg_pipeline_add(KvgPipeline *pipeline, const char *factory);
/* Takes @caps. */
GstElement *kvg_pipeline_add_caps(KvgPipeline *pipeline, GstCaps *caps);
/* Links @elements (a NULL means one is missing) behind @pad, which may be NULL, and starts them. */
bool kvg_pipeline_link(GstPad *pad, GstElement *const *elements, size_t n);
/* What feeds a sink's pad: links the last of a chain to the place where "video" or "audio" goes.
 * NULL: there is none. Reference. */
GstPad *kvg_pipeline_request_sink(KvgPipeline *pipeline, const char *kind);
/* Ends it; only the first counts. */
void kvg_pipeline_end(KvgPipeline *pipeline, KvgPipelineEnd how, const char *format, ...)
    G_GNUC_PRINTF(3, 4);
bool kvg_pipeline_has_factory(const char *factory);
/* Nothing may be dropped, the source waits. */
bool kvg_pipeline_is_lossless(const KvgPipeline *pipeline);

/* ---- intake.c ---- */

/* What comes out of @pad, of which @caps are known: stored as it is, encoded, or thrown away. */
void kvg_intake(KvgPipeline *pipeline, GstPad *pad, GstCaps *caps);
/* Video that somebody must decode: as kvg_intake(), without looking. */
void kvg_intake_decode(KvgPipeline *pipeline, GstPad *pad, const char *codec);

/* ---- guard.c ---- */

/* A bounded queue between @pad's thread and what stores or encodes. Coded pictures are dropped up
 * to the next key frame, raw ones one by one; each is counted. A source that can wait does. */
GstElement *kvg_guard_add(KvgPipeline *pipeline, bool is_coded);

/* Lets a file go by at the pace of the clock. */
GstElement *kvg_pace_add(KvgPipeline *pipeline);

/* ---- encode.c ---- */

/* Raw video from @pad: scale, encode, store. */
void kvg_encode(KvgPipeline *pipeline, GstPad *pad, GstCaps *caps);

/* ---- audio.c ---- */

/* Sound from @pad: as it is if it is AAC, else made AAC. Never ends the pipeline. */
void kvg_audio_take(KvgPipeline *pipeline, GstPad *pad, GstCaps *caps);
/* Main thread: the sound is left out from now on. */
void kvg_audio_give_up(KvgPipeline *pipeline, const char *why);
