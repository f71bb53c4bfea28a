#include "aws/hls.h"
#include "base/clock.h"
#include <kvg/error.h>

#define MAX_EXPIRES_S 43200
#define LIVE_FRAGMENTS 5
#define ON_DEMAND_FRAGMENTS 5000
#define HOUR_MS (3600 * 1000)

KvgHlsRequest
kvg_hls_last_hour(void)
{
    /* Whole seconds, rounded up: what ended a moment ago belongs to it. */
    const int64_t end_ms = (kvg_clock_wall_ms() / 1000 + 1) * 1000;
    return (KvgHlsRequest){.from_ms = end_ms - HOUR_MS, .to_ms = end_ms};
}

char *
kvg_archive_hls_url(KvgArchive *archive, const KvgHlsRequest *request, GError **error)
{
    const bool is_live = request->to_ms == 0;
    g_autoptr(json_t) arguments = json_pack(
        "{s:s, s:s, s:s, s:s, s:i, s:i}", "PlaybackMode", is_live ? "LIVE" : "ON_DEMAND",
        "ContainerFormat", "FRAGMENTED_MP4", "DiscontinuityMode", "ON_DISCONTINUITY",
        "DisplayFragmentTimestamp", "ALWAYS", "Expires",
        request->expires_s != 0 ? request->expires_s : MAX_EXPIRES_S,
        "MaxMediaPlaylistFragmentResults", is_live ? LIVE_FRAGMENTS : ON_DEMAND_FRAGMENTS);
    json_object_set_new(arguments, "HLSFragmentSelector",
                        is_live ? json_pack("{s:s}", "FragmentSelectorType", "PRODUCER_TIMESTAMP")
                                : kvg_archive_selector(request->from_ms, request->to_ms));
    g_autoptr(json_t) reply = kvg_archive_call(archive, "GET_HLS_STREAMING_SESSION_URL",
                                               "/getHLSStreamingSessionURL", arguments, error);
    if (reply == NULL)
        return NULL;
    const char *url = kvg_json_get_string(reply, "HLSStreamingSessionURL");
    if (url == NULL)
        g_set_error(error, KVG_ERROR, KVG_ERROR_RETRY,
                    "the service's answer has no HLSStreamingSessionURL");
    return g_strdup(url);
}
