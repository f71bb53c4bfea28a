/* Documents of a Panorama project, with a zero byte between them: graph, override, package.json,
 * cameras. What is taken for a graph can be planned, written as YAML and taken out again. */
#include "fuzz.h"

#include "panorama/record.h"
#include "panorama/yaml.h"

static void
use(const KvgGraph *graph, const json_t *templates, KvgProblems *problems)
{
    const KvgPlanSecrets secrets = {.templates = templates, .templates_file = "cameras.json"};
    g_autoptr(KvgPlan) plan = kvg_plan_new(graph, &secrets, problems);
    for (guint i = 0; i < graph->edges->len; i++) {
        const KvgGraphEdge *edge = g_ptr_array_index(graph->edges, i);
        json_decref(kvg_graph_input(graph, edge->consumer, edge->consumer_port));
    }
    const KvgRecordOptions options = {.name = "x", .owner = "1", .now = "now"};
    g_autoptr(json_t) record = kvg_record_new(graph, plan, &options, NULL);
    g_assert_nonnull(record);
    if (problems->n_errors > 0)
        return;
    const KvgYamlSite site = {.region = "r"};
    g_autofree char *empty = kvg_yaml_site(&site, "x");
    g_autofree char *full = kvg_yaml_insert(empty, "x", plan, NULL);
    g_autofree char *again = kvg_yaml_remove(full, "x");
    g_assert_cmpstr(empty, ==, again);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *text = g_malloc(size + 1);
    memcpy(text, data, size);
    text[size] = '\0';
    const char *parts[4];
    size_t lengths[4], at = 0;
    for (size_t i = 0; i < G_N_ELEMENTS(parts); i++) {
        parts[i] = text + MIN(at, size);
        lengths[i] = strlen(parts[i]);
        at += lengths[i] + 1;
    }
    g_auto(KvgProblems) problems;
    g_auto(KvgGraphSources) sources;
    kvg_problems_init(&problems);
    kvg_graph_sources_init(&sources);
    const KvgProjectFile override = {g_strdup("override.json"), g_strdup(parts[1]), lengths[1]};
    const KvgProjectFile package = {g_strdup("packages/1-code-1.0/package.json"),
                                    g_strdup(parts[2]), lengths[2]};
    sources.graph = (KvgProjectFile){g_strdup("graph.json"), g_strdup(parts[0]), lengths[0]};
    g_array_append_val(sources.overrides, override);
    g_array_append_val(sources.packages, package);
    g_autoptr(json_t) templates =
        kvg_document_parse(KVG_DOCUMENT_CAMERAS, "cameras.json", parts[3], lengths[3], &problems);
    json_decref(kvg_document_parse(KVG_DOCUMENT_DESCRIPTOR, "descriptor.json", parts[2], lengths[2],
                                   &problems));
    g_autoptr(KvgGraph) graph = kvg_graph_new(&sources, &problems);
    if (graph != NULL)
        use(graph, templates, &problems);
    for (guint i = 0; i < problems.list->len; i++) {
        g_autofree char *line = kvg_problem_to_text(problems.list->pdata[i]);
        g_assert_true(g_utf8_validate(line, -1, NULL));
    }
    return 0;
}
