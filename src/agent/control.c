#include "agent/control.h"

#include "agent/identity.h"
#include "agent/wish.h"
#include "base/backoff.h"
#include "base/clock.h"
#include "os/file.h"
#include "os/log.h"
#include <kvg/error.h>
#include <mosquitto.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define LOG_DOMAIN "agent-control"
#define MAX_FILE_BYTES (4u * 1024 * 1024)
#define DEFAULT_PORT 8883
#define ALPN_PORT 443
#define ALPN_NAME "x-amzn-mqtt-ca"
#define KEEPALIVE_S 60
/* The shadow service answers within a second, if it is there. */
#define ASK_AGAIN_US (4 * INT64_C(1000000))
#define ASK_AGAIN_MAX_US (300 * INT64_C(1000000))
#define RECONNECT_MAX_S 10

typedef struct {
    KvgControl *control;
    const KvgConfigCamera *camera;
    struct mosquitto *client; /* NULL: no certificate yet; main thread only */
    pthread_t thread;         /* serves it */
    char *host;
    int port;
    char *topic; /* "$aws/things/NAME/shadow" */

    /* under control->lock */
    KvgSettings settings;
    json_t *pending;  /* changed here, not yet in the shadow; NULL */
    int64_t version;  /* of the shadow's document that was obeyed last; 0: none */
    int64_t asked_us; /* since when an answer of the shadow is awaited; 0: none is */
    int64_t wait_us;  /* before it is asked again */
    bool connected;
    char *link;      /* why it is not connected; NULL */
    char *problem;   /* why the desired state is not obeyed; NULL */
    json_t *ignored; /* members of it that mean nothing here; NULL */
    KvgWishes wishes;
    char *state, *reason;
    json_t *reported; /* what was sent last; NULL */
} Device;

struct _KvgControl {
    KvgConfig *config; /* main thread */
    KvgControlChanged changed;
    void *user_data;
    GMutex lock;
    /* under lock, like what is marked so in the devices */
    char *path;
    json_t *saved; /* what is in the file, also of cameras that are not in the configuration now */
    GPtrArray *devices; /* changed by the main thread alone */
};

/* ---- small things ---- */

static void
set_text(char **field, const char *text)
{
    char *copy = g_strdup(text);
    g_free(*field);
    *field = copy;
}

static void
set_json(json_t **field, json_t *value)
{
    json_decref(*field);
    *field = value;
}

/* lock is held */
static Device *
find_device(const KvgControl *control, const char *name)
{
    for (guint i = 0; i < control->devices->len; i++) {
        Device *device = g_ptr_array_index(control->devices, i);
        if (strcmp(device->camera->name, name) == 0)
            return device;
    }
    return NULL;
}

typedef struct {
    KvgControl *control;
    char *name;
} Notice;

static gboolean
on_notice(void *data)
{
    Notice *notice = data;
    notice->control->changed(notice->name, notice->control->user_data);
    return G_SOURCE_REMOVE;
}

static void
notice_free(void *data)
{
    Notice *notice = data;
    g_free(notice->name);
    g_free(notice);
}

static void
tell_main(Device *device)
{
    Notice *notice = g_new0(Notice, 1);
    notice->control = device->control;
    notice->name = g_strdup(device->camera->name);
    g_idle_add_full(G_PRIORITY_DEFAULT, on_notice, notice, notice_free);
}

/* ---- the file ---- */

/* lock is held */
static void
save(KvgControl *control)
{
    json_t *cameras = control->saved;
    for (guint i = 0; i < control->devices->len; i++) {
        const Device *device = g_ptr_array_index(control->devices, i);
        json_t *entry = json_pack("{s:o, s:I}", "settings", kvg_settings_to_json(&device->settings),
                                  "version", (json_int_t)device->version);
        json_object_set_new(entry, "wishes", kvg_wishes_to_json(&device->wishes));
        if (device->pending != NULL)
            json_object_set(entry, "pending", device->pending);
        json_object_set_new(cameras, device->camera->name, entry);
    }
    g_autoptr(json_t) file = json_pack("{s:O}", "cameras", cameras);
    g_autofree char *text = kvg_json_to_text(file);
    g_autoptr(GError) error = NULL;
    if (!kvg_file_replace(control->path, text, strlen(text), 0600, &error))
        KVG_LOG_WARNING(LOG_DOMAIN, "FILE", control->path,
                        "what the cameras were told will not survive a restart: %s",
                        error->message);
}

static void
load_device(Device *device, const json_t *entry)
{
    g_autoptr(GError) error = NULL;
    const json_t *pending = json_object_get(entry, "pending");
    if (!kvg_settings_merge(&device->settings, json_object_get(entry, "settings"), NULL, &error))
        KVG_LOG_WARNING(LOG_DOMAIN, "CAMERA", device->camera->name, "%s: %s", device->control->path,
                        error->message);
    device->version = kvg_json_get_int(entry, "version", 0);
    kvg_wishes_from_json(&device->wishes, json_object_get(entry, "wishes"));
    device->pending = json_is_object(pending) ? json_deep_copy(pending) : NULL;
}

static void
load(KvgControl *control)
{
    if (!g_file_test(control->path, G_FILE_TEST_EXISTS))
        return;
    size_t len;
    g_autoptr(GError) error = NULL;
    g_autofree char *text = kvg_file_read(control->path, MAX_FILE_BYTES, &len, &error);
    g_autoptr(json_t) file = text != NULL ? kvg_json_parse_object(text, len, &error) : NULL;
    if (file == NULL) {
        KVG_LOG_WARNING(LOG_DOMAIN, "FILE", control->path,
                        "%s cannot be read, so the configuration alone counts: %s", control->path,
                        error->message);
        return;
    }
    const json_t *cameras = json_object_get(file, "cameras");
    if (json_is_object(cameras))
        set_json(&control->saved, json_deep_copy(cameras));
}

/* ---- talking to the shadow; lock is held ---- */

static void
publish(Device *device, const char *verb, const json_t *payload)
{
    g_autofree char *topic = g_strconcat(device->topic, verb, NULL);
    g_autofree char *text = payload != NULL ? kvg_json_to_text(payload) : g_strdup("");
    mosquitto_publish(device->client, NULL, topic, (int)strlen(text), text, 1, false);
}

static json_t *
text_or_null(const char *text)
{
    g_autofree char *valid = text != NULL ? g_utf8_make_valid(text, -1) : NULL;
    return valid != NULL ? json_string(valid) : json_null();
}

static void
send_pending(Device *device)
{
    if (device->pending == NULL || !device->connected)
        return;
    g_autoptr(json_t) update = json_pack("{s:{s:O}, s:s}", "state", "desired", device->pending,
                                         "clientToken", "kvg-local");
    publish(device, "/update", update);
}

/* Asks, or says what was changed here; again later if nobody answers. */
static void
talk(Device *device)
{
    device->asked_us = kvg_clock_mono_us();
    device->wait_us = CLAMP(device->wait_us * 2, ASK_AGAIN_US, ASK_AGAIN_MAX_US);
    if (device->pending != NULL)
        send_pending(device);
    else
        publish(device, "/get", NULL);
}

static void
hear(Device *device)
{
    device->asked_us = device->wait_us = 0;
}

/* Settings that are not set are reported as null: the shadow forgets them. */
static json_t *
make_reported(const Device *device)
{
    static const char *const names[] = {"bitrate_kbps", "width", "height", "fps", "fragment_ms"};
    json_t *reported = kvg_settings_to_json(&device->settings);
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        if (json_object_get(reported, names[i]) == NULL)
            json_object_set_new(reported, names[i], json_null());
    }
    if (!device->settings.has_streaming)
        json_object_set_new(reported, "streaming", json_boolean(device->camera->streaming));
    json_object_set_new(reported, "state", text_or_null(device->state));
    json_object_set_new(reported, "reason", text_or_null(device->reason));
    kvg_wishes_report(&device->wishes, reported);
    json_object_set_new(
        reported, "problem",
        text_or_null(device->problem != NULL ? device->problem : device->wishes.problem));
    json_object_set_new(reported, "ignored",
                        device->ignored != NULL ? json_incref(device->ignored) : json_null());
    return reported;
}

static void
send_reported(Device *device)
{
    if (!device->connected)
        return;
    g_autoptr(json_t) reported = make_reported(device);
    if (device->reported != NULL && json_equal(reported, device->reported))
        return;
    g_autoptr(json_t) update = json_pack("{s:{s:O}}", "state", "reported", reported);
    publish(device, "/update", update);
    set_json(&device->reported, json_incref(reported));
}

/* The whole desired state of a document; an older one than what was obeyed is news of the past. */
static void
obey(Device *device, const json_t *document, int64_t version)
{
    json_t *rest = NULL;
    const bool has_wish = kvg_wishes_see(&device->wishes, document, kvg_clock_wall_ms(), &rest);
    g_autoptr(json_t) desired = rest;
    KvgSettings wanted = {0};
    json_t *ignored = NULL;
    g_autoptr(GError) error = NULL;
    const bool fits = kvg_settings_merge(&wanted, desired, &ignored, &error);
    set_text(&device->problem, fits ? NULL : error->message);
    if (fits)
        set_json(&device->ignored, ignored);
    if (!fits)
        KVG_LOG_WARNING(LOG_DOMAIN, "CAMERA", device->camera->name,
                        "camera %s: its shadow asks for what cannot be done: %s",
                        device->camera->name, error->message);
    const bool is_new = fits && !kvg_settings_equal(&wanted, &device->settings);
    if (is_new)
        device->settings = wanted;
    if (is_new || has_wish || device->version != version) {
        device->version = version;
        save(device->control);
    }
    send_reported(device);
    if (is_new || has_wish)
        tell_main(device);
}

/* ---- libmosquitto's threads ---- */

/* Such a thread is cancelled when the agent stops, but never while it holds our lock. */
static int
enter(KvgControl *control)
{
    int state;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    g_mutex_lock(&control->lock);
    return state;
}

static void
leave(KvgControl *control, int state)
{
    g_mutex_unlock(&control->lock);
    pthread_setcancelstate(state, NULL);
}

static void
on_connect(struct mosquitto *client, void *user_data, int code)
{
    Device *device = user_data;
    KvgControl *control = device->control;
    const int state = enter(control);
    device->connected = code == 0;
    set_json(&device->reported, NULL);
    if (code != 0) {
        g_autofree char *why =
            g_strdup_printf("AWS IoT refuses the camera's certificate: %s (is it ACTIVE, does its "
                            "policy allow iot:Connect?)",
                            mosquitto_connack_string(code));
        if (g_strcmp0(device->link, why) != 0)
            KVG_LOG_WARNING(LOG_DOMAIN, "CAMERA", device->camera->name, "camera %s: %s",
                            device->camera->name, why);
        set_text(&device->link, why);
    } else {
        set_text(&device->link, NULL);
        g_autofree char *delta = g_strconcat(device->topic, "/update/delta", NULL);
        g_autofree char *accepted = g_strconcat(device->topic, "/get/accepted", NULL);
        g_autofree char *rejected = g_strconcat(device->topic, "/get/rejected", NULL);
        g_autofree char *updated = g_strconcat(device->topic, "/update/accepted", NULL);
        char *const filters[] = {delta, accepted, rejected, updated};
        mosquitto_subscribe_multiple(client, NULL, G_N_ELEMENTS(filters), filters, 1, 0, NULL);
    }
    leave(control, state);
}

/* What was changed here while there was no connection goes first; then what is wanted is asked. */
static void
on_subscribe(struct mosquitto *client, void *user_data, int id, int n, const int *granted)
{
    Device *device = user_data;
    const int state = enter(device->control);
    device->wait_us = 0;
    talk(device);
    leave(device->control, state);
}

static void
on_disconnect(struct mosquitto *client, void *user_data, int code)
{
    Device *device = user_data;
    const int state = enter(device->control);
    if (device->connected)
        set_text(&device->link, "the connection to AWS IoT was lost; connecting again");
    device->connected = false;
    leave(device->control, state);
}

static void
take_message(Device *device, const char *suffix, const json_t *message)
{
    const int64_t version = kvg_json_get_int(message, "version", 0);
    const json_t *state = json_object_get(message, "state");
    const bool is_pending =
        g_strcmp0(kvg_json_get_string(message, "clientToken"), "kvg-local") == 0;
    if (strcmp(suffix, "/update/accepted") == 0) {
        /* Ours has arrived. What else is in the document is asked for. */
        if (is_pending && json_object_get(state, "desired") != NULL) {
            if (device->pending != NULL &&
                json_equal(device->pending, json_object_get(state, "desired")))
                set_json(&device->pending, NULL);
            talk(device);
        }
    } else if (strcmp(suffix, "/update/delta") == 0) {
        if (device->pending == NULL && version > device->version)
            talk(device);
    } else if (strcmp(suffix, "/get/accepted") == 0) {
        hear(device);
        if (device->pending == NULL)
            obey(device, message, version);
    } else if (strcmp(suffix, "/get/rejected") == 0) {
        /* 404: nobody has asked for anything yet; what we report makes the shadow. */
        hear(device);
        send_reported(device);
    }
}

static void
on_message(struct mosquitto *client, void *user_data, const struct mosquitto_message *message)
{
    Device *device = user_data;
    const char *suffix = message->topic + MIN(strlen(device->topic), strlen(message->topic));
    const int state = enter(device->control);
    g_autoptr(json_t) json =
        message->payloadlen > 0
            ? kvg_json_parse_object(message->payload, (size_t)message->payloadlen, NULL)
            : NULL;
    if (json != NULL)
        take_message(device, suffix, json);
    leave(device->control, state);
}

/* ---- connecting ---- */

/* The first connection is made here, waiting for it: the library's own thread does not notice that
 * an asynchronous one was refused until its keep-alive is over. Later ones are the library's. */
static void *
run_device(void *data)
{
    const Device *device = data;
    struct mosquitto *client = device->client;
    KvgBackoff backoff = {.base_ms = 1000, .cap_ms = RECONNECT_MAX_S * 1000};
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    while (mosquitto_connect(client, device->host, device->port, KEEPALIVE_S) != MOSQ_ERR_SUCCESS)
        g_usleep((gulong)kvg_backoff_next_ms(&backoff) * 1000);
    mosquitto_loop_forever(client, KEEPALIVE_S * 1000, 1);
    return NULL;
}

/* HOST[:PORT] into host and port. */
static char *
split_endpoint(const char *endpoint, int *port)
{
    const char *colon = strrchr(endpoint, ':');
    guint64 number = 0;
    *port = DEFAULT_PORT;
    if (colon == NULL || strchr(colon, ']') != NULL ||
        !g_ascii_string_to_unsigned(colon + 1, 10, 1, 65535, &number, NULL))
        return g_strdup(endpoint);
    *port = (int)number;
    return g_strndup(endpoint, (size_t)(colon - endpoint));
}

static bool
set_tls(const Device *device, struct mosquitto *client, int port)
{
    const char *ca = device->control->config->ca_bundle;
    if (mosquitto_tls_set(client, ca, ca == NULL ? "/etc/ssl/certs" : NULL,
                          device->camera->certificate_path, device->camera->key_path,
                          NULL) != MOSQ_ERR_SUCCESS ||
        mosquitto_tls_opts_set(client, 1, "tlsv1.2", NULL) != MOSQ_ERR_SUCCESS)
        return false;
    return port != ALPN_PORT ||
           mosquitto_string_option(client, MOSQ_OPT_TLS_ALPN, ALPN_NAME) == MOSQ_ERR_SUCCESS;
}

static void
connect_device(Device *device, const char *endpoint)
{
    int port;
    g_autofree char *host = split_endpoint(endpoint, &port);
    struct mosquitto *client = mosquitto_new(device->camera->name, true, device);
    mosquitto_connect_callback_set(client, on_connect);
    mosquitto_disconnect_callback_set(client, on_disconnect);
    mosquitto_subscribe_callback_set(client, on_subscribe);
    mosquitto_message_callback_set(client, on_message);
    mosquitto_reconnect_delay_set(client, 1, RECONNECT_MAX_S, true);
    if (!set_tls(device, client, port)) {
        g_mutex_lock(&device->control->lock);
        set_text(&device->link, "the camera's certificate, its key or the CA file cannot be read");
        g_mutex_unlock(&device->control->lock);
        mosquitto_destroy(client);
        return;
    }
    mosquitto_threaded_set(client, true);
    device->host = g_steal_pointer(&host);
    device->port = port;
    device->client = client;
    if (pthread_create(&device->thread, NULL, run_device, device) == 0)
        return;
    device->client = NULL; /* tried again with the next look for certificates */
    g_clear_pointer(&device->host, g_free);
    mosquitto_destroy(client);
}

void
kvg_control_connect(KvgControl *control)
{
    g_autofree char *endpoint = kvg_agent_mqtt_endpoint(control->config);
    for (guint i = 0; i < control->devices->len; i++) {
        Device *device = g_ptr_array_index(control->devices, i);
        if (device->client == NULL && endpoint != NULL &&
            access(device->camera->certificate_path, R_OK) == 0 &&
            access(device->camera->key_path, R_OK) == 0)
            connect_device(device, endpoint);
        g_mutex_lock(&control->lock);
        if (device->connected && device->asked_us != 0 &&
            kvg_clock_mono_us() - device->asked_us >= device->wait_us)
            talk(device);
        g_mutex_unlock(&control->lock);
    }
}

/* ---- public ---- */

static Device *
device_new(KvgControl *control, const KvgConfigCamera *camera)
{
    Device *device = g_new0(Device, 1);
    device->control = control;
    device->camera = camera;
    device->topic = g_strdup_printf("$aws/things/%s/shadow", camera->name);
    device->link = g_strdup("not connected to AWS IoT");
    load_device(device, json_object_get(control->saved, camera->name));
    return device;
}

/* Its thread may hold the lock until it is gone, so the lock must not be held here. */
static void
disconnect_device(Device *device)
{
    GMutex *lock = &device->control->lock;
    g_mutex_lock(lock);
    struct mosquitto *client = g_steal_pointer(&device->client);
    device->connected = false;
    g_mutex_unlock(lock);
    if (client == NULL)
        return;
    mosquitto_disconnect(client);
    pthread_cancel(device->thread);
    pthread_join(device->thread, NULL);
    mosquitto_destroy(client);
    g_clear_pointer(&device->host, g_free);
    g_mutex_lock(lock);
    device->connected = false; /* the last it said may have been the opposite */
    set_text(&device->link, "not connected to AWS IoT");
    g_mutex_unlock(lock);
}

static void
device_free(void *data)
{
    Device *device = data;
    disconnect_device(device);
    json_decref(device->pending);
    json_decref(device->ignored);
    json_decref(device->reported);
    kvg_wishes_clear(&device->wishes);
    g_free(device->topic);
    g_free(device->link);
    g_free(device->problem);
    g_free(device->state);
    g_free(device->reason);
    g_free(device);
}

/* The devices of @config instead of those there are; returns those that are no longer needed. */
static GPtrArray *
exchange_devices(KvgControl *control, KvgConfig *config)
{
    GPtrArray *devices = g_ptr_array_new_with_free_func(device_free);
    g_mutex_lock(&control->lock);
    for (guint i = 0; i < config->cameras->len; i++) {
        const KvgConfigCamera *camera = g_ptr_array_index(config->cameras, i);
        Device *known = find_device(control, camera->name);
        guint at;
        if (known != NULL && g_ptr_array_find(control->devices, known, &at)) {
            g_ptr_array_steal_index_fast(control->devices, at);
            known->camera = camera;
        }
        g_ptr_array_add(devices, known != NULL ? known : device_new(control, camera));
    }
    GPtrArray *rest = control->devices;
    control->devices = devices;
    g_mutex_unlock(&control->lock);
    return rest;
}

KvgControl *
kvg_control_new(KvgConfig *config, KvgControlChanged changed, void *user_data)
{
    mosquitto_lib_init();
    KvgControl *control = g_new0(KvgControl, 1);
    control->config = kvg_config_ref(config);
    control->changed = changed;
    control->user_data = user_data;
    control->path = g_build_filename(config->identity_directory, "control.json", NULL);
    control->saved = json_object();
    control->devices = g_ptr_array_new_with_free_func(device_free);
    g_mutex_init(&control->lock);
    load(control);
    g_ptr_array_unref(exchange_devices(control, config));
    return control;
}

void
kvg_control_reload(KvgControl *control, KvgConfig *config, bool reconnects)
{
    for (guint i = 0; reconnects && i < control->devices->len; i++)
        disconnect_device(g_ptr_array_index(control->devices, i));
    g_ptr_array_unref(exchange_devices(control, config));
    kvg_config_unref(control->config);
    control->config = kvg_config_ref(config);
    g_mutex_lock(&control->lock);
    g_free(control->path);
    control->path = g_build_filename(config->identity_directory, "control.json", NULL);
    g_mutex_unlock(&control->lock);
    kvg_control_connect(control);
}

void
kvg_control_free(KvgControl *control)
{
    if (control == NULL)
        return;
    g_ptr_array_unref(control->devices);
    g_mutex_clear(&control->lock);
    json_decref(control->saved);
    g_free(control->path);
    kvg_config_unref(control->config);
    g_free(control);
    mosquitto_lib_cleanup();
}

void
kvg_control_get(KvgControl *control, const char *camera, KvgSettings *settings)
{
    g_mutex_lock(&control->lock);
    const Device *device = find_device(control, camera);
    *settings = device != NULL ? device->settings : (KvgSettings){0};
    g_mutex_unlock(&control->lock);
}

bool
kvg_control_set(KvgControl *control, const char *camera, const json_t *change, GError **error)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&control->lock);
    Device *device = find_device(control, camera);
    if (device == NULL) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_NOT_FOUND, "there is no camera '%.128s'", camera);
        return false;
    }
    KvgSettings wanted = device->settings;
    g_autoptr(json_t) unknown = NULL;
    if (!kvg_settings_merge(&wanted, change, &unknown, error))
        return false;
    if (unknown != NULL) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID,
                    "'%s' is not a setting; there are streaming, bitrate_kbps, width, height, fps "
                    "and fragment_ms",
                    json_string_value(json_array_get(unknown, 0)));
        return false;
    }
    const bool is_new = !kvg_settings_equal(&wanted, &device->settings);
    device->settings = wanted;
    set_text(&device->problem, NULL);
    if (device->pending == NULL)
        device->pending = json_object();
    json_object_update(device->pending, (json_t *)(uintptr_t)change);
    save(control);
    if (device->connected)
        talk(device);
    if (is_new)
        tell_main(device);
    return true;
}

void
kvg_control_report(KvgControl *control, const char *camera, const char *state, const char *reason)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&control->lock);
    Device *device = find_device(control, camera);
    if (device == NULL)
        return;
    set_text(&device->state, state);
    set_text(&device->reason, reason);
    send_reported(device);
}

json_t *
kvg_control_brief(KvgControl *control, const char *camera)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&control->lock);
    const Device *device = find_device(control, camera);
    if (device == NULL)
        return json_object();
    json_t *brief = kvg_settings_to_json(&device->settings);
    if (device->wishes.todo != NULL)
        json_object_set_new(brief, "wishes", json_deep_copy(device->wishes.todo));
    return brief;
}

bool
kvg_control_confirm(KvgControl *control, const json_t *packet)
{
    const char *wished = kvg_json_get_string(packet, "wished");
    const char *camera = kvg_json_get_string(packet, "camera");
    const char *problem = kvg_json_get_string(packet, "problem");
    if (wished == NULL || camera == NULL)
        return false;
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&control->lock);
    Device *device = find_device(control, camera);
    if (device == NULL || !kvg_wishes_confirm(&device->wishes, wished, problem))
        return true;
    if (problem != NULL)
        KVG_LOG_WARNING(LOG_DOMAIN, "CAMERA", camera,
                        "camera %s: its shadow asks for what cannot be done: %s", camera, problem);
    save(control);
    send_reported(device);
    return true;
}

json_t *
kvg_control_describe(KvgControl *control, const char *camera)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&control->lock);
    const Device *device = find_device(control, camera);
    if (device == NULL)
        return json_object();
    return json_pack("{s:b, s:o, s:o, s:o}", "connected", device->connected, "reason",
                     text_or_null(device->link), "problem", text_or_null(device->problem),
                     "settings", kvg_settings_to_json(&device->settings));
}
