/* kvg check: is the configuration right? */
#include "base/json.h"
#include "cli/command.h"
#include "config/config.h"
#include "config/schema.h"
#include <stdio.h>
#include <string.h>

static void
print_json(const KvgConfig *config, const GError *error)
{
    g_autoptr(json_t) problems = json_array();
    g_auto(GStrv) lines = g_strsplit(error != NULL ? error->message : "", "\n", -1);
    for (char **line = lines; *line != NULL; line++) {
        if (**line != '\0')
            json_array_append_new(problems, json_string(*line));
    }
    g_autoptr(json_t) result =
        json_pack("{s:b, s:i, s:O}", "ok", config != NULL, "cameras",
                  config != NULL ? (int)config->cameras->len : 0, "problems", problems);
    g_autofree char *text = kvg_json_to_text(result);
    printf("%s\n", text);
}

static int
print_schema(void)
{
    g_autoptr(json_t) schema = kvg_config_schema();
    return json_dumpf(schema, stdout, JSON_INDENT(2)) == 0 && putchar('\n') != EOF ? 0 : 1;
}

int
kvg_cmd_check(int argc, char **argv)
{
    g_autofree char *path = NULL;
    g_autofree char *output = NULL;
    gboolean schema = FALSE;
    const GOptionEntry entries[] = {
        {"config", 'c', 0, G_OPTION_ARG_FILENAME, &path, "configuration (kvg.yaml)", "FILE"},
        {"output", 0, 0, G_OPTION_ARG_STRING, &output, "'json': one object", "FORMAT"},
        {"schema", 0, 0, G_OPTION_ARG_NONE, &schema, "print the JSON schema of kvg.yaml", NULL},
        G_OPTION_ENTRY_NULL,
    };
    g_autoptr(GOptionContext) context = g_option_context_new("- check a configuration file");
    g_autoptr(GError) error = NULL;
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error) || argc > 1) {
        fprintf(stderr, "kvg check: %s\n", error != NULL ? error->message : "unexpected argument");
        return 2;
    }
    if (schema)
        return print_schema();
    const char *file = path != NULL ? path : "kvg.yaml";
    g_autoptr(KvgConfig) config = kvg_config_load(file, &error);
    if (output != NULL)
        print_json(config, error);
    else if (config != NULL)
        printf("%s: fine, %u camera%s\n", file, config->cameras->len,
               config->cameras->len == 1 ? "" : "s");
    else
        fprintf(stderr, "%s\n", error->message);
    return config != NULL ? 0 : 1;
}
