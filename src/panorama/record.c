#include "panorama/record.h"
#include <string.h>

bool
kvg_record_is_name(const char *name)
{
    return g_regex_match_simple("^[A-Za-z0-9_-]{1,200}$", name, G_REGEX_DOLLAR_ENDONLY, 0);
}

char *
kvg_record_name(const char *instance)
{
    return g_strdup_printf("panorama/%s.json", instance);
}

/* ---- owners ---- */

static void
rewrite_member(json_t *object, const char *key, const char *owner)
{
    const char *text = kvg_json_get_string(object, key);
    const char *colons = text != NULL ? strstr(text, "::") : NULL;
    if (colons == NULL || g_str_has_prefix(text, "panorama::"))
        return;
    g_autofree char *rewritten = g_strconcat(owner, colons, NULL);
    json_object_set_new(object, key, json_string(rewritten));
}

json_t *
kvg_record_rewrite_owner(const json_t *document, const char *owner)
{
    json_t *copy = json_deep_copy(document);
    const char *name;
    json_t *content;
    json_object_foreach(copy, name, content)
    {
        size_t i;
        json_t *item;
        json_array_foreach(json_object_get(content, "packages"), i, item)
            rewrite_member(item, "name", owner);
        json_array_foreach(json_object_get(content, "nodes"), i, item)
            rewrite_member(item, "interface", owner);
    }
    return copy;
}

/* ---- the record ---- */

static json_t *
manifest(const json_t *document, const char *owner)
{
    return owner != NULL ? kvg_record_rewrite_owner(document, owner)
                         : json_incref((json_t *)(uintptr_t)document);
}

static json_t *
describe_nodes(const KvgPlan *plan)
{
    json_t *nodes = json_array();
    for (guint i = 0; i < plan->cameras->len; i++) {
        const KvgPlanCamera *camera = g_ptr_array_index(plan->cameras, i);
        const char *node = camera->node != NULL ? camera->node : camera->name;
        json_array_append_new(nodes, json_pack("{s:s, s:s, s:s}", "NodeInstanceId", node,
                                               "NodeName", node, "Camera", camera->name));
    }
    return nodes;
}

/* Times stay as they are where nothing else has changed, so a second import changes no file. */
static void
set_times(json_t *record, const json_t *former, const char *now)
{
    const char *created = kvg_json_get_string(former, "CreatedTime");
    const char *updated = kvg_json_get_string(former, "LastUpdatedTime");
    json_object_set_new(record, "CreatedTime", json_string(created != NULL ? created : now));
    json_object_set_new(record, "LastUpdatedTime", json_string(updated != NULL ? updated : now));
    if (!json_equal(record, former))
        json_object_set_new(record, "LastUpdatedTime", json_string(now));
}

json_t *
kvg_record_new(const KvgGraph *graph,
               const KvgPlan *plan,
               const KvgRecordOptions *options,
               const json_t *former)
{
    json_t *overrides = json_array();
    for (guint i = 1; i < graph->documents->len; i++)
        json_array_append_new(overrides, manifest(graph->documents->pdata[i], options->owner));
    json_t *files = json_array();
    for (char **file = options->files; file != NULL && *file != NULL; file++)
        json_array_append_new(files, json_string(*file));
    json_t *record = json_pack(
        "{s:s, s:s, s:o, s:O, s:o, s:o, s:o}", "ApplicationInstanceId", options->name, "Name",
        options->name, "NodeInstances", describe_nodes(plan), "Parameters", plan->parameters,
        "Files", files, "ManifestPayload", manifest(graph->documents->pdata[0], options->owner),
        "ManifestOverridesPayload", overrides);
    /* What became of it last is kept until something is done anew. */
    const char *status = kvg_json_get_string(former, "Status");
    const char *why = kvg_json_get_string(former, "StatusDescription");
    json_object_set_new(record, "Status",
                        json_string(status != NULL ? status : "DEPLOYMENT_PENDING"));
    json_object_set_new(record, "StatusDescription", json_string(why != NULL ? why : "imported"));
    set_times(record, former, options->now);
    return record;
}

void
kvg_record_set_status(json_t *record, const char *status, const char *why, const char *now)
{
    g_autofree char *valid = g_utf8_make_valid(why, -1);
    json_object_set_new(record, "Status", json_string(status));
    json_object_set_new(record, "StatusDescription", json_string(valid));
    json_object_set_new(record, "LastUpdatedTime", json_string(now));
}

const char *
kvg_record_camera(const json_t *record, const char *node)
{
    size_t i;
    const json_t *item;
    json_array_foreach(json_object_get(record, "NodeInstances"), i, item)
    {
        if (g_strcmp0(kvg_json_get_string(item, "NodeInstanceId"), node) == 0)
            return kvg_json_get_string(item, "Camera");
    }
    return NULL;
}
