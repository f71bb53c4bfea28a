#include "config/site.h"

#include "config/api.h"
#include "config/camera.h"
#include "config/config.h"

#include <string.h>

#define MAX_TAGS 40
#define MAX_WORKERS 1000

#define ENDPOINT_PATTERN "^([A-Za-z0-9.-]{1,253}|\\[[0-9A-Fa-f:.]+\\])(:[1-9][0-9]{0,4})?$"
#define TAG_PATTERN "^(?!aws:)[A-Za-z0-9 _.:/=+@-]{1,128}$"

static void
read_endpoint(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
{
    KvgConfig *config = target;
    g_autofree char *text = kvg_config_read_text(loader, key, node);
    if (text == NULL)
        return;
    g_autofree char *scheme = NULL, *user = NULL, *host = NULL, *path = NULL, *query = NULL;
    g_autofree char *fragment = NULL;
    int port = -1;
    bool good = g_uri_split(text, G_URI_FLAGS_NONE, &scheme, &user, &host, &port, &path, &query,
                            &fragment, NULL) &&
                (g_strcmp0(scheme, "http") == 0 || g_strcmp0(scheme, "https") == 0) &&
                user == NULL && host != NULL && host[0] != '\0' && port != 0 && query == NULL &&
                fragment == NULL && (path[0] == '\0' || g_str_equal(path, "/"));
    if (!good) {
        kvg_config_problem(loader, &node->start_mark, key,
                           "not an endpoint; write https://HOST[:PORT] and nothing after it");
        return;
    }
    if (g_str_has_suffix(text, "/"))
        text[strlen(text) - 1] = '\0';
    g_free(config->endpoint);
    config->endpoint = g_steal_pointer(&text);
}

static void
read_ca_bundle(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
{
    KvgConfig *config = target;
    kvg_config_replace_path(loader, key, node, &config->ca_bundle);
    if (config->ca_bundle != NULL)
        kvg_config_check_readable(loader, node, key, config->ca_bundle);
}

static void
visit_tag(KvgConfigLoader *loader,
          const char *key,
          const char *name,
          yaml_node_t *node,
          const yaml_mark_t *mark,
          void *data)
{
    KvgConfig *config = data;
    if (!g_regex_match_simple(TAG_PATTERN, name, G_REGEX_DOLLAR_ENDONLY, 0)) {
        kvg_config_problem(
            loader, mark, key,
            "use 1 to 128 letters, digits, blanks and _.:/=+@- that do not begin with aws:");
        return;
    }
    char *value = kvg_config_read_matching(loader, key, node, "^[A-Za-z0-9 _.:/=+@-]{0,256}$",
                                           "use up to 256 letters, digits, blanks and _.:/=+@-");
    if (value == NULL)
        return;
    g_ptr_array_add(config->tags, g_strdup(name));
    g_ptr_array_add(config->tags, value);
    if (config->tags->len > 2 * MAX_TAGS)
        kvg_config_problem(loader, mark, key, "more than %d tags", MAX_TAGS);
}

static void
read_tags(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
{
    kvg_config_each_key(loader, key, node, visit_tag, target);
}

static void
read_workers(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
{
    KvgConfig *config = target;
    g_autofree char *text = kvg_config_read_text(loader, key, node);
    guint64 number = 0;
    if (text == NULL)
        return;
    if (g_str_equal(text, "auto"))
        config->workers = KVG_CONFIG_WORKERS_AUTO;
    else if (g_str_equal(text, "per-camera"))
        config->workers = KVG_CONFIG_WORKERS_PER_CAMERA;
    else if (g_ascii_string_to_unsigned(text, 10, 1, MAX_WORKERS, &number, NULL))
        config->workers = (unsigned)number;
    else
        kvg_config_problem(loader, &node->start_mark, key,
                           "write auto, per-camera or a number from 1 to %d", MAX_WORKERS);
}

static void
read_later(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
{
}

static const KvgConfigKey identity_keys[] = {
    {"directory", KVG_CONFIG_PATH, KVG_CONFIG_AT(KvgConfig, identity_directory),
     .standard = "certs", .about = "Folder of certificates, private keys and provision.json"},
    {"role_alias", KVG_CONFIG_TEXT, KVG_CONFIG_AT(KvgConfig, role_alias),
     .pattern = "^[A-Za-z0-9_=,@-]{1,128}$", .remedy = "use 1 to 128 letters, digits and _=,@-",
     .standard = "KvgCamera", .about = "IoT role alias"},
    {"credentials_endpoint", KVG_CONFIG_TEXT, KVG_CONFIG_AT(KvgConfig, credentials_endpoint),
     .words = "auto", .pattern = ENDPOINT_PATTERN, .remedy = "write HOST, HOST:PORT or auto",
     .standard = "auto",
     .about = "HOST[:PORT] of the credentials provider; auto: asked for when provisioning"},
    {"mqtt_endpoint", KVG_CONFIG_TEXT, KVG_CONFIG_AT(KvgConfig, mqtt_endpoint), .words = "auto",
     .pattern = ENDPOINT_PATTERN, .remedy = "write HOST, HOST:PORT or auto", .standard = "auto",
     .scope = KVG_CONFIG_SCOPE_CONTROL,
     .about = "HOST[:PORT] of AWS IoT; auto: asked for when provisioning"},
    {"iam_role", KVG_CONFIG_TEXT, KVG_CONFIG_AT(KvgConfig, iam_role),
     .pattern = "^[A-Za-z0-9_+=,.@-]{1,64}$", .remedy = "use 1 to 64 letters, digits and _+=,.@-",
     .standard = "KvgCameraRole", .scope = KVG_CONFIG_SCOPE_NOBODY,
     .about = "Name of the IAM role that provisioning makes"},
    {"iot_policy", KVG_CONFIG_TEXT, KVG_CONFIG_AT(KvgConfig, iot_policy),
     .pattern = "^[A-Za-z0-9_+=,.@-]{1,128}$", .remedy = "use 1 to 128 letters, digits and _+=,.@-",
     .standard = "KvgCameraPolicy", .scope = KVG_CONFIG_SCOPE_NOBODY,
     .about = "Name of the IoT policy that provisioning makes"},
    {"thing_group", KVG_CONFIG_TEXT, KVG_CONFIG_AT(KvgConfig, thing_group),
     .pattern = "^[A-Za-z0-9_-]{1,128}$", .remedy = "use 1 to 128 letters, digits, _ and -",
     .scope = KVG_CONFIG_SCOPE_NOBODY,
     .about = "Thing group that provisioning makes and puts the things into"},
    {"tags", KVG_CONFIG_NAMED, .read = read_tags, .pattern = TAG_PATTERN,
     .scope = KVG_CONFIG_SCOPE_NOBODY, .about = "Tags of what provisioning makes"},
    {.name = NULL}};

static const KvgConfigKey spool_keys[] = {
    {"path", KVG_CONFIG_PATH, KVG_CONFIG_AT(KvgConfig, spool_path), .standard = "spool",
     .about = "Folder where video waits until it is persisted"},
    {"limit", KVG_CONFIG_SIZE, KVG_CONFIG_AT(KvgConfig, spool_limit_bytes), .least = 1024 * 1024,
     .remedy = "too small; give at least 1MiB", .standard = "20GiB",
     .about = "What all cameras together may keep; tier memory: 512MiB"},
    {"tier", KVG_CONFIG_CHOICE, KVG_CONFIG_AT(KvgConfig, spool_tier), .words = "auto|disk|memory",
     .standard = "auto", .about = "Memory and then disk, disk alone, or memory alone"},
    {"max_age", KVG_CONFIG_DURATION, KVG_CONFIG_AT(KvgConfig, spool_max_age_ms), .least = 10000,
     .remedy = "too short; give at least 10s", .about = "Video that waits longer goes"},
    {"memory_path", KVG_CONFIG_PATH, KVG_CONFIG_AT(KvgConfig, spool_memory_path),
     .about = "Folder in a tmpfs for the tiers auto and memory; without it /dev/shm/kvg-UID"},
    {.name = NULL}};

static const KvgConfigKey upload_keys[] = {
    {"catch_up", KVG_CONFIG_CHOICE, KVG_CONFIG_AT(KvgConfig, live_first),
     .words = "oldest-first|live-first", .standard = "oldest-first",
     .about = "After an outage: in the order recorded, or the newest at once and the rest beside"},
    {"bandwidth", KVG_CONFIG_BIT_RATE, KVG_CONFIG_AT(KvgConfig, backlog_bps), .words = "unlimited",
     .least = 16000, .remedy = "write a bit rate of at least 16k, or unlimited",
     .standard = "unlimited", .about = "Bit rate that catching up may use, for the whole site"},
    {.name = NULL}};

static const KvgConfigKey frames_keys[] = {
    {"path", KVG_CONFIG_PATH, KVG_CONFIG_AT(KvgConfig, frames_path), .standard = "frames",
     .about = "Folder of the sockets over which applications get frames; for this user only"},
    {.name = NULL}};

const KvgConfigKey kvg_config_site_keys[] = {
    {"workers", KVG_CONFIG_NUMBER, .read = read_workers, .words = "auto|per-camera", .least = 1,
     .most = 1000, .standard = "auto", .scope = KVG_CONFIG_SCOPE_WORKERS,
     .about = "Processes that run the cameras; auto: one for up to eight cameras"},
    {"region", KVG_CONFIG_TEXT, KVG_CONFIG_AT(KvgConfig, region),
     .pattern = "^[a-z]{2}(-[a-z]{1,16}){1,3}-[0-9]{1,2}$",
     .remedy = "write a region like us-east-1",
     .about = "AWS region; without it AWS_REGION or AWS_DEFAULT_REGION"},
    {"endpoint", KVG_CONFIG_TEXT, .read = read_endpoint, .pattern = "^https?://[^/?#@]+/?$",
     .about = "URL of a KVS-compatible server for all services; without it AWS"},
    {"ca_bundle", KVG_CONFIG_PATH, .read = read_ca_bundle,
     .about = "CA file (PEM) for the endpoints; without it the system's store"},
    {"identity", KVG_CONFIG_MAPPING, .keys = identity_keys,
     .about = "Certificates of the cameras and what provisioning makes"},
    {"spool", KVG_CONFIG_MAPPING, .keys = spool_keys,
     .about = "Where video waits until it is persisted"},
    {"upload", KVG_CONFIG_MAPPING, .keys = upload_keys, .about = "How video is sent"},
    {"frames", KVG_CONFIG_MAPPING, .keys = frames_keys,
     .about = "Decoded frames for applications, of cameras with frames: on"},
    {"api", KVG_CONFIG_MAPPING, .read = kvg_config_read_api, .keys = kvg_config_api_keys,
     .scope = KVG_CONFIG_SCOPE_API, .about = "Console and API"},
    {"defaults", KVG_CONFIG_MAPPING, .read = read_later, .keys = KVG_CONFIG_DEFAULT_KEYS,
     .scope = KVG_CONFIG_SCOPE_NONE, .about = "What cameras have unless they say otherwise"},
    {"cameras", KVG_CONFIG_NAMED, .read = read_later, .pattern = "^[A-Za-z0-9_-]{1,128}$",
     .keys = kvg_config_camera_keys, .is_required = true, .scope = KVG_CONFIG_SCOPE_NONE,
     .about = "The cameras: a name is IoT thing, stream and certificate file at once"},
    {.name = NULL}};
