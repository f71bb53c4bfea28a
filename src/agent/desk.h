/* Requests for recording that is kept, in the worker: each is put to the stream of its camera and
 * answered when the stream has stored it, so that nothing that was answered can be lost. Thread:
 * main. */
#pragma once

#include "agent/hold.h"

typedef struct _KvgDesk KvgDesk;

typedef struct {
    /* The open stream of @camera and its configuration; NULL and @error. */
    KvgStream *(*stream)(const char *camera,
                         const KvgConfigCamera **config,
                         GError **error,
                         void *user_data);
    void (*send)(const json_t *packet, void *user_data); /* to the supervisor */
    void *user_data;
} KvgDeskOptions;

KvgDesk *kvg_desk_new(const KvgDeskOptions *options);
void kvg_desk_free(KvgDesk *desk); /* NULL is fine */
/* An errand of the API: "op" event, upload or uploads. False: it is none of these. */
bool kvg_desk_take(KvgDesk *desk, const json_t *packet);
/* What the shadow of @camera asks for and nobody has confirmed; answered by {"wished": id,
 * "camera", "problem"}. The same may come again. @wishes: array; NULL is fine. */
void kvg_desk_set_wishes(KvgDesk *desk, const char *camera, const json_t *wishes);
