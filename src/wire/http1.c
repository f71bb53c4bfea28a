/* HTTP/1.1 request parser over llhttp. llhttp drives callbacks; here they are turned into steps:
 * each callback that the caller should see pauses llhttp, and kvg_http1_step() returns one event.
 */
#include "wire/http1.h"

#include <kvg/error.h>
#include <llhttp.h>
#include <string.h>

#define DEFAULT_MAX_HEAD_BYTES 32768
#define DEFAULT_MAX_HEADERS 100
/* Chunk sizes and trailers carry no payload; a peer that sends more of them than this is playing.
 */
#define MAX_FRAMING_BYTES 16384

typedef struct {
    size_t name;
    size_t value;
} Offsets;

struct _KvgHttp1 {
    llhttp_t parser;
    llhttp_settings_t settings;
    size_t max_head_bytes;
    unsigned max_headers;

    GString
        *text; /* target, names and values, each NUL-terminated; at most max_head_bytes + 2 each */
    GArray *offsets; /* Offsets into text, while the head is read */
    GArray *headers; /* KvgHeader, when it is complete */
    char *path;
    KvgHttp1Head head;
    size_t head_bytes;    /* seen so far */
    size_t framing_bytes; /* since the last body byte */
    bool head_done, ended;
    bool value_open; /* a value is due and not yet terminated */
    char last_byte;  /* of the head, to see line ends across steps */

    KvgHttp1Event event; /* what the last callback wants to tell */
    const uint8_t *body;
    size_t body_len;
    int error_code;
    char *failure; /* sticky */
};

static int
fail(KvgHttp1 *http, int code, const char *text)
{
    if (!http->failure) {
        http->error_code = code;
        http->failure = g_strdup(text);
    }
    return HPE_USER;
}

static int
append(KvgHttp1 *http, const char *at, size_t len)
{
    if (http->text->len + len > http->max_head_bytes + 2 * http->max_headers + 2)
        return fail(http, KVG_ERROR_NO_SPACE, "HTTP head is too large");
    g_string_append_len(http->text, at, (gssize)len);
    return 0;
}

static int
on_url(llhttp_t *parser, const char *at, size_t len)
{
    return append(parser->data, at, len);
}

static int
on_url_complete(llhttp_t *parser)
{
    KvgHttp1 *http = parser->data;
    g_string_append_c(http->text, '\0');
    return 0;
}

/* llhttp need not tell of an empty value. */
static void
close_value(KvgHttp1 *http)
{
    if (http->value_open)
        g_string_append_c(http->text, '\0');
    http->value_open = false;
}

static int
on_field(llhttp_t *parser, const char *at, size_t len)
{
    KvgHttp1 *http = parser->data;
    if (http->head_done) /* a trailer: read and forgotten */
        return 0;
    if (http->offsets->len == 0 ||
        g_array_index(http->offsets, Offsets, http->offsets->len - 1).value != 0) {
        if (http->offsets->len >= http->max_headers)
            return fail(http, KVG_ERROR_NO_SPACE, "HTTP head has too many headers");
        close_value(http);
        const Offsets next = {.name = http->text->len};
        g_array_append_val(http->offsets, next);
    }
    return append(http, at, len);
}

static int
on_field_complete(llhttp_t *parser)
{
    KvgHttp1 *http = parser->data;
    if (http->head_done)
        return 0;
    g_string_append_c(http->text, '\0');
    g_array_index(http->offsets, Offsets, http->offsets->len - 1).value = http->text->len;
    http->value_open = true;
    return 0;
}

static int
on_value(llhttp_t *parser, const char *at, size_t len)
{
    KvgHttp1 *http = parser->data;
    return http->head_done ? 0 : append(http, at, len);
}

static int
on_value_complete(llhttp_t *parser)
{
    KvgHttp1 *http = parser->data;
    if (http->head_done)
        return 0;
    while (http->text->len > 0 && g_ascii_isspace(http->text->str[http->text->len - 1]))
        g_string_truncate(http->text, http->text->len - 1);
    close_value(http);
    return 0;
}

static size_t
count_headers(const KvgHttp1 *http, const char *name, const char **value)
{
    size_t n = 0;
    for (guint i = 0; i < http->headers->len; i++) {
        const KvgHeader *header = &g_array_index(http->headers, KvgHeader, i);
        if (g_ascii_strcasecmp(header->name, name) != 0)
            continue;
        *value = header->value;
        n++;
    }
    return n;
}

/* What llhttp lets through and two readers could take for two things. */
static int
check_framing(KvgHttp1 *http, const llhttp_t *parser)
{
    const char *value = NULL;
    const size_t codings = count_headers(http, "transfer-encoding", &value);
    if (codings > 1 || (codings == 1 && g_ascii_strcasecmp(value, "chunked") != 0))
        return fail(http, KVG_ERROR_UNSUPPORTED, "HTTP transfer coding is not 'chunked'");
    const size_t lengths = count_headers(http, "content-length", &value);
    if (lengths > 1 || (lengths == 1 && codings == 1))
        return fail(http, KVG_ERROR_INVALID, "HTTP request has two body lengths");
    if (lengths == 1 && (!*value || strspn(value, "0123456789") != strlen(value)))
        return fail(http, KVG_ERROR_INVALID, "HTTP Content-Length is not a number");
    if (codings == 1 && parser->http_minor == 0)
        return fail(http, KVG_ERROR_INVALID, "HTTP/1.0 request with a transfer coding");
    const size_t hosts = count_headers(http, "host", &value);
    if (hosts > 1 || (hosts == 0 && parser->http_minor > 0))
        return fail(http, KVG_ERROR_INVALID, "HTTP request needs exactly one Host header");
    return 0;
}

static void
build_head(KvgHttp1 *http, const llhttp_t *parser)
{
    const char *value = NULL;
    close_value(http);
    for (guint i = 0; i < http->offsets->len; i++) {
        const Offsets *at = &g_array_index(http->offsets, Offsets, i);
        const KvgHeader header = {http->text->str + at->name, http->text->str + at->value};
        g_array_append_val(http->headers, header);
    }
    const char *target = http->text->str;
    const char *mark = strchr(target, '?');
    http->path = mark ? g_strndup(target, (gsize)(mark - target)) : g_strdup(target);
    http->head = (KvgHttp1Head){
        .method = llhttp_method_name((llhttp_method_t)parser->method),
        .target = target,
        .path = http->path,
        .query = mark ? mark + 1 : NULL,
        .headers = (const KvgHeader *)(const void *)http->headers->data,
        .n_headers = http->headers->len,
        .minor = parser->http_minor,
        .keep_alive = !(parser->flags & F_CONNECTION_CLOSE) &&
                      (parser->http_minor > 0 || (parser->flags & F_CONNECTION_KEEP_ALIVE)),
        .expects_continue = count_headers(http, "expect", &value) == 1 &&
                            g_ascii_strcasecmp(value, "100-continue") == 0,
        .is_chunked = (parser->flags & F_CHUNKED) != 0,
        .content_length = (parser->flags & F_CONTENT_LENGTH) ? parser->content_length : 0,
    };
    http->head.has_body = http->head.is_chunked || http->head.content_length > 0;
}

static int
on_headers_complete(llhttp_t *parser)
{
    KvgHttp1 *http = parser->data;
    if (parser->http_major != 1 || parser->http_minor > 1)
        return fail(http, KVG_ERROR_UNSUPPORTED, "HTTP version is not 1.0 or 1.1");
    if (parser->method == HTTP_CONNECT || parser->method >= HTTP_PRI)
        return fail(http, KVG_ERROR_UNSUPPORTED, "HTTP method is not supported");
    build_head(http, parser);
    if (*http->head.target != '/' && strcmp(http->head.target, "*") != 0)
        return fail(http, KVG_ERROR_INVALID, "HTTP target is not a path");
    if (check_framing(http, parser) != 0)
        return HPE_USER;
    parser->upgrade = 0; /* an Upgrade is not taken; the request goes on as HTTP/1.1 */
    http->head_done = true;
    http->event = KVG_HTTP1_HEAD;
    return HPE_PAUSED;
}

static int
on_body(llhttp_t *parser, const char *at, size_t len)
{
    KvgHttp1 *http = parser->data;
    if (len == 0) /* called so when there was nothing to read */
        return 0;
    http->framing_bytes = 0;
    http->event = KVG_HTTP1_BODY;
    http->body = (const uint8_t *)at;
    http->body_len = len;
    return HPE_PAUSED;
}

static int
on_message_complete(llhttp_t *parser)
{
    KvgHttp1 *http = parser->data;
    http->ended = true;
    http->event = KVG_HTTP1_END;
    return HPE_PAUSED;
}

KvgHttp1 *
kvg_http1_new(const KvgHttp1Options *options)
{
    KvgHttp1 *http = g_new0(KvgHttp1, 1);
    http->max_head_bytes =
        options && options->max_head_bytes ? options->max_head_bytes : DEFAULT_MAX_HEAD_BYTES;
    http->max_headers =
        options && options->max_headers ? options->max_headers : DEFAULT_MAX_HEADERS;
    http->text = g_string_new(NULL);
    http->offsets = g_array_new(FALSE, FALSE, sizeof(Offsets));
    http->headers = g_array_new(FALSE, FALSE, sizeof(KvgHeader));
    llhttp_settings_init(&http->settings);
    http->settings.on_url = on_url;
    http->settings.on_url_complete = on_url_complete;
    http->settings.on_header_field = on_field;
    http->settings.on_header_field_complete = on_field_complete;
    http->settings.on_header_value = on_value;
    http->settings.on_header_value_complete = on_value_complete;
    http->settings.on_headers_complete = on_headers_complete;
    http->settings.on_body = on_body;
    http->settings.on_message_complete = on_message_complete;
    kvg_http1_reset(http);
    return http;
}

void
kvg_http1_free(KvgHttp1 *http)
{
    if (!http)
        return;
    g_string_free(http->text, TRUE);
    g_array_unref(http->offsets);
    g_array_unref(http->headers);
    g_free(http->path);
    g_free(http->failure);
    g_free(http);
}

void
kvg_http1_reset(KvgHttp1 *http)
{
    llhttp_init(&http->parser, HTTP_REQUEST, &http->settings);
    http->parser.data = http;
    g_string_truncate(http->text, 0);
    g_array_set_size(http->offsets, 0);
    g_array_set_size(http->headers, 0);
    g_clear_pointer(&http->path, g_free);
    g_clear_pointer(&http->failure, g_free);
    memset(&http->head, 0, sizeof http->head);
    http->head_bytes = http->framing_bytes = 0;
    http->head_done = http->ended = http->value_open = false;
    http->last_byte = 0;
}

/* Lines of the head end in CR LF, and none is continued on the next (obs-fold): llhttp is more
 * generous, and so would be the next reader, in another way. */
static bool
has_bad_line_end(KvgHttp1 *http, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        const char before = http->last_byte;
        http->last_byte = text[i];
        if (text[i] == '\n' && before != '\r')
            return true;
        if ((text[i] == ' ' || text[i] == '\t') && before == '\n')
            return true;
    }
    return false;
}

/* Bytes that are neither body nor, any more, allowed head. */
static bool
is_within_bounds(KvgHttp1 *http, size_t used)
{
    if (!http->head_done) {
        http->head_bytes += used;
        if (http->head_bytes > http->max_head_bytes)
            fail(http, KVG_ERROR_NO_SPACE, "HTTP head is too large");
    } else if (http->event == KVG_HTTP1_NEED_MORE) {
        http->framing_bytes += used;
        if (http->framing_bytes > MAX_FRAMING_BYTES)
            fail(http, KVG_ERROR_INVALID, "HTTP chunk framing is too large");
    }
    return http->failure == NULL;
}

static KvgHttp1Event
failed(KvgHttp1 *http, GError **error)
{
    g_set_error_literal(error, KVG_ERROR, http->error_code, http->failure);
    return KVG_HTTP1_FAILED;
}

KvgHttp1Event
kvg_http1_step(KvgHttp1 *http,
               const void *data,
               size_t len,
               size_t *used,
               const uint8_t **body,
               size_t *body_len,
               GError **error)
{
    *used = 0;
    *body = NULL;
    *body_len = 0;
    if (http->failure)
        return failed(http, error);
    if (http->ended)
        return KVG_HTTP1_END;

    http->event = KVG_HTTP1_NEED_MORE;
    http->body = NULL;
    http->body_len = 0;
    const char *text = len > 0 ? data : "";
    /* A head may not hide behind a large read: only so much is shown to llhttp while it is open. */
    const size_t left = http->max_head_bytes - MIN(http->head_bytes, http->max_head_bytes) + 1;
    const bool in_head = !http->head_done;
    const size_t shown = in_head ? MIN(len, left) : len;
    const llhttp_errno_t result = llhttp_execute(&http->parser, text, shown);
    *used = shown;
    if (result == HPE_PAUSED || result == HPE_PAUSED_UPGRADE) {
        *used = (size_t)(llhttp_get_error_pos(&http->parser) - text);
        llhttp_resume(&http->parser);
    } else if (result != HPE_OK) {
        *used = 0;
        g_autofree char *reason =
            g_strdup_printf("bad HTTP request: %s", llhttp_errno_name(result));
        fail(http, KVG_ERROR_INVALID, reason);
        return failed(http, error);
    }
    if (in_head && has_bad_line_end(http, text, *used))
        fail(http, KVG_ERROR_INVALID, "bad HTTP request: line end or folded header");
    if (!is_within_bounds(http, *used))
        return failed(http, error);
    *body = http->body;
    *body_len = http->body_len;
    return http->event;
}

const KvgHttp1Head *
kvg_http1_head(const KvgHttp1 *http)
{
    return &http->head;
}
