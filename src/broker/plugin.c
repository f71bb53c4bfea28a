/* The part of kvg-server that lives in mosquitto: lets devices in by their certificate and judges
 * each publish, subscribe and delivery by the IoT policies attached to it. Reads state.db; writes
 * nothing. Runs on the broker's one thread.
 *
 * A change in state.db is seen within a second: a certificate that is no longer ACTIVE ends its
 * connections. The one client without a certificate is kvg-server itself: only the socket in its
 * private folder accepts it. */
#include "base/clock.h"
#include "server/iot/grant.h"
#include "server/state/sql.h"
#include <mosquitto.h>
#include <mosquitto_broker.h>
#include <mosquitto_plugin.h>
#include <string.h>

#define CHECK_US G_USEC_PER_SEC
/* As long as the broker keeps the session of a client that is gone. */
#define FORGET_US (INT64_C(3600) * G_USEC_PER_SEC)
#define ASK_PREFIX "$kvg/ask/"
#define TELL_PREFIX "$kvg/tell/"
#define MAX_CLIENT_ID 128

typedef struct {
    const struct mosquitto *connection; /* compared only; NULL: gone, its session may be kept */
    KvgIotGrant *grant;                 /* NULL: kvg-server itself */
    int64_t gone_us;
    bool must_leave;
} Client;

typedef struct {
    mosquitto_plugin_id_t *id;
    sqlite3 *db;
    char *arn;           /* "arn:aws:iot:REGION:ACCOUNT" */
    GHashTable *clients; /* client id -> Client */
    int64_t data_version;
    int64_t checked_us;
} Plugin;

static void
client_free(void *data)
{
    Client *client = data;
    kvg_iot_grant_free(client->grant);
    g_free(client);
}

/* ---- judging ---- */

static bool
allows(const Plugin *plugin,
       const Client *client,
       const char *action,
       const char *kind,
       const char *name)
{
    g_autofree char *resource = g_strdup_printf("%s:%s/%s", plugin->arn, kind, name);
    return client->grant == NULL || kvg_iot_grant_allows(client->grant, action, resource);
}

static bool
is_valid_client_id(const char *id)
{
    const size_t len = id != NULL ? strlen(id) : 0;
    return len >= 1 && len <= MAX_CLIENT_ID && id[0] != '$' && g_utf8_validate(id, -1, NULL);
}

static int
on_connect(int event, void *data, void *user_data)
{
    Plugin *plugin = user_data;
    const struct mosquitto_evt_basic_auth *auth = data;
    const char *id = mosquitto_client_id(auth->client);
    X509 *certificate = mosquitto_client_certificate(auth->client);
    Client *client = g_new0(Client, 1);
    client->connection = auth->client;
    client->grant = kvg_iot_grant_new(plugin->db, certificate, id,
                                      mosquitto_client_address(auth->client), kvg_clock_wall_ms());
    const bool is_server = certificate == NULL;
    X509_free(certificate);
    if (!is_valid_client_id(id) || (!is_server && client->grant == NULL) ||
        !allows(plugin, client, "iot:Connect", "client", id)) {
        mosquitto_log_printf(MOSQ_LOG_NOTICE, "kvg: client %.128s is not let in: %s",
                             id != NULL ? id : "",
                             client->grant == NULL ? "its certificate is unknown or not active"
                                                   : "no policy allows iot:Connect");
        client_free(client);
        return MOSQ_ERR_AUTH;
    }
    g_hash_table_replace(plugin->clients, g_strdup(id), client);
    return MOSQ_ERR_SUCCESS;
}

static int
on_disconnect(int event, void *data, void *user_data)
{
    Plugin *plugin = user_data;
    const struct mosquitto_evt_disconnect *gone = data;
    const char *id = mosquitto_client_id(gone->client);
    Client *client = id != NULL ? g_hash_table_lookup(plugin->clients, id) : NULL;
    /* A newer connection of the same name may have taken its place. */
    if (client == NULL || client->connection != gone->client)
        return MOSQ_ERR_SUCCESS;
    client->connection = NULL;
    client->gone_us = kvg_clock_mono_us();
    return MOSQ_ERR_SUCCESS;
}

/* A device that publishes what it may not is disconnected, as the service does. */
static bool
may_publish(const Plugin *plugin, Client *client, const struct mosquitto_evt_acl_check *check)
{
    const bool allowed =
        allows(plugin, client, "iot:Publish", "topic", check->topic) &&
        (!check->retain || (check->topic[0] != '$' &&
                            allows(plugin, client, "iot:RetainPublish", "topic", check->topic)));
    client->must_leave |= !allowed;
    return allowed;
}

static int
on_access(int event, void *data, void *user_data)
{
    Plugin *plugin = user_data;
    const struct mosquitto_evt_acl_check *check = data;
    const char *id = mosquitto_client_id(check->client);
    Client *client = id != NULL ? g_hash_table_lookup(plugin->clients, id) : NULL;
    bool allowed = false;
    if (client == NULL || (client->grant != NULL && g_str_has_prefix(check->topic, "$kvg/")))
        return MOSQ_ERR_ACL_DENIED;
    switch (check->access) {
    case MOSQ_ACL_WRITE:
        allowed = may_publish(plugin, client, check);
        break;
    case MOSQ_ACL_SUBSCRIBE:
        allowed = allows(plugin, client, "iot:Subscribe", "topicfilter", check->topic);
        break;
    case MOSQ_ACL_READ:
        allowed = allows(plugin, client, "iot:Receive", "topic", check->topic);
        break;
    case MOSQ_ACL_UNSUBSCRIBE:
        allowed = true;
        break;
    default:
        break;
    }
    if (!allowed)
        mosquitto_log_printf(MOSQ_LOG_NOTICE, "kvg: client %.128s may not %s %.256s", id,
                             check->access == MOSQ_ACL_WRITE       ? "publish"
                             : check->access == MOSQ_ACL_SUBSCRIBE ? "subscribe to"
                                                                   : "receive",
                             check->topic);
    return allowed ? MOSQ_ERR_SUCCESS : MOSQ_ERR_ACL_DENIED;
}

/* ---- what only one client may hear ---- */

static char *
to_hex(const char *text)
{
    GString *hex = g_string_new(NULL);
    for (; *text != '\0'; text++)
        g_string_append_printf(hex, "%02x", (unsigned)(guchar)*text);
    return g_string_free(hex, FALSE);
}

static char *
from_hex(const char *hex, size_t len)
{
    GString *text = g_string_new(NULL);
    for (size_t i = 0; i + 1 < len; i += 2)
        g_string_append_c(
            text, (char)(g_ascii_xdigit_value(hex[i]) * 16 + g_ascii_xdigit_value(hex[i + 1])));
    return g_string_free(text, FALSE);
}

/* Asked by a device: the topic gets the asker's name in front, so that the server knows whom to
 * answer. */
static void
carry_ask(struct mosquitto_evt_message *message)
{
    g_autofree char *id = to_hex(mosquitto_client_id(message->client));
    g_autofree char *topic = g_strdup_printf(ASK_PREFIX "%s/%s", id, message->topic);
    message->topic = mosquitto_strdup(topic); /* the broker frees both */
}

/* Answered by the server: to that one client, subscribed or not, and to nobody else. */
static void
carry_tell(const struct mosquitto_evt_message *message)
{
    const char *rest = message->topic + strlen(TELL_PREFIX);
    const char *topic = strchr(rest, '/');
    if (topic == NULL)
        return;
    g_autofree char *id = from_hex(rest, (size_t)(topic - rest));
    mosquitto_broker_publish_copy(id, topic + 1, (int)message->payloadlen, message->payload, 1,
                                  false, NULL);
}

static int
on_message(int event, void *data, void *user_data)
{
    Plugin *plugin = user_data;
    struct mosquitto_evt_message *message = data;
    const char *id = message->client != NULL ? mosquitto_client_id(message->client) : NULL;
    const Client *client = id != NULL ? g_hash_table_lookup(plugin->clients, id) : NULL;
    if (client == NULL)
        return MOSQ_ERR_SUCCESS;
    if (client->grant != NULL && (g_str_has_prefix(message->topic, "$aws/certificates/create") ||
                                  g_str_has_prefix(message->topic, "$aws/provisioning-templates/")))
        carry_ask(message);
    else if (client->grant == NULL && g_str_has_prefix(message->topic, TELL_PREFIX))
        carry_tell(message);
    return MOSQ_ERR_SUCCESS;
}

/* ---- changes ---- */

/* True if somebody has written state.db since the last time. */
static bool
has_changed(Plugin *plugin)
{
    const int64_t version = kvg_sql_int(plugin->db, 0, "PRAGMA data_version", "");
    const bool changed = version != plugin->data_version;
    plugin->data_version = version;
    return changed;
}

static int
on_tick(int event, void *data, void *user_data)
{
    Plugin *plugin = user_data;
    const int64_t now_us = kvg_clock_mono_us();
    const bool is_due = now_us - plugin->checked_us >= CHECK_US;
    const bool changed = is_due && has_changed(plugin);
    if (is_due)
        plugin->checked_us = now_us;
    /* Collected first: ending a connection comes back to on_disconnect. */
    g_autoptr(GPtrArray) leaving = g_ptr_array_new_with_free_func(g_free);
    GHashTableIter iter;
    void *id, *value;
    g_hash_table_iter_init(&iter, plugin->clients);
    while (g_hash_table_iter_next(&iter, &id, &value)) {
        Client *client = value;
        if (client->grant != NULL && changed &&
            !kvg_iot_grant_reload(client->grant, plugin->db, kvg_clock_wall_ms()))
            client->must_leave = true;
        if (client->must_leave && client->connection != NULL)
            g_ptr_array_add(leaving, g_strdup(id));
        client->must_leave = false;
        if (client->connection == NULL && now_us - client->gone_us > FORGET_US)
            g_hash_table_iter_remove(&iter);
    }
    for (guint i = 0; i < leaving->len; i++) {
        mosquitto_log_printf(MOSQ_LOG_NOTICE, "kvg: client %.128s is disconnected",
                             (const char *)g_ptr_array_index(leaving, i));
        mosquitto_kick_client_by_clientid(g_ptr_array_index(leaving, i), true);
    }
    return MOSQ_ERR_SUCCESS;
}

/* ---- the broker's interface ---- */

static const struct {
    int event;
    MOSQ_FUNC_generic_callback callback;
} callbacks[] = {
    {MOSQ_EVT_BASIC_AUTH, on_connect}, {MOSQ_EVT_DISCONNECT, on_disconnect},
    {MOSQ_EVT_ACL_CHECK, on_access},   {MOSQ_EVT_MESSAGE, on_message},
    {MOSQ_EVT_TICK, on_tick},
};

static bool
open_state(Plugin *plugin, const char *path)
{
    if (path != NULL && plugin->arn != NULL &&
        sqlite3_open_v2(path, &plugin->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) ==
            SQLITE_OK) {
        sqlite3_busy_timeout(plugin->db, 5000);
        return true;
    }
    mosquitto_log_printf(MOSQ_LOG_ERR, "kvg: cannot open %s", path != NULL ? path : "state.db");
    return false;
}

int
mosquitto_plugin_version(int n, const int *versions)
{
    for (int i = 0; i < n; i++) {
        if (versions[i] == 5)
            return 5;
    }
    return -1;
}

int
mosquitto_plugin_init(mosquitto_plugin_id_t *id,
                      void **user_data,
                      struct mosquitto_opt *options,
                      int n_options)
{
    Plugin *plugin = g_new0(Plugin, 1);
    const char *path = NULL;
    plugin->id = id;
    plugin->clients = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, client_free);
    for (int i = 0; i < n_options; i++) {
        if (strcmp(options[i].key, "state") == 0)
            path = options[i].value;
        else if (strcmp(options[i].key, "arn") == 0)
            plugin->arn = g_strdup(options[i].value);
    }
    *user_data = plugin;
    if (!open_state(plugin, path))
        return MOSQ_ERR_INVAL;
    for (size_t i = 0; i < G_N_ELEMENTS(callbacks); i++) {
        const int failed = mosquitto_callback_register(id, callbacks[i].event,
                                                       callbacks[i].callback, NULL, plugin);
        if (failed != MOSQ_ERR_SUCCESS)
            return failed;
    }
    return MOSQ_ERR_SUCCESS;
}

int
mosquitto_plugin_cleanup(void *user_data, struct mosquitto_opt *options, int n_options)
{
    Plugin *plugin = user_data;
    if (plugin == NULL)
        return MOSQ_ERR_SUCCESS;
    for (size_t i = 0; i < G_N_ELEMENTS(callbacks); i++)
        mosquitto_callback_unregister(plugin->id, callbacks[i].event, callbacks[i].callback, NULL);
    g_hash_table_unref(plugin->clients);
    sqlite3_close(plugin->db);
    g_free(plugin->arn);
    g_free(plugin);
    return MOSQ_ERR_SUCCESS;
}
