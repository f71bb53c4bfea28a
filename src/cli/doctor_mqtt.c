/* The link of the agent's control: MQTT with the camera's certificate, to its own shadow's topics.
 */
#include "base/clock.h"
#include "cli/doctor.h"
#include "cli/mqtt.h"
#include <string.h>

#define PATIENCE_MS 10000

typedef struct {
    char *topic;
    int refusal;  /* reason of the server's answer; -1: none yet */
    int granted;  /* of the subscription: QoS, or 128; -1: none yet */
    bool is_lost; /* without a word */
} Talk;

static void
on_connect(struct mosquitto *client, void *user_data, int reason)
{
    Talk *talk = user_data;
    talk->refusal = reason;
    if (reason == 0 && mosquitto_subscribe(client, NULL, talk->topic, 1) != MOSQ_ERR_SUCCESS)
        talk->is_lost = true;
}

static void
on_subscribe(struct mosquitto *client, void *user_data, int id, int n, const int *granted)
{
    ((Talk *)user_data)->granted = n > 0 ? granted[0] : 128;
}

static void
on_disconnect(struct mosquitto *client, void *user_data, int reason)
{
    ((Talk *)user_data)->is_lost = reason != 0;
}

/* What came of it, until the subscription is answered, refused or lost. */
static int
talk_to(struct mosquitto *client, Talk *talk, const KvgMqttPeer *peer)
{
    const int64_t end_us = kvg_clock_mono_us() + PATIENCE_MS * 1000;
    int status = kvg_mqtt_connect(client, peer);
    while (status == MOSQ_ERR_SUCCESS && talk->granted < 0 && talk->refusal <= 0 &&
           !talk->is_lost && kvg_clock_mono_us() < end_us)
        status = mosquitto_loop(client, 100, 1);
    mosquitto_disconnect(client);
    return status;
}

static bool
judge(KvgPatient *patient, const Talk *talk, int status, const char *endpoint)
{
    static const char policy[] =
        "the certificate's IoT policy must allow iot:Connect for the thing's "
        "name and iot:Subscribe for its shadow's topics; run kvg provision";
    if (talk->granted >= 0 && talk->granted < 128)
        return kvg_patient_good(patient, "MQTT", "%s, the camera's shadow", endpoint);
    if (talk->granted >= 128)
        return kvg_patient_broken(patient, "MQTT", policy,
                                  "%s does not let it subscribe to its shadow", endpoint);
    if (talk->refusal > 0)
        return kvg_patient_broken(patient, "MQTT", policy, "%s refused the connection: %s",
                                  endpoint, mosquitto_connack_string(talk->refusal));
    return kvg_patient_broken(
        patient, "MQTT", "check that the port (8883 or 443) is open; then the IoT policy", "%s: %s",
        endpoint, status != MOSQ_ERR_SUCCESS ? mosquitto_strerror(status) : "no answer in time");
}

bool
kvg_patient_mqtt(KvgPatient *patient)
{
    if (patient->mqtt_endpoint == NULL)
        return kvg_patient_broken(patient, "MQTT", "run kvg provision",
                                  "provisioning did not note its endpoint");
    const KvgMqttPeer peer = {.endpoint = patient->mqtt_endpoint,
                              .ca_path = kvg_patient_ca(patient),
                              .certificate_path = patient->camera->certificate_path,
                              .key_path = patient->camera->key_path};
    g_autofree char *topic =
        g_strdup_printf("$aws/things/%s/shadow/get/accepted", patient->camera->name);
    Talk talk = {.topic = topic, .refusal = -1, .granted = -1};
    struct mosquitto *client = mosquitto_new(patient->camera->name, true, &talk);
    mosquitto_connect_callback_set(client, on_connect);
    mosquitto_subscribe_callback_set(client, on_subscribe);
    mosquitto_disconnect_callback_set(client, on_disconnect);
    const int status = talk_to(client, &talk, &peer);
    mosquitto_destroy(client);
    return judge(patient, &talk, status, patient->mqtt_endpoint);
}
