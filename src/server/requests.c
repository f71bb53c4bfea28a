/* Access log and request metrics. Of a URL only the path is logged: a query may hold a session
 * token or a presigned URL's signature. */
#include "server/requests.h"

#include "base/clock.h"
#include "os/log.h"
#include "server/metrics/metrics.h"
#include <string.h>

#define LOG_DOMAIN "server"
#define MAX_LOGGED_PATH 256

/* Operations beside those of the control plane, as the service's metrics call them. */
static const struct {
    const char *path, *name;
} media_operations[] = {
    {"/putMedia", "PutMedia"},
    {"/getMedia", "GetMedia"},
    {"/getMediaForFragmentList", "GetMediaForFragmentList"},
    {"/listFragments", "ListFragments"},
    {"/getClip", "GetClip"},
    {"/getImages", "GetImages"},
    {"/getHLSStreamingSessionURL", "GetHLSStreamingSessionURL"},
    {"/getDASHStreamingSessionURL", "GetDASHStreamingSessionURL"},
    {"/hls/v1/getHLSMasterPlaylist.m3u8", "GetHLSMasterPlaylist"},
    {"/hls/v1/getHLSMediaPlaylist.m3u8", "GetHLSMediaPlaylist"},
    {"/hls/v1/getMP4InitFragment.mp4", "GetMP4InitFragment"},
    {"/hls/v1/getMP4MediaFragment.mp4", "GetMP4MediaFragment"},
    {"/hls/v1/getTSFragment.ts", "GetTSFragment"},
    {"/dash/v1/getDASHManifest.mpd", "GetDASHManifest"},
    {"/dash/v1/getMP4InitFragment.mp4", "GetMP4InitFragment"},
    {"/dash/v1/getMP4MediaFragment.mp4", "GetMP4MediaFragment"},
};

static const char *
operation_of(const char *path)
{
    for (size_t i = 0; i < G_N_ELEMENTS(media_operations); i++)
        if (strcmp(media_operations[i].path, path) == 0)
            return media_operations[i].name;
    return kvg_control_operation_name(path);
}

static void
count(KvgServer *server, const KvgHttpExchange *x, const char *operation, int64_t took_us)
{
    kvg_metrics_add(server->metrics, KVG_METRIC_REQUESTS, operation, 1);
    kvg_metrics_add(server->metrics, KVG_METRIC_SUCCESS, operation, kvg_http_status(x) / 100 == 2);
    kvg_metrics_add(server->metrics, KVG_METRIC_LATENCY_MS, operation, (double)took_us / 1000);
    kvg_metrics_add(server->metrics, KVG_METRIC_OUTGOING_BYTES, operation,
                    (double)kvg_http_sent_bytes(x));
}

void
kvg_request_finished(KvgServer *server, KvgHttpExchange *x, int64_t began_us)
{
    const int64_t took_us = kvg_clock_mono_us() - began_us;
    const char *operation = operation_of(kvg_http_path(x));
    if (operation != NULL)
        count(server, x, operation, took_us);
    g_autofree char *path =
        g_utf8_make_valid(kvg_http_path(x), MIN(strlen(kvg_http_path(x)), MAX_LOGGED_PATH));
    KVG_LOG_INFO(LOG_DOMAIN, "REQUEST_ID", kvg_http_request_id(x),
                 "%s %s %s %d in %" G_GUINT64_FORMAT " out %" G_GUINT64_FORMAT
                 " bytes, %" G_GINT64_FORMAT ".%03d ms, request %s",
                 kvg_http_peer_address(x), kvg_http_method(x), path, kvg_http_status(x),
                 kvg_http_read_bytes(x), kvg_http_sent_bytes(x), took_us / 1000,
                 (int)(took_us % 1000), kvg_http_request_id(x));
}

void
kvg_request_metrics(KvgServer *server, KvgHttpExchange *x, unsigned open)
{
    static const KvgHeader header = {"Content-Type", "text/plain; version=0.0.4"};
    g_autofree char *series = kvg_metrics_to_text(server->metrics);
    g_autofree char *text = g_strdup_printf("%s# HELP Connections Open connections of all ports\n"
                                            "# TYPE Connections gauge\nConnections %u\n",
                                            series, open);
    kvg_http_respond(x, 200, &header, 1, text, strlen(text));
}
