/* A few seconds of video, encoded once, that cameras send over and over: many cameras then cost
 * next to nothing. Shared by all that ask for the same. */
#pragma once

#include <gst/gst.h>

typedef enum { TESTCAM_H264, TESTCAM_H265, TESTCAM_MJPEG, TESTCAM_N_CODECS } TestcamCodec;
const char *testcam_codec_to_string(TestcamCodec codec);
/* TESTCAM_N_CODECS if there is no such codec. */
TestcamCodec testcam_codec_from_string(const char *text);
/* "x264enc ... ! caps", a key frame each second. g_free. */
char *testcam_codec_encoder(TestcamCodec codec, int fps, int kbps);
/* The payloader "pay0". */
const char *testcam_codec_payloader(TestcamCodec codec);

typedef struct {
    TestcamCodec codec;
    int width, height, fps, kbps;
    GPtrArray *frames; /* GstBuffer, one access unit each; the first is a key frame */
} TestcamClip;

/* Encodes it unless somebody has. Never freed; NULL if GStreamer cannot. Thread: any. */
const TestcamClip *
testcam_clip_get(TestcamCodec codec, int width, int height, int fps, int kbps, GError **error);
