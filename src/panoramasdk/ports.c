#include "panoramasdk/sdk.h"
#include <glib.h>

PyTypeObject *kvg_sdk_ports_type;

/* node.inputs, node.outputs: the ports by name. */
typedef struct {
    PyObject_HEAD const char *kind; /* "inputs" */
    PyObject *ports;                /* dict */
} Ports;

static bool
fill(PyObject *dict, const json_t *ports, PyObject *(*make)(const char *name, const json_t *port))
{
    const char *name;
    json_t *port;
    json_object_foreach((json_t *)(uintptr_t)ports, name, port)
    {
        PyObject *made = make(name, port);
        if (made == NULL || PyDict_SetItemString(dict, name, made) != 0) {
            Py_XDECREF(made);
            return false;
        }
        Py_DECREF(made);
    }
    return true;
}

PyObject *
kvg_sdk_ports_new(const char *kind,
                  const json_t *json,
                  PyObject *(*make)(const char *name, const json_t *port))
{
    Ports *ports = PyObject_New(Ports, kvg_sdk_ports_type);
    if (ports == NULL)
        return NULL;
    ports->kind = kind;
    ports->ports = PyDict_New();
    if (ports->ports != NULL && fill(ports->ports, json, make))
        return (PyObject *)ports;
    Py_DECREF(ports);
    return NULL;
}

static void
ports_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(((Ports *)self)->ports);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyObject *
ports_getattro(PyObject *self, PyObject *name)
{
    const Ports *ports = (const Ports *)self;
    PyObject *port = PyDict_GetItemWithError(ports->ports, name);
    if (port != NULL) {
        Py_INCREF(port);
        return port;
    }
    if (PyErr_Occurred())
        return NULL;
    PyObject *other = PyObject_GenericGetAttr(self, name);
    if (other != NULL || !PyErr_ExceptionMatches(PyExc_AttributeError))
        return other;
    PyErr_Clear();
    PyObject *names = PyDict_Keys(ports->ports);
    if (names != NULL)
        PyErr_Format(PyExc_AttributeError, "the interface has no '%U' in its %s; there are %R",
                     name, ports->kind, names);
    Py_XDECREF(names);
    return NULL;
}

static PyObject *
ports_dir(PyObject *self, PyObject *unused)
{
    return PyDict_Keys(((Ports *)self)->ports);
}

bool
kvg_sdk_ports_init(PyObject *module)
{
    static PyMethodDef methods[] = {{"__dir__", ports_dir, METH_NOARGS, NULL},
                                    {NULL, NULL, 0, NULL}};
    static PyType_Slot slots[] = {{Py_tp_dealloc, ports_dealloc},
                                  {Py_tp_getattro, ports_getattro},
                                  {Py_tp_methods, methods},
                                  KVG_SDK_DOC("The ports of a node by name."),
                                  {0, NULL}};
    static PyType_Spec spec = {.name = "panoramasdk.ports",
                               .basicsize = sizeof(Ports),
                               .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                               .slots = slots};
    kvg_sdk_ports_type = kvg_sdk_add_type(module, &spec, NULL);
    return kvg_sdk_ports_type != NULL;
}
