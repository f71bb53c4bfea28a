/* Decodes one camera's stored video into BGR pictures, in a pipeline of its own: whatever becomes
 * of it, the camera's pipeline does not notice. */
#pragma once

#include "frames/server.h"
#include <gst/gst.h>

typedef struct _KvgFramesDecoder KvgFramesDecoder;

/* On the decoding thread. Takes @owner, see kvg_frames_server_publish(). */
typedef void (*KvgFramesDecoded)(KvgFramesDecoder *decoder,
                                 const KvgFramesPicture *picture,
                                 void *owner,
                                 GDestroyNotify give_back,
                                 void *user_data);

/* @caps: of the coded video. @user_data is kept alive by the caller until the decoder is freed, and
 * is let go by @release then. */
KvgFramesDecoder *kvg_frames_decoder_new(const GstCaps *caps,
                                         KvgFramesDecoded decoded,
                                         void *user_data,
                                         GDestroyNotify release,
                                         GError **error);
KvgFramesDecoder *kvg_frames_decoder_ref(KvgFramesDecoder *decoder);
void kvg_frames_decoder_unref(KvgFramesDecoder *decoder);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgFramesDecoder, kvg_frames_decoder_unref)
/* Takes it down on a thread of its own, for a decoder may hang, and gives the reference back. */
void kvg_frames_decoder_stop(KvgFramesDecoder *decoder);
/* One access unit; never waits. What the decoder does not keep up with is left out up to the next
 * key frame. Thread: one at a time. */
void kvg_frames_decoder_put(KvgFramesDecoder *decoder, GstBuffer *buffer, int64_t wall_us);
/* It gave up; text in words, or NULL: it works (g_free). */
char *kvg_frames_decoder_failure(KvgFramesDecoder *decoder);
/* Pictures that had to be copied into shared memory; 0 as long as the converter writes there. */
uint64_t kvg_frames_decoder_copies(const KvgFramesDecoder *decoder);
