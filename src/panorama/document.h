/* The documents of a project: parsed, and checked against the closed schemas of the former service.
 * What they mean together is graph.c's. */
#pragma once

#include "panorama/problems.h"

/* The service took 51,200 characters; files with more blanks than that are accepted. */
#define KVG_DOCUMENT_MAX_BYTES (256u * 1024)

typedef enum {
    KVG_DOCUMENT_GRAPH,
    KVG_DOCUMENT_OVERRIDE,
    KVG_DOCUMENT_PACKAGE,
    KVG_DOCUMENT_DESCRIPTOR,
    KVG_DOCUMENT_CAMERAS, /* camera name -> the template's parameters; holds secrets */
} KvgDocumentKind;

/* The types of ports and parameters. */
typedef enum {
    KVG_PORT_BOOLEAN,
    KVG_PORT_INT32,
    KVG_PORT_FLOAT32,
    KVG_PORT_STRING,
    KVG_PORT_MEDIA,
    KVG_PORT_STRINGS, /* of the file player alone */
} KvgPortType;
/* "int32"; false: another word. */
bool kvg_port_type_parse(const char *word, KvgPortType *type);
const char *kvg_port_type_to_string(KvgPortType type);

/* The parsed document with the whole shape checked; NULL if it is no JSON object or no such
 * document at all. What is wrong is in @problems, also if it is not NULL. An override that only
 * replaces assets of a package (nodePackageOverrides) is noted and gives NULL. */
json_t *kvg_document_parse(
    KvgDocumentKind kind, const char *file, const char *text, size_t len, KvgProblems *problems);
