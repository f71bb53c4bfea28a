/* kvg camera event, upload and uploads: recording that a camera keeps until it is asked for. */
#pragma once

#include "cli/reach.h"

typedef struct {
    char *pre_roll, *post_roll, *from, *to; /* of the command line; NULL: not given */
} KvgKeptOptions;
void kvg_kept_options_clear(KvgKeptOptions *options);

/* What the verb asks for: a body for the agent, or with --remote a desired state; NULL and
 * KVG_ERROR_INVALID: the command line is wrong. */
json_t *kvg_kept_request(const KvgKeptOptions *options,
                         const char *verb,
                         bool is_remote,
                         int64_t now_ms,
                         GError **error);
/* Asks, and returns the answer; @request NULL: only look. */
json_t *kvg_kept_run(const KvgReach *reach,
                     const char *verb,
                     const char *name,
                     const json_t *request,
                     GError **error);
void kvg_kept_print(const char *verb, const json_t *answer);
