/* libgstkvg.so: what gst-inspect-1.0 and gst-launch-1.0 load. */
#include "plugin/kvssink.h"

#define PACKAGE "kvg"

static gboolean
plugin_init(GstPlugin *plugin)
{
    return gst_element_register(plugin, "kvssink", GST_RANK_PRIMARY + 10, GST_TYPE_KVS_SINK);
}

/* The macro casts its literals. */
#pragma GCC diagnostic ignored "-Wcast-qual"
GST_PLUGIN_DEFINE(GST_VERSION_MAJOR,
                  GST_VERSION_MINOR,
                  kvg,
                  "Kinesis Video Streams by kvg",
                  plugin_init,
                  KVG_VERSION,
                  "Apache-2.0",
                  "kvg",
                  "https://kvg.invalid/")
