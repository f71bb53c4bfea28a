/* The credentials provider of IoT with its certificates, and the keys in force: renewed early,
 * shared, kept while they are good, never used beyond. */
#include "aws/certificate.h"
#include "aws/source.h"
#include "base/clock.h"
#include "lab.h"
#include <arpa/inet.h>
#include <glib/gstdio.h>
#include <kvg/error.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SECRET "SECRETsecretSECRETsecretSECRETsecretSECR"
#define TOKEN "TOKENtokenTOKENtoken"
#define PATH "/role-aliases/alias%2F1/credentials"
#define DAY 86400L

/* A CA, the service behind it, and a camera's certificate. */
static Lab *
iot_lab(void)
{
    Lab *lab = lab_new();
    lab_certificate(lab, "ca", NULL, NULL, -DAY, DAY);
    lab_certificate(lab, "service", "ca", "IP:127.0.0.1", -DAY, DAY);
    lab_certificate(lab, "gate", "ca", NULL, -DAY, DAY);
    lab_serve(lab, "service", "ca");
    return lab;
}

typedef struct {
    const char *endpoint, *certificate, *key, *ca; /* NULL: the right one */
} Wrong;

static KvgCredentials *
open_camera(const Lab *lab, const Wrong *wrong)
{
    g_autofree char *endpoint = wrong != NULL && wrong->endpoint != NULL
                                    ? g_strdup(wrong->endpoint)
                                    : g_strdup_printf("127.0.0.1:%u", lab->port);
    g_autofree char *certificate =
        lab_path(lab, wrong != NULL && wrong->certificate ? wrong->certificate : "gate.pem");
    g_autofree char *key = lab_path(lab, wrong != NULL && wrong->key ? wrong->key : "gate.key");
    g_autofree char *ca = lab_path(lab, wrong != NULL && wrong->ca ? wrong->ca : "ca.pem");
    const KvgIotIdentity identity = {.endpoint = endpoint,
                                     .role_alias = "alias/1",
                                     .thing_name = "gate",
                                     .certificate_path = certificate,
                                     .key_path = key,
                                     .ca_path = ca,
                                     .total_timeout_ms = 1500};
    return kvg_credentials_new_iot(&identity);
}

static void
answer_keys(Lab *lab, const char *access_key, int seconds)
{
    g_autofree char *expires = lab_time(seconds);
    lab_forget(lab);
    lab_answer(lab, PATH, 200,
               "{\"credentials\":{\"accessKeyId\":\"%s\",\"secretAccessKey\":\"" SECRET
               "\",\"sessionToken\":\"" TOKEN "\",\"expiration\":\"%s\"}}",
               access_key, expires);
}

static bool
renew(KvgCredentials *credentials, GError **error)
{
    g_autoptr(KvgRenewal) renewal = kvg_renewal_new(credentials);
    KvgRenewalStep step = kvg_renewal_step(renewal, CURLE_OK, error);
    while (step == KVG_RENEWAL_REQUEST)
        step = kvg_renewal_step(renewal, curl_easy_perform(kvg_renewal_easy(renewal)), error);
    return step == KVG_RENEWAL_DONE;
}

static void
assert_fault(KvgCredentials *credentials, const char *part)
{
    g_autoptr(GError) error = NULL;
    g_assert_false(renew(credentials, &error));
    g_assert_nonnull(error);
    g_assert_true(error->domain == KVG_ERROR);
    g_assert_null(strstr(error->message, "SECRETsecret"));
    g_assert_null(strstr(error->message, "TOKENtoken"));
    if (strstr(error->message, part) == NULL || strstr(error->message, "; ") == NULL)
        g_error("'%s' and a remedy expected in: %s", part, error->message);
}

static void
assert_key(KvgCredentials *credentials, const char *access_key)
{
    g_auto(KvgKeys) keys = {0};
    g_assert_true(kvg_credentials_peek(credentials, &keys));
    g_assert_cmpstr(keys.access_key, ==, access_key);
}

/* ---- the links ---- */

static void
test_identity_files(void)
{
    g_autoptr(Lab) lab = iot_lab();
    lab_certificate(lab, "old", "ca", NULL, -3 * DAY, -2 * DAY);
    lab_certificate(lab, "early", "ca", NULL, 2 * DAY, 3 * DAY);
    lab_certificate(lab, "other", "ca", NULL, -DAY, DAY);
    g_free(lab_write(lab, "garbage", "-----BEGIN NOTHING-----\n"));
    g_free(lab_write(lab, "locked.key",
                     "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"
                     "DEK-Info: AES-128-CBC,A0FA2A9AF9BF5A8C3F1FD3A5B3A7E3F5\n\n"
                     "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n"
                     "-----END EC PRIVATE KEY-----\n"));
    const struct {
        Wrong wrong;
        const char *part;
    } cases[] = {
        {{.certificate = "nowhere.pem"}, "thing 'gate': file: certificate "},
        {{.key = "nowhere.key"}, "thing 'gate': file: private key "},
        {{.ca = "nowhere.pem"}, "thing 'gate': file: CA file "},
        {{.certificate = "."}, "Is a directory"},
        {{.certificate = "garbage"}, "thing 'gate': certificate: certificate "},
        {{.key = "garbage"}, "holds no private key in PEM"},
        {{.key = "locked.key"}, "has a passphrase"},
        {{.ca = "garbage"}, "thing 'gate': CA: CA file "},
        {{.certificate = "old.pem", .key = "old.key"}, "thing 'gate': certificate: "},
        {{.certificate = "old.pem", .key = "old.key"}, "has expired on "},
        {{.certificate = "early.pem", .key = "early.key"}, "thing 'gate': clock: "},
        {{.key = "other.key"}, "does not belong to certificate"},
        {{.endpoint = "https://host/"}, "thing 'gate': endpoint: "},
        {{.endpoint = "a1-ats.iot.eu-west-1.amazonaws.com"},
         "not that of the credentials provider"},
        {{.endpoint = ""}, "is not a host name"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(KvgCredentials) credentials = open_camera(lab, &cases[i].wrong);
        assert_fault(credentials, cases[i].part);
    }
    g_assert_cmpuint(lab->n_requests, ==, 0); /* all of it was seen before a request */

    /* Within a day the provider decides, and its refusal is explained by the dates. */
    lab_certificate(lab, "soon", "ca", NULL, 3600, DAY);
    lab_certificate(lab, "late", "ca", NULL, -DAY, -3600);
    answer_keys(lab, "AKEY", 3600);
    g_autoptr(KvgCredentials) soon =
        open_camera(lab, &(Wrong){.certificate = "soon.pem", .key = "soon.key"});
    g_autoptr(GError) none = NULL;
    g_assert_true(renew(soon, &none));
    lab_forget(lab);
    lab_answer(lab, PATH, 403, "{\"message\":\"Certificate is invalid on this endpoint\"}");
    assert_fault(soon, "thing 'gate': clock: certificate ");
    g_autoptr(KvgCredentials) late =
        open_camera(lab, &(Wrong){.certificate = "late.pem", .key = "late.key"});
    assert_fault(late, "has expired on ");

    g_autofree char *key = lab_path(lab, "gate.key");
    g_assert_false(kvg_file_is_open_to_others(key));
    g_chmod(key, 0640);
    g_assert_true(kvg_file_is_open_to_others(key));
    answer_keys(lab, "AKEY", 3600);
    g_autoptr(KvgCredentials) credentials = open_camera(lab, NULL);
    g_autoptr(GError) error = NULL;
    g_assert_true(renew(credentials, &error));
    g_assert_true(lab_warned("chmod 600"));
    g_assert_true(renew(credentials, &error));
    g_assert_false(lab_warned("chmod 600")); /* said once */
}

static void
test_network(void)
{
    g_autoptr(Lab) lab = iot_lab();
    answer_keys(lab, "AKEY", 3600);
    lab_certificate(lab, "ca2", NULL, NULL, -DAY, DAY);
    const struct {
        Wrong wrong;
        const char *part;
    } cases[] = {
        {{.endpoint = "nowhere.invalid"}, "thing 'gate': DNS: "},
        {{.endpoint = "127.0.0.1:1"}, "thing 'gate': TCP: "},
        {{.ca = "ca2.pem"}, "thing 'gate': CA: "},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(KvgCredentials) credentials = open_camera(lab, &cases[i].wrong);
        assert_fault(credentials, cases[i].part);
    }
    g_autofree char *by_name = g_strdup_printf("localhost:%u", lab->port);
    g_autoptr(KvgCredentials) other_name = open_camera(lab, &(Wrong){.endpoint = by_name});
    assert_fault(other_name, "thing 'gate': endpoint: ");

    static const struct {
        const char *stem;
        long from, until;
        const char *part;
    } servers[] = {{"expired", -2 * DAY, -DAY, "clock: "}, {"future", DAY, 2 * DAY, "clock: "}};
    for (size_t i = 0; i < G_N_ELEMENTS(servers); i++) {
        kvg_http_server_stop(lab->server, 100);
        lab_certificate(lab, servers[i].stem, "ca", "IP:127.0.0.1", servers[i].from,
                        servers[i].until);
        lab_serve(lab, servers[i].stem, "ca");
        g_autoptr(KvgCredentials) credentials = open_camera(lab, NULL);
        assert_fault(credentials, servers[i].part);
    }
    kvg_http_server_stop(lab->server, 100);
    lab_serve(lab, NULL, NULL); /* plain HTTP where TLS is expected */
    g_autoptr(KvgCredentials) plain = open_camera(lab, NULL);
    assert_fault(plain, "thing 'gate': TLS: ");
}

static void
test_refusals(void)
{
    static const struct {
        int status;
        const char *body, *part;
        int code;
    } cases[] = {
        {403, "{\"message\":\"Certificate is invalid on this endpoint\"}",
         ": certificate: ", KVG_ERROR_AUTH},
        {403, "{\"message\":\"Invalid thing name passed\"}", ": thing: ", KVG_ERROR_AUTH},
        {403, "{\"message\":\"Access Denied\"}", ": policy: ", KVG_ERROR_AUTH},
        {404, "{\"message\":\"Role alias does not exist\"}", ": alias: ", KVG_ERROR_AUTH},
        {400, "{\"message\":\"Unable to assume the role, or the role to assume does not exist\"}",
         ": role: ", KVG_ERROR_AUTH},
        {400,
         "{\"message\":\"The requested CredentialDurationSeconds exceeds the MaxSessionDuration "
         "set "
         "for the role\"}",
         ": role: ", KVG_ERROR_AUTH},
        {500, "{}", ": service: ", KVG_ERROR_RETRY},
        {503, "<html>", ": service: ", KVG_ERROR_RETRY},
        {429, "{}", ": service: ", KVG_ERROR_THROTTLED},
        {403, "<html>", ": endpoint: ", KVG_ERROR_AUTH},
        {301, "", ": endpoint: ", KVG_ERROR_AUTH},
        {200, "{\"credentials\":{}}", ": answer: ", KVG_ERROR_RETRY},
        {200, "\"", ": answer: ", KVG_ERROR_RETRY},
    };
    g_autoptr(Lab) lab = iot_lab();
    g_autoptr(KvgCredentials) credentials = open_camera(lab, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        lab_forget(lab);
        lab_answer(lab, PATH, cases[i].status, "%s", cases[i].body);
        lab->answers[0].location = "https://elsewhere.invalid/";
        assert_fault(credentials, cases[i].part);
        g_autoptr(GError) error = NULL;
        g_assert_false(renew(credentials, &error));
        g_assert_cmpint(error->code, ==, cases[i].code);
    }
    g_assert_nonnull(strstr(lab->log->str, "GET " PATH " x-amzn-iot-thingname=gate\n"));
    lab_forget(lab);
    lab_answer(lab, PATH, 200, "{}");
    lab->answers[0].delay_ms = 2000;
    assert_fault(credentials, ": TCP: ");
}

/* ---- the keys in force ---- */

static void
test_old_keys_stay(void)
{
    g_autoptr(Lab) lab = iot_lab();
    g_autoptr(GError) error = NULL;
    g_autoptr(KvgCredentials) credentials = open_camera(lab, NULL);
    g_auto(KvgKeys) none = {0};
    g_assert_false(kvg_credentials_peek(credentials, &none));
    g_assert_true(kvg_credentials_can_refresh(credentials));
    g_assert_true(kvg_credentials_wants_refresh(credentials));
    answer_keys(lab, "FIRST", 3600);
    g_assert_true(renew(credentials, &error));
    g_assert_false(kvg_credentials_wants_refresh(credentials));
    lab_forget(lab);
    lab_answer(lab, PATH, 500, "{}");
    assert_fault(credentials, ": service: ");
    assert_key(credentials, "FIRST");
    answer_keys(lab, "EXPIRED", -10);
    assert_fault(credentials, "expired already");
    assert_key(credentials, "FIRST");
    answer_keys(lab, "SECOND", 3600);
    g_assert_true(renew(credentials, &error));
    assert_key(credentials, "SECOND");
    /* A certificate that is replaced is used at once. */
    lab_certificate(lab, "gate", "ca", NULL, -DAY, DAY);
    g_assert_true(kvg_credentials_wants_refresh(credentials));
    g_assert_true(renew(credentials, &error));
    g_assert_false(kvg_credentials_wants_refresh(credentials));
}

static void
test_never_past_expiry(void)
{
    g_autoptr(Lab) lab = iot_lab();
    g_autoptr(GError) error = NULL;
    g_autoptr(KvgCredentials) credentials = open_camera(lab, NULL);
    answer_keys(lab, "SHORT", 32); /* of no use from 30 s on */
    g_assert_true(renew(credentials, &error));
    assert_key(credentials, "SHORT");
    lab_forget(lab);
    lab_answer(lab, PATH, 500, "{}");
    const int64_t until_us = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;
    g_auto(KvgKeys) keys = {0};
    while (kvg_credentials_peek(credentials, &keys)) {
        kvg_keys_clear(&keys);
        g_assert_cmpint(g_get_monotonic_time(), <, until_us);
        g_usleep(50000);
    }
    g_assert_false(kvg_credentials_get(credentials, &keys, &error));
    g_assert_error(error, KVG_ERROR, KVG_ERROR_RETRY);
}

/* Of many lives, the renewals are spread over 70 to 85 % of each. */
static void
test_jitter(void)
{
    g_autoptr(Lab) lab = iot_lab();
    answer_keys(lab, "KEY", 40); /* due after 28 to 34 s, when they are of no use any more */
    g_autoptr(KvgCredentials) credentials = open_camera(lab, NULL);
    g_autoptr(GError) error = NULL;
    g_assert_true(renew(credentials, &error));
    g_assert_false(kvg_credentials_wants_refresh(credentials));
}

static void *
get_in_thread(void *data)
{
    g_auto(KvgKeys) keys = {0};
    g_autoptr(GError) error = NULL;
    g_assert_true(kvg_credentials_get(data, &keys, &error));
    return g_strdup(keys.access_key);
}

static void
test_shared(void)
{
    g_autoptr(Lab) lab = iot_lab();
    answer_keys(lab, "SHARED", 3600);
    lab->answers[0].delay_ms = 200;
    g_autoptr(KvgCredentials) first = open_camera(lab, NULL);
    g_autoptr(KvgCredentials) second = open_camera(lab, NULL);
    g_autoptr(KvgCredentials) other = open_camera(lab, &(Wrong){.ca = "service.pem"});
    g_assert_true(first == second);
    g_assert_true(first != other);
    GThread *threads[8];
    for (size_t i = 0; i < G_N_ELEMENTS(threads); i++)
        threads[i] = g_thread_new("get", get_in_thread, i % 2 ? first : second);
    for (size_t i = 0; i < G_N_ELEMENTS(threads); i++) {
        g_autofree char *key = g_thread_join(threads[i]);
        g_assert_cmpstr(key, ==, "SHARED");
    }
    g_assert_cmpuint(lab->n_requests, ==, 1);
    /* When the last one goes, so do the keys. */
    g_clear_pointer(&first, kvg_credentials_unref);
    g_clear_pointer(&second, kvg_credentials_unref);
    g_autoptr(KvgCredentials) again = open_camera(lab, NULL);
    g_auto(KvgKeys) keys = {0};
    g_assert_false(kvg_credentials_peek(again, &keys));
}

static void *
churn(void *data)
{
    for (int i = 0; i < 300; i++) {
        g_autoptr(KvgCredentials) credentials = open_camera(data, NULL);
        g_autoptr(KvgCredentials) file = kvg_credentials_new_file("/nowhere");
        g_auto(KvgKeys) keys = {0};
        kvg_credentials_peek(credentials, &keys);
        g_assert_true(kvg_credentials_wants_refresh(file));
    }
    return NULL;
}

static void
test_churn(void)
{
    g_autoptr(Lab) lab = iot_lab();
    GThread *threads[4];
    for (size_t i = 0; i < G_N_ELEMENTS(threads); i++)
        threads[i] = g_thread_new("churn", churn, lab);
    for (size_t i = 0; i < G_N_ELEMENTS(threads); i++)
        g_thread_join(threads[i]);
}

/* ---- a clock that is wrong ---- */

/* Answers one request on @data's socket as a service whose clock is an hour behind ours. */
static void *
serve_late(void *data)
{
    const int fd = accept(GPOINTER_TO_INT(data), NULL, NULL);
    char head[4096];
    size_t len = 0;
    while (len < sizeof head - 1 && g_strstr_len(head, (gssize)len, "\r\n\r\n") == NULL)
        len += (size_t)MAX(recv(fd, head + len, 1, 0), 1);
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();
    g_autoptr(GDateTime) there = g_date_time_add_seconds(now, -3600);
    g_autofree char *date = g_date_time_format(there, "%a, %d %b %Y %H:%M:%S GMT");
    g_autofree char *expires = lab_time(-3600 + 600);
    g_autofree char *body =
        g_strdup_printf("{\"AccessKeyId\":\"LATE\",\"SecretAccessKey\":\"" SECRET
                        "\",\"Token\":\"" TOKEN "\",\"Expiration\":\"%s\"}",
                        expires);
    g_autofree char *answer = g_strdup_printf(
        "HTTP/1.1 200 OK\r\nDate: %s\r\nContent-Length: %zu\r\n\r\n%s", date, strlen(body), body);
    send(fd, answer, strlen(answer), MSG_NOSIGNAL);
    close(fd);
    return NULL;
}

static void
test_skew(void)
{
    g_autoptr(Lab) lab = lab_new();
    g_assert_null(lab->server); /* the answer is made by hand */
    struct sockaddr_in address = {.sin_family = AF_INET};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t len = sizeof address;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&address, len), ==, 0);
    g_assert_cmpint(listen(fd, 1), ==, 0);
    getsockname(fd, (struct sockaddr *)&address, &len);
    GThread *thread = g_thread_new("late", serve_late, GINT_TO_POINTER(fd));
    lab_setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:%u/x",
               ntohs(address.sin_port));
    g_autoptr(GError) error = NULL;
    g_autoptr(KvgCredentials) credentials = kvg_credentials_new_default(NULL, &error);
    g_assert_no_error(error);
    g_auto(KvgKeys) keys = {0};
    g_assert_true(kvg_credentials_get(credentials, &keys, &error));
    g_assert_true(lab_warned("s ahead of the service's"));
    const int64_t left_ms = keys.expires_wall_ms - kvg_clock_wall_ms();
    g_assert_cmpint(left_ms, >, 500 * 1000);
    g_assert_cmpint(left_ms, <=, 602 * 1000);
    g_thread_join(thread);
    close(fd);
}

/* ---- kvssink's file ---- */

static void
test_key_file(void)
{
    g_autoptr(Lab) lab = lab_new();
    g_autoptr(GError) error = NULL;
    g_autofree char *path = lab_path(lab, "keys");
    g_autoptr(KvgCredentials) credentials = kvg_credentials_new_file(path);
    assert_fault(credentials, ": file: ");
    g_autofree char *future = lab_time(3600);
    g_autofree char *past = lab_time(-5);
    const struct {
        const char *format, *time, *key, *fault;
    } cases[] = {
        {"CREDENTIALS ONE " SECRET, future, "ONE", NULL},
        {"CREDENTIALS\tTWO @ " SECRET " " TOKEN "\n", future, "TWO", NULL},
        {"CREDENTIALS THREE @ " SECRET "\r\n", future, "THREE", NULL},
        {"CREDENTIALS FOUR @ " SECRET " " TOKEN, past, NULL, "expired already"},
        {"CREDENTIALS FIVE tomorrow " SECRET " " TOKEN, future, NULL, "no keys"},
        {"KEYS SIX " SECRET, future, NULL, "not a line"},
        {"CREDENTIALS SEVEN", future, NULL, "not a line"},
        {"CREDENTIALS EIGHT @ " SECRET " " TOKEN " more", future, NULL, "not a line"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_auto(GStrv) parts = g_strsplit(cases[i].format, "@", -1);
        g_autofree char *text = g_strjoinv(cases[i].time, parts);
        g_free(lab_write(lab, "keys", text));
        g_assert_true(kvg_credentials_wants_refresh(credentials)); /* it has changed */
        if (cases[i].fault != NULL) {
            assert_fault(credentials, cases[i].fault);
            assert_key(credentials, "THREE"); /* the last good one */
        } else {
            g_assert_true(renew(credentials, &error));
            assert_key(credentials, cases[i].key);
            g_assert_false(kvg_credentials_wants_refresh(credentials));
        }
    }
}

static void
test_static(void)
{
    static const char *const wrong[] = {"", "KEY\n", "KEY\r\nX-Injected: 1", "K Y", "K\x80Y"};
    for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
        g_autoptr(KvgCredentials) impossible = kvg_credentials_new_static(wrong[i], SECRET, NULL);
        g_auto(KvgKeys) keys = {0};
        g_assert_false(kvg_credentials_peek(impossible, &keys));
        assert_fault(impossible, "fixed AWS keys: key: ");
    }
    g_autoptr(KvgCredentials) credentials = kvg_credentials_new_static("KEY", SECRET, NULL);
    assert_key(credentials, "KEY");
    g_assert_false(kvg_credentials_can_refresh(credentials));
    g_assert_false(kvg_credentials_wants_refresh(credentials));
    assert_fault(credentials, "cannot be renewed");
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/aws/iot/identity-files", test_identity_files);
    g_test_add_func("/aws/iot/network", test_network);
    g_test_add_func("/aws/iot/refusals", test_refusals);
    g_test_add_func("/aws/credentials/old-keys-stay", test_old_keys_stay);
    g_test_add_func("/aws/credentials/never-past-expiry", test_never_past_expiry);
    g_test_add_func("/aws/credentials/jitter", test_jitter);
    g_test_add_func("/aws/credentials/shared", test_shared);
    g_test_add_func("/aws/credentials/churn", test_churn);
    g_test_add_func("/aws/credentials/skew", test_skew);
    g_test_add_func("/aws/credentials/key-file", test_key_file);
    g_test_add_func("/aws/credentials/static", test_static);
    return g_test_run();
}
