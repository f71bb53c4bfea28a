/* Instances of applications: their records beside kvg.yaml, and what their cameras do now. */
#pragma once

#include "cli/reach.h"

/* panorama/ beside the configuration at @config_path (g_free). */
char *kvg_instances_folder(const char *config_path);
/* The records in order of their names (json_t, owned by the array). What cannot be read is told on
 * stderr and left out. */
GPtrArray *kvg_instances_load(const char *config_path);
/* NULL and KVG_ERROR_NOT_FOUND: no such instance. */
json_t *kvg_instances_find(const char *config_path, const char *name, GError **error);
bool kvg_instances_save(const char *config_path,
                        const json_t *record,
                        GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool kvg_instances_set_status(const char *config_path,
                              json_t *record,
                              const char *status,
                              const char *why,
                              GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* What is known of all cameras: asked once. */
typedef struct {
    const KvgReach *reach;
    json_t *local; /* the agent's answer; NULL: not reached, or not asked */
    char *trouble; /* why not; NULL */
} KvgReports;
void kvg_reports_init(KvgReports *reports, const KvgReach *reach);
void kvg_reports_clear(KvgReports *reports);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(KvgReports, kvg_reports_clear)
/* {"NodeInstanceId", "NodeName", "Camera", "CurrentStatus", "StatusDescription"} */
json_t *kvg_reports_describe_node(KvgReports *reports, const char *node, const char *camera);
/* The nodes of @record with their status, and in *@health that of the whole (static). */
json_t *kvg_reports_describe_nodes(KvgReports *reports, const json_t *record, const char **health);
