#include "agent/identity.h"
#include "base/json.h"
#include "os/file.h"
#include <errno.h>
#include <kvg/error.h>
#include <string.h>
#include <unistd.h>

#define MAX_STATE_BYTES (4u * 1024 * 1024)

/* A member of what provisioning wrote down (g_free). */
static char *
provisioned(const KvgConfig *config, const char *key, GError **error)
{
    g_autofree char *path = g_build_filename(config->identity_directory, "provision.json", NULL);
    size_t len;
    g_autofree char *text = kvg_file_read(path, MAX_STATE_BYTES, &len, error);
    g_autoptr(json_t) state = text != NULL ? kvg_json_parse_object(text, len, error) : NULL;
    if (state == NULL)
        return NULL;
    const char *value = kvg_json_get_string(state, key);
    if (value == NULL)
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "%s names no %s", path, key);
    return g_strdup(value);
}

/* The endpoint of the configuration, or the one that provisioning asked for. */
static char *
credentials_endpoint(const KvgConfig *config, GError **error)
{
    return config->credentials_endpoint != NULL
               ? g_strdup(config->credentials_endpoint)
               : provisioned(config, "credentials_endpoint", error);
}

char *
kvg_agent_mqtt_endpoint(const KvgConfig *config)
{
    return config->mqtt_endpoint != NULL ? g_strdup(config->mqtt_endpoint)
                                         : provisioned(config, "mqtt_endpoint", NULL);
}

KvgCredentials *
kvg_agent_credentials(const KvgConfig *config, const KvgConfigCamera *camera, GError **error)
{
    const char *const files[] = {camera->certificate_path, camera->key_path};
    for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
        if (access(files[i], R_OK) == 0)
            continue;
        g_set_error(error, KVG_ERROR, KVG_ERROR_AUTH,
                    "not provisioned (%s: %s); run kvg provision -c %s", files[i],
                    g_strerror(errno), config->path);
        return NULL;
    }
    g_autoptr(GError) cause = NULL;
    g_autofree char *endpoint = credentials_endpoint(config, &cause);
    if (endpoint == NULL) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_AUTH,
                    "not provisioned (%s); run kvg provision -c %s", cause->message, config->path);
        return NULL;
    }
    const KvgIotIdentity identity = {.endpoint = endpoint,
                                     .role_alias = config->role_alias,
                                     .thing_name = camera->name,
                                     .certificate_path = camera->certificate_path,
                                     .key_path = camera->key_path,
                                     .ca_path = config->ca_bundle};
    return kvg_credentials_new_iot(&identity);
}
