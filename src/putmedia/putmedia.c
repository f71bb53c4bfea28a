#include "putmedia/putmedia.h"

#include "wire/sigv4.h"
#include <string.h>

char *
kvg_putmedia_host(const char *endpoint, GError **error)
{
    const char *rest = NULL;
    const char *default_port = NULL;
    if (g_str_has_prefix(endpoint, "https://")) {
        rest = endpoint + strlen("https://");
        default_port = ":443";
    } else if (g_str_has_prefix(endpoint, "http://")) {
        rest = endpoint + strlen("http://");
        default_port = ":80";
    }
    if (rest == NULL || *rest == '\0' || strcspn(rest, "/?#@ \r\n\t") != strlen(rest)) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID,
                    "data endpoint '%s' is not of the form https://HOST[:PORT]", endpoint);
        return NULL;
    }
    /* curl leaves a default port out of the Host header, so the signature must, too. */
    if (g_str_has_suffix(rest, default_port))
        return g_strndup(rest, strlen(rest) - strlen(default_port));
    return g_strdup(rest);
}

void
kvg_putmedia_headers_free(struct curl_slist *headers)
{
    /* They hold a session token and a signature. */
    for (struct curl_slist *line = headers; line != NULL; line = line->next)
        explicit_bzero(line->data, strlen(line->data));
    curl_slist_free_all(headers);
}

static struct curl_slist *
append_header(struct curl_slist *list, const char *name, const char *value)
{
    g_autofree char *line = g_strdup_printf("%s: %s", name, value);
    return curl_slist_append(list, line);
}

struct curl_slist *
kvg_putmedia_headers(const char *host,
                     const char *region,
                     const char *stream_name,
                     const char *user_agent,
                     const KvgKeys *keys,
                     int64_t wall_ms)
{
    g_autoptr(GDateTime) now = g_date_time_new_from_unix_utc(wall_ms / 1000);
    g_autofree char *date = g_date_time_format(now, "%Y%m%dT%H%M%SZ");
    g_autofree char *start =
        g_strdup_printf("%" G_GINT64_FORMAT ".%03d", wall_ms / 1000, (int)(wall_ms % 1000));
    const KvgHeader headers[] = {
        {"host", host},
        {"x-amz-date", date},
        {"x-amzn-stream-name", stream_name},
        {"x-amzn-fragment-timecode-type", "ABSOLUTE"},
        {"x-amzn-fragment-acknowledgment-required", "1"},
        {"x-amzn-producer-start-timestamp", start},
        {"x-amz-security-token", keys->session_token}, /* last: left out if there is none */
    };
    const size_t n = G_N_ELEMENTS(headers) - (keys->session_token == NULL ? 1 : 0);
    /* The body has no end when it is signed: its hash is that of nothing. Hop-by-hop headers are
     * not signed, so that a proxy may change them. */
    const KvgSigv4Request request = {.method = "POST",
                                     .path = "/putMedia",
                                     .headers = headers,
                                     .n_headers = n,
                                     .payload_sha256 = KVG_SIGV4_EMPTY_SHA256,
                                     .amz_date = date,
                                     .region = region,
                                     .service = "kinesisvideo"};
    g_autofree char *authorization =
        kvg_sigv4_authorization(&request, keys->access_key, keys->secret_key);
    struct curl_slist *list = NULL;
    for (size_t i = 0; i < n; i++)
        list = append_header(list, headers[i].name, headers[i].value);
    list = append_header(list, "authorization", authorization);
    list = append_header(list, "user-agent", user_agent);
    list = append_header(list, "transfer-encoding", "chunked");
    list = append_header(list, "connection", "keep-alive");
    /* Without waiting for "100 Continue": a refusal arrives as well while the body is under way. */
    list = curl_slist_append(list, "Expect:");
    list = curl_slist_append(list, "Content-Type:");
    return list;
}
