#include "cli/reach.h"
#include "os/file.h"
#include <curl/curl.h>
#include <kvg/error.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <string.h>

G_DEFINE_AUTOPTR_CLEANUP_FUNC(X509, X509_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BIO, BIO_free_all)

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

/* "sha256//..." of the public key of the agent's certificate (g_free): who holds its private key is
 * the agent, whatever name or address it is reached by. */
static char *
pin_of(const char *path, GError **error)
{
    g_autoptr(BIO) file = BIO_new_file(path, "r");
    g_autoptr(X509) certificate = file != NULL ? PEM_read_bio_X509(file, NULL, NULL, NULL) : NULL;
    unsigned char *der = NULL;
    const int len =
        certificate != NULL ? i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der) : -1;
    ERR_clear_error();
    if (len <= 0) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID,
                    "api.certificate: %s holds no certificate in PEM", path);
        return NULL;
    }
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    g_checksum_update(sum, der, len);
    OPENSSL_free(der);
    guint8 digest[32];
    gsize size = sizeof digest;
    g_checksum_get_digest(sum, digest, &size);
    g_autofree char *text = g_base64_encode(digest, size);
    return g_strconcat("sha256//", text, NULL);
}

/* Token and certificate of the configuration. */
static bool
set_trust(CURL *easy, const KvgConfig *config, GError **error)
{
    if (config->api_token != NULL) {
        curl_easy_setopt(easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BEARER);
        curl_easy_setopt(easy, CURLOPT_XOAUTH2_BEARER, config->api_token);
    }
    if (config->api_certificate == NULL)
        return true;
    g_autofree char *pin = pin_of(config->api_certificate, error);
    if (pin == NULL)
        return false;
    curl_easy_setopt(easy, CURLOPT_PINNEDPUBLICKEY, pin);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
    return true;
}

/* Where the agent of this configuration is reached from here (g_free). */
static char *
agent_url(const KvgConfig *config)
{
    const char *address = config->api_address;
    if (strcmp(address, "0.0.0.0") == 0)
        address = "127.0.0.1";
    else if (strcmp(address, "::") == 0)
        address = "::1";
    const bool is_v6 = strchr(address, ':') != NULL;
    return g_strdup_printf("%s://%s%s%s:%u", config->api_certificate != NULL ? "https" : "http",
                           is_v6 ? "[" : "", address, is_v6 ? "]" : "", config->api_port);
}

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
    g_autofree char *base = reach->agent != NULL ? g_strdup(reach->agent) : agent_url(config);
    g_autofree char *url = g_strconcat(base, path, NULL);
    g_autofree char *body = content != NULL ? kvg_json_to_text(content) : NULL;
    g_autoptr(GString) reply = g_string_new(NULL);
    g_autoptr(CURL) easy = curl_easy_init();
    if (!set_trust(easy, config, error))
        return NULL;
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    curl_easy_setopt(easy, CURLOPT_URL, url);
    /* With a certificate the token must not go out in the clear. */
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR,
                     config->api_certificate != NULL ? "https" : "http,https");
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
