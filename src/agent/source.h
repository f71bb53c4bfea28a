/* Kinds of sources: what the part before the colon of `source` means. */
#pragma once

#include "agent/pipeline.h"

typedef struct {
    const char *prefix; /* "rtsp:" */
    /* Adds its elements to @pipeline; false if a plugin is missing. */
    bool (*add)(KvgPipeline *pipeline, const KvgConfigCamera *camera);
} KvgSource;

extern const KvgSource kvg_source_rtsp, kvg_source_rtsps, kvg_source_test;

/* NULL if there is no such kind. */
const KvgSource *kvg_source_find(const char *source);
