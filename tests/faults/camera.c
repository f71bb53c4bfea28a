#include "camera.h"

#include <string.h>

/* 640 x 360, as an encoder writes it. */
static const uint8_t avcc[] = {0x01, 0x4d, 0x40, 0x1f, 0xff, 0xe1, 0x00, 0x1c, 0x67, 0x4d, 0x40,
                               0x1f, 0xda, 0x01, 0x40, 0x16, 0xec, 0x05, 0xa8, 0x08, 0x08, 0x0a,
                               0x00, 0x00, 0x03, 0x00, 0x02, 0x00, 0x00, 0x03, 0x00, 0x3d, 0x1e,
                               0x30, 0x65, 0x40, 0x01, 0x00, 0x04, 0x68, 0xef, 0x3c, 0x80};
#define NAL_HEAD 9 /* length, type, number */

static void
put_u32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (24 - 8 * i));
}

static uint32_t
get_u32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static bool
is_key(const KvgCameraSpec *spec, unsigned number)
{
    return number % spec->gop == 0;
}

static size_t
frame_length(const KvgCameraSpec *spec, unsigned number)
{
    const unsigned most = is_key(spec, number) ? spec->frame_bytes : spec->frame_bytes / 2;
    return NAL_HEAD + most - number * 7 % (most / 4);
}

/* One NAL unit: its length, its type, its number, and bytes that follow from stream and number. */
static uint8_t *
make_frame(const KvgCameraSpec *spec, unsigned number, size_t *len)
{
    *len = frame_length(spec, number);
    uint8_t *data = g_malloc(*len);
    put_u32(data, (uint32_t)*len - 4);
    data[4] = is_key(spec, number) ? 0x65 : 0x41;
    put_u32(data + 5, number);
    uint32_t x = g_str_hash(spec->stream) ^ (number * 2654435761u) ^ 1;
    for (size_t i = NAL_HEAD; i < *len; i++) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        data[i] = (uint8_t)x | 1; /* never a start code */
    }
    return data;
}

static void
note_clear(void *data)
{
    const KvgCameraNote *note = data;
    g_free(note->reason);
}

void
kvg_camera_init(KvgCamera *camera, const KvgCameraSpec *spec, int64_t start_ms)
{
    *camera = (KvgCamera){.spec = *spec, .start_ms = start_ms};
    pthread_mutex_init(&camera->lock, NULL);
    camera->notes = g_array_new(FALSE, FALSE, sizeof(KvgCameraNote));
    g_array_set_clear_func(camera->notes, note_clear);
}

void
kvg_camera_clear(KvgCamera *camera)
{
    g_assert_null(camera->stream);
    g_array_unref(camera->notes);
    pthread_mutex_destroy(&camera->lock);
}

static void
on_state(KvgStream *stream, KvgStreamState state, const char *reason, void *user_data)
{
    KvgCamera *camera = user_data;
    const KvgCameraNote note = {g_get_monotonic_time(), state, g_strdup(reason)};
    pthread_mutex_lock(&camera->lock);
    g_array_append_val(camera->notes, note);
    pthread_mutex_unlock(&camera->lock);
}

void
kvg_camera_open(KvgCamera *camera,
                const KvgProducerOptions *producer,
                const KvgStreamOptions *stream)
{
    g_autoptr(GError) error = NULL;
    camera->producer = kvg_producer_new(producer, &error);
    g_assert_no_error(error);
    kvg_camera_open_in(camera, camera->producer, stream);
}

void
kvg_camera_open_in(KvgCamera *camera, KvgProducer *producer, const KvgStreamOptions *stream)
{
    g_autoptr(GError) error = NULL;
    KvgStreamOptions options = *stream;
    options.name = camera->spec.stream;
    options.notify = camera->spec.is_quiet ? NULL : on_state;
    options.user_data = camera;
    camera->stream = kvg_producer_open_stream(producer, &options, &error);
    g_assert_no_error(error);
    g_autoptr(GBytes) private = g_bytes_new_static(avcc, sizeof avcc);
    const KvgTrack track = {.number = 1,
                            .type = KVG_TRACK_VIDEO,
                            .codec_id = "V_MPEG4/ISO/AVC",
                            .codec_private = private,
                            .width = 640,
                            .height = 360};
    const bool ok = kvg_stream_set_tracks(camera->stream, &track, 1, &error);
    g_assert_no_error(error);
    g_assert_true(ok);
}

bool
kvg_camera_put(KvgCamera *camera, GError **error)
{
    const KvgCameraSpec *spec = &camera->spec;
    size_t len = 0;
    uint8_t *data = make_frame(spec, camera->n_put, &len);
    g_autoptr(GBytes) bytes = g_bytes_new_take(data, len);
    const int64_t time_us = (camera->start_ms + (int64_t)camera->n_put * spec->step_ms) * 1000;
    const KvgFrame frame = {.track = 1,
                            .key = is_key(spec, camera->n_put),
                            .pts_us = time_us,
                            .dts_us = time_us,
                            .duration_us = spec->step_ms * INT64_C(1000),
                            .data = bytes};
    camera->n_put++;
    return kvg_stream_put_frame(camera->stream, &frame, error);
}

bool
kvg_camera_close(KvgCamera *camera, int64_t timeout_ms, GError **error)
{
    /* What is counted while the stream is closing counts as well: the last look is the notes'. */
    KvgStreamStats stats;
    kvg_stream_get_stats(camera->stream, &stats);
    const bool ok = kvg_stream_close(g_steal_pointer(&camera->stream), timeout_ms, error);
    camera->dropped += stats.frames_dropped;
    camera->evicted += stats.frames_dropped_evicted;
    camera->refused += stats.frames_dropped_refused;
    camera->sessions += stats.sessions;
    camera->accepted += stats.frames_put;
    g_clear_pointer(&camera->producer, kvg_producer_free);
    return ok;
}

int64_t
kvg_camera_find_reason(KvgCamera *camera, const char *text, int64_t from_us)
{
    int64_t found_us = 0;
    pthread_mutex_lock(&camera->lock);
    for (guint i = 0; i < camera->notes->len && found_us == 0; i++) {
        const KvgCameraNote *note = &g_array_index(camera->notes, KvgCameraNote, i);
        if (note->at_us >= from_us && strstr(note->reason, text) != NULL)
            found_us = note->at_us;
    }
    pthread_mutex_unlock(&camera->lock);
    return found_us;
}

/* ---- what was stored ---- */

typedef struct {
    const KvgCamera *camera;
    unsigned next; /* the lowest number that may come */
    KvgVerdict verdict;
} Walk;

static bool
fail(Walk *walk, const char *what, unsigned number)
{
    walk->verdict.problem = g_strdup_printf("frame %u: %s", number, what);
    return false;
}

static bool
check_frame(Walk *walk, const uint8_t *data, size_t left, size_t *len)
{
    const KvgCamera *camera = walk->camera;
    if (left < NAL_HEAD)
        return fail(walk, "a piece is left over behind it", walk->next);
    const unsigned number = get_u32(data + 5);
    if (number >= camera->n_put)
        return fail(walk, "was never put", number);
    if (number < walk->next)
        return fail(walk, "is stored twice or out of order", number);
    g_autofree uint8_t *sent = make_frame(&camera->spec, number, len);
    if (*len > left || memcmp(sent, data, *len) != 0)
        return fail(walk, "other bytes than were put", number);
    if (walk->verdict.stored == 0)
        walk->verdict.first = number;
    walk->verdict.stored++;
    walk->next = number + 1;
    return true;
}

static bool
check_fragment(Walk *walk, const KvgStored *stored)
{
    const KvgCamera *camera = walk->camera;
    size_t size = 0, at = 0, len = 0;
    const uint8_t *data = g_bytes_get_data(stored->media, &size);
    const unsigned number = size >= NAL_HEAD ? get_u32(data + 5) : 0;
    if (stored->start_ms != camera->start_ms + (int64_t)number * camera->spec.step_ms)
        return fail(walk, "another time than it was put with", number);
    for (at = 0; at < size; at += len) {
        if (!check_frame(walk, data + at, size - at, &len))
            return false;
    }
    return true;
}

/* What an injected error has left out may have been stored all the same, and what came before it is
 * sent again behind it: the order is that of time, not of arrival. */
static int
compare_times(const void *a, const void *b)
{
    const int64_t left = ((const KvgStored *)a)->start_ms, right = ((const KvgStored *)b)->start_ms;
    return left < right ? -1 : left > right;
}

KvgVerdict
kvg_camera_verify(KvgCamera *camera, KvgSite *site)
{
    Walk walk = {.camera = camera};
    const int64_t end_ms = camera->start_ms + (int64_t)camera->n_put * camera->spec.step_ms;
    g_autoptr(GArray) stored =
        kvg_site_read(site, camera->spec.stream, camera->start_ms - 1000, end_ms + 1000);
    g_array_sort(stored, compare_times);
    for (guint i = 0; i < stored->len; i++) {
        if (!check_fragment(&walk, &g_array_index(stored, KvgStored, i)))
            break;
    }
    walk.verdict.missing = camera->n_put - walk.verdict.stored;
    return walk.verdict;
}
