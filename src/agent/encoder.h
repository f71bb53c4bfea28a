/* H.264 encoders: which of those GStreamer offers really works here, and how each is set up. What a
 * machine claims and what it can do differ, so candidates encode two pictures in a process of their
 * own, which may crash or hang; the answer is kept on disk until the machine starts again. */
#pragma once

#include "base/json.h"
#include <gst/gst.h>
#include <stdbool.h>

typedef struct _KvgEncoder KvgEncoder;

/* Once, at the start: where answers are kept; NULL: nowhere. */
void kvg_encoder_set_cache(const char *path);
/* @wanted: an element's name, or NULL: the best that works. May take seconds: a camera's thread.
 * NULL and KVG_ERROR_UNSUPPORTED if there is none. */
const KvgEncoder *kvg_encoder_choose(const char *wanted, GError **error);
const char *kvg_encoder_name(const KvgEncoder *encoder);
/* What it takes: "I420". */
const char *kvg_encoder_format(const KvgEncoder *encoder);
/* "main"; NULL: as it likes. */
const char *kvg_encoder_profile(const KvgEncoder *encoder);
/* An element that must stand before it; NULL. */
const char *kvg_encoder_feeder(const KvgEncoder *encoder);
/* Floating; NULL if it is not installed. */
GstElement *
kvg_encoder_make(const KvgEncoder *encoder, unsigned bitrate_bps, unsigned key_distance);
/* It failed at work: this process does not choose it again. */
void kvg_encoder_reject(const char *name, const char *why);
/* [{"encoder", "result"}] of all candidates, best first, each tried. Slow. */
json_t *kvg_encoder_try_all(void);
/* In the process of its own: 0 if @name encodes; else a line on stdout says why not. */
int kvg_encoder_probe_main(const char *name);
