/* nodeOverrides: nodes of the graph give way to nodes of the override. Several overrides add up: a
 * camera node gets the cameras of all. */
#include "panorama/graph_private.h"
#include <string.h>

/* Bound of what is kept: cameras of a site. */
#define MAX_REPLACEMENTS 10000

static bool
is_media_source(const KvgGraphNode *node)
{
    return g_strcmp0(kvg_graph_category(node), "media_source") == 0;
}

/* The same camera in the override of another part of the site. */
static bool
is_there(const KvgGraphReading *reading, const KvgGraphNode *node, const KvgGraphNode *with)
{
    for (guint i = 0; i < reading->replacements->len; i++) {
        const KvgGraphReplacement *other =
            &g_array_index(reading->replacements, KvgGraphReplacement, i);
        if (other->node == node && is_media_source(other->with) && with->package != NULL &&
            other->with->package != NULL &&
            strcmp(other->with->package->name, with->package->name) == 0 &&
            g_strcmp0(other->with->interface_name, with->interface_name) == 0)
            return true;
    }
    return false;
}

static void
add(const KvgGraphDocument *document, KvgGraphNode *node, KvgGraphNode *with, const char *path)
{
    KvgGraphReading *reading = document->reading;
    if (is_media_source(with) && is_there(reading, node, with)) {
        with->is_replaced = true;
        return;
    }
    if (reading->replacements->len >= MAX_REPLACEMENTS) {
        kvg_graph_report(document, KVG_PROBLEM_ERROR, path, NULL, "more than %d replaced nodes",
                         MAX_REPLACEMENTS);
        return;
    }
    const KvgGraphReplacement replacement = {node, with};
    g_array_append_val(reading->replacements, replacement);
}

static void
check_parameter(const KvgGraphDocument *document,
                const KvgGraphNode *node,
                const KvgGraphNode *with,
                const char *path)
{
    if (!with->is_parameter || with->type != node->type) {
        kvg_graph_report(document, KVG_PROBLEM_ERROR, path, NULL,
                         "'%s' is a parameter of type %s; a parameter node of that type replaces "
                         "it, '%s' is none",
                         node->name, kvg_port_type_to_string(node->type), with->name);
        return;
    }
    const json_t *decorator = json_object_get(node->json, "decorator");
    g_autoptr(json_t) value = kvg_graph_value(with);
    g_autofree char *value_path = g_strconcat(with->path, ".value", NULL);
    kvg_graph_check_regex(document, value_path, kvg_json_get_string(decorator, "constraintRegex"),
                          kvg_json_get_string(decorator, "constraintText"), value);
}

static void
check_media(const KvgGraphDocument *document,
            const KvgGraphNode *node,
            const KvgGraphNode *with,
            const char *path)
{
    const char *is = kvg_graph_category(with), *was = kvg_graph_category(node);
    if (with->is_parameter)
        kvg_graph_report(document, KVG_PROBLEM_ERROR, path, NULL,
                         "'%s' is no parameter, but '%s' is one", node->name, with->name);
    else if (is != NULL && was != NULL && strcmp(is, was) != 0)
        kvg_graph_report(document, KVG_PROBLEM_ERROR, path, NULL,
                         "'%s' is a %s, '%s' is a %s; one cannot replace the other", node->name,
                         was, with->name, is);
}

static void
read_with(const KvgGraphDocument *document,
          KvgGraphNode *node,
          const json_t *list,
          const char *path)
{
    size_t i;
    const json_t *item;
    json_array_foreach(list, i, item)
    {
        const char *name = kvg_json_get_string(item, "name");
        if (name == NULL)
            continue;
        g_autofree char *name_path = g_strdup_printf("%s[%zu].name", path, i);
        KvgGraphNode *with = kvg_graph_find_node(document->reading->graph, document->scope, name);
        if (with == NULL) {
            kvg_graph_report(document, KVG_PROBLEM_ERROR, name_path, json_object_get(item, "name"),
                             "there is no node of this name");
            continue;
        }
        if (with == node) {
            kvg_graph_report(document, KVG_PROBLEM_ERROR, name_path, json_object_get(item, "name"),
                             "a node cannot replace itself");
            continue;
        }
        if (node->is_parameter)
            check_parameter(document, node, with, name_path);
        else
            check_media(document, node, with, name_path);
        add(document, node, with, name_path);
    }
}

/* How many nodes may stand in for @node. */
static void
check_count(const KvgGraphDocument *document, const KvgGraphNode *node, size_t n, const char *path)
{
    if (node->is_parameter && n != 1)
        kvg_graph_report(document, KVG_PROBLEM_ERROR, path, NULL,
                         "exactly one parameter node replaces the parameter '%s', not %zu",
                         node->name, n);
    else if (n == 0 && is_media_source(node))
        kvg_graph_report(document, KVG_PROBLEM_ERROR, path, NULL,
                         "no camera selected: name the cameras that replace '%s'", node->name);
    else if (n == 0)
        kvg_graph_report(document, KVG_PROBLEM_ERROR, path, NULL, "nothing replaces '%s'",
                         node->name);
}

static void
read_override(const KvgGraphDocument *document,
              const json_t *json,
              const char *path,
              GHashTable *seen)
{
    const char *name = kvg_json_get_string(json, "replace");
    const json_t *list = json_object_get(json, "with");
    if (name == NULL || !json_is_array(list))
        return;
    g_autofree char *replace_path = g_strconcat(path, ".replace", NULL);
    g_autofree char *with_path = g_strconcat(path, ".with", NULL);
    const json_t *value = json_object_get(json, "replace");
    KvgGraphNode *node = kvg_graph_find_node(document->reading->graph, 0, name);
    if (node == NULL) {
        kvg_graph_report(document, KVG_PROBLEM_ERROR, replace_path, value,
                         "the graph has no node of this name");
        return;
    }
    if (!node->is_overridable)
        kvg_graph_report(document, KVG_PROBLEM_ERROR, replace_path, value,
                         "the graph does not allow it: the node's 'overridable' is not true");
    if (!g_hash_table_add(seen, node)) {
        kvg_graph_report(document, KVG_PROBLEM_ERROR, replace_path, value,
                         "it is replaced twice in this file");
        return;
    }
    check_count(document, node, json_array_size(list), with_path);
    node->is_replaced = true;
    read_with(document, node, list, with_path);
}

void
kvg_graph_read_overrides(const KvgGraphDocument *document)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(NULL, NULL);
    size_t i;
    const json_t *json;
    json_array_foreach(json_object_get(document->content, "nodeOverrides"), i, json)
    {
        g_autofree char *path = g_strdup_printf("%s.nodeOverrides[%zu]", document->root, i);
        read_override(document, json, path, seen);
    }
}

void
kvg_graph_check_replaced(const KvgGraphDocument *document)
{
    const GPtrArray *nodes = document->reading->graph->nodes;
    for (guint i = 0; i < nodes->len; i++) {
        const KvgGraphNode *node = g_ptr_array_index(nodes, i);
        if (node->is_replaced || node->scope != 0)
            continue;
        const bool is_abstract =
            node->package != NULL && kvg_package_is_abstract_camera(node->package);
        if (is_abstract)
            kvg_graph_report(document, KVG_PROBLEM_ERROR, node->path,
                             json_object_get(node->json, "name"),
                             "no camera selected: it is a placeholder without an address, which an "
                             "override replaces by cameras (--override)");
        else if (node->is_mandatory)
            kvg_graph_report(document, KVG_PROBLEM_ERROR, node->path,
                             json_object_get(node->json, "name"),
                             "its overrideMandatory is true, and no override replaces it "
                             "(--override)");
    }
}
