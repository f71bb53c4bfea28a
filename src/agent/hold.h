/* What is asked of a camera that keeps its recording until somebody wants it: events and uploads.
 * In the worker. */
#pragma once

#include "base/json.h"
#include "config/config.h"
#include <kvg/producer.h>

/* False: everything that @camera records is uploaded, and @error says so. */
bool kvg_hold_check(const KvgConfigCamera *camera, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* {"op": "event", "id", "at_ms", "pre_roll_ms"?, "post_roll_ms"?} or {"op": "upload", "id",
 * "from_ms", "to_ms"}. The same again changes nothing. @id: (out): by which it is known (g_free);
 * an event may have become part of the one before. False: KVG_ERROR_INVALID, KVG_ERROR_NO_SPACE. */
bool kvg_hold_ask(KvgStream *stream,
                  const KvgConfigCamera *camera,
                  const json_t *request,
                  char **id,
                  GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* The upload @id once the end of the process cannot lose it any more; else NULL. */
json_t *kvg_hold_find_stored(KvgStream *stream, const char *id);
/* {"held": [[from_ms, to_ms], ...], "uploads": [...]}, of both the newest. */
json_t *kvg_hold_describe(KvgStream *stream);
