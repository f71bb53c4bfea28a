/* The GStreamer pipeline of one camera: source, passthrough or scale-and-encode, kvssink. Hides all
 * of GStreamer from the worker, and that starting and taking down a pipeline may block. */
#pragma once

#include "config/config.h"
#include "frames/tap.h"
#include "plugin/hub.h"
#include <glib.h>
#include <stdbool.h>

typedef struct _KvgPipeline KvgPipeline;

/* Why a pipeline came to its end, which says what to do about it. */
typedef enum {
    KVG_PIPELINE_FAILED,      /* try again after a while */
    KVG_PIPELINE_NEEDS_HELP,  /* something on this machine must be corrected first */
    KVG_PIPELINE_CHANGED,     /* what comes or what encodes is another: build it anew at once */
    KVG_PIPELINE_MUST_ENCODE, /* the same, and encode, for the reason given */
    KVG_PIPELINE_FINISHED,    /* all of a file was delivered */
} KvgPipelineEnd;

/* On the main context, at most once; @reason in words, without secrets. */
typedef void (*KvgPipelineEnded)(KvgPipelineEnd how, const char *reason, void *user_data);

/**
 * KvgPipelineOptions:
 * @camera: copied
 * @stream: what it delivers goes there; NULL: nowhere (kvg doctor looks at the camera only)
 * @tap: sees the video that is stored, for applications; NULL
 * @spool_limit_bytes: of the stream; a file waits when it comes near
 * @encode_reason: encode although passthrough was asked for, because; NULL
 */
typedef struct {
    const KvgConfigCamera *camera;
    KvgHubStream *stream;
    KvgFramesTap *tap;
    uint64_t spool_limit_bytes;
    const char *encode_reason;
    KvgPipelineEnded ended;
    void *user_data;
} KvgPipelineOptions;

typedef struct {
    uint64_t frames;           /* that reached the sink */
    uint64_t dropped_overload; /* pictures left out because the machine could not keep up */
    bool encoded;              /* by us; otherwise passthrough */
    char codec[16];            /* what the camera sends, "h264", "jpeg"; "" until known */
    uint32_t width, height;    /* of what is stored; 0 until known */
} KvgPipelineInfo;

/* What was decided, in words; NULL where nothing is known yet. */
typedef struct {
    char *decision; /* "passthrough: H.264 main 1280x720, key frame each 1.0 s" */
    char *encoder;  /* factory */
    char *audio;
    char *clock; /* where the times come from */
} KvgPipelineWords;
void kvg_pipeline_words_clear(KvgPipelineWords *words);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(KvgPipelineWords, kvg_pipeline_words_clear)

/* Builds and starts on a thread of its own: all that goes wrong comes to `ended`. */
KvgPipeline *kvg_pipeline_start(const KvgPipelineOptions *options);
void kvg_pipeline_get_info(KvgPipeline *pipeline, KvgPipelineInfo *info);
void kvg_pipeline_get_words(KvgPipeline *pipeline, KvgPipelineWords *words);
/* Called now and then: an encoder that takes pictures and gives none is replaced. */
void kvg_pipeline_check(KvgPipeline *pipeline, int64_t mono_us);
/* Lets go of the stream now, so that the next pipeline may write into it, and takes it down on a
 * thread of its own; no callback comes after this. NULL is fine. */
void kvg_pipeline_stop(KvgPipeline *pipeline);
/* Waits until every stopped pipeline is gone, at most @timeout_ms. */
bool kvg_pipeline_wait_all(int64_t timeout_ms);
/* Pipelines of @camera (NULL: of all) that were stopped more than @bound_ms ago and still hang. */
unsigned kvg_pipeline_n_stuck(const char *camera, int64_t bound_ms);
