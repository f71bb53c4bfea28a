#include "config/fingerprint.h"

#include "config/camera.h"
#include "config/site.h"

#include <string.h>

typedef struct {
    KvgConfigLoader *loader;
    GChecksum *sum;
    KvgConfigScope scope;
} Digest;

/* With the end of the text, so that "a" "bc" is not "ab" "c". */
static void
add_text(Digest *digest, const char *text)
{
    g_checksum_update(digest->sum, (const guchar *)text, (gssize)strlen(text) + 1);
}

static void
add_scalar(Digest *digest, const yaml_node_t *node)
{
    g_autofree char *text = kvg_config_read_text(digest->loader, "", node);
    add_text(digest, text != NULL ? text : "");
}

static void
add_whole(Digest *digest, yaml_node_t *node)
{
    yaml_document_t *document = &digest->loader->document;
    if (node->type == YAML_SCALAR_NODE) {
        add_scalar(digest, node);
    } else if (node->type == YAML_SEQUENCE_NODE) {
        add_text(digest, "[");
        for (yaml_node_item_t *item = node->data.sequence.items.start;
             item < node->data.sequence.items.top; item++)
            add_whole(digest, yaml_document_get_node(document, *item));
        add_text(digest, "]");
    } else {
        add_text(digest, "{");
        for (yaml_node_pair_t *pair = node->data.mapping.pairs.start;
             pair < node->data.mapping.pairs.top; pair++) {
            add_whole(digest, yaml_document_get_node(document, pair->key));
            add_whole(digest, yaml_document_get_node(document, pair->value));
        }
        add_text(digest, "}");
    }
}

/* The file's content, too, if it was read. */
static void
add_path(Digest *digest, const yaml_node_t *node)
{
    g_autofree char *text = kvg_config_read_text(digest->loader, "", node);
    if (text == NULL)
        return;
    g_autofree char *path = kvg_config_resolve(digest->loader, text);
    GBytes *content = g_hash_table_lookup(digest->loader->files, path);
    add_text(digest, path);
    if (content != NULL)
        g_checksum_update(digest->sum, g_bytes_get_data(content, NULL),
                          (gssize)g_bytes_get_size(content));
}

static void
add_value(Digest *digest, const KvgConfigKey *key, yaml_node_t *value)
{
    add_text(digest, key->name);
    if (value == NULL)
        add_text(digest, key->standard != NULL ? key->standard : "");
    else if (key->kind == KVG_CONFIG_PATH)
        add_path(digest, value);
    else
        add_whole(digest, value);
}

/* @scope: of the mapping that these keys are in. */
static void
add_keys(Digest *digest,
         const KvgConfigKey *keys,
         yaml_node_t *node,
         yaml_node_t *fallback,
         KvgConfigScope scope)
{
    for (const KvgConfigKey *key = keys; key->name != NULL; key++) {
        const KvgConfigScope own_scope =
            key->scope != KVG_CONFIG_SCOPE_CAMERAS ? key->scope : scope;
        yaml_node_t *own = kvg_config_find(digest->loader, node, key->name);
        yaml_node_t *other = kvg_config_find(digest->loader, fallback, key->name);
        yaml_node_t *value = own != NULL ? own : other;
        const bool is_mapping =
            key->kind == KVG_CONFIG_MAPPING &&
            (value != NULL ? value->type == YAML_MAPPING_NODE : key->standard == NULL);
        if (is_mapping) {
            add_text(digest, key->name);
            add_keys(digest, key->keys, own, other, own_scope);
        } else if (own_scope == digest->scope) {
            add_value(digest, key, value);
        }
    }
}

static char *
finish(Digest *digest)
{
    char *text = g_strdup(g_checksum_get_string(digest->sum));
    g_checksum_free(digest->sum);
    return text;
}

char *
kvg_config_camera_fingerprint(KvgConfigLoader *loader, yaml_node_t *camera, yaml_node_t *defaults)
{
    Digest digest = {loader, g_checksum_new(G_CHECKSUM_SHA256), KVG_CONFIG_SCOPE_CAMERAS};
    add_keys(&digest, kvg_config_camera_keys, camera, defaults, KVG_CONFIG_SCOPE_CAMERAS);
    return finish(&digest);
}

char *
kvg_config_site_fingerprint(KvgConfigLoader *loader, yaml_node_t *root, KvgConfigScope scope)
{
    Digest digest = {loader, g_checksum_new(G_CHECKSUM_SHA256), scope};
    add_keys(&digest, kvg_config_site_keys, root, NULL, KVG_CONFIG_SCOPE_CAMERAS);
    return finish(&digest);
}
