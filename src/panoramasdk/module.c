#include "base/json.h"
#include "os/file.h"
#include "panoramasdk/sdk.h"
#include <glib.h>
#include <structmember.h>

#define MAX_CONTRACT_BYTES (4u * 1024 * 1024)

PyObject *kvg_sdk_timeout;

PyTypeObject *
kvg_sdk_add_type(PyObject *module, PyType_Spec *spec, PyTypeObject *base)
{
    PyObject *type = PyType_FromModuleAndSpec(module, spec, (PyObject *)base);
    if (type == NULL || PyModule_AddType(module, (PyTypeObject *)type) != 0)
        return NULL;
    return (PyTypeObject *)type;
}

/* ---- node ---- */

typedef struct {
    PyObject_HEAD PyObject *name, *inputs, *outputs;
} Node;

/* Read by the first node; the process is one node of the graph. */
static json_t *
read_contract(void)
{
    const char *path = g_getenv(KVG_SDK_CONTRACT);
    if (path == NULL) {
        PyErr_SetString(PyExc_RuntimeError,
                        "this application is to be started by 'kvg panorama run', "
                        "which says what its cameras and parameters "
                        "are (" KVG_SDK_CONTRACT " is not set)");
        return NULL;
    }
    g_autoptr(GError) error = NULL;
    size_t len;
    g_autofree char *text = kvg_file_read(path, MAX_CONTRACT_BYTES, &len, &error);
    json_t *contract = text != NULL ? kvg_json_parse_object(text, len, &error) : NULL;
    if (contract == NULL)
        PyErr_Format(PyExc_RuntimeError, "%s: %s", path, error->message);
    return contract;
}

static bool
bind_node(Node *node, const json_t *contract)
{
    const char *name = kvg_json_get_string(contract, "node");
    node->name = PyUnicode_FromString(name != NULL ? name : "");
    node->inputs =
        kvg_sdk_ports_new("inputs", json_object_get(contract, "inputs"), kvg_sdk_input_new);
    if (node->name == NULL || node->inputs == NULL)
        return false;
    node->outputs =
        kvg_sdk_ports_new("outputs", json_object_get(contract, "outputs"), kvg_sdk_output_new);
    return node->outputs != NULL;
}

/* In __new__, so that a class that forgets super().__init__() works, too. */
static PyObject *
node_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    g_autoptr(json_t) contract = read_contract();
    if (contract == NULL)
        return NULL;
    PyObject *self = type->tp_alloc(type, 0);
    if (self != NULL && !bind_node((Node *)self, contract))
        Py_CLEAR(self);
    return self;
}

static int
node_init(PyObject *self, PyObject *arguments, PyObject *keywords)
{
    return 0;
}

static int
node_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static void
node_dealloc(PyObject *self)
{
    Node *node = (Node *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_CLEAR(node->name);
    Py_CLEAR(node->inputs);
    Py_CLEAR(node->outputs);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *
node_call(PyObject *self, PyObject *arguments, PyObject *keywords)
{
    PyErr_SetString(
        PyExc_NotImplementedError,
        "call(): models are not provided here; run inference in the application itself, "
        "for example with ONNX Runtime or OpenCV's dnn");
    return NULL;
}

bool
kvg_sdk_node_init(PyObject *module)
{
    static PyMemberDef members[] = {
        {"name", T_OBJECT_EX, offsetof(Node, name), READONLY, "of the node in the graph"},
        {"inputs", T_OBJECT_EX, offsetof(Node, inputs), READONLY, "input ports by name"},
        {"outputs", T_OBJECT_EX, offsetof(Node, outputs), READONLY, "output ports by name"},
        {NULL, 0, 0, 0, NULL}};
    static PyMethodDef methods[] = {{"call", (PyCFunction)(void (*)(void))node_call,
                                     METH_VARARGS | METH_KEYWORDS,
                                     "Inference on a model node: not provided here."},
                                    {NULL, NULL, 0, NULL}};
    static PyType_Slot slots[] = {
        {Py_tp_new, node_new},
        {Py_tp_init, node_init},
        {Py_tp_dealloc, node_dealloc},
        {Py_tp_traverse, node_traverse},
        {Py_tp_members, members},
        {Py_tp_methods, methods},
        KVG_SDK_DOC("Base class of an application: its node of the graph."),
        {0, NULL}};
    static PyType_Spec spec = {.name = "panoramasdk.node",
                               .basicsize = sizeof(Node),
                               .flags =
                                   Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
                               .slots = slots};
    return kvg_sdk_add_type(module, &spec, NULL) != NULL;
}

/* ---- module ---- */

static PyObject *
copies(PyObject *self, PyObject *unused)
{
    return PyLong_FromUnsignedLongLong(kvg_sdk_frame_copies());
}

static PyMethodDef functions[] = {
    {"_copies", copies, METH_NOARGS,
     "Images of this process that had to be copied, since too many were kept."},
    {NULL, NULL, 0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "panoramasdk",
    .m_doc = "Frames and parameters for applications written for AWS Panorama, from kvg.",
    .m_size = -1, .m_methods = functions};

PyMODINIT_FUNC PyInit_panoramasdk(void);

PyMODINIT_FUNC
PyInit_panoramasdk(void)
{
    PyObject *module = PyModule_Create(&definition);
    if (module == NULL)
        return NULL;
    kvg_sdk_timeout = PyErr_NewExceptionWithDoc("panoramasdk.TimeoutException",
                                                "No frame within the time given to get().",
                                                PyExc_TimeoutError, NULL);
    if (kvg_sdk_timeout == NULL ||
        PyModule_AddObjectRef(module, "TimeoutException", kvg_sdk_timeout) != 0 ||
        !kvg_sdk_frame_init(module) || !kvg_sdk_media_init(module) || !kvg_sdk_input_init(module) ||
        !kvg_sdk_output_init(module) || !kvg_sdk_ports_init(module) || !kvg_sdk_node_init(module)) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
