/* What counts as a change of a configuration, and snapshots that outlive the files. */
#include "config/diff.h"
#include "config/snapshot.h"
#include "os/file.h"
#include <glib/gstdio.h>
#include <kvg/error.h>
#include <string.h>
#include <unistd.h>

static char *folder;

static KvgConfig *
load(const char *text)
{
    g_autofree char *path = g_build_filename(folder, "kvg.yaml", NULL);
    g_autoptr(GError) error = NULL;
    g_assert_true(g_file_set_contents(path, text, -1, NULL));
    KvgConfig *config = kvg_config_load(path, &error);
    g_assert_no_error(error);
    return config;
}

static void
write_secret(const char *text)
{
    g_autofree char *path = g_build_filename(folder, "secret", NULL);
    g_assert_true(kvg_file_replace(path, text, strlen(text), 0600, NULL));
}

#define TOP "region: us-east-1\n"
#define A "  a: { source: 'rtsp://h/a', username: u, password_file: secret }\n"
#define B "  b: { source: 'rtsp://h/b' }\n"

static void
test_diff(void)
{
    static const struct {
        const char *before, *after, *said;
    } table[] = {
        {TOP "cameras:\n" A B, TOP "cameras:\n" B A, "nothing has changed"},
        {TOP "cameras:\n" A B, TOP "# comment\ncameras:\n" A "\n" B, "nothing has changed"},
        {TOP "cameras:\n" A B,
         TOP "cameras:\n" A
             "  b:\n    video: passthrough\n    source: rtsp://h/b\n    streaming: on\n",
         "nothing has changed"},
        {TOP "cameras:\n" A, TOP "cameras:\n" A B, "added b"},
        {TOP "cameras:\n" A B, TOP "cameras:\n" B, "removed a"},
        {TOP "cameras:\n" A B, TOP "cameras:\n" A "  c: { source: 'rtsp://h/b' }\n",
         "added c; removed b"},
        {TOP "cameras:\n" A B, TOP "cameras:\n" A "  b: { source: 'rtsp://h/x' }\n", "changed b"},
        {TOP "cameras:\n" A B, TOP "defaults: { fragment: 2s }\ncameras:\n" A B, "changed a, b"},
        {TOP "defaults: { fragment: 2s }\ncameras:\n" B "  c: { source: 'test:', fragment: 3s }\n",
         TOP "defaults: { fragment: 4s }\ncameras:\n" B "  c: { source: 'test:', fragment: 3s }\n",
         "changed b"},
        {TOP "defaults: { video: { width: 640 } }\ncameras:\n" B
             "  c: { source: 'test:', video: { fps: 5 } }\n  d: { source: 'test:', video: { width: "
             "320 } }\n",
         TOP "defaults: { video: { width: 800 } }\ncameras:\n" B
             "  c: { source: 'test:', video: { fps: 5 } }\n  d: { source: 'test:', video: { width: "
             "320 } }\n",
         "changed b, c"},
        {TOP "cameras:\n" B, TOP "endpoint: https://h\ncameras:\n" B,
         "changed keys of the site: all cameras start again"},
        {TOP "cameras:\n" B, TOP "spool: { limit: 3GiB }\ncameras:\n" B,
         "changed keys of the site: all cameras start again"},
        {TOP "cameras:\n" B, TOP "spool: { limit: 20GiB }\nidentity: {}\ncameras:\n" B,
         "nothing has changed"},
        {TOP "cameras:\n" B, TOP "identity: { tags: { x: y } }\ncameras:\n" B,
         "changed keys that running cameras do not need"},
        {TOP "cameras:\n" B, TOP "identity: { mqtt_endpoint: 'h:1' }\ncameras:\n" B,
         "changed identity.mqtt_endpoint"},
        {TOP "cameras:\n" B, TOP "api: { port: 81 }\nworkers: 2\ncameras:\n" B,
         "changed keys of the API: they take effect when the agent is restarted; workers: all "
         "cameras start again"},
    };
    write_secret("one\n");
    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        g_autoptr(KvgConfig) before = load(table[i].before);
        g_autoptr(KvgConfig) after = load(table[i].after);
        g_autoptr(KvgConfigDiff) diff = kvg_config_diff(before, after);
        g_autofree char *said = kvg_config_diff_to_text(diff);
        g_assert_cmpstr(said, ==, table[i].said);
        g_assert_true(kvg_config_diff_is_empty(diff) ==
                      g_str_equal(table[i].said, "nothing has changed"));
    }
}

/* The file's name is the same, its content is not. */
static void
test_secret(void)
{
    write_secret("one\n");
    g_autoptr(KvgConfig) before = load(TOP "cameras:\n" A B);
    write_secret("two\n");
    g_autoptr(KvgConfig) after = load(TOP "cameras:\n" A B);
    g_autoptr(KvgConfigDiff) diff = kvg_config_diff(before, after);
    g_autofree char *said = kvg_config_diff_to_text(diff);
    g_assert_cmpstr(said, ==, "changed a");
}

static void
test_snapshot(void)
{
    write_secret("hush\n");
    g_autofree char *ca = g_build_filename(folder, "ca.pem", NULL);
    g_assert_true(g_file_set_contents(ca, "x", -1, NULL));
    g_autoptr(KvgConfig) config = load(TOP "ca_bundle: ca.pem\nworkers: 3\ncameras:\n" A B);
    g_autofree char *path = g_build_filename(folder, "kvg.yaml", NULL);
    g_autofree char *secret = g_build_filename(folder, "secret", NULL);
    g_assert_true(g_file_set_contents(path, "broken: [", -1, NULL));
    g_unlink(secret);
    g_unlink(ca);
    g_autoptr(GError) error = NULL;
    const int fd = kvg_config_to_fd(config, &error);
    g_assert_no_error(error);
    for (int i = 0; i < 2; i++) { /* its position does not matter */
        g_autoptr(KvgConfig) again = kvg_config_from_fd(fd, &error);
        g_assert_no_error(error);
        g_autoptr(KvgConfigDiff) diff = kvg_config_diff(config, again);
        g_assert_true(kvg_config_diff_is_empty(diff));
        g_assert_cmpstr(kvg_config_find_camera(again, "a")->password, ==, "hush");
        g_assert_cmpstr(again->ca_bundle, ==, ca);
        g_assert_cmpstr(again->path, ==, path);
        g_assert_cmpuint(again->workers, ==, 3);
    }
    g_assert_cmpint(write(fd, "x", 1), ==, -1); /* nobody changes it under a worker */
    close(fd);
    g_assert_null(kvg_config_from_fd(fd, &error));
    g_assert_nonnull(error);
}

static void
test_references(void)
{
    KvgConfig *config = load(TOP "cameras:\n" B);
    KvgConfig *kept = kvg_config_ref(config);
    kvg_config_unref(config);
    g_assert_cmpstr(kvg_config_find_camera(kept, "b")->source, ==, "rtsp://h/b");
    kvg_config_unref(kept);
    kvg_config_unref(NULL);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    folder = g_dir_make_tmp("kvg-changes-XXXXXX", NULL);
    g_test_add_func("/config/diff", test_diff);
    g_test_add_func("/config/secret", test_secret);
    g_test_add_func("/config/snapshot", test_snapshot);
    g_test_add_func("/config/references", test_references);
    const int status = g_test_run();
    g_assert_true(kvg_dir_remove(folder, NULL));
    g_free(folder);
    return status;
}
