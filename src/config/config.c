/* Reads kvg.yaml: a table of keys for each mapping says what a value means. A problem is noted with
 * its place and reading goes on, so that one run shows all of them. */
#include "config/config.h"

#include "base/text.h"
#include "config/camera.h"
#include "os/file.h"

#include <errno.h>
#include <kvg/error.h>
#include <string.h>

#define MAX_FILE_BYTES (1024 * 1024)
#define MAX_DEPTH 16
#define MAX_TAGS 40
#define MIN_SPOOL_AGE_MS 10000
#define DEFAULT_SPOOL_BYTES (20ULL << 30)
#define DEFAULT_SPOOL_BYTES_IN_MEMORY (512ULL << 20)

void
kvg_config_free(KvgConfig *config)
{
    if (config == NULL)
        return;
    g_free(config->path);
    g_free(config->region);
    g_free(config->endpoint);
    g_free(config->ca_bundle);
    g_free(config->identity_directory);
    g_free(config->role_alias);
    g_free(config->credentials_endpoint);
    g_free(config->mqtt_endpoint);
    g_free(config->iam_role);
    g_free(config->iot_policy);
    g_free(config->thing_group);
    if (config->tags != NULL)
        g_ptr_array_unref(config->tags);
    g_free(config->spool_path);
    g_free(config->spool_memory_path);
    g_free(config->api_address);
    g_ptr_array_unref(config->cameras);
    g_free(config);
}

KvgConfigCamera *
kvg_config_find_camera(const KvgConfig *config, const char *name)
{
    for (guint i = 0; i < config->cameras->len; i++) {
        KvgConfigCamera *camera = g_ptr_array_index(config->cameras, i);
        if (g_str_equal(camera->name, name))
            return camera;
    }
    return NULL;
}

/* ---- keys of the site ---- */

static void
replace_matching(KvgConfigLoader *loader,
                 const char *key,
                 const yaml_node_t *node,
                 const char *pattern,
                 const char *remedy,
                 char **target)
{
    g_autofree char *text = kvg_config_read_text(loader, key, node);
    if (text == NULL)
        return;
    if (!g_regex_match_simple(pattern, text, G_REGEX_DOLLAR_ENDONLY, 0)) {
        g_autofree char *seen = kvg_config_shown(text);
        kvg_config_problem(loader, &node->start_mark, key, "'%s' is not valid; %s", seen, remedy);
        return;
    }
    g_free(*target);
    *target = g_steal_pointer(&text);
}

static void
top_region(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
{
    replace_matching(loader, key, node, "^[a-z]{2}(-[a-z]{1,16}){1,3}-[0-9]{1,2}$",
                     "write a region like us-east-1", &((KvgConfig *)target)->region);
}

static void
top_endpoint(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
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
top_ca_bundle(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
{
    KvgConfig *config = target;
    kvg_config_replace_path(loader, key, node, &config->ca_bundle);
    if (config->ca_bundle != NULL && access(config->ca_bundle, R_OK) != 0)
        kvg_config_problem(loader, &node->start_mark, key, "cannot read %s: %s", config->ca_bundle,
                           g_strerror(errno));
}

static void
identity_directory(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
{
    kvg_config_replace_path(loader, key, node, &((KvgConfig *)target)->identity_directory);
}

static void
identity_role_alias(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
{
    replace_matching(loader, key, node, "^[A-Za-z0-9_=,@-]{1,128}$",
                     "use 1 to 128 letters, digits and _=,@-", &((KvgConfig *)target)->role_alias);
}

static void
identity_iam_role(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
{
    replace_matching(loader, key, node, "^[A-Za-z0-9_+=,.@-]{1,64}$",
                     "use 1 to 64 letters, digits and _+=,.@-", &((KvgConfig *)target)->iam_role);
}

static void
identity_iot_policy(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
{
    replace_matching(loader, key, node, "^[A-Za-z0-9_+=,.@-]{1,128}$",
                     "use 1 to 128 letters, digits and _+=,.@-",
                     &((KvgConfig *)target)->iot_policy);
}

/* `auto` is the same as nothing. */
static void
read_endpoint(KvgConfigLoader *loader, const char *key, yaml_node_t *node, char **endpoint)
{
    replace_matching(loader, key, node,
                     "^([A-Za-z0-9.-]{1,253}|\\[[0-9A-Fa-f:.]+\\])(:[1-9][0-9]{0,4})?$",
                     "write HOST, HOST:PORT or auto", endpoint);
    if (g_strcmp0(*endpoint, "auto") == 0)
        g_clear_pointer(endpoint, g_free);
}

static void
identity_thing_group(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
{
    replace_matching(loader, key, node, "^[A-Za-z0-9_-]{1,128}$",
                     "use 1 to 128 letters, digits, _ and -", &((KvgConfig *)target)->thing_group);
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
    char *value = NULL;
    if (!g_regex_match_simple("^(?!aws:)[A-Za-z0-9 _.:/=+@-]{1,128}$", name, 0, 0)) {
        kvg_config_problem(
            loader, mark, key,
            "use 1 to 128 letters, digits, blanks and _.:/=+@- that do not begin with aws:");
        return;
    }
    replace_matching(loader, key, node, "^[A-Za-z0-9 _.:/=+@-]{0,256}$",
                     "use up to 256 letters, digits, blanks and _.:/=+@-", &value);
    if (value == NULL)
        return;
    g_ptr_array_add(config->tags, g_strdup(name));
    g_ptr_array_add(config->tags, value);
    if (config->tags->len > 2 * MAX_TAGS)
        kvg_config_problem(loader, mark, key, "more than %d tags", MAX_TAGS);
}

static void
identity_tags(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
{
    kvg_config_each_key(loader, key, node, visit_tag, target);
}

static void
identity_endpoint(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
{
    read_endpoint(loader, key, node, &((KvgConfig *)target)->credentials_endpoint);
}

static void
identity_mqtt_endpoint(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
{
    read_endpoint(loader, key, node, &((KvgConfig *)target)->mqtt_endpoint);
}

static const KvgConfigKey identity_keys[] = {{"directory", identity_directory},
                                             {"role_alias", identity_role_alias},
                                             {"credentials_endpoint", identity_endpoint},
                                             {"mqtt_endpoint", identity_mqtt_endpoint},
                                             {"iam_role", identity_iam_role},
                                             {"iot_policy", identity_iot_policy},
                                             {"thing_group", identity_thing_group},
                                             {"tags", identity_tags},
                                             {NULL, NULL}};

static void
top_identity(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
{
    kvg_config_read_table(loader, key, node, identity_keys, target);
}

static void
spool_path(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
{
    kvg_config_replace_path(loader, key, node, &((KvgConfig *)target)->spool_path);
}

static void
spool_limit(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
{
    g_autofree char *text = kvg_config_read_text(loader, key, node);
    if (text == NULL)
        return;
    g_autoptr(GError) error = NULL;
    uint64_t bytes = 0;
    if (!kvg_parse_size(text, &bytes, &error))
        kvg_config_problem(loader, &node->start_mark, key, "%s", error->message);
    else if (bytes < 1024 * 1024)
        kvg_config_problem(loader, &node->start_mark, key, "too small; give at least 1MiB");
    else
        ((KvgConfig *)target)->spool_limit_bytes = bytes;
}

static void
spool_tier(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
{
    g_autofree char *text = kvg_config_read_text(loader, key, node);
    if (text == NULL || kvg_spool_tier_from_string(text, &((KvgConfig *)target)->spool_tier))
        return;
    g_autofree char *seen = kvg_config_shown(text);
    kvg_config_problem(loader, &node->start_mark, key,
                       "'%s' is not valid; write auto, disk or memory", seen);
}

static void
spool_max_age(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
{
    g_autofree char *text = kvg_config_read_text(loader, key, node);
    if (text == NULL)
        return;
    g_autoptr(GError) error = NULL;
    int64_t ms = 0;
    if (!kvg_parse_duration_ms(text, &ms, &error))
        kvg_config_problem(loader, &node->start_mark, key, "%s", error->message);
    else if (ms < MIN_SPOOL_AGE_MS)
        kvg_config_problem(loader, &node->start_mark, key, "too short; give at least 10s");
    else
        ((KvgConfig *)target)->spool_max_age_ms = ms;
}

static void
spool_memory_path(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
{
    kvg_config_replace_path(loader, key, node, &((KvgConfig *)target)->spool_memory_path);
}

static const KvgConfigKey spool_keys[] = {{"path", spool_path},
                                          {"limit", spool_limit},
                                          {"tier", spool_tier},
                                          {"max_age", spool_max_age},
                                          {"memory_path", spool_memory_path},
                                          {NULL, NULL}};

static void
top_spool(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
{
    kvg_config_read_table(loader, key, node, spool_keys, target);
}

static void
upload_catch_up(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
{
    g_autofree char *text = kvg_config_read_text(loader, key, node);
    if (text == NULL)
        return;
    ((KvgConfig *)target)->live_first = g_str_equal(text, "live-first");
    if (!g_str_equal(text, "live-first") && !g_str_equal(text, "oldest-first"))
        kvg_config_problem(loader, &node->start_mark, key, "write oldest-first or live-first");
}

static void
upload_bandwidth(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
{
    g_autofree char *text = kvg_config_read_text(loader, key, node);
    if (text == NULL)
        return;
    g_autoptr(GError) error = NULL;
    uint32_t bps = 0;
    if (g_str_equal(text, "unlimited"))
        ((KvgConfig *)target)->backlog_bps = 0;
    else if (!kvg_parse_bitrate(text, &bps, &error))
        kvg_config_problem(loader, &node->start_mark, key, "%s", error->message);
    else if (bps < 16000)
        kvg_config_problem(loader, &node->start_mark, key,
                           "write a bit rate of at least 16k, or unlimited");
    else
        ((KvgConfig *)target)->backlog_bps = bps;
}

static const KvgConfigKey upload_keys[] = {
    {"catch_up", upload_catch_up}, {"bandwidth", upload_bandwidth}, {NULL, NULL}};

static void
top_upload(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
{
    kvg_config_read_table(loader, key, node, upload_keys, target);
}

static void
api_address(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
{
    KvgConfig *config = target;
    g_autofree char *text = kvg_config_read_text(loader, key, node);
    if (text == NULL)
        return;
    if (!g_hostname_is_ip_address(text) && !g_str_equal(text, "localhost")) {
        kvg_config_problem(loader, &node->start_mark, key, "write an IP address, like 127.0.0.1");
        return;
    }
    g_free(config->api_address);
    config->api_address = g_steal_pointer(&text);
}

static void
api_port(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
{
    uint64_t port = 0;
    if (kvg_config_read_number(loader, key, node, 0, 65535, &port))
        ((KvgConfig *)target)->api_port = (uint16_t)port;
}

static const KvgConfigKey api_keys[] = {{"address", api_address}, {"port", api_port}, {NULL, NULL}};

static void
top_api(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
{
    kvg_config_read_table(loader, key, node, api_keys, target);
}

/* Read afterwards, when identity and defaults are known. */
static void
top_later(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
{
}

static const KvgConfigKey top_keys[] = {{"region", top_region},
                                        {"endpoint", top_endpoint},
                                        {"ca_bundle", top_ca_bundle},
                                        {"identity", top_identity},
                                        {"spool", top_spool},
                                        {"upload", top_upload},
                                        {"api", top_api},
                                        {"defaults", top_later},
                                        {"cameras", top_later},
                                        {NULL, NULL}};

static yaml_node_t *
find_node(KvgConfigLoader *loader, yaml_node_t *root, const char *name)
{
    for (yaml_node_pair_t *pair = root->data.mapping.pairs.start;
         pair < root->data.mapping.pairs.top; pair++) {
        yaml_node_t *key = yaml_document_get_node(&loader->document, pair->key);
        if (key->type == YAML_SCALAR_NODE && g_str_equal(kvg_config_scalar_text(key), name))
            return yaml_document_get_node(&loader->document, pair->value);
    }
    return NULL;
}

static void
read_region_of_environment(KvgConfigLoader *loader, const yaml_mark_t *mark, KvgConfig *config)
{
    const char *region = g_getenv("AWS_REGION");
    if (region == NULL || region[0] == '\0')
        region = g_getenv("AWS_DEFAULT_REGION");
    if (region == NULL || region[0] == '\0')
        kvg_config_problem(loader, mark, "region",
                           "missing; add region: us-east-1, or set AWS_REGION");
    else
        config->region = g_strdup(region);
}

static void
read_root(KvgConfigLoader *loader, KvgConfig *config)
{
    static const yaml_mark_t top = {0};
    yaml_node_t *root = yaml_document_get_root_node(&loader->document);
    if (root == NULL || root->type != YAML_MAPPING_NODE) {
        kvg_config_problem(loader, &top, "", "a mapping with region and cameras is expected");
        return;
    }
    kvg_config_read_table(loader, "", root, top_keys, config);
    if (config->region == NULL && find_node(loader, root, "region") == NULL)
        read_region_of_environment(loader, &root->start_mark, config);
    if (config->spool_limit_bytes == 0)
        config->spool_limit_bytes = config->spool_tier == KVG_SPOOL_TIER_MEMORY
                                        ? DEFAULT_SPOOL_BYTES_IN_MEMORY
                                        : DEFAULT_SPOOL_BYTES;
    KvgConfigCamera *defaults =
        kvg_config_read_defaults(loader, find_node(loader, root, "defaults"));
    yaml_node_t *cameras = find_node(loader, root, "cameras");
    KvgConfigCameras context = {config, defaults};
    if (cameras == NULL)
        kvg_config_problem(loader, &root->start_mark, "cameras",
                           "missing; name at least one camera");
    else if (kvg_config_is_null(cameras) ||
             (cameras->type == YAML_MAPPING_NODE &&
              cameras->data.mapping.pairs.start == cameras->data.mapping.pairs.top))
        kvg_config_problem(loader, &cameras->start_mark, "cameras",
                           "empty; name at least one camera");
    else
        kvg_config_each_key(loader, "cameras", cameras, kvg_config_visit_camera, &context);
    kvg_config_camera_free(defaults);
}

static void
yaml_problem(KvgConfigLoader *loader, const yaml_parser_t *parser)
{
    const yaml_mark_t *mark = &parser->problem_mark;
    kvg_config_problem(loader, mark, "", "not YAML: %s%s%s",
                       parser->problem != NULL ? parser->problem : "cannot be read",
                       parser->context != NULL ? " " : "",
                       parser->context != NULL ? parser->context : "");
}

/* Looks at the events alone, before anything is built: aliases could make a small file endless. */
static void
prescan(KvgConfigLoader *loader, const char *text, size_t len)
{
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        g_error("out of memory");
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
    unsigned depth = 0, documents = 0;
    for (bool more = true; more && loader->n_problems == 0;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            yaml_problem(loader, &parser);
            break;
        }
        bool opens =
            event.type == YAML_MAPPING_START_EVENT || event.type == YAML_SEQUENCE_START_EVENT;
        bool closes = event.type == YAML_MAPPING_END_EVENT || event.type == YAML_SEQUENCE_END_EVENT;
        depth = depth + opens - closes;
        documents += event.type == YAML_DOCUMENT_START_EVENT;
        if (event.type == YAML_ALIAS_EVENT)
            kvg_config_problem(loader, &event.start_mark, "",
                               "aliases (*name) are not allowed; repeat the value");
        else if (depth > MAX_DEPTH)
            kvg_config_problem(loader, &event.start_mark, "", "nested too deeply");
        else if (documents > 1)
            kvg_config_problem(loader, &event.start_mark, "",
                               "a second document; keep one per file");
        more = event.type != YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
}

static void
read_document(KvgConfigLoader *loader, const char *text, size_t len, KvgConfig *config)
{
    prescan(loader, text, len);
    if (loader->n_problems > 0)
        return;
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        g_error("out of memory");
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
    if (yaml_parser_load(&parser, &loader->document)) {
        read_root(loader, config);
        yaml_document_delete(&loader->document);
    } else {
        yaml_problem(loader, &parser);
    }
    yaml_parser_delete(&parser);
}

static KvgConfig *
config_new(const char *path, const char *folder)
{
    KvgConfig *config = g_new0(KvgConfig, 1);
    config->path = g_strdup(path);
    config->identity_directory = g_build_filename(folder, "certs", NULL);
    config->role_alias = g_strdup("KvgCamera");
    config->iam_role = g_strdup("KvgCameraRole");
    config->iot_policy = g_strdup("KvgCameraPolicy");
    config->tags = g_ptr_array_new_with_free_func(g_free);
    config->spool_path = g_build_filename(folder, "spool", NULL);
    config->api_address = g_strdup("127.0.0.1");
    config->api_port = 8080;
    config->cameras = g_ptr_array_new_with_free_func(kvg_config_camera_free);
    return config;
}

KvgConfig *
kvg_config_load(const char *path, GError **error)
{
    size_t len = 0;
    g_autofree char *text = kvg_file_read(path, MAX_FILE_BYTES, &len, error);
    if (text == NULL)
        return NULL;
    g_autofree char *folder = g_path_get_dirname(path);
    g_autoptr(KvgConfig) config = config_new(path, folder);
    g_autoptr(GString) problems = g_string_new(NULL);
    KvgConfigLoader loader = {.path = path, .folder = folder, .problems = problems};
    read_document(&loader, text, len, config);
    explicit_bzero(text, len);
    if (loader.n_problems == 0)
        return g_steal_pointer(&config);
    if (loader.n_problems > KVG_CONFIG_MAX_PROBLEMS)
        g_string_append_printf(problems, "\n%s: and %u more problems", path,
                               loader.n_problems - KVG_CONFIG_MAX_PROBLEMS);
    g_set_error_literal(error, KVG_ERROR, KVG_ERROR_INVALID, problems->str);
    return NULL;
}
