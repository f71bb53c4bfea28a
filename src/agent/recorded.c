/* What is recorded: ranges, clips, pictures. */
#include "agent/proxy_private.h"
#include "base/json.h"
#include "base/text.h"
#include <kvg/error.h>
#include <string.h>

#define IMAGE_SPAN_MS 200 /* the least the service samples at: one picture */

/* ---- ranges ---- */

void
kvg_proxy_ranges(KvgProxy *proxy, KvgHttpExchange *x, const char *camera)
{
    g_autoptr(GError) error = NULL;
    KvgViewWindow window = {0};
    g_autoptr(KvgViewer) viewer = kvg_proxy_viewer(proxy, x, camera);
    if (viewer == NULL || !kvg_proxy_read_window(x, &window))
        return;
    KvgArchive *archive = kvg_viewer_archive(viewer, &error);
    g_autoptr(GArray) ranges = archive != NULL
                                   ? kvg_recordings_list(kvg_viewer_recordings(viewer), archive,
                                                         window.from_ms, window.to_ms, &error)
                                   : NULL;
    if (ranges == NULL) {
        kvg_proxy_respond_error(x, error);
        return;
    }
    g_autoptr(json_t) list = json_array();
    for (guint i = 0; i < ranges->len; i++) {
        const KvgRange *range = &g_array_index(ranges, KvgRange, i);
        json_array_append_new(
            list, json_pack("[I, I]", (json_int_t)range->start_ms, (json_int_t)range->end_ms));
    }
    g_autoptr(json_t) body = json_pack("{s:O}", "ranges", list);
    g_autofree char *text = kvg_json_to_text(body);
    const KvgHeader headers[] = {{"Content-Type", "application/json"},
                                 {"Cache-Control", "no-store"}};
    kvg_http_respond(x, 200, headers, G_N_ELEMENTS(headers), text, strlen(text));
}

/* ---- clips ---- */

typedef struct {
    KvgHttpExchange *x;
    const char *camera;
    int64_t from_ms;
    bool has_begun, has_left;
} Clip;

/* Without colons, which not every system takes in a file's name (g_free). */
static char *
file_name(const char *camera, int64_t wall_ms, const char *suffix)
{
    g_autofree char *time = kvg_format_iso8601(wall_ms, false);
    return g_strdup_printf("attachment; filename=\"%s-%s%s\"", camera, g_strdelimit(time, ":", '-'),
                           suffix);
}

static bool
on_clip(const void *data, size_t len, void *user_data)
{
    Clip *clip = user_data;
    if (!clip->has_begun) {
        g_autofree char *name = file_name(clip->camera, clip->from_ms, ".mp4");
        const KvgHeader headers[] = {{"Content-Type", "video/mp4"},
                                     {"Content-Disposition", name},
                                     {"Cache-Control", "no-store"}};
        clip->has_begun = true;
        clip->has_left = !kvg_http_begin_stream(clip->x, 200, headers, G_N_ELEMENTS(headers));
    }
    clip->has_left = clip->has_left || !kvg_http_write_chunk(clip->x, data, len);
    return !clip->has_left;
}

static void
refuse_clip(KvgHttpExchange *x, const KvgViewWindow *window, const KvgClipSize *size)
{
    const int64_t fits_s = MAX(size->fits_to_ms - window->from_ms, 0) / 1000;
    g_autofree char *message = g_strdup_printf(
        "KVS makes clips of at most 200 fragments and 100 MB, and this one would need "
        "%s%" G_GUINT64_FORMAT " fragments and %.0f MB; choose at most %" G_GINT64_FORMAT
        " s from this start",
        size->fragments >= 1000 ? "more than " : "", size->fragments, (double)size->bytes / 1e6,
        fits_s);
    g_autoptr(json_t) body =
        json_pack("{s:s, s:I}", "message", message, "fits_to_ms", (json_int_t)size->fits_to_ms);
    g_autofree char *text = kvg_json_to_text(body);
    kvg_http_respond_json(x, 400, text);
}

static void
send_clip(KvgHttpExchange *x, KvgArchive *archive, const char *camera, const KvgViewWindow *window)
{
    g_autoptr(GError) error = NULL;
    Clip clip = {.x = x, .camera = camera, .from_ms = window->from_ms};
    g_autoptr(json_t) arguments = json_pack("{s:o}", "ClipFragmentSelector",
                                            kvg_archive_selector(window->from_ms, window->to_ms));
    const bool ok =
        kvg_archive_stream(archive, "GET_CLIP", "/getClip", arguments, on_clip, &clip, &error);
    if (ok && clip.has_begun)
        kvg_http_end_stream(x);
    else if (ok)
        kvg_proxy_respond_message(x, 502, "the service answered with an empty clip");
    else if (!clip.has_begun)
        kvg_proxy_respond_error(x, error);
    /* What broke off stays without its end, so that nobody takes it for the whole. */
}

void
kvg_proxy_clip(KvgProxy *proxy, KvgHttpExchange *x, const char *camera)
{
    g_autoptr(GError) error = NULL;
    KvgViewWindow window = {0};
    KvgClipSize size;
    g_autoptr(KvgViewer) viewer = kvg_proxy_viewer(proxy, x, camera);
    if (viewer == NULL || !kvg_proxy_read_window(x, &window))
        return;
    KvgArchive *archive = kvg_viewer_archive(viewer, &error);
    if (archive == NULL ||
        !kvg_recordings_measure(archive, window.from_ms, window.to_ms, &size, &error))
        kvg_proxy_respond_error(x, error);
    else if (size.fragments == 0)
        kvg_proxy_respond_message(x, 404, "nothing is recorded at that time");
    else if (!size.fits)
        refuse_clip(x, &window, &size);
    else
        send_clip(x, archive, camera, &window);
}

/* ---- pictures ---- */

/* The picture, or NULL and why there is none. */
static GBytes *
get_image(KvgArchive *archive, int64_t at_ms, GError **error)
{
    g_autoptr(json_t) arguments =
        json_pack("{s:s, s:o, s:o, s:i, s:s, s:i}", "ImageSelectorType", "PRODUCER_TIMESTAMP",
                  "StartTimestamp", kvg_archive_time(at_ms), "EndTimestamp",
                  kvg_archive_time(at_ms + IMAGE_SPAN_MS - 1), "SamplingInterval", IMAGE_SPAN_MS,
                  "Format", "JPEG", "MaxResults", 1);
    g_autoptr(json_t) reply =
        kvg_archive_call(archive, "GET_IMAGES", "/getImages", arguments, error);
    if (reply == NULL)
        return NULL;
    const json_t *image = json_array_get(json_object_get(reply, "Images"), 0);
    const char *content = kvg_json_get_string(image, "ImageContent");
    const char *problem = kvg_json_get_string(image, "Error");
    size_t len = 0;
    if (content != NULL && *content != '\0') {
        guchar *data = g_base64_decode(content, &len);
        return g_bytes_new_take(data, len);
    }
    if (image == NULL || g_strcmp0(problem, "NO_MEDIA") == 0)
        g_set_error(error, KVG_ERROR, KVG_ERROR_NOT_FOUND, "nothing is recorded at that time");
    else
        g_set_error(error, KVG_ERROR, KVG_ERROR_FAILED, "the service could not decode it: %s",
                    problem != NULL ? problem : "no picture in its answer");
    return NULL;
}

void
kvg_proxy_image(KvgProxy *proxy, KvgHttpExchange *x, const char *camera)
{
    g_autoptr(GError) error = NULL;
    int64_t at_ms = 0;
    g_autoptr(KvgViewer) viewer = kvg_proxy_viewer(proxy, x, camera);
    if (viewer == NULL || !kvg_proxy_read_time(x, "at", &at_ms))
        return;
    KvgArchive *archive = kvg_viewer_archive(viewer, &error);
    g_autoptr(GBytes) image = archive != NULL ? get_image(archive, at_ms, &error) : NULL;
    if (image == NULL) {
        if (g_error_matches(error, KVG_ERROR, KVG_ERROR_NOT_FOUND))
            kvg_proxy_respond_message(x, 404, "nothing is recorded at that time");
        else
            kvg_proxy_respond_error(x, error);
        return;
    }
    g_autofree char *name = file_name(camera, at_ms, ".jpg");
    const KvgHeader headers[] = {{"Content-Type", "image/jpeg"},
                                 {"Content-Disposition", name},
                                 {"Cache-Control", "private, max-age=300"}};
    size_t len;
    const void *data = g_bytes_get_data(image, &len);
    kvg_http_respond(x, 200, headers, G_N_ELEMENTS(headers), data, len);
}
