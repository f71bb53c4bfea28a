/* A stored fragment as the Matroska document that GetMedia sends: the producer's bytes, and the
 * service's tags around its Cluster. No I/O. */
#pragma once

#include <glib.h>
#include <stdbool.h>

typedef struct {
    const char *name, *value;
} KvgDocumentTag;

/* Appends Tags with one Tag that holds all of @tags; sizes are four bytes wide, as the service
 * writes them. */
void kvg_document_put_tags(GByteArray *out, const KvgDocumentTag *tags, size_t n);
/* Appends an EBML header and a Segment of unknown size: what tags can stand in when there is no
 * fragment. */
void kvg_document_put_empty(GByteArray *out);
/* Appends a stored header. @with_tags false: without the producer's Tags, which belong to the first
 * fragment of an upload only. */
void kvg_document_put_header(GByteArray *out, GBytes *header, bool with_tags);
