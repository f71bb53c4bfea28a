#include "config/camera.h"

#include "base/text.h"
#include "config/fingerprint.h"
#include "config/mode_keys.h"
#include "config/source.h"

#include <kvg/error.h>
#include <string.h>

#define MAX_CAMERAS 1000
#define MAX_RETENTION_HOURS 87600

void
kvg_config_camera_free(void *data)
{
    KvgConfigCamera *camera = data;
    if (camera == NULL)
        return;
    if (camera->password != NULL)
        explicit_bzero(camera->password, strlen(camera->password));
    g_free(camera->name);
    g_free(camera->source);
    g_free(camera->username);
    g_free(camera->password);
    g_free(camera->certificate_path);
    g_free(camera->key_path);
    g_free(camera->fingerprint);
    g_free(camera->encoder);
    g_free(camera->rtsp.ca_bundle);
    g_free(camera->rtsp.certificate);
    g_free(camera->file.time);
    g_free(camera);
}

KvgConfigCamera *
kvg_config_camera_copy(const KvgConfigCamera *from)
{
    KvgConfigCamera *camera = g_memdup2(from, sizeof *from);
    camera->name = g_strdup(from->name);
    camera->source = g_strdup(from->source);
    camera->username = g_strdup(from->username);
    camera->password = g_strdup(from->password);
    camera->certificate_path = g_strdup(from->certificate_path);
    camera->key_path = g_strdup(from->key_path);
    camera->fingerprint = g_strdup(from->fingerprint);
    camera->encoder = g_strdup(from->encoder);
    camera->rtsp.ca_bundle = g_strdup(from->rtsp.ca_bundle);
    camera->rtsp.certificate = g_strdup(from->rtsp.certificate);
    camera->file.time = g_strdup(from->file.time);
    return camera;
}

/* A camera while it is being read: what only matters until the mapping has ended. */
typedef struct {
    KvgConfigCamera camera; /* first: the rows of the table are about it */
    char *username, *password;
    bool has_source, has_password, has_password_file;
} Draft;

static void
read_source(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
{
    Draft *draft = target;
    draft->has_source = true;
    kvg_config_read_source(loader, key, node, &draft->camera);
}

static void
draft_password(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
{
    Draft *draft = target;
    draft->has_password = true;
    if (draft->has_password_file)
        kvg_config_problem(loader, &node->start_mark, key,
                           "password and password_file together; remove one");
    (void)kvg_config_replace_text(loader, key, node, &draft->password);
}

static void
draft_password_file(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
{
    Draft *draft = target;
    draft->has_password_file = true;
    if (draft->has_password)
        kvg_config_problem(loader, &node->start_mark, key,
                           "password and password_file together; remove one");
    g_autofree char *text = kvg_config_read_text(loader, key, node);
    if (text == NULL)
        return;
    g_autofree char *path = kvg_config_resolve(loader, text);
    char *secret = kvg_config_read_secret(loader, node, key, path);
    if (secret == NULL)
        return;
    g_free(draft->password);
    draft->password = secret;
}

static void
draft_retention(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
{
    g_autofree char *text = kvg_config_read_text(loader, key, node);
    if (text == NULL)
        return;
    g_autoptr(GError) error = NULL;
    int64_t ms = 0;
    if (!kvg_parse_duration_ms(text, &ms, &error))
        kvg_config_problem(loader, &node->start_mark, key, "%s", error->message);
    else if (ms % 3600000 != 0 || ms / 3600000 > MAX_RETENTION_HOURS)
        kvg_config_problem(loader, &node->start_mark, key,
                           "write whole hours from 0h to 87600h, like 24h or 7d");
    else
        ((Draft *)target)->camera.retention_hours = ms / 3600000;
}

static void
read_dimension(KvgConfigLoader *loader, const char *key, yaml_node_t *node, uint32_t *target)
{
    uint64_t value = 0;
    if (!kvg_config_read_number(loader, key, node, 16, 7680, &value))
        return;
    if (value % 2 != 0)
        kvg_config_problem(loader, &node->start_mark, key, "encoders need an even number");
    *target = (uint32_t)value;
}

static void
video_width(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
{
    read_dimension(loader, key, node, &((KvgConfigCamera *)target)->width);
}

static void
video_height(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
{
    read_dimension(loader, key, node, &((KvgConfigCamera *)target)->height);
}

static const KvgConfigKey video_keys[] = {
    {"width", KVG_CONFIG_NUMBER, .read = video_width, .least = 16, .most = 7680, .standard = "1280",
     .about = "Width that the picture is at most, in pixels; even"},
    {"height", KVG_CONFIG_NUMBER, .read = video_height, .least = 16, .most = 7680,
     .standard = "720", .about = "Height that the picture is at most, in pixels; even"},
    {"fps", KVG_CONFIG_NUMBER, KVG_CONFIG_AT(KvgConfigCamera, fps), .least = 1, .most = 120,
     .about = "Frames a second; without it the source's"},
    {"bitrate", KVG_CONFIG_BIT_RATE, KVG_CONFIG_AT(KvgConfigCamera, bitrate_bps), .least = 16000,
     .most = 200000000, .remedy = "write a bit rate from 16k to 200M, like 1500k",
     .standard = "1500k", .about = "Bit rate to encode to"},
    {.name = NULL}};

static void
draft_video(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
{
    KvgConfigCamera *camera = &((Draft *)target)->camera;
    if (node->type == YAML_MAPPING_NODE) {
        camera->passthrough = camera->video_auto = false;
        kvg_config_read_table(loader, key, node, video_keys, camera);
        return;
    }
    g_autofree char *text = kvg_config_read_text(loader, key, node);
    if (text == NULL)
        return;
    camera->video_auto = g_str_equal(text, "auto");
    if (!g_str_equal(text, "passthrough") && !camera->video_auto)
        kvg_config_problem(
            loader, &node->start_mark, key,
            "write passthrough, auto, or a mapping with width, height, fps, bitrate");
    camera->passthrough = true;
}

static void
draft_schedule(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
{
    kvg_config_read_schedule(loader, key, node, &((Draft *)target)->camera.mode.schedule);
}

static void
draft_zone(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
{
    kvg_config_read_zone(loader, key, node, &((Draft *)target)->camera.mode.schedule);
}

static void
draft_event(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
{
    kvg_config_read_table(loader, key, node, kvg_config_event_keys,
                          &((Draft *)target)->camera.mode);
}

static const KvgConfigKey watchdog_keys[] = {
    {"frames", KVG_CONFIG_DURATION, KVG_CONFIG_AT(KvgConfigCamera, watch_frames_ms), .least = 2000,
     .most = 3600000, .remedy = "write a duration from 2s to 1h", .standard = "10s",
     .about = "Without a frame for so long a camera is stalled, and then connected anew"},
    {"persisted", KVG_CONFIG_DURATION, KVG_CONFIG_AT(KvgConfigCamera, watch_persisted_ms),
     .least = 10000, .most = 86400000, .remedy = "write a duration from 10s to 1d, or off",
     .words = "off", .standard = "60s",
     .about = "Without an acknowledgement for so long the camera's reason says so"},
    {.name = NULL}};

#define SECRET_ABOUT "in the first line of a file of mode 0600"

const KvgConfigKey kvg_config_camera_keys[] = {
    {"source", KVG_CONFIG_TEXT, .read = read_source, .pattern = KVG_CONFIG_SOURCE_PATTERN,
     .is_required = true, .about = KVG_CONFIG_SOURCE_ABOUT},
    {"username", KVG_CONFIG_TEXT, KVG_CONFIG_AT(Draft, username), .about = "For the camera"},
    {"password", KVG_CONFIG_TEXT, .read = draft_password,
     .about = "For the camera; prefer password_file or ${NAME}"},
    {"password_file", KVG_CONFIG_PATH, .read = draft_password_file,
     .about = "The camera's password " SECRET_ABOUT},
    {"streaming", KVG_CONFIG_SWITCH, KVG_CONFIG_AT(Draft, camera.streaming), .standard = "on",
     .about = "Whether the camera streams"},
    {"retention", KVG_CONFIG_DURATION, .read = draft_retention, .standard = "24h",
     .about = "How long KVS keeps the video; whole hours"},
    {"fragment", KVG_CONFIG_DURATION, KVG_CONFIG_AT(Draft, camera.fragment_ms), .least = 1000,
     .most = 10000, .remedy = "write a duration from 1s to 10s",
     .about = "Length of a fragment; without it each key frame begins one"},
    {"video", KVG_CONFIG_MAPPING, .read = draft_video, .words = "passthrough|auto",
     .keys = video_keys, .standard = "passthrough",
     .about = "Passed on as it comes; auto: unless it plays badly; or encoded to this"},
    {"mode", KVG_CONFIG_CHOICE, KVG_CONFIG_AT(Draft, camera.mode.kind), .words = KVG_MODE_WORDS,
     .standard = "always", .about = "When it uploads"},
    {"schedule", KVG_CONFIG_LIST, .read = draft_schedule, .pattern = KVG_WINDOW_PATTERN,
     .about = "Windows in which it is on, like mon-fri 08:00-18:00"},
    {"timezone", KVG_CONFIG_TEXT, .read = draft_zone,
     .about = "Of the schedule, like Europe/Berlin; without it the machine's"},
    {"event", KVG_CONFIG_MAPPING, .read = draft_event, .keys = kvg_config_event_keys,
     .about = "What goes up around an event"},
    {"keep", KVG_CONFIG_DURATION, KVG_CONFIG_AT(Draft, camera.mode.keep_ms), .least = 10000,
     .remedy = "write a duration of at least 10s",
     .about =
         "How long recording waits to be asked for; without it 24h, of events pre_roll and 30s"},
    {"audio", KVG_CONFIG_SWITCH, KVG_CONFIG_AT(Draft, camera.audio), .standard = "on",
     .about = "Whether the camera's sound is stored"},
    {"frames", KVG_CONFIG_SWITCH, KVG_CONFIG_AT(Draft, camera.frames), .standard = "off",
     .about = "Whether applications on this machine may get its decoded frames"},
    {"encoder", KVG_CONFIG_TEXT, KVG_CONFIG_AT(Draft, camera.encoder), .words = "auto",
     .pattern = "^[a-z0-9]{2,40}$", .remedy = "write auto, or the name of a GStreamer element",
     .standard = "auto", .about = "What encodes; auto tries what there is, hardware first"},
    {"watchdog", KVG_CONFIG_MAPPING, .keys = watchdog_keys,
     .about = "How long something may fail to happen"},
    {"rtsp", KVG_CONFIG_MAPPING, .keys = kvg_config_rtsp_keys, .about = "For rtsp and rtsps"},
    {"v4l2", KVG_CONFIG_MAPPING, .keys = kvg_config_v4l2_keys, .about = "For v4l2 sources"},
    {"file", KVG_CONFIG_MAPPING, .keys = kvg_config_file_keys, .about = "For file sources"},
    {"shm", KVG_CONFIG_MAPPING, .keys = kvg_config_shm_keys, .about = "For shm sources"},
    {.name = NULL}};

/* Login of the camera: in the URL or in keys; the defaults only where neither says anything. */
static void
settle_login(KvgConfigLoader *loader,
             const char *key,
             const yaml_mark_t *mark,
             Draft *draft,
             const KvgConfigCamera *defaults)
{
    KvgConfigCamera *camera = &draft->camera;
    bool in_url = camera->username != NULL;
    if (in_url && (draft->username != NULL || draft->password != NULL)) {
        kvg_config_problem(loader, mark, key,
                           "user in the URL and in username or password; remove one");
    } else if (!in_url) {
        bool own_name = draft->username != NULL;
        camera->username = g_strdup(own_name ? draft->username : defaults->username);
        camera->password = g_strdup(draft->password != NULL ? draft->password : defaults->password);
    }
    if (camera->password != NULL && camera->username == NULL)
        kvg_config_problem(loader, mark, key, "a password without username; add username");
    if (draft->password != NULL)
        explicit_bzero(draft->password, strlen(draft->password));
    g_clear_pointer(&draft->username, g_free);
    g_clear_pointer(&draft->password, g_free);
}

void
kvg_config_visit_camera(KvgConfigLoader *loader,
                        const char *key,
                        const char *name,
                        yaml_node_t *node,
                        const yaml_mark_t *mark,
                        void *data)
{
    const KvgConfigCameras *cameras = data;
    KvgConfig *config = cameras->config;
    if (!kvg_name_is_camera(name)) {
        kvg_config_problem(loader, mark, key,
                           "bad camera name; use 1 to 128 letters, digits, '-' and '_'");
        return;
    }
    if (config->cameras->len >= MAX_CAMERAS) {
        if (config->cameras->len == MAX_CAMERAS)
            kvg_config_problem(loader, mark, key, "more than %d cameras; split the file",
                               MAX_CAMERAS);
        g_ptr_array_set_size(config->cameras, MAX_CAMERAS + 1);
        return;
    }
    g_autofree KvgConfigCamera *copy = kvg_config_camera_copy(cameras->defaults);
    Draft draft = {.camera = *copy};
    draft.camera.name = g_strdup(name);
    draft.camera.line = (unsigned)mark->line + 1;
    g_clear_pointer(&draft.camera.username, g_free); /* settled below */
    g_clear_pointer(&draft.camera.password, g_free);
    kvg_config_read_table(loader, key, node, kvg_config_camera_keys, &draft);
    if (node->type == YAML_MAPPING_NODE && !draft.has_source)
        kvg_config_problem(loader, mark, key, "source is missing; add source: rtsp://HOST/PATH");
    settle_login(loader, key, mark, &draft, cameras->defaults);
    kvg_config_settle_mode(loader, key, mark, node, &draft.camera.mode);
    kvg_config_check_source(loader, key, mark, &draft.camera);
    g_autofree char *certificate = g_strconcat(name, ".cert.pem", NULL);
    g_autofree char *private_key = g_strconcat(name, ".private.key", NULL);
    draft.camera.certificate_path = g_build_filename(config->identity_directory, certificate, NULL);
    draft.camera.key_path = g_build_filename(config->identity_directory, private_key, NULL);
    draft.camera.fingerprint = kvg_config_camera_fingerprint(loader, node, cameras->defaults_node);
    g_ptr_array_add(config->cameras, g_memdup2(&draft.camera, sizeof draft.camera));
}

KvgConfigCamera *
kvg_config_read_defaults(KvgConfigLoader *loader, yaml_node_t *node)
{
    Draft draft = {.camera = {.streaming = true,
                              .passthrough = true,
                              .width = 1280,
                              .height = 720,
                              .bitrate_bps = 1500000,
                              .mode = {.pre_roll_ms = 10000, .post_roll_ms = 30000},
                              .audio = true,
                              .watch_frames_ms = 10000,
                              .watch_persisted_ms = 60000,
                              .rtsp = {.latency_ms = 200},
                              .retention_hours = 24}};
    if (node != NULL)
        kvg_config_read_table(loader, "defaults", node, KVG_CONFIG_DEFAULT_KEYS, &draft);
    draft.camera.username = draft.username;
    draft.camera.password = draft.password;
    return g_memdup2(&draft.camera, sizeof draft.camera);
}
