/* What keeps the cameras' processes in order: quarantine, one agent a spool, changes of files,
 * requests to reload, the board over a reload, descriptors between processes. */
#include "agent/board.h"
#include "agent/lock.h"
#include "agent/packet.h"
#include "agent/quarantine.h"
#include "agent/reload.h"
#include "agent/watch.h"
#include "os/file.h"
#include <fcntl.h>
#include <glib/gstdio.h>
#include <kvg/error.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MINUTE_MS 60000

static char *folder;

static char *
path_of(const char *name)
{
    return g_build_filename(folder, name, NULL);
}

/* ---- quarantine ---- */

/* Ends every second until it is in quarantine; the number of ends. */
static unsigned
crash_until_quarantined(KvgQuarantine *quarantine, int64_t *now_ms)
{
    for (unsigned n = 1; n < 100; n++) {
        *now_ms += 1000;
        if (kvg_quarantine_on_end(quarantine, 1000, *now_ms))
            return n;
    }
    return 0;
}

static void
test_quarantine(void)
{
    static const int minutes[] = {5, 10, 20, 40, 60, 60};
    KvgQuarantine quarantine = {0};
    int64_t now_ms = 5 * MINUTE_MS;
    for (size_t i = 0; i < G_N_ELEMENTS(minutes); i++) {
        /* After the first time one try is enough. */
        g_assert_cmpuint(crash_until_quarantined(&quarantine, &now_ms), ==, i == 0 ? 5 : 1);
        g_autofree char *reason = kvg_quarantine_reason(&quarantine, "was ended by signal 11");
        g_autofree char *rests = g_strdup_printf("rests for %d min", minutes[i]);
        g_assert_nonnull(strstr(reason, rests));
        g_assert_nonnull(strstr(reason, "the last was ended by signal 11"));
        if (i == 0)
            g_assert_nonnull(strstr(reason, "ended 5 times within 5 s"));
        const int64_t end_ms = now_ms + minutes[i] * MINUTE_MS;
        g_assert_false(kvg_quarantine_is_over(&quarantine, end_ms - 1));
        g_assert_true(kvg_quarantine_is_over(&quarantine, end_ms));
        kvg_quarantine_try(&quarantine);
        g_assert_false(kvg_quarantine_is_over(&quarantine, end_ms));
        now_ms = end_ms;
    }
}

static void
test_quarantine_forgives(void)
{
    KvgQuarantine quarantine = {0};
    int64_t now_ms = MINUTE_MS;
    g_assert_cmpuint(crash_until_quarantined(&quarantine, &now_ms), ==, 5);
    kvg_quarantine_try(&quarantine);
    now_ms += 11 * MINUTE_MS;
    g_assert_false(kvg_quarantine_on_end(&quarantine, 11 * MINUTE_MS, now_ms)); /* lived well */
    g_assert_cmpuint(crash_until_quarantined(&quarantine, &now_ms), ==, 4);
    g_assert_true(kvg_quarantine_is_over(&quarantine, now_ms + 5 * MINUTE_MS));
    g_assert_false(kvg_quarantine_is_over(&(KvgQuarantine){0}, now_ms));
}

/* ---- lock ---- */

static void
test_lock(void)
{
    g_autofree char *spool = path_of("spool");
    g_autoptr(GError) error = NULL;
    const int first = kvg_agent_lock(spool, 0, &error);
    g_assert_no_error(error);
    /* A worker has it, too: the agent's own end does not free it. */
    const int of_worker = dup(first);
    close(first);
    g_assert_cmpint(kvg_agent_lock(spool, 50, &error), ==, -1);
    g_assert_error(error, KVG_ERROR, KVG_ERROR_INVALID);
    g_autofree char *who = g_strdup_printf("process %d", (int)getpid());
    g_assert_nonnull(strstr(error->message, who));
    g_assert_nonnull(strstr(error->message, spool));
    g_clear_error(&error);
    close(of_worker);
    const int again = kvg_agent_lock(spool, 0, &error);
    g_assert_no_error(error);
    close(again);
}

static void *
close_later(void *data)
{
    g_usleep(200000);
    close(GPOINTER_TO_INT(data));
    return NULL;
}

static void
test_lock_waits(void)
{
    g_autofree char *spool = path_of("spool");
    g_autoptr(GError) error = NULL;
    const int dying = kvg_agent_lock(spool, 0, &error);
    g_assert_no_error(error);
    GThread *thread = g_thread_new("close", close_later, GINT_TO_POINTER(dying));
    const int next = kvg_agent_lock(spool, 60000, &error);
    g_assert_no_error(error);
    g_thread_join(thread);
    close(next);
}

/* ---- watch ---- */

static KvgConfig *
load(const char *text)
{
    g_autofree char *path = path_of("kvg.yaml");
    g_autofree char *temporary = path_of("kvg.yaml~");
    g_autoptr(GError) error = NULL;
    /* As editors do it. */
    g_assert_true(g_file_set_contents(temporary, text, -1, NULL));
    g_assert_cmpint(g_rename(temporary, path), ==, 0);
    KvgConfig *config = kvg_config_load(path, &error);
    g_assert_no_error(error);
    return config;
}

#define TWO                                                                                        \
    "region: us-east-1\ncameras:\n  a: { source: 'rtsp://h/a', username: u, password_file: "       \
    "secret }\n  b: { source: 'test:', streaming: off }\n"

static void
test_watch(void)
{
    g_autofree char *secret = path_of("secret");
    g_assert_true(kvg_file_replace(secret, "one", 3, 0600, NULL));
    g_autoptr(KvgConfig) config = load(TWO);
    KvgWatch *watch = kvg_watch_new();
    kvg_watch_set(watch, config);
    g_assert_false(kvg_watch_tick(watch));
    for (unsigned i = 0; i < 3; i++) {
        if (i == 0)
            kvg_config_unref(load(TWO "# more\n"));
        else if (i == 1)
            g_assert_true(kvg_file_replace(secret, "two", 3, 0600, NULL));
        else
            g_assert_cmpint(g_unlink(secret), ==, 0);
        g_assert_false(kvg_watch_tick(watch)); /* may go on changing */
        g_assert_true(kvg_watch_tick(watch));
        g_assert_false(kvg_watch_tick(watch)); /* once */
    }
    kvg_watch_free(watch);
}

/* ---- reload ---- */

typedef struct {
    KvgReload *reload;
    unsigned n_runs; /* main thread */
    _Atomic int n_begun, n_answered;
} Asked;

static json_t *
count_runs(void *user_data)
{
    Asked *asked = user_data;
    g_usleep(1000);
    return json_pack("{s:i, s:i}", "run", (int)++asked->n_runs, "begun", asked->n_begun);
}

static void *
ask(void *data)
{
    Asked *asked = data;
    const int n_before = asked->n_begun++;
    g_autoptr(json_t) answer = kvg_reload_request(asked->reload);
    /* Not the answer to a question that was asked before. */
    g_assert_cmpint(kvg_json_get_int(answer, "begun", 0), >, n_before);
    asked->n_answered++;
    return NULL;
}

static void *
ask_in_vain(void *data)
{
    Asked *asked = data;
    asked->n_begun++;
    g_assert_null(kvg_reload_request(asked->reload));
    return NULL;
}

static void
test_reload(void)
{
    Asked asked = {0};
    GThread *threads[16];
    asked.reload = kvg_reload_new(count_runs, &asked);
    for (size_t i = 0; i < G_N_ELEMENTS(threads); i++)
        threads[i] = g_thread_new("ask", ask, &asked);
    while (asked.n_answered < (int)G_N_ELEMENTS(threads))
        g_main_context_iteration(NULL, FALSE);
    for (size_t i = 0; i < G_N_ELEMENTS(threads); i++)
        g_thread_join(threads[i]);
    g_assert_cmpuint(asked.n_runs, >=, 1);
    g_assert_cmpuint(asked.n_runs, <=, G_N_ELEMENTS(threads));
    GThread *waiting = g_thread_new("ask", ask_in_vain, &asked);
    while (asked.n_begun == (int)G_N_ELEMENTS(threads))
        g_thread_yield();
    kvg_reload_close(asked.reload);
    g_thread_join(waiting);
    g_assert_null(kvg_reload_request(asked.reload));
    kvg_reload_free(asked.reload);
}

/* ---- board ---- */

static void
test_board(void)
{
    g_autofree char *secret = path_of("secret");
    g_assert_true(kvg_file_replace(secret, "one", 3, 0600, NULL));
    g_autoptr(KvgConfig) before = load(TWO);
    g_autoptr(KvgConfig) after =
        load("region: us-east-1\ncameras:\n  c: { source: 'test:' }\n  a: { source: 'test:' }\n");
    KvgBoard *board = kvg_board_new(before);
    g_autoptr(json_t) report =
        json_pack("{s:s, s:s, s:i}", "name", "a", "state", "live", "frames", 12);
    kvg_board_update(board, report);
    g_autoptr(json_t) never = kvg_board_get_reload(board);
    g_assert_true(json_is_null(never));
    kvg_board_reload(board, after);
    g_autoptr(json_t) all = kvg_board_all(board);
    const json_t *cameras = json_object_get(all, "cameras");
    g_assert_cmpuint(json_array_size(cameras), ==, 2);
    const json_t *a = json_array_get(cameras, 1);
    g_assert_cmpstr(kvg_json_get_string(json_array_get(cameras, 0), "name"), ==, "c");
    g_assert_cmpint(kvg_json_get_int(a, "frames", 0), ==, 12); /* what was known is kept */
    g_assert_cmpstr(kvg_json_get_string(a, "source"), ==, "test:");
    g_assert_null(kvg_board_get(board, "b"));
    g_autoptr(json_t) result = json_pack("{s:b}", "ok", 0);
    kvg_board_set_reload(board, result);
    g_autoptr(json_t) kept = kvg_board_get_reload(board);
    g_assert_true(json_equal(kept, result));
    kvg_board_free(board);
}

/* ---- packets with a descriptor ---- */

static void
test_descriptor(void)
{
    int pair[2], got = -1;
    json_t *packet = NULL;
    g_autofree char *path = path_of("passed");
    g_assert_true(g_file_set_contents(path, "x", 1, NULL));
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), ==, 0);
    const int sent = open(path, O_RDONLY | O_CLOEXEC);
    g_autoptr(json_t) object = json_object();
    g_assert_true(kvg_packet_write(pair[0], object, sent));
    g_assert_true(kvg_packet_write(pair[0], object, sent));
    g_assert_true(kvg_packet_write(pair[0], object, -1));
    close(sent);
    char byte = 0;
    g_assert_cmpint(kvg_packet_read(pair[1], &packet, &got), ==, KVG_PACKET_GOT);
    g_assert_cmpint(read(got, &byte, 1), ==, 1);
    g_assert_cmpint(byte, ==, 'x');
    close(got);
    json_decref(packet);
    /* Who does not want one leaves none open. */
    const int next = dup(pair[0]);
    close(next);
    g_assert_cmpint(kvg_packet_read(pair[1], &packet, NULL), ==, KVG_PACKET_GOT);
    json_decref(packet);
    const int same = dup(pair[0]);
    g_assert_cmpint(same, ==, next);
    close(same);
    g_assert_cmpint(kvg_packet_read(pair[1], &packet, &got), ==, KVG_PACKET_GOT);
    g_assert_cmpint(got, ==, -1);
    json_decref(packet);
    close(pair[0]);
    close(pair[1]);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    folder = g_dir_make_tmp("kvg-supervision-XXXXXX", NULL);
    g_test_add_func("/agent/quarantine/grows", test_quarantine);
    g_test_add_func("/agent/quarantine/forgives", test_quarantine_forgives);
    g_test_add_func("/agent/lock/excludes", test_lock);
    g_test_add_func("/agent/lock/waits", test_lock_waits);
    g_test_add_func("/agent/watch", test_watch);
    g_test_add_func("/agent/reload", test_reload);
    g_test_add_func("/agent/board/reload", test_board);
    g_test_add_func("/agent/packet/descriptor", test_descriptor);
    const int status = g_test_run();
    g_assert_true(kvg_dir_remove(folder, NULL));
    g_free(folder);
    return status;
}
