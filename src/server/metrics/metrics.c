/* A table of series per metric, under one lock: an addition is a look-up and a sum. */
#include "server/metrics/metrics.h"

#include <pthread.h>

typedef struct {
    double sum;
    uint64_t n;
} Series;

struct _KvgMetrics {
    pthread_mutex_t lock;
    GHashTable *series[KVG_N_METRICS]; /* label -> Series */
};

/* The service writes a dot where Prometheus allows none. */
static const struct {
    const char *name, *label, *type, *help;
} descriptions[] = {
    [KVG_METRIC_REQUESTS] = {"Requests", "Operation", "counter", "Calls of an operation"},
    [KVG_METRIC_SUCCESS] = {"Success", "Operation", "counter", "Calls that were answered with 2xx"},
    [KVG_METRIC_LATENCY_MS] = {"Latency", "Operation", "summary",
                               "Milliseconds from the request to the end of the answer"},
    [KVG_METRIC_OUTGOING_BYTES] = {"OutgoingBytes", "Operation", "counter",
                                   "Bytes of answers, heads included"},
    [KVG_METRIC_PUT_REQUESTS] = {"PutMedia_Requests", "StreamName", "counter", "PutMedia.Requests"},
    [KVG_METRIC_PUT_SUCCESS] = {"PutMedia_Success", "StreamName", "counter",
                                "PutMedia.Success: fragments that were persisted"},
    [KVG_METRIC_PUT_CONNECTIONS] = {"PutMedia_ActiveConnections", "StreamName", "gauge",
                                    "PutMedia.ActiveConnections"},
    [KVG_METRIC_PUT_CONNECTION_ERRORS] = {"PutMedia_ConnectionErrors", "StreamName", "counter",
                                          "PutMedia.ConnectionErrors: uploads that were cut off"},
    [KVG_METRIC_PUT_BYTES] = {"PutMedia_IncomingBytes", "StreamName", "counter",
                              "PutMedia.IncomingBytes"},
    [KVG_METRIC_PUT_FRAGMENTS] = {"PutMedia_IncomingFragments", "StreamName", "counter",
                                  "PutMedia.IncomingFragments"},
    [KVG_METRIC_PUT_ERROR_ACKS] = {"PutMedia_ErrorAckCount", "StreamName", "counter",
                                   "PutMedia.ErrorAckCount"},
    [KVG_METRIC_PUT_INGESTION_MS] = {"PutMedia_FragmentIngestionLatency", "StreamName", "summary",
                                     "PutMedia.FragmentIngestionLatency: milliseconds from the "
                                     "first byte of a fragment to its last"},
    [KVG_METRIC_PUT_PERSIST_MS] = {"PutMedia_FragmentPersistLatency", "StreamName", "summary",
                                   "PutMedia.FragmentPersistLatency: milliseconds from the last "
                                   "byte of a fragment until it is on disk"},
};

KvgMetrics *
kvg_metrics_new(void)
{
    KvgMetrics *metrics = g_new0(KvgMetrics, 1);
    pthread_mutex_init(&metrics->lock, NULL);
    for (int i = 0; i < KVG_N_METRICS; i++)
        metrics->series[i] = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    return metrics;
}

void
kvg_metrics_free(KvgMetrics *metrics)
{
    if (metrics == NULL)
        return;
    for (int i = 0; i < KVG_N_METRICS; i++)
        g_hash_table_unref(metrics->series[i]);
    pthread_mutex_destroy(&metrics->lock);
    g_free(metrics);
}

void
kvg_metrics_add(KvgMetrics *metrics, KvgMetric metric, const char *label, double value)
{
    if (metrics == NULL)
        return;
    pthread_mutex_lock(&metrics->lock);
    Series *series = g_hash_table_lookup(metrics->series[metric], label);
    if (series == NULL) {
        series = g_new0(Series, 1);
        g_hash_table_insert(metrics->series[metric], g_strdup(label), series);
    }
    series->sum += value;
    series->n++;
    pthread_mutex_unlock(&metrics->lock);
}

void
kvg_metrics_forget(KvgMetrics *metrics, const char *label)
{
    if (metrics == NULL)
        return;
    pthread_mutex_lock(&metrics->lock);
    for (int i = KVG_METRIC_PUT_REQUESTS; i < KVG_N_METRICS; i++)
        g_hash_table_remove(metrics->series[i], label);
    pthread_mutex_unlock(&metrics->lock);
}

static void
put_line(GString *out, KvgMetric metric, const char *suffix, const char *label, double value)
{
    char number[G_ASCII_DTOSTR_BUF_SIZE];
    g_ascii_formatd(number, sizeof number, "%.15g", value);
    /* Names of streams and operations need no escapes. */
    g_string_append_printf(out, "%s%s{%s=\"%s\"} %s\n", descriptions[metric].name, suffix,
                           descriptions[metric].label, label, number);
}

static int
compare_labels(const void *a, const void *b)
{
    return g_strcmp0(a, b);
}

static void
put_metric(GString *out, KvgMetric metric, GHashTable *all)
{
    const bool is_summary = g_str_equal(descriptions[metric].type, "summary");
    g_string_append_printf(out, "# HELP %s %s\n# TYPE %s %s\n", descriptions[metric].name,
                           descriptions[metric].help, descriptions[metric].name,
                           descriptions[metric].type);
    g_autoptr(GList) labels = g_list_sort(g_hash_table_get_keys(all), compare_labels);
    for (GList *item = labels; item != NULL; item = item->next) {
        const Series *series = g_hash_table_lookup(all, item->data);
        put_line(out, metric, is_summary ? "_sum" : "", item->data, series->sum);
        if (is_summary)
            put_line(out, metric, "_count", item->data, (double)series->n);
    }
}

char *
kvg_metrics_to_text(KvgMetrics *metrics)
{
    GString *out = g_string_new(NULL);
    if (metrics == NULL)
        return g_string_free(out, false);
    pthread_mutex_lock(&metrics->lock);
    for (int i = 0; i < KVG_N_METRICS; i++)
        if (g_hash_table_size(metrics->series[i]) > 0)
            put_metric(out, (KvgMetric)i, metrics->series[i]);
    pthread_mutex_unlock(&metrics->lock);
    return g_string_free(out, false);
}
