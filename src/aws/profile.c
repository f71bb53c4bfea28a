#include "aws/profile.h"
#include "aws/source.h"
#include "os/file.h"
#include <string.h>

struct _KvgProfiles {
    GHashTable *sections; /* profile -> GHashTable of key -> value */
};

static void
table_free(void *table)
{
    g_hash_table_unref(table);
}

static void
secret_free(void *text)
{
    kvg_secret_free(text);
}

static GHashTable *
use_section(KvgProfiles *profiles, const char *name)
{
    GHashTable *section = g_hash_table_lookup(profiles->sections, name);
    if (section == NULL) {
        section = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, secret_free);
        g_hash_table_insert(profiles->sections, g_strdup(name), section);
    }
    return section;
}

/* "[profile x]" of the config file or "[x]" of the credentials file; NULL: some other section. In
 * the config file only the default profile may go without the word. */
static char *
section_name(const char *line, bool is_config)
{
    const char *end = strchr(line, ']');
    if (end == NULL)
        return NULL;
    g_autofree char *inside = g_strstrip(g_strndup(line + 1, (gsize)(end - line - 1)));
    if (!is_config)
        return g_steal_pointer(&inside);
    if (strncmp(inside, "profile", 7) == 0 && g_ascii_isspace(inside[7]))
        return g_strdup(g_strstrip(inside + 7));
    return strcmp(inside, "default") == 0 ? g_steal_pointer(&inside) : NULL;
}

/* @line: whole and without its end. Changed in place. */
static void
take_line(KvgProfiles *profiles, GHashTable **section, char *line, bool is_config)
{
    /* An indented line belongs to the value above ("s3 =" and its like); none of ours has one. */
    if (line[0] == '\0' || strchr("#; \t", line[0]) != NULL)
        return;
    if (line[0] == '[') {
        g_autofree char *name = section_name(line, is_config);
        *section = name != NULL ? use_section(profiles, name) : NULL;
        return;
    }
    char *equals = strchr(line, '=');
    if (equals == NULL || *section == NULL)
        return;
    *equals = '\0';
    g_autofree char *key = g_ascii_strdown(g_strstrip(line), -1);
    char *comment = strstr(equals + 1, " #");
    if (comment != NULL)
        *comment = '\0';
    const char *value = g_strstrip(equals + 1);
    if (value[0] != '\0')
        g_hash_table_replace(*section, g_steal_pointer(&key), g_strdup(value));
}

static void
take_text(KvgProfiles *profiles, char *text, bool is_config)
{
    GHashTable *section = NULL;
    char *rest = NULL;
    for (char *line = strtok_r(text, "\r\n", &rest); line != NULL;
         line = strtok_r(NULL, "\r\n", &rest))
        take_line(profiles, &section, line, is_config);
}

/* What is taken later wins, key by key. */
KvgProfiles *
kvg_profiles_parse(char *credentials_text, char *config_text)
{
    KvgProfiles *profiles = g_new0(KvgProfiles, 1);
    profiles->sections = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, table_free);
    if (config_text != NULL)
        take_text(profiles, config_text, true);
    if (credentials_text != NULL)
        take_text(profiles, credentials_text, false);
    return profiles;
}

/* NULL and no error: it is not there. */
static char *
read_file(const char *path, size_t *len, GError **error)
{
    if (path == NULL || !g_file_test(path, G_FILE_TEST_EXISTS))
        return NULL;
    return kvg_file_read(path, KVG_FILE_MAX, len, error);
}

static void
wipe(char *text, size_t len)
{
    if (text != NULL)
        explicit_bzero(text, len);
    g_free(text);
}

KvgProfiles *
kvg_profiles_read(const char *credentials_path, const char *config_path, GError **error)
{
    size_t credentials_len = 0, config_len = 0;
    g_autoptr(GError) cause = NULL;
    char *config = read_file(config_path, &config_len, &cause);
    char *credentials =
        cause == NULL ? read_file(credentials_path, &credentials_len, &cause) : NULL;
    KvgProfiles *profiles = cause == NULL ? kvg_profiles_parse(credentials, config) : NULL;
    wipe(config, config_len);
    wipe(credentials, credentials_len);
    if (cause != NULL)
        g_propagate_error(error, g_steal_pointer(&cause));
    return profiles;
}

void
kvg_profiles_free(KvgProfiles *profiles)
{
    if (profiles == NULL)
        return;
    g_hash_table_unref(profiles->sections);
    g_free(profiles);
}

bool
kvg_profiles_has(const KvgProfiles *profiles, const char *profile)
{
    return g_hash_table_contains(profiles->sections, profile);
}

const char *
kvg_profiles_get(const KvgProfiles *profiles, const char *profile, const char *key)
{
    GHashTable *section = g_hash_table_lookup(profiles->sections, profile);
    return section != NULL ? g_hash_table_lookup(section, key) : NULL;
}
