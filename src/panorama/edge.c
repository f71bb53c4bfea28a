/* Edges: both ends exist and are of one type, and what becomes of them when nodes are replaced. */
#include "panorama/graph_private.h"
#include <string.h>

/* Edges times replacements of either end; far beyond any site. */
#define MAX_EDGES 100000

static bool
read_end(const KvgGraphDocument *document,
         const json_t *json,
         const char *key,
         const char *path,
         KvgGraphEnd *end)
{
    const char *text = kvg_json_get_string(json, key);
    if (text == NULL)
        return false;
    const char *dot = strchr(text, '.');
    g_autofree char *name = dot != NULL ? g_strndup(text, (size_t)(dot - text)) : g_strdup(text);
    end->node = kvg_graph_find_node(document->reading->graph, document->scope, name);
    if (end->node == NULL) {
        g_autofree char *key_path = g_strdup_printf("%s.%s", path, key);
        kvg_graph_report(document, KVG_PROBLEM_ERROR, key_path, json_object_get(json, key),
                         "there is no node '%s'", name);
        return false;
    }
    end->port = dot != NULL ? g_strdup(dot + 1) : NULL;
    return true;
}

static void
list_ports(const GPtrArray *ports, GString *out)
{
    for (guint i = 0; i < ports->len; i++)
        g_string_append_printf(out, "%s%s", i > 0 ? ", " : "",
                               ((const KvgPackagePort *)ports->pdata[i])->name);
    if (ports->len == 0)
        g_string_append(out, "none");
}

/* The type of an end; false: not known, or wrong (a problem was added). */
static bool
end_type(const KvgGraphDocument *document,
         const KvgGraphNode *node,
         const char *port,
         bool is_producer,
         const char *path,
         KvgPortType *type)
{
    if (node->is_parameter) {
        if (is_producer && port == NULL) {
            *type = node->type;
            return true;
        }
        kvg_graph_report(document, KVG_PROBLEM_ERROR, path, NULL,
                         is_producer ? "'%s' is a parameter: write its name alone, without a port"
                                     : "'%s' is a parameter; it takes nothing in",
                         node->name);
        return false;
    }
    if (port == NULL) {
        kvg_graph_report(document, KVG_PROBLEM_ERROR, path, NULL,
                         "'%s' is no parameter: write NODE.PORT", node->name);
        return false;
    }
    if (node->interface == NULL)
        return false;
    const GPtrArray *ports = is_producer ? node->interface->outputs : node->interface->inputs;
    const KvgPackagePort *found = kvg_package_find_port(ports, port);
    if (found != NULL) {
        *type = found->type;
        return true;
    }
    g_autoptr(GString) names = g_string_new(NULL);
    list_ports(ports, names);
    kvg_graph_report(document, KVG_PROBLEM_ERROR, path, NULL,
                     "node '%s' has no %s port '%s'; it has %s", node->name,
                     is_producer ? "output" : "input", port, names->str);
    return false;
}

static void
check_types(const KvgGraphDocument *document, const KvgGraphRawEdge *edge)
{
    g_autofree char *producer_path = g_strconcat(edge->path, ".producer", NULL);
    g_autofree char *consumer_path = g_strconcat(edge->path, ".consumer", NULL);
    KvgPortType from = KVG_PORT_MEDIA, to = KVG_PORT_MEDIA;
    const bool knows_from =
        end_type(document, edge->producer.node, edge->producer.port, true, producer_path, &from);
    const bool knows_to =
        end_type(document, edge->consumer.node, edge->consumer.port, false, consumer_path, &to);
    if (knows_from && knows_to && from != to)
        kvg_graph_report(document, KVG_PROBLEM_ERROR, edge->path, NULL,
                         "a %s goes into a %s; both ends must have the same type",
                         kvg_port_type_to_string(from), kvg_port_type_to_string(to));
}

void
kvg_graph_read_edges(const KvgGraphDocument *document)
{
    size_t i;
    const json_t *json;
    json_array_foreach(json_object_get(document->content, "edges"), i, json)
    {
        KvgGraphRawEdge *edge = g_new0(KvgGraphRawEdge, 1);
        g_ptr_array_add(document->reading->raw_edges, edge);
        edge->file = document->file;
        edge->path = g_strdup_printf("%s.edges[%zu]", document->root, i);
        const bool has_producer = read_end(document, json, "producer", edge->path, &edge->producer);
        const bool has_consumer = read_end(document, json, "consumer", edge->path, &edge->consumer);
        if (has_producer && has_consumer)
            check_types(document, edge);
    }
}

/* ---- after the overrides ---- */

/* The node itself, or those that replace it. */
static GPtrArray *
stand_ins(const KvgGraphReading *reading, KvgGraphNode *node)
{
    GPtrArray *nodes = g_ptr_array_new();
    for (guint i = 0; i < reading->replacements->len; i++) {
        const KvgGraphReplacement *replacement =
            &g_array_index(reading->replacements, KvgGraphReplacement, i);
        if (replacement->node == node)
            g_ptr_array_add(nodes, replacement->with);
    }
    if (nodes->len == 0 && !node->is_replaced)
        g_ptr_array_add(nodes, node);
    return nodes;
}

/* A replacing node is asked for the port that the edge names. */
static void
check_stand_in(KvgGraphReading *reading,
               const KvgGraphNode *node,
               const KvgGraphNode *with,
               const char *port,
               bool is_producer)
{
    if (node == with || port == NULL || with->interface == NULL)
        return;
    const GPtrArray *ports = is_producer ? with->interface->outputs : with->interface->inputs;
    if (kvg_package_find_port(ports, port) == NULL)
        kvg_problem_add(reading->problems, KVG_PROBLEM_ERROR, with->file, with->path, NULL,
                        "'%s' has no port '%s', so it cannot replace '%s'", with->name, port,
                        node->name);
}

static void
connect_edge(KvgGraphReading *reading, const KvgGraphRawEdge *raw)
{
    g_autoptr(GPtrArray) producers = stand_ins(reading, raw->producer.node);
    g_autoptr(GPtrArray) consumers = stand_ins(reading, raw->consumer.node);
    for (guint i = 0; i < producers->len; i++)
        check_stand_in(reading, raw->producer.node, producers->pdata[i], raw->producer.port, true);
    for (guint i = 0; i < consumers->len; i++)
        check_stand_in(reading, raw->consumer.node, consumers->pdata[i], raw->consumer.port, false);
    for (guint i = 0; i < producers->len * consumers->len; i++) {
        if (reading->graph->edges->len >= MAX_EDGES)
            return;
        KvgGraphEdge *edge = g_new0(KvgGraphEdge, 1);
        edge->producer = producers->pdata[i / consumers->len];
        edge->consumer = consumers->pdata[i % consumers->len];
        edge->producer_port = g_strdup(raw->producer.port);
        edge->consumer_port = g_strdup(raw->consumer.port);
        edge->file = raw->file;
        edge->path = g_strdup(raw->path);
        g_ptr_array_add(reading->graph->edges, edge);
    }
}

typedef struct {
    unsigned n_media;
    const KvgGraphEdge *scalar; /* the first */
} Load;

/* How many producers an input has: as many cameras as it allows, one parameter. The replacements of
 * one parameter in several overrides come over one edge. */
static void
check_load(KvgGraphReading *reading, GHashTable *loads, const KvgGraphEdge *edge)
{
    g_autofree char *key = g_strdup_printf("%p.%s", (void *)edge->consumer, edge->consumer_port);
    Load *load = g_hash_table_lookup(loads, key);
    if (load == NULL) {
        load = g_new0(Load, 1);
        g_hash_table_insert(loads, g_strdup(key), load);
    }
    const KvgPackagePort *port =
        edge->consumer->interface != NULL
            ? kvg_package_find_port(edge->consumer->interface->inputs, edge->consumer_port)
            : NULL;
    if (!edge->producer->is_parameter) {
        load->n_media++;
        if (port != NULL && port->max_connections != 0 &&
            load->n_media == port->max_connections + 1)
            kvg_problem_add(reading->problems, KVG_PROBLEM_ERROR, edge->file, edge->path, NULL,
                            "more than %u producers feed '%s.%s' (its maxConnections)",
                            port->max_connections, edge->consumer->name, port->name);
    } else if (load->scalar == NULL) {
        load->scalar = edge;
    } else if (strcmp(load->scalar->path, edge->path) != 0 ||
               strcmp(load->scalar->file, edge->file) != 0) {
        kvg_problem_add(reading->problems, KVG_PROBLEM_ERROR, edge->file, edge->path, NULL,
                        "'%s.%s' already has the parameter '%s'; it takes one",
                        edge->consumer->name, edge->consumer_port, load->scalar->producer->name);
    }
    /* A port may constrain what an override gives it. */
    if (port != NULL && port->regex != NULL && edge->producer->is_parameter &&
        edge->producer->scope > 0) {
        const KvgGraphDocument document = {.reading = reading, .file = edge->producer->file};
        g_autoptr(json_t) value = kvg_graph_value(edge->producer);
        g_autofree char *path = g_strconcat(edge->producer->path, ".value", NULL);
        kvg_graph_check_regex(&document, path, port->regex, NULL, value);
    }
}

static void
warn_about_loose_ends(KvgGraphReading *reading)
{
    g_autoptr(GHashTable) used = g_hash_table_new(NULL, NULL);
    for (guint i = 0; i < reading->graph->edges->len; i++) {
        const KvgGraphEdge *edge = g_ptr_array_index(reading->graph->edges, i);
        g_hash_table_add(used, edge->producer);
        g_hash_table_add(used, edge->consumer);
    }
    for (guint i = 0; i < reading->graph->nodes->len; i++) {
        KvgGraphNode *node = g_ptr_array_index(reading->graph->nodes, i);
        if (!node->is_replaced && (node->is_parameter || kvg_graph_is_source(node)) &&
            !g_hash_table_contains(used, node))
            kvg_problem_add(reading->problems, KVG_PROBLEM_WARNING, node->file, node->path,
                            json_object_get(node->json, "name"), "it is connected to nothing%s",
                            node->scope > 0 ? "; no 'with' names it" : "");
    }
}

void
kvg_graph_connect(KvgGraphReading *reading)
{
    for (guint i = 0; i < reading->raw_edges->len; i++) {
        const KvgGraphRawEdge *raw = g_ptr_array_index(reading->raw_edges, i);
        if (raw->producer.node != NULL && raw->consumer.node != NULL && raw->consumer.port != NULL)
            connect_edge(reading, raw);
    }
    if (reading->graph->edges->len >= MAX_EDGES)
        kvg_problem_add(reading->problems, KVG_PROBLEM_ERROR, NULL, NULL, NULL,
                        "more than %d edges", MAX_EDGES);
    g_autoptr(GHashTable) loads = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    for (guint i = 0; i < reading->graph->edges->len; i++)
        check_load(reading, loads, g_ptr_array_index(reading->graph->edges, i));
    warn_about_loose_ends(reading);
}
