/* Reads kvg.yaml as a whole. A problem is noted with its place and reading goes on, so that one run
 * shows all of them. */
#include "config/config.h"

#include "config/camera.h"
#include "config/fingerprint.h"
#include "config/private.h"
#include "config/site.h"
#include "os/file.h"

#include <errno.h>
#include <kvg/error.h>
#include <string.h>

#define MAX_FILE_BYTES (1024 * 1024)
#define MAX_DEPTH 16
#define DEFAULT_SPOOL_BYTES (20ULL << 30)
#define DEFAULT_SPOOL_BYTES_IN_MEMORY (512ULL << 20)

static void
config_clear(void *data)
{
    KvgConfig *config = data;
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
    g_ptr_array_unref(config->tags);
    g_free(config->spool_path);
    g_free(config->spool_memory_path);
    g_free(config->frames_path);
    g_free(config->api_address);
    if (config->api_token != NULL)
        explicit_bzero(config->api_token, strlen(config->api_token));
    g_free(config->api_token);
    g_free(config->api_certificate);
    g_free(config->api_private_key);
    g_ptr_array_unref(config->cameras);
    g_bytes_unref(config->text);
    g_hash_table_unref(config->files);
    for (size_t i = 0; i < G_N_ELEMENTS(config->fingerprints); i++)
        g_free(config->fingerprints[i]);
}

KvgConfig *
kvg_config_ref(KvgConfig *config)
{
    return g_atomic_rc_box_acquire(config);
}

void
kvg_config_unref(KvgConfig *config)
{
    if (config != NULL)
        g_atomic_rc_box_release_full(config, config_clear);
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
    kvg_config_read_table(loader, "", root, kvg_config_site_keys, config);
    if (config->region == NULL && kvg_config_find(loader, root, "region") == NULL)
        read_region_of_environment(loader, &root->start_mark, config);
    if (config->spool_limit_bytes == 0)
        config->spool_limit_bytes = config->spool_tier == KVG_SPOOL_TIER_MEMORY
                                        ? DEFAULT_SPOOL_BYTES_IN_MEMORY
                                        : DEFAULT_SPOOL_BYTES;
    yaml_node_t *defaults_node = kvg_config_find(loader, root, "defaults");
    KvgConfigCamera *defaults = kvg_config_read_defaults(loader, defaults_node);
    yaml_node_t *cameras = kvg_config_find(loader, root, "cameras");
    KvgConfigCameras context = {config, defaults, defaults_node};
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
    for (int scope = 0; scope < KVG_CONFIG_N_SCOPES; scope++)
        config->fingerprints[scope] =
            kvg_config_site_fingerprint(loader, root, (KvgConfigScope)scope);
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
    KvgConfig *config = g_atomic_rc_box_new0(KvgConfig);
    config->path = g_strdup(path);
    config->identity_directory = g_build_filename(folder, "certs", NULL);
    config->role_alias = g_strdup("KvgCamera");
    config->iam_role = g_strdup("KvgCameraRole");
    config->iot_policy = g_strdup("KvgCameraPolicy");
    config->tags = g_ptr_array_new_with_free_func(g_free);
    config->spool_path = g_build_filename(folder, "spool", NULL);
    config->frames_path = g_build_filename(folder, "frames", NULL);
    config->api_address = g_strdup("127.0.0.1");
    config->api_port = 8080;
    config->cameras = g_ptr_array_new_with_free_func(kvg_config_camera_free);
    return config;
}

static void
forget_bytes(void *data)
{
    g_bytes_unref(data);
}

GHashTable *
kvg_config_files_new(void)
{
    return g_hash_table_new_full(g_str_hash, g_str_equal, g_free, forget_bytes);
}

KvgConfig *
kvg_config_parse(const char *path, GBytes *text, GHashTable *files, GError **error)
{
    size_t len;
    const char *data = g_bytes_get_data(text, &len);
    g_autofree char *folder = g_path_get_dirname(path);
    g_autoptr(KvgConfig) config = config_new(path, folder);
    config->text = g_bytes_ref(text);
    config->files = files != NULL ? g_hash_table_ref(files) : kvg_config_files_new();
    g_autoptr(GString) problems = g_string_new(NULL);
    KvgConfigLoader loader = {.path = path,
                              .folder = folder,
                              .files = config->files,
                              .is_replay = files != NULL,
                              .problems = problems};
    read_document(&loader, data != NULL ? data : "", len, config);
    if (loader.n_problems == 0)
        return g_steal_pointer(&config);
    if (loader.n_problems > KVG_CONFIG_MAX_PROBLEMS)
        g_string_append_printf(problems, "\n%s: and %u more problems", path,
                               loader.n_problems - KVG_CONFIG_MAX_PROBLEMS);
    g_set_error_literal(error, KVG_ERROR, KVG_ERROR_INVALID, problems->str);
    return NULL;
}

KvgConfig *
kvg_config_load(const char *path, GError **error)
{
    size_t len = 0;
    char *data = kvg_file_read(path, MAX_FILE_BYTES, &len, error);
    if (data == NULL)
        return NULL;
    g_autoptr(GBytes) text = g_bytes_new_take(data, len);
    return kvg_config_parse(path, text, NULL, error);
}
