#include "lab.h"
#include "base/clock.h"
#include "base/text.h"
#include "os/file.h"
#include <glib/gstdio.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

static const char *const cleared[] = {"AWS_ACCESS_KEY_ID",
                                      "AWS_SECRET_ACCESS_KEY",
                                      "AWS_SESSION_TOKEN",
                                      "AWS_PROFILE",
                                      "AWS_SHARED_CREDENTIALS_FILE",
                                      "AWS_CONFIG_FILE",
                                      "AWS_WEB_IDENTITY_TOKEN_FILE",
                                      "AWS_ROLE_ARN",
                                      "AWS_ROLE_SESSION_NAME",
                                      "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                                      "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                                      "AWS_CONTAINER_AUTHORIZATION_TOKEN",
                                      "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
                                      "AWS_EC2_METADATA_DISABLED",
                                      "AWS_EC2_METADATA_SERVICE_ENDPOINT",
                                      "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
                                      "AWS_METADATA_SERVICE_TIMEOUT",
                                      "AWS_REGION",
                                      "AWS_DEFAULT_REGION",
                                      "AWS_ENDPOINT_URL_STS",
                                      "AWS_ENDPOINT_URL",
                                      "AWS_CA_BUNDLE",
                                      "http_proxy",
                                      "https_proxy",
                                      "HTTPS_PROXY",
                                      "all_proxy"};

static void
clear_environment(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(cleared); i++)
        g_unsetenv(cleared[i]);
}

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static GString *warnings;

/* Warnings are kept instead of ending the test; none of them may hold a secret. */
static GLogWriterOutput
keep_warning(GLogLevelFlags level, const GLogField *fields, gsize n, gpointer user_data)
{
    for (gsize i = 0; i < n; i++) {
        if (strcmp(fields[i].key, "MESSAGE") != 0)
            continue;
        pthread_mutex_lock(&log_lock);
        g_string_append_printf(warnings, "%s\n", (const char *)fields[i].value);
        g_assert_null(strstr(warnings->str, "SECRETsecret"));
        g_assert_null(strstr(warnings->str, "TOKENtoken"));
        pthread_mutex_unlock(&log_lock);
    }
    return G_LOG_WRITER_HANDLED;
}

bool
lab_warned(const char *part)
{
    pthread_mutex_lock(&log_lock);
    const bool found = strstr(warnings->str, part) != NULL;
    g_string_truncate(warnings, 0);
    pthread_mutex_unlock(&log_lock);
    return found;
}

Lab *
lab_new(void)
{
    if (warnings == NULL) {
        warnings = g_string_new(NULL);
        g_log_set_writer_func(keep_warning, NULL, NULL);
    }
    g_string_truncate(warnings, 0);
    clear_environment();
    Lab *lab = g_new0(Lab, 1);
    pthread_mutex_init(&lab->lock, NULL);
    lab->log = g_string_new(NULL);
    lab->folder = g_dir_make_tmp("kvg-aws-XXXXXX", NULL);
    /* No test finds the files of who runs it, or asks the real metadata service. */
    lab_setenv("AWS_SHARED_CREDENTIALS_FILE", "%s/credentials", lab->folder);
    lab_setenv("AWS_CONFIG_FILE", "%s/config", lab->folder);
    lab_setenv("AWS_EC2_METADATA_DISABLED", "true");
    return lab;
}

void
lab_forget(Lab *lab)
{
    pthread_mutex_lock(&lab->lock);
    for (unsigned i = 0; i < lab->n_answers; i++)
        g_free(lab->answers[i].body);
    lab->n_answers = 0;
    lab->n_requests = 0;
    g_string_truncate(lab->log, 0);
    pthread_mutex_unlock(&lab->lock);
}

void
lab_free(Lab *lab)
{
    if (lab->server != NULL)
        kvg_http_server_stop(lab->server, 100);
    lab_forget(lab);
    g_string_free(lab->log, TRUE);
    g_assert_true(kvg_dir_remove(lab->folder, NULL));
    g_free(lab->folder);
    pthread_mutex_destroy(&lab->lock);
    g_free(lab);
    clear_environment();
}

static void
note(Lab *lab, KvgHttpExchange *x)
{
    static const char *const headers[] = {"authorization", "x-amzn-iot-thingname",
                                          "x-aws-ec2-metadata-token",
                                          "x-aws-ec2-metadata-token-ttl-seconds"};
    g_autoptr(GBytes) body = kvg_http_read_all(x, 100000, NULL);
    g_string_append_printf(lab->log, "%s %s", kvg_http_method(x), kvg_http_path(x));
    for (size_t i = 0; i < G_N_ELEMENTS(headers); i++) {
        const char *value = kvg_http_header(x, headers[i]);
        if (value != NULL)
            g_string_append_printf(lab->log, " %s=%s", headers[i], value);
    }
    if (body != NULL && g_bytes_get_size(body) > 0)
        g_string_append_printf(lab->log, " body=%.*s", (int)g_bytes_get_size(body),
                               (const char *)g_bytes_get_data(body, NULL));
    g_string_append_c(lab->log, '\n');
    lab->n_requests++;
}

static void
serve(KvgHttpExchange *x, void *user_data)
{
    Lab *lab = user_data;
    pthread_mutex_lock(&lab->lock);
    note(lab, x);
    g_autofree char *body = g_strdup("{}");
    int status = 404;
    const char *location = NULL;
    unsigned delay_ms = 0;
    for (unsigned i = 0; i < lab->n_answers; i++) {
        if (!g_str_has_prefix(kvg_http_path(x), lab->answers[i].path))
            continue;
        g_free(body);
        body = g_strdup(lab->answers[i].body);
        status = lab->answers[i].status;
        location = lab->answers[i].location;
        delay_ms = lab->answers[i].delay_ms;
    }
    pthread_mutex_unlock(&lab->lock);
    g_usleep(delay_ms * 1000);
    const KvgHeader headers[] = {{"Content-Type", "text/plain"}, {"Location", location}};
    kvg_http_respond(x, status, headers, location != NULL ? 2 : 1, body, strlen(body));
}

void
lab_serve(Lab *lab, const char *identity, const char *client_ca)
{
    g_autoptr(GError) error = NULL;
    SSL_CTX *tls = NULL;
    if (identity != NULL) {
        g_autofree char *certificate = g_strdup_printf("%s/%s.pem", lab->folder, identity);
        g_autofree char *key = g_strdup_printf("%s/%s.key", lab->folder, identity);
        g_autofree char *ca =
            client_ca != NULL ? g_strdup_printf("%s/%s.pem", lab->folder, client_ca) : NULL;
        tls = kvg_http_tls_context_new(certificate, key, ca, &error);
        g_assert_no_error(error);
    }
    const KvgHttpServerOptions options = {.handler = serve, .user_data = lab, .tls = tls};
    lab->server = kvg_http_server_start(&options, &error);
    g_assert_no_error(error);
    lab->port = kvg_http_server_port(lab->server);
    SSL_CTX_free(tls);
}

void
lab_answer(Lab *lab, const char *path, int status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    pthread_mutex_lock(&lab->lock);
    g_assert_cmpuint(lab->n_answers, <, G_N_ELEMENTS(lab->answers));
    lab->answers[lab->n_answers].path = path;
    lab->answers[lab->n_answers].status = status;
    lab->answers[lab->n_answers].location = NULL;
    lab->answers[lab->n_answers].delay_ms = 0;
    lab->answers[lab->n_answers++].body = g_strdup_vprintf(format, arguments);
    pthread_mutex_unlock(&lab->lock);
    va_end(arguments);
}

char *
lab_path(const Lab *lab, const char *name)
{
    return g_build_filename(lab->folder, name, NULL);
}

char *
lab_write(const Lab *lab, const char *name, const char *text)
{
    char *path = lab_path(lab, name);
    g_autoptr(GError) error = NULL;
    g_assert_true(kvg_file_replace(path, text, strlen(text), 0600, &error));
    return path;
}

void
lab_setenv(const char *name, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *value = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_setenv(name, value, TRUE);
}

char *
lab_time(int seconds)
{
    return kvg_format_iso8601(kvg_clock_wall_ms() + seconds * INT64_C(1000), false);
}

char *
lab_url(const Lab *lab, const char *path)
{
    return g_strdup_printf("http://127.0.0.1:%u%s", lab->port, path);
}

static void
write_pem(const Lab *lab, const char *stem, X509 *certificate, EVP_PKEY *key)
{
    g_autofree char *certificate_path = g_strdup_printf("%s/%s.pem", lab->folder, stem);
    g_autofree char *key_path = g_strdup_printf("%s/%s.key", lab->folder, stem);
    FILE *file = fopen(certificate_path, "w");
    PEM_write_X509(file, certificate);
    fclose(file);
    file = fopen(key_path, "w");
    PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL);
    fclose(file);
    g_chmod(key_path, 0600);
}

static void
add_extension(X509 *certificate, int nid, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
}

void
lab_certificate(
    const Lab *lab, const char *stem, const char *issuer, const char *host, long from, long until)
{
    static int serial = 0;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(certificate), from);
    X509_gmtime_adj(X509_getm_notAfter(certificate), until);
    X509_set_pubkey(certificate, key);
    X509_NAME *name = X509_get_subject_name(certificate);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)stem, -1, -1, 0);
    X509 *by = NULL;
    EVP_PKEY *by_key = NULL;
    if (issuer != NULL) {
        g_autofree char *path = g_strdup_printf("%s/%s.pem", lab->folder, issuer);
        g_autofree char *key_path = g_strdup_printf("%s/%s.key", lab->folder, issuer);
        FILE *file = fopen(path, "r");
        by = PEM_read_X509(file, NULL, NULL, NULL);
        fclose(file);
        file = fopen(key_path, "r");
        by_key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
        fclose(file);
    } else {
        add_extension(certificate, NID_basic_constraints, "critical,CA:TRUE");
    }
    X509_set_issuer_name(certificate, by != NULL ? X509_get_subject_name(by) : name);
    g_autofree char *names = g_strdup_printf("%s", host != NULL ? host : "DNS:nobody.invalid");
    add_extension(certificate, NID_subject_alt_name, names);
    X509_sign(certificate, by_key != NULL ? by_key : key, EVP_sha256());
    write_pem(lab, stem, certificate, key);
    X509_free(certificate);
    X509_free(by);
    EVP_PKEY_free(by_key);
    EVP_PKEY_free(key);
}
