/* The suite: all rows at once, each with a camera and a proxy of its own, against one server. */
#include "row.h"

#include "os/file.h"
#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

/* Between two starts, so that a hundred TLS handshakes do not meet. */
#define START_US 20000

static FILE *log_file;

/* Everything that is logged, at any level, with all fields. */
static GLogWriterOutput
write_log(GLogLevelFlags level, const GLogField *fields, gsize n, gpointer unused)
{
    flockfile(log_file);
    for (gsize i = 0; i < n; i++) {
        if (fields[i].length < 0)
            fprintf(log_file, "%s=%s ", fields[i].key, (const char *)fields[i].value);
    }
    fputc('\n', log_file);
    funlockfile(log_file);
    if (level & (G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL))
        return g_log_writer_standard_streams(level, fields, n, unused);
    return G_LOG_WRITER_HANDLED;
}

static void
test_row(gconstpointer data)
{
    RowRun *run = (RowRun *)(uintptr_t)data;
    row_finish(run);
}

/* ---- secrets ---- */

static void
expect_absent(const char *where, const char *text, const char *what)
{
    g_autoptr(GRegex) regex = g_regex_new(what, G_REGEX_RAW, 0, NULL);
    g_autoptr(GMatchInfo) match = NULL;
    int at = 0;
    if (!g_regex_match(regex, text, 0, &match) || !g_match_info_fetch_pos(match, 0, &at, NULL))
        return;
    g_autofree char *context = g_strndup(text + at - MIN(at, 100), 300);
    g_test_message("%s holds '%.12s...': %s", where, what, context);
    g_test_fail();
}

static void
expect_no_secret(const char *where, const char *text, const KvgSite *site)
{
    static const char *const secrets[] = {"wrongSecretThatMustNotBeLogged",
                                          "Signature=[^.]",
                                          "0123456789abcdef",
                                          "user:secret",
                                          "PRIVATE KEY",
                                          "sessionToken",
                                          "secretAccessKey"};
    for (size_t i = 0; i < G_N_ELEMENTS(secrets); i++)
        expect_absent(where, text, secrets[i]);
    g_autofree char *key = g_regex_escape_string(site->secret_key, -1);
    expect_absent(where, text, key);
}

typedef struct {
    KvgSite *site;
    GPtrArray *runs;
    char *log_path;
} Suite;

static void
test_secrets(gconstpointer data)
{
    const Suite *suite = data;
    fflush(log_file);
    size_t len = 0;
    g_autofree char *ours = kvg_file_read(suite->log_path, 256u << 20, &len, NULL);
    g_assert_cmpuint(len, >, 0);
    g_autofree char *server = kvg_file_read(suite->site->log_path, 256u << 20, &len, NULL);
    g_assert_cmpuint(len, >, 0);
    expect_no_secret("our log", ours, suite->site);
    expect_no_secret("the server's log", server, suite->site);
    for (guint i = 0; i < suite->runs->len; i++) {
        const RowRun *run = g_ptr_array_index(suite->runs, i);
        for (guint j = 0; j < run->camera.notes->len; j++)
            expect_no_secret("a reason", g_array_index(run->camera.notes, KvgCameraNote, j).reason,
                             suite->site);
    }
}

/* ---- names that cannot be: said at once, with the name ---- */

static void
test_names(gconstpointer data)
{
    const Suite *suite = data;
    g_autofree char *long_name = g_strnfill(257, 'x');
    const char *const names[] = {"", "a b", "../gate", "gate/1", ".gate", "caf\xc3\xa9", long_name};
    g_autofree char *spool = g_build_filename(suite->site->folder, "spool", "names", NULL);
    const KvgProducerOptions options = {.region = "us-east-1", .spool_path = spool};
    g_autoptr(KvgProducer) producer = kvg_producer_new(&options, NULL);
    g_autoptr(KvgCredentials) keys = kvg_credentials_new_static("AKIA", "secret", NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autoptr(GError) error = NULL;
        const KvgStreamOptions stream = {.name = names[i], .credentials = keys};
        g_assert_null(kvg_producer_open_stream(producer, &stream, &error));
        g_assert_error(error, KVG_ERROR, KVG_ERROR_INVALID);
        g_assert_nonnull(strstr(error->message, names[i]));
    }
}

/* ---- */

static void
provision(Suite *suite)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    for (size_t i = 0; i < n_rows; i++) {
        if (rows[i].keys >= ROW_KEYS_IOT)
            g_ptr_array_add(names, g_strdelimit(g_strdup(rows[i].name), "/ ", '-'));
    }
    g_ptr_array_add(names, NULL);
    kvg_site_provision(suite->site, (const char *const *)names->pdata);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_set_nonfatal_assertions(); /* one bad row does not end the others */
    g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_ERROR);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    Suite suite = {.site = kvg_site_start(), .runs = g_ptr_array_new()};
    suite.log_path = g_build_filename(suite.site->folder, "test.log", NULL);
    log_file = fopen(suite.log_path, "ae");
    g_assert_nonnull(log_file);
    g_log_set_writer_func(write_log, NULL, NULL);
    provision(&suite);
    const char *only = argc > 1 ? argv[1] : NULL; /* rows that begin with this */
    for (size_t i = 0; i < n_rows; i++) {
        if (only != NULL && !g_str_has_prefix(rows[i].name, only))
            continue;
        RowRun *run = row_start(&rows[i], suite.site);
        g_autofree char *path = g_strconcat("/faults/", rows[i].name, NULL);
        g_test_add_data_func(path, run, test_row);
        g_ptr_array_add(suite.runs, run);
        g_usleep(START_US);
    }
    g_test_add_data_func("/faults/names", &suite, test_names);
    g_test_add_data_func("/secrets/in-no-log", &suite, test_secrets);
    const int result = g_test_run();
    for (guint i = 0; i < suite.runs->len; i++)
        row_free(g_ptr_array_index(suite.runs, i));
    g_ptr_array_unref(suite.runs);
    kvg_site_stop(suite.site);
    g_free(suite.log_path);
    return result;
}
