/* How an application of AWS Panorama becomes a configuration: each rule of the mapping by its
 * number (1 documents, 2 the sample, 3 addresses, 4 the list of streams, 6 stream ids, 7 signals, 8
 * HDMI, 9 cameras, 10 parameters, 11 what does not apply). 5 and 12, files and policies, are in
 * tests/e2e/test_panorama_import.py. */
#include "panorama/record.h"
#include "panorama/status.h"
#include "panorama/yaml.h"
#include <string.h>

#define ENVELOPE "'envelopeVersion':'2021-01-01'"
#define CODE                                                                                       \
    "'inputs':[{'name':'video_in','type':'media'},"                                                \
    "{'name':'kvs_stream_name','type':'string'},{'name':'kvs_region','type':'string'},"            \
    "{'name':'iot_role_alias','type':'string'}]"

#define PLAIN "'inputs':[{'name':'video_in','type':'media'}]"

typedef struct {
    KvgProblems problems;
    KvgGraphSources sources;
    KvgGraph *graph;
    KvgPlan *plan;
    json_t *templates;
    unsigned n_asked;
} Case;

static KvgProjectFile
file_of(const char *name, const char *text)
{
    KvgProjectFile file = {.name = g_strdup(name), .text = g_strdelimit(g_strdup(text), "'", '"')};
    file.len = strlen(file.text);
    return file;
}

/* The graph's nodes and edges beside camera, sink and code; the interface of the code. */
static void
case_init(Case *c, const char *nodes, const char *edges, const char *interface)
{
    *c = (Case){0};
    kvg_problems_init(&c->problems);
    kvg_graph_sources_init(&c->sources);
    g_autofree char *graph = g_strdup_printf(
        "{'nodeGraph':{" ENVELOPE ",'packages':[{'name':'1::app','version':'1.0'},"
        "{'name':'panorama::abstract_rtsp_media_source','version':'1.0'},"
        "{'name':'panorama::hdmi_data_sink','version':'1.0'}],'nodes':["
        "{'name':'camera','interface':'panorama::abstract_rtsp_media_source.rtsp_v1_interface',"
        "'overridable':true},{'name':'screen','interface':'panorama::hdmi_data_sink.hdmi0'},"
        "{'name':'code','interface':'1::app.main'}%s],'edges':["
        "{'producer':'camera.video_out','consumer':'code.video_in'}%s]}}",
        nodes, edges);
    g_autofree char *package = g_strdup_printf(
        "{'nodePackage':{" ENVELOPE ",'interfaces':[{'name':'main','category':'business_logic',%s}]"
        "}}",
        interface);
    c->sources.graph = file_of("graph.json", graph);
    c->sources.has_packages = true;
    const KvgProjectFile file = file_of("packages/9-app-1.0/package.json", package);
    g_array_append_val(c->sources.packages, file);
}

static void
case_clear(Case *c)
{
    kvg_plan_free(c->plan);
    kvg_graph_free(c->graph);
    json_decref(c->templates);
    kvg_graph_sources_clear(&c->sources);
    kvg_problems_clear(&c->problems);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Case, case_clear)

/* @cameras: names separated by blanks. @more: further nodeOverrides and members. */
static void
add_override(Case *c, const char *cameras, const char *nodes, const char *overrides)
{
    g_auto(GStrv) names = g_strsplit(cameras, " ", -1);
    g_autoptr(GString) packages = g_string_new(NULL);
    g_autoptr(GString) all = g_string_new(NULL);
    g_autoptr(GString) with = g_string_new(NULL);
    for (char **name = names; *name != NULL; name++) {
        const char *comma = name == names ? "" : ",";
        g_string_append_printf(packages, "%s{'name':'2::%s','version':'1.0'}", comma, *name);
        g_string_append_printf(all, "%s{'name':'%s','interface':'2::%s.%s'}", comma, *name, *name,
                               *name);
        g_string_append_printf(with, "%s{'name':'%s'}", comma, *name);
    }
    g_autofree char *text = g_strdup_printf("{'nodeGraphOverrides':{" ENVELOPE
                                            ",'packages':[%s],'nodes':[%s%s],'nodeOverrides':["
                                            "{'replace':'camera','with':[%s]}%s]}}",
                                            packages->str, all->str, nodes, with->str, overrides);
    g_autofree char *name = g_strdup_printf("override%u.json", c->sources.overrides->len);
    const KvgProjectFile file = file_of(name, text);
    g_array_append_val(c->sources.overrides, file);
}

static char *
answer(const char *camera, const char *what, void *data)
{
    ((Case *)data)->n_asked++;
    return strcmp(what, "URL") == 0 ? g_strdup_printf("rtsp://asked/%s", camera) : NULL;
}

static void
run(Case *c)
{
    const KvgPlanSecrets secrets = {
        .templates = c->templates, .templates_file = "cameras.json", .ask = answer, .data = c};
    c->graph = kvg_graph_new(&c->sources, &c->problems);
    g_assert_nonnull(c->graph);
    c->plan = kvg_plan_new(c->graph, &secrets, &c->problems);
}

static char *
told(const Case *c)
{
    GString *text = g_string_new(NULL);
    for (guint i = 0; i < c->problems.list->len; i++) {
        g_autofree char *line = kvg_problem_to_text(c->problems.list->pdata[i]);
        g_string_append_printf(text, "%s\n", line);
    }
    return g_string_free(text, FALSE);
}

static void
assert_told(const Case *c, const char *part)
{
    g_autofree char *text = told(c);
    if (strstr(text, part) == NULL)
        g_error("not told: %s\n%s", part, text);
}

static void
assert_good(const Case *c)
{
    g_autofree char *text = told(c);
    if (c->problems.n_errors != 0)
        g_error("%s", text);
}

#define SAMPLE_NODES                                                                               \
    ",{'name':'names','interface':'string','value':'A,B','overridable':true},"                     \
    "{'name':'region','interface':'string','value':'eu-central-1','overridable':true},"            \
    "{'name':'alias','interface':'string','value':'Alias'}"
#define SAMPLE_EDGES                                                                               \
    ",{'producer':'names','consumer':'code.kvs_stream_name'},"                                     \
    "{'producer':'region','consumer':'code.kvs_region'},"                                          \
    "{'producer':'alias','consumer':'code.iot_role_alias'}"

static void
test_any_owner(void)
{
    g_auto(Case) c;
    case_init(&c, SAMPLE_NODES, SAMPLE_EDGES, CODE);
    add_override(&c, "A B", "", "");
    run(&c);
    assert_good(&c); /* the code belongs to 1, its folder to 9, the cameras to 2 */
    const KvgRecordOptions options = {.name = "x", .owner = "123456789012", .now = "now"};
    g_autoptr(json_t) record = kvg_record_new(c.graph, c.plan, &options, NULL);
    const json_t *graph = json_object_get(json_object_get(record, "ManifestPayload"), "nodeGraph");
    const json_t *packages = json_object_get(graph, "packages");
    g_assert_cmpstr(kvg_json_get_string(json_array_get(packages, 0), "name"), ==,
                    "123456789012::app");
    g_assert_cmpstr(kvg_json_get_string(json_array_get(packages, 2), "name"), ==,
                    "panorama::hdmi_data_sink");
    g_assert_cmpstr(
        kvg_json_get_string(json_array_get(json_object_get(graph, "nodes"), 2), "interface"), ==,
        "123456789012::app.main");
    g_assert_cmpstr(
        kvg_json_get_string(json_array_get(json_object_get(graph, "nodes"), 3), "interface"), ==,
        "string");
}

static void
test_names_everything(void)
{
    g_auto(Case) c;
    case_init(&c, ",{'name':'n','interface':'int32','value':'x'}", "", CODE);
    add_override(&c, "A", "", ",{'replace':'screen','with':[{'name':'A'}]}");
    run(&c);
    assert_told(&c, "graph.json: $.nodeGraph.nodes[3].value: \"x\": it must be a whole number");
    assert_told(&c,
                "override0.json: $.nodeGraphOverrides.nodeOverrides[1].replace: \"screen\": the "
                "graph does not allow it");
}

static void
test_shape(void)
{
    g_auto(Case) c;
    case_init(&c, SAMPLE_NODES, SAMPLE_EDGES, CODE);
    add_override(&c, "A B", "", "");
    run(&c);
    assert_good(&c);
    g_assert_true(c.plan->is_sample);
    g_assert_cmpstr(c.plan->region, ==, "eu-central-1");
    g_assert_cmpstr(c.plan->role_alias, ==, "Alias");
}

/* Its package may be lost: the edges still show what it is. */
static void
test_shape_without_package(void)
{
    g_auto(Case) c;
    case_init(&c, SAMPLE_NODES, SAMPLE_EDGES, CODE);
    g_array_set_size(c.sources.packages, 0);
    c.sources.has_packages = false;
    add_override(&c, "A B", "", "");
    run(&c);
    assert_good(&c);
    g_assert_true(c.plan->is_sample);
    assert_told(&c, "package 'app' is not at hand, so its ports are not checked");
}

static void
test_other_application(void)
{
    g_auto(Case) c;
    case_init(&c, ",{'name':'limit','interface':'float32','value':0.5}",
              ",{'producer':'limit','consumer':'code.limit'}",
              "'inputs':[{'name':'video_in','type':'media'},{'name':'limit','type':'float32'}]");
    add_override(&c, "A B", "", "");
    run(&c);
    assert_good(&c);
    g_assert_false(c.plan->is_sample);
    g_assert_cmpuint(c.plan->cameras->len, ==, 2);
    g_assert_cmpfloat(json_number_value(json_object_get(c.plan->parameters, "limit")), ==, 0.5);
    assert_told(&c, "\"code\": warning: the container of this node is not run by the agent");
}

static void
add_camera_package(Case *c, const char *name, const char *url)
{
    g_autofree char *path = g_strdup_printf("packages/2-%s-1.0/package.json", name);
    g_autofree char *text = g_strdup_printf(
        "{'nodePackage':{" ENVELOPE ",'interfaces':[{'name':'%s','category':'media_source',"
        "'inputs':[{'name':'username','type':'string','default':'package-user'},"
        "{'name':'password','type':'string','default':'package-secret'},"
        "{'name':'streamUrl','type':'string','default':'%s'}],"
        "'outputs':[{'name':'video_out','type':'media'}]}]}}",
        name, url);
    const KvgProjectFile file = file_of(path, text);
    g_array_append_val(c->sources.packages, file);
}

static void
test_order_of_addresses(void)
{
    g_auto(Case) c;
    case_init(&c, "", "", PLAIN);
    add_override(&c, "A B C", "", "");
    add_camera_package(&c, "A", "rtsp://package/a");
    c.templates = json_pack("{s:{s:s}, s:{s:s, s:s, s:s}}", "A", "StreamUrl", "rtsp://template/a",
                            "B", "StreamUrl", "rtsp://u:url-secret@template/b", "Username", "bob",
                            "Password", "template-secret");
    run(&c);
    assert_good(&c);
    const KvgPlanCamera *a = kvg_plan_find_camera(c.plan, "A");
    const KvgPlanCamera *b = kvg_plan_find_camera(c.plan, "B");
    const KvgPlanCamera *asked = kvg_plan_find_camera(c.plan, "C");
    g_assert_cmpstr(a->url, ==, "rtsp://package/a");
    g_assert_cmpstr(a->username, ==, "package-user");
    g_assert_cmpstr(a->password, ==, "package-secret");
    g_assert_cmpstr(b->url, ==, "rtsp://template/b");
    g_assert_cmpstr(b->username, ==, "bob");
    g_assert_cmpstr(b->password, ==, "template-secret");
    g_assert_cmpstr(asked->url, ==, "rtsp://asked/C");
    g_assert_null(asked->password);
    /* never written where others read it */
    const KvgYamlSite site = {.region = "r"};
    g_autofree char *empty = kvg_yaml_site(&site, "x");
    g_autofree char *yaml = kvg_yaml_insert(empty, "x", c.plan, NULL);
    g_autofree char *text = told(&c);
    const KvgRecordOptions options = {.name = "x", .now = "now"};
    g_autoptr(json_t) record = kvg_record_new(c.graph, c.plan, &options, NULL);
    g_autofree char *record_text = kvg_json_to_text(record);
    const char *const places[] = {yaml, text, record_text};
    for (size_t i = 0; i < G_N_ELEMENTS(places); i++)
        g_assert_null(strstr(places[i], "secret\""));
    g_assert_nonnull(strstr(yaml, "password_file: secrets/B"));
}

static void
test_list_of_streams(void)
{
    g_auto(Case) c;
    case_init(&c, SAMPLE_NODES, SAMPLE_EDGES, CODE);
    add_override(&c, "A D", ",{'name':'n','interface':'string','value':'A, C ,D'}",
                 ",{'replace':'names','with':[{'name':'n'}]}");
    run(&c);
    assert_good(&c);
    g_assert_cmpuint(c.plan->cameras->len, ==, 3); /* the union */
    g_assert_nonnull(kvg_plan_find_camera(c.plan, "C"));
    assert_told(&c,
                "override0.json: $.nodeGraphOverrides.nodes[2].value: \" C \": warning: blanks");
    assert_told(&c, "mismatch: kvs_stream_name lists 'C', and no camera node has that name");
    g_autofree char *text = told(&c);
    g_assert_null(strstr(text, "mismatch: camera 'D'")); /* compared after trimming */
}

static void
test_stream_ids(void)
{
    static const char *const cases[][2] = {
        {"gate6f8a2d10-1b2c-4d5e-8f90-0123456789ab", "gate"},
        {"gate6F8A2D10-1B2C-4D5E-8F90-0123456789AB", "gate"},
        {"cam-1-6f8a2d10-1b2c-4d5e-8f90-0123456789ab", "cam-1-"},
        {"gate", "gate"},
        {"6f8a2d10-1b2c-4d5e-8f90-0123456789ab", "6f8a2d10-1b2c-4d5e-8f90-0123456789ab"},
        {"gate6f8a2d10-1b2c-4d5e-8f90-0123456789a", "gate6f8a2d10-1b2c-4d5e-8f90-0123456789a"},
        {"gate6f8a2d101b2c4d5e8f900123456789ab", "gate6f8a2d101b2c4d5e8f900123456789ab"},
        {"gate6f8a2d10-1b2c-4d5e-8f90-0123456789ab2", "gate6f8a2d10-1b2c-4d5e-8f90-0123456789ab2"},
        {"", ""},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *name = kvg_plan_camera_of_stream_id(cases[i][0]);
        g_assert_cmpstr(name, ==, cases[i][1]);
    }
}

static void
test_signals(void)
{
    static const char *const states[][2] = {{"live", "RUNNING"},
                                            {"off", "PAUSED"},
                                            {"connecting", "NOT_AVAILABLE"},
                                            {"stalled", "ERROR"},
                                            {"backoff", "ERROR"},
                                            {"failed", "ERROR"},
                                            {"of some day", "NOT_AVAILABLE"}};
    for (size_t i = 0; i < G_N_ELEMENTS(states); i++) {
        g_autoptr(json_t) report = json_pack("{s:s}", "state", states[i][0]);
        g_assert_cmpstr(kvg_panorama_node_status(report), ==, states[i][1]);
    }
    g_assert_cmpstr(kvg_panorama_node_status(NULL), ==, "NOT_AVAILABLE");
    bool streaming;
    g_assert_true(kvg_panorama_signal_parse("PAUSE", &streaming) && !streaming);
    g_assert_true(kvg_panorama_signal_parse("RESUME", &streaming) && streaming);
    g_assert_false(kvg_panorama_signal_parse("STOP", &streaming));
    const char *const mixed[] = {"RUNNING", "PAUSED", "ERROR"};
    g_assert_cmpstr(kvg_panorama_health(mixed, 2), ==, "RUNNING");
    g_assert_cmpstr(kvg_panorama_health(mixed, 3), ==, "ERROR");
    g_assert_cmpstr(kvg_panorama_health(mixed, 0), ==, "NOT_AVAILABLE");
}

static void
test_on_signal(void)
{
    g_auto(Case) c;
    case_init(&c, "", "", PLAIN);
    add_override(&c, "A B", "", "");
    KvgProjectFile *override = &g_array_index(c.sources.overrides, KvgProjectFile, 0);
    g_autoptr(GString) text = g_string_new(override->text);
    g_string_replace(text, "\"interface\":\"2::B.B\"",
                     "\"interface\":\"2::B.B\",\"launch\":\"onSignal\"", 0);
    g_free(override->text);
    override->text = g_strdup(text->str);
    override->len = text->len;
    run(&c);
    assert_good(&c);
    g_assert_false(kvg_plan_find_camera(c.plan, "A")->is_off);
    g_assert_true(kvg_plan_find_camera(c.plan, "B")->is_off);
    g_autofree char *yaml = kvg_yaml_insert("cameras:\n", "x", c.plan, NULL);
    const char *b = strstr(yaml, "  B:\n");
    g_assert_nonnull(b);
    g_assert_nonnull(strstr(b, "streaming: off"));
    g_assert_true(strstr(yaml, "streaming: off") > b);
}

static void
test_hdmi(void)
{
    g_auto(Case) c;
    case_init(&c, "", "", PLAIN);
    add_override(&c, "A", "", "");
    run(&c);
    assert_good(&c);
    assert_told(&c, "\"screen\": note: not applicable: there is no HDMI output");
}

static void
test_no_ceiling(void)
{
    g_auto(Case) c;
    g_autoptr(GString) first = g_string_new("A0");
    for (unsigned i = 1; i < 20; i++)
        g_string_append_printf(first, " A%u", i);
    case_init(&c, "", "", PLAIN);
    add_override(&c, first->str, "", "");
    add_override(&c, "A0 B0 B1", "", ""); /* a second deployment of the same site */
    run(&c);
    assert_good(&c);
    g_assert_cmpuint(c.plan->cameras->len, ==, 22);
    const KvgGraphNode *code = c.graph->nodes->pdata[2];
    g_autoptr(GPtrArray) sources = kvg_graph_sources_of(c.graph, code, "video_in");
    g_assert_cmpuint(sources->len, ==, 22);
    /* passed through unless somebody asks for another size */
    g_autofree char *yaml = kvg_yaml_insert("cameras:\n", "x", c.plan, NULL);
    g_assert_null(strstr(yaml, "video"));
}

static void
test_parameters(void)
{
    g_auto(Case) c;
    case_init(&c,
              ",{'name':'fn','interface':'float32','value':2},{'name':'in','interface':'int32'},"
              "{'name':'sn','interface':'string'},{'name':'bn','interface':'boolean'},"
              "{'name':'rn','interface':'string','value':'x','overridable':true,"
              "'decorator':{'constraintRegex':'^[0-9]+$'}}",
              ",{'producer':'fn','consumer':'code.f'},{'producer':'in','consumer':'code.i'},"
              "{'producer':'sn','consumer':'code.s'},{'producer':'bn','consumer':'code.b'},"
              "{'producer':'rn','consumer':'code.r'}",
              "'inputs':[{'name':'video_in','type':'media'},{'name':'f','type':'float32'},"
              "{'name':'i','type':'int32'},{'name':'s','type':'string'},"
              "{'name':'b','type':'boolean'},{'name':'r','type':'string'},"
              "{'name':'d','type':'int32','default':7}]");
    add_override(&c, "A", "", "");
    run(&c);
    assert_good(&c); /* the graph's own value needs not match */
    const KvgGraphNode *code = c.graph->nodes->pdata[2];
    g_autoptr(json_t) f = kvg_graph_input(c.graph, code, "f");
    g_autoptr(json_t) i = kvg_graph_input(c.graph, code, "i");
    g_autoptr(json_t) s = kvg_graph_input(c.graph, code, "s");
    g_autoptr(json_t) b = kvg_graph_input(c.graph, code, "b");
    g_autoptr(json_t) d = kvg_graph_input(c.graph, code, "d");
    g_autoptr(json_t) media = kvg_graph_input(c.graph, code, "video_in");
    g_assert_true(json_is_real(f) && json_real_value(f) == 2);
    g_assert_true(json_is_integer(i) && json_integer_value(i) == 0);
    g_assert_cmpstr(json_string_value(s), ==, "");
    g_assert_true(json_is_false(b));
    g_assert_cmpint(json_integer_value(d), ==, 7);
    g_assert_null(media);
}

static void
test_constraints(void)
{
    static const char *const values[] = {"12", "1a"};
    for (size_t i = 0; i < G_N_ELEMENTS(values); i++) {
        g_auto(Case) c;
        case_init(&c,
                  ",{'name':'rn','interface':'string','value':'x','overridable':true,"
                  "'decorator':{'constraintRegex':'^[0-9]+$','constraintText':'digits'}}",
                  ",{'producer':'rn','consumer':'code.r'}",
                  "'inputs':[{'name':'video_in','type':'media'},{'name':'r','type':'string'}]");
        g_autofree char *node =
            g_strdup_printf(",{'name':'on','interface':'string','value':'%s'}", values[i]);
        add_override(&c, "A", node, ",{'replace':'rn','with':[{'name':'on'}]}");
        run(&c);
        if (i == 0)
            assert_good(&c);
        else
            assert_told(&c, "override0.json: $.nodeGraphOverrides.nodes[1].value: \"1a\": it does "
                            "not match the constraintRegex '^[0-9]+$': digits");
    }
}

static void
test_not_applicable(void)
{
    g_auto(Case) c;
    case_init(&c, ",{'name':'model','interface':'1::net.m'}", "",
              PLAIN ",'network':{'inboundPorts':[{'port':80}]}");
    g_autoptr(GString) text = g_string_new(c.sources.graph.text);
    g_string_replace(
        text, "\"edges\":",
        "\"networkRoutingRules\":[{\"node\":\"code\",\"containerPort\":80}],\"edges\":", 1);
    g_string_replace(text, "\"packages\":[",
                     "\"packages\":[{\"name\":\"1::net\",\"version\":\"1.0\"},", 1);
    g_free(c.sources.graph.text);
    c.sources.graph.text = g_strdup(text->str);
    c.sources.graph.len = text->len;
    const KvgProjectFile file = file_of(
        "packages/1-net-1.0/package.json",
        "{'nodePackage':{" ENVELOPE ",'assets':[{'name':'a','implementations':[{'type':'model',"
        "'assetUri':'x','requirements':[{'type':'hardware_access'}]}]}],"
        "'interfaces':[{'name':'m','category':'ml_model','asset':'a'}]}}");
    g_array_append_val(c.sources.packages, file);
    add_override(&c, "A", "", "");
    run(&c);
    assert_good(&c);
    assert_told(&c, "networkRoutingRules[0]: note: not applicable: no port of this machine");
    assert_told(&c, "\"model\": note: not applicable: models are not run");
    assert_told(&c, "$.nodePackage.assets[0].implementations[0]: note: not applicable: models");
    assert_told(&c, "requirements[0]: note: not applicable: access to the appliance's hardware");
}

/* ---- kvg.yaml ---- */

static void
test_yaml_edit(void)
{
    static const char before[] = "region: r\ncameras:   # all of them\n\n    old:\n"
                                 "        source: \"test:\"\napi: { port: 1 }\n";
    g_auto(Case) c;
    case_init(&c, "", "", PLAIN);
    add_override(&c, "A", "", "");
    c.templates =
        json_pack("{s:{s:s, s:s}}", "A", "StreamUrl", "rtsp://h/\"$HOME\\", "Username", "a\nb$");
    run(&c);
    assert_good(&c);
    g_autoptr(GError) error = NULL;
    g_autofree char *with = kvg_yaml_insert(before, "x", c.plan, &error);
    g_assert_no_error(error);
    g_assert_nonnull(strstr(with, "\n    A:\n      source: \"rtsp://h/\\\"$$HOME\\\\\"\n"
                                  "      username: \"a\\x0ab$$\"\n"));
    g_autofree char *twice = kvg_yaml_insert(with, "x", c.plan, NULL);
    g_assert_cmpstr(twice, ==, with);
    g_autofree char *both = kvg_yaml_insert(with, "y", c.plan, NULL);
    g_autofree char *without_y = kvg_yaml_remove(both, "y");
    g_autofree char *after = kvg_yaml_remove(without_y, "x");
    g_assert_cmpstr(after, ==, before);
    g_assert_null(kvg_yaml_remove(before, "x"));
    g_autofree char *flow = kvg_yaml_insert("cameras: { a: {} }\n", "x", c.plan, &error);
    g_assert_null(flow);
    g_assert_nonnull(strstr(error->message, "no line 'cameras:'"));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/panorama/rule-12.1-any-owner", test_any_owner);
    g_test_add_func("/panorama/rule-12.1-file-path-value-rule", test_names_everything);
    g_test_add_func("/panorama/rule-12.2-shape", test_shape);
    g_test_add_func("/panorama/rule-12.2-shape-without-package", test_shape_without_package);
    g_test_add_func("/panorama/rule-12.2-other-application", test_other_application);
    g_test_add_func("/panorama/rule-12.3-order-of-addresses", test_order_of_addresses);
    g_test_add_func("/panorama/rule-12.4-list-of-streams", test_list_of_streams);
    g_test_add_func("/panorama/rule-12.6-stream-ids", test_stream_ids);
    g_test_add_func("/panorama/rule-12.7-signals-and-status", test_signals);
    g_test_add_func("/panorama/rule-12.7-on-signal", test_on_signal);
    g_test_add_func("/panorama/rule-12.8-hdmi", test_hdmi);
    g_test_add_func("/panorama/rule-12.9-no-ceiling", test_no_ceiling);
    g_test_add_func("/panorama/rule-12.10-types-and-defaults", test_parameters);
    g_test_add_func("/panorama/rule-12.10-constraints", test_constraints);
    g_test_add_func("/panorama/rule-12.11-not-applicable", test_not_applicable);
    g_test_add_func("/panorama/yaml/edit", test_yaml_edit);
    return g_test_run();
}
