#include "agent/fetch.h"
#include "agent/playlist.h"
#include "agent/proxy_private.h"
#include "base/json.h"
#include <kvg/error.h>
#include <pthread.h>
#include <string.h>

#define LOW "low-"
/* The year 2286; no clock of ours, and every number up to it is exact in JSON. */
#define MAX_TIME_MS 9999999999999ll

struct _KvgProxy {
    KvgFetch *fetch;
    pthread_mutex_t lock;
    KvgConfig *config;   /* under lock */
    GHashTable *viewers; /* camera -> KvgViewer; under lock */
};

static void
viewer_unref(void *data)
{
    kvg_viewer_unref(data);
}

KvgProxy *
kvg_proxy_new(KvgConfig *config)
{
    KvgProxy *proxy = g_new0(KvgProxy, 1);
    proxy->config = kvg_config_ref(config);
    proxy->fetch = kvg_fetch_new();
    pthread_mutex_init(&proxy->lock, NULL);
    proxy->viewers = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, viewer_unref);
    return proxy;
}

void
kvg_proxy_free(KvgProxy *proxy)
{
    if (proxy == NULL)
        return;
    g_hash_table_unref(proxy->viewers);
    kvg_config_unref(proxy->config);
    kvg_fetch_free(proxy->fetch);
    pthread_mutex_destroy(&proxy->lock);
    g_free(proxy);
}

static gboolean
is_stale(void *name, void *viewer, void *config)
{
    return !kvg_viewer_suits(viewer, config);
}

void
kvg_proxy_reload(KvgProxy *proxy, KvgConfig *config)
{
    pthread_mutex_lock(&proxy->lock);
    kvg_config_unref(proxy->config);
    proxy->config = kvg_config_ref(config);
    g_hash_table_foreach_remove(proxy->viewers, is_stale, config);
    pthread_mutex_unlock(&proxy->lock);
}

/* ---- answers ---- */

void
kvg_proxy_respond_message(KvgHttpExchange *x, int status, const char *message)
{
    g_autofree char *valid = g_utf8_make_valid(message, -1);
    g_autoptr(json_t) body = json_pack("{s:s}", "message", valid);
    g_autofree char *text = kvg_json_to_text(body);
    const KvgHeader headers[] = {{"Content-Type", "application/json"},
                                 {"Cache-Control", "no-store"}};
    kvg_http_respond(x, status, headers, G_N_ELEMENTS(headers), text, strlen(text));
}

void
kvg_proxy_respond_error(KvgHttpExchange *x, const GError *error)
{
    if (g_error_matches(error, KVG_ERROR, KVG_ERROR_NOT_FOUND))
        kvg_proxy_respond_message(x, 404, "no video yet");
    else if (g_error_matches(error, KVG_ERROR, KVG_ERROR_THROTTLED))
        kvg_proxy_respond_message(x, 503, error->message);
    else
        kvg_proxy_respond_message(x, 502, error->message);
}

KvgViewer *
kvg_proxy_viewer(KvgProxy *proxy, KvgHttpExchange *x, const char *camera)
{
    pthread_mutex_lock(&proxy->lock);
    KvgViewer *viewer = g_hash_table_lookup(proxy->viewers, camera);
    if (viewer == NULL && kvg_config_find_camera(proxy->config, camera) != NULL) {
        viewer = kvg_viewer_new(proxy->config, camera);
        g_hash_table_insert(proxy->viewers, g_strdup(camera), viewer);
    }
    if (viewer != NULL)
        kvg_viewer_ref(viewer);
    pthread_mutex_unlock(&proxy->lock);
    if (viewer == NULL)
        kvg_proxy_respond_message(x, 404, "there is no such camera");
    return viewer;
}

/* ---- parameters ---- */

static bool
parse_time(const char *text, int64_t *wall_ms)
{
    guint64 value = 0;
    if (text == NULL || !g_ascii_string_to_unsigned(text, 10, 1, MAX_TIME_MS, &value, NULL))
        return false;
    *wall_ms = (int64_t)value;
    return true;
}

bool
kvg_proxy_read_time(KvgHttpExchange *x, const char *name, int64_t *wall_ms)
{
    g_autofree char *text = kvg_http_query_param(x, name);
    if (parse_time(text, wall_ms))
        return true;
    g_autofree char *message = g_strdup_printf(
        "%s must be a time in milliseconds since 1970, as in ?%s=1764000000000", name, name);
    kvg_proxy_respond_message(x, 400, message);
    return false;
}

bool
kvg_proxy_read_window(KvgHttpExchange *x, KvgViewWindow *window)
{
    if (!kvg_proxy_read_time(x, "from", &window->from_ms) ||
        !kvg_proxy_read_time(x, "to", &window->to_ms))
        return false;
    if (window->to_ms > window->from_ms &&
        window->to_ms - window->from_ms <= KVG_PROXY_MAX_RANGE_MS)
        return true;
    kvg_proxy_respond_message(x, 400, "to must be after from, by at most 24 hours");
    return false;
}

/* ---- /play ---- */

/* What a name under /play/NAME/ means. The service's own names carry what they belong to before
 * them ("low-getPart.mp4", "FROM-TO-getMP4MediaFragment.mp4"), so nothing has to be remembered: a
 * player goes on although the agent was started anew, or its session is over. */
typedef struct {
    KvgViewWindow window;
    bool low;
    char *file;   /* of the session; NULL: its master playlist */
    char *prefix; /* of the names in its playlists */
} Resource;

static void
resource_clear(Resource *resource)
{
    g_free(resource->file);
    g_free(resource->prefix);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Resource, resource_clear)

/* Only what a playlist can name: no path, no way to another host. */
static bool
is_file(const char *file)
{
    const char *dot = strrchr(file, '.');
    return dot != NULL && strlen(file) < 128 &&
           strspn(file, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") ==
               strlen(file) &&
           (strcmp(dot, ".m3u8") == 0 || strcmp(dot, ".mp4") == 0 || strcmp(dot, ".m4s") == 0 ||
            strcmp(dot, ".ts") == 0);
}

/* "FROM-TO-REST": the window, and where the rest begins; NULL: it is no such name. */
static const char *
take_window(const char *file, KvgViewWindow *window)
{
    g_auto(GStrv) parts = g_strsplit(file, "-", 3);
    if (g_strv_length(parts) < 3 || !parse_time(parts[0], &window->from_ms) ||
        !parse_time(parts[1], &window->to_ms) || window->to_ms <= window->from_ms ||
        window->to_ms - window->from_ms > KVG_PROXY_MAX_RANGE_MS)
        return NULL;
    return file + strlen(parts[0]) + strlen(parts[1]) + 2;
}

/* False: @x has been answered. */
static bool
understand(KvgHttpExchange *x, const char *file, Resource *resource)
{
    if (!is_file(file)) {
        kvg_proxy_respond_message(x, 404, "there is no such file");
        return false;
    }
    if (strcmp(file, "recorded.m3u8") == 0) {
        if (!kvg_proxy_read_window(x, &resource->window))
            return false;
    } else if (g_str_has_prefix(file, LOW)) {
        resource->low = true;
        resource->file = g_strdup(file + strlen(LOW));
    } else if (strcmp(file, "low.m3u8") == 0) {
        resource->low = true;
    } else if (strcmp(file, "live.m3u8") != 0) {
        const char *rest = take_window(file, &resource->window);
        resource->window = rest != NULL ? resource->window : (KvgViewWindow){0};
        resource->file = g_strdup(rest != NULL ? rest : file);
    }
    resource->prefix = resource->low ? g_strdup(LOW)
                       : resource->window.to_ms != 0
                           ? g_strdup_printf("%" G_GINT64_FORMAT "-%" G_GINT64_FORMAT "-",
                                             resource->window.from_ms, resource->window.to_ms)
                           : g_strdup("");
    return true;
}

static void
refuse(KvgHttpExchange *x, KvgViewer *viewer, const Resource *resource, long status)
{
    if (resource->low && resource->file == NULL && status < 500) {
        kvg_viewer_has_no_low(viewer);
        kvg_proxy_respond_message(x, 501, "the service offers no low latency");
        return;
    }
    if (status == 400 || status == 403) /* the session is over: the next request makes one */
        kvg_viewer_drop(viewer, resource->window);
    kvg_proxy_respond_message(x, status == 404 ? 404 : 502,
                              status == 404 ? "no video yet"
                                            : "the service refused the playback session");
}

static void
relay(KvgProxy *proxy, KvgViewer *viewer, KvgHttpExchange *x, const Resource *resource)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GString) body = g_string_new(NULL);
    g_autofree char *type = NULL;
    const char *query = resource->file != NULL ? kvg_http_query(x) : NULL;
    g_autofree char *url =
        kvg_viewer_url(viewer, resource->window, resource->low, resource->file, query, &error);
    const long status =
        url != NULL ? kvg_fetch_get(proxy->fetch, url, kvg_viewer_ca(viewer), body, &type, &error)
                    : 0;
    if (status == 0) {
        kvg_proxy_respond_error(x, error);
        return;
    }
    if (status != 200) {
        refuse(x, viewer, resource, status);
        return;
    }
    const bool is_playlist = resource->file == NULL || g_str_has_suffix(resource->file, ".m3u8");
    const KvgHeader headers[] = {
        {"Content-Type", type != NULL ? type : "application/octet-stream"},
        {"Cache-Control", is_playlist ? "no-store" : "private, max-age=60"}};
    g_autofree char *playlist =
        is_playlist ? kvg_playlist_rewrite(body->str, resource->prefix) : NULL;
    kvg_http_respond(x, 200, headers, G_N_ELEMENTS(headers),
                     playlist != NULL ? playlist : body->str,
                     playlist != NULL ? strlen(playlist) : body->len);
}

void
kvg_proxy_handle(KvgProxy *proxy, KvgHttpExchange *x, const char *rest)
{
    const char *slash = strchr(rest, '/');
    if (slash == NULL) {
        kvg_proxy_respond_message(x, 404, "there is no such file");
        return;
    }
    g_autofree char *name = g_strndup(rest, (size_t)(slash - rest));
    g_auto(Resource) resource = {0};
    g_autoptr(KvgViewer) viewer = kvg_proxy_viewer(proxy, x, name);
    if (viewer == NULL || !understand(x, slash + 1, &resource))
        return;
    if (resource.low && !kvg_viewer_offers_low(viewer))
        kvg_proxy_respond_message(x, 501, "the service offers no low latency");
    else
        relay(proxy, viewer, x, &resource);
}
