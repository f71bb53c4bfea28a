#include "frames/wire.h"
#include "panoramasdk/sdk.h"
#include <errno.h>
#include <glib.h>
#include <poll.h>
#include <structmember.h>

/* A camera that delivered within this belongs to the set; its former frame may stand in for it. */
#define LIVELY_US (2 * G_TIME_SPAN_SECOND)
/* How long a set waits for the others after its first new frame: more than a frame at 10 a second.
 */
#define GATHER_US (120 * G_TIME_SPAN_MILLISECOND)
#define RECONNECT_US (500 * G_TIME_SPAN_MILLISECOND)
/* Signals of Python (Ctrl-C) are looked at so often. */
#define SLICE_MS 250
/* Of the leases one is for the frame in transit; an application that keeps more gets copies. */
#define MAX_SHARED (KVG_FRAMES_MAX_LEASES - 1)

PyTypeObject *kvg_sdk_input_type;

typedef struct {
    char *path;
    PyObject *stream_id, *stream_uri;
    KvgFramesClient *client; /* NULL: not connected */
    int64_t retry_us;
    PyObject *frame; /* the last; NULL */
    int64_t arrived_us;
    bool is_new; /* not returned yet */
} Camera;

typedef struct {
    PyObject_HEAD PyObject *name;
    PyObject *value; /* of a scalar; NULL: media */
    Camera *cameras;
    size_t n_cameras;
    bool is_busy; /* under the GIL */
} Input;

/* ---- cameras ---- */

static void
disconnect(Camera *camera, int64_t now_us)
{
    kvg_frames_client_close(g_steal_pointer(&camera->client));
    camera->retry_us = now_us + RECONNECT_US;
}

/* Connected and asked for its next frame, if somebody serves it. */
static void
ask(Camera *camera, int64_t now_us)
{
    if (camera->client == NULL && now_us >= camera->retry_us) {
        camera->client = kvg_frames_client_open(camera->path, NULL);
        camera->retry_us = now_us + RECONNECT_US;
    }
    if (camera->client != NULL && !camera->is_new && !kvg_frames_client_ask(camera->client))
        disconnect(camera, now_us);
}

/* Takes what has arrived. False with an exception. */
static bool
take(Camera *camera, int64_t now_us)
{
    const KvgFramesLease *lease;
    if (camera->client == NULL || camera->is_new)
        return true;
    const KvgFramesRead read = kvg_frames_client_read(camera->client, &lease, NULL);
    if (read == KVG_FRAMES_CLOSED)
        disconnect(camera, now_us);
    if (read != KVG_FRAMES_GOT)
        return true;
    /* Ours of before is about to go, if the application has let go of it. */
    if (camera->frame != NULL && Py_REFCNT(camera->frame) == 1)
        Py_CLEAR(camera->frame);
    const bool is_crowded = kvg_frames_client_held(camera->client) > MAX_SHARED;
    PyObject *frame = kvg_sdk_frame_new(lease, is_crowded);
    if (frame == NULL)
        return false;
    Py_XSETREF(camera->frame, frame);
    camera->arrived_us = now_us;
    camera->is_new = true;
    return true;
}

static bool
is_lively(const Camera *camera, int64_t now_us)
{
    return camera->client != NULL && camera->frame != NULL &&
           now_us - camera->arrived_us < LIVELY_US;
}

/* ---- a set ---- */

/* How many have a new frame, and how many lively ones have not. */
static void
count(const Input *input, int64_t now_us, size_t *fresh, size_t *awaited)
{
    *fresh = *awaited = 0;
    for (size_t i = 0; i < input->n_cameras; i++) {
        *fresh += input->cameras[i].is_new;
        *awaited += !input->cameras[i].is_new && is_lively(&input->cameras[i], now_us);
    }
}

/* Waits for news of any camera, without the GIL, at most until @until_us. */
static bool
wait_for_news(const Input *input, int64_t now_us, int64_t until_us)
{
    g_autofree struct pollfd *polled = g_new0(struct pollfd, input->n_cameras + 1);
    nfds_t n = 0;
    for (size_t i = 0; i < input->n_cameras; i++) {
        const Camera *camera = &input->cameras[i];
        if (camera->client != NULL && !camera->is_new)
            polled[n++] =
                (struct pollfd){.fd = kvg_frames_client_fd(camera->client), .events = POLLIN};
    }
    const int wait_ms = (int)CLAMP((until_us - now_us + 999) / 1000, 0, SLICE_MS);
    Py_BEGIN_ALLOW_THREADS;
    poll(polled, n, wait_ms);
    Py_END_ALLOW_THREADS;
    return PyErr_CheckSignals() == 0;
}

static PyObject *
make_set(Input *input, int64_t now_us)
{
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < input->n_cameras; i++) {
        Camera *camera = &input->cameras[i];
        if (!camera->is_new && !is_lively(camera, now_us))
            continue;
        PyObject *media = kvg_sdk_media_new(camera->frame, camera->stream_id, camera->stream_uri,
                                            !camera->is_new);
        if (media == NULL || PyList_Append(list, media) != 0)
            Py_CLEAR(list);
        Py_XDECREF(media);
        camera->is_new = false;
    }
    return list;
}

/* The next set: returns when every lively camera has a new frame, or some time after the first. */
static PyObject *
next_set(Input *input, int64_t deadline_us)
{
    int64_t gather_until_us = 0;
    for (;;) {
        const int64_t now_us = g_get_monotonic_time();
        for (size_t i = 0; i < input->n_cameras; i++) {
            ask(&input->cameras[i], now_us);
            if (!take(&input->cameras[i], now_us))
                return NULL;
        }
        size_t fresh, awaited;
        count(input, now_us, &fresh, &awaited);
        if (fresh > 0 && gather_until_us == 0)
            gather_until_us = MIN(now_us + GATHER_US, deadline_us);
        if (fresh > 0 && (awaited == 0 || now_us >= gather_until_us))
            return make_set(input, now_us);
        if (now_us >= deadline_us) {
            PyErr_Format(kvg_sdk_timeout, "%U: no camera delivered a frame in time", input->name);
            return NULL;
        }
        const int64_t until_us = gather_until_us != 0 ? gather_until_us : deadline_us;
        if (!wait_for_news(input, now_us, until_us))
            return NULL;
    }
}

/* ---- get() ---- */

/* Seconds, or None for ever. */
static bool
read_timeout(PyObject *timeout, int64_t *deadline_us)
{
    *deadline_us = G_MAXINT64;
    if (timeout == NULL || timeout == Py_None)
        return true;
    const double seconds = PyFloat_AsDouble(timeout);
    if (seconds == -1 && PyErr_Occurred())
        return false;
    if (!(seconds >= 0)) {
        PyErr_SetString(PyExc_ValueError, "timeout is a number of seconds, or None");
        return false;
    }
    if (seconds < 1e9)
        *deadline_us = g_get_monotonic_time() + (int64_t)(seconds * G_USEC_PER_SEC);
    return true;
}

static PyObject *
input_get(PyObject *self, PyObject *arguments, PyObject *keywords)
{
    static const char *const names[] = {"timeout", NULL};
    Input *input = (Input *)self;
    PyObject *timeout = NULL;
    int64_t deadline_us;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "|O:get", (char **)(uintptr_t)names,
                                     &timeout) ||
        !read_timeout(timeout, &deadline_us))
        return NULL;
    if (input->value != NULL) {
        Py_INCREF(input->value);
        return input->value;
    }
    if (input->is_busy) {
        PyErr_Format(PyExc_RuntimeError, "%U.get() waits in another thread already", input->name);
        return NULL;
    }
    input->is_busy = true;
    PyObject *set = next_set(input, deadline_us);
    input->is_busy = false;
    return set;
}

/* ---- life ---- */

/* The value of a scalar port, of the type the interface says. */
static PyObject *
make_value(const char *type, const json_t *value)
{
    if (g_strcmp0(type, "boolean") == 0)
        return PyBool_FromLong(json_is_true(value));
    if (g_strcmp0(type, "int32") == 0)
        return PyLong_FromLongLong(json_integer_value(value));
    if (g_strcmp0(type, "float32") == 0)
        return PyFloat_FromDouble(json_number_value(value));
    const char *text = json_string_value(value);
    return PyUnicode_FromString(text != NULL ? text : "");
}

static bool
set_cameras(Input *input, const json_t *cameras)
{
    input->n_cameras = json_array_size(cameras);
    input->cameras = g_new0(Camera, input->n_cameras + 1);
    for (size_t i = 0; i < input->n_cameras; i++) {
        const json_t *json = json_array_get(cameras, i);
        const char *id = json_string_value(json_object_get(json, "stream_id"));
        const char *uri = json_string_value(json_object_get(json, "stream_uri"));
        Camera *camera = &input->cameras[i];
        camera->path = g_strdup(json_string_value(json_object_get(json, "socket")));
        camera->stream_id = PyUnicode_FromString(id != NULL ? id : "");
        camera->stream_uri = PyUnicode_FromString(uri != NULL ? uri : "");
        if (camera->path == NULL || camera->stream_id == NULL || camera->stream_uri == NULL)
            return false;
    }
    return true;
}

PyObject *
kvg_sdk_input_new(const char *name, const json_t *port)
{
    Input *input = PyObject_New(Input, kvg_sdk_input_type);
    if (input == NULL)
        return NULL;
    *input = (Input){.ob_base = input->ob_base, .name = PyUnicode_FromString(name)};
    const char *type = json_string_value(json_object_get(port, "type"));
    bool is_made = input->name != NULL;
    if (g_strcmp0(type, "media") == 0)
        is_made = is_made && set_cameras(input, json_object_get(port, "cameras"));
    else
        is_made =
            is_made && (input->value = make_value(type, json_object_get(port, "value"))) != NULL;
    if (is_made)
        return (PyObject *)input;
    if (!PyErr_Occurred())
        PyErr_Format(PyExc_RuntimeError, "the contract of input %s is damaged", name);
    Py_DECREF(input);
    return NULL;
}

static void
input_dealloc(PyObject *self)
{
    Input *input = (Input *)self;
    PyTypeObject *type = Py_TYPE(self);
    for (size_t i = 0; i < input->n_cameras; i++) {
        Camera *camera = &input->cameras[i];
        Py_XDECREF(camera->frame);
        kvg_frames_client_close(camera->client);
        Py_XDECREF(camera->stream_id);
        Py_XDECREF(camera->stream_uri);
        g_free(camera->path);
    }
    g_free(input->cameras);
    Py_XDECREF(input->value);
    Py_XDECREF(input->name);
    PyObject_Free(self);
    Py_DECREF(type);
}

bool
kvg_sdk_input_init(PyObject *module)
{
    static PyMemberDef members[] = {
        {"name", T_OBJECT_EX, offsetof(Input, name), READONLY, "of the port"},
        {NULL, 0, 0, 0, NULL}};
    static PyMethodDef methods[] = {
        {"get", (PyCFunction)(void (*)(void))input_get, METH_VARARGS | METH_KEYWORDS,
         "get(timeout=None): the value; of a media port the next frames, one media a camera.\n"
         "Raises TimeoutException after timeout seconds without a frame."},
        {NULL, NULL, 0, NULL}};
    static PyType_Slot slots[] = {{Py_tp_dealloc, input_dealloc},
                                  {Py_tp_members, members},
                                  {Py_tp_methods, methods},
                                  KVG_SDK_DOC("An input port."),
                                  {0, NULL}};
    static PyType_Spec spec = {.name = "panoramasdk.input",
                               .basicsize = sizeof(Input),
                               .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                               .slots = slots};
    kvg_sdk_input_type = kvg_sdk_add_type(module, &spec, NULL);
    return kvg_sdk_input_type != NULL;
}
