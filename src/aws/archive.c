#include "aws/archive.h"
#include "base/clock.h"
#include <kvg/error.h>
#include <pthread.h>

#define ENDPOINT_MS (3600 * 1000ll)
#define CALL_TIMEOUT_MS 30000u
/* Media: as long as it takes, but not at a standstill. */
#define STREAM_TIMEOUT_MS (15u * 60 * 1000)
#define STALL_S 20L

typedef struct {
    char *url;
    int64_t asked_mono_ms;
} Endpoint;

struct _KvgArchive {
    char *region, *endpoint, *ca_path, *stream;
    KvgCredentials *credentials;
    pthread_mutex_t lock;
    GHashTable *endpoints; /* API -> Endpoint; under lock */
};

static int64_t
now_ms(void)
{
    return kvg_clock_mono_us() / 1000;
}

static void
endpoint_free(void *data)
{
    Endpoint *endpoint = data;
    g_free(endpoint->url);
    g_free(endpoint);
}

KvgArchive *
kvg_archive_new(const KvgArchiveOptions *options, KvgCredentials *credentials)
{
    KvgArchive *archive = g_new0(KvgArchive, 1);
    archive->region = g_strdup(options->region);
    archive->endpoint = g_strdup(options->endpoint);
    archive->ca_path = g_strdup(options->ca_path);
    archive->stream = g_strdup(options->stream);
    archive->credentials = kvg_credentials_ref(credentials);
    pthread_mutex_init(&archive->lock, NULL);
    archive->endpoints = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, endpoint_free);
    return archive;
}

void
kvg_archive_free(KvgArchive *archive)
{
    if (archive == NULL)
        return;
    g_hash_table_unref(archive->endpoints);
    pthread_mutex_destroy(&archive->lock);
    kvg_credentials_unref(archive->credentials);
    g_free(archive->region);
    g_free(archive->endpoint);
    g_free(archive->ca_path);
    g_free(archive->stream);
    g_free(archive);
}

/* ---- where to ask ---- */

static char *
remembered(KvgArchive *archive, const char *api)
{
    pthread_mutex_lock(&archive->lock);
    const Endpoint *endpoint = g_hash_table_lookup(archive->endpoints, api);
    char *url = endpoint != NULL && now_ms() - endpoint->asked_mono_ms < ENDPOINT_MS
                    ? g_strdup(endpoint->url)
                    : NULL;
    pthread_mutex_unlock(&archive->lock);
    return url;
}

static void
remember(KvgArchive *archive, const char *api, const char *url)
{
    Endpoint *endpoint = g_new0(Endpoint, 1);
    endpoint->url = g_strdup(url);
    endpoint->asked_mono_ms = now_ms();
    pthread_mutex_lock(&archive->lock);
    g_hash_table_replace(archive->endpoints, g_strdup(api), endpoint);
    pthread_mutex_unlock(&archive->lock);
}

static void
forget(KvgArchive *archive, const char *api)
{
    pthread_mutex_lock(&archive->lock);
    g_hash_table_remove(archive->endpoints, api);
    pthread_mutex_unlock(&archive->lock);
}

static KvgAwsRequest
request_of(const KvgArchive *archive, const char *base_url, const char *path, const char *body)
{
    return (KvgAwsRequest){.service = "kinesisvideo",
                           .region = archive->region,
                           .base_url = base_url,
                           .method = "POST",
                           .path = path,
                           .body = body,
                           .ca_path = archive->ca_path,
                           .total_timeout_ms = CALL_TIMEOUT_MS};
}

static json_t *
perform(KvgArchive *archive,
        const char *base,
        const char *path,
        const json_t *arguments,
        GError **error)
{
    g_autofree char *body = kvg_json_to_text(arguments);
    const KvgAwsRequest request = request_of(archive, base, path, body);
    g_auto(KvgAwsReply) reply = {0};
    if (!kvg_aws_call(&request, archive->credentials, &reply, error))
        return NULL;
    return kvg_json_parse_object(reply.body->str, reply.body->len, error);
}

static char *
data_endpoint(KvgArchive *archive, const char *api, GError **error)
{
    g_autofree char *known = remembered(archive, api);
    if (known != NULL)
        return g_steal_pointer(&known);
    g_autofree char *base = kvg_aws_base_url("kinesisvideo", archive->region, archive->endpoint);
    g_autoptr(json_t) arguments =
        json_pack("{s:s, s:s}", "StreamName", archive->stream, "APIName", api);
    g_autoptr(json_t) reply = perform(archive, base, "/getDataEndpoint", arguments, error);
    if (reply == NULL)
        return NULL;
    const char *endpoint = kvg_json_get_string(reply, "DataEndpoint");
    if (endpoint == NULL) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_RETRY, "the service's answer has no DataEndpoint");
        return NULL;
    }
    g_autofree char *url = kvg_aws_base_url("kinesisvideo", archive->region, endpoint);
    remember(archive, api, url);
    return g_steal_pointer(&url);
}

/* An endpoint that did not answer may have moved. */
static bool
is_no_answer(const GError *error)
{
    return !g_error_matches(error, KVG_ERROR, KVG_ERROR_NOT_FOUND) &&
           !g_error_matches(error, KVG_ERROR, KVG_ERROR_THROTTLED);
}

/* ---- calls ---- */

json_t *
kvg_archive_call(
    KvgArchive *archive, const char *api, const char *path, json_t *arguments, GError **error)
{
    g_autoptr(GError) cause = NULL;
    g_autofree char *endpoint = data_endpoint(archive, api, error);
    if (endpoint == NULL)
        return NULL;
    json_object_set_new(arguments, "StreamName", json_string(archive->stream));
    json_t *reply = perform(archive, endpoint, path, arguments, &cause);
    if (reply != NULL)
        return reply;
    if (is_no_answer(cause))
        forget(archive, api);
    g_propagate_error(error, g_steal_pointer(&cause));
    return NULL;
}

typedef struct {
    CURL *easy;
    KvgAwsReply *reply; /* gets what a refusal says */
    KvgArchiveSink sink;
    void *user_data;
} Stream;

static size_t
on_media(char *data, size_t size, size_t n, void *user_data)
{
    const Stream *stream = user_data;
    long status = 0;
    curl_easy_getinfo(stream->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status == 200)
        return stream->sink(data, n, stream->user_data) ? n : 0;
    if (stream->reply->body->len + n > 65536)
        return 0;
    g_string_append_len(stream->reply->body, data, (gssize)n);
    return n;
}

bool
kvg_archive_stream(KvgArchive *archive,
                   const char *api,
                   const char *path,
                   json_t *arguments,
                   KvgArchiveSink sink,
                   void *user_data,
                   GError **error)
{
    g_auto(KvgKeys) keys = {0};
    g_autofree char *endpoint = data_endpoint(archive, api, error);
    if (endpoint == NULL || !kvg_credentials_get(archive->credentials, &keys, error))
        return false;
    json_object_set_new(arguments, "StreamName", json_string(archive->stream));
    g_autofree char *body = kvg_json_to_text(arguments);
    KvgAwsRequest request = request_of(archive, endpoint, path, body);
    request.total_timeout_ms = STREAM_TIMEOUT_MS;
    g_auto(KvgAwsReply) reply = {0};
    g_autoptr(KvgAwsTransfer) transfer = kvg_aws_transfer_new(&request, &keys, &reply);
    Stream stream = {.easy = kvg_aws_transfer_easy(transfer),
                     .reply = &reply,
                     .sink = sink,
                     .user_data = user_data};
    curl_easy_setopt(stream.easy, CURLOPT_WRITEFUNCTION, on_media);
    curl_easy_setopt(stream.easy, CURLOPT_WRITEDATA, &stream);
    curl_easy_setopt(stream.easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(stream.easy, CURLOPT_LOW_SPEED_TIME, STALL_S);
    return kvg_aws_transfer_end(transfer, curl_easy_perform(stream.easy), error);
}

json_t *
kvg_archive_time(int64_t wall_ms)
{
    return json_real((double)wall_ms / 1000);
}

json_t *
kvg_archive_selector(int64_t from_ms, int64_t to_ms)
{
    return json_pack("{s:s, s:{s:o, s:o}}", "FragmentSelectorType", "PRODUCER_TIMESTAMP",
                     "TimestampRange", "StartTimestamp", kvg_archive_time(from_ms), "EndTimestamp",
                     kvg_archive_time(to_ms));
}
