/* The store answers questions; what is in memory is listed whole and looked through. */
#include "server/playback/source.h"

#include "base/clock.h"

/* A fragment spans at most 20 s: older ones cannot contain a time. */
#define MAX_SPAN_MS 20000

static bool
is_kept(const KvgReadCall *call)
{
    return call->stream.retention_hours > 0;
}

static GArray *
list_buffer(const KvgReadCall *call, const char *after)
{
    return kvg_buffer_list_after(call->server->buffer, call->stream.arn, after,
                                 kvg_clock_mono_us());
}

GArray *
kvg_source_list_after(const KvgReadCall *call, const char *after, size_t max, GError **error)
{
    if (is_kept(call))
        return kvg_store_list_after(call->server->store, call->stream.arn, KVG_STORE_BY_SERVER_TIME,
                                    kvg_read_oldest_ms(call), INT64_MAX, after, max, error);
    GArray *infos = list_buffer(call, after);
    g_array_set_size(infos, MIN(infos->len, (guint)max));
    return infos;
}

GArray *
kvg_source_list_newest(const KvgReadCall *call, GError **error)
{
    if (is_kept(call))
        return kvg_store_list(call->server->store, call->stream.arn, KVG_STORE_BY_SERVER_TIME,
                              kvg_read_oldest_ms(call), INT64_MAX, 1, true, error);
    GArray *infos = list_buffer(call, "");
    if (infos->len > 1)
        g_array_remove_range(infos, 0, infos->len - 1);
    return infos;
}

static int64_t
start_of(const KvgFragmentInfo *info, KvgStoreOrder order)
{
    return order == KVG_STORE_BY_SERVER_TIME ? info->server_ms : info->producer_ms;
}

static GArray *
list_buffer_at(const KvgReadCall *call, KvgStoreOrder order, int64_t time_ms)
{
    GArray *infos = list_buffer(call, "");
    guint i = 0;
    while (i < infos->len) {
        const KvgFragmentInfo *info = &g_array_index(infos, KvgFragmentInfo, i);
        if (start_of(info, order) + info->length_ms > time_ms)
            break;
        i++;
    }
    g_array_remove_range(infos, 0, i);
    g_array_set_size(infos, MIN(infos->len, 1));
    return infos;
}

GArray *
kvg_source_list_at(const KvgReadCall *call, KvgStoreOrder order, int64_t time_ms, GError **error)
{
    if (!is_kept(call))
        return list_buffer_at(call, order, time_ms);
    KvgStore *store = call->server->store;
    g_autoptr(GArray) infos = kvg_store_list(
        store, call->stream.arn, order, MAX(time_ms - MAX_SPAN_MS, 0), time_ms, 1, true, error);
    if (infos == NULL)
        return NULL;
    if (infos->len > 0) {
        const KvgFragmentInfo *last = &g_array_index(infos, KvgFragmentInfo, 0);
        if (start_of(last, order) + last->length_ms > time_ms)
            return g_steal_pointer(&infos);
    }
    return kvg_store_list(store, call->stream.arn, order, time_ms, INT64_MAX, 1, false, error);
}

bool
kvg_source_read(
    const KvgReadCall *call, const char *number, GBytes **header, GBytes **media, GError **error)
{
    return is_kept(call)
               ? kvg_store_read(call->server->store, call->stream.arn, number, header, media, error)
               : kvg_buffer_read(call->server->buffer, call->stream.arn, number, header, media,
                                 error);
}

bool
kvg_source_has(const KvgReadCall *call, const char *number)
{
    KvgFragmentInfo info;
    g_autoptr(GBytes) header = NULL;
    g_autoptr(GBytes) media = NULL;
    return is_kept(call)
               ? kvg_store_find(call->server->store, call->stream.arn, number, &info, NULL)
               : kvg_buffer_read(call->server->buffer, call->stream.arn, number, &header, &media,
                                 NULL);
}
