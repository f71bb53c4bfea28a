/* What a shadow's desired state asks for besides settings: an event (any new text or number is one)
 * and an upload. Remembered until the worker has confirmed it, so that each happens once, whatever
 * ends meanwhile. No I/O, no clock. */
#pragma once

#include "base/json.h"

typedef struct {
    json_t *event, *upload;           /* of the desired state that was seen last; NULL: none */
    json_t *done_event, *done_upload; /* the last ones that were confirmed; NULL */
    json_t *todo;                     /* requests that are not; array, NULL: none */
    char *problem;                    /* of the last one; NULL */
} KvgWishes;

void kvg_wishes_clear(KvgWishes *wishes);
/* Looks at a document: {"state": {"desired"}, "metadata": {"desired"}, "timestamp"}. What is new
 * in it becomes a request; its time is when it was asked for, reckoned from @now_ms back by the
 * service's own clock. True: something has changed. @desired: (out): without what is ours (a new
 * reference). */
bool kvg_wishes_see(KvgWishes *wishes, const json_t *document, int64_t now_ms, json_t **desired);
/* The request @id has been stored, or cannot be done; false: it is unknown. */
bool kvg_wishes_confirm(KvgWishes *wishes, const char *id, const char *problem);
/* For the reported state. */
void kvg_wishes_report(const KvgWishes *wishes, json_t *reported);
/* For the file; what is read is checked. */
json_t *kvg_wishes_to_json(const KvgWishes *wishes);
void kvg_wishes_from_json(KvgWishes *wishes, const json_t *json);
