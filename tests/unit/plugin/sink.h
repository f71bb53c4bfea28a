/* A kvssink that is fed by hand and cannot reach any service; what it recorded is read from its
 * spool, and checked against the rules by which the service takes fragments. */
#pragma once

#include <gst/gst.h>
#include <kvg/frame.h>
#include <stdbool.h>

typedef struct {
    char *folder;
    GstElement *element;
    GstBus *bus;
    GstPad *feeds[2]; /* video, audio */
    gboolean is_live;
    gint n_asked_keys;
    bool is_restarted; /* times of one run may lie before those of the run before */
} Sink;

Sink *sink_new(gboolean is_live);
/* Ends it if need be; removes what it left. */
void sink_free(Sink *sink);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Sink, sink_free)

/* Requests "video_%u" (0) or "audio_%u" (1). */
void sink_open(Sink *sink, unsigned track);
void sink_play(Sink *sink);
void sink_stop(Sink *sink);
void sink_caps(Sink *sink, unsigned track, const char *text, GBytes *codec_data);
/* Times in ms, -1 for none. */
GstFlowReturn
sink_push(Sink *sink, unsigned track, int64_t pts_ms, int64_t dts_ms, bool key, GBytes *data);
void sink_eos(Sink *sink, unsigned track);
/* Of the messages so far, those of this type. */
unsigned sink_messages(Sink *sink, GstMessageType type);
uint64_t sink_stat(Sink *sink, const char *name);

typedef struct {
    unsigned fragment; /* 0-based */
    uint8_t track;
    bool key;
    int64_t pts_ms;
    GBytes *data;
} StoredFrame;
typedef struct {
    size_t n;
    KvgTrackType types[2];
    char *codec_id;
    uint32_t width, height;
} StoredTracks;
typedef struct {
    GArray *frames;  /* of StoredFrame */
    GArray *tracks;  /* of StoredTracks, one for each change */
    GPtrArray *tags; /* "fragment name=value" */
    unsigned n_fragments;
} Stored;
/* Of a sink that is stopped. Asserts the rules. */
Stored *stored_read(Sink *sink);
void stored_free(Stored *stored);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Stored, stored_free)
#define STORED(stored, i) g_array_index((stored)->frames, StoredFrame, i)
unsigned stored_count(const Stored *stored, uint8_t track);

/* ---- media by hand ---- */

GBytes *avcc_720p(void);
GBytes *avcc_vga(void);
/* One H.264 access unit with 4-byte lengths; @i makes it unlike the others. */
GBytes *avc_unit(bool key, unsigned i);
GBytes *bytes_of(const void *data, size_t len);
GBytes *join(GBytes *a, GBytes *b);
#define VIDEO_AVC "video/x-h264,stream-format=avc,alignment=au,width=1280,height=720"
#define AUDIO_MULAW "audio/x-mulaw,channels=1,rate=8000"
