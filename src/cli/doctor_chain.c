#include "aws/certificate.h"
#include "aws/hls.h"
#include "base/clock.h"
#include "cli/doctor.h"
#include "cli/ledger.h"
#include <kvg/error.h>
#include <string.h>

#define LIVE_MS 60000 /* a fragment of the last minute proves PutMedia */
#define LOOK_BACK_MS (60 * 60 * INT64_C(1000))

void
kvg_patient_clear(KvgPatient *patient)
{
    if (patient->credentials != NULL)
        kvg_credentials_unref(patient->credentials);
    g_free(patient->endpoint);
    g_free(patient->mqtt_endpoint);
    json_decref(patient->links);
}

const char *
kvg_patient_ca(const KvgPatient *patient)
{
    return patient->target->ca_bundle != NULL ? patient->target->ca_bundle
                                              : patient->target->config->ca_bundle;
}

static const char *
given_endpoint(const KvgPatient *patient)
{
    return patient->target->endpoint != NULL ? patient->target->endpoint
                                             : patient->target->config->endpoint;
}

static void
note(KvgPatient *patient, const char *link, const char *state, const char *remedy, char *evidence)
{
    json_array_append_new(patient->links, json_pack("{s:s, s:s, s:s?, s:s?}", "link", link, "state",
                                                    state, "evidence", evidence, "remedy", remedy));
    g_free(evidence);
}

#define FORMATTED(format)                                                                          \
    va_list arguments;                                                                             \
    va_start(arguments, format);                                                                   \
    char *evidence = g_strdup_vprintf(format, arguments);                                          \
    va_end(arguments)

bool
kvg_patient_good(KvgPatient *patient, const char *link, const char *format, ...)
{
    FORMATTED(format);
    note(patient, link, "ok", NULL, evidence);
    return true;
}

bool
kvg_patient_broken(
    KvgPatient *patient, const char *link, const char *remedy, const char *format, ...)
{
    FORMATTED(format);
    note(patient, link, "broken", remedy, evidence);
    return false;
}

bool
kvg_patient_open(KvgPatient *patient, const char *link, const char *format, ...)
{
    FORMATTED(format);
    note(patient, link, "unknown", NULL, evidence);
    return true;
}

/* The links between this machine and a service, in their order; `kvg explain` knows the names. */
static const char *const network_links[] = {"endpoint", "DNS",    "TCP",     "TLS", "CA",
                                            "clock",    "answer", "service", NULL};

/* "who: LINK: cause; remedy" as the client library puts it, taken apart. False if there is no link
 * of @links in it. */
static bool
take_fault(KvgPatient *patient, const char *const *links, const char *message)
{
    for (size_t i = 0; links[i] != NULL; i++) {
        g_autofree char *mark = g_strdup_printf(": %s: ", links[i]);
        const char *found = strstr(message, mark);
        if (found == NULL)
            continue;
        const char *cause = found + strlen(mark);
        const char *remedy = g_strrstr(cause, "; ");
        g_autofree char *only = remedy != NULL ? g_strndup(cause, (size_t)(remedy - cause)) : NULL;
        kvg_patient_broken(patient, links[i], remedy != NULL ? remedy + 2 : "see kvg explain", "%s",
                           only != NULL ? only : cause);
        return true;
    }
    return false;
}

/* ---- what lies on this machine ---- */

static bool
check_provisioned(KvgPatient *patient)
{
    const KvgConfig *config = patient->target->config;
    g_autoptr(GError) error = NULL;
    g_autoptr(KvgLedger) ledger = kvg_ledger_open(config->identity_directory, true, &error);
    if (ledger == NULL)
        return kvg_patient_broken(patient, "provisioning",
                                  "move the file away and run kvg provision", "%s", error->message);
    patient->endpoint = config->credentials_endpoint != NULL
                            ? g_strdup(config->credentials_endpoint)
                            : kvg_ledger_get(ledger, NULL, "credentials_endpoint");
    patient->mqtt_endpoint = config->mqtt_endpoint != NULL
                                 ? g_strdup(config->mqtt_endpoint)
                                 : kvg_ledger_get(ledger, NULL, "mqtt_endpoint");
    if (patient->endpoint == NULL)
        return kvg_patient_broken(patient, "provisioning", "run kvg provision",
                                  "%s/provision.json names no credentials endpoint",
                                  config->identity_directory);
    return true;
}

static bool
check_files(KvgPatient *patient)
{
    static const char *const links[] = {"file", "certificate", "clock", "CA", NULL};
    const KvgConfigCamera *camera = patient->camera;
    g_autoptr(GError) error = NULL;
    if (kvg_certificate_check("camera", camera->certificate_path, camera->key_path,
                              kvg_patient_ca(patient), kvg_clock_wall_ms(), 0, &error))
        return kvg_patient_good(patient, "file", "%s and its private key",
                                camera->certificate_path);
    if (!take_fault(patient, links, error->message))
        kvg_patient_broken(patient, "file", "run kvg provision", "%s", error->message);
    return false;
}

/* ---- the credentials provider ---- */

/* What the provider judges, in its order; a fault of one says that all before it are good. */
static bool
take_refusal(KvgPatient *patient, const char *message)
{
    static const char *const order[] = {"certificate", "thing", "policy", "alias", "role", NULL};
    for (size_t i = 0; order[i] != NULL; i++) {
        g_autofree char *mark = g_strdup_printf(": %s: ", order[i]);
        if (strstr(message, mark) == NULL)
            continue;
        for (size_t k = 0; k < i; k++)
            kvg_patient_good(patient, order[k], "accepted by the credentials provider");
        return take_fault(patient, order, message);
    }
    return false;
}

static bool
check_credentials(KvgPatient *patient)
{
    static const char *const reached[] = {"DNS", "TCP", "TLS", "CA"};
    static const char *const judged[] = {"certificate", "thing", "policy", "alias", "role"};
    const KvgIotIdentity identity = {.endpoint = patient->endpoint,
                                     .role_alias = patient->target->config->role_alias,
                                     .thing_name = patient->camera->name,
                                     .certificate_path = patient->camera->certificate_path,
                                     .key_path = patient->camera->key_path,
                                     .ca_path = kvg_patient_ca(patient)};
    patient->credentials = kvg_credentials_new_iot(&identity);
    g_auto(KvgKeys) keys = {0};
    g_autoptr(GError) error = NULL;
    const bool good = kvg_credentials_get(patient->credentials, &keys, &error);
    const char *text = good ? "" : error->message;
    if (!good && take_fault(patient, network_links, text))
        return false;
    for (size_t i = 0; i < G_N_ELEMENTS(reached); i++)
        kvg_patient_good(patient, reached[i], "%s", patient->endpoint);
    if (!good)
        return take_refusal(patient, text)
                   ? false
                   : kvg_patient_broken(patient, "answer", "check the endpoint", "%s", text);
    for (size_t i = 0; i < G_N_ELEMENTS(judged); i++)
        kvg_patient_good(patient, judged[i], "accepted by the credentials provider");
    return true;
}

/* ---- video ---- */

/* A call with the camera's keys; @base_url NULL: the control plane. The answer, or NULL and the
 * broken link noted: one of the network's, or @link. *@status may be NULL; with it, a refusal is
 * left to the caller. */
static json_t *
call(KvgPatient *patient,
     const char *link,
     const char *base_url,
     const char *path,
     json_t *body,
     const char *const *headers,
     long *status)
{
    g_autofree char *own_url =
        base_url == NULL ? kvg_aws_base_url("kinesisvideo", kvg_target_region(patient->target),
                                            given_endpoint(patient))
                         : NULL;
    g_autofree char *text = body != NULL ? kvg_json_to_text(body) : NULL;
    json_decref(body);
    const KvgAwsRequest request = {.service = "kinesisvideo",
                                   .region = kvg_target_region(patient->target),
                                   .base_url = base_url != NULL ? base_url : own_url,
                                   .method = "POST",
                                   .path = path,
                                   .body = text,
                                   .extra_headers = headers,
                                   .ca_path = kvg_patient_ca(patient)};
    g_auto(KvgAwsReply) reply = {0};
    g_autoptr(GError) error = NULL;
    if (kvg_aws_call(&request, patient->credentials, &reply, &error)) {
        json_t *answer = kvg_json_parse_object(reply.body->str, reply.body->len, NULL);
        return answer != NULL ? answer : json_object();
    }
    if (status != NULL && reply.status >= 400) {
        *status = reply.status;
        return NULL;
    }
    if (reply.status == 0 && take_fault(patient, network_links, error->message))
        return NULL;
    kvg_patient_broken(patient, link,
                       reply.status == 403
                           ? "the role's policy must allow it for the stream of the "
                             "thing's name; run kvg provision"
                       : reply.status == 404 ? "the stream does not exist; run kvg provision"
                                             : "kvg explain knows this error",
                       "%s", error->message);
    return NULL;
}

static json_t *
stream_name(const KvgPatient *patient)
{
    return json_pack("{s:s}", "StreamName", patient->camera->name);
}

static bool
check_stream(KvgPatient *patient)
{
    g_autoptr(json_t) found =
        call(patient, "stream", NULL, "/describeStream", stream_name(patient), NULL, NULL);
    if (found == NULL)
        return false;
    const json_t *info = json_object_get(found, "StreamInfo");
    const char *status = kvg_json_get_string(info, "Status");
    if (g_strcmp0(status, "ACTIVE") != 0)
        return kvg_patient_broken(patient, "stream", "wait, or run kvg provision",
                                  "its status is %s", status != NULL ? status : "unknown");
    return kvg_patient_good(patient, "stream", "ACTIVE, video is kept for %d hours",
                            (int)kvg_json_get_int(info, "DataRetentionInHours", 0));
}

static char *
data_endpoint(KvgPatient *patient, const char *link, const char *api)
{
    json_t *body = stream_name(patient);
    json_object_set_new(body, "APIName", json_string(api));
    g_autoptr(json_t) found = call(patient, link, NULL, "/getDataEndpoint", body, NULL, NULL);
    if (found == NULL)
        return NULL;
    const char *url = kvg_json_get_string(found, "DataEndpoint");
    if (url == NULL)
        kvg_patient_broken(patient, link, "check the endpoint", "GetDataEndpoint names none");
    return g_strdup(url);
}

/* How long ago the newest fragment of the last hour began, in ms; -1: there is none, or it is not
 * to be told. Notes nothing. */
static int64_t
newest_fragment_ms(KvgPatient *patient)
{
    KvgPatient quiet = *patient;
    quiet.links = json_array();
    long status = 0;
    double newest = 0;
    g_autofree char *url = data_endpoint(&quiet, "playback", "LIST_FRAGMENTS");
    json_t *body = stream_name(patient);
    const double now_s = (double)kvg_clock_wall_ms() / 1000.0;
    json_object_set_new(body, "FragmentSelector",
                        json_pack("{s:s, s:{s:f, s:f}}", "FragmentSelectorType", "SERVER_TIMESTAMP",
                                  "TimestampRange", "StartTimestamp",
                                  now_s - (double)LOOK_BACK_MS / 1000.0, "EndTimestamp",
                                  now_s + 60.0));
    json_object_set_new(body, "MaxResults", json_integer(1000));
    if (url == NULL)
        json_decref(body);
    g_autoptr(json_t) found =
        url != NULL ? call(&quiet, "playback", url, "/listFragments", body, NULL, &status) : NULL;
    const json_t *fragments = json_object_get(found, "Fragments");
    for (size_t i = 0; i < json_array_size(fragments); i++)
        newest = MAX(newest, json_number_value(
                                 json_object_get(json_array_get(fragments, i), "ServerTimestamp")));
    json_decref(quiet.links);
    return newest > 0 ? MAX(0, (int64_t)((now_s - newest) * 1000)) : -1;
}

/* A second PutMedia beside the agent's could end that one; so it is tried only when nothing comes.
 */
static bool
check_put_media(KvgPatient *patient, int64_t age_ms)
{
    g_autofree char *url = data_endpoint(patient, "PutMedia", "PUT_MEDIA");
    if (url == NULL)
        return false;
    if (age_ms >= 0 && age_ms < LIVE_MS)
        return kvg_patient_good(patient, "PutMedia", "a fragment was stored %d s ago",
                                (int)(age_ms / 1000));
    g_autofree char *name = g_strdup_printf("x-amzn-stream-name: %s", patient->camera->name);
    const char *const headers[] = {name, "x-amzn-fragment-timecode-type: ABSOLUTE", NULL};
    long status = 0;
    g_autoptr(json_t) done = call(patient, "PutMedia", url, "/putMedia", NULL, headers, &status);
    if (done != NULL || (status >= 400 && status != 403 && status != 404))
        /* That there was nothing in it is no fault of the chain's. */
        return kvg_patient_good(patient, "PutMedia",
                                "%s accepts this camera; nothing was sent in "
                                "the last minute",
                                url);
    if (status == 0)
        return false; /* noted */
    return kvg_patient_broken(
        patient, "PutMedia",
        "the role's policy must allow kinesisvideo:PutMedia for the stream of "
        "the thing's name; run kvg provision",
        "%s refused it with HTTP %ld", url, status);
}

static size_t
discard(char *data, size_t size, size_t n, void *user_data)
{
    return size * n;
}

/* The master playlist; its URL holds a session token and is told to nobody. */
static bool
fetch(KvgPatient *patient, const char *url)
{
    g_autoptr(CURL) easy = curl_easy_init();
    long status = 0;
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT, 15L);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, discard);
    kvg_curl_trust(easy, kvg_patient_ca(patient));
    const CURLcode result = curl_easy_perform(easy);
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    if (result == CURLE_OK && status == 200)
        return kvg_patient_good(patient, "playback", "an HLS session with a playlist");
    return kvg_patient_broken(patient, "playback", "check the network to the data endpoint",
                              "the playlist could not be read: %s, HTTP %ld",
                              curl_easy_strerror(result), status);
}

static bool
check_playback(KvgPatient *patient)
{
    const KvgArchiveOptions options = {.region = kvg_target_region(patient->target),
                                       .endpoint = given_endpoint(patient),
                                       .ca_path = kvg_patient_ca(patient),
                                       .stream = patient->camera->name};
    g_autoptr(KvgArchive) archive = kvg_archive_new(&options, patient->credentials);
    KvgHlsRequest request = kvg_hls_last_hour();
    request.expires_s = 300;
    g_autoptr(GError) error = NULL;
    g_autofree char *url = kvg_archive_hls_url(archive, &request, &error);
    if (url != NULL)
        return fetch(patient, url);
    if (error->code == KVG_ERROR_NOT_FOUND)
        return kvg_patient_open(patient, "playback", "no video in the last hour");
    if (take_fault(patient, network_links, error->message))
        return false;
    return kvg_patient_broken(
        patient, "playback",
        "the role's policy must allow the playback calls for the stream of the "
        "thing's name; run kvg provision",
        "%s", error->message);
}

static bool
check_video(KvgPatient *patient)
{
    if (!check_stream(patient))
        return false;
    const int64_t age_ms = newest_fragment_ms(patient);
    return check_put_media(patient, age_ms) && check_playback(patient);
}

bool
kvg_patient_examine(KvgPatient *patient)
{
    patient->links = json_array();
    return check_provisioned(patient) && check_files(patient) && check_credentials(patient) &&
           check_video(patient) && kvg_patient_mqtt(patient);
}
