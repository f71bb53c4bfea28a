/* Fragment metadata on its way to the spool: checks the service's limits, keeps what waits for a
 * fragment and what is put into each. No I/O.
 *
 * Source: Kinesis Video Streams metadata: ten tags a fragment, one of which kvg may need to end it.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

#define KVG_METADATA_MAX 9
#define KVG_METADATA_NAME_BYTES 128
#define KVG_METADATA_VALUE_BYTES 256

typedef struct {
    char *name, *value;
    bool persistent;
} KvgMetadataTag;

typedef struct {
    KvgMetadataTag tags[KVG_METADATA_MAX]; /* for the next fragment, and persistent ones */
    unsigned n_tags;
    unsigned n_open; /* tags the open fragment has */
} KvgMetadata;

void kvg_metadata_clear(KvgMetadata *metadata);
/* KVG_ERROR_INVALID naming the limit. */
bool kvg_metadata_check(const char *name, const char *value, GError **error);
/* Keeps a tag for the fragments to come; replaces one of the same name, and removes it if @value is
 * empty and @persistent. KVG_ERROR_INVALID if there are too many. */
bool kvg_metadata_keep(
    KvgMetadata *metadata, const char *name, const char *value, bool persistent, GError **error);
/* A fragment has begun and all of tags[] were put into it: only persistent ones are kept. */
void kvg_metadata_begun(KvgMetadata *metadata);
