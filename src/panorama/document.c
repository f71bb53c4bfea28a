#include "panorama/document.h"
#include "panorama/shape.h"
#include <kvg/error.h>
#include <string.h>

#define NAME "^[A-Za-z0-9_-]{1,128}$"
#define NAME_RULE "1 to 128 of the characters A-Z a-z 0-9 _ -"
#define NODE_NAME "^[$A-Za-z0-9_-]{1,128}$"
#define NODE_NAME_RULE "1 to 128 of the characters A-Z a-z 0-9 $ _ -"
#define PACKAGE "[$A-Z_a-z0-9]+::[a-zA-Z_0-9-]+"
#define EDGE_RULE "NODE or NODE.PORT in the characters A-Z a-z 0-9 _ -, at least two of them"

#define SHAPE(words, table)                                                                        \
    {                                                                                              \
        .noun = words, .members = table, .n_members = G_N_ELEMENTS(table)                          \
    }
#define VERSION_MEMBER                                                                             \
    {                                                                                              \
        .name = "envelopeVersion", .kind = KVG_SHAPE_STRING, .required = true, .words = envelopes  \
    }
#define DESCRIPTION_MEMBER                                                                         \
    {                                                                                              \
        .name = "description", .kind = KVG_SHAPE_STRING, .most = 255                               \
    }
#define TEXT_MEMBER(member)                                                                        \
    {                                                                                              \
        .name = member, .kind = KVG_SHAPE_STRING                                                   \
    }
#define LIST_MEMBER(member, item)                                                                  \
    {                                                                                              \
        .name = member, .kind = KVG_SHAPE_LIST, .shape = &item                                     \
    }

static const char *const envelopes[] = {"2021-01-01", NULL};
static const char *const launches[] = {"onAppStart", "onDemand", "onSignal", NULL};
static const char *const categories[] = {"media_source",   "media_sink", "data_sink",
                                         "business_logic", "ml_model",   NULL};
static const char *const implementations[] = {"system", "container", "model", NULL};
static const char *const events[] = {"onExit", "onPartialInput", "onCompleteInput", NULL};
static const char *const port_types[] = {"boolean", "int32", "float32",
                                         "string",  "media", "string[]"};

bool
kvg_port_type_parse(const char *word, KvgPortType *type)
{
    for (size_t i = 0; word != NULL && i < G_N_ELEMENTS(port_types); i++) {
        if (strcmp(port_types[i], word) == 0) {
            *type = (KvgPortType)i;
            return true;
        }
    }
    return false;
}

const char *
kvg_port_type_to_string(KvgPortType type)
{
    return port_types[type];
}

/* ---- graph ---- */

static const KvgShapeMember decorator_members[] = {
    {.name = "title", .kind = KVG_SHAPE_STRING, .least = 1, .most = 255},
    {.name = "description", .kind = KVG_SHAPE_STRING, .least = 1, .most = 255},
    {.name = "constraintRegex", .kind = KVG_SHAPE_STRING, .least = 1, .most = 255},
    {.name = "constraintText", .kind = KVG_SHAPE_STRING, .least = 1, .most = 255},
};
static const KvgShape decorator = SHAPE("a decorator", decorator_members);

static const KvgShapeMember include_members[] = {
    {.name = "name",
     .kind = KVG_SHAPE_STRING,
     .required = true,
     .least = 1,
     .most = 255,
     .pattern = "^" PACKAGE "$",
     .rule =
         "OWNER::PACKAGE in the characters A-Z a-z 0-9 _, the owner also $, the package also -"},
    {.name = "version",
     .kind = KVG_SHAPE_STRING,
     .required = true,
     .pattern = "^[0-9]+\\.[0-9]+$",
     .rule = "MAJOR.MINOR in digits"},
    TEXT_MEMBER("patchVersion"),
    TEXT_MEMBER("generatedPatchVersion"),
    TEXT_MEMBER("uri"),
};
static const KvgShape include = SHAPE("a package include", include_members);

#define NODE_MEMBERS                                                                               \
    {.name = "name",                                                                               \
     .kind = KVG_SHAPE_STRING,                                                                     \
     .required = true,                                                                             \
     .pattern = NODE_NAME,                                                                         \
     .rule = NODE_NAME_RULE},                                                                      \
        {.name = "overridable", .kind = KVG_SHAPE_BOOLEAN},                                        \
        {.name = "overrideMandatory", .kind = KVG_SHAPE_BOOLEAN},                                  \
    {                                                                                              \
        .name = "decorator", .kind = KVG_SHAPE_OBJECT, .shape = &decorator                         \
    }
static const KvgShapeMember node_members[] = {
    NODE_MEMBERS,
    {.name = "interface",
     .kind = KVG_SHAPE_STRING,
     .required = true,
     .pattern = "^" PACKAGE "\\.[A-Za-z0-9_-]{1,128}$",
     .rule = "OWNER::PACKAGE.INTERFACE, or string, int32, float32 or boolean for a parameter"},
    {.name = "launch", .kind = KVG_SHAPE_STRING, .words = launches},
};
static const KvgShape node_shape = SHAPE("a node of a package", node_members);

#define PARAMETER(type, value_kind, lowest, highest)                                               \
    static const KvgShapeMember type##_members[] = {                                               \
        NODE_MEMBERS,                                                                              \
        {.name = "interface", .kind = KVG_SHAPE_STRING, .required = true},                         \
        {.name = "value", .kind = value_kind, .least = lowest, .most = highest},                   \
    };                                                                                             \
    static const KvgShape type##_shape = SHAPE("a parameter node of type " #type, type##_members)
PARAMETER(boolean, KVG_SHAPE_BOOLEAN, 0, 0);
PARAMETER(int32, KVG_SHAPE_INTEGER, G_MININT32, G_MAXINT32);
PARAMETER(float32, KVG_SHAPE_NUMBER, 0, 0);
PARAMETER(string, KVG_SHAPE_STRING, 0, 0);

static const KvgShape *
choose_node(const json_t *node)
{
    static const KvgShape *const parameters[] = {&boolean_shape, &int32_shape, &float32_shape,
                                                 &string_shape};
    KvgPortType type;
    if (!kvg_port_type_parse(kvg_json_get_string(node, "interface"), &type) ||
        type >= KVG_PORT_MEDIA)
        return &node_shape;
    return parameters[type];
}

#define EDGE_END(member)                                                                           \
    {                                                                                              \
        .name = member, .kind = KVG_SHAPE_STRING, .required = true,                                \
        .pattern = "^[a-zA-Z0-9_-]+\\.?[a-z_A-Z0-9-]+$", .rule = EDGE_RULE                         \
    }
static const KvgShapeMember edge_members[] = {EDGE_END("producer"), EDGE_END("consumer")};
static const KvgShape edge = SHAPE("an edge", edge_members);

static const KvgShapeMember routing_members[] = {
    {.name = "node",
     .kind = KVG_SHAPE_STRING,
     .required = true,
     .pattern = NODE_NAME,
     .rule = NODE_NAME_RULE},
    {.name = "containerPort",
     .kind = KVG_SHAPE_INTEGER,
     .required = true,
     .least = 1,
     .most = 65535},
    {.name = "hostPort", .kind = KVG_SHAPE_INTEGER, .least = 1, .most = 65535},
    {.name = "decorator", .kind = KVG_SHAPE_OBJECT, .shape = &decorator},
};
static const KvgShape routing = SHAPE("a network routing rule", routing_members);

static const KvgShapeMember graph_members[] = {
    VERSION_MEMBER,
    DESCRIPTION_MEMBER,
    {.name = "packages", .kind = KVG_SHAPE_LIST, .required = true, .least = 1, .shape = &include},
    {.name = "nodes", .kind = KVG_SHAPE_LIST, .required = true, .least = 1, .choose = choose_node},
    LIST_MEMBER("edges", edge),
    LIST_MEMBER("networkRoutingRules", routing),
};
static const KvgShape graph = SHAPE("nodeGraph", graph_members);
static const KvgShapeMember graph_root_members[] = {
    {.name = "nodeGraph", .kind = KVG_SHAPE_OBJECT, .shape = &graph},
};

/* ---- override ---- */

static const KvgShapeMember replacement_members[] = {
    {.name = "name",
     .kind = KVG_SHAPE_STRING,
     .required = true,
     .pattern = NODE_NAME,
     .rule = NODE_NAME_RULE},
};
static const KvgShape replacement = SHAPE("a replacing node", replacement_members);

static const KvgShapeMember node_override_members[] = {
    {.name = "envelopeVersion", .kind = KVG_SHAPE_STRING, .words = envelopes},
    {.name = "replace",
     .kind = KVG_SHAPE_STRING,
     .required = true,
     .pattern = NODE_NAME,
     .rule = NODE_NAME_RULE},
    {.name = "with", .kind = KVG_SHAPE_LIST, .required = true, .shape = &replacement},
};
static const KvgShape node_override = SHAPE("a node override", node_override_members);

static const KvgShapeMember override_members[] = {
    VERSION_MEMBER,
    DESCRIPTION_MEMBER,
    LIST_MEMBER("packages", include),
    {.name = "nodes", .kind = KVG_SHAPE_LIST, .choose = choose_node},
    LIST_MEMBER("edges", edge),
    LIST_MEMBER("networkRoutingRules", routing),
    LIST_MEMBER("nodeOverrides", node_override),
};
static const KvgShape override_shape = SHAPE("nodeGraphOverrides", override_members);
static const KvgShapeMember override_root_members[] = {
    {.name = "nodeGraphOverrides", .kind = KVG_SHAPE_OBJECT, .shape = &override_shape},
};

/* ---- package ---- */

static const KvgShapeMember requirement_members[] = {
    {.name = "type", .kind = KVG_SHAPE_STRING},
};
static const KvgShape requirement = {"a requirement", requirement_members,
                                     G_N_ELEMENTS(requirement_members), .open = true};

static const KvgShapeMember implementation_members[] = {
    {.name = "type", .kind = KVG_SHAPE_STRING, .required = true, .words = implementations},
    {.name = "assetUri", .kind = KVG_SHAPE_STRING, .required = true, .least = 1, .most = 255},
    {.name = "descriptorUri", .kind = KVG_SHAPE_STRING, .least = 1, .most = 255},
    DESCRIPTION_MEMBER,
    LIST_MEMBER("requirements", requirement),
};
static const KvgShape implementation = SHAPE("an implementation", implementation_members);

static const KvgShapeMember asset_members[] = {
    {.name = "name", .kind = KVG_SHAPE_STRING, .required = true, .least = 1, .most = 255},
    DESCRIPTION_MEMBER,
    LIST_MEMBER("implementations", implementation),
};
static const KvgShape asset = SHAPE("an asset", asset_members);

static const char *const plain_types[] = {"boolean", "int32",    "float32", "string",
                                          "media",   "string[]", NULL};
#define PORT_MEMBERS                                                                               \
    {.name = "name",                                                                               \
     .kind = KVG_SHAPE_STRING,                                                                     \
     .required = true,                                                                             \
     .pattern = "^[$A-Za-z0-9_]{1,50}$",                                                           \
     .rule = "1 to 50 of the characters A-Z a-z 0-9 $ _ (no hyphen)"},                             \
        {.name = "type",                                                                           \
         .kind = KVG_SHAPE_STRING,                                                                 \
         .required = true,                                                                         \
         .words = plain_types,                                                                     \
         .rule = "boolean, int32, float32, string or media"},                                      \
        DESCRIPTION_MEMBER,                                                                        \
    {                                                                                              \
        .name = "maxConnections", .kind = KVG_SHAPE_INTEGER, .most = G_MAXINT32                    \
    }
static const KvgShapeMember media_port_members[] = {PORT_MEMBERS};
static const KvgShape media_port = SHAPE("a port of type media", media_port_members);

/* A default may be a camera's password. */
#define SCALAR_PORT(type, default_kind, is_open, lowest, highest)                                  \
    static const KvgShapeMember type##_port_members[] = {                                          \
        PORT_MEMBERS,                                                                              \
        {.name = "default",                                                                        \
         .kind = default_kind,                                                                     \
         .hides = true,                                                                            \
         .least = lowest,                                                                          \
         .most = highest},                                                                         \
        {.name = "constraintRegex", .kind = KVG_SHAPE_STRING, .least = 1, .most = 255},            \
        {.name = "reference", .kind = KVG_SHAPE_BOOLEAN},                                          \
        TEXT_MEMBER("referenceSource"),                                                            \
    };                                                                                             \
    static const KvgShape type##_port = {"a port of type " #type, type##_port_members,             \
                                         G_N_ELEMENTS(type##_port_members), .open = is_open}
SCALAR_PORT(boolean, KVG_SHAPE_BOOLEAN, false, 0, 0);
SCALAR_PORT(int32, KVG_SHAPE_INTEGER, false, G_MININT32, G_MAXINT32);
SCALAR_PORT(float32, KVG_SHAPE_NUMBER, false, 0, 0);
SCALAR_PORT(string, KVG_SHAPE_STRING, true, 0, 0);
static const KvgShape strings_port = {"a port of type string[]", media_port_members,
                                      G_N_ELEMENTS(media_port_members), .open = true};

static const KvgShape *
choose_port(const json_t *port)
{
    static const KvgShape *const shapes[] = {&boolean_port, &int32_port, &float32_port,
                                             &string_port,  &media_port, &strings_port};
    KvgPortType type;
    return kvg_port_type_parse(kvg_json_get_string(port, "type"), &type) ? shapes[type]
                                                                         : &media_port;
}

static const KvgShapeMember inbound_members[] = {
    {.name = "port", .kind = KVG_SHAPE_INTEGER, .required = true, .least = 1, .most = 65535},
    DESCRIPTION_MEMBER,
};
static const KvgShape inbound = SHAPE("an inbound port", inbound_members);
static const KvgShapeMember network_members[] = {
    {.name = "inboundPorts", .kind = KVG_SHAPE_LIST, .most = 10, .shape = &inbound},
};
static const KvgShape network = SHAPE("network", network_members);

static const KvgShapeMember interface_members[] = {
    {.name = "name",
     .kind = KVG_SHAPE_STRING,
     .required = true,
     .pattern = NAME,
     .rule = NAME_RULE},
    {.name = "category",
     .kind = KVG_SHAPE_STRING,
     .required = true,
     .words = categories,
     .rule = "media_source, media_sink, business_logic or ml_model"},
    TEXT_MEMBER("asset"),
    TEXT_MEMBER("description"),
    {.name = "inputs", .kind = KVG_SHAPE_LIST, .choose = choose_port},
    {.name = "outputs", .kind = KVG_SHAPE_LIST, .choose = choose_port},
    {.name = "network", .kind = KVG_SHAPE_OBJECT, .shape = &network},
};
static const KvgShape interface_shape = SHAPE("an interface", interface_members);

static const KvgShapeMember package_members[] = {
    VERSION_MEMBER,
    {.name = "name", .kind = KVG_SHAPE_STRING, .pattern = NAME, .rule = NAME_RULE},
    {.name = "version",
     .kind = KVG_SHAPE_STRING,
     .pattern = "^[0-9]+\\.[0-9]+$",
     .rule = "MAJOR.MINOR in digits"},
    DESCRIPTION_MEMBER,
    LIST_MEMBER("assets", asset),
    {.name = "interfaces",
     .kind = KVG_SHAPE_LIST,
     .required = true,
     .least = 1,
     .shape = &interface_shape},
};
static const KvgShape package = SHAPE("nodePackage", package_members);
static const KvgShapeMember package_root_members[] = {
    {.name = "nodePackage", .kind = KVG_SHAPE_OBJECT, .shape = &package},
};

/* ---- descriptor ---- */

static const KvgShapeMember variable_members[] = {
    {.name = "name", .kind = KVG_SHAPE_STRING, .required = true, .least = 1},
    {.name = "value", .kind = KVG_SHAPE_STRING, .required = true, .hides = true},
};
static const KvgShape variable = SHAPE("a variable of the environment", variable_members);
static const KvgShapeMember entry_members[] = {
    TEXT_MEMBER("path"),
    TEXT_MEMBER("name"),
    {.name = "arguments", .kind = KVG_SHAPE_STRINGS},
    LIST_MEMBER("environment", variable),
};
static const KvgShape entry = SHAPE("entry", entry_members);
static const KvgShapeMember event_members[] = {
    {.name = "type", .kind = KVG_SHAPE_STRING, .required = true, .words = events},
};
static const KvgShape event = {"an event", event_members, G_N_ELEMENTS(event_members),
                               .open = true};
static const KvgShapeMember runtime_members[] = {
    VERSION_MEMBER,
    {.name = "entry", .kind = KVG_SHAPE_OBJECT, .shape = &entry},
    LIST_MEMBER("events", event),
};
static const KvgShape runtime = SHAPE("runtimeDescriptor", runtime_members);
static const KvgShapeMember model_members[] = {
    VERSION_MEMBER,
    {.name = "framework", .kind = KVG_SHAPE_STRING, .required = true},
    TEXT_MEMBER("frameworkVersion"),
    {.name = "inputs", .kind = KVG_SHAPE_ANY, .required = true},
    TEXT_MEMBER("precisionMode"),
};
static const KvgShape model = SHAPE("mlModelDescriptor", model_members);
static const KvgShapeMember descriptor_root_members[] = {
    {.name = "runtimeDescriptor", .kind = KVG_SHAPE_OBJECT, .shape = &runtime},
    {.name = "mlModelDescriptor", .kind = KVG_SHAPE_OBJECT, .shape = &model},
};

/* path, arguments and environment say how `name` is started; without it they say nothing. */
static void
check_entry(const json_t *root, const char *file, KvgProblems *problems)
{
    static const char *const dependent[] = {"path", "arguments", "environment"};
    const json_t *at = json_object_get(json_object_get(root, "runtimeDescriptor"), "entry");
    for (size_t i = 0; i < G_N_ELEMENTS(dependent); i++) {
        if (json_object_get(at, dependent[i]) != NULL && json_object_get(at, "name") == NULL)
            kvg_problem_add(problems, KVG_PROBLEM_ERROR, file, "$.runtimeDescriptor.entry", NULL,
                            "'%s' needs the member 'name'", dependent[i]);
    }
}

/* ---- cameras ---- */

#define TEMPLATE_MEMBER(member)                                                                    \
    {                                                                                              \
        .name = member, .kind = KVG_SHAPE_STRING, .least = 1, .most = 255, .hides = true           \
    }
static const KvgShapeMember template_members[] = {
    TEMPLATE_MEMBER("Username"), TEMPLATE_MEMBER("Password"), TEMPLATE_MEMBER("StreamUrl")};
static const KvgShape template_shape = SHAPE("a camera's template", template_members);

static void
check_cameras(const json_t *root, const char *file, KvgProblems *problems)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)root, name, value)
    {
        g_autofree char *path = g_strconcat("$.", name, NULL);
        if (!json_is_object(value))
            kvg_problem_add(problems, KVG_PROBLEM_ERROR, file, path, NULL,
                            "it must be an object with StreamUrl, and Username and Password if "
                            "the camera wants them");
        else
            kvg_shape_check(&template_shape, value, file, path, problems);
    }
}

/* ---- all kinds ---- */

static const KvgShape roots[] = {
    [KVG_DOCUMENT_GRAPH] = SHAPE("a graph file", graph_root_members),
    [KVG_DOCUMENT_OVERRIDE] = SHAPE("an override file", override_root_members),
    [KVG_DOCUMENT_PACKAGE] = SHAPE("a package file", package_root_members),
    [KVG_DOCUMENT_DESCRIPTOR] = SHAPE("an asset descriptor", descriptor_root_members),
};

/* The text of a parse error quotes the document; a file of secrets is not quoted. */
static void
report_syntax(KvgDocumentKind kind, const char *file, const char *text, KvgProblems *problems)
{
    const char *near = kind == KVG_DOCUMENT_CAMERAS ? strstr(text, " near ") : NULL;
    const int len = near != NULL ? (int)(near - text) : (int)strlen(text);
    g_autofree char *cut = g_strndup(text, (size_t)MIN(len, 300));
    g_autofree char *valid = g_utf8_make_valid(cut, -1);
    kvg_problem_add(problems, KVG_PROBLEM_ERROR, file, NULL, NULL, "%s", valid);
}

/* Root objects may lack the member that makes them what they are; we cannot do without. */
static bool
has_content(KvgDocumentKind kind, const json_t *root, const char *file, KvgProblems *problems)
{
    if (kind == KVG_DOCUMENT_OVERRIDE && json_object_get(root, "nodePackageOverrides") != NULL) {
        kvg_problem_add(problems, KVG_PROBLEM_NOTE, file, "$.nodePackageOverrides", NULL,
                        "not applicable: it replaces assets of packages, which are not run");
        return false;
    }
    if (json_object_get(root, roots[kind].members[0].name) != NULL ||
        (kind == KVG_DOCUMENT_DESCRIPTOR && json_object_get(root, "mlModelDescriptor") != NULL))
        return true;
    kvg_problem_add(problems, KVG_PROBLEM_ERROR, file, "$", NULL,
                    "%s must have the member '%s'; is it another kind of file?", roots[kind].noun,
                    roots[kind].members[0].name);
    return false;
}

json_t *
kvg_document_parse(
    KvgDocumentKind kind, const char *file, const char *text, size_t len, KvgProblems *problems)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(json_t) root = kvg_json_parse_object(text, len, &error);
    if (root == NULL) {
        report_syntax(kind, file, error->message, problems);
        return NULL;
    }
    if (kind == KVG_DOCUMENT_CAMERAS) {
        check_cameras(root, file, problems);
        return g_steal_pointer(&root);
    }
    if (!has_content(kind, root, file, problems))
        return NULL;
    kvg_shape_check(&roots[kind], root, file, "$", problems);
    if (kind == KVG_DOCUMENT_DESCRIPTOR)
        check_entry(root, file, problems);
    return g_steal_pointer(&root);
}
