/* Kinds of sources: what the part before the colon of `source` means. */
#pragma once

#include "agent/pipeline.h"

typedef struct {
    const char *prefix; /* "rtsp:" */
    bool is_lossless;   /* waits rather than that something is dropped */
    bool can_end;       /* its end of stream is its end, not a failure */
    /* Adds its elements to @pipeline. Says kvg_pipeline_end() if it cannot. Blocks if it must: it
     * has a thread. */
    void (*add)(KvgPipeline *pipeline);
} KvgSource;

extern const KvgSource kvg_source_rtsp, kvg_source_rtsps, kvg_source_test, kvg_source_file,
    kvg_source_v4l2, kvg_source_shm;

/* NULL if there is no such kind. */
const KvgSource *kvg_source_find(const char *source);
/* What follows the colon. */
const char *kvg_source_rest(const char *source);
