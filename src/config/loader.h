/* A YAML file while it is being read: scalars with ${ENV} expanded, problems with line and column.
 * Hides libyaml's document. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <yaml.h>

/* Further ones are only counted. */
#define KVG_CONFIG_MAX_PROBLEMS 100

typedef struct {
    const char *path;  /* as it stands in problems */
    char *folder;      /* relative paths are taken from here */
    GHashTable *files; /* what was read of others: path to GBytes */
    bool is_replay;    /* `files` holds all; nothing is read, nothing on this machine is checked */
    yaml_document_t document;
    GString *problems; /* one a line */
    unsigned n_problems;
} KvgConfigLoader;

typedef void (*KvgConfigVisit)(KvgConfigLoader *loader,
                               const char *key,
                               const char *name,
                               yaml_node_t *node,
                               const yaml_mark_t *mark,
                               void *data);

/* Notes a problem at @mark; reading goes on. @key: path of the key, "" for the file. */
void kvg_config_problem(KvgConfigLoader *loader,
                        const yaml_mark_t *mark,
                        const char *key,
                        const char *format,
                        ...) G_GNUC_PRINTF(4, 5);
/* Text of the file as it may stand in a message: short, printable. */
char *kvg_config_shown(const char *text);
/* Of a scalar node, as it stands there. */
const char *kvg_config_scalar_text(const yaml_node_t *node);
/* The expanded text of a scalar, or NULL with the problem noted. */
char *kvg_config_read_text(KvgConfigLoader *loader, const char *key, const yaml_node_t *node);
/* The text instead of what *@target was (g_free). False: a problem was noted. */
bool kvg_config_replace_text(KvgConfigLoader *loader,
                             const char *key,
                             const yaml_node_t *node,
                             char **target);
/* A whole number from @least to @most. */
bool kvg_config_read_number(KvgConfigLoader *loader,
                            const char *key,
                            const yaml_node_t *node,
                            uint64_t least,
                            uint64_t most,
                            uint64_t *value);
/* @path taken from the file's folder (g_free). */
char *kvg_config_resolve(const KvgConfigLoader *loader, const char *path);
void kvg_config_replace_path(KvgConfigLoader *loader,
                             const char *key,
                             const yaml_node_t *node,
                             char **target);
/* Notes a problem if this process may not read the file at @path. */
void kvg_config_check_readable(KvgConfigLoader *loader,
                               const yaml_node_t *node,
                               const char *key,
                               const char *path);
/* The first line of a file that only its owner may read (clear it); NULL with the problem noted. */
char *kvg_config_read_secret(KvgConfigLoader *loader,
                             const yaml_node_t *node,
                             const char *key,
                             const char *path);
/* The value of @name in a mapping; NULL: there is none, or @mapping is NULL or no mapping. */
yaml_node_t *kvg_config_find(KvgConfigLoader *loader, const yaml_node_t *mapping, const char *name);
/* Nothing, ~ or null. */
bool kvg_config_is_null(const yaml_node_t *node);
/* Calls @visit for every key of @node once; duplicates and keys that are no text are problems. */
void kvg_config_each_key(KvgConfigLoader *loader,
                         const char *prefix,
                         yaml_node_t *node,
                         KvgConfigVisit visit,
                         void *data);
