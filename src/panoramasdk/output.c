#include "panoramasdk/sdk.h"
#include <glib.h>
#include <structmember.h>

PyTypeObject *kvg_sdk_output_type;

typedef struct {
    PyObject_HEAD PyObject *name;
    KvgSdkScreen *screen; /* NULL: the port leads nowhere */
    bool is_busy;         /* under the GIL */
} Output;

static bool
check(const Output *output, PyObject *list)
{
    if (PyList_GET_SIZE(list) == 0) {
        PyErr_Format(PyExc_ValueError, "%U.put() of an empty list", output->name);
        return false;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); i++) {
        PyObject *item = PyList_GET_ITEM(list, i);
        if (Py_IS_TYPE(item, kvg_sdk_media_type))
            continue;
        PyErr_Format(PyExc_TypeError, "%U.put() takes media only, not %s", output->name,
                     Py_TYPE(item)->tp_name);
        return false;
    }
    return true;
}

/* The list is the caller's own: nobody else changes it while the GIL is gone. */
static void
show(Output *output, PyObject *list)
{
    const size_t n = (size_t)PyList_GET_SIZE(list);
    g_autofree KvgSdkTile *tiles = g_new0(KvgSdkTile, n);
    for (size_t i = 0; i < n; i++) {
        PyObject *media = PyList_GET_ITEM(list, (Py_ssize_t)i);
        kvg_sdk_frame_get(kvg_sdk_media_frame(media), &tiles[i].pixels);
        tiles[i].marks = kvg_sdk_media_marks(media);
    }
    Py_BEGIN_ALLOW_THREADS;
    kvg_sdk_screen_show(output->screen, tiles, n);
    Py_END_ALLOW_THREADS;
}

static PyObject *
output_put(PyObject *self, PyObject *media)
{
    Output *output = (Output *)self;
    /* A copy holds every media, whatever another thread does to the list. */
    PyObject *list = PySequence_List(media);
    if (list == NULL || !check(output, list)) {
        Py_XDECREF(list);
        return NULL;
    }
    if (output->screen != NULL && !output->is_busy && kvg_sdk_screen_is_watched(output->screen)) {
        output->is_busy = true;
        show(output, list);
        output->is_busy = false;
    }
    Py_DECREF(list);
    Py_RETURN_NONE;
}

PyObject *
kvg_sdk_output_new(const char *name, const json_t *port)
{
    Output *output = PyObject_New(Output, kvg_sdk_output_type);
    if (output == NULL)
        return NULL;
    *output = (Output){.ob_base = output->ob_base, .name = PyUnicode_FromString(name)};
    const char *path = json_string_value(json_object_get(port, "socket"));
    g_autoptr(GError) error = NULL;
    if (output->name != NULL && path != NULL) {
        output->screen = kvg_sdk_screen_open(path, &error);
        if (output->screen == NULL)
            PyErr_Format(PyExc_RuntimeError, "output %s cannot be shown: %s", name, error->message);
    }
    if (!PyErr_Occurred())
        return (PyObject *)output;
    Py_DECREF(output);
    return NULL;
}

static void
output_dealloc(PyObject *self)
{
    Output *output = (Output *)self;
    PyTypeObject *type = Py_TYPE(self);
    KvgSdkScreen *screen = output->screen;
    Py_BEGIN_ALLOW_THREADS;
    kvg_sdk_screen_close(screen);
    Py_END_ALLOW_THREADS;
    Py_XDECREF(output->name);
    PyObject_Free(self);
    Py_DECREF(type);
}

bool
kvg_sdk_output_init(PyObject *module)
{
    static PyMemberDef members[] = {
        {"name", T_OBJECT_EX, offsetof(Output, name), READONLY, "of the port"},
        {NULL, 0, 0, 0, NULL}};
    static PyMethodDef methods[] = {
        {"put", output_put, METH_O,
         "put(list): shows the media, tiled, with their labels and rectangles."},
        {NULL, NULL, 0, NULL}};
    static PyType_Slot slots[] = {{Py_tp_dealloc, output_dealloc},
                                  {Py_tp_members, members},
                                  {Py_tp_methods, methods},
                                  KVG_SDK_DOC("An output port."),
                                  {0, NULL}};
    static PyType_Spec spec = {.name = "panoramasdk.output",
                               .basicsize = sizeof(Output),
                               .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                               .slots = slots};
    kvg_sdk_output_type = kvg_sdk_add_type(module, &spec, NULL);
    return kvg_sdk_output_type != NULL;
}
