#include "plugin/input.h"

#include "media/aac.h"
#include "media/annexb.h"
#include "media/g711.h"
#include "media/parameter_sets.h"
#include <kvg/error.h>
#include <string.h>

typedef enum { FORM_NONE, FORM_LENGTHS, FORM_START_CODES, FORM_PLAIN, FORM_ADTS } Form;

struct _KvgInput {
    KvgTrackType type;
    Form form;
    KvgVideoCodec codec;
    unsigned length_size; /* FORM_LENGTHS */
    KvgParameterSets *sets;
    uint32_t caps_width, caps_height;
    KvgTrackInfo *info;
};

/* ---- track info ---- */

KvgTrackInfo *
kvg_track_info_ref(KvgTrackInfo *info)
{
    g_atomic_ref_count_inc(&info->refs);
    return info;
}

void
kvg_track_info_unref(KvgTrackInfo *info)
{
    if (info == NULL || !g_atomic_ref_count_dec(&info->refs))
        return;
    g_clear_pointer(&info->codec_private, g_bytes_unref);
    g_free(info);
}

bool
kvg_track_info_equal(const KvgTrackInfo *a, const KvgTrackInfo *b)
{
    if (a == b)
        return true;
    if (a == NULL || b == NULL)
        return false;
    return a->type == b->type && strcmp(a->codec_id, b->codec_id) == 0 &&
           g_bytes_equal(a->codec_private, b->codec_private) && a->width == b->width &&
           a->height == b->height && a->channels == b->channels &&
           (int64_t)a->sample_rate_hz == (int64_t)b->sample_rate_hz;
}

static void
take_info(KvgInput *input, const KvgTrackInfo *values)
{
    if (kvg_track_info_equal(input->info, values)) {
        g_bytes_unref(values->codec_private);
        return;
    }
    g_clear_pointer(&input->info, kvg_track_info_unref);
    input->info = g_memdup2(values, sizeof *values);
    g_atomic_ref_count_init(&input->info->refs);
}

/* ---- input ---- */

KvgInput *
kvg_input_new(KvgTrackType type)
{
    KvgInput *input = g_new0(KvgInput, 1);
    input->type = type;
    return input;
}

void
kvg_input_free(KvgInput *input)
{
    if (input == NULL)
        return;
    g_clear_pointer(&input->sets, kvg_parameter_sets_free);
    g_clear_pointer(&input->info, kvg_track_info_unref);
    g_free(input);
}

bool
kvg_input_has_caps(const KvgInput *input)
{
    return input->form != FORM_NONE;
}

KvgTrackInfo *
kvg_input_info(const KvgInput *input)
{
    return input->info;
}

/* ---- caps ---- */

static GBytes *
codec_data_of(const GstStructure *structure)
{
    const GValue *value = gst_structure_get_value(structure, "codec_data");
    if (value == NULL || !G_VALUE_HOLDS(value, GST_TYPE_BUFFER))
        return NULL;
    GstBuffer *buffer = gst_value_get_buffer(value);
    gpointer data = NULL;
    gsize len = 0;
    if (buffer == NULL || gst_buffer_get_size(buffer) == 0)
        return NULL;
    gst_buffer_extract_dup(buffer, 0, gst_buffer_get_size(buffer), &data, &len);
    return g_bytes_new_take(data, len);
}

/* Makes the info from the sets as they are now. */
static void
follow_sets(KvgInput *input)
{
    GBytes *record = kvg_parameter_sets_build(input->sets);
    if (record == NULL)
        return;
    const KvgPictureFormat format = kvg_parameter_sets_format(input->sets);
    const KvgTrackInfo info = {.type = KVG_TRACK_VIDEO,
                               .codec_id = kvg_video_codec_id(input->codec),
                               .media_type =
                                   input->codec == KVG_VIDEO_H265 ? "video/h265" : "video/h264",
                               .codec_private = record,
                               .width = format.width != 0 ? format.width : input->caps_width,
                               .height = format.height != 0 ? format.height : input->caps_height,
                               .may_reorder = format.may_reorder};
    take_info(input, &info);
}

static bool
set_video_caps(KvgInput *input, const GstStructure *structure, GError **error)
{
    const char *format = gst_structure_get_string(structure, "stream-format");
    g_autoptr(GBytes) record = codec_data_of(structure);
    int width = 0, height = 0;
    gst_structure_get_int(structure, "width", &width);
    gst_structure_get_int(structure, "height", &height);
    const KvgVideoCodec codec =
        gst_structure_has_name(structure, "video/x-h265") ? KVG_VIDEO_H265 : KVG_VIDEO_H264;
    if (input->sets == NULL || input->codec != codec) {
        g_clear_pointer(&input->sets, kvg_parameter_sets_free);
        g_clear_pointer(&input->info, kvg_track_info_unref);
        input->sets = kvg_parameter_sets_new(codec);
    }
    input->codec = codec;
    input->caps_width = (uint32_t)MAX(width, 0);
    input->caps_height = (uint32_t)MAX(height, 0);
    /* Caps that do not say it have start codes unless they come with a record. */
    const bool has_start_codes =
        format != NULL ? g_str_equal(format, "byte-stream") : record == NULL;
    input->form = has_start_codes ? FORM_START_CODES : FORM_LENGTHS;
    input->length_size = 4;
    if (has_start_codes || record == NULL)
        return true; /* the sets come in the stream */
    gsize len = 0;
    const uint8_t *data = g_bytes_get_data(record, &len);
    if (!kvg_parameter_sets_put_record(input->sets, data, len, &input->length_size, error)) {
        g_prefix_error_literal(error, "codec_data of the caps: ");
        return false;
    }
    follow_sets(input);
    return true;
}

static bool
set_g711_caps(KvgInput *input, KvgG711Law law, int rate_hz, int channels)
{
    input->form = FORM_PLAIN;
    const KvgTrackInfo info = {.type = KVG_TRACK_AUDIO,
                               .codec_id = "A_MS/ACM",
                               .media_type = law == KVG_G711_ALAW ? "audio/alaw" : "audio/mulaw",
                               .codec_private =
                                   kvg_g711_build_config(law, (uint8_t)channels, (uint32_t)rate_hz),
                               .sample_rate_hz = rate_hz,
                               .channels = (uint8_t)channels};
    take_info(input, &info);
    return true;
}

static bool
take_aac(KvgInput *input, GBytes *config_bytes, GError **error)
{
    KvgAacConfig config;
    gsize len = 0;
    const uint8_t *data = g_bytes_get_data(config_bytes, &len);
    if (!kvg_aac_parse_config(data, len, &config, error))
        return false;
    const KvgTrackInfo info = {.type = KVG_TRACK_AUDIO,
                               .codec_id = "A_AAC",
                               .media_type = "audio/aac",
                               .codec_private = g_bytes_ref(config_bytes),
                               .sample_rate_hz = config.rate_hz,
                               .channels = config.channels};
    take_info(input, &info);
    return true;
}

static bool
set_aac_caps(
    KvgInput *input, const GstStructure *structure, int rate_hz, int channels, GError **error)
{
    const char *format = gst_structure_get_string(structure, "stream-format");
    g_autoptr(GBytes) config = codec_data_of(structure);
    if (g_strcmp0(format, "adts") == 0) {
        input->form = FORM_ADTS; /* every frame says what it is */
        return true;
    }
    if (config == NULL) {
        /* What nearly every encoder makes: AAC-LC. */
        const KvgAacConfig low = {2, (uint32_t)rate_hz, (uint8_t)MIN(channels, 255)};
        config = kvg_aac_build_config(&low);
    }
    if (config == NULL) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_UNSUPPORTED,
                    "AAC of %d Hz and %d channels without codec_data; put aacparse before the sink",
                    rate_hz, channels);
        return false;
    }
    input->form = FORM_PLAIN;
    return take_aac(input, config, error);
}

static bool
set_audio_caps(KvgInput *input, const GstStructure *structure, GError **error)
{
    int rate_hz = 0, channels = 0;
    gst_structure_get_int(structure, "rate", &rate_hz);
    gst_structure_get_int(structure, "channels", &channels);
    if (gst_structure_has_name(structure, "audio/mpeg"))
        return set_aac_caps(input, structure, rate_hz, channels, error);
    if (rate_hz <= 0 || channels < 1 || channels > 255) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_UNSUPPORTED,
                    "G.711 of %d Hz and %d channels; the caps must say both", rate_hz, channels);
        return false;
    }
    const bool is_alaw = gst_structure_has_name(structure, "audio/x-alaw");
    return set_g711_caps(input, is_alaw ? KVG_G711_ALAW : KVG_G711_MULAW, rate_hz, channels);
}

bool
kvg_input_set_caps(KvgInput *input, const GstCaps *caps, GError **error)
{
    const GstStructure *structure = gst_caps_get_structure(caps, 0);
    return input->type == KVG_TRACK_VIDEO ? set_video_caps(input, structure, error)
                                          : set_audio_caps(input, structure, error);
}

/* ---- frames ---- */

/* Lends the buffer's bytes to a GBytes; nothing is copied unless the buffer is in pieces. */
typedef struct {
    GstBuffer *buffer;
    GstMapInfo map;
} Loan;

static void
loan_end(gpointer data)
{
    Loan *loan = data;
    gst_buffer_unmap(loan->buffer, &loan->map);
    gst_buffer_unref(loan->buffer);
    g_free(loan);
}

static GBytes *
lend(GstBuffer *buffer)
{
    Loan *loan = g_new0(Loan, 1);
    if (!gst_buffer_map(buffer, &loan->map, GST_MAP_READ)) {
        g_free(loan);
        return NULL;
    }
    loan->buffer = gst_buffer_ref(buffer);
    return g_bytes_new_with_free_func(loan->map.data, loan->map.size, loan_end, loan);
}

/* Some sources say "avc" and send start codes. As a length, 1 would be a NAL unit of a bare header.
 */
static bool
begins_with_start_code(const uint8_t *data, size_t len)
{
    return len > 5 && data[0] == 0 && data[1] == 0 && data[2] == 0 && data[3] == 1;
}

static GBytes *
take_video(KvgInput *input, GBytes *bytes, bool key)
{
    gsize len = 0;
    const uint8_t *data = g_bytes_get_data(bytes, &len);
    const bool has_start_codes =
        input->form == FORM_START_CODES || begins_with_start_code(data, len);
    const unsigned length_size = has_start_codes ? 0 : input->length_size;
    if ((key || input->info == NULL) &&
        kvg_parameter_sets_put_unit(input->sets, data, len, length_size))
        follow_sets(input);
    if (has_start_codes)
        return kvg_annexb_to_lengths(data, len);
    return length_size == 4 ? g_bytes_ref(bytes) : kvg_lengths_widen(data, len, length_size);
}

static GBytes *
take_adts(KvgInput *input, GBytes *bytes, GError **error)
{
    KvgAacConfig config;
    size_t at = 0, payload_len = 0;
    gsize len = 0;
    const uint8_t *data = g_bytes_get_data(bytes, &len);
    if (!kvg_adts_parse(data, len, &config, &at, &payload_len, error))
        return NULL;
    if (at + payload_len != len) {
        g_set_error_literal(error, KVG_ERROR, KVG_ERROR_UNSUPPORTED,
                            "AAC: several ADTS frames in one buffer; put aacparse before the sink");
        return NULL;
    }
    g_autoptr(GBytes) config_bytes = kvg_aac_build_config(&config);
    if (config_bytes == NULL || !take_aac(input, config_bytes, error))
        return NULL;
    return g_bytes_new_from_bytes(bytes, at, payload_len);
}

GBytes *
kvg_input_take(KvgInput *input, GstBuffer *buffer, bool key, GError **error)
{
    g_autoptr(GBytes) bytes = lend(buffer);
    GBytes *taken = NULL;
    if (bytes != NULL && g_bytes_get_size(bytes) > 0) {
        if (input->form == FORM_PLAIN)
            taken = g_bytes_ref(bytes);
        else if (input->form == FORM_ADTS)
            taken = take_adts(input, bytes, error);
        else if (input->form != FORM_NONE)
            taken = take_video(input, bytes, key);
    }
    if (taken == NULL && error != NULL && *error == NULL)
        g_set_error_literal(error, KVG_ERROR, KVG_ERROR_CORRUPT, "an empty or damaged buffer");
    return taken;
}
