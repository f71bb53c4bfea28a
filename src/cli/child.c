/* GSubprocess with a process group, a log file and bounded waiting. */
#include "cli/child.h"
#include "os/file.h"
#include <gio/gio.h>
#include <kvg/error.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define LOG_TAIL_BYTES 1500

struct _KvgChild {
    char *name, *log_path;
    GSubprocess *process;
    GCancellable *cancellable; /* of the waits in flight when the child is freed */
    bool has_ended;
    bool has_line;
    char *line;
};

/* Between fork and exec. */
static void
prepare(void *user_data)
{
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
}

static void
on_ended(GObject *source, GAsyncResult *result, void *user_data)
{
    g_autoptr(GError) error = NULL;
    if (g_subprocess_wait_finish(G_SUBPROCESS(source), result, &error))
        ((KvgChild *)user_data)->has_ended = true;
}

static void
on_line(GObject *source, GAsyncResult *result, void *user_data)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *line =
        g_data_input_stream_read_line_finish(G_DATA_INPUT_STREAM(source), result, NULL, &error);
    if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED))
        return;
    KvgChild *child = user_data;
    child->has_line = true;
    child->line = g_steal_pointer(&line);
}

KvgChild *
kvg_child_start(const char *name,
                const char *const *argv,
                char **environ_,
                const char *log_path,
                GError **error)
{
    g_autoptr(GSubprocessLauncher) launcher =
        g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_STDOUT_PIPE);
    g_subprocess_launcher_set_environ(launcher, environ_);
    g_subprocess_launcher_set_stderr_file_path(launcher, log_path);
    g_subprocess_launcher_set_child_setup(launcher, prepare, NULL, NULL);
    g_autoptr(GSubprocess) process = g_subprocess_launcher_spawnv(launcher, argv, error);
    if (process == NULL) {
        g_prefix_error(error, "cannot start %s: ", name);
        return NULL;
    }
    KvgChild *child = g_new0(KvgChild, 1);
    child->name = g_strdup(name);
    child->log_path = g_strdup(log_path);
    child->process = g_steal_pointer(&process);
    child->cancellable = g_cancellable_new();
    g_subprocess_wait_async(child->process, child->cancellable, on_ended, child);
    g_autoptr(GDataInputStream) output =
        g_data_input_stream_new(g_subprocess_get_stdout_pipe(child->process));
    g_data_input_stream_read_line_async(output, G_PRIORITY_DEFAULT, child->cancellable, on_line,
                                        child);
    return child;
}

/* How it ended and the last lines of its log. */
static void
set_death(const KvgChild *child, GError **error)
{
    g_autofree char *log = NULL;
    size_t len = 0;
    if (!g_file_get_contents(child->log_path, &log, &len, NULL))
        len = 0;
    const char *tail = len > LOG_TAIL_BYTES ? log + len - LOG_TAIL_BYTES : log;
    g_autofree char *text = g_utf8_make_valid(tail != NULL ? tail : "", -1);
    if (g_subprocess_get_if_signaled(child->process))
        g_set_error(error, KVG_ERROR, KVG_ERROR_FAILED, "%s was ended by signal %d (log: %s)\n%s",
                    child->name, g_subprocess_get_term_sig(child->process), child->log_path,
                    g_strchomp(text));
    else
        g_set_error(error, KVG_ERROR, KVG_ERROR_FAILED, "%s ended with exit code %d (log: %s)\n%s",
                    child->name, g_subprocess_get_exit_status(child->process), child->log_path,
                    g_strchomp(text));
}

static gboolean
on_timeout(void *user_data)
{
    *(bool *)user_data = true;
    return G_SOURCE_REMOVE;
}

static bool
cancelled(GError **error)
{
    g_set_error(error, KVG_ERROR, KVG_ERROR_CANCELLED, "interrupted");
    return false;
}

json_t *
kvg_child_wait_ready(KvgChild *child, unsigned timeout_s, const bool *stop, GError **error)
{
    bool timed_out = false;
    const guint timer = g_timeout_add_seconds(timeout_s, on_timeout, &timed_out);
    while (!child->has_line && !timed_out && !*stop)
        g_main_context_iteration(NULL, TRUE);
    /* A closed pipe comes before the news of the death. */
    while (child->has_line && child->line == NULL && !child->has_ended && !timed_out && !*stop)
        g_main_context_iteration(NULL, TRUE);
    if (!timed_out)
        g_source_remove(timer);
    if (*stop) {
        cancelled(error);
        return NULL;
    }
    if (child->line != NULL)
        return kvg_json_parse_object(child->line, strlen(child->line), error);
    if (child->has_ended)
        set_death(child, error);
    else
        g_set_error(error, KVG_ERROR, KVG_ERROR_FAILED, "%s was not ready within %u s (log: %s)",
                    child->name, timeout_s, child->log_path);
    return NULL;
}

bool
kvg_child_wait_exit(KvgChild *child, const bool *stop, GError **error)
{
    while (!child->has_ended && !*stop)
        g_main_context_iteration(NULL, TRUE);
    if (*stop)
        return cancelled(error);
    if (g_subprocess_get_successful(child->process))
        return true;
    set_death(child, error);
    return false;
}

bool
kvg_child_has_died(KvgChild *child, GError **error)
{
    if (!child->has_ended)
        return false;
    set_death(child, error);
    return true;
}

void
kvg_child_stop(KvgChild *child, unsigned grace_s)
{
    if (child == NULL || child->has_ended)
        return;
    bool timed_out = false;
    const guint timer = g_timeout_add_seconds(grace_s, on_timeout, &timed_out);
    g_subprocess_send_signal(child->process, SIGTERM);
    while (!child->has_ended && !timed_out)
        g_main_context_iteration(NULL, TRUE);
    if (!timed_out)
        g_source_remove(timer);
    else
        g_subprocess_force_exit(child->process);
    while (!child->has_ended)
        g_main_context_iteration(NULL, TRUE);
}

void
kvg_child_free(KvgChild *child)
{
    if (child == NULL)
        return;
    kvg_child_stop(child, 15);
    g_cancellable_cancel(child->cancellable);
    while (g_main_context_iteration(NULL, FALSE))
        ; /* the cancelled read calls back */
    g_object_unref(child->cancellable);
    g_object_unref(child->process);
    g_free(child->line);
    g_free(child->name);
    g_free(child->log_path);
    g_free(child);
}
