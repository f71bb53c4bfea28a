#include "frames/server.h"
#include "frames/address.h"
#include "frames/wire.h"
#include "os/file.h"
#include "os/log.h"
#include "os/thread.h"
#include <errno.h>
#include <kvg/error.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#define LOG_DOMAIN "frames"

/* A published picture: held by `newest` and by each lease on it. */
typedef struct {
    grefcount refs; /* under the server's lock */
    KvgFramesPicture is;
    uint64_t sequence;
    void *owner;
    GDestroyNotify give_back;
} Picture;

typedef struct {
    int fd;
    bool has_asked, is_broken;
    uint64_t after; /* has seen this one already */
    Picture *leases[KVG_FRAMES_MAX_LEASES];
    uint32_t pool; /* whose slots it knows */
    GArray *slots; /* uint32_t: those it has a descriptor of */
} Consumer;

struct _KvgFramesServer {
    char *path;
    KvgFramesDemand demand;
    void *user_data;
    int listen_fd, wake_fd;
    pthread_t thread;
    struct {
        pthread_mutex_t lock;
        GPtrArray *consumers; /* Consumer; added and removed by the thread only */
        Picture *newest;
        uint64_t sequence, delivered;
        bool is_stopping;
    } shared;
};

/* ---- pictures ---- */

/* With the lock held; what is nobody's any more goes into @gone, to be given back without it. */
static void
picture_unref(Picture *picture, GPtrArray *gone)
{
    if (picture != NULL && g_ref_count_dec(&picture->refs))
        g_ptr_array_add(gone, picture);
}

static void
give_back(void *data)
{
    Picture *picture = data;
    picture->give_back(picture->owner);
    g_free(picture);
}

static GPtrArray *
gone_new(void)
{
    return g_ptr_array_new_with_free_func(give_back);
}

/* ---- one consumer ---- */

static Picture **
find_lease(Consumer *consumer, uint32_t slot)
{
    for (size_t i = 0; i < KVG_FRAMES_MAX_LEASES; i++) {
        Picture *lease = consumer->leases[i];
        if (slot == 0 ? lease == NULL : lease != NULL && lease->is.slot->id == slot)
            return &consumer->leases[i];
    }
    return NULL;
}

static bool
knows_slot(const Consumer *consumer, uint32_t slot)
{
    for (guint i = 0; i < consumer->slots->len; i++) {
        if (g_array_index(consumer->slots, uint32_t, i) == slot)
            return true;
    }
    return false;
}

/* One packet, with @fd unless it is negative. Never waits. */
static bool
send_packet(int to, const KvgFramesReply *reply, int fd)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec part = {.iov_base = (void *)(uintptr_t)reply, .iov_len = sizeof *reply};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd >= 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(head), &fd, sizeof fd);
    }
    return sendmsg(to, &message, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)sizeof *reply;
}

/* The newest frame, if it has asked, has not seen it and may hold one more. With the lock held. */
static void
serve(KvgFramesServer *server, Consumer *consumer)
{
    Picture *newest = server->shared.newest;
    Picture **lease = find_lease(consumer, 0);
    if (!consumer->has_asked || consumer->is_broken || lease == NULL || newest == NULL ||
        newest->sequence <= consumer->after)
        return;
    if (consumer->pool != newest->is.pool)
        g_array_set_size(consumer->slots, 0);
    consumer->pool = newest->is.pool;
    const KvgFramesPicture *is = &newest->is;
    const bool is_known = knows_slot(consumer, is->slot->id);
    const KvgFramesReply reply = {.magic = KVG_FRAMES_MAGIC,
                                  .kind = KVG_FRAMES_FRAME,
                                  .slot = is->slot->id,
                                  .pool = is->pool,
                                  .width = is->width,
                                  .height = is->height,
                                  .stride = is->stride,
                                  .size = is->slot->size,
                                  .sequence = newest->sequence,
                                  .wall_us = is->wall_us};
    /* It asked for one packet, so there is room, unless it never reads: then it is none of ours. */
    if (!send_packet(consumer->fd, &reply, is_known ? -1 : is->slot->fd)) {
        consumer->is_broken = true;
        return;
    }
    if (!is_known)
        g_array_append_val(consumer->slots, is->slot->id);
    g_ref_count_inc(&newest->refs);
    *lease = newest;
    consumer->has_asked = false;
    server->shared.delivered++;
}

static void
take_request(KvgFramesServer *server,
             Consumer *consumer,
             const KvgFramesRequest *request,
             GPtrArray *gone)
{
    if (request->kind == KVG_FRAMES_TAKE) {
        consumer->has_asked = true;
        consumer->after = request->sequence;
    } else if (request->kind == KVG_FRAMES_RELEASE && request->slot != 0) {
        Picture **lease = find_lease(consumer, request->slot);
        if (lease != NULL)
            picture_unref(g_steal_pointer(lease), gone);
    } else {
        consumer->is_broken = true;
    }
    serve(server, consumer);
}

/* Reads what it asks. With the lock held. */
static void
hear(KvgFramesServer *server, Consumer *consumer, GPtrArray *gone)
{
    /* Bounded, so that one who talks without end does not hold the others up. */
    for (int i = 0; i < 32 && !consumer->is_broken; i++) {
        KvgFramesRequest request;
        const ssize_t n = recv(consumer->fd, &request, sizeof request, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n == (ssize_t)sizeof request)
            take_request(server, consumer, &request, gone);
        else
            consumer->is_broken = true;
    }
}

/* With the lock held. */
static void
consumer_free(Consumer *consumer, GPtrArray *gone)
{
    for (size_t i = 0; i < KVG_FRAMES_MAX_LEASES; i++)
        picture_unref(consumer->leases[i], gone);
    g_array_unref(consumer->slots);
    close(consumer->fd);
    g_free(consumer);
}

/* ---- the thread ---- */

static void
accept_one(KvgFramesServer *server)
{
    g_auto(KvgFd) fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    if (server->shared.consumers->len >= KVG_FRAMES_MAX_CONSUMERS) {
        KVG_LOG_WARNING(LOG_DOMAIN, "PATH", server->path,
                        "%s: a consumer was turned away, there are %d already", server->path,
                        KVG_FRAMES_MAX_CONSUMERS);
        return;
    }
    const KvgFramesReply hello = {
        .magic = KVG_FRAMES_MAGIC, .kind = KVG_FRAMES_HELLO, .slot = KVG_FRAMES_VERSION};
    if (!send_packet(fd, &hello, -1))
        return;
    Consumer *consumer = g_new0(Consumer, 1);
    consumer->fd = kvg_fd_steal(&fd);
    consumer->slots = g_array_new(FALSE, FALSE, sizeof(uint32_t));
    g_ptr_array_add(server->shared.consumers, consumer);
}

static void
remove_broken(KvgFramesServer *server, GPtrArray *gone)
{
    GPtrArray *consumers = server->shared.consumers;
    for (guint i = consumers->len; i-- > 0;) {
        Consumer *consumer = g_ptr_array_index(consumers, i);
        if (!consumer->is_broken)
            continue;
        consumer_free(consumer, gone);
        g_ptr_array_remove_index_fast(consumers, i);
    }
    /* Nobody looks: the next consumer is not to begin with a picture of long ago. */
    if (consumers->len == 0)
        picture_unref(g_steal_pointer(&server->shared.newest), gone);
}

/* What poll() said of each, in the order of the list. With the lock held. */
static void
handle(KvgFramesServer *server, const GArray *polled, GPtrArray *gone)
{
    const guint n_before = server->shared.consumers->len;
    for (guint i = 0; i < n_before; i++) {
        Consumer *consumer = g_ptr_array_index(server->shared.consumers, i);
        const short said = g_array_index(polled, struct pollfd, i + 2).revents;
        if (said & POLLIN)
            hear(server, consumer, gone);
        else if (said != 0)
            consumer->is_broken = true;
    }
    if (g_array_index(polled, struct pollfd, 1).revents != 0)
        accept_one(server);
    remove_broken(server, gone);
}

static GArray *
what_to_poll(KvgFramesServer *server)
{
    GArray *polled = g_array_new(FALSE, FALSE, sizeof(struct pollfd));
    const struct pollfd own[] = {{.fd = server->wake_fd, .events = POLLIN},
                                 {.fd = server->listen_fd, .events = POLLIN}};
    g_array_append_vals(polled, own, G_N_ELEMENTS(own));
    for (guint i = 0; i < server->shared.consumers->len; i++) {
        const Consumer *consumer = g_ptr_array_index(server->shared.consumers, i);
        const struct pollfd one = {.fd = consumer->fd, .events = POLLIN};
        g_array_append_val(polled, one);
    }
    return polled;
}

static void *
run(void *data)
{
    KvgFramesServer *server = data;
    bool was_wanted = false;
    for (;;) {
        g_autoptr(GArray) polled = what_to_poll(server);
        if (poll((struct pollfd *)(void *)polled->data, polled->len, -1) < 0 && errno != EINTR)
            break;
        uint64_t ignored;
        if (read(server->wake_fd, &ignored, sizeof ignored) < 0 && errno != EAGAIN)
            break;
        g_autoptr(GPtrArray) gone = gone_new();
        pthread_mutex_lock(&server->shared.lock);
        handle(server, polled, gone);
        const bool is_stopping = server->shared.is_stopping;
        const bool is_wanted = server->shared.consumers->len > 0;
        pthread_mutex_unlock(&server->shared.lock);
        if (is_stopping)
            break;
        if (is_wanted != was_wanted && server->demand != NULL)
            server->demand(is_wanted, server->user_data);
        was_wanted = is_wanted;
    }
    if (was_wanted && server->demand != NULL)
        server->demand(false, server->user_data);
    return NULL;
}

static void
wake(KvgFramesServer *server)
{
    const uint64_t one = 1;
    if (write(server->wake_fd, &one, sizeof one) < 0)
        return; /* full: it is awake */
}

/* ---- public ---- */

KvgFramesServer *
kvg_frames_server_start(const char *path, KvgFramesDemand demand, void *user_data, GError **error)
{
    g_auto(KvgFd) listen_fd = kvg_frames_listen(path, error);
    if (listen_fd < 0)
        return NULL;
    g_auto(KvgFd) wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    KvgFramesServer *server = g_new0(KvgFramesServer, 1);
    server->path = g_strdup(path);
    server->demand = demand;
    server->user_data = user_data;
    server->listen_fd = kvg_fd_steal(&listen_fd);
    server->wake_fd = kvg_fd_steal(&wake_fd);
    pthread_mutex_init(&server->shared.lock, NULL);
    server->shared.consumers = g_ptr_array_new();
    if (server->wake_fd >= 0 && kvg_thread_create(&server->thread, "kvg-frames", run, server) == 0)
        return server;
    g_set_error(error, KVG_ERROR, KVG_ERROR_FAILED, "%s: no thread or descriptor to serve it",
                path);
    server->thread = 0;
    kvg_frames_server_stop(server);
    return NULL;
}

void
kvg_frames_server_stop(KvgFramesServer *server)
{
    if (server == NULL)
        return;
    pthread_mutex_lock(&server->shared.lock);
    server->shared.is_stopping = true;
    pthread_mutex_unlock(&server->shared.lock);
    if (server->thread != 0) {
        wake(server);
        pthread_join(server->thread, NULL);
    }
    unlink(server->path);
    g_autoptr(GPtrArray) gone = gone_new();
    for (guint i = 0; i < server->shared.consumers->len; i++)
        consumer_free(g_ptr_array_index(server->shared.consumers, i), gone);
    picture_unref(server->shared.newest, gone);
    g_ptr_array_unref(server->shared.consumers);
    pthread_mutex_destroy(&server->shared.lock);
    close(server->listen_fd);
    if (server->wake_fd >= 0)
        close(server->wake_fd);
    g_free(server->path);
    g_free(server);
}

void
kvg_frames_server_publish(KvgFramesServer *server,
                          const KvgFramesPicture *is,
                          void *owner,
                          GDestroyNotify give_back_owner)
{
    Picture *picture = g_new(Picture, 1);
    *picture = (Picture){.is = *is, .owner = owner, .give_back = give_back_owner};
    g_ref_count_init(&picture->refs);
    g_autoptr(GPtrArray) gone = gone_new();
    bool has_broken = false;
    pthread_mutex_lock(&server->shared.lock);
    picture->sequence = ++server->shared.sequence;
    picture_unref(server->shared.newest, gone);
    server->shared.newest = server->shared.consumers->len > 0 ? picture : NULL;
    if (server->shared.newest == NULL)
        picture_unref(picture, gone);
    for (guint i = 0; i < server->shared.consumers->len; i++) {
        Consumer *consumer = g_ptr_array_index(server->shared.consumers, i);
        serve(server, consumer);
        has_broken = has_broken || consumer->is_broken;
    }
    pthread_mutex_unlock(&server->shared.lock);
    if (has_broken)
        wake(server);
}

void
kvg_frames_server_get_stats(KvgFramesServer *server, KvgFramesStats *stats)
{
    *stats = (KvgFramesStats){0};
    pthread_mutex_lock(&server->shared.lock);
    stats->consumers = server->shared.consumers->len;
    for (guint i = 0; i < stats->consumers; i++) {
        const Consumer *consumer = g_ptr_array_index(server->shared.consumers, i);
        for (size_t j = 0; j < KVG_FRAMES_MAX_LEASES; j++)
            stats->leases += consumer->leases[j] != NULL;
    }
    stats->published = server->shared.sequence;
    stats->delivered = server->shared.delivered;
    pthread_mutex_unlock(&server->shared.lock);
}
