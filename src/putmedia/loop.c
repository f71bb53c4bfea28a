#include "putmedia/loop.h"

#include "base/clock.h"
#include "os/file.h"
#include <errno.h>
#include <kvg/error.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define MAX_EVENTS 256
#define MAX_WAIT_MS 60000

typedef struct {
    curl_socket_t fd;
    uint32_t wanted, watched; /* epoll events: by curl, and in the epoll */
    bool is_eager;
} Socket;

struct _KvgLoop {
    CURLM *multi;
    CURLSH *share;
    KvgFd epoll_fd, wake_fd;
    int64_t timer_us; /* curl's own timeouts; INT64_MAX: none */
    GPtrArray *eager; /* sockets that want to write and have not tried yet */
    Socket *trying;   /* NULL when it is removed meanwhile */
};

static void
watch(KvgLoop *loop, Socket *socket, int operation)
{
    struct epoll_event event = {.events = socket->wanted, .data.fd = socket->fd};
    socket->watched = socket->wanted;
    const int failed = epoll_ctl(loop->epoll_fd, operation, socket->fd, &event);
    if (failed < 0 && errno == EEXIST)
        epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, socket->fd, &event);
    else if (failed < 0 && errno == ENOENT) /* the number was closed and came again */
        epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, socket->fd, &event);
}

/* @known: of this socket; NULL when it is new. A socket can nearly always be written to, and curl
 * asks for it anew with each piece of a paused upload: it tries first, and only if it still wants
 * to write then is it watched. That spares two system calls a piece. */
static int
on_socket(CURL *easy, curl_socket_t fd, int what, void *user_data, void *known)
{
    KvgLoop *loop = user_data;
    Socket *socket = known;
    if (what == CURL_POLL_REMOVE) {
        epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
        g_ptr_array_remove_fast(loop->eager, socket);
        if (loop->trying == socket)
            loop->trying = NULL;
        g_free(socket);
        return 0;
    }
    const uint32_t wanted =
        ((what & CURL_POLL_IN) != 0 ? EPOLLIN : 0u) | ((what & CURL_POLL_OUT) != 0 ? EPOLLOUT : 0u);
    if (socket == NULL) {
        socket = g_new(Socket, 1);
        *socket = (Socket){.fd = fd, .wanted = wanted};
        curl_multi_assign(loop->multi, fd, socket);
        watch(loop, socket, EPOLL_CTL_ADD);
        return 0;
    }
    socket->wanted = wanted;
    if (wanted == socket->watched)
        return 0;
    if (wanted != (socket->watched | EPOLLOUT)) {
        watch(loop, socket, EPOLL_CTL_MOD);
    } else if (!socket->is_eager) {
        socket->is_eager = true;
        g_ptr_array_add(loop->eager, socket);
    }
    return 0;
}

static int
on_timer(CURLM *multi, long timeout_ms, void *user_data)
{
    KvgLoop *loop = user_data;
    loop->timer_us = timeout_ms < 0 ? INT64_MAX : kvg_clock_mono_us() + timeout_ms * 1000;
    return 0;
}

static bool
open_fds(KvgLoop *loop, GError **error)
{
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = loop->wake_fd};
    if (loop->epoll_fd >= 0 && loop->wake_fd >= 0 &&
        epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->wake_fd, &event) == 0)
        return true;
    g_set_error(error, KVG_ERROR, KVG_ERROR_FAILED, "epoll: %s; raise the limit of open files",
                g_strerror(errno));
    return false;
}

KvgLoop *
kvg_loop_new(GError **error)
{
    KvgLoop *loop = g_new0(KvgLoop, 1);
    loop->epoll_fd = loop->wake_fd = KVG_FD_NONE;
    loop->timer_us = INT64_MAX;
    loop->multi = curl_multi_init();
    loop->eager = g_ptr_array_new();
    loop->share = curl_share_init();
    curl_share_setopt(loop->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
    curl_multi_setopt(loop->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(loop->multi, CURLMOPT_SOCKETDATA, loop);
    curl_multi_setopt(loop->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(loop->multi, CURLMOPT_TIMERDATA, loop);
    if (open_fds(loop, error))
        return loop;
    kvg_loop_free(loop);
    return NULL;
}

void
kvg_loop_free(KvgLoop *loop)
{
    if (loop == NULL)
        return;
    curl_multi_cleanup(loop->multi);
    curl_share_cleanup(loop->share);
    g_ptr_array_unref(loop->eager);
    kvg_fd_clear(&loop->wake_fd);
    kvg_fd_clear(&loop->epoll_fd);
    g_free(loop);
}

void
kvg_loop_add(KvgLoop *loop, CURL *easy)
{
    curl_multi_add_handle(loop->multi, easy);
}

void
kvg_loop_remove(KvgLoop *loop, CURL *easy)
{
    curl_multi_remove_handle(loop->multi, easy);
}

void
kvg_loop_share(KvgLoop *loop, CURL *easy)
{
    curl_easy_setopt(easy, CURLOPT_SHARE, loop->share);
}

void
kvg_loop_wake(KvgLoop *loop)
{
    const uint64_t one = 1;
    while (write(loop->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
        continue;
}

static int
wait_ms(const KvgLoop *loop, int64_t until_us)
{
    const int64_t left_us = MIN(until_us, loop->timer_us) - kvg_clock_mono_us();
    return (int)CLAMP((left_us + 999) / 1000, 0, MAX_WAIT_MS);
}

static void
serve_event(KvgLoop *loop, const struct epoll_event *event)
{
    if (event->data.fd == loop->wake_fd) {
        uint64_t n;
        while (read(loop->wake_fd, &n, sizeof n) < 0 && errno == EINTR)
            continue;
        return;
    }
    int mask = 0;
    if (event->events & EPOLLIN)
        mask |= CURL_CSELECT_IN;
    if (event->events & EPOLLOUT)
        mask |= CURL_CSELECT_OUT;
    if (event->events & (EPOLLERR | EPOLLHUP))
        mask |= CURL_CSELECT_ERR | CURL_CSELECT_IN;
    int running;
    curl_multi_socket_action(loop->multi, event->data.fd, mask, &running);
}

/* Lets those that want to write try; who still wants to then waits until the socket is ready. */
static void
serve_eager(KvgLoop *loop)
{
    for (guint left = loop->eager->len; left > 0 && loop->eager->len > 0; left--) {
        Socket *socket = g_ptr_array_steal_index_fast(loop->eager, 0);
        socket->is_eager = false;
        if (socket->wanted == socket->watched)
            continue;
        loop->trying = socket;
        int running;
        curl_multi_socket_action(loop->multi, socket->fd, CURL_CSELECT_OUT, &running);
        if (loop->trying != NULL && !socket->is_eager && socket->wanted != socket->watched)
            watch(loop, socket, EPOLL_CTL_MOD);
        loop->trying = NULL;
    }
}

void
kvg_loop_turn(KvgLoop *loop,
              int64_t until_us,
              void (*on_done)(CURL *easy, CURLcode result, void *user_data),
              void *user_data)
{
    struct epoll_event events[MAX_EVENTS];
    const int n = epoll_wait(loop->epoll_fd, events, MAX_EVENTS, wait_ms(loop, until_us));
    for (int i = 0; i < n; i++)
        serve_event(loop, &events[i]);
    if (loop->timer_us <= kvg_clock_mono_us()) {
        int running;
        loop->timer_us = INT64_MAX;
        curl_multi_socket_action(loop->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    }
    serve_eager(loop);
    int left = 0;
    const CURLMsg *message = NULL;
    while ((message = curl_multi_info_read(loop->multi, &left)) != NULL) {
        if (message->msg == CURLMSG_DONE)
            on_done(message->easy_handle, message->data.result, user_data);
    }
}
