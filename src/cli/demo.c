/* kvg demo: the local server, provisioning, RTSP test cameras, agent and console in a private
 * directory. Every part is the program a user would run, with the same files and the same API. */
#include "base/json.h"
#include "base/text.h"
#include "cli/child.h"
#include "cli/command.h"
#include "os/file.h"
#include <curl/curl.h>
#include <errno.h>
#include <gio/gio.h>
#include <glib-unix.h>
#include <kvg/error.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READY_TIMEOUT_S 60
#define DEFAULT_CAMERAS 4
#define DEFAULT_PORT 8080
#define MAX_REPLY_BYTES (4u * 1024 * 1024)

typedef struct {
    /* options */
    int n_cameras, duration_s, http_port;
    char **own_cameras; /* NAME=URL */
    char *data_path;
    char *output;
    /* what was made */
    bool is_temporary;
    char *programs; /* folder of kvg, kvg-server and kvg-testcam */
    char **environ_;
    char *config_path, *ca_path, *credentials_path;
    int https_port, api_port;
    json_t *test_cameras;
    KvgChild *server, *testcam, *agent;
    json_t *status; /* the last good answer of /api/cameras */
    /* signals and timers */
    bool stop, is_over;
} Demo;

static void
demo_clear(Demo *demo)
{
    kvg_child_free(demo->agent); /* in the order of the data: nobody loses its next hop first */
    kvg_child_free(demo->testcam);
    kvg_child_free(demo->server);
    if (demo->is_temporary) {
        g_autoptr(GError) error = NULL;
        if (!kvg_dir_remove(demo->data_path, &error))
            fprintf(stderr, "kvg demo: %s\n", error->message);
    }
    json_decref(demo->test_cameras);
    json_decref(demo->status);
    g_strfreev(demo->own_cameras);
    g_strfreev(demo->environ_);
    g_free(demo->data_path);
    g_free(demo->output);
    g_free(demo->programs);
    g_free(demo->config_path);
    g_free(demo->ca_path);
    g_free(demo->credentials_path);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Demo, demo_clear)

static bool
is_json(const Demo *demo)
{
    return demo->output != NULL;
}

static void G_GNUC_PRINTF(2, 3) say(const Demo *demo, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
}

static char *
in_data(const Demo *demo, const char *name)
{
    return g_build_filename(demo->data_path, name, NULL);
}

/* ---- options ---- */

static bool
invalid(GError **error, const char *text)
{
    g_set_error_literal(error, KVG_ERROR, KVG_ERROR_INVALID, text);
    return false;
}

static bool
check_options(Demo *demo, GError **error)
{
    if (demo->n_cameras < 0)
        demo->n_cameras = demo->own_cameras != NULL ? 0 : DEFAULT_CAMERAS;
    if (demo->n_cameras > 64)
        return invalid(error, "--cameras must be between 0 and 64");
    if (demo->n_cameras == 0 && demo->own_cameras == NULL)
        return invalid(error, "no cameras: give --cameras N or --camera NAME=URL");
    if (demo->duration_s < 0)
        return invalid(error, "--duration must be a number of seconds; 0: until Ctrl-C");
    if (demo->http_port > 65535)
        return invalid(error, "--http-port must be between 0 and 65535");
    if (demo->output != NULL && strcmp(demo->output, "json") != 0)
        return invalid(error, "--output: only 'json' is known");
    for (char **camera = demo->own_cameras; camera != NULL && *camera != NULL; camera++) {
        const char *equals = strchr(*camera, '=');
        g_autofree char *name = equals != NULL ? g_strndup(*camera, equals - *camera) : NULL;
        if (name == NULL || !kvg_name_is_camera(name))
            return invalid(error,
                           "--camera must be NAME=URL with NAME of letters, digits, _ and -");
    }
    return true;
}

static bool
parse_options(Demo *demo, int *argc, char ***argv, GError **error)
{
    demo->n_cameras = demo->http_port = -1;
    const GOptionEntry entries[] = {
        {"cameras", 'n', 0, G_OPTION_ARG_INT, &demo->n_cameras,
         "test cameras (4, or none with --camera)", "N"},
        {"camera", 0, 0, G_OPTION_ARG_STRING_ARRAY, &demo->own_cameras,
         "a camera of your own; may be given several times", "NAME=URL"},
        {"duration", 0, 0, G_OPTION_ARG_INT, &demo->duration_s,
         "end by itself after so many seconds (until Ctrl-C)", "S"},
        {"data", 0, 0, G_OPTION_ARG_FILENAME, &demo->data_path,
         "keep everything here (a temporary directory, removed at the end)", "DIR"},
        {"http-port", 0, 0, G_OPTION_ARG_INT, &demo->http_port,
         "port of the console (8080, or any free one); 0: any free one", "N"},
        {"output", 0, 0, G_OPTION_ARG_STRING, &demo->output, "'json': one object a line", "FORMAT"},
        G_OPTION_ENTRY_NULL,
    };
    g_autoptr(GOptionContext) context =
        g_option_context_new("- cameras, agent, server and console on this machine");
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, argc, argv, error))
        return false;
    if (*argc > 1)
        return invalid(error, "unexpected argument");
    return check_options(demo, error);
}

/* ---- setting up ---- */

static bool
prepare_folder(Demo *demo, GError **error)
{
    if (demo->data_path == NULL) {
        demo->data_path = g_dir_make_tmp("kvg-demo-XXXXXX", error);
        demo->is_temporary = demo->data_path != NULL;
        if (demo->data_path == NULL)
            return false;
    } else {
        char *absolute = g_canonicalize_filename(demo->data_path, NULL);
        g_free(demo->data_path);
        demo->data_path = absolute;
    }
    g_autofree char *logs = in_data(demo, "logs");
    if (!kvg_dir_make(demo->data_path, 0700, error) || !kvg_dir_make(logs, 0700, error))
        return false;
    g_autofree char *self = g_file_read_link("/proc/self/exe", error);
    if (self == NULL)
        return false;
    demo->programs = g_path_get_dirname(self);
    demo->config_path = in_data(demo, "kvg.yaml");
    demo->ca_path = in_data(demo, "server/ca.pem");
    demo->credentials_path = in_data(demo, "server/credentials");
    return true;
}

/* Nothing of the user's own AWS set-up may leak into the demo. */
static void
prepare_environment(Demo *demo)
{
    g_auto(GStrv) all = g_get_environ();
    g_autoptr(GStrvBuilder) kept = g_strv_builder_new();
    for (char **entry = all; *entry != NULL; entry++) {
        if (!g_str_has_prefix(*entry, "AWS_") && !g_str_has_prefix(*entry, "CONTROL_PLANE_URI="))
            g_strv_builder_add(kept, *entry);
    }
    demo->environ_ = g_environ_setenv(g_strv_builder_end(kept), "AWS_SHARED_CREDENTIALS_FILE",
                                      demo->credentials_path, TRUE);
}

static KvgChild *
start(
    Demo *demo, const char *program, const char *const *arguments, const char *log, GError **error)
{
    g_autofree char *path = g_build_filename(demo->programs, program, NULL);
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    g_ptr_array_add(argv, path);
    for (; *arguments != NULL; arguments++)
        g_ptr_array_add(argv, (void *)(uintptr_t)*arguments);
    g_ptr_array_add(argv, NULL);
    g_autofree char *name = g_strdup_printf("%s.log", log);
    g_autofree char *log_path = g_build_filename(demo->data_path, "logs", name, NULL);
    return kvg_child_start(log, (const char *const *)argv->pdata, demo->environ_, log_path, error);
}

static bool
start_server(Demo *demo, GError **error)
{
    g_autofree char *data = in_data(demo, "server");
    const char *const arguments[] = {"--data",      data, "--https-port", "0", "--mtls-port", "0",
                                     "--http-port", "0",  "--mqtt-port",  "0", NULL};
    demo->server = start(demo, "kvg-server", arguments, "server", error);
    if (demo->server == NULL)
        return false;
    g_autoptr(json_t) ready =
        kvg_child_wait_ready(demo->server, READY_TIMEOUT_S, &demo->stop, error);
    demo->https_port = (int)kvg_json_get_int(ready, "https_port", 0);
    return ready != NULL;
}

static bool
start_test_cameras(Demo *demo, GError **error)
{
    if (demo->n_cameras == 0)
        return true;
    uint8_t noise[12];
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (uint8_t)g_random_int();
    g_autofree char *secret = g_base64_encode(noise, sizeof noise);
    g_autofree char *path = in_data(demo, "camera-password");
    if (!kvg_file_replace(path, secret, strlen(secret), 0600, error))
        return false;
    g_autofree char *count = g_strdup_printf("%d", demo->n_cameras);
    const char *const arguments[] = {"--cameras",       count, "--port", "0", "--username", "demo",
                                     "--password-file", path,  NULL};
    demo->testcam = start(demo, "kvg-testcam", arguments, "testcam", error);
    if (demo->testcam == NULL)
        return false;
    g_autoptr(json_t) ready =
        kvg_child_wait_ready(demo->testcam, READY_TIMEOUT_S, &demo->stop, error);
    demo->test_cameras = json_incref(json_object_get(ready, "cameras"));
    return ready != NULL;
}

/* A YAML double-quoted scalar; '$' doubled, for the file expands ${NAME}. */
static void
append_quoted(GString *out, const char *text)
{
    g_string_append_c(out, '"');
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            g_string_append_c(out, '\\');
        if (*text == '$')
            g_string_append_c(out, '$');
        if ((unsigned char)*text < 0x20)
            g_string_append_printf(out, "\\x%02x", (unsigned char)*text);
        else
            g_string_append_c(out, *text);
    }
    g_string_append_c(out, '"');
}

/* The port asked for; the usual one if it is free. */
static int
console_port(const Demo *demo)
{
    if (demo->http_port >= 0)
        return demo->http_port;
    g_auto(KvgFd) fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_port = htons(DEFAULT_PORT),
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return bind(fd, (const struct sockaddr *)&address, sizeof address) == 0 ? DEFAULT_PORT : 0;
}

static bool
write_config(Demo *demo, GError **error)
{
    g_autoptr(GString) yaml = g_string_new("# Written by kvg demo.\nregion: us-east-1\n");
    g_string_append_printf(yaml, "endpoint: https://127.0.0.1:%d\nca_bundle: ", demo->https_port);
    append_quoted(yaml, demo->ca_path);
    g_string_append_printf(yaml,
                           "\nidentity: { directory: certs }\n"
                           "spool: { path: spool, limit: 2GiB }\n"
                           "api: { address: 127.0.0.1, port: %d }\n"
                           "defaults: { retention: 24h }\n"
                           "cameras:\n",
                           console_port(demo));
    size_t i;
    json_t *camera;
    json_array_foreach(demo->test_cameras, i, camera)
    {
        g_string_append_printf(yaml, "  %s: { source: ", kvg_json_get_string(camera, "name"));
        append_quoted(yaml, kvg_json_get_string(camera, "url"));
        g_string_append(yaml, ", username: demo, password_file: camera-password }\n");
    }
    for (char **own = demo->own_cameras; own != NULL && *own != NULL; own++) {
        const char *url = strchr(*own, '=') + 1;
        g_string_append_printf(yaml, "  %.*s: { source: ", (int)(url - 1 - *own), *own);
        append_quoted(yaml, url);
        g_string_append(yaml, " }\n");
    }
    return kvg_file_replace(demo->config_path, yaml->str, yaml->len, 0600, error);
}

static bool
provision(Demo *demo, GError **error)
{
    const char *const arguments[] = {"provision", "-c", demo->config_path, NULL};
    g_autoptr(KvgChild) child = start(demo, "kvg", arguments, "provision", error);
    return child != NULL && kvg_child_wait_exit(child, &demo->stop, error);
}

static bool
start_agent(Demo *demo, GError **error)
{
    const char *const arguments[] = {"agent", "-c", demo->config_path, NULL};
    demo->agent = start(demo, "kvg", arguments, "agent", error);
    if (demo->agent == NULL)
        return false;
    g_autoptr(json_t) ready =
        kvg_child_wait_ready(demo->agent, READY_TIMEOUT_S, &demo->stop, error);
    demo->api_port = (int)kvg_json_get_int(ready, "api_port", 0);
    return ready != NULL;
}

static bool
set_up(Demo *demo, GError **error)
{
    if (!prepare_folder(demo, error))
        return false;
    prepare_environment(demo);
    say(demo, "Starting the local Kinesis Video server ...\n");
    if (!start_server(demo, error))
        return false;
    if (demo->n_cameras > 0)
        say(demo, "Starting %d RTSP test cameras ...\n", demo->n_cameras);
    if (!start_test_cameras(demo, error) || !write_config(demo, error))
        return false;
    say(demo, "Provisioning: a thing, a certificate and a stream for each camera ...\n");
    if (!provision(demo, error))
        return false;
    say(demo, "Starting the agent ...\n");
    return start_agent(demo, error);
}

/* ---- status ---- */

static size_t
on_reply(char *data, size_t size, size_t n, void *user_data)
{
    GString *body = user_data;
    if (body->len + n > MAX_REPLY_BYTES)
        return 0;
    g_string_append_len(body, data, (gssize)n);
    return n;
}

static void
fetch_status(Demo *demo)
{
    g_autofree char *url = g_strdup_printf("http://127.0.0.1:%d/api/cameras", demo->api_port);
    g_autoptr(GString) body = g_string_new(NULL);
    CURL *easy = curl_easy_init();
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, 2000L);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_reply);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, body);
    const CURLcode result = curl_easy_perform(easy);
    curl_easy_cleanup(easy);
    json_t *status = result == CURLE_OK ? kvg_json_parse_object(body->str, body->len, NULL) : NULL;
    if (status == NULL)
        return;
    json_decref(demo->status);
    demo->status = status;
}

static json_t *
camera_names(const Demo *demo)
{
    json_t *names = json_array();
    size_t i;
    json_t *camera;
    json_array_foreach(demo->test_cameras, i, camera)
        json_array_append(names, json_object_get(camera, "name"));
    for (char **own = demo->own_cameras; own != NULL && *own != NULL; own++)
        json_array_append_new(names, json_stringn(*own, strcspn(*own, "=")));
    return names;
}

static void
print_json(const json_t *value)
{
    g_autofree char *text = kvg_json_to_text(value);
    printf("%s\n", text);
    fflush(stdout);
}

static void
print_screen(const Demo *demo)
{
    g_autoptr(json_t) names = camera_names(demo);
    g_autofree char *console = g_strdup_printf("http://127.0.0.1:%d/", demo->api_port);
    g_autofree char *endpoint = g_strdup_printf("https://127.0.0.1:%d", demo->https_port);
    if (is_json(demo)) {
        g_autoptr(json_t) ready =
            json_pack("{s:b, s:s, s:s, s:s, s:s, s:s, s:s, s:O}", "ready", 1, "console_url",
                      console, "endpoint_url", endpoint, "ca_bundle", demo->ca_path, "credentials",
                      demo->credentials_path, "config", demo->config_path, "region", "us-east-1",
                      "cameras", names);
        print_json(ready);
        return;
    }
    printf("\nConsole   %s\n\n", console);
    size_t i;
    json_t *name;
    json_array_foreach(names, i, name)
        printf("%s   %splay/%s/live.m3u8\n", i == 0 ? "HLS    " : "       ", console,
               json_string_value(name));
    printf("\nThe AWS CLI against this server:\n"
           "  export AWS_SHARED_CREDENTIALS_FILE=%s\n"
           "  export AWS_CA_BUNDLE=%s AWS_REGION=us-east-1\n"
           "  aws kinesisvideo list-streams --endpoint-url %s\n\n"
           "Configuration, certificates, video and logs: %s%s\n",
           demo->credentials_path, demo->ca_path, endpoint, demo->data_path,
           demo->is_temporary ? " (removed at the end)" : "");
    if (demo->duration_s > 0)
        printf("Ends by itself in %d s; Ctrl-C ends it now.\n\n", demo->duration_s);
    else
        printf("Ctrl-C ends everything.\n\n");
    fflush(stdout);
}

static void
print_result(const Demo *demo)
{
    static const char *const keys[] = {
        "name",   "fragments_persisted", "media_ms_persisted", "bytes",
        "frames", "frames_dropped",      "first_persisted_ms", "state"};
    g_autoptr(json_t) cameras = json_array();
    size_t i;
    json_t *camera;
    json_array_foreach(json_object_get(demo->status, "cameras"), i, camera)
    {
        json_t *row = json_object();
        for (size_t key = 0; key < G_N_ELEMENTS(keys); key++)
            json_object_set(row, keys[key], json_object_get(camera, keys[key]));
        json_array_append_new(cameras, row);
    }
    if (is_json(demo)) {
        g_autoptr(json_t) done = json_pack("{s:b, s:O}", "done", 1, "cameras", cameras);
        print_json(done);
        return;
    }
    printf("\n%-16s %10s %10s %10s %8s %12s\n", "camera", "fragments", "video", "bytes", "dropped",
           "first stored");
    json_array_foreach(cameras, i, camera)
    {
        g_autofree char *bytes = g_format_size((guint64)kvg_json_get_int(camera, "bytes", 0));
        const int64_t first_ms = kvg_json_get_int(camera, "first_persisted_ms", -1);
        g_autofree char *first =
            first_ms < 0 ? g_strdup("never") : g_strdup_printf("%.1f s", (double)first_ms / 1000);
        printf("%-16s %10" G_GINT64_FORMAT " %8.1f s %10s %8" G_GINT64_FORMAT " %12s\n",
               kvg_json_get_string(camera, "name"),
               kvg_json_get_int(camera, "fragments_persisted", 0),
               (double)kvg_json_get_int(camera, "media_ms_persisted", 0) / 1000, bytes,
               kvg_json_get_int(camera, "frames_dropped", 0), first);
    }
    fflush(stdout);
}

/* ---- running ---- */

static gboolean
on_signal(void *user_data)
{
    ((Demo *)user_data)->stop = true;
    return G_SOURCE_CONTINUE;
}

static gboolean
on_over(void *user_data)
{
    ((Demo *)user_data)->is_over = true;
    return G_SOURCE_REMOVE;
}

static gboolean
on_tick(void *user_data)
{
    fetch_status(user_data);
    return G_SOURCE_CONTINUE;
}

static bool
run(Demo *demo, GError **error)
{
    const guint over =
        demo->duration_s > 0 ? g_timeout_add_seconds((guint)demo->duration_s, on_over, demo) : 0;
    const guint tick = g_timeout_add_seconds(1, on_tick, demo);
    KvgChild *const children[] = {demo->server, demo->testcam, demo->agent};
    bool ok = true;
    while (ok && !demo->stop && !demo->is_over) {
        g_main_context_iteration(NULL, TRUE);
        for (size_t i = 0; i < G_N_ELEMENTS(children); i++)
            ok = ok && (children[i] == NULL || !kvg_child_has_died(children[i], error));
    }
    if (over != 0 && !demo->is_over)
        g_source_remove(over);
    g_source_remove(tick);
    if (ok)
        fetch_status(demo);
    return ok;
}

int
kvg_cmd_demo(int argc, char **argv)
{
    g_auto(Demo) demo = {0};
    g_autoptr(GError) error = NULL;
    if (!parse_options(&demo, &argc, &argv, &error)) {
        fprintf(stderr, "kvg demo: %s\n", error->message);
        return 2;
    }
    g_unix_signal_add(SIGINT, on_signal, &demo);
    g_unix_signal_add(SIGTERM, on_signal, &demo);
    g_unix_signal_add(SIGHUP, on_signal, &demo);
    bool ok = set_up(&demo, &error);
    if (ok) {
        print_screen(&demo);
        ok = run(&demo, &error);
    }
    if (ok)
        print_result(&demo);
    if (g_error_matches(error, KVG_ERROR, KVG_ERROR_CANCELLED))
        return 0;
    if (!ok)
        fprintf(stderr, "kvg demo: %s\n", error->message);
    return ok ? 0 : 1;
}
