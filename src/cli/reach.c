#include "cli/reach.h"
#include "os/file.h"
#include <curl/curl.h>
#include <kvg/error.h>
#include <string.h>

#define MAX_REPLY_BYTES (4u * 1024 * 1024)
#define MAX_STATE_BYTES (4u * 1024 * 1024)

void
kvg_reach_clear(KvgReach *reach)
{
    kvg_target_clear(&reach->target);
    g_free(reach->agent);
}

bool
kvg_reach_open(KvgReach *reach, GError **error)
{
    return reach->is_remote ? kvg_target_open(&reach->target, error)
                            : kvg_target_open_config(&reach->target, error);
}

/* ---- the agent here ---- */

static size_t
on_reply(char *data, size_t size, size_t n, void *user_data)
{
    GString *reply = user_data;
    if (reply->len + size * n > MAX_REPLY_BYTES)
        return 0;
    g_string_append_len(reply, data, (gssize)(size * n));
    return size * n;
}

json_t *
kvg_reach_call(const KvgReach *reach,
               const char *method,
               const char *path,
               const json_t *content,
               GError **error)
{
    const KvgConfig *config = reach->target.config;
    g_autofree char *base =
        reach->agent != NULL
            ? g_strdup(reach->agent)
            : g_strdup_printf("http://%s:%u", config->api_address, config->api_port);
    g_autofree char *url = g_strconcat(base, path, NULL);
    g_autofree char *body = content != NULL ? kvg_json_to_text(content) : NULL;
    g_autoptr(GString) reply = g_string_new(NULL);
    g_autoptr(CURL) easy = curl_easy_init();
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_TIMEOUT, 30L);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_reply);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, reply);
    if (body != NULL) {
        curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
        curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    }
    const CURLcode result = curl_easy_perform(easy);
    long status = 0;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    curl_slist_free_all(headers);
    if (result != CURLE_OK) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_RETRY,
                    "the agent at %s does not answer: %s; is kvg agent running? (--agent URL, or "
                    "--remote for the shadow)",
                    base, curl_easy_strerror(result));
        return NULL;
    }
    g_autoptr(json_t) json = kvg_json_parse_object(reply->str, reply->len, error);
    if (json != NULL && status / 100 == 2)
        return g_steal_pointer(&json);
    if (json != NULL)
        g_set_error(error, KVG_ERROR, KVG_ERROR_FAILED, "%s",
                    kvg_json_get_string(json, "message") != NULL
                        ? kvg_json_get_string(json, "message")
                        : "the agent refuses");
    return NULL;
}

json_t *
kvg_reach_agent(const KvgReach *reach, const char *name, const json_t *change, GError **error)
{
    g_autofree char *path =
        name != NULL ? g_strconcat("/api/cameras/", name, NULL) : g_strdup("/api/cameras");
    return kvg_reach_call(reach, change != NULL ? "PATCH" : "GET", path, change, error);
}

bool
kvg_reach_reload(const KvgReach *reach)
{
    g_autoptr(json_t) nothing = json_object();
    g_autoptr(json_t) answer = kvg_reach_call(reach, "POST", "/api/reload", nothing, NULL);
    return answer != NULL;
}

/* ---- the shadow ---- */

/* One endpoint for everything, or the one of AWS IoT that provisioning found. */
static char *
data_url(const KvgTarget *target, GError **error)
{
    g_autofree char *url = kvg_target_url(target, "iotdata");
    g_autofree char *none = kvg_aws_base_url("iotdata", kvg_target_region(target), NULL);
    if (strcmp(url, none) != 0)
        return g_steal_pointer(&url);
    g_autofree char *path =
        g_build_filename(target->config->identity_directory, "provision.json", NULL);
    size_t len;
    g_autofree char *text = kvg_file_read(path, MAX_STATE_BYTES, &len, error);
    g_autoptr(json_t) state = text != NULL ? kvg_json_parse_object(text, len, error) : NULL;
    const char *host = target->config->mqtt_endpoint != NULL
                           ? target->config->mqtt_endpoint
                           : kvg_json_get_string(state, "mqtt_endpoint");
    if (host != NULL) {
        g_clear_error(error);
        return g_strdup_printf("https://%.*s", (int)strcspn(host, ":"), host);
    }
    if (state != NULL)
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "%s names no mqtt_endpoint", path);
    g_prefix_error(error, "not provisioned: ");
    return NULL;
}

json_t *
kvg_reach_shadow(const KvgReach *reach, const char *name, const json_t *change, GError **error)
{
    g_autofree char *url = data_url(&reach->target, error);
    if (url == NULL)
        return NULL;
    g_autoptr(json_t) update = json_pack("{s:{s:O}}", "state", "desired", change);
    g_autofree char *body = update != NULL ? kvg_json_to_text(update) : NULL;
    g_autofree char *path = g_strdup_printf("/things/%s/shadow", name);
    g_auto(KvgAwsReply) reply = {0};
    const KvgAwsRequest request = {.service = "iotdata",
                                   .region = kvg_target_region(&reach->target),
                                   .base_url = url,
                                   .method = body != NULL ? "POST" : "GET",
                                   .path = path,
                                   .body = body,
                                   .ca_path = kvg_target_ca(&reach->target)};
    if (!kvg_aws_call(&request, reach->target.credentials, &reply, error))
        return NULL;
    return kvg_json_parse_object(reply.body->str, reply.body->len, error);
}

json_t *
kvg_reach_camera(const KvgReach *reach, const char *name, const json_t *change, GError **error)
{
    return reach->is_remote ? kvg_reach_shadow(reach, name, change, error)
                            : kvg_reach_agent(reach, name, change, error);
}
