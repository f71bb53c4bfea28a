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

G_END_DECLS
