/* kvg import panorama, and the same as the first step of kvg panorama deploy: documents in, a
 * configuration with its secrets and certificates out. */
#pragma once

#include "cli/install.h"
#include "config/config.h"
#include "panorama/files.h"
#include "panorama/record.h"

typedef struct {
    /* options */
    char *graph, **overrides, *packages, *cameras, *certs, *output, *name, *owner;
    char *region, *role_alias, *endpoint, *ca_bundle;
    gboolean dry_run, force, json;
    bool adds; /* the cameras go into a configuration that may be there */
    /* what they come to */
    KvgGraphSources sources;
    KvgGraph *application;
    KvgPlan *plan;
    KvgProblems problems;
    char *folder, *config_path;
    KvgConfig *existing; /* NULL: none */
    KvgInstall *install;
    char *config_text;
} KvgImport;

void kvg_import_init(KvgImport *import);
void kvg_import_clear(KvgImport *import);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(KvgImport, kvg_import_clear)

#define KVG_IMPORT_OPTIONS(import)                                                                 \
    {"graph", 'g', 0, G_OPTION_ARG_FILENAME, &(import).graph, "graph.json", "FILE"},               \
        {"override",                                                                               \
         0,                                                                                        \
         0,                                                                                        \
         G_OPTION_ARG_FILENAME_ARRAY,                                                              \
         &(import).overrides,                                                                      \
         "override manifest; several add up",                                                      \
         "FILE"},                                                                                  \
        {"packages",                                                                               \
         0,                                                                                        \
         0,                                                                                        \
         G_OPTION_ARG_FILENAME,                                                                    \
         &(import).packages,                                                                       \
         "folder of the node packages (packages/ of the graph's project)",                         \
         "DIR"},                                                                                   \
        {"cameras",                                                                                \
         0,                                                                                        \
         0,                                                                                        \
         G_OPTION_ARG_FILENAME,                                                                    \
         &(import).cameras,                                                                        \
         "JSON: camera name to StreamUrl, Username, Password",                                     \
         "FILE"},                                                                                  \
        {"certs",                                                                                  \
         0,                                                                                        \
         0,                                                                                        \
         G_OPTION_ARG_FILENAME,                                                                    \
         &(import).certs,                                                                          \
         "folder with NAME-cert.pem and NAME-private.key",                                         \
         "DIR"},                                                                                   \
        {"name",                                                                                   \
         0,                                                                                        \
         0,                                                                                        \
         G_OPTION_ARG_STRING,                                                                      \
         &(import).name,                                                                           \
         "of the application instance (the graph's folder)",                                       \
         "NAME"},                                                                                  \
        {"owner",                                                                                  \
         0,                                                                                        \
         0,                                                                                        \
         G_OPTION_ARG_STRING,                                                                      \
         &(import).owner,                                                                          \
         "account id to write into the manifests that are kept",                                   \
         "ID"},                                                                                    \
        {"region",                                                                                 \
         0,                                                                                        \
         0,                                                                                        \
         G_OPTION_ARG_STRING,                                                                      \
         &(import).region,                                                                         \
         "AWS region (kvs_region, AWS_REGION)",                                                    \
         "REGION"},                                                                                \
        {"role-alias",                                                                             \
         0,                                                                                        \
         0,                                                                                        \
         G_OPTION_ARG_STRING,                                                                      \
         &(import).role_alias,                                                                     \
         "IoT role alias (iot_role_alias)",                                                        \
         "NAME"},                                                                                  \
        {"endpoint-url",                                                                           \
         0,                                                                                        \
         0,                                                                                        \
         G_OPTION_ARG_STRING,                                                                      \
         &(import).endpoint,                                                                       \
         "one URL for all services (AWS)",                                                         \
         "URL"},                                                                                   \
        {"ca-bundle", 0, 0, G_OPTION_ARG_FILENAME, &(import).ca_bundle, "CA file for that URL",    \
         "FILE"},                                                                                  \
        {"dry-run", 0, 0, G_OPTION_ARG_NONE, &(import).dry_run, "only show what would be written", \
         NULL},                                                                                    \
    {                                                                                              \
        "force", 0, 0, G_OPTION_ARG_NONE, &(import).force,                                         \
            "replace files that are there with another content", NULL                              \
    }

/* What to say about the options together; NULL: nothing. */
const char *kvg_import_misuse(const KvgImport *import);
/* All but writing. Problems and notes go to stderr. False: something is wrong; *@error is NULL if
 * the problems say it all. */
bool kvg_import_prepare(KvgImport *import, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Writes, the configuration last and only if it is accepted as kvg check would. */
bool kvg_import_write(KvgImport *import, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* What was written, or would be, on stdout. */
void kvg_import_report(const KvgImport *import);
