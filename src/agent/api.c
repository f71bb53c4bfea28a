#include "agent/api_private.h"
#include "base/clock.h"
#include "base/text.h"
#include <kvg/error.h>
#include <string.h>

#define GRACE_MS 2000
#define MAX_BODY_BYTES 65536
#define MAX_FILE_NAME 255

static void
play(KvgApi *api, const KvgApiRequest *request)
{
    kvg_proxy_handle(api->proxy, request->x, kvg_http_path(request->x) + strlen("/play/"));
}

static void
get_ranges(KvgApi *api, const KvgApiRequest *request)
{
    kvg_proxy_ranges(api->proxy, request->x, request->camera);
}

static void
get_clip(KvgApi *api, const KvgApiRequest *request)
{
    kvg_proxy_clip(api->proxy, request->x, request->camera);
}

static void
get_image(KvgApi *api, const KvgApiRequest *request)
{
    kvg_proxy_image(api->proxy, request->x, request->camera);
}

/* ---- the table ---- */

static const KvgApiRoute routes[] = {
    {"GET", "/healthz", kvg_api_get_health, true},
    {"GET", "/metrics", kvg_api_get_metrics, false},
    {"GET", "/readyz", kvg_api_get_ready, true},
    {"GET", "/openapi.json", kvg_api_get_description, true},
    {"POST", "/api/session", kvg_api_post_session, true},
    {"DELETE", "/api/session", kvg_api_delete_session, true},
    {"GET", "/api/cameras", kvg_api_get_cameras, false},
    {"GET", "/api/cameras/{camera}", kvg_api_get_camera, false},
    {"PATCH", "/api/cameras/{camera}", kvg_api_patch_camera, false},
    {"GET", "/api/cameras/{camera}/history", kvg_api_get_history, false},
    {"POST", "/api/cameras/{camera}/events", kvg_api_post_event, false},
    {"GET", "/api/cameras/{camera}/uploads", kvg_api_get_uploads, false},
    {"POST", "/api/cameras/{camera}/uploads", kvg_api_post_upload, false},
    {"GET", "/api/cameras/{camera}/ranges", get_ranges, false},
    {"GET", "/api/cameras/{camera}/clip.mp4", get_clip, false},
    {"GET", "/api/cameras/{camera}/image.jpg", get_image, false},
    {"GET", "/api/site", kvg_api_get_site, false},
    {"POST", "/api/reload", kvg_api_post_reload, false},
    {"GET", "/play/{camera}/{file}", play, false},
};

const KvgApiRoute *
kvg_api_routes(size_t *n)
{
    *n = G_N_ELEMENTS(routes);
    return routes;
}

static void
request_clear(KvgApiRequest *request)
{
    g_clear_pointer(&request->camera, g_free);
    g_clear_pointer(&request->file, g_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(KvgApiRequest, request_clear)

/* One segment of a path against one of a pattern. */
static bool
match_segment(const char *pattern, const char *segment, KvgApiRequest *request)
{
    if (strcmp(pattern, "{camera}") == 0) {
        if (!kvg_name_is_camera(segment))
            return false;
        request->camera = g_strdup(segment);
        return true;
    }
    if (strcmp(pattern, "{file}") == 0) {
        if (*segment == '\0' || strlen(segment) > MAX_FILE_NAME)
            return false;
        request->file = g_strdup(segment);
        return true;
    }
    return strcmp(pattern, segment) == 0;
}

bool
kvg_api_match(const char *pattern, const char *path, KvgApiRequest *request)
{
    g_auto(GStrv) wanted = g_strsplit(pattern, "/", -1);
    g_auto(GStrv) given = g_strsplit(path, "/", -1);
    size_t i = 0;
    while (wanted[i] != NULL && given[i] != NULL && match_segment(wanted[i], given[i], request))
        i++;
    if (wanted[i] == NULL && given[i] == NULL)
        return true;
    request_clear(request);
    return false;
}

/* ---- answers ---- */

void
kvg_api_respond(KvgHttpExchange *x, int status, const json_t *body)
{
    g_autofree char *text = kvg_json_to_text(body);
    const KvgHeader headers[] = {{"Content-Type", "application/json"},
                                 {"Cache-Control", "no-store"},
                                 {"X-Content-Type-Options", "nosniff"}};
    kvg_http_respond(x, status, headers, G_N_ELEMENTS(headers), text, strlen(text));
}

void
kvg_api_respond_message(KvgHttpExchange *x, int status, const char *message)
{
    g_autofree char *valid = g_utf8_make_valid(message, -1);
    g_autoptr(json_t) body = json_pack("{s:s}", "message", valid);
    kvg_api_respond(x, status, body);
}

static int
status_of(const GError *error)
{
    if (error->domain != KVG_ERROR)
        return 500;
    switch ((KvgError)error->code) {
    case KVG_ERROR_INVALID:
    case KVG_ERROR_UNSUPPORTED:
        return 400;
    case KVG_ERROR_NOT_FOUND:
        return 404;
    case KVG_ERROR_NO_SPACE:
        return 507;
    case KVG_ERROR_RETRY:
    case KVG_ERROR_THROTTLED:
    case KVG_ERROR_CANCELLED:
        return 503;
    case KVG_ERROR_AUTH: /* between the agent and the service */
    case KVG_ERROR_CORRUPT:
    case KVG_ERROR_FAILED:
        return 502;
    }
    return 500;
}

void
kvg_api_respond_error(KvgHttpExchange *x, const GError *error)
{
    kvg_api_respond_message(x, status_of(error), error->message);
}

json_t *
kvg_api_read_object(KvgHttpExchange *x)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) body = kvg_http_read_all(x, MAX_BODY_BYTES, &error);
    if (body == NULL) {
        const bool is_large = g_error_matches(error, KVG_ERROR, KVG_ERROR_NO_SPACE);
        kvg_api_respond_message(x, is_large ? 413 : 400, error->message);
        return NULL;
    }
    size_t len;
    const void *data = g_bytes_get_data(body, &len);
    if (len == 0)
        return json_object();
    json_t *object = kvg_json_parse_object(data, len, &error);
    if (object == NULL)
        kvg_api_respond_message(x, 400, error->message);
    return object;
}

/* ---- dispatch ---- */

static bool
is_method(const KvgApiRoute *route, const char *method)
{
    return strcmp(route->method, method) == 0 ||
           (strcmp(route->method, "GET") == 0 && strcmp(method, "HEAD") == 0);
}

/* What may be done with @path, for 405; NULL: nothing is there. */
static char *
methods_of(const char *path)
{
    g_autoptr(GString) methods = g_string_new(NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(routes); i++) {
        g_auto(KvgApiRequest) request = {0};
        if (kvg_api_match(routes[i].pattern, path, &request))
            g_string_append_printf(methods, "%s%s", methods->len > 0 ? ", " : "", routes[i].method);
    }
    return methods->len > 0 ? g_string_free(g_steal_pointer(&methods), FALSE) : NULL;
}

static void
respond_unrouted(KvgHttpExchange *x, const char *method, const char *path)
{
    g_autofree char *methods = methods_of(path);
    if (methods == NULL && (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0)) {
        kvg_api_respond_page(x, path);
        return;
    }
    if (methods == NULL) {
        kvg_api_respond_message(x, 404, "there is nothing here; /openapi.json describes the API");
        return;
    }
    g_autofree char *text = g_strdup_printf("{\"message\":\"only %s is answered here\"}", methods);
    const KvgHeader headers[] = {{"Content-Type", "application/json"}, {"Allow", methods}};
    kvg_http_respond(x, 405, headers, G_N_ELEMENTS(headers), text, strlen(text));
}

static void
handle(KvgHttpExchange *x, void *user_data)
{
    KvgApi *api = user_data;
    const char *method = kvg_http_method(x), *path = kvg_http_path(x);
    if (!kvg_access_check_host(api->access, x))
        return;
    for (size_t i = 0; i < G_N_ELEMENTS(routes); i++) {
        g_auto(KvgApiRequest) request = {.x = x};
        if (!is_method(&routes[i], method) || !kvg_api_match(routes[i].pattern, path, &request))
            continue;
        if (kvg_access_check(api->access, x, routes[i].is_public))
            routes[i].handle(api, &request);
        return;
    }
    respond_unrouted(x, method, path);
}

/* ---- life ---- */

KvgConfig *
kvg_api_config(KvgApi *api)
{
    pthread_mutex_lock(&api->lock);
    KvgConfig *config = kvg_config_ref(api->config);
    pthread_mutex_unlock(&api->lock);
    return config;
}

void
kvg_api_reload(KvgApi *api, KvgConfig *config)
{
    pthread_mutex_lock(&api->lock);
    KvgConfig *before = api->config;
    api->config = kvg_config_ref(config);
    pthread_mutex_unlock(&api->lock);
    kvg_config_unref(before);
    kvg_access_reload(api->access, config);
}

static void
api_free(KvgApi *api)
{
    kvg_access_free(api->access);
    kvg_config_unref(api->config);
    pthread_mutex_destroy(&api->lock);
    g_free(api);
}

static KvgHttpServer *
start_server(KvgApi *api, GError **error)
{
    const KvgConfig *config = api->config;
    g_autoptr(SSL_CTX) tls = NULL;
    if (config->api_certificate != NULL) {
        tls =
            kvg_http_tls_context_new(config->api_certificate, config->api_private_key, NULL, error);
        if (tls == NULL)
            return NULL;
    }
    const KvgHttpServerOptions options = {.address = config->api_address,
                                          .port = config->api_port,
                                          .tls = tls,
                                          .handler = handle,
                                          .user_data = api,
                                          .max_connections = 256};
    return kvg_http_server_start(&options, error);
}

KvgApi *
kvg_api_start(const KvgApiOptions *options, GError **error)
{
    KvgApi *api = g_new0(KvgApi, 1);
    pthread_mutex_init(&api->lock, NULL);
    api->config = kvg_config_ref(options->config);
    api->board = options->board;
    api->control = options->control;
    api->proxy = options->proxy;
    api->reload = options->reload;
    api->errands = options->errands;
    api->started_us = kvg_clock_mono_us();
    api->access = kvg_access_new(options->config);
    api->server = start_server(api, error);
    if (api->server == NULL) {
        g_prefix_error(error, "api %s:%u: ", options->config->api_address,
                       options->config->api_port);
        g_clear_pointer(&api, api_free);
    }
    return api;
}

uint16_t
kvg_api_port(const KvgApi *api)
{
    return kvg_http_server_port(api->server);
}

void
kvg_api_stop(KvgApi *api)
{
    if (api == NULL)
        return;
    kvg_http_server_stop(api->server, GRACE_MS);
    api_free(api);
}
