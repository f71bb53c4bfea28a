#include "config/api.h"
#include "config/config.h"
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Goes into a header as it is, and must not be guessed. */
#define TOKEN_PATTERN "^[!-~]{16,512}$"

static void
read_address(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
{
    KvgConfig *config = target;
    g_autofree char *text = kvg_config_read_text(loader, key, node);
    if (text == NULL)
        return;
    if (!g_hostname_is_ip_address(text) && !g_str_equal(text, "localhost")) {
        kvg_config_problem(loader, &node->start_mark, key, "write an IP address, like 127.0.0.1");
        return;
    }
    g_free(config->api_address);
    config->api_address = g_steal_pointer(&text);
}

static void
read_token_file(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
{
    KvgConfig *config = target;
    g_autofree char *text = kvg_config_read_text(loader, key, node);
    if (text == NULL)
        return;
    g_autofree char *path = kvg_config_resolve(loader, text);
    char *token = kvg_config_read_secret(loader, node, key, path);
    if (token != NULL && !g_regex_match_simple(TOKEN_PATTERN, token, G_REGEX_DOLLAR_ENDONLY, 0)) {
        kvg_config_problem(loader, &node->start_mark, key,
                           "the first line of %s is no token: 16 to 512 letters, digits and signs "
                           "without blanks; make one: openssl rand -hex 32 > %s",
                           path, path);
        explicit_bzero(token, strlen(token));
        g_clear_pointer(&token, g_free);
    }
    if (token == NULL)
        return;
    g_free(config->api_token);
    config->api_token = token;
}

static void
read_certificate(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
{
    KvgConfig *config = target;
    kvg_config_replace_path(loader, key, node, &config->api_certificate);
    if (config->api_certificate != NULL && access(config->api_certificate, R_OK) != 0)
        kvg_config_problem(loader, &node->start_mark, key, "cannot read %s: %s",
                           config->api_certificate, g_strerror(errno));
}

static void
read_private_key(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
{
    KvgConfig *config = target;
    struct stat info;
    kvg_config_replace_path(loader, key, node, &config->api_private_key);
    const char *path = config->api_private_key;
    if (path == NULL)
        return;
    if (access(path, R_OK) != 0 || stat(path, &info) != 0)
        kvg_config_problem(loader, &node->start_mark, key, "cannot read %s: %s", path,
                           g_strerror(errno));
    else if ((info.st_mode & 0077) != 0)
        kvg_config_problem(loader, &node->start_mark, key, "others may read %s; run: chmod 600 %s",
                           path, path);
}

bool
kvg_config_is_loopback(const char *address)
{
    return g_str_has_prefix(address, "127.") || strcmp(address, "::1") == 0 ||
           strcmp(address, "localhost") == 0;
}

void
kvg_config_read_api(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
{
    const KvgConfig *config = target;
    const unsigned n_problems = loader->n_problems;
    kvg_config_read_table(loader, key, node, kvg_config_api_keys, target);
    if (loader->n_problems > n_problems)
        return;
    const bool has_tls = config->api_certificate != NULL && config->api_private_key != NULL;
    if (!kvg_config_is_loopback(config->api_address) && (config->api_token == NULL || !has_tls))
        kvg_config_problem(
            loader, &node->start_mark, key,
            "%s can be reached from the network, which needs token_file, certificate "
            "and private_key; docs/api.md says how to make them, or write address: "
            "127.0.0.1",
            config->api_address);
    else if ((config->api_certificate != NULL) != (config->api_private_key != NULL))
        kvg_config_problem(loader, &node->start_mark, key,
                           "certificate and private_key belong together; give both or none");
}

const KvgConfigKey kvg_config_api_keys[] = {
    {"address", KVG_CONFIG_TEXT, .read = read_address, .standard = "127.0.0.1",
     .about = "IP address of console and API; beyond loopback only with token and TLS"},
    {"port", KVG_CONFIG_NUMBER, KVG_CONFIG_AT(KvgConfig, api_port), .most = 65535,
     .standard = "8080", .about = "Port of console and API; 0: any free one"},
    {"token_file", KVG_CONFIG_PATH, .read = read_token_file,
     .about = "Its first line is the token that console and API ask for; mode 0600"},
    {"certificate", KVG_CONFIG_PATH, .read = read_certificate,
     .about = "Certificate (PEM, with its chain) for HTTPS"},
    {"private_key", KVG_CONFIG_PATH, .read = read_private_key,
     .about = "Private key (PEM) of the certificate; mode 0600"},
    {.name = NULL}};
