/* Counters of the service under its own names (PutMedia.IncomingBytes, ...), and their text for
 * Prometheus. In memory only. Thread-safe; every function takes NULL and does nothing then. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum {
    KVG_METRIC_REQUESTS, /* of any operation; its name is the label Operation */
    KVG_METRIC_SUCCESS,
    KVG_METRIC_LATENCY_MS,
    KVG_METRIC_OUTGOING_BYTES,
    /* of a stream */
    KVG_METRIC_PUT_REQUESTS,
    KVG_METRIC_PUT_SUCCESS,
    KVG_METRIC_PUT_CONNECTIONS, /* open now */
    KVG_METRIC_PUT_CONNECTION_ERRORS,
    KVG_METRIC_PUT_BYTES,
    KVG_METRIC_PUT_FRAGMENTS,
    KVG_METRIC_PUT_ERROR_ACKS,
    KVG_METRIC_PUT_INGESTION_MS, /* first byte of a fragment to RECEIVED */
    KVG_METRIC_PUT_PERSIST_MS,   /* RECEIVED to PERSISTED */
    KVG_N_METRICS,
} KvgMetric;

typedef struct _KvgMetrics KvgMetrics;
KvgMetrics *kvg_metrics_new(void);
void kvg_metrics_free(KvgMetrics *metrics);
/* @label: the operation or stream that exists; never what a request merely claims. A gauge may be
 * added negative values; of a latency each value is one measurement. */
void kvg_metrics_add(KvgMetrics *metrics, KvgMetric metric, const char *label, double value);
/* A stream is no more. */
void kvg_metrics_forget(KvgMetrics *metrics, const char *label);
/* Prometheus text format 0.0.4 (g_free). */
char *kvg_metrics_to_text(KvgMetrics *metrics);
