#include "panorama/package.h"
#include <string.h>

#define FILE_PLAYER "source/video/file"

static const char stock_camera[] =
    "{\"nodePackage\":{\"envelopeVersion\":\"2021-01-01\",\"name\":\"abstract_rtsp_media_source\","
    "\"version\":\"1.0\",\"interfaces\":[{\"name\":\"rtsp_v1_interface\",\"category\":"
    "\"media_source\",\"outputs\":[{\"name\":\"video_out\",\"type\":\"media\"}]}]}}";
static const char stock_sink[] =
    "{\"nodePackage\":{\"envelopeVersion\":\"2021-01-01\",\"name\":\"hdmi_data_sink\","
    "\"version\":\"1.0\",\"interfaces\":[{\"name\":\"hdmi0\",\"category\":\"media_sink\","
    "\"inputs\":[{\"name\":\"video_in\",\"type\":\"media\"}]}]}}";

static void
interface_free(void *data)
{
    KvgPackageInterface *interface = data;
    g_ptr_array_unref(interface->inputs);
    g_ptr_array_unref(interface->outputs);
    g_array_unref(interface->inbound);
    g_free(interface);
}

void
kvg_package_free(KvgPackage *package)
{
    if (package == NULL)
        return;
    g_clear_pointer(&package->interfaces, g_ptr_array_unref);
    json_decref(package->root);
    g_free(package->owner);
    g_free(package->name);
    g_free(package->version);
    g_free(package->file);
    g_free(package);
}

static KvgPackage *
package_new(KvgPackageKind kind, const char *owner, const char *name, const char *version)
{
    KvgPackage *package = g_new0(KvgPackage, 1);
    package->kind = kind;
    package->owner = g_strdup(owner);
    package->name = g_strdup(name);
    package->version = g_strdup(version);
    package->interfaces = g_ptr_array_new_with_free_func(interface_free);
    return package;
}

/* ---- reading ---- */

typedef struct {
    KvgPackage *package;
    KvgProblems *problems;
} Reading;

static void G_GNUC_PRINTF(3, 4)
    report(const Reading *reading, const char *path, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    kvg_problem_add(reading->problems, KVG_PROBLEM_ERROR, reading->package->file, path, NULL, "%s",
                    text);
}

static void
read_port(const Reading *reading, const json_t *json, const char *path, GPtrArray *ports)
{
    const char *name = kvg_json_get_string(json, "name");
    KvgPortType type;
    if (name == NULL || !kvg_port_type_parse(kvg_json_get_string(json, "type"), &type))
        return;
    if (kvg_package_find_port(ports, name) != NULL)
        report(reading, path, "there is another port '%s'", name);
    KvgPackagePort *port = g_new0(KvgPackagePort, 1);
    port->name = name;
    port->type = type;
    port->max_connections =
        (unsigned)CLAMP(kvg_json_get_int(json, "maxConnections", 0), 0, G_MAXINT32);
    port->default_value = json_object_get(json, "default");
    port->regex = kvg_json_get_string(json, "constraintRegex");
    g_ptr_array_add(ports, port);
}

static GPtrArray *
read_ports(const Reading *reading, const json_t *interface, const char *key, const char *path)
{
    GPtrArray *ports = g_ptr_array_new_with_free_func(g_free);
    size_t i;
    const json_t *port;
    json_array_foreach(json_object_get(interface, key), i, port)
    {
        g_autofree char *port_path = g_strdup_printf("%s.%s[%zu]", path, key, i);
        read_port(reading, port, port_path, ports);
    }
    return ports;
}

/* Lists of strings are known to the file player alone. */
static void
check_lists(const Reading *reading, const KvgPackageInterface *interface, const char *path)
{
    const char *type = NULL;
    const char *uri = interface->asset != NULL
                          ? kvg_package_asset_uri(reading->package, interface->asset, &type)
                          : NULL;
    for (guint i = 0; i < interface->inputs->len; i++) {
        const KvgPackagePort *port = g_ptr_array_index(interface->inputs, i);
        if (port->type == KVG_PORT_STRINGS && g_strcmp0(uri, FILE_PLAYER) != 0)
            report(reading, path, "port '%s': the type string[] is known to " FILE_PLAYER " alone",
                   port->name);
    }
}

static void
read_interface(const Reading *reading, const json_t *json, const char *path)
{
    const char *name = kvg_json_get_string(json, "name");
    const char *category = kvg_json_get_string(json, "category");
    if (name == NULL || category == NULL)
        return;
    if (kvg_package_find_interface(reading->package, name) != NULL)
        report(reading, path, "there is another interface '%s'", name);
    KvgPackageInterface *interface = g_new0(KvgPackageInterface, 1);
    interface->name = name;
    interface->category = strcmp(category, "data_sink") == 0 ? "media_sink" : category;
    interface->asset = kvg_json_get_string(json, "asset");
    interface->inputs = read_ports(reading, json, "inputs", path);
    interface->outputs = read_ports(reading, json, "outputs", path);
    interface->inbound = g_array_new(FALSE, FALSE, sizeof(uint16_t));
    size_t i;
    const json_t *inbound;
    json_array_foreach(json_object_get(json_object_get(json, "network"), "inboundPorts"), i,
                       inbound)
    {
        const uint16_t port = (uint16_t)kvg_json_get_int(inbound, "port", 0);
        g_array_append_val(interface->inbound, port);
    }
    g_ptr_array_add(reading->package->interfaces, interface);
    const char *type = NULL;
    /* An asset that was never built may be missing, so it is no error. */
    if (interface->asset != NULL &&
        kvg_package_asset_uri(reading->package, interface->asset, &type) == NULL)
        kvg_problem_add(reading->problems, KVG_PROBLEM_WARNING, reading->package->file, path, NULL,
                        "its asset '%s' is not among the package's assets", interface->asset);
    check_lists(reading, interface, path);
}

static void
note_requirements(const Reading *reading, const json_t *implementation, const char *path)
{
    size_t i;
    const json_t *requirement;
    json_array_foreach(json_object_get(implementation, "requirements"), i, requirement)
    {
        const char *type = kvg_json_get_string(requirement, "type");
        g_autofree char *requirement_path = g_strdup_printf("%s.requirements[%zu]", path, i);
        const bool is_hardware = g_strcmp0(type, "hardware_access") == 0;
        kvg_problem_add(
            reading->problems, KVG_PROBLEM_NOTE, reading->package->file, requirement_path, NULL,
            is_hardware ? "not applicable: access to the appliance's hardware (GPU) is not "
                          "given; the application gets what this machine lets it use"
                        : "not applicable: it describes the former appliance");
    }
}

/* Models and requirements mean nothing here; what the appliance implemented itself may. */
static void
read_asset(const Reading *reading, const json_t *asset, const char *path)
{
    size_t i;
    const json_t *implementation;
    json_array_foreach(json_object_get(asset, "implementations"), i, implementation)
    {
        static const char *const known[] = {"source/video/camera/rtsp/source_rtsp",
                                            "sink/video/hdmi/sink_hdmi", FILE_PLAYER, NULL};
        const char *type = kvg_json_get_string(implementation, "type");
        const char *uri = kvg_json_get_string(implementation, "assetUri");
        g_autofree char *where = g_strdup_printf("%s.implementations[%zu]", path, i);
        note_requirements(reading, implementation, where);
        if (g_strcmp0(type, "model") == 0)
            kvg_problem_add(reading->problems, KVG_PROBLEM_NOTE, reading->package->file, where,
                            NULL, "not applicable: models are not run");
        if (g_strcmp0(type, "system") == 0 && uri != NULL && !g_strv_contains(known, uri))
            kvg_problem_add(reading->problems, KVG_PROBLEM_WARNING, reading->package->file, where,
                            json_object_get(implementation, "assetUri"),
                            "the appliance is not known to have had it");
    }
}

static void
read_content(KvgPackage *package, KvgProblems *problems)
{
    const Reading reading = {package, problems};
    const json_t *content = json_object_get(package->root, "nodePackage");
    size_t i;
    const json_t *item;
    json_array_foreach(json_object_get(content, "assets"), i, item)
    {
        g_autofree char *path = g_strdup_printf("$.nodePackage.assets[%zu]", i);
        read_asset(&reading, item, path);
    }
    json_array_foreach(json_object_get(content, "interfaces"), i, item)
    {
        g_autofree char *path = g_strdup_printf("$.nodePackage.interfaces[%zu]", i);
        read_interface(&reading, item, path);
    }
}

/* "packages/OWNER-PACKAGE-VERSION/package.json": the owner has no hyphen, the version neither. */
static bool
read_folder_name(const char *file, char **owner, char **name, char **version)
{
    g_autofree char *folder = g_path_get_dirname(file);
    g_autofree char *base = g_path_get_basename(folder);
    g_autoptr(GRegex) form =
        g_regex_new("^([$A-Z_a-z0-9]+)-([A-Za-z0-9_-]{1,128})-([0-9]+\\.[0-9]+)$", 0, 0, NULL);
    g_autoptr(GMatchInfo) match = NULL;
    if (!g_regex_match(form, base, 0, &match))
        return false;
    *owner = g_match_info_fetch(match, 1);
    *name = g_match_info_fetch(match, 2);
    *version = g_match_info_fetch(match, 3);
    return true;
}

static void
check_name(const KvgPackage *package, const char *key, const char *is, KvgProblems *problems)
{
    const json_t *value = json_object_get(json_object_get(package->root, "nodePackage"), key);
    g_autofree char *path = g_strconcat("$.nodePackage.", key, NULL);
    if (json_is_string(value) && strcmp(json_string_value(value), is) != 0)
        kvg_problem_add(problems, KVG_PROBLEM_ERROR, package->file, path, value,
                        "the package's folder says '%s'", is);
}

KvgPackage *
kvg_package_parse(const KvgProjectFile *file, KvgProblems *problems)
{
    g_autofree char *owner = NULL;
    g_autofree char *name = NULL;
    g_autofree char *version = NULL;
    if (!read_folder_name(file->name, &owner, &name, &version)) {
        kvg_problem_add(problems, KVG_PROBLEM_WARNING, file->name, NULL, NULL,
                        "left out: its folder is not named OWNER-PACKAGE-MAJOR.MINOR");
        return NULL;
    }
    json_t *root =
        kvg_document_parse(KVG_DOCUMENT_PACKAGE, file->name, file->text, file->len, problems);
    if (root == NULL)
        return NULL;
    KvgPackage *package = package_new(KVG_PACKAGE_FILE, owner, name, version);
    package->file = g_strdup(file->name);
    package->root = root;
    check_name(package, "name", name, problems);
    check_name(package, "version", version, problems);
    read_content(package, problems);
    return package;
}

/* ---- packages without a file ---- */

KvgPackage *
kvg_package_new_stock(const char *name, const char *version)
{
    const char *const texts[] = {stock_camera, stock_sink};
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        json_t *root = json_loads(texts[i], 0, NULL);
        if (g_strcmp0(kvg_json_get_string(json_object_get(root, "nodePackage"), "name"), name) !=
            0) {
            json_decref(root);
            continue;
        }
        g_auto(KvgProblems) none;
        kvg_problems_init(&none);
        KvgPackage *package = package_new(KVG_PACKAGE_STOCK, "panorama", name, version);
        package->root = root;
        read_content(package, &none);
        return package;
    }
    return NULL;
}

KvgPackage *
kvg_package_new_camera(const char *owner, const char *name, const char *version)
{
    g_auto(KvgProblems) none;
    kvg_problems_init(&none);
    KvgPackage *package = package_new(KVG_PACKAGE_CAMERA, owner, name, version);
    package->root =
        json_pack("{s:{s:[{s:s, s:s, s:[{s:s, s:s}]}]}}", "nodePackage", "interfaces", "name", name,
                  "category", "media_source", "outputs", "name", "video_out", "type", "media");
    read_content(package, &none);
    return package;
}

KvgPackage *
kvg_package_new_absent(const char *owner, const char *name, const char *version)
{
    return package_new(KVG_PACKAGE_ABSENT, owner, name, version);
}

/* ---- looking ---- */

const KvgPackageInterface *
kvg_package_find_interface(const KvgPackage *package, const char *name)
{
    for (guint i = 0; i < package->interfaces->len; i++) {
        const KvgPackageInterface *interface = g_ptr_array_index(package->interfaces, i);
        if (strcmp(interface->name, name) == 0)
            return interface;
    }
    return NULL;
}

const KvgPackagePort *
kvg_package_find_port(const GPtrArray *ports, const char *name)
{
    for (guint i = 0; i < ports->len; i++) {
        const KvgPackagePort *port = g_ptr_array_index(ports, i);
        if (strcmp(port->name, name) == 0)
            return port;
    }
    return NULL;
}

bool
kvg_package_is_abstract_camera(const KvgPackage *package)
{
    return package->kind == KVG_PACKAGE_STOCK &&
           strcmp(package->name, "abstract_rtsp_media_source") == 0;
}

bool
kvg_package_has_address(const KvgPackageInterface *interface)
{
    static const char *const names[] = {"username", "password", "streamUrl"};
    if (strcmp(interface->category, "media_source") != 0)
        return false;
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        const KvgPackagePort *port = kvg_package_find_port(interface->inputs, names[i]);
        if (port == NULL || port->type != KVG_PORT_STRING)
            return false;
    }
    return true;
}

const char *
kvg_package_asset_uri(const KvgPackage *package, const char *name, const char **type)
{
    size_t i;
    const json_t *asset;
    json_array_foreach(json_object_get(json_object_get(package->root, "nodePackage"), "assets"), i,
                       asset)
    {
        if (g_strcmp0(kvg_json_get_string(asset, "name"), name) != 0)
            continue;
        const json_t *first = json_array_get(json_object_get(asset, "implementations"), 0);
        *type = kvg_json_get_string(first, "type");
        const char *uri = kvg_json_get_string(first, "assetUri");
        return uri != NULL ? uri : "";
    }
    return NULL;
}
