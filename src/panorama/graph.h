/* The node graph of an application with its overrides applied: which cameras feed which nodes, and
 * what value each parameter has. Only documents go in; files are read by who calls. */
#pragma once

#include "panorama/package.h"

typedef struct _KvgGraphNode KvgGraphNode;
struct _KvgGraphNode {
    const char *name;
    const char *file; /* where it stands */
    char *path;
    unsigned scope; /* 0: the graph; n: the n-th override */
    const json_t *json;
    /* of a package; both NULL: a parameter, or what it is is not known */
    const KvgPackage *package;
    const KvgPackageInterface *interface;
    const char *interface_name; /* of the package, also if its interfaces are not known */
    /* a parameter */
    bool is_parameter;
    KvgPortType type;
    const json_t *value; /* NULL: absent */
    /* flags */
    bool is_overridable, is_mandatory;
    bool is_on_signal; /* starts paused */
    bool is_replaced;
};

typedef struct {
    KvgGraphNode *producer, *consumer;
    char *producer_port; /* NULL: a parameter's value */
    char *consumer_port;
    const char *file;
    char *path;
} KvgGraphEdge;

typedef struct {
    GPtrArray *documents; /* json_t: the graph, then the overrides */
    GPtrArray *names;     /* of their files */
    GPtrArray *packages;  /* KvgPackage */
    GPtrArray *nodes;     /* KvgGraphNode, also those that are replaced */
    GPtrArray *edges;     /* KvgGraphEdge after the overrides */
} KvgGraph;

typedef struct {
    KvgProjectFile graph;
    GArray *overrides; /* KvgProjectFile; several add up */
    GArray *packages;  /* KvgProjectFile */
    bool has_packages; /* a package that is not among them is missing */
} KvgGraphSources;

void kvg_graph_sources_init(KvgGraphSources *sources);
void kvg_graph_sources_clear(KvgGraphSources *sources);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(KvgGraphSources, kvg_graph_sources_clear)

/* NULL: the graph file is no graph. Otherwise what could be understood; only without an error in
 * @problems is it an application. */
KvgGraph *kvg_graph_new(const KvgGraphSources *sources, KvgProblems *problems);
void kvg_graph_free(KvgGraph *graph);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgGraph, kvg_graph_free)

/* Whether @node is a camera or another source of media that is there after the overrides. */
bool kvg_graph_is_source(const KvgGraphNode *node);
/* "media_source" ...; NULL: not known, or a parameter. */
const char *kvg_graph_category(const KvgGraphNode *node);
/* The sources that feed @port of @node (container of KvgGraphNode). */
GPtrArray *kvg_graph_sources_of(const KvgGraph *graph, const KvgGraphNode *node, const char *port);
/* What a scalar input has: the parameter's value after overrides, or the port's default, or the
 * default of its type. A new reference; NULL: @port is no scalar input of @node. */
json_t *kvg_graph_input(const KvgGraph *graph, const KvgGraphNode *node, const char *port);
/* The parameter nodes whose values come into @port; one, or one for each override. */
GPtrArray *
kvg_graph_parameters_of(const KvgGraph *graph, const KvgGraphNode *node, const char *port);
/* A parameter's value, or the default of its type if it has none; a new reference. */
json_t *kvg_graph_value(const KvgGraphNode *parameter);
