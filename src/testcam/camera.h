/* One RTSP camera on a port of its own, with a thread of its own: what happens to it happens to no
 * other. What is wrong with it is set while it runs. */
#pragma once

#include "testcam/clip.h"
#include "testcam/fault.h"
#include <gio/gio.h>
#include <stdbool.h>

typedef struct {
    const char *name, *address;
    const char *username, *password; /* NULL: open to everybody */
    bool basic;                      /* asks for the password in the clear, as old cameras do */
    GTlsCertificate *certificate;    /* rtsps; NULL: rtsp */
    const char *launch;              /* instead of a picture: elements with payloaders pay0, pay1 */
    TestcamCodec codec;
    int index; /* chooses the picture, and where in the clip it begins */
    int port;  /* 0: any free one */
    int width, height, fps, kbps;
    bool loop; /* sends a clip; else its picture is live, with name and clock */
} TestcamCameraOptions;

typedef struct _TestcamCamera TestcamCamera;

/* Listens when it returns. The texts of @options must outlive the camera. */
TestcamCamera *testcam_camera_start(const TestcamCameraOptions *options, GError **error);
void testcam_camera_stop(TestcamCamera *camera);
const TestcamCameraOptions *testcam_camera_options(const TestcamCamera *camera);
/* A clip's next frame to whoever watches. */
void testcam_camera_feed(TestcamCamera *camera);

/* ---- faults ---- */

TestcamFault *testcam_camera_fault(TestcamCamera *camera);
/* Answers nothing at all; connections stay open and are accepted. */
void testcam_camera_hang(TestcamCamera *camera, bool hangs);
/* Another password than the one configured, unknown to anybody. */
void testcam_camera_lock(TestcamCamera *camera, bool locked);
/* Connections are cut. */
void testcam_camera_cut(TestcamCamera *camera);
/* Connections are cut and refused for so long. */
void testcam_camera_reboot(TestcamCamera *camera, int seconds);
/* In mid-stream; a looping camera only. */
bool testcam_camera_resize(TestcamCamera *camera, int width, int height, GError **error);
/* With new connections; the present ones are cut. */
bool testcam_camera_recode(TestcamCamera *camera, TestcamCodec codec, GError **error);
