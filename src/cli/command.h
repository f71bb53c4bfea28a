/* The commands of `kvg`: one file each, one row each in the table of main.c. */
#pragma once

typedef struct {
    const char *name;
    const char *summary;               /* one line for `kvg help` */
    int (*run)(int argc, char **argv); /* argv[0] is the command; returns 0, 1 failure, 2 usage */
} KvgCommand;

int kvg_cmd_camera(int argc, char **argv);
int kvg_cmd_provision(int argc, char **argv);
int kvg_cmd_destroy(int argc, char **argv);
int kvg_cmd_doctor(int argc, char **argv);
int kvg_cmd_check(int argc, char **argv);
int kvg_cmd_demo(int argc, char **argv);
int kvg_cmd_explain(int argc, char **argv);
int kvg_cmd_import(int argc, char **argv);
int kvg_cmd_panorama(int argc, char **argv); /* a table of its own */
int kvg_cmd_panorama_deploy(int argc, char **argv);
int kvg_cmd_panorama_list(int argc, char **argv);
int kvg_cmd_panorama_describe(int argc, char **argv);
int kvg_cmd_panorama_remove(int argc, char **argv);
int kvg_cmd_panorama_nodes(int argc, char **argv);
int kvg_cmd_panorama_signal(int argc, char **argv);
int kvg_cmd_spool(int argc, char **argv);
int kvg_cmd_status(int argc, char **argv);
int kvg_cmd_play(int argc, char **argv);
/* in agent/: the supervisor, and with --worker FD one of its workers */
int kvg_cmd_agent(int argc, char **argv);
