/* Reads kvg.yaml. libyaml gives a document with marks; a table of keys per mapping says what each
 * value means. A problem is noted with its place and reading goes on, so that one run shows all of
 * them. Hides YAML, ${ENV} expansion and the search for the nearest key. */
#include "config/config.h"

#include "base/text.h"
#include "os/file.h"

#include <errno.h>
#include <fcntl.h>
#include <kvg/error.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <yaml.h>

#define MAX_FILE_BYTES (1024 * 1024)
#define MAX_CAMERAS 1000
#define MAX_DEPTH 16
#define MAX_PROBLEMS 100
#define MAX_TAGS 40
#define MAX_VALUE_BYTES 65536
#define MAX_RETENTION_HOURS 87600
#define MIN_SPOOL_AGE_MS 10000
#define DEFAULT_SPOOL_BYTES (20ULL << 30)
#define DEFAULT_SPOOL_BYTES_IN_MEMORY (512ULL << 20)

typedef struct {
    const char *path;
    char *folder;
    yaml_document_t document;
    GString *problems;
    unsigned n_problems;
} Loader;

typedef struct {
    const char *name;
    void (*read)(Loader *loader, const char *key, yaml_node_t *node, void *target);
} Key;

static void
camera_free(void *data)
{
    KvgConfigCamera *camera = data;
    if (camera == NULL)
        return;
    if (camera->password != NULL)
        explicit_bzero(camera->password, strlen(camera->password));
    g_free(camera->name);
    g_free(camera->source);
    g_free(camera->username);
    g_free(camera->password);
    g_free(camera->certificate_path);
    g_free(camera->key_path);
    g_free(camera);
}

void
kvg_config_free(KvgConfig *config)
{
    if (config == NULL)
        return;
    g_free(config->path);
    g_free(config->region);
    g_free(config->endpoint);
    g_free(config->ca_bundle);
    g_free(config->identity_directory);
    g_free(config->role_alias);
    g_free(config->credentials_endpoint);
    g_free(config->mqtt_endpoint);
    g_free(config->iam_role);
    g_free(config->iot_policy);
    g_free(config->thing_group);
    if (config->tags != NULL)
        g_ptr_array_unref(config->tags);
    g_free(config->spool_path);
    g_free(config->spool_memory_path);
    g_free(config->api_address);
    g_ptr_array_unref(config->cameras);
    g_free(config);
}

KvgConfigCamera *
kvg_config_find_camera(const KvgConfig *config, const char *name)
{
    for (guint i = 0; i < config->cameras->len; i++) {
        KvgConfigCamera *camera = g_ptr_array_index(config->cameras, i);
        if (g_str_equal(camera->name, name))
            return camera;
    }
    return NULL;
}

/* ---- problems ---- */

static void G_GNUC_PRINTF(4, 5)
    problem(Loader *loader, const yaml_mark_t *mark, const char *key, const char *format, ...)
{
    loader->n_problems++;
    if (loader->n_problems > MAX_PROBLEMS)
        return;
    if (loader->problems->len > 0)
        g_string_append_c(loader->problems, '\n');
    g_string_append_printf(loader->problems, "%s:%zu:%zu: ", loader->path, mark->line + 1,
                           mark->column + 1);
    if (key[0] != '\0')
        g_string_append_printf(loader->problems, "%s: ", key);
    va_list args;
    va_start(args, format);
    g_string_append_vprintf(loader->problems, format, args);
    va_end(args);
}

/* Text of the file as it may stand in a message: short, printable. */
static char *
shown(const char *text)
{
    g_autofree char *cut = g_utf8_make_valid(text, (gssize)strnlen(text, 64));
    return g_strescape(cut, NULL);
}

static unsigned
edit_distance(const char *a, const char *b)
{
    size_t n = strlen(b);
    unsigned row[32];
    if (n >= G_N_ELEMENTS(row) || strlen(a) > 64)
        return 99;
    for (unsigned j = 0; j <= n; j++)
        row[j] = j;
    for (unsigned i = 0; a[i] != '\0'; i++) {
        unsigned diagonal = row[0];
        row[0] = i + 1;
        for (unsigned j = 0; j < n; j++) {
            unsigned replaced = diagonal + (a[i] != b[j]);
            diagonal = row[j + 1];
            row[j + 1] = MIN(replaced, MIN(row[j], row[j + 1]) + 1);
        }
    }
    return row[n];
}

static const char *
nearest(const char *name, const Key *keys)
{
    const char *best = NULL;
    unsigned least = 4;
    for (const Key *key = keys; key->name != NULL; key++) {
        unsigned distance = edit_distance(name, key->name);
        if (distance < least && distance < strlen(key->name)) {
            least = distance;
            best = key->name;
        }
    }
    return best;
}

static void
unknown_key(
    Loader *loader, const yaml_mark_t *mark, const char *key, const char *name, const Key *keys)
{
    const char *guess = nearest(name, keys);
    if (guess != NULL) {
        problem(loader, mark, key, "unknown key; did you mean '%s'?", guess);
        return;
    }
    g_autoptr(GString) known = g_string_new(NULL);
    for (const Key *at = keys; at->name != NULL; at++)
        g_string_append_printf(known, "%s%s", known->len > 0 ? ", " : "", at->name);
    problem(loader, mark, key, "unknown key; known here: %s", known->str);
}

/* ---- scalars ---- */

static const char *
scalar_text(const yaml_node_t *node)
{
    return (const char *)node->data.scalar.value;
}

static bool
append_variable(Loader *loader,
                const yaml_node_t *node,
                const char *key,
                const char *name,
                size_t len,
                GString *out)
{
    g_autofree char *variable = g_strndup(name, len);
    bool valid = len > 0 && len <= 128 && !g_ascii_isdigit(variable[0]);
    for (size_t i = 0; i < len && valid; i++)
        valid = g_ascii_isalnum(variable[i]) || variable[i] == '_';
    if (!valid) {
        problem(loader, &node->start_mark, key,
                "bad name of an environment variable in ${...}; write $$ for a dollar sign");
        return false;
    }
    const char *value = g_getenv(variable);
    if (value == NULL) {
        problem(loader, &node->start_mark, key,
                "environment variable %s is not set; set it, or write $$ for a dollar sign",
                variable);
        return false;
    }
    g_string_append(out, value);
    return true;
}

static bool
expand(Loader *loader, const yaml_node_t *node, const char *key, GString *out)
{
    for (const char *at = scalar_text(node); *at != '\0';) {
        if (g_str_has_prefix(at, "$$")) {
            g_string_append_c(out, '$');
            at += 2;
        } else if (g_str_has_prefix(at, "${")) {
            const char *end = strchr(at, '}');
            if (end == NULL) {
                problem(loader, &node->start_mark, key,
                        "'${' without '}'; write $$ for a dollar sign");
                return false;
            }
            if (!append_variable(loader, node, key, at + 2, (size_t)(end - at) - 2, out))
                return false;
            at = end + 1;
        } else {
            g_string_append_c(out, *at++);
        }
        if (out->len > MAX_VALUE_BYTES) {
            problem(loader, &node->start_mark, key, "value is longer than 64 KiB; shorten it");
            return false;
        }
    }
    return true;
}

/* The expanded text of a scalar, or NULL with the problem noted. */
static char *
read_text(Loader *loader, const char *key, const yaml_node_t *node)
{
    if (node->type != YAML_SCALAR_NODE) {
        problem(loader, &node->start_mark, key, "a single value is expected here");
        return NULL;
    }
    if (strlen(scalar_text(node)) != node->data.scalar.length) {
        problem(loader, &node->start_mark, key, "value contains a NUL character; remove it");
        return NULL;
    }
    g_autoptr(GString) out = g_string_new(NULL);
    if (!expand(loader, node, key, out))
        return NULL;
    if (out->len == 0) {
        problem(loader, &node->start_mark, key, "value is empty; give one or remove the key");
        return NULL;
    }
    for (const char *at = out->str; *at != '\0'; at++) {
        if (g_ascii_iscntrl(*at)) {
            problem(loader, &node->start_mark, key,
                    "value contains a control character; remove it");
            return NULL;
        }
    }
    if (!g_utf8_validate(out->str, (gssize)out->len, NULL)) {
        problem(loader, &node->start_mark, key, "value is not UTF-8 after expansion; correct it");
        return NULL;
    }
    return g_string_free(g_steal_pointer(&out), FALSE);
}

static bool
replace_text(Loader *loader, const char *key, const yaml_node_t *node, char **target)
{
    g_autofree char *text = read_text(loader, key, node);
    if (text == NULL)
        return false;
    g_free(*target);
    *target = g_steal_pointer(&text);
    return true;
}

static bool
read_number(Loader *loader,
            const char *key,
            const yaml_node_t *node,
            uint64_t least,
            uint64_t most,
            uint64_t *value)
{
    g_autofree char *text = read_text(loader, key, node);
    if (text == NULL)
        return false;
    if (g_ascii_string_to_unsigned(text, 10, least, most, value, NULL))
        return true;
    g_autofree char *seen = shown(text);
    problem(loader, &node->start_mark, key,
            "'%s' is not a whole number from %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT, seen,
            least, most);
    return false;
}

static char *
resolve(const Loader *loader, const char *path)
{
    return g_path_is_absolute(path) ? g_strdup(path) : g_build_filename(loader->folder, path, NULL);
}

static void
replace_path(Loader *loader, const char *key, const yaml_node_t *node, char **target)
{
    g_autofree char *text = read_text(loader, key, node);
    if (text == NULL)
        return;
    g_free(*target);
    *target = resolve(loader, text);
}

/* ---- mappings ---- */

static char *
join_key(const char *prefix, const char *name)
{
    return prefix[0] == '\0' ? g_strdup(name) : g_strconcat(prefix, ".", name, NULL);
}

static bool
is_null(const yaml_node_t *node)
{
    return node->type == YAML_SCALAR_NODE && node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (node->data.scalar.length == 0 || g_str_equal(scalar_text(node), "~") ||
            g_str_equal(scalar_text(node), "null"));
}

typedef void (*Visit)(Loader *loader,
                      const char *key,
                      const char *name,
                      yaml_node_t *node,
                      const yaml_mark_t *mark,
                      void *data);

/* Calls @visit for every key of @node once; duplicates and keys that are no text are problems. */
static void
each_key(Loader *loader, const char *prefix, yaml_node_t *node, Visit visit, void *data)
{
    if (node->type != YAML_MAPPING_NODE) {
        problem(loader, &node->start_mark, prefix, "a mapping (key: value) is expected here");
        return;
    }
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
    for (yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         pair < node->data.mapping.pairs.top; pair++) {
        yaml_node_t *name_node = yaml_document_get_node(&loader->document, pair->key);
        yaml_node_t *value = yaml_document_get_node(&loader->document, pair->value);
        if (name_node->type != YAML_SCALAR_NODE ||
            strlen(scalar_text(name_node)) != name_node->data.scalar.length) {
            problem(loader, &name_node->start_mark, prefix, "a key must be plain text");
            continue;
        }
        const char *name = scalar_text(name_node);
        g_autofree char *text = shown(name);
        g_autofree char *key = join_key(prefix, text);
        yaml_node_t *first = g_hash_table_lookup(seen, name);
        if (first != NULL) {
            problem(loader, &name_node->start_mark, key,
                    "given twice, first in line %zu; remove one", first->start_mark.line + 1);
            continue;
        }
        g_hash_table_insert(seen, name_node->data.scalar.value, name_node);
        visit(loader, key, name, value, &name_node->start_mark, data);
    }
}

typedef struct {
    const Key *keys;
    void *target;
} Table;

static void
visit_table(Loader *loader,
            const char *key,
            const char *name,
            yaml_node_t *node,
            const yaml_mark_t *mark,
            void *data)
{
    const Table *table = data;
    for (const Key *at = table->keys; at->name != NULL; at++) {
        if (g_str_equal(at->name, name)) {
            at->read(loader, key, node, table->target);
            return;
        }
    }
    unknown_key(loader, mark, key, name, table->keys);
}

static void
read_table(Loader *loader, const char *prefix, yaml_node_t *node, const Key *keys, void *target)
{
    Table table = {keys, target};
    each_key(loader, prefix, node, visit_table, &table);
}

/* ---- cameras ---- */

static bool
test_source_is_valid(Loader *loader, const yaml_mark_t *mark, const char *key, const char *source)
{
    static const char *const names[] = {"pattern", "width", "height", "fps"};
    const char *settings = source + strlen("test:");
    if (settings[0] == '\0')
        return true;
    g_auto(GStrv) parts = g_strsplit(settings, ",", 32);
    unsigned seen = 0;
    for (char **part = parts; *part != NULL; part++) {
        g_auto(GStrv) pair = g_strsplit(*part, "=", 2);
        unsigned which = 0;
        while (which < G_N_ELEMENTS(names) && g_strcmp0(pair[0], names[which]) != 0)
            which++;
        if (which == G_N_ELEMENTS(names) || pair[1] == NULL || (seen & 1U << which) != 0) {
            problem(loader, mark, key,
                    "write test: or test:pattern=ball,width=640,height=360,fps=15, each once");
            return false;
        }
        seen |= 1U << which;
        uint64_t most = which == 3 ? 120 : 7680;
        bool good = which > 0 ? g_ascii_string_to_unsigned(pair[1], 10, which == 3 ? 1 : 16, most,
                                                           NULL, NULL)
                              : g_regex_match_simple("^[a-z0-9-]{1,32}$", pair[1], 0, 0);
        if (!good) {
            g_autofree char *value = shown(pair[1]);
            problem(loader, mark, key, "bad value '%s' of %s", value, names[which]);
            return false;
        }
    }
    return true;
}

/* Takes user:password@ out of an RTSP URL: it must not travel on in what may be shown. */
static void
take_rtsp(Loader *loader,
          const yaml_mark_t *mark,
          const char *key,
          const char *source,
          KvgConfigCamera *camera)
{
    g_autofree char *user = NULL;
    g_autofree char *password = NULL;
    g_autofree char *host = NULL;
    int port = -1;
    if (!g_uri_split_with_user(source, G_URI_FLAGS_HAS_PASSWORD | G_URI_FLAGS_ENCODED, NULL, &user,
                               &password, NULL, &host, &port, NULL, NULL, NULL, NULL) ||
        host == NULL || host[0] == '\0' || port == 0 || strchr(source, ' ') != NULL) {
        problem(loader, mark, key, "not a URL; write rtsp://HOST[:PORT]/PATH");
        return;
    }
    if (user == NULL) {
        camera->source = g_strdup(source);
        return;
    }
    g_autofree char *plain_user = kvg_uri_unescape(user, strlen(user), false);
    g_autofree char *plain_password =
        password != NULL ? kvg_uri_unescape(password, strlen(password), false) : NULL;
    if (plain_user == NULL || (password != NULL && plain_password == NULL)) {
        problem(loader, mark, key, "bad %%XX in the user or password of the URL; correct it");
        return;
    }
    const char *authority = strstr(source, "://") + 3;
    g_autofree char *area = g_strndup(authority, strcspn(authority, "/?#"));
    const char *at = strrchr(area, '@');
    if (at == NULL) {
        problem(loader, mark, key, "write special characters of user and password as %%XX");
        return;
    }
    camera->source =
        g_strdup_printf("%.*s%s", (int)(authority - source), source, authority + (at - area) + 1);
    camera->username = g_steal_pointer(&plain_user);
    camera->password = g_steal_pointer(&plain_password);
}

static void
read_source(Loader *loader, const char *key, yaml_node_t *node, void *target)
{
    static const char *const later[] = {"v4l2:", "file:", "shm:"};
    KvgConfigCamera *camera = target;
    g_autofree char *text = read_text(loader, key, node);
    if (text == NULL)
        return;
    for (size_t i = 0; i < G_N_ELEMENTS(later); i++) {
        if (g_str_has_prefix(text, later[i])) {
            problem(
                loader, &node->start_mark, key,
                "%s sources are not supported yet by this version; use rtsp://, rtsps:// or test:",
                later[i]);
            return;
        }
    }
    if (g_str_has_prefix(text, "rtsp://") || g_str_has_prefix(text, "rtsps://"))
        take_rtsp(loader, &node->start_mark, key, text, camera);
    else if (!g_str_has_prefix(text, "test:"))
        problem(loader, &node->start_mark, key,
                "unknown kind of source; it begins with rtsp://, rtsps:// or test:");
    else if (test_source_is_valid(loader, &node->start_mark, key, text))
        camera->source = g_steal_pointer(&text);
}

/* A camera while it is being read: what only matters until the mapping has ended. */
typedef struct {
    KvgConfigCamera *camera;
    char *username, *password;
    bool has_source, has_password, has_password_file;
} Draft;

static void
draft_source(Loader *loader, const char *key, yaml_node_t *node, void *target)
{
    Draft *draft = target;
    draft->has_source = true;
    read_source(loader, key, node, draft->camera);
}

static void
draft_username(Loader *loader, const char *key, yaml_node_t *node, void *target)
{
    (void)replace_text(loader, key, node, &((Draft *)target)->username);
}

static void
draft_password(Loader *loader, const char *key, yaml_node_t *node, void *target)
{
    Draft *draft = target;
    draft->has_password = true;
    if (draft->has_password_file)
        problem(loader, &node->start_mark, key, "password and password_file together; remove one");
    (void)replace_text(loader, key, node, &draft->password);
}

static char *
read_secret(Loader *loader, const yaml_mark_t *mark, const char *key, const char *path)
{
    /* O_NONBLOCK: a pipe in place of the file must not hold us up. */
    g_auto(KvgFd) fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) != 0) {
        problem(loader, mark, key, "cannot read %s: %s", path, g_strerror(errno));
        return NULL;
    }
    if (!S_ISREG(info.st_mode)) {
        problem(loader, mark, key, "%s is not a file", path);
        return NULL;
    }
    if ((info.st_mode & 0077) != 0) {
        problem(loader, mark, key, "others may read %s; run: chmod 600 %s", path, path);
        return NULL;
    }
    char buffer[4097];
    ssize_t len = read(fd, buffer, sizeof buffer - 1);
    if (len < 0) {
        problem(loader, mark, key, "cannot read %s: %s", path, g_strerror(errno));
        return NULL;
    }
    buffer[len] = '\0';
    buffer[strcspn(buffer, "\r\n")] = '\0';
    char *secret = buffer[0] != '\0' ? g_strdup(buffer) : NULL;
    explicit_bzero(buffer, sizeof buffer);
    if (secret == NULL)
        problem(loader, mark, key, "the first line of %s is empty; write the password there", path);
    return secret;
}

static void
draft_password_file(Loader *loader, const char *key, yaml_node_t *node, void *target)
{
    Draft *draft = target;
    draft->has_password_file = true;
    if (draft->has_password)
        problem(loader, &node->start_mark, key, "password and password_file together; remove one");
    g_autofree char *text = read_text(loader, key, node);
    if (text == NULL)
        return;
    g_autofree char *path = resolve(loader, text);
    char *secret = read_secret(loader, &node->start_mark, key, path);
    if (secret == NULL)
        return;
    g_free(draft->password);
    draft->password = secret;
}

static void
draft_streaming(Loader *loader, const char *key, yaml_node_t *node, void *target)
{
    Draft *draft = target;
    g_autofree char *text = read_text(loader, key, node);
    if (text == NULL)
        return;
    bool on = g_str_equal(text, "on") || g_str_equal(text, "true");
    if (!on && !g_str_equal(text, "off") && !g_str_equal(text, "false"))
        problem(loader, &node->start_mark, key, "write on or off");
    draft->camera->streaming = on;
}

static void
draft_retention(Loader *loader, const char *key, yaml_node_t *node, void *target)
{
    Draft *draft = target;
    g_autofree char *text = read_text(loader, key, node);
    if (text == NULL)
        return;
    g_autoptr(GError) error = NULL;
    int64_t ms = 0;
    if (!kvg_parse_duration_ms(text, &ms, &error)) {
        problem(loader, &node->start_mark, key, "%s", error->message);
        return;
    }
    if (ms % 3600000 != 0 || ms / 3600000 > MAX_RETENTION_HOURS) {
        problem(loader, &node->start_mark, key,
                "write whole hours from 0h to 87600h, like 24h or 7d");
        return;
    }
    draft->camera->retention_hours = ms / 3600000;
}

static void
draft_fragment(Loader *loader, const char *key, yaml_node_t *node, void *target)
{
    Draft *draft = target;
    g_autofree char *text = read_text(loader, key, node);
    if (text == NULL)
        return;
    g_autoptr(GError) error = NULL;
    int64_t ms = 0;
    if (!kvg_parse_duration_ms(text, &ms, &error))
        problem(loader, &node->start_mark, key, "%s", error->message);
    else if (ms < 1000 || ms > 10000)
        problem(loader, &node->start_mark, key, "write a duration from 1s to 10s");
    else
        draft->camera->fragment_ms = (uint32_t)ms;
}

static void
read_dimension(Loader *loader, const char *key, yaml_node_t *node, uint32_t *target)
{
    uint64_t value = 0;
    if (!read_number(loader, key, node, 16, 7680, &value))
        return;
    if (value % 2 != 0)
        problem(loader, &node->start_mark, key, "encoders need an even number");
    *target = (uint32_t)value;
}

static void
video_width(Loader *loader, const char *key, yaml_node_t *node, void *target)
{
    read_dimension(loader, key, node, &((KvgConfigCamera *)target)->width);
}

static void
video_height(Loader *loader, const char *key, yaml_node_t *node, void *target)
{
    read_dimension(loader, key, node, &((KvgConfigCamera *)target)->height);
}

static void
video_fps(Loader *loader, const char *key, yaml_node_t *node, void *target)
{
    uint64_t value = 0;
    if (read_number(loader, key, node, 1, 120, &value))
        ((KvgConfigCamera *)target)->fps = (uint32_t)value;
}

static void
video_bitrate(Loader *loader, const char *key, yaml_node_t *node, void *target)
{
    g_autofree char *text = read_text(loader, key, node);
    if (text == NULL)
        return;
    g_autoptr(GError) error = NULL;
    uint32_t bps = 0;
    if (!kvg_parse_bitrate(text, &bps, &error))
        problem(loader, &node->start_mark, key, "%s", error->message);
    else if (bps < 16000 || bps > 200000000)
        problem(loader, &node->start_mark, key, "write a bit rate from 16k to 200M, like 1500k");
    else
        ((KvgConfigCamera *)target)->bitrate_bps = bps;
}

static const Key video_keys[] = {{"width", video_width},
                                 {"height", video_height},
                                 {"fps", video_fps},
                                 {"bitrate", video_bitrate},
                                 {NULL, NULL}};

static void
draft_video(Loader *loader, const char *key, yaml_node_t *node, void *target)
{
    Draft *draft = target;
    if (node->type == YAML_MAPPING_NODE) {
        draft->camera->passthrough = false;
        read_table(loader, key, node, video_keys, draft->camera);
        return;
    }
    g_autofree char *text = read_text(loader, key, node);
    if (text == NULL)
        return;
    if (!g_str_equal(text, "passthrough"))
        problem(loader, &node->start_mark, key,
                "write passthrough, or a mapping with width, height, fps, bitrate");
    draft->camera->passthrough = true;
}

/* `source` comes first: the defaults have every key but that one. */
static const Key camera_keys[] = {{"source", draft_source},
                                  {"username", draft_username},
                                  {"password", draft_password},
                                  {"password_file", draft_password_file},
                                  {"streaming", draft_streaming},
                                  {"retention", draft_retention},
                                  {"fragment", draft_fragment},
                                  {"video", draft_video},
                                  {NULL, NULL}};

typedef struct {
    KvgConfig *config;
    KvgConfigCamera *defaults;
} Cameras;

static KvgConfigCamera *
camera_copy(const KvgConfigCamera *from)
{
    KvgConfigCamera *camera = g_memdup2(from, sizeof *from);
    camera->username = g_strdup(from->username);
    camera->password = g_strdup(from->password);
    return camera;
}

/* Login of the camera: in the URL or in keys; the defaults only where neither says anything. */
static void
settle_login(Loader *loader,
             const char *key,
             const yaml_mark_t *mark,
             Draft *draft,
             const KvgConfigCamera *defaults)
{
    KvgConfigCamera *camera = draft->camera;
    bool in_url = camera->username != NULL;
    if (in_url && (draft->username != NULL || draft->password != NULL)) {
        problem(loader, mark, key, "user in the URL and in username or password; remove one");
    } else if (!in_url) {
        bool own_name = draft->username != NULL;
        camera->username = g_strdup(own_name ? draft->username : defaults->username);
        camera->password = g_strdup(draft->password != NULL ? draft->password : defaults->password);
    }
    if (camera->password != NULL && camera->username == NULL)
        problem(loader, mark, key, "a password without username; add username");
    if (draft->password != NULL)
        explicit_bzero(draft->password, strlen(draft->password));
    g_clear_pointer(&draft->username, g_free);
    g_clear_pointer(&draft->password, g_free);
}

static void
visit_camera(Loader *loader,
             const char *key,
             const char *name,
             yaml_node_t *node,
             const yaml_mark_t *mark,
             void *data)
{
    const Cameras *cameras = data;
    KvgConfig *config = cameras->config;
    if (!kvg_name_is_camera(name)) {
        problem(loader, mark, key, "bad camera name; use 1 to 128 letters, digits, '-' and '_'");
        return;
    }
    if (config->cameras->len >= MAX_CAMERAS) {
        if (config->cameras->len == MAX_CAMERAS)
            problem(loader, mark, key, "more than %d cameras; split the file", MAX_CAMERAS);
        g_ptr_array_set_size(config->cameras, MAX_CAMERAS + 1);
        return;
    }
    KvgConfigCamera *camera = camera_copy(cameras->defaults);
    g_clear_pointer(&camera->username, g_free);
    g_clear_pointer(&camera->password, g_free);
    camera->name = g_strdup(name);
    camera->line = (unsigned)mark->line + 1;
    g_ptr_array_add(config->cameras, camera);
    Draft draft = {.camera = camera};
    read_table(loader, key, node, camera_keys, &draft);
    if (node->type == YAML_MAPPING_NODE && !draft.has_source)
        problem(loader, mark, key, "source is missing; add source: rtsp://HOST/PATH");
    settle_login(loader, key, mark, &draft, cameras->defaults);
    g_autofree char *certificate = g_strconcat(name, ".cert.pem", NULL);
    g_autofree char *private_key = g_strconcat(name, ".private.key", NULL);
    camera->certificate_path = g_build_filename(config->identity_directory, certificate, NULL);
    camera->key_path = g_build_filename(config->identity_directory, private_key, NULL);
}

static KvgConfigCamera *
read_defaults(Loader *loader, yaml_node_t *node)
{
    KvgConfigCamera *defaults = g_new0(KvgConfigCamera, 1);
    *defaults = (KvgConfigCamera){.streaming = true,
                                  .passthrough = true,
                                  .width = 1280,
                                  .height = 720,
                                  .bitrate_bps = 1500000,
                                  .retention_hours = 24};
    if (node == NULL)
        return defaults;
    Draft draft = {.camera = defaults};
    read_table(loader, "defaults", node, camera_keys + 1, &draft);
    defaults->username = draft.username;
    defaults->password = draft.password;
    return defaults;
}

/* ---- the rest of the file ---- */

static void
replace_matching(Loader *loader,
                 const char *key,
                 const yaml_node_t *node,
                 const char *pattern,
                 const char *remedy,
                 char **target)
{
    g_autofree char *text = read_text(loader, key, node);
    if (text == NULL)
        return;
    if (!g_regex_match_simple(pattern, text, G_REGEX_DOLLAR_ENDONLY, 0)) {
        g_autofree char *seen = shown(text);
        problem(loader, &node->start_mark, key, "'%s' is not valid; %s", seen, remedy);
        return;
    }
    g_free(*target);
    *target = g_steal_pointer(&text);
}

static void
top_region(Loader *loader, const char *key, yaml_node_t *node, void *target)
{
    replace_matching(loader, key, node, "^[a-z]{2}(-[a-z]{1,16}){1,3}-[0-9]{1,2}$",
                     "write a region like us-east-1", &((KvgConfig *)target)->region);
}

static void
top_endpoint(Loader *loader, const char *key, yaml_node_t *node, void *target)
{
    KvgConfig *config = target;
    g_autofree char *text = read_text(loader, key, node);
    if (text == NULL)
        return;
    g_autofree char *scheme = NULL, *user = NULL, *host = NULL, *path = NULL, *query = NULL;
    g_autofree char *fragment = NULL;
    int port = -1;
    bool good = g_uri_split(text, G_URI_FLAGS_NONE, &scheme, &user, &host, &port, &path, &query,
                            &fragment, NULL) &&
                (g_strcmp0(scheme, "http") == 0 || g_strcmp0(scheme, "https") == 0) &&
                user == NULL && host != NULL && host[0] != '\0' && port != 0 && query == NULL &&
                fragment == NULL && (path[0] == '\0' || g_str_equal(path, "/"));
    if (!good) {
        problem(loader, &node->start_mark, key,
                "not an endpoint; write https://HOST[:PORT] and nothing after it");
        return;
    }
    if (g_str_has_suffix(text, "/"))
        text[strlen(text) - 1] = '\0';
    g_free(config->endpoint);
    config->endpoint = g_steal_pointer(&text);
}

static void
top_ca_bundle(Loader *loader, const char *key, yaml_node_t *node, void *target)
{
    KvgConfig *config = target;
    replace_path(loader, key, node, &config->ca_bundle);
    if (config->ca_bundle != NULL && access(config->ca_bundle, R_OK) != 0)
        problem(loader, &node->start_mark, key, "cannot read %s: %s", config->ca_bundle,
                g_strerror(errno));
}

static void
identity_directory(Loader *loader, const char *key, yaml_node_t *node, void *target)
{
    replace_path(loader, key, node, &((KvgConfig *)target)->identity_directory);
}

static void
identity_role_alias(Loader *loader, const char *key, yaml_node_t *node, void *target)
{
    replace_matching(loader, key, node, "^[A-Za-z0-9_=,@-]{1,128}$",
                     "use 1 to 128 letters, digits and _=,@-", &((KvgConfig *)target)->role_alias);
}

static void
identity_iam_role(Loader *loader, const char *key, yaml_node_t *node, void *target)
{
    replace_matching(loader, key, node, "^[A-Za-z0-9_+=,.@-]{1,64}$",
                     "use 1 to 64 letters, digits and _+=,.@-", &((KvgConfig *)target)->iam_role);
}

static void
identity_iot_policy(Loader *loader, const char *key, yaml_node_t *node, void *target)
{
    replace_matching(loader, key, node, "^[A-Za-z0-9_+=,.@-]{1,128}$",
                     "use 1 to 128 letters, digits and _+=,.@-",
                     &((KvgConfig *)target)->iot_policy);
}

/* `auto` is the same as nothing. */
static void
read_endpoint(Loader *loader, const char *key, yaml_node_t *node, char **endpoint)
{
    replace_matching(loader, key, node,
                     "^([A-Za-z0-9.-]{1,253}|\\[[0-9A-Fa-f:.]+\\])(:[1-9][0-9]{0,4})?$",
                     "write HOST, HOST:PORT or auto", endpoint);
    if (g_strcmp0(*endpoint, "auto") == 0)
        g_clear_pointer(endpoint, g_free);
}

static void
identity_thing_group(Loader *loader, const char *key, yaml_node_t *node, void *target)
{
    replace_matching(loader, key, node, "^[A-Za-z0-9_-]{1,128}$",
                     "use 1 to 128 letters, digits, _ and -", &((KvgConfig *)target)->thing_group);
}

static void
visit_tag(Loader *loader,
          const char *key,
          const char *name,
          yaml_node_t *node,
          const yaml_mark_t *mark,
          void *data)
{
    KvgConfig *config = data;
    char *value = NULL;
    if (!g_regex_match_simple("^(?!aws:)[A-Za-z0-9 _.:/=+@-]{1,128}$", name, 0, 0)) {
        problem(loader, mark, key,
                "use 1 to 128 letters, digits, blanks and _.:/=+@- that do not begin with aws:");
        return;
    }
    replace_matching(loader, key, node, "^[A-Za-z0-9 _.:/=+@-]{0,256}$",
                     "use up to 256 letters, digits, blanks and _.:/=+@-", &value);
    if (value == NULL)
        return;
    g_ptr_array_add(config->tags, g_strdup(name));
    g_ptr_array_add(config->tags, value);
    if (config->tags->len > 2 * MAX_TAGS)
        problem(loader, mark, key, "more than %d tags", MAX_TAGS);
}

static void
identity_tags(Loader *loader, const char *key, yaml_node_t *node, void *target)
{
    each_key(loader, key, node, visit_tag, target);
}

static void
identity_endpoint(Loader *loader, const char *key, yaml_node_t *node, void *target)
{
    read_endpoint(loader, key, node, &((KvgConfig *)target)->credentials_endpoint);
}

static void
identity_mqtt_endpoint(Loader *loader, const char *key, yaml_node_t *node, void *target)
{
    read_endpoint(loader, key, node, &((KvgConfig *)target)->mqtt_endpoint);
}

static const Key identity_keys[] = {{"directory", identity_directory},
                                    {"role_alias", identity_role_alias},
                                    {"credentials_endpoint", identity_endpoint},
                                    {"mqtt_endpoint", identity_mqtt_endpoint},
                                    {"iam_role", identity_iam_role},
                                    {"iot_policy", identity_iot_policy},
                                    {"thing_group", identity_thing_group},
                                    {"tags", identity_tags},
                                    {NULL, NULL}};

static void
top_identity(Loader *loader, const char *key, yaml_node_t *node, void *target)
{
    read_table(loader, key, node, identity_keys, target);
}

static void
spool_path(Loader *loader, const char *key, yaml_node_t *node, void *target)
{
    replace_path(loader, key, node, &((KvgConfig *)target)->spool_path);
}

static void
spool_limit(Loader *loader, const char *key, yaml_node_t *node, void *target)
{
    g_autofree char *text = read_text(loader, key, node);
    if (text == NULL)
        return;
    g_autoptr(GError) error = NULL;
    uint64_t bytes = 0;
    if (!kvg_parse_size(text, &bytes, &error))
        problem(loader, &node->start_mark, key, "%s", error->message);
    else if (bytes < 1024 * 1024)
        problem(loader, &node->start_mark, key, "too small; give at least 1MiB");
    else
        ((KvgConfig *)target)->spool_limit_bytes = bytes;
}

static void
spool_tier(Loader *loader, const char *key, yaml_node_t *node, void *target)
{
    g_autofree char *text = read_text(loader, key, node);
    if (text == NULL || kvg_spool_tier_from_string(text, &((KvgConfig *)target)->spool_tier))
        return;
    g_autofree char *seen = shown(text);
    problem(loader, &node->start_mark, key, "'%s' is not valid; write auto, disk or memory", seen);
}

static void
spool_max_age(Loader *loader, const char *key, yaml_node_t *node, void *target)
{
    g_autofree char *text = read_text(loader, key, node);
    if (text == NULL)
        return;
    g_autoptr(GError) error = NULL;
    int64_t ms = 0;
    if (!kvg_parse_duration_ms(text, &ms, &error))
        problem(loader, &node->start_mark, key, "%s", error->message);
    else if (ms < MIN_SPOOL_AGE_MS)
        problem(loader, &node->start_mark, key, "too short; give at least 10s");
    else
        ((KvgConfig *)target)->spool_max_age_ms = ms;
}

static void
spool_memory_path(Loader *loader, const char *key, yaml_node_t *node, void *target)
{
    replace_path(loader, key, node, &((KvgConfig *)target)->spool_memory_path);
}

static const Key spool_keys[] = {{"path", spool_path},
                                 {"limit", spool_limit},
                                 {"tier", spool_tier},
                                 {"max_age", spool_max_age},
                                 {"memory_path", spool_memory_path},
                                 {NULL, NULL}};

static void
top_spool(Loader *loader, const char *key, yaml_node_t *node, void *target)
{
    read_table(loader, key, node, spool_keys, target);
}

static void
upload_catch_up(Loader *loader, const char *key, yaml_node_t *node, void *target)
{
    g_autofree char *text = read_text(loader, key, node);
    if (text == NULL)
        return;
    ((KvgConfig *)target)->live_first = g_str_equal(text, "live-first");
    if (!g_str_equal(text, "live-first") && !g_str_equal(text, "oldest-first"))
        problem(loader, &node->start_mark, key, "write oldest-first or live-first");
}

static void
upload_bandwidth(Loader *loader, const char *key, yaml_node_t *node, void *target)
{
    g_autofree char *text = read_text(loader, key, node);
    if (text == NULL)
        return;
    g_autoptr(GError) error = NULL;
    uint32_t bps = 0;
    if (g_str_equal(text, "unlimited"))
        ((KvgConfig *)target)->backlog_bps = 0;
    else if (!kvg_parse_bitrate(text, &bps, &error))
        problem(loader, &node->start_mark, key, "%s", error->message);
    else if (bps < 16000)
        problem(loader, &node->start_mark, key, "write a bit rate of at least 16k, or unlimited");
    else
        ((KvgConfig *)target)->backlog_bps = bps;
}

static const Key upload_keys[] = {
    {"catch_up", upload_catch_up}, {"bandwidth", upload_bandwidth}, {NULL, NULL}};

static void
top_upload(Loader *loader, const char *key, yaml_node_t *node, void *target)
{
    read_table(loader, key, node, upload_keys, target);
}

static void
api_address(Loader *loader, const char *key, yaml_node_t *node, void *target)
{
    KvgConfig *config = target;
    g_autofree char *text = read_text(loader, key, node);
    if (text == NULL)
        return;
    if (!g_hostname_is_ip_address(text) && !g_str_equal(text, "localhost")) {
        problem(loader, &node->start_mark, key, "write an IP address, like 127.0.0.1");
        return;
    }
    g_free(config->api_address);
    config->api_address = g_steal_pointer(&text);
}

static void
api_port(Loader *loader, const char *key, yaml_node_t *node, void *target)
{
    uint64_t port = 0;
    if (read_number(loader, key, node, 0, 65535, &port))
        ((KvgConfig *)target)->api_port = (uint16_t)port;
}

static const Key api_keys[] = {{"address", api_address}, {"port", api_port}, {NULL, NULL}};

static void
top_api(Loader *loader, const char *key, yaml_node_t *node, void *target)
{
    read_table(loader, key, node, api_keys, target);
}

/* Read afterwards, when identity and defaults are known. */
static void
top_later(Loader *loader, const char *key, yaml_node_t *node, void *target)
{
}

static const Key top_keys[] = {{"region", top_region},
                               {"endpoint", top_endpoint},
                               {"ca_bundle", top_ca_bundle},
                               {"identity", top_identity},
                               {"spool", top_spool},
                               {"upload", top_upload},
                               {"api", top_api},
                               {"defaults", top_later},
                               {"cameras", top_later},
                               {NULL, NULL}};

static yaml_node_t *
find_node(Loader *loader, yaml_node_t *root, const char *name)
{
    for (yaml_node_pair_t *pair = root->data.mapping.pairs.start;
         pair < root->data.mapping.pairs.top; pair++) {
        yaml_node_t *key = yaml_document_get_node(&loader->document, pair->key);
        if (key->type == YAML_SCALAR_NODE && g_str_equal(scalar_text(key), name))
            return yaml_document_get_node(&loader->document, pair->value);
    }
    return NULL;
}

static void
read_region_of_environment(Loader *loader, const yaml_mark_t *mark, KvgConfig *config)
{
    const char *region = g_getenv("AWS_REGION");
    if (region == NULL || region[0] == '\0')
        region = g_getenv("AWS_DEFAULT_REGION");
    if (region == NULL || region[0] == '\0')
        problem(loader, mark, "region", "missing; add region: us-east-1, or set AWS_REGION");
    else
        config->region = g_strdup(region);
}

static void
read_root(Loader *loader, KvgConfig *config)
{
    static const yaml_mark_t top = {0};
    yaml_node_t *root = yaml_document_get_root_node(&loader->document);
    if (root == NULL || root->type != YAML_MAPPING_NODE) {
        problem(loader, &top, "", "a mapping with region and cameras is expected");
        return;
    }
    read_table(loader, "", root, top_keys, config);
    if (config->region == NULL && find_node(loader, root, "region") == NULL)
        read_region_of_environment(loader, &root->start_mark, config);
    if (config->spool_limit_bytes == 0)
        config->spool_limit_bytes = config->spool_tier == KVG_SPOOL_TIER_MEMORY
                                        ? DEFAULT_SPOOL_BYTES_IN_MEMORY
                                        : DEFAULT_SPOOL_BYTES;
    KvgConfigCamera *defaults = read_defaults(loader, find_node(loader, root, "defaults"));
    yaml_node_t *cameras = find_node(loader, root, "cameras");
    Cameras context = {config, defaults};
    if (cameras == NULL)
        problem(loader, &root->start_mark, "cameras", "missing; name at least one camera");
    else if (is_null(cameras) ||
             (cameras->type == YAML_MAPPING_NODE &&
              cameras->data.mapping.pairs.start == cameras->data.mapping.pairs.top))
        problem(loader, &cameras->start_mark, "cameras", "empty; name at least one camera");
    else
        each_key(loader, "cameras", cameras, visit_camera, &context);
    camera_free(defaults);
}

static void
yaml_problem(Loader *loader, const yaml_parser_t *parser)
{
    const yaml_mark_t *mark = &parser->problem_mark;
    problem(loader, mark, "", "not YAML: %s%s%s",
            parser->problem != NULL ? parser->problem : "cannot be read",
            parser->context != NULL ? " " : "", parser->context != NULL ? parser->context : "");
}

/* Looks at the events alone, before anything is built: aliases could make a small file endless. */
static void
prescan(Loader *loader, const char *text, size_t len)
{
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        g_error("out of memory");
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
    unsigned depth = 0, documents = 0;
    for (bool more = true; more && loader->n_problems == 0;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            yaml_problem(loader, &parser);
            break;
        }
        bool opens =
            event.type == YAML_MAPPING_START_EVENT || event.type == YAML_SEQUENCE_START_EVENT;
        bool closes = event.type == YAML_MAPPING_END_EVENT || event.type == YAML_SEQUENCE_END_EVENT;
        depth = depth + opens - closes;
        documents += event.type == YAML_DOCUMENT_START_EVENT;
        if (event.type == YAML_ALIAS_EVENT)
            problem(loader, &event.start_mark, "",
                    "aliases (*name) are not allowed; repeat the value");
        else if (depth > MAX_DEPTH)
            problem(loader, &event.start_mark, "", "nested too deeply");
        else if (documents > 1)
            problem(loader, &event.start_mark, "", "a second document; keep one per file");
        more = event.type != YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
}

static void
read_document(Loader *loader, const char *text, size_t len, KvgConfig *config)
{
    prescan(loader, text, len);
    if (loader->n_problems > 0)
        return;
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        g_error("out of memory");
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
    if (yaml_parser_load(&parser, &loader->document)) {
        read_root(loader, config);
        yaml_document_delete(&loader->document);
    } else {
        yaml_problem(loader, &parser);
    }
    yaml_parser_delete(&parser);
}

static KvgConfig *
config_new(const char *path, const char *folder)
{
    KvgConfig *config = g_new0(KvgConfig, 1);
    config->path = g_strdup(path);
    config->identity_directory = g_build_filename(folder, "certs", NULL);
    config->role_alias = g_strdup("KvgCamera");
    config->iam_role = g_strdup("KvgCameraRole");
    config->iot_policy = g_strdup("KvgCameraPolicy");
    config->tags = g_ptr_array_new_with_free_func(g_free);
    config->spool_path = g_build_filename(folder, "spool", NULL);
    config->api_address = g_strdup("127.0.0.1");
    config->api_port = 8080;
    config->cameras = g_ptr_array_new_with_free_func(camera_free);
    return config;
}

KvgConfig *
kvg_config_load(const char *path, GError **error)
{
    size_t len = 0;
    g_autofree char *text = kvg_file_read(path, MAX_FILE_BYTES, &len, error);
    if (text == NULL)
        return NULL;
    g_autofree char *folder = g_path_get_dirname(path);
    g_autoptr(KvgConfig) config = config_new(path, folder);
    g_autoptr(GString) problems = g_string_new(NULL);
    Loader loader = {.path = path, .folder = folder, .problems = problems};
    read_document(&loader, text, len, config);
    explicit_bzero(text, len);
    if (loader.n_problems == 0)
        return g_steal_pointer(&config);
    if (loader.n_problems > MAX_PROBLEMS)
        g_string_append_printf(problems, "\n%s: and %u more problems", path,
                               loader.n_problems - MAX_PROBLEMS);
    g_set_error_literal(error, KVG_ERROR, KVG_ERROR_INVALID, problems->str);
    return NULL;
}
