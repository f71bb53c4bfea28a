/* What one pad delivers, in the terms of libkvg: caps to the description of a track, buffers to
 * frames of it. Finds parameter sets in the stream, and follows them when they change. No I/O, no
 * lock: one streaming thread. Hides: framings of NAL units and of AAC, decoder configurations. */
#pragma once

#include <gst/gst.h>
#include <kvg/frame.h>
#include <stdbool.h>

/* Never changed once made, so it may go with a frame to another thread. */
typedef struct {
    gatomicrefcount refs;
    KvgTrackType type;
    const char *codec_id;   /* static */
    const char *media_type; /* static, e.g. "video/h264" */
    GBytes *codec_private;
    uint32_t width, height;
    double sample_rate_hz;
    uint8_t channels;
    bool may_reorder; /* frames may be presented in another order than they are decoded in */
} KvgTrackInfo;
KvgTrackInfo *kvg_track_info_ref(KvgTrackInfo *info);
void kvg_track_info_unref(KvgTrackInfo *info);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgTrackInfo, kvg_track_info_unref)
bool kvg_track_info_equal(const KvgTrackInfo *a, const KvgTrackInfo *b);

typedef struct _KvgInput KvgInput;

KvgInput *kvg_input_new(KvgTrackType type);
void kvg_input_free(KvgInput *input);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgInput, kvg_input_free)

/* KVG_ERROR_UNSUPPORTED or KVG_ERROR_CORRUPT, saying what to put before the sink. */
bool
kvg_input_set_caps(KvgInput *input, const GstCaps *caps, GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool kvg_input_has_caps(const KvgInput *input);

/* The buffer as one frame's bytes, lent and not copied where its form is already right; NULL if it
 * is damaged. */
GBytes *kvg_input_take(KvgInput *input, GstBuffer *buffer, bool key, GError **error);
/* The track of the frame taken last; NULL while parameter sets are lacking. */
KvgTrackInfo *kvg_input_info(const KvgInput *input);
