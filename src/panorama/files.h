/* A project folder of the former service, read into memory. */
#pragma once

#include "panorama/graph.h"

/* One document, at most KVG_DOCUMENT_MAX_BYTES. False: a problem was added. */
bool kvg_project_read_file(const char *path, KvgProjectFile *file, KvgProblems *problems);
void kvg_project_file_clear(KvgProjectFile *file); /* overwrites the text */
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(KvgProjectFile, kvg_project_file_clear)

/* Graph, overrides (NULL: none) and the package.json files below @packages. @packages NULL: the
 * folder `packages` of the graph's project, if there is one. Also checks the descriptors of the
 * packages. What cannot be read is a problem. */
void kvg_project_read(const char *graph,
                      char **overrides,
                      const char *packages,
                      KvgGraphSources *sources,
                      KvgProblems *problems);
/* The folder with graphs/, packages/ and assets/ that @graph lies in; NULL: it lies elsewhere. */
char *kvg_project_root(const char *graph);
