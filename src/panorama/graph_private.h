/* What graph.c, override.c and edge.c share while a graph is being read. */
#pragma once

#include "panorama/graph.h"

/* An entry of `packages`; its package is found when a node needs it. */
typedef struct {
    const char *name, *version; /* "OWNER::PACKAGE", "1.0" */
    unsigned scope;
    const KvgPackage *package; /* NULL: not looked for yet */
} KvgGraphInclude;

/* "NODE" or "NODE.PORT" of an edge as it stands there. */
typedef struct {
    KvgGraphNode *node;
    char *port; /* NULL: bare */
} KvgGraphEnd;

/* An edge as it stands in a document, before nodes are replaced. */
typedef struct {
    KvgGraphEnd producer, consumer;
    const char *file;
    char *path;
} KvgGraphRawEdge;

/* Instead of a node of the graph. */
typedef struct {
    KvgGraphNode *node, *with;
} KvgGraphReplacement;

typedef struct {
    KvgGraph *graph;
    const KvgGraphSources *sources;
    KvgProblems *problems;
    GPtrArray *files;     /* KvgPackage that were read; owned by the graph */
    GArray *includes;     /* KvgGraphInclude */
    GPtrArray *raw_edges; /* KvgGraphRawEdge */
    GArray *replacements; /* KvgGraphReplacement */
} KvgGraphReading;

/* A document of the graph, as its parts are read. */
typedef struct {
    KvgGraphReading *reading;
    const json_t *content; /* nodeGraph or nodeGraphOverrides */
    const char *root;      /* "$.nodeGraph" */
    const char *file;
    unsigned scope;
} KvgGraphDocument;

void kvg_graph_report(const KvgGraphDocument *document,
                      KvgSeverity severity,
                      const char *path,
                      const json_t *value,
                      const char *format,
                      ...) G_GNUC_PRINTF(5, 6);
/* The node @name as @scope knows it: its own, then the graph's. */
KvgGraphNode *kvg_graph_find_node(const KvgGraph *graph, unsigned scope, const char *name);
/* False: @value does not match; a problem was added. */
bool kvg_graph_check_regex(const KvgGraphDocument *document,
                           const char *path,
                           const char *regex,
                           const char *hint,
                           const json_t *value);

/* override.c: nodeOverrides of one document; at last which nodes still wait for one. */
void kvg_graph_read_overrides(const KvgGraphDocument *document);
void kvg_graph_check_replaced(const KvgGraphDocument *graph_document);
/* edge.c */
void kvg_graph_read_edges(const KvgGraphDocument *document);
void kvg_graph_connect(KvgGraphReading *reading);
