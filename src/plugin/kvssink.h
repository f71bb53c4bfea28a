/* The element kvssink: pads and properties only; what it is given goes to a stream of the hub. */
#pragma once

#include "plugin/hub.h"
#include <gst/gst.h>
#include <stdbool.h>

G_BEGIN_DECLS

#define GST_TYPE_KVS_SINK (gst_kvs_sink_get_type())
G_DECLARE_FINAL_TYPE(GstKvsSink, gst_kvs_sink, GST, KVS_SINK, GstElement)

/* Registers the element for programs that link the plugin instead of loading it. */
bool kvg_plugin_register_static(void);

/* Makes @element write into @stream whatever its properties say of service, stream and credentials.
 * For a program that keeps its streams while pipelines come and go. In state NULL only; the element
 * keeps a hold. */
void kvg_sink_use_stream(GstElement *element, KvgHubStream *stream);

/* Gives that stream up at once, whatever state the pipeline hangs in: what was put is written, what
 * still comes is refused, another element may write into the stream. Thread: any. */
void kvg_sink_let_go(GstElement *element);
/* In state NULL: nothing may be dropped, the source waits when the spool comes near @limit_bytes
 * (0: unknown). */
void kvg_sink_set_offline(GstElement *element, uint64_t limit_bytes);
/* Before the first frame: what is not live begins at this time in place of now. */
void kvg_sink_set_begin(GstElement *element, int64_t wall_us);
/* When @buffer was captured by the clock of its source; INT64_MIN if that did not say so. */
int64_t kvg_sink_captured_us(GstBuffer *buffer);

G_END_DECLS
