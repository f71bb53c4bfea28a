/* kvg provision --claim-certificate: one MQTT connection with the claim's certificate; for each
 * camera without a certificate a signing request, then the template. The new certificate is on
 * disk, beside its place, before the template is carried out, so a kill loses nothing. */
#include "base/clock.h"
#include "cli/key.h"
#include "cli/mqtt.h"
#include "cli/provision.h"
#include "os/file.h"
#include <errno.h>
#include <kvg/error.h>
#include <stdio.h>
#include <string.h>

#define PATIENCE_MS 20000
#define CREATE_TOPIC "$aws/certificates/create-from-csr/json"

typedef struct {
    KvgRun *run;
    const KvgClaim *claim;
    struct mosquitto *client;
    bool is_connected, is_granted, has_answer, is_lost;
    int refusal;       /* of the connection; 0: none */
    const char *topic; /* of the request in progress; NULL */
    json_t *answer;    /* to it; NULL: not understood */
    bool is_accepted;
} Talk;

static void
on_connect(struct mosquitto *client, void *user_data, int reason)
{
    Talk *talk = user_data;
    talk->refusal = reason;
    talk->is_connected = reason == 0;
}

static void
on_disconnect(struct mosquitto *client, void *user_data, int reason)
{
    ((Talk *)user_data)->is_lost = true;
}

static void
on_subscribe(struct mosquitto *client, void *user_data, int id, int n, const int *granted)
{
    Talk *talk = user_data;
    talk->is_granted = n > 0;
    for (int i = 0; i < n; i++)
        talk->is_granted &= granted[i] < 128;
    talk->is_lost |= !talk->is_granted;
}

static void
on_message(struct mosquitto *client, void *user_data, const struct mosquitto_message *message)
{
    Talk *talk = user_data;
    const size_t len = talk->topic != NULL ? strlen(talk->topic) : 0;
    if (talk->has_answer || len == 0 || strncmp(message->topic, talk->topic, len) != 0)
        return;
    talk->is_accepted = strcmp(message->topic + len, "/accepted") == 0;
    talk->answer = kvg_json_parse_object(message->payload, (size_t)message->payloadlen, NULL);
    talk->has_answer = true;
}

/* Lets the client work until *@done, or something ends it. */
static bool
wait_until(Talk *talk, const bool *done, const char *what, GError **error)
{
    const int64_t end_us = kvg_clock_mono_us() + PATIENCE_MS * 1000;
    int status = MOSQ_ERR_SUCCESS;
    while (!*done && !talk->is_lost && talk->refusal == 0 && status == MOSQ_ERR_SUCCESS &&
           kvg_clock_mono_us() < end_us)
        status = mosquitto_loop(talk->client, 100, 1);
    if (*done)
        return true;
    g_set_error(error, KVG_ERROR, KVG_ERROR_AUTH,
                "%s: %s; check the claim certificate, and that its IoT policy allows what fleet "
                "provisioning needs",
                what,
                talk->refusal != 0           ? mosquitto_connack_string(talk->refusal)
                : status != MOSQ_ERR_SUCCESS ? mosquitto_strerror(status)
                                             : "refused, or no answer in time");
    return false;
}

static bool
connect_claim(Talk *talk, const char *endpoint, GError **error)
{
    const KvgMqttPeer peer = {.endpoint = endpoint,
                              .ca_path = kvg_target_ca(&talk->run->target),
                              .certificate_path = talk->claim->certificate,
                              .key_path = talk->claim->key};
    mosquitto_connect_callback_set(talk->client, on_connect);
    mosquitto_disconnect_callback_set(talk->client, on_disconnect);
    mosquitto_subscribe_callback_set(talk->client, on_subscribe);
    mosquitto_message_callback_set(talk->client, on_message);
    const int status = kvg_mqtt_connect(talk->client, &peer);
    if (status == MOSQ_ERR_SUCCESS)
        return wait_until(talk, &talk->is_connected, endpoint, error);
    g_set_error(error, KVG_ERROR, KVG_ERROR_RETRY,
                "MQTT at %s: %s; check the network, ca_bundle and the claim's files", endpoint,
                mosquitto_strerror(status));
    return false;
}

/* The answer to @payload (taken) on @topic; NULL: refused or lost. */
static json_t *
request(Talk *talk, const char *topic, json_t *payload, GError **error)
{
    G_GNUC_UNUSED g_autoptr(json_t) owned = payload;
    g_autofree char *text = kvg_json_to_text(payload);
    g_autofree char *accepted = g_strconcat(topic, "/accepted", NULL);
    g_autofree char *rejected = g_strconcat(topic, "/rejected", NULL);
    char *const topics[] = {accepted, rejected};
    talk->is_granted = talk->has_answer = false;
    talk->topic = topic;
    mosquitto_subscribe_multiple(talk->client, NULL, 2, topics, 1, 0, NULL);
    if (!wait_until(talk, &talk->is_granted, topic, error))
        return NULL;
    mosquitto_publish(talk->client, NULL, topic, (int)strlen(text), text, 1, false);
    const bool good = wait_until(talk, &talk->has_answer, topic, error);
    talk->topic = NULL;
    g_autoptr(json_t) answer = g_steal_pointer(&talk->answer);
    if (!good || (talk->is_accepted && answer != NULL))
        return good ? g_steal_pointer(&answer) : NULL;
    const char *code = kvg_json_get_string(answer, "errorCode");
    const char *message = kvg_json_get_string(answer, "errorMessage");
    g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "%s: %s: %s", topic,
                code != NULL ? code : "refused", message != NULL ? message : "no reason given");
    return NULL;
}

/* ---- a camera ---- */

static bool
carry_out_template(Talk *talk, const KvgConfigCamera *camera, const char *token, GError **error)
{
    g_autofree char *topic = g_strdup_printf("$aws/provisioning-templates/%s/provision/json",
                                             talk->claim->template_name);
    g_autoptr(json_t) done = request(talk, topic,
                                     json_pack("{s:s, s:{s:s}}", "certificateOwnershipToken", token,
                                               "parameters", "ThingName", camera->name),
                                     error);
    if (done == NULL)
        return false;
    const char *thing = kvg_json_get_string(done, "thingName");
    if (g_strcmp0(thing, camera->name) != 0) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID,
                    "template %s made the thing %s; it must take the parameter ThingName as it is",
                    talk->claim->template_name, thing != NULL ? thing : "(none)");
        return false;
    }
    const char *endpoint =
        kvg_json_get_string(json_object_get(done, "deviceConfiguration"), "credentials_endpoint");
    if (endpoint != NULL)
        kvg_ledger_set(talk->run->ledger, NULL, "credentials_endpoint", endpoint);
    return true;
}

static bool
get_certificate(Talk *talk, const KvgConfigCamera *camera, const char *staged, GError **error)
{
    if (!kvg_key_ensure(camera->key_path, talk->run->key_type, error))
        return false;
    g_autofree char *csr = kvg_key_request(camera->key_path, camera->name, error);
    g_autoptr(json_t) made =
        csr != NULL ? request(talk, CREATE_TOPIC,
                              json_pack("{s:s}", "certificateSigningRequest", csr), error)
                    : NULL;
    if (made == NULL)
        return false;
    const char *pem = kvg_json_get_string(made, "certificatePem");
    const char *token = kvg_json_get_string(made, "certificateOwnershipToken");
    if (pem == NULL || token == NULL) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_RETRY, "IoT made a certificate without its text");
        return false;
    }
    return kvg_file_replace(staged, pem, strlen(pem), 0600, error) &&
           carry_out_template(talk, camera, token, error);
}

static bool
put_in_place(Talk *talk,
             const KvgConfigCamera *camera,
             const char *staged,
             int64_t patience_ms,
             GError **error)
{
    KvgRun *run = talk->run;
    if (!kvg_certificate_prove(run, camera->name, staged, camera->key_path, patience_ms, error))
        return false;
    if (rename(staged, camera->certificate_path) != 0) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_FAILED, "%s: %s", camera->certificate_path,
                    g_strerror(errno));
        return false;
    }
    g_autofree char *id = kvg_key_certificate_id(camera->certificate_path);
    kvg_ledger_set(run->ledger, camera->name, "certificate_id", id);
    kvg_ledger_set(run->ledger, NULL, "mqtt_endpoint", run->target.config->mqtt_endpoint);
    return kvg_dir_sync(run->target.config->identity_directory, error) &&
           kvg_ledger_save(run->ledger, error);
}

static bool
claim_camera(Talk *talk, const KvgConfigCamera *camera, GError **error)
{
    g_autofree char *staged = g_strconcat(camera->certificate_path, ".claimed", NULL);
    if (kvg_key_matches(camera->key_path, camera->certificate_path) ||
        !kvg_run_change(talk->run, KVG_CHANGE_CREATE, "certificate", camera->name, camera->name,
                        "by claim"))
        return true;
    /* A killed run may have carried out the template: then the certificate works. */
    if (kvg_key_matches(camera->key_path, staged) && put_in_place(talk, camera, staged, 0, NULL))
        return true;
    return get_certificate(talk, camera, staged, error) &&
           put_in_place(talk, camera, staged, KVG_PROOF_MS, error);
}

static bool
claim_all(Talk *talk, const char *const *cameras, GError **error)
{
    for (size_t i = 0; cameras[i] != NULL; i++) {
        if (!claim_camera(talk, kvg_config_find_camera(talk->run->target.config, cameras[i]),
                          error)) {
            g_prefix_error(error, "camera %s: ", cameras[i]);
            return false;
        }
    }
    return true;
}

bool
kvg_claim_cameras(KvgRun *run, const KvgClaim *claim, const char *const *cameras, GError **error)
{
    const char *endpoint = run->target.config->mqtt_endpoint;
    if (endpoint == NULL) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID,
                    "a claim needs identity.mqtt_endpoint in %s: what 'aws iot describe-endpoint "
                    "--endpoint-type iot:Data-ATS' prints",
                    run->target.config->path);
        return false;
    }
    g_autofree char *random = g_uuid_string_random();
    g_autofree char *client_id = g_strconcat("kvg-claim-", random, NULL);
    Talk talk = {.run = run, .claim = claim};
    mosquitto_lib_init();
    talk.client = mosquitto_new(client_id, true, &talk);
    const bool good = connect_claim(&talk, endpoint, error) && claim_all(&talk, cameras, error);
    mosquitto_disconnect(talk.client);
    mosquitto_destroy(talk.client);
    mosquitto_lib_cleanup();
    json_decref(talk.answer);
    return good;
}
