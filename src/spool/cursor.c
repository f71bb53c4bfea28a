/* The cursor: two slots of checksum, version, sequence, persisted, next fragment, written in turn;
 * the newer whole one counts. Each folder that is in use has one and the furthest of them counts.
 * Not synced: after a loss of power a few fragments may go up twice. */
#include "base/bytes.h"
#include "spool/private.h"
#include <errno.h>
#include <fcntl.h>
#include <kvg/error.h>

#define CURSOR_SLOT_BYTES 32u
#define CURSOR_VERSION 1u

static char *
cursor_path(const KvgSpool *spool, KvgSpoolPlace place)
{
    return g_build_filename(spool->paths[place], "cursor", NULL);
}

static bool
take_slot(KvgSpool *spool, const uint8_t *slot, GError **error)
{
    KvgReader reader = kvg_reader_init(slot, CURSOR_SLOT_BYTES);
    if (kvg_reader_u32(&reader) != kvg_crc32c(0, slot + 4, CURSOR_SLOT_BYTES - 4))
        return true;
    const uint32_t version = kvg_reader_u32(&reader);
    if (version > CURSOR_VERSION) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_UNSUPPORTED,
                    "spool %s: its cursor has format %u and this version of kvg knows up to %u; "
                    "use a newer kvg, or another folder. Nothing was changed",
                    spool->name, version, CURSOR_VERSION);
        return false;
    }
    const uint64_t sequence = kvg_reader_u64(&reader);
    const uint64_t persisted = kvg_reader_u64(&reader);
    const uint64_t next = kvg_reader_u64(&reader);
    spool->shared.cursor_sequence = MAX(spool->shared.cursor_sequence, sequence);
    spool->shared.persisted = MAX(spool->shared.persisted, persisted);
    spool->shared.next_fragment = MAX(spool->shared.next_fragment, next);
    return true;
}

static bool
read_place(KvgSpool *spool, KvgSpoolPlace place, GError **error)
{
    g_autofree char *path = cursor_path(spool, place);
    g_auto(KvgFd) fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT || kvg_spool_fail(error, errno, path, "open");
    uint8_t slots[2 * CURSOR_SLOT_BYTES] = {0};
    if (pread(fd, slots, sizeof slots, 0) < 0)
        return kvg_spool_fail(error, errno, path, "read");
    return take_slot(spool, slots, error) && take_slot(spool, slots + CURSOR_SLOT_BYTES, error);
}

bool
kvg_spool_read_cursor(KvgSpool *spool, GError **error)
{
    for (KvgSpoolPlace place = 0; place < KVG_SPOOL_N_PLACES; place++) {
        if (spool->paths[place] != NULL && !read_place(spool, place, error))
            return false;
    }
    spool->shared.next_fragment = MAX(spool->shared.next_fragment, spool->shared.persisted + 1);
    return true;
}

static void
write_place(KvgSpool *spool, KvgSpoolPlace place, const GByteArray *slot, uint64_t sequence)
{
    g_autofree char *path = cursor_path(spool, place);
    g_auto(KvgFd) fd = spool->system->open(path, O_WRONLY | O_CREAT, 0600);
    struct iovec part = {.iov_base = slot->data, .iov_len = slot->len};
    const int code =
        fd < 0 ? errno : kvg_spool_write_at(spool, fd, &part, 1, sequence % 2 * CURSOR_SLOT_BYTES);
    if (code != 0)
        kvg_spool_note_trouble(spool, place, kvg_spool_judge(code), code);
}

void
kvg_spool_write_cursor(KvgSpool *spool)
{
    pthread_mutex_lock(&spool->lock);
    const bool is_dirty = spool->shared.is_cursor_dirty;
    spool->shared.is_cursor_dirty = false;
    const uint64_t sequence = spool->shared.cursor_sequence += is_dirty;
    const uint64_t persisted = spool->shared.persisted;
    const uint64_t next = spool->shared.next_fragment;
    /* The disk's is not touched while everything is in memory, to spare it. */
    const bool wants[KVG_SPOOL_N_PLACES] = {
        [KVG_SPOOL_IN_MEMORY] = spool->tier != KVG_SPOOL_TIER_DISK,
        [KVG_SPOOL_ON_DISK] = spool->tier == KVG_SPOOL_TIER_DISK ||
                              spool->paths[KVG_SPOOL_IN_MEMORY] == NULL ||
                              spool->shared.bytes_in[KVG_SPOOL_ON_DISK] > 0};
    pthread_mutex_unlock(&spool->lock);
    if (!is_dirty)
        return;
    g_autoptr(GByteArray) slot = g_byte_array_sized_new(CURSOR_SLOT_BYTES);
    kvg_bytes_put_u32(slot, 0);
    kvg_bytes_put_u32(slot, CURSOR_VERSION);
    kvg_bytes_put_u64(slot, sequence);
    kvg_bytes_put_u64(slot, persisted);
    kvg_bytes_put_u64(slot, next);
    kvg_bytes_set_u32(slot, 0, kvg_crc32c(0, slot->data + 4, CURSOR_SLOT_BYTES - 4));
    for (KvgSpoolPlace place = 0; place < KVG_SPOOL_N_PLACES; place++) {
        if (wants[place] && spool->paths[place] != NULL)
            write_place(spool, place, slot, sequence);
    }
}
