#include "agent/api.h"
#include "agent/kept.h"
#include <gio/gio.h>
#include <kvg/error.h>
#include <string.h>

#define GRACE_MS 2000
#define CONSOLE "/kvg/console"
#define CAMERAS "/api/cameras/"
#define MAX_BODY_BYTES 65536

struct _KvgApi {
    KvgHttpServer *server;
    KvgBoard *board;
    KvgControl *control;
    KvgProxy *proxy;
    KvgReload *reload;
    KvgErrands *errands;
    bool is_loopback;
};

static const char POLICY[] = "default-src 'self'; media-src 'self' blob:; worker-src 'self' blob:; "
                             "frame-ancestors 'none'; base-uri 'none'";

bool
kvg_api_is_local_host(const char *host)
{
    static const char *const names[] = {"127.0.0.1", "localhost", "[::1]"};
    for (size_t i = 0; host != NULL && i < G_N_ELEMENTS(names); i++) {
        const size_t len = strlen(names[i]);
        if (g_ascii_strncasecmp(host, names[i], len) == 0 &&
            (host[len] == '\0' ||
             (host[len] == ':' && strspn(host + len + 1, "0123456789") == strlen(host + len + 1))))
            return true;
    }
    return false;
}

static void
respond(KvgHttpExchange *x, int status, const json_t *body)
{
    g_autofree char *text = kvg_json_to_text(body);
    const KvgHeader headers[] = {{"Content-Type", "application/json"},
                                 {"Cache-Control", "no-store"}};
    kvg_http_respond(x, status, headers, G_N_ELEMENTS(headers), text, strlen(text));
}

static void
respond_message(KvgHttpExchange *x, int status, const char *message)
{
    g_autoptr(json_t) body = json_pack("{s:s}", "message", message);
    respond(x, status, body);
}

static void
respond_ready(KvgApi *api, KvgHttpExchange *x)
{
    g_autofree char *missing = kvg_board_not_ready(api->board);
    g_autofree char *text =
        missing != NULL ? g_strdup_printf("not live: %s", missing) : g_strdup("all cameras live");
    respond_message(x, missing != NULL ? 503 : 200, text);
}

static void
respond_camera(KvgApi *api, KvgHttpExchange *x, const char *name)
{
    g_autoptr(json_t) camera = kvg_board_get(api->board, name);
    if (camera == NULL) {
        respond_message(x, 404, "there is no such camera");
        return;
    }
    json_object_set_new(camera, "control", kvg_control_describe(api->control, name));
    respond(x, 200, camera);
}

/* A page of another site can send no such type without asking first, and nobody says yes. */
static bool
is_json(KvgHttpExchange *x)
{
    const char *type = kvg_http_header(x, "Content-Type");
    return type != NULL && g_ascii_strncasecmp(type, "application/json", 16) == 0 &&
           (type[16] == '\0' || type[16] == ';');
}

/* The body; NULL: it is answered already. */
static json_t *
read_json(KvgHttpExchange *x)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) body = is_json(x) ? kvg_http_read_all(x, MAX_BODY_BYTES, &error) : NULL;
    if (body == NULL) {
        respond_message(x, error != NULL ? 413 : 415,
                        error != NULL ? error->message : "send Content-Type: application/json");
        return NULL;
    }
    size_t len;
    const void *data = g_bytes_get_data(body, &len);
    json_t *json = kvg_json_parse_object(data != NULL ? data : "", len, &error);
    if (json == NULL)
        respond_message(x, 400, error->message);
    return json;
}

static void
change_camera(KvgApi *api, KvgHttpExchange *x, const char *name)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(json_t) change = read_json(x);
    if (change == NULL)
        return;
    if (!kvg_control_set(api->control, name, change, &error)) {
        const bool is_missing = g_error_matches(error, KVG_ERROR, KVG_ERROR_NOT_FOUND);
        respond_message(x, is_missing ? 404 : 400, error->message);
        return;
    }
    respond_camera(api, x, name);
}

/* Waits until the main thread has done it. */
static void
reload_config(KvgApi *api, KvgHttpExchange *x)
{
    if (!is_json(x)) {
        respond_message(x, 415, "send Content-Type: application/json");
        return;
    }
    g_autoptr(json_t) result = kvg_reload_request(api->reload);
    if (result == NULL)
        respond_message(x, 503, "the agent is ending");
    else
        respond(x, kvg_json_get_bool(result, "ok", false) ? 200 : 400, result);
}

static void
respond_site(KvgApi *api, KvgHttpExchange *x)
{
    g_autoptr(json_t) site = json_pack("{s:o}", "reload", kvg_board_get_reload(api->board));
    respond(x, 200, site);
}

/* ---- recording that is kept ---- */

static int
status_of(const GError *error)
{
    if (g_error_matches(error, KVG_ERROR, KVG_ERROR_INVALID))
        return 400;
    return g_error_matches(error, KVG_ERROR, KVG_ERROR_RETRY) ? 503 : 507;
}

/* POST /api/cameras/NAME/events and .../uploads, GET of the latter; false: it is another. */
static bool
serve_kept(KvgApi *api, KvgHttpExchange *x, const char *rest)
{
    const bool is_get = strcmp(kvg_http_method(x), "GET") == 0;
    const bool is_event = g_str_has_suffix(rest, "/events");
    if (!is_event && !g_str_has_suffix(rest, "/uploads"))
        return false;
    g_autofree char *name = g_strndup(rest, (size_t)(strrchr(rest, '/') - rest));
    g_autoptr(json_t) camera = kvg_board_get(api->board, name);
    g_autoptr(GError) error = NULL;
    g_autoptr(json_t) answer = NULL;
    if (camera == NULL || (is_get && is_event)) {
        respond_message(x, 404, camera == NULL ? "there is no such camera" : "there is only POST");
        return true;
    }
    if (is_get) {
        answer = kvg_kept_list(api->errands, name, &error);
    } else {
        g_autoptr(json_t) body = read_json(x);
        if (body == NULL)
            return true;
        answer = (is_event ? kvg_kept_event : kvg_kept_upload)(api->errands, name, body, &error);
    }
    if (answer != NULL)
        respond(x, is_get ? 200 : 202, answer);
    else
        respond_message(x, status_of(error), error->message);
    return true;
}

/* GET /api/cameras/NAME/ranges, clip.mp4 and image.jpg; false: it is another. */
static bool
serve_recorded(KvgApi *api, KvgHttpExchange *x, const char *rest)
{
    static const struct {
        const char *suffix;
        void (*handle)(KvgProxy *, KvgHttpExchange *, const char *);
    } parts[] = {{"/ranges", kvg_proxy_ranges},
                 {"/clip.mp4", kvg_proxy_clip},
                 {"/image.jpg", kvg_proxy_image}};
    for (size_t i = 0; i < G_N_ELEMENTS(parts); i++) {
        if (!g_str_has_suffix(rest, parts[i].suffix))
            continue;
        g_autofree char *camera = g_strndup(rest, strlen(rest) - strlen(parts[i].suffix));
        parts[i].handle(api->proxy, x, camera);
        return true;
    }
    return false;
}

/* ---- console ---- */

static const char *
content_type(const char *path)
{
    static const struct {
        const char *suffix, *type;
    } types[] = {{".html", "text/html; charset=utf-8"},
                 {".js", "text/javascript; charset=utf-8"},
                 {".css", "text/css; charset=utf-8"},
                 {".svg", "image/svg+xml"}};
    for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
        if (g_str_has_suffix(path, types[i].suffix))
            return types[i].type;
    }
    return "application/octet-stream";
}

static void
respond_page(KvgHttpExchange *x, const char *path)
{
    if (strcmp(path, "/") == 0)
        path = "/index.html";
    g_autofree char *resource = g_strconcat(CONSOLE, path, NULL);
    g_autoptr(GBytes) page =
        strstr(path, "..") == NULL
            ? g_resources_lookup_data(resource, G_RESOURCE_LOOKUP_FLAGS_NONE, NULL)
            : NULL;
    if (page == NULL) {
        respond_message(x, 404, "there is nothing here; the API is at /api/cameras");
        return;
    }
    const KvgHeader headers[] = {{"Content-Type", content_type(path)},
                                 {"Cache-Control", "no-cache"},
                                 {"Content-Security-Policy", POLICY},
                                 {"X-Content-Type-Options", "nosniff"},
                                 {"Referrer-Policy", "no-referrer"}};
    size_t len;
    const void *data = g_bytes_get_data(page, &len);
    kvg_http_respond(x, 200, headers, G_N_ELEMENTS(headers), data, len);
}

/* ---- routes ---- */

static void
handle(KvgHttpExchange *x, void *user_data)
{
    KvgApi *api = user_data;
    const char *path = kvg_http_path(x);
    if (api->is_loopback && !kvg_api_is_local_host(kvg_http_header(x, "Host"))) {
        respond_message(x, 403, "ask for this machine by 127.0.0.1 or localhost");
        return;
    }
    if (strcmp(kvg_http_method(x), "PATCH") == 0 && g_str_has_prefix(path, CAMERAS)) {
        change_camera(api, x, path + strlen(CAMERAS));
        return;
    }
    if (strcmp(kvg_http_method(x), "POST") == 0 && strcmp(path, "/api/reload") == 0) {
        reload_config(api, x);
        return;
    }
    if (strcmp(kvg_http_method(x), "PATCH") != 0 && g_str_has_prefix(path, CAMERAS) &&
        serve_kept(api, x, path + strlen(CAMERAS)))
        return;
    if (strcmp(kvg_http_method(x), "GET") != 0 && strcmp(kvg_http_method(x), "HEAD") != 0) {
        respond_message(x, 405,
                        "only GET is answered here, PATCH of /api/cameras/NAME and POST of "
                        "/api/reload");
        return;
    }
    if (strcmp(path, "/healthz") == 0) {
        g_autoptr(json_t) body = json_pack("{s:s}", "status", "ok");
        respond(x, 200, body);
    } else if (strcmp(path, "/readyz") == 0) {
        respond_ready(api, x);
    } else if (strcmp(path, "/api/site") == 0) {
        respond_site(api, x);
    } else if (strcmp(path, "/api/cameras") == 0) {
        g_autoptr(json_t) body = kvg_board_all(api->board);
        respond(x, 200, body);
    } else if (g_str_has_prefix(path, CAMERAS) && serve_recorded(api, x, path + strlen(CAMERAS))) {
        return;
    } else if (g_str_has_prefix(path, CAMERAS)) {
        respond_camera(api, x, path + strlen(CAMERAS));
    } else if (g_str_has_prefix(path, "/play/")) {
        kvg_proxy_handle(api->proxy, x, path + strlen("/play/"));
    } else {
        respond_page(x, path);
    }
}

KvgApi *
kvg_api_start(const KvgApiOptions *options, GError **error)
{
    const KvgConfig *config = options->config;
    KvgApi *api = g_new0(KvgApi, 1);
    api->board = options->board;
    api->control = options->control;
    api->proxy = options->proxy;
    api->reload = options->reload;
    api->errands = options->errands;
    api->is_loopback =
        g_str_has_prefix(config->api_address, "127.") || strcmp(config->api_address, "::1") == 0;
    const KvgHttpServerOptions server = {.address = config->api_address,
                                         .port = config->api_port,
                                         .handler = handle,
                                         .user_data = api,
                                         .max_connections = 256};
    api->server = kvg_http_server_start(&server, error);
    if (api->server == NULL) {
        g_prefix_error(error, "api %s:%u: ", config->api_address, config->api_port);
        g_clear_pointer(&api, g_free);
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
    g_free(api);
}
