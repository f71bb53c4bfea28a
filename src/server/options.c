/* Parsing and checking; every value is refused here rather than deep inside. An option that is not
 * on the command line is looked for in the environment: --https-port as KVG_SERVER_HTTPS_PORT. */
#include "server/options.h"

#include "base/text.h"
#include <arpa/inet.h>
#include <kvg/error.h>
#include <string.h>

void
kvg_server_arguments_clear(KvgServerArguments *arguments)
{
    g_free(arguments->data_path);
    g_free(arguments->listen_address);
    g_free(arguments->region);
    g_free(arguments->account);
    g_free(arguments->backup_path);
    memset(arguments, 0, sizeof *arguments);
}

static bool
invalid(GError **error, const char *option, const char *expected)
{
    g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "%s must be %s", option, expected);
    return false;
}

static bool
set_port(const char *option, int value, uint16_t *port, GError **error)
{
    if (value < 0 || value > UINT16_MAX)
        return invalid(error, option, "between 0 and 65535 (0: any free port)");
    *port = (uint16_t)value;
    return true;
}

static bool
is_region(const char *text)
{
    const size_t len = strlen(text);
    return len > 0 && len <= 32 && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-") == len;
}

static bool
check(KvgServerArguments *a, GError **error)
{
    if (a->data_path == NULL || *a->data_path == '\0')
        return invalid(error, "--data", "given: the folder for state and video");
    if (strcmp(a->listen_address, "localhost") == 0) {
        g_free(a->listen_address);
        a->listen_address = g_strdup("127.0.0.1");
    }
    uint8_t bytes[16];
    if (inet_pton(AF_INET, a->listen_address, bytes) != 1 &&
        inet_pton(AF_INET6, a->listen_address, bytes) != 1)
        return invalid(error, "--listen", "an IPv4 or IPv6 address");
    if (!is_region(a->region))
        return invalid(error, "--region", "a region name such as us-east-1");
    if (strlen(a->account) != 12 || strspn(a->account, "0123456789") != 12)
        return invalid(error, "--account", "12 digits");
    return true;
}

static char *
environment_name(const char *option)
{
    g_autofree char *upper = g_ascii_strup(option, -1);
    g_strdelimit(upper, "-", '_');
    return g_strconcat("KVG_SERVER_", upper, NULL);
}

/* What the environment says, as options that stand before those of the command line. */
static GStrv
with_environment(const GOptionEntry *entries, char **argv)
{
    g_autoptr(GStrvBuilder) all = g_strv_builder_new();
    g_strv_builder_add(all, argv[0] != NULL ? argv[0] : "kvg-server");
    for (const GOptionEntry *entry = entries; entry->long_name != NULL; entry++) {
        g_autofree char *name = environment_name(entry->long_name);
        const char *value = g_getenv(name);
        const bool is_flag = entry->arg == G_OPTION_ARG_NONE;
        if (value == NULL || *value == '\0' || (is_flag && strcmp(value, "0") == 0))
            continue;
        g_autofree char *option = is_flag ? g_strconcat("--", entry->long_name, NULL)
                                          : g_strconcat("--", entry->long_name, "=", value, NULL);
        g_strv_builder_add(all, option);
    }
    for (char **argument = argv; *argument != NULL && *++argument != NULL;)
        g_strv_builder_add(all, *argument);
    return g_strv_builder_end(all);
}

static bool
set_count(const char *option, int value, unsigned *count, GError **error)
{
    if (value < 1)
        return invalid(error, option, "at least 1");
    *count = (unsigned)value;
    return true;
}

static bool
set_change_time(const char *text, int64_t *ms, GError **error)
{
    if (text == NULL)
        return true;
    if (kvg_parse_duration_ms(text, ms, error))
        return *ms <= KVG_SERVER_CHANGE_MAX_MS ||
               invalid(error, "--change-time", "at most an hour");
    g_prefix_error(error, "--change-time: ");
    return false;
}

bool
kvg_server_arguments_parse(KvgServerArguments *a, char **argv, GError **error)
{
    int https_port = 9443, mtls_port = 9444, http_port = 9080, mqtt_port = -1;
    int max_streams = 10000, max_connections = 4096;
    g_autofree char *change_time = NULL;
    gboolean version = false, call_rates = false;
    gboolean does_check = false, does_repair = false, does_compact = false;
    const GOptionEntry entries[] = {
        {"data", 0, 0, G_OPTION_ARG_FILENAME, &a->data_path, "Folder for state and video", "DIR"},
        {"listen", 0, 0, G_OPTION_ARG_STRING, &a->listen_address,
         "Address to listen on (127.0.0.1); plain HTTP stays on loopback", "ADDR"},
        {"https-port", 0, 0, G_OPTION_ARG_INT, &https_port, "AWS APIs and video (9443)", "N"},
        {"mtls-port", 0, 0, G_OPTION_ARG_INT, &mtls_port,
         "Credentials provider, client certificates (9444)", "N"},
        {"http-port", 0, 0, G_OPTION_ARG_INT, &http_port, "Plain HTTP for local tools (9080)", "N"},
        {"mqtt-port", 0, 0, G_OPTION_ARG_INT, &mqtt_port,
         "MQTT over TLS (8883, or any free one if that is taken)", "N"},
        {"region", 0, 0, G_OPTION_ARG_STRING, &a->region, "AWS region to be (us-east-1)", "R"},
        {"account", 0, 0, G_OPTION_ARG_STRING, &a->account, "AWS account to be (123456789012)",
         "ID"},
        {"max-streams", 0, 0, G_OPTION_ARG_INT, &max_streams, "Streams of the account (10000)",
         "N"},
        {"call-rates", 0, 0, G_OPTION_ARG_NONE, &call_rates,
         "Refuse calls, and slow uploads, above the rates that AWS allows", NULL},
        {"change-time", 0, 0, G_OPTION_ARG_STRING, &change_time,
         "How long a stream is CREATING, UPDATING or DELETING (0ms)", "TIME"},
        {"max-connections", 0, 0, G_OPTION_ARG_INT, &max_connections,
         "Connections at once, for each port (4096)", "N"},
        {"check", 0, 0, G_OPTION_ARG_NONE, &does_check,
         "Read all stored video, say what is damaged, and end (1 if anything is)", NULL},
        {"repair", 0, 0, G_OPTION_ARG_NONE, &does_repair,
         "Make the index again from the video, without what is damaged, and end", NULL},
        {"compact", 0, 0, G_OPTION_ARG_NONE, &does_compact,
         "Write mostly empty files of video anew, and end", NULL},
        {"backup", 0, 0, G_OPTION_ARG_FILENAME, &a->backup_path,
         "Copy all of --data to a new folder, also while a server uses it, and end", "DIR"},
        {"version", 0, 0, G_OPTION_ARG_NONE, &version, "Show the version", NULL},
        {0},
    };
    g_autoptr(GOptionContext) context = g_option_context_new("- a local Kinesis Video Streams");
    g_option_context_add_main_entries(context, entries, NULL);
    g_option_context_set_description(
        context, "Each option may also come from the environment: --https-port as "
                 "KVG_SERVER_HTTPS_PORT.");
    g_auto(GStrv) all = with_environment(entries, argv);
    if (!g_option_context_parse_strv(context, &all, error))
        return false;
    a->show_version = version;
    a->does_check = does_check;
    a->does_repair = does_repair;
    a->does_compact = does_compact;
    a->mqtt_port_is_free = mqtt_port == -1;
    a->mqtt_port = KVG_SERVER_MQTT_PORT;
    if (version)
        return true;
    if (all[1] != NULL) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "unknown argument '%s'", all[1]);
        return false;
    }
    if (a->listen_address == NULL)
        a->listen_address = g_strdup("127.0.0.1");
    if (a->region == NULL)
        a->region = g_strdup("us-east-1");
    if (a->account == NULL)
        a->account = g_strdup("123456789012");
    a->has_call_rates = call_rates;
    return set_count("--max-streams", max_streams, &a->max_streams, error) &&
           set_count("--max-connections", max_connections, &a->max_connections, error) &&
           set_change_time(change_time, &a->change_ms, error) &&
           set_port("--https-port", https_port, &a->https_port, error) &&
           set_port("--mtls-port", mtls_port, &a->mtls_port, error) &&
           set_port("--http-port", http_port, &a->http_port, error) &&
           (mqtt_port == -1 || set_port("--mqtt-port", mqtt_port, &a->mqtt_port, error)) &&
           check(a, error);
}
