/* Which services the commands talk to: the options every command that calls AWS takes, the
 * environment, the configuration. */
#pragma once

#include "aws/client.h"
#include "config/config.h"

typedef struct {
    /* options; filled by GOption, see KVG_TARGET_OPTIONS */
    char *config_path, *profile, *region, *endpoint, *ca_bundle;
    /* what they come to */
    KvgConfig *config;
    KvgCredentials *credentials;
} KvgTarget;
void kvg_target_clear(KvgTarget *target);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(KvgTarget, kvg_target_clear)

#define KVG_TARGET_OPTIONS(target)                                                                  \
    {"config", 'c', 0, G_OPTION_ARG_FILENAME, &(target).config_path, "configuration (kvg.yaml)",    \
     "FILE"},                                                                                       \
        {"profile",                                                                                 \
         0,                                                                                         \
         0,                                                                                         \
         G_OPTION_ARG_STRING,                                                                       \
         &(target).profile,                                                                         \
         "profile of the AWS credentials file",                                                     \
         "NAME"},                                                                                   \
        {"region", 0, 0, G_OPTION_ARG_STRING, &(target).region, "AWS region (the configuration's)", \
         "REGION"},                                                                                 \
        {"endpoint-url",                                                                            \
         0,                                                                                         \
         0,                                                                                         \
         G_OPTION_ARG_STRING,                                                                       \
         &(target).endpoint,                                                                        \
         "one URL for all services (the configuration's, or AWS)",                                  \
         "URL"},                                                                                    \
    {                                                                                               \
        "ca-bundle", 0, 0, G_OPTION_ARG_FILENAME, &(target).ca_bundle, "CA file for that URL",      \
            "FILE"                                                                                  \
    }

/* Reads the configuration alone. */
bool kvg_target_open_config(KvgTarget *target, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Reads the configuration and the credentials. */
bool kvg_target_open(KvgTarget *target, GError **error) G_GNUC_WARN_UNUSED_RESULT;
const char *kvg_target_region(const KvgTarget *target);
const char *kvg_target_ca(const KvgTarget *target);
/* The option, AWS_ENDPOINT_URL_SERVICE, AWS_ENDPOINT_URL, the configuration, AWS (g_free). */
char *kvg_target_url(const KvgTarget *target, const char *service);
