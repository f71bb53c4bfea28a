/* The innards of a pipeline, for the files that build it: pipeline.c (life, bus), source*.c (what a
 * camera is read from), intake.c (what becomes of its video), encode.c. */
#pragma once

#include "agent/pipeline.h"
#include <gst/gst.h>
#include <stdatomic.h>

#define KVG_PIPELINE_LOG "agent"
#define KVG_PIPELINE_DEFAULT_FPS 15

struct _KvgPipeline {
    char *name;
    char *shown_source; /* without password */
    bool passthrough;
    uint32_t width, height, fps, bitrate_bps, fragment_ms;
    GstElement *pipeline, *sink;
    guint bus_watch;
    KvgPipelineFailed failed;
    void *user_data;
    bool has_video; /* one source pad is linked; streaming thread of the source */
    _Atomic uint64_t frames;
    GMutex lock;
    KvgPipelineInfo info; /* under lock */
};

/* ---- building blocks ---- */

/* Adds a new element; NULL and a log line if GStreamer has no such thing. */
GstElement *kvg_pipeline_add(KvgPipeline *pipeline, const char *factory);
/* Takes @caps. */
GstElement *kvg_pipeline_add_caps(KvgPipeline *pipeline, GstCaps *caps);
/* Links @elements (a NULL means one is missing) behind @pad, which may be NULL, and starts them. */
bool kvg_pipeline_link(GstPad *pad, GstElement *const *elements, size_t n);
/* Ends it with @text on the bus. Thread: any. */
void kvg_pipeline_fail(KvgPipeline *pipeline, const char *text);
void kvg_pipeline_set_codec(KvgPipeline *pipeline, const char *codec);

/* ---- intake.c ---- */

GstElement *kvg_intake_add_parser(KvgPipeline *pipeline);
GstElement *kvg_intake_add_avc_filter(KvgPipeline *pipeline);
/* RTP video of @encoding ("H264") from @pad. */
bool kvg_intake_rtp_video(KvgPipeline *pipeline, GstPad *pad, const char *encoding);

/* ---- encode.c ---- */

/* Raw video from @pad: scale, encode, store. Overload drops raw frames before the encoder. */
bool kvg_encode(KvgPipeline *pipeline, GstPad *pad, GstCaps *caps);
