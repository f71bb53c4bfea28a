/* A request for recording that is kept: an event, or a range of time. Pure; checked where it comes
 * in (API, shadow) and again where it is done (worker). */
#pragma once

#include "base/json.h"
#include "config/mode.h"
#include <kvg/spool.h>

typedef struct {
    bool is_event;
    char id[KVG_RELEASE_ID_BYTES + 1];
    KvgTimeRange range;
} KvgRequest;

/* {"op": "event", "id", "at_ms", "pre_roll_ms"?, "post_roll_ms"?} or {"op": "upload", "id",
 * "from_ms", "to_ms"}; @mode: what an event has that does not say so. KVG_ERROR_INVALID. */
bool kvg_request_parse(const json_t *json,
                       const KvgConfigMode *mode,
                       KvgRequest *request,
                       GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* What a body of the API asks for, as above with an id of its own; NULL and KVG_ERROR_INVALID. */
json_t *kvg_request_event(const json_t *body, int64_t now_ms, GError **error);
json_t *kvg_request_upload(const json_t *body, GError **error);
