/* The GStreamer pipeline of one camera: source, passthrough or scale-and-encode, kvssink. Hides all
 * of GStreamer from the worker, and that taking a pipeline down may block. */
#pragma once

#include "config/config.h"
#include "plugin/hub.h"
#include <glib.h>
#include <stdbool.h>

typedef struct _KvgPipeline KvgPipeline;

typedef struct {
    uint64_t frames;
    char codec[16];         /* what the camera sends, "h264", "jpeg"; "" until known */
    bool encoded;           /* by us; otherwise passthrough */
    uint32_t width, height; /* of what is stored; 0 until known */
} KvgPipelineInfo;

/* On the main context: the pipeline failed; @reason in words, without secrets. */
typedef void (*KvgPipelineFailed)(const char *reason, void *user_data);

/* Builds and starts; what it delivers goes into @stream. */
KvgPipeline *kvg_pipeline_start(const KvgConfigCamera *camera,
                                KvgHubStream *stream,
                                KvgPipelineFailed failed,
                                void *user_data,
                                GError **error);
void kvg_pipeline_get_info(KvgPipeline *pipeline, KvgPipelineInfo *info);
/* Takes it down on a thread of its own; no callback comes after this. NULL is fine. */
void kvg_pipeline_stop(KvgPipeline *pipeline);
/* Waits until every stopped pipeline is gone, at most @timeout_ms. */
bool kvg_pipeline_wait_all(int64_t timeout_ms);
