/* The shape a JSON object must have, as a table: which members, of which type, within which
 * bounds. Objects are closed: a member the table does not know is a problem, unless `open`. */
#pragma once

#include "panorama/problems.h"

typedef enum {
    KVG_SHAPE_STRING,
    KVG_SHAPE_BOOLEAN,
    KVG_SHAPE_INTEGER,
    KVG_SHAPE_NUMBER,
    KVG_SHAPE_STRINGS, /* a list of strings */
    KVG_SHAPE_LIST,    /* a list of objects */
    KVG_SHAPE_OBJECT,
    KVG_SHAPE_ANY,
} KvgShapeKind;

typedef struct _KvgShape KvgShape;

typedef struct {
    const char *name;
    KvgShapeKind kind;
    bool required;
    int64_t least, most; /* characters, items, or the value itself; both 0: any */
    const char *pattern; /* of a string; NULL */
    const char *rule;    /* the pattern or the words as a reader is told them; NULL: the words */
    const char *const *words; /* the only strings allowed, ended by NULL; NULL */
    const KvgShape *shape;    /* of an object, or of the items of a list */
    /* Which of several shapes an object has; NULL: `shape`. */
    const KvgShape *(*choose)(const json_t *object);
    bool hides; /* may be a secret: never shown */
} KvgShapeMember;

struct _KvgShape {
    const char *noun; /* "a node": in "a node has no member 'x'" */
    const KvgShapeMember *members;
    size_t n_members;
    bool open;
};

/* @path: of @object, "$" for the root. */
void kvg_shape_check(const KvgShape *shape,
                     const json_t *object,
                     const char *file,
                     const char *path,
                     KvgProblems *problems);
