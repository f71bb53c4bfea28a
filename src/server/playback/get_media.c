/* GetMedia and GetMediaForFragmentList: stored fragments as a stream of Matroska documents. */
#include "server/playback/call.h"

#include "base/clock.h"
#include "os/log.h"
#include "server/playback/document.h"
#include "server/playback/fields.h"
#include "server/playback/source.h"
#include <kvg/error.h>
#include <string.h>

/* The pattern that the service's model has for this header admits no '/'. */
#define CONTENT_TYPE "video-x-matroska"
#define PAGE 16u
#define WAIT_MS 250u /* until a client that has left is noticed */
#define MAX_LIST 1000u

#define ERROR_NOT_FOUND 4000
#define ERROR_INTERNAL 5000

typedef enum {
    START_NOW,
    START_EARLIEST,
    START_FRAGMENT_NUMBER,
    START_SERVER_TIME,
    START_PRODUCER_TIME,
    START_TOKEN
} Start;

typedef struct {
    KvgReadCall *call;
    Start start;
    const char *number; /* FRAGMENT_NUMBER, TOKEN */
    int64_t time_ms;    /* ..._TIME */
    char after[64];     /* the next fragment is the one behind this */
    GBytes *header;     /* of the fragment sent last */
} Reader;

/* ---- parameters ---- */

static bool
require(bool is_given, const char *type, const char *member, GError **error)
{
    if (!is_given)
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "StartSelectorType %s needs %s.", type,
                    member);
    return is_given;
}

static bool
is_token(const char *text)
{
    return strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") ==
           strlen(text);
}

static bool
parse_start(Reader *reader, GError **error)
{
    static const char *const types[] = {"NOW",
                                        "EARLIEST",
                                        "FRAGMENT_NUMBER",
                                        "SERVER_TIMESTAMP",
                                        "PRODUCER_TIMESTAMP",
                                        "CONTINUATION_TOKEN",
                                        NULL};
    const json_t *selector = NULL;
    const char *after = NULL;
    const char *token = NULL;
    int type = 0;
    if (!kvg_field_object(reader->call->input, "StartSelector", &selector, error) ||
        !kvg_field_choice(selector, "StartSelectorType", types, -1, &type, error) ||
        !kvg_field_text(selector, "AfterFragmentNumber", 1, 128, &after, error) ||
        !kvg_field_text(selector, "ContinuationToken", 1, 128, &token, error) ||
        !kvg_field_time(selector, "StartTimestamp", -1, &reader->time_ms, error))
        return false;
    reader->start = (Start)type;
    switch (reader->start) {
    case START_FRAGMENT_NUMBER:
        reader->number = after;
        return require(after != NULL && kvg_field_is_number(after), types[type],
                       "AfterFragmentNumber, decimal digits", error);
    case START_TOKEN:
        reader->number = token;
        return require(token != NULL && is_token(token), types[type],
                       "ContinuationToken, as an earlier response gave it", error);
    case START_SERVER_TIME:
    case START_PRODUCER_TIME:
        return require(reader->time_ms >= 0, types[type], "StartTimestamp", error);
    case START_NOW:
    case START_EARLIEST:
    default:
        return true;
    }
}

/* The first fragment to send, or none yet. */
static GArray *
list_first(const Reader *reader, GError **error)
{
    switch (reader->start) {
    case START_NOW:
        return kvg_source_list_newest(reader->call, error);
    case START_SERVER_TIME:
        return kvg_source_list_at(reader->call, KVG_STORE_BY_SERVER_TIME, reader->time_ms, error);
    case START_PRODUCER_TIME:
        return kvg_source_list_at(reader->call, KVG_STORE_BY_PRODUCER_TIME, reader->time_ms, error);
    case START_EARLIEST:
    case START_FRAGMENT_NUMBER:
    case START_TOKEN:
    default:
        return kvg_source_list_after(reader->call, reader->after, PAGE, error);
    }
}

/* ---- sending ---- */

static char *
format_time(int64_t time_ms)
{
    time_ms = MAX(time_ms, 0);
    return g_strdup_printf("%" G_GINT64_FORMAT ".%03d", time_ms / 1000, (int)(time_ms % 1000));
}

/* Tags of their own, in the last document or in one made for them. */
static bool
send_tags(Reader *reader, const KvgDocumentTag *tags, size_t n)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    if (reader->header == NULL)
        kvg_document_put_empty(out);
    kvg_document_put_tags(out, tags, n);
    return kvg_http_write_chunk(reader->call->x, out->data, out->len);
}

static bool
send_error(Reader *reader, int id, const char *code)
{
    g_autofree char *number = g_strdup_printf("%d", id);
    const KvgDocumentTag tags[] = {{"AWS_KINESISVIDEO_ERROR_CODE", code},
                                   {"AWS_KINESISVIDEO_ERROR_ID", number}};
    return send_tags(reader, tags, G_N_ELEMENTS(tags));
}

/* Header, the service's first tags, and the producer's Cluster. */
static bool
send_fragment(Reader *reader, const KvgFragmentInfo *info, GBytes *header, GBytes *media, bool both)
{
    g_autofree char *server_time = format_time(info->server_ms);
    g_autofree char *producer_time = format_time(info->producer_ms);
    const KvgDocumentTag tags[] = {{"AWS_KINESISVIDEO_FRAGMENT_NUMBER", info->number},
                                   {"AWS_KINESISVIDEO_SERVER_TIMESTAMP", server_time},
                                   {"AWS_KINESISVIDEO_PRODUCER_TIMESTAMP", producer_time},
                                   {"AWS_KINESISVIDEO_SERVER_SIDE_TIMESTAMP", server_time},
                                   {"AWS_KINESISVIDEO_PRODUCER_SIDE_TIMESTAMP", producer_time}};
    g_autoptr(GByteArray) out = g_byte_array_new();
    const bool is_new_header = reader->header == NULL || !g_bytes_equal(reader->header, header);
    kvg_document_put_header(out, header, is_new_header);
    kvg_document_put_tags(out, tags, both ? 5 : 3);
    g_clear_pointer(&reader->header, g_bytes_unref);
    reader->header = g_bytes_ref(header);
    gsize len;
    const void *data = g_bytes_get_data(media, &len);
    return kvg_http_write_chunk(reader->call->x, out->data, out->len) &&
           kvg_http_write_chunk(reader->call->x, data, len);
}

static bool
send_position(Reader *reader, const KvgFragmentInfo *info, bool is_newest)
{
    const int64_t behind_ms = kvg_clock_wall_ms() - info->server_ms - info->length_ms;
    g_autofree char *behind =
        g_strdup_printf("%" G_GINT64_FORMAT, is_newest ? 0 : MAX(behind_ms, 0));
    const KvgDocumentTag tags[] = {{"AWS_KINESISVIDEO_MILLIS_BEHIND_NOW", behind},
                                   {"AWS_KINESISVIDEO_CONTINUATION_TOKEN", info->number}};
    return send_tags(reader, tags, G_N_ELEMENTS(tags));
}

/* Damaged or just deleted: it is named in the log, and the stream goes on behind it. */
static void
skip(const Reader *reader, const char *number, const GError *error)
{
    const char *arn = reader->call->stream.arn;
    KVG_LOG_WARNING("playback", "STREAM", arn, "fragment %s of %s: %s", number, arn,
                    error->message);
}

/* False: the connection is gone. */
static bool
send_all(Reader *reader, const GArray *infos)
{
    for (guint i = 0; i < infos->len; i++) {
        const KvgFragmentInfo *info = &g_array_index(infos, KvgFragmentInfo, i);
        g_autoptr(GBytes) header = NULL;
        g_autoptr(GBytes) media = NULL;
        g_autoptr(GError) error = NULL;
        g_strlcpy(reader->after, info->number, sizeof reader->after);
        if (!kvg_source_read(reader->call, info->number, &header, &media, &error)) {
            skip(reader, info->number, error);
            continue;
        }
        bool is_newest = false;
        if (i + 1 == infos->len) {
            g_autoptr(GArray) more = kvg_source_list_after(reader->call, reader->after, 1, NULL);
            is_newest = more == NULL || more->len == 0;
        }
        if (!send_fragment(reader, info, header, media, false) ||
            !send_position(reader, info, is_newest))
            return false;
    }
    return true;
}

static void
follow(Reader *reader)
{
    KvgReadCall *call = reader->call;
    g_autoptr(KvgLiveWatch) watch = kvg_live_watch(call->server->live, call->stream.arn);
    bool has_begun = false;
    while (!kvg_http_is_stopping(call->x) && !kvg_http_peer_has_left(call->x)) {
        const uint64_t version = kvg_live_version(watch);
        g_autoptr(GError) error = NULL;
        g_autoptr(GArray) infos = has_begun
                                      ? kvg_source_list_after(call, reader->after, PAGE, &error)
                                      : list_first(reader, &error);
        if (infos == NULL) {
            skip(reader, reader->after, error);
            send_error(reader, ERROR_INTERNAL, "InternalError");
            break;
        }
        has_begun = has_begun || infos->len > 0;
        if (!send_all(reader, infos))
            return;
        if (infos->len == 0)
            kvg_live_wait(watch, version, WAIT_MS);
    }
    kvg_http_end_stream(call->x);
}

static bool
begin(KvgReadCall *call)
{
    static const KvgHeader headers[] = {{"Content-Type", CONTENT_TYPE}};
    return kvg_http_begin_stream(call->x, 200, headers, G_N_ELEMENTS(headers));
}

void
kvg_read_get_media(KvgReadCall *call)
{
    Reader reader = {.call = call};
    g_autoptr(GError) error = NULL;
    if (!parse_start(&reader, &error)) {
        kvg_read_refuse(call, error);
        return;
    }
    if (!begin(call))
        return;
    if (reader.number != NULL)
        g_strlcpy(reader.after, reader.number, sizeof reader.after);
    if (reader.start == START_FRAGMENT_NUMBER && !kvg_source_has(call, reader.number)) {
        send_error(&reader, ERROR_NOT_FOUND, "FragmentNotFound");
        kvg_http_end_stream(call->x);
    } else {
        follow(&reader);
    }
    g_clear_pointer(&reader.header, g_bytes_unref);
}

/* ---- GetMediaForFragmentList ---- */

static bool
parse_list(KvgReadCall *call, const json_t **list, GError **error)
{
    *list = json_object_get(call->input, "Fragments");
    const size_t n = json_array_size(*list);
    bool is_valid = n >= 1 && n <= MAX_LIST;
    for (size_t i = 0; i < n && is_valid; i++) {
        const char *number = json_string_value(json_array_get(*list, i));
        is_valid = number != NULL && strlen(number) <= 128 && kvg_field_is_number(number);
    }
    if (!is_valid)
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID,
                    "Fragments must be a list of 1 to %u fragment numbers.", MAX_LIST);
    return is_valid;
}

static bool
send_exception(Reader *reader, const char *number, const GError *error)
{
    skip(reader, number, error);
    const bool is_absent = g_error_matches(error, KVG_ERROR, KVG_ERROR_NOT_FOUND);
    g_autofree char *code = g_strdup_printf("%d", is_absent ? ERROR_NOT_FOUND : ERROR_INTERNAL);
    const KvgDocumentTag tags[] = {
        {"AWS_KINESISVIDEO_FRAGMENT_NUMBER", number},
        {"AWS_KINESISVIDEO_EXCEPTION_ERROR_CODE", code},
        {"AWS_KINESISVIDEO_EXCEPTION_MESSAGE",
         is_absent ? "The fragment is not found." : "The fragment cannot be read."}};
    return send_tags(reader, tags, G_N_ELEMENTS(tags));
}

static bool
send_listed(Reader *reader, const char *number)
{
    KvgReadCall *call = reader->call;
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) header = NULL;
    g_autoptr(GBytes) media = NULL;
    KvgFragmentInfo info;
    if (!kvg_store_find(call->server->store, call->stream.arn, number, &info, &error) ||
        !kvg_store_read(call->server->store, call->stream.arn, number, &header, &media, &error))
        return send_exception(reader, number, error);
    return send_fragment(reader, &info, header, media, true);
}

void
kvg_read_get_fragment_list(KvgReadCall *call)
{
    g_autoptr(GError) error = NULL;
    const json_t *list;
    if (!parse_list(call, &list, &error)) {
        kvg_read_refuse(call, error);
        return;
    }
    if (!begin(call))
        return;
    Reader reader = {.call = call};
    bool is_open = true;
    for (size_t i = 0; i < json_array_size(list) && is_open; i++)
        is_open = send_listed(&reader, json_string_value(json_array_get(list, i)));
    if (is_open)
        kvg_http_end_stream(call->x);
    g_clear_pointer(&reader.header, g_bytes_unref);
}
