/* Provisioning a camera through the control plane, then each row of the credentials provider's
 * decision table, then what the issued key may do. */
#include "base/clock.h"
#include "os/file.h"
#include "server/auth/session.h"
#include "server/iot/ca.h"
#include "server/iot/call.h"
#include "server/iot/credentials.h"
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>

#define ROLE "arn:aws:iam::123456789012:role/cameras"
#define TRUST                                                                                      \
    "{\"Version\":\"2012-10-17\",\"Statement\":{\"Effect\":\"Allow\",\"Principal\":"               \
    "{\"Service\":\"credentials.iot.amazonaws.com\"},\"Action\":\"sts:AssumeRole\"}}"
#define INLINE                                                                                     \
    "{\"Version\":\"2012-10-17\",\"Statement\":{\"Effect\":\"Allow\",\"Action\":"                  \
    "\"kinesisvideo:*\",\"Resource\":"                                                             \
    "\"arn:aws:kinesisvideo:*:*:stream/${credentials-iot:ThingName}/*\"}}"
#define IOT_POLICY                                                                                 \
    "{\\\"Version\\\":\\\"2012-10-17\\\",\\\"Statement\\\":{\\\"Effect\\\":\\\"Allow\\\","         \
    "\\\"Action\\\":\\\"iot:AssumeRoleWithCertificate\\\",\\\"Resource\\\":"                       \
    "\\\"arn:aws:iot:us-east-1:123456789012:rolealias/alias\\\"}}"

typedef struct {
    char *folder;
    KvgServer server;
    KvgCaller administrator;
    char *arn;         /* of the certificate */
    X509 *certificate; /* the camera's */
} Fixture;

static json_t *
call(Fixture *f,
     int expected,
     const char *method,
     const char *path,
     const char *query,
     const char *body)
{
    const KvgIotRequest request = {.method = method,
                                   .path = path,
                                   .query = query,
                                   .principal = f->arn,
                                   .host = "localhost:9443",
                                   .body = body,
                                   .len = body != NULL ? strlen(body) : 0};
    g_auto(KvgIotReply) reply = {0};
    kvg_iot_call(&f->server, &f->administrator, &request, &reply);
    if (reply.status != expected)
        g_test_message("%s %s: %d %s", method, path, reply.status, reply.message);
    g_assert_cmpint(reply.status, ==, expected);
    return json_incref(reply.json);
}

static void
expect(Fixture *f, int expected, const char *method, const char *path, const char *body)
{
    json_decref(call(f, expected, method, path, NULL, body));
}

static void
set_up(Fixture *f, const void *unused)
{
    g_autoptr(GError) error = NULL;
    f->folder = g_dir_make_tmp("kvg-iot-XXXXXX", &error);
    g_assert_no_error(error);
    g_autofree char *path = g_build_filename(f->folder, "state.db", NULL);
    f->server = (KvgServer){.data_path = f->folder,
                            .region = "us-east-1",
                            .account = "123456789012",
                            .listen_address = "127.0.0.1",
                            .mtls_port = 9444};
    f->server.state = kvg_state_open(path, &error);
    g_assert_no_error(error);
    g_assert_true(kvg_auth_open(&f->server, &error));
    f->server.ca = kvg_ca_open(f->folder, &error);
    g_assert_no_error(error);
    f->administrator.is_administrator = true;
}

static void
tear_down(Fixture *f, const void *unused)
{
    X509_free(f->certificate);
    kvg_ca_close(f->server.ca);
    kvg_state_close(f->server.state);
    g_assert_true(kvg_dir_remove(f->folder, NULL));
    g_free(f->arn);
    g_free(f->folder);
}

static char *
make_request(void)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509_REQ *request = X509_REQ_new();
    X509_REQ_set_pubkey(request, key);
    g_assert_cmpint(X509_REQ_sign(request, key, EVP_sha256()), >, 0);
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509_REQ(bio, request);
    char *data = NULL;
    const long len = BIO_get_mem_data(bio, &data);
    char *pem = g_strndup(data, (size_t)len);
    BIO_free(bio);
    X509_REQ_free(request);
    EVP_PKEY_free(key);
    return pem;
}

static void
make_certificate(Fixture *f)
{
    g_autofree char *csr = make_request();
    g_autoptr(json_t) input = json_pack("{s:s}", "certificateSigningRequest", csr);
    g_autofree char *body = kvg_json_to_text(input);
    g_autoptr(json_t) reply = call(f, 200, "POST", "/certificates", "setAsActive=true", body);
    f->arn = g_strdup(kvg_json_get_string(reply, "certificateArn"));
    BIO *bio = BIO_new_mem_buf(kvg_json_get_string(reply, "certificatePem"), -1);
    f->certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIO_free(bio);
    g_autofree char *id = kvg_ca_certificate_id(f->certificate);
    g_assert_cmpstr(id, ==, kvg_json_get_string(reply, "certificateId"));
}

static void
sql(Fixture *f, const char *text)
{
    sqlite3 *db = kvg_state_lock(f->server.state);
    g_assert_cmpint(kvg_sql_run(db, text, ""), >=, 0);
    kvg_state_unlock(f->server.state);
}

static json_t *
decide(Fixture *f, const char *thing, int status, const char *message)
{
    g_auto(KvgIotReply) reply = {0};
    kvg_credentials_decide(&f->server, f->certificate, thing, "alias", kvg_clock_wall_ms(), &reply);
    g_assert_cmpstr(reply.message, ==, message);
    g_assert_cmpint(reply.status, ==, status);
    return json_incref(reply.json);
}

static void
refused(Fixture *f, const char *thing, int status, const char *message)
{
    g_assert_null(decide(f, thing, status, message));
}

static void
check_key(Fixture *f, const json_t *credentials)
{
    const char *id = kvg_json_get_string(credentials, "accessKeyId");
    const char *token = kvg_json_get_string(credentials, "sessionToken");
    g_assert_true(g_str_has_prefix(id, "ASIA"));
    g_assert_cmpuint(strlen(token), <, 2048);
    g_assert_cmpuint(strlen(kvg_json_get_string(credentials, "expiration")), ==, 20);

    g_auto(KvgCaller) caller = {0};
    g_autofree char *secret = NULL;
    int64_t expires_ms = 0;
    g_assert_true(kvg_session_open(&f->server, id, token, &caller, &secret, &expires_ms));
    g_assert_cmpstr(secret, ==, kvg_json_get_string(credentials, "secretAccessKey"));
    const char *prefix = "arn:aws:kinesisvideo:us-east-1:123456789012:stream/";
    g_autofree char *own = g_strconcat(prefix, "gate/1", NULL);
    g_autofree char *other = g_strconcat(prefix, "yard/1", NULL);
    g_assert_true(kvg_auth_allows(&f->server, &caller, "kinesisvideo:PutMedia", own));
    g_assert_false(kvg_auth_allows(&f->server, &caller, "kinesisvideo:PutMedia", other));
    g_assert_false(kvg_auth_allows(&f->server, &caller, "iot:CreateThing", "*"));

    g_auto(KvgCaller) thief = {0};
    g_autofree char *stolen = NULL;
    g_assert_false(
        kvg_session_open(&f->server, "ASIAAAAAAAAAAAAAAAAA", token, &thief, &stolen, &expires_ms));
}

static void
test_credentials(Fixture *f, const void *unused)
{
    make_certificate(f);
    expect(f, 200, "POST", "/things/gate", NULL);
    refused(f, "gate", 403, "Invalid thing name passed");
    expect(f, 200, "PUT", "/things/gate/principals", NULL);
    refused(f, "yard", 403, "Invalid thing name passed");
    refused(f, "gate", 403, "Access Denied");

    g_autofree char *target = g_strdup_printf("{\"target\":\"%s\"}", f->arn);
    expect(f, 200, "POST", "/policies/p", "{\"policyDocument\":\"" IOT_POLICY "\"}");
    expect(f, 200, "PUT", "/target-policies/p", target);
    refused(f, "gate", 404, "Role alias does not exist");

    expect(f, 200, "POST", "/role-aliases/alias", "{\"roleArn\":\"" ROLE "\"}");
    const char *no_role = "Unable to assume the role, or the role to assume does not exist";
    refused(f, "gate", 400, no_role);
    sql(f, "INSERT INTO role VALUES ('cameras', 'AROAX', '/', NULL, '{}', 3600, 0)");
    refused(f, "gate", 400, no_role);
    sql(f, "UPDATE role SET trust = '" TRUST "'");
    sql(f, "INSERT INTO role_policy VALUES ('cameras', 'p', '" INLINE "')");
    expect(f, 200, "PUT", "/role-aliases/alias", "{\"credentialDurationSeconds\":7200}");
    refused(f, "gate", 400,
            "The requested CredentialDurationSeconds exceeds the MaxSessionDuration set for the "
            "role");
    expect(f, 200, "PUT", "/role-aliases/alias", "{\"credentialDurationSeconds\":900}");
    g_autoptr(json_t) reply = decide(f, "gate", 200, NULL);
    check_key(f, json_object_get(reply, "credentials"));

    sql(f, "UPDATE certificate SET status = 'INACTIVE'");
    refused(f, "gate", 403, "Certificate is invalid on this endpoint");
    sql(f, "UPDATE certificate SET status = 'REVOKED'");
    refused(f, "gate", 403, "Certificate is invalid on this endpoint");
    g_auto(KvgIotReply) none = {0};
    kvg_credentials_decide(&f->server, NULL, "gate", "alias", kvg_clock_wall_ms(), &none);
    g_assert_cmpint(none.status, ==, 403);
}

static void
test_life_of_a_thing(Fixture *f, const void *unused)
{
    make_certificate(f);
    expect(f, 200, "POST", "/things/a", NULL);
    expect(f, 200, "POST", "/things/a", NULL);
    expect(f, 409, "POST", "/things/a", "{\"attributePayload\":{\"attributes\":{\"k\":\"v\"}}}");
    expect(f, 400, "POST", "/things/a%20b", NULL);
    expect(f, 400, "POST", "/things/c", "[");
    expect(f, 404, "GET", "/things/none", NULL);
    expect(f, 404, "GET", "/nothing", NULL);
    expect(f, 200, "POST", "/things/b", NULL);
    g_autoptr(json_t) page = call(f, 200, "GET", "/things", "maxResults=1", NULL);
    g_assert_cmpstr(kvg_json_get_string(page, "nextToken"), ==, "a");
    expect(f, 200, "PUT", "/things/a/principals", NULL);
    expect(f, 400, "DELETE", "/things/a", NULL);
    expect(f, 200, "DELETE", "/things/a/principals", NULL);
    expect(f, 200, "DELETE", "/things/a", NULL);
    g_autoptr(json_t) endpoint =
        call(f, 200, "GET", "/endpoint", "endpointType=iot%3ACredentialProvider", NULL);
    g_assert_cmpstr(kvg_json_get_string(endpoint, "endpointAddress"), ==, "localhost:9444");

    g_autofree char *id = kvg_ca_certificate_id(f->certificate);
    g_autofree char *path = g_strconcat("/certificates/", id, NULL);
    expect(f, 406, "DELETE", path, NULL);
    json_decref(call(f, 200, "PUT", path, "newStatus=INACTIVE", NULL));
    expect(f, 200, "DELETE", path, NULL);
    expect(f, 404, "DELETE", path, NULL);
}

static void
test_strangers(Fixture *f, const void *unused)
{
    f->administrator.is_administrator = false;
    expect(f, 403, "POST", "/things/a", NULL);
    expect(f, 403, "POST", "/certificates", "{}");
}

static void
test_server_certificate(Fixture *f, const void *unused)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *certificate = g_build_filename(f->folder, "server.pem", NULL);
    g_autofree char *key = g_build_filename(f->folder, "server.key", NULL);
    g_assert_true(kvg_ca_write_server(f->server.ca, "127.0.0.1", certificate, key, &error));
    g_assert_no_error(error);
    FILE *file = fopen(certificate, "re");
    X509 *x509 = PEM_read_X509(file, NULL, NULL, NULL);
    fclose(file);
    g_assert_nonnull(x509);
    g_assert_cmpint(X509_check_ip_asc(x509, "127.0.0.1", 0), ==, 1);
    g_assert_cmpint(X509_check_host(x509, "localhost", 0, 0, NULL), ==, 1);
    X509_free(x509);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    /* Refusals are logged as warnings, and they are what is tested. */
    g_log_set_always_fatal(G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL);
    g_test_add("/iot/credentials", Fixture, NULL, set_up, test_credentials, tear_down);
    g_test_add("/iot/thing", Fixture, NULL, set_up, test_life_of_a_thing, tear_down);
    g_test_add("/iot/strangers", Fixture, NULL, set_up, test_strangers, tear_down);
    g_test_add("/iot/server-certificate", Fixture, NULL, set_up, test_server_certificate,
               tear_down);
    return g_test_run();
}
