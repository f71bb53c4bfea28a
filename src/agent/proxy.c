#include "agent/proxy.h"
#include "agent/identity.h"
#include "aws/hls.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "config/keys.h"
#include "os/log.h"
#include <kvg/error.h>
#include <pthread.h>
#include <string.h>

#define LOG_DOMAIN "agent"
#define SESSION_S 43200
#define RENEW_MS ((SESSION_S - 600) * 1000ll)
#define RETRY_MS 1000 /* one attempt at a session per camera and second */
#define MAX_BODY (64u * 1024 * 1024)
#define TIMEOUT_MS 10000L
#define MAX_IDLE 16

/* A camera's session; counted, for requests that run while the configuration changes. */
typedef struct {
    KvgConfig *config; /* holds `camera` */
    const KvgConfigCamera *camera;
    pthread_mutex_t lock; /* held over the calls that make a session: others wait for it */
    KvgCredentials *credentials;
    char *base;   /* "https://host:port/hls/v1/" */
    char *master; /* file name */
    char *token;
    int64_t made_ms;
    GError *error; /* of the last attempt */
} Session;

struct _KvgProxy {
    pthread_mutex_t lock;
    GPtrArray *sessions; /* under lock */
    GPtrArray *idle;     /* CURL, with open connections; under lock */
};

static void
session_clear(void *data)
{
    Session *session = data;
    pthread_mutex_destroy(&session->lock);
    kvg_credentials_unref(session->credentials);
    g_free(session->base);
    g_free(session->master);
    g_free(session->token);
    g_clear_error(&session->error);
    kvg_config_unref(session->config);
}

static void
session_unref(void *session)
{
    if (session != NULL)
        g_atomic_rc_box_release_full(session, session_clear);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Session, session_unref)

static void
cleanup_easy(void *data)
{
    curl_easy_cleanup(data);
}

static Session *
session_new(KvgConfig *config, const KvgConfigCamera *camera)
{
    Session *session = g_atomic_rc_box_new0(Session);
    session->config = kvg_config_ref(config);
    session->camera = camera;
    pthread_mutex_init(&session->lock, NULL);
    return session;
}

/* A new reference; NULL: there is no such camera. */
static Session *
find_session(KvgProxy *proxy, const char *name)
{
    Session *found = NULL;
    pthread_mutex_lock(&proxy->lock);
    for (guint i = 0; i < proxy->sessions->len && found == NULL; i++) {
        Session *session = g_ptr_array_index(proxy->sessions, i);
        if (strcmp(session->camera->name, name) == 0)
            found = g_atomic_rc_box_acquire(session);
    }
    pthread_mutex_unlock(&proxy->lock);
    return found;
}

KvgProxy *
kvg_proxy_new(KvgConfig *config)
{
    KvgProxy *proxy = g_new0(KvgProxy, 1);
    pthread_mutex_init(&proxy->lock, NULL);
    proxy->idle = g_ptr_array_new_with_free_func(cleanup_easy);
    proxy->sessions = g_ptr_array_new_with_free_func(session_unref);
    kvg_proxy_reload(proxy, config);
    return proxy;
}

void
kvg_proxy_reload(KvgProxy *proxy, KvgConfig *config)
{
    const char *site = config->fingerprints[KVG_CONFIG_SCOPE_CAMERAS];
    GPtrArray *sessions = g_ptr_array_new_with_free_func(session_unref);
    for (guint i = 0; i < config->cameras->len; i++) {
        const KvgConfigCamera *camera = g_ptr_array_index(config->cameras, i);
        Session *known = find_session(proxy, camera->name);
        if (known != NULL && strcmp(known->config->fingerprints[KVG_CONFIG_SCOPE_CAMERAS], site)) {
            session_unref(known);
            known = NULL;
        }
        g_ptr_array_add(sessions, known != NULL ? known : session_new(config, camera));
    }
    pthread_mutex_lock(&proxy->lock);
    GPtrArray *before = proxy->sessions;
    proxy->sessions = sessions;
    pthread_mutex_unlock(&proxy->lock);
    g_ptr_array_unref(before);
}

void
kvg_proxy_free(KvgProxy *proxy)
{
    if (proxy == NULL)
        return;
    g_ptr_array_unref(proxy->sessions);
    g_ptr_array_unref(proxy->idle);
    pthread_mutex_destroy(&proxy->lock);
    g_free(proxy);
}

/* ---- playlists ---- */

/* Appends the last path component of @uri and its query without the session token. */
static void
append_uri(GString *out, const char *uri, size_t len)
{
    g_autofree char *copy = g_strndup(uri, len);
    char *query = strchr(copy, '?');
    if (query != NULL)
        *query++ = '\0';
    const char *slash = strrchr(copy, '/');
    g_string_append(out, slash != NULL ? slash + 1 : copy);
    g_auto(GStrv) pairs = g_strsplit(query != NULL ? query : "", "&", -1);
    char separator = '?';
    for (char **pair = pairs; *pair != NULL; pair++) {
        if (**pair == '\0' || g_str_has_prefix(*pair, "SessionToken="))
            continue;
        g_string_append_printf(out, "%c%s", separator, *pair);
        separator = '&';
    }
}

/* A tag may hold one URI="..." attribute. */
static void
append_tag(GString *out, const char *line)
{
    const char *uri = strstr(line, "URI=\"");
    const char *end = uri != NULL ? strchr(uri + 5, '"') : NULL;
    if (end == NULL) {
        g_string_append(out, line);
        return;
    }
    g_string_append_len(out, line, uri + 5 - line);
    append_uri(out, uri + 5, (size_t)(end - uri - 5));
    g_string_append(out, end);
}

char *
kvg_proxy_rewrite(const char *playlist)
{
    g_autoptr(GString) out = g_string_new(NULL);
    g_auto(GStrv) lines = g_strsplit(playlist, "\n", -1);
    for (char **line = lines; *line != NULL; line++) {
        g_strchomp(*line);
        if (**line == '#')
            append_tag(out, *line);
        else if (**line != '\0')
            append_uri(out, *line, strlen(*line));
        if (line[1] != NULL)
            g_string_append_c(out, '\n');
    }
    return g_string_free(g_steal_pointer(&out), FALSE);
}

/* ---- sessions ---- */

/* "https://h/hls/v1/getHLSMasterPlaylist.m3u8?SessionToken=T" into its parts. */
static bool
take_url(Session *session, const char *url, GError **error)
{
    const char *query = strchr(url, '?');
    const char *token = query != NULL ? strstr(query, "SessionToken=") : NULL;
    g_autofree char *path = g_strndup(url, query != NULL ? (size_t)(query - url) : strlen(url));
    const char *slash = strrchr(path, '/');
    if (token == NULL || slash == NULL) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_RETRY,
                    "the service's playback URL could not be understood");
        return false;
    }
    token += strlen("SessionToken=");
    session->base = g_strndup(path, (size_t)(slash + 1 - path));
    session->master = g_strdup(slash + 1);
    session->token = g_strndup(token, strcspn(token, "&"));
    return true;
}

static void
drop(Session *session)
{
    g_clear_pointer(&session->base, g_free);
    g_clear_pointer(&session->master, g_free);
    g_clear_pointer(&session->token, g_free);
}

static bool
make_session(Session *session, GError **error)
{
    if (session->credentials == NULL)
        session->credentials = kvg_agent_credentials(session->config, session->camera, error);
    if (session->credentials == NULL)
        return false;
    const KvgHlsRequest request = {.region = session->config->region,
                                   .endpoint = session->config->endpoint,
                                   .ca_path = session->config->ca_bundle,
                                   .stream = session->camera->name,
                                   .expires_s = SESSION_S};
    g_autofree char *url = kvg_aws_hls_url(&request, session->credentials, error);
    return url != NULL && take_url(session, url, error);
}

/* The upstream URL of @file, or of the master playlist for "live.m3u8" (g_free). */
static char *
upstream_url(Session *session, const char *file, const char *query, GError **error)
{
    g_autofree char *url = NULL;
    pthread_mutex_lock(&session->lock);
    const int64_t now_ms = kvg_clock_mono_us() / 1000;
    if (session->base != NULL && now_ms - session->made_ms > RENEW_MS)
        drop(session);
    if (session->base == NULL && (session->error == NULL || now_ms - session->made_ms > RETRY_MS)) {
        g_clear_error(&session->error);
        make_session(session, &session->error);
        session->made_ms = kvg_clock_mono_us() / 1000;
    }
    if (session->base != NULL)
        url =
            g_strconcat(session->base, strcmp(file, "live.m3u8") == 0 ? session->master : file,
                        "?SessionToken=", session->token, query != NULL ? "&" : NULL, query, NULL);
    else if (session->error != NULL)
        g_propagate_error(error, g_error_copy(session->error));
    pthread_mutex_unlock(&session->lock);
    return g_steal_pointer(&url);
}

/* ---- fetching ---- */

static CURL *
take_easy(KvgProxy *proxy)
{
    pthread_mutex_lock(&proxy->lock);
    CURL *easy =
        proxy->idle->len > 0 ? g_ptr_array_steal_index(proxy->idle, proxy->idle->len - 1) : NULL;
    pthread_mutex_unlock(&proxy->lock);
    if (easy == NULL)
        return curl_easy_init();
    curl_easy_reset(easy);
    return easy;
}

static void
give_easy(KvgProxy *proxy, CURL *easy)
{
    pthread_mutex_lock(&proxy->lock);
    if (proxy->idle->len < MAX_IDLE)
        g_ptr_array_add(proxy->idle, g_steal_pointer(&easy));
    pthread_mutex_unlock(&proxy->lock);
    if (easy != NULL)
        curl_easy_cleanup(easy);
}

static size_t
on_body(char *data, size_t size, size_t n, void *user_data)
{
    GString *body = user_data;
    if (body->len + n > MAX_BODY)
        return 0;
    g_string_append_len(body, data, (gssize)n);
    return n;
}

/* The HTTP status; 0 and @error if there was no answer. */
static long
fetch(KvgProxy *proxy,
      const char *ca_bundle,
      const char *url,
      GString *body,
      char **type,
      GError **error)
{
    CURL *easy = take_easy(proxy);
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "https,http");
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, TIMEOUT_MS);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "kvg/" KVG_VERSION);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, body);
    if (ca_bundle != NULL)
        curl_easy_setopt(easy, CURLOPT_CAINFO, ca_bundle);
    const CURLcode result = curl_easy_perform(easy);
    long status = 0;
    const char *sent_type = NULL;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(easy, CURLINFO_CONTENT_TYPE, &sent_type);
    *type = g_strdup(sent_type);
    give_easy(proxy, easy);
    if (result == CURLE_OK)
        return status;
    g_set_error(error, KVG_ERROR, KVG_ERROR_RETRY, "the service cannot be reached: %s",
                curl_easy_strerror(result));
    return 0;
}

/* ---- answers ---- */

static void
respond_message(KvgHttpExchange *x, int status, const char *message)
{
    g_autofree char *valid = g_utf8_make_valid(message, -1);
    g_autoptr(json_t) body = json_pack("{s:s}", "message", valid);
    g_autofree char *text = kvg_json_to_text(body);
    kvg_http_respond_json(x, status, text);
}

static void
respond_error(KvgHttpExchange *x, const GError *error)
{
    const bool no_video = g_error_matches(error, KVG_ERROR, KVG_ERROR_NOT_FOUND);
    respond_message(x, no_video ? 404 : 502, no_video ? "no video yet" : error->message);
}

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

static void
relay(KvgProxy *proxy, Session *session, KvgHttpExchange *x, const char *file)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GString) body = g_string_new(NULL);
    g_autofree char *type = NULL;
    g_autofree char *url = upstream_url(session, file, kvg_http_query(x), &error);
    const long status =
        url != NULL ? fetch(proxy, session->config->ca_bundle, url, body, &type, &error) : 0;
    if (status == 0) {
        respond_error(x, error);
        return;
    }
    if (status != 200) {
        if (status == 400 || status == 403) { /* the session is over: the next request makes one */
            pthread_mutex_lock(&session->lock);
            drop(session);
            pthread_mutex_unlock(&session->lock);
        }
        respond_message(x, status == 404 ? 404 : 502,
                        status == 404 ? "no video yet"
                                      : "the service refused the playback session");
        return;
    }
    const bool is_playlist = g_str_has_suffix(file, ".m3u8");
    const KvgHeader headers[] = {
        {"Content-Type", type != NULL ? type : "application/octet-stream"},
        {"Cache-Control", is_playlist ? "no-store" : "private, max-age=60"}};
    g_autofree char *playlist = is_playlist ? kvg_proxy_rewrite(body->str) : NULL;
    kvg_http_respond(x, 200, headers, G_N_ELEMENTS(headers),
                     playlist != NULL ? playlist : body->str,
                     playlist != NULL ? strlen(playlist) : body->len);
}

void
kvg_proxy_handle(KvgProxy *proxy, KvgHttpExchange *x, const char *rest)
{
    const char *slash = strchr(rest, '/');
    g_autofree char *name = g_strndup(rest, slash != NULL ? (size_t)(slash - rest) : strlen(rest));
    g_autoptr(Session) session = find_session(proxy, name);
    if (slash == NULL || session == NULL || !is_file(slash + 1)) {
        respond_message(x, 404, "there is no such camera or file");
        return;
    }
    relay(proxy, session, x, slash + 1);
}
