#include "config/keys.h"

#include "base/text.h"

#include <kvg/error.h>
#include <string.h>

/* ---- names ---- */

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
nearest(const char *name, const KvgConfigKey *keys)
{
    const char *best = NULL;
    unsigned least = 4;
    for (const KvgConfigKey *key = keys; key->name != NULL; key++) {
        unsigned distance = edit_distance(name, key->name);
        if (distance < least && distance < strlen(key->name)) {
            least = distance;
            best = key->name;
        }
    }
    return best;
}

static void
unknown_key(KvgConfigLoader *loader,
            const yaml_mark_t *mark,
            const char *key,
            const char *name,
            const KvgConfigKey *keys)
{
    const char *guess = nearest(name, keys);
    if (guess != NULL) {
        kvg_config_problem(loader, mark, key, "unknown key; did you mean '%s'?", guess);
        return;
    }
    g_autoptr(GString) known = g_string_new(NULL);
    for (const KvgConfigKey *at = keys; at->name != NULL; at++)
        g_string_append_printf(known, "%s%s", known->len > 0 ? ", " : "", at->name);
    kvg_config_problem(loader, mark, key, "unknown key; known here: %s", known->str);
}

/* ---- values ---- */

/* "auto, disk or memory" */
static char *
list_words(const char *words)
{
    g_auto(GStrv) list = g_strsplit(words, "|", -1);
    g_autoptr(GString) out = g_string_new(list[0]);
    for (size_t i = 1; list[i] != NULL; i++)
        g_string_append_printf(out, "%s%s", list[i + 1] != NULL ? ", " : " or ", list[i]);
    return g_string_free(g_steal_pointer(&out), FALSE);
}

static bool
find_word(const char *words, const char *text, uint64_t *index)
{
    g_auto(GStrv) list = g_strsplit(words != NULL ? words : "", "|", -1);
    for (*index = 0; list[*index] != NULL; ++*index) {
        if (g_str_equal(list[*index], text))
            return true;
    }
    return false;
}

static void
refuse(KvgConfigLoader *loader,
       const char *key,
       const yaml_node_t *node,
       const char *text,
       const char *remedy)
{
    g_autofree char *seen = kvg_config_shown(text);
    kvg_config_problem(loader, &node->start_mark, key, "'%s' is not valid; %s", seen, remedy);
}

char *
kvg_config_read_matching(KvgConfigLoader *loader,
                         const char *key,
                         const yaml_node_t *node,
                         const char *pattern,
                         const char *remedy)
{
    g_autofree char *text = kvg_config_read_text(loader, key, node);
    if (text == NULL)
        return NULL;
    if (pattern == NULL || g_regex_match_simple(pattern, text, G_REGEX_DOLLAR_ENDONLY, 0))
        return g_steal_pointer(&text);
    refuse(loader, key, node, text, remedy);
    return NULL;
}

static void
store_number(const KvgConfigKey *row, void *target, uint64_t number)
{
    void *at = (char *)target + row->offset;
    if (row->size == sizeof(bool))
        *(uint8_t *)at = (uint8_t)number;
    else if (row->size == sizeof(uint16_t))
        *(uint16_t *)at = (uint16_t)number;
    else if (row->size == sizeof(uint32_t))
        *(uint32_t *)at = (uint32_t)number;
    else if (row->size == sizeof(uint64_t))
        *(uint64_t *)at = number;
    else
        g_assert_not_reached();
}

/* Takes @text. */
static void
store_text(const KvgConfigKey *row, void *target, char *text)
{
    g_assert(row->size == sizeof(char *));
    char **at = (char **)(void *)((char *)target + row->offset);
    g_free(*at);
    *at = text;
}

static bool
parse_quantity(KvgConfigKind kind, const char *text, uint64_t *number, GError **error)
{
    int64_t ms = 0;
    uint32_t bps = 0;
    if (kind == KVG_CONFIG_SIZE)
        return kvg_parse_size(text, number, error);
    if (kind == KVG_CONFIG_DURATION) {
        const bool good = kvg_parse_duration_ms(text, &ms, error);
        *number = (uint64_t)ms;
        return good;
    }
    const bool good = kvg_parse_bitrate(text, &bps, error);
    *number = bps;
    return good;
}

static void
read_quantity(KvgConfigLoader *loader,
              const char *key,
              const yaml_node_t *node,
              const KvgConfigKey *row,
              const char *text,
              void *target)
{
    g_autoptr(GError) error = NULL;
    uint64_t number = 0;
    if (!parse_quantity(row->kind, text, &number, &error))
        kvg_config_problem(loader, &node->start_mark, key, "%s%s%s", error->message,
                           row->remedy != NULL ? "; " : "", row->remedy != NULL ? row->remedy : "");
    else if (number < row->least || (row->most != 0 && number > row->most))
        refuse(loader, key, node, text, row->remedy);
    else
        store_number(row, target, number);
}

static void
read_switch(KvgConfigLoader *loader,
            const char *key,
            const yaml_node_t *node,
            const KvgConfigKey *row,
            const char *text,
            void *target)
{
    const bool on = g_str_equal(text, "on") || g_str_equal(text, "true");
    if (!on && !g_str_equal(text, "off") && !g_str_equal(text, "false"))
        refuse(loader, key, node, text, "write on or off");
    else
        store_number(row, target, on);
}

static void
read_choice(KvgConfigLoader *loader,
            const char *key,
            const yaml_node_t *node,
            const KvgConfigKey *row,
            const char *text,
            void *target)
{
    uint64_t index = 0;
    if (find_word(row->words, text, &index)) {
        store_number(row, target, index);
        return;
    }
    g_autofree char *words = list_words(row->words);
    g_autofree char *remedy = g_strconcat("write ", words, NULL);
    refuse(loader, key, node, text, row->remedy != NULL ? row->remedy : remedy);
}

static void
read_plain(KvgConfigLoader *loader,
           const char *key,
           const yaml_node_t *node,
           const KvgConfigKey *row,
           void *target)
{
    g_autofree char *text = kvg_config_read_matching(loader, key, node, row->pattern, row->remedy);
    if (text != NULL)
        store_text(row, target,
                   row->kind == KVG_CONFIG_PATH ? kvg_config_resolve(loader, text)
                                                : g_steal_pointer(&text));
}

static void
read_scalar(KvgConfigLoader *loader,
            const char *key,
            const yaml_node_t *node,
            const KvgConfigKey *row,
            void *target)
{
    g_autofree char *text = kvg_config_read_text(loader, key, node);
    uint64_t number = 0;
    if (text == NULL)
        return;
    const bool is_text = row->kind == KVG_CONFIG_TEXT || row->kind == KVG_CONFIG_PATH;
    if (row->kind == KVG_CONFIG_CHOICE)
        read_choice(loader, key, node, row, text, target);
    else if (find_word(row->words, text, &number) && is_text)
        store_text(row, target, NULL);
    else if (find_word(row->words, text, &number))
        store_number(row, target, 0);
    else if (is_text)
        read_plain(loader, key, node, row, target);
    else if (row->kind == KVG_CONFIG_SWITCH)
        read_switch(loader, key, node, row, text, target);
    else if (row->kind != KVG_CONFIG_NUMBER)
        read_quantity(loader, key, node, row, text, target);
    else if (kvg_config_read_number(loader, key, node, row->least,
                                    row->most != 0 ? row->most : UINT64_MAX, &number))
        store_number(row, target, number);
}

/* ---- tables ---- */

typedef struct {
    const KvgConfigKey *keys;
    void *target;
} Table;

static void
visit_table(KvgConfigLoader *loader,
            const char *key,
            const char *name,
            yaml_node_t *node,
            const yaml_mark_t *mark,
            void *data)
{
    const Table *table = data;
    const KvgConfigKey *row = table->keys;
    while (row->name != NULL && !g_str_equal(row->name, name))
        row++;
    if (row->name == NULL)
        unknown_key(loader, mark, key, name, table->keys);
    else if (row->read != NULL)
        row->read(loader, key, node, table->target);
    else if (row->kind == KVG_CONFIG_MAPPING)
        kvg_config_read_table(loader, key, node, row->keys, table->target);
    else
        read_scalar(loader, key, node, row, table->target);
}

void
kvg_config_read_table(KvgConfigLoader *loader,
                      const char *prefix,
                      yaml_node_t *node,
                      const KvgConfigKey *keys,
                      void *target)
{
    Table table = {keys, target};
    kvg_config_each_key(loader, prefix, node, visit_table, &table);
}
