/* The innards of the Python module panoramasdk: what applications of AWS Panorama imported, over
 * the frames of kvg. It parses no graph: `kvg panorama run` tells it in a file, the contract, what
 * ports there are, which values they have and where the cameras' frames are. */
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "frames/client.h"
#include <jansson.h>
#include <stdbool.h>

/* The environment variable that names the contract. */
#define KVG_SDK_CONTRACT "KVG_PANORAMA_CONTRACT"

/* The text that help() shows of a type. */
#define KVG_SDK_DOC(text)                                                                          \
    {                                                                                              \
        Py_tp_doc, (void *)(uintptr_t)(text)                                                       \
    }

extern PyTypeObject *kvg_sdk_frame_type, *kvg_sdk_media_type, *kvg_sdk_input_type,
    *kvg_sdk_output_type, *kvg_sdk_ports_type;
extern PyObject *kvg_sdk_timeout; /* TimeoutException */

/* ---- frame.c: the memory of a picture, as numpy sees it ---- */

/* Takes @lease, also on failure. @copy: into memory of this process, so that the slot is free. */
PyObject *kvg_sdk_frame_new(const KvgFramesLease *lease, bool copy);
/* Frames whose memory had to be copied, in this process. */
uint64_t kvg_sdk_frame_copies(void);
/* Pixels of a frame: valid while it is. */
typedef struct {
    const uint8_t *data;
    uint32_t width, height, stride;
    int64_t wall_us;
    uint64_t sequence;
} KvgSdkPixels;
void kvg_sdk_frame_get(PyObject *frame, KvgSdkPixels *pixels);

/* ---- media.c: one picture of one camera, with what the application writes on it ---- */

typedef struct {
    char *text; /* NULL: a rectangle */
    double left, top, right, bottom;
} KvgSdkMark;

PyObject *
kvg_sdk_media_new(PyObject *frame, PyObject *stream_id, PyObject *stream_uri, bool cached);
PyObject *kvg_sdk_media_frame(PyObject *media);     /* borrowed */
const GArray *kvg_sdk_media_marks(PyObject *media); /* KvgSdkMark */

/* ---- input.c, output.c, ports.c ---- */

PyObject *kvg_sdk_input_new(const char *name, const json_t *port);
PyObject *kvg_sdk_output_new(const char *name, const json_t *port);
/* An attribute for each member of @ports, an object of the contract. */
PyObject *kvg_sdk_ports_new(const char *kind,
                            const json_t *ports,
                            PyObject *(*make)(const char *name, const json_t *port));

/* ---- screen.c: what an output shows, without Python ---- */

typedef struct _KvgSdkScreen KvgSdkScreen;

typedef struct {
    KvgSdkPixels pixels;
    const GArray *marks; /* KvgSdkMark */
    const char *title;
} KvgSdkTile;

KvgSdkScreen *kvg_sdk_screen_open(const char *path, GError **error);
void kvg_sdk_screen_close(KvgSdkScreen *screen);
/* Nobody looks: nothing need be drawn. */
bool kvg_sdk_screen_is_watched(const KvgSdkScreen *screen);
void kvg_sdk_screen_show(KvgSdkScreen *screen, const KvgSdkTile *tiles, size_t n);

/* ---- all ---- */

bool kvg_sdk_frame_init(PyObject *module);
bool kvg_sdk_media_init(PyObject *module);
bool kvg_sdk_input_init(PyObject *module);
bool kvg_sdk_output_init(PyObject *module);
bool kvg_sdk_ports_init(PyObject *module);
bool kvg_sdk_node_init(PyObject *module);
/* Adds a type made of @spec; NULL with an exception. */
PyTypeObject *kvg_sdk_add_type(PyObject *module, PyType_Spec *spec, PyTypeObject *base);
