#include "panoramasdk/sdk.h"
#include <glib.h>
#include <string.h>

PyTypeObject *kvg_sdk_frame_type;
static uint64_t n_copies; /* under the GIL */

typedef struct {
    PyObject_HEAD const KvgFramesLease *lease; /* NULL: copied */
    uint8_t *copy;
    KvgSdkPixels pixels;
    Py_ssize_t shape[3], strides[3];
} Frame;

PyObject *
kvg_sdk_frame_new(const KvgFramesLease *lease, bool copy)
{
    Frame *frame = PyObject_New(Frame, kvg_sdk_frame_type);
    if (frame == NULL) {
        kvg_frames_lease_release(lease);
        return NULL;
    }
    *frame = (Frame){.ob_base = frame->ob_base,
                     .lease = lease,
                     .pixels = {.data = lease->data,
                                .width = lease->width,
                                .height = lease->height,
                                .stride = lease->stride,
                                .wall_us = lease->wall_us,
                                .sequence = lease->sequence},
                     .shape = {lease->height, lease->width, 3},
                     .strides = {lease->stride, 3, 1}};
    if (!copy)
        return (PyObject *)frame;
    const size_t size = (size_t)lease->stride * lease->height;
    frame->copy = PyMem_Malloc(size);
    if (frame->copy == NULL) {
        Py_DECREF(frame);
        return PyErr_NoMemory();
    }
    memcpy(frame->copy, lease->data, size);
    frame->pixels.data = frame->copy;
    kvg_frames_lease_release(lease);
    frame->lease = NULL;
    n_copies++;
    return (PyObject *)frame;
}

uint64_t
kvg_sdk_frame_copies(void)
{
    return n_copies;
}

void
kvg_sdk_frame_get(PyObject *self, KvgSdkPixels *pixels)
{
    *pixels = ((Frame *)self)->pixels;
}

static void
frame_dealloc(PyObject *self)
{
    Frame *frame = (Frame *)self;
    PyTypeObject *type = Py_TYPE(self);
    kvg_frames_lease_release(frame->lease);
    PyMem_Free(frame->copy);
    PyObject_Free(self);
    Py_DECREF(type);
}

static int
frame_getbuffer(PyObject *self, Py_buffer *view, int flags)
{
    static char format[] = "B";
    Frame *frame = (Frame *)self;
    const bool is_packed = frame->pixels.stride == frame->pixels.width * 3;
    view->obj = NULL;
    if (flags & PyBUF_WRITABLE) {
        PyErr_SetString(PyExc_BufferError, "an image of a camera is read-only; copy it");
        return -1;
    }
    if (!is_packed && (flags & PyBUF_STRIDES) != PyBUF_STRIDES) {
        PyErr_SetString(PyExc_BufferError,
                        "the rows of this image do not follow each other directly");
        return -1;
    }
    *view =
        (Py_buffer){.obj = self,
                    .buf = (void *)(uintptr_t)frame->pixels.data,
                    .len = frame->shape[0] * frame->shape[1] * 3,
                    .itemsize = 1,
                    .readonly = 1,
                    .ndim = flags & PyBUF_ND ? 3 : 1,
                    .format = flags & PyBUF_FORMAT ? format : NULL,
                    .shape = flags & PyBUF_ND ? frame->shape : NULL,
                    .strides = (flags & PyBUF_STRIDES) == PyBUF_STRIDES ? frame->strides : NULL};
    Py_INCREF(self);
    return 0;
}

bool
kvg_sdk_frame_init(PyObject *module)
{
    static PyType_Slot slots[] = {{Py_tp_dealloc, frame_dealloc},
                                  {Py_bf_getbuffer, frame_getbuffer},
                                  KVG_SDK_DOC("The memory of an image; what image is a view of."),
                                  {0, NULL}};
    static PyType_Spec spec = {.name = "panoramasdk.frame",
                               .basicsize = sizeof(Frame),
                               .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                               .slots = slots};
    kvg_sdk_frame_type = kvg_sdk_add_type(module, &spec, NULL);
    return kvg_sdk_frame_type != NULL;
}
