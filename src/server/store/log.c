/* Records: fixed head, ARN, fragment number, key block, MKV header and media (encrypted). The
 * head's checksum covers the names, so that a scan can walk without reading video, and the
 * payload's covers what is in the file, so that it can be checked without a key. Everything is
 * big-endian. */
#include "server/store/log.h"
#include "base/bytes.h"
#include <errno.h>
#include <fcntl.h>
#include <kvg/error.h>
#include <string.h>
#include <sys/uio.h>

#define MAGIC 0x4B56474Cu /* "KVGL" */
#define HEAD_BYTES 56u
#define MAX_ARN 1024u
#define MAX_PAYLOAD (256u * 1024 * 1024)
#define SEARCH_BYTES 65536u
#define READ_BYTES (256u * 1024)
enum { KIND_FRAGMENT = 1, KIND_DEAD = 2 };

void
kvg_log_record_clear(KvgLogRecord *record)
{
    g_free(record->stream_arn);
    *record = (KvgLogRecord){0};
}

void
kvg_log_record_destroy(void *record)
{
    kvg_log_record_clear(record);
}

static size_t
payload_len(const KvgLogRecord *record)
{
    return KVG_VAULT_BLOCK_BYTES + (size_t)record->header_len + record->media_len;
}

uint64_t
kvg_log_record_end(const KvgLogRecord *record)
{
    return record->at.offset + record->head_bytes + payload_len(record);
}

char *
kvg_log_path(const char *folder, uint64_t segment)
{
    return g_strdup_printf("%s/%016" G_GINT64_MODIFIER "x.log", folder, segment);
}

static int
compare_sequences(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a;
    const uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

GArray *
kvg_log_list(const char *folder, GError **error)
{
    g_autoptr(GDir) dir = g_dir_open(folder, 0, error);
    if (dir == NULL)
        return NULL;
    GArray *sequences = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    const char *name;
    while ((name = g_dir_read_name(dir)) != NULL) {
        char *end;
        const uint64_t sequence = g_ascii_strtoull(name, &end, 16);
        if (end == name + 16 && strcmp(end, ".log") == 0)
            g_array_append_val(sequences, sequence);
    }
    g_array_sort(sequences, compare_sequences);
    return sequences;
}

/* magic, checksum of the rest and the names; kind, length of number, length of ARN; lengths of
 * header and media; payload's checksum; header's checksum; reserved; server, producer time, length
 */
static GByteArray *
pack_head(const KvgLogRecord *record)
{
    const size_t arn_len = strlen(record->stream_arn);
    const size_t number_len = strlen(record->info.number);
    GByteArray *out = g_byte_array_sized_new(HEAD_BYTES + 256);
    kvg_bytes_put_u32(out, MAGIC);
    kvg_bytes_put_u32(out, 0);
    kvg_bytes_put_u8(out, record->is_dead ? KIND_DEAD : KIND_FRAGMENT);
    kvg_bytes_put_u8(out, (uint8_t)number_len);
    kvg_bytes_put_u16(out, (uint16_t)arn_len);
    kvg_bytes_put_u32(out, record->header_len);
    kvg_bytes_put_u32(out, record->media_len);
    kvg_bytes_put_u32(out, record->payload_crc);
    kvg_bytes_put_u32(out, record->info.header_id);
    kvg_bytes_put_u32(out, 0);
    kvg_bytes_put_u64(out, (uint64_t)record->info.server_ms);
    kvg_bytes_put_u64(out, (uint64_t)record->info.producer_ms);
    kvg_bytes_put_u64(out, (uint64_t)record->info.length_ms);
    kvg_bytes_put(out, record->stream_arn, arn_len);
    kvg_bytes_put(out, record->info.number, number_len);
    kvg_bytes_set_u32(out, 4, kvg_crc32c(0, out->data + 8, out->len - 8));
    return out;
}

static bool
fail_errno(GError **error, const char *what)
{
    const int code = errno;
    g_set_error(error, KVG_ERROR,
                code == ENOSPC || code == EDQUOT ? KVG_ERROR_NO_SPACE : KVG_ERROR_FAILED,
                "video store: cannot %s: %s", what, g_strerror(code));
    return false;
}

/* All of @parts, through short writes. */
static bool
write_parts(int fd, uint64_t offset, struct iovec *parts, int n_parts, GError **error)
{
    while (n_parts > 0) {
        ssize_t n = pwritev(fd, parts, n_parts, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_errno(error, "write");
        offset += (uint64_t)n;
        while (n_parts > 0 && (size_t)n >= parts->iov_len) {
            n -= (ssize_t)parts->iov_len;
            parts++;
            n_parts--;
        }
        if (n_parts > 0) {
            parts->iov_base = (char *)parts->iov_base + n;
            parts->iov_len -= (size_t)n;
        }
    }
    return true;
}

static struct iovec
part_of(GBytes *bytes)
{
    size_t len;
    const void *data = g_bytes_get_data(bytes, &len);
    return (struct iovec){.iov_base = (void *)(uintptr_t)data, .iov_len = len};
}

bool
kvg_log_write(int fd,
              KvgVault *vault,
              uint64_t offset,
              const KvgFragment *fragment,
              KvgLogRecord *record,
              GError **error)
{
    const struct iovec header = part_of(fragment->header), media = part_of(fragment->media);
    if (strlen(fragment->stream_arn) > MAX_ARN || fragment->info.number[0] == '\0' ||
        header.iov_len + media.iov_len > MAX_PAYLOAD) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "fragment %s is too large to be stored",
                    fragment->info.number);
        return false;
    }
    g_autoptr(GBytes) sealed = kvg_vault_seal(vault, fragment->stream_arn, fragment->info.number,
                                              fragment->header, fragment->media, error);
    if (sealed == NULL)
        return false;
    struct iovec parts[] = {[1] = part_of(sealed)};
    *record = (KvgLogRecord){.at.offset = offset,
                             .stream_arn = g_strdup(fragment->stream_arn),
                             .info = fragment->info,
                             .header_len = (uint32_t)header.iov_len,
                             .media_len = (uint32_t)media.iov_len,
                             .payload_crc = kvg_crc32c(0, parts[1].iov_base, parts[1].iov_len)};
    record->info.header_id = kvg_crc32c(0, header.iov_base, header.iov_len);
    g_autoptr(GByteArray) head = pack_head(record);
    record->head_bytes = head->len;
    parts[0] = (struct iovec){.iov_base = head->data, .iov_len = head->len};
    return write_parts(fd, offset, parts, G_N_ELEMENTS(parts), error);
}

static bool
read_exactly(int fd, void *buffer, size_t len, uint64_t offset)
{
    size_t got = 0;
    while (got < len) {
        const ssize_t n = pread(fd, (char *)buffer + got, len - got, (off_t)(offset + got));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        got += (size_t)n;
    }
    return true;
}

bool
kvg_log_read_head(int fd, uint64_t offset, uint64_t size, KvgLogRecord *record)
{
    uint8_t head[HEAD_BYTES + MAX_ARN + sizeof record->info.number];
    if (size < offset || size - offset < HEAD_BYTES || !read_exactly(fd, head, HEAD_BYTES, offset))
        return false;
    KvgReader reader = kvg_reader_init(head, HEAD_BYTES);
    const uint32_t magic = kvg_reader_u32(&reader);
    const uint32_t crc = kvg_reader_u32(&reader);
    const uint8_t kind = kvg_reader_u8(&reader);
    const uint8_t number_len = kvg_reader_u8(&reader);
    const uint16_t arn_len = kvg_reader_u16(&reader);
    const size_t names = (size_t)arn_len + number_len;
    if (magic != MAGIC || number_len == 0 || number_len >= sizeof record->info.number ||
        arn_len > MAX_ARN || size - offset < HEAD_BYTES + names ||
        !read_exactly(fd, head + HEAD_BYTES, names, offset + HEAD_BYTES) ||
        crc != kvg_crc32c(0, head + 8, HEAD_BYTES - 8 + names))
        return false;
    *record = (KvgLogRecord){.at.offset = offset,
                             .is_dead = kind == KIND_DEAD,
                             .head_bytes = (uint32_t)(HEAD_BYTES + names),
                             .header_len = kvg_reader_u32(&reader),
                             .media_len = kvg_reader_u32(&reader),
                             .payload_crc = kvg_reader_u32(&reader)};
    record->info.header_id = kvg_reader_u32(&reader);
    kvg_reader_u32(&reader);
    record->info.server_ms = (int64_t)kvg_reader_u64(&reader);
    record->info.producer_ms = (int64_t)kvg_reader_u64(&reader);
    record->info.length_ms = (int64_t)kvg_reader_u64(&reader);
    record->info.size_bytes = (uint64_t)record->header_len + record->media_len;
    memcpy(record->info.number, head + HEAD_BYTES + arn_len, number_len);
    if (record->info.size_bytes > MAX_PAYLOAD || kvg_log_record_end(record) > size)
        return false;
    record->stream_arn = g_strndup((const char *)head + HEAD_BYTES, arn_len);
    return true;
}

bool
kvg_log_payload_is_whole(int fd, const KvgLogRecord *record)
{
    g_autofree uint8_t *piece = g_malloc(READ_BYTES);
    uint64_t offset = record->at.offset + record->head_bytes;
    const uint64_t end = kvg_log_record_end(record);
    uint32_t crc = 0;
    while (offset < end) {
        const size_t len = (size_t)MIN(READ_BYTES, end - offset);
        if (!read_exactly(fd, piece, len, offset))
            return false;
        crc = kvg_crc32c(crc, piece, len);
        offset += len;
    }
    return crc == record->payload_crc;
}

bool
kvg_log_read_payload(int fd,
                     const KvgVault *vault,
                     const KvgLogRecord *record,
                     GBytes **header,
                     GBytes **media,
                     GError **error)
{
    const size_t len = payload_len(record);
    g_autofree uint8_t *data = g_malloc(len);
    if (!read_exactly(fd, data, len, record->at.offset + record->head_bytes) ||
        kvg_crc32c(0, data, len) != record->payload_crc) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_CORRUPT,
                    "fragment %s is damaged on disk (segment %016" G_GINT64_MODIFIER "x)",
                    record->info.number, record->at.segment);
        return false;
    }
    if (!kvg_vault_unseal(vault, record->stream_arn, record->info.number, data, len, error))
        return false;
    g_autoptr(GBytes) all = g_bytes_new_take(g_steal_pointer(&data), len);
    *header = g_bytes_new_from_bytes(all, KVG_VAULT_BLOCK_BYTES, record->header_len);
    *media =
        g_bytes_new_from_bytes(all, KVG_VAULT_BLOCK_BYTES + record->header_len, record->media_len);
    return true;
}

uint64_t
kvg_log_resync(int fd, uint64_t from, uint64_t size)
{
    static const uint8_t magic[4] = {MAGIC >> 24, MAGIC >> 16 & 0xff, MAGIC >> 8 & 0xff,
                                     MAGIC & 0xff};
    g_autofree uint8_t *piece = g_malloc(SEARCH_BYTES);
    while (from + HEAD_BYTES <= size) {
        const size_t len = (size_t)MIN(SEARCH_BYTES, size - from);
        if (!read_exactly(fd, piece, len, from))
            return size;
        const uint8_t *at = piece;
        while ((at = memmem(at, len - (size_t)(at - piece), magic, sizeof magic)) != NULL) {
            g_auto(KvgLogRecord) record = {0};
            const uint64_t offset = from + (uint64_t)(at - piece);
            if (kvg_log_read_head(fd, offset, size, &record))
                return offset;
            at++;
        }
        from += len > sizeof magic ? len - (sizeof magic - 1) : len;
    }
    return size;
}

bool
kvg_log_kill(int fd, const KvgLogRecord *record, GError **error)
{
    KvgLogRecord dead = *record;
    dead.is_dead = true;
    g_autoptr(GByteArray) head = pack_head(&dead);
    if (pwrite(fd, head->data, head->len, (off_t)record->at.offset) != (ssize_t)head->len)
        return fail_errno(error, "mark an expired fragment");
    const off_t start = (off_t)(record->at.offset + record->head_bytes);
    const off_t len = (off_t)kvg_log_record_end(record) - start;
    /* Not every file system can; the space then comes back with the whole segment. */
    if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, start, len) < 0 &&
        errno != EOPNOTSUPP)
        return fail_errno(error, "free an expired fragment");
    return true;
}
