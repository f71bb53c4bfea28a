#include "server/mqtt/service.h"

#include "base/clock.h"
#include "os/log.h"
#include "server/iot/fleet.h"
#include "server/mqtt/broker.h"
#include <kvg/error.h>
#include <mosquitto.h>
#include <string.h>

#define LOG_DOMAIN "server-mqtt"
#define CLIENT_ID "kvg-server"
#define KEEPALIVE_S 60
#define RECONNECT_MAX_S 5
#define CONNECT_MS 10000
/* What only one client may hear goes through the broker's plugin, under ASK_PREFIX CLIENT/TOPIC and
 * TELL_PREFIX CLIENT/TOPIC, the client id in hex. */
#define ASK_PREFIX "$kvg/ask/"
#define TELL_PREFIX "$kvg/tell/"

struct _KvgMqtt {
    KvgServer *server;
    KvgBroker *broker;
    struct mosquitto *client;
    struct {
        GMutex lock;
        GCond changed;
        bool is_ready; /* subscribed */
    } shared;
};

static const char *const filters[] = {
    "$aws/things/+/shadow/get",
    "$aws/things/+/shadow/update",
    "$aws/things/+/shadow/delete",
    "$aws/things/+/shadow/name/+/get",
    "$aws/things/+/shadow/name/+/update",
    "$aws/things/+/shadow/name/+/delete",
    ASK_PREFIX "#",
};

bool
kvg_mqtt_publish(
    KvgMqtt *mqtt, const char *topic, const void *data, size_t len, int qos, bool retain)
{
    if (mqtt == NULL)
        return true;
    return mosquitto_publish(mqtt->client, NULL, topic, (int)len, data, qos, retain) ==
           MOSQ_ERR_SUCCESS;
}

static void
publish_json(KvgMqtt *mqtt, const char *topic, const json_t *payload)
{
    g_autofree char *text = kvg_json_to_text(payload);
    if (!kvg_mqtt_publish(mqtt, topic, text, strlen(text), 1, false))
        KVG_LOG_WARNING(LOG_DOMAIN, "TOPIC", topic, "%s could not be published", topic);
}

void
kvg_mqtt_tell(KvgMqtt *mqtt, const KvgShadowId *id, KvgShadowVerb verb, const KvgShadowReply *reply)
{
    g_autofree char *topic =
        kvg_shadow_topic(id, verb, reply->code == 200 ? "accepted" : "rejected");
    publish_json(mqtt, topic, reply->answer);
    for (guint i = 0; i < reply->others->len; i++) {
        const KvgShadowMessage *message = g_ptr_array_index(reply->others, i);
        publish_json(mqtt, message->topic, message->payload);
    }
}

/* ---- libmosquitto's thread ---- */

/* @rest: "CLIENT/TOPIC" */
static void
answer_ask(KvgMqtt *mqtt, const char *rest, const struct mosquitto_message *message)
{
    const char *topic = strchr(rest, '/');
    if (topic == NULL || !kvg_fleet_is_request(topic + 1))
        return;
    bool accepted = false;
    g_autoptr(json_t) answer =
        kvg_fleet_perform(mqtt->server, topic + 1, message->payload, (size_t)message->payloadlen,
                          kvg_clock_wall_ms(), &accepted);
    g_autofree char *reply =
        g_strdup_printf(TELL_PREFIX "%s/%s", rest, accepted ? "accepted" : "rejected");
    publish_json(mqtt, reply, answer);
}

static void
on_message(struct mosquitto *client, void *user_data, const struct mosquitto_message *message)
{
    KvgMqtt *mqtt = user_data;
    g_auto(KvgShadowId) id = {0};
    KvgShadowVerb verb = KVG_SHADOW_GET;
    if (message->retain || message->payloadlen < 0)
        return;
    if (g_str_has_prefix(message->topic, ASK_PREFIX))
        answer_ask(mqtt, message->topic + strlen(ASK_PREFIX), message);
    if (!kvg_shadow_parse_topic(message->topic, &id, &verb))
        return;
    g_auto(KvgShadowReply) reply = {0};
    kvg_shadow_perform(mqtt->server, &id, verb, message->payload, (size_t)message->payloadlen,
                       kvg_clock_wall_ms(), &reply);
    kvg_mqtt_tell(mqtt, &id, verb, &reply);
}

static void
on_connect(struct mosquitto *client, void *user_data, int code)
{
    if (code != 0) {
        KVG_LOG_WARNING(LOG_DOMAIN, "REASON", mosquitto_connack_string(code),
                        "the broker refuses its own server: %s", mosquitto_connack_string(code));
        return;
    }
    mosquitto_subscribe_multiple(client, NULL, G_N_ELEMENTS(filters), (char **)(uintptr_t)filters,
                                 1, 0, NULL);
}

static void
on_subscribe(struct mosquitto *client, void *user_data, int id, int n, const int *granted)
{
    KvgMqtt *mqtt = user_data;
    g_mutex_lock(&mqtt->shared.lock);
    mqtt->shared.is_ready = true;
    g_cond_broadcast(&mqtt->shared.changed);
    g_mutex_unlock(&mqtt->shared.lock);
}

/* ---- start, stop ---- */

static bool
connect_service(KvgMqtt *mqtt, GError **error)
{
    mosquitto_lib_init();
    mqtt->client = mosquitto_new(CLIENT_ID, true, mqtt);
    mosquitto_connect_callback_set(mqtt->client, on_connect);
    mosquitto_subscribe_callback_set(mqtt->client, on_subscribe);
    mosquitto_message_callback_set(mqtt->client, on_message);
    mosquitto_reconnect_delay_set(mqtt->client, 1, RECONNECT_MAX_S, false);
    /* Port 0: the host is the path of a socket. */
    int failed = mosquitto_connect(mqtt->client, kvg_broker_socket(mqtt->broker), 0, KEEPALIVE_S);
    if (failed == MOSQ_ERR_SUCCESS)
        failed = mosquitto_loop_start(mqtt->client);
    if (failed != MOSQ_ERR_SUCCESS) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_FAILED, "MQTT broker: %s",
                    mosquitto_strerror(failed));
        return false;
    }
    const int64_t until_us = g_get_monotonic_time() + CONNECT_MS * 1000;
    bool in_time = true;
    g_mutex_lock(&mqtt->shared.lock);
    while (!mqtt->shared.is_ready && in_time)
        in_time = g_cond_wait_until(&mqtt->shared.changed, &mqtt->shared.lock, until_us);
    const bool is_ready = mqtt->shared.is_ready;
    g_mutex_unlock(&mqtt->shared.lock);
    if (!is_ready)
        g_set_error_literal(error, KVG_ERROR, KVG_ERROR_FAILED, "MQTT broker: no answer");
    return is_ready;
}

KvgMqtt *
kvg_mqtt_start(KvgServer *server, uint16_t port, GError **error)
{
    KvgMqtt *mqtt = g_new0(KvgMqtt, 1);
    mqtt->server = server;
    g_mutex_init(&mqtt->shared.lock);
    g_cond_init(&mqtt->shared.changed);
    mqtt->broker = kvg_broker_start(server, port, error);
    if (mqtt->broker != NULL && connect_service(mqtt, error))
        return mqtt;
    kvg_mqtt_stop(mqtt);
    return NULL;
}

void
kvg_mqtt_stop(KvgMqtt *mqtt)
{
    if (mqtt == NULL)
        return;
    if (mqtt->client != NULL) {
        mosquitto_disconnect(mqtt->client);
        mosquitto_loop_stop(mqtt->client, true);
        mosquitto_destroy(mqtt->client);
        mosquitto_lib_cleanup();
    }
    kvg_broker_stop(mqtt->broker);
    g_mutex_clear(&mqtt->shared.lock);
    g_cond_clear(&mqtt->shared.changed);
    g_free(mqtt);
}

uint16_t
kvg_mqtt_port(const KvgMqtt *mqtt)
{
    return kvg_broker_port(mqtt->broker);
}
