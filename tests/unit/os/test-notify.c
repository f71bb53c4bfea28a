/* What systemd is told, by its own protocol: datagrams to the socket that it names. */
#include "os/file.h"
#include "os/notify.h"
#include <glib.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int
listen_at(const char *name, bool is_abstract)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    g_strlcpy(address.sun_path, name, sizeof address.sun_path);
    if (is_abstract)
        address.sun_path[0] = '\0';
    const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&address,
                         (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))),
                    ==, 0);
    return fd;
}

static void
check(const char *name, bool is_abstract)
{
    const int fd = listen_at(name, is_abstract);
    char got[64] = {0};
    g_setenv("NOTIFY_SOCKET", name, TRUE);
    kvg_notify("READY=1\nSTATUS=fine");
    g_assert_cmpint(recv(fd, got, sizeof got - 1, MSG_DONTWAIT), ==, 19);
    g_assert_cmpstr(got, ==, "READY=1\nSTATUS=fine");
    /* A manager that does not read never holds us up. */
    for (unsigned i = 0; i < 10000; i++)
        kvg_notify("WATCHDOG=1");
    close(fd);
    kvg_notify("STOPPING=1"); /* nobody there: nothing happens */
}

static void
test_socket(void)
{
    g_autofree char *folder = g_dir_make_tmp("kvg-notify-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(folder, "socket", NULL);
    g_autofree char *abstract = g_strdup_printf("@kvg-test-%d", (int)getpid());
    check(path, false);
    check(abstract, true);
    g_setenv("NOTIFY_SOCKET", "not a path", TRUE);
    kvg_notify("READY=1");
    g_unsetenv("NOTIFY_SOCKET");
    kvg_notify("READY=1");
    g_assert_true(kvg_dir_remove(folder, NULL));
}

static void
test_watchdog(void)
{
    g_autofree char *me = g_strdup_printf("%d", (int)getpid());
    g_unsetenv("WATCHDOG_PID");
    g_unsetenv("WATCHDOG_USEC");
    g_assert_cmpint(kvg_notify_watchdog_us(), ==, 0);
    g_setenv("WATCHDOG_USEC", "30000000", TRUE);
    g_assert_cmpint(kvg_notify_watchdog_us(), ==, 30000000);
    g_setenv("WATCHDOG_PID", me, TRUE);
    g_assert_cmpint(kvg_notify_watchdog_us(), ==, 30000000);
    g_setenv("WATCHDOG_PID", "1", TRUE);
    g_assert_cmpint(kvg_notify_watchdog_us(), ==, 0);
    g_unsetenv("WATCHDOG_PID");
    g_setenv("WATCHDOG_USEC", "soon", TRUE);
    g_assert_cmpint(kvg_notify_watchdog_us(), ==, 0);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/os/notify/socket", test_socket);
    g_test_add_func("/os/notify/watchdog", test_watchdog);
    return g_test_run();
}
