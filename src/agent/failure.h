/* GStreamer's failures in a user's words: what is wrong with the camera, and what to do. */
#pragma once

#include "agent/pipeline.h"
#include <glib.h>

/* @source: as it may be shown, "rtsp://..."; @debug: what came with @error; NULL. @how: set to
 * KVG_PIPELINE_NEEDS_HELP if trying again alone changes nothing. Owned by the caller. */
char *kvg_failure_to_words(const char *source,
                           const GError *error,
                           const char *debug,
                           KvgPipelineEnd *how);
