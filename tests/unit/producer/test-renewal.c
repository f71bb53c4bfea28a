/* Renewals inside the uploader: three requests of instance metadata for any number of streams with
 * the same identity, while other streams go on; keys that are refused are renewed; and a missing
 * key file that appears. The service on loopback plays instance metadata and the control plane. */
#include "http/server.h"
#include "os/file.h"
#include <glib/gstdio.h>
#include <kvg/kvg.h>
#include <pthread.h>
#include <string.h>

#define SECRET "SECRETsecretSECRETsecretSECRETsecretSECR"
#define N_STREAMS 20
#define WAIT_US (20 * G_USEC_PER_SEC)

typedef struct {
    KvgHttpServer *server;
    char *folder;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned n_token, n_role, n_keys; /* requests of instance metadata */
    GHashTable *described;            /* "STREAM by KEY" */
    const char *role_waits_for;       /* the role's answer is held until this was described */
    const char *refused_key;          /* its DescribeStream is refused with 403 */
} Site;

static char *
key_of(const char *authorization)
{
    const char *at = authorization != NULL ? strstr(authorization, "Credential=") : NULL;
    return at != NULL ? g_strndup(at + 11, strcspn(at + 11, "/")) : g_strdup("nobody");
}

static void
wait_until(Site *site, const char *described)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 20;
    while (!g_hash_table_contains(site->described, described))
        g_assert_cmpint(pthread_cond_timedwait(&site->changed, &site->lock, &until), ==, 0);
}

static void
answer_keys(Site *site, KvgHttpExchange *x)
{
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();
    g_autoptr(GDateTime) then = g_date_time_add_seconds(now, 3600);
    g_autofree char *expires = g_date_time_format(then, "%Y-%m-%dT%H:%M:%SZ");
    g_autofree char *body =
        g_strdup_printf("{\"AccessKeyId\":\"INSTANCE%u\",\"SecretAccessKey\":\"" SECRET
                        "\",\"Token\":\"TOKEN\",\"Expiration\":\"%s\"}",
                        site->n_keys, expires);
    kvg_http_respond_json(x, 200, body);
}

static void
answer_describe(Site *site, KvgHttpExchange *x, GBytes *body)
{
    g_autofree char *text = g_strndup(g_bytes_get_data(body, NULL), g_bytes_get_size(body));
    g_auto(GStrv) parts = g_strsplit(text, "\"", -1); /* {"StreamName":"x"} */
    g_autofree char *key = key_of(kvg_http_header(x, "authorization"));
    g_hash_table_add(site->described, g_strdup_printf("%s by %s", parts[3], key));
    pthread_cond_broadcast(&site->changed);
    if (g_strcmp0(key, site->refused_key) != 0) {
        kvg_http_respond_json(x, 500, "{}");
        return;
    }
    const KvgHeader headers[] = {{"x-amzn-ErrorType", "ExpiredTokenException"}};
    kvg_http_respond(x, 403, headers, 1, "{}", 2);
}

static void
serve(KvgHttpExchange *x, void *user_data)
{
    Site *site = user_data;
    const char *path = kvg_http_path(x);
    g_autoptr(GBytes) body = kvg_http_read_all(x, 10000, NULL);
    pthread_mutex_lock(&site->lock);
    if (strcmp(path, "/latest/api/token") == 0) {
        site->n_token++;
        kvg_http_respond(x, 200, NULL, 0, "token", 5);
    } else if (g_str_has_suffix(path, "/security-credentials/")) {
        site->n_role++;
        if (site->role_waits_for != NULL)
            wait_until(site, site->role_waits_for);
        kvg_http_respond(x, 200, NULL, 0, "role", 4);
    } else if (g_str_has_suffix(path, "/security-credentials/role")) {
        site->n_keys++;
        answer_keys(site, x);
    } else {
        answer_describe(site, x, body);
    }
    pthread_mutex_unlock(&site->lock);
}

static Site *
site_new(void)
{
    Site *site = g_new0(Site, 1);
    g_autoptr(GError) error = NULL;
    pthread_mutex_init(&site->lock, NULL);
    pthread_cond_init(&site->changed, NULL);
    site->described = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    site->folder = g_dir_make_tmp("kvg-renewal-XXXXXX", NULL);
    const KvgHttpServerOptions options = {.handler = serve, .user_data = site};
    site->server = kvg_http_server_start(&options, &error);
    g_assert_no_error(error);
    g_autofree char *url =
        g_strdup_printf("http://127.0.0.1:%u", kvg_http_server_port(site->server));
    g_autofree char *nowhere = g_build_filename(site->folder, "nowhere", NULL);
    g_setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", url, TRUE);
    g_setenv("AWS_SHARED_CREDENTIALS_FILE", nowhere, TRUE);
    g_setenv("AWS_CONFIG_FILE", nowhere, TRUE);
    g_setenv("AWS_METADATA_SERVICE_TIMEOUT", "60", TRUE);
    static const char *const cleared[] = {"AWS_ACCESS_KEY_ID",
                                          "AWS_SECRET_ACCESS_KEY",
                                          "AWS_PROFILE",
                                          "AWS_EC2_METADATA_DISABLED",
                                          "AWS_WEB_IDENTITY_TOKEN_FILE",
                                          "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                                          "AWS_CONTAINER_CREDENTIALS_FULL_URI"};
    for (size_t i = 0; i < G_N_ELEMENTS(cleared); i++)
        g_unsetenv(cleared[i]);
    return site;
}

static void
site_free(Site *site)
{
    kvg_http_server_stop(site->server, 1000);
    g_assert_true(kvg_dir_remove(site->folder, NULL));
    g_hash_table_unref(site->described);
    pthread_cond_destroy(&site->changed);
    pthread_mutex_destroy(&site->lock);
    g_free(site->folder);
    g_free(site);
}

static KvgProducer *
start(const Site *site)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *url =
        g_strdup_printf("http://127.0.0.1:%u", kvg_http_server_port(site->server));
    g_autofree char *spool = g_build_filename(site->folder, "spool", NULL);
    const KvgProducerOptions options = {.region = "eu-west-1",
                                        .endpoint = url,
                                        .spool_path = spool,
                                        .spool_memory_path = site->folder};
    KvgProducer *producer = kvg_producer_new(&options, &error);
    g_assert_no_error(error);
    return producer;
}

static KvgStream *
open_stream(KvgProducer *producer, const char *name, KvgCredentials *credentials)
{
    g_autoptr(GError) error = NULL;
    const KvgStreamOptions options = {.name = name, .credentials = credentials};
    KvgStream *stream = kvg_producer_open_stream(producer, &options, &error);
    g_assert_no_error(error);
    return stream;
}

static void
assert_described(Site *site, const char *what)
{
    pthread_mutex_lock(&site->lock);
    wait_until(site, what);
    pthread_mutex_unlock(&site->lock);
}

/* The slow answer is held until a stream with other keys has been served: nothing waited for it. */
static void
test_shared(void)
{
    Site *site = site_new();
    site->role_waits_for = "other by FIXED";
    KvgProducer *producer = start(site);
    KvgStream *streams[N_STREAMS + 1];
    g_autoptr(GError) error = NULL;
    for (unsigned i = 0; i < N_STREAMS; i++) {
        g_autofree char *name = g_strdup_printf("cam-%u", i);
        g_autoptr(KvgCredentials) credentials = kvg_credentials_new_default(NULL, &error);
        g_assert_no_error(error);
        streams[i] = open_stream(producer, name, credentials);
    }
    g_autoptr(KvgCredentials) fixed = kvg_credentials_new_static("FIXED", SECRET, NULL);
    streams[N_STREAMS] = open_stream(producer, "other", fixed);
    for (unsigned i = 0; i < N_STREAMS; i++) {
        g_autofree char *what = g_strdup_printf("cam-%u by INSTANCE1", i);
        assert_described(site, what);
    }
    g_assert_cmpuint(site->n_token, ==, 1);
    g_assert_cmpuint(site->n_role, ==, 1);
    g_assert_cmpuint(site->n_keys, ==, 1);
    for (unsigned i = 0; i <= N_STREAMS; i++)
        kvg_stream_close(streams[i], 0, NULL);
    kvg_producer_free(producer);
    site_free(site);
}

static void
test_refused(void)
{
    Site *site = site_new();
    site->refused_key = "INSTANCE1";
    KvgProducer *producer = start(site);
    g_autoptr(GError) error = NULL;
    g_autoptr(KvgCredentials) credentials = kvg_credentials_new_default(NULL, &error);
    KvgStream *stream = open_stream(producer, "gate", credentials);
    assert_described(site, "gate by INSTANCE2");
    kvg_stream_close(stream, 0, NULL);
    kvg_producer_free(producer);
    site_free(site);
}

/* A stream is closed while its renewal is under way. */
static void
test_closed(void)
{
    Site *site = site_new();
    site->role_waits_for = "other by FIXED";
    KvgProducer *producer = start(site);
    g_autoptr(GError) error = NULL;
    g_autoptr(KvgCredentials) credentials = kvg_credentials_new_default(NULL, &error);
    KvgStream *stream = open_stream(producer, "gate", credentials);
    const int64_t until_us = g_get_monotonic_time() + WAIT_US;
    for (unsigned n = 0; n == 0;) {
        g_usleep(1000);
        pthread_mutex_lock(&site->lock);
        n = site->n_role;
        pthread_mutex_unlock(&site->lock);
        g_assert_cmpint(g_get_monotonic_time(), <, until_us);
    }
    kvg_stream_close(stream, 0, NULL);
    g_autoptr(KvgCredentials) fixed = kvg_credentials_new_static("FIXED", SECRET, NULL);
    stream = open_stream(producer, "other", fixed);
    assert_described(site, "other by FIXED");
    kvg_stream_close(stream, 0, NULL);
    kvg_producer_free(producer);
    site_free(site);
}

/* Recording begins without keys, the reason is said, and the file is used when it comes and when it
 * changes. */
static void
test_file_appears(void)
{
    Site *site = site_new();
    KvgProducer *producer = start(site);
    g_autofree char *path = g_build_filename(site->folder, "keys", NULL);
    g_autoptr(KvgCredentials) credentials = kvg_credentials_new_file(path);
    KvgStream *stream = open_stream(producer, "gate", credentials);
    KvgStreamStats stats = {0};
    const int64_t until_us = g_get_monotonic_time() + WAIT_US;
    while (strstr(stats.reason, "file: ") == NULL) {
        g_usleep(10000);
        kvg_stream_get_stats(stream, &stats);
        g_assert_cmpint(g_get_monotonic_time(), <, until_us);
    }
    g_assert_true(kvg_file_replace(path, "CREDENTIALS FIRST " SECRET, 18 + 40, 0600, NULL));
    assert_described(site, "gate by FIRST");
    pthread_mutex_lock(&site->lock);
    site->refused_key = "FIRST";
    pthread_mutex_unlock(&site->lock);
    g_assert_true(kvg_file_replace(path, "CREDENTIALS OTHER " SECRET, 18 + 40, 0600, NULL));
    assert_described(site, "gate by OTHER");
    kvg_stream_close(stream, 0, NULL);
    kvg_producer_free(producer);
    site_free(site);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_FATAL_MASK); /* failures are warned of */
    g_test_add_func("/producer/renewal/shared", test_shared);
    g_test_add_func("/producer/renewal/refused", test_refused);
    g_test_add_func("/producer/renewal/closed", test_closed);
    g_test_add_func("/producer/renewal/file-appears", test_file_appears);
    return g_test_run();
}
