#include "panorama/graph_private.h"
#include <string.h>

/* A pattern comes from outside: it may not think for long about a value. */
#define REGEX_LIMITS "(*LIMIT_MATCH=100000)(*LIMIT_DEPTH=1000)"

/* ---- life ---- */

static void
file_clear(void *data)
{
    KvgProjectFile *file = data;
    if (file->text != NULL)
        explicit_bzero(file->text, file->len);
    g_free(file->name);
    g_free(file->text);
}

void
kvg_graph_sources_init(KvgGraphSources *sources)
{
    *sources = (KvgGraphSources){.overrides = g_array_new(FALSE, TRUE, sizeof(KvgProjectFile)),
                                 .packages = g_array_new(FALSE, TRUE, sizeof(KvgProjectFile))};
    g_array_set_clear_func(sources->overrides, file_clear);
    g_array_set_clear_func(sources->packages, file_clear);
}

void
kvg_graph_sources_clear(KvgGraphSources *sources)
{
    file_clear(&sources->graph);
    g_clear_pointer(&sources->overrides, g_array_unref);
    g_clear_pointer(&sources->packages, g_array_unref);
}

static void
json_free(void *json)
{
    json_decref(json);
}

static void
package_free(void *package)
{
    kvg_package_free(package);
}

static void
node_free(void *data)
{
    KvgGraphNode *node = data;
    g_free(node->path);
    g_free(node);
}

static void
edge_free(void *data)
{
    KvgGraphEdge *edge = data;
    g_free(edge->producer_port);
    g_free(edge->consumer_port);
    g_free(edge->path);
    g_free(edge);
}

static void
raw_edge_free(void *data)
{
    KvgGraphRawEdge *edge = data;
    g_free(edge->producer.port);
    g_free(edge->consumer.port);
    g_free(edge->path);
    g_free(edge);
}

static KvgGraph *
graph_new(void)
{
    KvgGraph *graph = g_new0(KvgGraph, 1);
    graph->documents = g_ptr_array_new_with_free_func(json_free);
    graph->names = g_ptr_array_new_with_free_func(g_free);
    graph->packages = g_ptr_array_new_with_free_func(package_free);
    graph->nodes = g_ptr_array_new_with_free_func(node_free);
    graph->edges = g_ptr_array_new_with_free_func(edge_free);
    return graph;
}

void
kvg_graph_free(KvgGraph *graph)
{
    if (graph == NULL)
        return;
    g_ptr_array_unref(graph->edges);
    g_ptr_array_unref(graph->nodes);
    g_ptr_array_unref(graph->packages);
    g_ptr_array_unref(graph->names);
    g_ptr_array_unref(graph->documents);
    g_free(graph);
}

/* ---- help for all parts ---- */

void
kvg_graph_report(const KvgGraphDocument *document,
                 KvgSeverity severity,
                 const char *path,
                 const json_t *value,
                 const char *format,
                 ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    kvg_problem_add(document->reading->problems, severity, document->file, path, value, "%s", text);
}

KvgGraphNode *
kvg_graph_find_node(const KvgGraph *graph, unsigned scope, const char *name)
{
    KvgGraphNode *found = NULL;
    for (guint i = 0; i < graph->nodes->len; i++) {
        KvgGraphNode *node = g_ptr_array_index(graph->nodes, i);
        if (strcmp(node->name, name) == 0 && (node->scope == scope || node->scope == 0))
            found = node->scope == scope || found == NULL ? node : found;
    }
    return found;
}

bool
kvg_graph_check_regex(const KvgGraphDocument *document,
                      const char *path,
                      const char *regex,
                      const char *hint,
                      const json_t *value)
{
    if (regex == NULL)
        return true;
    g_autoptr(GError) error = NULL;
    g_autofree char *limited = g_strconcat(REGEX_LIMITS, regex, NULL);
    g_autoptr(GRegex) compiled = g_regex_new(limited, 0, 0, &error);
    if (compiled == NULL) {
        kvg_graph_report(document, KVG_PROBLEM_ERROR, path, NULL,
                         "constraintRegex '%s' is no regular expression", regex);
        return false;
    }
    if (value == NULL)
        return true;
    char *raw = json_is_string(value) ? NULL : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    const bool fits = g_regex_match_full(compiled, raw != NULL ? raw : json_string_value(value), -1,
                                         0, 0, NULL, &error);
    free(raw);
    if (!fits)
        kvg_graph_report(document, KVG_PROBLEM_ERROR, path, value,
                         error != NULL ? "constraintRegex '%s' takes too long on it%s%s"
                                       : "it does not match the constraintRegex '%s'%s%s",
                         regex, hint != NULL ? ": " : "", hint != NULL ? hint : "");
    return fits;
}

/* ---- packages ---- */

static const KvgPackage *
keep(KvgGraphReading *reading, KvgPackage *package)
{
    if (package != NULL)
        g_ptr_array_add(reading->graph->packages, package);
    return package;
}

/* Owners are name spaces: a package on disk is found whoever's it is. *@other: another version. */
static const KvgPackage *
find_file(const KvgGraphReading *reading, const char *name, const char *version, const char **other)
{
    for (guint i = 0; i < reading->files->len; i++) {
        const KvgPackage *package = g_ptr_array_index(reading->files, i);
        if (strcmp(package->name, name) != 0)
            continue;
        if (strcmp(package->version, version) == 0)
            return package;
        *other = package->version;
    }
    return NULL;
}

static const KvgPackage *
find_package(const KvgGraphDocument *document,
             const KvgGraphInclude *include,
             const char *interface,
             const char *path)
{
    KvgGraphReading *reading = document->reading;
    g_auto(GStrv) parts = g_strsplit(include->name, "::", 2);
    const char *owner = parts[0], *name = parts[1], *other = NULL;
    if (strcmp(owner, "panorama") == 0) {
        const KvgPackage *stock = keep(reading, kvg_package_new_stock(name, include->version));
        if (stock == NULL)
            kvg_graph_report(document, KVG_PROBLEM_ERROR, path, NULL,
                             "the service had no package 'panorama::%s'; there are "
                             "abstract_rtsp_media_source and hdmi_data_sink",
                             name);
        return stock != NULL ? stock
                             : keep(reading, kvg_package_new_absent(owner, name, include->version));
    }
    const KvgPackage *file = find_file(reading, name, include->version, &other);
    if (file != NULL)
        return file;
    if (strcmp(name, interface) == 0 && other == NULL)
        return keep(reading, kvg_package_new_camera(owner, name, include->version));
    if (other != NULL)
        kvg_graph_report(document, KVG_PROBLEM_ERROR, path, NULL,
                         "package '%s' %s is wanted; there is only version %s", name,
                         include->version, other);
    else if (reading->sources->has_packages)
        kvg_graph_report(document, KVG_PROBLEM_ERROR, path, NULL,
                         "there is no folder %s-%s-%s among the packages", owner, name,
                         include->version);
    else
        kvg_graph_report(document, KVG_PROBLEM_WARNING, path, NULL,
                         "package '%s' is not at hand, so its ports are not checked (--packages)",
                         name);
    return keep(reading, kvg_package_new_absent(owner, name, include->version));
}

static void
read_includes(const KvgGraphDocument *document)
{
    size_t i;
    const json_t *json;
    json_array_foreach(json_object_get(document->content, "packages"), i, json)
    {
        const KvgGraphInclude include = {.name = kvg_json_get_string(json, "name"),
                                         .version = kvg_json_get_string(json, "version"),
                                         .scope = document->scope};
        if (include.name == NULL || include.version == NULL || strstr(include.name, "::") == NULL)
            continue;
        for (guint j = 0; j < document->reading->includes->len; j++) {
            const KvgGraphInclude *former =
                &g_array_index(document->reading->includes, KvgGraphInclude, j);
            if (former->scope != document->scope || strcmp(former->name, include.name) != 0)
                continue;
            g_autofree char *path = g_strdup_printf("%s.packages[%zu].name", document->root, i);
            kvg_graph_report(document, KVG_PROBLEM_ERROR, path, json_object_get(json, "name"),
                             "it is listed twice");
        }
        g_array_append_val(document->reading->includes, include);
    }
}

static KvgGraphInclude *
find_include(const KvgGraphDocument *document, const char *name, size_t len)
{
    GArray *includes = document->reading->includes;
    for (guint i = 0; i < includes->len; i++) {
        KvgGraphInclude *include = &g_array_index(includes, KvgGraphInclude, i);
        if ((include->scope == document->scope || include->scope == 0) &&
            strlen(include->name) == len && memcmp(include->name, name, len) == 0)
            return include;
    }
    return NULL;
}

/* ---- nodes ---- */

static void
find_interface(const KvgGraphDocument *document, KvgGraphNode *node, const char *text)
{
    g_autofree char *path = g_strconcat(node->path, ".interface", NULL);
    const json_t *value = json_object_get(node->json, "interface");
    const char *dot = strrchr(text, '.');
    if (dot == NULL || strstr(text, "::") == NULL)
        return; /* the shape was reported */
    KvgGraphInclude *include = find_include(document, text, (size_t)(dot - text));
    if (include == NULL) {
        kvg_graph_report(document, KVG_PROBLEM_ERROR, path, value,
                         "no entry of 'packages' is named '%.*s'", (int)(dot - text), text);
        return;
    }
    if (include->package == NULL)
        include->package = find_package(document, include, dot + 1, path);
    node->package = include->package;
    node->interface_name = dot + 1;
    node->interface = kvg_package_find_interface(node->package, dot + 1);
    if (node->interface != NULL || node->package->kind == KVG_PACKAGE_ABSENT)
        return;
    g_autoptr(GString) names = g_string_new(NULL);
    for (guint i = 0; i < node->package->interfaces->len; i++)
        g_string_append_printf(
            names, "%s%s", i > 0 ? ", " : "",
            ((const KvgPackageInterface *)node->package->interfaces->pdata[i])->name);
    kvg_graph_report(document, KVG_PROBLEM_ERROR, path, value,
                     "package '%s' has no interface '%s'; it has %s", node->package->name, dot + 1,
                     names->len > 0 ? names->str : "none");
}

static void
read_node(const KvgGraphDocument *document, const json_t *json, const char *path)
{
    KvgGraph *graph = document->reading->graph;
    const char *name = kvg_json_get_string(json, "name");
    const char *interface = kvg_json_get_string(json, "interface");
    if (name == NULL || interface == NULL)
        return;
    const KvgGraphNode *other = kvg_graph_find_node(graph, document->scope, name);
    if (other != NULL)
        kvg_graph_report(document, KVG_PROBLEM_ERROR, path, json_object_get(json, "name"),
                         "there is another node of this name%s",
                         other->scope != document->scope ? " in the graph" : "");
    KvgGraphNode *node = g_new0(KvgGraphNode, 1);
    node->name = name;
    node->file = document->file;
    node->path = g_strdup(path);
    node->scope = document->scope;
    node->json = json;
    node->is_overridable = kvg_json_get_bool(json, "overridable", false);
    node->is_mandatory = kvg_json_get_bool(json, "overrideMandatory", false);
    node->is_on_signal = g_strcmp0(kvg_json_get_string(json, "launch"), "onSignal") == 0;
    node->is_parameter = kvg_port_type_parse(interface, &node->type) && node->type < KVG_PORT_MEDIA;
    node->value = json_object_get(json, "value");
    g_ptr_array_add(graph->nodes, node);
    if (!node->is_parameter)
        find_interface(document, node, interface);
    const json_t *decorator = json_object_get(json, "decorator");
    g_autofree char *decorator_path = g_strconcat(path, ".decorator", NULL);
    kvg_graph_check_regex(document, decorator_path,
                          kvg_json_get_string(decorator, "constraintRegex"), NULL, NULL);
}

static void
read_nodes(const KvgGraphDocument *document)
{
    size_t i;
    const json_t *json;
    json_array_foreach(json_object_get(document->content, "nodes"), i, json)
    {
        g_autofree char *path = g_strdup_printf("%s.nodes[%zu]", document->root, i);
        read_node(document, json, path);
    }
}

/* ---- network ---- */

static void
check_route(const KvgGraphDocument *document, const json_t *rule, const char *path)
{
    const char *name = kvg_json_get_string(rule, "node");
    const uint16_t port = (uint16_t)kvg_json_get_int(rule, "containerPort", 0);
    if (name == NULL || port == 0)
        return;
    const KvgGraphNode *node = kvg_graph_find_node(document->reading->graph, document->scope, name);
    g_autofree char *node_path = g_strconcat(path, ".node", NULL);
    if (node == NULL) {
        kvg_graph_report(document, KVG_PROBLEM_ERROR, node_path, json_object_get(rule, "node"),
                         "there is no node of this name");
        return;
    }
    bool is_declared = node->interface == NULL && !node->is_parameter;
    for (guint i = 0; node->interface != NULL && i < node->interface->inbound->len; i++)
        is_declared |= g_array_index(node->interface->inbound, uint16_t, i) == port;
    g_autofree char *port_path = g_strconcat(path, ".containerPort", NULL);
    if (!is_declared)
        kvg_graph_report(document, KVG_PROBLEM_ERROR, port_path,
                         json_object_get(rule, "containerPort"),
                         "the interface of node '%s' declares no such inbound port", name);
    kvg_graph_report(document, KVG_PROBLEM_NOTE, path, NULL,
                     "not applicable: no port of this machine is routed to an application");
}

static void
check_routes(const KvgGraphDocument *document)
{
    size_t i;
    const json_t *rule;
    json_array_foreach(json_object_get(document->content, "networkRoutingRules"), i, rule)
    {
        g_autofree char *path = g_strdup_printf("%s.networkRoutingRules[%zu]", document->root, i);
        check_route(document, rule, path);
    }
}

/* ---- the whole ---- */

static void
read_packages(KvgGraphReading *reading)
{
    const GArray *files = reading->sources->packages;
    for (guint i = 0; i < files->len; i++) {
        const KvgProjectFile *file = &g_array_index(files, KvgProjectFile, i);
        KvgPackage *package = kvg_package_parse(file, reading->problems);
        if (package == NULL)
            continue;
        g_ptr_array_add(reading->graph->packages, package);
        g_ptr_array_add(reading->files, package);
    }
}

/* Keeps the parsed document; its name for as long as the graph lives. */
static bool
open_document(KvgGraphReading *reading,
              KvgDocumentKind kind,
              const KvgProjectFile *file,
              KvgGraphDocument *document)
{
    json_t *root = kvg_document_parse(kind, file->name, file->text, file->len, reading->problems);
    if (root == NULL)
        return false;
    char *name = g_strdup(file->name);
    g_ptr_array_add(reading->graph->documents, root);
    g_ptr_array_add(reading->graph->names, name);
    const bool is_graph = kind == KVG_DOCUMENT_GRAPH;
    *document = (KvgGraphDocument){
        .reading = reading,
        .content = json_object_get(root, is_graph ? "nodeGraph" : "nodeGraphOverrides"),
        .root = is_graph ? "$.nodeGraph" : "$.nodeGraphOverrides",
        .file = name,
        .scope = is_graph ? 0 : reading->graph->documents->len - 1,
    };
    return true;
}

static void
read_document(const KvgGraphDocument *document)
{
    read_includes(document);
    read_nodes(document);
    kvg_graph_read_edges(document);
    check_routes(document);
}

static bool
read_all(KvgGraphReading *reading)
{
    const KvgGraphSources *sources = reading->sources;
    KvgGraphDocument graph;
    if (!open_document(reading, KVG_DOCUMENT_GRAPH, &sources->graph, &graph))
        return false;
    read_packages(reading);
    read_document(&graph);
    for (guint i = 0; i < sources->overrides->len; i++) {
        KvgGraphDocument override;
        if (!open_document(reading, KVG_DOCUMENT_OVERRIDE,
                           &g_array_index(sources->overrides, KvgProjectFile, i), &override))
            continue;
        read_document(&override);
        kvg_graph_read_overrides(&override);
    }
    kvg_graph_check_replaced(&graph);
    kvg_graph_connect(reading);
    return true;
}

KvgGraph *
kvg_graph_new(const KvgGraphSources *sources, KvgProblems *problems)
{
    g_autoptr(KvgGraph) graph = graph_new();
    g_autoptr(GPtrArray) files = g_ptr_array_new();
    g_autoptr(GArray) includes = g_array_new(FALSE, FALSE, sizeof(KvgGraphInclude));
    g_autoptr(GPtrArray) raw_edges = g_ptr_array_new_with_free_func(raw_edge_free);
    g_autoptr(GArray) replacements = g_array_new(FALSE, FALSE, sizeof(KvgGraphReplacement));
    KvgGraphReading reading = {.graph = graph,
                               .sources = sources,
                               .problems = problems,
                               .files = files,
                               .includes = includes,
                               .raw_edges = raw_edges,
                               .replacements = replacements};
    /* What stands in the documents of other files cannot be understood without the graph. */
    if (!read_all(&reading))
        return NULL;
    return g_steal_pointer(&graph);
}

/* ---- looking ---- */

const char *
kvg_graph_category(const KvgGraphNode *node)
{
    return node->interface != NULL ? node->interface->category : NULL;
}

bool
kvg_graph_is_source(const KvgGraphNode *node)
{
    return !node->is_replaced && g_strcmp0(kvg_graph_category(node), "media_source") == 0;
}

GPtrArray *
kvg_graph_sources_of(const KvgGraph *graph, const KvgGraphNode *node, const char *port)
{
    GPtrArray *sources = g_ptr_array_new();
    for (guint i = 0; i < graph->edges->len; i++) {
        const KvgGraphEdge *edge = g_ptr_array_index(graph->edges, i);
        if (edge->consumer == node && strcmp(edge->consumer_port, port) == 0 &&
            !edge->producer->is_parameter)
            g_ptr_array_add(sources, edge->producer);
    }
    return sources;
}

GPtrArray *
kvg_graph_parameters_of(const KvgGraph *graph, const KvgGraphNode *node, const char *port)
{
    GPtrArray *parameters = g_ptr_array_new();
    for (guint i = 0; i < graph->edges->len; i++) {
        const KvgGraphEdge *edge = g_ptr_array_index(graph->edges, i);
        if (edge->consumer == node && strcmp(edge->consumer_port, port) == 0 &&
            edge->producer->is_parameter)
            g_ptr_array_add(parameters, edge->producer);
    }
    return parameters;
}

static json_t *
default_of(KvgPortType type)
{
    switch (type) {
    case KVG_PORT_BOOLEAN:
        return json_false();
    case KVG_PORT_INT32:
        return json_integer(0);
    case KVG_PORT_FLOAT32:
        return json_real(0);
    case KVG_PORT_STRING:
        return json_string("");
    case KVG_PORT_MEDIA:
    case KVG_PORT_STRINGS:
        break;
    }
    return NULL;
}

json_t *
kvg_graph_value(const KvgGraphNode *parameter)
{
    if (parameter->value == NULL)
        return default_of(parameter->type);
    /* An integer is a legal float32. */
    if (parameter->type == KVG_PORT_FLOAT32 && json_is_integer(parameter->value))
        return json_real((double)json_integer_value(parameter->value));
    return json_incref((json_t *)(uintptr_t)parameter->value);
}

json_t *
kvg_graph_input(const KvgGraph *graph, const KvgGraphNode *node, const char *port)
{
    g_autoptr(GPtrArray) parameters = kvg_graph_parameters_of(graph, node, port);
    if (parameters->len > 0)
        return kvg_graph_value(g_ptr_array_index(parameters, 0));
    const KvgPackagePort *input =
        node->interface != NULL ? kvg_package_find_port(node->interface->inputs, port) : NULL;
    if (input == NULL)
        return NULL;
    return json_is_string(input->default_value) || json_is_number(input->default_value) ||
                   json_is_boolean(input->default_value)
               ? json_incref((json_t *)(uintptr_t)input->default_value)
               : default_of(input->type);
}
