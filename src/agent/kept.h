/* What the API answers about recording that a camera keeps: each asks the camera's worker. Thread:
 * any but main. */
#pragma once

#include "agent/errand.h"

/* POST .../events {"at_ms"?, "pre_roll_ms"?, "post_roll_ms"?}: the upload that it is part of,
 * stored. */
json_t *kvg_kept_event(KvgErrands *errands, const char *camera, const json_t *body, GError **error);
/* POST .../uploads {"from_ms", "to_ms"}: the upload, stored. */
json_t *
kvg_kept_upload(KvgErrands *errands, const char *camera, const json_t *body, GError **error);
/* GET .../uploads: {"held": [[from_ms, to_ms], ...], "uploads": [...]} */
json_t *kvg_kept_list(KvgErrands *errands, const char *camera, GError **error);
