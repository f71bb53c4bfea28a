/* GStreamer's failures in a user's words: what is wrong with the camera, and what to do. */
#pragma once

#include <glib.h>

/* @source: as it may be shown; @debug: what came with @error; NULL. Owned by the caller. */
char *kvg_failure_to_words(const char *source, const GError *error, const char *debug);
