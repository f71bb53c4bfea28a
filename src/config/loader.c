#include "config/loader.h"

#include "os/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_VALUE_BYTES 65536
#define MAX_SECRET_BYTES 4096

/* ---- problems ---- */

void
kvg_config_problem(
    KvgConfigLoader *loader, const yaml_mark_t *mark, const char *key, const char *format, ...)
{
    loader->n_problems++;
    if (loader->n_problems > KVG_CONFIG_MAX_PROBLEMS)
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

char *
kvg_config_shown(const char *text)
{
    g_autofree char *cut = g_utf8_make_valid(text, (gssize)strnlen(text, 64));
    return g_strescape(cut, NULL);
}

/* ---- scalars ---- */

const char *
kvg_config_scalar_text(const yaml_node_t *node)
{
    return (const char *)node->data.scalar.value;
}

static bool
append_variable(KvgConfigLoader *loader,
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
        kvg_config_problem(
            loader, &node->start_mark, key,
            "bad name of an environment variable in ${...}; write $$ for a dollar sign");
        return false;
    }
    const char *value = g_getenv(variable);
    if (value == NULL) {
        kvg_config_problem(
            loader, &node->start_mark, key,
            "environment variable %s is not set; set it, or write $$ for a dollar sign", variable);
        return false;
    }
    g_string_append(out, value);
    return true;
}

static bool
expand(KvgConfigLoader *loader, const yaml_node_t *node, const char *key, GString *out)
{
    for (const char *at = kvg_config_scalar_text(node); *at != '\0';) {
        if (g_str_has_prefix(at, "$$")) {
            g_string_append_c(out, '$');
            at += 2;
        } else if (g_str_has_prefix(at, "${")) {
            const char *end = strchr(at, '}');
            if (end == NULL) {
                kvg_config_problem(loader, &node->start_mark, key,
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
            kvg_config_problem(loader, &node->start_mark, key,
                               "value is longer than 64 KiB; shorten it");
            return false;
        }
    }
    return true;
}

char *
kvg_config_read_text(KvgConfigLoader *loader, const char *key, const yaml_node_t *node)
{
    if (node->type != YAML_SCALAR_NODE) {
        kvg_config_problem(loader, &node->start_mark, key, "a single value is expected here");
        return NULL;
    }
    if (strlen(kvg_config_scalar_text(node)) != node->data.scalar.length) {
        kvg_config_problem(loader, &node->start_mark, key,
                           "value contains a NUL character; remove it");
        return NULL;
    }
    g_autoptr(GString) out = g_string_new(NULL);
    if (!expand(loader, node, key, out))
        return NULL;
    if (out->len == 0) {
        kvg_config_problem(loader, &node->start_mark, key,
                           "value is empty; give one or remove the key");
        return NULL;
    }
    for (const char *at = out->str; *at != '\0'; at++) {
        if (g_ascii_iscntrl(*at)) {
            kvg_config_problem(loader, &node->start_mark, key,
                               "value contains a control character; remove it");
            return NULL;
        }
    }
    if (!g_utf8_validate(out->str, (gssize)out->len, NULL)) {
        kvg_config_problem(loader, &node->start_mark, key,
                           "value is not UTF-8 after expansion; correct it");
        return NULL;
    }
    return g_string_free(g_steal_pointer(&out), FALSE);
}

bool
kvg_config_replace_text(KvgConfigLoader *loader,
                        const char *key,
                        const yaml_node_t *node,
                        char **target)
{
    g_autofree char *text = kvg_config_read_text(loader, key, node);
    if (text == NULL)
        return false;
    g_free(*target);
    *target = g_steal_pointer(&text);
    return true;
}

bool
kvg_config_read_number(KvgConfigLoader *loader,
                       const char *key,
                       const yaml_node_t *node,
                       uint64_t least,
                       uint64_t most,
                       uint64_t *value)
{
    g_autofree char *text = kvg_config_read_text(loader, key, node);
    if (text == NULL)
        return false;
    if (g_ascii_string_to_unsigned(text, 10, least, most, value, NULL))
        return true;
    g_autofree char *seen = kvg_config_shown(text);
    kvg_config_problem(loader, &node->start_mark, key,
                       "'%s' is not a whole number from %" G_GUINT64_FORMAT
                       " to %" G_GUINT64_FORMAT,
                       seen, least, most);
    return false;
}

char *
kvg_config_resolve(const KvgConfigLoader *loader, const char *path)
{
    return g_path_is_absolute(path) ? g_strdup(path) : g_build_filename(loader->folder, path, NULL);
}

void
kvg_config_replace_path(KvgConfigLoader *loader,
                        const char *key,
                        const yaml_node_t *node,
                        char **target)
{
    g_autofree char *text = kvg_config_read_text(loader, key, node);
    if (text == NULL)
        return;
    g_free(*target);
    *target = kvg_config_resolve(loader, text);
}

/* ---- mappings ---- */

static char *
join_key(const char *prefix, const char *name)
{
    return prefix[0] == '\0' ? g_strdup(name) : g_strconcat(prefix, ".", name, NULL);
}

bool
kvg_config_is_null(const yaml_node_t *node)
{
    return node->type == YAML_SCALAR_NODE && node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (node->data.scalar.length == 0 || g_str_equal(kvg_config_scalar_text(node), "~") ||
            g_str_equal(kvg_config_scalar_text(node), "null"));
}

void
kvg_config_each_key(KvgConfigLoader *loader,
                    const char *prefix,
                    yaml_node_t *node,
                    KvgConfigVisit visit,
                    void *data)
{
    if (node->type != YAML_MAPPING_NODE) {
        kvg_config_problem(loader, &node->start_mark, prefix,
                           "a mapping (key: value) is expected here");
        return;
    }
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
    for (yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         pair < node->data.mapping.pairs.top; pair++) {
        yaml_node_t *name_node = yaml_document_get_node(&loader->document, pair->key);
        yaml_node_t *value = yaml_document_get_node(&loader->document, pair->value);
        if (name_node->type != YAML_SCALAR_NODE ||
            strlen(kvg_config_scalar_text(name_node)) != name_node->data.scalar.length) {
            kvg_config_problem(loader, &name_node->start_mark, prefix, "a key must be plain text");
            continue;
        }
        const char *name = kvg_config_scalar_text(name_node);
        g_autofree char *text = kvg_config_shown(name);
        g_autofree char *key = join_key(prefix, text);
        yaml_node_t *first = g_hash_table_lookup(seen, name);
        if (first != NULL) {
            kvg_config_problem(loader, &name_node->start_mark, key,
                               "given twice, first in line %zu; remove one",
                               first->start_mark.line + 1);
            continue;
        }
        g_hash_table_insert(seen, name_node->data.scalar.value, name_node);
        visit(loader, key, name, value, &name_node->start_mark, data);
    }
}

yaml_node_t *
kvg_config_find(KvgConfigLoader *loader, const yaml_node_t *mapping, const char *name)
{
    if (mapping == NULL || mapping->type != YAML_MAPPING_NODE)
        return NULL;
    for (yaml_node_pair_t *pair = mapping->data.mapping.pairs.start;
         pair < mapping->data.mapping.pairs.top; pair++) {
        yaml_node_t *key = yaml_document_get_node(&loader->document, pair->key);
        if (key->type == YAML_SCALAR_NODE && g_str_equal(kvg_config_scalar_text(key), name))
            return yaml_document_get_node(&loader->document, pair->value);
    }
    return NULL;
}

/* ---- other files ---- */

void
kvg_config_check_readable(KvgConfigLoader *loader,
                          const yaml_node_t *node,
                          const char *key,
                          const char *path)
{
    if (!loader->is_replay && access(path, R_OK) != 0)
        kvg_config_problem(loader, &node->start_mark, key, "cannot read %s: %s", path,
                           g_strerror(errno));
}

/* The beginning of the file as it is now; NULL with the problem noted. */
static GBytes *
read_secret_file(KvgConfigLoader *loader,
                 const yaml_mark_t *mark,
                 const char *key,
                 const char *path)
{
    /* O_NONBLOCK: a pipe in place of the file must not hold us up. */
    g_auto(KvgFd) fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat info;
    char buffer[MAX_SECRET_BYTES];
    if (fd < 0 || fstat(fd, &info) != 0) {
        kvg_config_problem(loader, mark, key, "cannot read %s: %s", path, g_strerror(errno));
        return NULL;
    }
    if (!S_ISREG(info.st_mode)) {
        kvg_config_problem(loader, mark, key, "%s is not a file", path);
        return NULL;
    }
    if ((info.st_mode & 0077) != 0) {
        kvg_config_problem(loader, mark, key, "others may read %s; run: chmod 600 %s", path, path);
        return NULL;
    }
    const ssize_t len = read(fd, buffer, sizeof buffer);
    if (len < 0) {
        kvg_config_problem(loader, mark, key, "cannot read %s: %s", path, g_strerror(errno));
        return NULL;
    }
    GBytes *content = g_bytes_new(buffer, (size_t)len);
    explicit_bzero(buffer, sizeof buffer);
    return content;
}

char *
kvg_config_read_secret(KvgConfigLoader *loader,
                       const yaml_node_t *node,
                       const char *key,
                       const char *path)
{
    const yaml_mark_t *mark = &node->start_mark;
    GBytes *content = g_hash_table_lookup(loader->files, path);
    if (content == NULL && !loader->is_replay) {
        content = read_secret_file(loader, mark, key, path);
        if (content != NULL)
            g_hash_table_insert(loader->files, g_strdup(path), content);
    }
    if (content == NULL)
        return NULL;
    size_t len;
    const char *data = g_bytes_get_data(content, &len);
    char *secret = g_strndup(data != NULL ? data : "", len);
    secret[strcspn(secret, "\r\n")] = '\0';
    if (secret[0] != '\0')
        return secret;
    kvg_config_problem(loader, mark, key, "the first line of %s is empty; write the password there",
                       path);
    g_free(secret);
    return NULL;
}
