/* Reading a stream: GetDataEndpoint, which is remembered, then the operation there. Blocking.
 * Thread: any. */
#pragma once

#include "aws/client.h"
#include "base/json.h"

typedef struct {
    const char *region;
    const char *endpoint; /* NULL: AWS */
    const char *ca_path;  /* NULL: system's store */
    const char *stream;
} KvgArchiveOptions;

typedef struct _KvgArchive KvgArchive;

/* Copies @options, keeps a reference to @credentials. */
KvgArchive *kvg_archive_new(const KvgArchiveOptions *options, KvgCredentials *credentials);
void kvg_archive_free(KvgArchive *archive); /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgArchive, kvg_archive_free)

/* The answer of @path (owned). @api: as GetDataEndpoint names it ("LIST_FRAGMENTS"). The stream's
 * name is added to @arguments. */
json_t *kvg_archive_call(KvgArchive *archive,
                         const char *api,
                         const char *path,
                         json_t *arguments,
                         GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Gets a part of a successful answer; false ends the transfer. */
typedef bool (*KvgArchiveSink)(const void *data, size_t len, void *user_data);

/* The same for an answer that is media: handed to @sink as it comes, so that its size does not
 * matter. False also when it broke off after @sink got something. */
bool kvg_archive_stream(KvgArchive *archive,
                        const char *api,
                        const char *path,
                        json_t *arguments,
                        KvgArchiveSink sink,
                        void *user_data,
                        GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Seconds since 1970, as these operations take them. */
json_t *kvg_archive_time(int64_t wall_ms);
/* {"FragmentSelectorType": "PRODUCER_TIMESTAMP", "TimestampRange": ...} (owned). */
json_t *kvg_archive_selector(int64_t from_ms, int64_t to_ms);
