/* What a session URL leads to. The token is the credential: it is opened, the resource looked up in
 * a table, and the session's timeline brought up to date. */
#include "base/clock.h"
#include "os/log.h"
#include "server/control/quotas.h"
#include "server/playback/resource.h"
#include <kvg/error.h>
#include <string.h>

/* Players run in pages of any origin; the token is the credential, no cookie is involved. */
static void
respond_media(KvgHttpExchange *x,
              int status,
              const char *type,
              const char *cache,
              const void *body,
              size_t len)
{
    const KvgHeader headers[] = {
        {"Content-Type", type},
        {"Cache-Control", cache},
        {"Access-Control-Allow-Origin", "*"},
        {"Access-Control-Expose-Headers", "x-amzn-RequestId, x-amzn-ErrorType, Date"},
        {"X-Content-Type-Options", "nosniff"},
    };
    kvg_http_respond(x, status, headers, G_N_ELEMENTS(headers), body, len);
}

void
kvg_resource_refuse(KvgHttpExchange *x, int status, const char *type, const char *text)
{
    g_autoptr(json_t) reply = json_pack("{s:s}", "Message", text);
    g_autofree char *body = kvg_json_to_text(reply);
    const KvgHeader headers[] = {
        {"Content-Type", "application/json"},
        {"Cache-Control", "no-store"},
        {"Access-Control-Allow-Origin", "*"},
        {"x-amzn-ErrorType", type},
    };
    kvg_http_respond(x, status, headers, G_N_ELEMENTS(headers), body, strlen(body));
}

void
kvg_resource_respond(KvgHttpExchange *x, const char *type, const char *text)
{
    respond_media(x, 200, type, "no-cache, no-store", text, strlen(text));
}

void
kvg_resource_respond_segment(KvgHttpExchange *x, const char *type, GBytes *segment)
{
    gsize len;
    const void *data = g_bytes_get_data(segment, &len);
    respond_media(x, 200, type, "private, max-age=3600", data, len);
}

/* The timeline is held while something is chosen, not while it is read and sent. False: the call
 * was answered. */
static bool
choose(KvgResourceCall *call, KvgResourceChoose chooser)
{
    KvgPlayback *playback = call->playback;
    g_autoptr(GError) error = NULL;
    KvgTimelineSlot *slot = kvg_timelines_enter(playback->timelines, call->session);
    call->timeline = slot->timeline;
    const bool is_updated =
        kvg_timeline_update(slot->timeline, playback->server->store, kvg_clock_wall_ms(), &error);
    const bool is_chosen = is_updated && chooser(call);
    kvg_timelines_leave(playback->timelines, slot);
    call->timeline = NULL;
    if (is_updated)
        return is_chosen;
    KVG_LOG_WARNING("playback", "STREAM", call->session->stream_arn, "%s", error->message);
    kvg_resource_refuse(call->x, 500, "InternalFailure", "The fragments cannot be listed.");
    return false;
}

bool
kvg_resource_refresh(KvgResourceCall *call)
{
    return choose(call, kvg_resource_choose_window);
}

static void
respond_preflight(KvgHttpExchange *x)
{
    const KvgHeader headers[] = {
        {"Access-Control-Allow-Origin", "*"},
        {"Access-Control-Allow-Methods", "GET, HEAD, OPTIONS"},
        {"Access-Control-Allow-Headers", "*"},
        {"Access-Control-Max-Age", "86400"},
    };
    kvg_http_respond(x, 204, headers, G_N_ELEMENTS(headers), NULL, 0);
}

static bool
may_call(KvgPlayback *playback, const KvgResource *resource, const KvgPlaybackSession *session)
{
    char id[2 * sizeof session->id + 1];
    for (size_t i = 0; i < sizeof session->id; i++)
        g_snprintf(id + 2 * i, 3, "%02x", session->id[i]);
    return kvg_quotas_take(playback->server->quotas, resource->path, 0, id, resource->per_second,
                           kvg_clock_mono_us());
}

void
kvg_playback_serve(KvgPlayback *playback, KvgHttpExchange *x)
{
    const char *method = kvg_http_method(x);
    if (strcmp(method, "OPTIONS") == 0) {
        respond_preflight(x);
        return;
    }
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
        kvg_resource_refuse(x, 405, "InvalidArgumentException",
                            "Only GET and HEAD are served here.");
        return;
    }
    const KvgResource *resource = kvg_resources;
    while (resource->path != NULL && strcmp(resource->path, kvg_http_path(x)) != 0)
        resource++;
    if (resource->path == NULL) {
        kvg_resource_refuse(x, 404, "UnknownOperationException", "There is no such resource.");
        return;
    }
    g_autofree char *token = kvg_http_query_param(x, "SessionToken");
    KvgPlaybackSession session;
    if (token == NULL || !kvg_playback_session_open(token, playback->key, &session)) {
        kvg_resource_refuse(x, 403, "AccessDeniedException", "Streaming session token is invalid");
        return;
    }
    if (kvg_clock_wall_ms() >= session.expires_ms) {
        kvg_resource_refuse(x, 403, "AccessDeniedException", "Streaming session token is expired");
        return;
    }
    if (!may_call(playback, resource, &session)) {
        kvg_resource_refuse(x, 429, "ClientLimitExceededException", "Too many requests.");
        return;
    }
    KvgResourceCall call = {.playback = playback, .x = x, .session = &session, .token = token};
    if (resource->choose == NULL || choose(&call, resource->choose))
        resource->send(&call);
    g_clear_pointer(&call.window, g_array_unref);
}
