/* Where GetMedia finds the fragments of a stream: in the store, or, if the stream keeps none, in
 * memory. */
#pragma once

#include "server/playback/call.h"

/* The fragments behind number @after ("": all), oldest first, at most @max. */
GArray *
kvg_source_list_after(const KvgReadCall *call, const char *after, size_t max, GError **error);
/* The newest fragment; none if there is none. */
GArray *kvg_source_list_newest(const KvgReadCall *call, GError **error);
/* The fragment that contains the time, else the first that follows. */
GArray *
kvg_source_list_at(const KvgReadCall *call, KvgStoreOrder order, int64_t time_ms, GError **error);
bool kvg_source_has(const KvgReadCall *call, const char *number);
bool kvg_source_read(const KvgReadCall *call,
                     const char *number,
                     GBytes **header,
                     GBytes **media,
                     GError **error) G_GNUC_WARN_UNUSED_RESULT;
