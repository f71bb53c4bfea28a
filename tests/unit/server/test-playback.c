/* Playback against a store, a caller and an exchange of our own: parameters, tokens, numbering of a
 * live playlist over new fragments and restarts, and what an outside player makes of the result. */
#include "server/server.h"

#include "base/bytes.h"
#include "media/h264.h"
#include "media/mkv_parser.h"
#include "media/mkv_writer.h"
#include "os/file.h"
#include "server/playback/session.h"
#include <glib/gstdio.h>
#include <kvg/error.h>
#include <string.h>

#define ARN "arn:aws:kinesisvideo:us-east-1:123456789012:stream/cam/1"

/* ---- the store ---- */

typedef struct {
    KvgFragmentInfo info;
    GBytes *header, *media;
    bool is_damaged;
} Stored;

static GArray *stored;
static unsigned n_reads;
static unsigned n_warnings;

/* Warnings are part of what is tested; anything worse ends the test. */
static GLogWriterOutput
count_warnings(GLogLevelFlags level, const GLogField *fields, gsize n, void *data)
{
    if ((level & G_LOG_LEVEL_WARNING) == 0)
        return g_log_writer_default(level, fields, n, data);
    n_warnings++;
    for (gsize i = 0; i < n; i++) {
        if (strcmp(fields[i].key, "MESSAGE") == 0)
            g_test_message("%s", (const char *)fields[i].value);
    }
    return G_LOG_WRITER_HANDLED;
}

GArray *
kvg_store_list(KvgStore *store,
               const char *stream_arn,
               KvgStoreOrder order,
               int64_t from_ms,
               int64_t to_ms,
               size_t max,
               bool newest,
               GError **error)
{
    GArray *infos = g_array_new(FALSE, FALSE, sizeof(KvgFragmentInfo));
    for (guint i = 0; i < stored->len; i++) {
        const KvgFragmentInfo *info = &g_array_index(stored, Stored, i).info;
        const int64_t start =
            order == KVG_STORE_BY_SERVER_TIME ? info->server_ms : info->producer_ms;
        if (strcmp(stream_arn, ARN) != 0 || start < from_ms || start > to_ms)
            continue;
        if (infos->len == max && !newest)
            break;
        g_array_append_val(infos, *info);
        if (infos->len > max)
            g_array_remove_index(infos, 0);
    }
    return infos;
}

GArray *
kvg_store_list_after(KvgStore *store,
                     const char *stream_arn,
                     KvgStoreOrder order,
                     int64_t from_ms,
                     int64_t to_ms,
                     const char *after,
                     size_t max,
                     GError **error)
{
    GArray *infos =
        kvg_store_list(store, stream_arn, order, from_ms, to_ms, G_MAXUINT, false, error);
    while (infos->len > 0 && strcmp(g_array_index(infos, KvgFragmentInfo, 0).number, after) <= 0)
        g_array_remove_index(infos, 0);
    g_array_set_size(infos, MIN(infos->len, (guint)max));
    return infos;
}

bool
kvg_store_find(KvgStore *store,
               const char *stream_arn,
               const char *number,
               KvgFragmentInfo *info,
               GError **error)
{
    for (guint i = 0; i < stored->len; i++) {
        *info = g_array_index(stored, Stored, i).info;
        if (strcmp(info->number, number) == 0)
            return true;
    }
    g_set_error(error, KVG_ERROR, KVG_ERROR_NOT_FOUND, "no fragment");
    return false;
}

bool
kvg_store_read(KvgStore *store,
               const char *stream_arn,
               const char *number,
               GBytes **header,
               GBytes **media,
               GError **error)
{
    n_reads++;
    for (guint i = 0; i < stored->len; i++) {
        const Stored *fragment = &g_array_index(stored, Stored, i);
        if (strcmp(fragment->info.number, number) != 0)
            continue;
        if (fragment->is_damaged) {
            g_set_error(error, KVG_ERROR, KVG_ERROR_CORRUPT, "checksum");
            return false;
        }
        *header = g_bytes_ref(fragment->header);
        *media = g_bytes_ref(fragment->media);
        return true;
    }
    g_set_error(error, KVG_ERROR, KVG_ERROR_NOT_FOUND, "no fragment");
    return false;
}

/* ---- the exchange ---- */

struct _KvgHttpExchange {
    const char *method;
    char *path, *query;
    const char *body;
    int status;
    GString *headers;
    GByteArray *stream;
    GBytes *reply;
    unsigned n_waits;
};

void
kvg_http_close_after(KvgHttpExchange *x)
{
}

const char *
kvg_http_method(const KvgHttpExchange *x)
{
    return x->method;
}

const char *
kvg_http_path(const KvgHttpExchange *x)
{
    return x->path;
}

char *
kvg_http_query_param(const KvgHttpExchange *x, const char *name)
{
    g_auto(GStrv) pairs = g_strsplit(x->query != NULL ? x->query : "", "&", 0);
    for (size_t i = 0; pairs[i] != NULL; i++) {
        const size_t len = strlen(name);
        if (strncmp(pairs[i], name, len) == 0 && pairs[i][len] == '=')
            return g_strdup(pairs[i] + len + 1);
    }
    return NULL;
}

GBytes *
kvg_http_read_all(KvgHttpExchange *x, size_t max, GError **error)
{
    return g_bytes_new(x->body, strlen(x->body));
}

bool
kvg_http_respond(KvgHttpExchange *x,
                 int status,
                 const KvgHeader *headers,
                 size_t n_headers,
                 const void *body,
                 size_t len)
{
    g_assert_cmpint(x->status, ==, 0);
    x->status = status;
    for (size_t i = 0; i < n_headers; i++)
        g_string_append_printf(x->headers, "%s: %s\n", headers[i].name, headers[i].value);
    x->reply = g_bytes_new(body, len);
    return true;
}

bool
kvg_http_respond_json(KvgHttpExchange *x, int status, const char *json)
{
    return kvg_http_respond(x, status, NULL, 0, json, strlen(json));
}

bool
kvg_http_begin_stream(KvgHttpExchange *x, int status, const KvgHeader *headers, size_t n_headers)
{
    g_assert_cmpint(x->status, ==, 0);
    x->status = status;
    x->stream = g_byte_array_new();
    return true;
}

bool
kvg_http_write_chunk(KvgHttpExchange *x, const void *data, size_t len)
{
    g_byte_array_append(x->stream, data, (guint)len);
    return true;
}

bool
kvg_http_end_stream(KvgHttpExchange *x)
{
    x->reply = g_byte_array_free_to_bytes(g_steal_pointer(&x->stream));
    return true;
}

/* An endless response ends when it has nothing more to send. */
bool
kvg_http_is_stopping(const KvgHttpExchange *x)
{
    return false;
}

bool
kvg_http_peer_has_left(const KvgHttpExchange *x)
{
    const bool has_left = x->n_waits == 2;
    ((KvgHttpExchange *)(uintptr_t)x)->n_waits++;
    return has_left;
}

/* ---- the rest of the server ---- */

static bool is_allowed;
static int64_t retention_hours;

bool
kvg_auth_verify(KvgServer *server, KvgHttpExchange *x, GBytes *body, KvgCaller *caller)
{
    return true;
}

void
kvg_caller_clear(KvgCaller *caller)
{
}

bool
kvg_auth_require(KvgServer *server,
                 KvgHttpExchange *x,
                 const KvgCaller *caller,
                 const char *action,
                 const char *resource_arn)
{
    g_assert_true(g_str_has_prefix(action, "kinesisvideo:Get") ||
                  strcmp(action, "kinesisvideo:ListFragments") == 0);
    if (!is_allowed)
        kvg_respond_error(x, 403, "AccessDeniedException", "no");
    return is_allowed;
}

void
kvg_respond_error(KvgHttpExchange *x, int status, const char *type, const char *format, ...)
{
    const KvgHeader header = {"x-amzn-ErrorType", type};
    kvg_http_respond(x, status, &header, 1, "", 0);
}

bool
kvg_control_find_stream(KvgServer *server, const char *name, const char *arn, KvgStreamInfo *info)
{
    if (g_strcmp0(name, "cam") != 0 && g_strcmp0(arn, ARN) != 0)
        return false;
    info->arn = g_strdup(ARN);
    info->retention_hours = retention_hours;
    return true;
}

void
kvg_stream_info_clear(KvgStreamInfo *info)
{
    g_clear_pointer(&info->arn, g_free);
}

char *
kvg_control_own_url(KvgHttpExchange *x)
{
    return g_strdup("https://localhost:1");
}

/* ---- fixture ---- */

typedef struct {
    char *folder;
    KvgServer server;
    KvgPlayback *playback;
    int64_t now_ms;
    int64_t next_ms; /* producer time of the next fragment */
    unsigned n_added;
} Fixture;

static void
stored_clear(void *data)
{
    Stored *fragment = data;
    g_bytes_unref(fragment->header);
    g_bytes_unref(fragment->media);
}

static void
setup(Fixture *f, const void *data)
{
    g_autoptr(GError) error = NULL;
    f->folder = g_dir_make_tmp("kvg-playback-XXXXXX", &error);
    g_assert_no_error(error);
    f->server.data_path = f->folder;
    f->server.region = "us-east-1";
    f->server.account = "123456789012";
    f->server.live = kvg_live_new();
    f->server.buffer = kvg_buffer_new();
    f->playback = kvg_playback_new(&f->server);
    stored = g_array_new(FALSE, TRUE, sizeof(Stored));
    g_array_set_clear_func(stored, stored_clear);
    n_reads = 0;
    is_allowed = true;
    retention_hours = 24;
    f->now_ms = g_get_real_time() / 1000;
    f->next_ms = f->now_ms - 10000;
}

static void
teardown(Fixture *f, const void *data)
{
    kvg_playback_free(f->playback);
    kvg_live_free(f->server.live);
    kvg_buffer_free(f->server.buffer);
    g_array_unref(stored);
    g_autoptr(GError) error = NULL;
    g_assert_true(kvg_dir_remove(f->folder, &error));
    g_free(f->folder);
}

/* Appends a fragment of @length_ms that begins @gap_ms after the one before. */
static Stored *
add_media(Fixture *f, int64_t gap_ms, int64_t length_ms, GBytes *header, GBytes *media)
{
    f->next_ms += gap_ms;
    Stored fragment = {.header = g_bytes_ref(header), .media = g_bytes_ref(media)};
    g_snprintf(fragment.info.number, sizeof fragment.info.number, "9%010u", f->n_added++);
    fragment.info.server_ms = f->next_ms + 5;
    fragment.info.producer_ms = f->next_ms;
    fragment.info.length_ms = length_ms;
    fragment.info.header_id =
        kvg_crc32c(0, g_bytes_get_data(header, NULL), g_bytes_get_size(header));
    fragment.info.size_bytes = g_bytes_get_size(header) + g_bytes_get_size(media);
    f->next_ms += length_ms;
    g_array_append_val(stored, fragment);
    return &g_array_index(stored, Stored, stored->len - 1);
}

/* A fragment with a real avcC and three frames of nonsense. @level tells codecs apart. */
static Stored *
add(Fixture *f, int64_t gap_ms, int64_t length_ms, uint8_t level)
{
    const uint8_t sps[] = {0x67, 0x42, 0x00, level, 0xf4, 0x05, 0x01, 0xec, 0x80};
    const uint8_t pps[] = {0x68, 0xeb};
    g_autoptr(GBytes) avcc = kvg_h264_build_avcc(sps, sizeof sps, pps, sizeof pps);
    const KvgTrack track = {.number = 1,
                            .type = KVG_TRACK_VIDEO,
                            .codec_id = "V_MPEG4/ISO/AVC",
                            .codec_private = avcc,
                            .width = 640,
                            .height = 480};
    g_autoptr(GBytes) header =
        kvg_mkv_write_header(&track, 1, (const uint8_t *)"0123456789abcdef", "kvg");
    GByteArray *out = g_byte_array_new();
    kvg_mkv_write_cluster(out, (uint64_t)(f->next_ms + gap_ms));
    for (int16_t i = 0; i < 3; i++) {
        kvg_mkv_write_block_head(out, 1, (int16_t)(i * length_ms / 3), i == 0, 5);
        g_byte_array_append(out, (const uint8_t *)"\0\0\0\1x", 5);
    }
    g_autoptr(GBytes) media = g_byte_array_free_to_bytes(out);
    return add_media(f, gap_ms, length_ms, header, media);
}

static void
exchange_clear(KvgHttpExchange *x)
{
    g_free(x->path);
    g_free(x->query);
    g_string_free(x->headers, TRUE);
    g_clear_pointer(&x->reply, g_bytes_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(KvgHttpExchange, exchange_clear)

static void
call(Fixture *f, KvgHttpExchange *x, const char *method, const char *url, const char *body)
{
    memset(x, 0, sizeof *x);
    const char *query = strchr(url, '?');
    x->method = method;
    x->path = query != NULL ? g_strndup(url, (gsize)(query - url)) : g_strdup(url);
    x->query = query != NULL ? g_strdup(query + 1) : NULL;
    x->body = body;
    x->headers = g_string_new(NULL);
    g_assert_true(kvg_playback_handle(f->playback, x));
    g_assert_cmpint(x->status, !=, 0);
}

static char *
reply_text(const KvgHttpExchange *x)
{
    gsize len;
    const char *data = g_bytes_get_data(x->reply, &len);
    return g_strndup(data, len);
}

/* Body of a GET that must succeed. */
static char *
get(Fixture *f, const char *url)
{
    g_auto(KvgHttpExchange) x;
    call(f, &x, "GET", url, "");
    if (x.status != 200)
        g_error("%s: %d", url, x.status);
    g_assert_nonnull(strstr(x.headers->str, "Access-Control-Allow-Origin: *\n"));
    return reply_text(&x);
}

static int
status_of(Fixture *f, const char *method, const char *url, const char *body)
{
    g_auto(KvgHttpExchange) x;
    call(f, &x, method, url, body);
    return x.status;
}

/* Makes a session; the token. */
static char *
begin(Fixture *f, const char *parameters)
{
    g_autofree char *body = g_strdup_printf("{\"StreamName\":\"cam\"%s}", parameters);
    g_auto(KvgHttpExchange) x;
    call(f, &x, "POST", "/getHLSStreamingSessionURL", body);
    g_assert_cmpint(x.status, ==, 200);
    g_autofree char *text = reply_text(&x);
    g_autoptr(json_t) json = kvg_json_parse_object(text, strlen(text), NULL);
    const char *url = kvg_json_get_string(json, "HLSStreamingSessionURL");
    static const char prefix[] =
        "https://localhost:1/hls/v1/getHLSMasterPlaylist.m3u8?SessionToken=";
    g_assert_true(g_str_has_prefix(url, prefix));
    return g_strdup(url + strlen(prefix));
}

static char *
media_playlist(Fixture *f, const char *token)
{
    g_autofree char *url =
        g_strdup_printf("/hls/v1/getHLSMediaPlaylist.m3u8?SessionToken=%s&TrackNumber=1", token);
    return get(f, url);
}

static int64_t
tag_value(const char *playlist, const char *tag)
{
    const char *at = strstr(playlist, tag);
    g_assert_nonnull(at);
    return g_ascii_strtoll(at + strlen(tag), NULL, 10);
}

static unsigned
count(const char *text, const char *what)
{
    unsigned n = 0;
    for (const char *at = strstr(text, what); at != NULL; at = strstr(at + 1, what))
        n++;
    return n;
}

/* ---- tests ---- */

static void
test_parameters(Fixture *f, const void *data)
{
    static const struct {
        const char *body;
        int status;
        const char *type;
    } cases[] = {
        {"", 400, "SerializationException"},
        {"[]", 400, "SerializationException"},
        {"{}", 400, "InvalidArgumentException"},
        {"{\"StreamName\":\"cam\",\"StreamARN\":\"" ARN "\"}", 400, "InvalidArgumentException"},
        {"{\"StreamName\":\"a b\"}", 400, "InvalidArgumentException"},
        {"{\"StreamName\":\"other\"}", 404, "ResourceNotFoundException"},
        {"{\"StreamARN\":\"" ARN "\"}", 200, NULL},
        {"{\"StreamName\":\"cam\"}", 200, NULL},
        {"{\"StreamName\":\"cam\",\"PlaybackMode\":\"LATER\"}", 400, "InvalidArgumentException"},
        {"{\"StreamName\":\"cam\",\"PlaybackMode\":7}", 400, "InvalidArgumentException"},
        {"{\"StreamName\":\"cam\",\"Expires\":299}", 400, "InvalidArgumentException"},
        {"{\"StreamName\":\"cam\",\"Expires\":43201}", 400, "InvalidArgumentException"},
        {"{\"StreamName\":\"cam\",\"Expires\":43200}", 200, NULL},
        {"{\"StreamName\":\"cam\",\"MaxMediaPlaylistFragmentResults\":0}", 400,
         "InvalidArgumentException"},
        {"{\"StreamName\":\"cam\",\"MaxMediaPlaylistFragmentResults\":5000}", 200, NULL},
        {"{\"StreamName\":\"cam\",\"ContainerFormat\":\"MPEG_TS\"}", 200, NULL},
        {"{\"StreamName\":\"cam\",\"ContainerFormat\":\"MPEG\"}", 400, "InvalidArgumentException"},
        {"{\"StreamName\":\"cam\",\"HLSFragmentSelector\":1}", 400, "InvalidArgumentException"},
        {"{\"StreamName\":\"cam\",\"HLSFragmentSelector\":{\"TimestampRange\":"
         "{\"StartTimestamp\":5}}}",
         400, "InvalidArgumentException"},
        {"{\"StreamName\":\"cam\",\"PlaybackMode\":\"ON_DEMAND\"}", 400,
         "InvalidArgumentException"},
        {"{\"StreamName\":\"cam\",\"PlaybackMode\":\"ON_DEMAND\",\"HLSFragmentSelector\":{"
         "\"TimestampRange\":{\"StartTimestamp\":5,\"EndTimestamp\":5}}}",
         400, "InvalidArgumentException"},
        {"{\"StreamName\":\"cam\",\"PlaybackMode\":\"ON_DEMAND\",\"HLSFragmentSelector\":{"
         "\"TimestampRange\":{\"StartTimestamp\":1,\"EndTimestamp\":86402}}}",
         400, "InvalidArgumentException"},
        {"{\"StreamName\":\"cam\",\"PlaybackMode\":\"ON_DEMAND\",\"HLSFragmentSelector\":{"
         "\"TimestampRange\":{\"StartTimestamp\":1e300,\"EndTimestamp\":1e301}}}",
         400, "InvalidArgumentException"},
        {"{\"StreamName\":\"cam\",\"PlaybackMode\":\"ON_DEMAND\",\"HLSFragmentSelector\":{"
         "\"TimestampRange\":{\"StartTimestamp\":1.5,\"EndTimestamp\":2.5}}}",
         404, "ResourceNotFoundException"},
    };
    add(f, 0, 1000, 0x1e);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_auto(KvgHttpExchange) x;
        call(f, &x, "POST", "/getHLSStreamingSessionURL", cases[i].body);
        if (x.status != cases[i].status ||
            (cases[i].type != NULL && strstr(x.headers->str, cases[i].type) == NULL))
            g_error("%s: %d %s", cases[i].body, x.status, x.headers->str);
    }
    is_allowed = false;
    g_assert_cmpint(status_of(f, "POST", "/getHLSStreamingSessionURL", "{\"StreamName\":\"cam\"}"),
                    ==, 403);
    g_assert_cmpint(
        status_of(f, "POST", "/getHLSStreamingSessionURL", "{\"StreamName\":\"other\"}"), ==, 403);
    is_allowed = true;
    retention_hours = 0;
    g_assert_cmpint(status_of(f, "POST", "/getHLSStreamingSessionURL", "{\"StreamName\":\"cam\"}"),
                    ==, 400);
}

static void
test_old_is_not_live(Fixture *f, const void *data)
{
    f->next_ms -= 60000;
    add(f, 0, 1000, 0x1e);
    g_assert_cmpint(status_of(f, "POST", "/getHLSStreamingSessionURL", "{\"StreamName\":\"cam\"}"),
                    ==, 404);
}

static void
test_token(Fixture *f, const void *data)
{
    add(f, 0, 1000, 0x1e);
    g_autofree char *token = begin(f, "");
    g_assert_true(g_str_has_suffix(token, "~"));
    static const char *const bad[] = {"", "~", "AAAA~", "%00", "____~", "=~"};
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autofree char *url =
            g_strdup_printf("/hls/v1/getHLSMasterPlaylist.m3u8?SessionToken=%s", bad[i]);
        g_assert_cmpint(status_of(f, "GET", url, ""), ==, 403);
    }
    g_assert_cmpint(status_of(f, "GET", "/hls/v1/getHLSMasterPlaylist.m3u8", ""), ==, 403);
    for (size_t i = 0; i < strlen(token); i++) {
        g_autofree char *forged = g_strdup(token);
        forged[i] = forged[i] == 'A' ? 'Q' : 'A';
        g_autofree char *url =
            g_strdup_printf("/hls/v1/getHLSMasterPlaylist.m3u8?SessionToken=%s", forged);
        g_assert_cmpint(status_of(f, "GET", url, ""), ==, 403);
    }
    g_autofree char *key = g_build_filename(f->folder, "playback.key", NULL);
    GStatBuf status;
    g_assert_cmpint(g_stat(key, &status), ==, 0);
    g_assert_cmpint(status.st_mode & 0777, ==, 0600);
    g_assert_cmpint(status_of(f, "OPTIONS", "/hls/v1/getHLSMediaPlaylist.m3u8", ""), ==, 204);
    g_assert_cmpint(status_of(f, "DELETE", "/hls/v1/getHLSMediaPlaylist.m3u8", ""), ==, 405);
    g_assert_cmpint(status_of(f, "GET", "/hls/v1/other", ""), ==, 404);
}

/* A token lives until its time and is good for its own stream only, which it names itself. */
static void
test_expired_token(Fixture *f, const void *data)
{
    add(f, 0, 1000, 0x1e);
    g_autofree char *path = g_build_filename(f->folder, "playback.key", NULL);
    g_autofree char *key = NULL;
    gsize len;
    g_assert_true(g_file_get_contents(path, &key, &len, NULL));
    g_assert_cmpuint(len, ==, KVG_GCM_KEY_BYTES);
    static const struct {
        int64_t rest_ms;
        const char *arn;
        int status;
    } cases[] = {{60000, ARN, 200}, {-1, ARN, 403}, {0, ARN, 403}, {60000, ARN "0", 404}};
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        KvgPlaybackSession session = {.id = {(uint8_t)i},
                                      .max_results = 5,
                                      .to_ms = G_MAXINT64,
                                      .expires_ms = f->now_ms + cases[i].rest_ms};
        g_strlcpy(session.stream_arn, cases[i].arn, sizeof session.stream_arn);
        g_autofree char *token = kvg_playback_session_seal(&session, (const uint8_t *)key);
        g_autofree char *url =
            g_strdup_printf("/hls/v1/getHLSMasterPlaylist.m3u8?SessionToken=%s", token);
        g_assert_cmpint(status_of(f, "GET", url, ""), ==, cases[i].status);
    }
}

/* A sealed thing of another kind is no session, though the key is the same. */
static void
test_other_seal(Fixture *f, const void *data)
{
    add(f, 0, 1000, 0x1e);
    add(f, 0, 1000, 0x1e);
    g_auto(KvgHttpExchange) x;
    call(f, &x, "POST", "/listFragments",
         "{\"StreamName\":\"cam\",\"MaxResults\":1,\"FragmentSelector\":{"
         "\"FragmentSelectorType\":\"SERVER_TIMESTAMP\",\"TimestampRange\":{"
         "\"StartTimestamp\":0,\"EndTimestamp\":9e9}}}");
    g_assert_cmpint(x.status, ==, 200);
    g_autofree char *text = reply_text(&x);
    g_autoptr(json_t) json = kvg_json_parse_object(text, strlen(text), NULL);
    g_autofree char *page = g_strdup(kvg_json_get_string(json, "NextToken"));
    g_assert_nonnull(page);
    g_strdelimit(page, "+", '-');
    g_strdelimit(page, "/", '_');
    page[strcspn(page, "=")] = '\0';
    g_autofree char *url =
        g_strdup_printf("/hls/v1/getHLSMasterPlaylist.m3u8?SessionToken=%s~", page);
    g_assert_cmpint(status_of(f, "GET", url, ""), ==, 403);
}

/* Each fragment keeps its number while the window slides, and after a restart. */
static void
test_live(Fixture *f, const void *data)
{
    for (unsigned i = 0; i < 9; i++)
        add(f, 0, 1000, 0x1e);
    g_autofree char *token = begin(f, ",\"DisplayFragmentTimestamp\":\"ALWAYS\"");
    for (unsigned round = 0; round < 40; round++) {
        if (round == 20) {
            kvg_playback_free(f->playback);
            f->playback = kvg_playback_new(&f->server);
        }
        g_autofree char *text = media_playlist(f, token);
        g_assert_cmpint(tag_value(text, "#EXT-X-MEDIA-SEQUENCE:"), ==, round);
        g_assert_cmpint(tag_value(text, "#EXT-X-DISCONTINUITY-SEQUENCE:"), ==, round);
        g_assert_cmpint(tag_value(text, "#EXT-X-TARGETDURATION:"), ==, 1);
        g_assert_cmpint(tag_value(text, "?FragmentNumber=9"), ==, 4 + round);
        g_assert_cmpuint(count(text, "#EXTINF:1.000,\n"), ==, 5);
        g_assert_cmpuint(count(text, "#EXT-X-DISCONTINUITY\n"), ==, 5);
        g_assert_cmpuint(count(text, "#EXT-X-PROGRAM-DATE-TIME:"), ==, 5);
        g_assert_cmpuint(count(text, "#EXT-X-MAP:"), ==, 1);
        g_assert_null(strstr(text, "ENDLIST"));
        add(f, 0, 1000, 0x1e);
    }
}

static void
test_live_changes(Fixture *f, const void *data)
{
    add(f, 0, 1000, 0x1e);
    g_autofree char *token = begin(f, ",\"DiscontinuityMode\":\"ON_DISCONTINUITY\"");
    add(f, 20, 1000, 0x1e);   /* small gap */
    add(f, 100, 1000, 0x1f);  /* gap and another level */
    add(f, -200, 2600, 0x1f); /* overlap; longer */
    g_autofree char *text = media_playlist(f, token);
    g_assert_cmpuint(count(text, "#EXT-X-DISCONTINUITY\n"), ==, 2);
    g_assert_cmpuint(count(text, "#EXT-X-MAP:"), ==, 2);
    g_assert_cmpint(tag_value(text, "#EXT-X-TARGETDURATION:"), ==, 3);
    for (unsigned i = 0; i < 6; i++)
        add(f, 0, 1000, 0x1f);
    g_autofree char *later = media_playlist(f, token);
    g_assert_cmpint(tag_value(later, "#EXT-X-MEDIA-SEQUENCE:"), ==, 5);
    g_assert_cmpint(tag_value(later, "#EXT-X-DISCONTINUITY-SEQUENCE:"), ==, 2);
    g_assert_cmpint(tag_value(later, "#EXT-X-TARGETDURATION:"), ==, 3);
    g_assert_cmpuint(count(later, "#EXT-X-DISCONTINUITY\n"), ==, 0);
}

static void
test_damaged_fragment(Fixture *f, const void *data)
{
    for (unsigned i = 0; i < 3; i++)
        add(f, 0, 1000, 0x1e);
    g_autofree char *token = begin(f, "");
    g_array_index(stored, Stored, 1).is_damaged = true;
    n_warnings = 0;
    g_autofree char *text = media_playlist(f, token);
    g_assert_cmpuint(count(text, "#EXTINF:"), ==, 3);
    for (unsigned i = 0; i < 3; i++) {
        g_autofree char *url = g_strdup_printf(
            "/hls/v1/getMP4MediaFragment.mp4?FragmentNumber=9%010u&SessionToken=%s&TrackNumber=1",
            i, token);
        g_assert_cmpint(status_of(f, "GET", url, ""), ==, i == 1 ? 500 : 200);
    }
    g_assert_cmpuint(n_warnings, ==, 1);
}

static void
test_hostile_queries(Fixture *f, const void *data)
{
    add(f, 0, 1000, 0x1e);
    g_autofree char *token = begin(f, "");
    static const struct {
        const char *path;
        const char *rest;
        int status;
    } cases[] = {
        {"getHLSMediaPlaylist.m3u8", "", 400},
        {"getHLSMediaPlaylist.m3u8", "&TrackNumber=0", 400},
        {"getHLSMediaPlaylist.m3u8", "&TrackNumber=256", 400},
        {"getMP4InitFragment.mp4", "&TrackNumber=1", 200},
        {"getMP4InitFragment.mp4", "&TrackNumber=2", 404},
        {"getMP4InitFragment.mp4", "&TrackNumber=1&SequenceNumber=99999999999", 404},
        {"getMP4InitFragment.mp4", "&TrackNumber=1&SequenceNumber=-1", 404},
        {"getMP4MediaFragment.mp4", "&TrackNumber=1", 404},
        {"getMP4MediaFragment.mp4", "&TrackNumber=1&FragmentNumber=../../x", 404},
        {"getMP4MediaFragment.mp4", "&TrackNumber=1&FragmentNumber=90000000000", 200},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *url =
            g_strdup_printf("/hls/v1/%s?SessionToken=%s%s", cases[i].path, token, cases[i].rest);
        g_assert_cmpint(status_of(f, "GET", url, ""), ==, cases[i].status);
    }
}

/* A thousand fragments on demand are listed without reading each of them. */
static void
test_on_demand(Fixture *f, const void *data)
{
    f->next_ms -= 2000000;
    const double start = (double)f->next_ms / 1000;
    for (unsigned i = 0; i < 1000; i++)
        add(f, 0, 1000, i < 500 ? 0x1e : 0x1f);
    g_autofree char *parameters =
        g_strdup_printf(",\"PlaybackMode\":\"ON_DEMAND\",\"HLSFragmentSelector\":{"
                        "\"FragmentSelectorType\":\"PRODUCER_TIMESTAMP\",\"TimestampRange\":{"
                        "\"StartTimestamp\":%.3f,\"EndTimestamp\":%.3f}}",
                        start, start + 2000);
    g_autofree char *token = begin(f, parameters);
    n_reads = 0;
    g_autofree char *text = media_playlist(f, token);
    g_assert_cmpuint(count(text, "#EXTINF:"), ==, 1000);
    g_assert_cmpuint(count(text, "#EXT-X-MAP:"), ==, 2);
    g_assert_cmpuint(n_reads, <, 60);
    g_assert_nonnull(strstr(text, "#EXT-X-PLAYLIST-TYPE:VOD\n"));
    g_assert_true(g_str_has_suffix(text, "#EXT-X-ENDLIST\n"));
    g_assert_cmpuint(count(text, "#EXT-X-DISCONTINUITY\n"), ==, 0);
}

/* The first window and one more at once, the rest as their time passes. */
static void
test_live_replay(Fixture *f, const void *data)
{
    f->next_ms -= 100000;
    g_autofree char *parameters =
        g_strdup_printf(",\"PlaybackMode\":\"LIVE_REPLAY\",\"HLSFragmentSelector\":{"
                        "\"TimestampRange\":{\"StartTimestamp\":%.3f}},"
                        "\"MaxMediaPlaylistFragmentResults\":2",
                        (double)f->next_ms / 1000);
    for (unsigned i = 0; i < 6; i++)
        add(f, 0, 15000, 0x1e);
    g_autofree char *token = begin(f, parameters);
    g_autofree char *text = media_playlist(f, token);
    g_assert_cmpuint(count(text, "#EXTINF:15.000,\n"), ==, 2);
    g_assert_cmpint(tag_value(text, "#EXT-X-MEDIA-SEQUENCE:"), ==, 1);
    g_assert_null(strstr(text, "ENDLIST"));
    g_autofree char *again = media_playlist(f, token);
    g_assert_cmpstr(text, ==, again);
}

static char *
on_demand_playlist(Fixture *f, int64_t from_ms, int64_t to_ms)
{
    g_autofree char *parameters =
        g_strdup_printf(",\"PlaybackMode\":\"ON_DEMAND\",\"HLSFragmentSelector\":{"
                        "\"FragmentSelectorType\":\"PRODUCER_TIMESTAMP\",\"TimestampRange\":{"
                        "\"StartTimestamp\":%.3f,\"EndTimestamp\":%.3f}}",
                        (double)from_ms / 1000, (double)to_ms / 1000);
    g_autofree char *token = begin(f, parameters);
    return media_playlist(f, token);
}

/* A range uploaded again at once counts anew; much later, it is not shown. */
static void
test_collections(Fixture *f, const void *data)
{
    static const struct {
        int64_t later_ms;
        int64_t first; /* of the fragment numbers shown */
    } cases[] = {{60000, 3}, {3600000, 0}};
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_array_set_size(stored, 0);
        f->n_added = 0;
        const int64_t start_ms = f->next_ms - 7200000;
        for (unsigned n = 0; n < 6; n++) {
            f->next_ms = start_ms + n % 3 * 1000;
            Stored *fragment = add(f, 0, 1000, 0x1e);
            fragment->info.server_ms += n < 3 ? 0 : cases[i].later_ms;
        }
        g_autofree char *text = on_demand_playlist(f, start_ms, start_ms + 9000);
        g_assert_cmpuint(count(text, "#EXTINF:"), ==, 3);
        g_assert_cmpint(tag_value(text, "?FragmentNumber=9"), ==, cases[i].first);
    }
}

/* What is uploaded beside what happens now is not live; after a pause, the clock has stepped back.
 */
static void
test_late(Fixture *f, const void *data)
{
    add(f, 0, 1000, 0x1e);
    g_autofree char *token =
        begin(f, ",\"HLSFragmentSelector\":{\"FragmentSelectorType\":\"PRODUCER_TIMESTAMP\"}");
    add(f, -600000, 1000, 0x1e)->info.server_ms = f->now_ms - 8000;
    add(f, 600000, 1000, 0x1e)->info.server_ms = f->now_ms - 7000;
    g_autofree char *text = media_playlist(f, token);
    g_assert_cmpuint(count(text, "#EXTINF:"), ==, 2);
    g_assert_null(strstr(text, "FragmentNumber=90000000001&"));
    add(f, -600000, 1000, 0x1e)->info.server_ms = f->now_ms + 60000;
    g_autofree char *later = media_playlist(f, token);
    g_assert_nonnull(strstr(later, "FragmentNumber=90000000003&"));
}

/* Fragments that retention has left, though the store still has them, are not listed. */
static void
test_retention(Fixture *f, const void *data)
{
    retention_hours = 1;
    add(f, 0, 1000, 0x1e)->info.server_ms = f->now_ms - 3601000;
    add(f, 0, 1000, 0x1e)->info.server_ms = f->now_ms - 3590000;
    g_auto(KvgHttpExchange) x;
    call(f, &x, "POST", "/listFragments",
         "{\"StreamName\":\"cam\",\"FragmentSelector\":{"
         "\"FragmentSelectorType\":\"SERVER_TIMESTAMP\",\"TimestampRange\":{"
         "\"StartTimestamp\":0,\"EndTimestamp\":9e9}}}");
    g_autofree char *text = reply_text(&x);
    g_assert_null(strstr(text, "90000000000"));
    g_assert_nonnull(strstr(text, "90000000001"));
}

/* ---- the outside judge ---- */

static bool
run(const char *folder, const char *command, char **output)
{
    g_auto(GStrv) argv = g_strsplit(command, " ", 0);
    g_autofree char *errors = NULL;
    g_autoptr(GError) error = NULL;
    int status = 0;
    if (!g_spawn_sync(folder, argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, output, &errors, &status,
                      &error))
        g_error("%s: %s", command, error->message);
    if (status != 0 || errors[0] != '\0')
        g_test_message("%s: status %d: %s", command, status, errors);
    return status == 0 && errors[0] == '\0';
}

static void
finish_fragment(Fixture *f, GBytes *header, GByteArray **cluster)
{
    if (*cluster == NULL)
        return;
    g_autoptr(GBytes) media = g_byte_array_free_to_bytes(g_steal_pointer(cluster));
    add_media(f, 0, 1000, header, media);
}

/* Cuts an encoder's Matroska at its key frames into stored fragments of one second. */
static void
store_file(Fixture *f)
{
    g_autofree char *path = g_build_filename(f->folder, "in.mkv", NULL);
    g_autofree char *bytes = NULL;
    gsize len;
    g_assert_true(g_file_get_contents(path, &bytes, &len, NULL));
    g_autoptr(KvgMkvParser) parser = kvg_mkv_parser_new();
    kvg_mkv_parser_put(parser, bytes, len);
    g_autoptr(GBytes) header = NULL;
    GByteArray *cluster = NULL;
    KvgMkvEvent event;
    int64_t timecode = 0;
    int64_t start = 0;
    while (kvg_mkv_parser_step(parser, &event, NULL) != KVG_MKV_NEED_MORE) {
        g_assert_cmpint(event.kind, !=, KVG_MKV_FAILED);
        if (event.kind == KVG_MKV_HEADER) {
            size_t n;
            const KvgTrack *tracks = kvg_mkv_parser_tracks(parser, &n);
            header = kvg_mkv_write_header(tracks, n, (const uint8_t *)"0123456789abcdef", "kvg");
        }
        if (event.kind == KVG_MKV_CLUSTER)
            timecode = (int64_t)event.timecode;
        if (event.kind != KVG_MKV_BLOCK)
            continue;
        const int64_t pts_ms = timecode + event.relative;
        if (cluster == NULL || (event.track == 1 && event.key && pts_ms > start + 500)) {
            finish_fragment(f, header, &cluster);
            cluster = g_byte_array_new();
            kvg_mkv_write_cluster(cluster, (uint64_t)pts_ms);
            start = pts_ms;
        }
        kvg_mkv_write_block_head(cluster, event.track, (int16_t)(pts_ms - start), event.key,
                                 event.len);
        g_byte_array_append(cluster, event.data, (guint)event.len);
    }
    finish_fragment(f, header, &cluster);
}

/* Writes the track's playlist and everything it names as plain files. */
static void
save_playlist(Fixture *f, const char *token, unsigned track)
{
    g_autofree char *url = g_strdup_printf(
        "/hls/v1/getHLSMediaPlaylist.m3u8?SessionToken=%s&TrackNumber=%u", token, track);
    g_autofree char *text = get(f, url);
    g_auto(GStrv) lines = g_strsplit(text, "\n", 0);
    g_autoptr(GString) out = g_string_new(NULL);
    for (unsigned i = 0; lines[i] != NULL; i++) {
        const char *uri = strstr(lines[i], "getMP4");
        if (uri == NULL) {
            g_string_append_printf(out, "%s\n", lines[i]);
            continue;
        }
        g_autofree char *name = g_strdup_printf("%u-%u.mp4", track, i);
        g_autofree char *path = g_build_filename(f->folder, name, NULL);
        g_autofree char *resource = g_strdup_printf("/hls/v1/%s", uri);
        char *quote = strchr(resource, '"');
        if (quote != NULL)
            *quote = '\0';
        g_auto(KvgHttpExchange) x;
        call(f, &x, "GET", resource, "");
        g_assert_cmpint(x.status, ==, 200);
        g_assert_true(g_file_set_contents(path, g_bytes_get_data(x.reply, NULL),
                                          (gssize)g_bytes_get_size(x.reply), NULL));
        if (uri == lines[i])
            g_string_append_printf(out, "%s\n", name);
        else
            g_string_append_printf(out, "#EXT-X-MAP:URI=\"%s\"\n", name);
    }
    g_autofree char *name = g_strdup_printf("%u.m3u8", track);
    g_autofree char *path = g_build_filename(f->folder, name, NULL);
    g_assert_true(g_file_set_contents(path, out->str, -1, NULL));
}

static void
test_player(Fixture *f, const void *data)
{
    g_autofree char *ffmpeg = g_find_program_in_path("ffmpeg");
    g_autofree char *ffprobe = g_find_program_in_path("ffprobe");
    if (ffmpeg == NULL || ffprobe == NULL) {
        g_test_skip("ffmpeg or ffprobe is not installed");
        return;
    }
    g_assert_true(run(f->folder,
                      "ffmpeg -v error -y -f lavfi -i testsrc2=size=320x180:rate=25:duration=5 "
                      "-f lavfi -i sine=sample_rate=48000:duration=5 -pix_fmt yuv420p -c:v libx264 "
                      "-g 25 -bf 0 -threads 1 -c:a aac in.mkv",
                      NULL));
    store_file(f);
    g_autofree char *parameters =
        g_strdup_printf(",\"PlaybackMode\":\"ON_DEMAND\",\"HLSFragmentSelector\":{"
                        "\"FragmentSelectorType\":\"PRODUCER_TIMESTAMP\",\"TimestampRange\":{"
                        "\"StartTimestamp\":%.3f,\"EndTimestamp\":%.3f}}",
                        (double)f->now_ms / 1000 - 20, (double)f->now_ms / 1000 + 20);
    g_autofree char *token = begin(f, parameters);
    g_autofree char *url =
        g_strdup_printf("/hls/v1/getHLSMasterPlaylist.m3u8?SessionToken=%s", token);
    g_autofree char *master = get(f, url);
    g_assert_nonnull(strstr(master, "RESOLUTION=320x180"));
    g_assert_nonnull(strstr(master, "CODECS=\"avc1."));
    g_assert_nonnull(strstr(master, ",mp4a.40.2\""));
    save_playlist(f, token, 1);
    save_playlist(f, token, 2);
    g_autofree char *frames = NULL;
    g_assert_true(run(f->folder,
                      "ffprobe -v error -allowed_extensions ALL -count_frames -show_entries "
                      "stream=nb_read_frames -of csv=p=0 1.m3u8",
                      &frames));
    g_assert_true(g_str_has_prefix(frames, "125"));
    g_assert_true(run(f->folder,
                      "ffmpeg -v error -xerror -allowed_extensions ALL -i 2.m3u8 -f null -", NULL));
}

#define ADD(name, function) g_test_add("/playback/" name, Fixture, NULL, setup, function, teardown)

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_log_set_writer_func(count_warnings, NULL, NULL);
    ADD("parameters", test_parameters);
    ADD("old-is-not-live", test_old_is_not_live);
    ADD("token", test_token);
    ADD("expired-token", test_expired_token);
    ADD("other-seal", test_other_seal);
    ADD("live", test_live);
    ADD("live-changes", test_live_changes);
    ADD("damaged-fragment", test_damaged_fragment);
    ADD("hostile-queries", test_hostile_queries);
    ADD("on-demand", test_on_demand);
    ADD("live-replay", test_live_replay);
    ADD("collections", test_collections);
    ADD("late", test_late);
    ADD("retention", test_retention);
    ADD("player", test_player);
    return g_test_run();
}
