/* kvg: the table of commands. */
#include "cli/command.h"
#include "os/log.h"
#include <stdio.h>
#include <string.h>

static int run_help(int argc, char **argv);
static int run_version(int argc, char **argv);

static const KvgCommand commands[] = {
    {"demo", "server, cameras, agent and console on this machine, no AWS account needed",
     kvg_cmd_demo},
    {"agent", "stream the cameras of a configuration file", kvg_cmd_agent},
    {"check", "check a configuration file", kvg_cmd_check},
    {"provision", "create things, certificates, policies, role and streams", kvg_cmd_provision},
    {"destroy", "delete what provision created", kvg_cmd_destroy},
    {"doctor", "find the first broken link between cameras and their video", kvg_cmd_doctor},
    {"camera", "show cameras, switch them on and off, tune them", kvg_cmd_camera},
    {"import", "make a configuration from an AWS Panorama application", kvg_cmd_import},
    {"panorama", "what AWS Panorama's calls did: nodes, signals, instances", kvg_cmd_panorama},
    {"status", "a table of the cameras that refreshes on a terminal", kvg_cmd_status},
    {"play", "print the HLS URL of a camera", kvg_cmd_play},
    {"spool", "list, verify or export what is not persisted yet", kvg_cmd_spool},
    {"explain", "say what an error code means and what to do", kvg_cmd_explain},
    {"help", "this text", run_help},
    {"version", "print the version", run_version},
};

static void
print_usage(FILE *out)
{
    fprintf(out, "kvg " KVG_VERSION ": many cameras into Amazon Kinesis Video Streams\n\n"
                 "Usage: kvg COMMAND [OPTION...]\n\n");
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++)
        fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fprintf(out, "\n'kvg COMMAND --help' explains the options of a command.\n");
}

static int
run_help(int argc, char **argv)
{
    print_usage(stdout);
    return 0;
}

static int
run_version(int argc, char **argv)
{
    printf("kvg %s\n", KVG_VERSION);
    return 0;
}

int
main(int argc, char **argv)
{
    kvg_log_init();
    if (argc < 2) {
        print_usage(stderr);
        return 2;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = "help";
    if (strcmp(name, "--version") == 0)
        name = "version";
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
        if (strcmp(name, commands[i].name) != 0)
            continue;
        g_autofree char *title = g_strdup_printf("kvg %s", name); /* in --help */
        g_set_prgname(title);
        return commands[i].run(argc - 1, argv + 1);
    }
    fprintf(stderr, "kvg: '%s' is not a command; 'kvg help' lists them\n", name);
    return 2;
}
