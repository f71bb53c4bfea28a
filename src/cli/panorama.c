/* kvg panorama: the calls of AWS Panorama's service that have a meaning here, one row each. */
#include "cli/command.h"
#include <glib.h>
#include <stdio.h>
#include <string.h>

static const KvgCommand commands[] = {
    {"deploy", "import an application, provision it, let the agent have it",
     kvg_cmd_panorama_deploy},
    {"list", "the application instances with status and health", kvg_cmd_panorama_list},
    {"describe", "one of them, with its nodes and manifests", kvg_cmd_panorama_describe},
    {"remove", "take one away, with what was provisioned for it", kvg_cmd_panorama_remove},
    {"nodes", "the camera nodes and their status", kvg_cmd_panorama_nodes},
    {"signal", "PAUSE or RESUME camera nodes", kvg_cmd_panorama_signal},
};

static void
print_usage(FILE *out)
{
    fprintf(out, "Usage: kvg panorama COMMAND [OPTION...]\n\n");
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++)
        fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fprintf(out, "\n'kvg import panorama' makes the configuration out of a graph; "
                 "'kvg panorama COMMAND --help' explains the options.\n");
}

int
kvg_cmd_panorama(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        print_usage(stdout);
        return 0;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
        if (strcmp(name, commands[i].name) != 0)
            continue;
        g_autofree char *title = g_strdup_printf("kvg panorama %s", name); /* in --help */
        g_set_prgname(title);
        return commands[i].run(argc - 1, argv + 1);
    }
    if (argc > 1)
        fprintf(stderr, "kvg panorama: '%s' is not a command\n", name);
    print_usage(stderr);
    return 2;
}
