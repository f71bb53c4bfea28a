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

struct _KvgLoop {
    CURLM *multi;
    CURLSH *share;
    KvgFd epoll_fd, wake_fd;
    int64_t timer_us; /* curl's own timeouts; INT64_MAX: none */
};

/* @known: not NULL when the socket is in the epoll already. */
static int
on_socket(CURL *easy, curl_socket_t fd, int what, void *user_data, void *known)
{
    KvgLoop *loop = user_data;
    if (what == CURL_POLL_REMOVE) {
        epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
        return 0;
    }
    struct epoll_event event = {.data.fd = fd};
    if (what & CURL_POLL_IN)
        event.events |= EPOLLIN;
    if (what & CURL_POLL_OUT)
        event.events |= EPOLLOUT;
    const int failed =
        epoll_ctl(loop->epoll_fd, known != NULL ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event);
    if (failed < 0 && errno == EEXIST)
        epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, fd, &event);
    else if (failed < 0 && errno == ENOENT) /* the number was closed and came again */
        epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event);
    curl_multi_assign(loop->multi, fd, loop);
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
    int left = 0;
    const CURLMsg *message = NULL;
    while ((message = curl_multi_info_read(loop->multi, &left)) != NULL) {
        if (message->msg == CURLMSG_DONE)
            on_done(message->easy_handle, message->data.result, user_data);
    }
}
