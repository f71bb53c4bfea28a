#include "plugin/report.h"

#include <kvg/kvssink.h>

GST_DEBUG_CATEGORY_EXTERN(kvs_sink_debug);
#define GST_CAT_DEFAULT kvs_sink_debug

#define RESULT_OK 200
#define RESULT_UNKNOWN 7000

enum { SIGNAL_STREAM_ERROR, SIGNAL_FRAGMENT_ACK, SIGNAL_STREAM_CLIENT_METRIC, N_SIGNALS };
static guint signals[N_SIGNALS];

void
kvg_report_install_signals(GType type)
{
    signals[SIGNAL_STREAM_ERROR] = g_signal_new("stream-error", type, G_SIGNAL_RUN_LAST, 0, NULL,
                                                NULL, NULL, G_TYPE_NONE, 1, G_TYPE_UINT64);
    signals[SIGNAL_FRAGMENT_ACK] = g_signal_new("fragment-ack", type, G_SIGNAL_ACTION, 0, NULL,
                                                NULL, NULL, G_TYPE_NONE, 1, G_TYPE_POINTER);
    signals[SIGNAL_STREAM_CLIENT_METRIC] =
        g_signal_new("stream-client-metric", type, G_SIGNAL_ACTION, 0, NULL, NULL, NULL,
                     G_TYPE_NONE, 1, G_TYPE_POINTER);
}

void
kvg_report_state(GObject *object, KvgStreamState state, const char *reason)
{
    GstElement *element = GST_ELEMENT(object);
    const char *name = kvg_stream_state_to_string(state);

    GST_INFO_OBJECT(element, "stream is %s: %s", name, reason);
    gst_element_post_message(
        element, gst_message_new_element(
                     GST_OBJECT(element),
                     gst_structure_new("kvg-stream-state", "state", G_TYPE_STRING, name, "reason",
                                       G_TYPE_STRING, reason != NULL ? reason : "", NULL)));
}

/* The status by which the AWS producer calls an ErrorId: they are numbered in the order of this
 * list. */
static uint64_t
aws_status(int error_id)
{
    static const int ids[] = {4000, 4001, 4002, 4003, 4004, 4005, 4006, 4007, 4008, 4500,
                              4501, 4502, 4503, 4504, 4505, 4506, 4507, 5000, 5001};
    const uint64_t first = 0x5200005c;
    uint64_t i = 0;
    while (i < G_N_ELEMENTS(ids) && ids[i] != error_id)
        i++;
    return first + i; /* the one behind the list means "unknown" */
}

void
kvg_report_ack(GObject *object, const KvgStreamAck *ack)
{
    const bool is_error = ack->type == KVG_STREAM_ACK_ERROR;
    const bool is_known = ack->error_id >= 4000 && ack->error_id <= 5001;
    KvgSinkFragmentAck told = {.ack_type = (int32_t)ack->type,
                               .timestamp = (uint64_t)MAX(ack->timecode_ms, 0),
                               .result = !is_error  ? RESULT_OK
                                         : is_known ? ack->error_id
                                                    : RESULT_UNKNOWN};
    static const char *const names[] = {"?", "BUFFERING", "RECEIVED", "PERSISTED", "ERROR", "IDLE"};
    GST_DEBUG_OBJECT(object, "%s of %s at %" G_GINT64_FORMAT, names[ack->type],
                     ack->fragment_number, ack->timecode_ms);
    g_strlcpy(told.sequence_number, ack->fragment_number, sizeof told.sequence_number);
    g_signal_emit(object, signals[SIGNAL_FRAGMENT_ACK], 0, &told);
    if (is_error)
        g_signal_emit(object, signals[SIGNAL_STREAM_ERROR], 0, aws_status(ack->error_id));
}

void
kvg_report_metric(GObject *object,
                  KvgReportMetric *last,
                  const KvgStreamStats *stats,
                  int64_t mono_us,
                  int64_t frame_pts_us)
{
    const double elapsed_s = (double)(mono_us - last->mono_us) / G_USEC_PER_SEC;
    KvgSinkMetric metric = {.frame_pts_us = frame_pts_us,
                            .is_first = !last->has_last,
                            .spool_bytes = stats->spool_bytes,
                            .frames = stats->frames_put};
    if (last->has_last && elapsed_s > 0) {
        metric.frame_rate = (double)(stats->frames_put - last->frames) / elapsed_s;
        metric.transfer_rate_bps =
            (uint64_t)(8.0 * (double)(stats->bytes_sent - last->bytes_sent) / elapsed_s);
    }
    *last = (KvgReportMetric){true, mono_us, stats->frames_put, stats->bytes_sent};
    g_signal_emit(object, signals[SIGNAL_STREAM_CLIENT_METRIC], 0, &metric);
}

static void
add_uint64(GstStructure *out, const char *name, uint64_t value)
{
    gst_structure_set(out, name, G_TYPE_UINT64, value, NULL);
}

static void
add_reasons(GstStructure *out, const KvgStreamStats *stats)
{
    add_uint64(out, "frames-dropped-invalid", stats->frames_dropped_invalid);
    add_uint64(out, "frames-dropped-full", stats->frames_dropped_full);
    add_uint64(out, "frames-dropped-evicted", stats->frames_dropped_evicted);
    add_uint64(out, "frames-dropped-refused", stats->frames_dropped_refused);
    for (int i = 0; i < KVG_STREAM_N_ENDS; i++) {
        g_autofree char *name =
            g_strconcat("sessions-ended-", kvg_stream_end_to_string((KvgStreamEnd)i), NULL);
        add_uint64(out, name, stats->session_ends[i]);
    }
}

GstStructure *
kvg_report_stats(const KvgStreamStats *stats, const KvgWriterStats *writer)
{
    if (stats == NULL)
        return gst_structure_new("kvg-stats", "state", G_TYPE_STRING, "closed", NULL);
    GstStructure *out = gst_structure_new(
        "kvg-stats", "state", G_TYPE_STRING, kvg_stream_state_to_string(stats->state), "reason",
        G_TYPE_STRING, stats->reason,
        /* what came */
        "frames", G_TYPE_UINT64, stats->frames_put, "bytes", G_TYPE_UINT64, stats->bytes_put,
        "frames-before-key", G_TYPE_UINT64, stats->frames_before_key, "frames-left-out",
        G_TYPE_UINT64, writer->left_out, "frames-dropped", G_TYPE_UINT64, stats->frames_dropped,
        "timestamps-repaired", G_TYPE_UINT64, stats->timestamps_repaired + writer->times_repaired,
        "track-changes", G_TYPE_UINT64, writer->track_changes, "has-video", G_TYPE_BOOLEAN,
        writer->has_video, "has-audio", G_TYPE_BOOLEAN, writer->has_audio,
        /* what became of it */
        "fragments", G_TYPE_UINT64, stats->fragments_put, "fragments-persisted", G_TYPE_UINT64,
        stats->fragments_persisted, "fragments-dropped", G_TYPE_UINT64, stats->fragments_dropped,
        "frames-persisted", G_TYPE_UINT64, stats->frames_persisted, "spool-bytes", G_TYPE_UINT64,
        stats->spool_bytes, "spool-fragments", G_TYPE_UINT64, stats->spool_fragments,
        /* the network */
        "bytes-sent", G_TYPE_UINT64, stats->bytes_sent, "sessions", G_TYPE_UINT64, stats->sessions,
        "failures", G_TYPE_UINT64, stats->failures, "acks-error", G_TYPE_UINT64, stats->acks_error,
        "last-error-id", G_TYPE_INT, stats->last_error_id, "ack-latency-ms", G_TYPE_INT64,
        stats->last_ack_latency_ms, "metadata", G_TYPE_UINT64, stats->metadata_put,
        "fragments-resent", G_TYPE_UINT64, stats->fragments_resent, "throttled", G_TYPE_UINT64,
        stats->throttled, "clock-corrections", G_TYPE_UINT64, stats->clock_corrections,
        "clock-offset-ms", G_TYPE_INT64, stats->clock_offset_ms, NULL);
    add_reasons(out, stats);
    return out;
}
