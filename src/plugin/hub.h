/* What all sinks of a process share: one producer (one uploader thread) per service and spool
 * folder, and its open streams by name. A stream lives as long as somebody holds it, so a camera
 * whose pipeline is built anew goes on in the same stream. Hides: counting, who writes, last time
 * put. */
#pragma once

#include <glib-object.h>
#include <kvg/producer.h>

typedef struct _KvgHubStream KvgHubStream;

/* Opens the stream, or takes a further hold of it if it is open in this process already (then
 * @stream_options are not looked at, except the name and `hold`, which must be as it was opened
 * with: KVG_ERROR_RETRY until the others have let go). the callbacks of @stream_options must be
 * NULL: they are the hub's. */
KvgHubStream *kvg_hub_open_stream(const KvgProducerOptions *producer_options,
                                  const KvgStreamOptions *stream_options,
                                  GError **error);
KvgHubStream *kvg_hub_stream_hold(KvgHubStream *stream);
/* Gives the hold back; the last one closes the stream, waiting up to @timeout_ms for what is not
 * yet persisted, and the producer with its last stream. True if everything was persisted or others
 * still hold the stream. NULL is fine. */
bool kvg_hub_stream_release(KvgHubStream *stream, int64_t timeout_ms, GError **error);

/* As kvg_hub_stream_release(), for a writer: it hears of the stream until that is closed, or if
 * others hold it, no more. */
bool
kvg_hub_stream_leave(KvgHubStream *stream, GObject *object, int64_t timeout_ms, GError **error);

/* Called on the uploader thread with @object held. */
typedef struct {
    void (*state)(GObject *object, KvgStreamState state, const char *reason);
    void (*ack)(GObject *object, const KvgStreamAck *ack);
} KvgHubListener;
/* One writer at a time: false if there is another. @object is only known weakly; @listener is
 * static. */
bool kvg_hub_stream_attach(KvgHubStream *stream, GObject *object, const KvgHubListener *listener);
void kvg_hub_stream_detach(KvgHubStream *stream, GObject *object);

void kvg_hub_stream_get_stats(KvgHubStream *stream, KvgStreamStats *stats);
/* The stream itself, for what any thread may ask of it; valid while @stream is held. */
KvgStream *kvg_hub_stream_get(KvgHubStream *stream);

/* ---- the writer's ---- */

/* As kvg_stream_set_tracks(), but does nothing if @tracks are what was set last. At most two. */
bool kvg_hub_stream_set_tracks(KvgHubStream *stream,
                               const KvgTrack *tracks,
                               size_t n_tracks,
                               GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool kvg_hub_stream_put_metadata(KvgHubStream *stream,
                                 const char *name,
                                 const char *value,
                                 bool persistent,
                                 GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool kvg_hub_stream_put(KvgHubStream *stream,
                        const KvgFrame *frame,
                        GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Decoding time of the last frame put, by any writer; INT64_MIN if none. */
int64_t kvg_hub_stream_last_dts_us(const KvgHubStream *stream);
