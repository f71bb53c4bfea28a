/* What kvssink tells: signals, element messages, the property stats. */
#pragma once

#include "plugin/hub.h"
#include "plugin/writer.h"
#include <gst/gst.h>

void kvg_report_install_signals(GType type);

/* Element message "kvg-stream-state" with the strings state and reason. Thread: any. */
void kvg_report_state(GObject *object, KvgStreamState state, const char *reason);
/* Signals "fragment-ack" and, for an ERROR, "stream-error". Thread: the uploader's. */
void kvg_report_ack(GObject *object, const KvgStreamAck *ack);

/* Kept between two signals "stream-client-metric". */
typedef struct {
    bool has_last;
    int64_t mono_us;
    uint64_t frames, bytes_sent;
} KvgReportMetric;
void kvg_report_metric(GObject *object,
                       KvgReportMetric *last,
                       const KvgStreamStats *stats,
                       int64_t mono_us,
                       int64_t frame_pts_us);

/* "kvg-stats". @stats: NULL while there is no stream. */
GstStructure *kvg_report_stats(const KvgStreamStats *stats, const KvgWriterStats *writer);
