#include "agent/fetch.h"
#include "aws/client.h"
#include <kvg/error.h>
#include <pthread.h>

#define MAX_BODY (64u * 1024 * 1024)
#define CONNECT_MS 4000L
#define TIMEOUT_MS 10000L /* a low-latency playlist is held back for up to four seconds */
#define MAX_IDLE 16

struct _KvgFetch {
    pthread_mutex_t lock;
    GPtrArray *idle; /* CURL, with open connections; under lock */
};

static void
cleanup_easy(void *data)
{
    curl_easy_cleanup(data);
}

KvgFetch *
kvg_fetch_new(void)
{
    KvgFetch *fetch = g_new0(KvgFetch, 1);
    pthread_mutex_init(&fetch->lock, NULL);
    fetch->idle = g_ptr_array_new_with_free_func(cleanup_easy);
    return fetch;
}

void
kvg_fetch_free(KvgFetch *fetch)
{
    if (fetch == NULL)
        return;
    g_ptr_array_unref(fetch->idle);
    pthread_mutex_destroy(&fetch->lock);
    g_free(fetch);
}

static CURL *
take_easy(KvgFetch *fetch)
{
    pthread_mutex_lock(&fetch->lock);
    CURL *easy =
        fetch->idle->len > 0 ? g_ptr_array_steal_index(fetch->idle, fetch->idle->len - 1) : NULL;
    pthread_mutex_unlock(&fetch->lock);
    if (easy == NULL)
        return curl_easy_init();
    curl_easy_reset(easy);
    return easy;
}

static void
give_easy(KvgFetch *fetch, CURL *easy)
{
    pthread_mutex_lock(&fetch->lock);
    if (fetch->idle->len < MAX_IDLE)
        g_ptr_array_add(fetch->idle, g_steal_pointer(&easy));
    pthread_mutex_unlock(&fetch->lock);
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

long
kvg_fetch_get(KvgFetch *fetch,
              const char *url,
              const char *ca_path,
              GString *body,
              char **type,
              GError **error)
{
    CURL *easy = take_easy(fetch);
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "https,http");
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, TIMEOUT_MS);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "kvg/" KVG_VERSION);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, body);
    kvg_curl_trust(easy, ca_path);
    const CURLcode result = curl_easy_perform(easy);
    long status = 0;
    const char *sent_type = NULL;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(easy, CURLINFO_CONTENT_TYPE, &sent_type);
    *type = g_strdup(sent_type);
    give_easy(fetch, easy);
    if (result == CURLE_OK)
        return status;
    g_set_error(error, KVG_ERROR, KVG_ERROR_RETRY, "the service cannot be reached: %s",
                curl_easy_strerror(result));
    return 0;
}
