/* What is wrong with the documents of a project, and what is worth knowing: file, JSON path, value,
 * rule. Reading goes on after a problem, so that all of them are told at once. */
#pragma once

#include "base/json.h"

typedef enum {
    KVG_PROBLEM_ERROR,   /* nothing can be imported */
    KVG_PROBLEM_WARNING, /* probably not what was meant */
    KVG_PROBLEM_NOTE,    /* for information */
} KvgSeverity;

typedef struct {
    KvgSeverity severity;
    char *file;  /* NULL: about no file */
    char *path;  /* "$.nodeGraph.nodes[2].name"; NULL: the whole file */
    char *value; /* as JSON, shortened; NULL: not shown */
    char *text;
} KvgProblem;

typedef struct {
    GPtrArray *list; /* KvgProblem */
    unsigned n_errors, n_left_out;
} KvgProblems;

void kvg_problems_init(KvgProblems *problems);
void kvg_problems_clear(KvgProblems *problems);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(KvgProblems, kvg_problems_clear)

/* @file, @path, @value: NULL. Beyond 200 problems only their number is kept. */
void kvg_problem_add(KvgProblems *problems,
                     KvgSeverity severity,
                     const char *file,
                     const char *path,
                     const json_t *value,
                     const char *format,
                     ...) G_GNUC_PRINTF(6, 7);

/* "FILE: PATH: VALUE: text", with "warning: " or "note: " before the text (g_free). */
char *kvg_problem_to_text(const KvgProblem *problem);
json_t *kvg_problems_to_json(const KvgProblems *problems);
