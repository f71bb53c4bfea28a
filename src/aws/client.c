/* One signed request as a curl easy handle, and the judgement of its answer. */
#include "aws/client.h"
#include "aws/private.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "wire/sigv4.h"
#include <kvg/error.h>
#include <string.h>
#include <time.h>

#define MAX_REPLY_BYTES (8u * 1024 * 1024)
#define MAX_TEXT 300
#define CONNECT_TIMEOUT_MS 4000 /* a dead link has a name within 5 s */
#define TOTAL_TIMEOUT_MS 10000

struct _KvgAwsTransfer {
    CURL *easy;
    struct curl_slist *headers;
    char *body;
    char *label; /* "kinesisvideo /describeStream at https://..." */
    KvgAwsReply *reply;
    char curl_error[CURL_ERROR_SIZE];
};

static void *
init_curl(void *data)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
    return NULL;
}

void
kvg_aws_init(void)
{
    static GOnce once = G_ONCE_INIT;
    g_once(&once, init_curl, NULL);
}

void
kvg_aws_reply_clear(KvgAwsReply *reply)
{
    if (reply->body != NULL)
        g_string_free(reply->body, TRUE);
    g_free(reply->error_type);
    g_free(reply->error_text);
    g_free(reply->request_id);
    *reply = (KvgAwsReply){0};
}

char *
kvg_aws_base_url(const char *service, const char *region, const char *override)
{
    if (override != NULL && override[0] != '\0') {
        char *url = g_strdup(override);
        for (size_t len = strlen(url); len > 0 && url[len - 1] == '/'; len--)
            url[len - 1] = '\0';
        return url;
    }
    if (strcmp(service, "iam") == 0)
        return g_strdup("https://iam.amazonaws.com");
    return g_strdup_printf("https://%s.%s.amazonaws.com%s", service, region,
                           g_str_has_prefix(region, "cn-") ? ".cn" : "");
}

/* ---- signing ---- */

/* The Host header as it goes over the wire: without the scheme's own port. */
static char *
host_of(const char *base_url)
{
    const char *start = strstr(base_url, "://");
    start = start != NULL ? start + 3 : base_url;
    g_autofree char *host = g_strndup(start, strcspn(start, "/?#"));
    const char *port = g_str_has_prefix(base_url, "https:") ? ":443" : ":80";
    if (g_str_has_suffix(host, port))
        host[strlen(host) - strlen(port)] = '\0';
    return g_steal_pointer(&host);
}

static void
add_header(GArray *headers, const char *name, const char *value)
{
    const KvgHeader header = {.name = name, .value = value};
    g_array_append_val(headers, header);
}

/* "name: value" lines of the caller; split in place in @copies, which must outlive @headers. */
static void
add_extra(GArray *headers, char **copies)
{
    for (char **line = copies; line != NULL && *line != NULL; line++) {
        char *colon = strchr(*line, ':');
        if (colon == NULL)
            continue;
        *colon = '\0';
        add_header(headers, g_strstrip(*line), g_strstrip(colon + 1));
    }
}

static void
append_line(struct curl_slist **list, const char *name, const char *value)
{
    g_autofree char *line = g_strdup_printf("%s: %s", name, value);
    *list = curl_slist_append(*list, line);
}

static struct curl_slist *
sign(const KvgAwsRequest *request, const KvgKeys *keys)
{
    const size_t body_len = request->body != NULL ? strlen(request->body) : 0;
    g_autofree char *payload = kvg_sigv4_sha256_hex(request->body, body_len);
    g_autofree char *host = host_of(request->base_url);
    g_auto(GStrv) extra = g_strdupv((char **)(uintptr_t)request->extra_headers);
    char date[17];
    const time_t now = (time_t)((kvg_clock_wall_ms() + request->clock_offset_ms) / 1000);
    struct tm utc;
    strftime(date, sizeof date, "%Y%m%dT%H%M%SZ", gmtime_r(&now, &utc));

    g_autoptr(GArray) headers = g_array_new(FALSE, FALSE, sizeof(KvgHeader));
    add_header(headers, "host", host);
    add_header(headers, "x-amz-date", date);
    if (keys != NULL && keys->session_token != NULL)
        add_header(headers, "x-amz-security-token", keys->session_token);
    if (request->body != NULL)
        add_header(headers, "content-type",
                   request->content_type != NULL ? request->content_type : "application/json");
    add_extra(headers, extra);
    const KvgSigv4Request to_sign = {.method = request->method,
                                     .path = request->path,
                                     .query = request->query,
                                     .headers = (const KvgHeader *)(const void *)headers->data,
                                     .n_headers = headers->len,
                                     .payload_sha256 = payload,
                                     .amz_date = date,
                                     .region = request->region,
                                     .service = request->service};
    g_autofree char *authorization =
        keys != NULL ? kvg_sigv4_authorization(&to_sign, keys->access_key, keys->secret_key) : NULL;
    struct curl_slist *list = NULL;
    for (guint i = 0; i < headers->len; i++) {
        const KvgHeader *header = &g_array_index(headers, KvgHeader, i);
        append_line(&list, header->name, header->value);
    }
    if (authorization != NULL)
        append_line(&list, "authorization", authorization);
    return curl_slist_append(list, "Expect:");
}

/* ---- transfer ---- */

static size_t
on_reply(char *data, size_t size, size_t n, void *user_data)
{
    KvgAwsReply *reply = user_data;
    if (reply->body->len + n > MAX_REPLY_BYTES)
        return 0;
    g_string_append_len(reply->body, data, (gssize)n);
    return n;
}

void
kvg_curl_trust(CURL *easy, const char *ca_path)
{
    if (ca_path == NULL)
        return;
    const bool is_folder = g_file_test(ca_path, G_FILE_TEST_IS_DIR);
    curl_easy_setopt(easy, is_folder ? CURLOPT_CAPATH : CURLOPT_CAINFO, ca_path);
}

static void
set_options(KvgAwsTransfer *transfer, const KvgAwsRequest *request)
{
    CURL *easy = transfer->easy;
    g_autofree char *url = g_strconcat(request->base_url, request->path,
                                       request->query != NULL ? "?" : NULL, request->query, NULL);
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L); /* what was signed goes out */
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "https,http");
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer->headers);
    curl_easy_setopt(easy, CURLOPT_USERAGENT,
                     request->user_agent != NULL ? request->user_agent : "kvg/" KVG_VERSION);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->curl_error);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
                     (long)(request->connect_timeout_ms != 0 ? request->connect_timeout_ms
                                                             : CONNECT_TIMEOUT_MS));
    curl_easy_setopt(
        easy, CURLOPT_TIMEOUT_MS,
        (long)(request->total_timeout_ms != 0 ? request->total_timeout_ms : TOTAL_TIMEOUT_MS));
    kvg_curl_trust(easy, request->ca_path);
    if (transfer->body != NULL) {
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, transfer->body);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, (long)strlen(transfer->body));
    } else if (strcmp(request->method, "POST") == 0 || strcmp(request->method, "PUT") == 0) {
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, "");
    }
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_reply);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer->reply);
}

KvgAwsTransfer *
kvg_aws_transfer_new(const KvgAwsRequest *request, const KvgKeys *keys, KvgAwsReply *reply)
{
    kvg_aws_init();
    KvgAwsTransfer *transfer = g_new0(KvgAwsTransfer, 1);
    transfer->easy = curl_easy_init();
    transfer->headers = sign(request, keys);
    transfer->body = g_strdup(request->body);
    transfer->label = g_strdup_printf("%s %s %s at %s", request->service, request->method,
                                      request->path, request->base_url);
    transfer->reply = reply;
    reply->body = g_string_new(NULL);
    set_options(transfer, request);
    return transfer;
}

CURL *
kvg_aws_transfer_easy(KvgAwsTransfer *transfer)
{
    return transfer->easy;
}

void
kvg_aws_transfer_free(KvgAwsTransfer *transfer)
{
    if (transfer == NULL)
        return;
    curl_easy_cleanup(transfer->easy);
    /* The headers hold a session token and a signature. */
    for (struct curl_slist *line = transfer->headers; line != NULL; line = line->next)
        explicit_bzero(line->data, strlen(line->data));
    curl_slist_free_all(transfer->headers);
    g_free(transfer->body);
    g_free(transfer->label);
    g_free(transfer);
}

/* ---- judgement ---- */

static char *
get_header(CURL *easy, const char *name)
{
    struct curl_header *header;
    if (curl_easy_header(easy, name, 0, CURLH_HEADER, -1, &header) != CURLHE_OK)
        return NULL;
    return g_strndup(header->value, MAX_TEXT);
}

char *
kvg_aws_xml_text(const char *document, const char *tag, size_t max)
{
    g_autofree char *open = g_strdup_printf("<%s>", tag);
    g_autofree char *close = g_strdup_printf("</%s>", tag);
    const char *start = strstr(document, open);
    const char *end = start != NULL ? strstr(start, close) : NULL;
    if (end == NULL)
        return NULL;
    start += strlen(open);
    return g_strndup(start, MIN((size_t)(end - start), max));
}

static void
take_json_error(KvgAwsReply *reply, const json_t *body)
{
    const char *type = kvg_json_get_string(body, "__type");
    if (type == NULL)
        type = kvg_json_get_string(body, "code");
    const char *hash = type != NULL ? strrchr(type, '#') : NULL;
    if (reply->error_type == NULL && type != NULL)
        reply->error_type = g_strndup(hash != NULL ? hash + 1 : type, MAX_TEXT);
    const char *text = kvg_json_get_string(body, "Message");
    if (text == NULL)
        text = kvg_json_get_string(body, "message");
    if (text != NULL)
        reply->error_text = g_strndup(text, MAX_TEXT);
}

static void
take_error(KvgAwsReply *reply, CURL *easy)
{
    reply->error_type = get_header(easy, "x-amzn-ErrorType");
    if (reply->error_type != NULL)
        reply->error_type[strcspn(reply->error_type, ":")] = '\0';
    g_autoptr(json_t) body = kvg_json_parse_object(reply->body->str, reply->body->len, NULL);
    if (body != NULL)
        take_json_error(reply, body);
    else
        reply->error_text = kvg_aws_xml_text(reply->body->str, "Message", MAX_TEXT);
    if (body == NULL && reply->error_type == NULL)
        reply->error_type = kvg_aws_xml_text(reply->body->str, "Code", MAX_TEXT);
    if (reply->error_text != NULL)
        kvg_text_hide_keys(reply->error_text);
}

static KvgError
code_of(const KvgAwsReply *reply)
{
    static const struct {
        const char *part;
        KvgError code;
    } table[] = {
        {"Throttl", KVG_ERROR_THROTTLED},
        {"LimitExceeded", KVG_ERROR_THROTTLED},
        {"TooManyRequests", KVG_ERROR_THROTTLED},
        {"SlowDown", KVG_ERROR_THROTTLED},
        {"NotFound", KVG_ERROR_NOT_FOUND},
        {"NoSuchEntity", KVG_ERROR_NOT_FOUND},
        {"AccessDenied", KVG_ERROR_AUTH},
        {"NotAuthorized", KVG_ERROR_AUTH},
        {"Signature", KVG_ERROR_AUTH},
        {"Token", KVG_ERROR_AUTH},
        {"UnrecognizedClient", KVG_ERROR_AUTH},
        {"RequestExpired", KVG_ERROR_AUTH},
    };
    for (size_t i = 0; reply->error_type != NULL && i < G_N_ELEMENTS(table); i++) {
        if (strstr(reply->error_type, table[i].part) != NULL)
            return table[i].code;
    }
    if (reply->status == 401 || reply->status == 403)
        return KVG_ERROR_AUTH;
    if (reply->status == 404)
        return KVG_ERROR_NOT_FOUND;
    if (reply->status == 429)
        return KVG_ERROR_THROTTLED;
    return reply->status >= 500 ? KVG_ERROR_RETRY : KVG_ERROR_INVALID;
}

bool
kvg_aws_transfer_end(KvgAwsTransfer *transfer, CURLcode result, GError **error)
{
    KvgAwsReply *reply = transfer->reply;
    if (result != CURLE_OK) {
        const KvgError code =
            kvg_transport_judge(transfer->easy, result, transfer->curl_error).code;
        g_autofree char *text =
            kvg_aws_transport_text(transfer->easy, result, transfer->curl_error);
        g_set_error(error, KVG_ERROR, code, "%s: %s", transfer->label, text);
        return false;
    }
    curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &reply->status);
    reply->request_id = get_header(transfer->easy, "x-amzn-RequestId");
    g_autofree char *date = get_header(transfer->easy, "Date");
    const time_t seconds = date != NULL ? curl_getdate(date, NULL) : -1;
    reply->date_wall_ms = seconds > 0 ? (int64_t)seconds * 1000 : 0;
    if (reply->status >= 200 && reply->status < 300)
        return true;
    take_error(reply, transfer->easy);
    g_set_error(error, KVG_ERROR, code_of(reply), "%s: HTTP %ld %s%s%s%s%s", transfer->label,
                reply->status, reply->error_type != NULL ? reply->error_type : "",
                reply->error_text != NULL ? ": " : "",
                reply->error_text != NULL ? reply->error_text : "",
                reply->request_id != NULL ? ", request " : "",
                reply->request_id != NULL ? reply->request_id : "");
    return false;
}

bool
kvg_aws_call(const KvgAwsRequest *request,
             KvgCredentials *credentials,
             KvgAwsReply *reply,
             GError **error)
{
    g_auto(KvgKeys) keys = {0};
    *reply = (KvgAwsReply){0};
    if (!kvg_credentials_get(credentials, &keys, error))
        return false;
    g_autoptr(KvgAwsTransfer) transfer = kvg_aws_transfer_new(request, &keys, reply);
    return kvg_aws_transfer_end(transfer, curl_easy_perform(transfer->easy), error);
}
