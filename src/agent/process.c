#include "agent/process.h"

#include "agent/worker.h"
#include "os/log.h"

#include <errno.h>
#include <gio/gio.h>
#include <glib-unix.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOG_DOMAIN "agent"
/* Ticks without a packet; counted, not timed, so that a supervisor that was held up itself does not
 * blame its workers. A new worker may have to look through all plugins of GStreamer first. */
#define MAX_SILENT_TICKS 10
#define MAX_STARTING_TICKS 60
#define KILL_AFTER_MS 4000

struct _KvgProcess {
    KvgProcessEvents events;
    GSubprocess *process;
    GCancellable *cancellable;
    int fd;
    guint watch, kill_timer;
    unsigned n_silent;
    bool has_spoken;
    char *killed_why;
};

/* Between fork and exec. Ctrl-C is the supervisor's to handle. */
static void
prepare(void *user_data)
{
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static gboolean
on_packet(int fd, GIOCondition condition, void *user_data)
{
    KvgProcess *process = user_data;
    g_autoptr(json_t) report = NULL;
    const KvgPacketRead got = kvg_packet_read(fd, &report, NULL);
    if (got == KVG_PACKET_CLOSED) {
        process->watch = 0;
        return G_SOURCE_REMOVE;
    }
    process->n_silent = 0;
    process->has_spoken = true;
    if (got == KVG_PACKET_GOT)
        process->events.report(report, process->events.user_data);
    return G_SOURCE_CONTINUE;
}

static char *
describe_end(const KvgProcess *process)
{
    if (process->killed_why != NULL)
        return g_strdup(process->killed_why);
    if (!g_subprocess_get_if_signaled(process->process))
        return g_strdup_printf("ended with code %d",
                               g_subprocess_get_exit_status(process->process));
    const int number = g_subprocess_get_term_sig(process->process);
    return g_strdup_printf("was ended by signal %d (%s)", number, g_strsignal(number));
}

static void
on_ended(GObject *source, GAsyncResult *result, void *user_data)
{
    g_autoptr(GError) error = NULL;
    if (!g_subprocess_wait_finish(G_SUBPROCESS(source), result, &error))
        return; /* cancelled: freed */
    KvgProcess *process = user_data;
    g_autofree char *how = describe_end(process);
    process->events.ended(how, process->events.user_data);
}

static bool
spawn(KvgProcess *process, int lock_fd, GError **error)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "%s", g_strerror(errno));
        return false;
    }
    process->fd = pair[0];
    g_autoptr(GSubprocessLauncher) launcher =
        g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_STDOUT_SILENCE);
    g_subprocess_launcher_take_fd(launcher, pair[1], KVG_WORKER_FD);
    g_subprocess_launcher_take_fd(launcher, dup(lock_fd), KVG_WORKER_LOCK_FD);
    g_subprocess_launcher_unsetenv(launcher, "NOTIFY_SOCKET");
    g_subprocess_launcher_unsetenv(launcher, "WATCHDOG_USEC");
    g_subprocess_launcher_unsetenv(launcher, "WATCHDOG_PID");
    g_subprocess_launcher_set_child_setup(launcher, prepare, NULL, NULL);
    /* This very program, also after its file was replaced by a newer one. */
    const char *const argv[] = {"/proc/self/exe", "agent", "--worker", NULL};
    process->process = g_subprocess_launcher_spawnv(launcher, argv, error);
    return process->process != NULL;
}

KvgProcess *
kvg_process_start(int lock_fd, const KvgProcessEvents *events, GError **error)
{
    KvgProcess *process = g_new0(KvgProcess, 1);
    process->events = *events;
    process->fd = -1;
    if (!spawn(process, lock_fd, error)) {
        kvg_process_free(process);
        return NULL;
    }
    process->watch = g_unix_fd_add(process->fd, G_IO_IN | G_IO_HUP, on_packet, process);
    process->cancellable = g_cancellable_new();
    g_subprocess_wait_async(process->process, process->cancellable, on_ended, process);
    return process;
}

void
kvg_process_free(KvgProcess *process)
{
    if (process == NULL)
        return;
    if (process->watch != 0)
        g_source_remove(process->watch);
    if (process->kill_timer != 0)
        g_source_remove(process->kill_timer);
    if (process->process != NULL)
        g_subprocess_force_exit(process->process);
    if (process->cancellable != NULL)
        g_cancellable_cancel(process->cancellable);
    if (process->fd >= 0)
        close(process->fd);
    g_clear_object(&process->process);
    g_clear_object(&process->cancellable);
    g_free(process->killed_why);
    g_free(process);
}

int
kvg_process_pid(const KvgProcess *process)
{
    const char *text = g_subprocess_get_identifier(process->process);
    return text != NULL ? atoi(text) : 0;
}

bool
kvg_process_send(KvgProcess *process, const json_t *packet, int fd)
{
    return kvg_packet_write(process->fd, packet, fd);
}

void
kvg_process_kill(KvgProcess *process, const char *why)
{
    if (process->killed_why == NULL)
        process->killed_why = g_strdup(why);
    g_subprocess_force_exit(process->process);
}

static gboolean
on_kill(void *user_data)
{
    KvgProcess *process = user_data;
    process->kill_timer = 0;
    kvg_process_kill(process, "did not end when it was told to");
    return G_SOURCE_REMOVE;
}

void
kvg_process_stop(KvgProcess *process, int64_t wait_ms)
{
    g_autoptr(json_t) packet =
        json_pack("{s:s, s:I}", "op", "stop", "wait_ms", (json_int_t)wait_ms);
    if (process->kill_timer != 0)
        g_source_remove(process->kill_timer);
    process->kill_timer = g_timeout_add((guint)(wait_ms + KILL_AFTER_MS), on_kill, process);
    if (!kvg_packet_write(process->fd, packet, -1))
        g_subprocess_send_signal(process->process, SIGTERM);
}

void
kvg_process_tick(KvgProcess *process)
{
    const unsigned limit = process->has_spoken ? MAX_SILENT_TICKS : MAX_STARTING_TICKS;
    if (process->kill_timer != 0 || ++process->n_silent != limit)
        return;
    g_autofree char *why = g_strdup_printf("did not answer for %u s and was killed", limit);
    kvg_process_kill(process, why);
}
