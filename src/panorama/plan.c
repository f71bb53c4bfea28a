#include "panorama/plan.h"
#include "base/text.h"
#include <string.h>

static const char *const sample_inputs[] = {"kvs_stream_name", "iot_role_alias", "kvs_region"};

typedef struct {
    const KvgGraph *graph;
    const KvgPlanSecrets *secrets;
    KvgProblems *problems;
    KvgPlan *plan;
    GHashTable *listed; /* names of the stream list */
} Planning;

static void
wipe(char *secret)
{
    if (secret != NULL)
        explicit_bzero(secret, strlen(secret));
    g_free(secret);
}

static void
camera_free(void *data)
{
    KvgPlanCamera *camera = data;
    g_free(camera->name);
    g_free(camera->node);
    g_free(camera->url);
    g_free(camera->username);
    wipe(camera->password);
    g_free(camera);
}

void
kvg_plan_free(KvgPlan *plan)
{
    if (plan == NULL)
        return;
    g_free(plan->region);
    g_free(plan->role_alias);
    g_ptr_array_unref(plan->cameras);
    json_decref(plan->parameters);
    g_free(plan);
}

const KvgPlanCamera *
kvg_plan_find_camera(const KvgPlan *plan, const char *name)
{
    for (guint i = 0; i < plan->cameras->len; i++) {
        const KvgPlanCamera *camera = g_ptr_array_index(plan->cameras, i);
        if (strcmp(camera->name, name) == 0)
            return camera;
    }
    return NULL;
}

char *
kvg_plan_camera_of_stream_id(const char *stream_id)
{
    g_autoptr(GRegex) form = g_regex_new("^(.+)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
                                         G_REGEX_CASELESS | G_REGEX_DOLLAR_ENDONLY, 0, NULL);
    g_autoptr(GMatchInfo) match = NULL;
    if (!g_regex_match(form, stream_id, 0, &match))
        return g_strdup(stream_id);
    return g_match_info_fetch(match, 1);
}

/* ---- the sample ---- */

static bool
has_string_input(const KvgGraph *graph, const KvgGraphNode *node, const char *name)
{
    if (node->interface != NULL) {
        const KvgPackagePort *port = kvg_package_find_port(node->interface->inputs, name);
        return port != NULL && port->type == KVG_PORT_STRING;
    }
    g_autoptr(GPtrArray) parameters = kvg_graph_parameters_of(graph, node, name);
    return parameters->len > 0 &&
           ((const KvgGraphNode *)parameters->pdata[0])->type == KVG_PORT_STRING;
}

static bool
has_media_input(const KvgGraph *graph, const KvgGraphNode *node)
{
    for (guint i = 0; node->interface != NULL && i < node->interface->inputs->len; i++) {
        if (((const KvgPackagePort *)node->interface->inputs->pdata[i])->type == KVG_PORT_MEDIA)
            return true;
    }
    for (guint i = 0; node->interface == NULL && i < graph->edges->len; i++) {
        const KvgGraphEdge *edge = g_ptr_array_index(graph->edges, i);
        if (edge->consumer == node && !edge->producer->is_parameter)
            return true;
    }
    return false;
}

bool
kvg_plan_is_sample(const KvgGraph *graph, const KvgGraphNode *node)
{
    const char *category = kvg_graph_category(node);
    if (node->is_parameter || node->package == NULL ||
        (category != NULL && strcmp(category, "business_logic") != 0))
        return false;
    for (size_t i = 0; i < G_N_ELEMENTS(sample_inputs); i++) {
        if (!has_string_input(graph, node, sample_inputs[i]))
            return false;
    }
    return has_media_input(graph, node);
}

static const KvgGraphNode *
find_sample(const KvgGraph *graph)
{
    for (guint i = 0; i < graph->nodes->len; i++) {
        if (kvg_plan_is_sample(graph, graph->nodes->pdata[i]))
            return graph->nodes->pdata[i];
    }
    return NULL;
}

/* The one text that all overrides give the input. NULL: none, or they differ. */
static char *
agreed_text(const Planning *planning, const KvgGraphNode *code, const char *input)
{
    g_autoptr(GPtrArray) parameters = kvg_graph_parameters_of(planning->graph, code, input);
    g_autoptr(json_t) first = kvg_graph_input(planning->graph, code, input);
    for (guint i = 1; i < parameters->len; i++) {
        const KvgGraphNode *one = parameters->pdata[0], *other = parameters->pdata[i];
        g_autoptr(json_t) value = kvg_graph_value(other);
        if (json_equal(first, value))
            continue;
        g_autofree char *path = g_strconcat(other->path, ".value", NULL);
        kvg_problem_add(planning->problems, KVG_PROBLEM_ERROR, other->file, path, value,
                        "%s has another value of '%s'; import the two into folders of their own",
                        one->file, input);
        return NULL;
    }
    g_autofree char *text = g_strdup(json_string_value(first));
    if (text != NULL && *g_strstrip(text) != '\0')
        return g_steal_pointer(&text);
    kvg_problem_add(planning->problems, KVG_PROBLEM_ERROR, code->file, code->path, NULL,
                    "its input '%s' has no value", input);
    return NULL;
}

static void
read_list(const Planning *planning, const char *file, const char *path, const char *list)
{
    g_auto(GStrv) names = g_strsplit(list, ",", -1);
    for (char **name = names; *name != NULL; name++) {
        g_autofree char *trimmed = g_strstrip(g_strdup(*name));
        g_autoptr(json_t) value = json_string(*name);
        if (*trimmed == '\0') {
            kvg_problem_add(planning->problems, KVG_PROBLEM_WARNING, file, path, NULL,
                            "a name in the list is empty; left out");
            continue;
        }
        if (strcmp(trimmed, *name) != 0)
            kvg_problem_add(planning->problems, KVG_PROBLEM_WARNING, file, path, value,
                            "blanks beside the name are left out; the former application made "
                            "them a part of it");
        if (!kvg_name_is_camera(trimmed))
            kvg_problem_add(planning->problems, KVG_PROBLEM_ERROR, file, path, value,
                            "a camera's name is 1 to 128 of the characters A-Z a-z 0-9 _ -");
        else if (!g_hash_table_add(planning->listed, g_steal_pointer(&trimmed)))
            kvg_problem_add(planning->problems, KVG_PROBLEM_WARNING, file, path, value,
                            "the list names it twice");
    }
}

static void
read_sample(const Planning *planning, const KvgGraphNode *code)
{
    g_autoptr(GPtrArray) lists = kvg_graph_parameters_of(planning->graph, code, sample_inputs[0]);
    planning->plan->is_sample = true;
    planning->plan->role_alias = agreed_text(planning, code, sample_inputs[1]);
    planning->plan->region = agreed_text(planning, code, sample_inputs[2]);
    kvg_problem_add(planning->problems, KVG_PROBLEM_NOTE, code->file, code->path,
                    json_object_get(code->json, "name"),
                    "recognised: it sends each camera to a stream of its name, which kvg does "
                    "itself");
    for (guint i = 0; i < lists->len; i++) {
        const KvgGraphNode *parameter = lists->pdata[i];
        g_autoptr(json_t) value = kvg_graph_value(parameter);
        g_autofree char *path = g_strconcat(parameter->path, ".value", NULL);
        if (json_is_string(value))
            read_list(planning, parameter->file, path, json_string_value(value));
    }
    if (lists->len > 0)
        return;
    g_autoptr(json_t) value = kvg_graph_input(planning->graph, code, sample_inputs[0]);
    if (json_is_string(value))
        read_list(planning, code->file, code->path, json_string_value(value));
}

/* ---- addresses ---- */

/* Takes user and password out of the URL, where everybody could read them. */
static bool
split_url(const char *text, char **url, char **username, char **password)
{
    g_autofree char *scheme = NULL;
    g_autofree char *user = NULL;
    g_autofree char *secret = NULL;
    g_autofree char *host = NULL;
    int port = -1;
    if (strchr(text, ' ') != NULL ||
        !g_uri_split_with_user(text, G_URI_FLAGS_HAS_PASSWORD | G_URI_FLAGS_ENCODED, &scheme, &user,
                               &secret, NULL, &host, &port, NULL, NULL, NULL, NULL) ||
        host == NULL || *host == '\0' || port == 0 ||
        (strcmp(scheme, "rtsp") != 0 && strcmp(scheme, "rtsps") != 0))
        return false;
    *url = kvg_uri_redact(text);
    if (user != NULL && *user != '\0')
        *username = kvg_uri_unescape(user, strlen(user), false);
    if (secret != NULL && *secret != '\0')
        *password = kvg_uri_unescape(secret, strlen(secret), false);
    if (secret != NULL)
        explicit_bzero(secret, strlen(secret));
    return true;
}

static char *
text_or_null(const char *text)
{
    return text != NULL && *text != '\0' ? g_strdup(text) : NULL;
}

typedef struct {
    const char *file, *path;
    char *url, *username, *password;
} Address;

static void
address_clear(Address *address)
{
    wipe(address->url);
    g_free(address->username);
    wipe(address->password);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Address, address_clear)

static char *
port_default(const KvgGraphNode *node, const char *name)
{
    const KvgPackagePort *port = kvg_package_find_port(node->interface->inputs, name);
    return text_or_null(json_string_value(port->default_value));
}

/* In order: the package, the template's parameters, whoever can be asked. */
static bool
find_address(const Planning *planning, const char *name, const KvgGraphNode *node, Address *address)
{
    const KvgPlanSecrets *secrets = planning->secrets;
    const json_t *entry = json_object_get(secrets->templates, name);
    if (node != NULL && node->interface != NULL && kvg_package_has_address(node->interface) &&
        (address->url = port_default(node, "streamUrl")) != NULL) {
        address->file = node->package->file;
        address->username = port_default(node, "username");
        address->password = port_default(node, "password");
    } else if ((address->url = text_or_null(kvg_json_get_string(entry, "StreamUrl"))) != NULL) {
        address->file = secrets->templates_file;
        address->username = text_or_null(kvg_json_get_string(entry, "Username"));
        address->password = text_or_null(kvg_json_get_string(entry, "Password"));
    } else if (secrets->ask != NULL) {
        address->url = secrets->ask(name, "URL", secrets->data);
    }
    if (address->url == NULL)
        return false;
    if (secrets->ask == NULL)
        return true;
    /* A password may be kept apart from the address. */
    if (address->username == NULL && address->file == NULL)
        address->username = secrets->ask(name, "USERNAME", secrets->data);
    if (address->password == NULL && (address->username != NULL || address->file == NULL))
        address->password = secrets->ask(name, "PASSWORD", secrets->data);
    return true;
}

static void
read_address(const Planning *planning, KvgPlanCamera *camera, const KvgGraphNode *node)
{
    g_auto(Address) address = {0};
    g_autofree char *username = NULL;
    g_autofree char *password = NULL;
    g_autofree char *path = g_strconcat("$.", camera->name, ".StreamUrl", NULL);
    g_autoptr(json_t) shown = json_string(camera->name);
    if (!find_address(planning, camera->name, node, &address)) {
        kvg_problem_add(planning->problems, KVG_PROBLEM_ERROR, NULL, NULL, shown,
                        "this camera has no address: graph and override name it only. Give "
                        "--cameras FILE with {\"%s\": {\"StreamUrl\": \"rtsp://...\", "
                        "\"Username\": ..., \"Password\": ...}}, or the environment variables of "
                        "kvg import panorama --help",
                        camera->name);
        return;
    }
    const bool is_template =
        address.file != NULL && address.file == planning->secrets->templates_file;
    if (!split_url(g_strstrip(address.url), &camera->url, &username, &password)) {
        kvg_problem_add(planning->problems, KVG_PROBLEM_ERROR, address.file,
                        is_template ? path : NULL, shown,
                        "the StreamUrl of this camera must be rtsp://HOST[:PORT]/PATH or rtsps://");
        return;
    }
    camera->username =
        address.username != NULL ? g_steal_pointer(&address.username) : g_steal_pointer(&username);
    camera->password =
        address.password != NULL ? g_steal_pointer(&address.password) : g_steal_pointer(&password);
    if (password != NULL)
        explicit_bzero(password, strlen(password));
}

/* ---- cameras ---- */

static bool
is_file_player(const KvgGraphNode *node)
{
    const char *type = NULL;
    const char *uri = node->interface->asset != NULL
                          ? kvg_package_asset_uri(node->package, node->interface->asset, &type)
                          : NULL;
    return g_strcmp0(uri, "source/video/file") == 0;
}

static void
add_camera(const Planning *planning, const char *name, const KvgGraphNode *node)
{
    KvgPlanCamera *camera = g_new0(KvgPlanCamera, 1);
    camera->name = g_strdup(name);
    camera->node = g_strdup(node != NULL ? node->name : NULL);
    camera->is_off = node != NULL && node->is_on_signal;
    g_ptr_array_add(planning->plan->cameras, camera);
    read_address(planning, camera, node);
    if (camera->is_off)
        kvg_problem_add(planning->problems, KVG_PROBLEM_NOTE, node->file, node->path, NULL,
                        "camera '%s' starts switched off (launch onSignal); RESUME switches it on",
                        name);
}

static void
add_node(const Planning *planning, const KvgGraphNode *node)
{
    const char *name = node->package->name;
    g_autofree char *path = g_strconcat(node->path, ".interface", NULL);
    const json_t *value = json_object_get(node->json, "interface");
    if (kvg_package_is_abstract_camera(node->package))
        return;
    if (is_file_player(node)) {
        kvg_problem_add(planning->problems, KVG_PROBLEM_WARNING, node->file, path, value,
                        "this plays a file; add a camera with the source file:PATH yourself");
        return;
    }
    if (kvg_plan_find_camera(planning->plan, name) != NULL)
        return; /* one camera, two nodes */
    if (!kvg_name_is_camera(name)) {
        kvg_problem_add(planning->problems, KVG_PROBLEM_ERROR, node->file, path, value,
                        "a camera's name is 1 to 128 of the characters A-Z a-z 0-9 _ -");
        return;
    }
    add_camera(planning, name, node);
    if (planning->plan->is_sample && !g_hash_table_contains(planning->listed, name))
        kvg_problem_add(planning->problems, KVG_PROBLEM_WARNING, node->file, node->path, NULL,
                        "mismatch: camera '%s' is not in kvs_stream_name; it is imported, the "
                        "former application would have ended with its first picture",
                        name);
}

static void
add_listed(const Planning *planning)
{
    g_autoptr(GList) names =
        g_list_sort(g_hash_table_get_keys(planning->listed), (GCompareFunc)(void (*)(void))strcmp);
    for (const GList *at = names; at != NULL; at = at->next) {
        const char *name = at->data;
        if (kvg_plan_find_camera(planning->plan, name) != NULL)
            continue;
        kvg_problem_add(planning->problems, KVG_PROBLEM_WARNING, NULL, NULL, NULL,
                        "mismatch: kvs_stream_name lists '%s', and no camera node has that name; "
                        "it is imported, the former application waited for its pictures in vain",
                        name);
        add_camera(planning, name, NULL);
    }
}

static void
check_templates(const Planning *planning)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)planning->secrets->templates, name, value)
    {
        g_autofree char *path = g_strconcat("$.", name, NULL);
        if (kvg_plan_find_camera(planning->plan, name) == NULL)
            kvg_problem_add(planning->problems, KVG_PROBLEM_WARNING,
                            planning->secrets->templates_file, path, NULL,
                            "no camera of the application has this name");
    }
}

/* ---- the rest ---- */

/* Nodes that are neither cameras nor parameters. */
static void
note_node(const Planning *planning, const KvgGraphNode *node)
{
    const char *category = kvg_graph_category(node);
    const json_t *name = json_object_get(node->json, "name");
    if (node->is_replaced || node->is_parameter || node->package == NULL)
        return;
    if (g_strcmp0(category, "media_sink") == 0)
        kvg_problem_add(planning->problems, KVG_PROBLEM_NOTE, node->file, node->path, name,
                        "not applicable: there is no HDMI output; the console shows live pictures");
    else if (g_strcmp0(category, "ml_model") == 0)
        kvg_problem_add(planning->problems, KVG_PROBLEM_NOTE, node->file, node->path, name,
                        "not applicable: models are not run");
    else if (g_strcmp0(category, "media_source") != 0 && !kvg_plan_is_sample(planning->graph, node))
        kvg_problem_add(planning->problems, KVG_PROBLEM_WARNING, node->file, node->path, name,
                        "the container of this node is not run by the agent: its cameras and "
                        "parameters are imported; kvg panorama run starts its code");
}

static void
read_parameters(const Planning *planning)
{
    for (guint i = 0; i < planning->graph->edges->len; i++) {
        const KvgGraphEdge *edge = g_ptr_array_index(planning->graph->edges, i);
        if (!edge->producer->is_parameter)
            continue;
        g_autoptr(json_t) value = kvg_graph_value(edge->producer);
        const json_t *former = json_object_get(planning->plan->parameters, edge->consumer_port);
        if (former != NULL && !planning->plan->is_sample && !json_equal(former, value))
            kvg_problem_add(planning->problems, KVG_PROBLEM_WARNING, edge->producer->file,
                            edge->producer->path, value,
                            "several values come into inputs named '%s'; the last one is noted",
                            edge->consumer_port);
        json_object_set(planning->plan->parameters, edge->consumer_port, value);
    }
}

KvgPlan *
kvg_plan_new(const KvgGraph *graph, const KvgPlanSecrets *secrets, KvgProblems *problems)
{
    KvgPlan *plan = g_new0(KvgPlan, 1);
    g_autoptr(GHashTable) listed = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    const Planning planning = {graph, secrets, problems, plan, listed};
    plan->cameras = g_ptr_array_new_with_free_func(camera_free);
    plan->parameters = json_object();
    const KvgGraphNode *code = find_sample(graph);
    if (code != NULL)
        read_sample(&planning, code);
    for (guint i = 0; i < graph->nodes->len; i++) {
        const KvgGraphNode *node = g_ptr_array_index(graph->nodes, i);
        if (kvg_graph_is_source(node))
            add_node(&planning, node);
        note_node(&planning, node);
    }
    add_listed(&planning);
    check_templates(&planning);
    read_parameters(&planning);
    if (plan->cameras->len == 0 && problems->n_errors == 0)
        kvg_problem_add(problems, KVG_PROBLEM_ERROR, NULL, NULL, NULL,
                        "the application has no camera; is an override missing (--override)?");
    return plan;
}
