#include "site.h"

#include "os/file.h"
#include "wire/sigv4.h"
#include <fcntl.h>
#include <gio/gio.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define REGION "us-east-1"
#define MAX_LINE 4096

/* ---- the server ---- */

static char *
read_line(int fd)
{
    g_autofree char *line = g_malloc(MAX_LINE);
    size_t len = 0;
    while (len < MAX_LINE - 1 && read(fd, line + len, 1) == 1 && line[len] != '\n')
        len++;
    line[len] = '\0';
    return g_steal_pointer(&line);
}

static void
redirect_errors(void *user_data)
{
    const int fd = open(user_data, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd >= 0)
        dup2(fd, STDERR_FILENO);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that aborts leaves nothing behind */
}

void
kvg_site_start_server(KvgSite *site)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *program = g_build_filename(g_getenv("KVG_BUILD"), "kvg-server", NULL);
    g_autofree char *data = g_build_filename(site->folder, "server", NULL);
    g_autofree char *https = g_strdup_printf("%u", site->https_port);
    g_autofree char *mtls = g_strdup_printf("%u", site->mtls_port);
    g_autofree char *http = g_strdup_printf("%u", site->http_port);
    const char *arguments[] = {program,       "--data", data,          "--https-port", https,
                               "--mtls-port", mtls,     "--http-port", http,           NULL};
    g_auto(GStrv) environment = g_environ_setenv(g_get_environ(), "KVG_LOG_LEVEL", "debug", TRUE);
    g_spawn_async_with_pipes(NULL, (char **)(uintptr_t)arguments, environment,
                             G_SPAWN_DO_NOT_REAP_CHILD, redirect_errors, site->log_path, &site->pid,
                             NULL, &site->output_fd, NULL, &error);
    g_assert_no_error(error);
    g_autofree char *line = read_line(site->output_fd);
    g_autoptr(json_t) ready = kvg_json_parse_object(line, strlen(line), &error);
    if (ready == NULL)
        g_error("kvg-server did not start, see %s", site->log_path);
    site->https_port = (uint16_t)kvg_json_get_int(ready, "https_port", 0);
    site->mtls_port = (uint16_t)kvg_json_get_int(ready, "mtls_port", 0);
    site->http_port = (uint16_t)kvg_json_get_int(ready, "http_port", 0);
}

void
kvg_site_stop_server(KvgSite *site, int signal_number)
{
    int status = 0;
    if (site->pid == 0)
        return;
    kill(site->pid, signal_number);
    g_assert_cmpint(waitpid(site->pid, &status, 0), ==, site->pid);
    g_spawn_close_pid(site->pid);
    site->pid = 0;
    close(site->output_fd);
    if (signal_number == SIGKILL)
        return;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        g_autofree char *log = kvg_file_read(site->log_path, 256u << 20, NULL, NULL);
        const size_t len = log != NULL ? strlen(log) : 0;
        g_error("kvg-server ended with status %d: %s", status,
                log != NULL ? log + (len > 3000 ? len - 3000 : 0) : "");
    }
}

static void
read_keys(KvgSite *site)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autofree char *path = g_build_filename(site->folder, "server", "credentials", NULL);
    g_key_file_load_from_file(file, path, G_KEY_FILE_NONE, &error);
    g_assert_no_error(error);
    site->access_key = g_key_file_get_string(file, "default", "aws_access_key_id", NULL);
    site->secret_key = g_key_file_get_string(file, "default", "aws_secret_access_key", NULL);
    g_assert_nonnull(site->secret_key);
}

/* The proxy has the server's own certificate, so that clients trust it as they do the server. */
static void
make_tls(KvgSite *site)
{
    g_autofree char *certificate = g_build_filename(site->folder, "server", "server.pem", NULL);
    g_autofree char *key = g_build_filename(site->folder, "server", "server.key", NULL);
    site->tls = SSL_CTX_new(TLS_server_method());
    site->upstream_tls = SSL_CTX_new(TLS_client_method());
    g_assert_cmpint(SSL_CTX_use_certificate_chain_file(site->tls, certificate), ==, 1);
    g_assert_cmpint(SSL_CTX_use_PrivateKey_file(site->tls, key, SSL_FILETYPE_PEM), ==, 1);
}

KvgSite *
kvg_site_start(void)
{
    KvgSite *site = g_new0(KvgSite, 1);
    site->folder = g_dir_make_tmp("kvg-faults-XXXXXX", NULL);
    site->log_path = g_build_filename(site->folder, "server.log", NULL);
    site->ca_path = g_build_filename(site->folder, "server", "ca.pem", NULL);
    pthread_mutex_init(&site->lock, NULL);
    site->easy = curl_easy_init();
    kvg_site_start_server(site);
    read_keys(site);
    make_tls(site);
    return site;
}

void
kvg_site_stop(KvgSite *site)
{
    kvg_site_stop_server(site, SIGTERM);
    g_assert_true(kvg_dir_remove(site->folder, NULL));
    curl_easy_cleanup(site->easy);
    pthread_mutex_destroy(&site->lock);
    SSL_CTX_free(site->tls);
    SSL_CTX_free(site->upstream_tls);
    g_free(site->folder);
    g_free(site->log_path);
    g_free(site->ca_path);
    g_free(site->access_key);
    g_free(site->secret_key);
    g_free(site);
}

/* ---- requests ---- */

static size_t
on_data(char *data, size_t size, size_t n, void *user_data)
{
    g_byte_array_append(user_data, (const uint8_t *)data, (guint)(size * n));
    return size * n;
}

static GByteArray *
fetch(KvgSite *site, const char *url, struct curl_slist *headers, const char *body, long *status)
{
    GByteArray *reply = g_byte_array_new();
    pthread_mutex_lock(&site->lock);
    CURL *easy = site->easy;
    curl_easy_reset(easy);
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_TIMEOUT, 60L);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    if (body != NULL)
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, reply);
    const CURLcode result = curl_easy_perform(easy);
    *status = 0;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, status);
    if (result != CURLE_OK)
        g_error("%s: %s", url, curl_easy_strerror(result));
    pthread_mutex_unlock(&site->lock);
    return reply;
}

json_t *
kvg_site_call(KvgSite *site, const char *path, const json_t *arguments, long *status)
{
    g_autofree char *body = kvg_json_to_text(arguments);
    g_autofree char *hash = kvg_sigv4_sha256_hex(body, strlen(body));
    g_autofree char *host = g_strdup_printf("127.0.0.1:%u", site->http_port);
    g_autofree char *url = g_strdup_printf("http://%s%s", host, path);
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();
    g_autofree char *date = g_date_time_format(now, "%Y%m%dT%H%M%SZ");
    const KvgHeader headers[] = {{"host", host}, {"x-amz-date", date}};
    const KvgSigv4Request request = {.method = "POST",
                                     .path = path,
                                     .headers = headers,
                                     .n_headers = G_N_ELEMENTS(headers),
                                     .payload_sha256 = hash,
                                     .amz_date = date,
                                     .region = REGION,
                                     .service = "kinesisvideo"};
    g_autofree char *signature =
        kvg_sigv4_authorization(&request, site->access_key, site->secret_key);
    g_autofree char *authorization = g_strconcat("authorization: ", signature, NULL);
    g_autofree char *date_line = g_strconcat("x-amz-date: ", date, NULL);
    struct curl_slist *lines = curl_slist_append(NULL, authorization);
    lines = curl_slist_append(lines, date_line);
    lines = curl_slist_append(lines, "content-type: application/json");
    long code = 0;
    g_autoptr(GByteArray) reply = fetch(site, url, lines, body, &code);
    curl_slist_free_all(lines);
    if (status != NULL)
        *status = code;
    if (code != 200)
        return NULL;
    json_t *json = kvg_json_parse_object(reply->data, reply->len, NULL);
    return json != NULL ? json : json_object();
}

/* ---- identities ---- */

char *
kvg_site_identity_path(KvgSite *site, const char *name, const char *suffix)
{
    g_autofree char *file = g_strconcat(name, ".", suffix, NULL);
    return g_build_filename(site->folder, "certs", file, NULL);
}

void
kvg_site_provision(KvgSite *site, const char *const *names)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *config = g_build_filename(site->folder, "kvg.yaml", NULL);
    g_autofree char *keys = g_build_filename(site->folder, "server", "credentials", NULL);
    g_autofree char *program = g_build_filename(g_getenv("KVG_BUILD"), "kvg", NULL);
    g_autoptr(GString) text = g_string_new(NULL);
    g_string_append_printf(text,
                           "region: " REGION "\nendpoint: https://127.0.0.1:%u\nca_bundle: %s\n"
                           "identity: { directory: certs }\nspool: { path: spool }\ncameras:\n",
                           site->https_port, site->ca_path);
    for (size_t i = 0; names[i] != NULL; i++)
        g_string_append_printf(text, "  %s: { source: \"test:\" }\n", names[i]);
    g_file_set_contents(config, text->str, -1, &error);
    g_assert_no_error(error);
    g_autoptr(GSubprocessLauncher) launcher = g_subprocess_launcher_new(
        G_SUBPROCESS_FLAGS_STDERR_PIPE | G_SUBPROCESS_FLAGS_STDOUT_SILENCE);
    g_subprocess_launcher_setenv(launcher, "AWS_SHARED_CREDENTIALS_FILE", keys, TRUE);
    g_subprocess_launcher_setenv(launcher, "AWS_CA_BUNDLE", site->ca_path, TRUE);
    g_subprocess_launcher_unsetenv(launcher, "AWS_ACCESS_KEY_ID");
    g_subprocess_launcher_unsetenv(launcher, "AWS_PROFILE");
    /* A tool here, not what is tested: its thread pool is GLib's, which the sanitizer cannot see.
     */
    g_subprocess_launcher_setenv(launcher, "TSAN_OPTIONS", "report_bugs=0", TRUE);
    g_autoptr(GSubprocess) process =
        g_subprocess_launcher_spawn(launcher, &error, program, "provision", "-c", config, NULL);
    g_assert_no_error(error);
    g_autofree char *messages = NULL;
    g_assert_true(g_subprocess_communicate_utf8(process, NULL, NULL, NULL, &messages, NULL));
    if (!g_subprocess_get_successful(process))
        g_error("kvg provision: %s", messages);
}

/* ---- what is stored ---- */

static void
clear_stored(void *data)
{
    const KvgStored *stored = data;
    g_bytes_unref(stored->media);
}

/* The payload of the box mdat. */
static GBytes *
find_mdat(const GByteArray *segment)
{
    size_t at = 0;
    while (at + 8 <= segment->len) {
        const size_t size = (size_t)segment->data[at] << 24 | segment->data[at + 1] << 16 |
                            segment->data[at + 2] << 8 | segment->data[at + 3];
        g_assert_cmpuint(size, >=, 8);
        g_assert_cmpuint(at + size, <=, segment->len);
        if (memcmp(segment->data + at + 4, "mdat", 4) == 0)
            return g_bytes_new(segment->data + at + 8, size - 8);
        at += size;
    }
    g_error("a segment without mdat");
}

static char *
session_url(KvgSite *site, const char *stream, int64_t from_ms, int64_t to_ms)
{
    g_autoptr(json_t) arguments = json_pack(
        "{s:s, s:s, s:s, s:s, s:i, s:{s:s, s:{s:f, s:f}}}", "StreamName", stream, "PlaybackMode",
        "ON_DEMAND", "ContainerFormat", "FRAGMENTED_MP4", "DisplayFragmentTimestamp", "ALWAYS",
        "MaxMediaPlaylistFragmentResults", 5000, "HLSFragmentSelector", "FragmentSelectorType",
        "PRODUCER_TIMESTAMP", "TimestampRange", "StartTimestamp", (double)from_ms / 1000,
        "EndTimestamp", (double)to_ms / 1000);
    long status = 0;
    g_autoptr(json_t) reply = kvg_site_call(site, "/getHLSStreamingSessionURL", arguments, &status);
    if (reply == NULL)
        return NULL; /* nothing in it */
    return g_strdup(kvg_json_get_string(reply, "HLSStreamingSessionURL"));
}

static GByteArray *
fetch_beside(KvgSite *site, const char *url, const char *name)
{
    const char *end = strrchr(url, '/');
    g_autofree char *base = g_strndup(url, (size_t)(end - url) + 1);
    g_autofree char *whole = g_strconcat(base, name, NULL);
    long status = 0;
    GByteArray *reply = fetch(site, whole, NULL, NULL, &status);
    if (status != 200)
        g_error("%s: HTTP %ld", name, status);
    return reply;
}

/* The first line of a playlist that is an address (g_free). */
static char *
first_address(const GByteArray *playlist)
{
    g_autofree char *text = g_strndup((const char *)playlist->data, playlist->len);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line != NULL; line++) {
        if (**line != '#' && **line != '\0')
            return g_strdup(*line);
    }
    g_error("no address in a playlist");
}

static int64_t
parse_time_ms(const char *text)
{
    g_autoptr(GDateTime) time = g_date_time_new_from_iso8601(text, NULL);
    g_assert_nonnull(time);
    return g_date_time_to_unix(time) * 1000 + g_date_time_get_microsecond(time) / 1000;
}

static int
compare_starts(const void *a, const void *b)
{
    const KvgStored *left = a, *right = b;
    return left->start_ms < right->start_ms ? -1 : left->start_ms > right->start_ms;
}

GArray *
kvg_site_read(KvgSite *site, const char *stream, int64_t from_ms, int64_t to_ms)
{
    GArray *all = g_array_new(FALSE, FALSE, sizeof(KvgStored));
    g_array_set_clear_func(all, clear_stored);
    g_autofree char *url = session_url(site, stream, from_ms, to_ms);
    if (url == NULL)
        return all;
    g_autofree char *master_name = g_strdup(strrchr(url, '/') + 1);
    g_autoptr(GByteArray) master = fetch_beside(site, url, master_name);
    g_autofree char *media_name = first_address(master);
    g_autoptr(GByteArray) media = fetch_beside(site, url, media_name);
    g_autofree char *text = g_strndup((const char *)media->data, media->len);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    KvgStored next = {0};
    for (char **line = lines; *line != NULL; line++) {
        if (g_str_has_prefix(*line, "#EXT-X-PROGRAM-DATE-TIME:"))
            next.start_ms = parse_time_ms(*line + strlen("#EXT-X-PROGRAM-DATE-TIME:"));
        if (**line == '#' || **line == '\0')
            continue;
        g_autoptr(GByteArray) segment = fetch_beside(site, url, *line);
        next.media = find_mdat(segment);
        g_array_append_val(all, next);
    }
    /* A playlist goes by arrival; one that was refused when it came again still lies where it was.
     */
    g_array_sort(all, compare_starts);
    return all;
}
