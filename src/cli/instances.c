#include "cli/instances.h"
#include "base/clock.h"
#include "base/text.h"
#include "os/file.h"
#include "panorama/record.h"
#include "panorama/status.h"
#include <kvg/error.h>
#include <stdio.h>
#include <string.h>

#define MAX_RECORD_BYTES (16u * 1024 * 1024)
#define MAX_RECORDS 1000

char *
kvg_instances_folder(const char *config_path)
{
    g_autofree char *absolute = g_canonicalize_filename(config_path, NULL);
    g_autofree char *folder = g_path_get_dirname(absolute);
    return g_build_filename(folder, "panorama", NULL);
}

static json_t *
read_record(const char *folder, const char *name, GError **error)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    size_t len;
    g_autofree char *text = kvg_file_read(path, MAX_RECORD_BYTES, &len, error);
    json_t *record = text != NULL ? kvg_json_parse_object(text, len, error) : NULL;
    if (record == NULL)
        g_prefix_error(error, "%s: ", name);
    return record;
}

static void
record_free(void *record)
{
    json_decref(record);
}

static int
compare_records(const void *a, const void *b)
{
    return g_strcmp0(kvg_json_get_string(*(json_t *const *)a, "Name"),
                     kvg_json_get_string(*(json_t *const *)b, "Name"));
}

GPtrArray *
kvg_instances_load(const char *config_path)
{
    g_autofree char *folder = kvg_instances_folder(config_path);
    GPtrArray *records = g_ptr_array_new_with_free_func(record_free);
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    for (const char *name = dir != NULL ? g_dir_read_name(dir) : NULL;
         name != NULL && records->len < MAX_RECORDS; name = g_dir_read_name(dir)) {
        if (!g_str_has_suffix(name, ".json"))
            continue;
        g_autoptr(GError) error = NULL;
        json_t *record = read_record(folder, name, &error);
        if (record != NULL)
            g_ptr_array_add(records, record);
        else
            fprintf(stderr, "%s\n", error->message);
    }
    g_ptr_array_sort(records, compare_records);
    return records;
}

json_t *
kvg_instances_find(const char *config_path, const char *name, GError **error)
{
    g_autofree char *folder = kvg_instances_folder(config_path);
    g_autofree char *file = g_strconcat(name, ".json", NULL);
    g_autofree char *path = g_build_filename(folder, file, NULL);
    if (kvg_record_is_name(name) && g_file_test(path, G_FILE_TEST_EXISTS))
        return read_record(folder, file, error);
    g_set_error(error, KVG_ERROR, KVG_ERROR_NOT_FOUND,
                "there is no instance '%s' in %s; kvg panorama list shows them", name, folder);
    return NULL;
}

bool
kvg_instances_save(const char *config_path, const json_t *record, GError **error)
{
    g_autofree char *folder = kvg_instances_folder(config_path);
    g_autofree char *file =
        g_strdup_printf("%s.json", kvg_json_get_string(record, "ApplicationInstanceId"));
    g_autofree char *path = g_build_filename(folder, file, NULL);
    char *text = json_dumps(record, JSON_INDENT(2));
    g_autofree char *line = g_strconcat(text, "\n", NULL);
    free(text);
    return kvg_file_replace(path, line, strlen(line), 0600, error);
}

bool
kvg_instances_set_status(
    const char *config_path, json_t *record, const char *status, const char *why, GError **error)
{
    g_autofree char *now = kvg_format_iso8601(kvg_clock_wall_ms(), false);
    kvg_record_set_status(record, status, why, now);
    return kvg_instances_save(config_path, record, error);
}

/* ---- what the cameras do ---- */

void
kvg_reports_init(KvgReports *reports, const KvgReach *reach)
{
    g_autoptr(GError) error = NULL;
    *reports = (KvgReports){.reach = reach};
    if (reach->is_remote)
        return;
    reports->local = kvg_reach_agent(reach, NULL, NULL, &error);
    reports->trouble = error != NULL ? g_strdup(error->message) : NULL;
}

void
kvg_reports_clear(KvgReports *reports)
{
    json_decref(reports->local);
    g_free(reports->trouble);
}

/* A camera's report, a new reference; NULL and the reason in *@why (g_free). */
static json_t *
report_of(KvgReports *reports, const char *camera, char **why)
{
    g_autoptr(GError) error = NULL;
    if (!reports->reach->is_remote) {
        size_t i;
        json_t *report;
        json_array_foreach(json_object_get(reports->local, "cameras"), i, report)
        {
            if (g_strcmp0(kvg_json_get_string(report, "name"), camera) == 0)
                return json_incref(report);
        }
        *why = g_strdup(reports->trouble != NULL ? reports->trouble
                                                 : "the agent does not know this camera");
        return NULL;
    }
    g_autoptr(json_t) shadow = kvg_reach_shadow(reports->reach, camera, NULL, &error);
    if (shadow == NULL) {
        *why = g_strdup(error->message);
        return NULL;
    }
    json_t *reported = json_object_get(json_object_get(shadow, "state"), "reported");
    if (reported == NULL)
        *why = g_strdup("its shadow has no report yet");
    return json_incref(reported);
}

json_t *
kvg_reports_describe_node(KvgReports *reports, const char *node, const char *camera)
{
    g_autofree char *why = NULL;
    g_autoptr(json_t) report = report_of(reports, camera, &why);
    const char *reason = why != NULL ? why : kvg_json_get_string(report, "reason");
    return json_pack("{s:s, s:s, s:s, s:s, s:s}", "NodeInstanceId", node, "NodeName", node,
                     "Camera", camera, "CurrentStatus", kvg_panorama_node_status(report),
                     "StatusDescription", reason != NULL ? reason : "");
}

json_t *
kvg_reports_describe_nodes(KvgReports *reports, const json_t *record, const char **health)
{
    json_t *nodes = json_array();
    g_autoptr(GPtrArray) statuses = g_ptr_array_new();
    size_t i;
    const json_t *item;
    json_array_foreach(json_object_get(record, "NodeInstances"), i, item)
    {
        const char *node = kvg_json_get_string(item, "NodeInstanceId");
        const char *camera = kvg_json_get_string(item, "Camera");
        if (node == NULL || camera == NULL)
            continue;
        json_t *described = kvg_reports_describe_node(reports, node, camera);
        json_array_append_new(nodes, described);
        g_ptr_array_add(statuses,
                        (void *)(uintptr_t)kvg_json_get_string(described, "CurrentStatus"));
    }
    if (health != NULL)
        *health = kvg_panorama_health((const char *const *)statuses->pdata, statuses->len);
    return nodes;
}
