/* The shapes of requests as the service model describes them, and the check of a JSON value against
 * one, with the service's own sentences. Hides how a violated constraint is worded. No I/O. */
#pragma once

#include "base/json.h"

typedef enum {
    KVG_SHAPE_STRING,
    KVG_SHAPE_INTEGER,
    KVG_SHAPE_BOOLEAN,
    KVG_SHAPE_TIMESTAMP, /* seconds, or text in ISO 8601 */
    KVG_SHAPE_STRUCTURE,
    KVG_SHAPE_LIST,
    KVG_SHAPE_MAP, /* of strings */
} KvgShapeKind;

typedef struct _KvgShape KvgShape;

typedef struct {
    const char *name;
    const KvgShape *shape;
    bool is_required;
} KvgMember;

struct _KvgShape {
    KvgShapeKind kind;
    int64_t min, max;          /* length, number of items, or value; max 0: no bound */
    const char *pattern;       /* strings: \w and \d stand in brackets and mean ASCII */
    const char *const *values; /* strings: all that are allowed */
    const KvgMember *members;  /* structures; the last has no name */
    const KvgShape *key, *element;
};

typedef enum {
    KVG_SHAPE_FITS,
    KVG_SHAPE_WRONG_TYPE, /* a number where a text belongs: SerializationException */
    KVG_SHAPE_VIOLATED,   /* InvalidArgumentException */
} KvgShapeResult;

/* @message (g_free) names every violated constraint. Members that @shape does not know are passed
 * over, as the service does; null is as good as absent. */
KvgShapeResult kvg_shape_check(const KvgShape *shape, const json_t *value, char **message);
