/* GetImages: pictures at regular times, a page at once. */
#include "server/playback/call.h"

#include "base/bytes.h"
#include "os/log.h"
#include "server/playback/fields.h"
#include "server/playback/fragment.h"
#include "server/playback/imager.h"
#include <kvg/error.h>
#include <stdlib.h>
#include <string.h>

#define MAX_RANGE_MS (300 * 1000)
#define MAX_SPAN_MS 20000
#define MAX_PAGE 25
/* Five fragments a second, and those that began before the range. */
#define MAX_FRAGMENTS 2000u
/* A page's images together, as base64. */
#define MAX_PAGE_BYTES (25u * 1024 * 1024)
#define TOKEN_KIND 0x49

typedef struct {
    KvgReadCall *call;
    KvgStoreOrder order;
    int64_t from_ms, to_ms, interval_ms;
    int64_t next_ms; /* where this page begins */
    int64_t max;
    KvgImageFormat format;
    GArray *infos; /* KvgFragmentInfo, in the order of their numbers */
    KvgImager *imager;
    KvgFragmentReader *reader; /* of the fragment used last */
    char reader_number[64];
} Request;

/* ---- parameters ---- */

static bool
invalid(GError **error, const char *what)
{
    g_set_error_literal(error, KVG_ERROR, KVG_ERROR_INVALID, what);
    return false;
}

static GByteArray *
write_token(const Request *request)
{
    GByteArray *out = g_byte_array_new();
    kvg_bytes_put_u8(out, TOKEN_KIND);
    kvg_bytes_put_u8(out, (uint8_t)request->order);
    kvg_bytes_put_u64(out, (uint64_t)request->from_ms);
    kvg_bytes_put_u64(out, (uint64_t)request->to_ms);
    kvg_bytes_put_u64(out, (uint64_t)request->interval_ms);
    kvg_bytes_put(out, request->call->stream.arn, strlen(request->call->stream.arn));
    kvg_bytes_put_u64(out, (uint64_t)request->next_ms);
    return out;
}

/* The token belongs to the stream and range it was made for; only where to go on is new. */
static bool
open_token(Request *request, const char *token, GError **error)
{
    g_autoptr(GBytes) plain = kvg_unseal(token, request->call->playback->key);
    g_autoptr(GByteArray) expected = write_token(request);
    gsize len = 0;
    const uint8_t *data = plain != NULL ? g_bytes_get_data(plain, &len) : NULL;
    if (len != expected->len || memcmp(data, expected->data, len - 8) != 0)
        return invalid(error, "NextToken does not belong to this request.");
    KvgReader reader = kvg_reader_init(data + len - 8, 8);
    request->next_ms = (int64_t)kvg_reader_u64(&reader);
    return true;
}

static bool
parse_quality(const json_t *input, unsigned *quality, GError **error)
{
    const json_t *config = NULL;
    *quality = 80;
    if (!kvg_field_object(input, "FormatConfig", &config, error))
        return false;
    if (config == NULL || json_object_size(config) == 0)
        return true;
    const char *text = kvg_json_get_string(config, "JPEGQuality");
    guint64 value = 0;
    if (json_object_size(config) > 1 || text == NULL ||
        !g_ascii_string_to_unsigned(text, 10, 1, 100, &value, NULL))
        return invalid(error, "FormatConfig may hold JPEGQuality, \"1\" to \"100\", and no more.");
    *quality = (unsigned)value;
    return true;
}

static bool
parse_size(const json_t *input, KvgImageFormat *format, GError **error)
{
    int64_t width = 0;
    int64_t height = 0;
    if (!kvg_field_integer(input, "WidthPixels", 1, 3840, 0, &width, error) ||
        !kvg_field_integer(input, "HeightPixels", 1, 2160, 0, &height, error))
        return false;
    format->width = (unsigned)width;
    format->height = (unsigned)height;
    if ((width == 0) == (height == 0))
        return true;
    g_set_error_literal(error, KVG_ERROR, KVG_ERROR_UNSUPPORTED,
                        "WidthPixels and HeightPixels must be given together.");
    return false;
}

static bool
parse(Request *request, GError **error)
{
    static const char *const orders[] = {"SERVER_TIMESTAMP", "PRODUCER_TIMESTAMP", NULL};
    static const char *const formats[] = {"JPEG", "PNG", NULL};
    const json_t *input = request->call->input;
    const char *token = NULL;
    int order = 0;
    int format = 0;
    if (!kvg_field_choice(input, "ImageSelectorType", orders, -1, &order, error) ||
        !kvg_field_choice(input, "Format", formats, -1, &format, error) ||
        !kvg_field_time(input, "StartTimestamp", -1, &request->from_ms, error) ||
        !kvg_field_time(input, "EndTimestamp", -1, &request->to_ms, error) ||
        !kvg_field_integer(input, "SamplingInterval", 200, MAX_RANGE_MS, 3000,
                           &request->interval_ms, error) ||
        !kvg_field_integer(input, "MaxResults", 1, 100, MAX_PAGE, &request->max, error) ||
        !kvg_field_text(input, "NextToken", 1, 4096, &token, error) ||
        !parse_quality(input, &request->format.quality, error) ||
        !parse_size(input, &request->format, error))
        return false;
    if (request->from_ms < 0 || request->to_ms < request->from_ms)
        return invalid(error, "StartTimestamp and a later EndTimestamp are required.");
    if (request->to_ms - request->from_ms > MAX_RANGE_MS)
        return invalid(error, "The range of timestamps must not be longer than 300 seconds.");
    request->order = order == 0 ? KVG_STORE_BY_SERVER_TIME : KVG_STORE_BY_PRODUCER_TIME;
    request->format.is_png = format == 1;
    request->max = MIN(request->max, MAX_PAGE);
    request->next_ms = request->from_ms;
    return token == NULL || open_token(request, token, error);
}

/* ---- pictures ---- */

static int64_t
start_of(const Request *request, const KvgFragmentInfo *info)
{
    return request->order == KVG_STORE_BY_SERVER_TIME ? info->server_ms : info->producer_ms;
}

/* The newest fragment that covers the time; NULL. */
static const KvgFragmentInfo *
find_fragment(const Request *request, int64_t time_ms)
{
    for (guint i = request->infos->len; i-- > 0;) {
        const KvgFragmentInfo *info = &g_array_index(request->infos, KvgFragmentInfo, i);
        const int64_t start_ms = start_of(request, info);
        if (time_ms >= start_ms && time_ms < start_ms + MAX(info->length_ms, 1))
            return info;
    }
    return NULL;
}

/* The frame that is shown at @at_ms into the fragment, and how many must be decoded for it. */
static size_t
find_frame(const GArray *samples, int64_t at_ms, size_t *n_decoded)
{
    size_t wanted = 0;
    for (guint i = 0; i < samples->len; i++) {
        const int64_t pts_ms = g_array_index(samples, KvgMp4Sample, i).pts_ms;
        if (pts_ms <= at_ms && pts_ms >= g_array_index(samples, KvgMp4Sample, wanted).pts_ms)
            wanted = i;
    }
    *n_decoded = wanted + 1;
    return wanted;
}

static bool
load(Request *request, const KvgFragmentInfo *info, GError **error)
{
    if (request->reader != NULL && strcmp(request->reader_number, info->number) == 0)
        return true;
    g_clear_pointer(&request->reader, kvg_fragment_reader_free);
    request->reader = kvg_fragment_read(request->call->server->store, request->call->stream.arn,
                                        info->number, true, error);
    g_strlcpy(request->reader_number, info->number, sizeof request->reader_number);
    return request->reader != NULL;
}

static GBytes *
make(Request *request, const KvgFragmentInfo *info, int64_t time_ms, GError **error)
{
    KvgMp4Track description;
    if (!load(request, info, error))
        return NULL;
    const KvgTrack *track = kvg_fragment_reader_playable(request->reader, KVG_TRACK_VIDEO);
    if (track == NULL) {
        g_set_error_literal(error, KVG_ERROR, KVG_ERROR_CORRUPT, "no video that can be decoded");
        return NULL;
    }
    if (!kvg_mp4_track_init(&description, track, error))
        return NULL;
    g_autoptr(GArray) samples = kvg_fragment_reader_samples(request->reader, track->number);
    if (samples->len == 0) {
        g_set_error_literal(error, KVG_ERROR, KVG_ERROR_CORRUPT, "no frames of video");
        return NULL;
    }
    size_t n;
    const size_t wanted = find_frame(samples, time_ms - start_of(request, info), &n);
    return kvg_imager_make(request->imager, &request->format, &description,
                           (const KvgMp4Sample *)(void *)samples->data, n, wanted, error);
}

static json_t *
describe(Request *request, int64_t time_ms, size_t *bytes)
{
    const KvgFragmentInfo *info = find_fragment(request, time_ms);
    if (info == NULL)
        return json_pack("{s:o,s:s}", "TimeStamp", kvg_time_to_json(time_ms), "Error", "NO_MEDIA");
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) image = make(request, info, time_ms, &error);
    if (image == NULL) {
        const char *arn = request->call->stream.arn;
        KVG_LOG_WARNING("playback", "STREAM", arn, "image of fragment %s of %s: %s", info->number,
                        arn, error->message);
        return json_pack("{s:o,s:s}", "TimeStamp", kvg_time_to_json(time_ms), "Error",
                         "MEDIA_ERROR");
    }
    gsize len;
    const void *data = g_bytes_get_data(image, &len);
    g_autofree char *text = g_base64_encode(data, len);
    *bytes += strlen(text);
    return json_pack("{s:o,s:s}", "TimeStamp", kvg_time_to_json(time_ms), "ImageContent", text);
}

static void
answer_page(Request *request)
{
    g_autoptr(json_t) images = json_array();
    size_t bytes = 0;
    /* A range that is shorter than the interval has one image, that of its start. */
    while (request->next_ms <= request->to_ms && (int64_t)json_array_size(images) < request->max &&
           bytes < MAX_PAGE_BYTES) {
        json_array_append_new(images, describe(request, request->next_ms, &bytes));
        request->next_ms += request->interval_ms;
    }
    g_clear_pointer(&request->imager, kvg_imager_free); /* its place is free before we answer */
    g_autoptr(GByteArray) plain = write_token(request);
    g_autofree char *token =
        request->next_ms <= request->to_ms ? kvg_seal(plain, request->call->playback->key) : NULL;
    g_autoptr(json_t) reply = json_pack("{s:O,s:s?}", "Images", images, "NextToken", token);
    g_autofree char *text = kvg_json_to_text(reply);
    kvg_http_respond_json(request->call->x, 200, text);
}

static void
run(Request *request)
{
    KvgReadCall *call = request->call;
    g_autoptr(GError) error = NULL;
    request->infos = kvg_store_list(call->server->store, call->stream.arn, request->order,
                                    MAX(request->next_ms - MAX_SPAN_MS, 0), request->to_ms,
                                    MAX_FRAGMENTS, false, &error);
    if (request->infos == NULL) {
        kvg_read_fail(call, error);
        return;
    }
    request->imager = kvg_imager_new(&error);
    if (request->imager == NULL)
        kvg_respond_error(call->x, 400, "ClientLimitExceededException", "%s.", error->message);
    else
        answer_page(request);
}

void
kvg_read_get_images(KvgReadCall *call)
{
    Request request = {.call = call};
    g_autoptr(GError) error = NULL;
    if (parse(&request, &error))
        run(&request);
    else if (g_error_matches(error, KVG_ERROR, KVG_ERROR_UNSUPPORTED))
        kvg_respond_error(call->x, 400, "ValidationException", "%s", error->message);
    else
        kvg_read_refuse(call, error);
    kvg_imager_free(request.imager);
    kvg_fragment_reader_free(request.reader);
    g_clear_pointer(&request.infos, g_array_unref);
}
