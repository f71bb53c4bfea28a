#include "spool/recent.h"

#include <string.h>

static void
drop_first(KvgSpoolRecent *recent, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        recent->bytes -= g_bytes_get_size(recent->frames[i].frame.data);
        g_bytes_unref(recent->frames[i].frame.data);
    }
    recent->n -= n;
    memmove(recent->frames, recent->frames + n, recent->n * sizeof recent->frames[0]);
}

void
kvg_spool_recent_clear(KvgSpoolRecent *recent)
{
    drop_first(recent, recent->n);
    recent->is_followed = false;
}

void
kvg_spool_recent_put(
    KvgSpoolRecent *recent, uint64_t fragment, uint64_t offset, const KvgFrame *frame, GBytes *data)
{
    const size_t len = g_bytes_get_size(data);
    if (recent->n == KVG_SPOOL_RECENT_FRAMES || recent->bytes + len > KVG_SPOOL_RECENT_BYTES)
        kvg_spool_recent_clear(recent);
    if (!recent->is_followed) {
        g_bytes_unref(data);
        return;
    }
    recent->frames[recent->n].fragment = fragment;
    recent->frames[recent->n].offset = offset;
    recent->frames[recent->n].frame = *frame;
    recent->frames[recent->n].frame.data = data;
    recent->bytes += len;
    recent->n++;
}

bool
kvg_spool_recent_take(KvgSpoolRecent *recent, uint64_t fragment, uint64_t offset, KvgFrame *frame)
{
    for (unsigned i = 0; i < recent->n; i++) {
        if (recent->frames[i].fragment != fragment || recent->frames[i].offset != offset)
            continue;
        *frame = recent->frames[i].frame;
        g_bytes_ref(frame->data);
        drop_first(recent, i + 1); /* those before it are read, too */
        return true;
    }
    return false;
}

void
kvg_spool_recent_at_end(KvgSpoolRecent *recent)
{
    drop_first(recent, recent->n);
    recent->is_followed = true;
}
