#include "cli/secret.h"
#include <glib.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define MAX_ANSWER_BYTES 1024

static char *
variable_name(const char *camera, const char *what)
{
    g_autofree char *upper = g_ascii_strup(camera, -1);
    g_strdelimit(upper, "-", '_');
    return g_strdup_printf("KVG_CAMERA_%s_%s", upper, what);
}

static char *
read_answer(void)
{
    char answer[MAX_ANSWER_BYTES];
    if (fgets(answer, sizeof answer, stdin) == NULL)
        return NULL;
    answer[strcspn(answer, "\r\n")] = '\0';
    char *copy = answer[0] != '\0' ? g_strdup(answer) : NULL;
    explicit_bzero(answer, sizeof answer);
    return copy;
}

static char *
ask_terminal(const char *camera, const char *what)
{
    struct termios before;
    const bool hides = strcmp(what, "PASSWORD") == 0 && tcgetattr(STDIN_FILENO, &before) == 0;
    fprintf(stderr, "camera %s: %s%s: ", camera,
            strcmp(what, "URL") == 0        ? "rtsp URL"
            : strcmp(what, "USERNAME") == 0 ? "user"
                                            : "password",
            strcmp(what, "URL") == 0 ? "" : " (empty: none)");
    fflush(stderr);
    if (hides) {
        struct termios silent = before;
        silent.c_lflag &= ~(tcflag_t)ECHO;
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
    }
    char *answer = read_answer();
    if (hides) {
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
        fputc('\n', stderr);
    }
    return answer;
}

char *
kvg_secret_ask(const char *camera, const char *what, void *data)
{
    g_autofree char *name = variable_name(camera, what);
    const char *value = g_getenv(name);
    if (value != NULL)
        return *value != '\0' ? g_strdup(value) : NULL;
    if (isatty(STDIN_FILENO) != 1 || isatty(STDERR_FILENO) != 1)
        return NULL;
    return ask_terminal(camera, what);
}
