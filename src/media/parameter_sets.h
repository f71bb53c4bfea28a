/* The parameter sets (VPS, SPS, PPS) of a video track, wherever they come from: a decoder
 * configuration record (avcC, hvcC), the access units themselves, or both. Says when they change
 * and what CodecPrivate they come to. No I/O. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum { KVG_VIDEO_H264, KVG_VIDEO_H265 } KvgVideoCodec;
/* Matroska's name. Static. */
const char *kvg_video_codec_id(KvgVideoCodec codec);

typedef struct _KvgParameterSets KvgParameterSets;

KvgParameterSets *kvg_parameter_sets_new(KvgVideoCodec codec);
void kvg_parameter_sets_free(KvgParameterSets *sets);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgParameterSets, kvg_parameter_sets_free)

/* Forgets what is known and reads @record. @length_size: bytes of the lengths in the access units
 * that go with it. KVG_ERROR_CORRUPT. */
bool kvg_parameter_sets_put_record(KvgParameterSets *sets,
                                   const uint8_t *record,
                                   size_t len,
                                   unsigned *length_size,
                                   GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Looks through an access unit up to its first slice. @length_size: 0 for start codes. True if it
 * brought a set that is new or other than the one of that id. */
bool kvg_parameter_sets_put_unit(KvgParameterSets *sets,
                                 const uint8_t *unit,
                                 size_t len,
                                 unsigned length_size);

/* avcC or hvcC with 4-byte lengths: the record as it was put as long as it still says all and has
 * such lengths; else built. NULL while a kind of set is lacking. */
GBytes *kvg_parameter_sets_build(const KvgParameterSets *sets);

/* Of the SPS in force; zeros while there is none that can be read. */
typedef struct {
    uint32_t width, height;
    bool may_reorder; /* presentation order may differ from decoding order */
} KvgPictureFormat;
KvgPictureFormat kvg_parameter_sets_format(const KvgParameterSets *sets);
