/* The text for Prometheus: sorted, whole numbers whole, and gone with the stream. */
#include "server/metrics/metrics.h"
#include <string.h>

static void
test_text(void)
{
    KvgMetrics *metrics = kvg_metrics_new();
    kvg_metrics_add(metrics, KVG_METRIC_PUT_BYTES, "yard", 1e12);
    kvg_metrics_add(metrics, KVG_METRIC_PUT_BYTES, "gate", 3);
    kvg_metrics_add(metrics, KVG_METRIC_PUT_BYTES, "gate", 4);
    kvg_metrics_add(metrics, KVG_METRIC_PUT_CONNECTIONS, "gate", 1);
    kvg_metrics_add(metrics, KVG_METRIC_PUT_CONNECTIONS, "gate", -1);
    kvg_metrics_add(metrics, KVG_METRIC_LATENCY_MS, "GetClip", 1.5);
    kvg_metrics_add(metrics, KVG_METRIC_LATENCY_MS, "GetClip", 2);
    g_autofree char *text = kvg_metrics_to_text(metrics);
    g_assert_nonnull(strstr(text, "# TYPE PutMedia_IncomingBytes counter\n"
                                  "PutMedia_IncomingBytes{StreamName=\"gate\"} 7\n"
                                  "PutMedia_IncomingBytes{StreamName=\"yard\"} 1000000000000\n"));
    g_assert_nonnull(strstr(text, "PutMedia_ActiveConnections{StreamName=\"gate\"} 0\n"));
    g_assert_nonnull(strstr(text, "# TYPE Latency summary\nLatency_sum{Operation=\"GetClip\"} 3.5\n"
                                  "Latency_count{Operation=\"GetClip\"} 2\n"));
    kvg_metrics_forget(metrics, "gate");
    g_autofree char *later = kvg_metrics_to_text(metrics);
    g_assert_null(strstr(later, "gate"));
    g_assert_nonnull(strstr(later, "yard"));
    kvg_metrics_free(metrics);
    kvg_metrics_add(NULL, KVG_METRIC_PUT_BYTES, "gate", 1);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/server/metrics/text", test_text);
    return g_test_run();
}
