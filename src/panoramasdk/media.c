#include "panoramasdk/sdk.h"
#include <glib.h>
#include <math.h>
#include <structmember.h>

/* What one picture may carry; more would be noise. */
#define MAX_MARKS 1000
#define MAX_LABEL_BYTES 1024

PyTypeObject *kvg_sdk_media_type;

typedef struct {
    PyObject_HEAD PyObject *frame, *stream_id, *stream_uri;
    PyObject *image; /* the numpy array, once it was asked for; NULL */
    char is_cached;
    GArray *marks;
} Media;

static void
clear_mark(void *data)
{
    g_free(((KvgSdkMark *)data)->text);
}

PyObject *
kvg_sdk_media_new(PyObject *frame, PyObject *stream_id, PyObject *stream_uri, bool cached)
{
    Media *media = PyObject_New(Media, kvg_sdk_media_type);
    if (media == NULL)
        return NULL;
    Py_INCREF(frame);
    Py_INCREF(stream_id);
    Py_INCREF(stream_uri);
    media->frame = frame;
    media->stream_id = stream_id;
    media->stream_uri = stream_uri;
    media->image = NULL;
    media->is_cached = cached;
    media->marks = g_array_new(FALSE, FALSE, sizeof(KvgSdkMark));
    g_array_set_clear_func(media->marks, clear_mark);
    return (PyObject *)media;
}

PyObject *
kvg_sdk_media_frame(PyObject *media)
{
    return ((Media *)media)->frame;
}

const GArray *
kvg_sdk_media_marks(PyObject *media)
{
    return ((Media *)media)->marks;
}

static void
media_dealloc(PyObject *self)
{
    Media *media = (Media *)self;
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(media->image);
    Py_DECREF(media->frame);
    Py_DECREF(media->stream_id);
    Py_DECREF(media->stream_uri);
    g_array_unref(media->marks);
    PyObject_Free(self);
    Py_DECREF(type);
}

/* A view of the shared memory; numpy learns from it that it is read-only. */
static PyObject *
get_image(PyObject *self, void *closure)
{
    Media *media = (Media *)self;
    if (media->image == NULL) {
        PyObject *numpy = PyImport_ImportModule("numpy");
        if (numpy == NULL)
            return NULL;
        media->image = PyObject_CallMethod(numpy, "asarray", "O", media->frame);
        Py_DECREF(numpy);
    }
    Py_XINCREF(media->image);
    return media->image;
}

static PyObject *
get_time_stamp(PyObject *self, void *closure)
{
    KvgSdkPixels pixels;
    kvg_sdk_frame_get(((Media *)self)->frame, &pixels);
    return Py_BuildValue("(LL)", (long long)(pixels.wall_us / G_USEC_PER_SEC),
                         (long long)(pixels.wall_us % G_USEC_PER_SEC));
}

static PyObject *
add_mark(Media *media, const KvgSdkMark *mark)
{
    const double numbers[] = {mark->left, mark->top, mark->right, mark->bottom};
    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++) {
        if (!isfinite(numbers[i])) {
            PyErr_SetString(PyExc_ValueError, "coordinates are numbers from 0 to 1");
            return NULL;
        }
    }
    if (media->marks->len >= MAX_MARKS) {
        PyErr_Format(PyExc_ValueError, "more than %d labels and rectangles on one image",
                     MAX_MARKS);
        return NULL;
    }
    KvgSdkMark own = *mark;
    own.text = g_strdup(mark->text);
    g_array_append_val(media->marks, own);
    Py_RETURN_NONE;
}

static PyObject *
add_label(PyObject *self, PyObject *arguments, PyObject *keywords)
{
    static const char *const names[] = {"text", "x", "y", NULL};
    const char *text;
    Py_ssize_t len;
    KvgSdkMark mark = {0};
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "s#dd:add_label",
                                     (char **)(uintptr_t)names, &text, &len, &mark.left, &mark.top))
        return NULL;
    if (len > MAX_LABEL_BYTES) {
        PyErr_Format(PyExc_ValueError, "a label has at most %d bytes", MAX_LABEL_BYTES);
        return NULL;
    }
    mark.text = (char *)(uintptr_t)text;
    return add_mark((Media *)self, &mark);
}

static PyObject *
add_rect(PyObject *self, PyObject *arguments, PyObject *keywords)
{
    static const char *const names[] = {"left", "top", "right", "bottom", NULL};
    KvgSdkMark mark = {0};
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "dddd:add_rect",
                                     (char **)(uintptr_t)names, &mark.left, &mark.top, &mark.right,
                                     &mark.bottom))
        return NULL;
    return add_mark((Media *)self, &mark);
}

static PyObject *
media_repr(PyObject *self)
{
    const Media *media = (const Media *)self;
    KvgSdkPixels pixels;
    kvg_sdk_frame_get(media->frame, &pixels);
    return PyUnicode_FromFormat("<panoramasdk.media of %U, %ux%u%s>", media->stream_id,
                                pixels.width, pixels.height, media->is_cached ? ", cached" : "");
}

bool
kvg_sdk_media_init(PyObject *module)
{
    static PyMemberDef members[] = {{"stream_id", T_OBJECT_EX, offsetof(Media, stream_id), READONLY,
                                     "name of the camera; a UUID may follow directly"},
                                    {"stream_uri", T_OBJECT_EX, offsetof(Media, stream_uri),
                                     READONLY, "its URL, without user and password"},
                                    {"is_cached", T_BOOL, offsetof(Media, is_cached), READONLY,
                                     "this frame was returned by an earlier get()"},
                                    {NULL, 0, 0, 0, NULL}};
    static PyGetSetDef getters[] = {
        {"image", get_image, NULL, "numpy array, height x width x 3, BGR, read-only", NULL},
        {"time_stamp", get_time_stamp, NULL, "(seconds, microseconds) since 1970", NULL},
        {NULL, NULL, NULL, NULL, NULL}};
    static PyMethodDef methods[] = {
        {"add_label", (PyCFunction)(void (*)(void))add_label, METH_VARARGS | METH_KEYWORDS,
         "add_label(text, x, y): drawn where the media is put"},
        {"add_rect", (PyCFunction)(void (*)(void))add_rect, METH_VARARGS | METH_KEYWORDS,
         "add_rect(left, top, right, bottom): drawn where the media is put"},
        {NULL, NULL, 0, NULL}};
    static PyType_Slot slots[] = {{Py_tp_dealloc, media_dealloc},
                                  {Py_tp_members, members},
                                  {Py_tp_getset, getters},
                                  {Py_tp_methods, methods},
                                  {Py_tp_repr, media_repr},
                                  KVG_SDK_DOC("A frame of a camera."),
                                  {0, NULL}};
    static PyType_Spec spec = {.name = "panoramasdk.media",
                               .basicsize = sizeof(Media),
                               .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                               .slots = slots};
    kvg_sdk_media_type = kvg_sdk_add_type(module, &spec, NULL);
    return kvg_sdk_media_type != NULL;
}
