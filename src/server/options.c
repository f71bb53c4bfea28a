/* Parsing and checking; every value is refused here rather than deep inside. */
#include "server/options.h"

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

bool
kvg_server_arguments_parse(KvgServerArguments *a, int *argc, char ***argv, GError **error)
{
    int https_port = 9443, mtls_port = 9444, http_port = 9080;
    gboolean version = false;
    const GOptionEntry entries[] = {
        {"data", 0, 0, G_OPTION_ARG_FILENAME, &a->data_path, "Folder for state and video", "DIR"},
        {"listen", 0, 0, G_OPTION_ARG_STRING, &a->listen_address,
         "Address to listen on (127.0.0.1); plain HTTP stays on loopback", "ADDR"},
        {"https-port", 0, 0, G_OPTION_ARG_INT, &https_port, "AWS APIs and video (9443)", "N"},
        {"mtls-port", 0, 0, G_OPTION_ARG_INT, &mtls_port,
         "Credentials provider, client certificates (9444)", "N"},
        {"http-port", 0, 0, G_OPTION_ARG_INT, &http_port, "Plain HTTP for local tools (9080)", "N"},
        {"region", 0, 0, G_OPTION_ARG_STRING, &a->region, "AWS region to be (us-east-1)", "R"},
        {"account", 0, 0, G_OPTION_ARG_STRING, &a->account, "AWS account to be (123456789012)",
         "ID"},
        {"version", 0, 0, G_OPTION_ARG_NONE, &version, "Show the version", NULL},
        {0},
    };
    g_autoptr(GOptionContext) context = g_option_context_new("- a local Kinesis Video Streams");
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, argc, argv, error))
        return false;
    a->show_version = version;
    if (version)
        return true;
    if (*argc > 1) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "unknown argument '%s'", (*argv)[1]);
        return false;
    }
    if (a->listen_address == NULL)
        a->listen_address = g_strdup("127.0.0.1");
    if (a->region == NULL)
        a->region = g_strdup("us-east-1");
    if (a->account == NULL)
        a->account = g_strdup("123456789012");
    return set_port("--https-port", https_port, &a->https_port, error) &&
           set_port("--mtls-port", mtls_port, &a->mtls_port, error) &&
           set_port("--http-port", http_port, &a->http_port, error) && check(a, error);
}
