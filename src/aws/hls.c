#include "aws/hls.h"
#include "base/clock.h"
#include "base/json.h"
#include <kvg/error.h>

#define MAX_EXPIRES_S 43200
#define LIVE_FRAGMENTS 5
#define ON_DEMAND_FRAGMENTS 5000

static json_t *
call(const KvgHlsRequest *request,
     const char *base_url,
     const char *path,
     const json_t *arguments,
     KvgCredentials *credentials,
     GError **error)
{
    g_autofree char *body = kvg_json_to_text(arguments);
    const KvgAwsRequest aws = {.service = "kinesisvideo",
                               .region = request->region,
                               .base_url = base_url,
                               .method = "POST",
                               .path = path,
                               .body = body,
                               .ca_path = request->ca_path};
    g_auto(KvgAwsReply) reply = {0};
    if (!kvg_aws_call(&aws, credentials, &reply, error))
        return NULL;
    return kvg_json_parse_object(reply.body->str, reply.body->len, error);
}

static char *
take_string(const json_t *reply, const char *key, GError **error)
{
    const char *value = kvg_json_get_string(reply, key);
    if (value == NULL)
        g_set_error(error, KVG_ERROR, KVG_ERROR_RETRY, "the service's answer has no %s", key);
    return g_strdup(value);
}

static char *
data_endpoint(const KvgHlsRequest *request, KvgCredentials *credentials, GError **error)
{
    g_autofree char *base = kvg_aws_base_url("kinesisvideo", request->region, request->endpoint);
    g_autoptr(json_t) arguments = json_pack("{s:s, s:s}", "StreamName", request->stream, "APIName",
                                            "GET_HLS_STREAMING_SESSION_URL");
    g_autoptr(json_t) reply =
        call(request, base, "/getDataEndpoint", arguments, credentials, error);
    g_autofree char *endpoint = reply != NULL ? take_string(reply, "DataEndpoint", error) : NULL;
    return endpoint != NULL ? kvg_aws_base_url("kinesisvideo", request->region, endpoint) : NULL;
}

static json_t *
session_arguments(const KvgHlsRequest *request)
{
    json_t *arguments = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:i, s:i}", "StreamName", request->stream, "PlaybackMode",
        request->on_demand ? "ON_DEMAND" : "LIVE", "ContainerFormat", "FRAGMENTED_MP4",
        "DiscontinuityMode", "ON_DISCONTINUITY", "DisplayFragmentTimestamp", "ALWAYS", "Expires",
        request->expires_s != 0 ? request->expires_s : MAX_EXPIRES_S,
        "MaxMediaPlaylistFragmentResults",
        request->on_demand ? ON_DEMAND_FRAGMENTS : LIVE_FRAGMENTS);
    json_t *selector = json_pack("{s:s}", "FragmentSelectorType", "PRODUCER_TIMESTAMP");
    if (request->on_demand) {
        /* Whole seconds, rounded up: what ended a moment ago belongs to it. */
        const json_int_t end_s = kvg_clock_wall_ms() / 1000 + 1;
        json_object_set_new(
            selector, "TimestampRange",
            json_pack("{s:I, s:I}", "StartTimestamp", end_s - 3600, "EndTimestamp", end_s));
    }
    json_object_set_new(arguments, "HLSFragmentSelector", selector);
    return arguments;
}

char *
kvg_aws_hls_url(const KvgHlsRequest *request, KvgCredentials *credentials, GError **error)
{
    g_autofree char *endpoint = data_endpoint(request, credentials, error);
    if (endpoint == NULL)
        return NULL;
    g_autoptr(json_t) arguments = session_arguments(request);
    g_autoptr(json_t) reply =
        call(request, endpoint, "/getHLSStreamingSessionURL", arguments, credentials, error);
    return reply != NULL ? take_string(reply, "HLSStreamingSessionURL", error) : NULL;
}
