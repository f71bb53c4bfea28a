/* kvg status: what each camera does, as a table that refreshes on a terminal. */
#include "base/clock.h"
#include "cli/command.h"
#include "cli/reach.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#define REFRESH_MS 1000
#define ENTER "\033[?1049h\033[?25l"
#define LEAVE "\033[?25h\033[?1049l"

static volatile sig_atomic_t is_over;

static void
on_signal(int number)
{
    if (number != SIGWINCH)
        is_over = 1;
}

/* What comes from a camera or a service must not steer the terminal. */
static char *
printable(const char *text)
{
    char *valid = g_utf8_make_valid(text != NULL ? text : "", -1);
    for (char *at = valid; *at != '\0'; at++) {
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            *at = ' ';
    }
    return valid;
}

static char *
age(int64_t ms)
{
    if (ms < 0)
        return g_strdup("-");
    if (ms < 120000)
        return g_strdup_printf("%.1fs", (double)ms / 1000);
    if (ms < 7200000)
        return g_strdup_printf("%dm", (int)(ms / 60000));
    return g_strdup_printf("%dh", (int)(ms / 3600000));
}

static const char *
colour_of(const char *state)
{
    if (g_strcmp0(state, "live") == 0)
        return "\033[32m";
    return g_strcmp0(state, "off") == 0 ? "\033[2m" : "\033[31m";
}

/* @columns 0: as long as it is. */
static void
append_line(GString *out, char *line, unsigned columns, const char *colour)
{
    if (columns > 0 && g_utf8_strlen(line, -1) > (glong)columns)
        *g_utf8_offset_to_pointer(line, (glong)columns) = '\0';
    g_strchomp(line);
    g_string_append_printf(out, "%s%s%s\n", colour != NULL ? colour : "", line,
                           colour != NULL ? "\033[0m" : "");
    g_free(line);
}

static void
append_camera(GString *out, const json_t *camera, unsigned columns, bool is_coloured)
{
    const char *state = kvg_json_get_string(camera, "state");
    const int64_t expires_ms = kvg_json_get_int(camera, "credentials_expire_ms", 0);
    g_autofree char *persisted = age(kvg_json_get_int(camera, "last_persisted_age_ms", -1));
    g_autofree char *keys = age(expires_ms > 0 ? MAX(expires_ms - kvg_clock_wall_ms(), 0) : -1);
    g_autofree char *reason = printable(kvg_json_get_string(camera, "reason"));
    g_autofree char *spool = g_format_size_full((guint64)kvg_json_get_int(camera, "spool_bytes", 0),
                                                G_FORMAT_SIZE_IEC_UNITS);
    append_line(out,
                g_strdup_printf("%-20s %-11s %6.1f %8d %12s %9s %9s  %s",
                                kvg_json_get_string(camera, "name"), state != NULL ? state : "-",
                                json_number_value(json_object_get(camera, "fps")),
                                (int)(kvg_json_get_int(camera, "bitrate_bps", 0) / 1000), spool,
                                persisted, keys, reason),
                columns, is_coloured ? colour_of(state) : NULL);
}

static char *
table(const json_t *answer, unsigned columns, bool is_coloured)
{
    GString *out = g_string_new(NULL);
    size_t i;
    json_t *camera;
    append_line(out,
                g_strdup_printf("%-20s %-11s %6s %8s %12s %9s %9s  %s", "CAMERA", "STATE", "FPS",
                                "KBIT/S", "SPOOL", "PERSISTED", "KEYS", "REASON"),
                columns, is_coloured ? "\033[1m" : NULL);
    json_array_foreach(json_object_get(answer, "cameras"), i, camera)
        append_camera(out, camera, columns, is_coloured);
    return g_string_free(out, FALSE);
}

static int
print_once(const KvgReach *reach, bool is_json, bool is_coloured)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(json_t) answer = kvg_reach_agent(reach, NULL, NULL, &error);
    if (answer == NULL) {
        fprintf(stderr, "kvg status: %s\n", error->message);
        return 1;
    }
    g_autofree char *text = is_json ? kvg_json_to_text(answer) : table(answer, 0, is_coloured);
    printf("%s%s", text, is_json ? "\n" : "");
    return 0;
}

static void
draw(const KvgReach *reach, bool is_coloured)
{
    struct winsize size = {0};
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
        size = (struct winsize){.ws_col = 80, .ws_row = 24};
    g_autoptr(GError) error = NULL;
    g_autoptr(json_t) answer = kvg_reach_agent(reach, NULL, NULL, &error);
    g_autofree char *problem = error != NULL ? printable(error->message) : NULL;
    g_autofree char *text =
        answer != NULL ? table(answer, size.ws_col, is_coloured) : g_strconcat(problem, "\n", NULL);
    g_auto(GStrv) lines = g_strsplit(text, "\n", size.ws_row);
    printf("\033[H");
    for (unsigned i = 0; lines[i] != NULL && i + 1 < size.ws_row; i++)
        printf("%s\033[K\n", lines[i]);
    printf("\033[J");
    fflush(stdout);
}

static bool
is_quit(void)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    char key = 0;
    if (poll(&input, 1, REFRESH_MS) <= 0)
        return false;
    return read(STDIN_FILENO, &key, 1) <= 0 || key == 'q';
}

/* Until q or Ctrl-C; the terminal is left as it was. */
static int
watch(const KvgReach *reach, bool is_coloured)
{
    struct termios before, quiet;
    const struct sigaction action = {.sa_handler = on_signal};
    const bool has_keys = tcgetattr(STDIN_FILENO, &before) == 0;
    const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGWINCH};
    for (size_t i = 0; i < G_N_ELEMENTS(signals); i++)
        sigaction(signals[i], &action, NULL);
    if (has_keys) {
        quiet = before;
        quiet.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
        tcsetattr(STDIN_FILENO, TCSANOW, &quiet);
    }
    printf(ENTER);
    while (!is_over) {
        draw(reach, is_coloured);
        if (has_keys ? is_quit() : (poll(NULL, 0, REFRESH_MS), false))
            break;
    }
    printf(LEAVE);
    fflush(stdout);
    if (has_keys)
        tcsetattr(STDIN_FILENO, TCSANOW, &before);
    return 0;
}

int
kvg_cmd_status(int argc, char **argv)
{
    g_auto(KvgReach) reach = {0};
    g_autofree char *output = NULL;
    gboolean once = FALSE;
    const GOptionEntry entries[] = {
        {"config", 'c', 0, G_OPTION_ARG_FILENAME, &reach.target.config_path,
         "configuration (kvg.yaml)", "FILE"},
        {"agent", 0, 0, G_OPTION_ARG_STRING, &reach.agent,
         "URL of the agent (from the configuration)", "URL"},
        {"once", 0, 0, G_OPTION_ARG_NONE, &once, "print once, also on a terminal", NULL},
        {"output", 0, 0, G_OPTION_ARG_STRING, &output, "'json': the agent's answer, once",
         "FORMAT"},
        G_OPTION_ENTRY_NULL,
    };
    g_autoptr(GOptionContext) context = g_option_context_new("- what the cameras do");
    g_autoptr(GError) error = NULL;
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error) || argc != 1 ||
        (output != NULL && strcmp(output, "json") != 0)) {
        fprintf(stderr, "kvg status: %s\n",
                error != NULL ? error->message : "no arguments but options; --output json");
        return 2;
    }
    if (!kvg_reach_open(&reach, &error)) {
        fprintf(stderr, "kvg status: %s\n", error->message);
        return 1;
    }
    const char *no_colour = g_getenv("NO_COLOR");
    const bool is_terminal = isatty(STDOUT_FILENO);
    const bool is_coloured = is_terminal && (no_colour == NULL || *no_colour == '\0');
    if (once || output != NULL || !is_terminal)
        return print_once(&reach, output != NULL, is_coloured);
    return watch(&reach, is_coloured);
}
