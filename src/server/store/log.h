/* The segment log on disk: records with checksums in append-only files. Format:
 * docs/internals/store.md. Thread: appending from the store's writer only; the rest any. */
#pragma once

#include "os/file.h"
#include "server/store/store.h"
#include "server/store/vault.h"
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* Where a record lies. */
typedef struct {
    uint64_t segment;
    uint64_t offset;
} KvgLogPosition;

/* A record without its payload. */
typedef struct {
    KvgLogPosition at;
    char *stream_arn;
    KvgFragmentInfo info;
    uint32_t head_bytes;            /* fixed part and names */
    uint32_t header_len, media_len; /* behind the key block, KVG_VAULT_BLOCK_BYTES */
    uint32_t payload_crc;           /* of what is in the file */
    bool is_dead;                   /* expired: the payload is gone */
} KvgLogRecord;
void kvg_log_record_clear(KvgLogRecord *record);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(KvgLogRecord, kvg_log_record_clear)
void kvg_log_record_destroy(void *record); /* the same, for arrays of records */
uint64_t kvg_log_record_end(const KvgLogRecord *record);

char *kvg_log_path(const char *folder, uint64_t segment);
/* Sequence numbers of the segments there, ascending. */
GArray *kvg_log_list(const char *folder, GError **error);

/* Encrypts @fragment, writes it at @offset of @fd and fills @record (whose at.segment the caller
 * knows). False: an I/O error; what lies behind @offset is then worthless. */
bool kvg_log_write(int fd,
                   KvgVault *vault,
                   uint64_t offset,
                   const KvgFragment *fragment,
                   KvgLogRecord *record,
                   GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Reads and checks the head at @offset of a file of @size bytes. False: no whole record there. */
bool kvg_log_read_head(int fd, uint64_t offset, uint64_t size, KvgLogRecord *record);
/* Reads, checks and decrypts the payload. */
bool kvg_log_read_payload(int fd,
                          const KvgVault *vault,
                          const KvgLogRecord *record,
                          GBytes **header,
                          GBytes **media,
                          GError **error);
bool kvg_log_payload_is_whole(int fd, const KvgLogRecord *record);
/* The next place at or after @from where a whole head stands; @size if there is none. */
uint64_t kvg_log_resync(int fd, uint64_t from, uint64_t size);
/* Marks the record as expired and gives its space back. */
bool kvg_log_kill(int fd, const KvgLogRecord *record, GError **error);
