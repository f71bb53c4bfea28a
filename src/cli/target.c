#include "cli/target.h"
#include <string.h>

void
kvg_target_clear(KvgTarget *target)
{
    kvg_config_unref(target->config);
    kvg_credentials_unref(target->credentials);
    g_free(target->config_path);
    g_free(target->profile);
    g_free(target->region);
    g_free(target->endpoint);
    g_free(target->ca_bundle);
    *target = (KvgTarget){0};
}

bool
kvg_target_open_config(KvgTarget *target, GError **error)
{
    target->config =
        kvg_config_load(target->config_path != NULL ? target->config_path : "kvg.yaml", error);
    return target->config != NULL;
}

bool
kvg_target_open(KvgTarget *target, GError **error)
{
    if (!kvg_target_open_config(target, error))
        return false;
    target->credentials = kvg_credentials_new_default(target->profile, error);
    return target->credentials != NULL;
}

const char *
kvg_target_region(const KvgTarget *target)
{
    return target->region != NULL ? target->region : target->config->region;
}

const char *
kvg_target_ca(const KvgTarget *target)
{
    if (target->ca_bundle != NULL)
        return target->ca_bundle;
    const char *given = g_getenv("AWS_CA_BUNDLE");
    return given != NULL && given[0] != '\0' ? given : target->config->ca_bundle;
}

char *
kvg_target_url(const KvgTarget *target, const char *service)
{
    g_autofree char *upper = strcmp(service, "kinesisvideo") == 0 ? g_strdup("KINESIS_VIDEO")
                                                                  : g_ascii_strup(service, -1);
    g_autofree char *own = g_strdup_printf("AWS_ENDPOINT_URL_%s", upper);
    const char *const candidates[] = {target->endpoint, g_getenv(own), g_getenv("AWS_ENDPOINT_URL"),
                                      target->config->endpoint};
    for (size_t i = 0; i < G_N_ELEMENTS(candidates); i++) {
        if (candidates[i] != NULL && candidates[i][0] != '\0')
            return kvg_aws_base_url(service, kvg_target_region(target), candidates[i]);
    }
    return kvg_aws_base_url(service, kvg_target_region(target), NULL);
}
