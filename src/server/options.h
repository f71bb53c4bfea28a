/* The command line of kvg-server. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define KVG_SERVER_MQTT_PORT 8883
#define KVG_SERVER_CHANGE_MAX_MS (3600 * 1000) /* see KVG_STREAM_CHANGE_MAX_MS */

typedef struct {
    char *data_path;
    char *listen_address;
    char *region;
    char *account;
    uint16_t https_port, mtls_port, http_port, mqtt_port;
    bool mqtt_port_is_free; /* not given: any other will do if it is taken */
    unsigned max_streams, max_connections;
    int64_t change_ms;
    bool has_call_rates;
    bool does_check, does_repair, does_compact; /* instead of serving */
    char *backup_path;
    bool show_version;
} KvgServerArguments;
void kvg_server_arguments_clear(KvgServerArguments *arguments);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(KvgServerArguments, kvg_server_arguments_clear)

/* KVG_ERROR_INVALID says what is wrong. --help prints and exits. */
bool kvg_server_arguments_parse(KvgServerArguments *arguments,
                                char **argv,
                                GError **error) G_GNUC_WARN_UNUSED_RESULT;
