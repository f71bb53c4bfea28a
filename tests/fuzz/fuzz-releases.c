/* The file of releases: the input as it is, and with its checksum put right. What is read fits its
 * limits and is written again as it was. */
#include "fuzz.h"

#include "base/bytes.h"
#include "spool/release.h"

static void
read_and_write(const uint8_t *data, size_t size)
{
    KvgReleases releases;
    uint64_t sequence = 0;
    kvg_releases_init(&releases);
    if (kvg_releases_unpack(&releases, data, size, &sequence)) {
        for (guint i = 0; i < releases.releases->len; i++) {
            KvgRelease one = g_array_index(releases.releases, KvgRelease, i);
            g_autoptr(GArray) there = g_array_new(FALSE, FALSE, sizeof(KvgTimeRange));
            g_assert(strlen(one.id) <= KVG_RELEASE_ID_BYTES);
            g_assert(kvg_releases_find(&releases, one.id) != NULL);
            kvg_ranges_add(there, one.range.from_wall_ms / 2, one.range.to_wall_ms / 2);
            kvg_release_judge(&one, there, INT64_MAX);
        }
        kvg_releases_take(&releases, 1, 2);
        kvg_releases_is_gone(&releases, 1, 1);
        g_autoptr(GByteArray) again = kvg_releases_pack(&releases, sequence);
        KvgReleases copy;
        kvg_releases_init(&copy);
        g_assert(kvg_releases_unpack(&copy, again->data, again->len, &sequence));
        g_assert(copy.releases->len == releases.releases->len && copy.n_open == releases.n_open);
        kvg_releases_clear(&copy);
    } else {
        g_assert(releases.releases->len == 0 && releases.gone->len == 0 && releases.n_open == 0);
    }
    kvg_releases_clear(&releases);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    read_and_write(data, size);
    if (size < 8)
        return 0;
    g_autofree uint8_t *sealed = g_memdup2(data, size);
    memcpy(sealed + 4, "\0\0\0\1", 4);
    const uint32_t crc = GUINT32_TO_BE(kvg_crc32c(0, sealed + 4, size - 4));
    memcpy(sealed, &crc, 4);
    read_and_write(sealed, size);
    return 0;
}
