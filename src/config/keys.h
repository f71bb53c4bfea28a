/* The keys of a mapping of kvg.yaml as a table: one row says what a key is called, what its value
 * may be, where it goes, and what it is for. The rows are read by the loader and written out as the
 * JSON schema, so what is accepted and what is published cannot differ.
 *
 *   {"limit", KVG_CONFIG_SIZE, KVG_CONFIG_AT(KvgConfig, spool_limit_bytes), .least = 1 << 20,
 *    .remedy = "give at least 1MiB", .standard = "20GiB", .about = "bytes that may wait"}
 */
#pragma once

#include "config/loader.h"

typedef enum {
    KVG_CONFIG_TEXT,     /* char *; must match `pattern`, if there is one */
    KVG_CONFIG_PATH,     /* char *, taken from the file's folder */
    KVG_CONFIG_CHOICE,   /* one of `words`; its index */
    KVG_CONFIG_SWITCH,   /* on or off; bool */
    KVG_CONFIG_NUMBER,   /* a whole number from `least` to `most` */
    KVG_CONFIG_SIZE,     /* bytes, from `least` to `most` */
    KVG_CONFIG_DURATION, /* milliseconds, from `least` to `most` */
    KVG_CONFIG_BIT_RATE, /* bits a second, from `least` to `most` */
    KVG_CONFIG_MAPPING,  /* of `keys`, read into the same target */
    KVG_CONFIG_NAMED,    /* names matching `pattern`; of each a mapping of `keys`, or a text. Needs
                            `read` */
    KVG_CONFIG_LIST,     /* of mappings of `keys`, or of texts matching `pattern`. Needs `read` */
} KvgConfigKind;

/* Who must hear of it when the value has changed while the agent runs. */
typedef enum {
    KVG_CONFIG_SCOPE_CAMERAS, /* all cameras, or the one that the key is about: they start again. In
                                 a mapping: as the mapping itself */
    KVG_CONFIG_SCOPE_CONTROL, /* connections to AWS IoT */
    KVG_CONFIG_SCOPE_API,     /* takes effect when the agent starts again */
    KVG_CONFIG_SCOPE_WORKERS, /* how cameras are spread over processes */
    KVG_CONFIG_SCOPE_NOBODY,  /* it is only read by other commands */
    KVG_CONFIG_N_SCOPES,
    KVG_CONFIG_SCOPE_NONE = KVG_CONFIG_N_SCOPES /* compared in another way */
} KvgConfigScope;

typedef struct _KvgConfigKey {
    const char *name; /* NULL: end of the table */
    KvgConfigKind kind;
    /* Where the value goes: KVG_CONFIG_AT(type of the target, its field). */
    size_t offset, size;
    /* Instead of that, or because more must be checked: reads the value itself. The rest of the row
     * is what the schema says then. */
    void (*read)(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target);
    const char *words;    /* "auto|disk|memory". Of a kind other than CHOICE: accepted, too, and
                             stored as 0 or NULL */
    const char *pattern;  /* regular expression that both PCRE and JavaScript understand */
    uint64_t least, most; /* most 0: no bound */
    const struct _KvgConfigKey *keys;
    const char *remedy;   /* what to write, when the value is wrong; may be NULL */
    const char *standard; /* the default as one would write it; NULL: none */
    const char *about;    /* one line for people, beginning with a capital letter; required */
    bool is_required;
    KvgConfigScope scope;
} KvgConfigKey;

#define KVG_CONFIG_AT(type, field)                                                                 \
    .offset = offsetof(type, field), .size = sizeof(((type *)0)->field)

/* Reads a mapping by @keys; an unknown key is a problem that names the nearest. */
void kvg_config_read_table(KvgConfigLoader *loader,
                           const char *prefix,
                           yaml_node_t *node,
                           const KvgConfigKey *keys,
                           void *target);
/* The text of @node, if it matches @pattern; else NULL with the problem noted. */
char *kvg_config_read_matching(KvgConfigLoader *loader,
                               const char *key,
                               const yaml_node_t *node,
                               const char *pattern,
                               const char *remedy);
