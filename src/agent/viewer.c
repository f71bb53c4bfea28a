#include "agent/viewer.h"
#include "agent/identity.h"
#include "aws/hls.h"
#include "base/clock.h"
#include "config/keys.h"
#include <kvg/error.h>
#include <pthread.h>
#include <string.h>

#define LIVE_S 43200
#define RECORDED_S 3600
#define RENEW_EARLY_S 600
#define RETRY_MS 1000  /* one attempt at a session per second */
#define MAX_SESSIONS 9 /* the live one, and recorded ones; the least used goes first */
#define NO_LOW_MS 60000

typedef struct {
    KvgViewWindow window;
    int64_t used_ms;      /* under the viewer's lock */
    pthread_mutex_t lock; /* held over the calls that make the session: others wait for it */
    char *base;           /* "https://host:port/hls/v1/" */
    char *master;         /* file name */
    char *token;
    int64_t made_ms;
    GError *error; /* of the last attempt */
} Session;

struct _KvgViewer {
    KvgConfig *config;
    char *name;
    KvgRecordings *recordings;
    pthread_mutex_t lock;
    GPtrArray *sessions;     /* counted Session; under lock */
    KvgArchive *archive;     /* under lock until it is there; stays then */
    int64_t no_low_until_ms; /* under lock */
};

static int64_t
now_ms(void)
{
    return kvg_clock_mono_us() / 1000;
}

/* ---- sessions ---- */

static void
drop(Session *session)
{
    g_clear_pointer(&session->base, g_free);
    g_clear_pointer(&session->master, g_free);
    g_clear_pointer(&session->token, g_free);
}

static void
session_clear(void *data)
{
    Session *session = data;
    drop(session);
    g_clear_error(&session->error);
    pthread_mutex_destroy(&session->lock);
}

static void
session_unref(void *data)
{
    g_atomic_rc_box_release_full(data, session_clear);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Session, session_unref)

/* ---- viewer ---- */

KvgViewer *
kvg_viewer_new(KvgConfig *config, const char *camera)
{
    KvgViewer *viewer = g_atomic_rc_box_new0(KvgViewer);
    viewer->config = kvg_config_ref(config);
    viewer->name = g_strdup(camera);
    viewer->recordings = kvg_recordings_new();
    pthread_mutex_init(&viewer->lock, NULL);
    viewer->sessions = g_ptr_array_new_with_free_func(session_unref);
    return viewer;
}

KvgViewer *
kvg_viewer_ref(KvgViewer *viewer)
{
    return g_atomic_rc_box_acquire(viewer);
}

static void
viewer_clear(void *data)
{
    KvgViewer *viewer = data;
    g_ptr_array_unref(viewer->sessions);
    pthread_mutex_destroy(&viewer->lock);
    kvg_archive_free(viewer->archive);
    kvg_recordings_free(viewer->recordings);
    g_free(viewer->name);
    kvg_config_unref(viewer->config);
}

void
kvg_viewer_unref(KvgViewer *viewer)
{
    g_atomic_rc_box_release_full(viewer, viewer_clear);
}

bool
kvg_viewer_suits(const KvgViewer *viewer, const KvgConfig *config)
{
    const KvgConfigScope scope = KVG_CONFIG_SCOPE_CAMERAS;
    return kvg_config_find_camera(config, viewer->name) != NULL &&
           strcmp(viewer->config->fingerprints[scope], config->fingerprints[scope]) == 0;
}

const char *
kvg_viewer_ca(const KvgViewer *viewer)
{
    return viewer->config->ca_bundle;
}

KvgRecordings *
kvg_viewer_recordings(KvgViewer *viewer)
{
    return viewer->recordings;
}

static KvgArchive *
make_archive(const KvgViewer *viewer, GError **error)
{
    const KvgConfig *config = viewer->config;
    const KvgConfigCamera *camera = kvg_config_find_camera(config, viewer->name);
    g_autoptr(KvgCredentials) credentials = kvg_agent_credentials(config, camera, error);
    if (credentials == NULL)
        return NULL;
    const KvgArchiveOptions options = {.region = config->region,
                                       .endpoint = config->endpoint,
                                       .ca_path = config->ca_bundle,
                                       .stream = viewer->name};
    return kvg_archive_new(&options, credentials);
}

KvgArchive *
kvg_viewer_archive(KvgViewer *viewer, GError **error)
{
    pthread_mutex_lock(&viewer->lock);
    if (viewer->archive == NULL)
        viewer->archive = make_archive(viewer, error);
    KvgArchive *archive = viewer->archive;
    pthread_mutex_unlock(&viewer->lock);
    return archive;
}

/* ---- low latency ---- */

bool
kvg_viewer_offers_low(KvgViewer *viewer)
{
    pthread_mutex_lock(&viewer->lock);
    const bool offers = viewer->config->endpoint != NULL && now_ms() >= viewer->no_low_until_ms;
    pthread_mutex_unlock(&viewer->lock);
    return offers;
}

void
kvg_viewer_has_no_low(KvgViewer *viewer)
{
    pthread_mutex_lock(&viewer->lock);
    viewer->no_low_until_ms = now_ms() + NO_LOW_MS;
    pthread_mutex_unlock(&viewer->lock);
}

/* ---- URLs ---- */

static bool
is_equal(KvgViewWindow a, KvgViewWindow b)
{
    return a.from_ms == b.from_ms && a.to_ms == b.to_ms;
}

static void
drop_oldest(GPtrArray *sessions)
{
    guint oldest = 0;
    for (guint i = 1; i < sessions->len; i++) {
        const Session *session = g_ptr_array_index(sessions, i);
        if (session->used_ms < ((Session *)g_ptr_array_index(sessions, oldest))->used_ms)
            oldest = i;
    }
    g_ptr_array_remove_index(sessions, oldest);
}

/* A counted reference; NULL if there is none and @makes is false. */
static Session *
find_session(KvgViewer *viewer, KvgViewWindow window, bool makes)
{
    Session *found = NULL;
    pthread_mutex_lock(&viewer->lock);
    for (guint i = 0; i < viewer->sessions->len && found == NULL; i++) {
        Session *session = g_ptr_array_index(viewer->sessions, i);
        if (is_equal(session->window, window))
            found = session;
    }
    if (found == NULL && makes) {
        if (viewer->sessions->len >= MAX_SESSIONS)
            drop_oldest(viewer->sessions);
        found = g_atomic_rc_box_new0(Session);
        found->window = window;
        pthread_mutex_init(&found->lock, NULL);
        g_ptr_array_add(viewer->sessions, found);
    }
    if (found != NULL) {
        found->used_ms = now_ms();
        g_atomic_rc_box_acquire(found);
    }
    pthread_mutex_unlock(&viewer->lock);
    return found;
}

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

static int
lifetime_s(const Session *session)
{
    return session->window.to_ms == 0 ? LIVE_S : RECORDED_S;
}

static bool
make_session(KvgViewer *viewer, Session *session, GError **error)
{
    KvgArchive *archive = kvg_viewer_archive(viewer, error);
    if (archive == NULL)
        return false;
    const KvgHlsRequest request = {.from_ms = session->window.from_ms,
                                   .to_ms = session->window.to_ms,
                                   .expires_s = lifetime_s(session)};
    g_autofree char *url = kvg_archive_hls_url(archive, &request, error);
    return url != NULL && take_url(session, url, error);
}

static void
ensure(KvgViewer *viewer, Session *session)
{
    const int64_t age_ms = now_ms() - session->made_ms;
    if (session->base != NULL && age_ms > (lifetime_s(session) - RENEW_EARLY_S) * 1000ll)
        drop(session);
    if (session->base != NULL || (session->error != NULL && age_ms < RETRY_MS))
        return;
    g_clear_error(&session->error);
    make_session(viewer, session, &session->error);
    session->made_ms = now_ms();
}

/* ".../hls/v1/" as ".../ll/v1/" (g_free). */
static char *
low_base(const char *base)
{
    static const char hls[] = "/hls/v1/";
    const size_t len = strlen(base);
    if (!g_str_has_suffix(base, hls))
        return g_strdup(base);
    return g_strdup_printf("%.*s/ll/v1/", (int)(len - strlen(hls)), base);
}

char *
kvg_viewer_url(KvgViewer *viewer,
               KvgViewWindow window,
               bool low,
               const char *file,
               const char *query,
               GError **error)
{
    g_autoptr(Session) session = find_session(viewer, window, true);
    char *url = NULL;
    pthread_mutex_lock(&session->lock);
    ensure(viewer, session);
    if (session->base != NULL) {
        g_autofree char *base = low ? low_base(session->base) : g_strdup(session->base);
        url =
            g_strconcat(base, file != NULL ? file : session->master,
                        "?SessionToken=", session->token, query != NULL ? "&" : NULL, query, NULL);
    } else if (session->error != NULL) {
        g_propagate_error(error, g_error_copy(session->error));
    }
    pthread_mutex_unlock(&session->lock);
    return url;
}

void
kvg_viewer_drop(KvgViewer *viewer, KvgViewWindow window)
{
    g_autoptr(Session) session = find_session(viewer, window, false);
    if (session == NULL)
        return;
    pthread_mutex_lock(&session->lock);
    drop(session);
    pthread_mutex_unlock(&session->lock);
}
