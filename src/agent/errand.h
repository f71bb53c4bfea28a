/* An errand: what a thread of the API asks a camera's worker process, and waits for the answer. The
 * packet goes out and the answer comes in on the main thread, which waits for nothing. */
#pragma once

#include "base/json.h"

typedef struct _KvgErrands KvgErrands;

/* On the main context: @packet to the worker of @camera; false: it has none now. */
typedef bool (*KvgErrandSend)(const char *camera, const json_t *packet, void *user_data);

KvgErrands *kvg_errands_new(KvgErrandSend send, void *user_data);
/* Whoever waits gets an error, and so does who comes later. */
void kvg_errands_stop(KvgErrands *errands);
void kvg_errands_free(KvgErrands *errands); /* nobody waits any more; NULL is fine */

/* The answer to @packet ("op" and what belongs to it; "camera" and "errand" are added); NULL: the
 * worker's error, or KVG_ERROR_RETRY if it does not answer. Thread: any but main. */
json_t *kvg_errands_run(KvgErrands *errands, const char *camera, json_t *packet, GError **error);
/* A packet of a worker; false: it is no answer. Thread: main. */
bool kvg_errands_take(KvgErrands *errands, const json_t *packet);

/* ---- in the worker ---- */
/* An answer to @packet that takes @answer (NULL: {}) or tells @error; a new reference. */
json_t *kvg_errand_answer(const json_t *packet, json_t *answer, const GError *error);
