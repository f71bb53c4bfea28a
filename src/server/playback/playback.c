/* The reading operations: a table of them, what all of them check first, and the key that seals
 * tokens. */
#include "server/playback/call.h"

#include "base/clock.h"
#include "base/text.h"
#include "os/file.h"
#include "os/log.h"
#include "server/control/quotas.h"
#include "server/playback/fields.h"
#include <kvg/error.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <string.h>

#define MAX_BODY_BYTES 262144u /* a thousand fragment numbers of 128 digits */
#define HOUR_MS (INT64_C(3600) * 1000)

static void
load_key(KvgPlayback *playback)
{
    g_autofree char *path = g_build_filename(playback->server->data_path, "playback.key", NULL);
    size_t len = 0;
    g_autofree char *bytes = kvg_file_read(path, 4096, &len, NULL);
    if (bytes != NULL && len == sizeof playback->key) {
        memcpy(playback->key, bytes, len);
        OPENSSL_cleanse(bytes, len);
        return;
    }
    if (RAND_bytes(playback->key, sizeof playback->key) != 1)
        g_error("playback: the system has no randomness");
    g_autoptr(GError) error = NULL;
    if (!kvg_file_replace(path, playback->key, sizeof playback->key, 0600, &error))
        KVG_LOG_WARNING("playback", "PATH", path,
                        "%s; playback sessions will end with this process", error->message);
}

KvgPlayback *
kvg_playback_new(KvgServer *server)
{
    KvgPlayback *playback = g_new0(KvgPlayback, 1);
    playback->server = server;
    playback->timelines = kvg_timelines_new();
    g_mutex_init(&playback->lock);
    playback->connections = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    load_key(playback);
    return playback;
}

void
kvg_playback_free(KvgPlayback *playback)
{
    if (playback == NULL)
        return;
    kvg_timelines_free(playback->timelines);
    g_hash_table_unref(playback->connections);
    g_mutex_clear(&playback->lock);
    OPENSSL_cleanse(playback->key, sizeof playback->key);
    g_free(playback);
}

void
kvg_read_refuse(KvgReadCall *call, const GError *error)
{
    kvg_respond_error(call->x, 400, "InvalidArgumentException", "%s", error->message);
}

void
kvg_read_fail(KvgReadCall *call, const GError *error)
{
    KVG_LOG_WARNING("playback", "STREAM", call->stream.arn, "%s: %s", call->stream.arn,
                    error->message);
    kvg_respond_error(call->x, 500, "InternalFailure", "The stream's fragments cannot be read.");
}

int64_t
kvg_read_oldest_ms(const KvgReadCall *call)
{
    return call->now_ms - call->stream.retention_hours * HOUR_MS;
}

typedef struct {
    const char *name;     /* as the path and IAM have it, but for the first letter */
    bool needs_retention; /* else NoDataRetentionException */
    unsigned per_second;  /* calls of a stream, where the account's rates are asked for */
    void (*run)(KvgReadCall *call);
    /* Of a stream at a time, and the error of one more; 0: no bound but the server's own. */
    unsigned max_connections;
    const char *too_many;
} Operation;

static const Operation operations[] = {
    {"GetMedia", false, 5, kvg_read_get_media, 3, "ConnectionLimitExceededException"},
    {"ListFragments", false, 5, kvg_read_list_fragments, 0, NULL},
    {"GetMediaForFragmentList", false, 5, kvg_read_get_fragment_list, 5,
     "ClientLimitExceededException"},
    {"GetClip", true, 1, kvg_read_get_clip, 0, NULL},
    {"GetImages", true, 5, kvg_read_get_images, 0, NULL},
    {"GetHLSStreamingSessionURL", true, 25, kvg_read_get_hls_url, 0, NULL},
    {"GetDASHStreamingSessionURL", true, 25, kvg_read_get_dash_url, 0, NULL},
};

/* "/getMedia" is GetMedia. */
static const Operation *
find_operation(const char *path)
{
    for (size_t i = 0; i < G_N_ELEMENTS(operations); i++) {
        const char *name = operations[i].name;
        if (path[0] == '/' && path[1] == g_ascii_tolower(name[0]) &&
            strcmp(path + 2, name + 1) == 0)
            return &operations[i];
    }
    return NULL;
}

static bool
check_stream_names(const json_t *input, const char **name, const char **arn, GError **error)
{
    if (!kvg_field_text(input, "StreamName", 1, 256, name, error) ||
        !kvg_field_text(input, "StreamARN", 1, 1024, arn, error))
        return false;
    if ((*name == NULL) != (*arn == NULL) && (*name == NULL || kvg_name_is_stream(*name)))
        return true;
    g_set_error_literal(error, KVG_ERROR, KVG_ERROR_INVALID,
                        *name != NULL && *arn == NULL
                            ? "StreamName is not a valid stream name."
                            : "Either StreamName or StreamARN must be given.");
    return false;
}

/* Who may not read a stream is not told whether it exists. */
static bool
find_stream(KvgReadCall *call, const KvgCaller *caller, const Operation *operation)
{
    g_autoptr(GError) error = NULL;
    const char *name;
    const char *arn;
    if (!check_stream_names(call->input, &name, &arn, &error)) {
        kvg_read_refuse(call, error);
        return false;
    }
    KvgServer *server = call->server;
    g_autofree char *action = g_strconcat("kinesisvideo:", operation->name, NULL);
    if (kvg_control_find_stream(server, name, arn, &call->stream))
        return kvg_auth_require(server, call->x, caller, action, call->stream.arn);
    g_autofree char *resource = arn != NULL
                                    ? g_strdup(arn)
                                    : g_strdup_printf("arn:aws:kinesisvideo:%s:%s:stream/%s/0",
                                                      server->region, server->account, name);
    if (kvg_auth_require(server, call->x, caller, action, resource))
        kvg_respond_error(call->x, 404, "ResourceNotFoundException",
                          "The requested stream is not found or not active.");
    return false;
}

/* Adds @n to the calls of the operation on the stream that are being answered; how many there are.
 */
static unsigned
count_connections(const KvgReadCall *call, const Operation *operation, int n)
{
    KvgPlayback *playback = call->playback;
    g_autofree char *key = g_strdup_printf("%s %s", operation->name, call->stream.arn);
    g_mutex_lock(&playback->lock);
    const int count = GPOINTER_TO_INT(g_hash_table_lookup(playback->connections, key)) + n;
    if (count > 0)
        g_hash_table_replace(playback->connections, g_steal_pointer(&key), GINT_TO_POINTER(count));
    else
        g_hash_table_remove(playback->connections, key);
    g_mutex_unlock(&playback->lock);
    return (unsigned)MAX(count, 0);
}

static void
run_bounded(KvgReadCall *call, const Operation *operation)
{
    if (operation->max_connections == 0) {
        operation->run(call);
        return;
    }
    if (count_connections(call, operation, 1) <= operation->max_connections)
        operation->run(call);
    else
        kvg_respond_error(call->x, 400, operation->too_many,
                          "%u connections of %s read this stream; there may be no more.",
                          operation->max_connections, operation->name);
    count_connections(call, operation, -1);
}

static void
run_operation(KvgReadCall *call, const Operation *operation, GBytes *body)
{
    g_auto(KvgCaller) caller = {0};
    if (!kvg_auth_verify(call->server, call->x, body, &caller))
        return;
    gsize len;
    const void *data = g_bytes_get_data(body, &len);
    g_autoptr(GError) error = NULL;
    g_autoptr(json_t) input = kvg_json_parse_object(data, len, &error);
    if (input == NULL) {
        kvg_respond_error(call->x, 400, "SerializationException", "%s", error->message);
        return;
    }
    call->input = input;
    if (!find_stream(call, &caller, operation))
        return;
    if (!kvg_quotas_take(call->server->quotas, operation->name, 0, call->stream.arn,
                         operation->per_second, kvg_clock_mono_us())) {
        kvg_respond_error(call->x, 400, "ClientLimitExceededException",
                          "The number of calls of %s for this stream was exceeded.",
                          operation->name);
        return;
    }
    if (operation->needs_retention && call->stream.retention_hours == 0) {
        kvg_respond_error(call->x, 400, "NoDataRetentionException",
                          "The stream does not retain data.");
        return;
    }
    run_bounded(call, operation);
}

static void
handle_operation(KvgPlayback *playback, KvgHttpExchange *x, const Operation *operation)
{
    if (strcmp(kvg_http_method(x), "POST") != 0) {
        kvg_respond_error(x, 405, "InvalidArgumentException", "POST is expected.");
        return;
    }
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) body = kvg_http_read_all(x, MAX_BODY_BYTES, &error);
    if (body == NULL) {
        kvg_respond_error(x, 400, "InvalidArgumentException", "%s", error->message);
        return;
    }
    KvgReadCall call = {
        .playback = playback, .server = playback->server, .x = x, .now_ms = kvg_clock_wall_ms()};
    run_operation(&call, operation, body);
    kvg_stream_info_clear(&call.stream);
}

static void
refuse_crowd(KvgHttpExchange *x)
{
    static const KvgHeader headers[] = {{"Content-Type", "application/json"},
                                        {"x-amzn-ErrorType", "ServiceUnavailable"},
                                        {"Retry-After", "1"}};
    static const char body[] = "{\"Message\":\"Too many requests for video at once; try again, or "
                               "start the server with a larger --max-connections.\"}";
    kvg_http_close_after(x);
    kvg_http_respond(x, 503, headers, G_N_ELEMENTS(headers), body, sizeof body - 1);
}

/* Readers may not take the last places: a camera that comes always finds one. */
static void
run_admitted(KvgPlayback *playback, KvgHttpExchange *x, const Operation *operation)
{
    const unsigned max = playback->server->max_readers;
    const unsigned others = (unsigned)g_atomic_int_add(&playback->n_readers, 1);
    if (max != 0 && others >= max)
        refuse_crowd(x);
    else if (operation != NULL)
        handle_operation(playback, x, operation);
    else
        kvg_playback_serve(playback, x);
    g_atomic_int_add(&playback->n_readers, -1);
}

bool
kvg_playback_handle(KvgPlayback *playback, KvgHttpExchange *x)
{
    const char *path = kvg_http_path(x);
    const Operation *operation = find_operation(path);
    if (operation == NULL && !g_str_has_prefix(path, "/hls/v1/") &&
        !g_str_has_prefix(path, "/dash/v1/") && !g_str_has_prefix(path, "/ll/v1/"))
        return false;
    run_admitted(playback, x, operation);
    return true;
}
