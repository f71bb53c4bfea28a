#include "media/parameter_sets.h"

#include "media/annexb.h"
#include "media/bits.h"
#include "media/h264.h"
#include "media/h265.h"
#include <kvg/error.h>
#include <string.h>

/* Cameras use one of each; what comes beyond this is left in the stream only. */
#define MAX_SETS 16u

enum { KIND_VPS, KIND_SPS, KIND_PPS, N_KINDS, KIND_NONE = N_KINDS, KIND_SLICE };

struct _KvgParameterSets {
    KvgVideoCodec codec;
    GPtrArray *lists[N_KINDS]; /* of GBytes; those used last stand first */
    GBytes *record;            /* as put, while it says all; NULL */
};

const char *
kvg_video_codec_id(KvgVideoCodec codec)
{
    return codec == KVG_VIDEO_H265 ? "V_MPEGH/ISO/HEVC" : "V_MPEG4/ISO/AVC";
}

KvgParameterSets *
kvg_parameter_sets_new(KvgVideoCodec codec)
{
    KvgParameterSets *sets = g_new0(KvgParameterSets, 1);
    sets->codec = codec;
    for (unsigned i = 0; i < N_KINDS; i++)
        sets->lists[i] = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
    return sets;
}

void
kvg_parameter_sets_free(KvgParameterSets *sets)
{
    if (sets == NULL)
        return;
    for (unsigned i = 0; i < N_KINDS; i++)
        g_ptr_array_unref(sets->lists[i]);
    g_clear_pointer(&sets->record, g_bytes_unref);
    g_free(sets);
}

static unsigned
kind_of(KvgVideoCodec codec, const uint8_t *nal, size_t len)
{
    if (codec == KVG_VIDEO_H264) {
        const unsigned type = len > 0 ? nal[0] & 0x1fu : 0;
        return type == 7                ? KIND_SPS
               : type == 8              ? KIND_PPS
               : type >= 1 && type <= 5 ? KIND_SLICE
                                        : KIND_NONE;
    }
    if (len < 2)
        return KIND_NONE;
    const unsigned type = kvg_h265_nal_type(nal);
    if (type < 32)
        return KIND_SLICE;
    return type == KVG_H265_VPS   ? KIND_VPS
           : type == KVG_H265_SPS ? KIND_SPS
           : type == KVG_H265_PPS ? KIND_PPS
                                  : KIND_NONE;
}

/* The id by which slices refer to a set; false if it cannot be read, and then it is no set. */
static bool
read_id(KvgVideoCodec codec, unsigned kind, const uint8_t *nal, size_t len, uint32_t *id)
{
    if (kind == KIND_SPS && codec == KVG_VIDEO_H264) {
        KvgH264Sps sps;
        const bool ok = kvg_h264_parse_sps(nal, len, &sps, NULL);
        *id = sps.id;
        return ok;
    }
    if (kind == KIND_SPS) {
        KvgH265Sps sps;
        const bool ok = kvg_h265_parse_sps(nal, len, &sps, NULL);
        *id = sps.id;
        return ok;
    }
    const size_t head = codec == KVG_VIDEO_H264 ? 1 : 2;
    uint8_t start[16];
    if (len <= head)
        return false;
    KvgBits bits =
        kvg_bits_init(start, kvg_bits_unescape(nal + head, MIN(len - head, sizeof start), start));
    *id = kind == KIND_VPS ? kvg_bits_read(&bits, 4) : kvg_bits_ue(&bits);
    return !bits.failed;
}

/* Takes over a set. True if nothing like it was known. @is_other: there was another of that id. */
static bool
put_set(KvgParameterSets *sets, unsigned kind, const uint8_t *nal, size_t len, bool *is_other)
{
    GPtrArray *list = sets->lists[kind];
    uint32_t id;
    *is_other = false;
    if (len > UINT16_MAX || !read_id(sets->codec, kind, nal, len, &id))
        return false;
    for (guint i = 0; i < list->len; i++) {
        gsize known_len = 0;
        const uint8_t *known = g_bytes_get_data(g_ptr_array_index(list, i), &known_len);
        uint32_t known_id = 0;
        if (!read_id(sets->codec, kind, known, known_len, &known_id) || known_id != id)
            continue;
        if (known_len == len && memcmp(known, nal, len) == 0)
            return false;
        *is_other = true;
        g_ptr_array_remove_index(list, i);
        break;
    }
    g_ptr_array_insert(list, 0, g_bytes_new(nal, len));
    if (list->len > MAX_SETS)
        g_ptr_array_set_size(list, (gint)MAX_SETS);
    return true;
}

/* ---- the record ---- */

/* Records have their sets in the right order: the one in force first. */
static void
take_record_set(const uint8_t *nal, size_t len, void *user_data)
{
    KvgParameterSets *sets = user_data;
    const unsigned kind = kind_of(sets->codec, nal, len);
    uint32_t id;
    if (kind >= N_KINDS || sets->lists[kind]->len >= MAX_SETS ||
        !read_id(sets->codec, kind, nal, len, &id))
        return;
    g_ptr_array_add(sets->lists[kind], g_bytes_new(nal, len));
}

static bool
read_avcc(KvgParameterSets *sets,
          const uint8_t *record,
          size_t len,
          unsigned *length_size,
          GError **error)
{
    KvgAvcc avcc;
    if (!kvg_h264_parse_avcc(record, len, &avcc, error))
        return false;
    *length_size = avcc.nal_length_size;
    /* Bounds were checked by the parser. */
    const uint8_t *at = record + 5;
    for (unsigned list = 0; list < 2; list++) {
        const unsigned n = list == 0 ? *at & 31u : *at;
        at++;
        for (unsigned i = 0; i < n; i++) {
            const size_t set_len = (size_t)(at[0] << 8 | at[1]);
            take_record_set(at + 2, set_len, sets);
            at += 2 + set_len;
        }
    }
    return true;
}

static bool
read_hvcc(KvgParameterSets *sets,
          const uint8_t *record,
          size_t len,
          unsigned *length_size,
          GError **error)
{
    KvgHvcc hvcc;
    if (!kvg_h265_parse_hvcc(record, len, &hvcc, error))
        return false;
    *length_size = hvcc.nal_length_size;
    kvg_hvcc_foreach(&hvcc, take_record_set, sets);
    return true;
}

static bool
is_complete(const KvgParameterSets *sets)
{
    return sets->lists[KIND_SPS]->len > 0 && sets->lists[KIND_PPS]->len > 0 &&
           (sets->codec == KVG_VIDEO_H264 || sets->lists[KIND_VPS]->len > 0);
}

bool
kvg_parameter_sets_put_record(KvgParameterSets *sets,
                              const uint8_t *record,
                              size_t len,
                              unsigned *length_size,
                              GError **error)
{
    for (unsigned i = 0; i < N_KINDS; i++)
        g_ptr_array_set_size(sets->lists[i], 0);
    g_clear_pointer(&sets->record, g_bytes_unref);
    const bool ok = sets->codec == KVG_VIDEO_H265
                        ? read_hvcc(sets, record, len, length_size, error)
                        : read_avcc(sets, record, len, length_size, error);
    if (ok && *length_size == 4 && is_complete(sets))
        sets->record = g_bytes_new(record, len);
    return ok;
}

/* ---- access units ---- */

/* After a new sequence, sets of that kind which this unit does not bring are of the old one. */
static void
keep_first(GPtrArray *list, guint n)
{
    if (n > 0 && list->len > n)
        g_ptr_array_set_size(list, (gint)n);
}

bool
kvg_parameter_sets_put_unit(KvgParameterSets *sets,
                            const uint8_t *unit,
                            size_t len,
                            unsigned length_size)
{
    guint n_new[N_KINDS] = {0};
    bool is_new_sequence = false;
    size_t at = 0;
    const uint8_t *nal;
    size_t nal_len;
    while (length_size == 0 ? kvg_annexb_next(unit, len, &at, &nal, &nal_len)
                            : kvg_lengths_next(unit, len, length_size, &at, &nal, &nal_len)) {
        const unsigned kind = kind_of(sets->codec, nal, nal_len);
        if (kind == KIND_SLICE)
            break;
        bool is_other = false;
        if (kind >= N_KINDS || !put_set(sets, kind, nal, nal_len, &is_other))
            continue;
        n_new[kind]++;
        is_new_sequence |= is_other && kind == KIND_SPS;
    }
    for (unsigned i = 0; i < N_KINDS && is_new_sequence; i++)
        keep_first(sets->lists[i], n_new[i]);
    const bool changed = n_new[KIND_VPS] + n_new[KIND_SPS] + n_new[KIND_PPS] > 0;
    if (changed)
        g_clear_pointer(&sets->record, g_bytes_unref);
    return changed;
}

GBytes *
kvg_parameter_sets_build(const KvgParameterSets *sets)
{
    if (sets->record != NULL)
        return g_bytes_ref(sets->record);
    if (!is_complete(sets))
        return NULL;
    if (sets->codec == KVG_VIDEO_H264)
        return kvg_h264_build_avcc_of(sets->lists[KIND_SPS], sets->lists[KIND_PPS]);
    return kvg_h265_build_hvcc(sets->lists[KIND_VPS], sets->lists[KIND_SPS], sets->lists[KIND_PPS]);
}

KvgPictureFormat
kvg_parameter_sets_format(const KvgParameterSets *sets)
{
    KvgPictureFormat format = {0};
    if (sets->lists[KIND_SPS]->len == 0)
        return format;
    gsize len = 0;
    const uint8_t *nal = g_bytes_get_data(g_ptr_array_index(sets->lists[KIND_SPS], 0), &len);
    KvgH264Sps h264;
    KvgH265Sps h265;
    if (sets->codec == KVG_VIDEO_H264 && kvg_h264_parse_sps(nal, len, &h264, NULL)) {
        /* Baseline (66) has no B-frames; where the VUI does not say, others may. */
        format = (KvgPictureFormat){h264.width, h264.height,
                                    h264.profile != 66 && h264.max_num_reorder_frames > 0};
    } else if (sets->codec == KVG_VIDEO_H265 && kvg_h265_parse_sps(nal, len, &h265, NULL)) {
        format = (KvgPictureFormat){h265.width, h265.height, h265.max_num_reorder_frames > 0};
    }
    return format;
}
